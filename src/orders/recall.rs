//! What the journal remembers for us after a restart: the writes of the last day, by
//! the ids they can be repeated with, and what has been used of the broker's limits.
//!
//! An intent without an outcome is a write of which nobody knows what became: it is
//! taken for "unknown", and whoever repeats it has the broker asked first.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;

use super::Orders;
use super::broker_clock::SentAt;
use super::day;
use super::journal::{Entry, Kind, Word};
use super::limits::Ask;
use super::memory::{Key, Recorded, Said, Span, Write};
use super::trail::Trail;
use crate::domain::{AccountName, ClientId, Outcome};

/// A write whose end the journal does not tell.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The account.
    pub account: AccountName,
    /// The broker's customer that it was.
    pub customer: ClientId,
    /// Its last intent line, for the outcome line that is to follow.
    pub intent: Entry,
    /// What it can be found by here.
    pub keys: Vec<Key>,
    /// What it was.
    pub write: Write,
}

/// What was found in the journal.
#[derive(Debug, Default)]
pub struct Recalled {
    /// Writes that are remembered.
    pub writes: usize,
    /// Those of which nobody knows what became.
    pub unsettled: Vec<Unsettled>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

/// The last that the journal says of a request.
struct Last {
    customer: ClientId,
    intent: Entry,
    outcome: Option<Entry>,
}

impl Orders {
    /// Read the last day back. `customer` says whose a line is: an account's name may have
    /// been another customer's when it was written. Reads files: not on a worker of the runtime.
    ///
    /// # Errors
    /// When the journal's folder cannot be listed.
    pub fn recall(&self, now: Timestamp, customer: impl Fn(&Entry) -> Option<ClientId>) -> io::Result<Recalled> {
        let mut recalled = Recalled::default();
        let mut requests: HashMap<(AccountName, String), Last> = HashMap::new();
        let mut order = Vec::new();
        let mut used: HashMap<ClientId, Vec<(Timestamp, Ask)>> = HashMap::new();
        let mut lines = self.journal.read_back(day::look_back(now), now)?;
        for line in lines.by_ref() {
            let Ok(line) = line else {
                // Where and what it means is told when all of it was read.
                recalled.unreadable += 1;
                continue;
            };
            let entry = line.entry;
            let (Some(account), Some(request_id)) = (entry.account.clone(), entry.request_id.clone()) else { continue };
            let Some(customer) = customer(&entry) else { continue };
            if let Some(ask) = Ask::of_entry(&entry) {
                used.entry(customer.clone()).or_default().push((entry.at, ask));
            }
            let id = (account, request_id.as_str().to_owned());
            match entry.kind {
                Kind::Intent => {
                    if requests.insert(id.clone(), Last { customer, intent: entry, outcome: None }).is_none() {
                        order.push(id);
                    }
                }
                // One without an intent is what was learnt when an unsettled one was asked about.
                Kind::Outcome => match requests.get_mut(&id) {
                    Some(last) => last.outcome = Some(entry),
                    None => {
                        order.push(id.clone());
                        requests.insert(id, Last { customer, intent: entry.clone(), outcome: Some(entry) });
                    }
                },
                Kind::Note => {}
            }
        }
        self.journal.was_read_back(lines);
        for (customer, past) in used {
            self.gate(&customer).rebuild(past, now);
        }
        // Oldest first, so that of two writes under one id the later one is remembered.
        for id in order {
            if let Some(last) = requests.remove(&id) {
                self.remember(id.0, last, now, &mut recalled);
            }
        }
        Ok(recalled)
    }

    fn remember(&self, account: AccountName, last: Last, now: Timestamp, recalled: &mut Recalled) {
        let Last { customer, intent, outcome } = last;
        let (Some(method), Some(path), Some(body_sha256)) =
            (intent.method.clone(), intent.path.clone(), intent.body_sha256)
        else {
            return;
        };
        let values = intent.write_sha256.map_or(Said::Bytes(body_sha256), Said::Values);
        let write = Write { method: method.clone(), path: path.clone(), values, body_sha256 };
        let keys = keys_of(&intent);
        let known = outcome.as_ref().and_then(|entry| entry.outcome).unwrap_or(Outcome::Unknown);
        let correlation_id = intent.correlation_id.as_ref().map(|id| Arc::clone(id.shared()));
        let recorded = Recorded {
            outcome: known,
            status: outcome.as_ref().and_then(|entry| entry.status).unwrap_or(0),
            content_type: None,
            body: Bytes::new(),
            order_id: outcome.as_ref().and_then(|entry| entry.order_ids().next().map(Into::into)),
            correlation_id,
            recovered: outcome.as_ref().is_some_and(|entry| entry.recovered == Some(true)),
            trail: (known == Outcome::Unknown).then(|| Arc::new(trail_of(&intent))),
        };
        // Also those that the broker took and refused.
        if let Some(entry) = outcome.as_ref().filter(|_| method == Method::POST && known != Outcome::Unknown) {
            self.known.note(&customer, entry.order_ids());
        }
        // Proven not to have been done: a repeat is a first try, as if nothing had been.
        if matches!(known, Outcome::NotSent | Outcome::Rejected) {
            return;
        }
        let request_id = intent.request_id.as_ref().map_or_else(|| "".into(), |id| Arc::clone(id.shared()));
        let after_market = intent.terms().iter().any(|terms| terms.after_market);
        // Over a restart only the journal's own times tell how old something is.
        let taken = self.moment_of(intent.at, now);
        let span = Span { now: taken, until: taken.after(day::remembered_for(intent.at, after_market)) };
        if outcome.is_none() {
            recalled.unsettled.push(Unsettled {
                account,
                customer: customer.clone(),
                intent,
                keys: keys.clone(),
                write: write.clone(),
            });
        }
        if !keys.is_empty() {
            recalled.writes += 1;
            self.memory.remember(&customer, &keys, write, request_id, recorded, span);
        }
    }
}

/// What a write in the journal can be known again by. A change's own id is no name of that change.
fn keys_of(intent: &Entry) -> Vec<Key> {
    let creates = intent.method == Some(Method::POST);
    let word = |text: &str| Key::Correlation(Arc::clone(Word::new(text).shared()));
    let own = intent.correlation_id.iter().map(|id| Key::Correlation(Arc::clone(id.shared())));
    // Those of a multi-order.
    let of_each = intent.terms().iter().filter_map(|terms| Some(word(terms.correlation_id.as_deref()?)));
    let mut keys: Vec<Key> = own.chain(of_each).filter(|_| creates).collect();
    keys.dedup();
    keys.extend(intent.idempotency_key.as_ref().map(|key| Key::Idempotency(Arc::clone(key.shared()))));
    keys
}

/// What the journal's line leaves to look for, from when it was written.
pub fn trail_of(intent: &Entry) -> Trail {
    let (Some(method), Some(path)) = (&intent.method, &intent.path) else { return Trail::default() };
    let id = intent.correlation_id.as_ref().map(Word::shared);
    let trail = Trail::from_terms(method, path.as_str(), id, intent.terms());
    trail.leaves(SentAt::Written(intent.at));
    trail
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::super::journal::PathText;
    use super::super::limits::Rules;
    use super::super::memory::{Asker, Found};
    use super::*;

    fn orders(dir: &tempfile::TempDir) -> Orders {
        let rules = Rules::new(crate::broker::dhan::limits::limits(), 0.05);
        Orders::open(&dir.path().join("journal"), false, Duration::from_secs(86_400), rules, Duration::from_secs(1))
            .unwrap()
    }

    fn intent(request: &str, correlation: &str, body: u8) -> Entry {
        let mut entry = Entry::new(Kind::Intent, Timestamp::now());
        entry.request_id = Some(Word::new(request));
        entry.account = Some(AccountName::parse("alpha").unwrap());
        entry.method = Some(Method::POST);
        entry.path = Some(PathText::new("/v2/orders"));
        entry.correlation_id = Some(Word::new(correlation));
        entry.body_sha256 = Some([body; 32]);
        entry
    }

    /// The folder, once the journal in it is closed.
    fn dir_of(orders: Orders, dir: tempfile::TempDir) -> tempfile::TempDir {
        drop(orders);
        dir
    }

    /// A process that was killed at any line must not send again what it may have sent.
    #[test]
    fn a_restart_knows_what_was_done_and_what_nobody_knows() {
        let dir = tempfile::tempdir().unwrap();
        let before = orders(&dir);
        let own = ClientId::parse("1000000001").unwrap();
        for (request, correlation, outcomes) in [
            ("r1", "done", vec![Outcome::Executed]),
            ("r2", "refused", vec![Outcome::Rejected]),
            ("r3", "lost", vec![Outcome::Unknown]),
            ("r4", "cut", vec![]),
            ("r5", "moved", vec![Outcome::Rejected, Outcome::Executed]),
        ] {
            let line = intent(request, correlation, 1);
            before.journal.append(&line).unwrap();
            let last = outcomes.len();
            for (n, outcome) in outcomes.into_iter().enumerate() {
                let mut end = line.outcome(outcome, Timestamp::now());
                end.order_id = (outcome == Outcome::Executed).then(|| Word::new("77"));
                end.status = Some(200);
                before.journal.append(&end).unwrap();
                if n + 1 < last {
                    before.journal.append(&line).unwrap();
                }
            }
        }
        drop(before);
        let after = orders(&dir);
        let recalled = after.recall(Timestamp::now(), |_| Some(own.clone())).unwrap();
        assert_eq!(recalled.unsettled.len(), 1);
        assert_eq!(recalled.unsettled[0].intent.correlation_id, Some(Word::new("cut")));
        assert_eq!((recalled.writes, recalled.unreadable), (4, 0));
        let take = |id: &str, body: u8| {
            let (path, values) = (PathText::new("/v2/orders"), Said::Values([body; 32]));
            let write = Write { method: Method::POST, path, values, body_sha256: [body; 32] };
            let asker = Asker { request_id: "r".into(), gone: CancellationToken::new() };
            let span = Span { now: after.now(), until: after.now().after(Duration::from_hours(1)) };
            after.memory.take(&own, &[Key::Correlation(id.into())], &write, &asker, span)
        };
        let Found::Done(first, done) = take("done", 1) else { panic!("a second send") };
        assert_eq!(&*first, "r1");
        assert_eq!(done.order_id.as_deref(), Some("77"));
        assert!(matches!(take("moved", 1), Found::Done(..)));
        assert!(matches!(take("done", 2), Found::Conflict(..)));
        assert!(matches!(take("lost", 1), Found::Unknown(..)));
        let Found::Unknown(_, _, cut) = take("cut", 1) else { panic!("a second send") };
        assert_eq!(cut.trail.as_ref().unwrap().paths().first().map(String::as_str), Some("/v2/orders/external/cut"));
        assert!(matches!(take("refused", 1), Found::Fresh(_)));
        assert!(matches!(take("new", 1), Found::Fresh(_)));
        // Of another customer's, none of it is.
        assert_eq!(orders(&dir_of(after, dir)).recall(Timestamp::now(), |_| None).unwrap().writes, 0);
    }
}
