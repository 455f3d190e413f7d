//! Replies that the gateway makes itself. The one place where a reason becomes a
//! status.
//!
//! They are `application/problem+json` (RFC 9457) and carry the broker's own
//! error members too, so that an SDK which reads those shows the real reason.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};

use crate::domain::{AccountName, Outcome};
use crate::egress::{ReplyBody, ReplyError};
use crate::orders::limits::Limited;
use crate::telemetry::access::Access;

/// On every reply.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("sixgate-request-id");
/// The address the kernel reported, on replies that went upstream.
pub(crate) const SOURCE: HeaderName = HeaderName::from_static("sixgate-source");
/// `primary` or `secondary`, likewise.
pub(crate) const LEG: HeaderName = HeaderName::from_static("sixgate-leg");
/// On replies to order writes.
pub(crate) const OUTCOME: HeaderName = HeaderName::from_static("sixgate-outcome");
/// The correlation id that was filled in, if one was.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("sixgate-correlation-id");

/// On the answer to a repeat or a conflict: the request id of the first.
pub(crate) const REPEAT: HeaderName = HeaderName::from_static("sixgate-repeat");
/// On a change from the 20th of its order on: `20 of 25`. After the last one cancel the order and place it anew.
pub(crate) const CHANGES: HeaderName = HeaderName::from_static("sixgate-order-changes");
/// What may be wrong, where the broker's refusal leaves it open: a sentence for people.
pub(crate) const HINT: HeaderName = HeaderName::from_static("sixgate-hint");
/// An outcome that was found by asking the broker.
pub(crate) const RECOVERED: HeaderName = HeaderName::from_static("sixgate-recovered");

/// Why the gateway answers by itself. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    ProxyAuthRequired,
    DestinationDenied,
    ManagedByGateway,
    ClientIdMismatch,
    BrowserRefused,
    BadRequest,
    BodyTooLarge,
    AmbiguousFraming,
    TokenUnavailable,
    AccountMissing,
    EgressUnavailable,
    UpstreamFailed,
    OutcomeUnknown,
    AccountHalted,
    RateLimited,
    IdempotencyConflict,
    JournalUnavailable,
    NotInTime,
    Superseded,
}

impl Code {
    /// The word in `code`, logs and metrics. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxyAuthRequired => "proxy_auth_required",
            Self::DestinationDenied => "destination_denied",
            Self::ManagedByGateway => "managed_by_gateway",
            Self::ClientIdMismatch => "client_id_mismatch",
            Self::BrowserRefused => "browser_refused",
            Self::BadRequest => "bad_request",
            Self::BodyTooLarge => "body_too_large",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::TokenUnavailable => "token_unavailable",
            Self::AccountMissing => "account_missing",
            Self::EgressUnavailable => "egress_unavailable",
            Self::UpstreamFailed => "upstream_failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::AccountHalted => "account_halted",
            Self::RateLimited => "rate_limited",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::JournalUnavailable => "journal_unavailable",
            Self::NotInTime => "not_in_time",
            Self::Superseded => "superseded",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::ProxyAuthRequired => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::DestinationDenied
            | Self::ManagedByGateway
            | Self::ClientIdMismatch
            | Self::BrowserRefused
            | Self::AccountHalted => StatusCode::FORBIDDEN,
            Self::BadRequest | Self::AmbiguousFraming => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TokenUnavailable
            | Self::AccountMissing
            | Self::EgressUnavailable
            | Self::JournalUnavailable
            | Self::NotInTime => StatusCode::SERVICE_UNAVAILABLE,
            Self::Superseded => StatusCode::CONFLICT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::IdempotencyConflict => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::ProxyAuthRequired => "A client key is required",
            Self::DestinationDenied => "This destination is not allowed",
            Self::ManagedByGateway => "The gateway does this itself",
            Self::ClientIdMismatch => "Another account's client id",
            Self::BrowserRefused => "Requests from a browser are refused",
            Self::BadRequest => "The request cannot be understood",
            Self::BodyTooLarge => "The request is too large",
            Self::AmbiguousFraming => "The request can be read in more than one way",
            Self::TokenUnavailable => "No live token",
            Self::AccountMissing => "The account does not exist yet",
            Self::EgressUnavailable => "No leg could be dialled",
            Self::UpstreamFailed => "The connection to the broker broke",
            Self::OutcomeUnknown => "The outcome of this order write is not known",
            Self::AccountHalted => "The account is halted",
            Self::RateLimited => "The broker's limit would be broken",
            Self::IdempotencyConflict => "The same id came with another request",
            Self::JournalUnavailable => "The order journal cannot be written",
            Self::NotInTime => "The order could not leave in time",
            Self::Superseded => "An exit came before this order had left",
        }
    }

    /// Seconds after which trying again may help.
    const fn retry_after(self) -> Option<u32> {
        match self {
            Self::EgressUnavailable => Some(5),
            Self::RateLimited => Some(1),
            Self::JournalUnavailable => Some(30),
            Self::TokenUnavailable | Self::AccountMissing => Some(30),
            Self::ProxyAuthRequired
            | Self::DestinationDenied
            | Self::ManagedByGateway
            | Self::ClientIdMismatch
            | Self::BrowserRefused
            | Self::BadRequest
            | Self::BodyTooLarge
            | Self::AmbiguousFraming
            | Self::UpstreamFailed
            | Self::OutcomeUnknown
            | Self::AccountHalted
            | Self::NotInTime
            | Self::Superseded
            | Self::IdempotencyConflict => None,
        }
    }
}

/// When trying again may help. HTTP libraries repeat by it without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// As the code says.
    Default,
    /// After this long.
    After(Duration),
    /// It does not: no `Retry-After`.
    Never,
}

/// A refusal or failure on its way to the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Why.
    pub code: Code,
    /// What happened and what to do, in a sentence. Holds no secret.
    pub detail: String,
    /// What is known of the request.
    pub outcome: Outcome,
    /// When trying again may help.
    pub retry: Retry,
}

impl Problem {
    /// A problem of a request of which `outcome` is known.
    pub fn new(code: Code, detail: impl Into<String>, outcome: Outcome) -> Self {
        Self { code, detail: detail.into(), outcome, retry: Retry::Default }
    }

    /// A problem that came up before anything was sent.
    pub fn before_sending(code: Code, detail: impl Into<String>) -> Self {
        Self::new(code, detail, Outcome::NotSent)
    }

    /// The reply. `account` is not named to who has not proved to be its caller.
    pub fn into_reply(self, account: Option<&AccountName>, request_id: &str) -> Response<Body> {
        let code = self.code.as_str();
        let body = serde_json::json!({
            "type": format!("urn:sixgate:problem:{code}"),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "detail": self.detail,
            "code": code,
            "outcome": self.outcome.as_str(),
            "account": account.map(AccountName::as_str),
            "request_id": request_id,
            "errorType": "SIXGATE",
            "errorCode": format!("SG-{code}"),
            "errorMessage": format!("{}: {}", self.code.title(), self.detail),
        });
        let mut reply = Response::new(Body::from(Bytes::from(body.to_string())));
        *reply.status_mut() = self.code.status();
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Whole seconds (RFC 9110 section 10.2.3), and not too early.
        let seconds = match self.retry {
            Retry::Default => self.code.retry_after().map(u64::from),
            Retry::After(wait) => Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            Retry::Never => None,
        };
        if let Some(seconds) = seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.code == Code::ProxyAuthRequired {
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sixgate\", charset=\"UTF-8\""));
        }
        reply
    }
}

/// Say on a reply how its request went.
pub(crate) fn mark(record: &Access, headers: &mut HeaderMap) {
    if let Some(leg) = record.leg {
        headers.insert(LEG, HeaderValue::from_static(leg.as_str()));
    }
    if let Some(source) = record.source {
        let mut text = Vec::with_capacity(40);
        source.write(&mut text);
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(SOURCE, value);
        }
    }
    if let Some(outcome) = record.outcome {
        headers.insert(OUTCOME, HeaderValue::from_static(outcome.as_str()));
    }
    if let Some(value) = record.repeat_of.as_ref().and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(REPEAT, value);
    }
    if let Some(changes) = record.changes.filter(|changes| changes.is_near_the_end())
        && let Ok(value) = HeaderValue::from_str(&format!("{} of {}", changes.this, changes.most))
    {
        headers.insert(CHANGES, value);
    }
    if let Some(value) = record.correlation_id.as_ref().and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(CORRELATION_ID, value);
    }
}

/// The broker's limit would be broken.
pub(crate) fn limited(err: &Limited) -> Problem {
    let mut problem = Problem::before_sending(Code::RateLimited, err.to_string());
    problem.retry = match err.retry_after {
        Some(wait) => Retry::After(wait),
        // A library would repeat it by itself, and be refused by itself, for ever.
        None => Retry::Never,
    };
    if let Some(wait) = err.retry_after {
        problem.detail.push_str(&format!("; try again in {}", humantime::format_duration(wait)));
    }
    problem
}

/// A JSON reply of the gateway's own.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut reply = Response::new(Body::from(Bytes::from(body.to_string())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// The body of a reply: our own bytes, or the broker's as they come.
#[derive(Debug)]
pub enum Body {
    /// Held whole.
    Own(Full<Bytes>),
    /// Passed on.
    Broker(Box<ReplyBody>),
    /// Begun to be read, and passed on from there.
    Begun {
        /// What was read and not passed on yet.
        first: Option<Bytes>,
        /// What comes after it.
        rest: Rest,
    },
}

/// How a body that was begun goes on.
#[derive(Debug)]
pub enum Rest {
    /// There is more.
    More(Box<ReplyBody>),
    /// It broke off.
    Broken(Option<ReplyError>),
}

impl Body {
    /// Read a body of up to `limit` bytes: its bytes, if that is all of it, and the
    /// body, whole as it came.
    pub async fn peek(self, limit: usize) -> (Option<Bytes>, Self) {
        let mut body = match self {
            Self::Broker(body) => body,
            own @ (Self::Own(_) | Self::Begun { .. }) => return (None, own),
        };
        let mut read = BytesMut::new();
        loop {
            if read.len() > limit {
                return (None, Self::Begun { first: Some(read.freeze()), rest: Rest::More(body) });
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        read.extend_from_slice(&data);
                    }
                }
                Some(Err(err)) => {
                    return (None, Self::Begun { first: Some(read.freeze()), rest: Rest::Broken(Some(err)) });
                }
                None => {
                    let read = read.freeze();
                    return (Some(read.clone()), Self::from(read));
                }
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Own(Full::new(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map(|f| f.map(|f| f.map_err(|never| match never {}))),
            Self::Broker(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Self::Begun { first, rest } => match (first.take().filter(|first| !first.is_empty()), rest) {
                (Some(first), _) => Poll::Ready(Some(Ok(Frame::data(first)))),
                (None, Rest::More(body)) => Pin::new(body.as_mut()).poll_frame(cx),
                (None, Rest::Broken(err)) => Poll::Ready(err.take().map(Err)),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Broker(body) => body.is_end_stream(),
            Self::Begun { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Broker(body) => body.size_hint(),
            Self::Begun { .. } => SizeHint::default(),
        }
    }
}
