//! How tests start and stop processes and call the admin API, tried on stand-ins: a harness that took a dead process
//! for a live one would let every crash test pass.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::admin::AdminAt;
use crate::support::net::script_path;
use crate::support::{AdminClient, Place, Process, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

fn shell(dir: &tempfile::TempDir, script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start(command, dir.path(), "stand-in")
}

/// A drain is read off the exit status.
#[test]
fn terminate_gives_the_status_that_the_process_chose() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = shell(&dir, "trap 'echo bye; exit 7' TERM; echo up; while :; do :; done");
    wait_until("the trap is set", LIMIT, || process.output() == "up\n");
    assert_eq!(process.ended(), None);

    let status = process.terminate();

    assert_eq!((status.code(), process.output().as_str()), (Some(7), "up\nbye\n"));
}

/// Crash tests need an end that the process cannot prepare for.
#[test]
fn kill9_ends_a_process_that_ignores_every_wish() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = shell(&dir, "trap '' TERM HUP INT; echo up >&2; while :; do :; done");
    wait_until("the traps are set", LIMIT, || process.log() == "up\n");
    process.signal(Signal::SIGTERM);

    process.kill9();

    assert_eq!(process.ended().and_then(|status| status.signal()), Some(9));
}

/// A gateway started again in the same folder has a log of its own, or a test finds the line of the run before.
#[test]
fn a_log_starts_where_its_process_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = shell(&dir, "echo first >&2");
    assert!(first.wait_for_end(LIMIT).success());

    let mut second = shell(&dir, "echo second >&2");
    assert!(second.wait_for_end(LIMIT).success());

    assert_eq!(second.log(), "second\n");
    assert!(std::fs::read_to_string(dir.path().join("stand-in.stderr")).unwrap().starts_with("first\n"));
}

/// Every test of the admin API stands on these.
#[test]
fn the_admin_client_sends_the_token_and_json_and_reads_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = AdminAt::Tcp(listener.local_addr().unwrap());
    let answers = [
        "HTTP/1.1 201 Created\r\ncontent-length: 13\r\n\r\n{\"id\": \"key\"}",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain",
    ];
    let server = thread::spawn(move || {
        // Connections stay open to the end: the client must not wait for their close.
        let mut kept = Vec::new();
        let read_and_answer = |answer: &str| {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).unwrap();
            }
            let head = head.to_lowercase();
            let length = head
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.split_once("\r\n").expect("a line's end").0.parse().expect("a length"));
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            kept.push(stream);
            (head, body)
        };
        answers.map(read_and_answer)
    });
    let client = AdminClient::anonymous(&Place::here(), at);

    let created = client.clone().with_token("secret").post("/v1/accounts/alpha/keys", &json!({"a": 1}));
    let gone = client.delete("/v1/pools/main");
    let text = client.get("/metrics");

    assert_eq!(created, (201, json!({"id": "key"})));
    assert_eq!(gone, (204, Value::Null));
    assert_eq!(text, (200, json!("plain")));
    let [(post, body), (delete, _), _] = server.join().unwrap();
    assert!(post.starts_with("post /v1/accounts/alpha/keys http/1.1\r\n"), "{post}");
    assert!(post.contains("authorization: bearer secret\r\n") && post.contains("application/json"), "{post}");
    assert_eq!(body, br#"{"a":1}"#);
    assert!(delete.starts_with("delete ") && !delete.contains("authorization"), "{delete}");
}

/// The first thing that a newcomer runs, and its status is what a script of theirs goes by.
#[test]
fn sandbox_sh_runs_a_command_beside_the_gateway_and_ends_with_its_status() {
    const STAND_IN: &str = r#"#!/usr/bin/env python3
import http.server, sys
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
if sys.argv[1:] != ["serve", "--sandbox", "--flag"]:
    sys.exit(f"called with {sys.argv[1:]}")
http.server.HTTPServer(("127.0.0.1", 8081), Healthy).serve_forever()
"#;
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("sixgate");
    std::fs::write(&binary, STAND_IN).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |arguments: &[&str]| {
        Command::new(script_path("sandbox.sh")).args(arguments).env("SIXGATE", &binary).output().unwrap()
    };

    let routes = "ip -6 route get 2001:db8:a1::7 && ip -6 route get 2001:db8:a2::7 && exit 7";
    let good = run(&["--flag", "--", "sh", "-c", routes]);
    let bad = run(&["--other", "--", "true"]);

    assert_eq!(good.status.code(), Some(7), "{good:?}");
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(bad.status.code() == Some(1) && said.contains("called with ['serve', '--sandbox', '--other']"), "{bad:?}");
}
