//! Callers that do not read: what the broker goes on saying waits with the broker, and not in the gateway's memory.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use sixgate::sandbox::StreamHost;
use tokio::net::TcpSocket;

use super::LIMIT;
use super::socket::{FEED, Socket, ask_on, feed, key_of};
use crate::support::Ns;
use crate::support::wait::wait_until;
use crate::support::world::{LISTENER, TestAccount, World};

const ACCOUNTS: u16 = 3;
/// Sockets of each account that are not read. The first has a fifth, which is.
const SLOW: usize = 4;
/// What each of them subscribes to: 160 KB of prices a second.
const INSTRUMENTS: usize = 1000;
/// So many to a request, as the broker allows.
const EACH: usize = 100;
/// Longer than the broker is silent while anybody listens: it repeats prices each second.
const STILL: Duration = Duration::from_secs(3);
/// What the gateway may hold for each: what it has read and not written, in both directions, with an allocator's ways.
/// Where it held all that comes, it would not stop taking from the broker, which is waited for too.
const MOST: u64 = 1024 * 1024;

/// The kernel holds little for the sockets of a namespace, so that a reader that stops is noticed soon.
fn with_small_buffers(world: &World, ns: Ns) {
    for name in ["tcp_rmem", "tcp_wmem"] {
        let mut sysctl = world.net.command(ns, "sysctl");
        let done = sysctl.args(["-qw", &format!("net.ipv4.{name}=4096 16384 32768")]).status();
        assert!(done.as_ref().is_ok_and(std::process::ExitStatus::success), "sysctl of procps gave {done:?}");
    }
}

/// A feed of many instruments, on a connection for which the kernel holds little.
async fn many(account: &TestAccount) -> Socket {
    let socket = TcpSocket::new_v6().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(LISTENER).await.unwrap();
    let mut feed = ask_on(stream, FEED, &key_of(account)).await.socket();
    for first in (0..INSTRUMENTS).step_by(EACH) {
        let one = |id: usize| json!({ "ExchangeSegment": "NSE_EQ", "SecurityId": id.to_string() });
        let list: Vec<_> = (first..first + EACH).map(one).collect();
        let request = json!({ "RequestCode": 21, "InstrumentCount": EACH, "InstrumentList": list });
        feed.say(1, request.to_string().as_bytes()).await;
    }
    feed
}

/// Memory that a process has of its own, in bytes: not the pages of its program, of which a build for debugging has many.
pub(super) fn resident(process_id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Wait until nothing more is taken from the broker, of more than `already`; how many bytes have been. What comes of one
/// instrument is a few bytes a second.
fn wait_until_still(world: &World, already: u64) -> u64 {
    let (mut last, mut since) = (already, Instant::now());
    wait_until("nothing more to be taken from the broker", LIMIT, || {
        let now = world.gateway.admin().get("/metrics").1.as_str().unwrap().to_owned();
        let name = "sixgate_stream_bytes_total{kind=\"feed\",from=\"broker\"} ";
        let bytes: u64 = now.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap();
        if bytes > last + 1000 {
            (last, since) = (bytes, Instant::now());
        }
        last > already && since.elapsed() >= STILL
    });
    last
}

#[test]
fn callers_that_do_not_read_cost_bounded_memory_and_lose_nothing() {
    let world = World::up(ACCOUNTS, "");
    for ns in [Ns::Gateway, Ns::Broker] {
        with_small_buffers(&world, ns);
    }
    let callers = world.net.runtime(Ns::Gateway);
    let quick = callers.run(feed());
    // The first shows what is needed once, by whichever it is. What else the gateway takes meanwhile is shared by the
    // others, of whom there are enough that it is little for each.
    let traders = world.traders.clone();
    let mut slow = vec![callers.run(async move { many(&traders[0]).await })];
    let first = wait_until_still(&world, 0);
    let before = resident(world.gateway.id());
    let traders = world.traders.clone();
    let others = callers.run(async move {
        let each = traders.iter().flat_map(|account| std::iter::repeat_n(account, SLOW)).skip(1);
        join_all(each.map(many)).await
    });
    slow.extend(others);
    let sockets = |account: &TestAccount| world.broker.sockets(&account.client_id, Some(StreamHost::Feed));
    assert_eq!(world.traders.iter().map(sockets).sum::<usize>(), slow.len() + 1);
    let taken = wait_until_still(&world, first) - first;
    let others = slow.len() - 1;
    let each = resident(world.gateway.id()).saturating_sub(before) / others as u64;
    println!(
        "a caller that does not read: {each} bytes in the gateway, after {taken} were taken from the broker for {others}"
    );
    assert!(each < MOST, "{each} bytes for each");

    callers.run(async move {
        let mut quick = quick;
        // Whoever reads is not held up by those who do not.
        quick.say(9, b"here").await;
        while quick.message().await.unwrap() != (10, b"here".to_vec()) {}
        join_all(slow.into_iter().map(reads_on)).await;
    });
}

/// It reads on, and nothing is missing or out of step: each price is whole, and each instrument has its turn.
async fn reads_on(mut slow: Socket) {
    let mut next = 0;
    for _ in 0..INSTRUMENTS * 3 {
        let (opcode, price) = slow.message().await.unwrap();
        assert_eq!((opcode, price[0], price.len()), (2, 8, 162), "a whole price");
        let id = u32::from_le_bytes(price[4..8].try_into().unwrap()) as usize;
        assert!(id == next || id.is_multiple_of(EACH), "instrument {id} where {next} was due");
        next = (id + 1) % INSTRUMENTS;
    }
    slow.say(9, b"still here").await;
    while slow.message().await.unwrap() != (10, b"still here".to_vec()) {}
}
