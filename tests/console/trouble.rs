//! Logins that fail: the broker's five errors that people meet, told apart, each with its way on.

use serde_json::json;
use sixgate::sandbox::{Action, Fault, LoginRules};

use super::with_broker::{Browser, account, shows, world};
use crate::support::caller::{Caller, basic, connect, request};
use crate::support::net::Ns;
use crate::support::world::{LISTENER, PIN, TOTP, TestAccount, World, automatic};

pub(super) const SECRET: &str = "5e7c1a9b-0000-4000-8000-0000000000d1";
pub(super) const WRONG_TOTP: &str = "HV6Y2RCE4GJQ7XBA";

/// An order, which finds out that the token is refused.
pub(super) fn order(world: &World, trader: &TestAccount, id: &str) -> u16 {
    let body =
        json!({ "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
        "validity": "DAY", "securityId": "11536", "quantity": 1, "price": 3310.5, "correlationId": id })
        .to_string();
    let auth = basic(&trader.name, &trader.key);
    world.net.in_ns(Ns::Caller, || async move {
        let mut caller = Caller::http1(connect(LISTENER).await).await;
        let ask = request("POST", "/v2/orders", "gateway.example", &[("authorization", &auth)], Some(&body));
        caller.send(ask).await.unwrap().status
    })
}

/// `TOTP isValid: false`: the clock is fine, so the key is wrong; it is typed again, and the account logs in.
#[test]
fn a_refused_code_leads_to_the_key() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    world.add(1, &json!({ "platform": "DHAN_V2_AT_IPV6", "pin": PIN, "totp_secret": WRONG_TOTP }));
    let mut browser = Browser::sign_in(&world, "admin");
    let page = shows(&mut browser, "/console/accounts/a1", "Dhan refused the code.");
    page.has(&[
        "s off: fine.",
        "So the TOTP key is likely wrong",
        "Type the TOTP key again",
        "Paste a token",
        "Dhan's own words",
    ]);
    let form =
        [("platform", "DHAN_V2_AT_IPV6"), ("client_id", "1000000001"), ("totp_secret", TOTP), ("do", "validate")];
    browser.post("/console/accounts/a1/edit", &form).is(303);
    shows(&mut browser, "/console/accounts/a1/progress", "This account can trade.");
}

/// `DH-906 Invalid Token`: something else logged in. By hand there is a new one to paste; by itself there is a clock.
#[test]
fn a_token_that_was_replaced_is_told_with_its_clock_or_the_way_to_another() {
    let mut world = world();
    let token = world.at_the_broker(1);
    let by_hand = world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    world.broker.kill_token(&by_hand.client_id);
    order(&world, &by_hand, "one");
    let mut browser = Browser::sign_in(&world, "admin");
    let page = shows(&mut browser, "/console/accounts/a1", "Another login replaced this token");
    page.has(&["Make a new one at Dhan and paste it here", "Paste a token", "Make it automatic"]);
    let fresh = world.broker.mint_token(&by_hand.client_id);
    browser
        .post("/console/accounts/a1/token", &[("access_token", &token[..40])])
        .is(422)
        .has(&["not a Dhan access token"]);
    browser.follow("/console/accounts/a1/token", &[("access_token", &fresh)]).has(&["The token is in use."]);
    assert_eq!(account(&world, "a1")["token"]["state"], "live");
    assert!(browser.pages.iter().all(|page| !page.contains(&fresh) && !page.contains(&token)));

    world.broker.add_account(World::broker_account(2));
    let by_itself = world.add(2, &automatic());
    shows(&mut Browser::sign_in(&world, "admin"), "/console/accounts/a2", "Logged in; the token lives until");
    world.broker.kill_token(&by_itself.client_id);
    order(&world, &by_itself, "two");
    let mut browser = Browser::sign_in(&world, "admin");
    let page =
        shows(&mut browser, "/console/accounts/a2", "Another login replaced this token. The gateway logs in again");
    page.has(&["allows one login in two minutes. The next try is at", "Paste a token"]);
}

/// `Please regenerate the API token`.
#[test]
fn a_token_to_be_made_again_is_told_with_the_way_to_another() {
    let mut world = world();
    let token = world.at_the_broker(1);
    let by_hand = world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    let body = json!({ "errorType": "Invalid_Authentication", "errorCode": "DH-901", "errorMessage": "Please regenerate the API token" });
    let says = Action::Refuse { status: 401, body };
    world.broker.fault(Fault::new(says.clone()).on("GET", "/v2/profile"));
    world.broker.fault(Fault::new(says).on("POST", "/v2/orders"));
    order(&world, &by_hand, "one");
    let mut browser = Browser::sign_in(&world, "admin");
    browser.post("/console/accounts/a1/validate", &[]).is(303);
    let page = shows(&mut browser, "/console/accounts/a1/progress", "made again");
    page.has(&["✘ Token", "Please regenerate the API token"]);
    let page = shows(&mut browser, "/console/accounts/a1", "Dhan asks for a new token.");
    page.has(&["Make a new one at Dhan and paste it here", "Paste a token", "Make it automatic"]);
}

/// `RS-0060 Too many requests`: a pause with its clock.
#[test]
fn a_login_page_that_wants_a_pause_is_told_with_the_next_try() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let body = json!({ "status": "error", "errorCode": "RS-0060", "message": "RS-0060 Too many requests" });
    world.broker.fault(Fault::new(Action::Refuse { status: 200, body }).on("POST", "/app/generateAccessToken"));
    world.add(1, &automatic());
    let mut browser = Browser::sign_in(&world, "admin");
    let page = shows(&mut browser, "/console/accounts/a1", "Dhan's login page wants a pause");
    page.has(&["the next try is at", "Wait:", "Paste a token"]);
}

/// `CONSENT_LIMIT_EXCEED`: told where the link was asked for.
#[test]
fn used_up_logins_by_the_page_are_told() {
    let mut world = world();
    world.broker.set_login_rules(LoginRules { consents_a_day: 1, ..world.broker.login_rules() });
    let app = World::broker_account(1).with_app("0a1b2c3d", SECRET, "http://127.0.0.1:8081/auth/dhan");
    world.broker.add_account(app);
    world.add(1, &json!({ "platform": "DHAN_V2_AT_IPV6", "api_key": "0a1b2c3d", "api_secret": SECRET }));
    let mut browser = Browser::sign_in(&world, "operator");
    let page = browser.post("/console/accounts/a1/consent", &[]).is(200).has(&["Open Dhan's login page"]);
    let start = page.html.split("href=\"").find(|part| part.contains("/auth/dhan/start")).unwrap();
    assert!(start.starts_with("http://127.0.0.1:8081/auth/dhan/start?state="), "{start}");
    browser.follow("/console/accounts/a1/consent", &[]).has(&["25 consents", "until tomorrow"]);
}
