//! A keeper at work: events to the machine, its actions to the world.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::mailbox::{Mailbox, Message};
use super::receiver::Receiver;
use super::request::{KeeperRequest, Link};
use super::{Answer, CallResult, ENDED, Keeper, Keepers, KeptAccount, Question, Setup};
use crate::domain::{AccountName, Secret, clocks, lock, steady, stirred};
use crate::store::records::{AccountRecord, CredentialsRecord, LoginRecord, TokenRecord};
use crate::store::{Change, Store, StoreError};
use crate::telemetry::events::Subject;
use crate::tokens::cell::{Doubt, TokenCell, TokenStatus};
use crate::tokens::lifecycle::{
    Action, AttemptOutcome, Budget, By, CheckOutcome, Event, Lifecycle, State, Strategy, TokenSource, Trouble,
};
use crate::tokens::live::{LiveToken, facts};
use crate::tokens::market::Exchanges;

/// A measurement that was made while we sleep is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// So often the broker is asked what time it is, while it does not say.
const TIME_EVERY: Duration = Duration::from_secs(60);

/// How soon what could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// A skew that differs by less is the second that `Date` is rounded to.
const SAME_SKEW: SignedDuration = SignedDuration::from_millis(1200);

/// How often a write is tried against a record that others change too.
const WRITES: usize = 8;

/// What an attempt is for, from being asked to its answer.
#[derive(Clone, Copy, Debug)]
enum PendingCall {
    Attempt { id: u64, source: Option<TokenSource> },
    Check { id: u64 },
}

impl Keepers {
    /// Keep the token of an account from now on. What signs it at first is what
    /// `cell` holds, unless the broker had refused that already.
    pub fn keep(self: &Arc<Self>, account: KeptAccount, cell: Arc<TokenCell>, setup: Setup) -> Arc<Keeper> {
        let budget = Box::new(self.budget(&account.name));
        if let Some(dead) = budget.dead {
            cell.bar(dead);
        }
        let keeper = Arc::new(Keeper {
            account,
            cell,
            setup: Mutex::new(setup),
            refused: AtomicU64::new(0),
            mail: Mailbox::default(),
        });
        let keeps: Weak<Keeper> = Arc::downgrade(&keeper);
        keeper.cell.kept_by(keeps);
        self.tasks.spawn(run(Arc::clone(self), Receiver(Arc::clone(&keeper)), budget));
        keeper
    }
}

/// Run a keeper until its account or the gateway ends.
pub(super) async fn run(shared: Arc<Keepers>, mail: Receiver, budget: Box<Budget>) {
    let mut work = Driver::new(shared, Arc::clone(mail.keeper()));
    // What it does is boxed while it does it: ten thousand that wait hold no room for it.
    Box::pin(work.start(budget)).await;
    let mut stopping = false;
    loop {
        if mail.is_ended() || (stopping && work.running.is_none()) {
            break;
        }
        tokio::select! {
            biased;
            () = work.shared.tasks.stopping(), if !stopping => stopping = true,
            answered = next_of(&mut work.running) => match answered {
                Some((errand, answer)) => Box::pin(work.answered(errand, answer)).await,
                None => work.running = None,
            },
            letter = mail.next() => match letter {
                Some(Message::Ask(ask)) => Box::pin(work.asked(ask)).await,
                Some(Message::Changed) => Box::pin(work.look()).await,
                None => break,
            },
            due = due(&work.shared, work.wake, work.epoch, work.parted), if !stopping => match due {
                Due::Moment { turn } => Box::pin(work.woken(turn)).await,
                Due::ClocksParted => Box::pin(work.clocks_parted()).await,
            },
        }
    }
}

/// The next answer; `None` when no more is to come, and nothing while none was asked for.
async fn next_of(running: &mut Option<Running>) -> Option<(PendingCall, Answer)> {
    match running {
        Some(running) => running.next().await,
        None => std::future::pending().await,
    }
}

/// What a keeper is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The moment that it waited for has come, with its turn if it waited for one; or it must plan anew.
    Moment { turn: bool },
    /// Two clocks of this host went different ways.
    ClocksParted,
}

/// Wait until a wake is due, and for its turn. A clock that was corrected makes one due: what was planned by the one
/// before, a wait for a person among it, is planned anew.
pub(super) async fn due(shared: &Keepers, wake: Option<(Timestamp, bool)>, epoch: u32, parted: u32) -> Due {
    let (at, turn) = wake.unwrap_or((Timestamp::MAX, false));
    loop {
        let mut stirred = pin!(stirred::stirred());
        // From here on nothing is missed.
        stirred.as_mut().enable();
        let left = Duration::try_from(at.duration_since(steady::now())).unwrap_or_default();
        if left.is_zero() || steady::epoch() != epoch {
            break;
        }
        if clocks::parted() != parted {
            return Due::ClocksParted;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
            () = stirred => {}
        }
    }
    if turn {
        // Boxed like what is done when it has come.
        Box::pin(shared.turns.take()).await;
    }
    Due::Moment { turn }
}

type Running = FuturesUnordered<futures_util::future::BoxFuture<'static, (PendingCall, Answer)>>;

struct Driver {
    shared: Arc<Keepers>,
    keeper: Arc<Keeper>,
    machine: Lifecycle,
    setup: Setup,
    refusals_seen: u64,
    /// The doubt that is being looked into.
    doubt: Option<Doubt>,
    /// `None` while the broker is asked nothing, as most of the day.
    running: Option<Running>,
    wake: Option<(Timestamp, bool)>,
    /// Of the clock by which the wake was set.
    epoch: u32,
    /// How often the clocks had parted when that was last taken up.
    parted: u32,
    /// Who waits for a login link.
    link_wanted: Option<oneshot::Sender<Result<Link, Trouble>>>,
    /// What a person brought back from the broker's page.
    token_id: Option<Secret>,
    /// A token that the state could not take. It signs all the same: the one before is dead.
    unsaved: Option<Box<TokenRecord>>,
    /// What is spent of the limits could not be written down, and why.
    unrecorded: Option<&'static Trouble>,
}

impl Driver {
    fn new(shared: Arc<Keepers>, keeper: Arc<Keeper>) -> Self {
        let setup = lock(&keeper.setup).clone();
        Self {
            machine: Lifecycle::new(&keeper.account.name, setup.means),
            shared,
            keeper,
            setup,
            refusals_seen: 0,
            doubt: None,
            running: None,
            wake: None,
            epoch: steady::epoch(),
            parted: clocks::parted(),
            link_wanted: None,
            token_id: None,
            unsaved: None,
            unrecorded: None,
        }
    }

    async fn start(&mut self, mut budget: Box<Budget>) {
        // One host has one clock.
        steady::assume(std::mem::take(&mut budget.skew));
        let stored = match self.shared.store.get::<TokenRecord>(&self.keeper.account.name) {
            Ok(stored) => stored.as_ref().map(facts),
            Err(err) => {
                tracing::error!(account = %self.keeper.account.name, error = %err, "the stored token cannot be read");
                None
            }
        };
        if let Some(skew) = self.shared.skew() {
            self.feed(Event::ClockSkew(skew)).await;
        }
        self.feed(Event::Started { stored, budget }).await;
        self.look().await;
    }

    /// Take up what was changed from outside.
    async fn look(&mut self) {
        let setup = lock(&self.keeper.setup).clone();
        let credentials_changed = setup.credentials != self.setup.credentials;
        let means_changed = setup.means != self.setup.means || credentials_changed;
        let means = setup.means;
        let tries_now = setup.tries != self.setup.tries;
        self.setup = setup;
        if tries_now {
            self.feed(Event::LineMayWork).await;
        }
        if means_changed {
            self.feed(Event::MeansChanged { means, credentials_changed }).await;
        }
        // A timer that was set for the end of the token does not hear of a machine that slept.
        if self.keeper.cell.ended_unheard() {
            self.woken(false).await;
        }
        let refused = self.keeper.refused.load(Ordering::Acquire);
        if refused > self.refusals_seen {
            self.refusals_seen = refused;
            self.feed(Event::Refused { generation: refused, by: By::Write }).await;
            // The machine may hold it for fresh, or have nothing better.
            if self.machine.signing() == Some(refused) {
                self.revive(refused);
                self.tell();
            }
        }
        if let Some(doubt) = self.keeper.cell.doubted().filter(|doubt| self.doubt != Some(*doubt)) {
            self.doubt = Some(doubt);
            self.feed(Event::Refused { generation: doubt.generation, by: doubt.by }).await;
        }
    }

    /// It was refused, and lives: its next refusal is a new one. The old one is forgotten
    /// before it may sign, so that one which comes in between is heard.
    fn revive(&mut self, generation: u64) {
        if self.refusals_seen == generation {
            self.refusals_seen = generation.saturating_sub(1);
            self.keeper.forget_refusal(generation);
        }
        self.keeper.cell.allow(generation);
    }

    async fn woken(&mut self, turn: bool) {
        self.wake = None;
        self.save_again().await;
        if turn {
            self.ask_the_time().await;
        }
        // Another account's login may have measured what a code of ours hangs on.
        self.clock(self.shared.skew()).await;
        self.feed(Event::Woken { turn }).await;
    }

    /// The machine slept, or its wall clock was set. By that clock the token may have ended, and by the one that nobody
    /// sets it lives: a machine that was paused without counting it, or a clock that is wrong. The broker knows, and its
    /// reply says what time it is.
    async fn clocks_parted(&mut self) {
        self.parted = clocks::parted();
        let signing = self.machine.signing();
        let ended = self
            .keeper
            .cell
            .last()
            .filter(|last| Some(last.generation()) == signing && last.expires_at() <= Timestamp::now());
        if let Some(token) = ended.filter(|_| self.shared.may_ask_the_time(self.parted)) {
            self.keeper.cell.doubt(Doubt { generation: token.generation(), by: By::Read });
        }
        self.look().await;
        // What was planned is planned by the clock as it is now.
        self.woken(false).await;
    }

    /// A turn to log in has come, and nobody has measured the clock yet that a code is made by: a code of the wrong time
    /// would be refused, and a second one stops the account. Waited for here, for seconds at most: there is nothing to
    /// do before. Where the broker does not say, the host's clock has to do, as it did.
    async fn ask_the_time(&mut self) {
        let is_measured = || steady::brokers_ahead_of_host().is_some();
        let Some(legs) = self.setup.legs.clone().filter(|_| !is_measured()) else { return };
        let shared = Arc::clone(&self.shared);
        let mut asked = shared.time_asked.lock().await;
        if is_measured() || asked.is_some_and(|at| at.elapsed() < TIME_EVERY) {
            return;
        }
        let asking = self.shared.broker.ask(legs, self.keeper.account.client_id.clone(), Question::Time);
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.shared.tasks.stopping() => return,
        };
        // What did not leave by this account's legs may leave by the next one's.
        if !matches!(answer.said, CallResult::NotSent(_)) {
            *asked = Some(Instant::now());
        }
        if let Some(skew) = answer.skew {
            self.shared.measured(skew);
        }
    }

    async fn clock(&mut self, skew: Option<SignedDuration>) {
        let is_news =
            |skew: &SignedDuration| !self.machine.is_measured() || (*skew - self.machine.skew()).abs() > SAME_SKEW;
        if let Some(skew) = skew.filter(is_news) {
            self.feed(Event::ClockSkew(skew)).await;
        }
    }

    async fn asked(&mut self, ask: KeeperRequest) {
        match ask {
            KeeperRequest::Look(done) => {
                self.look().await;
                let _ = done.send(());
            }
            KeeperRequest::Given(facts, done) => {
                // One that was minted since is newer.
                if self.machine.token().is_none_or(|held| held.generation <= facts.generation) {
                    self.feed(Event::GivenByHand(facts)).await;
                }
                let _ = done.send(());
            }
            KeeperRequest::Refresh { vouched, done } => {
                self.feed(Event::RefreshWanted { vouched }).await;
                let _ = done.send(());
            }
            KeeperRequest::Consent(done) => {
                // Somebody's who is before this one must not be lost to both.
                if let Err(why) = self.machine.may_consent(steady::now()) {
                    let _ = done.send(Err(why));
                    return;
                }
                self.link_wanted = Some(done);
                self.feed(Event::ConsentWanted).await;
            }
            KeeperRequest::Returned(token_id, done) => {
                let awaited = self.machine.awaits_consent(steady::now());
                if awaited {
                    self.token_id = Some(token_id);
                    self.feed(Event::ConsentReturned).await;
                }
                let _ = done.send(awaited);
            }
        }
    }

    /// Give the machine an event, do what it says, and go on until it says no more.
    async fn feed(&mut self, event: Event) {
        self.epoch = steady::epoch();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let actions = self.machine.handle(event, steady::now(), &Exchanges);
            self.wake = None;
            let mut recorded = true;
            for action in actions {
                self.act(action, &mut recorded, &mut events).await;
            }
        }
        if self.unsaved.is_some() || self.unrecorded.is_some() {
            let soon = steady::now() + SignedDuration::try_from(WRITE_AGAIN).unwrap_or_default();
            self.wake = Some(self.wake.filter(|(at, _)| *at < soon).unwrap_or((soon, false)));
        }
        self.tell();
    }

    async fn act(&mut self, action: Action, recorded: &mut bool, events: &mut VecDeque<Event>) {
        match action {
            Action::Record(budget) => *recorded = self.record(&budget).await,
            Action::Sign(Some(generation)) => self.revive(generation),
            Action::Sign(None) => {
                if let Some(last) = self.machine.token() {
                    self.keeper.cell.bar(last.generation);
                }
            }
            Action::Mint { id, strategy, latest } => {
                let question = self.login(strategy, latest).filter(|_| *recorded);
                let source = match strategy {
                    Strategy::PinTotp { .. } => TokenSource::PinTotp,
                    Strategy::Consent => TokenSource::Consent,
                };
                self.attempt(id, Some(source), question, *recorded, events);
            }
            Action::Renew { id, generation, latest } => {
                let token = self.keeper.cell.last().filter(|last| *recorded && last.generation() == generation);
                let question = token.map(|token| Question::Renew { token, latest });
                self.attempt(id, Some(TokenSource::Renewal), question, *recorded, events);
            }
            Action::MakeConsent { id, latest } => {
                let question = self.credentials().filter(|_| *recorded).and_then(|known| {
                    Some(Question::ConsentLink { api_key: known.api_key?, api_secret: known.api_secret?, latest })
                });
                self.attempt(id, None, question, *recorded, events);
            }
            Action::DenyConsent(trouble) => self.give_link(Err(trouble)),
            Action::CheckStored { id, generation } => {
                let token = self.keeper.cell.last().filter(|last| last.generation() == generation);
                match token {
                    Some(token) => self.ask(PendingCall::Check { id }, Question::Profile { token }),
                    None => events.push_back(Event::Checked { id, outcome: CheckOutcome::NoAnswer }),
                }
            }
            Action::Show(state) => self.show(&state),
            Action::Wake { at, turn } => self.wake = Some((at, turn)),
        }
    }

    fn attempt(
        &mut self,
        id: u64,
        source: Option<TokenSource>,
        question: Option<Question>,
        recorded: bool,
        events: &mut VecDeque<Event>,
    ) {
        match question {
            Some(question) if self.setup.legs.is_some() => self.ask(PendingCall::Attempt { id, source }, question),
            Some(_) | None => {
                let outcome = match self.unrecorded.filter(|_| !recorded) {
                    Some(trouble) => {
                        self.give_link(Err(trouble.clone()));
                        AttemptOutcome::NotRecorded(trouble.clone())
                    }
                    None => {
                        self.give_link(Err(UNSENT));
                        AttemptOutcome::NotSent
                    }
                };
                events.push_back(Event::Attempt { id, outcome });
            }
        }
    }

    fn credentials(&self) -> Option<CredentialsRecord> {
        match self.shared.store.get::<CredentialsRecord>(&self.keeper.account.name) {
            Ok(known) => known,
            Err(err) => {
                tracing::error!(account = %self.keeper.account.name, error = %err, "the credentials cannot be read");
                None
            }
        }
    }

    fn login(&mut self, strategy: Strategy, latest: Timestamp) -> Option<Question> {
        let known = self.credentials()?;
        match strategy {
            Strategy::PinTotp { step } => {
                Some(Question::PinTotp { pin: known.pin?, totp_secret: known.totp_secret?, step, latest })
            }
            Strategy::Consent => {
                // Kept until the answer: what could not be sent is tried again.
                let token_id = self.token_id.clone()?;
                let (api_key, api_secret) = (known.api_key?, known.api_secret?);
                Some(Question::ConsentToken { token_id, api_key, api_secret, latest })
            }
        }
    }

    /// Ask the broker, aside. An answer comes in any case: a task that fails is an
    /// answer that was lost.
    fn ask(&mut self, errand: PendingCall, question: Question) {
        let Some(legs) = self.setup.legs.clone() else { return };
        let (shared, client_id) = (Arc::clone(&self.shared), self.keeper.account.client_id.clone());
        // A task of its own, so that a login goes on if this keeper ends.
        let begin = move |room: Option<OwnedSemaphorePermit>| -> JoinHandle<Answer> {
            let asking = shared.broker.ask(legs, client_id, question);
            shared.tasks.spawn(async move {
                let _room = room;
                asking.await
            })
        };
        let lost = Answer { skew: None, said: CallResult::Unknown };
        let running = self.running.get_or_insert_default();
        match errand {
            PendingCall::Attempt { .. } => {
                let task = begin(None);
                running.push(Box::pin(async move { (errand, task.await.unwrap_or(lost)) }));
            }
            PendingCall::Check { .. } => {
                let shared = Arc::clone(&self.shared);
                running.push(Box::pin(async move {
                    // What asking takes is made when it has room: after a start every account waits for that.
                    let room = Arc::clone(&shared.checks).acquire_owned();
                    tokio::select! {
                        biased;
                        () = shared.tasks.stopping() => (errand, lost),
                        room = room => (errand, begin(room.ok()).await.unwrap_or(lost)),
                    }
                }));
            }
        }
    }

    async fn answered(&mut self, errand: PendingCall, answer: Answer) {
        let Answer { skew, said } = answer;
        if let Some(skew) = skew {
            self.shared.measured(skew);
        }
        self.clock(skew).await;
        match errand {
            PendingCall::Check { id } => {
                let outcome = match said {
                    CallResult::Checked(outcome) => outcome,
                    CallResult::Token(_) | CallResult::Link(_) | CallResult::Refused(_) | CallResult::Heard => {
                        CheckOutcome::Unclear
                    }
                    CallResult::Unknown | CallResult::NotSent(_) => CheckOutcome::NoAnswer,
                };
                self.feed(Event::Checked { id, outcome }).await;
            }
            PendingCall::Attempt { id, source } => {
                let outcome = match (said, source) {
                    (CallResult::Token(text), Some(source)) => self.minted(text, source).await,
                    (CallResult::Link(url), None) => {
                        let left = self.machine.consents_left(steady::now());
                        self.give_link(Ok(Link { url, left }));
                        AttemptOutcome::ConsentMade
                    }
                    (CallResult::Refused(refusal), _) => {
                        self.give_link(Err(refusal.trouble.clone()));
                        AttemptOutcome::Refused(*refusal)
                    }
                    (CallResult::NotSent(why), _) => {
                        let mut unsent = UNSENT;
                        unsent.summary = format!("{}: {why}", UNSENT.summary).into();
                        self.give_link(Err(unsent));
                        self.machine.could_not_send(why);
                        AttemptOutcome::NotSent
                    }
                    (
                        CallResult::Token(_)
                        | CallResult::Link(_)
                        | CallResult::Checked(_)
                        | CallResult::Heard
                        | CallResult::Unknown,
                        _,
                    ) => {
                        self.give_link(Err(LOST));
                        AttemptOutcome::Unknown
                    }
                };
                if source == Some(TokenSource::Consent) && !matches!(outcome, AttemptOutcome::NotSent) {
                    self.token_id = None;
                }
                self.feed(Event::Attempt { id, outcome }).await;
            }
        }
    }

    fn give_link(&mut self, link: Result<Link, Trouble>) {
        if let Some(wanted) = self.link_wanted.take() {
            let _ = wanted.send(link);
        }
    }

    /// Number a new token, store it, and let it sign.
    async fn minted(&mut self, text: Secret, source: TokenSource) -> AttemptOutcome {
        let name = self.keeper.account.name.clone();
        let mut record = TokenRecord {
            expires_at: expiry_of(&text),
            access_token: text,
            source: source.as_str().to_owned(),
            generation: 0,
            stored_at: steady::now(),
        };
        if let Err(err) = self.save(&mut record).await {
            if matches!(err, SaveError::Gone) {
                return AttemptOutcome::Unknown;
            }
            tracing::error!(account = %name, error = %err, "a new token cannot be stored yet; it signs, and is stored as soon as it can be");
            record.generation = record.generation.max(self.keeper.cell.last().map_or(0, |last| last.generation()) + 1);
            self.unsaved = Some(Box::new(record.clone()));
        }
        self.publish(&record);
        AttemptOutcome::Minted(facts(&record))
    }

    fn publish(&self, record: &TokenRecord) {
        let expires_at = Timestamp::from_second(record.expires_at).unwrap_or(Timestamp::MIN);
        match LiveToken::new(record.access_token.clone(), expires_at, record.source.clone(), record.generation) {
            Ok(live) => self.keeper.cell.set(live),
            Err(why) => tracing::error!(account = %self.keeper.account.name, %why, "a new token cannot be a header"),
        }
    }

    /// Write a token under the next generation.
    async fn save(&mut self, record: &mut TokenRecord) -> Result<(), SaveError> {
        self.write(|store, name| {
            let last = store.get::<TokenRecord>(name)?;
            record.generation = last.as_ref().map_or(0, |last| last.generation) + 1;
            let change = match &last {
                Some(last) => Change::new().unchanged(name, last),
                None => Change::new().absent::<TokenRecord>(name),
            };
            Ok(change.put(name, &*record))
        })
        .await
    }

    async fn save_again(&mut self) {
        if self.unrecorded.is_some() {
            let budget = self.machine.budget().clone();
            self.record(&budget).await;
        }
        let Some(mut record) = self.unsaved.take() else { return };
        let generation = record.generation;
        match self.save(&mut record).await {
            // A higher number than it signs under would be another token to the machine.
            Ok(()) if record.generation == generation => {
                tracing::info!(account = %self.keeper.account.name, "the token that could not be stored is stored");
            }
            Ok(()) => {
                self.publish(&record);
                self.feed(Event::GivenByHand(facts(&record))).await;
            }
            Err(SaveError::Gone) => {}
            Err(SaveError::Store(_)) => {
                record.generation = generation;
                self.unsaved = Some(record);
            }
        }
    }

    async fn record(&mut self, budget: &Budget) -> bool {
        // The next process begins with the host's clock.
        let skew = steady::brokers_ahead_of_host().unwrap_or(budget.skew);
        let Ok(json) = serde_json::to_value(Budget { skew, ..budget.clone() }) else { return false };
        let record = LoginRecord(json);
        let written = self.write(|_, name| Ok(Change::new().put(name, &record))).await;
        let told = self.unrecorded.take().is_some();
        if let Err(err) = &written {
            let is_full = matches!(err, SaveError::Store(err) if err.is_full());
            self.unrecorded = Some(if is_full { &FULL } else { &UNWRITTEN });
            let account = &self.keeper.account.name;
            // Once until it can be: it is tried again every few seconds.
            if !told {
                tracing::error!(%account, error = %err, "what logins spend cannot be written; none is made until it can be");
            }
        }
        written.is_ok()
    }

    /// Commit a change while the account is still the one this keeper was made for.
    /// It is made anew when somebody else has written meanwhile.
    async fn write(
        &mut self,
        mut change: impl FnMut(&Store, &AccountName) -> Result<Change, StoreError>,
    ) -> Result<(), SaveError> {
        let (account, store) = (self.keeper.account.clone(), self.shared.store.clone());
        let own =
            |record: &AccountRecord| record.created_at == account.created_at && record.client_id == account.client_id;
        let mut tries = 0;
        loop {
            let record = store.get::<AccountRecord>(&account.name)?;
            let Some(record) = record.filter(own) else { return Err(SaveError::Gone) };
            let change = change(&store, &account.name)?.unchanged(&account.name, &record);
            match store.commit(change).await {
                Err(StoreError::Conflict { .. }) if tries < WRITES => tries += 1,
                done => return Ok(done?),
            }
        }
    }

    fn show(&self, state: &State) {
        let account = &self.keeper.account.name;
        let trouble = self.machine.trouble();
        let (code, summary) = (trouble.map(|t| &*t.code), trouble.map(|t| &*t.summary));
        self.shared.events.tell(Subject::Token, account, || {
            let error = trouble.map(|t| json!({ "code": t.code, "summary": t.summary, "action": t.action.replace("{name}", account.as_str()) }));
            json!({ "state": state.as_str(), "last_error": error })
        });
        match state {
            State::NeedsPerson { .. } => {
                tracing::warn!(%account, state = state.as_str(), code, summary, "the account's token needs a person");
            }
            State::Absent | State::Minting | State::Live | State::Refreshing | State::Waiting { .. } => {
                tracing::info!(%account, state = state.as_str(), code, summary, "the account's token");
            }
        }
    }

    fn tell(&mut self) {
        // What was taken up and is asked about no more is settled, and its next refusal is a new one.
        if let Some(doubt) = self.doubt.take_if(|doubt| self.machine.asking() != Some(doubt.generation)) {
            self.keeper.cell.settled(doubt);
        }
        self.keeper.cell.measured(self.machine.skew());
        let live = self.keeper.cell.live();
        self.keeper.cell.stand(TokenStatus {
            state: Some(self.machine.state().clone()),
            trouble: self.unsaved.is_some().then_some(UNSAVED).or_else(|| self.machine.trouble().cloned()),
            refusals_seen: self.refusals_seen,
            signing: live.ok().map(|token| token.generation()),
            skew: self.machine.skew(),
        });
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.give_link(Err(ENDED));
    }
}

/// The end of a token that was checked to have one.
fn expiry_of(text: &Secret) -> i64 {
    use crate::domain::secret::ExposeSecret;
    crate::broker::dhan::token::Claims::read(text.expose_secret()).map_or(0, |claims| claims.expires_at)
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("the account is gone or is another one now")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

static UNWRITTEN: Trouble = Trouble::new(
    "login_not_recorded",
    "the gateway's state cannot be written, and a login that is not counted is not made; the account's legs are not at fault",
    "see the log for what is wrong with the disk of state.path; it goes on by itself once that can be written",
);
static FULL: Trouble = Trouble::new(
    "disk_full",
    "the disk of the gateway's state is full, and a login that is not counted is not made; the account's legs are not at fault",
    "free room on the disk of state.path (df -h, df -i); it goes on by itself within seconds",
);
const UNSAVED: Trouble = Trouble::new(
    "token_not_saved",
    "the token signs, but could not be saved, because the gateway's state cannot be written (most often the disk is full)",
    "free room on the disk of state.path (df -h, df -i); it is saved by itself within seconds, and until then a restart \
     would log in anew",
);
const UNSENT: Trouble = Trouble::new(
    "login_not_sent",
    "no connection to the broker could be made to ask for a login link",
    "see the account's legs, then try again",
);
const LOST: Trouble = Trouble::new(
    "login_lost",
    "the broker did not answer when asked for a login link",
    "try again; the link that was lost counts among today's 25",
);
