//! What the next attempt of a request goes with, by what came of those before it: which connection, by which leg
//! ([`NextConnection`]), and which token ([`NextToken`]). Reads (`read`, `send`) and order writes (`order/place`) both go
//! by it.
//!
//! What proves that another attempt may be made is not here, and the loops that ask stay two. A read's reply that may
//! have been lost is asked for again; a write's never is. A write's attempt begins with its deadline, caller, halt and
//! place among the exits, and stands in the journal before it and after it. One loop for both would have to be told at
//! each of these steps which of the two it serves, and a guard that is skipped by a flag is one mistake from being
//! skipped for an order.

use std::sync::Arc;

use tokio::time::Instant;

use super::ready::{live, no_token};
use super::reply::{Code, Problem};
use crate::accounts::Account;
use crate::domain::{Authority, Outcome, Role};
use crate::egress::Lease;
use crate::legs::{Leg, Legs, NoLeg, Purpose, Reuse};
use crate::telemetry::access::Access;
use crate::tokens::{By, LiveToken};

/// How often a request that was handed back unsent goes on to a new connection.
const UNSENT_TRIES: u32 = 3;

/// The connection of a request's next attempt.
pub(super) struct NextConnection {
    /// Which connections will do.
    reuse: Reuse,
    /// Only this leg, where what came of an attempt by the other one says so.
    pub(super) only: Option<Role>,
    /// How often nothing of the request had been written.
    unsent: u32,
}

impl NextConnection {
    /// The first: by the leg that health chooses.
    pub(super) const fn first(reuse: Reuse) -> Self {
        Self { reuse, only: None, unsent: 0 }
    }

    /// A connection by the leg that health chooses and else by the other one, or by the only one that will do.
    ///
    /// # Errors
    /// [`NotConnected`]; nothing was sent.
    pub(super) async fn lease<'l>(
        &self,
        legs: &'l Legs,
        to: &Authority,
        purpose: Purpose,
        by: Instant,
    ) -> Result<(&'l Leg, Lease), NotConnected> {
        match self.only {
            None => legs.lease(to, purpose, self.reuse, by).await.map_err(|none| NotConnected::from(&none)),
            Some(role) => {
                let leg = legs.leg(role);
                let leased = leg.lease(to, purpose, self.reuse, by).await;
                leased.map(|lease| (leg, lease)).map_err(|err| NotConnected { code: err.code(), text: err.chain() })
            }
        }
    }

    /// The same for what is no order write: over IPv4, and by no leg, where the configuration says so of the host.
    ///
    /// # Errors
    /// [`NotConnected`]; nothing was sent.
    pub(super) async fn lease_any<'l>(
        &self,
        legs: &'l Legs,
        to: &Authority,
        by: Instant,
    ) -> Result<(Option<&'l Leg>, Lease), NotConnected> {
        match self.only {
            None => legs.lease_any(to, self.reuse, by).await.map_err(|none| NotConnected::from(&none)),
            Some(_) => self.lease(legs, to, Purpose::Read, by).await.map(|(leg, lease)| (Some(leg), lease)),
        }
    }

    /// A connection that lay idle will not do any more.
    pub(super) fn must_be_new(&mut self) {
        if self.reuse == Reuse::Idle {
            self.reuse = Reuse::Never;
        }
    }

    /// Nothing of the request had been written. May it go on, by a new connection?
    pub(super) fn after_unsent(&mut self) -> bool {
        self.must_be_new();
        self.unsent += 1;
        self.unsent < UNSENT_TRIES
    }
}

/// Why there is no connection. Nothing was sent.
pub(crate) struct NotConnected {
    /// The code of the first failure, for the log and the metrics.
    code: &'static str,
    text: String,
}

impl NotConnected {
    /// 503 `egress_unavailable`, noted in the access line.
    pub(crate) fn into_problem(self, record: &mut Access) -> Problem {
        record.dial_error = Some(self.code);
        Problem::before_sending(Code::EgressUnavailable, self.text)
    }
}

impl From<&NoLeg> for NotConnected {
    fn from(none: &NoLeg) -> Self {
        Self { code: none.code(), text: none.to_string() }
    }
}

/// The token of a request's next attempt: the account's live one and, once the broker has refused it, the one after it.
pub(super) struct NextToken<'a> {
    account: &'a Account,
    /// What the request is, and so what a refusal of its token proves.
    by: By,
    /// The generation of the token that was refused; 0 for none.
    refused: u64,
}

impl<'a> NextToken<'a> {
    /// The first: no token was refused.
    pub(super) const fn first(account: &'a Account, by: By) -> Self {
        Self { account, by, refused: 0 }
    }

    /// The token to sign with. Waits until `by` for one that is on its way.
    ///
    /// # Errors
    /// 503 `token_unavailable`; nothing is sent any more.
    pub(super) async fn wait(&self, by: Instant) -> Result<Arc<LiveToken>, Problem> {
        match self.refused {
            0 => live(self.account, by).await,
            refused => {
                let next = self.account.token.wait(refused, by).await;
                next.map_err(|why| no_token(self.account, &why, self.proven()))
            }
        }
    }

    /// The broker refused the token of this generation: its keeper hears of it. May the request go once more, with the
    /// next one? A second refusal is the caller's to see: the next request has the next token.
    pub(super) fn after_refusal(&mut self, generation: u64) -> bool {
        self.account.keeper.refused(generation, self.by);
        std::mem::replace(&mut self.refused, generation) == 0
    }

    /// What a refusal of its token proves of the request.
    const fn proven(&self) -> Outcome {
        match self.by {
            By::Read => Outcome::NotSent,
            By::Write => Outcome::Rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that lay idle may have been closed by the broker; that a new one gives a request back is no accident
    /// any more.
    #[test]
    fn what_was_handed_back_unsent_goes_on_by_new_connections_and_not_for_ever() {
        let mut next = NextConnection::first(Reuse::Idle);
        assert!(next.after_unsent());
        assert_eq!(next.reuse, Reuse::Never);
        assert!(next.after_unsent());
        assert!(!next.after_unsent());
        let mut upgrade = NextConnection::first(Reuse::ForUpgrade);
        assert!(upgrade.after_unsent());
        assert_eq!(upgrade.reuse, Reuse::ForUpgrade, "an upgrade's connection does not come back");
    }
}
