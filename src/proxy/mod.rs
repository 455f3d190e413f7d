//! The proxy: what callers connect to.
//!
//! The way of a request: a listener (`listener`) accepts a connection, which is read as HTTP/1 (`http1`) or, inside an
//! intercepted tunnel, as HTTP/2 (`http2`); the caller is admitted as an account (`admission`); one `Exchange`
//! (`exchange`) goes on from there, and where it goes is decided once (`route`): to `crate::dispatch`, into a tunnel
//! (`tunnel`), or a WebSocket (`streams`, `websocket`). A `transparent` listener finds the broker's host in the TLS handshake.
//!
//! Invariants:
//! - A request is admitted on its own. Nothing of an earlier request on the same
//!   connection is remembered, except that a tunnel keeps the account that its
//!   `CONNECT` was admitted as.
//! - The account is settled before anything is looked up for it, and every later
//!   step gets that one account's row.

mod admission;
#[doc(hidden)]
pub mod bench_hooks;
mod connection;
mod destination;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod http1;
mod http2;
pub mod intercept;
mod listener;
mod listener_settings;
mod permission;
mod queue;
mod route;
mod streams;
mod transparent;
mod tunnel;
mod websocket;
mod workers;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::accounts::Accounts;
use crate::config::Config;
use crate::dispatch::{Dispatcher, Timing};
use crate::domain::tasks::Tasks;
use crate::orders::restore::Unsettled;

pub use destination::Destinations;
pub use listener::{ListenerHandle, Listening, listen};
pub use listener_settings::{ListenError, ListenerSettings};
pub use workers::Workers;

use http1::ConnectionLimits;
use websocket::{SharedFeeds, StreamLimits};

/// All that serving a request takes.
#[derive(Debug)]
pub struct Proxy {
    accounts: Arc<Accounts>,
    dispatcher: Dispatcher,
    interceptor: intercept::Interceptor,
    settings: ArcSwap<ProxySettings>,
    workers: Workers,
    streams: Arc<StreamLimits>,
    shared_feeds: SharedFeeds,
    tasks: Tasks,
}

/// What a reload changes. A request takes it when its head was read, and keeps it.
#[derive(Debug)]
struct ProxySettings {
    destinations: Destinations,
    limits: ConnectionLimits,
    timing: Timing,
}

impl ProxySettings {
    fn new(config: &Config) -> Self {
        Self {
            destinations: Destinations::new(config),
            limits: ConnectionLimits {
                body: config.proxy.body_limit,
                idle: config.proxy.idle_timeout,
                request: config.proxy.request_timeout,
                write: config.proxy.request_timeout,
            },
            timing: Timing::from(config),
        }
    }
}

impl Proxy {
    /// Put the parts together. `tasks` runs callers' connections, on `workers`.
    pub fn new(
        config: &Config,
        accounts: Arc<Accounts>,
        dispatcher: Dispatcher,
        interceptor: intercept::Interceptor,
        workers: Workers,
        tasks: Tasks,
    ) -> Arc<Self> {
        let settings = ArcSwap::from_pointee(ProxySettings::new(config));
        let streams = StreamLimits::new(Arc::clone(dispatcher.metrics().streams()));
        let shared_feeds = SharedFeeds::default();
        Arc::new(Self { accounts, dispatcher, interceptor, settings, workers, streams, shared_feeds, tasks })
    }

    /// Other settings for the requests to come.
    pub fn reload(&self, config: &Config) {
        self.settings.store(Arc::new(ProxySettings::new(config)));
    }

    /// Ask the broker about order writes that the last stop cut off, as [`Dispatcher::settle`].
    pub async fn settle(&self, unsettled: Vec<Unsettled>) {
        let patience = || self.settings.load().timing.reconcile_for;
        self.dispatcher.settle(&self.accounts, unsettled, patience, &self.tasks).await;
    }
}
