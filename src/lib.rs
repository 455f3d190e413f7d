//! Sixgate: a static-IPv6 egress gateway for Dhan's trading API.
//!
//! # The life of an order
//!
//! A caller connects to a listener and sends a request ([`proxy`]). It is admitted
//! as one account; what it asks for is settled; the broker's endpoint table says
//! what kind of request it is ([`broker`]); its body gets the account's client id
//! and a correlation id; the account's live token signs it ([`tokens`]); one of the
//! account's two legs has or makes a connection ([`legs`], [`egress`]), which leaves
//! from the leg's own address or not at all; it is sent, once; and the broker's
//! answer goes back as it came, with the gateway's headers added.
//!
//! # What never happens
//!
//! - Traffic of an account leaves from another account's address.
//! - An order is sent twice.
//! - A secret shows.
//!
//! # Which module may know which
//!
//! Arrows point down this list, and `tests/layers.rs` holds them to it:
//! [`app`] and [`cli`], then [`proxy`] and [`admin`], then [`accounts`], then
//! [`tokens`] and [`orders`], then [`legs`] and [`addressing`], then [`broker`], [`egress`] and
//! [`store`], then [`telemetry`], then [`config`], then [`host`], then [`domain`]. [`sandbox`]
//! imports [`domain`] and the data of [`broker`] only.

pub mod accounts;
pub mod addressing;
pub mod admin;
pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod egress;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod legs;
pub mod net;
pub mod orders;
pub mod proxy;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod tokens;
