//! The Python that later tests run real clients with.

use std::process::Command;
use std::thread;

use crate::support::Place;
use crate::support::python::{client, python};

/// A test against some other version of the SDK than the one that traders install says nothing about theirs.
#[test]
fn python_has_the_pinned_sdk() {
    let program = "import importlib.metadata as m, dhanhq; print(m.version('dhanhq'))";

    let output = Command::new(python()).args(["-c", program]).output().expect("run that Python");

    assert_eq!(String::from_utf8_lossy(&output.stdout), "2.3.0\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Tests are processes that start at the same moment, and each asks for it.
#[test]
fn whoever_asks_at_the_same_time_gets_the_same_complete_one() {
    let asked: Vec<_> = (0..4).map(|_| thread::spawn(python)).collect();

    let answers: Vec<_> = asked.into_iter().map(|thread| thread.join().expect("no panic")).collect();

    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.exists()), "{answers:?}");
}

/// Who is not root, on a machine where it was never fetched, could not have it there.
#[test]
#[should_panic(expected = "must be asked for before")]
fn what_is_fetched_is_not_first_asked_for_when_the_network_was_left() {
    Place::alone();
    python();
}

/// With no gateway there is nobody to sign: the script has to fail and to say at which step.
#[test]
fn the_sdk_script_reports_a_failed_step() {
    let output = Command::new(python())
        .arg(client("sdk_orders.py"))
        .arg("1000000001")
        .env("HTTPS_PROXY", "http://127.0.0.1:1") // nobody listens on port 1
        .output()
        .expect("run that Python");

    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    assert_eq!((&line["step"], &line["status"]), (&"place".into(), &"failure".into()), "{line}");
}
