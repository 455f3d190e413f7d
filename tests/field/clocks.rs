//! Wall clocks that are wrong, or are set while orders are under way, on the gateway's host alone or on the broker's
//! too: what was sent is not sent again, and nothing of the journal is deleted for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sixgate::orders::day;
use sixgate::sandbox::{Action, Fault};

use super::{Ask, LIMIT, ReplyOutcome as _, TERMS, account, arrived, is_executed, is_well, made, send, text, writes};
use crate::support::engine::OrderRequest;
use crate::support::wait::wait_until;
use crate::support::world::{World, automatic};

const DAY_AND_AN_HOUR: SignedDuration = SignedDuration::from_hours(25);
const SIX_YEARS: SignedDuration = SignedDuration::from_hours(6 * 365 * 24);

/// A gateway whose clock is right and can be moved. The broker's is right and stays so.
fn world() -> World {
    World::up_with_clock(1, &text("[limits]\nmax_wait = \"2s\""))
}

/// The host comes up again with its clock so far ahead.
fn restarted(world: &mut World, ahead: SignedDuration) {
    world.gateway.kill9();
    set(world, ahead);
    world.start_again();
}

fn set(world: &World, ahead: SignedDuration) {
    world.clock().set(ahead);
}

/// Answered with what became of the first, by its order id.
#[track_caller]
fn is_repeat_of(world: &World, wish: &OrderRequest, order_id: &str) {
    let told = send(world, wish);
    is_executed(&told);
    assert_eq!(told.order_id(), order_id, "{told:?}\n{}", world.gateway.log());
    assert_ne!(told.repeat_of(), "", "{told:?}");
}

/// The journal's files by name.
fn files(world: &World) -> Vec<String> {
    let folder = fs::read_dir(world.dir.path().join("state/journal")).unwrap();
    let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "jsonl"));
    names.sort();
    names
}

/// At the first order nobody has said yet that the clock is wrong.
#[test]
fn a_clock_a_day_ahead_at_the_first_order_changes_nothing() {
    for ahead in [DAY_AND_AN_HOUR, -DAY_AND_AN_HOUR] {
        let mut world = world();
        restarted(&mut world, ahead);
        let first = OrderRequest::place(Some("first"), 100.0);
        world.broker.fault(Fault::new(Action::Hang { executed: true }).on("POST", "/v2/orders").times(1));
        let told = send(&world, &first);
        is_executed(&told);
        assert_eq!(told.header("sixgate-recovered"), "true", "{told:?}");
        let found = told.order_id();
        is_repeat_of(&world, &first, &found);
        let next = OrderRequest::place(Some("next"), 100.0);
        let next_id = send(&world, &next).order_id();
        let shown = || account(&world)["token"]["clock_skew"].as_f64().unwrap_or_default();
        assert!((shown() + ahead.as_secs_f64()).abs() < 5.0, "{}", account(&world));
        // Somebody sets it right.
        set(&world, SignedDuration::ZERO);
        is_repeat_of(&world, &first, &found);
        assert_eq!(shown(), 0.0, "{}", account(&world));
        world.gateway.kill9();
        world.start_again();
        is_repeat_of(&world, &first, &found);
        is_repeat_of(&world, &next, &next_id);
        assert_eq!((arrived(&world), made(&world)), (2, 2));
        is_well(&world);
    }
}

/// A moment is enough for whoever looks at the clock to believe it.
#[test]
fn a_clock_that_jumps_for_a_moment_makes_nothing_forgotten() {
    let mut world = world();
    let mine = OrderRequest::place(Some("mine"), 100.0);
    let id = send(&world, &mine).order_id();
    for (n, ahead) in [DAY_AND_AN_HOUR, SIX_YEARS, -DAY_AND_AN_HOUR, -SIX_YEARS].into_iter().enumerate() {
        set(&world, ahead);
        is_repeat_of(&world, &mine, &id);
        is_executed(&send(&world, OrderRequest::place(Some(&format!("at{n}")), 100.0)));
        set(&world, SignedDuration::ZERO);
        is_repeat_of(&world, &mine, &id);
    }
    world.gateway.kill9();
    world.start_again();
    is_repeat_of(&world, &mine, &id);
    for n in 0..4 {
        assert_ne!(send(&world, OrderRequest::place(Some(&format!("at{n}")), 100.0)).repeat_of(), "", "{n}");
    }
    assert_eq!((arrived(&world), made(&world)), (5, 5));
}

/// One start years ahead deleted the journal; one years behind must not hide what was written since.
#[test]
fn a_start_years_away_keeps_the_journal_and_what_it_remembers() {
    let mut world = world();
    let mine = OrderRequest::place(Some("mine"), 100.0);
    let id = send(&world, &mine).order_id();
    let mut kept = files(&world);
    let mut ids = Vec::new();
    for (n, ahead) in [SIX_YEARS, -SIX_YEARS, SignedDuration::ZERO].into_iter().enumerate() {
        restarted(&mut world, ahead);
        is_repeat_of(&world, &mine, &id);
        let wish = OrderRequest::place(Some(&format!("start{n}")), 100.0);
        ids.push((send(&world, &wish).order_id(), wish));
        for (id, wish) in &ids {
            is_repeat_of(&world, wish, id);
        }
        let now = files(&world);
        assert!(kept.iter().all(|name| now.contains(name)), "{kept:?} became {now:?}");
        kept = now;
    }
    assert_eq!((arrived(&world), made(&world)), (4, 4));
}

/// A journal whose last lines are of a time to come: a clock was ahead, or is behind now.
#[test]
fn a_journal_from_the_future_is_believed_and_orders_go_on() {
    let mut world = world();
    restarted(&mut world, SIX_YEARS);
    let mine = OrderRequest::place(Some("mine"), 100.0);
    let id = send(&world, &mine).order_id();
    restarted(&mut world, SignedDuration::ZERO);
    is_repeat_of(&world, &mine, &id);
    is_executed(&send(&world, OrderRequest::place(Some("new"), 100.0)));
    is_executed(&send(&world, OrderRequest::place(None, 101.0)));
    assert_eq!((arrived(&world), made(&world)), (3, 3));
}

/// One back end's clock is off, or a front answers out of its cache: nobody's token ends by that, no order is written down
/// under another day, and what was lost is found.
#[test]
fn one_reply_with_a_wrong_date_changes_nothing() {
    for ahead in [DAY_AND_AN_HOUR, -DAY_AND_AN_HOUR] {
        let mut world = world();
        let wrong = |method: &str, path: &str| {
            let fault = Fault::new(Action::Dated { ahead: ahead.as_secs() }).on(method, path).times(1);
            world.broker.fault(fault);
        };
        let first = OrderRequest::place(Some("first"), 100.0);
        let id = send(&world, &first).order_id();
        // One question, and its answer is the last that was heard.
        wrong("GET", "/v2/ip/getIP");
        let (status, body) = world.gateway.admin().get("/v1/accounts/a1/registration");
        assert_eq!(status, 200, "{body}");
        let token = &account(&world)["token"];
        assert_eq!((&token["state"], &token["clock_skew"]), (&"live".into(), &().into()), "{token}");
        is_executed(&send(&world, OrderRequest::place(Some("then"), 100.0)));
        wrong("POST", "/v2/orders");
        is_executed(&send(&world, OrderRequest::place(Some("dated"), 101.0)));
        // The question that finds it is the next thing that is heard.
        world.broker.fault(Fault::new(Action::Hang { executed: true }).on("POST", "/v2/orders").times(1));
        wrong("GET", "/v2/orders");
        let lost = OrderRequest::place(Some("lost"), 102.0);
        let told = send(&world, &lost);
        is_executed(&told);
        assert_eq!(told.header("sixgate-recovered"), "true", "{told:?}");
        let found = told.order_id();
        // The journal has none of it, either.
        world.gateway.kill9();
        world.start_again();
        is_repeat_of(&world, &first, &id);
        is_repeat_of(&world, &lost, &found);
        assert_eq!((arrived(&world), made(&world)), (4, 4));
        is_well(&world);
    }
}

/// The broker's clock and the gateway's, both right, at this time in India.
fn it_is(world: &World, moment: &str) {
    let moment: Timestamp = format!("{moment}+05:30").parse().unwrap();
    let ahead = world.clock().show(moment);
    world.broker.set_clock_skew(ahead);
}

/// An engine sends its list before it goes to bed, and again in the morning, for safety.
#[test]
fn a_late_night_after_market_order_that_is_repeated_in_the_morning_is_not_sent_again() {
    for restart in [true, false] {
        let mut world = World::up_with_clock(0, &text(""));
        it_is(&world, "2026-11-18T22:00:00");
        // It is restarted at its new time, as a host is that was set right at boot.
        world.gateway.terminate();
        world.start_again();
        let token = world.at_the_broker(1);
        world.add(1, &serde_json::json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
        let body =
            |id: &str, more: &str| format!(r#"{{"correlationId":"{id}",{TERMS},"quantity":1,"price":100.0{more}}}"#);
        let after_market = Ask::new("POST", "/v2/orders").json(body("list-1", r#","afterMarketOrder":true"#));
        let of_the_day = Ask::new("POST", "/v2/orders").json(body("day-1", ""));
        let night = send(&world, after_market.clone());
        is_executed(&night);
        is_executed(&send(&world, of_the_day.clone()));
        if restart {
            world.gateway.kill9();
        }
        it_is(&world, "2026-11-19T08:00:00");
        if restart {
            world.start_again();
        }
        let morning = send(&world, after_market.clone());
        is_executed(&morning);
        assert_eq!(morning.order_id(), night.order_id(), "{morning:?}");
        assert_ne!(morning.repeat_of(), "");
        assert_eq!(arrived(&world), 2);
        if restart {
            // Another day's order may have the name of one of yesterday. (While the gateway runs, ages are counted by a
            // clock that nobody can set, and by that one no night has passed.)
            let next = send(&world, of_the_day);
            is_executed(&next);
            assert_eq!((next.repeat_of(), arrived(&world)), ("", 3), "{next:?}");
        }
        let sent: Vec<_> = writes(&world).iter().map(|seen| seen.path_and_query.clone()).collect();
        assert!(sent.iter().all(|path| path == "/v2/orders"), "{sent:?} {}", account(&world));
    }
}

/// Timers do not hear of a machine that sleeps: a dead token was told as live for five minutes, and orders were written to
/// connections that the other side had long forgotten. Its clocks count the time, or only the wall clock is set after it.
#[test]
fn a_machine_that_slept_for_a_day_trades_as_soon_as_it_wakes() {
    for counted in [true, false] {
        let mut world = World::up_with_clock(0, &text(""));
        world.broker.add_account(World::broker_account(1));
        World::wait_for_a_code_that_lasts(Duration::from_secs(10));
        world.add(1, &automatic());
        let token = |world: &World| account(world)["token"].clone();
        wait_until("the first login", LIMIT, || token(&world)["state"] == "live");
        is_executed(&send(&world, OrderRequest::place(Some("evening"), 100.0)));
        let (handshakes, ends) = (world.broker.handshakes(), token(&world)["expires_at"].clone());

        // An order of a day without trading belongs to the next one with it: at a weekend it is not over a day later.
        let is_over = day::remembered_for(Timestamp::now(), false) < DAY_AND_AN_HOUR.unsigned_abs();

        world.broker.set_clock_skew(DAY_AND_AN_HOUR);
        // It has two minutes behind it, and then some.
        world.broker.set_cooldown(Duration::ZERO);
        let slept = std::time::Instant::now();
        if counted {
            world.clock().sleep(DAY_AND_AN_HOUR);
            let shown = token(&world);
            assert!(shown["state"] != "live" || shown["expires_at"] != ends, "{shown:#}");
        } else {
            set(&world, DAY_AND_AN_HOUR);
        }
        // Nobody sends anything: the keeper sees to it by itself, and long before it would have looked at the clock.
        wait_until("the next login", LIMIT, || {
            let shown = token(&world);
            shown["state"] == "live" && shown["expires_at"] != ends
        });
        assert!(slept.elapsed() < Duration::from_secs(60), "{:?}", slept.elapsed());
        let before = world.broker.handshakes();
        assert!(before > handshakes);
        is_executed(&send(&world, OrderRequest::place(Some("morning"), 100.0)));
        // An id of a day that is over names a new order. Where no clock of the machine counted the night, it is not over by
        // the ages of ids, and rather a repeat than a second order.
        let again = send(&world, OrderRequest::place(Some("evening"), 100.0));
        is_executed(&again);
        let is_new = counted && is_over;
        assert_eq!(again.repeat_of().is_empty(), is_new, "{again:?}");
        let orders = if is_new { 3 } else { 2 };
        assert_eq!((arrived(&world), made(&world)), (orders, orders));
        let told = if counted { "this machine slept" } else { "this host's clock jumped by" };
        wait_until(told, LIMIT, || world.gateway.log().contains(told));
        is_well(&world);
    }
}
