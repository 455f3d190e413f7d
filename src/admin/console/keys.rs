//! Client keys, and the lines that connect a program. A key is shown in the answer to the form that made it, and nowhere
//! else; the same form sent twice, as by a reload, makes no second one.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;
use data_encoding::HEXLOWER;
use maud::{Markup, html};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::wire::AccountBody;
use super::act::{Act, act, forbidden, not_done};
use super::call::{Refused, call, part};
use super::connect::{self, Connection};
use super::context::Console;
use super::field::{self, Field, copied, field};
use super::form::Form;
use super::page::{self, Part, csrf};
use super::shown::{heading, no_such, path};
use super::visitor::Visitor;
use super::words;
use crate::domain::OperatorRole;
use crate::domain::secret::ExposeSecret;

/// A form's number: another at each showing, and of this session alone.
fn nonce(visitor: &Visitor) -> String {
    let mut random = [0_u8; 16];
    // Without random bytes the form is refused at its first use, and nothing is made twice.
    if getrandom::fill(&mut random).is_err() {
        return String::new();
    }
    let mut digest = Sha256::new();
    digest.update(visitor.csrf.expose_secret());
    digest.update(random);
    HEXLOWER.encode(digest.finalize().get(..16).unwrap_or_default())
}

/// `/console/accounts/{name}/keys`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    page_of(&console, &visitor, &name, Answer::None)
}

/// Make a key.
pub(super) async fn create(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = super::act::lacks(&visitor, OperatorRole::Admin) {
        return refused;
    }
    if !console.once.take(form.text("nonce")) {
        let text = "this form made its key already, and a key is shown once. Make another if it was not kept";
        return page::with(
            409,
            page_of(&console, &visitor, &name, Answer::Refused(Refused::here("used", None, text), &form)),
        );
    }
    let target = format!("/v1/accounts/{}/keys", part(&name));
    match call(&console.api, &visitor.operator, Method::POST, &target, &form.object(&["label"])).await {
        Ok(reply) => page_of(&console, &visitor, &name, Answer::Made(&reply)),
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        Err(refused) if refused.status == 404 => not_done(&console, &visitor, "/console", refused),
        Err(refused) => page::with(refused.status, page_of(&console, &visitor, &name, Answer::Refused(refused, &form))),
    }
}

/// Delete a key.
pub(super) async fn delete(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path((name, id)): Path<(String, String)>,
) -> Response {
    let (target, back) = (format!("/v1/accounts/{}/keys/{}", part(&name), part(&id)), format!("{}/keys", path(&name)));
    let done = "Deleted. What was opened with it ends with its next request.";
    act(&console, &visitor, Act { method: Method::DELETE, path: &target, body: Value::Null, back: &back, done }).await
}

/// What a form came to.
enum Answer<'a> {
    None,
    Made(&'a Value),
    Refused(Refused, &'a Form),
}

fn page_of(console: &Console, visitor: &Visitor, name: &str, answer: Answer<'_>) -> Response {
    let Ok(account) = console.admin.account(name) else { return no_such() };
    let body = AccountBody::from(&*account);
    let made = match &answer {
        Answer::Made(reply) => reply.get("key").and_then(Value::as_str),
        Answer::None | Answer::Refused(..) => None,
    };
    let content = html! {
        (heading(&body))
        h2 { "Keys" }
        @if let Answer::Refused(refused, _) = &answer { (page::summary(refused)) }
        @if let Some(key) = made { (shown_once(key)) }
        (list(console, visitor, &account.name))
        @if visitor.may(OperatorRole::Admin) { (new(visitor, name, &answer)) }
        section aria-labelledby="connect" {
            h2 #connect { "Connect your program" }
            (connect(console, &body, made))
        }
        p { a href=(path(name)) { "Back to the account" } }
    };
    page::page(console, visitor, Part::Accounts, &body.name, &content)
}

/// The key, here and never again.
fn shown_once(key: &str) -> Markup {
    html! {
        div.flash.good #made role="status" tabindex="-1" data-focus {
            p { (words::GOOD) " This is the key. It is shown here and never again; the gateway keeps only its hash." }
            p { (copied(key)) }
        }
    }
}

fn list(console: &Console, visitor: &Visitor, name: &crate::domain::AccountName) -> Markup {
    let keys = console.admin.accounts.keys(name).unwrap_or_default();
    html! {
        @if keys.is_empty() { p { "No client key yet." } } @else {
            table.cards {
                thead { tr { th { "Label" } th { "Made" } th { "Last used" } th { span.unseen { "Actions" } } } }
                tbody {
                    @for key in &keys {
                        tr {
                            td data-label="Label" { (key.label.as_deref().unwrap_or("–")) " " span.hint { (key.id) } }
                            td data-label="Made" { (page::time(key.created_at)) }
                            td data-label="Last used" { @match key.last_used_at { Some(at) => (page::time(at)), None => "not yet" } }
                            td.actions data-label="" {
                                @if visitor.may(OperatorRole::Admin) {
                                    (page::form(visitor, &format!("{}/keys/{}/delete", path(name.as_str()), part(&key.id)), &html! {
                                        button.quiet.bad data-confirm="Delete this key? Programs that use it stop at once."
                                            aria-label={ "Delete the key " (key.label.as_deref().unwrap_or(&key.id)) } { "Delete" }
                                    }))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn new(visitor: &Visitor, name: &str, answer: &Answer<'_>) -> Markup {
    let (error, value) = match answer {
        Answer::Refused(refused, form) => (refused.of("label"), form.text("label")),
        Answer::None | Answer::Made(_) => (None, ""),
    };
    html! {
        form method="post" action={ (path(name)) "/keys" } {
            (csrf(visitor))
            input type="hidden" name="nonce" value=(nonce(visitor));
            (field(&Field { name: "label", label: "Label", hint: "Which program it is for, so that you know later whether it may go.",
                value, error, ..Field::default() }))
            button { "Create key" }
        }
    }
}

/// What the configuration lacks, to be copied there.
fn without_listener(name: &str) -> Markup {
    let lines = format!(
        "[[listener]]\naddress = \"127.0.0.1:8090\" # a port of this machine that is free\naccount = \"{name}\"\n"
    );
    html! {
        p { (words::NEXT) " No listener with a port serves this account yet. Add one to the configuration:" }
        (field::block(&lines))
        p { "Then take it in, without a restart:" }
        (field::block("sixgate reload"))
        p.hint { "Without " code { "account" } " a listener serves every account, by its client key." }
    }
}

/// The lines, filled in.
fn connect(console: &Console, body: &AccountBody, made: Option<&str>) -> Markup {
    let listeners = console.admin.about.listeners();
    let Some((listener, needs_key)) = connect::listener(&listeners, &body.name) else {
        return without_listener(&body.name);
    };
    let key = needs_key.then_some(made.unwrap_or("CLIENT-KEY"));
    // Whoever pastes it is in another folder than the gateway.
    let ca = std::path::absolute(&*console.admin.ca_file).unwrap_or_else(|_| console.admin.ca_file.to_path_buf());
    let ca = ca.display().to_string();
    let connection = Connection { listener, account: &body.name, key, client_id: &body.client_id, ca };
    html! {
        @if needs_key && made.is_none() { p { "Put one of the account's keys in the place of " code { "CLIENT-KEY" } ", or make one: then it \
            stands in the lines." } }
        @if !needs_key { p { "Programs on this machine need no key: this listener serves this account alone." } }
        dl {
            dt { "Proxy" } dd { (copied(&connection.url())) }
            dt { "Certificate" } dd { (copied(&connection.ca)) div.hint { "A program has to trust it when it calls " code { "https://" } "." } }
        }
        p.hint { "In " code { "REQUESTS_CA_BUNDLE" } ", " code { "SSL_CERT_FILE" } " and Java's trust store the certificate takes the place of all others. \
            A program that calls other hosts too needs a file of both, named in its place:" }
        (field::block(&connect::bundle(&connection.ca)))
        @for (language, blocks) in connect::lines(&connection) {
            details name="language" open[language == "curl"] {
                summary { (language) }
                @for block in blocks { (field::block(&block)) }
                @if language == "Python: dhanhq" { p.hint { "client_id = " code { (connection.client_id) } "; any text will do as the token." } }
            }
        }
    }
}
