//! For `benches/instructions` alone: what it counts of this room and nobody outside sees otherwise.
//!
//! Each takes plain values, calls what is counted, and decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::admission::ListenerContext;
use super::destination::Form;
use crate::accounts::{Account, Accounts};
use crate::broker::dhan::endpoints::Endpoint;
use crate::config::Listener;
use crate::dispatch::reply::Problem;
use crate::dispatch::sign;
use crate::dispatch::verdict::{self, Verdict};
use crate::domain::ClientId;
use crate::tokens::LiveToken;

/// A connection by a listener.
#[derive(Debug)]
pub struct Caller(ListenerContext);

impl Caller {
    /// As accepted at `local`.
    pub fn new(listener: Listener, local: SocketAddr) -> Self {
        Self(ListenerContext { listener: Arc::new(listener), local: Some(local), uid: None, peer: None, terms: None })
    }

    /// All that is asked of an order write before it is taken for its account's.
    ///
    /// # Errors
    /// The word of the refusal.
    pub fn check(
        &self,
        accounts: &Accounts,
        (method, target, headers): (&Method, &str, &HeaderMap),
        endpoint: &Endpoint,
        body: &[u8],
    ) -> Result<Arc<Account>, &'static str> {
        let form = Form::of(target, false);
        let account = self.0.admit(accounts, headers, form).map_err(word)?;
        self.0.refuse_browsers(headers, form, target, false).map_err(word)?;
        self.0.refuse_simple_writes(method, endpoint, headers, body).map_err(word)?;
        Ok(account)
    }
}

/// A body as it goes to the broker, and its correlation id.
///
/// # Errors
/// The word of the refusal.
pub fn sign_body(
    body: Bytes,
    endpoint: Endpoint,
    client_id: &ClientId,
    key: Option<&str>,
) -> Result<(Bytes, Option<String>), &'static str> {
    let day = jiff::civil::date(2026, 11, 23);
    let signed = sign::body(body, &endpoint, client_id, key, day).map_err(word)?;
    Ok((signed.body, signed.correlation.map(|correlation| correlation.id().to_string())))
}

/// A caller's headers into the account's.
pub fn sign_headers(headers: &mut HeaderMap, account: &Account, token: &LiveToken) {
    sign::headers(headers, account, token);
}

/// What the broker's reply says of an order write, in a word, and the order that it names.
pub fn judge(status: StatusCode, headers: HeaderMap, body: Bytes) -> (&'static str, Option<String>) {
    match verdict::judge(verdict::WriteReply::new(status, headers, body)) {
        Verdict::Settled(outcome, reply) => (outcome.as_str(), reply.order_id().map(str::to_owned)),
        Verdict::RefusesSource(_) => ("refuses_source", None),
        Verdict::RefusesToken(_) => ("refuses_token", None),
        Verdict::Nothing(_) => ("nothing", None),
        Verdict::Lost(_) => ("lost", None),
    }
}

fn word(problem: Problem) -> &'static str {
    problem.code.as_str()
}
