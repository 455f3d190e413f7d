//! Two gateways on one account, of which one was started from a copy of the other's state folder: each finds the other's
//! orders in the broker's book, and says so to whoever looks.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sixgate::domain::{Pair, SourceAddr};
use sixgate::sandbox::{Action, Elsewhere, Fault};

use crate::admin::api::At;
use crate::console::person::Person;
use crate::support::engine::{OrderAnswer, OrderRequest};
use crate::support::net::Ns;
use crate::support::wait_until;
use crate::support::world::{LISTENER, World, config, pins};
use crate::support::{Gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(40);

/// As `cp -r` would, but for sockets.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn text() -> String {
    let text = config(&format!("{}\n[orders]\nresponse_timeout = \"2s\"\nreconcile_for = \"2s\"\n", pins()));
    text.replace("address = \"127.0.0.1:8081\"", "address = \"unix:{dir}/admin.sock\"")
}

/// A second gateway on the host of the first, with what the first had when it was copied.
fn second(world: &World, dir: &Path) -> Gateway {
    Gateway::start(&world.net.place(Ns::Gateway), &text().replace("8080", "8090"), dir)
}

/// An order of account `n`, sent through the listener on this port.
#[track_caller]
fn send(world: &World, port: u16, n: usize, order: &OrderRequest) -> OrderAnswer {
    let (mut listener, trader) = (LISTENER, &world.traders[n - 1]);
    listener.set_port(port);
    let answer = world.net.in_ns(Ns::Caller, || async { order.send(listener, trader).await });
    let answer = answer.expect("an answer");
    assert_eq!(answer.outcome, "executed", "{answer:?}");
    answer
}

fn account(gateway: &Gateway, name: &str) -> Value {
    gateway.admin().get(&format!("/v1/accounts/{name}")).1
}

/// Validate until the gateway says something of orders from elsewhere: the book is seen then.
#[track_caller]
fn told(gateway: &Gateway, name: &str) -> Value {
    wait_for("it says that something else places orders", LIMIT, || {
        let (status, body) = gateway.admin().post(&format!("/v1/accounts/{name}/validate"), &json!({}));
        assert_eq!(status, 200, "{body}");
        Some(account(gateway, name)["elsewhere"].clone()).filter(|found| !found.is_null())
    })
}

fn run(gateway: &Gateway, line: &str) -> (Option<i32>, String) {
    let mut command = gateway.place().command(env!("CARGO_BIN_EXE_sixgate"));
    command.args(line.split_whitespace()).args(["--config", "sixgate.toml"]).current_dir(gateway.dir());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Each of two gateways on one account kills the other's token and may send what the other has sent: whoever started the
/// second one by mistake has to be told before that is noticed by its harm.
#[test]
fn each_of_two_gateways_on_a_copied_state_folder_finds_the_other_s_orders() {
    let mut world = World::up_with(3, &text());
    // Orders from before the copy are in both journals.
    send(&world, 8080, 1, &OrderRequest::place(None, 90.0));
    world.gateway.terminate();
    let other = tempfile::tempdir().unwrap();
    copy(world.dir.path(), other.path());
    world.start_again();
    let second = second(&world, other.path());

    // What a person gives by hand on the web has no id, and alarms nobody.
    world.broker.put_order(&world.traders[0].client_id, &Elsewhere::default()).unwrap();
    send(&world, 8080, 1, &OrderRequest::place(Some("engine-1"), 91.0));
    send(&world, 8080, 1, &OrderRequest::place(None, 92.0));
    let theirs = send(&world, 8090, 1, &OrderRequest::place(None, 93.0));
    let found = told(&world.gateway, "a1");
    assert_eq!((&found["code"], &found["orders"]), (&json!("another_gateway_trades"), &json!(1)), "{found}");
    assert_eq!(found["order_id"], theirs.order_id(), "{found}");
    assert!(found["correlation_id"].as_str().unwrap().starts_with("SG"), "{found}");
    assert!(found["summary"].as_str().unwrap().contains("copy of the state folder"), "{found}");
    // And the other way round: of its two orders one has an id of the gateway's making.
    let found = told(&second, "a1");
    assert_eq!((&found["code"], &found["orders"]), (&json!("another_gateway_trades"), &json!(1)), "{found}");

    assert!(account(&world.gateway, "a1")["problems"].as_array().unwrap().contains(&json!("not_alone")));
    assert_eq!(world.gateway.admin().get("/v1/status").1["accounts"]["not_alone"], 1);
    let listed = world.gateway.admin().get("/v1/accounts?problem=not_alone").1;
    assert_eq!((&listed["items"][0]["name"], &listed["counts"]["not_alone"]), (&json!("a1"), &json!(1)), "{listed}");
    let events = world.gateway.admin().get("/v1/events/recent?account=a1&subject=order").1;
    let event = events["items"].as_array().unwrap().iter().find(|event| event["data"]["code"] == found["code"]);
    assert_eq!(event.expect("an event of it")["data"]["orders_from_elsewhere"], 1, "{events}");
    let (code, status) = run(&world.gateway, "status");
    assert_eq!(code, Some(1), "{status}");
    assert!(
        status.contains("WHAT ELSE LOGS IN OR TRADES FOR IT") && status.contains("find the other gateway"),
        "{status}"
    );
    assert!(run(&world.gateway, "account show a1").1.contains("another gateway places orders"));
    let mut person = Person::at(&At::Unix(world.gateway.dir().join("admin.sock")));
    let token = std::fs::read_to_string(world.gateway.dir().join("state/admin.token")).unwrap();
    person.sign_in(token.trim());
    wait_until("the strip is there", LIMIT, || {
        person.get("/console/help").has("Something else logs in or places orders for an account.")
    });
    let page = person.get("/console?problem=not_alone");
    assert!(page.has("account-a1") && !page.has("account-a2") && page.has("another gateway places orders"), "{page:?}");
    assert!(person.get("/console/accounts/a1").has("data-code=\"another_gateway_trades\""));
}

/// An order of another program may be meant. It is told, and is a trouble only where it leaves from elsewhere.
#[test]
fn another_program_is_told_and_one_that_leaves_from_another_address_is_a_trouble() {
    let world = World::up_with(3, &text());
    let by_api = Elsewhere { correlation_id: "theirs-1".to_owned(), ..Elsewhere::default() };
    world.broker.put_order(&world.traders[1].client_id, &by_api).unwrap();
    send(&world, 8080, 2, &OrderRequest::place(Some("mine-1"), 91.0));
    let found = told(&world.gateway, "a2");
    assert_eq!((&found["code"], &found["orders"]), (&json!("another_program_trades"), &json!(1)), "{found}");
    assert!(!account(&world.gateway, "a2")["problems"].as_array().unwrap().contains(&json!("not_alone")));
    assert_eq!(found["registered"], Value::Null);
    let source = |text| SourceAddr::parse(text).unwrap();
    let elsewhere = Pair { primary: source("2001:db8:ffff::1"), secondary: source("2001:db8:ffff::2") };
    world.broker.register(&world.traders[1].client_id, Some(elsewhere));
    told(&world.gateway, "a2");
    let shown = account(&world.gateway, "a2");
    assert!(shown["problems"].as_array().unwrap().contains(&json!("not_alone")), "{shown}");
    assert_eq!(shown["elsewhere"]["registered"], "2001:db8:ffff::1", "{shown}");
    assert!(shown["elsewhere"]["summary"].as_str().unwrap().contains("2001:db8:ffff::1"), "{shown}");

    // Nobody validates: the book is read because an answer was lost, and an order because a person asked after it.
    let as_a_gateway = Elsewhere { correlation_id: "SGABCDEFGHIJKLMNOPQRST23".to_owned(), ..Elsewhere::default() };
    world.broker.put_order(&world.traders[0].client_id, &as_a_gateway).unwrap();
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
    assert!(send(&world, 8080, 1, &OrderRequest::place(Some("lost-1"), 94.0)).recovered);
    wait_until("the lookup has shown it", LIMIT, || {
        account(&world.gateway, "a1")["elsewhere"]["code"] == "another_gateway_trades"
    });
    let id = world.broker.put_order(&world.traders[2].client_id, &as_a_gateway).unwrap();
    let own = send(&world, 8080, 3, &OrderRequest::place(None, 95.0)).order_id();
    for id in [&own, &id] {
        assert_eq!(world.gateway.admin().get(&format!("/v1/accounts/a3/orders/{id}")).0, 200);
    }
    wait_until("the question has shown it", LIMIT, || {
        account(&world.gateway, "a3")["elsewhere"]["order_id"] == json!(id)
    });
}
