//! No secret shows: everything is done with known ones, also wrongly, and then all that
//! came out of it is searched for them in every spelling.

mod console;
mod memory;
mod needles;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::support::caller::{Caller, Reply, basic, connect, request};
use crate::support::net::Ns;
use crate::support::wait::{poll, wait_for, wait_until};
use crate::support::world::{LISTENER, TestAccount, World, config, pins};
use serde_json::{Value, json};
use sixgate::sandbox::{Account, Action, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use needles::Needles;

const LIMIT: Duration = Duration::from_secs(60);
const ADMIN: &str = "127.0.0.1:8081";
/// With a nought in front, so that it is no number's text.
const PIN: &str = "039154";
const WRONG_PIN: &str = "060273";
const TOTP: &str = "QZ7M2KX4WN5TLP3D";
const WRONG_TOTP: &str = "HV6Y2RCE4GJQ7XBA";
const PHONE: &str = "919812345670";
const API_KEY: &str = "q00kzafe9";
const API_SECRET: &str = "5e7c1a9b-77aa-4000-8000-0000000000d1";
const WRONG_SECRET: &str = "5e7c1a9b-88bb-4000-8000-0000000000d2";

/// One life of a gateway, and all that was seen of it.
struct Story {
    world: World,
    /// Replies to callers and to the admin API: where from, status, and everything in them.
    replies: Vec<(String, Vec<u8>)>,
    needles: Needles,
    tokens: Vec<String>,
}

fn up(log: &str) -> Story {
    let more = format!(
        "[orders]\nresponse_timeout = \"10s\"\nreconcile_for = \"1s\"\n[log]\nlevel = \"trace\"\n{log}\n{}",
        pins()
    );
    let config = config(&more).replace("connect_timeout = \"1s\"", "connect_timeout = \"30s\"").replace(
        "address = \"127.0.0.1:8081\"",
        "address = \"127.0.0.1:8081\"\nviewer_token_file = \"{dir}/state/viewer.token\"",
    );
    let world = World::up_with(0, &config);
    world.broker.set_cooldown(Duration::ZERO);
    let mut needles = Needles::default();
    for (name, secret) in [
        ("the TOTP secret", TOTP),
        ("a wrong TOTP secret", WRONG_TOTP),
        ("the phone number", PHONE),
        ("the API key", API_KEY),
        ("the API secret", API_SECRET),
        ("a wrong API secret", WRONG_SECRET),
    ] {
        needles.add(name, secret);
    }
    needles.add_digits("the PIN", PIN);
    needles.add_digits("a wrong PIN", WRONG_PIN);
    // What the TOTP secret decodes to is the secret too.
    for secret in [TOTP, WRONG_TOTP] {
        needles.add_bytes("a TOTP secret's bytes", &data_encoding::BASE32.decode(secret.as_bytes()).unwrap());
    }
    for file in ["admin.token", "viewer.token", "master.key"] {
        let text = std::fs::read_to_string(world.dir.path().join("state").join(file)).unwrap();
        needles.add(file, text.trim());
        if file == "master.key" {
            needles
                .add_bytes("the master key's bytes", &data_encoding::HEXLOWER.decode(text.trim().as_bytes()).unwrap());
        }
    }
    Story { world, replies: Vec::new(), needles, tokens: Vec::new() }
}

impl Story {
    /// An admin call; its whole reply is kept.
    fn admin(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.admin_raw(method, path, body.map(|body| body.to_string().into_bytes()).unwrap_or_default(), true)
    }

    fn admin_raw(&mut self, method: &str, path: &str, body: Vec<u8>, known: bool) -> (u16, Value) {
        let token = std::fs::read_to_string(self.world.dir.path().join("state/admin.token")).unwrap();
        let token = if known { format!("Bearer {}", token.trim()) } else { format!("Bearer x{}", token.trim()) };
        let reply = self.world.net.in_ns(Ns::Gateway, || async move {
            let mut client = Caller::http1(connect(ADMIN.parse::<SocketAddr>().unwrap()).await).await;
            let mut ask = request(method, path, ADMIN, &[("authorization", token.as_str())], Some(""));
            *ask.body_mut() = body.into();
            client.send(ask).await.unwrap()
        });
        let value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        self.keep(format!("admin {method} {path}"), &reply);
        (reply.status, value)
    }

    fn keep(&mut self, what: String, reply: &Reply) {
        let mut all = format!("{} {:?}\n", reply.status, reply.headers).into_bytes();
        for (name, value) in &reply.headers {
            all.extend_from_slice(name.as_str().as_bytes());
            all.extend_from_slice(b": ");
            all.extend_from_slice(value.as_bytes());
            all.push(b'\n');
        }
        all.extend_from_slice(&reply.body);
        self.replies.push((what, all));
    }

    /// A caller's request.
    fn call(&mut self, trader: &TestAccount, method: &str, path: &str, body: Option<&str>) -> u16 {
        let auth = basic(&trader.name, &trader.key);
        let reply = self.world.net.in_ns(Ns::Caller, || async move {
            let mut caller = Caller::http1(connect(LISTENER).await).await;
            let headers = [("authorization", auth.as_str()), ("access-token", "a-placeholder")];
            caller.send(request(method, path, "gateway.example", &headers, body)).await.unwrap()
        });
        self.keep(format!("caller {method} {path}"), &reply);
        reply.status
    }

    fn token(&mut self, name: &str) -> Value {
        let (status, body) = self.admin("GET", &format!("/v1/accounts/{name}/token"), None);
        assert_eq!(status, 200, "{body}");
        body
    }

    #[track_caller]
    fn becomes(&mut self, name: &str, state: &str) {
        let mut last = Value::Null;
        let found = poll(LIMIT, || {
            last = self.token(name);
            (last["state"] == state).then_some(())
        });
        assert!(found.is_some(), "{name} did not become {state}: {last}");
    }

    /// A token of the account's that the broker made.
    fn known(&mut self, token: &str) -> String {
        self.needles.add_token("a token", token);
        self.tokens.push(token.to_owned());
        token.to_owned()
    }
}

fn order(correlation: &str) -> String {
    json!({
        "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
        "validity": "DAY", "securityId": "11536", "quantity": 1, "price": 3310.5, "correlationId": correlation,
    })
    .to_string()
}

/// Each secret in each wrong place: refusals are where secrets are quoted.
fn wrong_fields(story: &mut Story, good: &Value) {
    let secrets = [PIN, WRONG_PIN, TOTP, PHONE, API_KEY, API_SECRET].map(str::to_owned);
    for secret in secrets.into_iter().chain(story.tokens.clone()) {
        for field in ["name", "platform", "client_id", "pin", "totp_secret", "access_token", "nickname"] {
            for value in [json!(format!("~\u{1}{secret}~")), json!([secret]), json!({ &*secret: 1 })] {
                let mut body = good.clone();
                body[field] = value;
                let (status, _) = story.admin("POST", "/v1/accounts", Some(&body));
                assert_eq!(status, 422, "{field}");
            }
        }
        for raw in [format!("{{\"pin\":\"{secret}\""), format!("\"{secret}\""), secret.clone()] {
            let (status, _) = story.admin_raw("POST", "/v1/accounts", raw.into_bytes(), true);
            assert_eq!(status, 400);
        }
        let body = json!({ "pin": secret });
        assert_eq!(story.admin_raw("POST", "/v1/accounts", body.to_string().into_bytes(), false).0, 401);
        story.admin("POST", "/v1/accounts/a1/token/consent", Some(&json!({ "token_id": format!("{secret}!") })));
        story.admin("POST", "/v1/accounts/a1/token/refresh", Some(&json!({ "vouched": secret })));
        story.admin("PUT", "/v1/accounts/a1/token", Some(&json!({ "access_token": format!("x{secret}") })));
    }
}

/// Logins that fail in every way, and one that works.
fn logins(story: &mut Story) -> TestAccount {
    let account: Account = Account { pin: PIN.to_owned(), totp_secret: TOTP.to_owned(), ..World::broker_account(1) };
    let account = account.with_app(API_KEY, API_SECRET, &format!("http://{ADMIN}/auth/dhan"));
    story.world.broker.add_account(account);
    let trader = story.world.add(
        1,
        &json!({
            "platform": "DHAN_V2_AT_IPV6", "pin": WRONG_PIN, "totp_secret": WRONG_TOTP, "phone": PHONE,
            "api_key": API_KEY, "api_secret": WRONG_SECRET,
        }),
    );
    story.needles.add("the client key", &trader.key);
    story.becomes("a1", "needs_person");
    assert_eq!(story.call(&trader, "POST", "/v2/orders", Some(&order("no-token"))), 503);
    // By the broker's page, with a secret that is wrong, then with the right one.
    let consent = "/v1/accounts/a1/token/consent";
    assert_eq!(story.admin("POST", consent, Some(&json!({}))).0, 409);
    assert_eq!(story.admin("PATCH", "/v1/accounts/a1", Some(&json!({ "api_secret": API_SECRET }))).0, 200);
    let (status, link) = story.admin("POST", consent, Some(&json!({})));
    assert_eq!(status, 200, "{link}");
    let app_id = link["broker_url"].as_str().unwrap().split_once("consentAppId=").unwrap().1.to_owned();
    let token_id = story.world.broker.give_consent(&app_id).unwrap();
    story.needles.add("the tokenId", &token_id);
    let back = format!("/auth/dhan/?tokenId={token_id}");
    assert_eq!(story.admin("GET", &back, None).0, 403, "without the cookie");
    // The time between two logins, which the broker does not insist on here, is not over:
    // what a person brings back is taken up and waits.
    let (status, body) = story.admin("POST", consent, Some(&json!({ "token_id": token_id })));
    assert_eq!((status, &body["token"]["state"]), (200, &json!("waiting")), "{body}");
    trader
}

/// The whole way by the broker's page.
fn by_page(story: &mut Story) {
    let account = World::broker_account(3).with_app(API_KEY, API_SECRET, &format!("http://{ADMIN}/auth/dhan"));
    story.world.broker.add_account(account);
    let fields = json!({ "platform": "DHAN_V2_AT_IPV6", "api_key": API_KEY, "api_secret": API_SECRET });
    let trader = story.world.add(3, &fields);
    story.needles.add("a third client key", &trader.key);
    let (status, link) = story.admin("POST", "/v1/accounts/a3/token/consent", Some(&json!({})));
    assert_eq!(status, 200, "{link}");
    let app_id = link["broker_url"].as_str().unwrap().split_once("consentAppId=").unwrap().1.to_owned();
    let start = link["login_url"].as_str().unwrap().strip_prefix(&format!("http://{ADMIN}")).unwrap().to_owned();
    let cookie = format!("sixgate-consent={}", start.split_once("state=").unwrap().1);
    assert_eq!(story.admin("GET", &start, None).0, 303);
    let token_id = story.world.broker.give_consent(&app_id).unwrap();
    story.needles.add("a used tokenId", &token_id);
    let back = format!("/auth/dhan/?tokenId={token_id}");
    for wanted in [200, 403] {
        let (back, cookie) = (back.clone(), cookie.clone());
        let reply = story.world.net.in_ns(Ns::Gateway, || async move {
            let mut browser = Caller::http1(connect(ADMIN.parse::<SocketAddr>().unwrap()).await).await;
            browser.send(request("GET", &back, ADMIN, &[("cookie", cookie.as_str())], None)).await.unwrap()
        });
        assert_eq!(reply.status, wanted, "{reply:?}");
        story.keep("the way back".to_owned(), &reply);
    }
    signs_by(story, &trader);
}

/// Learn which token signs.
fn signs_by(story: &mut Story, trader: &TestAccount) {
    assert_eq!(story.call(trader, "GET", "/v2/profile", None), 200);
    let seen = story.world.broker.seen();
    let last = seen.iter().rev().find(|seen| seen.path_and_query == "/v2/profile").unwrap();
    let token = last.token.clone().unwrap();
    story.known(&token);
}

/// The PIN is right, the token is lost on the way, and at last it works.
fn tokens(story: &mut Story) -> TestAccount {
    let account: Account = Account { pin: PIN.to_owned(), totp_secret: TOTP.to_owned(), ..World::broker_account(2) };
    story.world.broker.add_account(account);
    let fields = json!({ "platform": "DHAN_V2_AT_IPV6", "pin": PIN, "totp_secret": TOTP, "phone": PHONE });
    let trader = story.world.add(2, &fields);
    story.needles.add("another client key", &trader.key);
    story.becomes("a2", "live");
    signs_by(story, &trader);
    // Codes are no secret once they are used; but what is used next may be found by them.
    let codes: Vec<String> = story
        .world
        .broker
        .seen()
        .iter()
        .filter_map(|seen| Some(seen.path_and_query.split_once("totp=")?.1.to_owned()))
        .collect();
    assert!(codes.len() >= 2, "{}", codes.len());
    for code in codes {
        story.needles.add_whole("a code", &format!("totp={code}"));
    }
    for (token, status) in [("web", 200), ("dead", 200), ("broken", 422)] {
        let text = story.world.broker.mint_web_token(&trader.client_id);
        let text = story.known(&text);
        let given = if token == "broken" { text[..text.len() - 1].to_owned() } else { text };
        let path = "/v1/accounts/a2/token";
        assert_eq!(story.admin("PUT", path, Some(&json!({ "access_token": given }))).0, status, "{token}");
        if token == "dead" {
            story.world.broker.kill_token(&trader.client_id);
            assert_eq!(story.call(&trader, "POST", "/v2/orders", Some(&order("dead"))), 503);
        } else {
            story.call(&trader, "POST", "/v2/orders", Some(&order(token)));
        }
    }
    let live = story.world.broker.mint_web_token(&trader.client_id);
    let live = story.known(&live);
    assert_eq!(story.admin("PUT", "/v1/accounts/a2/token", Some(&json!({ "access_token": live }))).0, 200);
    trader
}

/// What callers do, also when the broker quotes what it was sent or does not answer.
fn traffic(story: &mut Story, trader: &TestAccount) {
    let reads = ["/v2/orders", "/v2/positions", "/v2/fundlimit", "/v2/ip/getIP", "/v2/nowhere"];
    for path in reads {
        story.call(trader, "GET", path, None);
    }
    for path in ["/v2/RenewToken", "/v2/ip/setIP"] {
        story.call(trader, "POST", path, Some(&json!({ "pin": PIN }).to_string()));
    }
    assert_eq!(story.call(trader, "POST", "/v2/orders", Some(&order("good"))), 200);
    let broken = [
        Action::Close { executed: true },
        Action::Close { executed: false },
        Action::BadGateway { executed: true },
        Action::Html { status: 403, executed: false },
        Action::Refuse { status: 400, body: json!({ "errorCode": "DH-905", "errorMessage": "Invalid IP" }) },
    ];
    for (n, action) in broken.into_iter().enumerate() {
        story.world.broker.fault(Fault::new(action).on("POST", "/v2/orders").times(1));
        story.call(trader, "POST", "/v2/orders", Some(&order(&format!("broken-{n}"))));
        story.world.broker.clear_faults();
    }
    let wrong = TestAccount { key: format!("sgk_{}", "x".repeat(40)), ..trader.clone() };
    assert_eq!(story.call(&wrong, "GET", "/v2/orders", None), 407);
    // The last of the ways in which the token is put in by the gateway: a feed's query.
    let (auth, token) = (basic(&trader.name, &trader.key), trader.client_id.to_string());
    let head = story.world.net.in_ns(Ns::Caller, || async move {
        let mut stream = connect(LISTENER).await;
        let head = format!(
            "GET http://api-feed.dhan.co/?version=2&token=placeholder&clientId={token}&authType=2 HTTP/1.1\r\n\
             Host: api-feed.dhan.co\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nProxy-Authorization: {auth}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        answer
    });
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    story.replies.push(("a feed".to_owned(), head));
    let feed = || story.world.broker.seen().iter().any(|seen| seen.websocket && seen.token.is_some());
    wait_until("the feed at the broker", LIMIT, feed);
}

/// What operators do, by the API and by the commands.
fn operators(story: &mut Story) {
    for path in ["/v1/accounts", "/v1/accounts/a1", "/v1/accounts/a2", "/v1/accounts/a2/keys", "/v1/pools", "/metrics"]
    {
        assert_eq!(story.admin("GET", path, None).0, 200, "{path}");
    }
    for path in ["/openapi.json", "/readyz", "/healthz", "/ca.pem", "/v1/nothing", "/v1/accounts/a2/registration"] {
        story.admin("GET", path, None);
    }
    for path in ["/v1/validate", "/v1/accounts/a1/validate", "/v1/accounts/a2/validate"] {
        assert_eq!(story.admin("POST", path, Some(&json!({}))).0, 200, "{path}");
    }
    story.admin("PUT", "/v1/accounts/a2/registration", Some(&json!({})));

    let secrets = story.world.dir.path().join("given");
    std::fs::create_dir(&secrets).unwrap();
    let token = story.tokens.last().unwrap().clone();
    let files =
        [("pin", PIN), ("totp", TOTP), ("phone", PHONE), ("key", API_KEY), ("secret", API_SECRET), ("token", &token)];
    for (name, text) in files {
        std::fs::write(secrets.join(name), text).unwrap();
    }
    let change = "account change a2 --pin-file given/pin --totp-secret-file given/totp --phone-file given/phone \
                  --api-key-file given/key --api-secret-file given/secret";
    for (line, good) in [
        ("account list", true),
        ("account show a2", true),
        ("account show a2 --json", true),
        (change, true),
        ("account change a2 --pin-file given/token", false),
        ("account change a2 --totp-secret-file given/secret", false),
        (
            "account create a2 --platform DHAN_V2_AT_IPV6 --client-id 1 --pin-file given/pin --totp-secret-file given/totp",
            false,
        ),
        ("token set a2 --file given/token", true),
        ("token set a2 --file given/secret", false),
        ("token show a2 --json", true),
        ("token refresh a1", false),
        ("token consent a1", true),
        ("key list a2", true),
        ("register a2 --yes", true),
        ("account list --token-file given/secret", false),
    ] {
        let ended = run(story, line);
        assert_eq!(ended, good, "sixgate {line}");
    }
    for line in [
        "validate a2",
        "validate --all",
        "journal list --state state",
        "journal verify --state state",
        "journal export --state state",
    ] {
        run(story, line);
    }
}

/// A command; its output is kept. Did it end well?
fn run(story: &mut Story, line: &str) -> bool {
    let mut command = story.world.gateway.place().command(env!("CARGO_BIN_EXE_sixgate"));
    let output = command.args(line.split_whitespace()).current_dir(story.world.dir.path()).output().unwrap();
    story.replies.push((format!("stdout of sixgate {line}"), output.stdout));
    story.replies.push((format!("stderr of sixgate {line}"), output.stderr));
    output.status.success()
}

/// How the gateway was started, as every user of the host can read it.
fn process(story: &mut Story) {
    let id = story.world.gateway.id();
    let read = |name: &str| std::fs::read(Path::new("/proc").join(id.to_string()).join(name)).unwrap();
    let line = read("cmdline");
    assert!(line.windows(5).any(|part| part == b"serve"), "it is the gateway's");
    story.replies.push(("its command line".to_owned(), line));
    story.replies.push(("its name".to_owned(), read("comm")));
}

/// Everything in the folder, but for the files that are made to hold secrets.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let own = ["admin.token", "viewer.token", "master.key", "given"].iter().any(|name| path.ends_with(name));
        if kind.is_dir() && !own {
            files(&path, found);
        } else if kind.is_file() && !own {
            // An export may be replaced while this looks.
            if let Ok(bytes) = std::fs::read(&path) {
                found.push((path.display().to_string(), bytes));
            }
        }
    }
}

fn searched(story: &Story) {
    let mut all = story.replies.clone();
    files(story.world.dir.path(), &mut all);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    for part in ["gateway.stderr", "gateway.stdout", "journal/", "state/", "/metrics", "/openapi.json", "stdout of"] {
        assert!(names.iter().any(|name| name.contains(part)), "no {part} was searched");
    }
    let found: Vec<String> = all.iter().flat_map(|(name, bytes)| story.needles.found_in(name, bytes)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

fn everything(log: &str) {
    let mut story = up(log);
    let failing = logins(&mut story);
    by_page(&mut story);
    let trader = tokens(&mut story);
    let good = json!({
        "name": "a9", "platform": "DHAN_V2_AT_IPV6", "client_id": "1000000009", "pin": PIN, "totp_secret": TOTP,
    });
    wrong_fields(&mut story, &good);
    traffic(&mut story, &trader);
    operators(&mut story);
    console::every_form(&mut story);
    process(&mut story);
    searched(&story);
    // What is written at the end, and after a kill.
    story.world.gateway.kill9();
    story.world.start_again();
    story.call(&failing, "GET", "/v2/orders", None);
    assert_eq!(story.call(&trader, "GET", "/v2/orders", None), 200, "the token was stored");
    assert!(story.world.gateway.terminate().success());
    let log =
        wait_for("its log", LIMIT, || std::fs::read_to_string(story.world.dir.path().join("gateway.stderr")).ok());
    assert!(log.contains("generateAccessToken") && log.contains("token/consent"), "the log has what was done");
    searched(&story);
}

/// As people read it.
#[test]
fn no_secret_shows_in_anything_that_comes_out() {
    everything("");
}

/// As a log collector reads it: other fields, other escapes.
#[test]
fn no_secret_shows_with_a_log_in_json() {
    everything("json = true");
}
