//! Changing an account: the fields of its creation, filled in but for secrets, which say only that they are set.

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::super::wire::AccountBody;
use super::act::{forbidden, lacks};
use super::address_fields::{self, Reserved};
use super::call::{Refused, call_if, part};
use super::context::Console;
use super::create::{buttons, enter};
use super::field::{Field, copied, field};
use super::form::Form;
use super::login_fields::{LoginFields, cards, return_base};
use super::page::{self, Part, csrf};
use super::shown::{no_such, path};
use super::validating;
use super::visitor::Visitor;
use crate::accounts::Account;
use crate::domain::{OperatorRole, StreamsMode};

/// `/console/accounts/{name}/edit`, with `?platform=` the way of login that is chosen at first.
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Admin) {
        return refused;
    }
    let Ok(account) = console.admin.account(&name) else { return no_such() };
    let body = AccountBody::from(&*account);
    let chosen = Form::read(query.unwrap_or_default().as_bytes());
    let platform = chosen.given("platform").unwrap_or(body.platform);
    let draft = Draft { body: &body, form: &Form::default(), platform, refused: None, reserved: None };
    draft.show(&console, &visitor, host(&headers))
}

/// What a button of the form asks for.
pub(super) async fn send(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Admin) {
        return refused;
    }
    let Ok(account) = console.admin.account(&name) else { return no_such() };
    let again = |refused: Option<Refused>, reserved: Option<Reserved>| {
        let (body, status) = (AccountBody::from(&*account), refused.as_ref().map_or(200, |refused| refused.status));
        let platform = form.given("platform").unwrap_or(body.platform);
        let draft = Draft { body: &body, form: &form, platform, refused, reserved };
        page::with(status, draft.show(&console, &visitor, host(&headers)))
    };
    if form.ticked("assign") {
        return match address_fields::reserve(&console, &visitor, &form).await {
            Ok(reserved) => again(None, Some(reserved)),
            Err(refused) => again(Some(refused), None),
        };
    }
    let wrong = if account.legs.is_none() { address_fields::wrong(&form) } else { Vec::new() };
    if !wrong.is_empty() {
        return again(Some(Refused::with(None, wrong)), None);
    }
    match change(&console, &visitor, &account, &form).await {
        Ok(()) => {}
        Err(refused) if refused.status == 403 => return forbidden(&refused.detail),
        Err(refused) => return again(Some(refused), None),
    }
    let without = match account.legs {
        Some(_) => None,
        None => address_fields::assign(&console, &visitor, &name, &form).await.err(),
    };
    validating::saved(&console, &visitor, &account.name, &form, without)
}

/// Change what differs.
async fn change(console: &Console, visitor: &Visitor, account: &Account, form: &Form) -> Result<(), Refused> {
    let mut fields =
        form.object(&["platform", "pin", "totp_secret", "phone", "api_key", "api_secret", "access_token", "streams"]);
    let Some(changed) = fields.as_object_mut() else { return Ok(()) };
    let mut removed: Vec<&str> = form.all("remove").collect();
    match form.given("nickname") {
        Some(nickname) => drop(changed.insert("nickname".to_owned(), nickname.into())),
        None if account.record.nickname.is_some() => removed.push("nickname"),
        None => {}
    }
    let client_id = form.closed_up("client_id");
    if !client_id.is_empty() && client_id != account.client_id().as_str() {
        changed.insert("client_id".to_owned(), client_id.into());
    }
    if !removed.is_empty() {
        changed.insert("remove".to_owned(), removed.into());
    }
    let target = format!("/v1/accounts/{}", part(account.name.as_str()));
    let version = form.given("version");
    call_if(&console.api, &visitor.operator, Method::PATCH, &target, &fields, version).await.map(|_: Value| ())
}

/// The form, because what was wanted lacks something.
pub(super) fn form_again(
    console: &Console,
    visitor: &Visitor,
    account: &Account,
    form: &Form,
    refused: Refused,
) -> Response {
    let body = AccountBody::from(account);
    let (status, platform) = (refused.status, form.given("platform").unwrap_or(body.platform));
    let draft = Draft { body: &body, form, platform, refused: Some(refused), reserved: None };
    page::with(status, draft.show(console, visitor, ""))
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// What is said at the client id of an account with addresses that has not logged in yet.
const OPEN: &str = "It can change, with its addresses, until it has logged in once. If you registered them at Dhan for the \
    wrong id, remove them there first: an address belongs to one customer.";

/// The form as it stands.
struct Draft<'f> {
    body: &'f AccountBody,
    form: &'f Form,
    platform: &'f str,
    refused: Option<Refused>,
    reserved: Option<Reserved>,
}

impl Draft<'_> {
    fn show(&self, console: &Console, visitor: &Visitor, host: &str) -> Response {
        let Self { body, form, platform, refused, reserved } = self;
        let refused = refused.as_ref();
        let error = |name: &str| refused.and_then(|refused| refused.of(name));
        let nickname =
            if form.ticked("nickname") { form.text("nickname") } else { body.nickname.as_deref().unwrap_or_default() };
        let redirect = format!("{}/auth/dhan", return_base(console, host));
        // Where it cannot be read, the API would refuse it.
        let is_customers = console
            .admin
            .account(&body.name)
            .is_ok_and(|account| console.admin.accounts.has_customers_pair(&account.name).unwrap_or(true));
        let login = LoginFields { form, platform, set: Some(&body.secrets), refused, redirect };
        let content = html! {
            h1 { "Edit " (body.nickname.as_deref().unwrap_or(&body.name)) }
            @match refused {
                Some(refused) if refused.status == 412 => (self.conflict()),
                Some(refused) => (page::summary(refused)),
                None => {}
            }
            form method="post" action={ (path(&body.name)) "/edit" } data-draft[reserved.is_some()] {
                (csrf(visitor))
                (enter())
                input type="hidden" name="version" value=(body.version);
                (cards(platform))
                fieldset {
                    legend { "Account" }
                    p { "Name: " strong { (body.name) } " " span.hint { "It cannot change: engines and the journal call it so." } }
                    (field(&Field { name: "nickname", label: "Nickname", hint: "What you call it.", value: nickname,
                        error: error("nickname"), ..Field::default() }))
                    @if is_customers {
                        p { "Dhan client id: " strong { (body.client_id) } " "
                            span.hint { "It cannot change while the account has addresses that it has logged in with: they are this customer's." } }
                        input type="hidden" #client_id name="client_id" value=(body.client_id);
                    } @else {
                        (field(&Field { name: "client_id", label: "Dhan client id", required: true, inputmode: Some("numeric"),
                            hint: if body.pair.is_some() { OPEN } else { "" },
                            value: form.given("client_id").unwrap_or(&body.client_id), error: error("client_id"), ..Field::default() }))
                    }
                }
                @match &body.pair {
                    Some(pair) => (addresses(&pair.primary.to_string(), &pair.secondary.to_string())),
                    None => (address_fields::show(console, form, reserved.as_ref(), refused)),
                }
                (login.show())
                (streams(form.given("streams").unwrap_or(body.streams)))
                (buttons(&path(&body.name)))
            }
        };
        page::page(console, visitor, Part::Accounts, &format!("Edit {}", body.name), &content)
    }

    /// Somebody else saved since this form was opened: theirs beside yours.
    fn conflict(&self) -> Markup {
        let body = self.body;
        let theirs = [
            ("Nickname", body.nickname.as_deref().unwrap_or("none"), self.form.given("nickname").unwrap_or("none")),
            ("How it logs in", body.platform, self.platform),
            ("Dhan client id", &body.client_id, self.form.given("client_id").unwrap_or(&body.client_id)),
            ("WebSockets", body.streams, self.form.given("streams").unwrap_or(body.streams)),
        ];
        html! {
            div #errors .flash.bad role="alert" tabindex="-1" {
                p { (super::words::BAD) " Somebody else saved this account since you opened the page. Nothing of yours was saved. Send it \
                     again to save yours over theirs." }
            }
            table {
                thead { tr { th { span.unseen { "Field" } } th { "Saved" } th { "Yours" } } }
                tbody { @for (name, saved, yours) in theirs { tr { th { (name) } td { (saved) } td { (yours) } } } }
            }
        }
    }
}

/// What becomes of the account's WebSockets.
fn streams(chosen: &str) -> Markup {
    let words = |mode| match mode {
        StreamsMode::PassOn => "the program's is closed too, and it connects again",
        StreamsMode::Reconnect => "another is opened, and the program's stays open",
        StreamsMode::Share => "the same, and programs share the sockets of the market feed",
    };
    html! {
        fieldset {
            legend { "WebSockets" }
            div.field {
                label for="streams" { "When Dhan's side of one ends" }
                select #streams name="streams" {
                    @for mode in StreamsMode::ALL {
                        option value=(mode.as_str()) selected[chosen == mode.as_str()] { (words(mode)) }
                    }
                }
                p.hint { "Dhan allows five of a kind. It holds for those that are opened from then on." }
            }
        }
    }
}

fn addresses(primary: &str, secondary: &str) -> Markup {
    html! {
        fieldset {
            legend { "Addresses" }
            dl { dt { "Primary" } dd { (copied(primary)) } dt { "Secondary" } dd { (copied(secondary)) } }
            p.hint { "To give it others, retire these first, under Danger." }
        }
    }
}
