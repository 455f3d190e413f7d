//! The whole life of a gateway: build each part in order, serve, stop in order.
//! The one place that knows every part.

mod admin_server;
mod descriptors;
pub mod doctor;
mod error;
mod follow;
mod host_check;
mod master_key;
mod open;
mod over_ipv4;
mod pools;
mod reload;
mod signals;
mod stored;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::accounts::{Accounts, AddressChecker};
use crate::addressing::Addressing;
use crate::admin::{self, About, AuditLog, Operators, Reloaded, Sampled};
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::domain::places::ConnectionLimit;
use crate::domain::tasks::{Stopped, Tasks};
use crate::egress::{Egress, Options};
use crate::host::Board;
use crate::legs::{LegSettings, Supervisor};
use crate::orders::limits::RateRequest;
use crate::orders::restore::Unsettled;
use crate::proxy::intercept::Interceptor;
use crate::proxy::{self, Destinations, ListenerSettings, Listening, Proxy, Workers};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::telemetry::events::Events;
use crate::tokens::Keepers;
use crate::tokens::client::BrokerClient;
use crate::tokens::keeper::TokenBroker;

pub use error::StartError;

use admin_server::{AdminServer, bind_admin};
use descriptors::Shares;
use doctor::Doctor;
use follow::{follow_clocks, publish_leg_events};
use host_check::HostCheck;
use open::{open_orders, open_store};
use pools::make_pool;
use reload::Live;
use signals::Signals;

pub use stored::refused_by_state;

/// A gateway that is built and bound, and serves nobody yet.
#[derive(Debug)]
pub struct App {
    live: Live,
    check: HostCheck,
    store: Store,
    /// Order writes that the last stop cut off.
    unsettled: Vec<Unsettled>,
    listening: Vec<Listening>,
    admin: AdminServer,
    /// The keepers of tokens, which finish a login that was sent.
    keeping: Tasks,
    /// The broker's connections, which callers' requests need until they are done.
    upstream: Tasks,
    signals: Signals,
    reload_requests: ReloadRequests,
}

/// Who asks for a reload, and is to be told what came of it.
type ReloadRequests = mpsc::Receiver<oneshot::Sender<Option<Reloaded>>>;

impl App {
    /// Build every part and bind every listener. `loopback` lets accounts have
    /// `::1`, for the sandbox.
    ///
    /// # Errors
    /// [`StartError`].
    #[expect(
        clippy::too_many_lines,
        reason = "the wiring of a gateway, once, in the order in which its parts need one another"
    )]
    pub async fn build(config: Config, loopback: bool) -> Result<Self, StartError> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        over_ipv4::announce(&config);
        let shares = Shares::take(&config);
        let (tasks, upstream) = (Tasks::default(), Tasks::default());
        let store = open_store(&config).await?;
        let addressing = Addressing::new(store.clone(), loopback)?;
        addressing.enable_host_lookup(crate::host::OUTSIDE);
        addressing.listeners_are_at(config.bound_addresses());
        for pool in &config.pools {
            make_pool(&addressing, pool).await?;
        }
        let egress = Egress::new(Options::from(&config), upstream.clone())?;
        egress.keep_names_in(config.state.path.join("names.json"));
        egress.set_room(shares.egress());
        let metrics = Arc::new(Metrics::default());
        let supervisor = Supervisor::new(LegSettings::from(&config), Arc::clone(&egress), Arc::clone(&metrics));
        let (keeping, events) = (Tasks::default(), Events::default());
        let client = Arc::new(BrokerClient::from(&config));
        let broker: Arc<dyn TokenBroker> = Arc::clone(&client) as _;
        let keepers =
            Keepers::new(store.clone(), broker, config.tokens.logins_per_second, keeping.clone(), events.clone());
        let accounts =
            Arc::new(Accounts::new(store.clone(), Arc::clone(&supervisor), addressing, Arc::clone(&keepers))?);
        supervisor.set_get_ip(AddressChecker::new(&accounts, Arc::clone(&client)));
        let hosts = Destinations::new(&config).intercepted();
        let interceptor = Interceptor::load_or_create(&config.state.path, &hosts, store.sealer())?;
        let (orders, recalled) = open_orders(&config, Arc::clone(&accounts), events).await?;
        let orders = Arc::new(orders);
        // The first thing that a leg carries is a question of our own, so the trading day is known before an order.
        let hears = Arc::downgrade(&orders);
        client.on_heard(move |headers, sent| {
            if let Some(orders) = hears.upgrade() {
                orders.heard(headers, sent);
            }
        });
        let counts = Arc::downgrade(&orders);
        client.on_call(move |customer, method, path| {
            if let Some(orders) = counts.upgrade() {
                orders.gate(customer).count_now(&RateRequest::of_question(method, path));
            }
        });
        let operators = Arc::new(ArcSwap::from_pointee(Operators::read(&config.admin)?));
        let audit = AuditLog::open(&config.state.path.join("audit")).map_err(StartError::Audit)?;
        let (host, about) = (Arc::<Board>::default(), Arc::new(About::new(&config.dhan, loopback)));
        let sampled = Arc::<Sampled>::default();
        tasks.spawn(Arc::clone(&sampled).keep(Arc::clone(&accounts), Arc::clone(&metrics), tasks.clone()));
        let doctor = Arc::new(Doctor {
            accounts: Arc::clone(&accounts),
            egress: Arc::clone(&egress),
            config: ArcSwap::from_pointee(config.clone()),
        });
        // One at a time: whoever asks meanwhile waits for its turn.
        let (reloads, reload_requests) = mpsc::channel(1);
        let parts = admin::Parts {
            accounts: Arc::clone(&accounts),
            client: Arc::clone(&client),
            orders: Arc::clone(&orders),
            metrics: Arc::clone(&metrics),
            operators: Arc::clone(&operators),
            audit,
            host: Arc::clone(&host),
            examiner: Arc::clone(&doctor) as _,
            reloads,
            about: Arc::clone(&about),
            sampled: Arc::clone(&sampled),
            tasks: tasks.clone(),
            ca_pem: Arc::clone(interceptor.pem()),
            ca_file: config.state.path.join("ca.pem"),
        };
        let admin = bind_admin(&config.admin, parts, shares.operators)?;
        let workers = Workers::start(&config.latency).map_err(StartError::Threads)?;
        let dispatcher = Dispatcher::new(Arc::clone(&orders), Arc::clone(&metrics));
        let callers = ConnectionLimit::new(shares.callers);
        metrics.show_places("callers", &callers);
        let proxy = Proxy::new(&config, Arc::clone(&accounts), dispatcher, interceptor, workers, tasks.clone());
        shares.tell(&config, accounts.len());
        let mut listening = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            listening.push(proxy::listen(
                ListenerSettings::new(listener.clone())?,
                config.proxy.max_connections,
                &callers,
            )?);
        }
        let listeners = listening.iter().map(|listening| listening.handle().clone()).collect();
        let check = HostCheck {
            accounts: Arc::clone(&accounts),
            egress: Arc::clone(&egress),
            api: config.dhan.api.clone(),
            broker_is_here: loopback,
            board: Arc::clone(&host),
        };
        let live = Live {
            config,
            accounts,
            egress,
            supervisor,
            client,
            keepers,
            orders,
            proxy,
            operators,
            admin_site: Arc::clone(&admin.site),
            admin_tls: Arc::clone(&admin.tls),
            listeners,
            callers,
            host,
            doctor,
            about,
            tasks,
        };
        live.show_listeners();
        // Before anybody is told that it is there: a SIGHUP would end it.
        let signals = Signals::new().map_err(StartError::Signals)?;
        let unsettled = recalled.unsettled;
        Ok(Self { live, check, store, unsettled, listening, admin, keeping, upstream, signals, reload_requests })
    }

    /// The accounts, for whoever prepares a demo.
    pub const fn accounts(&self) -> &Arc<Accounts> {
        &self.live.accounts
    }

    /// Where the first listener is, as a caller would write it.
    pub fn first_listener(&self) -> Option<&str> {
        self.listening.first().map(|listening| listening.at.as_str())
    }

    /// Where the admin API is: a URL, or `unix:` and a path.
    pub fn admin(&self) -> &str {
        &self.admin.at
    }

    /// What is bound, a line each, for printing.
    pub fn bound(&self) -> Vec<String> {
        let listeners = self.listening.iter().map(|listening| format!("callers   {}", listening.at));
        listeners.chain([format!("admin API {}", self.admin.at)]).collect()
    }

    /// Serve until told to stop, then finish what is under way. At SIGHUP the
    /// configuration in `file` is put in force.
    pub async fn run(self, file: Option<&Path>) -> Stopped {
        let Self {
            mut live,
            check,
            store,
            unsettled,
            listening,
            admin,
            keeping,
            upstream,
            mut signals,
            mut reload_requests,
        } = self;
        let tasks = live.tasks.clone();
        if let Some(file) = file {
            live.about.reads(file);
        }
        live.supervisor.start(&tasks);
        tasks.spawn(follow_clocks(Arc::clone(&live.supervisor), tasks.clone()));
        tasks.spawn(publish_leg_events(live.supervisor.events(), live.orders.events.clone(), tasks.clone()));
        let proxy = Arc::clone(&live.proxy);
        tasks.spawn(async move { proxy.settle(unsettled).await });
        tasks.spawn(Arc::clone(&live.orders).tend(tasks.clone()));
        tasks.spawn(Arc::clone(&live.orders).watch_books(tasks.clone()));
        tasks.spawn(Arc::clone(&live.accounts).heal(tasks.clone()));
        tasks.spawn(Arc::clone(&live.accounts).write_down_key_use(tasks.clone()));
        for listening in listening {
            listening.start(&live.proxy);
        }
        tasks.spawn(check.run(Arc::clone(&live.supervisor), tasks.clone()));
        let AdminServer { socket, tls, router, places, .. } = admin;
        tasks.spawn(admin::serve(socket, tls, router, places, tasks.clone()));
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        reload_until_stop(&mut live, file, &mut signals, &mut reload_requests).await;

        let drain = live.config.proxy.drain;
        tracing::info!(?drain, "stopping: finishing what is under way");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let stopped = tasks.stop(drain).await;
        if let Stopped::Cut { left } = stopped {
            tracing::warn!(left, "connections were cut off at the end of proxy.drain");
        }
        // A login under way may have killed the token before it: its own must be stored.
        if let Stopped::Cut { left } = keeping.stop(drain).await {
            tracing::warn!(left, "logins were cut off at the end of proxy.drain");
        }
        upstream.stop(std::time::Duration::from_secs(1)).await;
        let orders = live.orders;
        let close = move || {
            if let Err(err) = orders.journal.sync() {
                tracing::error!(error = %err, "the order journal could not be synced");
            }
            store.close();
        };
        let _ = tokio::task::spawn_blocking(close).await;
        stopped
    }
}

async fn reload_until_stop(live: &mut Live, file: Option<&Path>, signals: &mut Signals, requests: &mut ReloadRequests) {
    loop {
        let reply = tokio::select! {
            () = signals.stop.wait() => return,
            _ = signals.hang_up.recv() => None,
            // None where the API is gone, and then the stop has come.
            Some(reply) = requests.recv() => Some(reply),
        };
        let Some(file) = file else {
            match reply {
                Some(reply) => drop(reply.send(None)),
                None => tracing::warn!("SIGHUP: there is no configuration file to read"),
            }
            continue;
        };
        let reloaded = tokio::select! {
            reloaded = live.reload(file) => reloaded,
            // Also when a file does not let itself be read.
            () = signals.stop.wait() => return,
        };
        if let Some(reply) = reply {
            let _ = reply.send(Some(reloaded));
        }
    }
}
