//! Help: the words of the console, its keys, and where to read on.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use serde::Deserialize;

use super::context::Console;
use super::docs;
use super::page::{self, Part};
use super::visitor::Visitor;

/// Words of the console, each with what it means.
const WORDS: [(&str, &str); 15] = [
    ("account", "One trading account at Dhan. Its name is yours; the client id is Dhan's."),
    ("pair", "An account's two addresses, primary and secondary. Once given, no other account ever gets them."),
    (
        "primary, secondary",
        "The two ways out. Orders leave by the primary, and by the secondary while the primary is out of use.",
    ),
    ("in use", "Requests may leave from this address."),
    (
        "out of use",
        "Something is wrong with this way out; the reason stands beside it, and the gateway tries again by itself.",
    ),
    ("key", "What a program shows so that the gateway knows whose orders it sends. Each account has its own."),
    ("being tried again", "It works again, and is watched for a minute before it is used."),
    ("live", "The gateway holds a token of Dhan's that works. It renews it by itself each day."),
    (
        "waiting for its next try",
        "A login was refused or is not allowed yet; the time of the next one stands beside it.",
    ),
    (
        "needs you",
        "The gateway stopped by itself, so that Dhan does not lock the account: what to do stands beside it.",
    ),
    ("halted", "New orders and changes are refused. Cancels, exits and reads pass."),
    ("executed", "Dhan took the order. Whether the exchange filled it is in the order book."),
    ("rejected", "Dhan refused it: nothing was done."),
    ("not sent", "It never left: nothing was done, and it may be sent again."),
    ("unknown", "It left, and no answer came. Look in the order book before you send it again."),
];

/// Keys, each with what it does.
const KEYS: [(&str, &str); 9] = [
    ("/", "to the search field"),
    ("g a", "accounts"),
    ("g o", "orders"),
    ("g l", "plots"),
    ("g p", "pools"),
    ("g m", "this machine"),
    ("g e", "evidence"),
    ("g h", "help"),
    ("?", "this list"),
];

/// `/console/help`
pub(super) async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let content = html! {
        h1 { "Help" }
        p { "Sixgate " (env!("CARGO_PKG_VERSION")) ". "
            a href="/docs" { "The admin API" } " · "
            a href="/ca.pem" download { "The certificate that programs trust (ca.pem)" } " · "
            a href="/console/changes" { "Changes" } " · "
            a href="/console/first-run" { "First steps" } " · "
            a href="/console/sessions" { "Sessions" } }
        section aria-labelledby="words" {
            h2 #words { "Words" }
            dl { @for (word, meaning) in WORDS { dt { (word) } dd { (meaning) } } }
        }
        section aria-labelledby="keys" {
            h2 #keys { "Keyboard" }
            p #key-switch { "These work where scripts run." }
            dl { @for (key, what) in KEYS { dt { kbd { (key) } } dd { (what) } } }
        }
    };
    page::page(&console, &visitor, Part::Help, "Help", &content)
}

/// Which call's page.
#[derive(Deserialize)]
pub(super) struct Wanted {
    call: Option<String>,
}

/// `/docs`: the admin API, for whoever may read `/openapi.json`; with `call` one of its calls.
pub(super) async fn api(
    State(console): State<Console>,
    visitor: Option<Extension<Visitor>>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let content = match wanted.call {
        None => docs::overview(&console.document),
        Some(id) => match docs::call(&console.document, &id) {
            Some(content) => content,
            None => return page::refused(StatusCode::NOT_FOUND, "No such call", "All of them are on /docs."),
        },
    };
    match visitor {
        Some(Extension(visitor)) => page::page(&console, &visitor, Part::Help, "Admin API", &content),
        None => page::document(StatusCode::OK, "Admin API", &html! { main #main { (content) } }),
    }
}
