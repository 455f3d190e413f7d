//! Who is asking, and may they.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};

use data_encoding::BASE64;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, PROXY_AUTHORIZATION, REFERER};
use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use super::reply::{Code, Problem};
use super::target::Form;
use crate::accounts::{Account, Accounts, ClientKeys};
use crate::broker::dhan::endpoints::Endpoint;
use crate::config::{ClientKey, Listener};
use crate::domain::AccountName;
use crate::domain::target::own_host;

/// The listener a connection came by, and what the kernel said of its peer.
#[derive(Clone, Debug)]
pub struct Door {
    /// The listener's configuration.
    pub listener: Arc<Listener>,
    /// Our address on this connection; `None` on a unix socket.
    pub local: Option<SocketAddr>,
    /// The peer's uid, on a unix socket.
    pub uid: Option<u32>,
}

/// What a connection was last admitted with, where a key is required: an engine shows the same with each request.
/// Taken for good only while the account's row is the same one, so a key that was taken away, and an account that was
/// changed, are checked again. No `Debug`: it holds a key.
#[derive(Default)]
pub struct Known(Option<Admitted>);

struct Admitted {
    credentials: Zeroizing<Vec<u8>>,
    name: AccountName,
    /// Weak: who is idle must not keep what the account had. While this is here, no other row has its place.
    row: Weak<Account>,
}

impl Known {
    /// As [`Door::admit`].
    ///
    /// # Errors
    /// Those of [`Door::admit`].
    pub fn admit(
        &mut self,
        door: &Door,
        accounts: &Accounts,
        headers: &HeaderMap,
        form: Form,
    ) -> Result<Arc<Account>, Problem> {
        if door.listener.client_key != ClientKey::Required {
            return door.admit(accounts, headers, form);
        }
        let credentials = credentials(headers, form).map(HeaderValue::as_bytes);
        if let (Some(known), Some(credentials)) = (&self.0, credentials)
            && are_same(&known.credentials, credentials)
            && let Some(row) = accounts.lookup(known.name.as_str())
            && std::ptr::eq(known.row.as_ptr(), Arc::as_ptr(&row))
        {
            return Ok(row);
        }
        self.0 = None;
        let account = door.admit(accounts, headers, form)?;
        self.0 = credentials.map(|credentials| Admitted {
            credentials: Zeroizing::new(credentials.to_vec()),
            name: account.name.clone(),
            row: Arc::downgrade(&account),
        });
        Ok(account)
    }
}

impl Door {
    /// The account of a request, chosen by the listener, else by the user name,
    /// else by the peer's uid; and its client key checked where one is required.
    ///
    /// # Errors
    /// 407 that is the same for a wrong key, an unknown account and none at all;
    /// 503 when the listener's own account does not exist yet.
    pub fn admit(&self, accounts: &Accounts, headers: &HeaderMap, form: Form) -> Result<Arc<Account>, Problem> {
        if self.listener.client_key == ClientKey::Required {
            return self.check_key(accounts, headers, form);
        }
        let by_uid = || self.uid.and_then(|uid| self.listener.uids.get(&uid));
        let Some(name) = self.listener.account.as_ref().or_else(by_uid) else {
            let detail = "this listener knows no account for this peer; map its uid in listener.uids";
            return Err(Problem::before_sending(Code::ProxyAuthRequired, detail));
        };
        // Who names another account believes to trade on that one; of credentials that
        // cannot be read nobody knows whom they name.
        let named = is_shown(headers, form).then(|| shown(headers, form));
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
        let (user, key) = shown(headers, form).ok_or_else(refused)?;
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
    /// place orders: refuse whatever a browser sent.
    ///
    /// # Errors
    /// 403 `browser_refused`.
    pub fn refuse_browsers(&self, headers: &HeaderMap, form: Form) -> Result<(), Problem> {
        if self.listener.client_key == ClientKey::Required {
            return Ok(());
        }
        let refused = |detail: String| Err(Problem::before_sending(Code::BrowserRefused, detail));
        let fetch = headers.keys().find(|name| name.as_str().starts_with("sec-fetch-"));
        if let Some(name) = [ORIGIN, REFERER].iter().find(|name| headers.contains_key(*name)).or(fetch) {
            return refused(format!(
                "the header {name} is what a browser sends, and this listener asks for no client key; use a listener \
                 with client_key = \"required\""
            ));
        }
        if form == Form::Origin && !self.is_own_host(headers) {
            return refused(
                "Host is not this listener's own address; a page that rebinds its name could send this".to_owned(),
            );
        }
        Ok(())
    }

    /// An order write that a page could send without asking (a "simple" request
    /// of the Fetch standard) is not JSON. What takes risk away is waived: where a page of another site sends it, it
    /// bears an `Origin`, which [`Door::refuse_browsers`] stops.
    ///
    /// # Errors
    /// 403 `browser_refused`.
    pub fn refuse_simple_writes(
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

    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST).and_then(|value| value.to_str().ok()) else {
            // HTTP/1.0 without Host: no browser since the nineties.
            return true;
        };
        let Some(local) = self.local else {
            // A unix socket cannot be reached by a page; clients put "localhost" or its path here.
            return true;
        };
        own_host(host, local)
    }
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

/// Does a caller say who it is, however badly? What is not Basic in `Authorization` is a
/// program's own login at the broker, and none of ours.
fn is_shown(headers: &HeaderMap, form: Form) -> bool {
    let basic = |value: &HeaderValue| value.as_bytes().get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"basic"));
    headers.contains_key(PROXY_AUTHORIZATION)
        || (form == Form::Origin && headers.get_all(AUTHORIZATION).iter().any(basic))
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
fn shown(headers: &HeaderMap, form: Form) -> Option<(String, String)> {
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
    use super::*;

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
        assert_eq!(shown(&one, Form::Absolute).unwrap(), ("alpha".to_owned(), "key:with:colons".to_owned()));
        assert!(
            shown(&with(&[("proxy-authorization", &basic), ("proxy-authorization", &basic)]), Form::Absolute).is_none()
        );
        assert!(shown(&with(&[("authorization", &basic)]), Form::Absolute).is_none());
        assert!(shown(&with(&[("authorization", &basic)]), Form::Origin).is_some());
        for bad in ["Basic", "Basic !!!", "Bearer YTpi", &format!("Basic {}", BASE64.encode(b"nocolon"))] {
            assert!(shown(&with(&[("proxy-authorization", bad)]), Form::Absolute).is_none(), "{bad}");
        }
    }
}
