//! Plain values that every other module speaks in: accounts, pairs, targets,
//! secrets, outcomes. Nothing here does I/O or knows another module.
//!
//! Values are parsed at the edge. Holding one is proof that it was checked.

pub mod account;
pub mod boot_instant;
pub mod characters;
pub mod clocks;
pub mod corroborated;
mod counted;
pub mod disk;
mod error_chain;
pub mod host_limits;
pub mod india;
mod local_address;
mod lock;
pub mod operator;
pub mod order_changes;
pub mod outcome;
pub mod pair;
pub mod pasted;
pub mod places;
pub mod priority;
pub mod problem;
pub mod random;
pub mod secret;
pub mod steady;
pub mod stirred;
pub mod target;
pub mod tasks;
pub mod time;
pub mod totp;

pub use account::{AccountName, ClientId, Platform, RepeatsBy, StreamsMode};
pub use boot_instant::BootInstant;
pub use counted::{at_most_a_million, counted, grouped};
pub use error_chain::chain;
pub use local_address::LocalAddress;
pub use lock::lock;
pub use operator::OperatorRole;
pub use order_changes::OrderChanges;
pub use outcome::{NoAnswer, Outcome};
pub use pair::{Pair, Role, SourceAddr};
pub use secret::Secret;
pub use target::{Authority, Host, OwnHost};
