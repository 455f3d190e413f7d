//! The calls that the gateway itself makes, against the built-in broker: what they ask,
//! what they make of the answers, and what is proven when there is none.

mod registration;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Duration;

use crate::support::net::{self, Ns, Uplink};
use crate::support::world::World;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sixgate::domain::secret::ExposeSecret;
use sixgate::domain::steady;
use sixgate::domain::tasks::Tasks;
use sixgate::domain::{AccountName, Authority, ClientId, Host, Pair, Role, Secret, SourceAddr};
use sixgate::egress::{Egress, Options};
use sixgate::legs::{LegSettings, Legs, Supervisor};
use sixgate::sandbox::{self, Account, Action, ConsentVerbs, ExpiryForm, Fault, LoginRules, Sandbox};
use sixgate::tokens::client::{Answered, BrokerClient, Called, Minted};
use sixgate::tokens::lifecycle::{CheckOutcome, Consumer, Refusal, RetryAdvice, TokenSource};

const PIN: &str = "493817";
const TOTP: &str = "JBSWY3DPEHPK3PXP";
const KEY: &str = "0a1b2c3d";
const APP_SECRET: &str = "5e7c1a9b-0000-4000-8000-0000000000d1";
const LIMIT: Duration = Duration::from_secs(10);

/// A broker with one account, and what calls it.
struct Setup {
    broker: Sandbox,
    login: BrokerClient,
    legs: Arc<Legs>,
    id: ClientId,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

fn host(text: &str) -> Authority {
    Authority::parse(text, Some(443)).unwrap()
}

fn login(limit: Duration) -> BrokerClient {
    BrokerClient::new(host("api.dhan.co"), host("auth.dhan.co"), limit)
}

/// Legs whose broker is at `at`.
fn legs(pair: Pair, at: Vec<SocketAddrV6>, roots: Vec<std::path::PathBuf>, tasks: &Tasks) -> Arc<Legs> {
    let pins = ["api.dhan.co", "auth.dhan.co"].map(|name| (Host::parse(name).unwrap(), at.clone()));
    let options = Options {
        connect_timeout: Duration::from_secs(1),
        read_timeout: LIMIT,
        freebind: true,
        http2: false,
        idle_timeout: LIMIT,
        idle_per_exit: 1,
        open_per_exit: 64,
        extra_roots: roots,
        resolve: BTreeMap::from(pins),
        ipv4_hosts: std::collections::BTreeMap::new(),
        name_servers: Vec::new(),
        user_timeout: Duration::from_secs(5),
    };
    let api = Authority::parse("api.dhan.co:443", None).unwrap();
    let settings = LegSettings { dwell: options.connect_timeout, warm: 0, warm_always: false, api };
    let supervisor = Supervisor::new(settings, Egress::new(options, tasks.clone()).unwrap(), Arc::default());
    Legs::new(&AccountName::parse("alpha").unwrap(), &pair, &supervisor)
}

fn own_pair() -> Pair {
    let own = SourceAddr::parse("::1").unwrap();
    Pair { primary: own, secondary: own }
}

async fn start() -> Setup {
    let id = ClientId::parse("1000000001").unwrap();
    let account = Account::new(id.clone(), "TEST TRADER", PIN, TOTP);
    let account = account.with_app(KEY, APP_SECRET, "https://app.example.test/auth/dhan");
    let options = sandbox::Options { accounts: vec![account], ..sandbox::Options::default() };
    let tasks = Tasks::default();
    let broker = Sandbox::start(options, &tasks).await.unwrap();
    broker.set_cooldown(Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, broker.ca_pem()).unwrap();
    let legs = legs(own_pair(), vec![broker.address()], vec![ca], &tasks);
    Setup { broker, login: login(LIMIT), legs, id, tasks, _dir: dir }
}

fn soon() -> Timestamp {
    steady::now().checked_add(SignedDuration::from_secs(10)).unwrap()
}

/// The step of the broker's clock, `ahead` windows later.
fn step(broker_ahead: SignedDuration, ahead: i64) -> u64 {
    let now = Timestamp::now().checked_add(broker_ahead).unwrap();
    u64::try_from(now.as_second() / 30 + ahead).unwrap()
}

impl Setup {
    async fn mint_with(&self, pin: &str, step: u64) -> Called<Answered<Minted>> {
        self.login.pin_totp(&self.legs, &self.id, &pin.into(), &TOTP.into(), step, soon()).await
    }

    async fn mint(&self) -> Called<Answered<Minted>> {
        self.mint_with(PIN, step(SignedDuration::ZERO, 0)).await
    }

    async fn alive(&self, token: &str) -> CheckOutcome {
        self.login.profile(&self.legs, &self.id, &token.into()).await.answered.outcome
    }

    /// A login link, given by the account's owner: the `tokenId`.
    async fn token_id(&self) -> Secret {
        let made =
            self.login.generate_consent(&self.legs, &self.id, &KEY.into(), &APP_SECRET.into(), soon()).await.answered;
        let link = good(made);
        assert!(link.url.ends_with(&format!("consentAppId={}", link.consent_app_id)), "{link:?}");
        self.broker.give_consent(&link.consent_app_id).unwrap().into()
    }

    async fn consume(&self, token_id: &Secret) -> Answered<Minted> {
        let (key, secret) = (KEY.into(), APP_SECRET.into());
        self.login.consume_consent(&self.legs, &self.id, token_id, &key, &secret, soon()).await.answered
    }

    fn fault_logins(&self, action: Action) {
        self.broker.fault(Fault::new(action).at("auth.dhan.co").times(1));
    }
}

#[track_caller]
fn good<T: std::fmt::Debug>(answered: Answered<T>) -> T {
    answered.into_result().unwrap()
}

#[track_caller]
fn refusal<T: std::fmt::Debug>(answered: Answered<T>) -> Refusal {
    if let Answered::Refused(refusal) = answered { refusal } else { panic!("{answered:?}") }
}

/// What time it is at the broker must be known before the first order, and these calls come before it.
#[tokio::test]
async fn every_answer_tells_what_time_it_is_at_the_broker() {
    let setup = start().await;
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = Arc::clone(&heard);
    let began = sixgate::domain::BootInstant::now();
    setup.login.on_heard(move |headers, sent| {
        assert!(sent >= began);
        into.lock().unwrap().push(headers.contains_key("date"));
    });
    let token: Secret = good(setup.mint().await.answered).token;
    let _nothing_is_registered = setup.login.get_ip(&*setup.legs, &setup.id, &token).await;
    assert_eq!(setup.alive(token.expose_secret()).await, CheckOutcome::Lives);
    assert_eq!(*heard.lock().unwrap(), [true, true, true]);
}

/// The daily login: everything in the query, nothing in the body, one request.
#[tokio::test]
async fn pin_and_totp_bring_a_token_by_one_request() {
    let setup = start().await;
    let called = setup.mint().await;
    assert_eq!(called.leg, Some(Role::Primary));
    let skew = called.skew.unwrap();
    assert!(skew.abs() < SignedDuration::from_secs(2), "{skew}");
    let minted = good(called.answered);
    assert_eq!((minted.consumer, setup.broker.mints(&setup.id).len()), (Consumer::App, 1));
    let life = minted.expires_at.duration_since(minted.issued_at);
    assert_eq!(life, SignedDuration::from_secs(86_400));
    assert_eq!(minted.facts(3, TokenSource::PinTotp).generation, 3);

    let seen = setup.broker.seen();
    let [login] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((login.method.as_str(), login.body_length), ("POST", 0));
    assert_eq!(login.peer.ip(), &std::net::Ipv6Addr::LOCALHOST);
    assert_eq!((login.host.as_deref(), login.sni.as_deref()), (Some("auth.dhan.co"), Some("auth.dhan.co")));
    let names: BTreeSet<&str> = login.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!names.contains("content-type") && !names.contains("access-token"), "{names:?}");
    let (path, query) = login.path_and_query.split_once('?').unwrap();
    assert_eq!(path, "/app/generateAccessToken");
    assert!(query.starts_with(&format!("dhanClientId=1000000001&pin={PIN}&totp=")), "{login:?}");

    assert_eq!(setup.alive(minted.token.expose_secret()).await, CheckOutcome::Lives);
    assert_eq!(setup.alive("a-dead-one").await, CheckOutcome::Dead);
    // No connection is kept: the next account's call could be answered on it.
    let seen = setup.broker.seen();
    assert_eq!(seen.iter().map(|seen| seen.connection).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(setup.tasks.stop(LIMIT).await, sixgate::domain::tasks::Stopped::Clean);
}

/// What a refused login means decides whether the next one locks the account.
#[tokio::test]
async fn refused_logins_are_told_apart() {
    let setup = start().await;
    let pin = refusal(setup.mint_with("111111", step(SignedDuration::ZERO, 0)).await.answered);
    assert_eq!(
        (pin.verdict, pin.login_refusal, pin.trouble.code.as_ref()),
        (RetryAdvice::AskPerson, true, "pin_refused")
    );
    assert!(pin.trouble.summary.contains("Invalid Pin"), "{pin:?}");
    let code = refusal(setup.mint_with(PIN, step(SignedDuration::ZERO, -10)).await.answered);
    assert_eq!((code.verdict, code.login_refusal), (RetryAdvice::NextWindow, true));
    setup.broker.unlock_login(&setup.id);

    let this = step(SignedDuration::ZERO, 0);
    good(setup.mint_with(PIN, this).await.answered);
    let used = refusal(setup.mint_with(PIN, this).await.answered);
    assert_eq!(used.verdict, RetryAdvice::NextWindow, "a code is good for one login");
    setup.broker.set_cooldown(Duration::from_secs(120));
    let soon = refusal(setup.mint_with(PIN, this + 1).await.answered);
    assert_eq!((soon.verdict, soon.login_refusal), (RetryAdvice::RetryAfter(Duration::from_secs(130)), false));
    assert_eq!(setup.broker.mints(&setup.id).len(), 1);
}

/// Only what a person made on the web is renewed, and it dies of it.
#[tokio::test]
async fn a_web_token_renews_and_another_kind_does_not() {
    let setup = start().await;
    let old = setup.broker.mint_web_token(&setup.id);
    let called = setup.login.renew(&setup.legs, &setup.id, &old.as_str().into(), soon()).await;
    let new = good(called.answered);
    assert_eq!(new.consumer, Consumer::SelfMade);
    assert_eq!(setup.alive(&old).await, CheckOutcome::Dead);
    assert_eq!(setup.alive(new.token.expose_secret()).await, CheckOutcome::Lives);
    let dead = setup.login.renew(&setup.legs, &setup.id, &old.as_str().into(), soon()).await.answered;
    assert_eq!(refusal(dead).verdict, RetryAdvice::TokenDead);

    let app = setup.broker.mint_token(&setup.id);
    let wrong = setup.login.renew(&setup.legs, &setup.id, &app.as_str().into(), soon()).await.answered;
    assert_eq!(refusal(wrong).verdict, RetryAdvice::WrongKind);
    assert_eq!(setup.alive(&app).await, CheckOutcome::Lives, "it lives on");

    setup.broker.fault(Fault::new(Action::Close { executed: true }).on("GET", "/v2/RenewToken").times(1));
    let web = setup.broker.mint_web_token(&setup.id);
    let lost = setup.login.renew(&setup.legs, &setup.id, &web.as_str().into(), soon()).await.answered;
    assert!(matches!(lost, Answered::Unknown(_)), "{lost:?}");
    assert_eq!(setup.alive(&web).await, CheckOutcome::Dead, "the old one died, and nobody has the new one");
}

/// GET in the SDK, POST in the documents' table: whichever the broker takes.
#[tokio::test]
async fn a_consent_is_fetched_by_either_verb() {
    let setup = start().await;
    for (verbs, asked) in [
        (ConsentVerbs::Both, &["GET"][..]),
        (ConsentVerbs::Get, &["GET"][..]),
        (ConsentVerbs::Post, &["GET", "POST"][..]),
    ] {
        setup.broker.set_login_rules(LoginRules { consent_verbs: verbs, ..setup.broker.login_rules() });
        let token_id = setup.token_id().await;
        setup.broker.clear_seen();
        let minted = good(setup.consume(&token_id).await);
        let seen = setup.broker.seen();
        assert_eq!(seen.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), asked, "{verbs:?}");
        assert_eq!(setup.alive(minted.token.expose_secret()).await, CheckOutcome::Lives);
    }
    let unknown = refusal(setup.consume(&"66666666-7777-4888-9999-000000000000".into()).await);
    assert_eq!((unknown.verdict, unknown.login_refusal), (RetryAdvice::AskPerson, false));
    setup.broker.clear_seen();
    let bad = refusal(setup.consume(&"x&tokenId=another-id".into()).await);
    assert_eq!(bad.trouble.code, "token_id_invalid");
    assert!(setup.broker.seen().is_empty(), "what is no tokenId is not sent");

    // An answer that was lost is not asked for again by another verb.
    let token_id = setup.token_id().await;
    setup.broker.clear_seen();
    setup.fault_logins(Action::Close { executed: true });
    assert!(matches!(setup.consume(&token_id).await, Answered::Unknown(_)));
    assert_eq!(setup.broker.seen().len(), 1);

    let wrong = (&KEY.into(), &"another-secret".into());
    let refused = setup.login.generate_consent(&setup.legs, &setup.id, wrong.0, wrong.1, soon()).await.answered;
    assert_eq!(refusal(refused).trouble.code, "api_key_refused");
    setup.broker.set_login_rules(LoginRules { consents_a_day: 0, ..setup.broker.login_rules() });
    let spent =
        setup.login.generate_consent(&setup.legs, &setup.id, &KEY.into(), &APP_SECRET.into(), soon()).await.answered;
    assert_eq!(refusal(spent).verdict, RetryAdvice::RetryAfter(Duration::from_secs(86_400)));
}

/// A login without an answer may have made a token: it is not tried again here, and
/// never called unsent.
#[tokio::test]
async fn a_lost_answer_is_lost_and_asked_once() {
    let setup = start().await;
    for executed in [false, true] {
        setup.broker.clear_seen();
        setup.fault_logins(Action::Close { executed });
        let answered = setup.mint_with(PIN, step(SignedDuration::ZERO, i64::from(executed))).await.answered;
        assert!(matches!(answered, Answered::Unknown(_)), "{answered:?}");
        assert_eq!(setup.broker.seen().len(), 1);
    }
    assert_eq!(setup.broker.mints(&setup.id).len(), 1);
    setup.fault_logins(Action::Hang { executed: true });
    let hasty = BrokerClient::new(host("api.dhan.co"), host("auth.dhan.co"), Duration::from_millis(500));
    let (pin, totp) = (PIN.into(), TOTP.into());
    let answered = hasty.pin_totp(&setup.legs, &setup.id, &pin, &totp, 1, soon()).await.answered;
    assert!(matches!(answered, Answered::Unknown(_)), "{answered:?}");
}

/// A page of HTML proves nothing: the broker behind it may have made a token.
#[tokio::test]
async fn a_page_in_place_of_an_answer_proves_nothing() {
    let setup = start().await;
    for action in [
        Action::Html { status: 200, executed: false },
        Action::Html { status: 403, executed: false },
        Action::BadGateway { executed: true },
        Action::Refuse { status: 500, body: json!({}) },
        Action::Refuse { status: 302, body: Value::Null },
        Action::Refuse { status: 200, body: json!({ "accessToken": "x".repeat(70_000) }) },
    ] {
        setup.fault_logins(action.clone());
        let refused = refusal(setup.mint().await.answered);
        assert_eq!((refused.verdict, refused.login_refusal), (RetryAdvice::Unknown, false), "{action:?}: {refused:?}");
    }
    setup.fault_logins(Action::Refuse { status: 429, body: Value::Null });
    assert!(matches!(refusal(setup.mint().await.answered).verdict, RetryAdvice::RetryAfter(_)));
}

/// Only what is proven is called unsent: a code and a day's consent hang on it.
#[tokio::test]
async fn what_never_left_is_proven_not_sent() {
    let setup = start().await;
    let past = Timestamp::now().checked_sub(SignedDuration::from_secs(1)).unwrap();
    let late = setup.login.pin_totp(&setup.legs, &setup.id, &PIN.into(), &TOTP.into(), 1, past).await;
    assert!(matches!(late.answered, Answered::NotSent(_)), "{late:?}");
    assert!(setup.broker.seen().is_empty());

    // Nobody listens; and a broker whose certificate is not the broker's. Both legs are tried.
    let nobody = tokio::net::TcpListener::bind("[::1]:0").await.unwrap().local_addr().unwrap();
    let std::net::SocketAddr::V6(nobody) = nobody else { panic!("not IPv6") };
    for (at, says) in [(nobody, "refused"), (setup.broker.address(), "certificate")] {
        let legs = legs(own_pair(), vec![at], Vec::new(), &setup.tasks);
        let called = setup.login.pin_totp(&legs, &setup.id, &PIN.into(), &TOTP.into(), 1, soon()).await;
        let Answered::NotSent(why) = called.answered else { panic!("{called:?}") };
        assert!(["primary", "secondary", says].iter().all(|word| why.contains(word)), "{why}");
        assert_eq!(called.skew, None);
    }
    assert!(setup.broker.seen().is_empty());
    assert_eq!(setup.broker.login_attempts(&setup.id), 0);
}

/// Codes and the ends of tokens are by the broker's clock, wherever ours is.
#[tokio::test]
async fn the_brokers_clock_is_measured_and_its_tokens_are_judged_by_it() {
    let setup = start().await;
    for ahead in [95, -95, 3 * 86_400, -3 * 86_400] {
        let ahead = SignedDuration::from_secs(ahead);
        setup.broker.set_clock_skew(ahead);
        setup.broker.add_account(Account::new(setup.id.clone(), "T", PIN, TOTP));
        // A code that was used says nothing any more once the secret is another.
        setup.broker.add_account(Account::new(setup.id.clone(), "T", PIN, "KRUGS4ZANFZSAYJA"));
        setup.broker.add_account(Account::new(setup.id.clone(), "T", PIN, TOTP));
        let called = setup.mint_with(PIN, step(ahead, 0)).await;
        // The clock that everything is held against is corrected by it, and what is left is the rounding of a `Date`.
        let left = called.skew.unwrap();
        assert!(left.abs() <= SignedDuration::from_millis(1_600), "{left} at {ahead}");
        let off = steady::brokers_ahead_of_host().unwrap().checked_sub(ahead).unwrap();
        assert!(off.abs() <= SignedDuration::from_millis(1_600), "{off} off at {ahead}");
        let minted = good(called.answered);
        let left = minted.expires_at.duration_since(Timestamp::now().checked_add(ahead).unwrap());
        assert!((86_390..=86_400).contains(&left.as_secs()), "{left}");
    }
}

/// The reply's own field comes in as many forms as there are clients that read it.
#[tokio::test]
async fn every_form_of_a_tokens_end_is_read() {
    let setup = start().await;
    for (n, form) in [
        ExpiryForm::AsSeen,
        ExpiryForm::Milliseconds,
        ExpiryForm::Seconds,
        ExpiryForm::EpochMilliseconds,
        ExpiryForm::Offset,
    ]
    .into_iter()
    .enumerate()
    {
        setup.broker.set_login_rules(LoginRules { expiry: form, ..setup.broker.login_rules() });
        let old = setup.broker.mint_web_token(&setup.id);
        let renewed = setup.login.renew(&setup.legs, &setup.id, &old.as_str().into(), soon()).await;
        assert_eq!(good(renewed.answered).consumer, Consumer::SelfMade, "{n}: {form:?}");
    }
}

/// Two accounts whose credentials were mixed up must not trade with each other's token.
#[tokio::test]
async fn another_accounts_token_is_thrown_away() {
    let setup = start().await;
    let other = ClientId::parse("1000000002").unwrap();
    setup.broker.add_account(Account::new(other.clone(), "OTHER", PIN, TOTP));
    let theirs = setup.broker.mint_token(&other);
    setup.fault_logins(Action::Refuse { status: 200, body: json!({ "accessToken": theirs }) });
    let called = setup.mint().await;
    assert!(!format!("{called:?}").contains(&theirs));
    let refused = refusal(called.answered);
    assert_eq!((refused.verdict, refused.trouble.code.as_ref()), (RetryAdvice::AskPerson, "token_of_another_account"));
    let profile = setup.login.profile(&setup.legs, &setup.id, &theirs.as_str().into()).await.answered;
    assert_eq!(profile.outcome, CheckOutcome::Dead, "{profile:?}");
}

/// Whatever goes wrong, what it is told with holds no secret.
#[tokio::test]
async fn no_secret_is_in_what_is_told() {
    let log = Log::start();
    let setup = start().await;
    let mut told = String::new();
    let token_id = setup.token_id().await;
    let web = setup.broker.mint_web_token(&setup.id);
    for action in [
        None,
        Some(Action::Close { executed: false }),
        Some(Action::Html { status: 500, executed: false }),
        Some(Action::Refuse { status: 400, body: Value::Null }),
    ] {
        for (n, quoted) in [PIN, APP_SECRET, &web].into_iter().enumerate() {
            // A broker that quotes what it was sent.
            let quote = || json!({ "errorMessage": format!("bad {quoted} value") });
            match &action {
                Some(Action::Refuse { status, .. }) => {
                    setup.broker.fault(Fault::new(Action::Refuse { status: *status, body: quote() }).times(1));
                }
                Some(action) => setup.broker.fault(Fault::new(action.clone()).times(1)),
                None => {}
            }
            told += &match n {
                0 => format!("{:?}", setup.mint().await),
                1 => format!("{:?}", setup.consume(&token_id).await),
                _ => format!("{:?}", setup.login.renew(&setup.legs, &setup.id, &web.as_str().into(), soon()).await),
            };
        }
    }
    let untrusting = legs(own_pair(), vec![setup.broker.address()], Vec::new(), &setup.tasks);
    let (pin, totp) = (PIN.into(), TOTP.into());
    told += &format!("{:?}", setup.login.pin_totp(&untrusting, &setup.id, &pin, &totp, 1, soon()).await);
    told += &log.text();
    assert!(told.contains("generateAccessToken") && told.contains("asked the broker"), "nothing was logged: {told}");
    let mut secrets = vec![PIN.to_owned(), TOTP.into(), APP_SECRET.into(), KEY.into(), web.clone()];
    secrets.push(token_id.expose_secret().to_owned());
    secrets.extend(
        setup
            .broker
            .seen()
            .iter()
            .filter_map(|seen| seen.path_and_query.split_once("totp=").map(|(_, code)| format!("totp={code}"))),
    );
    assert!(secrets.len() > 7, "no code was sent");
    for secret in secrets {
        assert!(!told.contains(&secret), "{secret} is in {told}");
    }
}

/// Everything that this process logs, at the most talkative level of our own.
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let writer = std::sync::Arc::clone(&lines);
        let make = move || Lines(std::sync::Arc::clone(&writer));
        let _another_test_was_first = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(make)
            .try_init();
        Self(lines)
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap().clone();
        let text = String::from_utf8_lossy(&lines).into_owned();
        // Of libraries only warnings are let out (`telemetry::logs`).
        let ours = |line: &&str| line.contains(" sixgate") || line.contains(" WARN ") || line.contains(" ERROR ");
        text.lines().filter(ours).collect::<Vec<_>>().join("\n")
    }
}

struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A dead line must not keep an account from logging in, and the login leaves from the
/// account's own other address.
#[test]
fn a_login_goes_by_the_secondary_when_the_primary_cannot_be_dialled() {
    for state in [Uplink::Silent, Uplink::Down] {
        let world = World::up(1, "");
        world.net.uplink(1, state);
        let trader = world.traders[0].clone();
        let (ca, id) = (world.dir.path().join("broker-ca.pem"), trader.client_id.clone());
        world.broker.clear_seen();
        let called = world.net.in_ns(Ns::Gateway, move || async move {
            let at = vec![SocketAddrV6::new(net::broker(1), 443, 0, 0)];
            let legs = legs(trader.pair, at, vec![ca], &Tasks::default());
            let (pin, totp): (Secret, Secret) = ("123456".into(), TOTP.into());
            login(LIMIT).pin_totp(&legs, &id, &pin, &totp, step(SignedDuration::ZERO, 0), soon()).await
        });
        assert_eq!(called.leg, Some(Role::Secondary), "{called:?}");
        good(called.answered);
        let seen = world.broker.seen();
        let [login] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!(*login.peer.ip(), world.traders[0].pair.secondary.ip());
    }
}
