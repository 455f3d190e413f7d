//! Orders: what makes an order write safe.
//!
//! A write is remembered by the ids its caller can repeat it with (`memory`), and when
//! its answer is lost the broker is asked what became of it (`trail`).
//!
//! Not here: sending (`proxy`), which leg (`legs`).

pub mod memory;
pub mod trail;
