//! The console in Debian's chromium: made by labels, with keys alone, without scripts, on a phone, in the dark, and with
//! no complaint of the browser or of axe-core.
//!
//! Screenshots of every page stay in `target/tmp/console`, to be looked at.

use serde_json::json;

use super::with_broker::world;
use crate::support::net::{self, Ns};
use crate::support::node;
use crate::support::world::{PIN, TOTP, World};

#[test]
fn a_person_sets_an_account_up_and_no_page_has_a_barrier() {
    let world = world();
    world.broker.add_account(World::broker_account(1));
    let (status, link) = world.gateway.admin().post("/v1/console/links", &json!({}));
    assert_eq!(status, 201, "{link}");
    let token = std::fs::read_to_string(world.gateway.dir().join("state/admin.token")).unwrap();
    let account = json!({
        "name": "alpha-one", "nickname": "Alpha One", "client_id": World::client_id(1).to_string(), "pin": PIN,
        "totp_secret": TOTP, "primary": net::primary(1).to_string(), "secondary": net::secondary(1).to_string(),
    });
    let shots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&shots).unwrap();
    let walk = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/console/browser/walk.mjs");
    let mut browser = world.net.command(Ns::Gateway, "node");
    browser.arg(walk).arg(node::modules()).arg("http://sixgate.localhost:8081");
    browser.args([link["url"].as_str().unwrap(), token.trim()]).arg(&shots).arg(account.to_string());
    let output = browser.output().expect("run node, which .ci/test installs");
    assert!(
        output.status.success(),
        "{}\n{}\nscreenshots: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        shots.display()
    );
}
