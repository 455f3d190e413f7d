//! Signing in and out.

use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{HeaderName, LOCATION, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::super::serve::Peer;
use super::super::sessions::Denied;
use super::context::Console;
use super::form::Form;
use super::page::{self, Part};
use super::visitor::Visitor;
use super::words;
use crate::domain::pasted;
use crate::domain::secret::ExposeSecret;

/// Fields that may be shown again, wherever a form was going. Whatever is not among them may be a secret.
const PLAIN: [&str; 11] = [
    "addresses",
    "client_id",
    "label",
    "name",
    "nickname",
    "note",
    "platform",
    "pool",
    "primary",
    "reason",
    "secondary",
];

/// `/`: the accounts for who is signed in, the form for who is not.
pub(super) async fn front(visitor: Option<Extension<Visitor>>, State(console): State<Console>) -> Response {
    match visitor {
        Some(_) => page::to("/console"),
        None => sign_in_page(&console, StatusCode::OK, None, &html! {}),
    }
}

/// The form, also for who is signed in and wants another role.
pub(super) async fn form(State(console): State<Console>) -> Response {
    sign_in_page(&console, StatusCode::OK, None, &html! {})
}

/// Sign in with a token, or with the code of a link.
pub(super) async fn sign_in(
    State(console): State<Console>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Extension(form): Extension<Form>,
) -> Response {
    let (sessions, source, now) = (&console.admin.sessions, peer.and_then(|Extension(Peer(ip))| ip), Instant::now());
    // Who has the whole link pastes the whole link. What it cannot be is nobody's.
    let typed = form.text("token").rsplit("#code=").next().unwrap_or_default();
    let typed = pasted::read(pasted::Kind::Key, typed).unwrap_or_default();
    let given = typed.expose_secret();
    let found = sessions.may_try(source, now).and_then(|()| {
        let found = match console.admin.operators.load().of(given) {
            Some(operator) => Ok(operator),
            None => sessions.take_code(given, now).and_then(|token| {
                // The token that the link was made with may be gone by now.
                console.admin.operators.load().by_digest(token).ok_or(Denied::CodeGone)
            }),
        };
        // A code that was used is no guess: somebody had it.
        sessions.tried(source, !matches!(found, Err(Denied::Unknown)), now);
        found
    });
    let operator = match found {
        Ok(operator) => operator,
        Err(denied) => {
            tracing::warn!(target: "sixgate::audit", source = source.map(|ip| ip.to_string()), why = why(denied), "sign-in refused");
            return sign_in_page(&console, StatusCode::UNAUTHORIZED, Some(&why(denied)), &html! {});
        }
    };
    let browser = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("a program without a name");
    let Ok(id) = sessions.open(operator.token, browser, now) else {
        return page::refused(StatusCode::INTERNAL_SERVER_ERROR, "Not signed in", "The kernel gave no random bytes.");
    };
    tracing::info!(target: "sixgate::audit", actor = &*operator.name, role = operator.role.as_str(),
        source = source.map(|ip| ip.to_string()), "signed in to the console");
    (StatusCode::SEE_OTHER, [(LOCATION, "/console".to_owned()), (SET_COOKIE, cookie(&console, id.expose_secret()))])
        .into_response()
}

fn why(denied: Denied) -> String {
    match denied {
        Denied::Unknown => "That is none of this gateway's tokens, and no code of a link.".to_owned(),
        Denied::CodeGone => {
            "This link was used already or is older than 5 minutes: `sixgate console` prints a new one.".to_owned()
        }
        Denied::Wait(wait) => {
            format!("Too many wrong tokens: wait {} s, then try again.", wait.as_secs().max(1))
        }
    }
}

fn cookie(console: &Console, value: &str) -> String {
    let https = console.admin.site.is_https();
    let name = console.admin.sessions.cookie_name(https);
    let secure = if https { "; Secure" } else { "" };
    let age = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
}

/// Sign out here.
pub(super) async fn sign_out(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    console.admin.sessions.close(visitor.session);
    gone(&console)
}

/// Sign out wherever somebody signed in with the same token.
pub(super) async fn sign_out_everywhere(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    console.admin.sessions.close_all_of(visitor.operator.token);
    gone(&console)
}

fn gone(console: &Console) -> Response {
    let headers = [
        (LOCATION, "/".to_owned()),
        (SET_COOKIE, cookie(console, "")),
        (HeaderName::from_static("clear-site-data"), "\"cache\", \"storage\"".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// Where somebody is signed in with the same token.
pub(super) async fn sessions(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let listed = console.admin.sessions.list(visitor.operator.token, visitor.session, Instant::now());
    let content = html! {
        h1 { "Sessions" }
        p { "Everybody who signed in with the token of " strong { (visitor.operator.name) } "." }
        table.cards {
            thead { tr { th { "Since" } th { "Browser" } th { "Here" } } }
            tbody {
                @for session in listed {
                    tr {
                        td data-label="Since" { (page::time(session.since)) }
                        td data-label="Browser" { (session.browser) }
                        td data-label="Here" { @if session.this { "this one" } @else { "another" } }
                    }
                }
            }
        }
        form method="post" action="/console/sign-out-everywhere" data-plain {
            (page::csrf(&visitor))
            button { "Sign out everywhere" }
        }
    };
    page::page(&console, &visitor, Part::None, "Sessions", &content)
}

/// The session that a page had is over. What was typed into it is shown, but for secrets.
pub(super) fn ended(console: &Console, form: Option<&Form>) -> Response {
    let typed = html! {
        @if let Some(form) = form {
            section {
                h2 { "What you had typed" }
                p { "It was not sent on. Secrets are not shown." }
                dl { @for (name, text) in form.shown(&PLAIN) { dt { (name) } dd { (text) } } }
            }
        }
    };
    let text = format!(
        "You are not signed in here, or were away for {}: sign in again.",
        words::span(super::super::sessions::IDLE)
    );
    sign_in_page(console, StatusCode::UNAUTHORIZED, Some(&text), &typed)
}

fn sign_in_page(console: &Console, status: StatusCode, wrong: Option<&str>, more: &Markup) -> Response {
    let at = console.admin.site.tunnel();
    let body = html! {
        main #main .narrow {
            h1 { "Sixgate" }
            @if let Some(wrong) = wrong { div.flash.bad role="alert" { p { (words::BAD) " " (wrong) } } }
            form #sign-in method="post" action="/console/sign-in" data-plain {
                div.field {
                    label for="token" { "Admin token" }
                    input #token name="token" type="password" autocomplete="off" required autofocus
                        aria-describedby="token-hint";
                    p.hint #token-hint { "Paste the token of a token file, or the code of a link." }
                }
                button { "Sign in" }
            }
            (more)
            section {
                h2 { "Where is it?" }
                p { "On the gateway's machine:" }
                pre { "sixgate console" }
                p { "prints a link that signs you in." }
                @if let Some(at) = at {
                    p { "From another computer, first open a tunnel there and leave it open:" }
                    pre { "ssh -L 8081:" (at) " you@server" }
                    p { "then open " code { "http://127.0.0.1:8081" } " in this browser." }
                }
            }
        }
    };
    page::document(status, "Sign in", &body)
}
