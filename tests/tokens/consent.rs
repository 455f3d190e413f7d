//! Logging in by the broker's page, with a client that does what a browser does.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sixgate::sandbox::{Account, ConsentVerbs, LoginRules, MintedBy};

use super::{becomes, place, token, unavailable, world};
use crate::support::caller::{Caller, Reply, connect, request, tls};
use crate::support::net::{self, Ns};
use crate::support::world::{PIN, TestAccount, World, automatic};

const ADMIN: &str = "127.0.0.1:8081";
const SECRET: &str = "5e7c1a9b-0000-4000-8000-0000000000d1";

fn api_key(n: u16) -> String {
    format!("0a1b2c3{n}")
}

/// An account that can log in by the broker's page only.
fn with_app(world: &mut World, n: u16) -> TestAccount {
    let account: Account = World::broker_account(n).with_app(&api_key(n), SECRET, &format!("http://{ADMIN}/auth/dhan"));
    world.broker.add_account(account);
    world.add(n, &json!({ "platform": "DHAN_V2_AT_IPV6", "api_key": api_key(n), "api_secret": SECRET }))
}

/// Ask for a link.
fn link(world: &World, name: &str) -> Value {
    world.post(&format!("/v1/accounts/{name}/token/consent"), &json!({}), 200)
}

/// `GET` of the gateway's own pages on its own host, as a browser with this cookie.
fn visit(world: &World, address: &str, cookie: Option<&str>) -> Reply {
    let path = address.strip_prefix(&format!("http://{ADMIN}")).unwrap_or_else(|| panic!("{address}")).to_owned();
    let cookie = cookie.map(str::to_owned);
    world.net.in_ns(Ns::Gateway, || async move {
        let mut browser = Caller::http1(connect(ADMIN.parse::<SocketAddr>().unwrap()).await).await;
        // What a browser sends on a link from another site.
        let mut headers = vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        browser.send(request("GET", &path, ADMIN, &headers, None)).await.unwrap()
    })
}

/// Log in on the broker's page; the address that it leads to.
fn log_in(world: &World, page: &str, n: u16) -> String {
    let (ca, path) =
        (world.dir.path().join("broker-ca.pem"), page.strip_prefix("https://auth.dhan.co").unwrap().to_owned());
    let code = world.broker.totp_now(&World::client_id(n)).unwrap();
    let id = path.split_once("consentAppId=").unwrap().1.to_owned();
    let reply = world.net.in_ns(Ns::Gateway, || async move {
        let to = SocketAddr::from((net::broker(2), 443));
        let stream = tls(connect(to).await, "auth.dhan.co", &ca, &[b"http/1.1"]).await.unwrap();
        let mut browser = Caller::http1(stream).await;
        let form = browser.send(request("GET", &path, "auth.dhan.co", &[], None)).await.unwrap();
        assert!(form.status == 200 && form.body.windows(9).any(|part| part == b"name=\"pin"), "{form:?}");
        let body = format!("consentAppId={id}&phone=9999999999&pin={PIN}&totp={code}");
        let mut ask = request("POST", "/login/consentApp-login", "auth.dhan.co", &[], None);
        *ask.body_mut() = body.into();
        ask.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        browser.send(ask).await.unwrap()
    });
    assert_eq!(reply.status, 302, "{reply:?}");
    reply.header("location").to_owned()
}

/// The cookie that a reply leaves, and the attributes that come with it.
fn cookie(reply: &Reply) -> (String, String) {
    let (cookie, attributes) = reply.header("set-cookie").split_once(';').unwrap();
    (cookie.to_owned(), attributes.to_owned())
}

/// The whole way through, by either verb that the broker may want.
#[test]
fn a_person_logs_in_by_the_brokers_page() {
    let mut world = world();
    for (n, verbs) in [(1, ConsentVerbs::Get), (2, ConsentVerbs::Post)] {
        world.broker.set_login_rules(LoginRules { consent_verbs: verbs, ..world.broker.login_rules() });
        let trader = with_app(&mut world, n);
        let before = becomes(&world, &trader.name, "needs_person");
        assert!(before["last_error"]["action"].as_str().unwrap().contains("link"), "{before}");
        unavailable(&place(&world, &trader, "before"));

        let body = link(&world, &trader.name);
        assert_eq!(body["consents_left"], 24, "{body}");
        let start = visit(&world, body["login_url"].as_str().unwrap(), None);
        assert_eq!((start.status, start.header("location")), (303, body["broker_url"].as_str().unwrap()));
        let (cookie, attributes) = cookie(&start);
        for attribute in ["Path=/auth/dhan", "HttpOnly", "SameSite=Lax"] {
            assert!(attributes.contains(attribute), "{attributes}");
        }
        let back = log_in(&world, start.header("location"), n);
        assert!(back.starts_with(&format!("http://{ADMIN}/auth/dhan/?tokenId=")), "{back}");

        // Somebody who was sent nowhere, and somebody who guesses.
        for other in [None, Some("sixgate-consent=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Some("session=1")] {
            let refused = visit(&world, &back, other);
            assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("consent_not_awaited")), "{other:?}");
        }
        assert!(world.broker.mints(&trader.client_id).is_empty(), "no token was fetched");

        let done = visit(&world, &back, Some(&format!("session=1; {cookie}")));
        assert_eq!(done.status, 200, "{done:?}");
        assert!(String::from_utf8_lossy(&done.body).contains("Logged in."), "{done:?}");
        assert!(done.header("set-cookie").contains("Max-Age=0"), "{done:?}");
        let live = token(&world, &trader.name);
        assert_eq!((&live["state"], &live["source"]), (&json!("live"), &json!("consent")), "{live}");
        assert_eq!(place(&world, &trader, "after").status, 200);
        // A browser that goes back and forward.
        assert_eq!(visit(&world, &back, Some(&cookie)).status, 403);
        assert_eq!(visit(&world, body["login_url"].as_str().unwrap(), None).status, 403);
        let mints = world.broker.mints(&trader.client_id);
        assert_eq!(mints.iter().map(|mint| mint.by).collect::<Vec<_>>(), [MintedBy::Consent], "{verbs:?}");
    }
}

/// The broker's redirect says only the `tokenId`: it must not become another account's token.
#[test]
fn nobody_gets_anothers_token() {
    let mut world = world();
    let (one, two) = (with_app(&mut world, 1), with_app(&mut world, 2));
    let (first, second) = (link(&world, "a1"), link(&world, "a2"));
    let page = visit(&world, first["login_url"].as_str().unwrap(), None).header("location").to_owned();
    let (theirs, _) = cookie(&visit(&world, second["login_url"].as_str().unwrap(), None));
    let back = log_in(&world, &page, 1);
    let shown = visit(&world, &back, Some(&theirs));
    assert!(String::from_utf8_lossy(&shown.body).contains("Not logged in"), "{shown:?}");
    for trader in [&one, &two] {
        assert!(world.broker.mints(&trader.client_id).is_empty());
        assert_eq!(token(&world, &trader.name)["expires_at"], Value::Null);
        unavailable(&place(&world, trader, "nobody"));
    }
}

/// From a browser that cannot reach the gateway the `tokenId` is pasted.
#[test]
fn a_token_id_can_be_pasted_and_only_when_it_is_awaited() {
    let mut world = world();
    let trader = with_app(&mut world, 1);
    let paste = |world: &World, id: &str, status| {
        world.post("/v1/accounts/a1/token/consent", &json!({ "token_id": id }), status)
    };
    let refused = paste(&world, "66666666-7777-4888-9999-000000000000", 409);
    assert_eq!(refused["code"], "consent_not_awaited", "{refused}");

    let body = link(&world, "a1");
    let back = log_in(&world, body["broker_url"].as_str().unwrap(), 1);
    let id = back.split_once("tokenId=").unwrap().1;
    let done = paste(&world, id, 200);
    assert_eq!((&done["token"]["state"], &done["token"]["source"]), (&json!("live"), &json!("consent")), "{done}");
    assert_eq!(paste(&world, id, 409)["code"], "consent_not_awaited");
    assert_eq!(place(&world, &trader, "pasted").status, 200);
    assert_eq!(world.broker.mints(&trader.client_id).len(), 1);
}

/// 25 a day is the broker's limit: what it says is told, and then it is not asked again.
#[test]
fn the_brokers_limit_on_links_is_told() {
    let mut world = world();
    world.broker.set_login_rules(LoginRules { consents_a_day: 1, ..world.broker.login_rules() });
    with_app(&mut world, 1);
    link(&world, "a1");
    let asked = |world: &World| {
        world.broker.seen().iter().filter(|seen| seen.path_and_query.starts_with("/app/generate-consent")).count()
    };
    for _ in 0..2 {
        let refused = world.post("/v1/accounts/a1/token/consent", &json!({}), 409);
        assert_eq!(refused["code"], "consent_denied");
        let why = refused["detail"].as_str().unwrap();
        assert!(why.contains("25") && why.contains("tomorrow"), "{why}");
        assert_eq!(asked(&world), 2);
    }
    // It says nothing against a token by hand.
    let by_hand = world.broker.mint_token(&World::client_id(1));
    let (status, _) = world.gateway.admin().put("/v1/accounts/a1/token", &json!({ "access_token": by_hand }));
    assert_eq!((status, &token(&world, "a1")["state"]), (200, &json!("live")));

    // Without key and secret there is no link to ask for.
    world.broker.add_account(World::broker_account(2));
    let mut fields = automatic();
    fields["access_token"] = json!(world.broker.mint_token(&World::client_id(2)));
    world.add(2, &fields);
    let refused = world.post("/v1/accounts/a2/token/consent", &json!({}), 409);
    assert!(refused["detail"].as_str().unwrap().contains("API key"), "{refused}");
}
