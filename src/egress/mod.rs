//! Egress: how bytes leave this host.
//!
//! All outside connections are made through an [`Exit`], which is one account's
//! one address. Other modules name a target; only this one knows addresses,
//! sockets and TLS.
//!
//! Invariants:
//! - A connection leaves from its exit's address or not at all. There is no
//!   default source, no kernel's choice and no IPv4.
//! - Idle connections and TLS sessions belong to the exit that made them. There
//!   is no table over exits in which they could be mixed up.
//! - The address that passed the guard is the one connected to: no second lookup.
//!
//! Not here: which leg to take (`legs`), what to send (`proxy`).

pub mod decode;
mod exit;
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
mod hint;
mod http1;
mod janitor;
mod lease;
mod names;
pub mod pool;
mod resolve;
mod sessions;
pub mod source;
mod stream;
pub mod tls;

pub use exit::{Destination, DialError, Egress, Exit, Options, Protocol};
pub use lease::{Lease, Message, ReplyBody, ReplyError, SecretRequest, SendError, Sent, Upgraded};
pub use resolve::ResolveError;
