//! The frame around every page: head, skip link, navigation, who is signed in, what a form came to.

use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::super::sessions::{Flash, Undo};
use super::assets;
use super::call::Refused;
use super::context::Console;
use super::visitor::Visitor;
use super::words;
use crate::domain::secret::ExposeSecret;

/// The parts of the console, as the navigation has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The list of accounts, and an account.
    Accounts,
    /// What left, and what became of it.
    Orders,
    /// What was counted.
    Plots,
    /// Addresses to give.
    Pools,
    /// What this machine lacks.
    Machine,
    /// What proves it.
    Evidence,
    /// Words, keys, the API.
    Help,
    /// None of the navigation's.
    None,
}

/// The navigation: a word, where it leads, and the key after `g` that goes there.
const PARTS: [(Part, &str, &str, &str); 7] = [
    (Part::Accounts, "Accounts", "/console", "a"),
    (Part::Orders, "Orders", "/console/orders", "o"),
    (Part::Plots, "Plots", "/console/plots", "l"),
    (Part::Pools, "Pools", "/console/pools", "p"),
    (Part::Machine, "This machine", "/console/machine", "m"),
    (Part::Evidence, "Evidence", "/console/evidence", "e"),
    (Part::Help, "Help", "/console/help", "h"),
];

/// A page of somebody who is signed in.
pub(super) fn page(console: &Console, visitor: &Visitor, part: Part, title: &str, content: &Markup) -> Response {
    // What is shown once: a live page that looks for news at that moment must not use it up.
    let sessions = Some(&console.admin.sessions).filter(|_| !visitor.is_refresh);
    let flash = sessions.and_then(|sessions| sessions.take_flash(visitor.session));
    let undo = sessions.and_then(|sessions| sessions.take_undo(visitor.session));
    let body = html! {
        header {
            a.brand href="/console" { "Sixgate" }
            nav aria-label="Console" {
                ul {
                    @for (of, word, path, key) in PARTS {
                        li { a href=(path) data-key=(key) aria-current=[(of == part).then_some("page")] { (word) } }
                    }
                }
            }
            div.who {
                span { (words::operator(&visitor.operator.name, visitor.operator.role.as_str())) }
                span.ends { "signs out at " (words::clock(visitor.ends)) }
                a href="/console/sessions" { "Sessions" }
                form method="post" action="/console/sign-out" data-plain { (csrf(visitor)) button.quiet { "Sign out" } }
            }
        }
        aside aria-label="Notices" {
            @if console.admin.about.is_sandbox {
                p.strip { strong { "SANDBOX" } ": the broker is built in, and no order is real." }
            }
            (console.attention.strips())
            p #connection .strip role="status" hidden { "Live updates paused: reconnecting." }
        }
        main #main tabindex="-1" {
            @if let Some(flash) = flash { (shown(&flash)) }
            @if let Some(undo) = undo { (way_back(visitor, &undo)) }
            (content)
        }
        p #announce .unseen role="status" aria-live="polite" {}
    };
    document(StatusCode::OK, title, &body)
}

fn way_back(visitor: &Visitor, undo: &Undo) -> Markup {
    form(
        visitor,
        &undo.path,
        &html! {
            @for (name, value) in &undo.fields { input type="hidden" name=(name) value=(value); }
            button.second { "Undo" }
        },
    )
}

/// A form that is sent to `path`.
pub(super) fn form(visitor: &Visitor, path: &str, content: &Markup) -> Markup {
    html! { form method="post" action=(path) { (csrf(visitor)) (content) } }
}

/// A page with another status: that of the refusal that it tells.
pub(super) fn with(status: u16, mut page: Response) -> Response {
    *page.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    page
}

/// The field that every form of ours has.
pub(super) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf.expose_secret()); }
}

/// What a form came to.
pub(super) fn shown(flash: &Flash) -> Markup {
    html! {
        @if flash.good {
            p.flash.good role="status" { (words::GOOD) " " (flash.text) }
        } @else {
            div.flash.bad role="alert" tabindex="-1" { p { (words::BAD) " " (flash.text) } }
        }
    }
}

/// A refused call at the top of the page whose form made it.
pub(super) fn summary(refused: &Refused) -> Markup {
    html! {
        div #errors .flash.bad role="alert" tabindex="-1" data-code=(refused.code) {
            @if refused.errors.is_empty() {
                // The field's name in the API is nobody's word for it; the link leads to its label.
                p { (words::BAD) " " @match refused.field.as_deref().and_then(|field| Some((field, refused.of(field)?))) {
                    Some((field, why)) => { (words::field(field)) ": " (why) }
                    None => { (refused.detail) }
                } }
                @if let Some(field) = &refused.field { p { a href={ "#" (field) } { "Go to the field" } } }
            } @else {
                p { (words::BAD) " Nothing was saved. " (words::number(refused.errors.len())) " fields are not as they should be:" }
                ul {
                    @for wrong in &refused.errors {
                        li { a href={ "#" (wrong.field) } { (words::field(&wrong.field)) } ": " (wrong.detail) }
                    }
                }
            }
        }
    }
}

/// After a form: back to `path`, with a sentence there.
pub(super) fn back(console: &Console, visitor: &Visitor, path: &str, flash: Flash) -> Response {
    console.admin.sessions.set_flash(visitor.session, flash);
    to(path)
}

/// Lead to a page that says itself what came of it.
pub(super) fn to(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(axum::http::header::LOCATION, path.to_owned())]).into_response()
}

/// A page of its own that says why something was not done.
pub(super) fn refused(status: StatusCode, title: &str, why: &str) -> Response {
    let body = html! {
        main #main {
            h1 { (title) }
            p { (why) }
            p { a href="/" { "Open the console" } }
        }
    };
    document(status, title, &body)
}

/// For who comes by a link from elsewhere: one click on our own page.
pub(super) fn doorway(uri: &Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A path that begins with two slashes is another host's to a browser.
    let path = if path.starts_with("//") { "/" } else { path };
    let body = html! {
        main #main {
            h1 { "Sixgate" }
            p { "A page or a message led here. Nothing is shown until you go on by yourself." }
            p { a.button href=(path) { "Open the console" } }
        }
    };
    document(StatusCode::OK, "Sixgate", &body)
}

/// What a form leads to cannot be opened by itself: somebody reloads it, or the page looks for news while it is shown. A
/// reply without a page would be read as XML there, whose error message has styles that the policy forbids.
pub(super) async fn no_page_of_its_own() -> Response {
    refused(
        StatusCode::METHOD_NOT_ALLOWED,
        "Nothing to open here",
        "This address only takes what a form sends. Go back, and press its button again.",
    )
}

/// What is not there, or not any more.
pub(super) async fn no_such_page(request: Request) -> Response {
    let why = format!("There is no page {}.", super::super::site::cut(request.uri().path()));
    refused(StatusCode::NOT_FOUND, "No such page", &why)
}

/// A whole document.
pub(super) fn document(status: StatusCode, title: &str, body: &Markup) -> Response {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Sixgate" }
                link rel="icon" href=(assets::path("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::path("console.css"));
                script type="module" src=(assets::path("console.js")) {}
            }
            body { a.skip href="#main" { "Skip to the content" } (body) }
        }
    };
    (status, [(axum::http::header::CONTENT_TYPE, "text/html; charset=utf-8")], whole.into_string()).into_response()
}

/// A time to the second, where several things happen in a minute.
pub(super) fn exact_time(at: Timestamp) -> Markup {
    moment(at, &words::day_and_exact_clock(at))
}

/// A time for people: India's clock, UTC on request.
pub(super) fn time(at: Timestamp) -> Markup {
    moment(at, &words::day_and_clock(at))
}

/// A time with its day, for what is printed or looked at another day.
pub(super) fn full_time(at: Timestamp) -> Markup {
    moment(at, &words::full(at))
}

fn moment(at: Timestamp, text: &str) -> Markup {
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(at.strftime("%Y-%m-%d %H:%M:%S UTC")) { (text) } }
}
