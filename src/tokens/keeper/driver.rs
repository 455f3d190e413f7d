//! A keeper at work: events to the machine, its actions to the world.
//!
//! Not here: calls to the broker (`calls`), what is written to the store (`persistence`), and when to wake (`timer`).

mod calls;
mod clock;
mod persistence;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::oneshot;

use super::mailbox::{KeeperMessage, Mailbox};
use super::receiver::Receiver;
use super::request::{KeeperRequest, Link};
use super::timer::{WakeCause, due};
use super::{BrokerReply, BrokerRequest, ENDED, Keeper, Keepers, KeptAccount, Setup};
use crate::domain::{Secret, clocks, lock, steady};
use crate::store::records::TokenRecord;
use crate::telemetry::events::Subject;
use crate::tokens::cell::{Doubt, TokenCell};
use crate::tokens::lifecycle::{
    Action, Budget, By, CheckOutcome, Event, Lifecycle, State, Strategy, TokenSource, Trouble,
};
use crate::tokens::live::facts;
use crate::tokens::status::TokenStatus;

/// How soon what could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

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
            cell.revoke(dead);
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
                Some(KeeperMessage::Request(request)) => Box::pin(work.handle(request)).await,
                Some(KeeperMessage::Changed) => Box::pin(work.look()).await,
                None => break,
            },
            due = due(&work.shared, work.wake, work.epoch, work.parted), if !stopping => match due {
                WakeCause::Moment { turn } => Box::pin(work.woken(turn)).await,
                WakeCause::ClocksParted => Box::pin(work.clocks_parted()).await,
            },
        }
    }
}

/// The next answer; `None` when no more is to come, and nothing while none was asked for.
async fn next_of(running: &mut Option<Running>) -> Option<(PendingCall, BrokerReply)> {
    match running {
        Some(running) => running.next().await,
        None => std::future::pending().await,
    }
}

type Running = FuturesUnordered<futures_util::future::BoxFuture<'static, (PendingCall, BrokerReply)>>;

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
                self.publish_status();
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
        self.keeper.cell.restore(generation);
    }

    async fn woken(&mut self, turn: bool) {
        self.wake = None;
        self.save_again().await;
        if turn {
            self.measure_clock().await;
        }
        // Another account's login may have measured what a code of ours hangs on.
        self.clock(self.shared.skew()).await;
        self.feed(Event::Woken { turn }).await;
    }

    async fn handle(&mut self, request: KeeperRequest) {
        match request {
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
            let actions = self.machine.handle(event, steady::now(), self.shared.broker.calendar());
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
        self.publish_status();
    }

    async fn act(&mut self, action: Action, recorded: &mut bool, events: &mut VecDeque<Event>) {
        match action {
            Action::Record(budget) => *recorded = self.record(&budget).await,
            Action::Sign(Some(generation)) => self.revive(generation),
            Action::Sign(None) => {
                if let Some(last) = self.machine.token() {
                    self.keeper.cell.revoke(last.generation);
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
                let question = token.map(|token| BrokerRequest::Renew { token, latest });
                self.attempt(id, Some(TokenSource::Renewal), question, *recorded, events);
            }
            Action::MakeConsent { id, latest } => {
                let question = self.credentials().filter(|_| *recorded).and_then(|known| {
                    Some(BrokerRequest::ConsentLink { api_key: known.api_key?, api_secret: known.api_secret?, latest })
                });
                self.attempt(id, None, question, *recorded, events);
            }
            Action::DenyConsent(trouble) => self.give_link(Err(trouble)),
            Action::CheckStored { id, generation } => {
                let token = self.keeper.cell.last().filter(|last| last.generation() == generation);
                match token {
                    Some(token) => self.call(PendingCall::Check { id }, BrokerRequest::Profile { token }),
                    None => events.push_back(Event::Checked { id, outcome: CheckOutcome::NoAnswer, why: None }),
                }
            }
            Action::Show(state) => self.show(&state),
            Action::Wake { at, turn } => self.wake = Some((at, turn)),
        }
    }

    fn show(&self, state: &State) {
        let account = &self.keeper.account.name;
        let trouble = self.machine.trouble();
        let (code, summary) = (trouble.map(|t| &*t.code), trouble.map(|t| &*t.summary));
        let action = |t: &Trouble| t.action.replace("{name}", account.as_str());
        let error = trouble.map(|t| json!({ "code": t.code, "summary": t.summary, "action": action(t) }));
        let event = json!({ "state": state.as_str(), "last_error": error });
        self.shared.events.publish(Subject::Token, account, move || event.clone());
        match state {
            State::NeedsPerson { .. } => {
                tracing::warn!(%account, state = state.as_str(), code, summary, "the account's token needs a person");
            }
            State::Absent | State::Minting | State::Live | State::Refreshing | State::Waiting { .. } => {
                tracing::info!(%account, state = state.as_str(), code, summary, "the account's token");
            }
        }
    }

    fn publish_status(&mut self) {
        // What was taken up and is asked about no more is settled, and its next refusal is a new one.
        if let Some(doubt) = self.doubt.take_if(|doubt| self.machine.checking() != Some(doubt.generation)) {
            self.keeper.cell.clear_doubt(doubt);
        }
        self.keeper.cell.measured(self.machine.skew());
        let live = self.keeper.cell.live();
        self.keeper.cell.publish(TokenStatus {
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

const UNSAVED: Trouble = Trouble::new(
    "token_not_saved",
    "the token signs, but could not be saved, because the gateway's state cannot be written (most often the disk is full)",
    "free room on the disk of state.path (df -h, df -i); it is saved by itself within seconds, and until then a restart \
     would log in anew",
);
