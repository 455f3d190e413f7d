//! The rule of `benches/instructions`: more than 5 % more instructions have a reason in their commit.

#[path = "../benches/instructions/baseline.rs"]
mod baseline;

use std::path::Path;
use std::process::Command;

use baseline::{Baseline, Explained, explained};

fn counts(of: &[(&str, u64)]) -> Baseline {
    let instructions = of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    Baseline { made_with: "rustc 1".to_owned(), instructions }
}

fn git(at: &Path, arguments: &[&str]) {
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
    let done = Command::new("git").args(who).args(arguments).current_dir(at).output().unwrap();
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn commit(at: &Path, of: &[(&str, u64)], message: &str) {
    let counts = counts(of);
    counts.save(at);
    assert_eq!(Baseline::read(at).instructions, counts.instructions, "what was saved is what is read");
    git(at, &["add", "."]);
    git(at, &["commit", "-q", "-m", message]);
}

fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("benches/instructions")).unwrap();
    git(dir.path(), &["init", "-q"]);
    dir
}

#[track_caller]
fn assert_says(found: Explained, yes: bool, part: &str) {
    let (was, text) = match found {
        Explained::Yes(text) => (true, text),
        Explained::No(text) => (false, text),
    };
    assert!(was == yes && text.contains(part), "{was}: {text}");
}

/// The order path must not become slow a little with every commit.
#[test]
fn five_percent_more_is_borne_and_what_is_above_is_not() {
    let before = counts(&[("limit", 1000)]);
    for (now, problems) in [(900, 0), (1050, 0), (1051, 1), (2000, 1)] {
        let (table, found) = before.compared_with(&counts(&[("limit", now)]));
        assert_eq!(found.len(), problems, "{now}: {found:?}");
        assert!(table.contains(&format!("{:.3}", now as f64 / 1000.0)), "{table}");
    }
}

/// A part that nobody compares is a part that may become slow.
#[test]
fn a_part_on_one_side_only_is_a_problem() {
    let (one, other) = (counts(&[("limit", 1)]), counts(&[("signing", 1)]));
    let (_, found) = one.compared_with(&other);
    assert!(found.len() == 2 && found[0].contains("signing") && found[1].contains("limit"), "{found:?}");
}

/// Whoever reads a failure after a new compiler must not look for the mistake in the code.
#[test]
fn a_failure_names_the_compilers_when_they_differ() {
    let before = counts(&[("limit", 1000)]);
    let now = |count| Baseline { made_with: "rustc 2".to_owned(), ..counts(&[("limit", count)]) };
    assert!(before.compared_with(&now(1000)).1.is_empty());
    assert!(before.compared_with(&now(2000)).1[1].contains("rustc 1, and this with rustc 2"));
}

/// Saving the baseline would else be a way around the rule.
#[test]
fn a_commit_that_raises_the_baseline_says_why() {
    let dir = repository();
    let at = dir.path();
    commit(at, &[("limit", 1000)], "the first");
    assert_says(explained(at), true, "no baseline before");
    commit(at, &[("limit", 1040), ("new", 5)], "a little more");
    assert_says(explained(at), true, "raised no count");
    commit(at, &[("limit", 1200), ("new", 5)], "much more\n\nInstructions:\n");
    assert_says(explained(at), false, "limit from 1040 to 1200");
    git(at, &["commit", "-q", "--amend", "-m", "much more\n\nInstructions: the windows are four."]);
    assert_says(explained(at), true, "says why: the windows are four.");
    // Commits after it that leave the baseline alone do not hide it.
    git(at, &["commit", "-q", "--allow-empty", "-m", "another"]);
    assert_says(explained(at), true, "the windows are four.");
}

/// A CI that fetches one commit must not fail for that, nor be quiet about what it did not see.
#[test]
fn what_a_shallow_clone_does_not_hold_is_said_and_passes() {
    let dir = repository();
    commit(dir.path(), &[("limit", 1000)], "the first");
    commit(dir.path(), &[("limit", 2000)], "twice as much");
    let origin = format!("file://{}", dir.path().display());
    git(dir.path(), &["clone", "-q", "--depth", "1", &origin, "shallow"]);
    assert_says(explained(&dir.path().join("shallow")), true, "NOT KNOWN");
    let nowhere = tempfile::tempdir().unwrap();
    assert_says(explained(nowhere.path()), true, "NOT KNOWN");
}
