//! Whose an order in the broker's book is, and what is said of those that are not ours.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::found::Seen;
use super::*;
use crate::domain::{BootInstant, india};

const OURS: &str = "SGABCDEFGHIJKLMNOPQRST23";

fn row(order_id: &str, correlation_id: Option<&str>) -> BookRow {
    let made = Some(format!("2026-11-23 09:20:0{}", order_id.len() % 10).into());
    BookRow { order_id: order_id.into(), correlation_id: correlation_id.map(Into::into), made }
}

fn seen(whole_book: bool) -> Seen {
    let found_at: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
    Seen { found_at, day: india::local(found_at).date(), whole_book, may_be_own: false }
}

fn found(kept: &OrdersElsewhere, rows: &[BookRow], whole_book: bool) -> bool {
    let foreign = rows.iter().map(|row| (row.clone(), row.sender().unwrap())).collect();
    kept.found(foreign, seen(whole_book))
}

fn today(kept: &OrdersElsewhere) -> Option<Arc<ForeignOrders>> {
    kept.of_today("2026-11-23T10:00:00Z".parse().unwrap())
}

/// A person who trades by hand on web.dhan.co, and the broker's own exits, must raise no alarm.
#[test]
fn an_id_says_who_sent_an_order_and_no_id_says_nothing() {
    for (id, sender) in [
        (Some(OURS), Some(ForeignSender::Gateway)),
        (Some("SGABCDEFGHIJKLMNOPQRSTUV2"), Some(ForeignSender::Gateway)),
        (Some("SG-1"), Some(ForeignSender::Program)),
        (Some("sgabcdefghijklmnopqrst23"), Some(ForeignSender::Program)),
        (Some("my-order_1"), Some(ForeignSender::Program)),
        (Some("1000000001-1764216600000"), None),
        (Some(" "), None),
        (None, None),
    ] {
        assert_eq!(row("1", id).sender(), sender, "{id:?}");
    }
}

#[test]
fn rows_are_read_as_the_broker_shows_them() {
    let book = br#"[{"orderId":"1","correlationId":"NA","createTime":"2026-11-23 09:20:03"},{"orderId":2,"correlationId":"a"},{"x":1}]"#;
    let (rows, is_list) = look::rows(book).unwrap();
    assert!(is_list && rows.len() == 2, "{rows:?}");
    assert_eq!((rows[0].correlation_id.as_deref(), rows[0].made.as_deref()), (None, Some("2026-11-23 09:20:03")));
    assert_eq!((&*rows[1].order_id, rows[1].correlation_id.as_deref()), ("2", Some("a")));
    assert!(look::rows(b"<html>").is_none());
}

#[test]
fn a_gateway_s_orders_are_told_before_a_program_s_and_a_book_without_any_ends_it() {
    let kept = OrdersElsewhere::default();
    assert!(found(&kept, &[row("1", Some("theirs"))], true));
    let told = today(&kept).unwrap();
    assert_eq!((told.code(), told.count), ("another_program_trades", 1));
    assert!(told.summary().contains("1 order with") && told.summary().contains("theirs"), "{}", told.summary());

    assert!(found(&kept, &[row("22", Some(OURS)), row("1", Some("theirs")), row("333", Some(OURS))], true));
    let told = today(&kept).unwrap();
    assert_eq!((told.code(), told.count, &*told.newest.order_id), ("another_gateway_trades", 2, "333"));
    assert!(told.summary().contains("copy of the state folder") && told.action().contains("restored or lost"));
    assert!(!found(&kept, &[row("22", Some(OURS)), row("333", Some(OURS))], true), "no news");

    // One order says nothing of all the others.
    assert!(!found(&kept, &[row("4444", Some("theirs"))], false));
    assert!(!found(&kept, &[], false));
    assert_eq!(today(&kept).unwrap().count, 2);
    assert!(!found(&kept, &[], true));
    assert_eq!(today(&kept), None);
}

/// The broker's book is of one day, and what it said yesterday is over.
#[test]
fn what_was_found_holds_for_its_day_in_india() {
    let kept = OrdersElsewhere::default();
    found(&kept, &[row("1", Some(OURS))], true);
    let of = |at: &str| kept.of_today(at.parse().unwrap()).is_some();
    assert!(of("2026-11-23T18:29:00Z") && !of("2026-11-23T18:31:00Z"));
    let day = seen(true).day;
    assert_eq!(kept.known(&[row("1", Some(OURS))], day).len(), 1, "the journal is not read for it again");
    assert!(kept.known(&[row("1", Some(OURS))], day.tomorrow().unwrap()).is_empty());
}

#[test]
fn a_book_is_looked_at_now_and_then() {
    let (kept, now) = (OrdersElsewhere::default(), BootInstant::now());
    assert!(kept.may_look(now) && !kept.may_look(now + Duration::from_secs(4)));
    assert!(kept.may_look(now + Duration::from_secs(6)));
    found(&kept, &[row("1", Some(OURS))], true);
    assert!(!kept.may_look(now + Duration::from_secs(30)) && kept.may_look(now + Duration::from_secs(70)));
}

/// A journal that is known to lack lines cannot say that an order is another's.
#[test]
fn where_lines_of_the_journal_lack_it_is_said() {
    let kept = OrdersElsewhere::default();
    kept.found(vec![(row("1", Some(OURS)), ForeignSender::Gateway)], Seen { may_be_own: true, ..seen(true) });
    assert!(today(&kept).unwrap().summary().contains("may be its own"));
}
