//! `/openapi.json`, held against the running gateway by schemathesis: programs are made of that document.

use std::process::Command;
use std::time::Duration;

use crate::support::python::{client, python_of};
use crate::support::{Place, Process, wait_for};

/// How long it may send requests. It ends by itself before, and what it did not get to is not checked.
const SECONDS: &str = "75";

/// What the schema allows is taken, what it forbids is refused, and every reply is one that it names.
#[test]
fn the_gateway_takes_and_refuses_what_the_document_says() {
    let python = python_of("schema-requirements.txt");
    let dir = tempfile::tempdir().unwrap();
    let mut command = Place::alone().command(env!("CARGO_BIN_EXE_sixgate"));
    command.args(["serve", "--sandbox", "--state", "state"]);
    command.env("SIXGATE_LISTENER_0_ADDRESS", "127.0.0.1:0").env("SIXGATE_ADMIN_ADDRESS", "127.0.0.1:0");
    let mut gateway = Process::start(command, dir.path(), "gateway");
    let admin = wait_for("the gateway has started", Duration::from_secs(30), || {
        let output = gateway.output();
        let line = output.lines().find_map(|line| line.trim().strip_prefix("admin API "));
        line.filter(|_| output.contains("Ctrl-C")).map(|at| at.trim().to_owned())
    });
    let token = std::fs::read_to_string(dir.path().join("state/admin.token")).unwrap();
    let mut command = Command::new(python.with_file_name("st"));
    command.current_dir(dir.path()).env("SCHEMATHESIS_HOOKS", client("schema_checks.py"));
    command.arg("run").arg(format!("{admin}/openapi.json"));
    command.args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
    command.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    command.args([
        "--seed",
        "1",
        "--max-examples",
        "15",
        "--max-time",
        SECONDS,
        "--phases",
        "examples,coverage,fuzzing",
    ]);
    command.args(["--generation-database", "none", "--continue-on-failure", "--no-shrink", "--no-color"]);
    // These wait for what they are there to wait for: events that never end, and a login that the broker lets nobody
    // repeat at once.
    command.args(["--exclude-path", "/v1/events", "--exclude-path", "/v1/accounts/{name}/token/refresh"]);
    // What the broker answers about an id that is nobody's is passed on as 502, and that counts as a broken server here.
    command.args(["--exclude-path", "/v1/accounts/{name}/orders/{order_id}"]);
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("No issues found") || said.contains(" passed"), "{said}");
    assert_eq!(gateway.terminate().code(), Some(0));
}
