//! The login host as the broker documents it and as it was measured.

use std::time::{Duration, Instant};

use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sixgate::broker::dhan::token::Claims;
use sixgate::domain::ClientId;
use sixgate::sandbox::{Account, Action, ExpiryForm, Fault, LoginRules, MintedBy, Window};

use super::client::{Broker, fixture, same_shape};
use super::ws::Ws;
use super::{ORDER_UPDATE, logged_in, login_frame};

const AUTH: &str = "auth.dhan.co";
const APP: [(&str, &str); 2] = [("app_id", "0a1b2c3d"), ("app_secret", "00000000-0000-4000-8000-000000000001")];

/// An answer with all there is to it.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|err| panic!("{err}: {}", self.text))
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }
}

/// Ask any host with just these headers, on a connection of its own.
async fn try_ask(
    broker: &Broker,
    (host, method, path): (&str, &str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> hyper::Result<Answer> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_owned())).unwrap();
    let response = broker.connect(host).await?.0.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
}

async fn ask(broker: &Broker, at: (&str, &str, &str), headers: &[(&str, &str)], body: &str) -> Answer {
    try_ask(broker, at, headers, body).await.unwrap()
}

fn mint_path(id: &str, pin: &str, totp: &str) -> String {
    format!("/app/generateAccessToken?dhanClientId={id}&pin={pin}&totp={totp}")
}

/// `generateAccessToken` for the account of the tests.
async fn mint(broker: &Broker, pin: &str, totp: &str) -> (u16, Value) {
    let answer = ask(broker, (AUTH, "POST", &mint_path("1000000001", pin, totp)), &[], "").await;
    (answer.status, answer.json())
}

fn totp(broker: &Broker) -> String {
    broker.sandbox.totp_now(&broker.id).unwrap()
}

/// Let the broker's clock run on, so that the next code is not the used one.
fn next_code(broker: &Broker, steps: i64) -> String {
    broker.sandbox.set_clock_skew(SignedDuration::from_secs(30 * steps));
    totp(broker)
}

/// A sandbox without a window between attempts, whose account has an app.
async fn start() -> Broker {
    let broker = Broker::start().await;
    broker.sandbox.set_cooldown(Duration::ZERO);
    let [(_, key), (_, secret)] = APP;
    let account = Account::new(broker.id.clone(), "TEST TRADER", "123456", "JBSWY3DPEHPK3PXP");
    broker.sandbox.add_account(account.with_app(key, secret, "https://app.example.test/auth/dhan"));
    broker
}

/// The whole of the daily login, and that everything with the old token ends.
#[tokio::test]
async fn pin_and_totp_make_a_token_and_kill_the_one_before() {
    let mut broker = start().await;
    let mut updates = Ws::open(&broker, ORDER_UPDATE, "/").await;
    updates.say(&login_frame(&broker)).await;
    logged_in(&broker).await;
    let before = Timestamp::now();

    let (status, minted) = mint(&broker, "123456", &totp(&broker)).await;

    assert_eq!(status, 200, "{minted}");
    same_shape(&fixture("auth/generate-access-token.200.ok"), &minted);
    updates.expect_reset().await;
    assert_eq!(broker.send("GET", "/v2/profile", None).await.1["errorMessage"], "Invalid Token");
    broker.token = minted["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(broker.get("/v2/profile").await["dhanClientId"], "1000000001");
    let claims = Claims::read(&broker.token).unwrap();
    assert_eq!((claims.client_id.as_str(), claims.consumer.as_deref()), ("1000000001", Some("APP")));
    let life = claims.expires_at - before.as_second();
    assert!((86_400..86_410).contains(&life), "{life}");

    let mints = broker.sandbox.mints(&broker.id);
    assert_eq!(mints.len(), 1, "the token that the test made is not among them: {mints:?}");
    assert_eq!((mints[0].token_generation, mints[0].by), (2, MintedBy::PinAndTotp));
    assert!(before <= mints[0].at && mints[0].at <= Timestamp::now());
    assert_eq!(broker.sandbox.login_attempts(&broker.id), 1);
}

/// Every failure of a login comes as HTTP 200: a client that goes by the status
/// takes it for a token.
#[tokio::test]
async fn a_refused_login_is_http_200_and_makes_no_token() {
    let broker = start().await;
    let pin = fixture("auth/generate-access-token.200.error-invalid-pin");
    let code = fixture("auth/generate-access-token.200.error-invalid-totp");
    assert_eq!(mint(&broker, "654321", &totp(&broker)).await, (200, pin));
    assert_eq!(mint(&broker, "123456", "12345").await, (200, code));
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200, "the token is as it was");
    assert!(broker.sandbox.mints(&broker.id).is_empty());
    assert_eq!(broker.sandbox.login_attempts(&broker.id), 2);
}

/// Re-use inside the window is what a hasty second attempt does.
#[tokio::test]
async fn a_code_is_good_for_one_login() {
    let broker = start().await;
    let code = totp(&broker);
    assert_eq!(mint(&broker, "123456", &code).await.1["status"], Value::Null);
    let used = fixture("auth/generate-access-token.200.error-invalid-totp");
    assert_eq!(mint(&broker, "123456", &code).await, (200, used));
    let next = next_code(&broker, 1);
    assert_eq!(mint(&broker, "123456", &next).await.1["status"], Value::Null);
    assert_eq!(broker.sandbox.mints(&broker.id).len(), 2);
}

/// Anything beside the query is refused as a bad field, and a name that is no
/// client id as nobody; neither may count as a login.
#[tokio::test]
async fn a_malformed_login_never_reaches_the_account() {
    let broker = start().await;
    let good = mint_path("1000000001", "123456", &totp(&broker));
    let bad_field = fixture("orders/place-order.400.bad-field");
    let json_header = [("content-type", "application/json; charset=utf-8")];
    let unknown = mint_path("1000000077", "123456", "123456");
    let key = mint_path("0a1b2c3d", "123456", "123456");
    let nobody = fixture("auth/generate-access-token.401.unauthorized");
    for (method, path, headers, status, body) in [
        ("POST", good.as_str(), &json_header[..], 400, &bad_field),
        ("GET", good.as_str(), &[], 400, &bad_field),
        ("POST", "/app/generateAccessToken?dhanClientId=1000000001&pin=123456", &[], 400, &bad_field),
        ("POST", unknown.as_str(), &[], 401, &nobody),
        ("POST", key.as_str(), &[], 401, &nobody),
        ("POST", "/app/generateAccessToken", &[], 401, &nobody),
    ] {
        let answer = ask(&broker, (AUTH, method, path), headers, "").await;
        assert_eq!((answer.status, &answer.json()), (status, body), "{method} {path}");
    }
    assert_eq!(ask(&broker, (AUTH, "GET", "/v2/profile"), &[], "").await.status, 404);
    assert_eq!(broker.sandbox.login_attempts(&broker.id), 0);
    assert_eq!(ask(&broker, (AUTH, "POST", &good), &[], "").await.status, 200, "the code is still good");
}

/// The window is what production clients ran into for days: an attempt too early
/// keeps it shut.
#[tokio::test]
async fn one_attempt_in_two_minutes_and_the_refused_ones_count() {
    let broker = Broker::start().await;
    let too_soon = (200, fixture("auth/generate-access-token.200.error-cooldown"));
    assert_eq!(mint(&broker, "000000", &totp(&broker)).await.1["message"], "Invalid Pin");
    assert_eq!(mint(&broker, "123456", &totp(&broker)).await, too_soon);
    broker.sandbox.set_login_rules(LoginRules { window: Window::LastToken, ..LoginRules::default() });
    assert_eq!(mint(&broker, "123456", &totp(&broker)).await, too_soon, "the attempts before still count");
    broker.sandbox.set_cooldown(Duration::ZERO);
    assert_eq!(mint(&broker, "123456", &totp(&broker)).await.1["status"], Value::Null);

    broker.sandbox.set_cooldown(Duration::from_secs(120));
    let next = next_code(&broker, 10);
    assert_eq!(mint(&broker, "123456", &next).await, too_soon, "five minutes of the broker's clock are not ours");
    assert_eq!(broker.sandbox.login_attempts(&broker.id), 5);
    assert_eq!(broker.sandbox.mints(&broker.id).len(), 1);
}

/// A gateway's tests assert that this never becomes true.
#[tokio::test]
async fn three_refusals_lock_the_account() {
    let broker = start().await;
    for nth in 0..3 {
        assert!(!broker.sandbox.login_locked(&broker.id), "{nth}");
        assert_eq!(mint(&broker, "000000", &totp(&broker)).await.1["message"], "Invalid Pin");
    }
    assert!(broker.sandbox.login_locked(&broker.id));
    assert_eq!(mint(&broker, "123456", &totp(&broker)).await.1["message"], "Invalid Pin");
    let (_, said) = broker.control("GET", "/accounts/1000000001/login", None).await;
    assert_eq!(said, json!({"attempts": 4, "locked": true, "mints": []}));
    broker.sandbox.unlock_login(&broker.id);
    assert_eq!(mint(&broker, "123456", &totp(&broker)).await.1["status"], Value::Null);
}

/// The date is how a gateway finds out that one of both clocks is wrong.
#[tokio::test]
async fn the_brokers_clock_is_in_its_dates_its_codes_and_its_tokens() {
    let broker = start().await;
    let honest = totp(&broker);
    broker.sandbox.set_clock_skew(SignedDuration::from_mins(-10));
    let now = Timestamp::now().as_second();
    let answer = ask(&broker, (AUTH, "POST", &mint_path("1000000001", "123456", &honest)), &[], "").await;
    assert_eq!(answer.json()["message"], "Invalid TOTP");
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(answer.header(header::DATE)).unwrap();
    assert!((now - 601..now - 590).contains(&date.as_second()), "{date}");

    let (_, minted) = mint(&broker, "123456", &totp(&broker)).await;
    let claims = Claims::read(minted["accessToken"].as_str().unwrap()).unwrap();
    assert!((now - 601..now - 590).contains(&(claims.expires_at - 86_400)), "{}", claims.expires_at);
    let real = broker.sandbox.mints(&broker.id)[0].at.as_second();
    assert!((now - 1..now + 10).contains(&real), "what a test is told is by its own clock: {real}");
}

/// The text has no zone and means India's; both spellings were seen.
#[tokio::test]
async fn the_end_of_a_token_is_written_in_indian_time_with_and_without_milliseconds() {
    let broker = start().await;
    broker.sandbox.set_token_life(Duration::from_secs(3600));
    for (nth, (expiry, length)) in
        [(ExpiryForm::AsSeen, 23), (ExpiryForm::Seconds, 19), (ExpiryForm::Milliseconds, 23)].into_iter().enumerate()
    {
        broker.sandbox.set_login_rules(LoginRules { expiry, ..broker.sandbox.login_rules() });
        let code = next_code(&broker, i64::try_from(nth).unwrap());
        let (_, minted) = mint(&broker, "123456", &code).await;
        let text = minted["expiryTime"].as_str().unwrap();
        assert_eq!(text.len(), length, "{text}");
        let end: Timestamp = format!("{text}+05:30").parse().unwrap();
        let claims = Claims::read(minted["accessToken"].as_str().unwrap()).unwrap();
        assert_eq!(end.as_second(), claims.expires_at);
        let life = claims.expires_at - (Timestamp::now().as_second() + 30 * i64::try_from(nth).unwrap());
        assert!((3590..=3600).contains(&life), "{life}");
    }
}

/// Renewal is the only way of an account without a PIN, and it is destructive.
#[tokio::test]
async fn renewal_is_for_live_web_tokens_with_their_client_id() {
    let mut broker = start().await;
    broker.token = broker.sandbox.mint_web_token(&broker.id);
    let token = broker.token.clone();
    let renew = async |method: &str, token: &str, id: Option<&str>| {
        let mut headers = vec![("access-token", token)];
        headers.extend(id.map(|id| ("dhanClientId", id)));
        let answer = ask(&broker, ("api.dhan.co", method, "/v2/RenewToken"), &headers, "").await;
        (answer.status, answer.json())
    };
    let mine = Some("1000000001");
    assert_eq!(renew("GET", &token, None).await.0, 400);
    assert_eq!(renew("GET", &token, Some("1000000002")).await.0, 400);
    assert_eq!(renew("POST", &token, mine).await, (400, fixture("auth/renew-token.400.post-verb")));
    let (status, renewed) = renew("GET", &token, mine).await;
    same_shape(&fixture("auth/renew-token.200.ok"), &renewed);
    assert_eq!(status, 200);
    let new = renewed["accessToken"].as_str().unwrap();
    assert_eq!(Claims::read(new).unwrap().consumer.as_deref(), Some("SELF"));
    assert_eq!(renew("GET", &token, mine).await.1["errorMessage"], "Invalid Token", "the old one is dead");

    broker.sandbox.set_clock_skew(SignedDuration::from_hours(25));
    assert_eq!(renew("GET", new, mine).await, (401, fixture("auth/renew-token.401.expired")));
    let by: Vec<_> = broker.sandbox.mints(&broker.id).iter().map(|mint| mint.by).collect();
    assert_eq!(by, [MintedBy::Renewal]);

    broker.sandbox.set_clock_skew(SignedDuration::ZERO);
    let app = broker.sandbox.mint_token(&broker.id);
    assert_eq!(renew("GET", &app, mine).await, (500, fixture("auth/renew-token.500.wrong-token-type")));
}

async fn generate_consent(broker: &Broker, headers: &[(&str, &str)]) -> (u16, Value) {
    let answer = ask(broker, (AUTH, "POST", "/app/generate-consent?client_id=1000000001"), headers, "").await;
    (answer.status, answer.json())
}

/// Log in as the page's form does; where the browser is sent.
async fn give_consent(broker: &Broker, consent: &str, pin: &str, totp: &str) -> Answer {
    let form = format!("consentAppId={consent}&phone=%2B919999999999&pin={pin}&totp={totp}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    ask(broker, (AUTH, "POST", "/login/consentApp-login"), &headers, &form).await
}

/// The way of an API key: ask, log in with a browser, fetch; each id once.
#[tokio::test]
async fn consent_ends_in_a_token_that_does_not_renew() {
    let mut broker = start().await;
    for method in ["GET", "POST"] {
        let (status, asked) = generate_consent(&broker, &APP).await;
        assert_eq!(status, 200);
        same_shape(&fixture("auth/consent-generate.200.ok"), &asked);
        let consent = asked["consentAppId"].as_str().unwrap();

        let path = format!("/login/consentApp-login?consentAppId={consent}");
        let page = ask(&broker, (AUTH, "GET", &path), &[], "").await;
        assert_eq!((page.status, page.header(header::CONTENT_TYPE)), (200, "text/html; charset=utf-8"));
        for name in ["name=\"phone\"", "name=\"pin\"", "name=\"totp\"", consent] {
            assert!(page.text.contains(name), "{name}: {}", page.text);
        }
        let refused = give_consent(&broker, consent, "000000", &totp(&broker)).await;
        assert!(refused.status == 200 && refused.text.contains("Invalid Pin"), "{}", refused.text);
        let code = next_code(&broker, if method == "GET" { 0 } else { 1 });
        let sent = give_consent(&broker, consent, "123456", &code).await;
        assert_eq!(sent.status, 302);
        let back = sent.header(header::LOCATION);
        let token_id = back.strip_prefix("https://app.example.test/auth/dhan/?tokenId=").unwrap();
        assert_eq!(give_consent(&broker, consent, "123456", &code).await.status, 400, "a consent is given once");

        let path = format!("/app/consumeApp-consent?tokenId={token_id}");
        assert_eq!(ask(&broker, (AUTH, method, &path), &[], "").await.status, 401);
        let fetched = ask(&broker, (AUTH, method, &path), &APP, "").await;
        same_shape(&fixture("auth/consent-consume.200.ok"), &fetched.json());
        assert_eq!(fetched.json()["expiryTime"].as_str().unwrap().len(), 19);
        assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 400, "the token before is dead");
        broker.token = fetched.json()["accessToken"].as_str().unwrap().to_owned();
        let renewal = broker.send("GET", "/v2/RenewToken", None).await;
        assert_eq!(renewal, (500, fixture("auth/renew-token.500.wrong-token-type")));
        let again = ask(&broker, (AUTH, method, &path), &APP, "").await;
        assert_eq!((again.status, &again.json()["status"]), (200, &json!("error")));
    }
    let by: Vec<_> = broker.sandbox.mints(&broker.id).iter().map(|mint| mint.by).collect();
    assert_eq!(by, [MintedBy::Consent; 2]);
    assert_eq!(broker.sandbox.login_attempts(&broker.id), 0, "those count PIN and TOTP");
}

/// An app fetches what its own account gave and nothing else.
#[tokio::test]
async fn another_accounts_app_gets_neither_consent_nor_token() {
    let broker = start().await;
    let other = [("app_id", "ffffffff"), ("app_secret", "00000000-0000-4000-8000-000000000002")];
    let id = ClientId::parse("1000000002").unwrap();
    let theirs = Account::new(id, "OTHER", "1", "").with_app(other[0].1, other[1].1, "https://other.example.test");
    broker.sandbox.add_account(theirs);
    let unauthorized = (401, fixture("auth/consent-generate.401.bad-app-headers"));
    for headers in [&[][..], &other, &APP[..1], &[("app-id", APP[0].1), ("app-secret", APP[1].1)]] {
        assert_eq!(generate_consent(&broker, headers).await, unauthorized, "{headers:?}");
    }
    let (_, asked) = generate_consent(&broker, &APP).await;
    let consent = asked["consentAppId"].as_str().unwrap();
    let sent = give_consent(&broker, consent, "123456", &totp(&broker)).await;
    let token_id = sent.header(header::LOCATION).split_once("tokenId=").unwrap().1;
    let path = format!("/app/consumeApp-consent?tokenId={token_id}");
    assert_eq!(ask(&broker, (AUTH, "GET", &path), &other, "").await.status, 401);
    assert_eq!(ask(&broker, (AUTH, "GET", &path), &APP, "").await.status, 200, "it is still to be had");
}

/// A consent asked for on speculation is one that is missing later in the day.
#[tokio::test]
async fn there_are_25_consents_in_a_day_of_indias() {
    let broker = start().await;
    // Noon in India, so that midnight does not come while this runs.
    let noon: Timestamp = "2026-11-24T06:30:00Z".parse().unwrap();
    broker.sandbox.set_clock_skew(noon.duration_since(Timestamp::now()));
    for _ in 0..25 {
        assert_eq!(generate_consent(&broker, &APP).await.1["status"], "success");
    }
    let exceeded = (200, fixture("auth/consent-generate.200.limit-exceeded"));
    assert_eq!(generate_consent(&broker, &APP).await, exceeded);
    let tomorrow: Timestamp = "2026-11-24T18:30:01Z".parse().unwrap();
    broker.sandbox.set_clock_skew(tomorrow.duration_since(Timestamp::now()));
    assert_eq!(generate_consent(&broker, &APP).await.1["status"], "success");
}

/// After a lost reply the old token is dead and nobody has the new one: the case
/// that a keeper of tokens has to survive.
#[tokio::test]
async fn a_login_whose_reply_is_lost_has_happened_all_the_same() {
    let broker = start().await;
    let path = mint_path("1000000001", "123456", &totp(&broker));
    for (executed, minted) in [(false, 0), (true, 1)] {
        let fault = Fault::new(Action::Close { executed }).on("POST", "/app/generateAccessToken").at(AUTH);
        broker.sandbox.fault(fault.of(&broker.id).times(1));
        assert!(try_ask(&broker, (AUTH, "POST", &path), &[], "").await.is_err());
        assert_eq!(broker.sandbox.mints(&broker.id).len(), minted);
        assert_eq!(broker.sandbox.login_attempts(&broker.id), u64::try_from(minted).unwrap());
        let alive = broker.send("GET", "/v2/profile", None).await.0 == 200;
        assert_eq!(alive, !executed);
    }
}

/// What stands between a client and the broker answers too, in its own way.
#[tokio::test]
async fn logins_go_wrong_on_demand() {
    let broker = start().await;
    let path = mint_path("1000000001", "123456", &totp(&broker));
    let at = (AUTH, "POST", path.as_str());
    let only_login = |action| Fault::new(action).at(AUTH).of(&broker.id).times(1);

    broker.sandbox.fault(only_login(Action::Refuse { status: 429, body: Value::Null }));
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200, "the other host is not meant");
    let other = mint_path("1000000002", "123456", "123456");
    assert_eq!(ask(&broker, (AUTH, "POST", &other), &[], "").await.status, 401, "the other account is not meant");
    let empty = ask(&broker, at, &[], "").await;
    assert_eq!((empty.status, empty.text.as_str()), (429, ""));

    let json = json!({"action": {"html": {}}, "match": {"host": AUTH, "client_id": "1000000001"}, "times": 1});
    assert_eq!(broker.control("POST", "/faults", Some(&json)).await.0, 201);
    let html = ask(&broker, at, &[], "").await;
    assert_eq!((html.status, html.header(header::CONTENT_TYPE)), (200, "text/html; charset=utf-8"));
    assert!(html.text.starts_with("<!DOCTYPE html>"), "{}", html.text);

    let said = json!({"data": {"errorCode": "RS-0060"}, "status": "failure"});
    broker.sandbox.fault(only_login(Action::Refuse { status: 200, body: said.clone() }));
    assert_eq!(ask(&broker, at, &[], "").await.json(), said);
    assert_eq!(broker.sandbox.login_attempts(&broker.id), 0, "none of these reached the login");

    broker.sandbox.fault(only_login(Action::Slow { ms: 200 }));
    let began = Instant::now();
    assert!(ask(&broker, at, &[], "").await.json()["accessToken"].is_string());
    assert!(began.elapsed() >= Duration::from_millis(200));
}

/// Consent's calls do not name their account, but what they are about does.
#[tokio::test]
async fn faults_and_the_record_know_whose_consent_it_is() {
    let broker = start().await;
    let (_, asked) = generate_consent(&broker, &APP).await;
    let consent = asked["consentAppId"].as_str().unwrap();
    let sent = give_consent(&broker, consent, "123456", &totp(&broker)).await;
    let token_id = sent.header(header::LOCATION).split_once("tokenId=").unwrap().1;
    let path = format!("/app/consumeApp-consent?tokenId={token_id}");
    broker.sandbox.fault(Fault::new(Action::Close { executed: true }).at(AUTH).of(&broker.id).times(1));
    assert!(try_ask(&broker, (AUTH, "GET", &path), &APP, "").await.is_err());
    let seen = broker.sandbox.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.login_of.as_ref() == Some(&broker.id)), "{seen:?}");
    assert_eq!(broker.sandbox.mints(&broker.id).len(), 1);
}

/// A failed assertion prints what was seen into logs that are kept.
#[tokio::test]
async fn the_record_has_the_secrets_of_a_login_and_does_not_print_them() {
    let mut broker = start().await;
    let code = totp(&broker);
    let (_, minted) = mint(&broker, "123456", &code).await;
    broker.token = minted["accessToken"].as_str().unwrap().to_owned();
    broker.get("/v2/profile").await;
    generate_consent(&broker, &APP).await;
    let query = format!("/?version=2&token={}&clientId=1000000001&authType=2", broker.token);
    let _feed = Ws::open(&broker, "api-feed.dhan.co", &query).await;

    let seen = broker.sandbox.seen();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0].path_and_query, mint_path("1000000001", "123456", &code));
    assert_eq!((seen[0].host.as_deref(), seen[0].login_of.as_ref()), (Some(AUTH), Some(&broker.id)));
    assert_eq!((seen[0].status, seen[0].executed, seen[0].account.as_ref()), (Some(200), false, None));
    assert_eq!(seen[1].token.as_deref(), Some(broker.token.as_str()));
    assert!(seen[2].headers.iter().any(|(name, value)| name == "app_secret" && value == APP[1].1));

    // The peer's port may have the code's digits in it, so look for them where they were.
    let printed = format!("{seen:?}");
    for secret in ["123456", &format!("totp={code}"), broker.token.as_str(), APP[0].1, APP[1].1] {
        assert!(!printed.contains(secret), "{secret} is in {printed}");
    }
    assert!(printed.contains("/app/generateAccessToken") && printed.contains("app_secret"), "{printed}");
    let account = Account::new(broker.id.clone(), "T", "123456", "JBSWY3DPEHPK3PXP").with_app("k3y", "s3cret", "");
    let printed = format!("{account:?}");
    assert!(
        ["123456", "JBSWY3DPEHPK3PXP", "s3cret", "k3y"].iter().all(|secret| !printed.contains(secret)),
        "{printed}"
    );
}
