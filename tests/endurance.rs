//! What a day of orders leaves behind: memory, descriptors and tasks, with most orders refused, as an engine that runs wild
//! has it.
//!
//! `SIXGATE_ENDURANCE` is how many order requests there are, 20,000 if it is not set, by `SIXGATE_ENDURANCE_ACCOUNTS`
//! accounts, 20 if that is not set. The broker's limits let an account send 250 orders a minute and 1,000 an hour: the rest
//! is refused. A million by 200: `SIXGATE_ENDURANCE=1000000 SIXGATE_ENDURANCE_ACCOUNTS=200 cargo nextest run --profile
//! storm -E 'test(/^endurance::/)'`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::caller::{Caller, basic, connect, request};
use crate::support::net::Ns;
use crate::support::wait::wait_until;
use crate::support::world::{LISTENER, TestAccount, World, config, pins};
use futures_util::future::join_all;
use serde_json::json;

/// Connections of callers, which stay.
const CALLERS: usize = 32;
/// In so many parts of the run it is looked what the gateway holds.
const PARTS: usize = 10;
/// What one order that left may take in memory until its id is forgotten.
const REMEMBERED: usize = 1024;
/// What is not counted: pages that the allocator keeps, and as little as refused orders (0.43 KB each once) would show in.
/// With the last 4,096 events, which are kept for who connects again, of some 1.5 KB each.
const SLACK: usize = 10 * 1024 * 1024;

/// What the gateway holds at a moment.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: usize,
    descriptors: usize,
    threads: usize,
    tasks: usize,
    executed: usize,
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn held(world: &World, executed: usize) -> Held {
    let process = format!("/proc/{}", world.gateway.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let of = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let metrics = world.gateway.admin().get("/metrics").1;
    let tasks = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix("sixgate_tasks ")).unwrap();
    Held {
        memory: of("VmRSS:") * 1024,
        descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count(),
        threads: of("Threads:"),
        tasks: tasks.trim().parse().unwrap(),
        executed,
    }
}

/// The n-th order request: most are alike in kind, some are refused for what they are.
fn body(n: usize) -> String {
    let id = match n % 20 {
        // One character too many for the broker.
        3 => format!("{n:0>31}"),
        // Another order's id.
        7 if n > 100 => "taken".to_owned(),
        _ => format!("e{n}"),
    };
    let price = if n % 20 == 7 { 100.0 + (n % 1000) as f64 } else { 100.0 };
    format!(
        r#"{{"correlationId":"{id}","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":{price:.2}}}"#
    )
}

async fn caller(traders: &[TestAccount], next: &AtomicUsize, until: usize, told: &Mutex<BTreeMap<String, usize>>) {
    let mut caller = Caller::http1(connect(LISTENER).await).await;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= until {
            return;
        }
        let trader = &traders[n % traders.len()];
        let auth = basic(&trader.name, &trader.key);
        let order = request(
            "POST",
            "http://api.dhan.co/v2/orders",
            "api.dhan.co",
            &[("proxy-authorization", &auth)],
            Some(&body(n)),
        );
        let reply = caller.send(order).await.expect("an answer");
        let word = match (reply.status, reply.header("sixgate-outcome")) {
            (200, "executed") => "executed".to_owned(),
            (status, _) => format!("{status} {}", reply.json()["code"].as_str().unwrap_or_default()),
        };
        *told.lock().unwrap().entry(word).or_default() += 1;
    }
}

#[test]
fn what_was_refused_leaves_nothing_behind_and_what_left_its_id() {
    let requests = number("SIXGATE_ENDURANCE", 20_000);
    let accounts = number("SIXGATE_ENDURANCE_ACCOUNTS", 20);
    let text = config(&format!("{}\n[limits]\nmax_wait = \"1ms\"\n[log]\nlevel = \"error\"\n", pins()));
    let world = World::up_with(u16::try_from(accounts).unwrap(), &text);
    // One of them is halted.
    let (status, _) = world.gateway.admin().put("/v1/accounts/a1/halt", &json!({ "halted": true, "reason": "a test" }));
    assert_eq!(status, 200);
    let (next, told) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let began = Instant::now();
    let mut parts = Vec::new();
    for part in 1..=PARTS {
        let until = requests * part / PARTS;
        next.store(requests * (part - 1) / PARTS, Ordering::Relaxed);
        world.net.in_ns(Ns::Caller, || async {
            join_all((0..CALLERS).map(|_| caller(&world.traders, &next, until, &told))).await;
        });
        wait_until("no order under way", Duration::from_secs(30), || {
            let metrics = world.gateway.admin().get("/metrics").1;
            metrics.as_str().unwrap().lines().any(|line| line == "sixgate_orders_under_way 0")
        });
        let executed = told.lock().unwrap().get("executed").copied().unwrap_or_default();
        let now = held(&world, executed);
        println!("{until:8} requests, {:7.1?}: {now:?}", began.elapsed());
        parts.push(now);
    }
    let told = told.into_inner().unwrap();
    println!("{told:?}");
    assert_eq!(told.values().sum::<usize>(), requests);
    let refused = requests - told.get("executed").copied().unwrap_or_default();
    assert!(refused * 2 > requests, "most are to be refused: {told:?}");
    // What a start takes is over after two parts.
    let (first, last) = (parts[1], parts[PARTS - 1]);
    let grown = last.memory.saturating_sub(first.memory);
    let remembered = (last.executed - first.executed) * REMEMBERED;
    assert!(grown <= remembered + SLACK, "memory grew by {grown} bytes: {parts:#?}");
    assert!(last.descriptors <= first.descriptors + CALLERS, "{parts:#?}");
    assert!(last.threads <= first.threads + 4 && last.tasks <= first.tasks + 8, "{parts:#?}");
}
