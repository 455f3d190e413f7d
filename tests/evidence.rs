//! `/v1/evidence`, on the real binary: what is exported checks itself, and what was touched afterwards does not pass.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::caller::{Caller, basic, connect, request};
use crate::support::net::Ns;
use crate::support::world::{LISTENER, LOOPBACK, World};

fn order(id: &str) -> String {
    format!(
        r#"{{"correlationId":"{id}","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}}"#
    )
}

const ORDERS: &str = "http://api.dhan.co/v2/orders";

/// Three orders of the first account, with one of the second among them.
fn trade(world: &World) {
    let theirs = basic(&world.traders[1].name, &world.traders[1].key);
    world.net.in_ns(Ns::Gateway, move || async move {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let mut other = Caller::http1(connect(LISTENER).await).await;
        for id in ["x-1", "x-2", "x-3"] {
            let placed = caller.send(request("POST", ORDERS, "api.dhan.co", &[], Some(&order(id)))).await.unwrap();
            assert_eq!(placed.status, 200, "{placed:?}");
            if id == "x-2" {
                let shown = [("proxy-authorization", theirs.as_str())];
                let placed = other.send(request("POST", ORDERS, "api.dhan.co", &shown, Some(&order("y-1")))).await;
                assert_eq!(placed.unwrap().status, 200);
            }
        }
    });
}

/// Fetch an archive and unpack it.
fn unpacked(world: &World, query: &str, name: &str) -> PathBuf {
    let (status, archive) = world.gateway.admin().get(&format!("/v1/evidence?{query}"));
    assert_eq!(status, 200, "{archive}");
    let folder = world.dir.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    let file = folder.with_extension("tar");
    std::fs::write(&file, archive.as_str().unwrap()).unwrap();
    let unpack = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&folder).status().unwrap();
    assert!(unpack.success());
    folder
}

/// What the script in it says, and whether it is content.
fn verify(folder: &Path) -> (bool, String) {
    let script = Command::new("python3").arg(folder.join("verify_journal.py")).output().unwrap();
    let said = [script.stdout, script.stderr].concat();
    (script.status.success(), String::from_utf8(said).unwrap())
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("lines-000001.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An auditor has the archive and Python, and nobody's word.
#[test]
fn an_archive_of_evidence_checks_itself_and_fails_when_a_byte_was_changed() {
    let world = World::up(2, "");
    trade(&world);
    let folder = unpacked(&world, "account=a1", "all");
    let (good, said) = verify(&folder);
    assert!(good && said.starts_with("good: 6 lines of a1"), "{said}");
    let found = lines(&folder);
    assert!(found.iter().all(|line| line["account"] == "a1"), "{found:?}");
    let kinds: Vec<_> = found.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["intent", "outcome", "intent", "outcome", "intent", "outcome"]);
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let status = world.gateway.admin().get("/v1/status").1;
    assert_eq!(
        (&manifest["newest"]["seq"], &manifest["newest"]["hash"]),
        (&status["journal"]["seq"], &status["journal"]["hash"])
    );
    let sums = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&folder).status().unwrap();
    assert!(sums.success());
    for account in &world.traders {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains(&account.token) && !text.contains(&account.key));
        }
    }

    // Each byte of these that is turned into another is found, and so is a file that lacks.
    for name in ["lines-000001.jsonl", "manifest.json", "README.txt"] {
        let file = folder.join(name);
        let good = std::fs::read(&file).unwrap();
        for at in [0, good.len() / 3, good.len() - 2] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            let (passes, said) = verify(&folder);
            assert!(!passes && said.contains(name), "{name} {at}: {said}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(!verify(&folder).0, "without {name}");
        std::fs::write(&file, good).unwrap();
    }
    assert!(verify(&folder).0);
    // Whoever makes the digests anew has still the lines against them.
    let file = folder.join("lines-000001.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replace("x-2", "x-9");
    std::fs::write(&file, text).unwrap();
    let anew = "sha256sum README.txt verify_journal.py lines-000001.jsonl manifest.json > SHA256SUMS";
    assert!(Command::new("sh").args(["-c", anew]).current_dir(&folder).status().unwrap().success());
    let (passes, said) = verify(&folder);
    assert!(!passes && said.contains("line 3 was changed"), "{said}");
}

#[test]
fn a_span_and_an_account_choose_the_lines_and_the_rest_is_refused() {
    let world = World::up(2, "");
    trade(&world);
    let all = lines(&unpacked(&world, "account=a1", "all"));
    let middle = all[2]["at"].as_str().unwrap();
    let late = unpacked(&world, &format!("account=a1&since={middle}"), "late");
    assert_eq!(lines(&late), all[2..]);
    let early = unpacked(&world, &format!("account=a1&until={middle}"), "early");
    assert_eq!(lines(&early), all[..2]);
    let other = unpacked(&world, "account=a2", "other");
    assert_eq!(lines(&other).len(), 2);
    let none = unpacked(&world, "account=nobody", "none");
    for folder in [&late, &early, &other, &none] {
        let (good, said) = verify(folder);
        assert!(good, "{said}");
    }
    let admin = world.gateway.admin();
    for (query, field) in
        [("", "account"), ("?account=a1&since=x", "since"), ("?account=a%20b", "account"), ("?account=a1&to=1", "to")]
    {
        let (status, problem) = admin.get(&format!("/v1/evidence{query}"));
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{query}");
    }
}
