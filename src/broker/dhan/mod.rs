//! Dhan (DhanHQ v2).

pub mod endpoints;
pub mod hosts;
pub mod token;
