//! That a restart forgets nothing that may have been done, and takes nothing for what it is not.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::SourceAddr;
use crate::orders::idempotency::{Admission, Requester};
use crate::orders::journal::SafePath;
use crate::orders::limits::{MonotonicTime, Rules};
use crate::telemetry::events::Events;

fn orders(dir: &tempfile::TempDir) -> Orders {
    let rules = Rules::new(crate::broker::dhan::limits::limits(), 0.05);
    Orders::open(
        &dir.path().join("journal"),
        false,
        Duration::from_secs(86_400),
        rules,
        Duration::from_secs(1),
        Events::default(),
    )
    .unwrap()
}

fn intent(request: &str, correlation: &str, body: u8) -> Entry {
    let mut entry = Entry::new(Kind::Intent, Timestamp::now());
    entry.request_id = Some(SafeText::new(request));
    entry.account = Some(alpha());
    entry.method = Some(Method::POST);
    entry.path = Some(SafePath::new("/v2/orders"));
    entry.correlation_id = Some(SafeText::new(correlation));
    entry.body_sha256 = Some([body; 32]);
    entry
}

/// A repeat of the write of [`intent`] after a restart.
fn repeat(orders: &Orders, id: &str) -> Admission {
    let (path, values) = (SafePath::new("/v2/orders"), BodyDigest::Values([1; 32]));
    let write = Write { method: Method::POST, path, values, body_sha256: [1; 32] };
    let requester = Requester { request_id: "again".into(), gone: CancellationToken::new() };
    let span = RememberedSpan { now: orders.now(), until: orders.now().after(Duration::from_hours(1)) };
    orders.idempotency.take(&own(), &[WriteKey::Correlation(id.into())], &write, &requester, span)
}

fn own() -> ClientId {
    ClientId::parse("1000000001").unwrap()
}

fn india(text: &str) -> Timestamp {
    format!("{text}+05:30").parse().unwrap()
}

/// A journal with one order of Monday the 23rd of November, at ten.
fn monday() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let before = orders(&dir);
    let line = Entry { at: india("2026-11-23T10:00:00"), ..intent("r1", "c", 1) };
    before.journal.append(&line).unwrap();
    before.journal.append(&line.outcome(Outcome::Executed, line.at)).unwrap();
    dir
}

fn heard(orders: &Orders, date: &'static str) {
    let headers = [(http::header::DATE, http::HeaderValue::from_static(date))].into_iter().collect();
    orders.heard(&headers, crate::domain::BootInstant::now());
}

/// A line by a clock that was right.
fn line(entry: Entry) -> (Entry, Timestamp) {
    let by = entry.at;
    (entry, by)
}

/// The same ids would be sent again.
#[test]
fn a_clock_that_is_wrong_at_a_start_makes_no_order_forgotten() {
    // It is eleven on Monday.
    for wrong in ["2026-11-24T12:00:00", "2026-11-22T11:00:00", "2032-11-23T11:00:00"] {
        let dir = monday();
        let after = orders(&dir);
        assert_eq!(after.recall(india(wrong), |_| Some(own())).unwrap().writes, 1, "{wrong}");
        assert!(matches!(repeat(&after, "c"), Admission::Done(..)), "{wrong}, and the broker was not heard");
        heard(&after, "Mon, 23 Nov 2026 05:30:00 GMT");
        assert!(matches!(repeat(&after, "c"), Admission::Done(..)), "{wrong}");
    }
}

/// The intent was written before the broker was heard, by a clock that showed half past eleven at night: it would have
/// been remembered for an hour more.
#[test]
fn an_order_of_a_clock_that_was_ahead_is_remembered_for_its_day() {
    let dir = tempfile::tempdir().unwrap();
    let before = orders(&dir);
    let line = Entry { at: india("2026-11-23T23:30:00"), ..intent("r1", "c", 1) };
    before.journal.append(&line).unwrap();
    before.journal.append(&line.outcome(Outcome::Executed, india("2026-11-23T18:00:00"))).unwrap();
    drop(before);
    let after = orders(&dir);
    after.recall(india("2026-11-23T18:05:00"), |_| Some(own())).unwrap();
    heard(&after, "Mon, 23 Nov 2026 12:35:00 GMT");
    let soon = after.now().after(Duration::from_hours(5));
    let write = write_of(&intent("r1", "c", 1)).unwrap();
    let requester = Requester { request_id: "r".into(), gone: CancellationToken::new() };
    let span = RememberedSpan { now: soon, until: soon };
    let id = [WriteKey::Correlation("c".into())];
    assert!(matches!(after.idempotency.take(&own(), &id, &write, &requester, span), Admission::Done(..)));
}

/// Lines lack, and an id that is not known may be an after-market order's of today: by a host's clock that is behind, its
/// day would be over sooner than it is.
#[test]
fn what_may_lack_is_doubted_for_its_day_by_whichever_clock_says_longer() {
    let dir = tempfile::tempdir().unwrap();
    let orders = orders(&dir);
    orders.recall(Timestamp::now(), |_| Some(own())).unwrap();
    let by_host = orders.doubtful_until;
    assert!(orders.is_past_doubt(by_host) && !orders.is_past_doubt(by_host.before(Duration::from_secs(1))));
    // A Friday evening there, so until Monday night; on no day at noon or later here is it as long.
    heard(&orders, "Fri, 20 Nov 2026 13:30:00 GMT");
    let there = *orders.doubtful_until_there.get().unwrap();
    let hours = there.since(MonotonicTime::START).as_secs_f64() / 3600.0;
    assert!((76.9..77.1).contains(&hours), "{hours}");
    let until = by_host.max(there);
    assert!(orders.is_past_doubt(until) && !orders.is_past_doubt(until.before(Duration::from_secs(1))));
}

/// A label of yesterday on today's order is a new order.
#[test]
fn what_was_written_before_a_night_s_rest_is_forgotten_once_the_broker_says_that_it_is_morning() {
    let (dir, tuesday) = (monday(), india("2026-11-24T09:20:00"));
    let after = orders(&dir);
    assert_eq!(after.recall(tuesday, |_| Some(own())).unwrap().writes, 1);
    heard(&after, "Tue, 24 Nov 2026 03:50:00 GMT");
    assert!(matches!(repeat(&after, "c"), Admission::Fresh(_)));
    // One that was repeated before that is remembered from its repeat on.
    let dir = dir_of(after, dir);
    let after = orders(&dir);
    after.recall(tuesday, |_| Some(own())).unwrap();
    let span = RememberedSpan { now: after.now(), until: after.now().after(Duration::from_hours(48)) };
    let write = write_of(&intent("r1", "c", 1)).unwrap();
    let requester = Requester { request_id: "r".into(), gone: CancellationToken::new() };
    let id = [WriteKey::Correlation("c".into())];
    assert!(matches!(after.idempotency.take(&own(), &id, &write, &requester, span), Admission::Done(..)));
    heard(&after, "Tue, 24 Nov 2026 03:50:00 GMT");
    assert!(matches!(repeat(&after, "c"), Admission::Done(..)));
}

/// An order that was asked about in vain before a restart was "unknown" for ever after it: it had been made before
/// anybody asked.
#[test]
fn what_was_asked_about_before_a_restart_is_looked_for_from_when_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let before = orders(&dir);
    let at = |seconds: i64| Timestamp::now() - jiff::SignedDuration::from_secs(600 - seconds);
    let append = |entry: &Entry| {
        before.journal.append(entry).unwrap();
    };
    let left = at(0);
    for (id, found) in [("lost", Outcome::Unknown), ("found", Outcome::Executed)] {
        append(&Entry { at: left, ..intent(&format!("{id}-1"), id, 1) });
        append(&intent(&format!("{id}-1"), id, 1).outcome(Outcome::Unknown, at(5)));
        append(&intent(&format!("{id}-2"), id, 1).outcome(found, at(60)));
        append(&intent(&format!("{id}-3"), id, 1).outcome(Outcome::Unknown, at(120)));
    }
    drop(before);
    let after = orders(&dir);
    after.recall(Timestamp::now(), |_| Some(own())).unwrap();
    assert!(matches!(repeat(&after, "found"), Admission::Done(..)));
    drop(after);
    let mut requests = Requests::default();
    let request = |n: u32| SafeText::new(&format!("lost-{n}"));
    requests.hear(alpha(), &request(1), Some(own()), line(Entry { at: left, ..intent("lost-1", "lost", 1) }));
    for n in [2, 3] {
        requests.hear(alpha(), &request(n), Some(own()), line(intent("", "lost", 1).outcome(Outcome::Unknown, at(60))));
    }
    let [id] = requests.order.as_slice() else { panic!("{:?}", requests.order) };
    let last = requests.last.get(id).unwrap();
    assert_eq!(lookup_of(&last.intent).sent(), Some(SentAt::Written(left)));
    assert_eq!(last.outcome.as_ref().unwrap().outcome, Some(Outcome::Unknown));
    // Under one label each write has its own end.
    let mut requests = Requests::default();
    let keyed = |key: &str, at| Entry { at, idempotency_key: Some(SafeText::new(key)), ..intent(key, "label", 1) };
    for key in ["k1", "k2"] {
        requests.hear(alpha(), &SafeText::new(key), Some(own()), line(keyed(key, left)));
    }
    requests.hear(
        alpha(),
        &SafeText::new("r"),
        Some(own()),
        line(keyed("k1", left).outcome(Outcome::Executed, at(60))),
    );
    let end = |key: &str| {
        requests.last.get(&(alpha(), key.to_owned())).unwrap().outcome.as_ref().and_then(|entry| entry.outcome)
    };
    assert_eq!((end("k1"), end("k2")), (Some(Outcome::Executed), None));
    // A repeat that names the label alone was told of the last write under it.
    let by_label = intent("r2", "label", 1).outcome(Outcome::Executed, at(90));
    requests.hear(alpha(), &SafeText::new("r2"), Some(own()), line(by_label));
    let end = |key: &str| {
        requests.last.get(&(alpha(), key.to_owned())).unwrap().outcome.as_ref().and_then(|entry| entry.outcome)
    };
    assert_eq!((end("k1"), end("k2")), (Some(Outcome::Executed), Some(Outcome::Executed)));
    assert!(!requests.last.contains_key(&(alpha(), "r2".to_owned())));
    // Of an outcome alone nobody knows when its write left.
    assert_eq!(lookup_of(&intent("r", "c", 1).outcome(Outcome::Unknown, at(0))).sent(), None);
}

/// The host's clock was wrong when the account was made, and the lines bear the broker's time. By those two an order that
/// a repeat had found was nobody's, and was asked about again after each start; or it was somebody else's who has the
/// account's name now.
#[test]
fn what_a_repeat_found_is_whose_the_write_was_whatever_the_clock_showed_when_the_account_was_made() {
    let other = || ClientId::parse("1000000002").unwrap();
    let by_time =
        |whose: Option<ClientId>| move |line: &Entry| if line.source.is_some() { Some(own()) } else { whose.clone() };
    for whose in [None, Some(other())] {
        let dir = tempfile::tempdir().unwrap();
        let before = orders(&dir);
        let left = Entry { source: SourceAddr::parse("2001:db8:a1::1").ok(), ..intent("first", "c", 1) };
        let mut found = intent("repeat", "c", 1).outcome(Outcome::Executed, Timestamp::now());
        (found.recovered, found.order_id) = (Some(true), Some(SafeText::new("77")));
        before.journal.append(&left).unwrap();
        before.journal.append(&found).unwrap();
        drop(before);
        let after = orders(&dir);
        let restored = after.recall(Timestamp::now(), by_time(whose.clone())).unwrap();
        assert!(restored.unsettled.is_empty(), "{whose:?}: {:?}", restored.unsettled);
        assert_eq!(after.idempotency.len(&other()), 0, "{whose:?}");
        let Admission::Done(first, done) = repeat(&after, "c") else { panic!("{whose:?}: asked about again") };
        assert_eq!((&*first, done.order_id.as_deref()), ("first", Some("77")), "{whose:?}");
    }
}

fn alpha() -> AccountName {
    AccountName::parse("alpha").unwrap()
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
            end.order_id = (outcome == Outcome::Executed).then(|| SafeText::new("77"));
            end.status = Some(200);
            before.journal.append(&end).unwrap();
            if n + 1 < last {
                before.journal.append(&line).unwrap();
            }
        }
    }
    drop(before);
    let after = orders(&dir);
    let restored = after.recall(Timestamp::now(), |_| Some(own.clone())).unwrap();
    assert_eq!(restored.unsettled.len(), 1);
    assert_eq!(restored.unsettled[0].intent.correlation_id, Some(SafeText::new("cut")));
    assert_eq!((restored.writes, restored.unreadable), (4, 0));
    let take = |id: &str, body: u8| {
        let (path, values) = (SafePath::new("/v2/orders"), BodyDigest::Values([body; 32]));
        let write = Write { method: Method::POST, path, values, body_sha256: [body; 32] };
        let requester = Requester { request_id: "r".into(), gone: CancellationToken::new() };
        let span = RememberedSpan { now: after.now(), until: after.now().after(Duration::from_hours(1)) };
        after.idempotency.take(&own, &[WriteKey::Correlation(id.into())], &write, &requester, span)
    };
    let Admission::Done(first, done) = take("done", 1) else { panic!("a second send") };
    assert_eq!(&*first, "r1");
    assert_eq!(done.order_id.as_deref(), Some("77"));
    assert!(matches!(take("moved", 1), Admission::Done(..)));
    assert!(matches!(take("done", 2), Admission::Conflict(..)));
    assert!(matches!(take("lost", 1), Admission::Unknown(..)));
    let Admission::Unknown(_, _, cut) = take("cut", 1) else { panic!("a second send") };
    assert_eq!(cut.lookup.as_ref().unwrap().paths().first().map(String::as_str), Some("/v2/orders/external/cut"));
    assert!(matches!(take("refused", 1), Admission::Fresh(_)));
    assert!(matches!(take("new", 1), Admission::Fresh(_)));
    // Of another customer's, none of it is.
    assert_eq!(orders(&dir_of(after, dir)).recall(Timestamp::now(), |_| None).unwrap().writes, 0);
}
