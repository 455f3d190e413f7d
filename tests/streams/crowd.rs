//! A platform's morning: 200 accounts with five feeds each, open at once.

use std::collections::BTreeSet;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sixgate::sandbox::StreamHost;

use super::LIMIT;
use super::slow_callers::resident;
use super::socket::{FEED, Socket, ask_as};
use crate::support::Ns;
use crate::support::wait::wait_until;
use crate::support::world::World;

const ACCOUNTS: u16 = 200;
/// As many as the broker allows of a kind.
const EACH: usize = 5;
/// Prices that each gets once all are open.
const PRICES: usize = 3;
/// What one may cost: both connections, the TLS of one of them, its task. 26 KB were measured, in a build without
/// optimisation.
const MOST: u64 = 48 * 1024;

#[test]
fn a_thousand_sockets_are_open_at_once_and_all_get_prices() {
    // Both ends of them are in this process.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let world = World::up(ACCOUNTS, "");
    let gateway = world.gateway.id();
    let callers = world.net.runtime(Ns::Caller);
    let before = resident(gateway);
    let began = Instant::now();
    let accounts = world.traders.clone();
    let open: Vec<Socket> = callers.run(async move {
        let mut open = Vec::new();
        for account in &accounts {
            for _ in 0..EACH {
                open.push(ask_as(account, FEED).await.socket().with_a_price().await);
            }
        }
        open
    });
    let all = open.len();
    assert_eq!(all, usize::from(ACCOUNTS) * EACH);
    println!("{all} sockets open after {:.1?}", began.elapsed());

    let each = (resident(gateway) - before) / all as u64;
    let descriptors = std::fs::read_dir(format!("/proc/{gateway}/fd")).unwrap().count();
    println!("{each} bytes of the gateway's memory and {:.2} descriptors for each", descriptors as f64 / all as f64);
    assert!(each < MOST, "{each} bytes for each");
    for account in &world.traders {
        assert_eq!(world.broker.sockets(&account.client_id, Some(StreamHost::Feed)), EACH, "{}", account.name);
    }
    wait_until("all of them in the metrics", LIMIT, || {
        world
            .gateway
            .admin()
            .get("/metrics")
            .1
            .as_str()
            .unwrap()
            .contains(&format!("sixgate_streams{{kind=\"feed\"}} {all}\n"))
    });

    let began = Instant::now();
    callers.run(async move {
        let mut open = open;
        for _ in 0..PRICES {
            for socket in &mut open {
                assert_eq!(socket.message().await.unwrap().0, 2);
            }
        }
    });
    println!("{PRICES} prices of each after {:.1?}", began.elapsed());

    // Each account's from its own address, with its own token.
    let seen: Vec<_> = world.broker.seen().into_iter().filter(|seen| seen.websocket).collect();
    assert_eq!(seen.len(), all);
    let mut right = BTreeSet::new();
    for one in &seen {
        let holder = world.holder(*one.peer.ip()).unwrap_or_else(|| panic!("from nobody's address: {one:?}"));
        assert_eq!(one.token.as_deref(), Some(holder.token.as_str()), "{one:?}");
        right.insert(holder.name.clone());
    }
    assert_eq!(right.len(), usize::from(ACCOUNTS));
    let log = world.gateway.log();
    assert!(!log.contains("ERROR") && !log.contains("descriptors are used up"), "{log}");
}
