//! What is counted of the WebSockets of one account: how many are open, and what passed on them.
//!
//! Metrics have no account: their labels would grow with the accounts. Here an account that never opened a socket holds
//! one pointer, and nothing of it is on an order's way.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// The words of the kinds, in the order in which they are told. Those of `broker::dhan::streams`.
pub const KINDS: [&str; 4] = ["feed", "depth20", "depth200", "order_update"];
/// Refusals of one kind are told no more often: a program that asks in a loop must not push everything else out of the
/// events that are kept. All are counted.
const REFUSAL_EVERY: Duration = Duration::from_secs(10);

/// What is counted of an account's sockets since the gateway was started. In memory only.
#[derive(Debug, Default)]
pub struct AccountStreams(OnceLock<Box<[KindCounts; KINDS.len()]>>);

/// Of one kind.
#[derive(Debug, Default)]
struct KindCounts {
    open: AtomicU64,
    sharing: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    reconnects: AtomicU64,
    messages: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    /// When the first was asked for, in Unix milliseconds; 0 while none was.
    since: AtomicI64,
    /// When a refusal was last told.
    told: AtomicI64,
}

/// The sockets of a kind, as the API shows them. In pairs: first what the caller said, then the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindView {
    /// The kind's word.
    pub kind: &'static str,
    /// How many of the broker's are open.
    pub open: u64,
    /// How many callers share some of them.
    pub sharing: u64,
    /// How many were opened since then, each connection anew after an end included.
    pub opened: u64,
    /// How many handshakes were refused.
    pub refused: u64,
    /// Whole messages.
    pub messages: [u64; 2],
    /// Bytes of frames.
    pub bytes: [u64; 2],
    /// Of the callers' messages, those that were not passed on.
    pub dropped: u64,
    /// How often the broker's side of one was opened again.
    pub reconnects: u64,
    /// Since when: the first socket of the kind that was asked for.
    pub since: Timestamp,
}

impl AccountStreams {
    fn of(&self, kind: &str) -> Option<&KindCounts> {
        let place = KINDS.iter().position(|known| *known == kind)?;
        let counts = self.0.get_or_init(Box::default).get(place)?;
        let now = Timestamp::now().as_millisecond();
        let _ = counts.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        Some(counts)
    }

    /// One more is open.
    pub(super) fn opened(&self, kind: &str) {
        if let Some(counts) = self.of(kind) {
            counts.open.fetch_add(1, Ordering::Relaxed);
            counts.opened.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One is open no longer.
    pub(super) fn closed(&self, kind: &str) {
        if let Some(counts) = self.of(kind) {
            counts.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// One more caller shares sockets, or one less.
    pub(super) fn sharing(&self, kind: &str, more: bool) {
        if let Some(counts) = self.of(kind) {
            match more {
                true => counts.sharing.fetch_add(1, Ordering::Relaxed),
                false => counts.sharing.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }

    /// One ended, and of its caller's messages so many were not passed on.
    pub(super) fn dropped(&self, kind: &str, messages: u64) {
        if let Some(counts) = self.of(kind) {
            counts.dropped.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// The broker's side of one was opened again.
    pub(super) fn reconnected(&self, kind: &str) {
        if let Some(counts) = self.of(kind) {
            counts.reconnects.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One was refused. Is that to be told?
    pub(super) fn refused(&self, kind: &str) -> bool {
        let Some(counts) = self.of(kind) else { return false };
        counts.refused.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now().as_millisecond();
        let every = i64::try_from(REFUSAL_EVERY.as_millis()).unwrap_or(i64::MAX);
        let due = |told: i64| (told == 0 || !(told..told + every).contains(&now)).then_some(now);
        counts.told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }

    /// Adds what passed on sockets of a kind.
    pub(super) fn add(&self, kind: &str, messages: [u64; 2], bytes: [u64; 2]) {
        let Some(counts) = self.of(kind) else { return };
        let messages = counts.messages.iter().zip(messages);
        for (counter, more) in messages.chain(counts.bytes.iter().zip(bytes)) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The kinds of which there was any, in their order.
    pub fn view(&self) -> Vec<KindView> {
        let counts = self.0.get().into_iter().flat_map(|counts| counts.iter());
        let pair = |pair: &[AtomicU64; 2]| pair.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        let views = KINDS.iter().zip(counts).filter_map(|(kind, counts)| {
            let since = Some(counts.since.load(Ordering::Relaxed)).filter(|since| *since != 0)?;
            Some(KindView {
                kind,
                open: counts.open.load(Ordering::Relaxed),
                sharing: counts.sharing.load(Ordering::Relaxed),
                opened: counts.opened.load(Ordering::Relaxed),
                refused: counts.refused.load(Ordering::Relaxed),
                messages: pair(&counts.messages),
                bytes: pair(&counts.bytes),
                dropped: counts.dropped.load(Ordering::Relaxed),
                reconnects: counts.reconnects.load(Ordering::Relaxed),
                since: Timestamp::from_millisecond(since).ok()?,
            })
        });
        views.collect()
    }
}
