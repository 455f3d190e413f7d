//! Reload: SIGHUP reads the configuration again and puts it in force, and no
//! connection is dropped for it.
//!
//! First all that can go wrong is done: the file is read and checked, certificates
//! and tokens are read, new listeners are bound, new pools made. If anything is amiss,
//! all of it is logged and nothing changes. Then every part gets its new settings, which
//! cannot fail. A request keeps the settings that it began with, a connection the
//! listener's terms it was accepted on.
//!
//! Some keys are in force from start to stop ([`retain_startup_only`]): they are named,
//! keep their old value, and the rest is applied.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sd_notify::NotifyState;

use super::doctor::Doctor;
use super::over_ipv4;
use super::pools::{is_made, make_pool};
use crate::accounts::Accounts;
use crate::admin::{About, OpenListener, Operators, Reloaded, Site, Tls};
use crate::config::{self, Bind, Config, Problems};
use crate::domain::chain;
use crate::domain::places::ConnectionLimit;
use crate::domain::tasks::Tasks;
use crate::egress::{Egress, Options};
use crate::host::Board;
use crate::legs::{LegSettings, Supervisor};
use crate::orders::Orders;
use crate::orders::limits::Rules;
use crate::proxy::{self, ListenerHandle, ListenerSettings, Listening, Proxy};
use crate::tokens::Keepers;
use crate::tokens::client::BrokerClient;

/// The parts whose settings a reload changes, and the configuration in force.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) accounts: Arc<Accounts>,
    pub(super) egress: Arc<Egress>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) client: Arc<BrokerClient>,
    pub(super) keepers: Arc<Keepers>,
    pub(super) orders: Arc<Orders>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) operators: Arc<ArcSwap<Operators>>,
    pub(super) admin_site: Arc<Site>,
    pub(super) admin_tls: Arc<Tls>,
    pub(super) listeners: Vec<ListenerHandle>,
    /// All places of callers. Their number stays.
    pub(super) callers: Arc<ConnectionLimit>,
    pub(super) host: Arc<Board>,
    pub(super) doctor: Arc<Doctor>,
    pub(super) about: Arc<About>,
    pub(super) tasks: Tasks,
}

/// A configuration that can be put in force without a failure.
struct Ready {
    config: Config,
    fixed: Vec<&'static str>,
    operators: Operators,
    admin_tls: Arc<Tls>,
    rules: Rules,
    /// For each listener of the configuration.
    doors: Vec<Door>,
}

/// A listener of the new configuration.
enum Door {
    /// The handle of this number, on these terms.
    Open(usize, ListenerSettings),
    /// One that was just bound.
    New(Listening),
}

impl Live {
    /// Tell the admin API which listeners are open now.
    pub(super) fn show_listeners(&self) {
        let shown = |handle: &ListenerHandle| OpenListener { at: handle.at(), listener: handle.listener() };
        self.about.listens(self.listeners.iter().map(shown).collect());
    }

    /// Put the file in force, or say why not. It may be dropped only when the gateway stops.
    pub(super) async fn reload(&mut self, file: &Path) -> Reloaded {
        let now = NotifyState::monotonic_usec_now();
        let _ = now.and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
        let name = file.display().to_string();
        let reloaded = match self.prepare(file).await {
            Ok(ready) => {
                let warnings: Vec<String> = ready.config.warnings.iter().map(ToString::to_string).collect();
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                over_ipv4::announce(&ready.config);
                let restart: Vec<String> = ready.fixed.iter().map(|key| (*key).to_owned()).collect();
                for key in &restart {
                    tracing::warn!(key, "{key} has changed in the configuration; restart to apply it");
                }
                self.apply(ready).await;
                tracing::info!(file = name, "the configuration was reloaded");
                Reloaded { file: name, problems: Vec::new(), restart, warnings }
            }
            Err(problems) => {
                let problems: Vec<(String, String)> =
                    problems.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
                for (key, text) in &problems {
                    tracing::error!(key, "{key}: {text}");
                }
                let count = problems.len();
                tracing::error!(file = name, count, "the configuration was not reloaded; nothing has changed");
                Reloaded { file: name, problems, restart: Vec::new(), warnings: Vec::new() }
            }
        };
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        reloaded
    }

    async fn prepare(&self, file: &Path) -> Result<Ready, Problems> {
        let (path, in_force, callers) = (file.to_owned(), self.config.clone(), Arc::clone(&self.callers));
        let open = self.listeners.iter().map(|handle| handle.bind().clone()).collect();
        // It reads files: not on a worker of the runtime, where orders wait.
        let read = tokio::task::spawn_blocking(move || Ready::read(&path, &in_force, open, &callers)).await;
        let ready = read.unwrap_or_else(|err| {
            let mut problems = Problems::new(&file.display().to_string());
            problems.add("file", format!("reading it broke down: {err}; this is a mistake of the program, report it"));
            Err(problems)
        })?;
        self.make_pools(file, &ready.config).await?;
        Ok(ready)
    }

    /// Make the pools that are new, when none of those known is another one now.
    async fn make_pools(&self, file: &Path, config: &Config) -> Result<(), Problems> {
        let addressing = self.accounts.addressing();
        let mut problems = Problems::new(&file.display().to_string());
        let key = |index: usize| format!("pool.{index}");
        for (index, pool) in config.pools.iter().enumerate() {
            if let Err(err) = is_made(addressing, pool) {
                problems.add(key(index), err.to_string());
            }
        }
        for (index, pool) in config.pools.iter().enumerate() {
            if problems.is_empty()
                && let Err(err) = make_pool(addressing, pool).await
            {
                problems.add(key(index), chain(&err));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    async fn apply(&mut self, ready: Ready) {
        let Ready { config, operators, admin_tls, rules, doors, .. } = ready;
        self.egress.reload(Options::from(&config));
        self.supervisor.reload(LegSettings::from(&config));
        self.client.set_limit(config.egress.response_timeout);
        self.keepers.set_rate(config.tokens.logins_per_second);
        // A login that could not be sent waits for its next try: what stood in its way may be what was changed.
        self.accounts.try_logins_now();
        self.orders.reload(rules, config.limits.max_wait);
        self.proxy.reload(&config);
        self.operators.store(Arc::new(operators));
        self.admin_site.reload(&config.admin);
        self.admin_tls.replace(&admin_tls);
        crate::telemetry::set_log_level(config.log.level);
        let mut old: Vec<_> = std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for door in doors {
            match door {
                Door::Open(number, terms) => {
                    let Some(handle) = old.get_mut(number).and_then(Option::take) else { continue };
                    handle.change(terms, config.proxy.max_connections);
                    self.listeners.push(handle);
                }
                Door::New(listening) => {
                    tracing::info!(listener = %listening.at, "a listener was opened");
                    self.listeners.push(listening.handle().clone());
                    listening.start(&self.proxy);
                }
            }
        }
        self.show_listeners();
        self.config = config;
        self.doctor.config.store(Arc::new(self.config.clone()));
        self.accounts.addressing().listeners_are_at(self.config.bound_addresses());
        self.host.look_again();
        for handle in old.into_iter().flatten() {
            handle.close().await;
            tracing::info!(listener = %handle.bind(), "a listener was closed; its open connections go on");
        }
    }
}

impl Ready {
    /// Read the file and all that it names. `open` are the addresses that are bound.
    fn read(file: &Path, in_force: &Config, open: Vec<Bind>, callers: &Arc<ConnectionLimit>) -> Result<Self, Problems> {
        let mut config = config::load(file)?;
        let fixed = retain_startup_only(in_force, &mut config);
        let mut problems = Problems::new(&file.display().to_string());
        let operators = Operators::read(&config.admin).map_err(|err| problems.add("admin", chain(&err)));
        let admin_tls = Tls::read(&config.admin).map_err(|err| problems.add("admin.tls_certificate", chain(&err)));
        let rules = Rules::load(config.limits.file.as_deref(), config.limits.margin);
        let rules = rules.map_err(|err| problems.add("limits.file", chain(&err)));
        let mut open: Vec<_> = open.into_iter().map(Some).collect();
        let mut doors = Vec::with_capacity(config.listeners.len());
        for (index, listener) in config.listeners.iter().enumerate() {
            let mut problem = |err| problems.add(format!("listener.{index}"), chain(&err));
            let terms = match ListenerSettings::new(listener.clone()) {
                Ok(terms) => terms,
                Err(err) => {
                    problem(err);
                    continue;
                }
            };
            // Each is taken once: two listeners may have port 0.
            let known = open.iter_mut().position(|bind| bind.take_if(|bind| *bind == listener.bind).is_some());
            match known {
                Some(number) => doors.push(Door::Open(number, terms)),
                None => match proxy::listen(terms, config.proxy.max_connections, callers) {
                    Ok(listening) => doors.push(Door::New(listening)),
                    Err(err) => problem(err),
                },
            }
        }
        match (operators, admin_tls, rules) {
            (Ok(operators), Ok(admin_tls), Ok(rules)) if problems.is_empty() => {
                Ok(Self { config, fixed, operators, admin_tls, rules, doors })
            }
            _ => {
                for door in doors {
                    if let Door::New(listening) = door {
                        listening.discard();
                    }
                }
                Err(problems)
            }
        }
    }
}

/// What is in force from start to stop keeps its value in `next`; the keys that differ
/// are returned.
fn retain_startup_only(now: &Config, next: &mut Config) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(changed: &mut Vec<&'static str>, key: &'static str, now: &T, next: &mut T) {
        if now != next {
            changed.push(key);
            next.clone_from(now);
        }
    }
    let mut changed = Vec::new();
    let keys = &mut changed;
    keep(keys, "state.path", &now.state.path, &mut next.state.path);
    if keys.contains(&"state.path") {
        // It may follow from the folder, and a token made in one that is not used helps nobody.
        keep(keys, "admin.token_file", &now.admin.token_file, &mut next.admin.token_file);
    }
    keep(keys, "state.master_key_file", &now.state.master_key_file, &mut next.state.master_key_file);
    keep(keys, "admin.address", &now.admin.bind, &mut next.admin.bind);
    // A listener that spoke in clear goes on so, and one that spoke TLS too; the files of its TLS may be others.
    if now.admin.tls.is_some() != next.admin.tls.is_some() {
        keep(keys, "admin.tls_certificate", &now.admin.tls, &mut next.admin.tls);
    }
    keep(keys, "egress.extra_roots", &now.egress.extra_roots, &mut next.egress.extra_roots);
    keep(keys, "journal.fsync", &now.journal.fsync, &mut next.journal.fsync);
    keep(keys, "journal.keep", &now.journal.keep, &mut next.journal.keep);
    keep(keys, "latency.spin", &now.latency.spin, &mut next.latency.spin);
    keep(keys, "latency.spin_hours", &now.latency.spin_hours, &mut next.latency.spin_hours);
    keep(keys, "latency.threads", &now.latency.threads, &mut next.latency.threads);
    keep(keys, "log.json", &now.log.json, &mut next.log.json);
    let before = keys.len();
    let (hosts, new) = (&now.dhan, &mut next.dhan);
    keep(keys, "broker.dhan.api", &hosts.api, &mut new.api);
    keep(keys, "broker.dhan.auth", &hosts.auth, &mut new.auth);
    keep(keys, "broker.dhan.order_update", &hosts.order_update, &mut new.order_update);
    keep(keys, "broker.dhan.feed", &hosts.feed, &mut new.feed);
    keep(keys, "broker.dhan.depth20", &hosts.depth20, &mut new.depth20);
    keep(keys, "broker.dhan.depth200", &hosts.depth200, &mut new.depth200);
    keep(keys, "broker.dhan.images", &hosts.images, &mut new.images);
    if keys.len() > before {
        // These were checked against hosts that are not in force.
        keep(keys, "egress.allow", &now.egress.allow, &mut next.egress.allow);
        keep(keys, "proxy.tunnel_hosts", &now.proxy.tunnel_hosts, &mut next.proxy.tunnel_hosts);
    }
    changed
}
