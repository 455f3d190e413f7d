//! The keys: what each section is made of, and every default.
//!
//! This is the only place that knows a default; `config/sixgate.toml` repeats
//! them for people, and a test compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv6Net;

use super::ipv4::{Hosts, Misplaced};
use super::problems::Problems;
use super::reader::{ConfigReader, Pulled, Section};
use super::values::{Count, FilePath, Https, OperatorName, Plaintext, PoolName, Size, Wss};
use super::{
    Bind, ClientKey, Dhan, EgressConfig, Hours, JournalConfig, Latency, LegsConfig, LimitsConfig, LogConfig,
    OrdersConfig, ProxyConfig, PublicUrl, State, Tokens,
};
use crate::domain::{AccountName, Host, OperatorRole, OwnHost};

/// The sections that are lists: `[[listener]]`.
pub(super) const LISTS: [&str; 3] = ["listener", "pool", "admin.operator"];

/// What any wait may be set to. Ten minutes is longer than anybody waits for an
/// order, and more is a slip of the unit.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);

/// A configuration that is read but not checked.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) state: State,
    pub(super) listeners: Vec<DraftListener>,
    /// Does the file try to have a listener, however badly?
    pub(super) listener_given: bool,
    pub(super) admin: DraftAdmin,
    pub(super) egress: EgressConfig,
    /// Pins of `egress.resolve` that are of the wrong kind for their host.
    pub(super) misplaced_pins: Misplaced,
    pub(super) legs: LegsConfig,
    pub(super) orders: OrdersConfig,
    pub(super) tokens: Tokens,
    pub(super) limits: LimitsConfig,
    pub(super) journal: JournalConfig,
    pub(super) proxy: ProxyConfig,
    pub(super) latency: Latency,
    /// Only when all of it could be read.
    pub(super) dhan: Option<Dhan>,
    pub(super) pools: Vec<DraftPool>,
    pub(super) log: LogConfig,
}

/// `[admin]` as it stands in the file.
#[derive(Debug)]
pub(super) struct DraftAdmin {
    pub(super) bind: Option<Bind>,
    pub(super) token_file: PathBuf,
    pub(super) operator_token_file: Option<PathBuf>,
    pub(super) viewer_token_file: Option<PathBuf>,
    pub(super) operators: Vec<DraftOperator>,
    pub(super) certificate: Pulled<PathBuf>,
    pub(super) key: Pulled<PathBuf>,
    pub(super) public_url: Pulled<PublicUrl>,
    pub(super) hosts: Vec<Host>,
    pub(super) plaintext: bool,
}

/// An `[[admin.operator]]` as it stands in the file.
#[derive(Debug)]
pub(super) struct DraftOperator {
    pub(super) label: String,
    pub(super) name: Option<String>,
    pub(super) role: Option<OperatorRole>,
    pub(super) token_file: Option<PathBuf>,
}

/// A `[[listener]]` as it stands in the file.
#[derive(Debug)]
pub(super) struct DraftListener {
    pub(super) label: String,
    pub(super) bind: Option<Bind>,
    pub(super) account: Pulled<AccountName>,
    pub(super) client_key: Pulled<ClientKey>,
    pub(super) uids: Pulled<BTreeMap<u32, AccountName>>,
    pub(super) certificate: Pulled<PathBuf>,
    pub(super) key: Pulled<PathBuf>,
    pub(super) plaintext: bool,
    pub(super) own_hosts: Vec<OwnHost>,
    pub(super) transparent: Pulled<bool>,
    pub(super) sources: Pulled<BTreeMap<IpAddr, AccountName>>,
}

impl DraftListener {
    /// Is it given as one whose callers know no proxy?
    pub(super) const fn is_transparent(&self) -> bool {
        matches!(self.transparent, Pulled::Good(true))
    }
}

/// A `[[pool]]` as it stands in the file.
#[derive(Debug)]
pub(super) struct DraftPool {
    pub(super) label: String,
    pub(super) name: Option<String>,
    pub(super) primary: Option<Ipv6Net>,
    pub(super) secondary: Option<Ipv6Net>,
}

/// Reads every key. Paths are taken from `base` on.
pub(super) fn read(reader: &mut ConfigReader<'_>, base: &Path) -> Draft {
    learn_lists(reader);
    let state = state(reader, base);
    let listener_given = reader.has("listener");
    // In the order of the file's sections, which is that of its problems.
    let listeners = (0..reader.items("listener")).map(|i| listener(reader.item("listener", i), base)).collect();
    let admin = admin(reader, base, &state.path);
    let (egress, misplaced_pins) = egress(reader, base);
    Draft {
        listeners,
        listener_given,
        admin,
        state,
        egress,
        misplaced_pins,
        legs: legs(reader),
        orders: orders(reader),
        tokens: tokens(reader),
        limits: limits(reader, base),
        journal: journal(reader),
        proxy: proxy(reader),
        latency: latency(reader),
        dhan: dhan(reader),
        pools: (0..reader.items("pool")).map(|i| pool(reader.item("pool", i))).collect(),
        log: log(reader),
    }
}

/// Every key there is: `listener.address`, without the list's index.
pub(super) fn known_keys() -> BTreeSet<String> {
    let nothing = BTreeMap::new();
    let mut reader = ConfigReader::new(toml::Table::new(), &nothing, &LISTS, Problems::new(""));
    read(&mut reader, Path::new(""));
    reader.into_known()
}

/// Makes the keys of list items known even to a file without such a list, which
/// may have misspelt its name.
fn learn_lists(reader: &mut ConfigReader<'_>) {
    let nothing = BTreeMap::new();
    let mut blank = ConfigReader::new(toml::Table::new(), &nothing, &LISTS, Problems::new(""));
    listener(blank.item("listener", 0), Path::new(""));
    pool(blank.item("pool", 0));
    operator(blank.item("admin.operator", 0), Path::new(""));
    reader.learn(blank.into_known());
}

fn state(reader: &mut ConfigReader<'_>, base: &Path) -> State {
    let mut s = reader.section("state");
    let path = path(&mut s, "path", base).good().unwrap_or_else(|| base.join("state"));
    let key = self::path(&mut s, "master_key_file", base).good();
    State { master_key_file: key.unwrap_or_else(|| path.join("master.key")), path }
}

fn listener(mut s: Section<'_, '_>, base: &Path) -> DraftListener {
    DraftListener {
        label: s.own_label(),
        bind: s.required("address").map(|bind| rooted(bind, base)),
        account: s.pull("account"),
        client_key: s.pull("client_key"),
        uids: s.pull("uids"),
        certificate: path(&mut s, "tls_certificate", base),
        key: path(&mut s, "tls_key", base),
        // A wrong word is a problem of its own; that it is missing is then no second one.
        plaintext: s.pull::<Plaintext>("plaintext").given(),
        own_hosts: s.or("own_hosts", Vec::new()),
        transparent: s.pull("transparent"),
        sources: s.pull("sources"),
    }
}

fn admin(reader: &mut ConfigReader<'_>, base: &Path, state: &Path) -> DraftAdmin {
    let count = reader.items("admin.operator");
    let operators = (0..count).map(|i| operator(reader.item("admin.operator", i), base)).collect();
    let mut s = reader.section("admin");
    DraftAdmin {
        operators,
        certificate: path(&mut s, "tls_certificate", base),
        key: path(&mut s, "tls_key", base),
        public_url: s.pull("public_url"),
        hosts: s.or("hosts", Vec::new()),
        bind: match s.pull("address") {
            Pulled::Good(bind) => Some(rooted(bind, base)),
            Pulled::Absent => Some(Bind::Tcp(([127, 0, 0, 1], 8081).into())),
            Pulled::Bad => None,
        },
        token_file: path(&mut s, "token_file", base).good().unwrap_or_else(|| state.join("admin.token")),
        operator_token_file: path(&mut s, "operator_token_file", base).good(),
        viewer_token_file: path(&mut s, "viewer_token_file", base).good(),
        plaintext: s.pull::<Plaintext>("plaintext").given(),
    }
}

fn operator(mut s: Section<'_, '_>, base: &Path) -> DraftOperator {
    let name = s.required("name").map(|OperatorName(name)| name);
    if let Some(name) = &name {
        s.relabel(format!("admin.operator.{name}"));
    }
    let (role, file) = (s.required("role"), s.required("token_file"));
    DraftOperator { label: s.own_label(), name, role, token_file: file.map(|FilePath(path)| base.join(path)) }
}

fn egress(reader: &mut ConfigReader<'_>, base: &Path) -> (EgressConfig, Misplaced) {
    let mut s = reader.section("egress");
    let Hosts { resolve, ipv4, misplaced } = Hosts::new(s.or("resolve", BTreeMap::new()), s.pull("ipv4_hosts"));
    let egress = EgressConfig {
        connect_timeout: s.within("connect_timeout", Duration::from_secs(3), WAIT),
        user_timeout: s.within("user_timeout", Duration::from_secs(5), WAIT),
        response_timeout: s.within("response_timeout", Duration::from_secs(30), WAIT),
        freebind: s.or("freebind", true),
        extra_roots: s.or("extra_roots", Vec::new()).into_iter().map(|FilePath(path)| base.join(path)).collect(),
        http2: s.or("http2", false),
        idle_timeout: s.within("idle_timeout", Duration::from_secs(30), WAIT),
        idle_per_leg: s.within("idle_per_leg", Count(32), Count(0)..=Count(1_024)).0,
        connections_per_leg: s.within("connections_per_leg", Count(1_024), Count(1)..=Count(65_536)).0,
        resolve,
        ipv4_hosts: ipv4,
        name_servers: s.or("name_servers", Vec::new()),
        allow: s.or("allow", Vec::new()),
    };
    (egress, misplaced)
}

fn legs(reader: &mut ConfigReader<'_>) -> LegsConfig {
    let mut s = reader.section("legs");
    LegsConfig {
        dwell: s.within("dwell", Duration::from_secs(60), Duration::from_millis(1)..=Duration::from_hours(24)),
        warm: s.within("warm", Count(1), Count(0)..=Count(64)).0,
        warm_hours: s.or("warm_hours", Hours::Market),
    }
}

fn orders(reader: &mut ConfigReader<'_>) -> OrdersConfig {
    let mut s = reader.section("orders");
    OrdersConfig {
        response_timeout: s.within("response_timeout", Duration::from_secs(10), WAIT),
        reconcile_for: s.within("reconcile_for", Duration::from_secs(5), WAIT),
        leave_within: s.within("leave_within", Duration::from_secs(3), WAIT),
    }
}

fn tokens(reader: &mut ConfigReader<'_>) -> Tokens {
    let mut s = reader.section("tokens");
    let per_second = s.within("logins_per_second", Count(10), Count(1)..=Count(1_000)).0;
    Tokens { logins_per_second: u32::try_from(per_second).unwrap_or(1) }
}

fn limits(reader: &mut ConfigReader<'_>, base: &Path) -> LimitsConfig {
    let mut s = reader.section("limits");
    LimitsConfig {
        max_wait: s.within("max_wait", Duration::from_secs(1), WAIT),
        margin: s.within("margin", 0.05, 0.0..=0.5),
        file: path(&mut s, "file", base).good(),
    }
}

fn journal(reader: &mut ConfigReader<'_>) -> JournalConfig {
    const YEAR: u64 = 31_557_600; // seconds of `humantime`'s year, 365.25 days
    let mut s = reader.section("journal");
    let keep = Duration::from_hours(24)..=Duration::from_secs(100 * YEAR);
    JournalConfig { fsync: s.or("fsync", false), keep: s.within("keep", Duration::from_secs(5 * YEAR), keep) }
}

fn proxy(reader: &mut ConfigReader<'_>) -> ProxyConfig {
    let mut s = reader.section("proxy");
    ProxyConfig {
        body_limit: s.within("body_limit", Size(1 << 20), Size(1)..=Size(1 << 30)).0,
        idle_timeout: s.within("idle_timeout", Duration::from_secs(150), WAIT),
        request_timeout: s.within("request_timeout", Duration::from_secs(30), WAIT),
        max_connections: s.within("max_connections", Count(10_000), Count(1)..=Count(1_000_000)).0,
        intercept: s.or("intercept", true),
        tunnel_hosts: s.or("tunnel_hosts", Vec::new()),
        drain: s.within("drain", Duration::from_secs(20), Duration::from_millis(1)..=Duration::from_mins(5)),
    }
}

fn latency(reader: &mut ConfigReader<'_>) -> Latency {
    let mut s = reader.section("latency");
    Latency {
        spin: s.or("spin", false),
        spin_hours: s.or("spin_hours", Hours::Market),
        threads: s.within("threads", Count(0), Count(0)..=Count(256)).0,
    }
}

fn dhan(reader: &mut ConfigReader<'_>) -> Option<Dhan> {
    let mut s = reader.section("broker.dhan");
    let api = s.or_text("api", "https://api.dhan.co");
    let auth = s.or_text("auth", "https://auth.dhan.co");
    let order_update = s.or_text("order_update", "wss://api-order-update.dhan.co");
    let feed = s.or_text("feed", "wss://api-feed.dhan.co");
    let depth20 = s.or_text("depth20", "wss://depth-api-feed.dhan.co");
    let depth200 = s.or_text("depth200", "wss://full-depth-api.dhan.co");
    let images = s.or_text("images", "https://images.dhan.co");
    let https = |Https(at)| at;
    let wss = |Wss(at)| at;
    // Only now may one that is missing end it: each has had its problem noted.
    Some(Dhan {
        api: api.map(https)?,
        auth: auth.map(https)?,
        order_update: order_update.map(wss)?,
        feed: feed.map(wss)?,
        depth20: depth20.map(wss)?,
        depth200: depth200.map(wss)?,
        images: images.map(https)?,
    })
}

fn pool(mut s: Section<'_, '_>) -> DraftPool {
    let name = s.required("name").map(|PoolName(name)| name);
    if let Some(name) = &name {
        s.relabel(format!("pool.{name}"));
    }
    let (primary, secondary) = (s.required("primary"), s.required("secondary"));
    DraftPool { label: s.own_label(), name, primary, secondary }
}

fn log(reader: &mut ConfigReader<'_>) -> LogConfig {
    let mut s = reader.section("log");
    LogConfig { level: s.or("level", tracing::Level::INFO), json: s.or("json", false) }
}

/// Pulls a path. A relative one starts at `base`.
fn path(s: &mut Section<'_, '_>, key: &'static str, base: &Path) -> Pulled<PathBuf> {
    match s.pull(key) {
        Pulled::Good(FilePath(path)) => Pulled::Good(base.join(path)),
        Pulled::Absent => Pulled::Absent,
        Pulled::Bad => Pulled::Bad,
    }
}

/// A unix socket's path is a path like any other.
fn rooted(bind: Bind, base: &Path) -> Bind {
    match bind {
        Bind::Unix(path) => Bind::Unix(base.join(path)),
        tcp @ Bind::Tcp(_) => tcp,
    }
}
