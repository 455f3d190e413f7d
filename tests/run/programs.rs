//! `sixgate run` with more programs than Python's and Go's: of each the environment, or the namespace, has to be enough.
//!
//! One gateway for all of them, because each program takes longer than what is tried with it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use super::{BY_ENVIRONMENT, Demo, ISOLATED};
use crate::callers::{assert_orders, assert_steps, assert_tungstenite, need, need_php, tungstenite_updates};
use crate::support::node;

const API: &str = "https://api.dhan.co/v2";

fn demo_with_packages() -> Demo {
    need("node", "nodejs");
    let modules = node::modules();
    let demo = Demo::start(true);
    symlink(modules, demo.folder.path().join("tests/clients/node_modules")).unwrap();
    demo
}

/// axios asks a proxy in two ways; isolated, neither version knows of one.
#[test]
fn axios_trades_by_its_environment_and_isolated() {
    let demo = demo_with_packages();
    for options in [BY_ENVIRONMENT, ISOLATED] {
        for (version, url) in [("axios", API), ("axios-0", API), ("axios-0", "http://api.dhan.co/v2")] {
            assert_orders(&demo.values(options, &["node", "tests/clients/axios_orders.mjs", version, url]), 1);
        }
    }
}

/// `NODE_USE_ENV_PROXY` is set for those that know it.
#[test]
fn node_24_trades_by_its_environment_and_isolated() {
    let node = node::newest().into_os_string().into_string().unwrap();
    let demo = Demo::start(true);
    for options in [BY_ENVIRONMENT, ISOLATED] {
        assert_orders(&demo.values(options, &[&node, "tests/clients/node_env_proxy.mjs"]), 1);
    }
}

/// Its curl takes the authority from the settings that are made for the run.
#[test]
fn php_trades_by_its_environment_and_isolated() {
    need_php();
    let demo = Demo::start(true);
    for options in [BY_ENVIRONMENT, ISOLATED] {
        for url in [API, "http://api.dhan.co/v2"] {
            assert_orders(&demo.values(options, &["php", "tests/clients/php_orders.php", url]), 1);
        }
    }
}

#[test]
fn what_net_sends_is_understood_by_its_environment_and_isolated() {
    let demo = Demo::start(true);
    for options in [BY_ENVIRONMENT, ISOLATED] {
        let lines = demo.values(options, &["python", "tests/clients/dotnet_shaped.py"]);
        assert_eq!(lines.len(), 16, "{lines:#?}");
        for way in lines.chunks(8) {
            assert_orders(&way[..6], 2);
            assert_steps(&way[6..], &["ticker", "closed"]);
        }
    }
}

/// WebSocket libraries: one that asks the environment, and one that knows no proxy and needs the namespace.
#[test]
fn websocket_client_and_tungstenite_get_prices_and_order_updates() {
    let demo = Demo::start(true);
    for options in [BY_ENVIRONMENT, ISOLATED] {
        let lines = demo.values(options, &["python", "tests/clients/websocket_client_updates.py"]);
        assert_steps(&lines, &["ticker", "pong", "place", "alert"]);
        assert_eq!(lines[3]["orderId"], lines[2]["body"]["orderId"]);
    }
    let program: PathBuf = tungstenite_updates();
    let lines: Vec<Value> = demo.values(ISOLATED, &[program.to_str().unwrap()]);
    assert_tungstenite(&lines);
}
