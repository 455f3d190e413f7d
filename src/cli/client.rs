//! The admin API of a running gateway, as commands call it.
//!
//! Invariants:
//! - The admin token is sent to a loopback address, a unix socket, a listener of
//!   the gateway's own configuration, or over TLS; never in clear to another host.
//! - No proxy is used and no redirect followed: both would take the token elsewhere.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::failure::CallError;
use crate::config::{self, Bind, Config};
use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, Secret};

/// Where a gateway's admin API is when nobody says.
const DEFAULT_ADMIN: &str = "http://127.0.0.1:8081";
/// Its token, in the folder where the gateway was started.
const DEFAULT_TOKEN_FILE: &str = "state/admin.token";
/// A connect that takes longer on one host will not come.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest that an answer may take: a token refresh waits up to 30 s, and a
/// validation asks the broker by both legs.
const ANSWER: Duration = Duration::from_secs(90);
/// Items asked for at once, the most that the API gives.
const PAGE: &str = "1000";
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
    /// The gateway makes it at its first start, for its owner only.
    #[arg(long, global = true, value_name = "FILE", env = "SIXGATE_ADMIN_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// The gateway's configuration, to read both from (`admin.address`, `admin.token_file`)
    ///
    /// --admin and --token-file, and their variables, come before it.
    #[arg(long, global = true, value_name = "FILE", env = "SIXGATE_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

/// How a command answers.
#[derive(Debug, clap::Args)]
pub(super) struct JsonArgument {
    /// Print the admin API's own JSON and no table; nothing where the API answers nothing
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) json: bool,
}

/// The fields of a call. No `Debug`: some are secrets.
#[derive(Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Set it if there is one.
    pub(super) fn may(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    pub(super) fn secret(&mut self, name: &str, secret: &Secret) {
        self.set(name, secret.expose_secret());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The body of an answer that is no error. No `Debug`: a new client key is in one.
pub(super) struct Answer {
    /// As it came.
    pub(super) text: String,
    at: String,
}

impl Answer {
    /// # Errors
    /// [`CallError::Strange`] if it is no JSON.
    pub(super) fn value(&self) -> Result<Value, CallError> {
        serde_json::from_str(&self.text).map_err(|_| CallError::Strange { at: self.at.clone(), status: StatusCode::OK })
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// A client of one gateway's admin API.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    /// As a person would write it.
    at: String,
    token: Option<HeaderValue>,
    token_file: PathBuf,
}

/// Run a command's calls; the whole life of most commands.
pub(super) fn run(
    arguments: &GatewayArguments,
    command: impl AsyncFnOnce(&Client) -> Result<ExitCode, CallError>,
) -> ExitCode {
    let run = || {
        let place = Endpoint::find(arguments)?;
        let token = read_token(&place.token_file)?;
        let client = Client::new(&place, Some(token))?;
        block_on(command(&client))?
    };
    super::failure::exit_code(run())
}

/// Run calls on this thread.
///
/// # Errors
/// [`CallError::Client`] if there is no runtime.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|err| CallError::Client(err.to_string()))?.block_on(work))
}

/// Where a gateway is.
#[derive(Debug)]
pub(super) struct Endpoint {
    at: At,
    pub(super) token_file: PathBuf,
    /// Its configuration, if it was named.
    pub(super) config: Option<Box<Config>>,
}

#[derive(Debug)]
enum At {
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
        let at = match (&arguments.admin, &config) {
            (Some(text), _) => At::parse(text)?,
            (None, Some(config)) => At::of(&config.admin.bind)?,
            (None, None) => At::parse(DEFAULT_ADMIN)?,
        };
        let token_file = match (&arguments.token_file, &config) {
            (Some(path), _) => path.clone(),
            (None, Some(config)) => config.admin.token_file.clone(),
            (None, None) => PathBuf::from(DEFAULT_TOKEN_FILE),
        };
        Ok(Self { at, token_file, config })
    }
}

impl At {
    fn parse(text: &str) -> Result<Self, CallError> {
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
    let mut text = Zeroizing::new(String::new());
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text));
    read.map_err(|err| fail(err.to_string()))?;
    if text.trim().is_empty() {
        return Err(fail("it is empty".to_owned()));
    }
    let value = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value = HeaderValue::from_str(&value).map_err(|_| fail("it holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A TLS configuration of ours: reqwest's own panics in this build, which has no
/// default provider, and it asks for one even for plain HTTP.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Client {
    /// # Errors
    /// [`CallError::Client`].
    pub(super) fn new(place: &Endpoint, token: Option<HeaderValue>) -> Result<Self, CallError> {
        let tls = tls().map_err(|err| CallError::Client(err.to_string()))?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(ANSWER)
            .user_agent(concat!("sixgate/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls);
        let (builder, base, at) = match &place.at {
            At::Url(url) => (builder, Ok(url.clone()), url.as_str().trim_end_matches('/').to_owned()),
            At::Unix(path) => {
                (builder.unix_socket(path.as_path()), "http://localhost".parse(), format!("unix:{}", path.display()))
            }
        };
        let base = base.map_err(|_| CallError::Client("no base address".to_owned()))?;
        let http = builder.build().map_err(|err| CallError::Client(last_cause(&err)))?;
        Ok(Self { http, base, at, token, token_file: place.token_file.clone() })
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Answer, CallError> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &[&str], fields: Fields) -> Result<Answer, CallError> {
        self.call(Method::POST, path, Some(fields)).await
    }

    pub(super) async fn put(&self, path: &[&str], fields: Fields) -> Result<Answer, CallError> {
        self.call(Method::PUT, path, Some(fields)).await
    }

    pub(super) async fn patch(&self, path: &[&str], fields: Fields) -> Result<Answer, CallError> {
        self.call(Method::PATCH, path, Some(fields)).await
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), CallError> {
        self.call(Method::DELETE, path, None).await.map(drop)
    }

    async fn call(&self, method: Method, path: &[&str], fields: Option<Fields>) -> Result<Answer, CallError> {
        let response = self.send(self.request(method, path, &[], fields).timeout(ANSWER)).await?;
        self.whole(response).await
    }

    /// Every item of a list, all its pages, each as it came.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn list(&self, path: &[&str]) -> Result<Vec<Box<RawValue>>, CallError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            // Names need no escapes; `Url` would add them if they did.
            let query: Vec<(&str, &str)> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
            let query = [&[("limit", PAGE)], query.as_slice()].concat();
            let response = self.send(self.request(Method::GET, path, &query, None).timeout(ANSWER)).await?;
            let answer = self.whole(response).await?;
            let strange = || CallError::Strange { at: self.at.clone(), status: StatusCode::OK };
            let page: Page = serde_json::from_str(&answer.text).map_err(|_| strange())?;
            items.extend(page.items);
            match page.next {
                // A list that leads back to where it was would be asked for ever.
                Some(next) if cursor.as_ref() == Some(&next) => return Err(strange()),
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// A call whose answer comes a line at a time, if the gateway can.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn post_for_lines(&self, path: &[&str]) -> Result<Response, CallError> {
        let request = self.request(Method::POST, path, &[], Some(Fields::default()));
        self.send(request.header(ACCEPT, "application/x-ndjson")).await
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        fields: Option<Fields>,
    ) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        match fields {
            Some(fields) => {
                let body = Value::Object(fields.0).to_string();
                request.header(CONTENT_TYPE, "application/json").body(body)
            }
            None => request,
        }
    }

    /// Send it; an answer that is an error becomes one.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, CallError> {
        let response = request.send().await.map_err(|err| self.broken(&err))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            let (at, file) = (self.at.clone(), self.token.is_some().then(|| self.token_file.clone()));
            return Err(CallError::Unauthorized { at, file });
        }
        let text = self.whole(response).await?.text;
        Err(CallError::of_problem(&self.at, status, &text, &self.token_file))
    }

    async fn whole(&self, response: Response) -> Result<Answer, CallError> {
        let text = response.text().await.map_err(|err| self.broken(&err))?;
        Ok(Answer { text, at: self.at.clone() })
    }

    /// What a failed exchange means.
    pub(super) fn broken(&self, err: &reqwest::Error) -> CallError {
        let at = self.at.clone();
        match err {
            err if err.is_connect() => CallError::Unreachable { at, why: last_cause(err) },
            err if err.is_timeout() => CallError::TimedOut { at, limit: ANSWER },
            err => CallError::Broken { at, why: last_cause(err) },
        }
    }

    /// The answer that no admin API gives.
    pub(super) fn strange(&self) -> CallError {
        CallError::Strange { at: self.at.clone(), status: StatusCode::OK }
    }
}

/// The innermost cause: the others say that a request failed, and its URL.
fn last_cause(err: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = err;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Check a name that becomes a part of a path. It is not quoted: whoever forgets the
/// name may have put a secret in its place.
///
/// # Errors
/// [`CallError::Usage`].
pub(super) fn checked<'a>(what: &str, text: &'a str) -> Result<&'a str, CallError> {
    let wrong =
        || CallError::Usage(format!("{what} is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit"));
    AccountName::parse(text).map(|_| text).map_err(|_| wrong())
}

/// Check an account's name.
///
/// # Errors
/// [`CallError::Usage`].
pub(super) fn account(text: &str) -> Result<&str, CallError> {
    checked("the account's name", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, String> {
        match At::parse(text) {
            Ok(At::Url(url)) => Ok(url.to_string()),
            Ok(At::Unix(path)) => Ok(format!("unix:{}", path.display())),
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
        let url = |text: &str| match At::of(&Bind::Tcp(text.parse().unwrap())) {
            Ok(At::Url(url)) => url.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(url("0.0.0.0:1"), "http://127.0.0.1:1/");
        assert_eq!(url("[::]:1"), "http://[::1]:1/");
        assert_eq!(url("10.1.2.3:1"), "http://10.1.2.3:1/");
        assert!(At::of(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).is_err());
    }

    /// The build has no default TLS provider, and reqwest's own choice panics then.
    #[test]
    fn a_client_is_made_without_a_default_tls_provider() {
        for at in [At::Unix("/nowhere".into()), At::parse("https://gate.example").unwrap()] {
            Client::new(&Endpoint { at, token_file: PathBuf::new(), config: None }, None).unwrap();
        }
    }
}
