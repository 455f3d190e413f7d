//! The order journal on the outside: killed, on a full disk, read by others.
//!
//! The test runs itself again as the child that writes (`child`, told by its
//! environment what to be) and reads from a pipe what was acknowledged.
//! `SIXGATE_CRASH_ROUNDS=500` for more than CI's fifty kills.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use sixgate::domain::{AccountName, Outcome};
use sixgate::orders::journal::{
    Entry, Journal, JournalError, Kind, Options, SafePath, SafeText, Urgency, read_back, verify,
};

const KEEP: Duration = Duration::from_secs(5 * 365 * 86_400);

fn open(folder: &Path) -> Journal {
    Journal::open(folder, &Options::new(false, KEEP), start()).unwrap()
}

fn start() -> Timestamp {
    "2026-11-23T23:59:00Z".parse().unwrap()
}

fn intent(at: Timestamp, lane: u64, number: u64) -> Entry {
    Entry {
        account: Some(AccountName::parse(&format!("lane{lane}")).unwrap()),
        path: Some(SafePath::new("/v2/orders")),
        method: Some(http::Method::POST),
        correlation_id: Some(SafeText::new(&format!("{lane}-{number}"))),
        ..Entry::new(Kind::Intent, at)
    }
}

/// This test again, to run only `child` as `role`.
fn as_child(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "journal::child", "--nocapture", "--test-threads=1"]);
    command.env("SIXGATE_JOURNAL_ROLE", role).env("SIXGATE_JOURNAL_FOLDER", folder);
    command
}

/// Not a test of its own: the others run it as their child, with a role.
#[test]
fn child() {
    let Ok(role) = std::env::var("SIXGATE_JOURNAL_ROLE") else { return };
    let folder = std::env::var_os("SIXGATE_JOURNAL_FOLDER").unwrap();
    match role.as_str() {
        "writer" => write_until_killed(Path::new(&folder)),
        "full" => fill_the_disk(Path::new(&folder)),
        other => panic!("no role {other}"),
    }
}

/// Four threads append as fast as they can, and say what was acknowledged.
fn write_until_killed(folder: &Path) {
    let journal = open(folder);
    let next = AtomicU64::new(journal.status().last_seq);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (journal, next) = (&journal, &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // A new day every few hundred lines.
                    let at = start() + SignedDuration::from_secs(number as i64 * 200);
                    let seq = journal.append(&intent(at, lane, number)).unwrap().seq;
                    // One write, so that the parent never sees half a word as a whole one.
                    let word = format!("seq {seq} {lane}-{number}\n");
                    io::stdout().lock().write_all(word.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// What was acknowledged is there, and the chain holds: the one promise a restart builds on.
#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let rounds: u64 =
        std::env::var("SIXGATE_CRASH_ROUNDS").map_or(50, |text| text.parse().expect("SIXGATE_CRASH_ROUNDS"));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("journal");
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 0..rounds {
        let mut writer = as_child("writer", &folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let patience = getrandom::u64().unwrap() % 300;
        let mut seen = 0;
        let mut note = |line: String, seen: &mut u64| {
            // The harness prints words of its own before ours.
            if let Some((seq, id)) = line.split_once("seq ").and_then(|(_, rest)| rest.split_once(' ')) {
                acknowledged.push((seq.parse().unwrap(), id.to_owned()));
                *seen += 1;
            }
        };
        while seen <= patience {
            note(lines.next().expect("the writer ended by itself").unwrap(), &mut seen);
        }
        writer.kill().unwrap();
        for line in lines {
            note(line.unwrap(), &mut seen);
        }
        writer.wait().unwrap();

        // Also before the next one repairs what this one left.
        if round % 10 == 9 {
            let report = verify(&folder).unwrap();
            assert!(report.is_good(), "{report:#?}");
        }
    }
    drop(open(&folder));
    let report = verify(&folder).unwrap();
    assert!(report.is_good() && report.files > 1, "{report:#?}");
    let written: std::collections::BTreeMap<u64, String> = read_back(&folder, Timestamp::MIN)
        .unwrap()
        .map(Result::unwrap)
        .filter_map(|line| Some((line.seq, line.entry.correlation_id?.to_string())))
        .collect();
    for (seq, id) in &acknowledged {
        assert_eq!(written.get(seq), Some(id), "line {seq} was acknowledged");
    }
    println!("{rounds} kills, {} acknowledged, {} written, {} files", acknowledged.len(), written.len(), report.files);
}

/// Orders that are under way when the disk fills still get their outcome; new ones are refused.
#[test]
fn a_full_disk_refuses_intents_and_takes_outcomes() {
    let dir = tempfile::tempdir().unwrap();
    let role = as_child("full", dir.path());
    let program = [role.get_program()].into_iter().chain(role.get_args());
    // A disk of its own, in namespaces that end with the child.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=16m tmpfs \"$SIXGATE_JOURNAL_FOLDER\" && exec \"$0\" \"$@\"").args(program);
    for (name, value) in role.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = command.output().expect("unshare of util-linux is needed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("THE DISK WAS FULL"), "{text}");
}

fn fill_the_disk(disk: &Path) {
    let folder = disk.join("journal");
    let journal = open(&folder);
    let mut number = 0;
    let mut next = || {
        number += 1;
        intent(start(), 0, number)
    };
    let whole = |what: &str| {
        let report = verify(&folder).unwrap();
        assert!(report.is_good() && report.unfinished == 0, "{what}: {report:#?}");
        report.lines
    };
    // Several times, with an end that falls differently into the pages of the disk.
    for round in 0..5_u64 {
        let filler = disk.join("filler");
        let mut file = File::create(&filler).unwrap();
        let chunk = vec![1; 4096];
        while file.write_all(&chunk).is_ok() {}
        let sent = loop {
            let entry = next();
            match journal.append(&entry) {
                Ok(_) => continue,
                Err(err) => assert!(matches!(err, JournalError::Full { .. }), "{err}"),
            }
            break entry;
        };
        let before = whole("after a refused intent");
        assert!(journal.status().reserve);

        for _ in 0..1000 + round {
            journal.append(&sent.outcome(Outcome::Executed, start())).unwrap();
        }
        assert_eq!(whole("after outcomes"), before + 1000 + round);
        assert!(!journal.status().reserve);
        let refused = journal.append(&next()).unwrap_err();
        assert_eq!(refused.code(), "journal_full", "an intent took the room of outcomes");

        // Even the reserve ends. Nothing is broken by it.
        // What takes risk away may.
        let urgent = next();
        let urgent = journal
            .append_durable_as(
                &urgent,
                Urgency::TakesRiskAway,
                tokio::time::Instant::now() + std::time::Duration::from_secs(1),
            )
            .now_or_never();
        urgent.expect("nobody to wait for").unwrap();
        let mut more = 1;
        let err = loop {
            match journal.append(&sent.outcome(Outcome::Executed, start())) {
                Ok(_) => more += 1,
                Err(err) => break err,
            }
        };
        assert_eq!(err.code(), "journal_full");
        assert_eq!(whole("after the reserve"), before + 1000 + round + more);

        drop(file);
        fs::remove_file(&filler).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(err) = journal.append(&next()) {
            assert!(Instant::now() < end, "there is room again, and still: {err}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert!(journal.status().reserve);
        whole("after there was room again");
    }
    println!("THE DISK WAS FULL");
}

fn filled(lines: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir.path().join("journal"));
    for number in 0..lines {
        let at = start() + SignedDuration::from_secs(number as i64 * 20);
        let sent = intent(at, number % 2, number);
        journal.append(&sent).unwrap();
        let mut outcome = sent.outcome(Outcome::Executed, at);
        outcome.idempotency_key = Some(SafeText::new("schlüssel, \"mit\" \u{1b}[31m\n,\"hash\""));
        journal.append(&outcome).unwrap();
    }
    dir
}

fn sixgate(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    command.arg("journal").args(arguments).arg("--state").arg(state);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The script in docs/orders.md is what an auditor has; it must agree with ours.
#[test]
fn ten_lines_of_python_verify_the_chain() {
    let dir = filled(20);
    let folder = dir.path().join("journal");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/verify_journal.py");
    let python = || Command::new("python3").arg(&script).arg(&folder).output().unwrap();
    let good = python();
    assert!(good.status.success(), "{good:?}");
    let report = verify(&folder).unwrap();
    assert_eq!(report.files, 2);
    let expected = format!("good {}\n", report.last.unwrap().hash);
    assert_eq!(String::from_utf8(good.stdout).unwrap(), expected);

    let path = folder.join("2026-11-23.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("lane1", "lane0", 1)).unwrap();
    let changed = python();
    assert!(!changed.status.success());
    assert!(String::from_utf8_lossy(&changed.stderr).contains("2026-11-23.jsonl:3: changed"), "{changed:?}");
    let without: String = text.split_inclusive('\n').skip(2).collect();
    fs::write(&path, without).unwrap();
    assert!(String::from_utf8_lossy(&python().stderr).contains("the first lines are missing"), "{:?}", python());
    assert_eq!(sixgate(dir.path(), &["verify"]).status.code(), Some(1), "no note says so");
    let gap: String = text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    fs::write(&path, gap).unwrap();
    assert!(String::from_utf8_lossy(&python().stderr).contains("does not follow"));
    fs::write(&path, &text).unwrap();
    let last = folder.join("2026-11-24.jsonl");
    let whole = fs::read_to_string(&last).unwrap();
    let shorter: Vec<&str> = whole.split_inclusive('\n').collect();
    fs::write(&last, shorter[..shorter.len() - 1].concat()).unwrap();
    assert!(String::from_utf8_lossy(&python().stderr).contains("the last lines are missing"));
    fs::write(&last, whole).unwrap();
    assert!(python().status.success());
    let elsewhere = Command::new("python3").arg(&script).arg(dir.path()).output().unwrap();
    assert!(!elsewhere.status.success() && String::from_utf8_lossy(&elsewhere.stderr).contains("no journal"));
}

#[test]
fn the_command_lists_exports_and_verifies() {
    let dir = filled(20);
    let state = dir.path();
    let journal = fs::read_to_string(state.join("journal/2026-11-23.jsonl")).unwrap()
        + &fs::read_to_string(state.join("journal/2026-11-24.jsonl")).unwrap();

    assert_eq!(stdout(&sixgate(state, &["export", "--json"])), journal);
    assert_eq!(stdout(&sixgate(state, &["list", "--json", "--oldest-first", "--limit", "1000"])), journal);
    let newest = stdout(&sixgate(state, &["list", "--json", "--limit", "1"]));
    assert_eq!(newest, journal.split_inclusive('\n').next_back().unwrap());
    let csv = stdout(&sixgate(state, &["export", "--account", "lane1", "--kind", "outcome"]));
    assert!(csv.starts_with("seq,at,kind,") && csv.matches(",outcome,,lane1,").count() == 10, "{csv}");
    let late = stdout(&sixgate(state, &["list", "--json", "--since", "2026-11-24T00:05:00Z", "--outcome", "executed"]));
    assert_eq!(late.lines().count(), 2);

    let table = stdout(&sixgate(state, &["list", "--correlation-id", "1-3"]));
    assert!(table.contains("2026-11-24 05:30:00.000") && table.contains("POST /v2/orders"), "{table}");
    assert!(!table.contains('\u{1b}') && table.lines().count() == 3, "{table}");

    let verified: serde_json::Value = serde_json::from_str(&stdout(&sixgate(state, &["verify", "--json"]))).unwrap();
    assert_eq!((&verified["ok"], &verified["lines"]), (&true.into(), &40.into()), "{verified}");
    let path = state.join("journal/2026-11-24.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("executed", "rejected", 1)).unwrap();
    let output = sixgate(state, &["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("2026-11-24.jsonl, line 2: its hash is not that of its content"), "{output:?}");

    let missing = sixgate(&state.join("nowhere"), &["list"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("is not there"), "{missing:?}");
}

#[test]
fn the_command_follows() {
    let dir = filled(2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    command.args(["journal", "follow", "--json", "--last", "1", "--account", "lane1", "--state"]).arg(dir.path());
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["seq"], 4);
    let journal = open(&dir.path().join("journal"));
    journal.append(&intent(start(), 0, 7)).unwrap();
    journal.append(&intent(start() + SignedDuration::from_hours(48), 1, 8)).unwrap();
    assert_eq!(next()["correlation_id"], "1-8");
    assert_eq!(journal.status().file.as_deref(), Some("2026-11-25.jsonl"));
    following.kill().unwrap();
    following.wait().unwrap();
}
