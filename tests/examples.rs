//! The order engines of `examples/`, as they stand: whatever answer is lost on the way, the broker gets one order.

use std::net::SocketAddr;
use std::path::Path;

use crate::support::net::{Ns, NsRuntime};
use crate::support::world::{LOOPBACK, World, config, pins};
use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault, Habits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// An engine, and how it is run.
struct Engine {
    command: &'static [&'static str],
    file: &'static str,
    /// What Debian calls it.
    package: &'static str,
}

const ENGINES: [Engine; 3] = [
    Engine { command: &["python3"], file: "engine.py", package: "python3" },
    Engine { command: &["node"], file: "engine.mjs", package: "nodejs" },
    Engine { command: &["go", "run"], file: "engine.go", package: "golang-go" },
];

/// What an engine did: its exit code, and the steps that it printed.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    steps: Vec<Value>,
}

impl Run {
    fn tries(&self) -> Vec<&Value> {
        self.steps.iter().filter(|step| step["step"] == "place").collect()
    }

    #[track_caller]
    fn assert_placed(&self, world: &World, file: &str) {
        assert_eq!(self.code, Some(0), "{file}: {self:?}");
        let orders = world.broker.orders(&world.traders[0].client_id);
        assert_eq!(orders.len(), 1, "{file}: {self:?}: {orders:?}");
        let last = self.steps.last().unwrap();
        assert_eq!((&last["step"], &last["orderId"]), (&json!("done"), &orders[0]["orderId"]), "{file}: {self:?}");
        assert_eq!(arrived(world), 1, "{file}: {self:?}");
    }
}

/// A world whose gateway gives up on a lost answer soon.
fn world() -> World {
    let orders = "[orders]\nresponse_timeout = \"2s\"\nreconcile_for = \"600ms\"\n";
    World::up_with(1, &config(&format!("{}\n{orders}", pins())))
}

/// Order writes that arrived at the broker.
fn arrived(world: &World) -> usize {
    world.broker.seen().iter().filter(|seen| seen.method == "POST" && seen.path_and_query == "/v2/orders").count()
}

#[track_caller]
fn run(world: &World, engine: &Engine, at: &str) -> Run {
    let (program, arguments) = engine.command.split_first().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(engine.file);
    let mut command = world.net.command(Ns::Gateway, program);
    command.args(arguments).arg(file).arg(format!("http://{at}/v2"));
    let output = command.output().unwrap_or_else(|err| panic!("{program}: {err}; apt-get install {}", engine.package));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}{output:?}"));
    let steps: Vec<Value> = said.lines().map(read).collect();
    assert!(!steps.is_empty(), "{output:?}");
    // `go run` says 1 for every exit code of its program, and the code on standard error.
    let code = String::from_utf8_lossy(&output.stderr);
    let code = code.lines().find_map(|line| line.strip_prefix("exit status ")?.parse().ok());
    Run { code: code.or(output.status.code()), steps }
}

#[test]
fn an_engine_places_one_order() {
    for engine in &ENGINES {
        let world = world();
        let run = run(&world, engine, LOOPBACK);
        run.assert_placed(&world, engine.file);
        assert_eq!(run.tries().len(), 1, "{}: {run:?}", engine.file);
    }
}

/// The broker took the order and its answer is lost; it shows the order only later. The engine asks again under the
/// same id, which sends nothing.
#[test]
fn a_lost_answer_of_the_broker_is_asked_for_and_makes_no_second_order() {
    for engine in &ENGINES {
        let world = world();
        world.broker.set_habits(Habits { shows_after_ms: 1500, ..world.broker.habits() });
        world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
        let run = run(&world, engine, LOOPBACK);
        run.assert_placed(&world, engine.file);
        let tries = run.tries();
        assert_eq!(tries[0]["outcome"], "unknown", "{}: {run:?}", engine.file);
        let last = tries.last().unwrap();
        assert_eq!((&last["outcome"], &last["repeat"]), (&json!("executed"), &json!(true)), "{}: {run:?}", engine.file);
    }
}

/// The gateway's own answer does not reach the engine. The second try is answered as a repeat of the first.
#[test]
fn a_lost_answer_of_the_gateway_makes_no_second_order() {
    for engine in &ENGINES {
        let world = world();
        let runtime = world.net.runtime(Ns::Gateway);
        let at = losing_the_first_answer(&runtime, "");
        let run = run(&world, engine, &at.to_string());
        run.assert_placed(&world, engine.file);
        let tries = run.tries();
        assert_eq!(tries.len(), 2, "{}: {run:?}", engine.file);
        assert!(tries[0]["error"].is_string(), "{}: {run:?}", engine.file);
        let second = tries[1];
        assert_eq!((&second["outcome"], &second["repeat"]), (&json!("executed"), &json!(true)), "{run:?}");
    }
}

/// What the broker refuses is not tried again.
/// Whatever stands in between knows of no outcomes: an engine that takes its page for a refusal orders again.
#[test]
fn an_error_that_tells_no_outcome_makes_no_second_order() {
    const PAGE: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    for engine in &ENGINES {
        let world = world();
        let runtime = world.net.runtime(Ns::Gateway);
        let at = losing_the_first_answer(&runtime, PAGE);
        let run = run(&world, engine, &at.to_string());
        run.assert_placed(&world, engine.file);
        let tries = run.tries();
        let (first, second) = (tries[0], tries[1]);
        assert_eq!((&first["status"], &first["outcome"]), (&json!(502), &json!("unknown")), "{}: {run:?}", engine.file);
        assert_eq!((&second["outcome"], &second["repeat"]), (&json!("executed"), &json!(true)), "{run:?}");
    }
}

#[test]
fn a_refused_order_is_not_tried_again() {
    for engine in &ENGINES {
        let world = world();
        let body = json!({ "errorType": "Order_Error", "errorCode": "DH-906", "errorMessage": "no such thing" });
        world.broker.fault(Fault::new(Action::Refuse { status: 400, body }).on("POST", "/v2/orders"));
        let run = run(&world, engine, LOOPBACK);
        assert_eq!(run.code, Some(1), "{}: {run:?}", engine.file);
        let tries = run.tries();
        assert_eq!((tries.len(), &tries[0]["outcome"]), (1, &json!("rejected")), "{}: {run:?}", engine.file);
        assert_eq!(arrived(&world), 1, "{}: {run:?}", engine.file);
        assert!(world.broker.orders(&world.traders[0].client_id).is_empty(), "{}: {run:?}", engine.file);
    }
}

/// A way to the gateway that says `instead` and breaks off when the first answer comes by, and is whole from then on.
fn losing_the_first_answer(runtime: &NsRuntime, instead: &'static str) -> SocketAddr {
    let listener = runtime.run(async { TcpListener::bind("127.0.0.1:0").await.unwrap() });
    let at = listener.local_addr().unwrap();
    runtime.spawn(async move {
        for connection in 0.. {
            let (engine, _) = listener.accept().await.unwrap();
            let (from_engine, mut to_engine) = engine.into_split();
            let (mut from_gateway, to_gateway) = TcpStream::connect(LOOPBACK).await.unwrap().into_split();
            tokio::spawn(pass_on(from_engine, to_gateway, at));
            if connection == 0 {
                // The answer is read here and goes no further: both connections end.
                assert!(from_gateway.read(&mut [0; 1]).await.unwrap() > 0, "no answer");
                to_engine.write_all(instead.as_bytes()).await.unwrap();
            } else {
                tokio::spawn(async move { copy(&mut from_gateway, &mut to_engine).await });
            }
        }
    });
    at
}

/// Requests, with the listener's own address for the one that the engine connected to.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, at: SocketAddr) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]).replace(&at.to_string(), LOOPBACK);
        if to.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
