//! A gateway with a number of accounts.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::broker::{Broker, client_id, token};
use crate::cpu::{CpuTime, pin_this_thread};
use crate::plain;
use crate::support::caller::basic;
use crate::support::wait::poll;
use crate::support::{Gateway, Place, Ready, wait_until};
use crate::upstream::HOST;
use crate::wire::{Admin, Wire};
use crate::{GATEWAY_CORE, LOAD_CORE};

/// A broker host whose CONNECT is passed on blindly.
const TUNNELLED: &str = "images.dhan.co";
/// Accounts that trade, at most: each needs a key.
const TRADERS: u64 = 256;
/// Calls of the admin API at once, while accounts are made.
const CALLS: usize = 8;
/// A start or a stop with many accounts may take long, in a build for debugging above all.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a reload says when it is done, to who listens for it.
const RELOADED: &str = "the configuration was reloaded";
/// What a reload says to everybody, before it is done, after [`TOUCHED`] was added to the configuration.
const TOLD: &str = "journal.keep has changed";
const TOUCHED: &str = "[journal]\nkeep = \"1000d\"\n";
/// Numbers of accounts that one gateway may have, so that no two gateways share one.
const NUMBERS: u64 = 1_000_000;
/// Less of a core than this is rest.
const REST: f64 = 0.05;

/// Warm connections have a price of their own, and are kept for some accounts only, by the number of accounts and by
/// the hour: without them a figure is the same at any hour, and is the accounts'.
const COLD: &str = "[legs]\nwarm = 0\n";
/// The same at any hour too.
const WARM: &str = "[legs]\nwarm = 1\nwarm_hours = \"always\"\n";
const QUIET: &str = "[log]\nlevel = \"warn\"\n";
const TALKING: &str = "[log]\nlevel = \"info\"\n";

/// A gateway and its accounts.
pub(crate) struct Site {
    pub accounts: u64,
    /// Where orders go.
    pub at: SocketAddr,
    pub admin: SocketAddr,
    pub traders: Vec<Trader>,
    /// Until all accounts had been made.
    pub made: Duration,
    dir: PathBuf,
    /// Without legs and log.
    config: String,
    gateway: Gateway,
}

/// An account that sends orders.
#[derive(Clone, Debug)]
pub(crate) struct Trader {
    pub number: u64,
    pub primary: IpAddr,
    pub secondary: IpAddr,
    /// An order with its key.
    pub order: Bytes,
    /// A `CONNECT` with its key.
    pub connect: String,
}

impl Site {
    /// Make the `index`th gateway, in front of this broker, with so many accounts.
    pub(crate) fn make(index: u16, accounts: u64, broker: &Broker, idle_timeout: Duration, dir: &Path) -> Self {
        assert!(accounts < NUMBERS, "at most {NUMBERS} accounts");
        let dir = dir.join(format!("gateway-{index}"));
        fs::create_dir(&dir).expect("a folder for the gateway");
        // Below the ports that connections leave from.
        let at = SocketAddr::from((Ipv6Addr::LOCALHOST, 100 + 2 * index));
        let admin = SocketAddr::from((Ipv6Addr::LOCALHOST, 101 + 2 * index));
        let config = config(index, at, admin, broker, idle_timeout, &dir);
        let gateway = start(&format!("{config}{COLD}{QUIET}"), &dir, Ready::Readyz);
        let began = Instant::now();
        let traders = populate(index, accounts, admin, &dir);
        Self { accounts, at, admin, traders, made: began.elapsed(), dir, config, gateway }
    }

    /// Stop it and start it again on its state; how long it takes from there until an order is answered.
    pub(crate) fn restart(&mut self) -> Duration {
        let ended = self.gateway.terminate_within(PATIENCE);
        assert!(ended.success(), "the gateway ended with {ended}; it said:\n{}", self.gateway.log());
        let began = Instant::now();
        self.gateway = start(&format!("{}{COLD}{QUIET}", self.config), &self.dir, Ready::Nothing);
        loop {
            let order = &self.traders[0].order;
            let answered = Wire::connect(self.at).and_then(|mut wire| wire.exchange(order).map(|(status, _)| status));
            if answered.as_ref().is_ok_and(|status| *status == 200) {
                return began.elapsed();
            }
            assert!(self.gateway.ended().is_none(), "the gateway ended; it said:\n{}", self.gateway.log());
            assert!(began.elapsed() < PATIENCE, "no order was answered: {answered:?}");
            pause(Duration::from_millis(1));
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.gateway.id()
    }

    pub(crate) fn cpu(&self) -> CpuTime {
        CpuTime::of_process(self.process_id())
    }

    /// CPU time of the threads that it has, to the nanosecond: at rest the kernel's ticks are too coarse.
    pub(crate) fn exact_cpu(&self) -> Duration {
        self.cpu_of_threads(|_| true)
    }

    /// The same of those threads that serve callers.
    pub(crate) fn callers_cpu(&self) -> Duration {
        self.cpu_of_threads(|name| name.starts_with("worker-"))
    }

    fn cpu_of_threads(&self, wants: impl Fn(&str) -> bool) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process_id())).expect("it runs");
        let named =
            |thread: &fs::DirEntry| fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| wants(&name));
        let threads = threads.flatten().filter(named);
        let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        let nanoseconds = |text: String| text.split(' ').next()?.parse::<u64>().ok();
        Duration::from_nanos(texts.filter_map(nanoseconds).sum())
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::connect(self.admin, &self.admin_token())
    }

    pub(crate) fn admin_token(&self) -> String {
        admin_token(&self.dir)
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line with its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Stop it where it is, so that it takes nothing from the others.
    pub(crate) fn rest(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Let it go on, and wait until it has made up for what it missed.
    pub(crate) fn wake(&self) {
        self.signal(Signal::SIGCONT);
        let look = Duration::from_millis(200);
        poll(Duration::from_secs(30), || (self.share(look) < REST).then_some(()));
    }

    /// Wait until it is at rest and has no connection to its broker. After a start it asks for a while whether the
    /// tokens are still good.
    pub(crate) fn settle(&self, broker: &Broker, patience: Duration) {
        let look = Duration::from_millis(500);
        let is_idle = poll(patience, || (self.share(look) < REST && broker.open() == 0).then_some(()));
        if is_idle.is_none() {
            eprintln!("{} accounts: not at rest after {patience:?}", self.accounts);
        }
    }

    /// How much of a core it uses now.
    pub(crate) fn share(&self, look: Duration) -> f64 {
        let (before, began) = (self.exact_cpu(), Instant::now());
        pause(look);
        self.exact_cpu().saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64()
    }

    /// The same with warm connections at any hour, after there are so many to the broker.
    pub(crate) fn share_when_warm(&self, look: Duration, broker: &Broker, connections: u64) -> f64 {
        self.put_in_force(WARM, QUIET);
        wait_until("warm connections", PATIENCE, || broker.open() >= connections);
        let share = self.share(look);
        self.put_in_force(COLD, QUIET);
        share
    }

    /// Ask for a reload and do not wait for it.
    pub(crate) fn request_reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// How long each of so many reloads takes.
    pub(crate) fn reloads(&self, count: usize) -> Vec<Duration> {
        self.put_in_force(COLD, TALKING);
        let times = (0..count).map(|_| self.reload(RELOADED)).collect();
        self.put_in_force(COLD, QUIET);
        times
    }

    /// Reload with this and wait until it is in force: the first reload says that it is about to, and the second
    /// begins after the first has ended.
    fn put_in_force(&self, legs: &str, log: &str) {
        Gateway::write_config(&self.dir, &format!("{}{legs}{log}{TOUCHED}", self.config));
        self.reload(TOLD);
        self.reload(TOLD);
        Gateway::write_config(&self.dir, &format!("{}{legs}{log}", self.config));
    }

    /// Until it says this once more.
    fn reload(&self, word: &str) -> Duration {
        let said = || self.gateway.log().matches(word).count();
        let before = said();
        let began = Instant::now();
        self.request_reload();
        while said() == before {
            assert!(began.elapsed() < PATIENCE, "no reload; it said:\n{}", self.gateway.log());
            pause(Duration::from_micros(200));
        }
        began.elapsed()
    }

    fn signal(&self, signal: Signal) {
        // Our child keeps its id until it is waited for, which is done when it is started again or dropped.
        let id = i32::try_from(self.process_id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("send a signal to our child");
    }
}

/// The `number`th account's name.
pub(crate) fn name(number: u64) -> String {
    format!("account-{number}")
}

/// Let time pass.
pub(crate) fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn config(
    index: u16,
    at: SocketAddr,
    admin: SocketAddr,
    broker: &Broker,
    idle_timeout: Duration,
    dir: &Path,
) -> String {
    // One account sends what the broker would take from thousands. The limits are kept all the same, only with room
    // for it.
    let limits = dir.join("limits.toml");
    let window = "[{ count = 1000000, per = \"1s\" }]";
    let table = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n\
         [windows]\norder = {window}\ndata = {window}\nquote = {window}\nother = {window}\n"
    );
    fs::write(&limits, table).expect("a table of limits");
    let mut config = String::new();
    let _ = write!(
        config,
        "[[listener]]\naddress = \"{at}\"\nclient_key = \"required\"\n\
         [admin]\naddress = \"{admin}\"\n\
         [[pool]]\nname = \"main\"\nprimary = \"2001:db8:a1:{index:x}::/64\"\nsecondary = \"2001:db8:a2:{index:x}::/64\"\n\
         [limits]\nfile = \"{limits}\"\n\
         [proxy]\ntunnel_hosts = [\"{TUNNELLED}\"]\n\
         [egress]\nextra_roots = [\"{ca}\"]\nidle_per_leg = 256\nidle_timeout = \"{idle_timeout:?}\"\n\
         [egress.resolve]\n\"{HOST}\" = [\"{to}\"]\n\"{TUNNELLED}\" = [\"{plain}\"]\n",
        limits = limits.display(),
        ca = broker.ca_file.display(),
        to = broker.at(),
        plain = plain::AT,
    );
    config
}

fn start(config: &str, dir: &Path, ready: Ready) -> Gateway {
    // Children run where the thread that starts them may run.
    pin_this_thread(GATEWAY_CORE);
    let gateway = Gateway::start_with(&Place::here(), config, dir, ready, |_| {});
    pin_this_thread(LOAD_CORE);
    gateway
}

fn admin_token(dir: &Path) -> String {
    fs::read_to_string(dir.join("state/admin.token")).expect("the admin's token").trim().to_owned()
}

/// Make accounts, each with a token and a pair, and keys for those that trade.
fn populate(index: u16, accounts: u64, admin: SocketAddr, dir: &Path) -> Vec<Trader> {
    let secret = admin_token(dir);
    let next = AtomicU64::new(0);
    let traders = Mutex::new(Vec::new());
    let part = (accounts / 10).max(1);
    std::thread::scope(|scope| {
        for _ in 0..CALLS {
            scope.spawn(|| {
                let mut admin = Admin::connect(admin, &secret);
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= accounts {
                        return;
                    }
                    let trader = make_account(&mut admin, u64::from(index) * NUMBERS + number, number < TRADERS);
                    traders.lock().expect("nobody panicked with it").extend(trader);
                    if accounts >= 1000 && (number + 1).is_multiple_of(part) {
                        eprintln!("{accounts} accounts: {} made", number + 1);
                    }
                }
            });
        }
    });
    let mut traders = traders.into_inner().expect("nobody panicked with it");
    traders.sort_unstable_by_key(|trader: &Trader| trader.number);
    traders
}

fn make_account(admin: &mut Admin, number: u64, trades: bool) -> Option<Trader> {
    let name = name(number);
    let account = json!({
        "name": name, "platform": "DHAN_V2_IPV6", "client_id": client_id(number), "access_token": token(number),
    });
    admin.create("/v1/accounts", &account);
    let pair = admin.create(&format!("/v1/accounts/{name}/pair"), &json!({}));
    if !trades {
        return None;
    }
    let key = admin.create(&format!("/v1/accounts/{name}/keys"), &json!({}));
    let credentials = basic(&name, text(&key, "key"));
    let address = |role: &str| text(&pair, role).parse().expect("an address");
    Some(Trader {
        number,
        primary: address("primary"),
        secondary: address("secondary"),
        order: order(number, &credentials),
        connect: format!(
            "CONNECT {TUNNELLED}:443 HTTP/1.1\r\nHost: {TUNNELLED}:443\r\nProxy-Authorization: {credentials}\r\n\r\n"
        ),
    })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// An order as an engine sends it, with neither client id nor correlation id, which the gateway fills in. The symbol
/// tells the broker whose it should be.
fn order(number: u64, credentials: &str) -> Bytes {
    let body = format!(
        r#"{{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","tradingSymbol":"{number}","securityId":"11536","quantity":5,"disclosedQuantity":0,"price":3310.5,"triggerPrice":0.0,"afterMarketOrder":false,"amoTime":"OPEN","boProfitValue":0.0,"boStopLossValue":0.0}}"#
    );
    format!(
        "POST http://{HOST}/v2/orders HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {credentials}\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}
