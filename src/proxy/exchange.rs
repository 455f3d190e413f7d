//! One request on its way through the proxy.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use tokio::net::TcpStream;

use super::ProxySettings;
use super::admission::ListenerContext;
use super::destination::{Form, Target};
use super::tunnel::TunnelLifetime;
use super::websocket;
use crate::accounts::Account;
use crate::dispatch::reply::Body;
use crate::dispatch::{Arrival, UpstreamRequest};
use crate::domain::Authority;
use crate::telemetry::access::Access;

/// A request as it was read, from whichever protocol, and who sent it. No `Debug`: it holds keys.
pub(super) struct Inbound {
    pub(super) method: Method,
    /// As it stood in the request line, or in HTTP/2's pseudo-header fields.
    pub(super) target: String,
    pub(super) form: Form,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The row of whoever sent it, admitted when all of it was there.
    pub(super) account: Arc<Account>,
    /// What held when its head was read.
    pub(super) settings: Arc<ProxySettings>,
    pub(super) arrival: Arrival,
}

/// A request that is being answered: by which listener and tunnel it came, whose it is, and what becomes known of it.
pub(super) struct Exchange<'a> {
    pub(super) listener: &'a ListenerContext,
    pub(super) tunnel: Option<&'a TunnelContext>,
    pub(super) account: &'a Account,
    pub(super) settings: Arc<ProxySettings>,
    pub(super) record: Access,
}

impl Inbound {
    /// As it goes to the broker, neither signed nor rid of the caller's headers yet.
    pub(super) fn into_upstream(self, target: Target) -> UpstreamRequest {
        UpstreamRequest {
            may_repeat: matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS),
            authority: target.authority,
            method: self.method,
            path: target.path,
            headers: self.headers,
            body: self.body,
            limit: self.settings.timing.read_timeout,
            upgrade: false,
            secret_path: false,
            counts: None,
        }
    }
}

/// The tunnel a request came through, and who its `CONNECT` was admitted as. No `Debug`: it holds a key.
#[derive(Clone)]
pub(super) struct TunnelContext {
    pub(super) authority: Authority,
    /// Is what comes through it TLS that ended here?
    pub(super) tls: bool,
    /// The `CONNECT`'s own headers: its key is checked again for each request, so
    /// that a key which is deleted ends the tunnels it opened.
    pub(super) admitted_by: Arc<HeaderMap>,
}

/// What becomes of a connection after a request.
pub(super) enum Handled {
    Reply(Response<Body>),
    Upgrade(Response<()>, Box<Upgrade>),
}

/// What takes a connection over.
pub(super) enum Upgrade {
    /// Blind bytes.
    Blind(TcpStream, Box<TunnelLifetime>),
    /// What the broker would serve, over TLS or without.
    Intercept(TunnelContext),
    /// Frames, the first one signed where the service signs there.
    WebSocket(websocket::Accepted, Box<TunnelLifetime>),
}
