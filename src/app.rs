//! The whole life of a gateway: build each part in order, serve, stop in order.
//! The one place that knows every part.

mod descriptors;
mod host_check;
mod master_key;
mod pools;
mod reload;
mod start_error;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::accounts::{Accounts, AddressChecker};
use crate::addressing::Addressing;
use crate::admin::{self, Admin, Reloaded, Roles};
use crate::config::{Bind, Config};
use crate::dispatch::Dispatcher;
use crate::domain::clocks;
use crate::domain::places::{ConnectionLimit, ListenerLimit};
use crate::domain::tasks::{Stopped, Tasks};
use crate::egress::{Egress, Options};
use crate::host::Board;
use crate::legs::{LegEvent, Reason, Settings, Supervisor};
use crate::net::bind;
use crate::orders::Orders;
use crate::orders::limits::Rules;
use crate::orders::restore::{Recalled, Unsettled};
use crate::proxy::intercept::Interceptor;
use crate::proxy::{self, Destinations, ListenError, ListenerSettings, Listening, Proxy, Workers};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::telemetry::events::{Events, Subject};
use crate::tokens::Keepers;
use crate::tokens::client::BrokerClient;
use crate::tokens::keeper::Broker;

use descriptors::Shares;
use host_check::HostCheck;
use master_key::master_key;
use pools::make_pool;
use reload::Live;

pub use pools::refused_by_state;
pub use start_error::{PoolError, StartError};

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
    asked_to_reload: ReloadRequests,
}

/// Who asks for a reload, and is to be told what came of it.
type ReloadRequests = mpsc::Receiver<oneshot::Sender<Option<Reloaded>>>;

#[derive(Debug)]
struct AdminServer {
    at: String,
    socket: admin::Socket,
    router: axum::Router,
    places: Arc<ListenerLimit>,
}

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
        let shares = Shares::take(&config);
        let (tasks, upstream) = (Tasks::default(), Tasks::default());
        let store = open_store(&config).await?;
        let addressing = Addressing::new(store.clone(), loopback)?;
        addressing.may_ask_the_host(host_check::OUTSIDE);
        addressing.listeners_are_at(config.bound_addresses());
        for pool in &config.pools {
            make_pool(&addressing, pool).await?;
        }
        let egress = Egress::new(Options::from(&config), upstream.clone())?;
        egress.keep_names_in(config.state.path.join("names.json"));
        egress.set_room(shares.egress());
        let metrics = Arc::new(Metrics::default());
        let attendant = Supervisor::new(Settings::from(&config), Arc::clone(&egress), Arc::clone(&metrics));
        let (keeping, events) = (Tasks::default(), Events::default());
        let login = Arc::new(login(&config));
        let broker: Arc<dyn Broker> = Arc::clone(&login) as _;
        let keepers =
            Keepers::new(store.clone(), broker, config.tokens.logins_per_second, keeping.clone(), events.clone());
        let accounts =
            Arc::new(Accounts::new(store.clone(), Arc::clone(&attendant), addressing, Arc::clone(&keepers))?);
        attendant.set_get_ip(AddressChecker::new(&accounts, Arc::clone(&login)));
        let hosts = Destinations::new(&config).intercepted();
        let interceptor = Interceptor::load_or_create(&config.state.path, &hosts, store.sealer())?;
        let (orders, recalled) = open_orders(&config, Arc::clone(&accounts), events).await?;
        let orders = Arc::new(orders);
        // The first thing that a leg carries is a question of our own, so the trading day is known before an order.
        let hears = Arc::downgrade(&orders);
        login.on_heard(move |headers, sent| {
            if let Some(orders) = hears.upgrade() {
                orders.heard(headers, sent);
            }
        });
        let roles = Arc::new(ArcSwap::from_pointee(Roles::read(&config.admin)?));
        let host = Arc::<Board>::default();
        // One at a time: whoever asks meanwhile waits for its turn.
        let (reloads, asked_to_reload) = mpsc::channel(1);
        let parts = admin::Parts {
            accounts: Arc::clone(&accounts),
            client: Arc::clone(&login),
            orders: Arc::clone(&orders),
            metrics: Arc::clone(&metrics),
            roles: Arc::clone(&roles),
            host: Arc::clone(&host),
            reloads,
            tasks: tasks.clone(),
            ca_pem: Arc::clone(interceptor.pem()),
        };
        let admin = bind_admin(&config.admin.bind, parts, shares.operators)?;
        let workers = Workers::start(&config.latency).map_err(StartError::Threads)?;
        let dispatcher = Dispatcher::new(Arc::clone(&orders), Arc::clone(&metrics));
        let callers = ConnectionLimit::new(shares.callers);
        metrics.show_places("callers", &callers);
        let proxy = Proxy::new(&config, Arc::clone(&accounts), dispatcher, interceptor, workers, tasks.clone());
        shares.warn(&config, accounts.len());
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
            attendant,
            login,
            keepers,
            orders,
            proxy,
            roles,
            listeners,
            callers,
            host,
            tasks,
        };
        // Before anybody is told that it is there: a SIGHUP would end it.
        let signals = Signals::new().map_err(StartError::Signals)?;
        let unsettled = recalled.unsettled;
        Ok(Self { live, check, store, unsettled, listening, admin, keeping, upstream, signals, asked_to_reload })
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
            mut asked_to_reload,
        } = self;
        let tasks = live.tasks.clone();
        live.attendant.start(&tasks);
        tasks.spawn(follow_clocks(Arc::clone(&live.attendant), tasks.clone()));
        tasks.spawn(tell_of_legs(live.attendant.events(), live.orders.events.clone(), tasks.clone()));
        let proxy = Arc::clone(&live.proxy);
        tasks.spawn(async move { proxy.settle(unsettled).await });
        tasks.spawn(Arc::clone(&live.orders).tend(tasks.clone()));
        tasks.spawn(Arc::clone(&live.accounts).heal(tasks.clone()));
        for listening in listening {
            listening.start(&live.proxy);
        }
        tasks.spawn(check.run(Arc::clone(&live.attendant), tasks.clone()));
        let AdminServer { socket, router, places, .. } = admin;
        tasks.spawn(admin::serve(socket, router, places, tasks.clone()));
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        reload_until_stop(&mut live, file, &mut signals, &mut asked_to_reload).await;

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

async fn reload_until_stop(live: &mut Live, file: Option<&Path>, signals: &mut Signals, asked: &mut ReloadRequests) {
    loop {
        let told = tokio::select! {
            () = signals.stop.wait() => return,
            _ = signals.hang_up.recv() => None,
            // None where the API is gone, and then the stop has come.
            Some(told) = asked.recv() => Some(told),
        };
        let Some(file) = file else {
            match told {
                Some(told) => drop(told.send(None)),
                None => tracing::warn!("SIGHUP: there is no configuration file to read"),
            }
            continue;
        };
        let reloaded = tokio::select! {
            reloaded = live.reload(file) => reloaded,
            // Also when a file does not let itself be read.
            () = signals.stop.wait() => return,
        };
        if let Some(told) = told {
            let _ = told.send(Some(reloaded));
        }
    }
}

/// Say when this host's clocks part, and use no connection again that was made before.
async fn follow_clocks(attendant: Arc<Supervisor>, tasks: Tasks) {
    let tell = |parting: clocks::Parting| {
        if !parting.slept.is_zero() {
            tracing::warn!(
                slept_s = parting.slept.as_secs(),
                "this machine slept or was paused, and no order could be sent meanwhile. The gateway checks its tokens and \
                 makes new connections. Turn suspend and snapshots off in market hours"
            );
        }
        if !parting.set.is_zero() {
            tracing::warn!(
                set_s = parting.set.as_secs(),
                "this host's clock jumped by {} s. Orders go on, because the gateway goes by the broker's time, but the times \
                 in logs may be wrong. What to do: timedatectl set-ntp true",
                parting.set.as_secs()
            );
        }
        attendant.lines_may_be_dead();
    };
    tokio::select! {
        () = clocks::follow(tell) => {}
        () = tasks.stopping() => {}
    }
}

/// What the legs tell, to whoever watches.
async fn tell_of_legs(mut legs: broadcast::Receiver<LegEvent>, events: Events, tasks: Tasks) {
    loop {
        let heard = tokio::select! {
            heard = legs.recv() => heard,
            () = tasks.stopping() => return,
        };
        match heard {
            Ok(event) => events.tell(Subject::Leg, &event.account, || {
                json!({
                    "role": event.role.as_str(),
                    "address": event.source.to_string(),
                    "from": event.from.as_str(),
                    "state": event.to.as_str(),
                    "reason": event.to.reason().map(Reason::as_str),
                })
            }),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    let (path, key_file) = (config.state.path.clone(), config.state.master_key_file.clone());
    let open = move || -> Result<Store, StartError> {
        let fail = |err| StartError::Store { path: path.display().to_string(), err };
        let key = master_key(&key_file, &path)?;
        Store::open(&path, key).map_err(fail)
    };
    // It reads and syncs files: not on a worker of the runtime.
    tokio::task::spawn_blocking(open).await.map_err(|_| StartError::Interrupted)?
}

async fn open_orders(
    config: &Config,
    accounts: Arc<Accounts>,
    events: Events,
) -> Result<(Orders, Recalled), StartError> {
    let (folder, journal) = (config.state.path.join("journal"), config.journal.clone());
    let limits = config.limits.clone();
    let open = move || -> Result<(Orders, Recalled), StartError> {
        let rules = Rules::load(limits.file.as_deref(), limits.margin)?;
        let orders = Orders::open(&folder, journal.fsync, journal.keep, rules, limits.max_wait, events)?;
        let recalled = orders
            .recall(jiff::Timestamp::now(), |line| accounts.customer_of(line.source, line.account.as_ref(), line.at))
            .map_err(|err| StartError::Recall { folder, err })?;
        Ok((orders, recalled))
    };
    // Not on a thread of the runtime: those give way to orders, and so would the journal's, which starts here.
    let (done, opened) = oneshot::channel();
    std::thread::Builder::new()
        .name("journal-open".to_owned())
        .spawn(move || drop(done.send(open())))
        .map_err(StartError::Threads)?;
    opened.await.map_err(|_| StartError::Interrupted)?
}

fn login(config: &Config) -> BrokerClient {
    BrokerClient::new(config.dhan.api.clone(), config.dhan.auth.clone(), config.egress.response_timeout)
}

fn bind_admin(bind: &Bind, parts: admin::Parts, places: usize) -> Result<AdminServer, StartError> {
    let fail = |err| ListenError::Bind { bind: bind.to_string(), err };
    let (at, socket, local) = match bind {
        Bind::Tcp(address) => {
            let socket = bind::bind_tcp(*address).map_err(fail)?;
            let local = socket.local_addr().map_err(fail)?;
            (format!("http://{local}"), admin::Socket::Tcp(socket), Some(local))
        }
        Bind::Unix(path) => {
            let socket = bind::bind_unix(path, 0o600).map_err(fail)?;
            (format!("unix:{}", path.display()), admin::Socket::Unix(socket), None)
        }
    };
    let house = ConnectionLimit::new(places);
    parts.metrics.show_places("operators", &house);
    let router = admin::router(Admin::new(parts, local));
    Ok(AdminServer { at, socket, router, places: ListenerLimit::new(&house, places) })
}

#[derive(Debug)]
struct Signals {
    stop: StopSignals,
    hang_up: tokio::signal::unix::Signal,
}

#[derive(Debug)]
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let stop =
            StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { stop, hang_up: signal(SignalKind::hangup())? })
    }
}

impl StopSignals {
    /// Cancel-safe.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
