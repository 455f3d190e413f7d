//! The page for callers, `docs/callers.md`: its blocks are run as they stand, with real clients, against `serve --sandbox`.
//!
//! A block is a file of `tests/clients/`. `NAME.sh` is run by bash with nothing in its environment but PATH and HOME,
//! so what it sets is all that the client needs. Only the proxy's address, and the account and client key where it
//! names them, are exchanged for this test's. What the page shows is compared with those files.
//!
//! Not here: what the gateway does with a request once it has it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::node;
use crate::support::python::client;

mod page;

use page::{CLIENT_ID, LISTENER, WITH_KEY, assert_life, assert_places_orders_with_and_without_key};
pub(crate) use page::{
    Page, assert_orders, assert_steps, assert_tungstenite, need, need_php, tungstenite_updates, values, words,
};

#[test]
fn curl_trades_with_what_the_page_says() {
    need("curl", "curl");
    for page in [Page::open(), Page::with_key()] {
        let answers = page.run("curl.sh");
        assert_eq!(answers.len(), 3, "{answers:#?}");
        assert_life(&answers[0], &answers[1], &answers[2]);
    }
}

/// The page warns of it: many a reader sets HTTP_PROXY and wonders.
#[test]
fn curl_reads_http_proxy_in_lower_case_only() {
    need("curl", "curl");
    let page = Page::open();
    let ask = |variable: &str| {
        page.bash(&page.ours(&format!("{variable}={LISTENER} curl -sS --max-time 20 http://sixgate.invalid/")))
    };

    let (lower, upper) = (ask("http_proxy"), ask("HTTP_PROXY"));

    assert!(words(&lower).contains("destination_denied"), "{}", words(&lower));
    assert_eq!(upper.status.code(), Some(6), "it did not look the name up itself: {}", words(&upper));
}

/// For programs whose only setting is the API's base URL.
#[test]
fn the_listener_can_stand_in_for_the_api() {
    need("curl", "curl");
    for page in [Page::open(), Page::with_key()] {
        let answers = page.run("base_url.sh");
        assert!(answers[0].is_array(), "{answers:#?}");
        assert_orders(&answers[1..], 2);
    }
}

/// For WebSocket libraries that know no proxy, or are told of none.
#[test]
fn the_listener_can_stand_in_for_the_hosts_of_streams() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.with_programs(tungstenite_updates().parent().unwrap()).run("base_url_streams.sh");

        assert_steps(&lines, &["ticker", "pong", "place", "alert", "ticker", "pong", "place", "alert"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        assert_eq!(lines[3]["orderId"], lines[2]["body"]["orderId"]);
        assert_tungstenite(&lines[4..]);
    }
}

/// Whoever sets both is told which of them goes.
#[test]
fn a_base_url_that_is_asked_of_the_proxy_is_refused_with_what_to_change() {
    need("curl", "curl");
    let page = Page::open();
    let both = format!("http_proxy={LISTENER} curl -sS --max-time 20 {LISTENER}/v2/orders");

    let (with, without) = (page.bash(&page.ours(&both)), page.bash(&page.ours(&format!("NO_PROXY=127.0.0.1 {both}"))));

    assert!(words(&with).contains("destination_denied"), "{}", words(&with));
    assert!(words(&with).contains("NO_PROXY=localhost,127.0.0.1"), "{}", words(&with));
    assert!(values(&without)[0].is_array(), "{}", words(&without));
}

#[test]
fn a_client_key_stands_in_the_proxys_url() {
    assert_orders(&Page::with_key().run("client_key.sh"), 1);
}

/// Without this a caller of an open listener would be let in by any key, and the tests above would prove nothing.
#[test]
fn a_wrong_client_key_is_refused() {
    let page = Page::with_key();
    let wrong = page.ours(&fs::read_to_string(client("client_key.sh")).unwrap()).replace(&page.key, "sgk_wrong");

    let output = page.bash(&wrong);

    assert!(!output.status.success() && words(&output).contains("407"), "{}", words(&output));
}

#[test]
fn the_ca_may_stand_in_a_bundle_with_the_public_roots() {
    assert!(Path::new("/etc/ssl/certs/ca-certificates.crt").exists(), "missing: apt-get install ca-certificates");
    assert_orders(&Page::open().run("bundle.sh"), 1);
}

#[test]
fn requests_trades_with_what_the_page_says() {
    assert_places_orders_with_and_without_key("requests.sh", 2);
}

#[test]
fn httpx_trades_with_what_the_page_says() {
    assert_places_orders_with_and_without_key("httpx.sh", 2);
}

#[test]
fn aiohttp_trades_with_what_the_page_says() {
    assert_places_orders_with_and_without_key("aiohttp.sh", 2);
}

/// The page says so of both; nobody should look for the fault at the gateway.
#[test]
fn aiohttp_and_httpx_read_no_variables_without_trust_env() {
    let page = Page::open();
    let base = "http://sixgate.invalid/v2";
    for (file, with, without) in [
        ("aiohttp_orders.py", "ClientSession(trust_env=True)", "ClientSession()"),
        ("httpx_orders.py", "httpx.Client()", "httpx.Client(trust_env=False)"),
    ] {
        let text = fs::read_to_string(client(file)).unwrap();
        let changed = text.replace(with, without);
        assert_ne!(changed, text, "{file} has no {with}");
        fs::write(page.folder.path().join("changed.py"), changed).unwrap();
        let run = |script: &str| page.bash(&page.ours(&format!("HTTP_PROXY={LISTENER} python {script} {base}")));

        let (kept, changed) = (run(&format!("tests/clients/{file}")), run("changed.py"));

        assert!(words(&kept).contains("destination_denied"), "{file}: {}", words(&kept));
        assert!(!changed.status.success(), "{file}: {}", words(&changed));
        assert!(!words(&changed).contains("destination_denied"), "{file}: {}", words(&changed));
    }
}

#[test]
fn websockets_gets_prices_and_order_updates_with_what_the_page_says() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("websockets.sh");

        assert_steps(&lines, &["ticker", "place", "alert", "cancel", "alert"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        let order = &lines[1]["body"]["orderId"];
        assert!(order.is_string(), "{}", lines[1]);
        assert_eq!((&lines[2]["orderId"], &lines[4]["orderId"]), (order, order));
    }
}

#[test]
fn websocket_client_gets_prices_and_order_updates_with_what_the_page_says() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("websocket_client.sh");

        assert_steps(&lines, &["ticker", "pong", "place", "alert"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        assert_eq!((&lines[1]["opcode"], &lines[1]["payload"]), (&10.into(), &"read?".into()));
        assert_eq!(lines[3]["orderId"], lines[2]["body"]["orderId"]);
    }
}

#[test]
fn nodes_ws_gets_prices_with_what_the_page_says() {
    need("node", "nodejs");
    node::modules();
    for page in [Page::open(), Page::with_key()] {
        let lines = page.with_node_modules().run("node_ws.sh");

        assert_steps(&lines, &["ticker", "closed"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        assert_eq!(lines[1]["code"], 1000, "the built-in broker's answer to a Close");
    }
}

#[test]
fn the_brokers_sdk_works_unmodified_with_what_the_page_says() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("sdk.sh");

        let orders = ["place", "read", "read by correlation id", "modify", "read again", "cancel", "list"];
        let streams = ["feed", "depth", "alert"];
        assert_steps(&lines, &[orders.as_slice(), &streams].concat());
        for line in &lines[..orders.len()] {
            assert_eq!(line["status"], "success", "{line}");
        }
        assert_eq!(lines[2]["data"]["correlationId"], "sdk-1", "{}", lines[2]);
        let [feed, depth, alert] = [7, 8, 9].map(|at| &lines[at]["data"]);
        assert_eq!((&feed["type"], &feed["security_id"]), (&"Ticker Data".into(), &11536.into()), "{feed}");
        assert_eq!(depth["levels"], 20, "{depth}");
        assert_eq!(alert["orderNo"], alert["placed"], "{alert}");
    }
}

/// Two accounts on one machine: the SDK's client id has to be the one of the listener that it goes through.
#[test]
fn the_sdk_is_told_when_its_client_id_is_another_accounts() {
    let page = Page::open();
    let text = fs::read_to_string(client("sdk.sh")).unwrap().replace(CLIENT_ID, "1000000009");

    let output = page.bash(&page.ours(&text));

    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(values(&output)[0].to_string().contains("client_id_mismatch"), "{}", words(&output));
}

#[test]
fn node_trades_with_what_the_page_says() {
    need("node", "nodejs");
    node::modules();
    for page in [Page::open(), Page::with_key()] {
        assert_orders(&page.with_node_modules().run("node.sh"), 1);
    }
}

/// It marks its requests with `Sec-Fetch-Mode` alone, and a browser's `fetch` never does.
#[test]
fn nodes_own_fetch_is_no_browser() {
    need("node", "nodejs");
    node::modules();
    let lines = Page::with_key().with_node_modules().run("node_fetch.sh");
    assert_eq!((lines.len(), &lines[0]["status"]), (1, &200.into()), "{lines:#?}");

    let page = Page::open().with_node_modules();
    let without = fs::read_to_string(client("node_fetch.sh")).unwrap().replace(WITH_KEY, LISTENER);
    let output = page.bash(&page.ours(&without));

    assert_eq!(values(&output)[0]["status"], 200, "{}", words(&output));
}

/// Of 1.x and 0.27: the old one asks a proxy for `https://` targets in absolute form, the new one by a tunnel.
#[test]
fn axios_trades_with_what_the_page_says() {
    need("node", "nodejs");
    node::modules();
    for page in [Page::open(), Page::with_key()] {
        let page = page.with_node_modules();
        assert_orders(&page.run("axios.sh"), 4);
        assert_orders(&page.run("axios_base_url.sh"), 2);
    }
}

/// What no package has to be added for.
#[test]
fn node_24_trades_with_what_the_page_says() {
    let node = node::newest();
    for page in [Page::open(), Page::with_key()] {
        assert_orders(&page.with_programs(node.parent().unwrap()).run("node_env_proxy.sh"), 1);
    }
}

#[test]
fn php_trades_with_what_the_page_says() {
    need_php();
    assert_places_orders_with_and_without_key("php.sh", 3);
}

/// Bytes as .NET sends them: its own order of fields, bodies that wait or have no length, credentials after a 407.
#[test]
fn what_net_sends_is_understood() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("dotnet_shaped.sh");
        let steps = ["place", "read", "cancel", "place", "read", "cancel", "ticker", "closed"];
        assert_steps(&lines, &steps.repeat(3));
        for way in lines.chunks(8) {
            assert_orders(&way[..6], 2);
            assert_eq!((&way[6]["code"], &way[6]["securityId"]), (&2.into(), &11536.into()), "{}", way[6]);
            assert_eq!(way[7]["code"], 1000, "the built-in broker's answer to a Close");
        }
    }
}

#[test]
fn go_trades_with_what_the_page_says() {
    need("go", "golang-go");
    assert_places_orders_with_and_without_key("go.sh", 2);
}

#[test]
fn java_trades_with_what_the_page_says() {
    need("java", "default-jdk-headless");
    need("keytool", "default-jdk-headless");
    assert_orders(&Page::open().run("java.sh"), 2);
}

/// The JDK withholds Basic from tunnels: without the property there is a 407 and no word why.
#[test]
fn java_shows_a_client_key_once_it_may() {
    need("java", "default-jdk-headless");
    let page = Page::with_key();
    assert_orders(&page.run("java_key.sh"), 1);

    let text = page.ours(&fs::read_to_string(client("java_key.sh")).unwrap());
    let withheld = text.replace(" -Djdk.http.auth.tunneling.disabledSchemes=", "").replace("sixgate.p12", "again.p12");
    assert_ne!(withheld, text);
    let output = page.bash(&withheld);

    assert!(!output.status.success(), "{}", words(&output));
    assert_eq!(values(&output)[0]["status"], 407);
}

/// What the page shows and what is tried here must not drift apart: a block behind `<!-- tests/clients/FILE -->` is
/// that file (`.sh`) or some lines of it in a row (a program), and no block of the page goes without.
#[test]
fn the_page_shows_what_these_tests_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/callers.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|err| panic!("{}: {err}", page.display()));
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines.iter().any(|line| line.starts_with("<!-- tests/clients/")),
        "docs/callers.md has no marker <!-- tests/clients/FILE -->: nothing can be compared"
    );

    let mut shown = BTreeSet::new();
    let mut at = 0;
    while let Some(begin) = lines[at..].iter().position(|line| line.starts_with("```")).map(|found| at + found) {
        let marker = begin.checked_sub(1).and_then(|before| lines.get(before)).copied().unwrap_or_default();
        let file = marker.strip_prefix("<!-- tests/clients/").and_then(|rest| rest.strip_suffix(" -->"));
        let file =
            file.unwrap_or_else(|| panic!("the block after {marker:?} has no marker <!-- tests/clients/FILE -->"));
        let length = lines[begin + 1..].iter().position(|line| *line == "```").expect("the block's end");
        let block = &lines[begin + 1..begin + 1 + length];
        let source = fs::read_to_string(client(file)).unwrap_or_else(|err| panic!("tests/clients/{file}: {err}"));
        let source: Vec<_> = source.lines().collect();
        if file.ends_with(".sh") {
            assert_eq!(block, source, "docs/callers.md does not show what tests/clients/{file} is");
        } else {
            let there = !block.is_empty() && source.windows(block.len()).any(|window| window == block);
            assert!(there, "docs/callers.md shows what is not in tests/clients/{file}:\n{}", block.join("\n"));
        }
        shown.insert(file.to_owned());
        at = begin + 2 + length;
    }

    for file in fs::read_dir(client("")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".sh") || shown.contains(&name), "docs/callers.md does not show tests/clients/{name}");
    }
}
