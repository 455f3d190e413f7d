//! What a keeper is asked for.

use tokio::sync::oneshot;

use crate::domain::Secret;
use crate::tokens::lifecycle::{TokenFacts, Trouble};

/// A link for a person.
#[derive(Clone, Debug)]
pub struct Link {
    /// The broker's page.
    pub url: String,
    /// How many more may be made today.
    pub left: u32,
}

/// Who asks waits at the other end.
pub(super) enum KeeperRequest {
    Look(oneshot::Sender<()>),
    Given(TokenFacts, oneshot::Sender<()>),
    Refresh { vouched: bool, done: oneshot::Sender<()> },
    Consent(oneshot::Sender<Result<Link, Trouble>>),
    Returned(Secret, oneshot::Sender<bool>),
}
