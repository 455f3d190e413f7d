//! The live token of an account.
//!
//! What signs a request is one atomic load away ([`TokenCell`]): a header value that
//! is ready and marked sensitive. One keeper an account (`keeper`) gets it, keeps it
//! alive and is told when the broker refuses it; what it does when is decided by a
//! pure machine (`lifecycle`).

mod cell;
pub mod client;
pub mod keeper;
pub mod lifecycle;
mod live;
mod market;
pub mod mask;
pub mod placeholder;
mod status;

pub use cell::TokenCell;
pub use keeper::{Keeper, Keepers};
pub use lifecycle::By;
pub use live::{LiveToken, facts};
pub use status::{TokenStatus, Unavailable};
