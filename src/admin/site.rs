//! By what names the admin listener is reached, and from what pages.
//!
//! A web page can make a name of its own lead to any address (DNS rebinding), and its requests then bear that name in
//! `Host`. It can do that to no address, and to no loopback name: browsers and resolvers keep `localhost` and
//! `*.localhost` to themselves (RFC 6761 section 6.3). So the listener's own address and those are believed with any
//! port, which is what an SSH tunnel or a mapped port needs, and other names only if the configuration has them.

use std::net::{IpAddr, SocketAddr};

use arc_swap::ArcSwap;

use crate::config::PublicUrl;
use crate::domain::{Authority, Host};

/// By what names the admin listener is reached. The names change at a reload.
#[derive(Debug)]
pub struct Site {
    /// Where the listener is bound; nothing on a unix socket.
    local: Option<SocketAddr>,
    tls: bool,
    names: ArcSwap<Names>,
}

#[derive(Debug)]
struct Names {
    public_url: Option<PublicUrl>,
    hosts: Vec<Host>,
}

impl Site {
    /// The site of a listener.
    pub fn new(admin: &crate::config::AdminConfig, local: Option<SocketAddr>) -> Self {
        let names = ArcSwap::from_pointee(Names::of(admin));
        Self { local, tls: admin.tls.is_some(), names }
    }

    /// Take over the names of a reloaded configuration.
    pub fn reload(&self, admin: &crate::config::AdminConfig) {
        self.names.store(Names::of(admin).into());
    }

    /// Can another host connect?
    pub(super) fn is_reachable_from_elsewhere(&self) -> bool {
        self.local.is_some_and(|local| !local.ip().is_loopback())
    }

    /// May a request have this `Host`?
    ///
    /// # Errors
    /// A sentence that says what to set.
    pub(super) fn admits(&self, host: &str) -> Result<(), String> {
        // Programs on a unix socket may write anything; no page can open one.
        let none = host.is_empty() || self.local.is_none() && !host.contains('.');
        if none || self.is_own_name(host) {
            return Ok(());
        }
        Err(format!(
            "the header Host is {}, a name that this gateway does not know as its own, and a web page could have made it \
             lead here. If it is yours, add it to admin.hosts (without the port) and reload; or open the gateway by an \
             address or localhost, from another computer through `ssh -L 8081:{} HOST`",
            cut(host),
            self.local.map_or_else(|| "127.0.0.1:8081".to_owned(), |local| local.to_string())
        ))
    }

    fn is_own_name(&self, host: &str) -> bool {
        let Ok(at) = Authority::parse(host, Some(80)) else { return false };
        if let Some(ip) = at.host.ip() {
            let local = self.local.map(|local| local.ip());
            return ip.is_loopback() || local.is_some_and(|local| local == ip || local.is_unspecified());
        }
        if is_loopback_name(at.host.as_str()) {
            return true;
        }
        let names = self.names.load();
        names.hosts.contains(&at.host) || names.public_url.as_ref().is_some_and(|url| url.at.host == at.host)
    }

    /// Is a page of `origin` one of ours, asked for as `host`? A proxy before us that ends TLS makes the scheme another.
    pub(super) fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        let public = self.names.load().public_url.as_ref().map(ToString::to_string);
        public.as_deref() == Some(origin) || rest.eq_ignore_ascii_case(host) && matches!(scheme, "http" | "https")
    }

    /// Do browsers reach it by `https`?
    pub(super) fn is_https(&self) -> bool {
        self.tls || self.names.load().public_url.as_ref().is_some_and(|url| url.https)
    }

    /// Only a listener with a port can be opened by a browser.
    pub(super) const fn has_port(&self) -> bool {
        self.local.is_some()
    }

    /// Where the listener is bound, as a URL; nothing on a unix socket.
    pub(super) fn listens_at(&self) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.local.map(|local| format!("{scheme}://{local}"))
    }

    /// What an SSH tunnel to the listener leads to.
    pub(super) fn tunnel(&self) -> Option<String> {
        let local = self.local?;
        let is_any = local.ip().is_unspecified();
        Some(if is_any { format!("127.0.0.1:{}", local.port()) } else { local.to_string() })
    }

    /// `admin.public_url`, if it is set.
    pub(super) fn public_url(&self) -> Option<String> {
        self.names.load().public_url.as_ref().map(ToString::to_string)
    }

    /// Where a browser finds the gateway: its public URL, else by a name of its own on this host, so that no other
    /// program's cookies are mixed with its.
    pub(super) fn url(&self) -> Option<String> {
        if let Some(url) = &self.names.load().public_url {
            return Some(url.to_string());
        }
        let scheme = if self.tls { "https" } else { "http" };
        let local = self.local?;
        let port = local.port();
        Some(match local.ip() {
            // A certificate has the names that it has, and this is seldom one.
            ip if ip.is_loopback() && !self.tls && is_usual_loopback(ip) => {
                format!("{scheme}://sixgate.localhost:{port}")
            }
            ip if ip.is_unspecified() => format!("{scheme}://127.0.0.1:{port}"),
            _ => format!("{scheme}://{local}"),
        })
    }
}

impl Names {
    fn of(admin: &crate::config::AdminConfig) -> Self {
        Self { public_url: admin.public_url.clone(), hosts: admin.hosts.clone() }
    }
}

/// The addresses that `*.localhost` leads to.
fn is_usual_loopback(ip: IpAddr) -> bool {
    ip == IpAddr::from([127, 0, 0, 1]) || ip == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
}

fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// A header's text as an error shows it.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 100;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(local: &str, public_url: Option<&str>) -> Site {
        let url = public_url.map(|at| PublicUrl { https: true, at: Authority::parse(at, Some(443)).unwrap() });
        let hosts = vec![Host::parse("gw.lan").unwrap()];
        let names = ArcSwap::from_pointee(Names { public_url: url, hosts });
        Site { local: local.parse().ok(), tls: false, names }
    }

    #[test]
    fn addresses_loopback_names_and_names_that_were_given_are_its_own() {
        for local in ["127.0.0.1:8081", "0.0.0.0:8081", "[::1]:8081", "unix"] {
            let site = site(local, Some("gw.example"));
            for own in [
                "127.0.0.1:8081",
                "127.0.0.1:9000",
                "localhost",
                "LOCALHOST:1",
                "sixgate.localhost:8081",
                "[::1]:8081",
                "gw.lan:7",
                "GW.example",
            ] {
                assert!(site.admits(own).is_ok(), "{own} at {local}");
            }
            for other in
                ["evil.example:8081", "localhost.evil.example", "evil.gw.lan", "gw.lan.", "a b.c", "notlocalhost.x"]
            {
                assert!(site.admits(other).unwrap_err().contains("admin.hosts"), "{other} at {local}");
            }
        }
        for (local, own) in
            [("127.0.0.1:8081", false), ("192.0.2.8:8081", false), ("192.0.2.7:1", true), ("0.0.0.0:1", true)]
        {
            assert_eq!(site(local, None).admits("192.0.2.7:8081").is_ok(), own, "{local}");
        }
    }

    #[test]
    fn only_our_own_pages_are_of_our_origin() {
        let site = site("127.0.0.1:8081", Some("gw.example"));
        assert!(site.is_own_origin("http://127.0.0.1:9000", "127.0.0.1:9000"));
        assert!(site.is_own_origin("https://gw.example", "127.0.0.1:8081"));
        for other in ["http://127.0.0.1:9001", "null", "https://evil.example", "file://127.0.0.1:9000", ""] {
            assert!(!site.is_own_origin(other, "127.0.0.1:9000"), "{other}");
        }
    }

    #[test]
    fn a_browser_is_sent_to_a_name_with_cookies_of_its_own() {
        assert_eq!(site("127.0.0.1:8081", None).url().as_deref(), Some("http://sixgate.localhost:8081"));
        assert_eq!(site("127.9.9.9:8081", None).url().as_deref(), Some("http://127.9.9.9:8081"));
        assert_eq!(site("192.0.2.7:8081", None).url().as_deref(), Some("http://192.0.2.7:8081"));
        assert_eq!(site("0.0.0.0:8081", Some("gw.example")).url().as_deref(), Some("https://gw.example"));
        assert_eq!(site("unix", None).url(), None);
    }
}
