//! One call: by which leg, sent once, its answer read with a cap, and what is known
//! when there is none.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, DATE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::domain::{Authority, BootInstant, ClientId, NoAnswer, Role, chain, steady};
use crate::egress::decode::decoded;
use crate::egress::{Destination, Lease, ReplyBody, SecretRequest};
use crate::legs::{Errand, Leg, Legs, Purpose};

/// What a broker's gate sees of us. A request without it looks like a robot's.
const OURS: &str = concat!("sixgate/", env!("CARGO_PKG_VERSION"));
/// The longest body that is read. The broker's have under 2 KiB.
pub(super) const BODY_LIMIT: usize = 64 * 1024;
/// The longest order book: 7,000 orders of a day have about 7 MB.
pub(super) const BOOK: usize = 8 * 1024 * 1024;
/// A `Date` says nothing of the clock when its answer took longer than this: it was
/// written somewhere between question and answer, and the middle may be wrong by half
/// of it. With the half second below, a clock that is right is never told as 2 s off.
const SLOWEST_DATE: SignedDuration = SignedDuration::from_secs(2);
/// `Date` leaves its fraction of a second out; half of one is what it lacks on average.
const DATE_FRACTION: SignedDuration = SignedDuration::from_millis(500);

/// By which legs a call may go.
#[derive(Clone, Copy, Debug)]
pub enum CallRoute<'a> {
    /// The one that its health chooses, else the other when that cannot be dialled.
    Either(&'a Legs),
    /// One leg and no other.
    Only(&'a Leg),
}

impl<'a> From<&'a Legs> for CallRoute<'a> {
    fn from(legs: &'a Legs) -> Self {
        Self::Either(legs)
    }
}

impl<'a> From<&'a Leg> for CallRoute<'a> {
    fn from(leg: &'a Leg) -> Self {
        Self::Only(leg)
    }
}

impl<'a> CallRoute<'a> {
    /// The one that is tried first.
    fn leg(self) -> &'a Leg {
        match self {
            Self::Either(legs) => legs.choose(Purpose::Read).first,
            Self::Only(leg) => leg,
        }
    }

    /// The legs by whose account a call to a host of `egress.ipv4_hosts` goes; one leg alone is asked for to the API host
    /// only.
    const fn over_ipv4(self) -> Option<&'a Legs> {
        match self {
            Self::Either(legs) => Some(legs),
            Self::Only(_) => None,
        }
    }

    /// Each leg to try, and the part of the remaining time that it gets: a dead line
    /// must leave time for the other one.
    fn turns(self) -> Vec<(&'a Leg, u32)> {
        match self {
            Self::Either(legs) => {
                let turns: Vec<_> = legs.choose(Purpose::Read).into_iter().collect();
                let shares = (1_u32..).take(turns.len()).collect::<Vec<_>>().into_iter().rev();
                turns.into_iter().zip(shares).collect()
            }
            Self::Only(leg) => vec![(leg, 1)],
        }
    }
}

/// Hears the head of every answer, and when its request was sent: for who must know what time it is at the broker.
#[derive(Clone, Default)]
pub(super) struct Ears(Arc<OnceLock<Box<Listen>>>);

/// Called with an answer's fields and when it came.
type Listen = dyn Fn(&HeaderMap, BootInstant) + Send + Sync;

impl Ears {
    pub(super) fn set(&self, hear: impl Fn(&HeaderMap, BootInstant) + Send + Sync + 'static) {
        // A second one is not for this.
        let _ = self.0.set(Box::new(hear));
    }

    fn heard(&self, headers: &HeaderMap, sent: BootInstant) {
        if let Some(hear) = self.0.get() {
            hear(headers, sent);
        }
    }
}

/// Is told of every question to the API that leaves: it counts among those that the broker allows the account.
#[derive(Clone, Default)]
pub(super) struct Counts(Arc<OnceLock<Box<Count>>>);

/// Called with the account, the method and the path.
type Count = dyn Fn(&ClientId, &Method, &str) + Send + Sync;

impl Counts {
    pub(super) fn set(&self, count: impl Fn(&ClientId, &Method, &str) + Send + Sync + 'static) {
        // A second one is not for this.
        let _ = self.0.set(Box::new(count));
    }

    fn leaves(&self, call: &Call<'_>) {
        if let Some(count) = self.0.get()
            && matches!(call.errand, Errand::Signed | Errand::GetIp)
        {
            count(call.account, &call.method, call.path);
        }
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ears").finish_non_exhaustive()
    }
}

/// A call to be made. `Debug` leaves out what it carries.
pub(super) struct Call<'a> {
    /// A word for the log.
    pub(super) name: &'static str,
    /// What it may go by.
    pub(super) errand: Errand,
    pub(super) account: &'a ClientId,
    pub(super) to: &'a Authority,
    pub(super) method: Method,
    /// Without a query, for the log.
    pub(super) path: &'a str,
    /// May hold secrets: they stay where they are until they are written.
    pub(super) query: &'a [(&'static str, &'a str)],
    /// May hold secrets; those are marked sensitive.
    pub(super) headers: HeaderMap,
    pub(super) json: Option<String>,
    /// Who hears of every answer's head.
    pub(super) ears: &'a Ears,
    /// Who counts what is asked of the API.
    pub(super) counts: &'a Counts,
    /// The last moment, by our clock, at which it may be sent.
    pub(super) latest: Option<Timestamp>,
    /// The longest body that is read.
    pub(super) most: usize,
}

/// An answer, whole or as much of it as came under the limit.
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What came of a call.
pub(super) struct CallOutcome {
    pub(super) answer: Result<HttpReply, NoAnswer<String>>,
    /// How far the broker's clock is still ahead of ours, now that it is corrected. Nothing where the answer has no date
    /// that tells, or one that is not believed.
    pub(super) skew: Option<SignedDuration>,
    /// The leg that it went by, or was last tried by; none over IPv4.
    pub(super) leg: Option<Role>,
    /// The address that it left from.
    pub(super) source: Option<IpAddr>,
}

/// Make the call, within `limit` from dialling and once more `limit` for the reply.
pub(super) async fn make(call: &Call<'_>, way: CallRoute<'_>, limit: Duration) -> CallOutcome {
    let began = Instant::now();
    let by = began + limit.min(call.time_left());
    let (mut tried, mut last) = (Vec::new(), None);
    // Before the legs' turns: what the name takes is taken from neither.
    let at = match way.leg().resolve(call.to, by).await {
        Ok(at) => at,
        Err(err) => {
            let answer = Err(NoAnswer::NotSent(err.chain()));
            return log(call, CallOutcome { answer, skew: None, leg: None, source: None }, began);
        }
    };
    if let Some(legs) = way.over_ipv4().filter(|legs| legs.is_ipv4(call.to)) {
        return log(call, make_over_ipv4(call, legs, &at, by, limit).await, began);
    }
    for (leg, share) in way.turns() {
        last = Some(leg);
        if call.is_late() {
            tried.push("the last moment at which it could be sent has passed".to_owned());
            break;
        }
        let now = Instant::now();
        let turn = now + by.saturating_duration_since(now) / share;
        let lease = match leg.lease_for_errand(call.errand, &at, turn).await {
            Ok(lease) => lease,
            Err(err) => {
                tried.push(format!("{}: {}", leg.role().as_str(), err.chain()));
                if err.may_try_next() {
                    continue;
                }
                break;
            }
        };
        match send(call, lease, limit).await {
            (Err(NoAnswer::NotSent(why)), _) => tried.push(format!("{}: {why}", leg.role().as_str())),
            (answer, skew) => {
                let exchange =
                    CallOutcome { answer, skew, leg: Some(leg.role()), source: Some(leg.source().ip().into()) };
                return log(call, exchange, began);
            }
        }
    }
    let answer = Err(NoAnswer::NotSent(tried.join("; ")));
    let exchange = CallOutcome { answer, skew: None, leg: last.map(Leg::role), source: None };
    log(call, exchange, began)
}

/// A login, where its host has no IPv6 address: by no leg, so there is no other one to try.
async fn make_over_ipv4(call: &Call<'_>, legs: &Legs, at: &Destination, by: Instant, limit: Duration) -> CallOutcome {
    if matches!(call.errand, Errand::Signed | Errand::GetIp) {
        let why = "what is signed goes to the broker's API host, which is not reached over IPv4".to_owned();
        return CallOutcome { answer: Err(NoAnswer::NotSent(why)), skew: None, leg: None, source: None };
    }
    match legs.lease_ipv4_for_errand(at, by).await {
        Ok(lease) => {
            let source = Some(lease.source().ip());
            let (answer, skew) = send(call, lease, limit).await;
            CallOutcome { answer, skew, leg: None, source }
        }
        Err(err) => CallOutcome { answer: Err(NoAnswer::NotSent(err.chain())), skew: None, leg: None, source: None },
    }
}

/// One line of log a call. Paths only: queries, headers and bodies hold secrets.
fn log(call: &Call<'_>, exchange: CallOutcome, began: Instant) -> CallOutcome {
    let Call { name, account, to, path, .. } = call;
    let leg = exchange.leg.map(Role::as_str);
    let source = exchange.source;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &exchange.answer {
        Ok(answer) => {
            tracing::info!(call = name, %account, %to, path, leg, ?source, status = answer.status, took_ms, "asked the broker");
        }
        Err(NoAnswer::NotSent(why)) => {
            tracing::warn!(call = name, %account, %to, path, leg, took_ms, why, "a call to the broker was not sent");
        }
        Err(NoAnswer::Unknown(why)) => {
            tracing::warn!(call = name, %account, %to, path, leg, ?source, took_ms, why, "a call to the broker has no answer");
        }
    }
    exchange
}

/// Send the request on its one connection and read the answer, within `limit`.
async fn send(
    call: &Call<'_>,
    lease: Lease,
    limit: Duration,
) -> (Result<HttpReply, NoAnswer<String>>, Option<SignedDuration>) {
    if call.is_late() {
        let why = "the last moment at which it could be sent has passed";
        return (Err(NoAnswer::NotSent(why.to_owned())), None);
    }
    call.counts.leaves(call);
    let (sent, began) = (BootInstant::now(), steady::uncorrected());
    let by = Instant::now() + limit;
    let response = match lease.send_secret(call.request(), limit).await {
        Ok(response) => response,
        Err(NoAnswer::NotSent(err)) => return (Err(NoAnswer::NotSent(err.chain())), None),
        Err(NoAnswer::Unknown(err)) => return (Err(NoAnswer::Unknown(err.chain())), None),
    };
    let (parts, body) = response.into_parts();
    call.ears.heard(&parts.headers, sent);
    let skew = skew(&parts.headers, began, steady::uncorrected()).and_then(steady::measured);
    let read = tokio::time::timeout_at(by, read(body, call.most)).await;
    let read = read.unwrap_or_else(|_| Err(format!("the reply was not whole within {limit:?}")));
    let read = read.and_then(|body| {
        let encoded = parts.headers.contains_key(http::header::CONTENT_ENCODING);
        if encoded { decode(&parts.headers, &body, call.most) } else { Ok(body) }
    });
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let answer = read.map(|body| HttpReply { status: parts.status.as_u16(), content_type, body });
    (answer.map_err(NoAnswer::Unknown), skew)
}

async fn read(body: ReplyBody, most: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    // Never grows: a grown vector leaves a copy behind that nobody wipes.
    let mut read = Zeroizing::new(Vec::with_capacity(most));
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|err| chain(&err))?;
        let Some(chunk) = frame.data_ref() else { continue };
        let room = most - read.len();
        read.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
        if chunk.len() > room {
            break;
        }
    }
    Ok(read)
}

/// Nobody asked for an encoding, and a front may make one all the same.
fn decode(headers: &HeaderMap, body: &[u8], most: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = decoded(headers, &Bytes::copy_from_slice(body), most);
    read.map(|body| Zeroizing::new(body.to_vec())).map_err(|err| chain(&err))
}

/// The broker's clock minus ours, from a reply asked for and received at these times.
pub fn skew(headers: &HeaderMap, began: Timestamp, received: Timestamp) -> Option<SignedDuration> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let took = received.duration_since(began);
    if took.is_negative() || took > SLOWEST_DATE {
        return None;
    }
    let written = began.checked_add(took / 2).ok()?;
    Some(date.checked_add(DATE_FRACTION).ok()?.duration_since(written))
}

impl Call<'_> {
    fn is_late(&self) -> bool {
        self.latest.is_some_and(|latest| steady::now() > latest)
    }

    /// As it is written.
    fn request(&self) -> SecretRequest {
        let mut headers = self.headers.clone();
        headers.insert(USER_AGENT, HeaderValue::from_static(OURS));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let body = self.json.as_deref().unwrap_or_default();
        if self.json.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        SecretRequest::new(self.to, &self.method, self.path, self.query, &headers, body.as_bytes())
    }

    fn time_left(&self) -> Duration {
        let left = self.latest.map(|latest| latest.duration_since(steady::now()));
        left.map_or(Duration::MAX, |left| Duration::try_from(left).unwrap_or_default())
    }
}

/// A header that must not show.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Headers, or none if one of them cannot be one.
pub(super) fn headers<const N: usize>(of: [(&'static str, Option<HeaderValue>); N]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(N);
    for (name, value) in of {
        headers.insert(HeaderName::from_static(name), value?);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(date: &str) -> HeaderMap {
        [(DATE, HeaderValue::from_str(date).unwrap())].into_iter().collect()
    }

    /// A clock that is off makes codes that are refused, and two refusals stop an account.
    #[test]
    fn skew_is_the_brokers_clock_minus_ours_in_the_middle_of_the_call() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let headers = dated("Tue, 24 Nov 2026 02:30:10 GMT");
        let skew = |asked, received| super::skew(&headers, at(asked), at(received));
        let of = |ms| Some(SignedDuration::from_millis(ms));
        assert_eq!(skew("2026-11-24T02:30:10Z", "2026-11-24T02:30:11Z"), of(0));
        assert_eq!(skew("2026-11-24T02:30:00Z", "2026-11-24T02:30:00Z"), of(10_500));
        assert_eq!(skew("2026-11-24T02:31:00Z", "2026-11-24T02:31:02Z"), of(-50_500));
        assert_eq!(skew("2026-11-24T02:30:00Z", "2026-11-24T02:30:02.1Z"), None, "too slow to tell");
        assert_eq!(skew("2026-11-24T02:30:05Z", "2026-11-24T02:30:00Z"), None, "our clock was moved meanwhile");
        assert_eq!(super::skew(&dated("yesterday"), at("2026-11-24T02:30:05Z"), at("2026-11-24T02:30:05Z")), None);
        assert_eq!(super::skew(&HeaderMap::new(), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_no_header_can_carry_is_none() {
        assert!(sensitive("a\nb").is_none());
        assert!(headers([("access-token", None)]).is_none());
    }
}
