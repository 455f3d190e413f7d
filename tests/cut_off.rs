//! Admin calls whose client goes away in the middle. The change is made whole or not
//! at all, and what callers can do is what the state says.

use std::time::Duration;

use crate::support::caller::{Caller, basic, connect, request};
use crate::support::net::Ns;
use crate::support::wait_until;
use crate::support::world::{LISTENER, World};
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// Send a call and hang up at once, again and again at slightly other moments.
fn cut_off(world: &World, method: &str, path: &str, body: &str, pause: Duration) {
    let token = std::fs::read_to_string(world.dir.path().join("state/admin.token")).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        token.trim(),
        body.len()
    );
    world.net.in_ns(Ns::Gateway, || async move {
        let mut stream = connect("127.0.0.1:8081".parse().unwrap()).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // Not a wait for anything: the moment of the cut is what is varied.
        tokio::time::timeout(pause, std::future::pending::<()>()).await.unwrap_err();
    });
}

/// Two accounts on one address would trade as one another.
#[test]
fn a_pair_whose_assignment_was_cut_off_is_nobody_elses() {
    let world = World::up(0, "");
    let admin = world.gateway.admin();
    for n in 1..=20u32 {
        for account in ["a", "b"] {
            let body = json!({ "name": format!("{account}{n}"), "platform": "DHAN_V2_IPV6", "client_id": format!("{account}{n}").replace('a', "1").replace('b', "2") });
            world.post("/v1/accounts", &body, 201);
        }
        let pair = json!({ "primary": format!("2001:db8:a1::{n:x}:1"), "secondary": format!("2001:db8:a2::{n:x}:1") });
        cut_off(
            &world,
            "POST",
            &format!("/v1/accounts/a{n}/pair"),
            &pair.to_string(),
            Duration::from_micros(u64::from(n) * 150),
        );
        let (status, answer) = admin.post(&format!("/v1/accounts/b{n}/pair"), &pair);
        let holds =
            |account: &str| admin.get(&format!("/v1/accounts/{account}{n}")).1["pair"]["primary"] == pair["primary"];
        if status == 409 {
            wait_until("the first account has it", Duration::from_secs(5), || holds("a"));
            assert!(!holds("b"), "{answer}");
        } else {
            // The call was cut off before it was read.
            assert_eq!(status, 201, "{answer}");
            assert!(!holds("a") && holds("b"), "both accounts have {pair}");
        }
    }
}

/// A key is taken away because somebody has it who should not.
#[test]
fn a_key_whose_deletion_was_cut_off_opens_nothing_once_it_is_gone() {
    let world = World::up(1, "");
    let admin = world.gateway.admin();
    let callers = world.net.runtime(Ns::Caller);
    for n in 0..20u64 {
        let made = world.post("/v1/accounts/a1/keys", &json!({}), 201);
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap().to_owned());
        cut_off(&world, "DELETE", &format!("/v1/accounts/a1/keys/{id}"), "", Duration::from_micros(n * 100));
        // Whoever sees it gone, or deletes it again, may rely on it.
        assert!(matches!(admin.delete(&format!("/v1/accounts/a1/keys/{id}")).0, 204 | 404));
        let status = callers.run(async move {
            let auth = basic("a1", &key);
            let mut caller = Caller::http1(connect(LISTENER).await).await;
            let headers = [("proxy-authorization", auth.as_str())];
            caller
                .send(request("GET", "http://api.dhan.co/v2/profile", "api.dhan.co", &headers, None))
                .await
                .unwrap()
                .status
        });
        assert_eq!(status, 407, "round {n}");
    }
}
