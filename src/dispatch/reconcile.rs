//! Asking the broker what became of a write whose answer was lost.
//!
//! On both legs in turn, for up to `orders.reconcile_for`: the line that lost the
//! answer may be dead, and reading needs no registered address. One order and the book
//! are asked for side by side, so that a book that hangs costs no other question its time. Searches of one customer that
//! want the same answer share it (`shared`), and leave one another the broker's limit: while the book answers, none of
//! several asks for its one order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::context::Dispatcher;
use super::question::{self, BrokerQuestion};
use super::shared::{BrokerAnswer, QuestionKey, SharedQuestion};
use crate::accounts::Account;
use crate::domain::{Authority, BootInstant, Role};
use crate::legs::{Leg, Purpose, Reuse};
use crate::orders::lookup::{Bounds, Evidence, Lookup, Search};
use crate::tokens::LiveToken;

/// What came of looking for a lost write.
pub(super) enum LookupResult {
    /// It was carried out: the body of the reply that was lost.
    Executed(Bytes),
    /// Nothing was done. For a placement that the broker took and refused, the body of the reply that says so.
    Rejected(Option<Bytes>),
    /// Nobody can say.
    NotFound,
}

/// How long the book waits for the question after one order, which mostly settles it; and where several want the book,
/// how long those questions wait for it.
const HEAD_START: Duration = Duration::from_millis(300);

/// How long what one order's question found waits for the book to say that there is no other.
const SECOND_WORD: Duration = Duration::from_secs(1);

/// The least that is worth beginning a question for.
const LEAST: Duration = Duration::from_millis(50);

/// Between two questions, growing: an order may show a moment after it was taken.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

/// One search: what all its questions share.
struct Looking<'a> {
    dispatcher: &'a Dispatcher,
    account: &'a Account,
    lookup: &'a Lookup,
    to: &'a Authority,
    legs: [&'a Leg; 2],
    search: Mutex<Search<'a>>,
    /// The first lane has its first answer.
    begun: Notify,
    /// The book has answered once more.
    listed: Notify,
    since: Instant,
    /// Half of the time is gone.
    half: Instant,
    by: Instant,
    /// Of one question: half of the time that there is, if that is less, so that both legs get one.
    longest: Duration,
}

/// What a lane asks in turn.
struct Round<'a> {
    path: &'a str,
    leg: &'a Leg,
    question: Arc<SharedQuestion>,
}

/// One order, the book, or the only one that there is.
enum QuestionLane<'a> {
    /// One order; and the rounds of the lane that asks for the book.
    One(&'a [Round<'a>]),
    Book,
    Only,
}

impl Dispatcher {
    /// Look for a write that `account` sent to `to`, from the leg `first` and the other
    /// in turn, for up to `patience`. What is found is this write's from then on.
    pub(super) async fn look_for(
        &self,
        lookup: &Lookup,
        account: &Account,
        to: &Authority,
        first: Role,
        patience: Duration,
    ) -> LookupResult {
        let lanes = lookup.lanes();
        let Some(legs) = account.legs.as_ref() else { return LookupResult::NotFound };
        let looking = Looking {
            dispatcher: self,
            account,
            lookup,
            to,
            legs: [legs.leg(first), legs.leg(first.other())],
            search: Mutex::new(lookup.search()),
            begun: Notify::new(),
            listed: Notify::new(),
            since: Instant::now(),
            half: Instant::now() + patience / 2,
            by: Instant::now() + patience,
            longest: question::LONGEST.min(patience / 2),
        };
        let rounds: Vec<_> = lanes.iter().map(|paths| looking.rounds(paths)).collect();
        let lookups = FuturesUnordered::new();
        match rounds.as_slice() {
            [] => {}
            [only] => lookups.push(looking.look_up(only, QuestionLane::Only)),
            [one, book, ..] => {
                lookups.push(looking.look_up(one, QuestionLane::One(book)));
                lookups.push(looking.look_up(book, QuestionLane::Book));
            }
        }
        let mut lookups = lookups;
        while let Some(looked) = lookups.next().await {
            if let Some(looked) = looked {
                return looked;
            }
        }
        LookupResult::NotFound
    }
}

impl Looking<'_> {
    /// Each leg asks each path before any is asked again.
    fn rounds<'p>(&'p self, paths: &'p [String]) -> Vec<Round<'p>> {
        let round = |path: &'p str, leg: &'p Leg| {
            let customer = self.account.client_id().clone();
            let key = QuestionKey { customer, source: leg.source(), to: self.to.clone(), path: path.to_owned() };
            Round { path, leg, question: self.dispatcher.questions.wanted(key) }
        };
        paths.iter().flat_map(|path| self.legs.map(|leg| round(path, leg))).collect()
    }

    /// Ask in turn until something is settled, or there is no time left.
    async fn look_up(&self, rounds: &[Round<'_>], lane: QuestionLane<'_>) -> Option<LookupResult> {
        if matches!(lane, QuestionLane::Book) && !is_shared(rounds) {
            let _ = timeout_at(self.soon(HEAD_START), self.begun.notified()).await;
        }
        let (mut pause, mut heard, mut asked) = (PAUSES.0, self.since, false);
        for Round { path, leg, question } in rounds.iter().cycle() {
            if Instant::now() >= self.by {
                break;
            }
            let Ok(token) = self.account.token.wait(0, self.by).await else { break };
            let needed = match lane {
                QuestionLane::One(book) if is_shared(book) => {
                    let listed = timeout_at(self.soon(HEAD_START), self.listed.notified()).await;
                    // Once, all the same, when the book had its time: a row of it may not show the id.
                    listed.is_err() || (!asked && Instant::now() >= self.half)
                }
                QuestionLane::One(_) | QuestionLane::Book | QuestionLane::Only => true,
            };
            // The other lane may have settled it while this waited.
            if needed && Instant::now() < self.by {
                asked = true;
                // What another search was answered since is as good, unless it is older than a round.
                let since = Instant::now().checked_sub(pause).map_or(heard, |at| at.max(heard));
                let answer = question.put(since, self.longest, self.counted(&token, leg, path));
                if let Ok(Some((status, body))) = timeout_at(self.by, answer).await {
                    let is_list = lock(&self.search).hear(path, status, &body);
                    self.account.heard_of_orders(&self.dispatcher.orders, path, status, &body);
                    if is_list && matches!(lane, QuestionLane::Book) {
                        self.listed.notify_one();
                    }
                }
                heard = Instant::now();
            }
            if matches!(lane, QuestionLane::One(_)) {
                self.begun.notify_one();
            }
            if !matches!(self.finding(), Evidence::Open) {
                if !lock(&self.search).is_sure() {
                    // The book may show that there is another; the lane that asks it says so then.
                    sleep_until(self.soon(SECOND_WORD.min(self.longest))).await;
                }
                if let Some(looked) = self.settled() {
                    return Some(looked);
                }
            }
            sleep_until(self.soon(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        None
    }

    /// So much later, or when there is no time left.
    fn soon(&self, wait: Duration) -> Instant {
        (Instant::now() + wait).min(self.by)
    }

    /// One question, once the broker's limit lets it pass.
    async fn counted(&self, token: &LiveToken, leg: &Leg, path: &str) -> BrokerAnswer {
        let gate = self.dispatcher.orders.gate(self.account.client_id());
        timeout_at(self.by, gate.enter(question::rate_request(path))).await.ok()?.ok()?;
        let limit = self.by.saturating_duration_since(Instant::now()).min(self.longest);
        // A leg that gets no time to connect would be taken for one that cannot.
        if limit < LEAST {
            return None;
        }
        self.question(token, leg, path, limit).await
    }

    fn finding(&self) -> Evidence {
        let orders = &self.dispatcher.orders;
        let customer = self.account.client_id();
        let window =
            self.lookup.sent().and_then(|sent| orders.broker_clock.window(sent, BootInstant::now(), Timestamp::now()));
        let bounds = Bounds { known: &|id| orders.known.has(customer, id), window };
        lock(&self.search).finding(&bounds)
    }

    /// What is found, now this write's. `None` when nothing is, or another write was faster to take it.
    fn settled(&self) -> Option<LookupResult> {
        let known = &self.dispatcher.orders.known;
        let takes = |placed: &[Box<str>]| self.lookup.is_found() || known.claim(self.account.client_id(), placed);
        match self.finding() {
            Evidence::Executed(found) if takes(&found.placed) => {
                Some(LookupResult::Executed(found.body.to_string().into()))
            }
            Evidence::Rejected(Some(found)) if takes(&found.placed) => {
                Some(LookupResult::Rejected(Some(found.body.to_string().into())))
            }
            Evidence::Rejected(None) => Some(LookupResult::Rejected(None)),
            Evidence::Executed(_) | Evidence::Rejected(Some(_)) | Evidence::Open => None,
        }
    }

    /// One question, by one leg. `None` when there was no answer.
    async fn question(&self, token: &LiveToken, leg: &Leg, path: &str, limit: Duration) -> BrokerAnswer {
        let question = async {
            // What lost the answer has had its leg's idle connections forgotten (`Leg::suspect`), so
            // one that lies idle is of another question, and good.
            let lease = leg.lease(self.to, Purpose::Read, Reuse::Idle, Instant::now() + limit).await.ok()?;
            let question = BrokerQuestion { account: self.account, token, to: self.to, path, limit };
            question.put(self.dispatcher, leg, lease).await
        };
        let answer = tokio::time::timeout(limit, question).await.ok().flatten();
        if answer.is_none() {
            tracing::info!(account = %self.account.name, leg = leg.role().as_str(), at = %Timestamp::now(),
                "a question about a lost order write was not answered");
        }
        answer
    }
}

/// Do other searches ask this too?
fn is_shared(rounds: &[Round<'_>]) -> bool {
    rounds.iter().any(|round| round.question.is_wanted_by_several())
}

fn lock<'g, 'a>(search: &'g Mutex<Search<'a>>) -> std::sync::MutexGuard<'g, Search<'a>> {
    search.lock().unwrap_or_else(PoisonError::into_inner)
}
