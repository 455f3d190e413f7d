//! What happens, for whoever watches (`/v1/events`): tokens, legs, orders, validations, WebSockets.
//!
//! The last `KEPT` are kept, each with a number that rises by one, so that a watcher who was away goes on where it
//! was and is told what it has missed. Bounded: who reads too slowly loses the oldest and is told how many. Nobody who
//! publishes waits, and an event is put into words only for who reads it. Holds no secret: only what the API shows of the
//! same things.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::domain::problem::Invalid;
use crate::domain::{AccountName, lock};

/// How many are kept.
const KEPT: usize = 4096;
/// How many a watcher is given at once.
const AT_ONCE: usize = 256;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A token's state.
    Token,
    /// A leg's state.
    Leg,
    /// What became of an order write.
    Order,
    /// What a validation found.
    Validation,
    /// A WebSocket that was opened, ended or was refused.
    Stream,
}

impl Subject {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Token, Self::Leg, Self::Order, Self::Validation, Self::Stream];

    /// The word in the API. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Leg => "leg",
            Self::Order => "order",
            Self::Validation => "validation",
            Self::Stream => "stream",
        }
    }
}

type Render = Box<dyn Fn() -> Value + Send + Sync>;

/// Something that happened.
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// The account that it happened to.
    pub account: AccountName,
    render: Render,
    data: OnceLock<Map<String, Value>>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at, subject, account, .. } = self;
        write!(f, "Event({number}, {at}, {}, {account})", subject.as_str())
    }
}

impl Event {
    /// Its members, named as in the API: `at`, `account`, and those that the subject has.
    pub fn data(&self) -> &Map<String, Value> {
        self.data.get_or_init(|| {
            let mut members = match (self.render)() {
                Value::Object(members) => members,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
            };
            members.insert("at".to_owned(), self.at.to_string().into());
            members.insert("account".to_owned(), self.account.to_string().into());
            members
        })
    }
}

/// What an event is known by: the run of the gateway that published it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Which run of the gateway it was.
    pub run: u32,
    /// The event's number in that run.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.run, self.number)
    }
}

impl FromStr for EventId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (run, number) = text.split_once('-')?;
            let digits = |text: &str, most: usize| {
                (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            let spelt = run.len() == 8 && digits(run, 8) && digits(number, 19);
            spelt.then(|| Some(Self { run: u32::from_str_radix(run, 16).ok()?, number: number.parse().ok()? }))?
        };
        parse().ok_or(Invalid::new("is no id of an event, such as 0f3a9c12-17"))
    }
}

/// Where a watcher begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// With what happens from now on.
    Now,
    /// After the event that it heard last.
    After(EventId),
    /// With what happened from this moment on.
    Since(Timestamp),
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// So many were dropped for newer ones before they were read.
    Dropped(u64),
    /// The gateway was started again, and what the run before published is gone.
    Restarted,
}

/// What a watcher hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// What happened next.
    Event(Arc<Event>),
    /// Some are missing before the next.
    Lost(Gap),
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<Event>>,
    /// The number of the next.
    next: u64,
}

#[derive(Debug)]
struct Shared {
    run: u32,
    began: Timestamp,
    ring: Mutex<Ring>,
    news: Notify,
}

/// Where events are published and heard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

impl Default for Events {
    fn default() -> Self {
        // Without random bytes two runs may look like one; the numbers still tell most of what was missed.
        let run = crate::domain::random::bytes().map_or_else(|_| std::process::id(), u32::from_be_bytes);
        Self::of_run(run, Timestamp::now())
    }
}

impl Events {
    fn of_run(run: u32, began: Timestamp) -> Self {
        let ring = Mutex::new(Ring { kept: VecDeque::new(), next: 1 });
        Self(Arc::new(Shared { run, began, ring, news: Notify::new() }))
    }

    /// Publish an event. `data` is called when somebody reads it, and once.
    pub fn publish(&self, subject: Subject, account: &AccountName, data: impl Fn() -> Value + Send + Sync + 'static) {
        self.publish_at(Timestamp::now(), subject, account, Box::new(data));
    }

    fn publish_at(&self, at: Timestamp, subject: Subject, account: &AccountName, render: Render) {
        let account = account.clone();
        let dropped = {
            let mut ring = lock(&self.0.ring);
            let event = Event { number: ring.next, at, subject, account, render, data: OnceLock::new() };
            ring.next += 1;
            ring.kept.push_back(Arc::new(event));
            if ring.kept.len() > KEPT { ring.kept.pop_front() } else { None }
        };
        drop(dropped);
        self.0.news.notify_waiters();
    }

    /// The id of an event of this run.
    pub fn id(&self, number: u64) -> EventId {
        EventId { run: self.0.run, number }
    }

    /// The newest first, those that `wants` takes, up to `limit`.
    pub fn recent(&self, limit: usize, wants: impl Fn(&Event) -> bool) -> Vec<Arc<Event>> {
        let ring = lock(&self.0.ring);
        ring.kept.iter().rev().filter(|event| wants(event)).take(limit).map(Arc::clone).collect()
    }

    /// Listen from there on.
    pub fn listen(&self, begin: Begin) -> Listener {
        let (first, newest) = {
            let ring = lock(&self.0.ring);
            let oldest = ring.kept.front().map_or(ring.next, |event| event.number);
            let since = |at| ring.kept.iter().find(|event| event.at >= at).map_or(ring.next, |event| event.number);
            let first = match begin {
                // If the oldest that is kept is not older, those before it may not have been either.
                Begin::Since(at) => Some(since(at)).filter(|first| *first > oldest).unwrap_or(1),
                Begin::Now | Begin::After(_) => ring.next,
            };
            (first, ring.next)
        };
        let (next, gap) = match begin {
            Begin::Now => (newest, None),
            Begin::After(id) if id.run == self.0.run && id.number < newest => (id.number + 1, None),
            Begin::After(_) => (1, Some(Gap::Restarted)),
            Begin::Since(at) if at < self.0.began => (1, Some(Gap::Restarted)),
            Begin::Since(_) => (first, None),
        };
        Listener { events: self.clone(), next, gap }
    }
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Listener {
    events: Events,
    /// The number of the next to be heard.
    next: u64,
    gap: Option<Gap>,
}

impl Listener {
    /// Where it stands: the id of what it heard last.
    pub fn at(&self) -> EventId {
        self.events.id(self.next - 1)
    }

    /// What is there to be heard, some of it at least. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Heard> {
        let events = self.events.clone();
        loop {
            // Before anything is looked at: what is published from here on wakes it.
            let mut news = pin!(events.0.news.notified());
            news.as_mut().enable();
            let heard = self.take();
            if !heard.is_empty() {
                return heard;
            }
            news.await;
        }
    }

    /// What is there by now.
    fn take(&mut self) -> Vec<Heard> {
        let ring = lock(&self.events.0.ring);
        let mut heard: Vec<_> = self.gap.take().map(Heard::Lost).into_iter().collect();
        let oldest = ring.next - ring.kept.len() as u64;
        if self.next < oldest {
            heard.push(Heard::Lost(Gap::Dropped(oldest - self.next)));
            self.next = oldest;
        }
        let skip = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        for event in ring.kept.iter().skip(skip).take(AT_ONCE) {
            self.next = event.number + 1;
            heard.push(Heard::Event(Arc::clone(event)));
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// `count` events, a second apart, the first at second 1.
    fn published(count: i64) -> Events {
        let events = Events::of_run(0xabc, at(0));
        for n in 1..=count {
            publish(&events, n);
        }
        events
    }

    fn publish(events: &Events, n: i64) {
        let name = AccountName::parse("alpha").unwrap();
        events.publish_at(at(n), Subject::Order, &name, Box::new(move || json!({ "n": n })));
    }

    /// Numbers of events, and what is said of those that are missing.
    fn hear(listener: &mut Listener) -> Vec<Result<u64, Gap>> {
        let mut all = Vec::new();
        while let Some(heard) = listener.next().now_or_never() {
            all.extend(heard.into_iter().map(|heard| match heard {
                Heard::Event(event) => Ok(event.number),
                Heard::Lost(gap) => Err(gap),
            }));
        }
        all
    }

    #[test]
    fn a_watcher_that_was_away_goes_on_where_it_was() {
        let events = published(5);
        let mut listener = events.listen(Begin::After(events.id(3)));
        assert_eq!(hear(&mut listener), [Ok(4), Ok(5)]);
        assert_eq!(hear(&mut events.listen(Begin::Now)), []);
        assert_eq!(hear(&mut events.listen(Begin::After(events.id(5)))), []);
        publish(&events, 6);
        assert_eq!(hear(&mut listener), [Ok(6)]);
        assert_eq!(listener.at(), events.id(6));
    }

    #[test]
    fn one_that_reads_too_slowly_is_told_how_many_it_has_missed() {
        let events = published(1);
        let mut listener = events.listen(Begin::After(events.id(0)));
        let most = i64::try_from(KEPT).unwrap();
        for n in 2..=most + 10 {
            publish(&events, n);
        }
        let heard = hear(&mut listener);
        assert_eq!(heard[..2], [Err(Gap::Dropped(10)), Ok(11)]);
        assert_eq!(heard.len(), KEPT + 1);
        assert_eq!(events.recent(usize::MAX, |_| true).len(), KEPT);
    }

    /// The numbers of another run say nothing about this one's events.
    #[test]
    fn an_id_of_another_run_is_noticed_and_all_of_this_run_is_heard() {
        let events = published(2);
        let restarted = [Err(Gap::Restarted), Ok(1), Ok(2)];
        assert_eq!(hear(&mut events.listen(Begin::After(EventId { run: 0xdef, number: 1 }))), restarted);
        assert_eq!(hear(&mut events.listen(Begin::After(events.id(99)))), restarted, "not told yet");
    }

    #[test]
    fn a_moment_finds_the_first_event_that_is_not_older() {
        let events = published(4);
        assert_eq!(hear(&mut events.listen(Begin::Since(at(3)))), [Ok(3), Ok(4)]);
        assert_eq!(hear(&mut events.listen(Begin::Since(at(9)))), []);
        let before = [Err(Gap::Restarted), Ok(1), Ok(2), Ok(3), Ok(4)];
        assert_eq!(hear(&mut events.listen(Begin::Since(at(-1)))), before);
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is() {
        let id = EventId { run: 0x0f3a_9c12, number: 17 };
        assert_eq!(id.to_string(), "0f3a9c12-17");
        assert_eq!("0f3a9c12-17".parse(), Ok(id));
        for wrong in
            ["", "17", "0f3a9c12-", "-17", "f3a9c12-17", "0f3a9c12-+1", "+f3a9c12-1", "0f3a9c12-17 ", "zzzzzzzz-1"]
        {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_event_is_put_into_words_once_and_only_for_who_reads_it() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let events = Events::default();
        events.publish(Subject::Token, &AccountName::parse("alpha").unwrap(), || {
            ASKED.fetch_add(1, Ordering::Relaxed);
            json!({ "state": "live" })
        });
        let recent = events.recent(10, |event| event.subject == Subject::Token);
        assert_eq!(ASKED.load(Ordering::Relaxed), 0);
        assert_eq!((&recent[0].data()["account"], &recent[0].data()["state"]), (&json!("alpha"), &json!("live")));
        recent[0].data();
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    }
}
