//! What must hold for whatever bytes come from outside, one function for each kind of bytes.
//!
//! Each takes any bytes and panics where something does not hold. It claims more than that nothing panics: a short way
//! and a long one find the same; what comes in pieces is read as what comes whole; a reader written as simply as can
//! be, here, sees what the real one sees; what is written is read back. `fuzz` tries them with bytes of its own
//! finding, `tests/fuzz_corpus.rs` with those that are kept.
//!
//! Not here: anything that runs in the gateway.

mod bodies;
mod frames;
mod http1;
mod input;
mod json;
mod lines;
mod targets;

pub use bodies::body_value;
pub use frames::websocket;
pub use http1::{broker_http1, callers_http1};
pub use json::{body_members, jwt, number, trail};
pub use lines::journal_line;
pub use targets::target;

/// Takes any bytes, and panics where something does not hold.
pub type Claim = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: &[(&str, Claim)] = &[
    ("body_members", body_members),
    ("body_value", body_value),
    ("broker_http1", broker_http1),
    ("callers_http1", callers_http1),
    ("journal_line", journal_line),
    ("jwt", jwt),
    ("number", number),
    ("target", target),
    ("trail", trail),
    ("websocket", websocket),
];
