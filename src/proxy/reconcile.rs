//! Asking the broker what became of a write whose answer was lost.
//!
//! On both legs in turn, for up to `orders.reconcile_for`: the line that lost the
//! answer may be dead, and reading needs no registered address. One order and the book
//! are asked for side by side, so that a book that hangs costs no other question its time. Searches of one customer that
//! want the same answer share it (`shared`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Proxy;
use super::question::{self, Question};
use super::shared::{Answer, Key, Shared};
use crate::accounts::Account;
use crate::domain::{Authority, Role};
use crate::legs::{Leg, Purpose, Reuse};
use crate::orders::trail::{Bounds, Finding, Search, Trail};
use crate::tokens::LiveToken;

/// What came of looking for a lost write.
pub(super) enum Looked {
    /// It was carried out: the body of the reply that was lost.
    Executed(Bytes),
    /// Nothing was done. For a placement that the broker took and refused, the body of the reply that says so.
    Rejected(Option<Bytes>),
    /// Nobody can say.
    NotFound,
}

/// How long the book waits for the question after one order, which mostly settles it.
const HEAD_START: Duration = Duration::from_millis(300);

/// How long what one order's question found waits for the book to say that there is no other.
const SECOND_WORD: Duration = Duration::from_secs(1);

/// Between two questions, growing: an order may show a moment after it was taken.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

/// One search: what all its questions share.
struct Looking<'a> {
    proxy: &'a Proxy,
    account: &'a Account,
    trail: &'a Trail,
    to: &'a Authority,
    legs: [&'a Leg; 2],
    search: Mutex<Search<'a>>,
    /// The first lane has its first answer.
    begun: Notify,
    by: Instant,
    /// Of one question: half of the time that there is, if that is less, so that both legs get one.
    longest: Duration,
}

impl Proxy {
    /// Look for a write that `account` sent to `to`, from the leg `first` and the other
    /// in turn, for up to `patience`. What is found is this write's from then on.
    pub(super) async fn look_for(
        &self,
        trail: &Trail,
        account: &Account,
        to: &Authority,
        first: Role,
        patience: Duration,
    ) -> Looked {
        let lanes = trail.lanes();
        let Some(legs) = account.legs.as_ref() else { return Looked::NotFound };
        let looking = Looking {
            proxy: self,
            account,
            trail,
            to,
            legs: [legs.leg(first), legs.leg(first.other())],
            search: Mutex::new(trail.search()),
            begun: Notify::new(),
            by: Instant::now() + patience,
            longest: question::LONGEST.min(patience / 2),
        };
        let mut asking: FuturesUnordered<_> =
            lanes.iter().enumerate().map(|(nth, paths)| looking.ask(paths, nth == 0)).collect();
        while let Some(looked) = asking.next().await {
            if let Some(looked) = looked {
                return looked;
            }
        }
        Looked::NotFound
    }
}

impl Looking<'_> {
    /// Ask these paths until something is settled, or there is no time left.
    async fn ask(&self, paths: &[String], first: bool) -> Option<Looked> {
        // Each leg asks each path before any is asked again.
        let rounds = paths.iter().flat_map(|path| self.legs.map(|leg| (path, leg, self.wanted(leg, path))));
        let rounds = rounds.collect::<Vec<_>>();
        // What others want too is asked for once, for all of them.
        if !first && !rounds.iter().any(|(_, _, question)| question.is_wanted_by_several()) {
            let start = (Instant::now() + HEAD_START).min(self.by);
            let _ = timeout_at(start, self.begun.notified()).await;
        }
        let mut pause = PAUSES.0;
        for (path, leg, question) in rounds.iter().cycle() {
            if Instant::now() >= self.by {
                break;
            }
            let Ok(token) = self.account.token.wait(0, self.by).await else { break };
            let answer = question.put(Instant::now(), self.counted(&token, leg, path));
            if let Ok(Some((status, body))) = timeout_at(self.by, answer).await {
                lock(&self.search).hear(path, status, &body);
            }
            if first {
                self.begun.notify_one();
            }
            if !matches!(self.finding(), Finding::Open) {
                if !lock(&self.search).is_sure() {
                    // The book may show that there is another; the lane that asks it says so then.
                    sleep_until((Instant::now() + SECOND_WORD.min(self.longest)).min(self.by)).await;
                }
                if let Some(looked) = self.settled() {
                    return Some(looked);
                }
            }
            sleep_until((Instant::now() + pause).min(self.by)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        None
    }

    fn wanted(&self, leg: &Leg, path: &str) -> Arc<Shared> {
        let customer = self.account.client_id().clone();
        let key = Key { customer, source: leg.source(), to: self.to.clone(), path: path.to_owned() };
        self.proxy.questions.wanted(key)
    }

    /// One question, once the broker's limit lets it pass.
    async fn counted(&self, token: &LiveToken, leg: &Leg, path: &str) -> Answer {
        let gate = self.proxy.orders.gate(self.account.client_id());
        timeout_at(self.by, gate.enter(question::ask(path))).await.ok()?.ok()?;
        let limit = self.by.saturating_duration_since(Instant::now()).min(self.longest);
        self.question(token, leg, path, limit).await
    }

    fn finding(&self) -> Finding {
        let orders = &self.proxy.orders;
        let customer = self.account.client_id();
        let window =
            self.trail.sent().and_then(|sent| orders.broker_clock.window(sent, Instant::now(), Timestamp::now()));
        let bounds = Bounds { known: &|id| orders.known.has(customer, id), window };
        lock(&self.search).finding(&bounds)
    }

    /// What is found, now this write's. `None` when nothing is, or another write was faster to take it.
    fn settled(&self) -> Option<Looked> {
        let known = &self.proxy.orders.known;
        let takes = |placed: &[Box<str>]| self.trail.is_found() || known.claim(self.account.client_id(), placed);
        match self.finding() {
            Finding::Executed(found) if takes(&found.placed) => Some(Looked::Executed(found.body.to_string().into())),
            Finding::Rejected(Some(found)) if takes(&found.placed) => {
                Some(Looked::Rejected(Some(found.body.to_string().into())))
            }
            Finding::Rejected(None) => Some(Looked::Rejected(None)),
            Finding::Executed(_) | Finding::Rejected(Some(_)) | Finding::Open => None,
        }
    }

    /// One question, by one leg. `None` when there was no answer.
    async fn question(&self, token: &LiveToken, leg: &Leg, path: &str, limit: Duration) -> Answer {
        let ask = async {
            // What lost the answer has had its leg's idle connections forgotten (`Leg::suspect`), so
            // one that lies idle is of another question, and good.
            let lease = leg.lease(self.to, Purpose::Read, Reuse::Idle, Instant::now() + limit).await.ok()?;
            let question = Question { account: self.account, token, to: self.to, path, limit };
            question.put(self.proxy, leg, lease).await
        };
        let answer = tokio::time::timeout(limit, ask).await.ok().flatten();
        if answer.is_none() {
            tracing::info!(account = %self.account.name, leg = leg.role().as_str(), at = %Timestamp::now(),
                "a question about a lost order write was not answered");
        }
        answer
    }
}

fn lock<'g, 'a>(search: &'g Mutex<Search<'a>>) -> std::sync::MutexGuard<'g, Search<'a>> {
    search.lock().unwrap_or_else(PoisonError::into_inner)
}
