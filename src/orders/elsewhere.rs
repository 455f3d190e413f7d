//! Orders in the broker's book that did not come through this gateway.
//!
//! The book is looked at where it is read anyway: when the answer of a write was lost, when a person asks after an order,
//! when an account is validated. No order waits for that, and no question is asked for it on an order's way.
//!
//! What stands in the book and not in the journal came from elsewhere. Two kinds are told apart by their ids:
//! - ids as gateways make them: another gateway places orders for the account, most often one that was started from a
//!   copy of the state folder;
//! - any other id of a caller's: another program uses the broker's API.
//!
//! What has no id was given by hand, or made by the broker itself (exits, triggers), and says nothing. An intent is in the
//! journal before its order leaves, so an order that has just left is never taken for another's. A journal that was lost,
//! or a state that was restored from a backup, makes own orders look like another's; the words say so.
//!
//! In memory only: the next look at the book finds them again.

mod found;
mod look;
mod queue;
#[cfg(test)]
mod tests;
mod watch;

pub use found::{ForeignOrders, OrdersElsewhere};
pub use look::{BookRow, ForeignSender};
pub use queue::BookWatch;
