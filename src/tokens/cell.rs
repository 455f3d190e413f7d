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
use crate::domain::lock;
use crate::domain::steady;

/// Who keeps a token alive, as far as its place knows.
pub(super) trait KeepsToken: std::fmt::Debug + Send + Sync {
    /// Something of what it goes by is not what it was.
    fn look_again(&self);
}

/// Where an account's token stands, as its keeper last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenStatus {
    /// `None` until the keeper has looked for the first time.
    pub state: Option<State>,
    /// What a person must mend, or what last went wrong.
    pub trouble: Option<Trouble>,
    /// The newest generation whose refusal on the data path this takes account of.
    pub refusals_seen: u64,
    /// The generation that signs.
    pub signing: Option<u64>,
    /// The broker's clock minus the steady one, as last measured.
    pub skew: SignedDuration,
}

impl TokenStatus {
    /// The word in the API.
    pub fn word(&self) -> &'static str {
        self.state.as_ref().map_or("absent", State::as_str)
    }

    /// Is a login under way or about to be?
    pub fn is_moving(&self) -> bool {
        match &self.state {
            None | Some(State::Minting | State::Refreshing) => true,
            Some(State::Absent | State::Live | State::Waiting { .. } | State::NeedsPerson { .. }) => false,
        }
    }
}

/// Why there is no token to sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// A word for programs.
    pub code: String,
    /// One sentence that says what happened.
    pub summary: String,
    /// What to do. `{name}` stands for the account.
    pub action: String,
    /// When asking again may help, if anything is known of it.
    pub retry_after: Option<Duration>,
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
    }

    /// What there is, live or not.
    pub fn last(&self) -> Option<Arc<LiveToken>> {
        self.last.load_full()
    }

    /// This generation signs no longer: the broker refused it.
    pub fn bar(&self, generation: u64) {
        self.barred.fetch_max(generation, Ordering::AcqRel);
    }

    /// This generation may sign after all.
    pub(super) fn allow(&self, generation: u64) {
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
    pub(super) fn settled(&self, doubt: Doubt) {
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
    pub(super) fn stand(&self, standing: TokenStatus) {
        let mut last = self.lock();
        if *last != standing {
            *last = standing;
            drop(last);
            self.changed.notify_waiters();
        }
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

    /// Wait until nothing is under way, or `by`. Cancel-safe.
    pub async fn settle(&self, by: Instant) -> TokenStatus {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let standing = self.standing();
            if !standing.is_moving() || tokio::time::timeout_at(by, changed).await.is_err() {
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
mod tests {
    use super::*;
    use crate::domain::tasks::Tasks;

    fn live(generation: u64) -> LiveToken {
        let text = format!("token-{generation}");
        LiveToken::new(text.into(), Timestamp::from_second(2000).unwrap(), "manual".into(), generation).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_never_shows_in_debug_and_an_older_one_never_wins() {
        let cell = TokenCell::default();
        cell.set(live(2));
        cell.set(live(1));
        assert_eq!(cell.last().unwrap().generation(), 2);
        assert!(!format!("{cell:?}").contains("token-2"), "{cell:?}");
        let header = cell.last().unwrap().header().clone();
        assert!(!format!("{header:?}").contains("token-2"));
    }

    /// A timer that was set for its end does not hear of a machine that slept: whoever finds it ended tells its keeper,
    /// and nobody is told that it lives.
    #[test]
    fn a_token_signs_until_it_ends_and_its_keeper_hears_of_that() {
        let cell = TokenCell::default();
        assert!(cell.live_at(at(1)).is_err());
        cell.set(live(1));
        cell.stand(TokenStatus { signing: Some(1), ..standing(State::Live, 0) });
        assert!(cell.live_at(at(1999)).is_ok());
        assert_eq!(cell.standing_at(at(1999)).word(), "live");
        assert!(!cell.ended_unheard());

        assert_eq!(cell.live_at(at(2000)).unwrap_err().code, "token_ended");
        assert!(cell.ended_unheard());
        assert_eq!((cell.standing_at(at(2000)).word(), cell.standing_at(at(2000)).is_moving()), ("absent", true));
        assert!(cell.ended_unheard());
        // It knows by now, and is not told again at each request.
        cell.stand(standing(State::Minting, 0));
        assert_eq!(
            (cell.live_at(at(2001)).unwrap_err().code.as_str(), cell.standing_at(at(2001)).word()),
            ("login_under_way", "minting")
        );
        assert!(!cell.ended_unheard());
    }

    /// A token that the broker refused must not sign another request, whichever
    /// of the account's rows that request took.
    #[test]
    fn a_barred_token_does_not_sign_and_the_next_one_does() {
        let cell = TokenCell::default();
        cell.set(live(3));
        cell.bar(3);
        assert!(cell.live_at(at(1)).is_err());
        // A late refusal of an older token changes nothing.
        cell.bar(2);
        cell.allow(3);
        assert_eq!(cell.live_at(at(1)).unwrap().generation(), 3);
        cell.bar(3);
        cell.set(live(4));
        assert_eq!(cell.live_at(at(1)).unwrap().generation(), 4);
    }

    fn standing(state: State, refusals_seen: u64) -> TokenStatus {
        TokenStatus { state: Some(state), refusals_seen, ..TokenStatus::default() }
    }

    /// Who waits is told as soon as nothing can come, and gets what comes; a state of
    /// before the refusal counts for nothing.
    #[tokio::test]
    async fn waiting_ends_with_a_token_or_when_none_can_come() {
        let cell = Arc::new(TokenCell::default());
        let far = Instant::now() + Duration::from_secs(30);
        let lost = Trouble::new("token_dead", "it is dead", "make one");
        let person = State::NeedsPerson { trouble: Box::new(lost), consent: false };

        cell.stand(standing(person.clone(), 0));
        assert_eq!(cell.wait(0, far).await.unwrap_err().code, "token_dead");
        let waiting = Tasks::default().spawn({
            let cell = Arc::clone(&cell);
            async move { cell.wait(5, far).await.map(|token| token.secret().clone()).map_err(|none| none.code) }
        });
        cell.stand(standing(State::Minting, 5));
        let until = steady::now().checked_add(SignedDuration::from_secs(1)).unwrap();
        cell.stand(standing(State::Waiting { until, why: Why::Cooldown }, 5));
        cell.stand(standing(person, 5));
        assert_eq!(waiting.await.unwrap().unwrap_err(), "token_dead");

        // A check that is under way is waited for even by who could not wait as long as it may take.
        let soon = Instant::now() + Duration::from_secs(5);
        let until = steady::now().checked_add(CHECK_TIME).unwrap();
        cell.stand(standing(State::Waiting { until, why: Why::Check }, 5));
        let waiting = Tasks::default().spawn({
            let cell = Arc::clone(&cell);
            async move { cell.wait(5, soon).await.map(|token| token.generation()).map_err(|none| none.code) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        cell.set(LiveToken::new("token-6".into(), Timestamp::MAX, "manual".into(), 6).unwrap());
        cell.stand(standing(State::Live, 5));
        assert_eq!(waiting.await.unwrap().unwrap(), 6);
        cell.bar(6);

        let later = steady::now().checked_add(SignedDuration::from_secs(60)).unwrap();
        cell.stand(standing(State::Waiting { until: later, why: Why::Cooldown }, 5));
        let none = cell.wait(5, far).await.unwrap_err();
        assert!(none.retry_after.is_some_and(|wait| wait > Duration::from_secs(50)), "{none:?}");
    }
}
