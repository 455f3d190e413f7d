//! A write that is repeated, that waits, or whose answer proves nothing, a halted
//! account, a full disk: on the real binary.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::Gateway;
use crate::support::engine::{OrderAnswer, OrderRequest};
use crate::support::net::{self, Ns, Uplink};
use crate::support::wait::wait_until;
use crate::support::world::{LISTENER, World, config, pins};
use futures_util::future::join_all;
use serde_json::json;
use sixgate::domain::Outcome;
use sixgate::orders::journal::{Kind, read_back, verify};
use sixgate::sandbox::{Action, Fault, Seen};

const LIMIT: Duration = Duration::from_secs(30);

fn text() -> String {
    let orders = "[orders]\nresponse_timeout = \"2s\"\nreconcile_for = \"600ms\"\nleave_within = \"30s\"\n";
    config(&format!("{}\n{orders}", pins()))
}

fn world() -> World {
    World::up_with(1, &text())
}

/// All at once.
fn send_all(world: &World, wishes: &[OrderRequest]) -> Vec<Option<OrderAnswer>> {
    let trader = &world.traders[0];
    world.net.in_ns(Ns::Caller, || async { join_all(wishes.iter().map(|wish| wish.send(LISTENER, trader))).await })
}

#[track_caller]
fn send(world: &World, wish: &OrderRequest) -> OrderAnswer {
    send_all(world, std::slice::from_ref(wish)).remove(0).expect("no answer")
}

/// Order writes that arrived at the broker.
fn arrived(world: &World) -> usize {
    world.broker.seen().iter().filter(|seen| seen.method != "GET").count()
}

/// Orders in the broker's book.
fn made(world: &World) -> usize {
    world.broker.orders(&world.traders[0].client_id).len()
}

fn restart(world: &mut World) {
    restart_by(world, &text());
}

fn restart_by(world: &mut World, text: &str) {
    world.gateway = Gateway::start(&world.net.place(Ns::Gateway), text, world.dir.path());
}

/// A world whose broker takes so many orders and so many questions from each customer,
/// with what else belongs to `[limits]`. The folder has the table.
fn limited(traders: u16, order: &str, other: &str, more: &str) -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("limits.toml");
    let windows = format!("order = [{order}]\ndata = [{other}]\nquote = [{other}]\nother = [{other}]\n");
    let whole = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n[windows]\n{windows}"
    );
    std::fs::write(&table, whole).unwrap();
    let limits = format!("[limits]\nfile = \"{}\"\n{more}\n", table.display());
    (World::up_with(traders, &format!("{}\n{limits}", text())), dir)
}

fn kinds() -> [(&'static str, OrderRequest); 4] {
    [
        ("correlationId", OrderRequest::place(Some("mine-1"), 100.0)),
        ("Idempotency-Key", OrderRequest::place(None, 101.0).under("key-1")),
        ("both", OrderRequest::place(Some("mine-2"), 102.0).under("key-2")),
        ("slicing", OrderRequest::slicing(Some("mine-3"), 103.0)),
    ]
}

/// A cancel or a change that is sent again after a time-out has no correlation id to be known by.
#[test]
fn a_cancel_and_a_change_are_known_by_their_idempotency_key() {
    let world = world();
    let order_id = send(&world, &OrderRequest::place(Some("held-1"), 90.0)).order_id();
    let change = OrderRequest::modify(&order_id, 91.0).under("change-1");
    for request in [change, OrderRequest::cancel(&order_id).under("cancel-1")] {
        let before = arrived(&world);
        let first = send(&world, &request);
        assert_eq!(first.outcome, "executed", "{first:?}");
        let again = send(&world, &request);
        assert_eq!((again.outcome.as_str(), &again.body), ("executed", &first.body), "{again:?}");
        assert_eq!(arrived(&world) - before, 1, "it was sent again: {again:?}");
    }
}

#[test]
fn a_repeat_in_flight_waits_for_the_first_and_gets_its_answer() {
    let world = world();
    for (what, wish) in kinds() {
        let before = arrived(&world);
        world.broker.fault(Fault::new(Action::Slow { ms: 300 }).on("POST", "/v2/orders").times(1));
        let told: Vec<OrderAnswer> = send_all(&world, &vec![wish; 5]).into_iter().flatten().collect();
        assert_eq!(told.len(), 5, "{what}");
        let same = told.iter().all(|one| one.outcome == "executed" && one.body == told[0].body);
        assert!(same, "{what}: {told:#?}");
        assert_eq!(arrived(&world) - before, 1, "{what}");
    }
    // The same without an id is as many orders as were asked for.
    let before = made(&world);
    send_all(&world, &vec![OrderRequest::place(None, 99.0); 3]);
    assert_eq!(made(&world) - before, 3);
}

#[test]
fn a_repeat_gets_the_recorded_answer_and_never_another_order_also_after_kill_9() {
    let mut world = world();
    let first: Vec<OrderAnswer> = kinds().iter().map(|(_, wish)| send(&world, wish)).collect();
    assert!(first.iter().all(|told| (told.status, told.outcome.as_str()) == (200, "executed")), "{first:#?}");
    let (arrived_once, made_once) = (arrived(&world), made(&world));
    let orders = |told: &OrderAnswer| told.json().as_array().map_or(1, Vec::len);
    for round in ["at once", "after kill -9", "after SIGTERM"] {
        match round {
            "after kill -9" => world.gateway.kill9(),
            "after SIGTERM" => drop(world.gateway.terminate()),
            _ => {}
        }
        if round != "at once" {
            restart(&mut world);
        }
        for ((what, wish), first) in kinds().iter().zip(&first) {
            let again = send(&world, wish);
            assert_eq!((again.status, again.outcome.as_str()), (200, "executed"), "{what}, {round}: {again:?}");
            assert_eq!(again.order_id(), first.order_id(), "{what}, {round}");
            assert_eq!(orders(&again), orders(first), "{what}, {round}: {again:?}");
        }
        // The same id with another body, on another path, by another method.
        let conflict = |wish: &OrderRequest| {
            let told = send(&world, wish);
            assert_eq!((told.status, told.code()), (422, "idempotency_conflict".to_owned()), "{round}: {told:?}");
        };
        conflict(&OrderRequest::place(Some("mine-1"), 77.0));
        conflict(&OrderRequest::place(None, 77.0).under("key-1"));
        conflict(&OrderRequest::super_order(Some("mine-2"), 102.0));
        conflict(&OrderRequest::cancel("112611230001").under("key-1"));
        assert_eq!((arrived(&world), made(&world)), (arrived_once, made_once), "{round}");
    }
}

/// "Nobody knows" stays so until the broker shows the order, and is never a second send.
#[test]
fn a_repeat_after_unknown_asks_and_does_not_send_also_after_kill_9() {
    let mut world = world();
    let silent = |world: &World| {
        // The book does not show what was done, as while its line is down.
        world.broker.fault(Fault::new(Action::BadGateway { executed: false }).on("GET", "/v2/orders"));
    };
    let done = OrderRequest::place(Some("done"), 100.0);
    let lost = OrderRequest::place(Some("lost"), 100.0).under("key");
    let sliced = OrderRequest::slicing(Some("sliced"), 100.0);
    silent(&world);
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
    assert_eq!(send(&world, &done).outcome, "unknown");
    world.broker.fault(Fault::new(Action::Close { executed: false }).on("POST", "/v2/orders").times(1));
    assert_eq!(send(&world, &lost).outcome, "unknown");
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
    assert_eq!(send(&world, &sliced).outcome, "unknown");
    let before = arrived(&world);
    assert_eq!((before, made(&world)), (3, 3));
    for wish in [&done, &lost, &sliced] {
        let again = send(&world, wish);
        assert_eq!((again.status, again.outcome.as_str()), (504, "unknown"), "{again:?}");
    }
    world.gateway.kill9();
    restart(&mut world);
    assert_eq!(send(&world, &done).outcome, "unknown");
    let other = send(&world, &OrderRequest::place(Some("lost"), 5.0));
    assert_eq!(other.status, 422, "{other:?}");
    world.broker.clear_faults();
    let found = send(&world, &done);
    assert_eq!((found.status, found.outcome.as_str(), found.recovered), (200, "executed", true), "{found:?}");
    assert_eq!(found.order_id(), world.broker.orders(&world.traders[0].client_id)[0]["orderId"]);
    let found = send(&world, &sliced);
    assert_eq!((found.outcome.as_str(), found.json().as_array().map(Vec::len)), ("executed", Some(2)), "{found:?}");
    assert_eq!(send(&world, &lost).outcome, "unknown");
    assert_eq!(arrived(&world), before, "a second send");
}

/// A dead leg must not take the whole of the time that there is for asking.
#[test]
fn a_lost_answer_is_asked_for_by_the_other_leg_when_its_own_is_dead() {
    let orders = "[orders]\nresponse_timeout = \"1s\"\nreconcile_for = \"4s\"\n";
    let text = config(&format!("{}\n{orders}", pins())).replace("connect_timeout = \"1s\"", "connect_timeout = \"9s\"");
    let world = World::up_with(1, &text);
    world.broker.fault(Fault::new(Action::Hang { executed: true }).on("POST", "/v2/orders").times(1));
    let told = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&world, &OrderRequest::place(Some("lost"), 100.0)));
        wait_until("the order to arrive", LIMIT, || arrived(&world) > 0);
        world.net.uplink(1, Uplink::Silent);
        sending.join().unwrap()
    });
    assert_eq!((told.outcome.as_str(), told.recovered), ("executed", true), "{told:?}");
}

/// Whoever looks at the plots for what the gateway adds is not shown the seconds in which the broker was asked.
#[test]
fn the_search_for_a_lost_order_is_not_counted_as_the_gateway_s_time() {
    let world = world();
    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("POST", "/v2/orders").times(1));
    let began = Instant::now();
    let told = send(&world, &OrderRequest::place(Some("lost"), 100.0));
    let all = began.elapsed();
    assert_eq!(told.outcome, "unknown", "{told:?}");
    let sum = |of: &str| world.gateway.metric(&format!("sixgate_{of}_seconds_sum")).unwrap();
    let counted = Duration::from_secs_f64(sum("upstream") + sum("overhead"));
    // For so long was nothing found.
    assert!(counted + Duration::from_millis(600) <= all, "{counted:?} of {all:?}");
}

/// Killed wherever it is, and asked again: one order for each that was meant.
#[test]
fn kill_9_in_flight_and_a_repeat_make_one_order() {
    // All that is looked for is found, by however slow a machine.
    let text = text().replace("600ms", "10s");
    let mut world = World::up_with(1, &text);
    let seed = getrandom::u64().unwrap();
    println!("seed {seed}");
    let mut random = seed;
    for round in 0..8 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_micros((random >> 33) % 60_000);
        let id = format!("round-{round}");
        let wishes = [
            OrderRequest::place(Some(&id), 100.0),
            OrderRequest::super_order(Some(&format!("{id}-super")), 100.0),
            OrderRequest::place(None, 100.0).under(&id),
        ];
        // Half of them are executed a moment before they are answered.
        world.broker.fault(Fault::new(Action::Slow { ms: 40 }).on("POST", "/v2").times(2));
        let trader = world.traders[0].clone();
        std::thread::scope(|scope| {
            let (net, wishes) = (&world.net, &wishes);
            let sending = scope.spawn(move || {
                net.in_ns(Ns::Caller, || async {
                    join_all(wishes.iter().map(|wish| wish.send(LISTENER, &trader))).await
                })
            });
            std::thread::park_timeout(after);
            world.gateway.kill9();
            sending.join().unwrap()
        });
        world.broker.clear_faults();
        restart_by(&mut world, &text);
        for wish in &wishes {
            let told = send(&world, wish);
            assert_eq!(told.outcome, "executed", "round {round}, killed after {after:?}: {told:?}");
        }
    }
    let mut ids: Vec<_> = world
        .broker
        .orders(&world.traders[0].client_id)
        .iter()
        .map(|order| order["correlationId"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!((count, ids.len()), (24, 24), "{ids:?}");
}

#[test]
fn a_halted_account_cancels_and_reads_and_places_nothing() {
    let mut world = world();
    let waiting = send(&world, &OrderRequest::place(Some("waiting"), 100.0)).order_id();
    let second = send(&world, &OrderRequest::place(Some("second"), 100.0)).order_id();
    let halt = json!({ "halted": true, "reason": "the strategy runs wild" });
    assert_eq!(world.gateway.admin().call("PUT", "/v1/accounts/a1/halt", Some(&halt)).0, 200);
    for round in ["at once", "after a restart"] {
        let before = arrived(&world);
        for wish in [
            OrderRequest::place(Some("new"), 100.0),
            OrderRequest::slicing(None, 100.0),
            OrderRequest::super_order(None, 100.0),
            OrderRequest::modify(&waiting, 99.0),
        ] {
            let told = send(&world, &wish);
            assert_eq!((told.status, told.code()), (403, "account_halted".to_owned()), "{round}: {wish:?} {told:?}");
            assert_eq!(told.outcome, "not_sent", "{round}: {told:?}");
        }
        // Who did not hear of one that was placed before must not be told that it was not.
        let known = send(&world, &OrderRequest::place(Some("waiting"), 100.0));
        assert_eq!((known.status, known.outcome.as_str()), (200, "executed"), "{round}: {known:?}");
        assert_eq!(arrived(&world), before, "{round}");
        assert_eq!(send(&world, &OrderRequest::read()).status, 200, "{round}");
        if round == "at once" {
            assert_eq!(send(&world, &OrderRequest::cancel(&waiting)).outcome, "executed");
            world.gateway.kill9();
            restart(&mut world);
        }
    }
    assert_eq!(send(&world, &OrderRequest::cancel(&second)).outcome, "executed");
    assert_eq!(send(&world, &OrderRequest::new("DELETE", "/v2/positions", None)).status, 200);
    let go = json!({ "halted": false, "reason": "" });
    assert_eq!(world.gateway.admin().call("PUT", "/v1/accounts/a1/halt", Some(&go)).0, 200);
    assert_eq!(send(&world, &OrderRequest::place(Some("new"), 100.0)).outcome, "executed");
}

/// An operator who halts an account, or takes its addresses away, sees no order of it leave
/// afterwards: not one that was taken up before and waits.
#[test]
fn an_order_that_waits_does_not_leave_after_a_halt_or_without_its_pair() {
    // It waits long enough for three calls on a busy machine; the hour has one more than the first.
    let window = r#"{ count = 1, per = "8s" }, { count = 2, per = "1h" }"#;
    let plenty = r#"{ count = 100, per = "1s" }"#;
    let (world, _table) = limited(3, window, plenty, "max_wait = \"30s\"");
    let all = |id: &'static str| {
        let send = async |trader| OrderRequest::place(Some(id), 100.0).send(LISTENER, trader).await.expect("no answer");
        world.net.in_ns(Ns::Caller, || join_all(world.traders.iter().map(send)))
    };
    let first = all("first");
    assert!(first.iter().all(|told| told.outcome == "executed"), "{first:#?}");
    let before = arrived(&world);
    let told = std::thread::scope(|scope| {
        let sending = scope.spawn(|| all("waits"));
        wait_until("all three to wait", LIMIT, || {
            let metrics = world.gateway.admin().get("/metrics").1;
            metrics.as_str().unwrap_or_default().contains("sixgate_orders_under_way 3\n")
        });
        let admin = world.gateway.admin();
        let halt = json!({ "halted": true, "reason": "the strategy runs wild" });
        assert_eq!(admin.put("/v1/accounts/a1/halt", &halt).0, 200);
        assert_eq!(admin.delete("/v1/accounts/a2/pair").0, 204);
        assert_eq!(admin.delete("/v1/accounts/a3").0, 204);
        assert_eq!(arrived(&world), before, "they did not wait");
        sending.join().unwrap()
    });
    let told: Vec<_> = told.iter().map(|told| (told.status, told.code(), told.outcome.as_str())).collect();
    let (halted, gone) = ("account_halted".to_owned(), "egress_unavailable".to_owned());
    assert_eq!(told, [(403, halted, "not_sent"), (503, gone.clone(), "not_sent"), (503, gone, "not_sent")]);
    assert_eq!(arrived(&world), before, "sent all the same");
    // And it spent nothing of the hour.
    let go = json!({ "halted": false, "reason": "" });
    assert_eq!(world.gateway.admin().put("/v1/accounts/a1/halt", &go).0, 200);
    assert_eq!(send(&world, &OrderRequest::place(Some("waits"), 100.0)).outcome, "executed");
}

/// What was done is the broker's customer's: an account that is deleted and made again
/// must not do it twice, nor have a day's limits anew, and another customer who gets
/// the name has nothing to do with it.
#[test]
fn an_account_made_again_for_the_same_customer_repeats_nothing_also_after_a_restart() {
    let (mut world, _table) = limited(1, r#"{ count = 2, per = "1h" }"#, r#"{ count = 100, per = "1s" }"#, "");
    let mine = OrderRequest::place(Some("mine"), 100.0);
    let first = send(&world, &mine);
    assert_eq!(first.outcome, "executed", "{first:?}");
    let token = json!({ "platform": "DHAN_V2_IPV6", "access_token": world.traders[0].token });
    for round in ["at once", "after a restart"] {
        assert_eq!(world.gateway.admin().delete("/v1/accounts/a1").0, 204);
        world.traders.clear();
        world.add(1, &token);
        if round == "after a restart" {
            world.gateway.kill9();
            world.start_again();
        }
        let again = send(&world, &mine);
        assert_eq!((again.status, again.outcome.as_str()), (200, "executed"), "{round}: {again:?}");
        assert_eq!(again.order_id(), first.order_id(), "{round}");
        let other = send(&world, &OrderRequest::place(Some("mine"), 77.0));
        assert_eq!((other.status, other.code()), (422, "idempotency_conflict".to_owned()), "{round}: {other:?}");
        assert_eq!((arrived(&world), made(&world)), (1, 1), "{round}");
    }
    assert_eq!(send(&world, &OrderRequest::place(Some("second"), 100.0)).outcome, "executed");
    let third = send(&world, &OrderRequest::place(Some("third"), 100.0));
    assert_eq!((third.status, third.code()), (429, "rate_limited".to_owned()), "{third:?}");

    assert_eq!(world.gateway.admin().delete("/v1/accounts/a1").0, 204);
    // Another customer's account under the name; the key that opens it is new.
    let token = world.at_the_broker(2);
    let fields = json!({ "name": "a1", "client_id": "1000000002", "platform": "DHAN_V2_IPV6", "access_token": token });
    world.post("/v1/accounts", &fields, 201);
    let pair = World::broker_account(2).registered.unwrap();
    let pair = json!({ "primary": pair.primary.to_string(), "secondary": pair.secondary.to_string() });
    world.post("/v1/accounts/a1/pair", &pair, 201);
    world.traders[0].key = world.post("/v1/accounts/a1/keys", &json!({}), 201)["key"].as_str().unwrap().to_owned();
    world.gateway.kill9();
    world.start_again();
    let theirs = send(&world, &mine);
    assert_eq!(theirs.outcome, "executed", "{theirs:?}");
    assert_ne!(theirs.order_id(), first.order_id());
    assert_eq!((arrived(&world), made(&world)), (3, 2));
}

/// The broker counts what it is asked, whatever the reason: a run of lost answers must not
/// get the account shut out.
#[test]
fn questions_about_a_lost_order_stay_within_the_limits() {
    let order = r#"{ count = 100, per = "1s" }"#;
    let (world, _table) = limited(1, order, r#"{ count = 3, per = "1h" }"#, "max_wait = \"10ms\"");
    // Nothing that it answers settles anything, so it is asked for as long as there is time.
    world.broker.fault(Fault::new(Action::BadGateway { executed: false }).on("GET", "/v2/orders"));
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders"));
    for n in 0..3 {
        let told = send(&world, &OrderRequest::place(Some(&format!("lost-{n}")), 100.0));
        assert_eq!((told.status, told.code()), (504, "outcome_unknown".to_owned()), "{told:?}");
    }
    let question = |seen: &&Seen| seen.method == "GET" && seen.path_and_query.starts_with("/v2/orders");
    let asked = || world.broker.seen().iter().filter(question).count();
    // One that found no connection in time is counted and does not arrive.
    let before = asked();
    assert_eq!((arrived(&world), (1..=3).contains(&before)), (3, true), "{before}");
    // It is one limit for them and for what callers read.
    let read = send(&world, &OrderRequest::read());
    assert_eq!((read.status, read.code()), (429, "rate_limited".to_owned()), "{read:?}");
    assert_eq!(asked(), before);
}

/// An engine reads a 302 or a page with a 403 as "refused" and places it anew, or follows
/// the redirect to a second send: only a broker's 5xx says by itself that nobody knows.
#[test]
fn of_replies_that_prove_nothing_only_a_5xx_is_passed_on() {
    let mut world = world();
    let page = |status| Action::Html { status, executed: false };
    let cases = [
        ("a page", page(200), 504),
        ("a redirect", page(302), 504),
        ("a firewall's page", page(403), 504),
        ("a bad gateway", Action::BadGateway { executed: false }, 502),
    ];
    let wish = |n: usize| OrderRequest::place(Some(&format!("nothing-{n}")), 100.0);
    let check = |told: &OrderAnswer, status: u16, what: &str| {
        assert_eq!((told.status, told.outcome.as_str()), (status, "unknown"), "{what}: {told:?}");
        if status == 504 {
            assert_eq!(told.code(), "outcome_unknown", "{what}: {told:?}");
        }
    };
    for (n, (what, action, status)) in cases.iter().enumerate() {
        world.broker.fault(Fault::new(action.clone()).on("POST", "/v2/orders").times(1));
        check(&send(&world, &wish(n)), *status, what);
        check(&send(&world, &wish(n)), *status, what);
    }
    world.gateway.kill9();
    restart(&mut world);
    for (n, (what, _, status)) in cases.iter().enumerate() {
        check(&send(&world, &wish(n)), *status, &format!("{what}, after kill -9"));
    }
    assert_eq!((arrived(&world), made(&world)), (cases.len(), 0));
}

fn fill(at: &Path) {
    let mut file = File::create(at.join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_full_disk_refuses_orders_before_they_leave_and_keeps_what_is_in_flight() {
    let mut world = world();
    world.gateway.terminate();
    let journal = world.dir.path().join("state/journal");
    net::own_disk(&journal, "size=3m");
    restart(&mut world);
    assert_eq!(send(&world, &OrderRequest::place(Some("before"), 100.0)).outcome, "executed");
    let waiting = send(&world, &OrderRequest::place(Some("waiting"), 100.0)).order_id();

    // In flight while the disk fills: the intent is written, the outcome is to come.
    world.broker.fault(Fault::new(Action::Slow { ms: 1500 }).on("POST", "/v2/orders").times(1));
    let before = arrived(&world);
    let in_flight = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&world, &OrderRequest::place(Some("in-flight"), 100.0)));
        wait_until("the order to arrive", LIMIT, || arrived(&world) > before);
        fill(&journal);
        sending.join().unwrap()
    });
    assert_eq!(in_flight.outcome, "executed", "{in_flight:?}");
    let before = arrived(&world);
    // What is left of the last page takes a few lines more.
    let mut last = None;
    for n in 0..200 {
        let told = send(&world, &OrderRequest::place(Some(&format!("full-{n}")), 100.0));
        if told.outcome != "executed" {
            last = Some(told);
            break;
        }
    }
    let told = last.expect("the disk was not full");
    assert_eq!(
        (told.status, told.code(), told.outcome.as_str()),
        (503, "journal_unavailable".to_owned(), "not_sent"),
        "{told:?}"
    );
    let taken = arrived(&world);
    println!("{} orders fitted on the last page", taken - before);
    for wish in [OrderRequest::place(Some("none"), 100.0), OrderRequest::modify(&waiting, 99.0)] {
        let told = send(&world, &wish);
        assert_eq!((told.status, told.outcome.as_str()), (503, "not_sent"), "{wish:?}: {told:?}");
    }
    assert_eq!(arrived(&world), taken, "sent, and no line of it in the journal");
    // A full disk must not keep anybody from getting out.
    assert_eq!(send(&world, &OrderRequest::cancel(&waiting)).outcome, "executed");
    assert_eq!(send(&world, &OrderRequest::read()).status, 200);
    let outcomes = read_back(&journal, jiff::Timestamp::MIN).unwrap().map(Result::unwrap).filter(|line| {
        line.entry.kind == Kind::Outcome
            && line.entry.correlation_id.as_ref().is_some_and(|id| id.as_str() == "in-flight")
            && line.entry.outcome == Some(Outcome::Executed)
    });
    assert_eq!(outcomes.count(), 1, "the outcome of the order in flight is not in the journal");

    std::fs::remove_file(journal.join("filler")).unwrap();
    let mut again = None;
    wait_until("orders to be taken again", LIMIT, || {
        let told = send(&world, &OrderRequest::place(Some("none"), 100.0));
        let taken = told.outcome == "executed";
        again = Some(told);
        taken
    });
    let order = again.unwrap().order_id();
    assert_eq!(send(&world, &OrderRequest::cancel(&order)).outcome, "executed");
    let report = verify(&journal).unwrap();
    assert!(report.is_good(), "{report:#?}");
    // The gateway's lines of the disk that this thread sees.
    world.gateway.terminate();
    drop(world);
}
