//! Sending one signed request, and what may be tried again.
//!
//! An order write is sent at most once. It goes another way only while nothing of
//! it had been written: a leg that could not be dialled, or a connection that gave
//! the request back. A reused idle connection that closes with nothing received is
//! no proof. A read that broke is repeated once, on a new connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;

use super::headers;
use super::reply::{Body, CORRELATION_ID, Code, LEG, OUTCOME, Problem, SOURCE};
use super::sign::host_header;
use crate::domain::{Authority, Outcome, Role, SourceAddr};
use crate::egress::{Lease, SendError, Sent};
use crate::legs::{Legs, NoLeg, Reuse};

/// How often a request that was handed back unsent goes on to a new connection.
const UNSENT_TRIES: u32 = 3;

/// A request that is ready to leave.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to.
    pub authority: Authority,
    /// How.
    pub method: Method,
    /// Signed where the service signs there.
    pub path: PathAndQuery,
    /// Signed.
    pub headers: HeaderMap,
    /// Signed.
    pub body: Bytes,
    /// Sent at most once?
    pub write: bool,
    /// How long the reply's head may take.
    pub limit: Duration,
    /// The correlation id that was filled in, if one was.
    pub correlation_id: Option<String>,
    /// Does it ask for other bytes than HTTP (a WebSocket)?
    pub upgrade: bool,
}

/// How a request went, for the log and the metrics.
#[derive(Debug, Default)]
pub struct Trace {
    /// The leg it left by.
    pub leg: Option<Role>,
    /// The address it left from.
    pub source: Option<SourceAddr>,
    /// What is known of it, if it is an order write.
    pub outcome: Option<Outcome>,
    /// From before sending to the reply's head.
    pub upstream: Option<Duration>,
    /// Why no leg could be dialled, in short.
    pub dial_error: Option<&'static str>,
}

/// Send it, and make the broker's answer the caller's.
///
/// # Errors
/// The [`Problem`] to answer with.
///
/// Not cancel-safe: a dropped future leaves an order's outcome unknown.
pub async fn send(legs: &Legs, mut out: Outgoing, trace: &mut Trace) -> Result<Response<Body>, Problem> {
    let mut reuse = if out.upgrade { Reuse::ForUpgrade } else { Reuse::Idle };
    let mut unsent = 0;
    let mut repeated = false;
    loop {
        let (leg, lease) = legs.lease(&out.authority, reuse).await.map_err(|none| no_leg(&none, &out, trace))?;
        trace.leg = Some(leg.role());
        trace.source = Some(lease.source());
        let request = out.request(&lease);
        let again = (!out.write && !repeated).then(|| request.clone());
        let began = Instant::now();
        let sent = lease.send(request, out.limit).await;
        trace.upstream = Some(began.elapsed());
        match sent {
            Sent::Reply(reply) => return Ok(out.answer(reply.map(|body| Body::Broker(Box::new(body))), trace)),
            Sent::NotSent(request, err) => {
                unsent += 1;
                if unsent >= UNSENT_TRIES {
                    return Err(out.failed(&err, Outcome::NotSent, trace));
                }
                out.take_back(*request);
            }
            Sent::Broken(err @ SendError::Connection(_)) => match again {
                Some(request) => {
                    repeated = true;
                    out.take_back(request);
                }
                None => return Err(out.failed(&err, Outcome::Unknown, trace)),
            },
            Sent::Broken(err @ SendError::TimedOut(_)) => return Err(out.failed(&err, Outcome::Unknown, trace)),
        }
        if reuse == Reuse::Idle {
            reuse = Reuse::Never;
        }
    }
}

impl Outgoing {
    /// The request as this connection's protocol writes it.
    fn request(&mut self, lease: &Lease) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = std::mem::take(&mut self.headers);
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(self.path.clone());
        if lease.is_http2() {
            // The authority stands in :authority (RFC 9113 section 8.3.1).
            request.headers_mut().remove(HOST);
            uri.scheme = Some(http::uri::Scheme::HTTPS);
            uri.authority = self.authority.to_string().parse().ok();
        } else {
            request.headers_mut().insert(HOST, host_header(&self.authority));
        }
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        request
    }

    /// Not sent after all: its headers are wanted again.
    fn take_back(&mut self, request: Request<Full<Bytes>>) {
        self.headers = request.into_parts().0.headers;
    }

    fn answer(&self, mut reply: Response<Body>, trace: &mut Trace) -> Response<Body> {
        let upgraded = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
        let kept = upgraded.then(|| reply.headers().clone());
        headers::for_caller(reply.headers_mut());
        if let Some(kept) = kept {
            *reply.headers_mut() = kept;
        }
        let outcome = self.write.then(|| outcome(reply.status(), reply.headers()));
        trace.outcome = outcome;
        self.mark(reply.headers_mut(), outcome, trace);
        reply
    }

    fn mark(&self, headers: &mut HeaderMap, outcome: Option<Outcome>, trace: &Trace) {
        if let Some(leg) = trace.leg {
            headers.insert(LEG, HeaderValue::from_static(leg.as_str()));
        }
        if let Some(value) = trace.source.and_then(|source| HeaderValue::from_str(&source.to_string()).ok()) {
            headers.insert(SOURCE, value);
        }
        if let Some(outcome) = outcome {
            headers.insert(OUTCOME, HeaderValue::from_static(outcome.as_str()));
        }
        if let Some(value) = self.correlation_id.as_ref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(CORRELATION_ID, value);
        }
    }

    fn failed(&self, err: &SendError, outcome: Outcome, trace: &mut Trace) -> Problem {
        trace.outcome = self.write.then_some(outcome);
        let mut chain = err.to_string();
        if let Some(cause) = std::error::Error::source(err) {
            chain = format!("{chain}: {cause}");
        }
        let code = match (self.write, outcome) {
            (true, Outcome::Unknown) => Code::OutcomeUnknown,
            _ => Code::UpstreamFailed,
        };
        let advice = match (self.write, outcome) {
            (true, Outcome::Unknown) => "; look in the order book before sending it again",
            _ => "; it is safe to send it again",
        };
        Problem { code, detail: format!("{chain}{advice}"), outcome }
    }
}

/// The marks of a reply that went wrong after a leg was chosen.
pub fn mark_problem(headers: &mut HeaderMap, trace: &Trace) {
    if let Some(leg) = trace.leg {
        headers.insert(LEG, HeaderValue::from_static(leg.as_str()));
    }
    if let Some(value) = trace.source.and_then(|source| HeaderValue::from_str(&source.to_string()).ok()) {
        headers.insert(SOURCE, value);
    }
}

fn no_leg(none: &NoLeg, out: &Outgoing, trace: &mut Trace) -> Problem {
    trace.outcome = out.write.then_some(Outcome::NotSent);
    trace.dial_error = Some(none.code());
    Problem::before_sending(Code::EgressUnavailable, none.to_string())
}

/// What a reply says of an order write. A 5xx and a page from something in
/// between prove nothing.
fn outcome(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if status.is_success() && !page {
        Outcome::Executed
    } else if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT && !page {
        Outcome::Rejected
    } else {
        Outcome::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller that is told "rejected" sends again; a page of a proxy in between
    /// does not say that the broker did not act.
    #[test]
    fn only_the_brokers_own_word_settles_an_outcome() {
        let of = |status: u16, kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            outcome(StatusCode::from_u16(status).unwrap(), &headers)
        };
        let json = "application/json";
        assert_eq!(of(200, json), Outcome::Executed);
        assert_eq!(of(202, json), Outcome::Executed);
        assert_eq!(of(400, json), Outcome::Rejected);
        assert_eq!(of(429, json), Outcome::Rejected);
        for (status, kind) in [
            (500, json),
            (502, "text/html"),
            (200, "text/html"),
            (403, "text/html; charset=utf-8"),
            (302, json),
            (408, json),
        ] {
            assert_eq!(of(status, kind), Outcome::Unknown, "{status} {kind}");
        }
    }
}
