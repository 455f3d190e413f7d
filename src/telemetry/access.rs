//! One line per request. The field names stand here and nowhere else.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use jiff::Timestamp;

use crate::domain::time::micros;
use crate::domain::{AccountName, Authority, LocalAddress, OrderChanges, Outcome, Role};

/// What is known of a request while it is served, and what is told of it at its end: in the access line, the metrics and
/// the reply's headers. No query, no header and no body: they hold secrets. No `Debug`: its path has its query.
pub struct Access {
    request_id: Arc<str>,
    method: Option<Method>,
    /// Who asked, once admitted.
    pub account: Option<AccountName>,
    /// Where one came from that was not admitted.
    pub caller: Option<IpAddr>,
    /// Whom one named that was not admitted, where that cannot be a secret in the wrong place.
    pub named: Option<AccountName>,
    /// Host and port.
    pub target: Option<Authority>,
    /// Only what is before its query is told.
    pub path: Option<PathAndQuery>,
    /// Is it an order write?
    pub write: bool,
    /// The status that the caller got.
    pub status: u16,
    /// Why the gateway answered by itself, if it did.
    pub code: Option<&'static str>,
    /// What the caller was told of that.
    pub reason: Option<String>,
    /// The leg it left by; none over IPv4.
    pub leg: Option<Role>,
    /// The address it left from.
    pub source: Option<LocalAddress>,
    /// What is known of an order write.
    pub outcome: Option<Outcome>,
    /// The request that did what this one was answered with, if it was a repeat.
    pub repeat_of: Option<Arc<str>>,
    /// The correlation id that was filled in, if one was.
    pub correlation_id: Option<Arc<str>>,
    /// How often the order has been changed, where the broker limits that.
    pub changes: Option<OrderChanges>,
    /// Why no leg could be dialled.
    pub dial_error: Option<&'static str>,
    /// From sending to the reply's head.
    pub upstream: Option<Duration>,
    /// How long the broker was asked what became of a write whose reply was lost.
    pub looked_up: Duration,
    /// From the request's end to the reply's head.
    pub total: Duration,
}

impl Access {
    /// Begins the line of a request that was just read.
    pub fn new(request_id: &Arc<str>, method: &Method) -> Self {
        Self { method: Some(method.clone()), ..Self::unread(request_id) }
    }

    /// Begins the line of a request that could not be read.
    pub fn unread(request_id: &Arc<str>) -> Self {
        Self {
            request_id: Arc::clone(request_id),
            method: None,
            account: None,
            caller: None,
            named: None,
            target: None,
            path: None,
            write: false,
            status: 0,
            code: None,
            reason: None,
            leg: None,
            source: None,
            outcome: None,
            repeat_of: None,
            correlation_id: None,
            changes: None,
            dial_error: None,
            upstream: None,
            looked_up: Duration::ZERO,
            total: Duration::ZERO,
        }
    }

    /// The gateway's own id of the request.
    pub const fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// Write the line.
    pub fn log(&self) {
        tracing::info!(
            target: "sixgate::access",
            request_id = &*self.request_id,
            account = self.account.as_ref().map(AccountName::as_str),
            caller = self.caller.map(|caller| caller.to_string()),
            named = self.named.as_ref().map(AccountName::as_str),
            method = self.method.as_ref().map(Method::as_str),
            target = self.target.as_ref().map(ToString::to_string),
            path = self.path.as_ref().map(|path| shown(path.path())).as_deref(),
            status = self.status,
            code = self.code,
            reason = self.reason.as_deref(),
            leg = self.leg.map(Role::as_str),
            source = self.source.map(|source| source.to_string()),
            outcome = self.outcome.map(Outcome::as_str),
            repeat_of = self.repeat_of.as_deref(),
            dial_error = self.dial_error,
            upstream_us = self.upstream.map(micros),
            total_us = micros(self.total),
            "request"
        );
    }
}

/// The first request of the process that was signed and that the broker answered: a program is connected.
#[derive(Clone, Debug)]
pub struct FirstSigned {
    /// When it was answered.
    pub at: Timestamp,
    /// For which account.
    pub account: AccountName,
    /// Its method and path, as they may be told.
    pub what: String,
    /// From where it came, where that is an address.
    pub caller: Option<IpAddr>,
}

impl FirstSigned {
    /// Of a request that has ended; `None` where it did not reach the broker.
    pub fn of(access: &Access, caller: Option<IpAddr>) -> Option<Self> {
        access.upstream?;
        let path = access.path.as_ref().map(|path| shown(path.path())).unwrap_or_default();
        let what = format!("{} {path}", access.method.as_ref().map_or("", Method::as_str));
        Some(Self { at: Timestamp::now(), account: access.account.clone()?, what, caller })
    }
}

/// What stands in a path for a segment that may be a secret.
const REMOVED: &str = "[removed]";
/// The broker's own segments are shorter; a UUID has 36 characters.
const LONGEST: usize = 64;

/// A path as it may be told: somebody who takes a query for a path puts a token there.
fn shown(path: &str) -> Cow<'_, str> {
    // A JWT begins with `{"`, which is `eyJ` in base64.
    let hides = |part: &str| part.len() > LONGEST || (part.len() > 12 && part.contains("eyJ"));
    if !path.split('/').any(hides) {
        return Cow::Borrowed(path);
    }
    let parts: Vec<&str> = path.split('/').map(|part| if hides(part) { REMOVED } else { part }).collect();
    Cow::Owned(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was refused before it reached the broker is no proof that a program is connected.
    #[test]
    fn the_first_signed_request_is_one_that_the_broker_answered() {
        let mut access = Access::new(&"r-1".into(), &Method::GET);
        access.account = AccountName::parse("alpha").ok();
        access.path = Some("/v2/orders?token=secret".parse().unwrap());
        assert!(FirstSigned::of(&access, None).is_none());
        access.upstream = Some(Duration::from_millis(1));
        let first = FirstSigned::of(&access, None).unwrap();
        assert_eq!((first.what.as_str(), first.account.as_str()), ("GET /v2/orders", "alpha"));
    }

    /// A token in a path was written to the log as it came, whole.
    #[test]
    fn a_token_in_a_path_is_not_told() {
        let token = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiJ9.{}.c2ln", "a".repeat(90));
        assert_eq!(shown(&format!("/v2/x/{token}")), "/v2/x/[removed]");
        assert_eq!(shown(&format!("/v2/token={token}/y")), "/v2/[removed]/y");
        assert_eq!(shown("/v2/x/eyJpc3MiOiJkaGFu"), "/v2/x/[removed]");
        assert_eq!(shown(&format!("/v2/{}", "5e7c1a9b".repeat(9))), "/v2/[removed]");
        let usual = "/v2/orders/external/5e7c1a9b-77aa-4000-8000-0000000000d1";
        assert!(matches!(shown(usual), Cow::Borrowed(same) if same == usual));
    }
}
