//! A question of the gateway's own about an order write: one read of the broker, and its answer whole.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::context::Dispatcher;
use super::reply::Body;
use super::send::UpstreamRequest;
use super::sign;
use crate::accounts::Account;
use crate::broker::dhan::endpoints::classify;
use crate::broker::dhan::errors;
use crate::domain::{Authority, BootInstant, NoAnswer};
use crate::egress::{Lease, decode};
use crate::legs::Leg;
use crate::orders::limits::RateRequest;
use crate::tokens::{By, LiveToken};

/// The longest that one question may take.
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// An order book of a busy day.
const BOOK_LIMIT: usize = 16 * 1024 * 1024;

/// What is asked, of whom, for which account.
pub(super) struct BrokerQuestion<'a> {
    pub account: &'a Account,
    pub token: &'a LiveToken,
    pub to: &'a Authority,
    pub path: &'a str,
    /// How long the answer may take.
    pub limit: Duration,
}

impl BrokerQuestion<'_> {
    /// The broker's status and body, decoded. `None` when no whole answer came that can be read; a connection that
    /// broke makes its leg suspect. What the answer says of the broker's clock and of the token is taken in.
    pub(super) async fn put(&self, dispatcher: &Dispatcher, leg: &Leg, lease: Lease) -> Option<(u16, Bytes)> {
        let target: PathAndQuery = self.path.parse().ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // The answer has to be read here.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        sign::headers(&mut headers, self.account, self.token);
        let asked = BootInstant::now();
        let read = UpstreamRequest::read(self.to.clone(), target, headers, self.limit);
        match lease.send(&read.message(), self.limit).await {
            Ok(reply) => {
                dispatcher.orders.heard(reply.headers(), asked);
                let (parts, body) = reply.into_parts();
                let (body, _) = Body::Broker(Box::new(body)).peek(BOOK_LIMIT).await;
                let body = decode::decoded(&parts.headers, &body?, BOOK_LIMIT).ok()?;
                let status = parts.status.as_u16();
                self.doubt_the_token(status, &body);
                Some((status, body))
            }
            Err(NoAnswer::NotSent(_)) => None,
            Err(NoAnswer::Unknown(_)) => {
                leg.suspect();
                None
            }
        }
    }

    fn doubt_the_token(&self, status: u16, body: &[u8]) {
        let refusal = errors::Reply { status, content_type: None, body };
        // "Not found" is said of what is on its way to the exchange, with the code that a dead token has.
        let client_error = (400..500).contains(&status) && status != StatusCode::NOT_FOUND.as_u16();
        if client_error && errors::doubts_token(&refusal) {
            self.account.keeper.refused(self.token.generation(), By::Read);
        }
    }
}

/// How a question about an order counts towards the broker's limits.
pub(super) fn rate_request(path: &str) -> RateRequest {
    RateRequest::of(&Method::GET, path, &classify(&Method::GET, path, None), false, Default::default)
}
