//! What lacks must be known, and what does not lack must not look as if it did: both are orders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::super::*;
use super::folder;
use crate::domain::AccountName;

const DAY: i64 = 86_400;
const SPAN: SignedDuration = SignedDuration::from_hours(24);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn day(day: i64, second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(day * DAY + second)
}

fn options() -> Options {
    Options { seen: true, boot_id: Some("one".to_owned()), ..Options::new(false, YEAR) }
}

fn intent(at: Timestamp, number: u64) -> Entry {
    Entry {
        account: Some(AccountName::parse("alpha").unwrap()),
        request_id: Some(SafeText::new(&format!("request-{number}"))),
        correlation_id: Some(SafeText::new(&format!("c-{number}"))),
        ..Entry::new(Kind::Intent, at)
    }
}

/// A state folder whose journal has a line each hour of three days.
struct State(TempDir);

impl State {
    fn filled() -> Self {
        let state = Self(tempfile::tempdir().unwrap());
        let journal = state.open(day(0, 0), &options());
        for hour in 0..72 {
            journal.append(&intent(day(0, hour * 3600), hour as u64 + 1)).unwrap();
        }
        state
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn open(&self, now: Timestamp, options: &Options) -> Journal {
        Journal::open(&self.folder(), options, now).unwrap()
    }

    fn file(&self, date: &str) -> PathBuf {
        self.folder().join(format!("{date}.jsonl"))
    }

    /// Started an hour after the last line, and read back.
    fn started(&self) -> Journal {
        self.started_with(day(3, 0), &options())
    }

    fn started_with(&self, now: Timestamp, options: &Options) -> Journal {
        let journal = self.open(now, options);
        recall(&journal, now);
        journal
    }
}

/// The correlation ids that are remembered after a start.
fn recall(journal: &Journal, now: Timestamp) -> Vec<String> {
    let mut lines = journal.read_back(SPAN, now).unwrap();
    let ids = lines.by_ref().filter_map(|line| Some(line.ok()?.entry.correlation_id?.to_string())).collect();
    journal.was_read_back(lines);
    ids
}

#[track_caller]
fn assert_lacks(journal: &Journal, words: &[&str]) {
    let whole = journal.whole();
    assert!(!whole.remembers_all(), "{whole:?}");
    let why = whole.why().join("\n");
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
    assert!(!journal.status().whole && !journal.status().why.is_empty());
}

#[track_caller]
fn assert_whole(journal: &Journal) {
    let whole = journal.whole();
    assert!(whole.remembers_all() && whole.is_whole() && journal.status().whole, "{whole:?}");
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

/// A false alarm asks the broker before each order for a day: what every day brings must not raise one.
#[test]
fn an_ordinary_start_is_whole() {
    let state = State(tempfile::tempdir().unwrap());
    assert_whole(&state.started_with(day(0, 0), &options()));
    let state = State::filled();
    assert_whole(&state.started());
    // Killed: nothing of this process ran at its end, also in the middle of a line.
    for cut in [false, true] {
        let journal = state.started();
        journal.append(&intent(day(3, 1), 100)).unwrap();
        let seen = fs::read(state.0.path().join("journal.seen")).unwrap();
        drop(journal);
        fs::write(state.0.path().join("journal.seen"), seen).unwrap();
        if cut {
            use std::io::Write;
            let newest = fs::read_dir(state.folder()).unwrap().map(|entry| entry.unwrap().path());
            let newest = newest.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).max().unwrap();
            fs::File::options().append(true).open(newest).unwrap().write_all(b"{\"seq\":").unwrap();
        }
        assert_whole(&state.started());
    }
    // Stopped, and the host started anew.
    let rebooted = Options { boot_id: Some("two".to_owned()), ..options() };
    assert_whole(&state.started_with(day(3, 9), &rebooted));
    // Days later.
    assert_whole(&state.started_with(day(40, 0), &rebooted));
    assert!(verify(&state.folder()).unwrap().is_good());
    // An older program left nothing beside the folder.
    fs::remove_file(state.0.path().join("journal.seen")).unwrap();
    assert_whole(&state.started_with(day(40, 1), &rebooted));
}

/// What an operator's logrotate, a hand or a disk does to files of the remembered days.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of what befalls files")]
fn what_lacks_in_the_remembered_days_is_named() {
    type Harm = fn(&State);
    let harms: [(&str, Harm, &[&str]); 12] = [
        (
            "the newest file removed",
            |state| fs::remove_file(state.file("2026-11-25")).unwrap(),
            &["2026-11-25.jsonl is missing", "lines 49 to 72"],
        ),
        (
            "a file removed",
            |state| fs::remove_file(state.file("2026-11-24")).unwrap(),
            &["2026-11-24.jsonl is missing", "lines 25 to 48 had been in it"],
        ),
        (
            "compressed",
            |state| fs::rename(state.file("2026-11-25"), state.folder().join("2026-11-25.jsonl.gz")).unwrap(),
            &["2026-11-25.jsonl is missing, and 2026-11-25.jsonl.gz lies in its place"],
        ),
        (
            "moved",
            |state| fs::rename(state.file("2026-11-24"), state.folder().join("2026-11-24.jsonl.1")).unwrap(),
            &["2026-11-24.jsonl is missing, and 2026-11-24.jsonl.1 lies in its place"],
        ),
        (
            "truncated",
            |state| fs::write(state.file("2026-11-25"), "").unwrap(),
            &["2026-11-25.jsonl", "lines 49 to 72"],
        ),
        (
            "a cut tail",
            |state| {
                let path = state.file("2026-11-25");
                let lines = lines(&path);
                fs::write(&path, lines[..lines.len() - 2].concat()).unwrap();
            },
            &["2026-11-25.jsonl: lines 71 to 72 are missing at its end"],
        ),
        (
            "half of an acknowledged line",
            |state| {
                let path = state.file("2026-11-25");
                let text = fs::read(&path).unwrap();
                fs::write(&path, &text[..text.len() - 9]).unwrap();
            },
            &["2026-11-25.jsonl", "line 72"],
        ),
        (
            "a flipped bit",
            |state| {
                let path = state.file("2026-11-25");
                let mut text = fs::read(&path).unwrap();
                text[1000] ^= 1;
                fs::write(&path, text).unwrap();
            },
            &["2026-11-25.jsonl, byte ", "it was changed"],
        ),
        (
            "a line less",
            |state| {
                let path = state.file("2026-11-25");
                let mut lines = lines(&path);
                lines.remove(3);
                fs::write(&path, lines.concat()).unwrap();
            },
            &["2026-11-25.jsonl: line 52 is missing in it"],
        ),
        (
            "a file that cannot be read",
            |state| {
                fs::remove_file(state.file("2026-11-25")).unwrap();
                fs::create_dir(state.file("2026-11-25")).unwrap();
            },
            &["2026-11-25.jsonl cannot be read"],
        ),
        (
            "emptied",
            |state| {
                fs::remove_dir_all(state.folder()).unwrap();
            },
            &["2026-11-25.jsonl is missing: lines 1 to 72 had been written"],
        ),
        (
            "killed, and no head",
            |state| {
                fs::remove_file(state.folder().join(".head")).unwrap();
                fs::remove_file(state.0.path().join("journal.seen")).unwrap();
            },
            &["`.head` is missing"],
        ),
    ];
    for (what, harm, words) in harms {
        let state = State::filled();
        harm(&state);
        println!("{what}");
        let evening = |second: i64| day(2, 23 * 3600 + 1800 + second);
        let journal = state.started_with(evening(0), &options());
        assert_lacks(&journal, words);
        journal.append(&intent(evening(1), 100)).unwrap();
        drop(journal);
        // And for the rest of the day, however often it starts.
        let again = state.started_with(evening(2), &options());
        assert!(!again.whole().remembers_all(), "{what}, at the next start");
        drop(again);
        assert!(!verify(&state.folder()).unwrap().is_good(), "{what}");
        // What lacks in days that are not remembered any more holds nobody up.
        let journal = state.started_with(day(3, 900), &options());
        for at in [day(8, 0), day(9, 0), day(10, 0)] {
            journal.append(&intent(at, 101)).unwrap();
        }
        drop(journal);
        assert_whole(&state.started_with(day(10, 60), &options()));
    }
}

/// A host that boots with a clock of days ago wrote down that lines lack as of days ago, and the start after its clock
/// was set right took that for long past: orders were sent twice.
#[test]
fn what_lacks_is_known_after_a_start_whose_clock_was_behind() {
    type Harm = fn(&State);
    let harms: [Harm; 2] = [
        |state| fs::remove_file(state.file("2026-11-25")).unwrap(),
        |state| {
            ["2026-11-23", "2026-11-24", "2026-11-25"]
                .iter()
                .for_each(|date| fs::remove_file(state.file(date)).unwrap())
        },
    ];
    for harm in harms {
        for behind in [DAY + 3600, 2 * DAY + 3600, 900 * DAY] {
            let state = State::filled();
            harm(&state);
            let set_back = day(3, 0) - SignedDuration::from_secs(behind);
            let journal = state.started_with(set_back, &options());
            assert_lacks(&journal, &["missing"]);
            // Before the broker's clock is heard, and after.
            journal.append(&intent(set_back + SignedDuration::from_secs(1), 100)).unwrap();
            journal.append(&intent(day(3, 2), 101)).unwrap();
            drop(journal);
            let journal = state.open(day(3, 60), &options());
            let remembered = recall(&journal, day(3, 60));
            assert_lacks(&journal, &["missing"]);
            assert!(remembered.ends_with(&["c-100".to_owned(), "c-101".to_owned()]), "{remembered:?}");
        }
    }
}

#[test]
fn a_power_cut_is_told_from_a_kill() {
    let cut = |fsync: bool| {
        let state = State::filled();
        let before = Options { fsync, ..options() };
        let journal = state.started_with(day(3, 0), &before);
        journal.append(&intent(day(3, 1), 100)).unwrap();
        let seen = fs::read(state.0.path().join("journal.seen")).unwrap();
        drop(journal);
        fs::write(state.0.path().join("journal.seen"), seen).unwrap();
        (state, Options { boot_id: Some("two".to_owned()), ..before })
    };
    let (state, after) = cut(false);
    assert_lacks(&state.started_with(day(3, 9), &after), &["the host went down", "journal.fsync was off"]);
    // The chain does not show it, so the next start has it from a note.
    assert_lacks(&state.started_with(day(3, 20), &after), &["the host went down"]);
    let (state, after) = cut(true);
    assert_whole(&state.started_with(day(3, 9), &after));
    let (state, _) = cut(false);
    assert_whole(&state.started_with(day(3, 9), &options()));
}

/// logrotate's ways with a file that is written to.
#[test]
fn a_running_gateway_notices_that_its_file_is_another() {
    type Harm = fn(&State);
    let harms: [(&str, Harm); 5] = [
        ("was moved or removed", |state| fs::remove_file(state.file("2026-11-25")).unwrap()),
        ("was moved or removed", |state| {
            fs::rename(state.file("2026-11-25"), state.folder().join("2026-11-25.jsonl.1")).unwrap();
        }),
        ("was replaced by another file", |state| {
            let beside = state.folder().join("new");
            fs::write(&beside, "").unwrap();
            fs::rename(beside, state.file("2026-11-25")).unwrap();
        }),
        ("was truncated", |state| {
            fs::File::options().write(true).open(state.file("2026-11-25")).unwrap().set_len(100).unwrap();
        }),
        ("was moved or removed", |state| fs::remove_dir_all(state.folder()).unwrap()),
    ];
    for (why, harm) in harms {
        let state = State::filled();
        let journal = state.started_with(day(2, 23 * 3600 + 1), &options());
        journal.append(&intent(day(2, 23 * 3600 + 2), 100)).unwrap();
        assert_whole(&journal);
        harm(&state);
        let appended = journal.append(&intent(day(2, 23 * 3600 + 3), 101)).unwrap();
        assert!(appended.seq >= 75, "notes have numbers of their own");
        // What this process remembers is whole; what a start would read is not.
        let whole = journal.whole();
        assert!(whole.remembers_all() && !whole.is_whole(), "{whole:?}");
        assert!(whole.why()[0].contains("2026-11-25.jsonl") && whole.why()[0].contains(why), "{whole:?}");
        assert_eq!(journal.append(&intent(day(2, 23 * 3600 + 4), 102)).unwrap().seq, appended.seq + 1, "told once");
        drop(journal);
        let text = fs::read_to_string(state.file("2026-11-25")).unwrap();
        assert!(text.contains("\"displaced\"") && text.contains("c-101") && text.contains("c-102"), "{text}");
        assert!(!state.started().whole().remembers_all(), "{why}");
    }
}

/// An editor, or whoever brings the file back, leaves a copy in its place: nothing lacks.
#[test]
fn a_copy_with_all_lines_is_gone_on_with() {
    let state = State::filled();
    let journal = state.started_with(day(2, 23 * 3600 + 1), &options());
    let beside = state.folder().join("copy");
    fs::copy(state.file("2026-11-25"), &beside).unwrap();
    fs::rename(beside, state.file("2026-11-25")).unwrap();
    journal.append(&intent(day(2, 23 * 3600 + 2), 100)).unwrap();
    assert_whole(&journal);
    drop(journal);
    assert_whole(&state.started());
    assert!(verify(&state.folder()).unwrap().is_good());
}

/// Nothing is forgotten by a clock that is ahead or behind, at a start or when a line was written.
#[test]
fn a_clock_decides_nothing_about_what_is_remembered() {
    let all: Vec<String> = (49..=72).map(|number| format!("c-{number}")).collect();
    for now in [day(3, 0), day(4, 3600), day(3 + 6 * 365, 0), day(1, 0), Timestamp::UNIX_EPOCH] {
        let state = State::filled();
        let ids = recall(&state.open(now, &options()), now);
        assert!(all.iter().all(|id| ids.contains(id)), "{now}: {ids:?}");
    }
    // 25 hours, or six years, ahead for one line; then right again.
    for ahead in [SignedDuration::from_hours(25), SignedDuration::from_hours(6 * 365 * 24)] {
        let state = State::filled();
        let journal = state.started();
        journal.append(&intent(day(3, 1) + ahead, 100)).unwrap();
        journal.append(&intent(day(3, 2), 101)).unwrap();
        // Behind, for one.
        journal.append(&intent(day(-400, 0), 102)).unwrap();
        journal.append(&intent(day(3, 4), 103)).unwrap();
        drop(journal);
        let journal = state.open(day(3, 5), &options());
        let ids = recall(&journal, day(3, 5));
        for number in [72, 100, 101, 102, 103] {
            assert!(ids.contains(&format!("c-{number}")), "{number}: {ids:?}");
        }
        assert_whole(&journal);
        assert!(verify(&state.folder()).unwrap().is_good());
        let until = Query { until: Some(day(3, 3)), since: Some(day(3, 2)), ..Query::default() };
        assert_eq!(query(&state.folder(), &until).unwrap().items.len(), 1);
    }
}

/// A host three days ahead begins a file of its own date with its first line after a start, before it has heard the
/// broker. By that file this morning's orders were three days old at the next start, and their ids free.
#[test]
fn a_file_that_a_clock_days_ahead_began_makes_no_order_of_today_forgotten() {
    let state = State(tempfile::tempdir().unwrap());
    let journal = state.open(day(0, 0), &options());
    for number in 0..3480 {
        journal.append(&intent(day(0, 0) + SignedDuration::from_secs(number * 60), number as u64)).unwrap();
    }
    drop(journal);
    let last = day(2, 10 * 3600);
    let ahead = SignedDuration::from_hours(72);
    for minutes in [1, 30, 60] {
        let now = last + ahead + SignedDuration::from_mins(minutes);
        let journal = state.open(now, &options());
        let ids = recall(&journal, now);
        for number in [1500, 2879, 2880, 3479] {
            assert!(ids.contains(&format!("c-{number}")), "{minutes}: {number} of {}", ids.len());
        }
        assert!(!ids.contains(&"c-10".to_owned()), "all that there is would be read at each start");
        assert_whole(&journal);
        journal.append(&intent(now, 9000)).unwrap();
    }
}

fn days(state: &State) -> usize {
    folder::dates(&state.folder()).unwrap().len()
}

/// A start with a clock that is six years ahead has deleted five years of records.
#[test]
fn one_old_file_a_day_is_deleted_and_only_by_two_clocks() {
    let state = State::filled();
    let keep = Options { keep: Duration::from_secs(86_400), ..options() };
    let later = day(6 * 365, 0);
    let journal = state.started_with(later, &keep);
    journal.append(&intent(later, 100)).unwrap();
    journal.tend(later);
    assert_eq!(days(&state), 4, "no date of the broker was heard");
    journal.broker_date(day(1, 0));
    journal.tend(later);
    assert_eq!(days(&state), 4, "the broker's date does not bear it out");
    // Both clocks say so: one, and no more on that day, however often it starts.
    journal.broker_date(later);
    journal.tend(later);
    assert_eq!(days(&state), 3);
    assert!(!state.file("2026-11-23").exists());
    journal.tend(later);
    journal.tend(later + SignedDuration::from_hours(25));
    assert_eq!(days(&state), 3, "a clock that leaps a day is no day");
    drop(journal);
    for minute in 1..4 {
        let now = later + SignedDuration::from_secs(60 * minute);
        let journal = state.started_with(now, &keep);
        journal.broker_date(now);
        journal.tend(now);
        assert_eq!(days(&state), 3);
        assert_whole(&journal);
    }
    let next = later + SignedDuration::from_hours(24);
    let journal = state.started_with(next, &keep);
    journal.broker_date(next);
    journal.tend(next);
    assert_eq!(days(&state), 3, "one gone, and one of this day");
    assert!(!state.file("2026-11-24").exists());
    let report = verify(&state.folder()).unwrap();
    assert!(report.is_good(), "{report:#?}");
    // Never the file that is written to; one a day comes with the note, and one goes.
    drop(journal);
    for at in 3..9 {
        let now = later + SignedDuration::from_hours(24 * at);
        let journal = state.started_with(now, &keep);
        journal.broker_date(now);
        journal.tend(now);
    }
    assert_eq!(days(&state), 3);
    assert!(verify(&state.folder()).unwrap().is_good());
}

/// A loop of repeats must not fill the disk.
#[test]
fn a_repeat_is_noted_once_a_second_and_id() {
    let state = State::filled();
    let journal = state.started();
    let (account, of) = (AccountName::parse("alpha").unwrap(), SafeText::new("request-7"));
    let ids: Vec<SafeText> = (0..2000).map(|number| SafeText::new(&format!("c-{number}"))).collect();
    let note = |id: &SafeText| {
        let request_id = SafeText::new("repeating");
        let (account, of) = (&account, &of);
        let repeat = Repeat { account, request_id: &request_id, of, correlation_id: Some(id), idempotency_key: None };
        journal.note_repeat(&repeat, day(3, 1))
    };
    let before = journal.status().last_seq;
    assert!(note(&ids[0]));
    let begun = std::time::Instant::now();
    let soon = |noted: bool| noted || begun.elapsed() >= Duration::from_secs(1);
    assert!(soon((0..100).all(|_| !note(&ids[0]))));
    assert!(soon(journal.status().last_seq == before + 1));
    assert!(soon(ids.iter().filter(|id| note(id)).count() <= 1024));
    drop(journal);
    let lines = query(
        &state.folder(),
        &Query { kind: Some(Kind::Note), limit: 1, order: Order::OldestFirst, ..Query::default() },
    );
    let line = lines.unwrap().items.remove(0);
    assert_eq!(line.entry.note, Some(Note::Repeat { of: "request-7".to_owned() }));
    assert_eq!(line.entry.correlation_id, Some(SafeText::new("c-0")));
}

/// Gone, it is known to be gone: `verify` names the file.
#[test]
fn verify_names_the_file_that_lacks() {
    let state = State::filled();
    let middle = state.file("2026-11-24");
    fs::rename(&middle, state.folder().join("2026-11-24.jsonl.gz")).unwrap();
    let what = |state: &State| {
        verify(&state.folder())
            .unwrap()
            .problems
            .iter()
            .map(|p| format!("{}: {}", p.file, p.what))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let told = what(&state);
    assert!(told.contains("2026-11-24.jsonl is missing, and 2026-11-24.jsonl.gz lies in its place"), "{told}");
    assert!(told.contains("lines 25 to 48"), "{told}");
    fs::remove_dir_all(state.folder()).unwrap();
    fs::create_dir(state.folder()).unwrap();
    let told = what(&state);
    assert!(told.contains("2026-11-25.jsonl is missing: line 72 had been written to it"), "{told}");
}
