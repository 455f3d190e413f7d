//! Does "done" mean "survives"? The store is killed, killed while opening, and cut
//! from power on a disk that forgets, tears pages and is full.
//!
//! The test runs itself again as the child that writes (`child`, told by its
//! environment what to be) and reads from a pipe what was acknowledged. For a power
//! cut the child runs with `store_crash/forget.c` preloaded, which journals every
//! write, change of names and sync; `store_crash/disk.rs` builds from that what a
//! disk would hold.
//!
//! `SIXGATE_CRASH_ROUNDS=500` for more than CI's few; `SIXGATE_CRASH_SEED` repeats a
//! run's dice (not the moment of the kill).

mod disk;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::preload::library;
use disk::{Cut, Dice, Disk, Record};
use jiff::Timestamp;
use sixgate::domain::{AccountName, Secret};
use sixgate::store::{Change, ClientKeyRecord, Engine, MasterKey, Options, PoolRecord, Store, StoreError, TokenRecord};

/// Threads that write at once, each with its own account and sequence.
const LANES: usize = 4;
/// How many entries of each lane are kept; older ones are deleted, so that the engine cleans up too.
const WINDOW: u64 = 64;
/// No child takes longer than this for its next word, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn engines() -> &'static [Engine] {
    &[
        Engine::Sled,
        #[cfg(feature = "redb")]
        Engine::Redb,
    ]
}

fn rounds(default: usize) -> usize {
    std::env::var("SIXGATE_CRASH_ROUNDS").map_or(default, |text| text.parse().expect("SIXGATE_CRASH_ROUNDS"))
}

fn dice(name: &str) -> Dice {
    let seed = std::env::var("SIXGATE_CRASH_SEED")
        .map_or_else(|_| getrandom::u64().unwrap(), |text| text.parse().expect("SIXGATE_CRASH_SEED"));
    println!("{name}: SIXGATE_CRASH_SEED={seed}");
    Dice(seed)
}

fn open(path: &Path, engine: Engine) -> Result<Store, StoreError> {
    let options = Options { engine, export_after: Duration::from_millis(100), retry_after: Duration::ZERO };
    Store::open_with(path, MasterKey::from_hex(&"5".repeat(64)).unwrap(), &options)
}

// What is written, and what must be found.

fn lane_name(lane: usize) -> AccountName {
    AccountName::parse(&format!("lane{lane}")).unwrap()
}

fn entry_id(number: u64) -> String {
    format!("{number:012}")
}

/// Change number `number` of a lane: three trees, a secret, a deletion and guards.
fn change(lane: usize, number: u64) -> Change {
    let name = lane_name(lane);
    let at = Timestamp::from_second(number as i64).unwrap();
    let token = TokenRecord {
        access_token: Secret::from(format!("{number}:{}", "t".repeat(300 + (number % 200) as usize))),
        expires_at: number as i64,
        source: "test".into(),
        generation: number,
        stored_at: at,
    };
    let mut sha256 = [0; 32];
    sha256[..8].copy_from_slice(&number.to_be_bytes());
    let pool = PoolRecord {
        primary: "2001:db8:1::/64".parse().unwrap(),
        secondary: "2001:db8:2::/64".parse().unwrap(),
        created_at: at,
    };
    let key = (name.clone(), entry_id(number));
    let pool_name = format!("{name}-{}", entry_id(number));
    let change = Change::new()
        .absent::<ClientKeyRecord>(&key)
        .put(&name, &token)
        .put(&key, &ClientKeyRecord { sha256, created_at: at, label: None, last_used_at: None })
        .put(&pool_name, &pool);
    match number.checked_sub(WINDOW) {
        Some(old) => change
            .delete::<ClientKeyRecord>(&(name.clone(), entry_id(old)))
            .delete::<PoolRecord>(&format!("{name}-{}", entry_id(old))),
        None => change,
    }
}

fn generation(store: &Store, lane: usize) -> u64 {
    store.get::<TokenRecord>(&lane_name(lane)).unwrap().map_or(0, |token| token.generation)
}

/// Every acknowledged change is there, and each change whole or not at all.
fn verify(store: &Store, acknowledged: &Acknowledged) -> Result<(), String> {
    if let Some(restored) = store.restored() {
        return Err(format!("the engine lost its files: {restored:?}"));
    }
    let mut expected = 0;
    for lane in 0..LANES {
        let last = generation(store, lane);
        let promised = acknowledged.0.get(&lane).copied().unwrap_or(0);
        if last < promised {
            return Err(format!("lane {lane}: {promised} was acknowledged, {last} is there"));
        }
        let first = last.saturating_sub(WINDOW) + 1;
        for number in first..=last {
            let key = store.get::<ClientKeyRecord>(&(lane_name(lane), entry_id(number))).unwrap();
            let pool = store.get::<PoolRecord>(&format!("lane{lane}-{}", entry_id(number))).unwrap();
            let right = key.is_some_and(|key| key.sha256[..8] == number.to_be_bytes())
                && pool.is_some_and(|pool| pool.created_at.as_second() == number as i64);
            if !right {
                return Err(format!("lane {lane}: change {number} of {last} is there in part"));
            }
            expected += 1;
        }
    }
    let counts = (store.count::<ClientKeyRecord>(), store.count::<PoolRecord>());
    if counts != (expected, expected) { Err(format!("{counts:?} entries, not {expected}")) } else { Ok(()) }
}

/// The last acknowledged number of each lane.
#[derive(Clone, Debug, Default)]
struct Acknowledged(BTreeMap<usize, u64>);

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() == Some("ack") {
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let lane = number() as usize;
            self.0.insert(lane, number());
        }
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

// The child.

fn say(line: &str) {
    // One write, so that a kill never leaves half a line that reads as a smaller number.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Not a claim: the other process of the tests below, which start this test again
/// with a role in the environment. Without one there is nothing to do.
#[test]
fn child() {
    let Ok(role) = std::env::var("SIXGATE_CRASH_ROLE") else { return };
    let path = PathBuf::from(std::env::var("SIXGATE_CRASH_PATH").unwrap());
    let name = std::env::var("SIXGATE_CRASH_ENGINE").unwrap();
    let engine = *engines().iter().find(|engine| engine.as_str() == name).unwrap();
    say("opening");
    let store = open(&path, engine).unwrap();
    say("opened");
    match role.as_str() {
        "writer" => write_until(&store, u64::MAX),
        "brief" => {
            write_until(&store, 40);
            store.close();
            say("closed");
        }
        "opener" => {}
        "full" => write_on_a_full_disk(&store),
        role => panic!("no role {role}"),
    }
}

/// Each lane writes on from where the store is, and says each number once it is acknowledged.
fn write_until(store: &Store, most: u64) {
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || {
                for number in (generation(store, lane) + 1..).take(most as usize) {
                    store.commit_blocking(change(lane, number)).unwrap();
                    say(&format!("ack {lane} {number}"));
                }
            });
        }
    });
}

fn write_on_a_full_disk(store: &Store) {
    let flag = PathBuf::from(std::env::var("FORGET_FULL").unwrap());
    write_until(store, 20);
    for again in 0..3 {
        std::fs::write(&flag, b"").unwrap();
        let before = generation(store, 0);
        for attempt in 0..5 {
            let err = store.commit_blocking(change(0, before + 1)).expect_err("the disk is full");
            assert_eq!(err.code(), "io", "{again} {attempt}: {err}");
            assert_eq!(generation(store, 0), before, "a refused change is seen");
        }
        std::fs::remove_file(&flag).unwrap();
        let until = Instant::now() + PATIENCE;
        while let Err(err) = store.commit_blocking(change(1, generation(store, 1) + 1)) {
            assert!(Instant::now() < until, "the disk has room again and still: {err}");
        }
        say(&format!("ack 1 {}", generation(store, 1)));
        // Refused five times on a full disk: now it goes through, so it was not there.
        write_until(store, 5);
    }
    say("closed");
}

// The parent.

struct Running {
    child: Child,
    lines: Receiver<String>,
}

/// How the preloaded library is told what to do.
struct Forgetting<'a> {
    library: &'a Path,
    journal: &'a Path,
    full: &'a Path,
}

fn start(role: &str, path: &Path, engine: Engine, forgetting: Option<&Forgetting<'_>>) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store_crash::child", "--nocapture"]).stdout(Stdio::piped()).stdin(Stdio::null());
    command.env("SIXGATE_CRASH_ROLE", role).env("SIXGATE_CRASH_PATH", path);
    command.env("SIXGATE_CRASH_ENGINE", engine.as_str());
    if let Some(forgetting) = forgetting {
        command.env("LD_PRELOAD", forgetting.library).env("FORGET_ROOT", path);
        command.env("FORGET_JOURNAL", forgetting.journal).env("FORGET_FULL", forgetting.full);
    }
    let mut child = command.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (send, lines) = channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
    Running { child, lines }
}

impl Running {
    /// Listen until a word is said; fails when the child ends before it.
    fn hear(&mut self, word: &str, acknowledged: &mut Acknowledged) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the child never said {word:?}"));
            acknowledged.hear(&line);
            if line == word {
                return;
            }
        }
    }

    /// Listen for a while, then `kill -9`, then hear what was said before it.
    fn kill_after(mut self, moment: Duration, acknowledged: &mut Acknowledged) {
        let end = Instant::now() + moment;
        // The last stretch is spun: a timer is too coarse for an opening of a few milliseconds.
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left.saturating_sub(Duration::from_millis(1))) {
                Ok(line) => acknowledged.hear(&line),
                Err(_) => std::hint::spin_loop(),
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().for_each(|line| acknowledged.hear(&line));
    }

    fn ends_well(mut self, acknowledged: &mut Acknowledged) {
        self.hear("closed", acknowledged);
        self.lines.iter().for_each(|line| acknowledged.hear(&line));
        assert!(self.child.wait().unwrap().success());
    }
}

fn random_moment(dice: &mut Dice, most_ms: usize) -> Duration {
    Duration::from_micros(dice.up_to(most_ms * 1000) as u64)
}

/// Start an opening and kill it at a random moment of it, or a little after.
fn kill_while_opening(path: &Path, engine: Engine, forgetting: Option<&Forgetting<'_>>, dice: &mut Dice) {
    let mut none = Acknowledged::default();
    let mut running = start("opener", path, engine, forgetting);
    running.hear("opening", &mut none);
    running.kill_after(random_moment(dice, 12), &mut none);
}

/// The plainest stop there is: out of memory, an impatient operator, a crash.
#[test]
fn a_kill_loses_nothing_acknowledged_even_when_opening_is_killed_too() {
    for &engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut dice = dice("kill");
        let mut acknowledged = Acknowledged::default();
        for round in 0..rounds(12) {
            let mut running = start("writer", &path, engine, None);
            running.hear("opened", &mut acknowledged);
            running.kill_after(random_moment(&mut dice, 120), &mut acknowledged);
            for _ in 0..dice.up_to(2) {
                kill_while_opening(&path, engine, None, &mut dice);
            }
            let store = open(&path, engine).unwrap_or_else(|err| panic!("{engine:?} round {round}: {err:?}"));
            verify(&store, &acknowledged).unwrap_or_else(|err| panic!("{engine:?} round {round}: {err}"));
            store.close();
        }
        assert!(acknowledged.total() > 0, "nothing was ever acknowledged");
        println!("{engine:?}: {} acknowledged, 0 lost", acknowledged.total());
    }
}

/// Play what the children did since the last time; whole records only.
fn replay(disk: &mut Disk, journal: &Path, from: &mut usize) {
    trim(journal);
    *from += disk.replay(&std::fs::read(journal).unwrap_or_default()[*from..]);
}

/// A kill between making a file and journalling it leaves a name that the journal
/// does not know. Then no other child may go on there.
fn knows_every_name(disk: &Disk) -> bool {
    disk.differs_from_real().is_none_or(|what| what.starts_with("content"))
}

/// Cut off half a record, which the next child's must not follow; says what is left.
fn trim(journal: &Path) -> usize {
    let bytes = std::fs::read(journal).unwrap_or_default();
    let mut rest = bytes.as_slice();
    while Record::first(&mut rest).is_some() {}
    let whole = bytes.len() - rest.len();
    if !rest.is_empty() {
        std::fs::OpenOptions::new().write(true).open(journal).unwrap().set_len(whole as u64).unwrap();
    }
    whole
}

/// If a way to write escaped the journal, every power-cut test below would be a false proof.
#[test]
fn the_journal_sees_everything_that_is_written() {
    for &engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let (path, journal, full) = (dir.path().join("store"), dir.path().join("journal"), dir.path().join("full"));
        let library = library("store_crash/forget.c", dir.path());
        let forgetting = Forgetting { library: &library, journal: &journal, full: &full };
        std::fs::create_dir(&path).unwrap();
        let mut disk = Disk::of(&path);
        let mut from = 0;
        let mut acknowledged = Acknowledged::default();
        for _ in 0..2 {
            start("brief", &path, engine, Some(&forgetting)).ends_well(&mut acknowledged);
            replay(&mut disk, &journal, &mut from);
            assert_eq!(disk.differs_from_real(), None, "{engine:?}");
        }
        assert_eq!(acknowledged.total(), 2 * 40 * LANES as u64);
    }
}

/// Where a sync is missing, a kill shows nothing and a power cut everything.
#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    for &engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let library = library("store_crash/forget.c", dir.path());
        let full = dir.path().join("full");
        let mut dice = dice("power cut");
        let mut path = dir.path().join("store0");
        std::fs::create_dir(&path).unwrap();
        let mut acknowledged = Acknowledged::default();
        for round in 0..rounds(24) {
            let cut = [Cut::Forgets, Cut::Some, Cut::Tears][round % 3];
            let said = |what: &str| format!("{engine:?} round {round}, {cut:?}: {what}");
            let journal = dir.path().join(format!("journal{round}"));
            let forgetting = Forgetting { library: &library, journal: &journal, full: &full };
            let mut disk = Disk::of(&path);
            let mut from = 0;

            let mut running = start("writer", &path, engine, Some(&forgetting));
            if dice.up_to(7) > 0 {
                running.hear("opened", &mut acknowledged);
            } else {
                // The very opening, at round 0 the making, is cut.
                running.hear("opening", &mut acknowledged);
            }
            running.kill_after(random_moment(&mut dice, 120), &mut acknowledged);
            replay(&mut disk, &journal, &mut from);
            // Killed, opened again, and only then the power goes: what the first one
            // wrote is still in memory, and what opening writes must not rely on it.
            if dice.up_to(2) == 0 && knows_every_name(&disk) {
                kill_while_opening(&path, engine, Some(&forgetting), &mut dice);
                replay(&mut disk, &journal, &mut from);
            }
            let mut next = dir.path().join(format!("store{}", round + 1));
            disk.cut(&next, cut, &mut dice);
            // The power goes again while the store is being opened after the first cut.
            if dice.up_to(1) == 0 {
                let journal = dir.path().join(format!("journal{round}-again"));
                let forgetting = Forgetting { library: &library, journal: &journal, full: &full };
                let mut disk = Disk::of(&next);
                kill_while_opening(&next, engine, Some(&forgetting), &mut dice);
                replay(&mut disk, &journal, &mut 0);
                next = dir.path().join(format!("store{}-again", round + 1));
                disk.cut(&next, cut, &mut dice);
            }
            let store = open(&next, engine).unwrap_or_else(|err| panic!("{}", said(&format!("{err:?}"))));
            verify(&store, &acknowledged).unwrap_or_else(|err| panic!("{}", said(&err)));
            store.close();
            path = next;
        }
        assert!(acknowledged.total() > 0, "nothing was ever acknowledged");
        println!("{engine:?}: {} acknowledged, 0 lost", acknowledged.total());
    }
}

/// What a kill at a random moment meets once in hundreds, met each time: the child's
/// steps are played up to every step of an opening, and to many of its writing, and
/// there it is killed or the power goes. What was acknowledged by then is known from
/// the journal itself.
#[test]
fn a_stop_at_any_step_of_opening_or_writing_loses_nothing_acknowledged() {
    for &engine in engines() {
        let mut dice = dice("every step");
        let dir = tempfile::tempdir().unwrap();
        let library = library("store_crash/forget.c", dir.path());
        let mut cuts = 0;
        for round in 0..rounds(4).div_ceil(2) {
            let (path, full) = (dir.path().join(format!("store{round}")), dir.path().join("full"));
            let journal = dir.path().join(format!("journal{round}"));
            let forgetting = Forgetting { library: &library, journal: &journal, full: &full };
            std::fs::create_dir(&path).unwrap();
            let (base, mut probe) = (Disk::of(&path), Disk::of(&path));
            let mut heard = Acknowledged::default();
            let mut running = start("writer", &path, engine, Some(&forgetting));
            running.hear("opened", &mut heard);
            running.kill_after(random_moment(&mut dice, 150), &mut heard);
            // From here on the journal is of an opening of what the kill left.
            let written = trim(&journal);
            replay(&mut probe, &journal, &mut 0);
            if !knows_every_name(&probe) {
                continue;
            }
            let mut running = start("opener", &path, engine, Some(&forgetting));
            running.hear("opened", &mut heard);
            running.kill_after(Duration::ZERO, &mut heard);

            let bytes = std::fs::read(&journal).unwrap();
            let mut rest = bytes.as_slice();
            let mut disk = base;
            let mut acknowledged = Acknowledged::default();
            while let Some(record) = Record::first(&mut rest) {
                disk.play(&record);
                record.said().into_iter().flat_map(str::lines).for_each(|line| acknowledged.hear(line));
                let at = bytes.len() - rest.len();
                if at <= written && dice.up_to(60) != 0 {
                    continue;
                }
                for cut in [Cut::Spares, Cut::Forgets, Cut::Some, Cut::Tears] {
                    let image = dir.path().join("image");
                    disk.cut(&image, cut, &mut dice);
                    let said = |what: &str| {
                        format!("{engine:?} round {round}, {cut:?} at {at}, opening from {written}: {what}")
                    };
                    let store = open(&image, engine).unwrap_or_else(|err| panic!("{}", said(&format!("{err:?}"))));
                    verify(&store, &acknowledged).unwrap_or_else(|err| panic!("{}", said(&err)));
                    store.close();
                    std::fs::remove_dir_all(&image).unwrap();
                    cuts += 1;
                }
            }
        }
        println!("{engine:?}: {cuts} stops, 0 lost");
    }
}

/// A disk fills at the worst time. The store refuses, keeps what it promised, and goes on when there is room.
#[test]
fn a_full_disk_refuses_changes_and_loses_none() {
    for &engine in engines() {
        let dir = tempfile::tempdir().unwrap();
        let (path, journal, full) = (dir.path().join("store"), dir.path().join("journal"), dir.path().join("full"));
        let library = library("store_crash/forget.c", dir.path());
        let forgetting = Forgetting { library: &library, journal: &journal, full: &full };
        std::fs::create_dir(&path).unwrap();
        let mut disk = Disk::of(&path);
        let mut acknowledged = Acknowledged::default();
        start("full", &path, engine, Some(&forgetting)).ends_well(&mut acknowledged);
        // Not closed properly, and then the power goes.
        let after = dir.path().join("after");
        replay(&mut disk, &journal, &mut 0);
        disk.cut(&after, Cut::Tears, &mut dice("full disk"));
        for path in [path, after] {
            let store = open(&path, engine).unwrap();
            verify(&store, &acknowledged).unwrap_or_else(|err| panic!("{engine:?} {}: {err}", path.display()));
        }
    }
}
