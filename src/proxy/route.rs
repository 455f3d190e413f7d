//! Where a request goes: its answer, with one line of the log and one count of it.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::Proxy;
use super::admission::ListenerContext;
use super::destination::{self, Form, Target, Tunnel};
use super::exchange::{Exchange, Handled, Inbound, TunnelContext, Upgrade};
use super::permission::ListenerPermission;
use super::streams::StreamRefused;
use super::tunnel::TunnelLifetime;
use crate::accounts::{Account, RequestClass};
use crate::broker::dhan::endpoints::{self, Managed, Spelling, classify, spelling};
use crate::broker::dhan::hosts::Service;
use crate::broker::dhan::streams::StreamKind;
use crate::dispatch::reply::{self, Body, Code, Problem};
use crate::dispatch::{self, ApiRequest, NotConnected, legs, refuse_if_halted};
use crate::domain::{AccountName, Authority, random, steady};
use crate::legs::Purpose;
use crate::telemetry::access::Access;
use crate::telemetry::stream_reporter::StreamReporter;
use crate::tokens::placeholder;

impl Proxy {
    /// Answer one request, and leave one line and one count of it.
    pub(super) async fn handle(
        &self,
        listener: &ListenerContext,
        tunnel: Option<&TunnelContext>,
        inbound: Inbound,
    ) -> Handled {
        let began = Instant::now();
        let request_id = random::request_id();
        let mut record = Access::new(&request_id, &inbound.method);
        record.account = Some(inbound.account.name.clone());
        let account = Arc::clone(&inbound.account);
        let settings = Arc::clone(&inbound.settings);
        let program = inbound.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
        account.last_request.came(&listener.listener, listener.local, program);
        let is_tunnel = inbound.method == Method::CONNECT;
        let mut exchange = Exchange { listener, tunnel, account: &account, settings, record };
        let mut handled = match self.answer(&mut exchange, inbound).await {
            Ok(handled) => handled,
            Err(problem) => {
                let record = &mut exchange.record;
                record.code = Some(problem.code.as_str());
                record.reason = Some(problem.detail.clone());
                if record.write {
                    record.outcome = Some(problem.outcome);
                }
                let mut reply = problem.into_reply(Some(&account.name), &request_id);
                reply::mark(record, reply.headers_mut());
                Handled::Reply(reply)
            }
        };
        account.last_request.answered(match &handled {
            Handled::Upgrade(_, switch) if matches!(**switch, Upgrade::WebSocket(..)) => RequestClass::Stream,
            Handled::Upgrade(..) => RequestClass::Tunnel,
            Handled::Reply(_) if exchange.record.write => RequestClass::Order,
            Handled::Reply(_) if is_tunnel => RequestClass::Tunnel,
            Handled::Reply(_) => RequestClass::Read,
        });
        let (status, headers) = match &mut handled {
            Handled::Reply(reply) => (reply.status(), reply.headers_mut()),
            Handled::Upgrade(reply, _) => (reply.status(), reply.headers_mut()),
        };
        self.conclude(&mut exchange.record, status, headers, began);
        self.dispatcher.metrics().ended(&exchange.record, listener.peer);
        handled
    }

    /// Answer a request that could not be read, or whose sender is nobody's caller, with its line and its count.
    pub(super) fn refuse(&self, method: Option<&Method>, problem: Problem) -> Response<Body> {
        let began = Instant::now();
        let request_id = random::request_id();
        let mut record = match method {
            Some(method) => Access::new(&request_id, method),
            None => Access::unread(&request_id),
        };
        record.code = Some(problem.code.as_str());
        record.reason = Some(problem.detail.clone());
        let mut reply = problem.into_reply(None, &request_id);
        let status = reply.status();
        self.conclude(&mut record, status, reply.headers_mut(), began);
        reply
    }

    /// As [`Proxy::refuse`], of somebody who is not admitted: the line says from where it came and whom it named.
    pub(super) fn turn_away(
        &self,
        listener: &ListenerContext,
        method: &Method,
        named: Option<AccountName>,
        problem: Problem,
    ) -> Response<Body> {
        let began = Instant::now();
        let request_id = random::request_id();
        let mut record = Access::new(&request_id, method);
        record.caller = listener.peer;
        record.named = named;
        record.code = Some(problem.code.as_str());
        record.reason = Some(problem.detail.clone());
        let mut reply = problem.into_reply(None, &request_id);
        let status = reply.status();
        self.conclude(&mut record, status, reply.headers_mut(), began);
        reply
    }

    /// The access line, the count and the header of what was answered.
    fn conclude(&self, record: &mut Access, status: StatusCode, headers: &mut http::HeaderMap, began: Instant) {
        record.status = status.as_u16();
        record.total = began.elapsed();
        self.dispatcher.metrics().request(record);
        record.log();
        if let Ok(value) = HeaderValue::from_str(record.request_id()) {
            headers.insert(reply::REQUEST_ID, value);
        }
    }

    async fn answer(&self, exchange: &mut Exchange<'_>, inbound: Inbound) -> Result<Handled, Problem> {
        exchange.listener.refuse_browsers(
            &inbound.headers,
            inbound.form,
            &inbound.target,
            exchange.tunnel.is_some_and(|tunnel| tunnel.tls),
        )?;
        match (&inbound.method, exchange.tunnel) {
            (&Method::CONNECT, None) => Box::pin(self.connect(exchange, inbound)).await,
            _ => self.request(exchange, inbound).await,
        }
    }

    async fn connect(&self, exchange: &mut Exchange<'_>, mut inbound: Inbound) -> Result<Handled, Problem> {
        if exchange.listener.listener.transparent {
            let detail = "this listener stands for the broker itself and is no proxy: send the request as to the broker, or \
                          use a listener without `transparent`";
            return Err(Problem::before_sending(Code::BadRequest, detail));
        }
        let mut established = Response::new(());
        if exchange.listener.names_itself(&inbound.headers) {
            inbound.headers.remove(header::HOST);
        }
        let (account, record) = (exchange.account, &mut exchange.record);
        let destinations = &exchange.settings.destinations;
        let tunnel = destinations.tunnel(&inbound.target, &inbound.headers);
        if tunnel.is_err() {
            // Its operator has to know what to allow. As it was understood, not as it came: a
            // confused caller may have put its key there.
            record.target = Authority::parse(&inbound.target, None).ok();
        }
        match tunnel? {
            Tunnel::Intercept(authority) => {
                record.target = Some(authority.clone());
                let tunnel = TunnelContext { authority, tls: true, admitted_by: Arc::new(inbound.headers) };
                Ok(Handled::Upgrade(established, Box::new(Upgrade::Intercept(tunnel))))
            }
            Tunnel::Plain(authority) => {
                record.target = Some(authority.clone());
                let tunnel = TunnelContext { authority, tls: false, admitted_by: Arc::new(inbound.headers) };
                Ok(Handled::Upgrade(established, Box::new(Upgrade::Intercept(tunnel))))
            }
            Tunnel::Blind(authority) => {
                record.target = Some(authority.clone());
                let is_api = destinations.is_api(&authority);
                if is_api {
                    refuse_if_halted(account)?;
                }
                let legs = legs(account)?;
                if legs.is_ipv4(&authority) {
                    return Err(no_order_over_ipv4(
                        &authority,
                        "nobody looks into this tunnel, so it might hold an order",
                    ));
                }
                // Nobody looks inside, so it may be an order.
                let by = tokio::time::Instant::now() + exchange.settings.timing.read_timeout;
                let dialled = legs.dial(&authority, Purpose::OrderWrite, by).await;
                let (leg, stream) = dialled.map_err(|none| NotConnected::from(&none).into_problem(record))?;
                record.leg = Some(leg.role());
                record.source = Some(leg.source().into());
                reply::mark(record, established.headers_mut());
                let mut until = TunnelLifetime::of(account, legs, exchange.listener, &self.tasks);
                until.leg = Some(leg.barred());
                until.blind = is_api.then(|| (Arc::clone(&self.accounts), account.name.clone()));
                Ok(Handled::Upgrade(established, Box::new(Upgrade::Blind(stream, Box::new(until)))))
            }
        }
    }

    async fn request(&self, exchange: &mut Exchange<'_>, mut inbound: Inbound) -> Result<Handled, Problem> {
        if !destination::passes(&inbound.method) {
            return Err(Problem::before_sending(Code::BadRequest, "this method is not passed on"));
        }
        let authority = exchange.tunnel.map(|tunnel| &tunnel.authority);
        let destinations = &exchange.settings.destinations;
        let mut found = destinations.target(&inbound.target, &inbound.headers, authority);
        if found.is_err() && inbound.form == Form::Absolute && exchange.listener.names_itself(&inbound.headers) {
            inbound.headers.remove(header::HOST);
            found = destinations.target(&inbound.target, &inbound.headers, authority);
        }
        let (_, target) = found?;
        exchange.record.target = Some(target.authority.clone());
        exchange.record.path = Some(target.path.clone());
        if exchange.listener.listener.transparent && target.service.is_none() {
            let detail =
                format!("{} is not a host of the broker, and a transparent listener serves no other", target.authority);
            return Err(Problem::before_sending(Code::DestinationDenied, detail));
        }
        if let Some(reply) = managed(&target, exchange.account)? {
            return Ok(Handled::Reply(reply));
        }
        if target.service != Some(Service::Api) {
            refuse_order_over_ipv4(exchange.account, &inbound.method, &target)?;
        }
        match target.service {
            Some(Service::Api) => self.api(exchange, inbound, target).await.map(Handled::Reply),
            Some(Service::Feed | Service::OrderUpdate) => {
                let kind = destinations.stream_kind(&target.authority).unwrap_or(StreamKind::Feed);
                let reporter =
                    StreamReporter::new(Arc::clone(&exchange.account.streams), self.dispatcher.events().clone());
                let opened = Box::pin(self.websocket(exchange, kind, (inbound, target), reporter.clone())).await;
                opened.map_err(|StreamRefused { why, problem }| {
                    let (account, request_id) = (&exchange.account.name, exchange.record.request_id());
                    reporter.refused(account, kind.as_str(), request_id, (why, &problem.detail));
                    problem
                })
            }
            Some(Service::Images | Service::Auth) => {
                let mut out = inbound.into_upstream(target);
                dispatch::for_broker(&mut out.headers);
                let legs = legs(exchange.account)?;
                Box::pin(dispatch::send(legs, &out, &mut exchange.record)).await.map(Handled::Reply)
            }
            None => {
                let mut out = inbound.into_upstream(target);
                dispatch::for_allowed(&mut out.headers);
                let legs = legs(exchange.account)?;
                Box::pin(dispatch::send(legs, &out, &mut exchange.record)).await.map(Handled::Reply)
            }
        }
    }

    /// A request to the broker's API, in the broker's own spelling, and allowed to this kind of caller.
    async fn api(
        &self,
        exchange: &mut Exchange<'_>,
        inbound: Inbound,
        mut target: Target,
    ) -> Result<Response<Body>, Problem> {
        // One canonical form before anything is classified, keyed or refused.
        let endpoint = classify(&inbound.method, target.path.path(), target.path.query());
        exchange.record.write = endpoint.is_write();
        if !endpoint.exact {
            match spelling(&inbound.method, target.path.path(), target.path.query()) {
                Spelling::Right => {}
                Spelling::Corrected(path) => target.path = path,
                Spelling::Refused { right } => {
                    let detail = format!("the broker's path for this is {right}; another spelling of it is not sent");
                    return Err(Problem::before_sending(Code::BadRequest, detail));
                }
            }
        }
        let permission = match endpoint.is_write() {
            true => {
                exchange.listener.refuse_simple_writes(&inbound.method, &endpoint, &inbound.headers, &inbound.body)?;
                Some(ListenerPermission::new(&self.accounts, exchange, &inbound))
            }
            false => None,
        };
        let (arrival, timing) = (inbound.arrival.clone(), exchange.settings.timing);
        let out = inbound.into_upstream(target);
        let request = ApiRequest { account: exchange.account, endpoint, out, arrival, timing };
        match &permission {
            Some(permission) => self.dispatcher.write(request, permission, &mut exchange.record).await,
            None => self.dispatcher.read(request, &mut exchange.record).await,
        }
    }
}

/// An order write to a host that is reached over IPv4 is not sent.
fn refuse_order_over_ipv4(account: &Account, method: &Method, target: &Target) -> Result<(), Problem> {
    let over_ipv4 = account.legs.as_ref().is_some_and(|legs| legs.is_ipv4(&target.authority));
    if over_ipv4 && classify(method, target.path.path(), target.path.query()).is_write() {
        return Err(no_order_over_ipv4(&target.authority, "this may be an order write"));
    }
    Ok(())
}

/// 403: what may be an order leaves from the account's own address or not at all.
fn no_order_over_ipv4(to: &Authority, why: &str) -> Problem {
    let detail = format!(
        "{why}, and {to} is a host of egress.ipv4_hosts: what is sent there leaves over IPv4, from an address that accounts \
         share. Nothing was sent. Orders go to the broker's API host"
    );
    Problem::before_sending(Code::DestinationDenied, detail)
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
                let mut reply = crate::dispatch::reply::json(StatusCode::OK, &body);
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
