//! What a form changes: the `/v1` route that does it, called from inside.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST, IF_MATCH};
use axum::http::{Method, Request};
use axum::response::Response;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::Value;

use super::super::auth::SignedIn;
use super::super::operators::Operator;

/// The longest reply that is read: a list of everything has pages.
const LONGEST: usize = 8 << 20;

/// Why a call was not done.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refused {
    /// The status that the API gives it.
    pub status: u16,
    /// The word for programs.
    pub code: String,
    /// What happened and what to do.
    pub detail: String,
    /// The field that is wrong, or the first of several.
    #[serde(default)]
    pub field: Option<String>,
    /// Each field that is wrong, where there are several.
    #[serde(default)]
    pub errors: Vec<WrongField>,
}

/// One of several fields that are wrong.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WrongField {
    /// Its name in the API, and its id in a form.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Refused {
    /// One that is not the API's own.
    pub(super) fn here(code: &str, field: Option<&str>, detail: &str) -> Self {
        let (code, field) = (code.to_owned(), field.map(str::to_owned));
        Self { status: 422, code, detail: detail.to_owned(), field, errors: Vec::new() }
    }

    /// What the API refused, if it did, and what else is wrong.
    pub(super) fn with(refused: Option<Self>, more: Vec<WrongField>) -> Self {
        let of_one = |refused: &Self| {
            let field = refused.field.clone()?;
            let detail = refused.of(&field)?.to_owned();
            Some(WrongField { field, detail })
        };
        let mut errors = match refused {
            Some(refused) if refused.errors.is_empty() => of_one(&refused).into_iter().collect(),
            Some(refused) => refused.errors,
            None => Vec::new(),
        };
        errors.extend(more);
        let (field, detail) = errors.first().map(|wrong| (wrong.field.clone(), wrong.detail.clone())).unzip();
        let errors = if errors.len() > 1 { errors } else { Vec::new() };
        Self { errors, ..Self::here("invalid", field.as_deref(), &detail.unwrap_or_default()) }
    }

    /// The same, with other words for what is wrong with a field.
    pub(super) fn saying_of(mut self, name: &str, words: &str) -> Self {
        for wrong in self.errors.iter_mut().filter(|wrong| wrong.field == name) {
            words.clone_into(&mut wrong.detail);
        }
        if self.errors.is_empty() && self.field.as_deref() == Some(name) {
            words.clone_into(&mut self.detail);
        }
        self
    }

    /// What is wrong with this field, if it is.
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        if !self.errors.is_empty() {
            return self.errors.iter().find(|wrong| wrong.field == name).map(|wrong| wrong.detail.as_str());
        }
        self.field.as_deref().filter(|field| *field == name)?;
        Some(self.detail.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&self.detail))
    }
}

/// Make a call in the name of `operator`, with their role, checks and audit, and wait for its reply.
///
/// # Errors
/// What the API refuses it with.
pub(super) async fn call(
    api: &Router,
    operator: &Operator,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value, Refused> {
    call_if(api, operator, method, path, body, None).await
}

/// The same, done only if what is changed is of this version still.
///
/// # Errors
/// As [`call`]; 412 if it was changed since.
pub(super) async fn call_if(
    api: &Router,
    operator: &Operator,
    method: Method,
    path: &str,
    body: &Value,
    version: Option<&str>,
) -> Result<Value, Refused> {
    let reply = accepted(sent(api, operator, method, path, body, version).await?).await?;
    let bytes = whole(reply).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|_| broken("its reply is no JSON"))
}

/// The reply itself, for what is not JSON: a download is passed on while it is made.
///
/// # Errors
/// What the API refuses it with.
pub(super) async fn reply(api: &Router, operator: &Operator, path: &str) -> Result<Response, Refused> {
    accepted(sent(api, operator, Method::GET, path, &Value::Null, None).await?).await
}

/// The reply, unless it refuses the call.
async fn accepted(reply: Response) -> Result<Response, Refused> {
    let status = reply.status();
    if status.is_success() {
        return Ok(reply);
    }
    Err(serde_json::from_slice(&whole(reply).await?).unwrap_or_else(|_| broken(status.as_str())))
}

async fn whole(reply: Response) -> Result<Bytes, Refused> {
    to_bytes(reply.into_body(), LONGEST).await.map_err(|_| broken("its reply did not come whole"))
}

async fn sent(
    api: &Router,
    operator: &Operator,
    method: Method,
    path: &str,
    body: &Value,
    version: Option<&str>,
) -> Result<Response, Refused> {
    let mut request = Request::builder();
    if let Some(version) = version {
        request = request.header(IF_MATCH, format!("\"{version}\""));
    }
    let request = request
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .extension(SignedIn(operator.clone()))
        .body(Body::from(body.to_string()))
        .map_err(|_| broken("its path is none"))?;
    let Ok(reply) = TowerToHyperService::new(api.clone()).call(request).await;
    Ok(reply)
}

fn broken(what: &str) -> Refused {
    Refused {
        status: 500,
        code: "cut_short".to_owned(),
        detail: format!("the call broke down: {what}; see the gateway's log"),
        field: None,
        errors: Vec::new(),
    }
}

/// A part of a path, such as an account's name, escaped.
pub(super) fn part(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
