//! The console in Debian's chromium: made by labels, with keys alone, without scripts, on a phone, in the dark, and with
//! no complaint of the browser or of axe-core.
//!
//! Screenshots of every page stay in `target/tmp/console`, to be looked at.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault, LoginRules};

use super::trouble::{SECRET, WRONG_TOTP, order};
use super::with_broker::{self, account};
use crate::support::net::{self, Ns};
use crate::support::node;
use crate::support::wait::wait_until;
use crate::support::world::{PIN, TOTP, World, automatic};

const CONSOLE: &str = "http://sixgate.localhost:8081";

/// Where the browser's programs can be fetched from there still.
fn world() -> World {
    node::modules();
    with_broker::world()
}

fn shots() -> PathBuf {
    let shots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&shots).unwrap();
    shots
}

fn admin_token(world: &World) -> String {
    std::fs::read_to_string(world.gateway.dir().join("state/admin.token")).unwrap().trim().to_owned()
}

/// Walk through the console with a script of `browser/`; what it printed.
#[track_caller]
fn walk(world: &World, script: &str, args: &[&str]) -> String {
    let script = format!("{}/tests/console/browser/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut browser = world.net.command(Ns::Gateway, "node");
    browser.arg(script).arg(node::modules()).arg(CONSOLE).args(args);
    let output = browser.output().expect("run node, which .ci/test installs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}\nscreenshots: {}", shots().display());
    said
}

#[test]
fn a_person_sets_an_account_up_and_no_page_has_a_barrier() {
    let world = world();
    world.broker.add_account(World::broker_account(1));
    let (status, link) = world.gateway.admin().post("/v1/console/links", &json!({}));
    assert_eq!(status, 201, "{link}");
    let account = json!({
        "name": "alpha-one", "nickname": "Alpha One", "client_id": World::client_id(1).to_string(), "pin": PIN,
        "totp_secret": TOTP, "primary": net::primary(1).to_string(), "secondary": net::secondary(1).to_string(),
    });
    let (url, token, shots, account) =
        (link["url"].as_str().unwrap(), admin_token(&world), shots(), account.to_string());
    walk(&world, "walk.mjs", &[url, &token, shots.to_str().unwrap(), &account]);
}

/// As an account's login stands, by the word of its last error.
fn fails_with(world: &World, name: &str, codes: &[&str]) {
    wait_until("the login to fail", Duration::from_secs(60), || {
        account(world, name)["token"]["last_error"]["code"].as_str().is_some_and(|code| codes.contains(&code))
    });
}

/// Each of the five caused at the broker, one account each. `trouble.rs` says which is which, and goes on from there.
fn five_errors(world: &mut World) -> Value {
    let refuse = |status, body| Action::Refuse { status, body };
    world.broker.add_account(World::broker_account(1));
    world.add(1, &json!({ "platform": "DHAN_V2_AT_IPV6", "pin": PIN, "totp_secret": WRONG_TOTP }));
    fails_with(world, "a1", &["totp_not_valid", "totp_refused"]);

    let token = world.at_the_broker(2);
    let replaced = world.add(2, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    world.broker.kill_token(&replaced.client_id);
    order(world, &replaced, "one");
    fails_with(world, "a2", &["token_superseded", "token_dead"]);

    let token = world.at_the_broker(3);
    let again = world.add(3, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    let body = json!({ "errorType": "Invalid_Authentication", "errorCode": "DH-901", "errorMessage": "Please regenerate the API token" });
    let says = refuse(401, body);
    world.broker.fault(Fault::new(says.clone()).on("GET", "/v2/profile").of(&again.client_id));
    world.broker.fault(Fault::new(says).on("POST", "/v2/orders").of(&again.client_id));
    order(world, &again, "one");
    fails_with(world, "a3", &["token_must_be_regenerated"]);
    world.broker.clear_faults();

    world.broker.add_account(World::broker_account(4));
    let body = json!({ "status": "error", "errorCode": "RS-0060", "message": "RS-0060 Too many requests" });
    world.broker.fault(Fault::new(refuse(200, body)).on("POST", "/app/generateAccessToken"));
    world.add(4, &automatic());
    fails_with(world, "a4", &["login_step_busy"]);
    world.broker.clear_faults();

    world.broker.set_login_rules(LoginRules { consents_a_day: 1, ..world.broker.login_rules() });
    world.broker.add_account(World::broker_account(5).with_app("0a1b2c3d", SECRET, "http://127.0.0.1:8081/auth/dhan"));
    world.add(5, &json!({ "platform": "DHAN_V2_AT_IPV6", "api_key": "0a1b2c3d", "api_secret": SECRET }));

    let token_of = |n: u16| world.broker.mint_token(&World::client_id(n));
    let paste = |name: &str, n: u16, says: &str| {
        json!({ "name": name, "says": says, "way": "Paste a token", "field": "Access token", "value": token_of(n),
            "button": "Use this token", "then": "The token is in use." })
    };
    let mut busy = paste("a4", 4, "Dhan's login page wants a pause");
    busy["wait"] = true.into();
    let mut used_up = paste("a5", 5, "25 consents");
    used_up["consents"] = true.into();
    json!([
        { "name": "a1", "says": "Dhan refused the code.", "way": "Type the TOTP key again", "field": "TOTP key", "value": TOTP,
          "button": "Validate and Save", "then": "Saved." },
        paste("a2", 2, "Another login replaced this token"),
        paste("a3", 3, "Dhan asks for a new token."),
        busy,
        used_up,
    ])
}

#[test]
fn each_of_the_five_login_errors_is_told_and_its_first_way_on_is_a_button_that_works() {
    let mut world = world();
    let accounts = five_errors(&mut world);
    walk(&world, "trouble.mjs", &[&admin_token(&world), shots().to_str().unwrap(), &accounts.to_string()]);
    for name in ["a2", "a3", "a4", "a5"] {
        assert_eq!(account(&world, name)["token"]["state"], "live", "{name}");
    }
    // The key that was typed is the one that logs in, as soon as Dhan allows another try.
    wait_until("the first account to log in", super::with_broker::LIMIT, || {
        account(&world, "a1")["token"]["state"] == "live"
    });
}

/// Somebody halts, lets trade again, makes a key, and pastes the line beside it.
#[test]
fn halting_is_one_click_and_a_new_key_s_line_works_in_a_shell() {
    let mut world = world();
    let token = world.at_the_broker(3);
    let trader = world.add(3, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    walk(&world, "halts.mjs", &[&admin_token(&world), shots().to_str().unwrap(), &trader.name]);
    assert_eq!(account(&world, &trader.name)["halted"], false);
}

/// Accounts, and those of them that nobody logged in.
const ACCOUNTS: u16 = 1000;
const FAILING: u16 = 200;

/// `f0001` and so on fail; `g0201` and so on can trade.
fn thousand(world: &World) {
    let tokens: Vec<String> = (FAILING + 1..=ACCOUNTS).map(|n| world.at_the_broker(n)).collect();
    let accounts: Vec<(u16, Option<&String>)> =
        (1..=FAILING).map(|n| (n, None)).chain((FAILING + 1..=ACCOUNTS).zip(tokens.iter().map(Some))).collect();
    thread::scope(|scope| {
        for part in accounts.chunks(accounts.len().div_ceil(8)) {
            let admin = world.gateway.admin();
            scope.spawn(move || {
                for (n, token) in part {
                    let name = format!("{}{n:04}", if token.is_some() { 'g' } else { 'f' });
                    let mut account =
                        json!({ "name": name, "platform": "DHAN_V2_IPV6", "client_id": World::client_id(*n).as_str() });
                    if let Some(token) = token {
                        account["access_token"] = token.as_str().into();
                    }
                    let pair =
                        json!({ "primary": net::primary(*n).to_string(), "secondary": net::secondary(*n).to_string() });
                    let made = [("/v1/accounts".to_owned(), account), (format!("/v1/accounts/{name}/pair"), pair)];
                    for (path, body) in made {
                        let (status, answer) = admin.post(&path, &body);
                        assert_eq!(status, 201, "{path}: {answer}");
                    }
                }
            });
        }
    });
}

/// A job over a thousand accounts is watched from two tabs, and what it found is only what fails.
#[test]
fn validate_all_over_a_thousand_accounts_is_watched_and_ends() {
    let world = world();
    thousand(&world);
    let counts = [ACCOUNTS.to_string(), FAILING.to_string()];
    let said =
        walk(&world, "validate_all.mjs", &[&admin_token(&world), shots().to_str().unwrap(), &counts[0], &counts[1]]);
    println!("{said}");
}
