//! Orders of which nobody knows what became of them, and at which no person has looked yet.
//!
//! They are kept in memory. Whoever appends a line that says something of one has it taken up or let go as the line is
//! written, also where a thread of its own writes it later. What lines before the start say is read once. So a question
//! after them costs nothing, however many lines seven days have.
//!
//! Bounded: the newest [`MOST_UNSETTLED`] of the last seven days.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;

use super::codec::{self, Recorded};
use super::entry::{Entry, Kind};
use super::note::Note;
use super::query::{self, Query};
use super::redact::SafeText;
use crate::domain::{Outcome, lock};

/// Those that are kept; of more, the newest.
pub const MOST_UNSETTLED: usize = 1_000;
/// Requests that are remembered as known. Of more, those of which it was learnt last.
const MOST_KNOWN: usize = 16 * 1024;
/// An order older than this is in the broker's books, and no longer in its list of today's.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Lines that are looked at in one go.
const LINES: usize = 10_000;

/// What a line says of orders of which nobody knows what became.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// Nothing.
    None,
    /// Nobody knows what became of its order.
    Unknown,
    /// It is known what became of this request's order, or a person has looked.
    Known(SafeText),
}

impl News {
    pub(super) fn of(entry: &Entry) -> Self {
        let known = match (entry.kind, &entry.note) {
            (Kind::Outcome, _) if entry.outcome == Some(Outcome::Unknown) => return Self::Unknown,
            (Kind::Outcome, _) | (Kind::Note, Some(Note::Settled { .. })) => entry.request_id.clone(),
            (Kind::Intent | Kind::Note, _) => None,
        };
        known.map_or(Self::None, Self::Known)
    }
}

/// How many there are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsettledCount {
    /// So many, up to [`MOST_UNSETTLED`].
    pub count: usize,
    /// The request of the newest.
    pub newest: Option<SafeText>,
}

/// Those orders, in memory.
#[derive(Debug, Default)]
pub(super) struct UnsettledOrders {
    index: Mutex<Index>,
    /// There is none, and older lines were read: what becomes known need not be looked at. Orders ask it.
    idle: AtomicBool,
    read: OnceCell<()>,
}

#[derive(Debug, Default)]
struct Index {
    /// Their outcome lines in the order in which they were written.
    unknown: BTreeMap<(Timestamp, u64), Recorded>,
    /// Requests of which more is known.
    known: HashSet<SafeText>,
    learnt: VecDeque<SafeText>,
    /// Lines from before the start were read.
    read: bool,
}

impl UnsettledOrders {
    /// Does this line change anything? Cheap.
    pub(super) fn concerns(&self, news: &News) -> bool {
        match news {
            News::None => false,
            News::Unknown => true,
            News::Known(_) => !self.idle.load(Ordering::Acquire),
        }
    }

    /// A line was written: with its newline, as it stands.
    pub(super) fn written(&self, news: &News, line: &[u8]) {
        let mut index = lock(&self.index);
        match news {
            News::None => {}
            News::Unknown => {
                if let Ok(recorded) = codec::read(line.trim_ascii_end()) {
                    index.take_up(recorded);
                }
            }
            News::Known(id) => index.learn(id),
        }
        self.idle.store(index.is_idle(), Ordering::Release);
    }

    /// Read what lines from before the start say, once. `now` may be earlier than it is.
    pub(super) async fn read(&self, folder: &Path, now: Timestamp) -> io::Result<()> {
        let once = async || {
            let (folder, since) = (folder.to_path_buf(), since(now));
            let read = tokio::task::spawn_blocking(move || unsettled(&folder, since, MOST_UNSETTLED)).await;
            let found = read.map_err(io::Error::other)??;
            let mut index = lock(&self.index);
            for recorded in found {
                index.take_up(recorded);
            }
            index.read = true;
            self.idle.store(index.is_idle(), Ordering::Release);
            Ok(())
        };
        self.read.get_or_try_init(once).await.copied()
    }

    /// The newest first.
    pub(super) fn newest(&self, now: Timestamp, limit: usize) -> Vec<Recorded> {
        let index = lock(&self.index);
        index.unknown.range((since(now), 0)..).rev().take(limit).map(|(_, line)| line.clone()).collect()
    }

    pub(super) fn count(&self, now: Timestamp) -> UnsettledCount {
        let index = lock(&self.index);
        let mut all = index.unknown.range((since(now), 0)..);
        let newest = all.next_back();
        let count = all.count() + usize::from(newest.is_some());
        UnsettledCount { count, newest: newest.and_then(|(_, line)| line.entry.request_id.clone()) }
    }
}

impl Index {
    fn take_up(&mut self, line: Recorded) {
        let Some(id) = &line.entry.request_id else { return };
        // One that was looked at stays so, also when it is said again that nobody knows.
        if self.known.contains(id) {
            return;
        }
        // Of one request the newest line counts.
        let (at, same) = ((line.entry.at, line.seq), |one: &Recorded| one.entry.request_id.as_ref() == Some(id));
        let older = self.unknown.iter().find(|(_, one)| same(one)).map(|(at, _)| *at);
        if older.is_some_and(|older| older > at) {
            return;
        }
        older.map(|older| self.unknown.remove(&older));
        self.unknown.insert(at, line);
        if self.unknown.len() > MOST_UNSETTLED {
            self.unknown.pop_first();
        }
    }

    fn learn(&mut self, id: &SafeText) {
        let before = self.unknown.len();
        self.unknown.retain(|_, one| one.entry.request_id.as_ref() != Some(id));
        // Until older lines were read, anything may turn up there of which more is known already.
        if (before > self.unknown.len() || !self.read) && self.known.insert(id.clone()) {
            self.learnt.push_back(id.clone());
        }
        if self.learnt.len() > MOST_KNOWN
            && let Some(first) = self.learnt.pop_front()
        {
            self.known.remove(&first);
        }
    }

    fn is_idle(&self) -> bool {
        self.read && self.unknown.is_empty()
    }
}

fn since(now: Timestamp) -> Timestamp {
    now.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN)
}

/// The outcome lines from `since` on that say `unknown`, where no other line of the request says more and nobody settled
/// it; the newest first, at most `limit`. Reads files: not on a runtime worker.
fn unsettled(folder: &Path, since: Timestamp, limit: usize) -> io::Result<Vec<Recorded>> {
    let mut wanted = Query { since: Some(since), limit: LINES, order: query::Order::NewestFirst, ..Query::default() };
    // What comes later in the journal is read first.
    let (mut unknown, mut known) = (Vec::new(), HashSet::<SafeText>::new());
    loop {
        let page = query::query(folder, &wanted)?;
        for line in page.items {
            match News::of(&line.entry) {
                News::Unknown => unknown.extend(line.entry.request_id.clone().map(|id| (id, line))),
                News::Known(id) => {
                    known.insert(id);
                }
                News::None => {}
            }
        }
        match page.next {
            Some(next) => wanted.cursor = Some(next),
            None => break,
        }
    }
    let first = |(id, line): (SafeText, Recorded)| known.insert(id).then_some(line);
    Ok(unknown.into_iter().filter_map(first).take(limit).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Journal, Options};
    use super::*;

    fn hours_ago(hours: i64) -> Timestamp {
        Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).unwrap()
    }

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, &Options::new(false, Duration::from_secs(365 * 86_400)), Timestamp::now()).unwrap()
    }

    fn outcome(number: u64, outcome: Outcome, at: Timestamp) -> Entry {
        let request_id = Some(SafeText::new(&format!("r-{number}")));
        Entry { request_id, outcome: Some(outcome), ..Entry::new(Kind::Outcome, at) }
    }

    fn settled(number: u64, at: Timestamp) -> Entry {
        let note = Note::Settled { outcome: None, by: Some("desk".to_owned()), text: "looked".to_owned() };
        Entry { request_id: Some(SafeText::new(&format!("r-{number}"))), ..Entry::note(note, at) }
    }

    async fn told(journal: &Journal) -> Vec<String> {
        let lines = journal.unsettled(usize::MAX).await.unwrap();
        lines.iter().map(|line| line.entry.request_id.as_ref().unwrap().as_str().to_owned()).collect()
    }

    /// A red line that came back after a restart, or that a restart lost, would be worse than none.
    #[tokio::test]
    async fn they_are_the_same_before_and_after_a_start_and_over_midnight() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        for (number, what, hours) in [
            (1, Outcome::Unknown, 8 * 24),
            (2, Outcome::Unknown, 50),
            (3, Outcome::Executed, 50),
            (4, Outcome::Unknown, 25),
            (5, Outcome::Unknown, 1),
        ] {
            journal.append(&outcome(number, what, hours_ago(hours))).unwrap();
        }
        journal.append(&settled(4, hours_ago(0))).unwrap();
        assert_eq!(told(&journal).await, ["r-5", "r-2"], "the newest first, and none of last week");
        let lines = journal.unsettled(1).await.unwrap();
        assert_eq!((lines.len(), lines[0].seq), (1, 5), "as it stands in the journal");

        drop(journal);
        let journal = open(dir.path());
        assert_eq!(journal.unsettled_count(), UnsettledCount::default(), "nothing was read yet");
        // What is learnt meanwhile must not come back with what is read.
        journal.append(&settled(2, hours_ago(0))).unwrap();
        journal.append(&outcome(6, Outcome::Unknown, hours_ago(0))).unwrap();
        assert_eq!(told(&journal).await, ["r-6", "r-5"]);
        let newest = Some(SafeText::new("r-6"));
        assert_eq!(journal.unsettled_count(), UnsettledCount { count: 2, newest });
        journal.append(&outcome(6, Outcome::Executed, hours_ago(0))).unwrap();
        journal.append(&outcome(5, Outcome::Unknown, hours_ago(0))).unwrap();
        assert_eq!(told(&journal).await, ["r-5"], "one of which it is said again is one");
        journal.append(&settled(5, hours_ago(0))).unwrap();
        journal.append(&outcome(5, Outcome::Unknown, hours_ago(0))).unwrap();
        assert_eq!(told(&journal).await, Vec::<String>::new(), "one that was looked at stays so");
        drop(journal);
        assert_eq!(told(&open(dir.path())).await, Vec::<String>::new());
    }

    /// The lines of a host whose clock is ahead bear the broker's time. Nobody would ask about an order that is not told.
    #[tokio::test]
    async fn a_host_that_is_ahead_tells_of_them_too() {
        let dir = tempfile::tempdir().unwrap();
        let (written, now) = (hours_ago(10 * 24 + 1), hours_ago(10 * 24));
        let journal = open(dir.path());
        journal.broker_date(now);
        journal.append(&outcome(1, Outcome::Unknown, written)).unwrap();
        assert_eq!(told(&journal).await, ["r-1"]);
        assert_eq!(journal.unsettled_count().count, 1);

        drop(journal);
        let journal = open(dir.path());
        journal.read_unsettled().await.unwrap();
        journal.broker_date(now);
        assert_eq!(told(&journal).await, ["r-1"], "the files were read before the broker was heard");
    }

    /// A broker that answers nothing for a day must not fill the memory.
    #[tokio::test]
    async fn the_newest_are_kept_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let most = u64::try_from(MOST_UNSETTLED).unwrap();
        for number in 0..most + 5 {
            journal.append(&outcome(number, Outcome::Unknown, hours_ago(0))).unwrap();
        }
        let newest = format!("r-{}", most + 4);
        let told_now = told(&journal).await;
        assert_eq!((told_now.len(), &told_now[0]), (MOST_UNSETTLED, &newest));
        drop(journal);
        let after_a_start = told(&open(dir.path())).await;
        assert_eq!(after_a_start, told_now);
    }

    #[test]
    fn orders_pay_nothing_for_it_while_there_is_none() {
        let orders = UnsettledOrders::default();
        let known = News::of(&outcome(1, Outcome::Executed, hours_ago(0)));
        assert!(orders.concerns(&known), "until older lines were read");
        lock(&orders.index).read = true;
        orders.written(&known, b"");
        assert!(!orders.concerns(&known));
        assert!(orders.concerns(&News::of(&outcome(1, Outcome::Unknown, hours_ago(0)))));
        assert!(!orders.concerns(&News::of(&Entry::new(Kind::Intent, hours_ago(0)))));
    }
}
