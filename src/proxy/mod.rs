//! The proxy: what callers connect to.
//!
//! The way of a request: a listener's connection (`connection`) is read as HTTP/1
//! (`http1`) or, inside an intercepted tunnel, as HTTP/2; the caller is admitted
//! as an account (`admission`); what it asks for is settled (`destination`); the account's
//! credentials are put in (`sign`); it leaves by a leg (`forward`); and what comes
//! back, or why nothing does (`reply`), is the caller's.
//!
//! Invariants:
//! - A request is admitted on its own. Nothing of an earlier request on the same
//!   connection is remembered, except that a tunnel keeps the account that its
//!   `CONNECT` was admitted as.
//! - The account is settled before anything is looked up for it, and every later
//!   step gets that one account's row.

mod admission;
mod api;
mod connection;
mod destination;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod http1;
pub mod intercept;
mod listener;
mod order;
mod permission;
mod question;
mod queue;
mod reconcile;
mod recover;
mod reply;
mod shared;
mod sign;
mod tunnel;
mod websocket;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::accounts::{Account, Accounts};
use crate::broker::dhan::endpoints::{self, Managed};
use crate::broker::dhan::hosts::Service;
use crate::config::Config;
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Authority, Outcome, random, steady};
use crate::legs::{Legs, Purpose};
use crate::orders::Orders;
use crate::telemetry::Metrics;
use crate::telemetry::access::Access;
use crate::tokens::{LiveToken, Unavailable, placeholder};

pub use destination::Destinations;
pub use listener::{ListenError, ListenerHandle, ListenerSettings, Listening, listen};
pub(crate) use listener::{bind_tcp, bind_unix};
#[doc(hidden)]
pub use order::probe;
pub use workers::Workers;

use admission::ListenerContext;
use destination::{Form, Target, Tunnel};
use forward::{Trace, UpstreamRequest};
use http1::Limits;
use reply::{Body, Code, Problem, Retry};

/// All that serving a request takes.
#[derive(Debug)]
pub struct Proxy {
    accounts: Arc<Accounts>,
    orders: Arc<Orders>,
    questions: shared::Questions,
    interceptor: intercept::Interceptor,
    settings: ArcSwap<Settings>,
    workers: Workers,
    tasks: Tasks,
    metrics: Arc<Metrics>,
}

/// What a reload changes. A request takes it when its head was read, and keeps it.
#[derive(Debug)]
struct Settings {
    destinations: Destinations,
    limits: Limits,
    read_timeout: Duration,
    write_timeout: Duration,
    reconcile_for: Duration,
    leave_within: Duration,
}

impl Settings {
    fn new(config: &Config) -> Self {
        Self {
            destinations: Destinations::new(config),
            limits: Limits {
                body: config.proxy.body_limit,
                idle: config.proxy.idle_timeout,
                request: config.proxy.request_timeout,
                write: config.proxy.request_timeout,
            },
            read_timeout: config.egress.response_timeout,
            write_timeout: config.orders.response_timeout,
            reconcile_for: config.orders.reconcile_for,
            leave_within: config.orders.leave_within,
        }
    }
}

/// A request as it was read, from whichever protocol. No `Debug`: it holds keys.
struct Inbound {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    settings: Arc<Settings>,
    /// Who it was admitted as when its head was read, if that was this moment.
    admitted: Option<Arc<Account>>,
    arrival: Arrival,
}

/// When a request came, and whether who sent it is still there.
#[derive(Clone, Debug)]
struct Arrival {
    /// When the first of its bytes were there to be read; its wait for being accepted counts.
    at: tokio::time::Instant,
    /// Cancelled when the caller closed its side, reset the connection or its stream.
    gone: CancellationToken,
}

/// The tunnel a request came through, and who its `CONNECT` was admitted as. No
/// `Debug`: it holds a key.
#[derive(Clone)]
struct TunnelContext {
    authority: Authority,
    /// The `CONNECT`'s own headers: its key is checked again for each request, so
    /// that a key which is deleted ends the tunnels it opened.
    admitted_by: Arc<HeaderMap>,
}

/// What becomes of a connection after a request.
enum Handled {
    Reply(Response<Body>),
    Upgrade(Response<()>, Box<Upgrade>),
}

/// What takes a connection over.
enum Upgrade {
    /// Blind bytes.
    Blind(TcpStream, TunnelLifetime),
    /// Our TLS.
    Intercept(TunnelContext),
    /// Frames, the first one signed where the service signs there.
    WebSocket(Box<websocket::Relay>, TunnelLifetime),
}

/// How long bytes may be passed on without a request being admitted: while the account has the legs and the client
/// keys that they began with, and the listener the terms.
#[derive(Clone, Debug)]
struct TunnelLifetime {
    legs: CancellationToken,
    /// The leg that it was opened by turned out to be seen as another.
    leg: Option<CancellationToken>,
    keys: CancellationToken,
    terms: Option<CancellationToken>,
    /// Of bytes that nobody can read and that may be orders: whose they are. A halt ends them.
    blind: Option<(Arc<Accounts>, AccountName)>,
    tasks: Tasks,
}

impl TunnelLifetime {
    fn of(account: &Account, legs: &Legs, door: &ListenerContext, tasks: &Tasks) -> Self {
        Self {
            legs: legs.ended().clone(),
            leg: None,
            keys: account.keys.revoked().clone(),
            terms: door.terms.as_ref().map(|terms| terms.load().tightened().clone()),
            blind: None,
            tasks: tasks.clone(),
        }
    }

    async fn over(&self) {
        let cancelled = async |token: &Option<CancellationToken>| match token {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            () = self.legs.cancelled() => {}
            () = cancelled(&self.leg) => {}
            () = self.keys.cancelled() => {}
            () = cancelled(&self.terms) => {}
            () = self.halted() => {}
            () = self.tasks.stopping() => {}
        }
    }

    async fn halted(&self) {
        let Some((accounts, name)) = &self.blind else { return std::future::pending().await };
        while let Some(row) = accounts.lookup(name.as_str()) {
            if row.record.halted.is_some() {
                return;
            }
            row.replaced().cancelled().await;
        }
    }
}

impl Proxy {
    /// Put the parts together. `tasks` runs callers' connections, on `workers`.
    pub fn new(
        config: &Config,
        accounts: Arc<Accounts>,
        orders: Arc<Orders>,
        interceptor: intercept::Interceptor,
        (workers, tasks): (Workers, Tasks),
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let settings = ArcSwap::from_pointee(Settings::new(config));
        let questions = shared::Questions::default();
        Arc::new(Self { accounts, orders, questions, interceptor, settings, workers, tasks, metrics })
    }

    /// Other settings for the requests to come.
    pub fn reload(&self, config: &Config) {
        self.settings.store(Arc::new(Settings::new(config)));
    }

    /// Answer one request, and leave one line and one count of it.
    async fn handle(&self, door: &ListenerContext, inside: Option<&TunnelContext>, asked: Inbound) -> Handled {
        let began = Instant::now();
        let request_id = request_id();
        let mut access = Access::new(&request_id, &asked.method);
        let mut trace = Trace::default();
        let handled = match self.answer(door, inside, &request_id, asked, &mut access, &mut trace).await {
            Ok(handled) => handled,
            Err((account, problem)) => {
                access.code = Some(problem.code.as_str());
                let outcome = problem.outcome;
                let mut reply = problem.into_reply(account.as_ref().map(|a| &a.name), &request_id);
                if access.write {
                    trace.outcome = Some(outcome);
                }
                trace.mark(reply.headers_mut());
                Handled::Reply(reply)
            }
        };
        let status = match &handled {
            Handled::Reply(reply) => reply.status(),
            Handled::Upgrade(reply, _) => reply.status(),
        };
        access.status = status.as_u16();
        access.leg = trace.leg;
        access.source = trace.source;
        access.outcome = trace.outcome;
        access.repeat_of = trace.repeat_of;
        access.dial_error = trace.dial_error;
        access.upstream = trace.upstream;
        access.total = began.elapsed();
        self.metrics.request(&access);
        access.log();
        let mut handled = handled;
        let headers = match &mut handled {
            Handled::Reply(reply) => reply.headers_mut(),
            Handled::Upgrade(reply, _) => reply.headers_mut(),
        };
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            headers.insert(reply::REQUEST_ID, value);
        }
        handled
    }

    /// Answer a request that could not be read, with its line and its count.
    fn refuse(&self, problem: Problem) -> Response<Body> {
        let request_id = request_id();
        let mut access = Access::unread(&request_id);
        access.code = Some(problem.code.as_str());
        let mut reply = problem.into_reply(None, &request_id);
        access.status = reply.status().as_u16();
        self.metrics.request(&access);
        access.log();
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            reply.headers_mut().insert(reply::REQUEST_ID, value);
        }
        reply
    }

    /// Would a request with these headers be admitted? Asked before its body is read,
    /// so that nobody can make us hold bodies without a key.
    fn admits(
        &self,
        door: &ListenerContext,
        inside: Option<&TunnelContext>,
        target: &str,
        headers: &HeaderMap,
    ) -> Result<Arc<Account>, Problem> {
        let shown = inside.map_or(headers, |inside| &*inside.admitted_by);
        door.admit(&self.accounts, shown, form_of(target, inside))
    }

    async fn answer(
        &self,
        door: &ListenerContext,
        inside: Option<&TunnelContext>,
        request_id: &Arc<str>,
        mut asked: Inbound,
        access: &mut Access,
        trace: &mut Trace,
    ) -> Result<Handled, (Option<Arc<Account>>, Problem)> {
        let form = form_of(&asked.target, inside);
        let account = match asked.admitted.take() {
            Some(account) => account,
            None => self.admits(door, inside, &asked.target, &asked.headers).map_err(|problem| (None, problem))?,
        };
        access.account = Some(account.name.clone());
        let of_account = |problem| (Some(Arc::clone(&account)), problem);
        door.refuse_browsers(&asked.headers, form, &asked.target, inside.map(|inside| &inside.authority))
            .map_err(of_account)?;
        let handled = match (&asked.method, inside) {
            (&Method::CONNECT, None) => Box::pin(self.connect(door, &account, asked, access, trace)).await,
            _ => self.request((door, request_id), inside, &account, asked, access, trace).await,
        };
        handled.map_err(of_account)
    }

    async fn connect(
        &self,
        door: &ListenerContext,
        account: &Account,
        asked: Inbound,
        access: &mut Access,
        trace: &mut Trace,
    ) -> Result<Handled, Problem> {
        let mut established = Response::new(());
        let tunnel = asked.settings.destinations.tunnel(&asked.target, &asked.headers);
        if tunnel.is_err() {
            // Its operator has to know what to allow. As it was understood, not as it came: a
            // confused caller may have put its key there.
            access.target = Authority::parse(&asked.target, None).ok();
        }
        match tunnel? {
            Tunnel::Intercept(authority) => {
                access.target = Some(authority.clone());
                let inside = TunnelContext { authority, admitted_by: Arc::new(asked.headers) };
                Ok(Handled::Upgrade(established, Box::new(Upgrade::Intercept(inside))))
            }
            Tunnel::Blind(authority) => {
                access.target = Some(authority.clone());
                let is_api = asked.settings.destinations.is_api(&authority);
                if is_api {
                    permission::refuse_if_halted(account)?;
                }
                let legs = legs(account)?;
                // Nobody looks inside, so it may be an order.
                let by = tokio::time::Instant::now() + asked.settings.read_timeout;
                let dialled = legs.dial(&authority, Purpose::OrderWrite, by).await;
                let (leg, stream) = dialled.map_err(|none| {
                    trace.dial_error = Some(none.code());
                    Problem::before_sending(Code::EgressUnavailable, none.to_string())
                })?;
                trace.leg = Some(leg.role());
                trace.source = Some(leg.source());
                trace.mark(established.headers_mut());
                let mut until = TunnelLifetime::of(account, legs, door, &self.tasks);
                until.leg = Some(leg.barred());
                until.blind = is_api.then(|| (Arc::clone(&self.accounts), account.name.clone()));
                Ok(Handled::Upgrade(established, Box::new(Upgrade::Blind(stream, until))))
            }
        }
    }

    async fn request(
        &self,
        (door, request_id): (&ListenerContext, &Arc<str>),
        inside: Option<&TunnelContext>,
        account: &Account,
        asked: Inbound,
        access: &mut Access,
        trace: &mut Trace,
    ) -> Result<Handled, Problem> {
        if !destination::passes(&asked.method) {
            return Err(Problem::before_sending(Code::BadRequest, "this method is not passed on"));
        }
        let authority = inside.map(|inside| &inside.authority);
        let (_, target) = asked.settings.destinations.target(&asked.target, &asked.headers, authority)?;
        access.target = Some(target.authority.clone());
        access.path = Some(target.path.clone());
        if let Some(reply) = managed(&target, account)? {
            return Ok(Handled::Reply(reply));
        }
        match target.service {
            Some(Service::Api) => {
                self.api((door, request_id), inside, account, asked, target, access, trace).await.map(Handled::Reply)
            }
            Some(service @ (Service::Feed | Service::OrderUpdate)) => {
                Box::pin(self.websocket(door, account, service, asked, target, trace)).await
            }
            Some(Service::Images | Service::Auth) => {
                let mut out = outgoing(asked, target);
                headers::for_broker(&mut out.headers);
                Box::pin(forward::send(legs(account)?, &out, trace)).await.map(Handled::Reply)
            }
            None => {
                let mut out = outgoing(asked, target);
                headers::for_allowed(&mut out.headers);
                Box::pin(forward::send(legs(account)?, &out, trace)).await.map(Handled::Reply)
            }
        }
    }

    async fn websocket(
        &self,
        door: &ListenerContext,
        account: &Account,
        service: Service,
        asked: Inbound,
        target: Target,
        trace: &mut Trace,
    ) -> Result<Handled, Problem> {
        let handshake = websocket::Handshake::of(&asked.method, &asked.headers, service)?;
        let token = live(account, tokio::time::Instant::now() + asked.settings.read_timeout).await?;
        let mut out = outgoing(asked, target);
        headers::for_broker(&mut out.headers);
        handshake.ask(&mut out.headers);
        if service == Service::Feed {
            out.path = sign::feed_query(&out.path, account, &token)?;
            out.secret_path = true;
        } else {
            // Its login is its first frame; a query could only hold another one.
            out.path = sign::no_query(&out.path);
        }
        out.upgrade = true;
        let login =
            (service == Service::OrderUpdate).then(|| websocket::Login::new(account.client_id().clone(), token));
        let legs = legs(account)?;
        let mut until = TunnelLifetime::of(account, legs, door, &self.tasks);
        let reply = forward::send(legs, &out, trace).await?;
        until.leg = trace.leg.map(|role| legs.leg(role).barred());
        if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Handled::Reply(reply));
        }
        let (reply, relay) = websocket::Relay::new(reply, login)?;
        Ok(Handled::Upgrade(reply, Box::new(Upgrade::WebSocket(Box::new(relay), until))))
    }
}

/// The gateway's own id of a request.
fn request_id() -> Arc<str> {
    let mut text = uuid::Uuid::encode_buffer();
    (&*random::time_ordered_id().hyphenated().encode_lower(&mut text)).into()
}

fn outgoing(asked: Inbound, target: Target) -> UpstreamRequest {
    UpstreamRequest {
        may_repeat: matches!(asked.method, Method::GET | Method::HEAD | Method::OPTIONS),
        authority: target.authority,
        method: asked.method,
        path: target.path,
        headers: asked.headers,
        body: asked.body,
        limit: asked.settings.read_timeout,
        upgrade: false,
        secret_path: false,
        counts: None,
    }
}

/// How the target is written, before it is read.
fn form_of(target: &str, inside: Option<&TunnelContext>) -> Form {
    match inside {
        Some(_) => Form::Intercepted,
        None if target.starts_with('/') => Form::Origin,
        None => Form::Absolute,
    }
}

fn legs(account: &Account) -> Result<&Legs, Problem> {
    account.legs.as_deref().ok_or_else(|| {
        let detail =
            format!("account {0} has no pair of addresses; assign one by POST /v1/accounts/{0}/pair", account.name);
        Problem::before_sending(Code::EgressUnavailable, detail)
    })
}

/// The token to sign with. Waits until `by` for one that is on its way.
async fn live(account: &Account, by: tokio::time::Instant) -> Result<Arc<LiveToken>, Problem> {
    match account.token.live() {
        Ok(token) => Ok(token),
        Err(_) => account.token.wait(0, by).await.map_err(|why| no_token(account, &why, Outcome::NotSent)),
    }
}

fn no_token(account: &Account, why: &Unavailable, outcome: Outcome) -> Problem {
    let action = why.action.replace("{name}", account.name.as_str());
    let mut problem = Problem::before_sending(Code::TokenUnavailable, format!("{}; {action}", why.summary));
    problem.outcome = outcome;
    if let Some(wait) = why.retry_after {
        problem.retry = Retry::After(wait);
    }
    problem
}

/// What the gateway answers by itself: login with a placeholder, and a refusal of
/// what would change the registration or the login behind its back.
fn managed(target: &Target, account: &Account) -> Result<Option<Response<Body>>, Problem> {
    let path = target.path.path();
    let kind = match target.service {
        Some(Service::Api) => endpoints::managed_path(path),
        Some(Service::Auth) => Some(Managed::Login),
        Some(Service::OrderUpdate | Service::Feed | Service::Images) | None => None,
    };
    match kind {
        None => Ok(None),
        Some(Managed::Login) => match placeholder::reply(path, account.client_id(), steady::now()) {
            Some(body) => {
                let mut reply = reply::json(StatusCode::OK, &body);
                reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(Some(reply))
            }
            None => Err(Problem::before_sending(
                Code::ManagedByGateway,
                "the gateway logs this account in; callers need no token of their own",
            )),
        },
        Some(Managed::Registration) => Err(Problem::before_sending(
            Code::ManagedByGateway,
            "callers do not change the registered addresses: a mistake there costs a week; whoever runs the gateway does it on web.dhan.co",
        )),
    }
}
