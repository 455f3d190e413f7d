//! What this host is like, and what of it stands in the way of trading.
//!
//! Three questions are answered here, both by asking the kernel and nobody else:
//!
//! - *Is this host as a gateway needs it?* [`Facts::gather`] looks, [`findings`] judges. The judging is pure, so that
//!   the self-check at the start, the admin API and a doctor say the same of the same host.
//! - *What else would stop it?* A doctor asks more and now and then: [`checks`] is the table of what, [`Machine`] and
//!   [`Evidence`] are what was found out, and [`examine`] judges it, with the commands that mend each thing on the system
//!   found. What takes a connection or a name server is asked by whoever has those (`app/doctor`).
//! - *Why was there no connection from this address?* [`Explainer`] asks after a dial failed whether the address is
//!   this host's and by which interface it would leave, and answers in words for callers.
//!
//! Every text is for somebody who is no network engineer: what is so, why it matters, what to do. Nothing here
//! changes the host, nothing is sent, and nothing of it takes a privilege. What cannot be found out is said to be
//! unknown, never to be good.

mod addresses;
mod board;
mod changes;
mod check;
mod commands;
mod covered;
mod evidence;
mod explain;
mod facts;
mod failure;
mod finding;
mod findings;
mod folder;
mod judge;
mod links;
mod machine;
mod netlink;
mod offer;
mod own;
mod sockets;
mod system;
mod texts;
mod way;

pub use board::{Board, Examiner, NotExamined, Report};
pub use changes::Changes;
pub use check::{Check, Examination, Examined, Group, Outcome, checks};
pub use commands::{local_route, needs_a_person};
pub use covered::answers_for;
pub use evidence::{BrokerHost, Came, Evidence, Ipv4Try, NameAnswer, NameSays, NamesSaid, Setting, Try};
pub use explain::Explainer;
pub use facts::{Facts, Sender, Wants, Wish};
pub use failure::Failure;
pub use finding::{Finding, Severity};
pub use findings::{could_not_look, findings};
pub use judge::examine;
pub use machine::{Machine, MachineQuery};
pub use offer::{Offer, OfferKind, halves};
pub use own::Own;
pub use sockets::{SocketOwner, owner_of_socket};
pub use texts::OUTSIDE;
