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
use super::idempotency::{BodyDigest, RememberedSpan, Write, WriteKey, WriteResult};
use super::journal::{Entry, Kind, SafeText};
use super::limits::RateRequest;
use super::lookup::Lookup;
use crate::domain::{AccountName, ClientId, Outcome};

/// A write whose end the journal does not tell.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The account that the write was sent for.
    pub account: AccountName,
    /// The broker's customer that it was.
    pub customer: ClientId,
    /// Its last intent line, for the outcome line that is to follow.
    pub intent: Entry,
    /// What it can be found by here.
    pub keys: Vec<WriteKey>,
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
struct LastEntry {
    customer: ClientId,
    intent: Entry,
    outcome: Option<Entry>,
    /// When its last line was written at the latest.
    by: Timestamp,
}

/// The requests that the journal tells of.
#[derive(Default)]
struct Requests {
    last: HashMap<(AccountName, String), LastEntry>,
    /// As they came.
    order: Vec<(AccountName, String)>,
    /// Which request was the last to send a write under a key.
    sent: HashMap<(AccountName, WriteKey), (AccountName, String)>,
}

impl Requests {
    /// `customer` is whose it is, as far as that is known; `line` is what was read and when it was written at the latest.
    fn hear(
        &mut self,
        account: AccountName,
        request_id: &SafeText,
        customer: Option<ClientId>,
        line: (Entry, Timestamp),
    ) {
        let (entry, by) = line;
        let id = (account, request_id.as_str().to_owned());
        match entry.kind {
            Kind::Intent => {
                let Some(customer) = customer else { return };
                for key in keys_of(&entry) {
                    self.sent.insert((id.0.clone(), key), id.clone());
                }
                if self.last.insert(id.clone(), LastEntry { customer, intent: entry, outcome: None, by }).is_none() {
                    self.order.push(id);
                }
            }
            Kind::Outcome => {
                if let Some(last) = self.last.get_mut(&id) {
                    last.by = last.by.max(by);
                    last.outcome = Some(entry);
                } else if let Some(last) = self.first_of(&id.0, customer.as_ref(), &entry) {
                    let knew = last.outcome.as_ref().and_then(|entry| entry.outcome);
                    // That nobody could say takes nothing back.
                    if entry.outcome != Some(Outcome::Unknown) || matches!(knew, None | Some(Outcome::Unknown)) {
                        last.outcome = Some(entry);
                    }
                } else if let Some(customer) = customer {
                    self.order.push(id.clone());
                    self.last.insert(id, LastEntry { customer, intent: entry.clone(), outcome: Some(entry), by });
                }
            }
            Kind::Note => {}
        }
    }

    /// An outcome without an intent is what was learnt when a repeat had the broker asked: of the write that it
    /// repeats. That one says when it left; a repeat's time would make its order look older than it is. A correlation id
    /// may be a label of many writes, so an `Idempotency-Key` goes first.
    ///
    /// Without an address, whose such a line is was told from its time and the account's, which may be of two clocks:
    /// there the write that it repeats says it.
    fn first_of(
        &mut self,
        account: &AccountName,
        customer: Option<&ClientId>,
        outcome: &Entry,
    ) -> Option<&mut LastEntry> {
        let mut keys = keys_of(outcome).into_iter().rev();
        let id = keys.find_map(|key| self.sent.get(&(account.clone(), key)))?.clone();
        let is_same = |last: &&mut LastEntry| {
            let is_it = write_of(outcome).is_some_and(|write| write_of(&last.intent).as_ref() == Some(&write));
            let key = &last.intent.idempotency_key;
            let is_theirs = outcome.source.is_none() || customer == Some(&last.customer);
            is_theirs
                && is_it
                && (key.is_none() || outcome.idempotency_key.is_none() || *key == outcome.idempotency_key)
        };
        self.last.get_mut(&id).filter(is_same)
    }
}

impl Orders {
    /// Read the last day back. `customer` says whose a line is: an account's name may have
    /// been another customer's when it was written. Reads files: not on a worker of the runtime.
    ///
    /// # Errors
    /// When the journal's folder cannot be listed.
    pub fn recall(&self, now: Timestamp, customer: impl Fn(&Entry) -> Option<ClientId>) -> io::Result<Recalled> {
        let mut restored = Recalled::default();
        let _ = self.read_back.set((now, self.now()));
        let mut requests = Requests::default();
        let mut used: HashMap<ClientId, Vec<(Timestamp, RateRequest)>> = HashMap::new();
        // What is to be remembered at the host's time, and at that of the last line: one of them may be wrong.
        let span =
            self.journal.newest().map_or_else(|| day::look_back(now), |at| day::look_back(at).max(day::look_back(now)));
        let mut lines = self.journal.read_back(span, now)?;
        for line in lines.by_ref() {
            let Ok(line) = line else {
                // Where and what it means is told when all of it was read.
                restored.unreadable += 1;
                continue;
            };
            let (entry, by) = (line.entry, line.by);
            let (Some(account), Some(request_id)) = (entry.account.clone(), entry.request_id.clone()) else { continue };
            let customer = customer(&entry);
            if let (Some(customer), Some(request)) = (&customer, RateRequest::of_entry(&entry)) {
                used.entry(customer.clone()).or_default().push((by, request));
            }
            requests.hear(account, &request_id, customer, (entry, by));
        }
        self.journal.was_read_back(lines);
        for (customer, past) in used {
            self.gate(&customer).rebuild(past, now);
        }
        // Oldest first, so that of two writes under one id the later one is remembered.
        let Requests { mut last, order, .. } = requests;
        for id in order {
            if let Some(last) = last.remove(&id) {
                self.remember(id.0, last, &mut restored);
            }
        }
        Ok(restored)
    }

    fn remember(&self, account: AccountName, last: LastEntry, restored: &mut Recalled) {
        let LastEntry { customer, intent, outcome, by } = last;
        let Some(write) = write_of(&intent) else { return };
        let keys = keys_of(&intent);
        let known = outcome.as_ref().and_then(|entry| entry.outcome).unwrap_or(Outcome::Unknown);
        let correlation_id = intent.correlation_id.as_ref().map(|id| Arc::clone(id.shared()));
        let recorded = WriteResult {
            outcome: known,
            status: outcome.as_ref().and_then(|entry| entry.status).unwrap_or(0),
            content_type: None,
            body: Bytes::new(),
            order_id: outcome.as_ref().and_then(|entry| entry.order_ids().next().map(Into::into)),
            correlation_id,
            recovered: outcome.as_ref().is_some_and(|entry| entry.recovered == Some(true)),
            lookup: (known == Outcome::Unknown).then(|| Arc::new(lookup_of(&intent))),
        };
        // Also those that the broker took and refused.
        if let Some(entry) = outcome.as_ref().filter(|_| write.method == Method::POST && known != Outcome::Unknown) {
            self.known.note(&customer, entry.order_ids());
        }
        // Proven not to have been done: a repeat is a first try, as if nothing had been.
        if matches!(known, Outcome::NotSent | Outcome::Rejected) {
            return;
        }
        let request_id = intent.request_id.as_ref().map_or_else(|| "".into(), |id| Arc::clone(id.shared()));
        let after_market = intent.terms().iter().any(|terms| terms.after_market);
        // As if it were new: `Memory::was_read_back` says how old it is.
        let taken = self.now();
        // The later of its lines: the host's clock may have been behind when the first was written.
        let written = outcome.as_ref().map_or(intent.at, |entry| entry.at.max(intent.at)).max(by);
        // Each line may be the one by a clock that was wrong: what would be remembered longest.
        let times = [Some(intent.at), outcome.as_ref().map(|entry| entry.at), Some(written)];
        let spans = times.into_iter().flatten().map(|at| day::remembered_for(at, after_market));
        let longer = spans.max().unwrap_or(day::AT_LEAST);
        let span = RememberedSpan { now: taken, until: taken.after(longer) };
        let first = (request_id, written);
        if outcome.is_none() {
            restored.unsettled.push(Unsettled {
                account,
                customer: customer.clone(),
                intent,
                keys: keys.clone(),
                write: write.clone(),
            });
        }
        if !keys.is_empty() {
            restored.writes += 1;
            self.idempotency.remember(&customer, &keys, write, first, recorded, span);
        }
    }
}

/// What it was; `None` when the line does not say.
fn write_of(intent: &Entry) -> Option<Write> {
    let (method, path, body_sha256) = (intent.method.clone()?, intent.path.clone()?, intent.body_sha256?);
    let values = intent.write_sha256.map_or(BodyDigest::Bytes(body_sha256), BodyDigest::Values);
    Some(Write { method, path, values, body_sha256 })
}

/// What a write in the journal can be known again by. A change's own id is no name of that change.
fn keys_of(intent: &Entry) -> Vec<WriteKey> {
    let creates = intent.method == Some(Method::POST);
    let word = |text: &str| WriteKey::Correlation(Arc::clone(SafeText::new(text).shared()));
    let own = intent.correlation_id.iter().map(|id| WriteKey::Correlation(Arc::clone(id.shared())));
    // Those of a multi-order.
    let of_each = intent.terms().iter().filter_map(|terms| Some(word(terms.correlation_id.as_deref()?)));
    let mut keys: Vec<WriteKey> = own.chain(of_each).filter(|_| creates).collect();
    keys.dedup();
    keys.extend(intent.idempotency_key.as_ref().map(|key| WriteKey::Idempotency(Arc::clone(key.shared()))));
    keys
}

/// What the journal's line leaves to look for, from when it was written. Only an intent says when the write left.
pub fn lookup_of(intent: &Entry) -> Lookup {
    let (Some(method), Some(path)) = (&intent.method, &intent.path) else { return Lookup::default() };
    let id = intent.correlation_id.as_ref().map(SafeText::shared);
    let lookup = Lookup::from_terms(method, path.as_str(), id, intent.terms());
    if intent.kind == Kind::Intent {
        lookup.leaves(SentAt::Written(intent.at));
    }
    lookup
}

#[cfg(test)]
mod tests;
