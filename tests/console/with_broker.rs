//! A gateway whose broker answers, for pages that do something there.

use std::time::Duration;

use serde_json::Value;

pub(super) use super::visitor::Browser;
use super::visitor::Page;
use crate::support::wait::poll;
use crate::support::world::{World, config, pins};

/// For what takes milliseconds, or until the gateway tries a refused login again: 130 s after the try before (Dhan allows
/// one in two minutes).
pub(super) const LIMIT: Duration = Duration::from_secs(170);

/// A gateway with three roles and no account, and a broker that leaves the time between logins to it.
pub(super) fn world() -> World {
    let config = config(&pins()).replace("connect_timeout = \"1s\"", "connect_timeout = \"30s\"").replace(
        "address = \"127.0.0.1:8081\"",
        "address = \"127.0.0.1:8081\"\noperator_token_file = \"{dir}/state/operator.token\"\n\
         viewer_token_file = \"{dir}/state/viewer.token\"",
    );
    let world = World::up_with(0, &config);
    world.broker.set_cooldown(Duration::ZERO);
    world
}

/// An account as the API shows it.
pub(super) fn account(world: &World, name: &str) -> Value {
    let (status, body) = world.gateway.admin().get(&format!("/v1/accounts/{name}"));
    assert_eq!(status, 200, "{body}");
    body
}

/// Look at a page again until it has this text.
#[track_caller]
pub(super) fn shows(browser: &mut Browser<'_>, path: &str, text: &str) -> Page {
    let mut last = None;
    let found = poll(LIMIT, || {
        let page = browser.get(path);
        let has = page.text().contains(text);
        last = Some(page);
        has.then_some(())
    });
    let page = last.unwrap();
    assert!(found.is_some(), "{path} does not show {text:?} but\n{}", page.text());
    page
}
