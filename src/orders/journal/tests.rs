//! What the journal must keep: every line, their order, and the sight of any change to them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::domain::{AccountName, Authority, Outcome, Role, SourceAddr};
use crate::orders::terms::{Number, Terms};

const DAY: i64 = 86_400;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn day(day: i64, second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(day * DAY + second)
}

fn options() -> Options {
    Options::new(false, YEAR)
}

fn open(folder: &Path, now: Timestamp) -> Journal {
    Journal::open(folder, &options(), now).unwrap()
}

fn intent(at: Timestamp, number: u64) -> Entry {
    Entry {
        request_id: Some(SafeText::new(&format!("request-{number}"))),
        account: Some(AccountName::parse(if number.is_multiple_of(2) { "alpha" } else { "beta" }).unwrap()),
        leg: Some(Role::Primary),
        source: Some(SourceAddr::parse("2001:db8:a1::1").unwrap()),
        target: Some(Authority::parse("api.dhan.co:443", None).unwrap()),
        method: Some(http::Method::POST),
        path: Some(SafePath::new("/v2/orders")),
        correlation_id: Some(SafeText::new(&format!("c-{number}"))),
        body_sha256: Some([7; 32]),
        token_generation: Some(3),
        ..Entry::new(Kind::Intent, at)
    }
}

/// `lines` of them over three days.
fn filled(lines: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    for number in 0..lines {
        journal.append(&intent(day((3 * number / lines) as i64, number as i64), number)).unwrap();
    }
    dir
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    folder::dates(folder).unwrap().into_iter().map(|date| folder::path(folder, date)).collect()
}

fn all(folder: &Path) -> Vec<Recorded> {
    read_back(folder, Timestamp::MIN).unwrap().map(Result::unwrap).collect()
}

#[track_caller]
fn assert_good(folder: &Path) -> Verification {
    let report = verify(folder).unwrap();
    assert!(report.is_good() && report.unfinished == 0, "{report:#?}");
    report
}

fn notes(folder: &Path) -> Vec<Note> {
    all(folder).into_iter().filter_map(|line| line.entry.note).collect()
}

/// The line is a contract: other people's scripts read it.
#[test]
fn a_line_is_what_the_readme_says() {
    let dir = filled(1);
    let text = fs::read_to_string(&files(dir.path())[0]).unwrap();
    let expected = concat!(
        r#"{"seq":1,"at":"2026-11-23T00:00:00.000000Z","kind":"intent","request_id":"request-0","account":"alpha","#,
        r#""leg":"primary","source":"2001:db8:a1::1","target":"api.dhan.co:443","method":"POST","path":"/v2/orders","#,
        r#""correlation_id":"c-0","idempotency_key":null,"order_id":null,"terms":null,"#,
        r#""body_sha256":"0707070707070707070707070707070707070707070707070707070707070707","write_sha256":null,"token_generation":3,"#,
        r#""status":null,"broker_code":null,"outcome":null,"recovered":null,"upstream_us":null,"total_us":null,"#,
        r#""prev":"0000000000000000000000000000000000000000000000000000000000000000""#,
    );
    let (body, rest) = text.split_once(",\"hash\"").unwrap();
    assert_eq!(body, expected);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rest, format!(":\"{}\"}}\n", line["hash"].as_str().unwrap()));
    assert_eq!(line["hash"], LineHash::of(body.as_bytes()).to_string());
    let members: BTreeSet<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, COLUMNS.into_iter().filter(|name| *name != "note").collect());
}

/// Of any number of orders, with texts that callers chose.
fn any_terms(words: &[Option<String>], number: Option<u64>) -> Option<std::sync::Arc<[Terms]>> {
    let count = number.map_or(0, |number| usize::try_from(number % 4).unwrap());
    // As it is read back: a text that is not the broker's stands as its digest.
    let text = |at: usize| words[at].as_deref().map(|text| Box::from(&*redact::plain(text)));
    let price = number.and_then(|number| Number::parse(&format!("{}.{:02}", number / 100, number % 100)));
    let one = Terms {
        side: Some("BUY".into()),
        segment: text(0),
        security: text(1),
        order_type: text(2),
        price: price.clone(),
        trailing: price,
        after_market: number.is_some_and(|number| number % 2 == 0),
        correlation_id: text(3),
        sequence: text(4),
        ..Terms::default()
    };
    let mut terms = vec![one; count];
    if let [_, second, ..] = &mut terms[..] {
        *second = Terms::default();
    }
    (count > 0).then(|| terms.into())
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let words = proptest::collection::vec(proptest::option::of(".{0,40}"), 6);
    let numbers = (
        proptest::option::of(any::<u64>()),
        proptest::option::of(any::<u16>()),
        any::<Option<bool>>(),
        proptest::option::of(any::<[u8; 32]>()),
        0..4_i64 * DAY,
        0..1_000_000_i64,
    );
    (words, numbers, any::<bool>()).prop_map(|(words, (number, status, recovered, digest, second, micros), is_note)| {
        let word = |at: usize| words[at].as_deref().map(SafeText::new);
        let at = day(0, second) + SignedDuration::from_micros(micros);
        let mut entry = Entry {
            request_id: word(0),
            path: words[1].as_deref().map(SafePath::new),
            correlation_id: word(2),
            idempotency_key: word(3),
            order_id: word(4),
            broker_code: word(5),
            body_sha256: digest,
            write_sha256: digest,
            terms: any_terms(&words, number),
            token_generation: number,
            status,
            recovered,
            total_us: number,
            outcome: recovered.map(|_| Outcome::Unknown),
            ..intent(at, 1)
        };
        if is_note {
            entry.note = Some(Note::Message { text: words[0].clone().unwrap_or_default() });
            entry.kind = Kind::Note;
        }
        entry
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is read back is what was written, whatever characters a caller chose.
    #[test]
    fn a_line_is_read_back_as_it_was_written(entry in any_entry(), seq in any::<u64>()) {
        let mut bytes = Vec::new();
        let hash = codec::write(&mut bytes, seq, &entry, LineHash::of(b"before"));
        let recorded = codec::check(bytes.strip_suffix(b"\n").unwrap()).unwrap();
        let (prev, members) = (LineHash::of(b"before"), Members::All);
        prop_assert_eq!(&recorded, &Recorded { seq, by: entry.at, entry, prev, hash, members });
        prop_assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
        let text = String::from_utf8(bytes.clone()).unwrap();
        prop_assert_eq!(text.matches(",\"hash\"").count(), 1);
        let mut again = Vec::new();
        write_json(&mut again, &recorded).unwrap();
        prop_assert_eq!(again, bytes);
    }

    /// Any appends, days in any order, closed and opened anywhere: one chain.
    #[test]
    fn any_sequence_of_appends_verifies(entries in proptest::collection::vec((any_entry(), 0..8_u8), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Some(open(dir.path(), day(0, 0)));
        for (entry, dice) in &entries {
            if *dice == 0 {
                drop(journal.take());
                journal = Some(open(dir.path(), entry.at));
            }
            journal.as_ref().unwrap().append(entry).unwrap();
        }
        let report = assert_good(dir.path());
        prop_assert_eq!(report.lines, entries.len() as u64);
        let read: Vec<_> = all(dir.path()).into_iter().map(|line| line.entry).collect();
        let written: Vec<_> = entries.into_iter().map(|(entry, _)| entry).collect();
        prop_assert_eq!(read, written);
    }
}

/// Every byte of a small journal, changed, removed and doubled.
#[test]
fn any_byte_that_is_not_as_written_is_found() {
    let dir = filled(4);
    for path in files(dir.path()) {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let mut removed = good.clone();
            removed.remove(at);
            let mut inserted = good.clone();
            inserted.insert(at, b'x');
            let mut newline = good.clone();
            newline.insert(at, b'\n');
            for bytes in [changed, removed, inserted, newline] {
                fs::write(&path, &bytes).unwrap();
                let report = verify(dir.path()).unwrap();
                assert!(!report.is_good(), "{}, byte {at}: {:?}", path.display(), String::from_utf8_lossy(&bytes));
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert_good(dir.path());
}

fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.concat()).unwrap();
}

#[test]
fn any_line_or_file_that_is_not_where_it_was_is_found() {
    let dir = filled(9);
    let bad = |what: &str| assert!(!verify(dir.path()).unwrap().is_good(), "{what}");
    let paths = files(dir.path());
    let texts: Vec<Vec<String>> = paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect())
        .collect();
    for (path, lines) in paths.iter().zip(&texts) {
        for at in 0..lines.len() {
            let mut without = lines.clone();
            without.remove(at);
            write_lines(path, &without);
            bad(&format!("{} without {at}", path.display()));
            let mut doubled = lines.clone();
            doubled.insert(at, lines[at].clone());
            write_lines(path, &doubled);
            bad(&format!("{} with {at} twice", path.display()));
            for other in at + 1..lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(at, other);
                write_lines(path, &swapped);
                bad(&format!("{} with {at} and {other} swapped", path.display()));
            }
        }
        fs::remove_file(path).unwrap();
        bad(&format!("without {}", path.display()));
        write_lines(path, lines);
    }
    // A line of another day, in the right order all the same.
    write_lines(&paths[0], &[&texts[0][..], &texts[1][..1]].concat());
    write_lines(&paths[1], &texts[1][1..]);
    bad("a line moved to the file of the day before");
    for (path, lines) in paths.iter().zip(&texts) {
        write_lines(path, lines);
    }
    assert_good(dir.path());
}

/// Whoever changes a line can make its hash anew, and then has to do so with all that follow.
#[test]
fn a_changed_line_with_a_hash_of_its_own_is_found() {
    let dir = filled(9);
    for path in files(dir.path()) {
        let good = fs::read(&path).unwrap();
        let mut lines: Vec<Vec<u8>> = good.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        for at in 0..lines.len() {
            let original = lines[at].clone();
            let mut recorded = codec::check(original.strip_suffix(b"\n").unwrap()).unwrap();
            recorded.entry.status = Some(200);
            codec::write(&mut lines[at], recorded.seq, &recorded.entry, recorded.prev);
            fs::write(&path, lines.concat()).unwrap();
            assert_eq!(verify(dir.path()).unwrap().problem_count, 1, "{}, line {at}", path.display());
            lines[at] = original;
        }
        fs::write(&path, good).unwrap();
    }
}

fn copy(folder: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

/// A crash in the middle of a write loses that line and nothing else, and nobody has to do anything.
#[test]
fn an_unfinished_last_line_is_cut_off_and_told() {
    let whole = filled(6);
    // `.head` is written after the line.
    let fifth = &all(whole.path())[4];
    let head = folder::ChainHead { seq: 5, hash: fifth.hash };
    folder::HeadFile::open(whole.path()).unwrap().write(head).unwrap();
    let path = files(whole.path()).pop().unwrap();
    let text = fs::read(&path).unwrap();
    let last = text[..text.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for end in last + 1..text.len() {
        let dir = copy(whole.path());
        fs::write(dir.path().join(path.file_name().unwrap()), &text[..end]).unwrap();
        let journal = open(dir.path(), day(3, 0));
        journal.append(&intent(day(3, 1), 7)).unwrap();
        assert!(journal.whole().is_whole(), "{:?}", journal.whole());
        drop(journal);
        assert_good(dir.path());
        let lines = all(dir.path());
        let kept = if end == text.len() - 1 { 6 } else { 5 };
        assert!(lines[..kept].iter().all(|line| line.entry.kind == Kind::Intent), "{end}");
        if kept == 5 {
            let sha256 = data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&text[last..end]));
            let (file, bytes) = ("2026-11-25.jsonl".to_owned(), (end - last) as u64);
            assert_eq!(lines[5].entry.note, Some(Note::CutOff { file, bytes, sha256 }));
            assert_eq!(lines[5].seq, 6);
        }
        assert_eq!(lines.len(), 7);
    }
}

/// Zeros instead of a line, as some file systems leave after a power cut: far longer than any line.
#[test]
fn a_tail_of_zeros_is_cut_off() {
    let dir = filled(3);
    let path = files(dir.path()).pop().unwrap();
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(&vec![0; 300_000]);
    fs::write(&path, &text).unwrap();
    drop(open(dir.path(), day(3, 0)));
    assert!(matches!(notes(dir.path())[..], [Note::CutOff { bytes: 300_000, .. }]));
    assert_good(dir.path());
}

/// At nine in the morning the gateway must start, and the auditor must see it later.
#[test]
fn a_hand_edited_last_line_starts_a_new_chain_that_says_so() {
    for edit in ["\"seq\":6", "{\"seq\"", "\"}\n"] {
        let dir = filled(6);
        let path = files(dir.path()).pop().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.rsplit_once(edit).unwrap();
        fs::write(&path, format!("{before}{}{after}", edit.replace("6", "9").replace("{", "[").replace('}', "]")))
            .unwrap();

        let journal = open(dir.path(), day(3, 0));
        journal.append(&intent(day(3, 1), 7)).unwrap();
        drop(journal);
        drop(open(dir.path(), day(3, 2)));

        let report = verify(dir.path()).unwrap();
        let problems: Vec<_> = report.problems.iter().map(|p| (p.file.as_str(), p.line)).collect();
        assert_eq!(problems, [("2026-11-25.jsonl", 2)], "{report:#?}");
        let found: Vec<_> = read_back(dir.path(), Timestamp::MIN).unwrap().filter_map(Result::ok).collect();
        let [.., note, last] = &found[..] else { panic!("{found:?}") };
        let Some(Note::ChainBroken { file, line, .. }) = &note.entry.note else { panic!("{note:?}") };
        assert_eq!((file.as_str(), *line), ("2026-11-25.jsonl", 2));
        assert!(note.seq > 6 || note.seq == 7, "{note:?}");
        assert_eq!(last.seq, note.seq + 1);
        // The note holds on to the edited line as it stood.
        fs::write(&path, text).unwrap();
        assert!(!verify(dir.path()).unwrap().is_good());
    }
}

/// An editor who makes the hash anew is found by `.head`, and so is a cut at a line's end.
#[test]
fn a_last_line_that_is_another_or_gone_is_told_at_opening() {
    let dir = filled(6);
    let path = files(dir.path()).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let first = text.split_inclusive('\n').next().unwrap();
    fs::write(&path, first).unwrap();
    let gone = copy(dir.path());
    drop(open(gone.path(), day(3, 0)));
    assert!(
        matches!(notes(gone.path())[..], [Note::Lost { first_seq: 6, last_seq: 6, .. }]),
        "{:?}",
        notes(gone.path())
    );
    let report = verify(gone.path()).unwrap();
    assert_eq!(report.problem_count, 1, "{report:#?}");

    let mut line = Vec::new();
    let before = codec::check(first.trim_end().as_bytes()).unwrap();
    codec::write(&mut line, 6, &intent(day(2, 9), 99), before.hash);
    fs::write(&path, [first.as_bytes(), &line].concat()).unwrap();
    assert_eq!(verify(dir.path()).unwrap().problem_count, 1);
    drop(open(dir.path(), day(3, 0)));
    assert!(matches!(notes(dir.path())[..], [Note::ChainBroken { .. }]));
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.problem_count, 1, "{report:#?}");
}

#[test]
fn two_processes_cannot_write_one_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let second = Journal::open(dir.path(), &options(), day(0, 0)).unwrap_err();
    assert_eq!(second.code(), "journal_in_use");
    drop(journal);
    open(dir.path(), day(0, 0));
}

#[test]
fn a_clock_that_goes_back_does_not_go_back_to_an_older_file() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    for (number, at) in [day(0, 5), day(2, 5), day(1, 5), day(0, 5), day(2, 6)].into_iter().enumerate() {
        journal.append(&intent(at, number as u64)).unwrap();
    }
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(journal.status().file.as_deref(), Some("2026-11-25.jsonl"));
    drop(journal);
    let journal = open(dir.path(), day(1, 0));
    journal.append(&intent(day(1, 7), 9)).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    assert_good(dir.path());
    let since: Vec<_> = read_back(dir.path(), day(1, 0)).unwrap().map(|line| line.unwrap().seq).collect();
    assert_eq!(since, [2, 3, 5, 6]);
}

#[test]
fn threads_append_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let given: BTreeSet<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|lane| {
                let journal = journal.clone();
                scope.spawn(move || {
                    let mine = (0..250).map(|number| intent(day(lane % 3, number), number as u64));
                    mine.map(|entry| journal.append(&entry).unwrap().seq).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(given, (1..=2000).collect());
    assert_eq!(assert_good(dir.path()).lines, 2000);
}

#[tokio::test]
async fn durable_appends_share_syncs_and_all_return() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), &Options::new(true, YEAR), day(0, 0)).unwrap();
    let entries: Vec<_> = (0..200).map(|number| intent(day(number / 100, number), number as u64)).collect();
    let appends = entries.iter().map(|entry| journal.append_durable(entry));
    let done = futures_util::future::join_all(appends).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    drop(journal);
    assert_eq!(assert_good(dir.path()).lines, 200);
}

/// Each hears of its own line, whoever wrote it.
#[tokio::test]
async fn lines_that_come_together_are_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let _busy = [journal.busy(), journal.busy()];
    let entries: Vec<_> = (0..50).map(|number| intent(day(0, number), number as u64)).collect();
    let done = futures_util::future::join_all(entries.iter().map(|entry| journal.append_durable(entry))).await;
    let told: Vec<u64> = done.into_iter().map(|appended| appended.unwrap().seq).collect();
    assert_eq!(told, (1..=50).collect::<Vec<_>>());
    assert_eq!(assert_good(dir.path()).lines, 50);
    let written: Vec<_> = all(dir.path()).into_iter().map(|line| line.entry).collect();
    assert_eq!(written, entries);
}

/// Its caller may go away while it lets others come; they must not wait for ever, nor be told of a line that is not there.
#[tokio::test]
async fn who_leads_and_goes_away_writes_for_the_others_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let _busy = [journal.busy(), journal.busy()];
    let entries = [intent(day(0, 1), 1), intent(day(0, 2), 2)];
    let mut leads = Box::pin(journal.append_durable(&entries[0]));
    assert!(futures_util::poll!(leads.as_mut()).is_pending());
    let mut follows = Box::pin(journal.append_durable(&entries[1]));
    assert!(futures_util::poll!(follows.as_mut()).is_pending());
    assert_eq!(journal.status().last_seq, 0, "nothing is written while others may come");
    drop(leads);
    assert_eq!(follows.await.unwrap().seq, 2);
    assert_eq!(assert_good(dir.path()).lines, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Pages, put together, are the journal, whatever the size of a page.
    #[test]
    fn pages_are_the_whole_in_either_order(limit in 1..8_usize, scan in 1..30_u64, newest in any::<bool>(), account in any::<bool>()) {
        let dir = filled(20);
        let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
        let name = AccountName::parse("alpha").unwrap();
        let mut wanted = Query {
            account: account.then(|| name.clone()),
            since: Some(day(0, 3)),
            until: Some(day(2, 18)),
            order,
            limit,
            scan,
            ..Query::default()
        };
        let mut expected: Vec<u64> = all(dir.path())
            .into_iter()
            .filter(|line| line.entry.at >= day(0, 3) && line.entry.at < day(2, 18))
            .filter(|line| !account || line.entry.account.as_ref() == Some(&name))
            .map(|line| line.seq)
            .collect();
        if newest {
            expected.reverse();
        }
        let mut found = Vec::new();
        loop {
            let page = query(dir.path(), &wanted).unwrap();
            prop_assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|line| line.seq));
            let Some(next) = page.next else { break };
            // A cursor goes through a URL.
            wanted.cursor = Some(next.to_string().parse().unwrap());
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn an_order_is_found_by_any_of_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let sent = intent(day(0, 1), 1);
    journal.append(&sent).unwrap();
    let mut outcome = sent.outcome(Outcome::Executed, day(0, 2));
    outcome.order_id = Some(SafeText::new("112,113"));
    journal.append(&outcome).unwrap();
    let find =
        |wanted: Query| query(dir.path(), &wanted).unwrap().items.iter().map(|line| line.seq).collect::<Vec<_>>();
    assert_eq!(find(Query { order_id: Some(SafeText::new("113")), ..Query::default() }), [2]);
    assert_eq!(find(Query { order_id: Some(SafeText::new("11")), ..Query::default() }), [0; 0]);
    assert_eq!(find(Query { correlation_id: Some(SafeText::new("c-1")), ..Query::default() }), [2, 1]);
    assert_eq!(find(Query { outcome: Some(Outcome::Executed), ..Query::default() }), [2]);
    assert_eq!(find(Query { kind: Some(Kind::Intent), ..Query::default() }), [1]);
}

#[test]
fn following_goes_from_file_to_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut early = Follow::from_end(dir.path(), 0).unwrap();
    let journal = open(dir.path(), day(0, 0));
    for number in 0..5 {
        journal.append(&intent(day(number / 3, number), number as u64)).unwrap();
    }
    let seqs =
        |follow: &mut Follow| follow.poll().unwrap().into_iter().map(|line| line.unwrap().seq).collect::<Vec<_>>();
    let mut late = Follow::from_end(dir.path(), 1).unwrap();
    assert_eq!(seqs(&mut early), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&mut late), [5]);
    assert_eq!(seqs(&mut late), [0; 0]);
    for number in 5..3000 {
        journal.append(&intent(day(1 + number / 1000, number), number as u64)).unwrap();
    }
    let mut found = Vec::new();
    while let more @ [_, ..] = &seqs(&mut late)[..] {
        found.extend_from_slice(more);
    }
    assert_eq!(found, (6..=3000).collect::<Vec<_>>());
    // Half a line is not there yet.
    use std::io::Write;
    let mut file = fs::File::options().append(true).open(files(dir.path()).pop().unwrap()).unwrap();
    file.write_all(b"{\"seq\":3001").unwrap();
    assert_eq!(seqs(&mut late), [0; 0]);
}

#[test]
fn csv_quotes_what_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    journal
        .append(&Entry {
            order_id: Some(SafeText::new("1,2")),
            broker_code: Some(SafeText::new("a\"b")),
            ..intent(day(0, 1), 1)
        })
        .unwrap();
    let mut out = Vec::new();
    let mut csv = Csv::new(&mut out).unwrap();
    for line in all(dir.path()) {
        csv.write(&line).unwrap();
    }
    csv.finish().unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.split("\r\n").collect();
    assert_eq!(lines[0], COLUMNS.join(","));
    assert!(lines[1].starts_with("1,2026-11-23T00:00:01.000000Z,intent,request-1,beta,primary,2001:db8:a1::1,"));
    assert!(lines[1].contains(",\"1,2\",") && lines[1].contains(",\"a\"\"b\","), "{}", lines[1]);
    assert_eq!(lines.len(), 3);
}

/// People read them, and what was lost is found by them.
#[test]
fn terms_stand_in_the_line_as_the_broker_words_them() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let one = Terms {
        side: Some("BUY".into()),
        segment: Some("NSE_EQ".into()),
        quantity: Number::parse("5"),
        price: Number::parse("3310.50"),
        ..Terms::default()
    };
    let long = Terms { security: Some("9".repeat(65).into()), sequence: Some("a\"b".into()), ..one.clone() };
    let counted = |count: usize| Some(vec![one.clone(); count].into());
    for terms in [Some([one.clone()].into()), Some([one.clone(), long].into()), counted(25), counted(26)] {
        journal.append(&Entry { terms, write_sha256: Some([8; 32]), ..intent(day(0, 1), 1) }).unwrap();
    }
    drop(journal);
    let text = fs::read_to_string(&files(dir.path())[0]).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let expected =
        r#""order_id":null,"terms":{"side":"BUY","segment":"NSE_EQ","quantity":5,"price":3310.5},"body_sha256""#;
    assert!(lines[0].contains(expected), "{}", lines[0]);
    assert!(lines[0].contains(&format!(r#","write_sha256":"{}","token_generation""#, "08".repeat(32))));
    assert!(lines[1].contains(r#""security":"sha256:"#) && !lines[1].contains("999"), "{}", lines[1]);
    let read = all(dir.path());
    assert_eq!(read[0].entry.terms(), [one]);
    // Half a multi-order would be taken for the whole.
    assert_eq!(read.iter().map(|line| line.entry.terms().len()).collect::<Vec<_>>(), [1, 2, 25, 0]);
    for (line, text) in read.iter().zip(lines) {
        let mut again = Vec::new();
        write_json(&mut again, line).unwrap();
        assert_eq!(String::from_utf8(again).unwrap().trim_end(), text);
    }
}

/// Five years of lines were written before there were terms.
#[test]
fn lines_of_an_older_program_are_read_and_written_as_they_stand() {
    let dir = filled(6);
    let mut prev = LineHash::ZERO;
    for path in files(dir.path()) {
        let mut old = Vec::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let body = line.split_once(",\"prev\"").unwrap().0;
            let body = body.replace(",\"terms\":null", "").replace(",\"write_sha256\":null", "");
            let seq = codec::read(line.as_bytes()).unwrap().seq;
            let rest = body.strip_prefix(&format!("{{\"seq\":{seq}")).unwrap();
            prev = codec::seal(&mut old, seq, rest.as_bytes(), prev);
        }
        fs::write(&path, &old).unwrap();
        let mut again = Vec::new();
        for line in old.split_inclusive(|b| *b == b'\n') {
            write_json(&mut again, &codec::check(line.strip_suffix(b"\n").unwrap()).unwrap()).unwrap();
        }
        assert_eq!(again, old);
    }
    folder::HeadFile::open(dir.path()).unwrap().write(folder::ChainHead { seq: 6, hash: prev }).unwrap();
    let journal = open(dir.path(), day(2, 50));
    journal.append(&intent(day(2, 51), 7)).unwrap();
    let report = assert_good(dir.path());
    assert_eq!(report.lines, 7);
}

/// Wherever text of others can get in, a secret does not.
#[test]
fn no_secret_gets_in() {
    let token = format!("eyJ0eXAiOiJKV1QifQ.{}.signature", "eyJzZWNyZXQ".repeat(8));
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let entry = Entry {
        request_id: Some(SafeText::new(&token)),
        path: Some(SafePath::new(&format!("/v2/orders/{token}?access-token={token}&pin=123456#{token}"))),
        correlation_id: Some(SafeText::new(&token)),
        idempotency_key: Some(SafeText::new(&format!("Bearer {token}"))),
        order_id: Some(SafeText::new(&format!("1,{token}"))),
        broker_code: Some(SafeText::new(&token)),
        terms: Some([Terms { security: Some(token.as_str().into()), ..Terms::default() }].into()),
        ..intent(day(0, 1), 1)
    };
    journal.append(&entry).unwrap();
    let text = fs::read_to_string(&files(dir.path())[0]).unwrap();
    for secret in ["eyJ", "123456", "pin", "access-token", "signature"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(Authority::parse("user:password@api.dhan.co:443", None).is_err());
    assert_good(dir.path());
}

/// The only worker may be in it, and nobody else comes to meet it.
#[test]
fn a_write_that_hangs_is_trouble_before_another_line_fails() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let core = &journal.shared.core;
    core.watch(day(0, 1));
    assert_eq!(journal.trouble(), None);
    let writing = core.lock();
    std::thread::scope(|scope| scope.spawn(|| core.watch(day(0, 2))).join().unwrap());
    let told = journal.trouble().unwrap();
    assert!(told.contains("did not take a line within 1s") && told.contains("does not answer"), "{told}");
    assert!(core.pace.is_slow(), "whoever comes next would stand in it too");
    drop(writing);
    core.watch(day(0, 3));
    assert_eq!(journal.trouble(), None);
    assert_good(dir.path());
}

/// Who waits for less than the disk may take has learned nothing of the disk.
#[test]
fn a_callers_own_deadline_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), day(0, 0));
    let writing = journal.shared.core.lock();
    let line = intent(day(0, 1), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wait = |millis| {
        let by = tokio::time::Instant::now() + Duration::from_millis(millis);
        runtime.block_on(journal.append_durable_as(&line, Urgency::Ordinary, by)).unwrap_err()
    };
    let soon = wait(20);
    assert!(matches!(soon, JournalError::NotInTime { .. }) && soon.may_be_written(), "{soon}");
    assert_eq!(journal.trouble(), None);
    let late = wait(450);
    assert!(matches!(late, JournalError::Slow { .. }) && journal.trouble().is_some(), "{late}");
    // What is known to be in trouble is told as that, however long it was waited for.
    let soon = wait(20);
    assert!(matches!(soon, JournalError::Slow { .. }), "{soon}");
    drop(writing);
}
