//! What a keeper makes of its host's clock and the broker's.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Driver;
use crate::domain::{clocks, steady};
use crate::tokens::cell::Doubt;
use crate::tokens::keeper::{BrokerRequest, CallResult};
use crate::tokens::lifecycle::{By, Event};

/// So often the broker is asked what time it is, while it does not say.
const TIME_EVERY: Duration = Duration::from_secs(60);

/// A skew that differs by less is the second that `Date` is rounded to.
const SAME_SKEW: SignedDuration = SignedDuration::from_millis(1200);

impl Driver {
    /// The machine slept, or its wall clock was set. By that clock the token may have ended, and by the one that nobody
    /// sets it lives: a machine that was paused without counting it, or a clock that is wrong. The broker knows, and its
    /// reply says what time it is.
    pub(super) async fn clocks_parted(&mut self) {
        self.parted = clocks::parted();
        let signing = self.machine.signing();
        let ended = self
            .keeper
            .cell
            .last()
            .filter(|last| Some(last.generation()) == signing && last.expires_at() <= Timestamp::now());
        if let Some(token) = ended.filter(|_| self.shared.may_measure_clock(self.parted)) {
            self.keeper.cell.doubt(Doubt { generation: token.generation(), by: By::Read });
        }
        self.look().await;
        // What was planned is planned by the clock as it is now.
        self.woken(false).await;
    }

    /// A turn to log in has come, and nobody has measured the clock yet that a code is made by: a code of the wrong time
    /// would be refused, and a second one stops the account. Waited for here, for seconds at most: there is nothing to
    /// do before. Where the broker does not say, the host's clock has to do, as it did.
    pub(super) async fn measure_clock(&mut self) {
        let is_measured = || steady::brokers_ahead_of_host().is_some();
        let Some(legs) = self.setup.legs.clone().filter(|_| !is_measured()) else { return };
        let shared = Arc::clone(&self.shared);
        let mut measured_at = shared.clock_measured_at.lock().await;
        if is_measured() || measured_at.is_some_and(|at| at.elapsed() < TIME_EVERY) {
            return;
        }
        let call = self.shared.broker.call(legs, self.keeper.account.client_id.clone(), BrokerRequest::Time);
        let answer = tokio::select! {
            answer = call => answer,
            () = self.shared.tasks.stopping() => return,
        };
        // What did not leave by this account's legs may leave by the next one's.
        if !matches!(answer.said, CallResult::NotSent(_)) {
            *measured_at = Some(Instant::now());
        }
        if let Some(skew) = answer.skew {
            self.shared.measured(skew);
        }
    }

    pub(super) async fn clock(&mut self, skew: Option<SignedDuration>) {
        let is_news =
            |skew: &SignedDuration| !self.machine.is_measured() || (*skew - self.machine.skew()).abs() > SAME_SKEW;
        if let Some(skew) = skew.filter(is_news) {
            self.feed(Event::ClockSkew(skew)).await;
        }
    }
}
