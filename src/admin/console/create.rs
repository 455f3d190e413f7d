//! Creating an account. What is typed comes back when something is wrong, but for secrets, which only scripts keep.

use axum::Extension;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use maud::html;

use super::super::accounts;
use super::act::{forbidden, lacks};
use super::address_fields::{self, Reserved};
use super::call::{Refused, call};
use super::context::Console;
use super::field::{Field, field};
use super::form::Form;
use super::login_fields::{LoginFields, cards, return_base};
use super::page::{self, Part, csrf};
use super::validating;
use super::visitor::Visitor;
use crate::domain::{AccountName, OperatorRole};

/// Of the longest name that is proposed; an account's has 64 at most.
const LONGEST: usize = 56;
const NO_NAME: &str = "give the account a nickname or a name";
const NO_LETTERS: &str =
    "the nickname has no letter of a to z and no digit that a name could be made of; type a name that programs can use";

/// `/console/create`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Response {
    lacks(&visitor, OperatorRole::Admin).unwrap_or_else(|| {
        Draft { form: &Form::default(), refused: None, reserved: None }.show(&console, &visitor, &headers)
    })
}

/// What a button of the form asks for.
pub(super) async fn send(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Admin) {
        return refused;
    }
    let again = |refused: Option<Refused>, reserved: Option<Reserved>| {
        let (status, draft) =
            (refused.as_ref().map_or(200, |refused| refused.status), Draft { form: &form, refused, reserved });
        page::with(status, draft.show(&console, &visitor, &headers))
    };
    if form.ticked("assign") {
        return match address_fields::reserve(&console, &visitor, &form).await {
            Ok(reserved) => again(None, Some(reserved)),
            Err(refused) => again(Some(refused), None),
        };
    }
    match create(&console, &visitor, &form).await {
        Ok(name) => finish(&console, &visitor, &form, &name).await,
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        Err(refused) => again(Some(refused), None),
    }
}

/// Make the account, and nothing else.
async fn create(console: &Console, visitor: &Visitor, form: &Form) -> Result<AccountName, Refused> {
    let by_hand = form.text("platform") == "DHAN_V2_IPV6";
    // What is hidden is not sent: who changed their mind about a PIN has not given it.
    let secrets: &[&str] = if by_hand {
        &["access_token"]
    } else {
        &["pin", "totp_secret", "phone", "api_key", "api_secret", "access_token"]
    };
    let mut fields = form.object(&[&["nickname", "platform", "client_id"], secrets].concat());
    let name = proposed(console, form);
    let no_name = if form.given("nickname").is_some() { NO_LETTERS } else { NO_NAME };
    if let Some(fields) = fields.as_object_mut() {
        fields.extend(name.clone().map(|name| ("name".to_owned(), name.into())));
        fields.insert("client_id".to_owned(), form.closed_up("client_id").into());
        fields.entry("platform").or_insert("DHAN_V2_AT_IPV6".into());
    }
    let wrong = address_fields::wrong(form);
    if !wrong.is_empty() {
        let refused = accounts::mistakes(&console.admin.accounts, fields.as_object().cloned().unwrap_or_default())
            .and_then(|failure| serde_json::from_str(&failure.into_text()).ok());
        let refused = Refused::with(refused, wrong);
        return Err(if name.is_none() { refused.saying_of("name", no_name) } else { refused });
    }
    let made = call(&console.api, &visitor.operator, Method::POST, "/v1/accounts", &fields).await;
    // Without a name it is refused, with whatever else is wrong.
    made.map_err(|refused| if name.is_none() { refused.saying_of("name", no_name) } else { refused })?;
    let name = name.unwrap_or_default();
    AccountName::parse(&name).map_err(|why| Refused::here("invalid", Some("name"), &why.to_string()))
}

/// Give it its addresses, begin to validate it, and lead on. The account is saved, whatever comes of these.
async fn finish(console: &Console, visitor: &Visitor, form: &Form, name: &AccountName) -> Response {
    let assigned = address_fields::assign(console, visitor, name.as_str(), form).await;
    validating::saved(console, visitor, name, form, assigned.err())
}

/// The name that was typed, or one made from the nickname that nobody has.
fn proposed(console: &Console, form: &Form) -> Option<String> {
    if let Some(name) = form.given("name") {
        return Some(name.to_owned());
    }
    let plain = plain(form.given("nickname")?)?;
    let numbered = |n: u32| if n == 1 { plain.clone() } else { format!("{plain}-{n}") };
    (1..=1000).map(numbered).find(|name| console.admin.accounts.lookup(name).is_none())
}

/// A nickname in the letters of a name.
fn plain(nickname: &str) -> Option<String> {
    let mut plain = String::with_capacity(nickname.len());
    for letter in nickname.chars() {
        if letter.is_ascii_alphanumeric() {
            plain.push(letter.to_ascii_lowercase());
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    plain.truncate(LONGEST);
    let plain = plain.trim_end_matches('-');
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// The form as it stands.
struct Draft<'f> {
    form: &'f Form,
    refused: Option<Refused>,
    reserved: Option<Reserved>,
}

impl Draft<'_> {
    fn show(&self, console: &Console, visitor: &Visitor, headers: &HeaderMap) -> Response {
        let (form, refused) = (self.form, self.refused.as_ref());
        let platform = form.given("platform").unwrap_or("DHAN_V2_AT_IPV6");
        let error = |name: &str| refused.and_then(|refused| refused.of(name));
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let redirect = format!("{}/auth/dhan", return_base(console, host));
        let login = LoginFields { form, platform, set: None, refused, redirect };
        let content = html! {
            h1 { "Create account" }
            @if let Some(refused) = refused { (page::summary(refused)) }
            form method="post" action="/console/create" data-draft[self.reserved.is_some()] {
                (csrf(visitor))
                (enter())
                (cards(platform))
                fieldset {
                    legend { "Account" }
                    (field(&Field { name: "nickname", label: "Nickname", hint: "What you call it.", value: form.text("nickname"),
                        error: error("nickname"), ..Field::default() }))
                    (field(&Field { name: "name", label: "Name", value: form.text("name"), at_times: true,
                        hint: "Letters, digits, dots, hyphens and underscores, 64 at most; programs name it. Left empty, it is made from the nickname.",
                        error: error("name"), ..Field::default() }))
                    (field(&Field { name: "client_id", label: "Dhan client id", value: form.text("client_id"), required: true,
                        hint: "The digits on web.dhan.co, My Profile; not the API key.", inputmode: Some("numeric"),
                        error: error("client_id"), ..Field::default() }))
                }
                (address_fields::show(console, form, self.reserved.as_ref(), refused))
                (login.show())
                (buttons("/console"))
            }
        };
        page::page(console, visitor, Part::Accounts, "Create account", &content)
    }
}

/// What Enter does: the first button of a form, and the one that is meant.
pub(super) fn enter() -> maud::Markup {
    html! { button.unseen name="do" value="validate" tabindex="-1" aria-hidden="true" { "Validate and Save" } }
}

/// The ways out of the form.
pub(super) fn buttons(cancel: &str) -> maud::Markup {
    html! {
        div.row {
            button name="do" value="validate" { "Validate and Save" }
            button.second name="do" value="save" { "Save only" }
            a.button.second href=(cancel) { "Cancel" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_what_a_nickname_has_in_letters() {
        for (nickname, name) in
            [("Alpha One", Some("alpha-one")), ("  R&D (2)  ", Some("r-d-2")), ("₹₹", None), ("A", Some("a"))]
        {
            assert_eq!(plain(nickname).as_deref(), name, "{nickname}");
        }
        let long = plain(&"x".repeat(200)).unwrap();
        assert!(AccountName::parse(&long).is_ok());
    }
}
