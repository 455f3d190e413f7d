//! A strict server in the broker's place: what reaches it, and what comes back, is as RFC 6455 and RFC 7692 have it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::support::Ns;
use crate::support::net;
use crate::support::process::Process;
use crate::support::python::{client, python};
use crate::support::wait::wait_until;
use crate::support::world::{self, Host, World};

const PORT: u16 = 8443;
const FEED_HOST: &str = "api-feed.dhan.co";

/// The authority to trust, and the server's certificate and key, in files of `dir`.
fn certificate(dir: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![FEED_HOST.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(dir.join("strict-ca.pem"), authority.pem()).unwrap();
    fs::write(dir.join("strict.pem"), leaf.pem()).unwrap();
    fs::write(dir.join("strict.key"), key.serialize_pem()).unwrap();
}

/// As ever, but for the feed, which is the strict server's.
fn config() -> String {
    let pins = world::pins();
    let pin = pins.lines().find(|line| line.starts_with(&format!("\"{FEED_HOST}\""))).unwrap();
    let strict = format!("\"{FEED_HOST}\" = [\"[{}]:{PORT}\"]", net::broker(1));
    let roots = "\"{dir}/broker-ca.pem\", \"{dir}/strict-ca.pem\"";
    world::config(&pins.replace(pin, &strict)).replace("\"{dir}/broker-ca.pem\"", roots)
}

#[test]
fn a_strict_server_and_its_client_hear_each_other_with_and_without_compression() {
    let python = python();
    let world = World::up_on(1, &config(), |dir| {
        certificate(dir);
        Host::default()
    });
    let dir = world.gateway.dir().to_owned();
    let mut command = world.net.command(Ns::Broker, &python);
    let (address, port) = (net::broker(1).to_string(), PORT.to_string());
    command.arg(client("strict_broker.py")).args([&address, &port]).args(["strict.pem", "strict.key"]);
    let broker = Process::start(command, &dir, "strict-broker");
    let said = || fs::read_to_string(dir.join("strict-broker.stdout")).unwrap();
    wait_until("the strict server", Duration::from_secs(20), || said().contains("listening"));

    let mut command = world.net.command(Ns::Gateway, &python);
    command.arg(client("deflate_echo.py")).env("HTTPS_PROXY", "http://127.0.0.1:8080").env("SSL_CERT_FILE", world.ca());
    let output = command.output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = || format!("{found}{}{}", String::from_utf8_lossy(&output.stderr), broker.log());
    assert!(output.status.success(), "{}", words());
    let lines: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let want = |compression| json!({"compression": compression, "whole": vec![true; 8], "told": {"code": 4001, "reason": "enough"}});
    assert_eq!(lines, [want(true), want(false)], "{}", words());

    wait_until("both ends at the server", Duration::from_secs(20), || said().lines().count() == 3);
    let own = json!({"code": 4001, "reason": "", "peer": world.traders[0].pair.primary.to_string()});
    for line in said().lines().skip(1) {
        let mut end: Value = serde_json::from_str(line).unwrap();
        // What the client says in its answer is its library's own matter.
        end["reason"] = "".into();
        assert_eq!(end, own);
    }
}
