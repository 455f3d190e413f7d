//! The page of an account, its registration, its keys, and who may do what.

use std::process::Command;

use serde_json::{Value, json};

use super::with_broker::{Browser, account, shows, world};
use crate::support::net;
use crate::support::world::{PIN, TOTP, World};

/// An account whose token is given by hand, with its pair and a key of the test's.
fn with_account(world: &mut World, n: u16) {
    let token = world.at_the_broker(n);
    world.add(n, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
}

/// Every form, by whoever may only read: no page shows one, and none is taken.
#[test]
fn a_viewer_sees_no_form_and_is_refused_each() {
    let mut world = world();
    with_account(&mut world, 1);
    let before = account(&world, "a1");
    let mut viewer = Browser::sign_in(&world, "viewer");
    for page in ["", "/progress", "/registration", "/keys"] {
        let page = viewer.get(&format!("/console/accounts/a1{page}")).is(200);
        assert_eq!(page.forms(), Vec::<String>::new(), "{}", page.text());
    }
    for page in ["/console", "/console/validate-all"] {
        assert_eq!(viewer.get(page).is(200).forms(), Vec::<String>::new(), "{page}");
    }
    for page in ["/console/create", "/console/accounts/a1/edit", "/console/accounts/a1/token"] {
        viewer.get(page).is(403).has(&["Your role does not allow this"]);
    }
    let posts = [
        "assign",
        "consent",
        "delete",
        "edit",
        "halt",
        "keys",
        "keys/0011223344/delete",
        "leg",
        "log-in",
        "platform",
        "registration",
        "registration/ask",
        "retire",
        "token",
        "validate",
    ];
    let fields = [
        ("halted", "true"),
        ("pin", "primary"),
        ("platform", "DHAN_V2_IPV6"),
        ("delete-name", "a1"),
        ("retire-name", "a1"),
        ("nonce", "x"),
        ("access_token", "x"),
        ("do", "save"),
    ];
    for post in posts {
        viewer.post(&format!("/console/accounts/a1/{post}"), &fields).is(403);
    }
    for post in ["create", "look/totp", "look/token", "look/addresses", "validate-all", "validate-all/stop"] {
        viewer.post(&format!("/console/{post}"), &[("totp_secret", TOTP)]).is(403);
    }
    let after = account(&world, "a1");
    for member in ["platform", "halted", "pin", "pair", "version", "nickname"] {
        assert_eq!(before[member], after[member], "{member}");
    }
    // An operator halts and pastes tokens, and changes no settings.
    let mut operator = Browser::sign_in(&world, "operator");
    operator.follow("/console/accounts/a1/halt", &[("halted", "true")]).has(&["Halted."]);
    for post in ["edit", "delete", "retire", "keys", "registration", "platform", "assign"] {
        operator.post(&format!("/console/accounts/a1/{post}"), &fields).is(403);
    }
    assert_eq!(account(&world, "a1")["halted"], true);
}

/// Each section says something of the account that is so.
#[test]
fn the_page_of_an_account_has_all_its_sections() {
    let mut world = world();
    with_account(&mut world, 1);
    let mut browser = Browser::sign_in(&world, "admin");
    let page = browser.get("/console/accounts/a1").is(200);
    for section in ["Now", "Addresses", "Login", "Checks", "Keys", "Orders of today", "Limits", "History", "Danger"] {
        assert!(page.html.contains(&format!(">{section}</h2>")), "{section}");
    }
    let own = world.traders[0].pair;
    page.has(&[
        &own.primary.to_string(),
        "Logged in; the token lives until",
        "None today.",
        "In a second",
        "create the account",
        "give it addresses",
    ]);
    // Pinned and let go.
    browser.follow("/console/accounts/a1/leg", &[("pin", "secondary")]).has(&["Only the secondary address is used"]);
    assert_eq!(account(&world, "a1")["pin"], "secondary");
    browser.follow("/console/accounts/a1/leg", &[("pin", "auto")]);
    assert_eq!(account(&world, "a1")["pin"], Value::Null);
    // Validated by a button, and its result stands on the page.
    browser.post("/console/accounts/a1/validate", &[]).is(303);
    shows(&mut browser, "/console/accounts/a1/progress", "This account can trade.");
    browser.get("/console/accounts/a1").is(200).has(&["Ready to trade."]);

    // What cannot be taken back asks for the name.
    browser.follow("/console/accounts/a1/retire", &[("retire-name", "a2")]).has(&["Nothing was done"]);
    browser
        .follow("/console/accounts/a1/retire", &[("retire-name", "a1")])
        .has(&["Nobody else ever gets these addresses"]);
    assert_eq!(account(&world, "a1")["pair"], Value::Null);
    browser.follow("/console/accounts/a1/delete", &[("delete-name", "a1")]).has(&["a1 is deleted"]);
    browser.get("/console/accounts/a1").is(404);
}

/// A person switches the way of login by one click, and back by another.
#[test]
fn the_way_of_login_is_switched_and_switched_back() {
    let mut world = world();
    with_account(&mut world, 1);
    let mut browser = Browser::sign_in(&world, "admin");
    // It lacks a PIN: the form that asks for it, with the other way chosen.
    let page = browser.post("/console/accounts/a1/platform", &[("platform", "DHAN_V2_AT_IPV6")]);
    if page.status == 422 {
        page.has(&["Edit a1"]);
    }
    let form = [
        ("platform", "DHAN_V2_AT_IPV6"),
        ("pin", PIN),
        ("totp_secret", TOTP),
        ("client_id", "1000000001"),
        ("do", "save"),
    ];
    browser.post("/console/accounts/a1/edit", &form).is(303);
    assert_eq!(account(&world, "a1")["platform"], "DHAN_V2_AT_IPV6");
    let page = browser.follow("/console/accounts/a1/platform", &[("platform", "DHAN_V2_IPV6")]);
    assert_eq!(account(&world, "a1")["platform"], "DHAN_V2_IPV6");
    let page = page.has(&["logs in by hand from now on", "Undo"]);
    assert!(page.html.contains("name=\"platform\" value=\"DHAN_V2_AT_IPV6\""), "{}", page.html);
    browser.follow("/console/accounts/a1/platform", &[("platform", "DHAN_V2_AT_IPV6")]);
    assert_eq!(account(&world, "a1")["platform"], "DHAN_V2_AT_IPV6");
    browser.get("/console/accounts/a1").is(200);
}

/// A key is shown once; the same form again, as a reload sends it, makes no second one. Its line works as it is shown.
#[test]
fn a_key_is_shown_once_and_its_line_works_when_it_is_pasted() {
    let mut world = world();
    with_account(&mut world, 1);
    let mut browser = Browser::sign_in(&world, "admin");
    let page = browser.get("/console/accounts/a1/keys").is(200);
    // Programs on this host need none: the listener serves this account alone.
    page.clone().has(&["Programs on this machine need no key"]);
    let nonce = page.value("nonce").unwrap();
    let made = browser.post("/console/accounts/a1/keys", &[("nonce", &nonce), ("label", "engine one")]).is(200);
    let made = made.has(&["It is shown here and never again", "engine one"]);
    let key =
        made.html.split("sgk_").nth(1).unwrap().chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let again = browser.post("/console/accounts/a1/keys", &[("nonce", &nonce), ("label", "engine one")]).is(409);
    assert!(!again.html.contains(&key), "shown twice");
    let keys = world.gateway.admin().get("/v1/accounts/a1/keys").1;
    assert_eq!(keys["items"].as_array().unwrap().len(), 2, "the test's own and this one: {keys}");
    browser.get("/console/accounts/a1/keys").is(200);
    assert!(!browser.pages.last().unwrap().contains(&key));

    // a2's listener asks for a key, which then stands in the lines.
    with_account(&mut world, 2);
    let mut browser = Browser::sign_in(&world, "admin");
    let nonce = browser.get("/console/accounts/a2/keys").is(200).value("nonce").unwrap();
    let made = browser.post("/console/accounts/a2/keys", &[("nonce", &nonce)]).is(200);
    let line =
        made.html.split("<code>").find(|part| part.starts_with("curl -sS")).unwrap().split("</code>").next().unwrap();
    assert!(line.contains("a2:sgk_"), "{line}");
    let mut shell = world.net.command(net::Ns::Gateway, "bash");
    let said = Command::output(shell.args(["-euo", "pipefail", "-c", line])).unwrap();
    assert!(said.status.success(), "{line}: {said:?}");
    let used = world.gateway.admin().get("/v1/accounts/a2/keys").1;
    assert!(used["items"].as_array().unwrap().iter().any(|key| key["last_used_at"].is_string()), "{used}");
    let id = used["items"][0]["id"].as_str().unwrap().to_owned();
    browser.follow(&format!("/console/accounts/a2/keys/{id}/delete"), &[]).has(&["Deleted."]);
}

/// Registering is the step after the login: what Dhan holds is shown, and an address in the way is replaced only by its
/// name, typed.
#[test]
fn addresses_are_registered_and_replaced_only_by_name() {
    let mut world = world();
    with_account(&mut world, 1);
    let id = World::client_id(1);
    let own = world.traders[0].pair;
    world.broker.register(&id, None);
    let mut browser = Browser::sign_in(&world, "admin");
    browser
        .get("/console/accounts/a1/registration")
        .is(200)
        .has(&["not asked yet", "Register these two addresses at Dhan"]);
    let put = browser.post("/console/accounts/a1/registration", &[]).is(200);
    put.has(&["was registered", &own.primary.to_string(), "✔ Registered at Dhan", "Both are registered already."]);

    let old = "2001:db8:dead::1";
    let other: sixgate::domain::Pair =
        serde_json::from_value(json!({ "primary": old, "secondary": own.secondary.to_string() })).unwrap();
    world.broker.register(&id, Some(other));
    let asked = browser.post("/console/accounts/a1/registration/ask", &[]).is(200);
    asked.has(&[old, "allows no change before"]);
    world.broker.unlock_registration(&id);
    let asked = browser.post("/console/accounts/a1/registration/ask", &[]).is(200);
    let asked = asked.has(&["Old primary address, typed, to replace it"]);
    assert!(!asked.html.contains("<button disabled"), "{}", asked.html);
    let left = browser.post("/console/accounts/a1/registration", &[("replace_primary", "2001:db8:dead::2")]).is(200);
    left.has(&["it is replaced only when"]);
    let put = browser.post("/console/accounts/a1/registration", &[("replace_primary", old)]).is(200);
    put.has(&["in the place of", "✔ Registered at Dhan"]);
}
