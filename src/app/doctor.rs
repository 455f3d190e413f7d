//! The doctor: everything that can be wrong with a host, looked at once, in a running gateway or before there is one.
//!
//! The order matters. First what this host says by itself, to which nothing is sent; then name servers; then one
//! connection for each prefix and host of the broker, never one for each account, and `AT_ONCE` at most at once. Nobody
//! else is asked anything. What is found is judged by `host`.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use ipnet::Ipv6Net;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout};

use super::descriptors::Shares;
use super::host_check::ROWS;
use crate::accounts::Accounts;
use crate::addressing::Prefixes;
use crate::config::{self, Bind, Config};
use crate::domain::host_limits::Lack;
use crate::domain::{Authority, SourceAddr};
use crate::egress::{DialError, Egress, Exit, Message, guard};
use crate::host::{
    BrokerHost, Came, Evidence, Examination, Examiner, Facts, Failure, Ipv4Try, Machine, MachineQuery, NamesSaid,
    OUTSIDE, Sender, Setting, Try, Wants, Wish, examine,
};
use crate::tokens::client::skew;

/// Connections at once.
const AT_ONCE: usize = 8;
/// How long an answer to a request without a body may take.
const ANSWER: Duration = Duration::from_secs(10);
/// An address that is still tentative after this long stays so.
const TENTATIVE: Duration = Duration::from_secs(3);
/// How long a name may take that is needed to connect.
const NAMES: Duration = Duration::from_secs(5);
/// What the keeper of a token says of an account that something else logs in to.
pub const RIVAL: &str = crate::tokens::lifecycle::ANOTHER_LOGS_IN;
/// A broker other than Dhan's own, for tests, is answered to from any address.
const REAL: &str = ".dhan.co";

/// What is done at the moment, for people who wait.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Something new was begun.
    Begun(&'a str),
    /// So many connections came to an end, of so many.
    Connected {
        /// So many.
        done: usize,
        /// Of so many.
        of: usize,
    },
}

/// Called with what is done, as it is.
type OnProgress<'a> = &'a (dyn Fn(Progress<'_>) + Sync);

/// What is known of the gateway that a host is examined for.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Its configuration, or the defaults.
    pub config: Config,
    /// Was there a configuration?
    pub configured: bool,
    /// Addresses that accounts leave from, besides those that pools give.
    pub senders: Vec<Sender>,
    /// Does it run?
    pub running: bool,
    /// How many accounts it has, if that is known.
    pub accounts: Option<usize>,
    /// Accounts that another program logs in to, if a gateway could be asked, and what is known of that.
    pub logins: Option<Vec<(String, String)>>,
}

impl Patient {
    /// A gateway that there is no configuration of: all defaults, and no pool.
    ///
    /// # Errors
    /// Variables of the environment that are no settings.
    pub fn unknown() -> Result<Self, config::Problems> {
        let text = "[[listener]]\naddress = \"127.0.0.1:8080\"\nclient_key = \"required\"\n";
        let config = config::from_text_and_environment("the defaults", Path::new(""), text)?;
        Ok(Self { configured: false, ..Self::of(config) })
    }

    /// A gateway with this configuration, of which no more is known.
    pub const fn of(config: Config) -> Self {
        Self { config, configured: true, senders: Vec::new(), running: false, accounts: None, logins: None }
    }

    /// Hosts of the broker, each once.
    fn hosts(&self) -> Vec<(Authority, BrokerHost)> {
        let dhan = &self.config.dhan;
        let needed = [&dhan.api, &dhan.auth].map(|at| (at, true));
        let more = [&dhan.order_update, &dhan.feed, &dhan.depth20, &dhan.depth200, &dhan.images].map(|at| (at, false));
        let mut seen = BTreeSet::new();
        let all = needed.into_iter().chain(more).filter(|(at, _)| seen.insert(at.host.as_str().to_owned()));
        let host = |at: &Authority, is_needed| {
            let takes_orders = at.host == dhan.api.host;
            BrokerHost { name: at.host.as_str().to_owned(), is_needed, takes_orders }
        };
        all.map(|(at, is_needed)| (at.clone(), host(at, is_needed))).collect()
    }

    /// The addresses to look at: those of accounts, and one of each prefix that has none.
    fn wishes(&self) -> Vec<Wish> {
        let mut senders = self.senders.clone();
        for pool in &self.config.pools {
            let Ok(prefixes) = Prefixes::new(pool.primary, pool.secondary) else { continue };
            let Some(pair) = prefixes.pair(prefixes.next_usable(0)) else { continue };
            let owner: Arc<str> = format!("pool {}", pool.name).into();
            for (net, source) in [(pool.primary, pair.primary), (pool.secondary, pair.secondary)] {
                if !senders.iter().any(|sender| net.contains(&sender.source.ip())) {
                    senders.push(Sender { source, owner: Some(Arc::clone(&owner)) });
                }
            }
        }
        let mut seen = BTreeSet::new();
        senders.retain(|sender| !sender.source.ip().is_loopback() && seen.insert(sender.source));
        senders.into_iter().map(|sender| Wish { sender, admits: false, failed: None, worked: false }).collect()
    }

    fn prefixes(&self) -> Vec<Ipv6Net> {
        self.config.pools.iter().flat_map(|pool| [pool.primary, pool.secondary]).collect()
    }

    fn binds(&self) -> Vec<SocketAddr> {
        let binds = self.config.listeners.iter().map(|listener| &listener.bind).chain([&self.config.admin.bind]);
        let tcp = |bind: &Bind| match bind {
            Bind::Tcp(at) => Some(*at),
            Bind::Unix(_) => None,
        };
        binds.filter_map(tcp).collect()
    }

    fn setting(&self) -> Setting {
        let config = &self.config;
        let accounts = self.accounts.unwrap_or_default();
        let (descriptors, descriptors_lack) = Shares::foreseen(config, accounts);
        let pins = config.egress.resolve.iter().map(|(host, to)| {
            let to: Vec<_> = to.iter().map(ToString::to_string).collect();
            (host.as_str().to_owned(), to.join(" and "))
        });
        let ipv4_pins =
            config.egress.ipv4_hosts.iter().filter(|(_, ipv4)| !ipv4.pins.is_empty()).map(|(host, ipv4)| {
                let to: Vec<_> = ipv4.pins.iter().map(ToString::to_string).collect();
                (host.as_str().to_owned(), to.join(" and "))
            });
        Setting {
            prefixes: self.prefixes(),
            not_global: self.not_global(),
            tentative: Vec::new(),
            descriptors,
            descriptors_lack,
            connections_per_leg: config.egress.connections_per_leg,
            accounts: self.accounts,
            running: self.running,
            admin_exposed: self.configured.then(|| exposed(config)).flatten(),
            logins: self.logins.clone(),
            pins: pins.chain(ipv4_pins).collect(),
            configured: self.configured,
            broker_is_here: self.broker_is_here(),
        }
    }

    /// Is the broker the built-in one on this host? Dhan's own is nowhere on loopback.
    fn broker_is_here(&self) -> bool {
        let pins = self.config.egress.resolve.get(&self.config.dhan.api.host);
        pins.is_some_and(|pins| !pins.is_empty() && pins.iter().all(|pin| pin.ip().is_loopback()))
    }

    /// What is no address of the internet cannot be answered to by the broker itself; a test's own broker may.
    fn not_global(&self) -> Vec<(Sender, String)> {
        let api = &self.config.dhan.api.host;
        if !api.as_str().ends_with(REAL) || self.config.egress.resolve.contains_key(api) {
            return Vec::new();
        }
        let wishes = self.wishes().into_iter();
        wishes
            .filter_map(|wish| {
                Some((wish.sender.clone(), guard::forbidden(wish.sender.source.ip().into())?.to_string()))
            })
            .collect()
    }
}

fn exposed(config: &Config) -> Option<String> {
    let bind = &config.admin.bind;
    bind.is_reachable_from_elsewhere().then(|| bind.to_string())
}

/// The doctor of a running gateway.
#[derive(Debug)]
pub(super) struct Doctor {
    pub(super) accounts: Arc<Accounts>,
    pub(super) egress: Arc<Egress>,
    /// As it is in force.
    pub(super) config: ArcSwap<Config>,
}

impl Examiner for Doctor {
    fn examine(&self) -> Pin<Box<dyn Future<Output = Result<Examination, Lack>> + Send + '_>> {
        Box::pin(async {
            let (senders, logins) = seen(&self.accounts);
            let patient = Patient {
                senders,
                running: true,
                accounts: Some(self.accounts.len()),
                logins: Some(logins),
                ..Patient::of(Config::clone(&self.config.load()))
            };
            examination(&self.egress, &patient, &|_| {}).await
        })
    }
}

/// Every account's addresses, and those that another program logs in to.
fn seen(accounts: &Accounts) -> (Vec<Sender>, Vec<(String, String)>) {
    let (mut senders, mut logins, mut after) = (Vec::new(), Vec::new(), None);
    // An account that cannot be read is told where it is needed.
    while let Ok(page) = accounts.page(after.as_ref(), ROWS) {
        for row in &page.rows {
            let legs = row.legs.iter().flat_map(|legs| legs.both());
            senders.extend(legs.map(|leg| {
                let owner = Some(format!("{} {}", row.name, leg.role().as_str()).into());
                Sender { source: leg.source(), owner }
            }));
            let trouble = row.token.standing().trouble;
            if let Some(trouble) = trouble.filter(|trouble| trouble.code == RIVAL) {
                logins.push((row.name.to_string(), trouble.summary.to_string()));
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    (senders, logins)
}

/// Examine the host. `on_progress` is called with what is done, for people who wait.
///
/// # Errors
/// This process ran out of something while it looked: nothing is known, neither good nor bad.
pub async fn examination(
    egress: &Arc<Egress>,
    patient: &Patient,
    on_progress: OnProgress<'_>,
) -> Result<Examination, Lack> {
    let began = Instant::now();
    let hosts = patient.hosts();
    let names_of: Vec<_> = hosts.iter().map(|(_, host)| host.clone()).collect();
    on_progress(Progress::Begun("looking at this host"));
    let pin = patient.config.egress.resolve.get(&patient.config.dhan.api.host).and_then(|pins| pins.first());
    let outside = pin.map_or(OUTSIDE, |pin| *pin.ip());
    let first = look(egress, patient, outside, patient.wishes()).await?;
    on_progress(Progress::Begun("asking name servers where the broker is"));
    let names = egress.query_every_name_server(&names_of).await;
    let senders = chosen(patient, &first.facts);
    let pairs: Vec<_> =
        senders.iter().flat_map(|sender| hosts.iter().map(move |(to, _)| (sender.clone(), to.clone()))).collect();
    on_progress(Progress::Begun("connecting to the broker"));
    let tries = connect(egress, pairs, &names, on_progress).await?;
    let ipv4 = connect_over_ipv4(egress, &hosts).await?;
    let mut wishes = patient.wishes();
    for wish in &mut wishes {
        let of: Vec<_> = tries.iter().filter(|one| one.sender == wish.sender).collect();
        wish.worked = of.iter().any(|one| one.is_answered());
        wish.admits = wish.worked;
        wish.failed = of.iter().filter(|_| !wish.worked).find_map(|one| failure(one));
    }
    let to = egress.address_of(&patient.config.dhan.api, Instant::now()).await.filter(|to| !to.is_loopback());
    let to = to.unwrap_or(outside);
    let tentative = first.facts.tentative();
    if !tentative.is_empty() {
        on_progress(Progress::Begun("waiting for addresses that are not ready yet"));
        sleep_until(began + TENTATIVE).await;
    }
    let Looked { facts, machine } = look(egress, patient, to, wishes).await?;
    let still: Vec<_> = facts.tentative().into_iter().filter(|at| tentative.contains(at)).collect();
    let setting = Setting { tentative: still, ..patient.setting() };
    Ok(examine(&Evidence { facts, machine, names: Some(names), tries, ipv4, setting }))
}

struct Looked {
    facts: Facts,
    machine: Machine,
}

async fn look(egress: &Arc<Egress>, patient: &Patient, to: Ipv6Addr, wishes: Vec<Wish>) -> Result<Looked, Lack> {
    let query = MachineQuery {
        to,
        hosts: patient.hosts().into_iter().map(|(_, host)| host.name).collect(),
        state: patient.configured.then(|| patient.config.state.path.clone()),
        binds: patient.binds(),
    };
    let wants = Wants { wishes, to, freebind: egress.freebind(), needs_unix: Vec::new(), clock_ahead: None };
    let look =
        move || -> Result<Looked, Lack> { Ok(Looked { facts: Facts::gather(wants)?, machine: Machine::read(&query) }) };
    // It reads files and asks the kernel.
    tokio::task::spawn_blocking(look).await.unwrap_or(Err(Lack::Memory))
}

/// Of each prefix the first address that the kernel lets something leave from.
fn chosen(patient: &Patient, facts: &Facts) -> Vec<Sender> {
    let pools = patient.prefixes();
    let prefix = |at: SourceAddr| {
        let pool = pools.iter().find(|net| net.contains(&at.ip())).copied();
        pool.unwrap_or_else(|| Ipv6Net::new(at.ip(), 64).map_or_else(|_| at.ip().into(), |net| net.trunc()))
    };
    let mut seen = BTreeSet::new();
    facts.can_leave().filter(|sender| seen.insert(prefix(sender.source))).cloned().collect()
}

async fn connect(
    egress: &Arc<Egress>,
    pairs: Vec<(Sender, Authority)>,
    names: &NamesSaid,
    on_progress: OnProgress<'_>,
) -> Result<Vec<Try>, Lack> {
    let nowhere = |host: &str| names.hosts.iter().any(|one| one.name == host) && !is_known(names, host);
    // A host without an address is a finding of its own, and no line's fault.
    let by_leg = |to: &Authority| egress.ipv4_source(&to.host).is_none();
    let pairs: Vec<_> = pairs.into_iter().filter(|(_, to)| by_leg(to) && !nowhere(to.host.as_str())).collect();
    let (mut done, count) = (0, pairs.len());
    let mut running = futures_util::stream::iter(pairs)
        .map(|(sender, to)| async move {
            let came = dial(egress, &egress.exit(sender.source), &to).await?;
            Ok(Try { sender, host: to.host.as_str().to_owned(), came })
        })
        .buffer_unordered(AT_ONCE);
    let mut tries = Vec::with_capacity(count);
    while let Some(one) = running.next().await {
        done += 1;
        on_progress(Progress::Connected { done, of: count });
        tries.push(one?);
    }
    tries.sort_by(|one, other| (&one.host, one.sender.source).cmp(&(&other.host, other.sender.source)));
    Ok(tries)
}

/// One connection to each host of `egress.ipv4_hosts`, from the source that is named there.
async fn connect_over_ipv4(egress: &Arc<Egress>, hosts: &[(Authority, BrokerHost)]) -> Result<Vec<Ipv4Try>, Lack> {
    let exit = egress.ipv4_exit();
    let mut tries = Vec::new();
    for (to, host) in hosts {
        let Some(source) = egress.ipv4_source(&to.host) else { continue };
        let came = dial(egress, &exit, to).await?;
        tries.push(Ipv4Try { host: host.name.clone(), source, came });
    }
    Ok(tries)
}

fn is_known(names: &NamesSaid, host: &str) -> bool {
    let addresses = |says: &crate::host::NameSays| matches!(says, crate::host::NameSays::Addresses(_));
    names.answers.iter().any(|answer| answer.host == host && addresses(&answer.says))
}

/// Connect from one address to one host, and ask for nothing.
async fn dial(egress: &Arc<Egress>, exit: &Arc<Exit>, to: &Authority) -> Result<Came, Lack> {
    let failed = |failure: Option<Failure>, why: String| Ok(Came::Failed { failure, why });
    let at = match egress.resolve(to, Instant::now() + NAMES).await {
        Ok(at) => at,
        Err(err) => return failed(None, err.chain()),
    };
    let began = Instant::now();
    let limit = egress.connect_timeout() * 2 + Duration::from_secs(1);
    let lease = match timeout(limit, exit.lease_for_errand(&at)).await {
        Ok(Ok(lease)) => lease,
        // Says nothing of the way.
        Ok(Err(DialError::HostExhausted { lack, .. })) => return Err(lack),
        Ok(Err(err)) => return failed(err.failure(), crate::domain::chain(&err)),
        Err(_) => return failed(Some(Failure::Silent), format!("no connection within {limit:?}")),
    };
    let connected = began.elapsed();
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("sixgate/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (path, body) = (PathAndQuery::from_static("/"), Bytes::new());
    let message = Message { authority: to, method: &Method::HEAD, path: &path, headers: &headers, body: &body };
    let (asked, sent) = (Timestamp::now(), Instant::now());
    match lease.send(&message, ANSWER).await {
        Ok(reply) => {
            let ahead = skew(reply.headers(), asked, Timestamp::now());
            Ok(Came::Answered { connected, answered: sent.elapsed(), ahead })
        }
        Err(none) => {
            // A connection that opened and then is silent is what a hole for large packets looks like.
            let silent = sent.elapsed() >= ANSWER;
            let why = match none {
                crate::domain::NoAnswer::NotSent(err) | crate::domain::NoAnswer::Unknown(err) => err.chain(),
            };
            failed(silent.then_some(Failure::SilentTls), format!("connected, and then: {why}"))
        }
    }
}

fn failure(one: &Try) -> Option<Failure> {
    match &one.came {
        Came::Failed { failure, .. } => *failure,
        Came::Answered { .. } => None,
    }
}
