//! Keepers: one an account, around the pure machine of `lifecycle`. A keeper stores,
//! signs, asks the broker and waits; what it does when is the machine's decision.
//!
//! Invariants:
//! - One keeper an account, and one login under way in it.
//! - What a login spends is durable before it is sent, and the token it brings before
//!   it signs.
//! - A keeper writes only while the account is still the one it was made for.
//! - A login that was sent is waited for, also when the gateway stops: its token may
//!   have killed the one before.
//!
//! Not here: how the broker is asked ([`TokenBroker`]), whose account it is (`accounts`).

mod broker;
mod driver;
mod mailbox;
mod receiver;
mod request;
mod timer;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

pub use request::Link;

use mailbox::Mailbox;
use request::KeeperRequest;

use super::cell::{Doubt, KeepsToken, TokenCell};
use super::lifecycle::{Budget, By, CheckOutcome, LoginMethods, MarketCalendar, Refusal, TokenFacts, Trouble};
use super::live::LiveToken;
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, ClientId, Secret, lock, steady};
use crate::legs::Legs;
use crate::store::Store;
use crate::store::records::LoginRecord;
use crate::telemetry::events::Events;

/// Checks of stored tokens under way in the whole gateway. After a restart every
/// account may want one.
const CHECKS: usize = 8;

/// A clock that is off by more than this is warned of.
const SKEW_WARNED: SignedDuration = SignedDuration::from_secs(2);

/// Who calls the broker on a keeper's behalf. Every request is sent once at most and
/// answered within a limit of its own.
pub trait TokenBroker: Send + Sync {
    /// Calls the broker, from one of the account's addresses.
    fn call(&self, legs: Arc<Legs>, client_id: ClientId, question: BrokerRequest) -> BoxFuture<'static, BrokerReply>;

    /// When the exchanges behind the broker need a token. A test's broker has hours of its own, so that what a keeper
    /// does there is the same at any hour.
    fn calendar(&self) -> &dyn MarketCalendar;
}

/// What a keeper calls the broker for.
pub enum BrokerRequest {
    /// A token, by PIN and the code of one step.
    PinTotp {
        /// The PIN with which the customer logs in at the broker.
        pin: Secret,
        /// The shared secret that the code is computed from, in base32.
        totp_secret: Secret,
        /// The step of the code: Unix time in units of 30 s.
        step: u64,
        /// The moment after which a login by this code is not sent.
        latest: Timestamp,
    },
    /// A token in place of this one.
    Renew {
        /// The live token, which signs the call and is replaced by it.
        token: Arc<LiveToken>,
        /// The moment after which the renewal is not sent.
        latest: Timestamp,
    },
    /// A link for a person to log in by.
    ConsentLink {
        /// The key of the customer's app at the broker.
        api_key: Secret,
        /// The secret that goes with the app's key.
        api_secret: Secret,
        /// The moment after which the link is not asked for.
        latest: Timestamp,
    },
    /// The token of a person who logged in.
    ConsentToken {
        /// The `tokenId` that the person came back with from the broker's page.
        token_id: Secret,
        /// The key of the app that made the link.
        api_key: Secret,
        /// The secret that goes with the app's key.
        api_secret: Secret,
        /// The moment after which the token is not asked for.
        latest: Timestamp,
    },
    /// Does this token live?
    Profile {
        /// The token in doubt, which signs the call.
        token: Arc<LiveToken>,
    },
    /// What time is it at the broker? Asked without a token, and before the first code is spent.
    Time,
}

/// What the broker said.
pub struct BrokerReply {
    /// How far the broker's clock is still ahead of ours, now that it is corrected; where its reply told.
    pub skew: Option<SignedDuration>,
    /// The result of the question.
    pub said: CallResult,
}

/// What came of a question.
pub enum CallResult {
    /// A token, checked to be this account's.
    Token(Secret),
    /// The page on which a person logs in.
    Link(String),
    /// Whether the token lives, and why not.
    Checked(CheckOutcome, Option<Box<Trouble>>),
    /// Nothing but the time, which stands beside this.
    Heard,
    /// The broker refused.
    Refused(Box<Refusal>),
    /// It was sent and nothing that can be read came back.
    Unknown,
    /// Proven: not a byte of it was sent. Why, for people.
    NotSent(String),
}

/// What all keepers share.
pub struct Keepers {
    store: Store,
    broker: Arc<dyn TokenBroker>,
    tasks: Tasks,
    turns: LoginRateLimiter,
    checks: Arc<Semaphore>,
    /// Who hears of every change of a token's state.
    events: Events,
    /// The broker's clock minus ours, as anybody last measured it: one host, one clock.
    skew: Mutex<Option<SignedDuration>>,
    /// At which parting of the clocks the broker was asked what time it is, and how often.
    clock_calls: Mutex<(u32, usize)>,
    /// When anybody last asked what time it is, so that a broker that does not say is not asked before each login. Held
    /// while it is asked: who comes meanwhile waits for the answer.
    clock_measured_at: tokio::sync::Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Keepers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepers").finish_non_exhaustive()
    }
}

impl Keepers {
    /// `logins_per_second` caps logins of all accounts together; `tasks` runs the
    /// keepers and is stopped before the broker's connections are.
    pub fn new(
        store: Store,
        broker: Arc<dyn TokenBroker>,
        logins_per_second: u32,
        tasks: Tasks,
        events: Events,
    ) -> Arc<Self> {
        let turns = LoginRateLimiter::new(logins_per_second);
        Arc::new(Self {
            store,
            broker,
            tasks,
            turns,
            checks: Arc::new(Semaphore::new(CHECKS)),
            events,
            skew: Mutex::default(),
            clock_calls: Mutex::default(),
            clock_measured_at: tokio::sync::Mutex::default(),
        })
    }

    /// Another number of logins a second.
    pub fn set_rate(&self, logins_per_second: u32) {
        self.turns.set_rate(logins_per_second);
    }

    /// The clock as last measured, if it was.
    fn skew(&self) -> Option<SignedDuration> {
        *lock(&self.skew)
    }

    /// The clocks parted for the `parted`th time: may one more keeper ask the broker what time it is? One answer tells
    /// all of them, and ten thousand questions would be a flood.
    fn may_measure_clock(&self, parted: u32) -> bool {
        let mut calls = lock(&self.clock_calls);
        if calls.0 != parted {
            *calls = (parted, 0);
        }
        calls.1 += 1;
        calls.1 <= CHECKS
    }

    /// Take up a measured clock, and warn once when this host's is found to be off.
    fn measured(&self, skew: SignedDuration) {
        let first = lock(&self.skew).replace(skew).is_none();
        let off = steady::brokers_ahead_of_host().filter(|off| first && off.abs() > SKEW_WARNED);
        if let Some(off) = off {
            tracing::warn!(
                clock_skew = off.as_secs_f64(),
                "this host's clock and the broker's differ; codes are made by the broker's, but set this host's (NTP)"
            );
        }
    }

    /// What of the limits is spent. A record that cannot be read counts as one whole
    /// wait: the broker's limits matter more than a minute.
    fn budget(&self, name: &AccountName) -> Budget {
        let unread = |err: &dyn std::fmt::Display| {
            tracing::warn!(account = %name, error = %err, "the account's login record cannot be read; waiting a whole cooldown");
            Budget { last_mint_attempt: Some(steady::now()), ..Budget::default() }
        };
        match self.store.get::<LoginRecord>(name) {
            Ok(None) => Budget::default(),
            Ok(Some(LoginRecord(json))) => serde_json::from_value(json).unwrap_or_else(|err| unread(&err)),
            Err(err) => unread(&err),
        }
    }
}

/// Whose token is kept. An account made anew under the same name is another one.
#[derive(Clone, Debug)]
pub struct KeptAccount {
    /// The account's name with us.
    pub name: AccountName,
    /// The broker's id.
    pub client_id: ClientId,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// What an account has to log in with, and from where.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which ways of logging in are open.
    pub means: LoginMethods,
    /// Where logins leave from.
    pub legs: Option<Arc<Legs>>,
    /// Counts the changes of its credentials.
    pub credentials: u64,
    /// Counts how often logins that could not be sent were to be tried at once.
    pub tries: u64,
}

/// The keeper of one account's token.
#[derive(Debug)]
pub struct Keeper {
    account: KeptAccount,
    cell: Arc<TokenCell>,
    setup: Mutex<Setup>,
    /// The newest generation that an order was refused for since it last signed.
    refused: AtomicU64,
    mail: Mailbox,
}

const ENDED: Trouble = Trouble::new(
    "account_changed",
    "the account was deleted or changed meanwhile, or the gateway is stopping",
    "look at the account and try again",
);

impl KeepsToken for Keeper {
    fn look_again(&self) {
        self.mail.changed();
    }
}

impl Keeper {
    /// The account was changed.
    pub fn set_up(&self, means: LoginMethods, legs: Option<Arc<Legs>>) {
        let mut setup = lock(&self.setup);
        setup.means = means;
        setup.legs = legs;
        drop(setup);
        self.mail.changed();
    }

    /// Its PIN, TOTP secret or API key were given anew.
    pub fn credentials_changed(&self) {
        lock(&self.setup).credentials += 1;
        self.mail.changed();
    }

    /// What stood in the way of a login that could not be sent may be gone: it waits no longer.
    pub fn try_now(&self) {
        lock(&self.setup).tries += 1;
        self.mail.changed();
    }

    /// The broker refused the token of this generation. Returns at once. After an order's
    /// refusal it signs nothing until it proves to live, unless it is fresh. Any other
    /// refusal proves nothing: it signs on, and `/profile` is asked if that was not just done.
    pub fn refused(&self, generation: u64, by: By) {
        if by == By::Read || self.cell.is_fresh(generation) {
            if self.cell.doubt(Doubt { generation, by }) {
                self.mail.changed();
            }
            return;
        }
        self.cell.revoke(generation);
        if self.refused.fetch_max(generation, Ordering::AcqRel) < generation {
            self.mail.changed();
        }
    }

    /// This generation may sign after all, so its next refusal is to be heard.
    fn forget_refusal(&self, generation: u64) {
        let before = generation.saturating_sub(1);
        let _ = self.refused.compare_exchange(generation, before, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Returns when every change so far has been taken up.
    pub async fn looked(&self) {
        let (done, answer) = oneshot::channel();
        self.request(KeeperRequest::Look(done), answer).await;
    }

    /// A person gave a token, which is checked and stored. Returns when it signs.
    pub async fn given(&self, facts: TokenFacts) {
        let (done, answer) = oneshot::channel();
        self.request(KeeperRequest::Given(facts, done), answer).await;
    }

    /// An operator wants a new token now; `vouched`: the cause of refused logins is
    /// mended. Returns when it is begun or refused; [`TokenCell::wait_until_idle`] waits for the rest.
    pub async fn refresh(&self, vouched: bool) {
        let (done, answer) = oneshot::channel();
        self.request(KeeperRequest::Refresh { vouched, done }, answer).await;
    }

    /// A person wants the broker's login link.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn consent(&self) -> Result<Link, Trouble> {
        let (done, answer) = oneshot::channel();
        self.request(KeeperRequest::Consent(done), answer).await.unwrap_or(Err(ENDED))
    }

    /// A person came back from the broker's page with this `tokenId`. Answers whether
    /// anybody had been sent there; then the token is asked for.
    pub async fn returned(&self, token_id: Secret) -> bool {
        let (done, answer) = oneshot::channel();
        self.request(KeeperRequest::Returned(token_id, done), answer).await.unwrap_or(false)
    }

    /// The account is gone, or is another one now.
    pub fn end(&self) {
        self.mail.end();
    }

    async fn request<T>(&self, request: KeeperRequest, answer: oneshot::Receiver<T>) -> Option<T> {
        self.mail.push(request);
        answer.await.ok()
    }
}

/// Limits logins to a number a second over all accounts, in the order of asking.
#[derive(Debug)]
struct LoginRateLimiter {
    next: tokio::sync::Mutex<Instant>,
    per_second: AtomicU32,
}

impl LoginRateLimiter {
    fn new(per_second: u32) -> Self {
        Self { next: tokio::sync::Mutex::new(Instant::now()), per_second: AtomicU32::new(per_second) }
    }

    fn set_rate(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    fn every(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.load(Ordering::Relaxed).max(1)
    }

    /// Wait for a turn. Cancel-safe: a turn that is not waited for is not spent.
    async fn take(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + self.every();
    }
}

#[cfg(test)]
mod tests;
