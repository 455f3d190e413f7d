//! The built-in broker: an imitation of Dhan, faithful enough to be tested against.
//!
//! It imitates the broker from its documentation and from what was measured of
//! it, never from what a gateway happens to send. Where nobody knows what the
//! broker does, the code says so with `[C]` (`docs/broker.md`) and takes the answer that is harder
//! on a gateway.
//!
//! Invariants:
//! - The token alone selects the account. No header, path or body does.
//! - Every request that arrived whole is in [`Sandbox::seen`], with the address
//!   it came from and whether an order was carried out because of it.
//! - One token per account is live; making one kills the one before it.
//! - An order write from an address that is not the account's own changes nothing.
//!
//! Not here: anything of the gateway. This imports `domain` and `broker` data
//! only. Rate limits are not imitated yet.
//!
//! What can be made to go wrong. A *fault* ([`Fault`], `POST /faults` of the control
//! listener) befalls requests that match (host, method, path, account, data or not),
//! after the first `skip`, `times` times, each `after_ms` milliseconds later. A *habit* ([`Habits`], `PUT /habits`) is for
//! all requests. What neither names is as it is known of the broker.
//!
//! | bad day | how |
//! | --- | --- |
//! | an answer lost, before or after the deed | faults `close`, `cut_off`, `hang`, `bad_gateway`, `html` |
//! | any refusal, a limit among them | fault `refuse`, with status and body |
//! | slow replies, slow logins | fault `slow` (done, then answered), `late` (done later, also for a caller who is gone); with `host` `auth.dhan.co` the login |
//! | a data back end that is wrong about the token | fault `verdict` with `match.data`: 807, 808, 809, DH-901, DH-902, DH-906; `no_data_plan` |
//! | a refusal that quotes the caller | fault `quote`: `access_token`, `correlation_id`, `body`, `path` |
//! | a 200 whose orders are REJECTED, all or some, said or not | fault `reject_orders` (`first`, `silent`) |
//! | a reply with a wrong `Date` | fault `dated` (`ahead`, in seconds) |
//! | open sockets that end, fall silent or say odd things | [`StreamFault`], `POST /accounts/ID/sockets`; habits `socket_life_ms`, `socket_text_ms`, `login_refusal_packet`, `sockets_outlive_token` |
//! | a connection that dies | fault `last_on_connection`, habit `idle_close_ms`, [`Door`], [`Sandbox::hang_up`] |
//! | compressed replies, asked or not; broken ones | habit `compression`: `"asked"`, `{"always":"gzip"}`, `{"broken":"br"}`, `{"mislabelled":"deflate"}` |
//! | paths in other spellings that reach the broker | habit `lax_paths` |
//! | other orders under the same correlation id | [`Sandbox::put_order`], `POST /accounts/ID/orders`; habits `external` (`"newest"`, `"oldest"`, `"all"`), `forever_in_book` |
//! | orders that show late, or wait in TRANSIT | habits `shows_after_ms`, `transit_ms`, `says_transit` |
//! | rows unlike what was sent | habits `market_as_limit`, `price_noise`, `documented_order` |
//! | `getIP` without an address, with another, as an error | [`AddressForm`], `PUT /address-form` (`"unseen"`, `{"sees":"2001:db8::66"}`, `"error_array"`); `refuse` for an HTTP error |
//! | the secondary address refused | habit `secondary_refused` |
//! | a kill switch that wants everything closed first | habit `kill_switch_needs_flat` |
//! | no data plan, nothing held | habits `no_data_plan`, `no_holdings` |
//! | the documents' own sample refused | habit `empty_is_bad` |
//! | the heads that were recorded; writes over HTTP/2 sent away | habits `recorded_front`, `redirects_http2_writes` |
//! | codes, windows, clocks, tokens | [`LoginRules`], [`Sandbox::set_clock_skew`], [`Sandbox::kill_token`] |
//!
//! Map: `server` accepts, `arrival` records, `api` checks and routes, `orders` (each a
//! `row`), `brackets` (super), `triggers` (forever, alerts), `portfolio`, `registration`
//! (static IP), `tokens` and `data` answer, `elsewhere` puts orders that came by other
//! ways, `login` is the other host, `websocket` streams, `door` is what befalls a
//! connection before a request, `fault`, `verdict` and `habits` what befalls requests, `scenario` has names for them,
//! `encoding`, `front` and `spelling` what a CDN does, `control` is the test's own way
//! in, `desk` is where orders come in, `world` holds all state behind one short lock.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::tasks::Tasks;
use crate::domain::{ClientId, Pair, lock};

mod alert;
mod api;
mod arrival;
mod brackets;
mod certificates;
mod clock;
mod control;
mod data;
mod desk;
mod door;
mod elsewhere;
mod encoding;
mod fault;
mod fields;
mod front;
mod habits;
mod login;
mod orders;
mod portfolio;
mod registration;
mod reply;
mod row;
mod scenario;
mod seen;
mod server;
mod spelling;
mod stream;
mod tokens;
mod triggers;
mod trouble;
mod verdict;
mod websocket;
mod world;

pub use control::GivenAccount;
pub use door::Door;
pub use elsewhere::{Elsewhere, Kind, Unfit};
pub use encoding::Encoding;
pub use fault::{Action, Fault, Match};
pub use habits::{Compression, External, Habits};
pub use login::{ConsentVerbs, ExpiryForm, LoginRules, Mint, MintedBy, Window};
pub use registration::AddressForm;
pub use row::Status;
pub use scenario::{Aim, Effect, Scenario};
pub use seen::Seen;
pub use trouble::{StreamFault, StreamHost};
pub use verdict::{Quoted, Verdict};

/// How to start a [`Sandbox`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the broker listens; port 0 lets the system choose.
    pub listen: SocketAddrV6,
    /// Where the control listener (plain HTTP) listens; loopback only.
    pub control: Option<SocketAddr>,
    /// The names on the certificate.
    pub hosts: Vec<String>,
    /// The accounts that exist from the start.
    pub accounts: Vec<Account>,
    /// How the login behaves from the start.
    pub login: LoginRules,
    /// How many orders have numbers already: a broker that is started anew on one day would give them again.
    pub orders_before: u64,
}

impl Default for Options {
    /// A free port of `::1`, every host of Dhan's, no accounts, no control.
    fn default() -> Self {
        Self {
            listen: SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 0, 0, 0),
            control: None,
            hosts: Self::broker_hosts(),
            accounts: Vec::new(),
            login: LoginRules::default(),
            orders_before: 0,
        }
    }
}

impl Options {
    /// Every host of Dhan's that a gateway talks to.
    pub fn broker_hosts() -> Vec<String> {
        ["api", "auth", "api-order-update", "api-feed", "depth-api-feed", "full-depth-api", "images"]
            .map(|name| format!("{name}.dhan.co"))
            .into()
    }
}

/// One customer of the broker. Its secrets are plain text because they are
/// invented; `Debug` leaves them out all the same.
#[derive(Clone)]
pub struct Account {
    /// The broker's id of the account.
    pub client_id: ClientId,
    /// The customer's name, as login replies show it.
    pub name: String,
    /// The addresses registered from the start, if any.
    pub registered: Option<Pair>,
    /// The PIN of the login.
    pub pin: String,
    /// The TOTP secret of the login, in base32.
    pub totp_secret: String,
    /// The key of the account's app (`app_id`), if it has one.
    pub api_key: Option<String>,
    /// The secret of the account's app (`app_secret`).
    pub api_secret: Option<String>,
    /// Where the app's users are sent after their consent.
    pub redirect_url: Option<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client_id, name, registered, .. } = self;
        f.debug_struct("Account")
            .field("client_id", client_id)
            .field("name", name)
            .field("registered", registered)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// An account with no registered addresses.
    pub fn new(client_id: ClientId, name: &str, pin: &str, totp_secret: &str) -> Self {
        Self {
            client_id,
            name: name.to_owned(),
            registered: None,
            pin: pin.to_owned(),
            totp_secret: totp_secret.to_owned(),
            api_key: None,
            api_secret: None,
            redirect_url: None,
        }
    }

    /// The same account with a registered pair.
    #[must_use]
    pub fn registered(mut self, pair: Pair) -> Self {
        self.registered = Some(pair);
        self
    }

    /// The same account with an app of its own: key, secret, and the way back.
    #[must_use]
    pub fn with_app(mut self, api_key: &str, api_secret: &str, redirect_url: &str) -> Self {
        self.api_key = Some(api_key.to_owned());
        self.api_secret = Some(api_secret.to_owned());
        self.redirect_url = Some(redirect_url.to_owned());
        self
    }
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The certificate could not be made, for instance for a name that is no host.
    #[error("cannot make the sandbox's certificate")]
    Certificate(#[source] rcgen::Error),
    /// The TLS configuration was refused.
    #[error("cannot set up the sandbox's TLS")]
    Tls(#[source] rustls::Error),
    /// A listener could not be bound.
    #[error("cannot listen on {at}")]
    Listen {
        /// The address that it was to listen on.
        at: SocketAddr,
        /// Why it cannot listen there.
        #[source]
        err: io::Error,
    },
    /// Anybody who reaches the control listener can mint tokens.
    #[error("the control listener may listen on loopback only, not on {0}")]
    ControlNotLoopback(SocketAddr),
}

/// A running sandbox. Clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddrV6,
    control: Option<SocketAddr>,
    ca_pem: String,
    tasks: Tasks,
    handshakes: AtomicU64,
    /// Ends every connection there is.
    lines: Mutex<CancellationToken>,
    /// After how long without a request a connection ends; for the connections, which
    /// wait for changes of it.
    idle_close: watch::Sender<Option<Duration>>,
    world: Mutex<world::World>,
}

impl Inner {
    /// The state. Never held across an await; a panic of a test's thread does
    /// not make it unusable.
    fn world(&self) -> MutexGuard<'_, world::World> {
        lock(&self.world)
    }

    /// What a new connection ends with.
    fn line(&self) -> CancellationToken {
        lock(&self.lines).child_token()
    }
}

impl Sandbox {
    /// Bind, make a certificate authority and begin to serve. It ends with `tasks`.
    ///
    /// # Errors
    /// [`SandboxError`] when a listener or the certificate could not be made.
    pub async fn start(options: Options, tasks: &Tasks) -> Result<Self, SandboxError> {
        if let Some(at) = options.control.filter(|at| !at.ip().is_loopback()) {
            return Err(SandboxError::ControlNotLoopback(at));
        }
        let made = certificates::make(&options.hosts)?;
        let (listener, address) = server::listen(options.listen.into()).await?;
        let SocketAddr::V6(address) = address else {
            let err = io::Error::new(io::ErrorKind::Unsupported, "not an IPv6 address");
            return Err(SandboxError::Listen { at: address, err });
        };
        let control = match options.control {
            Some(at) => Some(server::listen(at).await?),
            None => None,
        };
        let inner = Arc::new(Inner {
            address,
            control: control.as_ref().map(|(_, at)| *at),
            ca_pem: made.ca_pem,
            tasks: tasks.clone(),
            handshakes: AtomicU64::new(0),
            lines: Mutex::default(),
            idle_close: watch::Sender::new(None),
            world: Mutex::new(world::World::new(options.login)),
        });
        let sandbox = Self { inner: Arc::clone(&inner) };
        inner.world().desk.ids.go_on_from(options.orders_before);
        for account in options.accounts {
            sandbox.add_account(account);
        }
        tasks.spawn(server::serve(Arc::clone(&inner), listener, made.tls));
        if let Some((listener, _)) = control {
            tasks.spawn(control::serve(sandbox.clone(), listener));
        }
        Ok(sandbox)
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddrV6 {
        self.inner.address
    }

    /// Where the control listener listens.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.inner.control
    }

    /// The certificate to trust, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.inner.ca_pem
    }

    /// Add an account, or change the name, credentials and registered pair of
    /// one that exists; its token and orders stay.
    pub fn add_account(&self, account: Account) {
        let mut world = self.inner.world();
        let now = world.now();
        world.add_account(account, now);
    }

    /// Change the addresses that are registered for an account, without the
    /// week of waiting. Nothing for an unknown account.
    pub fn register(&self, client_id: &ClientId, pair: Option<Pair>) {
        let mut world = self.inner.world();
        let now = world.now();
        world.register(client_id, pair, now);
    }

    /// Let the week pass after which registered addresses may change.
    pub fn unlock_registration(&self, client_id: &ClientId) {
        self.inner.world().unlock_registration(client_id);
    }

    /// The broker's habits as they are.
    pub fn habits(&self) -> Habits {
        self.inner.world().desk.habits.clone()
    }

    /// Change the broker's habits, for what comes from now on.
    pub fn set_habits(&self, habits: Habits) {
        self.inner.idle_close.send_replace(habits.idle_close_ms.map(Duration::from_millis));
        self.inner.world().desk.habits = habits;
    }

    /// Change how `getIP` answers.
    pub fn set_address_form(&self, form: AddressForm) {
        self.inner.world().address_form = form;
    }

    /// Make a token as PIN and TOTP make it (`APP`); the one before it
    /// dies. An account that does not exist gets a token that is not accepted.
    pub fn mint_token(&self, client_id: &ClientId) -> String {
        let mut world = self.inner.world();
        let now = world.now();
        world.mint(client_id, tokens::Consumer::App, now)
    }

    /// Make a token as the broker's web page makes it (`SELF`), the
    /// only kind that renews; the one before it dies.
    pub fn mint_web_token(&self, client_id: &ClientId) -> String {
        let mut world = self.inner.world();
        let now = world.now();
        world.mint(client_id, tokens::Consumer::Web, now)
    }

    /// Take a text as the account's live token; the one before it dies.
    pub fn adopt_token(&self, client_id: &ClientId, token: &str) {
        self.inner.world().adopt(client_id, token);
    }

    /// End the account's token, as the broker does when another is made elsewhere.
    pub fn kill_token(&self, client_id: &ClientId) {
        self.inner.world().kill(client_id);
    }

    /// Every request so far, oldest first. The newest 50,000 are kept.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.world().seen.all()
    }

    /// How many TLS handshakes were finished, with a request after them or without.
    /// Until one fails, this is the number of the last connection ([`Seen::connection`]).
    pub fn handshakes(&self) -> u64 {
        self.inner.handshakes.load(Ordering::Relaxed)
    }

    /// Forget what was seen.
    pub fn clear_seen(&self) {
        self.inner.world().seen.clear();
    }

    /// The account's order book as the API shows it, super orders' entry legs included.
    pub fn orders(&self, client_id: &ClientId) -> Vec<serde_json::Value> {
        let world = self.inner.world();
        let orders = world.ledger(client_id).map(|ledger| ledger.orders.as_slice()).unwrap_or_default();
        orders.iter().filter_map(|order| serde_json::to_value(order).ok()).collect()
    }

    /// Put an order into the account's book that did not come over the API; its id.
    ///
    /// # Errors
    /// [`Unfit`] for an unknown account, or a word that the broker does not have.
    pub fn put_order(&self, client_id: &ClientId, order: &Elsewhere) -> Result<String, Unfit> {
        let mut world = self.inner.world();
        let now = world.now();
        let (ledger, desk) = world.books(client_id).ok_or(Unfit::Account)?;
        ledger.put(desk, order, now)
    }

    /// How many sockets of this kind the account has open; of every kind without one.
    pub fn sockets(&self, client_id: &ClientId, kind: Option<StreamHost>) -> usize {
        let world = self.inner.world();
        let sockets = world.ledger(client_id).map(|ledger| ledger.sockets.as_slice()).unwrap_or_default();
        sockets.iter().filter(|socket| kind.is_none_or(|kind| kind == socket.kind)).count()
    }

    /// Let something befall the account's open sockets, of this kind or of every kind; how many those are.
    pub fn befall(&self, client_id: &ClientId, kind: Option<StreamHost>, fault: StreamFault) -> usize {
        let world = self.inner.world();
        let Some(ledger) = world.ledger(client_id) else { return 0 };
        let hit = ledger.sockets.iter().filter(|socket| kind.is_none_or(|kind| kind == socket.kind));
        let hit: Vec<_> = hit.map(|socket| socket.sequence).collect();
        let count = hit.len();
        ledger.publish(world::Event::Befalls(hit, fault));
        count
    }

    /// Make requests go wrong. Faults are tried in the order they were added.
    pub fn fault(&self, fault: Fault) {
        self.inner.world().faults.add(fault);
    }

    /// Sets what happens to new connections from an address, until it is set again.
    pub fn set_door(&self, from: IpAddr, door: Door) {
        let mut world = self.inner.world();
        if door == Door::Open {
            world.doors.remove(&from);
        } else {
            world.doors.insert(from, door);
        }
    }

    /// End every connection that there is, without another byte.
    pub fn hang_up(&self) {
        let mut lines = lock(&self.inner.lines);
        std::mem::take(&mut *lines).cancel();
    }

    /// Take all faults away.
    pub fn clear_faults(&self) {
        self.inner.world().faults.clear();
    }

    /// The faults that can still befall a request.
    pub fn faults(&self) -> Vec<Fault> {
        self.inner.world().faults.armed()
    }
}
