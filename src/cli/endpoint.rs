//! Which gateway a command talks to, and with which token.
//!
//! Invariant: the admin token is sent to a loopback address, a unix socket, a listener of the gateway's own
//! configuration, or over TLS; never in clear to another host.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use reqwest::Url;
use zeroize::Zeroizing;

use super::failure::CallError;
use super::running;
use crate::config::{self, Bind, Config};
use crate::domain::pasted;
use crate::domain::secret::ExposeSecret;

/// Where a gateway's admin API is when nobody says.
const DEFAULT_ADMIN: &str = "http://127.0.0.1:8081";
/// Its token, in the folder where the gateway was started.
const DEFAULT_TOKEN_FILE: &str = "state/admin.token";
/// A token has 56 characters; a file given by mistake may have any number.
const LONGEST_TOKEN: u64 = 4096;

/// Which gateway a command talks to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which gateway")]
pub(super) struct GatewayArguments {
    /// Its admin API: a URL or unix:PATH [default: http://127.0.0.1:8081]
    ///
    /// http is for loopback addresses only, because the admin token would be
    /// readable on the way. Another host's API is reached through a tunnel:
    /// `ssh -L 8081:127.0.0.1:8081 HOST`.
    #[arg(long, global = true, value_name = "URL|unix:PATH", env = "SIXGATE_ADMIN")]
    pub(super) admin: Option<String>,
    /// The file with the admin token [default: state/admin.token in this folder]
    ///
    /// The gateway makes it at its first start, for its owner only. Where there is none, a
    /// `serve --sandbox` of the same user that runs is found by itself.
    #[arg(long, global = true, value_name = "FILE", env = "SIXGATE_ADMIN_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// The gateway's configuration, to read both from (`admin.address`, `admin.token_file`)
    ///
    /// --admin and --token-file, and their variables, come before it.
    #[arg(long, global = true, value_name = "FILE", env = "SIXGATE_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

/// Where a gateway is.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) location: Location,
    pub(super) token_file: PathBuf,
    /// Its configuration, if it was named or is that of a sandbox that was found.
    pub(super) config: Option<Box<Config>>,
}

/// A base URL, or a socket.
#[derive(Debug)]
pub(super) enum Location {
    Url(Url),
    Unix(PathBuf),
}

impl Endpoint {
    /// # Errors
    /// [`CallError`] when the arguments or the configuration cannot be used.
    pub(super) fn find(arguments: &GatewayArguments) -> Result<Self, CallError> {
        let config = match &arguments.config {
            Some(path) => Some(Box::new(config::load(path).map_err(CallError::Config)?)),
            None => None,
        };
        if config.is_none()
            && arguments.token_file.is_none()
            && !Path::new(DEFAULT_TOKEN_FILE).exists()
            && let Some(found) = Self::of_sandbox(arguments.admin.as_deref())?
        {
            return Ok(found);
        }
        let at = match (&arguments.admin, &config) {
            (Some(text), _) => Location::parse(text)?,
            (None, Some(config)) => Location::of(&config.admin.bind)?,
            (None, None) => Location::parse(DEFAULT_ADMIN)?,
        };
        let token_file = match (&arguments.token_file, &config) {
            (Some(path), _) => path.clone(),
            (None, Some(config)) => config.admin.token_file.clone(),
            (None, None) => PathBuf::from(DEFAULT_TOKEN_FILE),
        };
        Ok(Self { location: at, token_file, config })
    }

    /// As [`Endpoint::find`], for what works without a gateway too: of several sandboxes that run, none is meant.
    ///
    /// # Errors
    /// Those of [`Endpoint::find`] but that one.
    pub(super) fn find_if_clear(arguments: &GatewayArguments) -> Result<Self, CallError> {
        let is_unnamed = arguments.config.is_none() && arguments.admin.is_none();
        match Self::find(arguments) {
            Err(CallError::Usage(_)) if is_unnamed => Ok(Self {
                location: Location::parse(DEFAULT_ADMIN)?,
                token_file: PathBuf::from(DEFAULT_TOKEN_FILE),
                config: None,
            }),
            found => found,
        }
    }

    /// The sandbox of this user that runs, at `admin` if that is given. Only where nothing says that another gateway
    /// is meant: a command for a real one must not go to a sandbox, nor the other way round.
    fn of_sandbox(admin: Option<&str>) -> Result<Option<Self>, CallError> {
        let running = running::find().into_iter().filter_map(|running| running.gateway);
        let mut running = running.filter(|gateway| admin.is_none_or(|admin| admin == gateway.admin));
        let Some(one) = running.next() else { return Ok(None) };
        if let Some(other) = running.next() {
            // Two network namespaces have the same addresses.
            let text = if one.admin == other.admin {
                format!(
                    "several sandboxes run at {0}, each in a network of its own; say which: --admin {0} --token-file {1}, \
                     or --token-file {2}",
                    one.admin,
                    one.token_file.display(),
                    other.token_file.display()
                )
            } else {
                format!(
                    "several sandboxes run; say which with --admin (or SIXGATE_ADMIN), for example {} or {}",
                    one.admin, other.admin
                )
            };
            return Err(CallError::Usage(text));
        }
        let location = Location::parse(&one.admin)?;
        let config = config::from_text_and_environment("the sandbox's configuration", &one.state, &one.config);
        Ok(Some(Self { location, token_file: one.token_file, config: config.ok().map(Box::new) }))
    }
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self, CallError> {
        // What was given is not quoted: a URL can hold a password.
        let usage = |why: &str| CallError::Usage(format!("--admin (or SIXGATE_ADMIN) {why}"));
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url: Url =
            whole.parse().map_err(|_| usage("is neither a URL such as http://127.0.0.1:8081 nor unix:PATH"))?;
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let loopback = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(usage("has more than a scheme, a host and a port"));
        }
        match url.scheme() {
            "https" => Ok(Self::Url(url)),
            "http" if loopback => Ok(Self::Url(url)),
            "http" => Err(usage(
                "is http to another host, where the admin token could be read on the way; make a tunnel \
                 (ssh -L 8081:127.0.0.1:8081 HOST) and use http://127.0.0.1:8081",
            )),
            _ => Err(usage("begins with http://, https:// or unix:")),
        }
    }

    /// The gateway's own listener. Its configuration has already been asked whether
    /// plain text is meant, should others be able to reach it.
    fn of(bind: &Bind) -> Result<Self, CallError> {
        let mut address = match bind {
            Bind::Unix(path) => return Ok(Self::Unix(path.clone())),
            Bind::Tcp(address) => *address,
        };
        if address.port() == 0 {
            let text = "admin.address of the configuration has port 0, which is another port at each start; name it with --admin";
            return Err(CallError::Usage(text.to_owned()));
        }
        if address.ip().is_unspecified() {
            let v4 = address.is_ipv4();
            address.set_ip(if v4 {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        let url = format!("http://{address}").parse();
        url.map(Self::Url).map_err(|_| CallError::Usage("admin.address makes no URL".to_owned()))
    }
}

/// The bearer token in a file.
///
/// # Errors
/// [`CallError::TokenFile`].
pub(super) fn read_token(path: &Path) -> Result<HeaderValue, CallError> {
    use std::io::Read;
    let fail = |why: String| CallError::TokenFile { path: path.to_owned(), why };
    let mut bytes = Zeroizing::new(Vec::new());
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_TOKEN).read_to_end(&mut bytes));
    read.map_err(|err| fail(err.to_string()))?;
    let token = pasted::text(&bytes).and_then(|text| pasted::read(pasted::Kind::Key, &text));
    let token = token.map_err(|why| fail(why.to_string()))?;
    let value = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
    let mut value = HeaderValue::from_str(&value).map_err(|_| fail("it holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, String> {
        match Location::parse(text) {
            Ok(Location::Url(url)) => Ok(url.to_string()),
            Ok(Location::Unix(path)) => Ok(format!("unix:{}", path.display())),
            Err(err) => Err(err.to_string()),
        }
    }

    /// Whoever sits between could read the admin token, and with it every order path.
    #[test]
    fn plain_http_goes_to_loopback_only() {
        for good in ["http://127.0.0.1:8081", "http://[::1]:8081", "http://localhost:8081", "https://gate.example:1"] {
            assert_eq!(at(good).unwrap(), format!("{good}/"));
        }
        assert_eq!(at("127.0.0.1:8081").unwrap(), "http://127.0.0.1:8081/");
        assert_eq!(at("unix:/run/a.sock").unwrap(), "unix:/run/a.sock");
        for bad in ["http://10.0.0.1:8081", "http://[2001:db8::1]", "http://localhost.example", "10.0.0.1:8081"] {
            assert!(at(bad).unwrap_err().contains("ssh -L"), "{bad}");
        }
        for bad in ["ftp://127.0.0.1", "http://", "http://127.0.0.1/x", "http://127.0.0.1/?x"] {
            assert!(at(bad).is_err(), "{bad}");
        }
        let text = at("http://me:hunter2@127.0.0.1:8081").unwrap_err();
        assert!(!text.contains("hunter2"), "{text}");
    }

    /// A wildcard is where it listens, and nothing one can connect to everywhere.
    #[test]
    fn the_gateways_own_address_is_made_one_to_connect_to() {
        let url = |text: &str| match Location::of(&Bind::Tcp(text.parse().unwrap())) {
            Ok(Location::Url(url)) => url.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(url("0.0.0.0:1"), "http://127.0.0.1:1/");
        assert_eq!(url("[::]:1"), "http://[::1]:1/");
        assert_eq!(url("10.1.2.3:1"), "http://10.1.2.3:1/");
        assert!(Location::of(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).is_err());
    }
}
