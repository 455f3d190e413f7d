//! That nobody is given a second right to send what may have been done, and nobody is told of another's write.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;

use super::customer_writes::MOST_IDS;
use super::*;
use crate::orders::journal::SafePath;

const DAY: Duration = Duration::from_hours(24);

fn account() -> ClientId {
    ClientId::parse("1000000001").unwrap()
}

fn span(second: u64) -> RememberedSpan {
    let now = MonotonicTime::START.after(Duration::from_secs(second));
    RememberedSpan { now, until: now.after(DAY) }
}

fn write(body: u8) -> Write {
    Write {
        method: Method::POST,
        path: SafePath::new("/v2/orders"),
        values: BodyDigest::Values([body; 32]),
        body_sha256: [body; 32],
    }
}

fn recorded(outcome: Outcome) -> WriteResult {
    WriteResult { status: 200, body: Bytes::from_static(b"{}"), ..WriteResult::bare(outcome) }
}

fn requester(request_id: &str) -> Requester {
    Requester { request_id: request_id.into(), gone: CancellationToken::new() }
}

fn id(text: &str) -> [WriteKey; 1] {
    [WriteKey::Correlation(text.into())]
}

fn take(memory: &IdempotencyStore, keys: &[WriteKey], body: u8, second: u64) -> Admission {
    memory.take(&account(), keys, &write(body), &requester(&format!("r{second}")), span(second))
}

#[track_caller]
fn fresh(found: Admission) -> Claim {
    let Admission::Fresh(claim) = found else { panic!("not fresh: {found:?}") };
    claim
}

#[tokio::test]
async fn a_repeat_gets_what_became_of_the_first_and_hears_which_that_was() {
    let memory = IdempotencyStore::default();
    let claim = fresh(take(&memory, &id("c"), 1, 0));
    let Admission::UnderWay(first, mut waiting) = take(&memory, &id("c"), 1, 1) else { panic!() };
    assert_eq!(&*first, "r0");
    let Admission::Conflict(first, None) = take(&memory, &id("c"), 2, 1) else { panic!() };
    assert_eq!(&*first, "r0");
    claim.end(recorded(Outcome::Executed));
    assert_eq!(waiting.end().await.unwrap().outcome, Outcome::Executed);
    let Admission::Done(first, _) = take(&memory, &id("c"), 1, 2) else { panic!() };
    assert_eq!(&*first, "r0");
    let Admission::Conflict(_, Some(known)) = take(&memory, &id("c"), 2, 2) else { panic!() };
    assert_eq!(known.outcome, Outcome::Executed);
    // Another account's id is another id.
    let beta = ClientId::parse("1000000002").unwrap();
    assert!(matches!(memory.take(&beta, &id("c"), &write(1), &requester("r"), span(2)), Admission::Fresh(_)));
}

/// A task that dies half way must not leave an order that can be sent again, nor an
/// id on which everybody waits for ever.
#[tokio::test]
async fn a_claim_that_is_dropped_says_what_is_known() {
    let memory = IdempotencyStore::default();
    let claim = fresh(take(&memory, &id("c"), 1, 0));
    let Admission::UnderWay(_, mut waiting) = take(&memory, &id("c"), 1, 0) else { panic!() };
    drop(claim);
    assert_eq!(waiting.end().await.unwrap().outcome, Outcome::NotSent);
    let mut claim = fresh(take(&memory, &id("c"), 1, 0));
    claim.sending(recorded(Outcome::Unknown));
    drop(claim);
    let Admission::Unknown(_, claim, _) = take(&memory, &id("c"), 1, 0) else { panic!() };
    // Whoever asks holds the claim; the next one waits for the answer.
    assert!(matches!(take(&memory, &id("c"), 1, 0), Admission::UnderWay(..)));
    drop(claim);
    assert!(matches!(take(&memory, &id("c"), 1, 0), Admission::Unknown(..)));
}

/// What is refused or never sent must not fill the memory, nor hold its id.
#[test]
fn what_was_not_done_leaves_nothing_behind() {
    let memory = IdempotencyStore::default();
    for n in 0..100 {
        let claim = fresh(take(&memory, &id(&format!("c{n}")), 1, n));
        if n % 2 == 0 { drop(claim) } else { drop(claim.end(recorded(Outcome::Rejected))) }
    }
    assert_eq!(memory.len(&account()), 0);
    fresh(take(&memory, &id("c1"), 2, 100)).end(recorded(Outcome::Executed));
    assert_eq!(memory.len(&account()), 1);
}

/// A loop of orders that are refused, on one connection and each with an id of its own, is 30,000 a second.
#[test]
fn a_hundred_thousand_refused_writes_leave_no_entry_of_any_kind() {
    let memory = IdempotencyStore::default();
    fresh(take(&memory, &id("sent"), 1, 0)).end(recorded(Outcome::Executed));
    let one = memory.entries(&account());
    for n in 0..100_000_u64 {
        let [correlation] = id(&format!("c{n}"));
        let mut twin = [0; 32];
        twin[..8].copy_from_slice(&n.to_be_bytes());
        let change = WriteKey::Change { order: n.to_string().into(), echoed: n % 2 == 0 };
        let keys = [correlation, WriteKey::Idempotency(format!("i{n}").into()), change, WriteKey::Twin(twin)];
        let mut claim = fresh(take(&memory, &keys, 2, 1));
        let is_sent = n % 4 > 1;
        if is_sent {
            claim.sending(recorded(Outcome::Unknown));
        }
        match n % 4 {
            0 => drop(claim),
            1 => drop(claim.end(recorded(Outcome::NotSent))),
            2 => {
                claim.taken_back();
                drop(claim);
            }
            _ => drop(claim.end(recorded(Outcome::Rejected))),
        }
        // And what is refused for its id alone.
        assert!(matches!(take(&memory, &id("sent"), 2, 1), Admission::Conflict(..)));
    }
    assert_eq!(memory.entries(&account()), one);
}

/// Whoever repeats one order for ever, with another key each time, must not fill anything by it.
#[test]
fn repeats_without_end_of_one_write_are_bounded() {
    let memory = IdempotencyStore::default();
    fresh(take(&memory, &id("c"), 1, 0)).end(recorded(Outcome::Executed));
    let mut lost = fresh(take(&memory, &id("lost"), 1, 0));
    lost.sending(recorded(Outcome::Unknown));
    drop(lost);
    for n in 0..10_000 {
        let keys = [WriteKey::Correlation("c".into()), WriteKey::Idempotency(format!("i{n}").into())];
        assert!(matches!(take(&memory, &keys, 1, 1), Admission::Done(..)));
        let Admission::Unknown(_, claim, _) = take(&memory, &id("lost"), 1, 1) else { panic!("{n}") };
        drop(claim);
    }
    let [kept, places, due] = memory.entries(&account());
    assert!(kept == 2 && places <= 2 * MOST_IDS && due == 2, "{kept} {places} {due}");
    // What it came with first is known as ever, and those of the first repeats.
    assert!(matches!(take(&memory, &id("c"), 1, 2), Admission::Done(..)));
    assert!(matches!(take(&memory, &[WriteKey::Idempotency("i0".into())], 1, 2), Admission::Done(..)));
}

/// A busy customer's day is 7,000 of these.
#[test]
fn a_remembered_write_costs_little() {
    const MANY: u64 = 100_000;
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let (memory, before) = (IdempotencyStore::default(), resident());
    for n in 0..MANY {
        let keys = [WriteKey::Correlation(format!("a-label-of-{n:08}").into())];
        let answer = format!(r#"{{"orderId":"2126{n:010}","orderStatus":"TRANSIT"}}"#);
        let request_id = format!("01a22c1d-4da8-79b5-a203-{n:012}");
        let Admission::Fresh(claim) = memory.take(&account(), &keys, &write(1), &requester(&request_id), span(0))
        else {
            panic!()
        };
        claim.end(WriteResult { status: 200, body: answer.into(), ..WriteResult::bare(Outcome::Executed) });
    }
    let each = (resident() - before) / MANY;
    println!("{each} bytes for each write that left");
    assert!(each < 1024, "{each} bytes for each");
    assert_eq!(memory.len(&account()), MANY as usize);
}

/// What nobody can find any more is not held for a day: changes by their order alone, twins that are over.
#[test]
fn what_cannot_be_found_again_is_not_kept() {
    let memory = IdempotencyStore::default();
    for n in 0..25 {
        let keys = [WriteKey::Change { order: "7".into(), echoed: true }];
        fresh(take(&memory, &keys, n, u64::from(n))).end(recorded(Outcome::Executed));
        fresh(take(&memory, &[WriteKey::Twin([n; 32])], n, u64::from(n))).end(recorded(Outcome::Executed));
    }
    assert_eq!(memory.len(&account()), 25, "changes of the last minute");
    memory.tend(span(24 + 60).now);
    assert_eq!(memory.entries(&account()), [0; 3]);
}

/// An account that trades no more, or is deleted, gives back what it held.
#[test]
fn what_is_due_is_forgotten_without_another_order() {
    let memory = IdempotencyStore::default();
    for n in 0..1000 {
        fresh(take(&memory, &id(&format!("c{n}")), 1, 0)).end(recorded(Outcome::Executed));
    }
    memory.tend(span(86_399).now);
    assert_eq!(memory.len(&account()), 1000, "nothing that left is dropped early");
    memory.tend(span(86_400).now);
    assert_eq!(memory.entries(&account()), [0; 3]);
}

/// An id is another order's the next day, and a use of it late in the day keeps it on.
#[test]
fn an_id_is_remembered_until_its_time_and_an_hour_past_its_last_use() {
    let memory = IdempotencyStore::default();
    fresh(take(&memory, &id("c"), 1, 0)).end(recorded(Outcome::Executed));
    let late = RememberedSpan { now: span(86_000).now, until: span(86_000).now.after(Duration::from_hours(1)) };
    assert!(matches!(memory.take(&account(), &id("c"), &write(1), &requester("r"), late), Admission::Done(..)));
    assert!(matches!(take(&memory, &id("c"), 1, 86_400 + 3_000), Admission::Done(..)));
    let memory = IdempotencyStore::default();
    fresh(take(&memory, &id("c"), 1, 0)).end(recorded(Outcome::Executed));
    assert!(matches!(take(&memory, &id("c"), 2, 86_399), Admission::Conflict(..)));
    fresh(take(&memory, &id("c"), 2, 86_400)).end(recorded(Outcome::Executed));
    assert!(matches!(take(&memory, &id("c"), 2, 86_401), Admission::Done(..)));
}

/// When the day that an order belongs to is known better by its answer.
#[test]
fn a_claim_can_say_that_it_is_to_be_kept_for_longer() {
    let memory = IdempotencyStore::default();
    let mut claim = fresh(take(&memory, &id("c"), 1, 0));
    claim.keep_until(span(0).now.after(DAY * 3));
    claim.end(recorded(Outcome::Executed));
    assert!(matches!(take(&memory, &id("c"), 1, 3 * 86_400 - 1), Admission::Done(..)));
}

/// A repeat that leaves one of its ids out is the same write as one that does not.
#[test]
fn one_id_of_two_is_enough_to_know_a_write_again() {
    let memory = IdempotencyStore::default();
    let both = [WriteKey::Correlation("c".into()), WriteKey::Idempotency("i".into())];
    fresh(take(&memory, &both, 1, 0)).end(recorded(Outcome::Rejected));
    fresh(take(&memory, &both[..1], 1, 1)).end(recorded(Outcome::Executed));
    assert!(matches!(take(&memory, &both, 1, 2), Admission::Done(..)));
    assert!(matches!(take(&memory, &both[1..], 1, 3), Admission::Done(..)));
}

#[test]
fn two_ids_of_two_writes_are_a_conflict() {
    let memory = IdempotencyStore::default();
    let both = |c: &str, i: &str| [WriteKey::Correlation(c.into()), WriteKey::Idempotency(i.into())];
    let one = fresh(take(&memory, &both("c1", "i1"), 1, 0));
    let two = fresh(take(&memory, &both("c2", "i2"), 1, 0));
    assert!(matches!(take(&memory, &both("c1", "i2"), 1, 0), Admission::Conflict(..)));
    assert!(matches!(take(&memory, &[WriteKey::Idempotency("i1".into())], 1, 0), Admission::UnderWay(..)));
    drop((one, two));
}

fn change(order: &str, echoed: bool) -> [WriteKey; 1] {
    [WriteKey::Change { order: order.into(), echoed }]
}

/// A trailing stop sends change after change with the order's own id on each.
#[test]
fn an_echoed_id_never_conflicts_and_repeats_only_the_last_change_of_its_order() {
    let memory = IdempotencyStore::default();
    for body in 1..50 {
        fresh(take(&memory, &change("7", true), body, u64::from(body))).end(recorded(Outcome::Executed));
    }
    assert!(matches!(take(&memory, &change("7", true), 49, 60), Admission::Done(..)), "the last one, again");
    // One that was sent before the last one is a new change: back to the old price.
    fresh(take(&memory, &change("7", true), 48, 61)).end(recorded(Outcome::Executed));
    fresh(take(&memory, &change("7", true), 49, 62)).end(recorded(Outcome::Executed));
    fresh(take(&memory, &change("7", true), 49, 62 + 60)).end(recorded(Outcome::Executed));
    // One without an id is a change of the order all the same, and is never a repeat.
    fresh(take(&memory, &change("7", false), 50, 130)).end(recorded(Outcome::Executed));
    fresh(take(&memory, &change("7", false), 50, 131)).end(recorded(Outcome::Executed));
    fresh(take(&memory, &change("7", true), 49, 132)).end(recorded(Outcome::Executed));
    assert!(matches!(take(&memory, &change("8", true), 49, 132), Admission::Fresh(_)));
}

/// A blind HTTP retry of a client library; two orders of one engine that happen to be alike.
#[tokio::test]
async fn a_twin_joins_only_while_the_first_is_under_way_and_its_caller_gone() {
    let memory = IdempotencyStore::default();
    let twin = [WriteKey::Twin([7; 32])];
    let first = requester("first");
    let Admission::Fresh(claim) = memory.take(&account(), &twin, &write(1), &first, span(0)) else { panic!() };
    let other = fresh(take(&memory, &twin, 1, 0));
    other.end(recorded(Outcome::Executed));
    drop(claim);
    let Admission::Fresh(claim) = memory.take(&account(), &twin, &write(1), &first, span(0)) else { panic!() };
    first.gone.cancel();
    assert!(matches!(take(&memory, &twin, 2, 1), Admission::Fresh(_)), "another order");
    let Admission::Fresh(again) = memory.take(&account(), &twin, &write(1), &first, span(1)) else { panic!() };
    let Admission::UnderWay(by, mut waiting) = take(&memory, &twin, 1, 1) else { panic!() };
    assert_eq!(&*by, "first");
    again.end(recorded(Outcome::Executed));
    assert_eq!(waiting.end().await.unwrap().outcome, Outcome::Executed);
    assert!(matches!(take(&memory, &twin, 1, 2), Admission::Fresh(_)), "it is over");
    drop(claim);
}

/// The journal of an older version knows the bytes of a body and not its values.
#[test]
fn an_older_journals_write_is_known_again_by_its_bytes() {
    let memory = IdempotencyStore::default();
    let old = Write { values: BodyDigest::Bytes([1; 32]), ..write(1) };
    memory.remember(
        &account(),
        &id("c"),
        old,
        ("r".into(), Timestamp::UNIX_EPOCH),
        recorded(Outcome::Executed),
        span(0),
    );
    assert!(matches!(take(&memory, &id("c"), 1, 1), Admission::Done(..)));
    assert!(matches!(take(&memory, &id("c"), 2, 1), Admission::Conflict(..)));
}

proptest! {
    /// Whatever callers repeat in whatever order: of writes that may have been done
    /// nobody is ever given a second right to send.
    #[test]
    fn nobody_may_send_what_may_have_been_done(steps in prop::collection::vec((0..3usize, 0..6u8, 0..30u32), 1..200)) {
        let memory = IdempotencyStore::default();
        let mut now = 0_u64;
        let mut claims: Vec<(usize, Claim, bool)> = Vec::new();
        // When each id was last sent with no proof against it.
        let mut done = [None::<u64>; 3];
        for (n, what, wait) in steps {
            now += u64::from(wait);
            let key = id(&format!("c{n}"));
            match what {
                0 | 1 => match take(&memory, &key, 1, now) {
                    Admission::Fresh(claim) => {
                        prop_assert!(done[n].is_none(), "a second send of {n}");
                        prop_assert!(!claims.iter().any(|(other, ..)| *other == n));
                        claims.push((n, claim, false));
                    }
                    Admission::Unknown(_, claim, _) => {
                        prop_assert!(!claims.iter().any(|(other, ..)| *other == n));
                        claims.push((n, claim, true));
                    }
                    Admission::Done(..) => prop_assert!(done[n].is_some()),
                    Admission::UnderWay(..) => prop_assert!(claims.iter().any(|(other, ..)| *other == n)),
                    Admission::Conflict(..) => prop_assert!(false),
                },
                _ => {
                    let Some(at) = claims.iter().position(|(other, ..)| *other == n) else { continue };
                    let (_, mut claim, asking) = claims.remove(at);
                    match what {
                        2 if !asking => drop(claim),
                        3 => {
                            claim.sending(recorded(Outcome::Unknown));
                            done[n] = Some(now);
                            drop(claim);
                        }
                        4 if !asking => {
                            claim.sending(recorded(Outcome::Unknown));
                            claim.taken_back();
                            claim.end(recorded(Outcome::Rejected));
                        }
                        _ => {
                            done[n] = Some(now);
                            claim.end(recorded(Outcome::Executed));
                        }
                    }
                }
            }
        }
    }
}
