//! By which listener a command's requests come in.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use serde_json::Value;

use crate::cli::endpoint::Location;
use crate::cli::failure::CallError;
use crate::cli::table::{is, list, maybe, text};

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Tcp {
        tls: bool,
        /// Without brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// A listener that serves the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) at: At,
    /// Must callers show `account:client-key`?
    pub(super) needs_key: bool,
}

impl At {
    /// `http://127.0.0.1:8080`, `https://gw.lan:8443` or `unix:/run/sixgate.sock`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Self::Unix(path.into()));
        }
        let url: Url = text.parse().ok()?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.username().is_empty();
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        bare.then_some(Self::Tcp { tls, host, port: url.port_or_known_default()? })
    }

    /// As a program writes it, with the name and key of a caller if it has to show them.
    pub(super) fn url(&self, caller: Option<(&str, &str)>) -> Option<String> {
        let Self::Tcp { tls, host, port } = self else { return None };
        let scheme = if *tls { "https" } else { "http" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let caller = caller.map(|(account, key)| format!("{account}:{key}@")).unwrap_or_default();
        Some(format!("{scheme}://{caller}{host}:{port}"))
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { .. } => f.write_str(&self.url(None).unwrap_or_default()),
        }
    }
}

/// The best listener for an account, of those in the body of `/v1/status`: one of its own, without a key, without TLS.
/// A unix socket only where `unix` says that it is of use.
///
/// # Errors
/// [`CallError::Usage`] when there is none.
pub(super) fn choose(status: &Value, account: &str, admin: &Location, unix: bool) -> Result<Door, CallError> {
    let elsewhere = elsewhere(admin);
    // A transparent one is no proxy.
    let proxies = list(status, "/listeners").iter().filter(|listener| !is(listener, "/transparent"));
    let doors = proxies.filter_map(|listener| {
        let own = maybe(listener, "/account");
        let needs_key = is(listener, "/client_key");
        // Without a key, and for no account: the peer's uid decides, and nobody says which one is whose.
        let serves = own.as_ref().map_or(needs_key, |own| own == account);
        let at = reached(At::parse(&text(listener, "/at"))?, elsewhere.as_deref())?;
        let is_unix = matches!(at, At::Unix(_));
        let tls = matches!(at, At::Tcp { tls: true, .. });
        (serves && (unix || !is_unix)).then_some(((needs_key, own.is_none(), tls, is_unix), Door { at, needs_key }))
    });
    let best = doors.min_by_key(|(rank, _)| *rank).map(|(_, door)| door);
    best.ok_or_else(|| {
        let kind = if unix { "" } else { " with a port" };
        CallError::Usage(format!(
            "no listener{kind} of this gateway serves {account} from here; add a [[listener]] with account = \
             \"{account}\", or name one with --proxy"
        ))
    })
}

/// The host of a gateway that is not on this machine.
fn elsewhere(admin: &Location) -> Option<String> {
    let Location::Url(url) = admin else { return None };
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    (!here).then(|| host.to_owned())
}

/// A listener as it is reached from here, if it is.
fn reached(at: At, elsewhere: Option<&str>) -> Option<At> {
    let At::Tcp { tls, host, port } = at else { return elsewhere.is_none().then_some(at) };
    let ip: Option<IpAddr> = host.parse().ok();
    let host = match (ip, elsewhere) {
        (Some(ip), Some(_)) if ip.is_loopback() => return None,
        (Some(ip), Some(elsewhere)) if ip.is_unspecified() => elsewhere.to_owned(),
        (Some(IpAddr::V4(ip)), None) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        (Some(IpAddr::V6(ip)), None) if ip.is_unspecified() => "::1".to_owned(),
        _ => host,
    };
    Some(At::Tcp { tls, host, port })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Value {
        let listener = |at: &str, account: Option<&str>, client_key: bool| json!({ "at": at, "account": account, "client_key": client_key, "by_uid": false });
        json!({ "listeners": [
            listener("https://0.0.0.0:8443", None, true),
            listener("unix:/run/all.sock", None, false),
            listener("http://[::]:9000", None, true),
            listener("unix:/run/beta.sock", Some("beta"), false),
            listener("http://127.0.0.1:8080", Some("alpha"), false),
            listener("http://127.0.0.1:8081", Some("gamma"), true),
            json!({ "at": "http://[::1]:443", "account": "gamma", "client_key": false, "transparent": true }),
        ] })
    }

    fn chosen(account: &str, admin: &str, unix: bool) -> String {
        let door = choose(&status(), account, &Location::parse(admin).unwrap(), unix).unwrap();
        format!("{}{}", door.at, if door.needs_key { " key" } else { "" })
    }

    /// The wrong one would trade another account, or ask for a key where there need be none.
    #[test]
    fn a_listener_of_the_account_s_own_comes_first() {
        let here = "http://127.0.0.1:8081";
        assert_eq!(chosen("alpha", here, true), "http://127.0.0.1:8080");
        assert_eq!(chosen("beta", here, false), "http://[::1]:9000 key");
        assert_eq!(chosen("beta", here, true), "unix:/run/beta.sock");
        assert_eq!(chosen("gamma", here, true), "http://127.0.0.1:8081 key");
        assert_eq!(chosen("alpha", "https://gw.example:8443", true), "http://gw.example:9000 key");
    }

    #[test]
    fn without_a_listener_it_says_what_to_do() {
        let none = json!({ "listeners": [{ "at": "unix:/run/a.sock", "account": "alpha", "client_key": false }] });
        let admin = Location::Unix("/run/admin.sock".into());
        let text = choose(&none, "alpha", &admin, false).unwrap_err().to_string();
        assert!(text.contains("--proxy") && text.contains("account = \"alpha\""), "{text}");
        assert!(choose(&none, "alpha", &admin, true).is_ok());
    }

    #[test]
    fn a_listener_s_address_is_read_and_written() {
        let v6 = At::parse("http://[::1]:8080").unwrap();
        assert_eq!(v6.url(Some(("alpha", "sgk_x"))).unwrap(), "http://alpha:sgk_x@[::1]:8080");
        assert_eq!(At::parse("https://gw.lan").unwrap().to_string(), "https://gw.lan:443");
        for bad in ["gw.lan:8080", "ftp://gw.lan", "http://me:x@gw.lan", "http://gw.lan/x", ""] {
            assert_eq!(At::parse(bad), None, "{bad}");
        }
    }
}
