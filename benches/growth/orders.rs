//! Orders of a gateway's traders: as many as can be, or at a rate, in peace or while everything is changed.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use crate::LOAD_CORE;
use crate::broker::Broker;
use crate::cpu::CpuTime;
use crate::load::{self, Load};
use crate::open_loop::{self, Outcome, Plan};
use crate::site::{Site, Trader, name, pause};

/// How often the configuration is read again while orders are disturbed.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// Changes of accounts a second then.
const CHANGES: u32 = 20;

/// What came of a closed loop: CPU of the gateway before and after.
pub(crate) type Window = load::Window<CpuTime>;

/// Microseconds of the gateway's CPU an order.
pub(crate) fn cost(window: &Window) -> f64 {
    window.closed.since(window.opened).total().as_secs_f64() * 1e6 / window.replies.max(1) as f64
}

/// Orders a second.
pub(crate) fn rate(window: &Window) -> f64 {
    window.replies as f64 / window.elapsed.as_secs_f64()
}

/// Every connection sends its next order when it has the reply to the last one. They are dealt out to the traders in
/// turn.
pub(crate) fn closed_loop(
    site: &Site,
    broker: &Broker,
    traders: &[Trader],
    connections: usize,
    window: Duration,
) -> Window {
    let load = Load {
        at: site.at,
        tls: None,
        requests: traders.iter().map(|trader| trader.order.clone()).collect(),
        connections,
        warm_up: window / 4,
        window,
    };
    broker.checked(|| load::run(LOAD_CORE, &load, || site.cpu()), |window| window.replies_in_all)
}

/// Orders come `rate` times a second, whatever becomes of those before, over as many connections as there are traders.
pub(crate) fn open_loop(site: &Site, broker: &Broker, traders: &[Trader], rate: u32, window: Duration) -> Outcome {
    let plan = Plan {
        at: site.at,
        tls: None,
        requests: traders.iter().map(|trader| trader.order.clone()).collect(),
        connections: traders.len(),
        rate,
        warm_up: window / 4,
        window,
    };
    broker.checked(|| open_loop::run(&broker.runtime, plan), |outcome| outcome.replies_in_all)
}

/// Do `work`, which takes `window` and its warm-up, while the configuration is read again and again and accounts are
/// changed; what became of the changes comes with what it returned. They come from the thread that the orders come
/// from: one of their own would take its core.
pub(crate) fn disturbed<T>(site: &Site, broker: &Broker, window: Duration, work: impl FnOnce() -> T) -> (T, Outcome) {
    let admin = site.admin();
    let first = site.traders[0].number;
    // A stride that meets all accounts, those that trade too.
    let change = |n: u64| {
        let path = format!("/v1/accounts/{}", name(first + n * 7919 % site.accounts));
        admin.request("PATCH", &path, &json!({ "nickname": format!("nickname {n}") }))
    };
    let plan = Plan {
        at: site.admin,
        tls: None,
        requests: (0..10 * u64::from(CHANGES)).map(change).collect(),
        connections: 1,
        rate: CHANGES,
        warm_up: window / 4,
        window,
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                site.request_reload();
                pause(RELOAD_EVERY);
            }
        });
        let changes = scope.spawn(|| open_loop::run(&broker.runtime, plan));
        let done = work();
        let changes = changes.join().expect("the changes were made");
        stop.store(true, Relaxed);
        (done, changes)
    })
}
