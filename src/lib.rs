//! Sixgate: a static-IPv6 egress gateway for Dhan's trading API.

pub mod broker;
pub mod domain;
pub mod store;
