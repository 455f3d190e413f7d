//! Dispatch: what is sent to the broker for a caller, once, and what it came to.
//!
//! Whoever serves callers (`proxy`) has admitted a request as one account's and settled where it goes. From here on:
//!
//! - A read is signed and sent, and may be repeated (`read`, `send`).
//! - An order write is sent at most once (`order`). Its three ways are a file each: placed (`order/place`), lost
//!   (`order/lost`) and repeated (`order/repeat`); what the broker's reply says of it is `order/verdict`.
//! - Which connection and which token a request's next attempt goes with is one thing for both (`retry`).
//! - What became of a write whose reply was lost is asked (`reconcile`, `question`, `shared`), after a restart too
//!   (`recovery`).
//! - The account's credentials go in and the caller's come out (`sign`, `headers`).
//! - A reason why there is no reply of the broker's becomes a status in one place (`reply`).
//!
//! Not here: who may ask for what. A write is only told whether it still may leave (`context::Permission`).

mod context;
mod headers;
mod order;
mod question;
mod read;
mod ready;
mod reconcile;
mod recovery;
pub(crate) mod reply;
mod retry;
mod send;
mod shared;
pub(crate) mod sign;

pub use context::{Arrival, Dispatcher, Exempt, Permission, Timing};
pub(crate) use headers::{for_allowed, for_broker};
pub(crate) use order::verdict;
pub use read::ApiRequest;
pub(crate) use ready::{legs, live, refuse_if_halted};
pub(crate) use retry::NotConnected;
pub(crate) use send::{UpstreamRequest, send};
