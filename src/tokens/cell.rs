//! The place of an account's token, where the order path finds it, and what is told
//! to those who find none.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lifecycle::{By, CHECK_TIME, State, Trouble, Why};
use super::live::LiveToken;
use super::status::{TokenStatus, Unavailable};
use crate::domain::lock;
use crate::domain::steady;

/// Who keeps a token alive, as far as its place knows.
pub(super) trait KeepsToken: std::fmt::Debug + Send + Sync {
    /// Something of what it goes by is not what it was.
    fn look_again(&self);
}

/// The place of an account's token. Shared by every row of the account, so a
/// request in flight sees a new token at once.
#[derive(Debug, Default)]
pub struct TokenCell {
    last: ArcSwapOption<LiveToken>,
    /// The generation that must not sign; 0 for none. Only ever one, the last.
    barred: AtomicU64,
    /// The broker's clock minus the steady one, in milliseconds.
    skew: AtomicI64,
    standing: Mutex<TokenStatus>,
    doubt: Mutex<Option<Doubt>>,
    changed: Notify,
    /// Was the token that its keeper takes for signing found to have ended?
    ended: AtomicBool,
    /// To be told of that.
    keeper: OnceLock<Weak<dyn KeepsToken>>,
}

/// A refusal that proves nothing: the token signs on until the keeper has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) generation: u64,
    pub(super) by: By,
}

impl TokenCell {
    /// Swap the token. Older generations never replace newer ones.
    pub fn set(&self, token: LiveToken) {
        let token = Arc::new(token);
        self.last.rcu(|old| match old {
            Some(old) if old.generation() > token.generation() => Some(Arc::clone(old)),
            Some(_) | None => Some(Arc::clone(&token)),
        });
        self.changed.notify_waiters();
    }

    /// What there is, live or not.
    pub fn last(&self) -> Option<Arc<LiveToken>> {
        self.last.load_full()
    }

    /// Has a newer token taken the place of this generation's?
    pub fn has_replaced(&self, generation: u64) -> bool {
        self.last.load().as_ref().is_some_and(|last| last.generation() > generation)
    }

    /// Waits until a newer token has taken the place of this generation's. Cancel-safe.
    pub async fn replaced(&self, generation: u64) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_replaced(generation) {
                return;
            }
            changed.await;
        }
    }

    /// This generation signs no longer: the broker refused it.
    pub fn revoke(&self, generation: u64) {
        self.barred.fetch_max(generation, Ordering::AcqRel);
    }

    /// This generation may sign after all.
    pub(super) fn restore(&self, generation: u64) {
        let _ = self.barred.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The token to sign with when there is no live one and what is sent takes risk away:
    /// the newest, barred or ended. The broker may take it all the same, and what it refuses
    /// does no harm.
    pub fn last_resort(&self) -> Option<Arc<LiveToken>> {
        self.last()
    }

    /// Is the token of this generation a fresh one, whose refusals prove little?
    pub(super) fn is_fresh(&self, generation: u64) -> bool {
        let last = self.last.load_full().filter(|last| last.generation() == generation);
        last.is_some_and(|last| last.is_fresh(steady::now(), self.standing().skew))
    }

    /// Somebody was refused for this generation, and it signs on until the keeper has asked.
    /// Answers whether the keeper is to be told.
    pub(super) fn doubt(&self, doubt: Doubt) -> bool {
        let signs = self.last.load().as_ref().is_some_and(|last| last.generation() == doubt.generation)
            && doubt.generation > self.barred.load(Ordering::Acquire);
        let mut standing = lock(&self.doubt);
        // An order's refusal says more than what a read has begun.
        let news =
            standing.is_none_or(|old| old.generation < doubt.generation || (old.by, doubt.by) == (By::Read, By::Write));
        if signs && news {
            *standing = Some(doubt);
        }
        signs && news
    }

    /// The doubt that nobody has looked into yet or that is being looked into.
    pub(super) fn doubted(&self) -> Option<Doubt> {
        *lock(&self.doubt)
    }

    /// This doubt is settled, as far as it can be; whoever waits goes on.
    pub(super) fn clear_doubt(&self, doubt: Doubt) {
        let settled = {
            let mut standing = lock(&self.doubt);
            standing.take_if(|last| *last == doubt)
        };
        if settled.is_some() {
            self.changed.notify_waiters();
        }
    }

    /// The broker's clock is ahead of the steady one by so much: ends are read by it from now on.
    pub(super) fn measured(&self, skew: SignedDuration) {
        self.skew.store(i64::try_from(skew.as_millis()).unwrap_or_default(), Ordering::Release);
    }

    /// Publish where the token stands, and wake whoever waits.
    pub(super) fn publish(&self, standing: TokenStatus) {
        let mut last = self.lock();
        if *last != standing {
            *last = standing;
            drop(last);
            self.changed.notify_waiters();
        }
    }

    /// As its keeper publishes a token that signs.
    #[cfg(test)]
    pub(crate) fn publish_live(&self, generation: u64) {
        let (state, signing) = (Some(State::Live), Some(generation));
        self.publish(TokenStatus { state, signing, ..TokenStatus::default() });
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, TokenStatus> {
        lock(&self.standing)
    }

    /// Where it stands. A token that ended while its keeper takes it for signing is none, and its keeper is told.
    pub fn standing(&self) -> TokenStatus {
        self.standing_at(steady::now())
    }

    fn standing_at(&self, now: Timestamp) -> TokenStatus {
        let standing = self.lock().clone();
        let last = self.last.load();
        let has_ended = last
            .as_ref()
            .is_some_and(|last| standing.signing == Some(last.generation()) && last.expires_at() <= self.brokers(now));
        if !has_ended {
            return standing;
        }
        if !self.ended.swap(true, Ordering::AcqRel)
            && let Some(keeper) = self.keeper.get().and_then(Weak::upgrade)
        {
            keeper.look_again();
        }
        TokenStatus { state: None, signing: None, ..standing }
    }

    /// This moment by the broker's clock.
    fn brokers(&self, now: Timestamp) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew.load(Ordering::Acquire));
        now.checked_add(skew).unwrap_or(now)
    }

    /// The token to sign with now: no lock, no wait. Its end is read by the broker's clock as far as that is known.
    ///
    /// # Errors
    /// [`Unavailable`] with what to do.
    pub fn live(&self) -> Result<Arc<LiveToken>, Unavailable> {
        self.live_at(steady::now())
    }

    fn live_at(&self, now: Timestamp) -> Result<Arc<LiveToken>, Unavailable> {
        let brokers = self.brokers(now);
        match self.last.load_full() {
            Some(token) if token.expires_at() > brokers && token.generation() > self.barred.load(Ordering::Acquire) => {
                Ok(token)
            }
            Some(_) | None => Err(self.why_not(now)),
        }
    }

    /// The token to sign with, waiting for one until `by` while one may come by itself.
    /// `refused` is the generation that the broker refused to the one who asks, else 0: while
    /// that one is asked about, it is waited for whether it lives. It may be what comes.
    ///
    /// # Errors
    /// [`Unavailable`], as soon as it is known that none will come in time. Cancel-safe.
    pub async fn wait(&self, refused: u64, by: Instant) -> Result<Arc<LiveToken>, Unavailable> {
        loop {
            // Before anything is looked at: what changes from here on wakes it.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = steady::now();
            let none = match self.live_at(now) {
                Ok(token) if token.generation() > refused || self.doubted().is_none() => return Ok(token),
                // The keeper's question has a limit of its own.
                Ok(_) => {
                    if tokio::time::timeout_at(by, changed).await.is_err() {
                        return self.live();
                    }
                    continue;
                }
                Err(none) => none,
            };
            let in_time = |until: Timestamp| {
                let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                Instant::now() + wait < by
            };
            let standing = self.standing();
            let settled = standing.refusals_seen >= refused;
            let hopeless = match &standing.state {
                Some(State::Absent | State::NeedsPerson { .. }) => settled,
                // A check is under way: it may end at any moment, `until` is the latest.
                Some(State::Waiting { why: Why::Check, until }) if until.duration_since(now) <= CHECK_TIME => false,
                Some(State::Waiting { until, .. }) => settled && !in_time(*until),
                None | Some(State::Minting | State::Live | State::Refreshing) => false,
            };
            if hopeless {
                return Err(none);
            }
            if tokio::time::timeout_at(by, changed).await.is_err() {
                return self.live();
            }
        }
    }

    /// Wait until no login is under way, or `by`. One that waits for its code and begins before is waited for too.
    /// Cancel-safe.
    pub async fn wait_until_idle(&self, by: Instant) -> TokenStatus {
        let left =
            SignedDuration::try_from(by.saturating_duration_since(Instant::now())).unwrap_or(SignedDuration::MAX);
        let before = steady::now().saturating_add(left).unwrap_or(Timestamp::MAX);
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let standing = self.standing();
            if !standing.is_moving_before(before) || tokio::time::timeout_at(by, changed).await.is_err() {
                return standing;
            }
        }
    }

    /// Who is to be told when somebody finds that the token has ended. The first one given counts.
    pub(super) fn kept_by(&self, keeper: Weak<dyn KeepsToken>) {
        let _ = self.keeper.set(keeper);
    }

    /// Did somebody find that the token has ended, since this was last asked?
    pub(super) fn ended_unheard(&self) -> bool {
        self.ended.swap(false, Ordering::AcqRel)
    }

    fn why_not(&self, now: Timestamp) -> Unavailable {
        let standing = self.standing_at(now);
        let wait = |until: Timestamp| Duration::try_from(until.duration_since(now)).unwrap_or_default();
        let plain = |code: &str, summary: &str| Unavailable {
            code: code.to_owned(),
            summary: summary.to_owned(),
            action: "try again in a moment: the gateway logs in by itself".to_owned(),
            retry_after: Some(Duration::from_secs(2)),
        };
        let of = |trouble: &Trouble, retry_after| Unavailable {
            code: trouble.code.to_string(),
            summary: trouble.summary.to_string(),
            action: trouble.action.to_string(),
            retry_after,
        };
        match (&standing.state, &standing.trouble) {
            (Some(State::NeedsPerson { trouble, .. }), _) => of(trouble, None),
            (Some(State::Waiting { until, .. }), Some(trouble)) => of(trouble, Some(wait(*until))),
            (Some(State::Waiting { until, why }), None) => Unavailable {
                summary: format!("the broker does not take a login before {until} ({})", why.as_str()),
                retry_after: Some(wait(*until)),
                ..plain("token_waiting", "")
            },
            (Some(State::Absent), _) => Unavailable {
                action: "assign a pair by POST /v1/accounts/{name}/pair: logins leave from its addresses".to_owned(),
                retry_after: None,
                ..plain("token_absent", "this account has no pair of addresses to log in from, and so no token")
            },
            (Some(State::Minting), Some(trouble)) => of(trouble, Some(Duration::from_secs(2))),
            (Some(State::Minting), None) => plain("login_under_way", "a login of this account is under way"),
            (Some(State::Live | State::Refreshing), _) => {
                plain("token_refused", "the access token has just ended or been refused")
            }
            (None, _) if self.last().is_some_and(|last| last.expires_at() <= self.brokers(now)) => {
                plain("token_ended", "the access token has ended, and the gateway sees to a new one")
            }
            (None, _) => plain("starting", "the gateway has just started and not looked at this account's token yet"),
        }
    }
}

#[cfg(test)]
mod tests;
