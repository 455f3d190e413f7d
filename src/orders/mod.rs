//! What makes an order write safe: it is written down before it leaves, and it
//! never makes the broker close the door on its account.
//!
//! - [`journal`]: what was sent and what became of it, so that it can be read,
//!   proved and remembered after a crash.
//! - [`limits`]: how much the broker takes from an account, kept before it is sent.
//!
//! Not here: connections and their health (`legs`, `egress`), what an endpoint is
//! (`broker`).

pub mod journal;
pub mod limits;
