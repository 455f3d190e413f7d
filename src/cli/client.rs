//! The admin API of a running gateway, as commands call it.
//!
//! Invariant: no proxy is used and no redirect followed: both would take the admin token elsewhere (`endpoint` says
//! where it may go).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::endpoint::{Endpoint, GatewayArguments, Location, read_token};
use super::failure::CallError;
use super::fields::Fields;
use crate::domain::AccountName;

/// A connect that takes longer on one host will not come.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest that an answer may take: a token refresh waits up to 30 s, and a
/// validation asks the broker by both legs.
const ANSWER: Duration = Duration::from_secs(90);
/// Items asked for at once, the most that the API gives.
const PAGE: &str = "1000";

/// How a command answers.
#[derive(Debug, clap::Args)]
pub(super) struct JsonArgument {
    /// Print the admin API's own JSON and no table; nothing where the API answers nothing
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) json: bool,
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
        let endpoint = Endpoint::find(arguments)?;
        let token = read_token(&endpoint.token_file)?;
        let client = Client::new(&endpoint, Some(token))?;
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

/// A TLS configuration of ours: reqwest's own panics in this build, which has no
/// default provider, and it asks for one even for plain HTTP.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What every client of ours is made of.
fn builder() -> Result<reqwest::ClientBuilder, CallError> {
    let tls = tls().map_err(|err| CallError::Client(err.to_string()))?;
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .user_agent(concat!("sixgate/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls);
    Ok(builder)
}

impl Client {
    /// A client for what is no admin API, and wants no token.
    ///
    /// # Errors
    /// [`CallError::Client`].
    pub(super) fn plain() -> Result<reqwest::Client, CallError> {
        builder()?.build().map_err(|err| CallError::Client(last_cause(&err)))
    }

    /// # Errors
    /// [`CallError::Client`].
    pub(super) fn new(endpoint: &Endpoint, token: Option<HeaderValue>) -> Result<Self, CallError> {
        let builder = builder()?;
        let (builder, base, at) = match &endpoint.location {
            Location::Url(url) => (builder, Ok(url.clone()), url.as_str().trim_end_matches('/').to_owned()),
            Location::Unix(path) => {
                (builder.unix_socket(path.as_path()), "http://localhost".parse(), format!("unix:{}", path.display()))
            }
        };
        let base = base.map_err(|_| CallError::Client("no base address".to_owned()))?;
        let http = builder.build().map_err(|err| CallError::Client(last_cause(&err)))?;
        Ok(Self { http, base, at, token, token_file: endpoint.token_file.clone() })
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Answer, CallError> {
        self.call(Method::GET, path, None).await
    }

    /// The text of an answer, whatever its status is.
    pub(super) async fn get_any(&self, path: &[&str]) -> Result<String, CallError> {
        let request = self.request(Method::GET, path, &[], None).timeout(ANSWER);
        let response = request.send().await.map_err(|err| self.broken(&err))?;
        Ok(self.whole(response).await?.text)
    }

    /// As [`Client::post`], where the answer to a refusal (422) is one of the call's own, and no problem.
    pub(super) async fn post_for_verdict(&self, path: &[&str]) -> Result<Answer, CallError> {
        let request = self.request(Method::POST, path, &[], Some(Fields::default())).timeout(ANSWER);
        let response = request.send().await.map_err(|err| self.broken(&err))?;
        let is_own = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/json"));
        if response.status() == StatusCode::UNPROCESSABLE_ENTITY && is_own {
            return self.whole(response).await;
        }
        let response = self.checked(response).await?;
        self.whole(response).await
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
        self.list_of(path, &[]).await
    }

    /// Every item of a list that passes this filter.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn list_of(
        &self,
        path: &[&str],
        filter: &[(&str, &str)],
    ) -> Result<Vec<Box<RawValue>>, CallError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            // Names need no escapes; `Url` would add them if they did.
            let query: Vec<(&str, &str)> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
            let query = [&[("limit", PAGE)], filter, query.as_slice()].concat();
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
                let body = Value::from(fields).to_string();
                request.header(CONTENT_TYPE, "application/json").body(body)
            }
            None => request,
        }
    }

    /// Send it; an answer that is an error becomes one.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, CallError> {
        let response = request.send().await.map_err(|err| self.broken(&err))?;
        self.checked(response).await
    }

    async fn checked(&self, response: Response) -> Result<Response, CallError> {
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

    /// Where it is, as a person would write it.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// The answer that no admin API gives.
    pub(super) fn strange(&self) -> CallError {
        CallError::Strange { at: self.at.clone(), status: StatusCode::OK }
    }
}

/// The innermost cause: the others say that a request failed, and its URL.
pub(super) fn last_cause(err: &reqwest::Error) -> String {
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
    use super::super::endpoint::Location;
    use super::*;

    /// The build has no default TLS provider, and reqwest's own choice panics then.
    #[test]
    fn a_client_is_made_without_a_default_tls_provider() {
        for location in [Location::Unix("/nowhere".into()), Location::parse("https://gate.example").unwrap()] {
            Client::new(&Endpoint { location, token_file: PathBuf::new(), config: None }, None).unwrap();
        }
    }
}
