//! Before every route of the console: whose page the request comes from, who is signed in, and is the form one of ours.
//!
//! - `Host` is one of the gateway's own names (`site`): a page cannot make its own name lead here.
//! - A request that bears the cookie comes from our own pages or from the address bar. Cookies go to every port of a
//!   host and cross-site requests are not the only danger, so `Sec-Fetch-Site` is looked at, of a GET too; `SameSite`
//!   alone would let another port's page in.
//! - What changes something is a POST with an `Origin` that is ours and the session's own `csrf` field.
//! - Every reply may be shown by no other page, runs no script but ours, and is kept by no cache.

use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, ORIGIN, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::super::fields::BODY_LIMIT;
use super::super::sessions::Found;
use super::context::Console;
use super::form::Form;
use super::page;
use super::signin;
use super::visitor::Visitor;
use crate::domain::secret::ExposeSecret;

/// What a page asks by itself, to stay up to date, bears this. It keeps no session open.
pub(super) const REFRESH: HeaderName = HeaderName::from_static("sixgate-refresh");

/// What our own scripts ask bears this. Of a refusal they read the status in [`STATUS`]: a browser puts one of its own words
/// about a 422 into its console, where a form that is not filled in yet is no error.
const FETCH: HeaderName = HeaderName::from_static("sixgate-fetch");
const STATUS: HeaderName = HeaderName::from_static("sixgate-status");

const HEADERS: [(HeaderName, &str); 8] = [
    (
        HeaderName::from_static("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    // With `no-referrer` Chromium sends `Origin: null` with our own forms.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-write=(self)",
    ),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// Let a request pass, or answer it here.
pub(super) async fn check(State(console): State<Console>, request: Request, next: Next) -> Response {
    let is_fetched = request.headers().contains_key(FETCH);
    let mut reply = answer(&console, request, next).await;
    if is_fetched && reply.status().is_client_error() {
        let status = HeaderValue::from(reply.status().as_u16());
        reply.headers_mut().insert(STATUS, status);
        *reply.status_mut() = StatusCode::OK;
    }
    let headers = reply.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    reply
}

async fn answer(console: &Console, mut request: Request, next: Next) -> Response {
    let site = &console.admin.site;
    let host = text(request.headers(), &HOST).to_owned();
    if let Err(why) = site.admits(&host) {
        return page::refused(StatusCode::FORBIDDEN, "This name is not the gateway's", &why);
    }
    if request.uri().path().starts_with("/console/static/") {
        return next.run(request).await;
    }
    let elsewhere = |why| page::refused(StatusCode::FORBIDDEN, "Another page sent this", why);
    match sender(request.method(), request.headers(), |origin| site.is_own_origin(origin, &host)) {
        Sender::Own => {}
        // A link on another site, or in a mail: the cookie is not sent with it, and one click on our own page does.
        Sender::Link => return page::doorway(request.uri()),
        Sender::Unsaid if !request.headers().contains_key(COOKIE) => {}
        Sender::Unsaid => return elsewhere(UNSAID),
        Sender::Elsewhere => return elsewhere(ELSEWHERE),
    }
    let visitor = visitor(console, request.headers());
    let open = matches!(request.uri().path(), "/" | "/console/sign-in")
        || request.uri().path() == "/docs" && !site.is_reachable_from_elsewhere();
    if request.method() == Method::POST {
        let (parts, body) = request.into_parts();
        let form = match read(&parts.headers, body).await {
            Ok(form) => form,
            Err((status, why)) => return page::refused(status, "The form could not be read", why),
        };
        match &visitor {
            None if open => {}
            None => return signin::ended(console, Some(&form)),
            Some(visitor) if !is_ours(visitor, &form) && !open => {
                let text = "its session has ended since the page was made, or it is not a page of this gateway. Go back, \
                            reload the page and send it again";
                return page::refused(StatusCode::FORBIDDEN, "This form is out of date", text);
            }
            Some(_) => {}
        }
        request = Request::from_parts(parts, Body::empty());
        request.extensions_mut().insert(form);
    }
    match visitor {
        Some(visitor) => {
            if request.uri().path() != "/console/events" {
                console.attention.refresh(&console.admin).await;
            }
            request.extensions_mut().insert(visitor);
        }
        None if open => {}
        None => return signin::ended(console, None),
    }
    next.run(request).await
}

/// Who is signed in, by the cookie.
fn visitor(console: &Console, headers: &HeaderMap) -> Option<Visitor> {
    let sessions = &console.admin.sessions;
    let name = sessions.cookie_name(console.admin.site.is_https());
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, cookie) = values.find(|(found, _)| *found == name)?;
    let now = Instant::now();
    let Found { session, token, csrf, ends } = sessions.find(cookie, !headers.contains_key(REFRESH), now)?;
    let Some(operator) = console.admin.operators.load().by_digest(token) else {
        // The token was taken out of the configuration.
        sessions.close(session);
        return None;
    };
    let left = jiff::SignedDuration::try_from(ends.saturating_duration_since(now)).unwrap_or_default();
    let is_refresh = headers.contains_key(REFRESH);
    Some(Visitor { operator, session, csrf, ends: jiff::Timestamp::now() + left, is_refresh })
}

fn is_ours(visitor: &Visitor, form: &Form) -> bool {
    form.text("csrf").as_bytes().ct_eq(visitor.csrf.expose_secret().as_bytes()).into()
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Form, (StatusCode, &'static str)> {
    let kind = text(headers, &CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/x-www-form-urlencoded" {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "forms of the console are application/x-www-form-urlencoded"));
    }
    let body = to_bytes(body, BODY_LIMIT).await;
    let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "it did not come whole, or has more than 64 KiB"))?;
    let body = zeroize::Zeroizing::new(body.to_vec());
    Ok(Form::read(&body))
}

/// Whose page a request comes from.
#[derive(Debug, PartialEq, Eq)]
enum Sender {
    /// Our own page, or the address bar.
    Own,
    /// A link on another page that a person followed.
    Link,
    /// Another page.
    Elsewhere,
    /// It does not say.
    Unsaid,
}

const ELSEWHERE: &str = "a page of another site, or of another port of this host, sent this request. Open the gateway's own page and do it \
     there; behind a proxy that ends TLS set admin.public_url to the address in your browser";
const UNSAID: &str = "this browser does not say which page a request comes from (the header Sec-Fetch-Site), so the gateway cannot tell its \
     own pages from others. Browsers since 2023 say it over https and for localhost; over plain http for another address \
     none does: use an SSH tunnel or TLS";

fn sender(method: &Method, headers: &HeaderMap, is_own: impl Fn(&str) -> bool) -> Sender {
    let header = |name: &'static str| text(headers, &HeaderName::from_static(name));
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
    if origin.is_some_and(|origin| !is_own(origin)) {
        return Sender::Elsewhere;
    }
    match header("sec-fetch-site") {
        "same-origin" | "none" => Sender::Own,
        "" if origin.is_some() => Sender::Own,
        "" => Sender::Unsaid,
        _ if method == Method::GET
            && header("sec-fetch-mode") == "navigate"
            && header("sec-fetch-dest") == "document" =>
        {
            Sender::Link
        }
        _ => Sender::Elsewhere,
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(method: &Method, headers: &[(&'static str, &'static str)]) -> Sender {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        sender(method, &headers, |origin| origin == "http://own")
    }

    #[test]
    fn only_our_own_pages_and_the_address_bar_reach_a_session() {
        let (get, post) = (Method::GET, Method::POST);
        assert_eq!(from(&get, &[("sec-fetch-site", "same-origin")]), Sender::Own);
        assert_eq!(from(&get, &[("sec-fetch-site", "none")]), Sender::Own);
        assert_eq!(from(&post, &[("sec-fetch-site", "same-origin"), ("origin", "http://own")]), Sender::Own);
        assert_eq!(from(&post, &[("origin", "http://own")]), Sender::Own);
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!(from(&get, &link), Sender::Link);
        assert_eq!(from(&get, &[]), Sender::Unsaid);
        assert_eq!(from(&post, &[]), Sender::Unsaid);
        for (method, headers) in [
            (&post, &link[..]),
            (&get, &[("sec-fetch-site", "same-site")]),
            (&get, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]),
            (&get, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]),
            (&post, &[("sec-fetch-site", "same-origin"), ("origin", "null")]),
            (&post, &[("sec-fetch-site", "same-origin"), ("origin", "http://other")]),
        ] {
            assert_eq!(from(method, headers), Sender::Elsewhere, "{method} {headers:?}");
        }
    }
}
