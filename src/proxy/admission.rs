//! Who is asking, and may they.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Weak};

use arc_swap::ArcSwap;
use data_encoding::BASE64;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, PROXY_AUTHORIZATION, REFERER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use zeroize::Zeroizing;

use super::destination::Form;
use super::listener_settings::ListenerSettings;
use crate::accounts::{Account, Accounts, ClientKeys, KeyUse};
use crate::broker::dhan::endpoints::Endpoint;
use crate::config::{ClientKey, Listener};
use crate::dispatch::reply::{Code, Problem};
use crate::domain::target::own_host;
use crate::domain::{AccountName, Authority};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The listener a connection came by, and what the kernel said of its peer.
#[derive(Clone, Debug)]
pub(super) struct ListenerContext {
    /// The listener's configuration.
    pub listener: Arc<Listener>,
    /// Our address on this connection; `None` on a unix socket.
    pub local: Option<SocketAddr>,
    /// The peer's uid, on a unix socket.
    pub uid: Option<u32>,
    /// The peer's address; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// The listener's terms as they are now.
    pub terms: Option<Arc<ArcSwap<ListenerSettings>>>,
}

/// What a connection was last admitted with, where a key is required: an engine shows the same with each request.
/// Taken for good only while the account's row is the same one, so a key that was taken away, and an account that was
/// changed, are checked again. No `Debug`: it holds a key.
#[derive(Default)]
pub(super) struct CachedAdmission(Option<Admitted>);

struct Admitted {
    credentials: Zeroizing<Vec<u8>>,
    name: AccountName,
    /// Weak: who is idle must not keep what the account had. While this is here, no other row has its place.
    row: Weak<Account>,
    /// The key that was shown.
    used: Option<Arc<KeyUse>>,
}

impl CachedAdmission {
    /// As [`ListenerContext::admit`].
    ///
    /// # Errors
    /// Those of [`ListenerContext::admit`].
    pub(super) fn admit(
        &mut self,
        listener: &ListenerContext,
        accounts: &Accounts,
        headers: &HeaderMap,
        form: Form,
    ) -> Result<Arc<Account>, Problem> {
        if listener.listener.client_key != ClientKey::Required {
            return listener.admit(accounts, headers, form);
        }
        let credentials = credentials(headers, form).map(HeaderValue::as_bytes);
        if let (Some(known), Some(credentials)) = (&self.0, credentials)
            && are_same(&known.credentials, credentials)
            && let Some(row) = accounts.lookup(known.name.as_str())
            && std::ptr::eq(known.row.as_ptr(), Arc::as_ptr(&row))
        {
            if let Some(used) = &known.used {
                used.mark();
            }
            return Ok(row);
        }
        self.0 = None;
        let account = listener.admit(accounts, headers, form)?;
        self.0 = credentials.map(|credentials| Admitted {
            credentials: Zeroizing::new(credentials.to_vec()),
            name: account.name.clone(),
            row: Arc::downgrade(&account),
            used: user_and_key(headers, form).and_then(|(_, key)| account.keys.find(key.as_bytes()).cloned()),
        });
        Ok(account)
    }
}

impl ListenerContext {
    /// Go by the listener's terms as they are now. A reload reaches an open connection so, at its next request. Are they
    /// others than before? Then nobody is known by what was admitted on the old ones.
    pub(super) fn refresh(&mut self) -> bool {
        let Some(terms) = &self.terms else { return false };
        let now = terms.load();
        let changed = !Arc::ptr_eq(now.listener(), &self.listener);
        if changed {
            self.listener = Arc::clone(now.listener());
        }
        changed
    }

    /// Are its terms those that its requests are served by?
    pub(super) fn is_current(&self) -> bool {
        self.terms.as_ref().is_none_or(|terms| Arc::ptr_eq(terms.load().listener(), &self.listener))
    }

    /// The account of a request, chosen by the listener, else by the user name,
    /// else by the peer's uid; and its client key checked where one is required.
    ///
    /// # Errors
    /// 407 that is the same for a wrong key, an unknown account and none at all;
    /// 503 when the listener's own account does not exist yet.
    pub(super) fn admit(&self, accounts: &Accounts, headers: &HeaderMap, form: Form) -> Result<Arc<Account>, Problem> {
        if self.listener.client_key == ClientKey::Required {
            return self.check_key(accounts, headers, form);
        }
        let by_uid = || self.uid.and_then(|uid| self.listener.uids.get(&uid));
        let by_source = || self.peer.and_then(|peer| self.listener.sources.get(&peer.to_canonical()));
        let Some(name) = self.listener.account.as_ref().or_else(by_uid).or_else(by_source) else {
            if self.listener.transparent {
                let detail =
                    "this address is none of those whose orders this listener takes; add it to listener.sources";
                return Err(Problem::before_sending(Code::ProxyAuthRequired, detail));
            }
            let detail = "this listener knows no account for this peer; map its uid in listener.uids";
            return Err(Problem::before_sending(Code::ProxyAuthRequired, detail));
        };
        // Who names another account believes to trade on that one; of credentials that
        // cannot be read nobody knows whom they name.
        let named = has_credentials(headers, form).then(|| user_and_key(headers, form));
        if named.is_some_and(|named| named.is_none_or(|(user, _)| !user.is_empty() && user != name.as_str())) {
            let detail =
                format!("this listener serves account {name} only; leave the name out, or use another listener");
            return Err(Problem::before_sending(Code::ProxyAuthRequired, detail));
        }
        accounts.lookup(name.as_str()).ok_or_else(|| missing(name))
    }

    fn check_key(&self, accounts: &Accounts, headers: &HeaderMap, form: Form) -> Result<Arc<Account>, Problem> {
        let refused = || {
            let detail = "give the account's name and a client key: http://account:client-key@host:port, or a \
                          Proxy-Authorization: Basic header";
            Problem::before_sending(Code::ProxyAuthRequired, detail)
        };
        let (user, key) = user_and_key(headers, form).ok_or_else(refused)?;
        // Where the listener or the peer's uid says who it is, the name must say the same.
        let own = match &self.listener.account {
            Some(own) => Some(own),
            None if self.listener.uids.is_empty() => None,
            None => Some(self.uid.and_then(|uid| self.listener.uids.get(&uid)).ok_or_else(refused)?),
        };
        let named = match (own, user.as_str()) {
            (Some(own), user) if user.is_empty() || user == own.as_str() => Some(own.as_str()),
            (Some(_), _) => None,
            (None, user) => Some(user),
        };
        let account = named.and_then(|name| accounts.lookup(name));
        // The key is hashed and compared for an unknown account too, so that both
        // take the same time.
        static NOBODY: LazyLock<ClientKeys> = LazyLock::new(ClientKeys::default);
        let keys = account.as_ref().map_or(&*NOBODY, |account| &account.keys);
        if keys.accept(key.as_bytes()) { account.ok_or_else(refused) } else { Err(refused()) }
    }

    /// On a listener without client keys any web page open on this host could
    /// place orders: refuse whatever a browser sent. `target` is what the request asks for; `inside_tls`: it came through
    /// TLS that ended here.
    ///
    /// `Sec-Fetch-Mode` alone is no browser: Node's `fetch` sends it and nothing else of its kind.
    ///
    /// # Errors
    /// 403 `browser_refused`.
    pub(super) fn refuse_browsers(
        &self,
        headers: &HeaderMap,
        form: Form,
        target: &str,
        inside_tls: bool,
    ) -> Result<(), Problem> {
        if self.listener.client_key == ClientKey::Required {
            return Ok(());
        }
        let refused = |detail: String| Err(Problem::before_sending(Code::BrowserRefused, detail));
        if let Some(name) = [REFERER, SEC_FETCH_SITE, SEC_FETCH_DEST].iter().find(|name| headers.contains_key(*name)) {
            return refused(format!(
                "the header {name} is what a browser sends, and this listener asks for no client key; leave it out, or \
                 use a listener with client_key = \"required\""
            ));
        }
        if headers.contains_key(ORIGIN) && !self.is_own_origin(headers, form, target, inside_tls) {
            return refused(
                "the header Origin is what a browser sends, and this listener asks for no client key; leave it out (on \
                 a WebSocket it may name the target's own scheme, host and port), or use a listener with client_key = \
                 \"required\""
                    .to_owned(),
            );
        }
        if form == Form::Origin && !self.is_own_host(headers) {
            return refused(
                "Host is not this listener's own address; a page that rebinds its name could send this; if it is a name \
                 of this listener, list it in listener.own_hosts"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// An order write that a page could send without asking (a "simple" request
    /// of the Fetch standard) is not JSON. What takes risk away is waived: where a page of another site sends it, it
    /// bears an `Origin`, which [`ListenerContext::refuse_browsers`] stops.
    ///
    /// # Errors
    /// 403 `browser_refused`.
    pub(super) fn refuse_simple_writes(
        &self,
        method: &Method,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Problem> {
        if self.listener.client_key == ClientKey::Required || endpoint.takes_risk_away() {
            return Ok(());
        }
        let kind = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let json = kind.is_some_and(|kind| {
            kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
        });
        // Without type and body, DELETE and PUT are never simple.
        let never_simple = kind.is_none() && body.is_empty() && *method != Method::POST;
        if json || never_simple {
            return Ok(());
        }
        let detail = "an order write needs Content-Type: application/json on a listener without client keys";
        Err(Problem::before_sending(Code::BrowserRefused, detail))
    }

    /// Does a WebSocket's handshake name as its origin what it asks for? `websocket-client` does, and no page of
    /// another site can.
    fn is_own_origin(&self, headers: &HeaderMap, form: Form, target: &str, inside_tls: bool) -> bool {
        let text = |name| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (Some(value), None) => value.to_str().ok(),
                _ => None,
            }
        };
        if !text(UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
            return false;
        }
        let asked = match form {
            Form::Absolute => origin(target.split_once("://").map_or("", |(scheme, rest)| {
                let ends = rest.find(['/', '?']).unwrap_or(rest.len());
                target.get(..scheme.len() + 3 + ends).unwrap_or_default()
            })),
            Form::Intercepted => {
                // Which must be the tunnel's host: what reads the target refuses another.
                let scheme = if inside_tls { "https" } else { "http" };
                text(HOST).and_then(|host| origin(&format!("{scheme}://{host}")))
            }
            Form::Origin => {
                let scheme = if self.listener.tls.is_some() { "https" } else { "http" };
                text(HOST).and_then(|host| origin(&format!("{scheme}://{host}")))
            }
        };
        asked.is_some() && text(ORIGIN).and_then(origin) == asked
    }

    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        // HTTP/1.0 without Host: no browser since the nineties. A unix socket cannot be reached by a page; clients put
        // "localhost" or its path here.
        let own = |host: &str| own_host(host, self.local, &self.listener.own_hosts);
        self.local.is_none() || headers.get(HOST).is_none_or(|host| host.to_str().is_ok_and(own))
    }

    /// Does `Host` name this listener, where the target names the broker? Programs that put the proxy's own address
    /// there mean nothing by it.
    pub(super) fn names_itself(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
            (Some(Ok(host)), None) => own_host(host, self.local, &self.listener.own_hosts),
            _ => false,
        }
    }
}

/// Is it TLS, and whose: what an `Origin` says (RFC 6454 section 7), or the URL of a WebSocket.
fn origin(text: &str) -> Option<(bool, Authority)> {
    let (scheme, authority) = text.split_once("://")?;
    let (tls, port) = match scheme {
        "http" | "ws" => (false, 80),
        "https" | "wss" => (true, 443),
        _ => return None,
    };
    Some((tls, Authority::parse(authority, Some(port)).ok()?))
}

/// Takes the same time wherever they differ.
fn are_same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

fn missing(name: &AccountName) -> Problem {
    let detail = format!("account {name} has not been created; make it by POST /v1/accounts");
    Problem::before_sending(Code::AccountMissing, detail)
}

/// Whom a caller names, for the log of those who are turned away. Not what may be a secret in the wrong place: keys and
/// tokens of ours and the broker's, a PIN, a TOTP secret.
pub(super) fn named(headers: &HeaderMap, form: Form) -> Option<AccountName> {
    let (user, _) = user_and_key(headers, form)?;
    let is_secret = ["sgk_", "sga_", "eyJ"].iter().any(|begins| user.starts_with(begins))
        || user.bytes().all(|byte| byte.is_ascii_digit())
        || (user.len() >= 16 && user.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7')));
    if is_secret || user.len() > 32 { None } else { AccountName::parse(&user).ok() }
}

/// Does a caller say who it is, however badly? What is not Basic in `Authorization` is a
/// program's own login at the broker, and none of ours.
fn has_credentials(headers: &HeaderMap, form: Form) -> bool {
    let basic = |value: &HeaderValue| value.as_bytes().get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"basic"));
    headers.contains_key(PROXY_AUTHORIZATION)
        || (form == Form::Origin && headers.get_all(AUTHORIZATION).iter().any(basic))
}

/// The fields of a request that say who its caller is, to be checked again when it leaves. No others: they may be long.
pub(super) fn credentials_of(headers: &HeaderMap) -> HeaderMap {
    let mut shown = HeaderMap::new();
    for name in [PROXY_AUTHORIZATION, AUTHORIZATION] {
        for value in headers.get_all(&name) {
            shown.append(name.clone(), value.clone());
        }
    }
    shown
}

/// The value of `Proxy-Authorization`, or of `Authorization` in origin form, where the listener is the server
/// (RFC 7617).
fn credentials(headers: &HeaderMap, form: Form) -> Option<&HeaderValue> {
    let name = if form == Form::Origin && !headers.contains_key(PROXY_AUTHORIZATION) {
        AUTHORIZATION
    } else {
        PROXY_AUTHORIZATION
    };
    let mut values = headers.get_all(name).iter();
    // Two of them are two callers; nobody can say which is meant.
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    Some(value)
}

/// The user name and key that they hold.
fn user_and_key(headers: &HeaderMap, form: Form) -> Option<(String, String)> {
    let value = credentials(headers, form)?;
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(encoded.trim().as_bytes()).ok()?).ok()?;
    let (user, key) = text.split_once(':')?;
    Some((user.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::broker::dhan::endpoints::classify;

    /// A name with a letter too few is found in the log; a secret in its place is not.
    #[test]
    fn whom_a_caller_names_is_told_unless_it_may_be_a_secret() {
        let named = |user: &str| {
            let mut headers = HeaderMap::new();
            let basic = format!("Basic {}", BASE64.encode(format!("{user}:key").as_bytes()));
            headers.insert(PROXY_AUTHORIZATION, basic.parse().unwrap());
            super::named(&headers, Form::Absolute).map(|name| name.to_string())
        };
        assert_eq!(named("alhpa").as_deref(), Some("alhpa"));
        for secret in ["sgk_abc", "sga_abc", "eyJhbGciOi", "493817", "JBSWY3DPEHPK3PXP", "", "no name", &"x".repeat(33)]
        {
            assert_eq!(named(secret), None, "{secret}");
        }
    }

    fn listener() -> ListenerContext {
        let text = "[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n";
        let config = crate::config::from_text("test", Path::new("/x"), text, &Default::default()).unwrap();
        let listener = Arc::new(config.listeners.into_iter().next().unwrap());
        ListenerContext { listener, local: Some("127.0.0.1:8080".parse().unwrap()), uid: None, peer: None, terms: None }
    }

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// Any page open on this host could place orders; and Node's `fetch` and Python's `websocket-client` are no pages.
    #[test]
    fn what_a_browser_sends_is_refused_and_what_a_library_sends_is_not() {
        let (api, wss) = ("http://api.dhan.co/v2/orders", "/?version=2");
        let ws = ("upgrade", "websocket");
        for (sent, form, target, passes) in [
            (&[("sec-fetch-mode", "cors")][..], Form::Absolute, api, true),
            (&[("sec-fetch-mode", "cors"), ("sec-fetch-site", "none")], Form::Absolute, api, false),
            (&[("sec-fetch-dest", "empty")], Form::Absolute, api, false),
            (&[("referer", "http://api.dhan.co/")], Form::Absolute, api, false),
            (&[("origin", "http://api.dhan.co")], Form::Absolute, api, false),
            (&[ws, ("origin", "http://api.dhan.co")], Form::Absolute, api, true),
            (&[ws, ("origin", "http://api.dhan.co:80")], Form::Absolute, "ws://api.dhan.co?x=://y", true),
            (&[ws, ("origin", "https://api.dhan.co")], Form::Absolute, api, false),
            (&[ws, ("origin", "http://evil.example")], Form::Absolute, api, false),
            (&[ws, ("origin", "null")], Form::Absolute, api, false),
            (&[ws, ("origin", "http://api.dhan.co"), ("origin", "http://evil.example")], Form::Absolute, api, false),
            (&[ws, ("host", "api-feed.dhan.co"), ("origin", "https://api-feed.dhan.co")], Form::Intercepted, wss, true),
            (&[ws, ("host", "api-feed.dhan.co"), ("origin", "http://api-feed.dhan.co")], Form::Intercepted, wss, false),
            (&[ws, ("host", "api-feed.dhan.co"), ("origin", "https://evil.example")], Form::Intercepted, wss, false),
            (&[ws, ("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], Form::Origin, "/ws/feed", true),
            (&[ws, ("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:9")], Form::Origin, "/ws/feed", false),
            (&[ws, ("host", "evil.example"), ("origin", "http://evil.example")], Form::Origin, "/ws/feed", false),
        ] {
            let said = listener().refuse_browsers(&fields(sent), form, target, true);
            assert_eq!(said.is_ok(), passes, "{sent:?} {target}");
            if let Err(problem) = said {
                assert_eq!(problem.code, Code::BrowserRefused);
            }
        }
    }

    /// A kill switch without a body or a type was refused, where refusing costs most.
    #[test]
    fn only_what_adds_risk_has_to_be_json() {
        let told = |method: Method, path: &str, query, kind: &[_], body: &[u8]| {
            let endpoint = classify(&method, path, query);
            listener().refuse_simple_writes(&method, &endpoint, &fields(kind), body).is_ok()
        };
        let form = [("content-type", "text/plain")];
        for kind in [&[][..], &form] {
            assert!(told(Method::POST, "/v2/killswitch", Some("killSwitchStatus=ACTIVATE"), kind, b""));
            assert!(told(Method::DELETE, "/v2/orders/1", None, kind, b"[]"));
            assert!(told(Method::DELETE, "/v2/positions", None, kind, b""));
            assert!(!told(Method::POST, "/v2/killswitch", Some("killSwitchStatus=DEACTIVATE"), kind, b""));
            assert!(!told(Method::POST, "/v2/orders", None, kind, b"{}"));
        }
        assert!(told(Method::POST, "/v2/orders", None, &[("content-type", "application/json; charset=utf-8")], b"{}"));
    }

    #[test]
    fn credentials_are_read_in_one_way_only() {
        let with = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            headers
        };
        let basic = format!("Basic {}", BASE64.encode(b"alpha:key:with:colons"));
        let one = with(&[("proxy-authorization", &basic)]);
        assert_eq!(user_and_key(&one, Form::Absolute).unwrap(), ("alpha".to_owned(), "key:with:colons".to_owned()));
        assert!(
            user_and_key(&with(&[("proxy-authorization", &basic), ("proxy-authorization", &basic)]), Form::Absolute)
                .is_none()
        );
        assert!(user_and_key(&with(&[("authorization", &basic)]), Form::Absolute).is_none());
        assert!(user_and_key(&with(&[("authorization", &basic)]), Form::Origin).is_some());
        for bad in ["Basic", "Basic !!!", "Bearer YTpi", &format!("Basic {}", BASE64.encode(b"nocolon"))] {
            assert!(user_and_key(&with(&[("proxy-authorization", bad)]), Form::Absolute).is_none(), "{bad}");
        }
    }
}
