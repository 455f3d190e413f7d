//! The calls that Sixgate itself makes to the broker: logins, renewal, consent,
//! `/profile`, and the registration of addresses.
//!
//! They go over connections that the account's leg has dialled
//! ([`Leg::lease_for_errand`](crate::legs::Leg::lease_for_errand)): bound, guarded, pinned
//! and timed as orders are, the secondary when the primary cannot be dialled.
//!
//! Invariants:
//! - One request a call and never a repeat, except on the other leg after proof that
//!   nothing was sent: the dial or the TLS handshake failed. A consent is fetched by
//!   the other verb after a reply that refuses the verb.
//! - [`Answered::NotSent`] is such proof. Whatever came after the handshake and is no
//!   answer is [`Answered::Unknown`]: it may have happened.
//! - A token is taken only if it says itself that it is this account's.
//! - No secret in an error, a log line or `Debug`. PIN and code are written into one
//!   buffer that is wiped ([`crate::egress::SecretRequest`]).
//!
//! Not here: when to log in and what is counted (`lifecycle`), where tokens are kept.

mod address;
mod answered;
mod call;
mod order;
mod profile;
mod refusal;
mod token;
mod totp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;

use super::lifecycle::{CheckOutcome, Refusal, Trouble};
use crate::broker::dhan::errors::Context;
use crate::config::{Config, Dhan};
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{Authority, BootInstant, ClientId, Role, Secret, SourceAddr, steady};
use crate::legs::{Errand, Legs};

pub use address::{Holds, Registered, Slot, is_unreported};
pub use answered::{Answered, Called};
pub use call::{CallRoute, skew};
pub use order::{OrderAtBroker, OrderKey};
pub use profile::TokenProfile;
pub use token::{ConsentLink, Minted, check_token_id};
pub use totp::code_at;

use crate::domain::NoAnswer;
use call::{Call, CallOutcome, Counts, Ears, HttpReply, headers, sensitive};

/// One of the broker's calls: its name in the log and the metrics, its method and its path.
struct Operation {
    name: &'static str,
    method: Method,
    path: &'static str,
}

impl Operation {
    const fn new(name: &'static str, method: Method, path: &'static str) -> Self {
        Self { name, method, path }
    }
}

// Of the login host, then of the API.
const MINT: Operation = Operation::new("pin_totp", Method::POST, "/app/generateAccessToken");
const GENERATE_CONSENT: Operation = Operation::new("generate_consent", Method::POST, "/app/generate-consent");
const CONSUME_CONSENT: Operation = Operation::new("consume_consent", Method::GET, "/app/consumeApp-consent");
const RENEW: Operation = Operation::new("renew", Method::GET, "/v2/RenewToken");
const PROFILE: Operation = Operation::new("profile", Method::GET, "/v2/profile");
const GET_IP: Operation = Operation::new("get_ip", Method::GET, "/v2/ip/getIP");
const ORDER_BOOK: Operation = Operation::new("order_book", Method::GET, "/v2/orders");
const ORDER: Operation = Operation::new("order", Method::GET, "/v2/orders");
const SET_IP: Operation = Operation::new("set_ip", Method::POST, "/v2/ip/setIP");
const MODIFY_IP: Operation = Operation::new("modify_ip", Method::PUT, "/v2/ip/modifyIP");

/// How long a question without a token may take: it is asked for its own sake, and somebody waits for it.
const PLAIN: Duration = Duration::from_secs(5);

/// Makes the calls.
#[derive(Clone, Debug)]
pub struct BrokerClient {
    api: Authority,
    auth: Authority,
    /// The broker's other hosts.
    others: Arc<[Authority]>,
    limit: Arc<AtomicU64>,
    ears: Ears,
    counts: Counts,
}

impl From<&Config> for BrokerClient {
    fn from(config: &Config) -> Self {
        let Dhan { api, auth, order_update, feed, depth20, depth200, images } = &config.dhan;
        let others = [order_update, feed, depth20, depth200, images].map(Clone::clone);
        let client = Self::new(api.clone(), auth.clone(), config.egress.response_timeout);
        Self { others: others.into(), ..client }
    }
}

impl BrokerClient {
    /// Calls to the broker's API and login hosts. Dialling, and then the answer, may
    /// each take `limit` (`egress.response_timeout`).
    pub fn new(api: Authority, auth: Authority, limit: Duration) -> Self {
        let (ears, counts) = (Ears::default(), Counts::default());
        let login = Self { api, auth, others: Arc::default(), limit: Arc::default(), ears, counts };
        login.set_limit(limit);
        login
    }

    /// Another limit for the calls to come.
    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// From now on `hear` is called with the head of every answer and when its request was sent; once.
    pub fn on_heard(&self, hear: impl Fn(&HeaderMap, BootInstant) + Send + Sync + 'static) {
        self.ears.set(hear);
    }

    /// From now on `count` is called with every request to the API that leaves, whose it is and what it is; once. Logins go
    /// to another host, and have limits of their own.
    pub fn on_call(&self, count: impl Fn(&ClientId, &Method, &str) + Send + Sync + 'static) {
        self.counts.set(count);
    }

    fn limit(&self) -> Duration {
        Duration::from_micros(self.limit.load(Ordering::Relaxed))
    }

    /// Log in with PIN and the code of exactly `step`, by `latest`.
    pub async fn pin_totp(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        pin: &Secret,
        totp_secret: &Secret,
        step: u64,
        latest: Timestamp,
    ) -> Called<Answered<Minted>> {
        let code = match totp::code(totp_secret, step) {
            Ok(code) => code,
            Err(why) => return refused_here("totp_secret_invalid", &why, "Enter the account's TOTP secret again"),
        };
        let pin = pin.expose_secret();
        let query = [("dhanClientId", client_id.as_str()), ("pin", pin), ("totp", &code)];
        // No body and no Content-Type: the broker refuses an empty JSON body (DH-905).
        let call = self.to_auth(MINT, client_id, &query, HeaderMap::new(), latest);
        let exchange = call::make(&call, legs.into(), self.limit()).await;
        judge(exchange, Context::Login, &[pin, &code], |answer, now| token::minted(answer, client_id, now))
    }

    /// Renew a token, by `latest`. The broker ends the old one as it makes the new one.
    pub async fn renew(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        token: &Secret,
        latest: Timestamp,
    ) -> Called<Answered<Minted>> {
        let Some(headers) = signed(token, client_id) else { return no_header("access_token") };
        let call = Call { latest: Some(latest), ..self.to_api(RENEW, client_id, headers, None) };
        let exchange = call::make(&call, legs.into(), self.limit()).await;
        judge(exchange, Context::Renew, &[token.expose_secret()], |answer, now| token::minted(answer, client_id, now))
    }

    /// Ask for a login link, by `latest`. The broker gives 25 a day.
    pub async fn generate_consent(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        api_key: &Secret,
        api_secret: &Secret,
        latest: Timestamp,
    ) -> Called<Answered<ConsentLink>> {
        let Some(headers) = app(api_key, api_secret) else { return no_header("api_key") };
        let query = [("client_id", client_id.as_str())];
        let call = self.to_auth(GENERATE_CONSENT, client_id, &query, headers, latest);
        let exchange = call::make(&call, legs.into(), self.limit()).await;
        let secrets = [api_key.expose_secret(), api_secret.expose_secret()];
        judge(exchange, Context::Consent, &secrets, |answer, _| token::consent_link(answer, &self.auth))
    }

    /// Fetch the token of the `tokenId` that a person brought back, by `latest`. Asked
    /// by GET, as the SDK does, and by POST when the broker refuses that verb.
    pub async fn consume_consent(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        token_id: &Secret,
        api_key: &Secret,
        api_secret: &Secret,
        latest: Timestamp,
    ) -> Called<Answered<Minted>> {
        if let Err(why) = check_token_id(token_id.expose_secret()) {
            return refused_here("token_id_invalid", &why, "Start the login again from a new link");
        }
        let Some(headers) = app(api_key, api_secret) else { return no_header("api_key") };
        let query = [("tokenId", token_id.expose_secret())];
        let mut call = self.to_auth(CONSUME_CONSENT, client_id, &query, headers, latest);
        let mut exchange = call::make(&call, legs.into(), self.limit()).await;
        if exchange.answer.as_ref().is_ok_and(token::refuses_verb) {
            call.method = Method::POST;
            let other = call::make(&call, legs.into(), self.limit()).await;
            // What was not sent adds nothing to the refusal before it.
            if !matches!(other.answer, Err(NoAnswer::NotSent(_))) {
                exchange = other;
            }
        }
        let secrets = [token_id.expose_secret(), api_key.expose_secret(), api_secret.expose_secret()];
        judge(exchange, Context::Consent, &secrets, |answer, now| token::minted(answer, client_id, now))
    }

    /// Ask the API host for nothing, without a token, on a new connection: do TCP and TLS work by this way, and what
    /// time is it there? The host's reply, which is mostly a refusal, is not looked at.
    pub async fn line(&self, way: impl Into<CallRoute<'_>>, client_id: &ClientId) -> Called<Answered<()>> {
        self.plain("line", &self.api, way.into(), client_id).await
    }

    /// Ask the login host what time it is there, before a code is spent on it.
    pub async fn time(&self, legs: &Legs, client_id: &ClientId) -> Called<Answered<()>> {
        self.plain("time", &self.auth, legs.into(), client_id).await
    }

    async fn plain(
        &self,
        name: &'static str,
        to: &Authority,
        way: CallRoute<'_>,
        client_id: &ClientId,
    ) -> Called<Answered<()>> {
        let call = Call {
            name,
            errand: Errand::Plain,
            account: client_id,
            to,
            method: Method::HEAD,
            path: "/",
            query: &[],
            headers: HeaderMap::new(),
            json: None,
            ears: &self.ears,
            counts: &self.counts,
            latest: None,
            most: call::BODY_LIMIT,
        };
        let CallOutcome { answer, skew, leg, .. } = call::make(&call, way, self.limit().min(PLAIN)).await;
        let answered = match answer {
            Ok(_) => Answered::Good(()),
            Err(NoAnswer::NotSent(why)) => Answered::NotSent(why),
            Err(NoAnswer::Unknown(why)) => Answered::Unknown(why),
        };
        Called { answered, skew, leg }
    }

    /// The broker's hosts, each with whether orders or logins need it.
    pub fn hosts(&self) -> impl Iterator<Item = (&Authority, bool)> {
        let needed = [&self.api, &self.auth].into_iter().map(|at| (at, true));
        needed.chain(self.others.iter().map(|at| (at, false)))
    }

    /// The API host.
    pub const fn api(&self) -> &Authority {
        &self.api
    }

    /// Ask the broker whether a token lives. Changes nothing there.
    pub async fn profile(&self, legs: &Legs, client_id: &ClientId, token: &Secret) -> Called<TokenProfile> {
        let Some(headers) = signed(token, client_id) else {
            let outcome = CheckOutcome::Dead;
            return Called { answered: TokenProfile { outcome, ..TokenProfile::default() }, skew: None, leg: None };
        };
        let call = self.to_api(PROFILE, client_id, headers, None);
        let CallOutcome { answer, skew, leg, .. } = call::make(&call, legs.into(), self.limit()).await;
        Called { answered: profile::read(answer, client_id, token.expose_secret()), skew, leg }
    }

    /// What the broker holds for the account, and from where it sees this very call
    /// come. To learn that of one leg, give that leg.
    pub async fn get_ip(
        &self,
        way: impl Into<CallRoute<'_>>,
        client_id: &ClientId,
        token: &Secret,
    ) -> Called<Answered<Registered>> {
        let Some(headers) = signed(token, client_id) else { return no_header("access_token") };
        let call = self.to_api(GET_IP, client_id, headers, None);
        let exchange = call::make(&call, way.into(), self.limit()).await;
        address::read(exchange, token.expose_secret())
    }

    /// Ask for the orders of today: the broker's answer as it came.
    pub async fn order_book(&self, legs: &Legs, client_id: &ClientId, token: &Secret) -> Called<Answered<Bytes>> {
        let Some(headers) = signed(token, client_id) else { return no_header("access_token") };
        let call = Call { most: call::BOOK, ..self.to_api(ORDER_BOOK, client_id, headers, None) };
        let exchange = call::make(&call, legs.into(), self.limit().min(PLAIN)).await;
        let secrets = [token.expose_secret()];
        judge(exchange, Context::Trading, &secrets, |answer, _| Ok(Bytes::copy_from_slice(&answer.body)))
    }

    /// Ask how an order stands; `None` where the broker shows no such order. Of several under one correlation id the first
    /// that it shows.
    pub async fn order(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        token: &Secret,
        key: &OrderKey,
    ) -> Called<Answered<Option<OrderAtBroker>>> {
        let Some(headers) = signed(token, client_id) else { return no_header("access_token") };
        let path = key.path();
        let call = Call { path: &path, ..self.to_api(ORDER, client_id, headers, None) };
        let exchange = call::make(&call, legs.into(), self.limit()).await;
        judge(exchange, Context::Trading, &[token.expose_secret()], |answer, _| order::read(answer))
    }

    /// Register an address in an empty slot.
    pub async fn set_ip(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        token: &Secret,
        role: Role,
        address: SourceAddr,
    ) -> Called<Answered<()>> {
        self.write_ip(legs, client_id, token, SET_IP, role, address).await
    }

    /// Register an address in the place of another. The broker allows it once a week.
    pub async fn modify_ip(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        token: &Secret,
        role: Role,
        address: SourceAddr,
    ) -> Called<Answered<()>> {
        self.write_ip(legs, client_id, token, MODIFY_IP, role, address).await
    }

    async fn write_ip(
        &self,
        legs: &Legs,
        client_id: &ClientId,
        token: &Secret,
        operation: Operation,
        role: Role,
        address: SourceAddr,
    ) -> Called<Answered<()>> {
        let Some(headers) = signed(token, client_id) else { return no_header("access_token") };
        let body = address::body(client_id, role, address);
        let call = self.to_api(operation, client_id, headers, Some(body));
        let exchange = call::make(&call, legs.into(), self.limit()).await;
        judge(exchange, Context::Trading, &[token.expose_secret()], |answer, _| address::saved(answer))
    }

    fn to_auth<'a>(
        &'a self,
        Operation { name, method, path }: Operation,
        account: &'a ClientId,
        query: &'a [(&'static str, &'a str)],
        headers: HeaderMap,
        latest: Timestamp,
    ) -> Call<'a> {
        Call {
            name,
            errand: Errand::Login,
            account,
            to: &self.auth,
            method,
            path,
            query,
            headers,
            json: None,
            ears: &self.ears,
            counts: &self.counts,
            latest: Some(latest),
            most: call::BODY_LIMIT,
        }
    }

    fn to_api<'a>(
        &'a self,
        Operation { name, method, path }: Operation,
        account: &'a ClientId,
        headers: HeaderMap,
        json: Option<String>,
    ) -> Call<'a> {
        let errand = if path == GET_IP.path { Errand::GetIp } else { Errand::Signed };
        Call {
            name,
            errand,
            account,
            to: &self.api,
            method,
            path,
            query: &[],
            headers,
            json,
            ears: &self.ears,
            counts: &self.counts,
            latest: None,
            most: call::BODY_LIMIT,
        }
    }
}

/// An answer through the table of refusals, and if it is none through `good`, which is
/// also given the broker's time.
fn judge<T>(
    exchange: CallOutcome,
    context: Context,
    secrets: &[&str],
    good: impl FnOnce(&HttpReply, Timestamp) -> Result<T, Refusal>,
) -> Called<Answered<T>> {
    let CallOutcome { answer, skew, leg, .. } = exchange;
    let answered = match answer {
        Err(NoAnswer::NotSent(why)) => Answered::NotSent(why),
        Err(NoAnswer::Unknown(why)) => Answered::Unknown(why),
        Ok(answer) => {
            let ours = steady::now();
            let now = ours.checked_add(skew.unwrap_or_default()).unwrap_or(ours);
            let refused = refusal::of(&answer, context, secrets);
            let judged = refused.map_or_else(|| good(&answer, now), Err);
            judged.map_or_else(Answered::Refused, Answered::Good)
        }
    };
    Called { answered, skew, leg }
}

/// What cannot be sent at all: a person has to mend it.
fn refused_here<T>(code: &'static str, why: &Invalid, action: &'static str) -> Called<Answered<T>> {
    let trouble = Trouble { code: code.into(), summary: why.to_string().into(), action: action.into() };
    Called { answered: Answered::Refused(refusal::for_a_person(trouble)), skew: None, leg: None }
}

fn no_header<T>(field: &'static str) -> Called<Answered<T>> {
    let why = Invalid::because(format!("the account's {field} has characters that no request can carry"));
    refused_here("credential_invalid", &why, "Enter it again, without what stands around it")
}

/// The headers of a call with a token.
fn signed(token: &Secret, client_id: &ClientId) -> Option<HeaderMap> {
    let id = HeaderValue::from_str(client_id.as_str()).ok();
    headers([
        ("access-token", sensitive(token.expose_secret())),
        ("dhanclientid", id),
        ("accept", Some(HeaderValue::from_static("application/json"))),
    ])
}

/// The headers of a call with an API key.
fn app(api_key: &Secret, api_secret: &Secret) -> Option<HeaderMap> {
    headers([("app_id", sensitive(api_key.expose_secret())), ("app_secret", sensitive(api_secret.expose_secret()))])
}

#[cfg(test)]
mod tests;
