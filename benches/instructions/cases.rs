//! What is counted: each part of an order's way, with what it is usually given.
//!
//! Each operation says whether it came out right, and one that did not ends the run: a part that refuses is quick.
//! Whatever an operation needs is made before counting begins.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sixgate::accounts::{Account, Accounts, NewAccount};
use sixgate::addressing::Addressing;
use sixgate::broker::dhan::endpoints::{Endpoint, RateClass, classify};
use sixgate::broker::dhan::limits::limits;
use sixgate::config::{Bind, ClientKey, Listener};
use sixgate::domain::tasks::Tasks;
use sixgate::domain::{AccountName, Authority, BootInstant, ClientId, Platform, Role, SourceAddr};
use sixgate::egress::pool::{IdleBounds, Pool, Reusable};
use sixgate::egress::tls::AlpnProfile;
use sixgate::egress::{self, Egress};
use sixgate::legs::{LegSettings, Legs, Supervisor};
use sixgate::orders::journal::{self, Entry, Journal, Kind, SafePath, SafeText};
use sixgate::orders::limits::{Decision, Limits, MonotonicTime, RateRequest, Rules};
use sixgate::proxy::bench_hooks::{self as probe, Caller};
use sixgate::store::records::CredentialsRecord;
use sixgate::store::{self, MasterKey, Store};
use sixgate::tokens::Keepers;
use sixgate::tokens::keeper::{BrokerReply, BrokerRequest, CallResult, TokenBroker};
use sixgate::tokens::lifecycle::{MarketCalendar, NeverOpen};

/// How often an operation is done while it is counted.
pub(crate) const TIMES: u64 = 1000;
/// How often before that: tables are read and memory is got at first use.
const WARM_UP: u64 = 100;

/// An operation: was its result right?
type Operation = Box<dyn FnMut() -> bool>;

/// A part that is counted.
pub(crate) struct Case {
    /// Its name in the baseline.
    pub name: &'static str,
    /// Makes what it needs, in a folder.
    make: fn(&Path) -> Operation,
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    Case { name: "caller_by_client_key", make: caller_by_client_key },
    Case { name: "caller_by_listener", make: caller_by_listener },
    Case { name: "sign_body_to_fill_in", make: sign_body_to_fill_in },
    Case { name: "sign_body_complete", make: sign_body_complete },
    Case { name: "sign_headers", make: sign_headers },
    Case { name: "endpoint_of_placement", make: endpoint_of_placement },
    Case { name: "endpoint_of_cancel", make: endpoint_of_cancel },
    Case { name: "judge_executed", make: judge_executed },
    Case { name: "judge_rejected", make: judge_rejected },
    Case { name: "limit", make: limit },
    Case { name: "journal_line", make: journal_line },
    Case { name: "journal_line_text", make: journal_line_text },
    Case { name: "pool_checkout", make: pool_checkout },
];

/// Do a case's operations.
pub(crate) fn run(case: &Case) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut operation = (case.make)(dir.path());
    for _ in 0..WARM_UP {
        assert!(operation(), "{}: the result is not right", case.name);
    }
    let right = counted_by_callgrind(TIMES, &mut *operation);
    assert_eq!(right, TIMES, "{}: results that are right", case.name);
}

/// Callgrind knows it by its name. No closure and no other function in here.
#[inline(never)]
fn counted_by_callgrind(times: u64, operation: &mut dyn FnMut() -> bool) -> u64 {
    let (mut done, mut right) = (0, 0);
    while done < times {
        right += operation() as u64;
        done += 1;
    }
    right
}

/// As many of it as a case takes.
fn supply<T: Clone>(of: &T) -> Vec<T> {
    vec![of.clone(); (WARM_UP + TIMES) as usize]
}

// Who asks.

/// A gateway's accounts with one of them, its key and its token.
struct World {
    accounts: Accounts,
    key: String,
    /// Keepers run on it.
    _runtime: tokio::runtime::Runtime,
}

/// A broker that cannot be reached.
struct NoBroker;

impl TokenBroker for NoBroker {
    fn call(&self, _: Arc<Legs>, _: ClientId, _: BrokerRequest) -> BoxFuture<'static, BrokerReply> {
        Box::pin(async { BrokerReply { skew: None, said: CallResult::NotSent(String::new()) } })
    }

    fn calendar(&self) -> &dyn MarketCalendar {
        &NeverOpen
    }
}

fn name() -> AccountName {
    AccountName::parse("alpha").unwrap()
}

fn client_id() -> ClientId {
    ClientId::parse("1000000001").unwrap()
}

impl World {
    fn new(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (accounts, key) = runtime.block_on(async {
            let accounts = accounts(dir);
            // Long after the last count: a token that ends meanwhile is another case.
            let claims = format!(r#"{{"exp":{},"dhanClientId":"{}"}}"#, 4_102_444_800_u64, client_id());
            let token =
                format!("eyJhbGciOiJIUzUxMiJ9.{}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()), "s".repeat(86));
            let new = NewAccount {
                name: name(),
                nickname: None,
                platform: Platform::Manual,
                client_id: client_id(),
                credentials: CredentialsRecord::default(),
                access_token: Some(token.into()),
                repeats_by: sixgate::domain::RepeatsBy::AnyId,
                streams: sixgate::domain::StreamsMode::PassOn,
            };
            accounts.create(new).await.unwrap();
            let key = accounts.add_key(&name()).await.unwrap();
            (accounts, key.key.expose_secret().to_owned())
        });
        Self { accounts, key, _runtime: runtime }
    }

    fn account(&self) -> Arc<Account> {
        self.accounts.lookup("alpha").unwrap()
    }
}

fn accounts(dir: &Path) -> Accounts {
    let key = MasterKey::load_or_create(&dir.join("master.key")).unwrap();
    let hour = Duration::from_hours(1);
    let quiet = store::Options { export_after: hour, ..store::Options::default() };
    let store = Store::open_with(&dir.join("state"), key, &quiet).unwrap();
    let options = egress::Options {
        connect_timeout: hour,
        user_timeout: hour,
        read_timeout: hour,
        freebind: false,
        http2: false,
        idle_timeout: hour,
        idle_per_exit: 1,
        open_per_exit: 1,
        extra_roots: Vec::new(),
        resolve: BTreeMap::new(),
        ipv4_hosts: std::collections::BTreeMap::new(),
        name_servers: Vec::new(),
    };
    let egress = Egress::new(options, Tasks::default()).unwrap();
    let settings = LegSettings { dwell: hour, warm: 0, warm_always: false, api: api() };
    let supervisor = Supervisor::new(settings, egress, Arc::default());
    let keepers = Keepers::new(
        store.clone(),
        Arc::new(NoBroker),
        1,
        Tasks::default(),
        sixgate::telemetry::events::Events::default(),
    );
    Accounts::new(store.clone(), supervisor, Addressing::new(store, false).unwrap(), keepers).unwrap()
}

fn api() -> Authority {
    Authority::parse("api.dhan.co:443", None).unwrap()
}

/// What an order engine's HTTP client sends, but for who it says it is.
fn headers(more: &[(&'static str, &str)]) -> HeaderMap {
    let usual = [
        ("host", "127.0.0.1:8100"),
        ("user-agent", "python-requests/2.32.3"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "application/json"),
        ("connection", "keep-alive"),
        ("content-type", "application/json"),
        ("access-token", "sixgate"),
        ("client-id", "1000000001"),
        ("content-length", "313"),
    ];
    let all = usual.iter().chain(more);
    all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

fn listener(account: Option<AccountName>, client_key: ClientKey) -> Caller {
    let local = "127.0.0.1:8100".parse().unwrap();
    let listener = Listener {
        bind: Bind::Tcp(local),
        account,
        client_key,
        uids: BTreeMap::new(),
        tls: None,
        own_hosts: Vec::new(),
        transparent: false,
        sources: BTreeMap::new(),
    };
    Caller::new(listener, local)
}

/// A proxy request with the account's name and key.
fn caller_by_client_key(dir: &Path) -> Operation {
    let world = World::new(dir);
    let caller = listener(None, ClientKey::Required);
    let shown = BASE64.encode(format!("alpha:{}", world.key).as_bytes());
    let headers = headers(&[("proxy-authorization", &format!("Basic {shown}"))]);
    let endpoint = placement();
    Box::new(move || {
        let asked = (&Method::POST, "http://api.dhan.co/v2/orders", &headers);
        let admitted = caller.check(black_box(&world.accounts), black_box(asked), &endpoint, ORDER.as_bytes());
        admitted.is_ok_and(|account| account.name.as_str() == "alpha")
    })
}

/// A request to a listener that is one account's own and asks for no key.
fn caller_by_listener(dir: &Path) -> Operation {
    let world = World::new(dir);
    let caller = listener(Some(name()), ClientKey::None);
    let headers = headers(&[]);
    let endpoint = placement();
    Box::new(move || {
        let asked = (&Method::POST, "/v2/orders", &headers);
        let admitted = caller.check(black_box(&world.accounts), black_box(asked), &endpoint, ORDER.as_bytes());
        admitted.is_ok_and(|account| account.name.as_str() == "alpha")
    })
}

// Signing.

/// As in the broker's documentation; the ids, where there are any, first.
const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":5,"disclosedQuantity":0,"price":3310.50,"triggerPrice":0,"afterMarketOrder":false,"amoTime":"","boProfitValue":0,"boStopLossValue":0}"#;

fn order_with_ids() -> Bytes {
    let ids = r#"{"dhanClientId":"1000000001","correlationId":"engine-7-000042","#;
    Bytes::from(ORDER.replacen('{', ids, 1))
}

fn placement() -> Endpoint {
    classify(&Method::POST, "/v2/orders", None)
}

/// Neither client id nor correlation id: both are put in.
fn sign_body_to_fill_in(_: &Path) -> Operation {
    let (body, endpoint, client_id) = (Bytes::from_static(ORDER.as_bytes()), placement(), client_id());
    let (signed, made) = probe::sign_body(body.clone(), endpoint, &client_id, None).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&signed).unwrap();
    assert_eq!(value["dhanClientId"], "1000000001");
    assert_eq!(value["correlationId"], made.unwrap());
    let length = signed.len();
    Box::new(move || {
        let signed = probe::sign_body(black_box(&body).clone(), endpoint, &client_id, None);
        signed.is_ok_and(|(body, made)| body.len() == length && made.is_some())
    })
}

/// Both are there, as a careful program sends them: nothing changes.
fn sign_body_complete(_: &Path) -> Operation {
    let (body, endpoint, client_id) = (order_with_ids(), placement(), client_id());
    Box::new(move || {
        let signed = probe::sign_body(black_box(&body).clone(), endpoint, &client_id, None);
        signed.is_ok_and(|(same, given)| same.as_ptr() == body.as_ptr() && given.is_some())
    })
}

/// The caller's credentials out, the account's in.
fn sign_headers(dir: &Path) -> Operation {
    let world = World::new(dir);
    let account = world.account();
    let token = account.token.last().unwrap();
    let mut waiting = supply(&headers(&[("proxy-authorization", "Basic YTpi")]));
    Box::new(move || {
        let mut headers = waiting.pop().unwrap();
        probe::sign_headers(black_box(&mut headers), &account, &token);
        headers.get("access-token") == Some(token.header()) && !headers.contains_key("proxy-authorization")
    })
}

// What it is, and what became of it.

fn endpoint_of_placement(_: &Path) -> Operation {
    Box::new(|| {
        let endpoint = classify(black_box(&Method::POST), black_box("/v2/orders"), None);
        endpoint.is_write() && endpoint.correlation && endpoint.rate == RateClass::Order
    })
}

fn endpoint_of_cancel(_: &Path) -> Operation {
    Box::new(|| {
        let endpoint = classify(black_box(&Method::DELETE), black_box("/v2/orders/112611230001"), None);
        endpoint.is_write() && !endpoint.correlation && endpoint.rate == RateClass::Order
    })
}

fn judge(status: StatusCode, body: &'static str, want: &'static str, names: Option<&'static str>) -> Operation {
    let reply: [(HeaderName, HeaderValue); 4] = [
        (http::header::DATE, HeaderValue::from_static("Wed, 25 Nov 2026 04:00:00 GMT")),
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (http::header::CONTENT_LENGTH, HeaderValue::from(body.len())),
        (http::header::CONNECTION, HeaderValue::from_static("keep-alive")),
    ];
    let mut waiting = supply(&HeaderMap::from_iter(reply));
    Box::new(move || {
        let body = Bytes::from_static(black_box(body).as_bytes());
        let (said, order) = probe::judge(status, waiting.pop().unwrap(), body);
        said == want && order.as_deref() == names
    })
}

fn judge_executed(_: &Path) -> Operation {
    let body = r#"{"orderId":"112611230001","orderStatus":"TRANSIT"}"#;
    judge(StatusCode::OK, body, "executed", Some("112611230001"))
}

fn judge_rejected(_: &Path) -> Operation {
    let body = r#"{"errorType":"Order_Error","errorCode":"DH-906","errorMessage":"Incorrect request for order and cannot be processed"}"#;
    judge(StatusCode::BAD_REQUEST, body, "rejected", None)
}

// How much, written down, and by which connection.

/// The windows of an account that has sent as much in the last day as it may.
fn limit(_: &Path) -> Operation {
    let mut limits = Limits::new(Arc::new(Rules::new(limits(), 0.05)));
    let endpoint = placement();
    let mut now = MonotonicTime::START;
    let mut take = move || {
        // A day's limit is 7,000, less the margin: one in 13.1 s.
        now = now.after(Duration::from_millis(13_500));
        let ask = RateRequest::of(black_box(&Method::POST), black_box("/v2/orders"), &endpoint, false, || [0; 32]);
        matches!(limits.try_take(0, &ask, now, now), Decision::Go(_))
    };
    assert!((0..7000).all(|_| take()), "a day's orders are let through");
    Box::new(take)
}

fn intent() -> Entry {
    let mut entry = Entry::new(Kind::Intent, "2026-11-25T04:00:00.123456Z".parse::<Timestamp>().unwrap());
    entry.request_id = Some(SafeText::new("019ab0f2-7c1e-7bb3-8e57-1d2f3a4b5c6d"));
    entry.account = Some(name());
    entry.leg = Some(Role::Primary);
    entry.source = Some(SourceAddr::parse("2001:db8:a1::1").unwrap());
    entry.target = Some(api());
    entry.method = Some(Method::POST);
    entry.path = Some(SafePath::new("/v2/orders"));
    entry.correlation_id = Some(SafeText::new("engine-7-000042"));
    entry.body_sha256 = Some([0xa5; 32]);
    entry.token_generation = Some(7);
    entry
}

/// A line with its hash into the file, not waiting for the disk.
fn journal_line(dir: &Path) -> Operation {
    // Whoever counts instructions is fifty times slower than the machine, and the disk is not.
    let hour = Duration::from_hours(1);
    let options = journal::Options { slow_from: hour, ..journal::Options::new(false, hour * 24) };
    let intent = intent();
    let journal = Journal::open(&dir.join("journal"), &options, intent.at).unwrap();
    let mut last = 0;
    Box::new(move || {
        let appended = journal.append_durable(black_box(&intent)).now_or_never();
        last += 1;
        matches!(appended, Some(Ok(appended)) if appended.seq == last)
    })
}

/// The line's text, and none of its hash.
fn journal_line_text(_: &Path) -> Operation {
    let (intent, mut line) = (intent(), Vec::with_capacity(4096));
    journal::bench_hooks::text(&mut line, &intent);
    let text = format!("{{\"seq\":1{}}}", std::str::from_utf8(&line).unwrap());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["source"], &value["kind"]), (&"2001:db8:a1::1".into(), &"intent".into()));
    let length = line.len();
    Box::new(move || {
        line.clear();
        journal::bench_hooks::text(&mut line, black_box(&intent));
        line.len() == length
    })
}

/// Stands for a connection that lives.
#[derive(Debug)]
struct Open(u32);

impl Reusable for Open {
    fn is_closed(&mut self, _: &Waker) -> bool {
        false
    }

    fn runtime(&self) -> Option<tokio::runtime::Id> {
        None
    }
}

/// Take the freshest of sixteen connections to this host, beside as many to another, and put it back.
fn pool_checkout(_: &Path) -> Operation {
    let hour = Duration::from_hours(1);
    let pool = Pool::new(Arc::new(IdleBounds::new(32, hour)), Waker::noop().clone());
    let (api, other, now) = (api(), Authority::parse("auth.dhan.co:443", None).unwrap(), BootInstant::now());
    for number in 0..16 {
        pool.put(api.clone(), AlpnProfile::Http1, Open(number), now);
    }
    for number in 16..32 {
        pool.put(other.clone(), AlpnProfile::Http1, Open(number), now);
    }
    Box::new(move || {
        let taken = pool.take(black_box(&api), AlpnProfile::Http1, now, None);
        let Some(connection) = taken.filter(|connection| connection.0 == 15) else { return false };
        pool.put(api.clone(), AlpnProfile::Http1, connection, now);
        true
    })
}
