//! Validate All, and that no secret shows in anything that the console makes.

use std::collections::BTreeSet;

use serde_json::json;

use super::with_broker::{Browser, shows, world};
use crate::support::wait::wait_until;
use crate::support::world::{TOTP, World};

/// Ten thousand accounts end as a table by cause, with one advice each.
#[test]
fn every_account_is_validated_by_a_job_that_nobody_has_to_watch() {
    let mut world = world();
    let token = world.at_the_broker(1);
    world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    for n in 2..12 {
        let account = json!({ "name": format!("b{n:02}"), "client_id": World::client_id(n).as_str(), "platform": "DHAN_V2_IPV6" });
        world.post("/v1/accounts", &account, 201);
    }
    let mut browser = Browser::sign_in(&world, "operator");
    browser.get("/console/validate-all").is(200).has(&["11 accounts."]);
    browser.post("/console/validate-all", &[]).is(303);
    let page = shows(&mut browser, "/console/validate-all", "1 ready");
    page.has(&["10 not", "Addresses", "Auto Assign IP", "b02", "Download all 10 as CSV"]);
    let csv = browser.get("/console/validate-all.csv").is(200).html;
    let rows: BTreeSet<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(rows.len(), 10, "{csv}");
    assert!(
        csv.starts_with("account,check,result,found\r\n") && csv.contains("\"b02\",\"pair\",\"failed\",\"the account"),
        "{csv}"
    );
    let (status, job) = world.gateway.admin().get("/v1/validate/job");
    assert_eq!(
        (status, &job["total"], &job["done"], &job["not_ready"]),
        (200, &json!(11), &json!(11), &json!(10)),
        "{job}"
    );
    assert_eq!(job["causes"][0]["accounts"], 10);
    assert_eq!(job["by"], "operator");
    // What has ended stays as it ended.
    browser.follow("/console/validate-all/stop", &[]).has(&["1 ready", "What was found stays"]);
    assert_eq!(world.gateway.admin().get("/v1/validate/job").1["stopped"], false);
}

/// Secrets go one way: in.
#[test]
fn no_secret_that_is_typed_into_a_form_shows_anywhere() {
    let world = world();
    world.broker.add_account(World::broker_account(1));
    let (pin, key, secret, phone) = ("739154", "q00kzafe9xx", "5e7c1a9b-77aa-4000-8000-0000000000d1", "919812345670");
    let token = world.at_the_broker(1);
    let mut browser = Browser::sign_in(&world, "admin");
    let secrets = [
        ("pin", pin),
        ("totp_secret", TOTP),
        ("api_key", key),
        ("api_secret", secret),
        ("phone", phone),
        ("access_token", &token),
    ];
    let own = [
        ("platform", "DHAN_V2_AT_IPV6"),
        ("name", "alpha"),
        ("client_id", "1000000001"),
        ("addresses", "own"),
        ("do", "save"),
    ];
    for wrong in ["not an id", "1000000001", "1000000001"] {
        let mut form = own.to_vec();
        form[2].1 = wrong;
        browser.post("/console/create", &[&form[..], &secrets].concat());
    }
    for form in ["edit", "token", "consent", "platform", "keys", "log-in"] {
        browser.post(&format!("/console/accounts/alpha/{form}"), &[&own[..], &secrets].concat());
    }
    for look in ["totp", "token", "addresses"] {
        browser.post(&format!("/console/look/{look}"), &secrets);
    }
    for page in ["", "/edit", "/progress", "/keys", "/registration", "/token"] {
        browser.get(&format!("/console/accounts/alpha{page}")).is(200);
    }
    wait_until("the login to be over", super::with_broker::LIMIT, || {
        let state = super::with_broker::account(&world, "alpha")["token"]["state"].clone();
        state != "minting" && state != "refreshing"
    });
    let mut searched = browser.pages.iter().map(|page| page.clone().into_bytes()).collect::<Vec<_>>();
    searched.push(world.gateway.log().into_bytes());
    searched.push(world.gateway.output().into_bytes());
    let mut folders = vec![world.dir.path().join("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if let Ok(bytes) = std::fs::read(&entry) {
                searched.push(bytes);
            }
        }
    }
    for text in &searched {
        for (name, secret) in secrets.iter().filter(|(name, _)| *name != "pin") {
            assert!(
                !text.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{name} in {}",
                String::from_utf8_lossy(text)
            );
        }
    }
    for page in &browser.pages {
        assert!(!page.contains(pin), "the PIN in {page}");
    }
}
