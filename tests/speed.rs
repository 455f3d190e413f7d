//! What an order costs in system calls: counted, because times say nothing on a busy machine.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::caller::{Caller, connect, request};
use crate::support::net::Ns;
use crate::support::world::{LOOPBACK, World};
use crate::support::{Process, wait_until};

/// Within the broker's ten a second, or the gateway would wait.
const ORDERS: u64 = 9;
const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;

/// Calls by name, from the table that `strace -c` prints.
fn counted(table: &str) -> HashMap<String, u64> {
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        Some(((*words.last()?).to_owned(), calls))
    });
    rows.collect()
}

#[test]
fn an_order_is_three_reads_two_writes_and_a_write_for_each_line_of_the_journal() {
    let world = World::up(1, "[log]\nlevel = \"warn\"\n");
    // Which reads files, whatever callers do; the next look at the host is a minute later.
    wait_until("the first look at the host to be over", Duration::from_secs(20), || {
        !world.gateway.admin().get("/v1/host").1["checked_at"].is_null()
    });
    let place = world.net.place(Ns::Gateway);
    let calls = world.dir.path().join("calls");
    let mut strace = world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let order = || request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(ORDER));
        // Makes the connection to the broker, and takes in its session tickets: before anybody counts.
        assert_eq!(caller.send(order()).await.unwrap().status, 200);
        let mut strace = place.command("strace");
        strace.args(["-f", "-c", "-o", "calls", "-p", &world.gateway.id().to_string()]);
        let mut strace = Process::start(strace, world.dir.path(), "strace");
        wait_until("strace looks at every thread", Duration::from_secs(20), || {
            assert!(strace.ended().is_none(), "strace ended:\n{}", strace.log());
            strace.log().contains("attached")
        });
        for _ in 0..ORDERS {
            assert_eq!(caller.send(order()).await.unwrap().status, 200);
        }
        strace
    });
    // It writes its table when it is told to end.
    strace.signal(nix::sys::signal::Signal::SIGINT);
    strace.wait_for_end(Duration::from_secs(20));
    let calls = counted(&std::fs::read_to_string(&calls).unwrap());
    let count = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
    // A tick of something else may come in between, and a leg's own look; a call more an order may not.
    let about = ORDERS - 1;
    for (names, each) in [
        // The request, a look whether the broker has closed the connection since, and the reply.
        (&["recvfrom", "recvmsg", "readv"][..], 3),
        (&["sendto", "sendmsg", "writev"][..], 2),
        // Two lines; and the runtime wakes itself when a timer is earlier than the one it sleeps for.
        (&["write"][..], 3),
        (&["pwrite64"][..], 2),
        (&["getrandom"][..], 0),
        (&["openat", "fsync", "fdatasync", "mmap", "munmap"][..], 0),
    ] {
        let made = count(names);
        assert!(made <= each * ORDERS + about, "{names:?}: {made} for {ORDERS} orders, of {calls:?}");
    }
    // And it did look.
    assert!(count(&["recvfrom"]) >= 3 * ORDERS, "{calls:?}");
}

/// sched(7).
const SCHED_IDLE: u32 = 5;

/// A thread's name, nice value and policy (`/proc/[pid]/task/[tid]/stat`, proc_pid_stat(5): fields 2, 19 and 41).
fn thread(stat: &str) -> (String, i32, u32) {
    let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // What follows the name is field 3.
    (name.to_owned(), fields[19 - 3].parse().unwrap(), fields[41 - 3].parse().unwrap())
}

fn threads(pid: u32) -> Vec<(String, i32, u32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    stats.map(|stat| thread(&stat)).collect()
}

/// What serves operators, keeps tokens and stores state gives way to what carries orders. The journal does not: with
/// `journal.fsync` an order waits for it. All that beside where the process stands, which is where the tests do.
#[test]
fn all_threads_but_those_of_orders_give_way_to_them() {
    let world = World::up(1, "[log]\nlevel = \"warn\"\n[journal]\nfsync = true\n");
    let threads = threads(world.gateway.id());
    let (_, own, _) = thread(&std::fs::read_to_string("/proc/self/stat").unwrap());
    let behind = (own + 10).min(19);
    let all = |name: &str| -> Vec<_> { threads.iter().filter(|(found, ..)| found.starts_with(name)).collect() };
    for (name, nice, policy) in [
        ("worker-", own..=own, 0),
        ("journal-sync", own..=own, 0),
        ("tokio-", behind..=behind, 0),
        ("store-writer", behind..=behind, 0),
        ("store-export", 0..=19, SCHED_IDLE),
    ] {
        let found = all(name);
        assert!(!found.is_empty(), "{name}: none of {threads:?}");
        assert!(found.iter().all(|(_, is, under)| nice.contains(is) && *under == policy), "{name}: {found:?}");
    }
}
