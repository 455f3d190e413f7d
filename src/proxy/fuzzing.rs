//! For fuzzing alone: what of this room reads callers' bytes, with plain values on both sides. Decides nothing; what
//! must hold is said in `crate::fuzzing`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::destination::{Destinations, Target};
use super::http1::{Connection, ConnectionLimits, ReadError};
use super::websocket::{self, Login};
use crate::domain::{Authority, ClientId};
use crate::egress::fuzzing::{Fed, run};
use crate::tokens::LiveToken;

/// The largest body taken in [`requests`].
pub const BODY_LIMIT: usize = 1024;

/// A request as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct ParsedRequest {
    pub method: Method,
    pub target: String,
    pub http_10: bool,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// All requests that come on a connection, and whether what comes after them was refused. With `watched` the caller is
/// watched after each, as while it is answered: that reads ahead.
pub fn requests(bytes: Bytes, piece: usize, watched: bool) -> (Vec<ParsedRequest>, bool) {
    let long = Duration::from_secs(3600);
    let limits = ConnectionLimits { body: BODY_LIMIT, idle: long, request: long, write: long };
    run(async {
        let mut connection = Connection::new(Fed::new(bytes, piece), limits);
        let mut found = Vec::new();
        while connection.begins().await.is_some() {
            let read = async {
                let (head, by) = connection.head().await?;
                let body = connection.body(&head, by).await?;
                if watched {
                    // What lies too far ahead is not waited for.
                    let _ = connection.ends().now_or_never();
                }
                Ok((head, body))
            };
            match read.await {
                Ok((head, body)) => found.push(ParsedRequest {
                    http_10: head.version == http::Version::HTTP_10,
                    method: head.method,
                    target: head.target,
                    headers: head.headers,
                    body,
                }),
                Err(ReadError::Gone) => return (found, false),
                Err(ReadError::Refused(_)) => return (found, true),
            }
        }
        (found, false)
    })
}

/// What of a caller's fields goes on to the broker.
pub fn for_broker(headers: &mut HeaderMap) {
    crate::dispatch::for_broker(headers);
}

/// What the order-update host hears of what a caller says, so many bytes at a time, and the code of the Close that
/// ended it, if it was a violation of the protocol.
#[expect(clippy::expect_used, reason = "a login that cannot be made would try nothing, and that is no success")]
pub fn order_updates(said: &[u8], piece: usize) -> (Vec<u8>, Option<u16>) {
    let token = LiveToken::new(LOGIN.1.to_owned().into(), Timestamp::MAX, "manual".into(), 1).expect("a token");
    let login = Login::new(ClientId::parse(LOGIN.0).expect("a client id"), Arc::new(token));
    websocket::fuzzing::order_updates(login, said, piece)
}

/// Client id and token of the login in [`order_updates`].
pub const LOGIN: (&str, &str) = ("1000000001", "the-accounts-own-token");

/// A masked text frame.
pub fn text(payload: &[u8]) -> Vec<u8> {
    websocket::fuzzing::text(payload)
}

/// A target as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedTarget {
    pub authority: Authority,
    /// The service's name.
    pub service: String,
    pub path: PathAndQuery,
}

/// A request target by the short way, if it takes that one, and by the long one. `Err` is the refusal's code.
pub fn target(
    destinations: &Destinations,
    raw: &str,
    headers: &HeaderMap,
    inside: Option<&Authority>,
) -> [Result<ParsedTarget, &'static str>; 2] {
    let plain = |Target { authority, service, path }| ParsedTarget { authority, service: format!("{service:?}"), path };
    [destinations.target(raw, headers, inside), destinations.any_target(raw, headers, inside)]
        .map(|found| found.map(|(_, target)| plain(target)).map_err(|problem| problem.code.as_str()))
}

/// Where a `CONNECT` leads, if anywhere.
pub fn tunnel(destinations: &Destinations, raw: &str, headers: &HeaderMap) -> Option<Authority> {
    use super::destination::Tunnel;
    match destinations.tunnel(raw, headers).ok()? {
        Tunnel::Intercept(authority) | Tunnel::Plain(authority) | Tunnel::Blind(authority) => Some(authority),
    }
}
