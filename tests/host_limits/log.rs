//! Whoever reads the log, and what is printed at the start, is no part of the way of an order.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::*;
use crate::support::world::{LISTENER, LOOPBACK};
use crate::support::{wait_for, wait_until};

/// What the log may keep of what nobody reads, and what it takes to keep it.
const MEMORY: u64 = 48 << 20;

/// A pipe of that name, whose two ends this test holds: without them who opens it would wait.
fn pipe(path: &Path) -> File {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap()
}

fn fill(mut pipe: &File) {
    while pipe.write(&[b'.'; 4096]).is_ok() {}
    while pipe.write(b".").is_ok() {}
}

fn read(mut pipe: &File, text: &mut Vec<u8>) {
    let mut piece = [0; 64 << 10];
    while let Ok(length @ 1..) = pipe.read(&mut piece) {
        text.extend_from_slice(&piece[..length]);
    }
}

/// Resident memory, in bytes.
fn memory(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Requests that the gateway answers by itself, each with a long line in the log.
fn chatter(world: &World, count: usize) {
    let target = format!("http://auth.dhan.co{}", format!("/{}", "x".repeat(60)).repeat(160));
    let auth = basic(&world.traders[0].name, &world.traders[0].key);
    world.net.in_ns(Ns::Caller, || async {
        let mut caller = Caller::http1(connect(LISTENER).await).await;
        for _ in 0..count {
            let asked = request("GET", &target, "auth.dhan.co", &[("proxy-authorization", &auth)], None);
            let reply = tokio::time::timeout(LIMIT, caller.send(asked)).await.expect("an answer in time").unwrap();
            assert_eq!(reply.status, 403, "{reply:?}");
        }
    });
}

/// `journalctl` that hangs, a supervisor that forgot its child's pipe, a paused terminal: every order stopped.
#[test]
fn orders_go_on_while_nobody_reads_the_log_and_then_it_says_what_it_lacks() {
    let mut world = World::up_with(1, &text(""));
    let path = world.dir.path().join("log.pipe");
    let log = pipe(&path);
    start_from(&mut world, &format!("exec 2>{}", path.display()), "");
    trades(&world, LISTENER, 100.0);
    let before = memory(&world);
    // 20 MB of lines.
    chatter(&world, 2_000);
    trades(&world, LISTENER, 101.0);
    assert!(memory(&world) < before + MEMORY, "{} bytes, {before} before", memory(&world));
    let dropped = metric(&world, "sixgate_log_lines_dropped_total");
    assert!(dropped >= 1_000, "{dropped} lines");
    // And its reader reads again.
    let mut said = Vec::new();
    wait_until("it says how many lines were dropped", LIMIT, || {
        read(&log, &mut said);
        String::from_utf8_lossy(&said).contains("lines of the log were dropped here")
    });
    chatter(&world, 1);
    let said = wait_for("what comes after is there, each line whole", LIMIT, || {
        read(&log, &mut said);
        let text = String::from_utf8_lossy(&said).into_owned();
        let (_, after) = text.split_once("lines of the log were dropped here")?;
        (text.ends_with('\n') && after.contains("sixgate::access")).then_some(text)
    });
    assert!(said.lines().all(|line| line.starts_with("20") && line.contains("sixgate")), "a torn line");
    assert!(said.contains(&format!("dropped={dropped}")) || said.matches("were dropped here").count() > 1);
    // A stop does not wait for who has stopped reading again.
    chatter(&world, 600);
    assert!(world.gateway.terminate().success());
}

/// A pipe whose reader is gone, a closed descriptor, a full disk, and nobody who reads the greeting.
#[test]
fn orders_go_on_and_a_stop_ends_wherever_the_log_and_the_greeting_go() {
    let mut world = World::up_with(1, &text(""));
    let path = world.dir.path().join("greeting.pipe");
    let greeting = pipe(&path);
    fill(&greeting);
    let gone = format!("mkfifo {0}/gone && (exec 3<{0}/gone) & exec 2>{0}/gone", world.dir.path().display());
    for (n, shell) in
        [&*format!("exec >{}", path.display()), "exec 2>&-", "exec >&-", "exec 2>/dev/full >/dev/full", &gone]
            .into_iter()
            .enumerate()
    {
        start_from(&mut world, shell, "");
        chatter(&world, 50);
        trades(&world, LOOPBACK.parse().unwrap(), 100.0 + n as f64);
        let began = std::time::Instant::now();
        assert!(world.gateway.terminate().success(), "{shell}");
        assert!(began.elapsed() < LIMIT, "{shell}");
    }
}
