//! What a request asks for: which host, which of the broker's services, which path.

use http::header::HOST;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method};

use super::http1::ParseRefusal;
use crate::broker::dhan::hosts::Service;
use crate::broker::dhan::streams::StreamKind;
use crate::config::{Config, Dhan};
use crate::dispatch::reply::{Code, Problem};
use crate::domain::{Authority, Host};

/// How the request target was written (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `http://host/path`: a proxy request.
    Absolute,
    /// `/path`: the listener taken for the server.
    Origin,
    /// `/path` inside a tunnel whose TLS we ended.
    Intercepted,
}

impl Form {
    /// How a target is written, before it is read.
    pub fn of(target: &str, is_intercepted: bool) -> Self {
        if is_intercepted {
            Self::Intercepted
        } else if target.starts_with('/') {
            Self::Origin
        } else {
            Self::Absolute
        }
    }
}

/// A request target that can be read in one way.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to.
    pub authority: Authority,
    /// Which of the broker's services that is; `None` for a host that is merely allowed.
    pub service: Option<Service>,
    /// Path and query.
    pub path: PathAndQuery,
}

/// The broker's hosts and what else may be reached.
#[derive(Clone, Debug)]
pub struct Destinations {
    services: Vec<(Authority, Service)>,
    streams: [(Authority, StreamKind); 4],
    allow: Vec<Authority>,
    api: Authority,
    /// Does the API's host stand for something else on another port?
    named_twice: bool,
    tunnel_hosts: Vec<Host>,
    intercept: bool,
}

/// What becomes of a `CONNECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// Its TLS ends here.
    Intercept(Authority),
    /// Plain HTTP to a host that is served over TLS: the caller leaves TLS to us.
    Plain(Authority),
    /// Its bytes are passed on blindly.
    Blind(Authority),
}

impl Destinations {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        let Dhan { api, auth, order_update, feed, depth20, depth200, images } = config.dhan.clone();
        let streams = [
            (feed.clone(), StreamKind::Feed),
            (depth20.clone(), StreamKind::Depth20),
            (depth200.clone(), StreamKind::Depth200),
            (order_update.clone(), StreamKind::OrderUpdate),
        ];
        let services = vec![
            (api.clone(), Service::Api),
            (auth, Service::Auth),
            (order_update, Service::OrderUpdate),
            (feed, Service::Feed),
            (depth20, Service::Feed),
            (depth200, Service::Feed),
            (images, Service::Images),
        ];
        let named_twice = services.iter().skip(1).any(|(known, _)| known.host == api.host)
            || config.egress.allow.iter().any(|allowed| allowed.host == api.host);
        Self {
            named_twice,
            services,
            streams,
            allow: config.egress.allow.clone(),
            api,
            tunnel_hosts: config.proxy.tunnel_hosts.clone(),
            intercept: config.proxy.intercept,
        }
    }

    /// The hosts whose TLS may end here.
    pub fn intercepted(&self) -> Vec<Host> {
        let mut hosts: Vec<_> = self.services.iter().map(|(a, _)| a.host.clone()).collect();
        hosts.retain(|host| host.ip().is_none());
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// Is it the broker's API host?
    pub fn is_api(&self, authority: &Authority) -> bool {
        *authority == self.api
    }

    /// Which kind of socket a WebSocket host of the broker's has.
    pub(super) fn stream_kind(&self, authority: &Authority) -> Option<StreamKind> {
        self.streams.iter().find(|(known, _)| known == authority).map(|(_, kind)| *kind)
    }

    /// What becomes of `CONNECT authority`.
    ///
    /// # Errors
    /// 400 or 403.
    pub fn tunnel(&self, target: &str, headers: &HeaderMap) -> Result<Tunnel, Problem> {
        let authority = Authority::parse(target, None)
            .map_err(|why| Problem::before_sending(Code::BadRequest, format!("CONNECT wants host:port: {why}")))?;
        // Some clients leave it out, or its port (HTTP/1.0); one that names another host is two requests in one.
        let host = headers.get(HOST).map(|value| value.to_str().unwrap_or_default());
        // What is spelled alike needs no second reading.
        if let Some(host) = host.filter(|host| !host.is_empty() && *host != target) {
            same_host(Some(host), &authority)?;
        }
        let plain = authority.port == 80 && self.service(&authority).is_none() && !self.allow.contains(&authority);
        let authority = self.configured(if plain { Authority { host: authority.host, port: 443 } } else { authority });
        // A certificate for an address is what our authority may not make.
        let named = authority.host.ip().is_none();
        match self.service(&authority) {
            Some(_) if plain => Ok(Tunnel::Plain(authority)),
            Some(_) if self.intercept && named && !self.tunnel_hosts.contains(&authority.host) => {
                Ok(Tunnel::Intercept(authority))
            }
            Some(_) => Ok(Tunnel::Blind(authority)),
            None if !plain && self.allow.contains(&authority) => Ok(Tunnel::Blind(authority)),
            None if plain => Err(denied(&Authority { port: 80, ..authority })),
            None => Err(denied(&authority)),
        }
    }

    /// The broker's host that a caller of a transparent listener means by a name: that of its TLS handshake.
    ///
    /// # Errors
    /// 403 for another host, and for one whose TLS is not to be ended here.
    pub fn broker_host(&self, host: Host) -> Result<Authority, Problem> {
        let authority = self.configured(Authority { host, port: 443 });
        if self.service(&authority).is_none() {
            return Err(denied(&authority));
        }
        if !self.intercept || self.tunnel_hosts.contains(&authority.host) {
            let detail = format!(
                "TLS to {authority} is not ended here (proxy.intercept, proxy.tunnel_hosts), and a transparent listener \
                 cannot pass it on blindly; connect to it by CONNECT"
            );
            return Err(Problem::before_sending(Code::DestinationDenied, detail));
        }
        Ok(authority)
    }

    /// Read the target of a request that is no `CONNECT`. `inside` is the
    /// authority of the tunnel it came through.
    ///
    /// # Errors
    /// 400 or 403.
    pub fn target(
        &self,
        raw: &str,
        headers: &HeaderMap,
        inside: Option<&Authority>,
    ) -> Result<(Form, Target), Problem> {
        let bad = |detail: &str| Problem::before_sending(Code::BadRequest, detail);
        if raw.contains('#') {
            return Err(bad("a request target has no fragment"));
        }
        if let Some(path) = self.plain_api_path(raw, headers, inside) {
            unambiguous(path.path())?;
            let target = Target { authority: self.api.clone(), service: Some(Service::Api), path };
            return Ok((Form::Absolute, target));
        }
        self.any_target(raw, headers, inside)
    }

    /// [`Destinations::target`], whatever it names.
    pub(super) fn any_target(
        &self,
        raw: &str,
        headers: &HeaderMap,
        inside: Option<&Authority>,
    ) -> Result<(Form, Target), Problem> {
        let bad = |detail: &str| Problem::before_sending(Code::BadRequest, detail);
        let uri: Uri = raw.parse().map_err(|_| bad("the request target is no URI"))?;
        let mut path = whole_path(&uri).ok_or_else(|| bad("the request target is no URI"))?;
        unambiguous(path.path())?;
        let host = headers.get(HOST).map(|value| value.to_str().unwrap_or_default());
        let (form, authority) = match (uri.scheme_str(), inside) {
            (None, _) if !raw.starts_with('/') => return Err(bad("the request target is neither a URI nor a path")),
            (None, None) => match self.stream_base(raw) {
                Some((authority, rest)) => {
                    path = rest;
                    (Form::Origin, authority)
                }
                None => (Form::Origin, self.api.clone()),
            },
            (None, Some(tunnel)) => {
                same_host(host, tunnel)?;
                (Form::Intercepted, tunnel.clone())
            }
            (Some(scheme), inside) => {
                let default = match scheme {
                    "http" | "ws" => 80,
                    "https" | "wss" => 443,
                    _ => return Err(bad("the scheme is none of http, https, ws, wss")),
                };
                let text = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
                let asked = Authority::parse(text, Some(default)).map_err(|why| bad(&why.to_string()))?;
                if host.is_some() {
                    same_host(host, &asked)?;
                }
                match inside {
                    Some(tunnel) if *tunnel != self.configured(asked.clone()) => {
                        return Err(bad("the target is not the tunnel's host"));
                    }
                    Some(tunnel) => (Form::Intercepted, tunnel.clone()),
                    None if self.allow.contains(&asked) => (Form::Absolute, asked),
                    // Plain http to a host that is served over TLS: the caller leaves TLS to us.
                    None if asked.port == 80 => (Form::Absolute, Authority { host: asked.host, port: 443 }),
                    None => (Form::Absolute, asked),
                }
            }
        };
        // "http://api.dhan.co" means the configured API whatever port that has.
        let authority = self.configured(authority);
        let service = self.service(&authority);
        if service.is_none() && !self.allow.contains(&authority) {
            return Err(denied(&authority));
        }
        Ok((form, Target { authority, service, path }))
    }

    /// The path of `http://{api}/...`, where nothing else is named: nearly every request. It is what
    /// the long way finds too; a test holds the two together.
    fn plain_api_path(&self, raw: &str, headers: &HeaderMap, inside: Option<&Authority>) -> Option<PathAndQuery> {
        let host = self.api.host.as_str();
        let path = raw.strip_prefix("http://")?.strip_prefix(host).filter(|path| path.starts_with('/'))?;
        let same = headers.get(HOST).is_none_or(|value| value.as_bytes() == host.as_bytes());
        if inside.is_some() || !same || self.api.host.ip().is_some() || self.named_twice {
            return None;
        }
        PathAndQuery::try_from(path).ok()
    }

    /// What `/ws/feed` and its like stand for: WebSocket libraries that know no proxy are given this as their base URL.
    fn stream_base(&self, raw: &str) -> Option<(Authority, PathAndQuery)> {
        let rest = raw.strip_prefix("/ws/")?;
        let ends = rest.find(['/', '?']).unwrap_or(rest.len());
        let (name, path) = rest.split_at_checked(ends)?;
        let (authority, _) = self.streams.iter().find(|(_, kind)| base_of(*kind) == name)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some((authority.clone(), path.parse().ok()?))
    }

    fn configured(&self, asked: Authority) -> Authority {
        let exact = self.service(&asked).is_some() || self.allow.contains(&asked);
        if exact || asked.port != 443 {
            return asked;
        }
        let same_name = self.services.iter().find(|(known, _)| known.host == asked.host);
        same_name.map_or(asked, |(known, _)| known.clone())
    }

    fn service(&self, authority: &Authority) -> Option<Service> {
        self.services.iter().find(|(known, _)| known == authority).map(|(_, service)| *service)
    }
}

/// The word that stands for a stream's host behind `/ws/`.
const fn base_of(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Feed => "feed",
        StreamKind::Depth20 => "depth20",
        StreamKind::Depth200 => "depth200",
        StreamKind::OrderUpdate => "order-update",
    }
}

/// Path and query as they stand in a request line. Of `http://host?query` the library's own text begins with the
/// question mark; the empty path of an absolute URI is `/` (RFC 9112 section 3.2.1).
fn whole_path(uri: &Uri) -> Option<PathAndQuery> {
    match uri.path_and_query() {
        None => Some(PathAndQuery::from_static("/")),
        Some(path) if path.as_str().starts_with('/') => Some(path.clone()),
        Some(path) => path.to_string().parse().ok(),
    }
}

fn denied(authority: &Authority) -> Problem {
    let host = &authority.host;
    let detail = if host.ip().is_some_and(|ip| ip.is_loopback()) || host.as_str() == "localhost" {
        // A base URL, of a program that has a proxy setting beside it.
        format!(
            "{authority} is an address of the gateway's own host, and it was asked of the gateway as a proxy; a base URL \
             needs none: keep it past the proxy (NO_PROXY=localhost,127.0.0.1,::1)"
        )
    } else {
        format!("{authority} is not a host of the broker; list it in egress.allow if callers need it")
    };
    Problem::before_sending(Code::DestinationDenied, detail)
}

/// `Host` must name what the target names: a request that says two hosts is read
/// as one by some and as the other by others.
fn same_host(host: Option<&str>, authority: &Authority) -> Result<(), Problem> {
    let names = |text: &str, port| Authority::parse(text, Some(port)).is_ok_and(|named| named == *authority);
    match host {
        // A Host without a port means the scheme's own, and callers of plain http mean 80.
        Some(text) if names(text, authority.port) || names(text, 443) || names(text, 80) => Ok(()),
        Some(_) => Err(Problem::before_sending(Code::BadRequest, "Host and the request target name different hosts")),
        None => Err(Problem::before_sending(Code::BadRequest, "the Host header is missing")),
    }
}

/// Refuse a path that a server may read as another one: it would be classed as
/// the one and served as the other.
fn unambiguous(path: &str) -> Result<(), Problem> {
    let bad = |detail: &str| Err(Problem::before_sending(Code::BadRequest, detail));
    if path.contains("//") || path.contains(['\\', ';']) {
        return bad("the path has an empty segment, a backslash or a semicolon; servers read such paths differently");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return bad("the path has a dot segment; servers read such paths differently");
    }
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|text| u8::from_str_radix(text, 16).ok()) else {
            return bad("a percent sign in the path without two hexadecimal digits");
        };
        // Unreserved characters need no encoding (RFC 3986 section 2.3): who encodes
        // them wants to be read as something else. Likewise separators and controls.
        let hidden = byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~/\\%;?#".contains(&byte);
        if hidden {
            return bad("the path hides a character behind a percent sign; servers read such paths differently");
        }
    }
    Ok(())
}

/// What a plain request to a transparent listener asks for: the host stands in `Host`, and the target is its path.
///
/// # Errors
/// Where no host is named.
pub(super) fn absolute(target: String, headers: &HeaderMap) -> Result<String, ParseRefusal> {
    if !target.starts_with('/') {
        return Ok(target);
    }
    match headers.get(HOST).map(HeaderValue::to_str) {
        Some(Ok(host)) => Ok(format!("http://{host}{target}")),
        Some(Err(_)) | None => Err(ParseRefusal::Malformed(
            "the Host header is missing: this listener serves the broker's hosts by their names",
        )),
    }
}

/// Methods that are passed on. `TRACE` would show the caller what was signed.
pub(super) const fn passes(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn destinations(more: &str) -> Destinations {
        let text = format!("[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n{more}");
        Destinations::new(&crate::config::from_text("test", Path::new("/x"), &text, &BTreeMap::new()).unwrap())
    }

    proptest! {
        /// Two ways that find two targets are how a request is signed for one host and sent to another.
        #[test]
        fn the_short_way_finds_what_the_long_way_finds(
            scheme in prop_oneof![4 => Just("http://"), 1 => Just("https://"), 1 => Just("HTTP://"), 1 => Just("")],
            host in prop_oneof![4 => Just("api.dhan.co"), 1 => Just("API.dhan.co"), 1 => Just("auth.dhan.co"),
                1 => Just("x@api.dhan.co"), 1 => Just("evil.example")],
            port in prop_oneof![4 => Just(""), 1 => Just(":80"), 1 => Just(":443"), 1 => Just(":8443")],
            path in prop_oneof![3 => Just("/v2/orders".to_owned()), 3 => "[/a-z%.;?#\\\\ ]{0,12}", 1 => "/\\PC{0,8}"],
            named in prop_oneof![Just(None), Just(Some("api.dhan.co")), Just(Some("api.dhan.co:80")), Just(Some("evil"))],
            more in prop_oneof![Just(""), Just("[broker.dhan]\napi = \"https://api.dhan.co:8443\"\n"),
                Just("[broker.dhan]\nauth = \"https://api.dhan.co:8443\"\n")],
        ) {
            let destinations = destinations(more);
            let raw = format!("{scheme}{host}{port}{path}");
            let mut headers = HeaderMap::new();
            if let Some(named) = named {
                headers.insert(HOST, named.parse().unwrap());
            }
            let told = |found: Result<(Form, Target), Problem>| {
                found.map(|(form, to)| (form, to.authority, to.service, to.path)).map_err(|problem| problem.code)
            };
            let (short, long) = (destinations.target(&raw, &headers, None), destinations.any_target(&raw, &headers, None));
            // Both ways refuse a fragment, the short one before either begins.
            if !raw.contains('#') {
                prop_assert_eq!(told(short), told(long), "{}", raw);
            }
        }
    }

    /// Or the short way would be gone, and nobody see it.
    #[test]
    fn an_order_goes_the_short_way() {
        let plain = destinations("").plain_api_path("http://api.dhan.co/v2/orders", &HeaderMap::new(), None);
        assert_eq!(plain.unwrap(), "/v2/orders");
    }

    /// Or the broker would get a request line whose target is no path.
    #[test]
    fn a_query_without_a_path_is_one_of_the_root() {
        let (_, target) = destinations("").target("http://api.dhan.co?a=b", &HeaderMap::new(), None).unwrap();
        assert_eq!((target.path.as_str(), target.path.path()), ("/?a=b", "/"));
    }

    /// A path that is classed as a read and served as an order, or hides `setIP`.
    #[test]
    fn a_path_that_servers_read_differently_is_refused() {
        for bad in [
            "/v2//orders",
            "//v2/orders",
            "/v2/./orders",
            "/v2/x/../orders",
            "/v2/orders/..",
            "/v2/%6frders",
            "/v2/ip/%73etIP",
            "/v2/a%2Forders",
            "/v2/a%2f..%2forders",
            "/v2/%2e%2e/orders",
            "/v2/orders%00",
            "/v2/orders%",
            "/v2/orders%4",
            "/v2/orders%zz",
            "/v2\\orders",
            "/v2/a%5cb",
            "/v2/a%3fb",
            "/v2/%256frders",
        ] {
            assert!(unambiguous(bad).is_err(), "{bad}");
        }
        for good in ["/", "/v2/orders", "/v2/orders/external/a%20b", "/v2/trades/2026-11-01/2026-11-23/0"] {
            assert!(unambiguous(good).is_ok(), "{good}");
        }
    }
}
