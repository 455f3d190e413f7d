//! The addresses of an account that has none yet: from a pool, set aside while the form is filled in, or brought along.

use axum::http::Method;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::call::{Refused, WrongField, call, part};
use super::context::Console;
use super::field::{Field, copied, field};
use super::form::Form;
use super::visitor::Visitor;
use super::words;
use crate::domain::SourceAddr;

/// A pair that is set aside for whoever fills in the form.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    pool: String,
    id: String,
    primary: String,
    secondary: String,
    until: String,
}

impl Reserved {
    fn of_form(form: &Form) -> Option<Self> {
        let text = |name: &str| form.given(name).map(str::to_owned);
        Some(Self {
            pool: text("reserved_pool")?,
            id: text("reservation")?,
            primary: text("reserved_primary")?,
            secondary: text("reserved_secondary")?,
            until: text("reserved_until")?,
        })
    }

    fn of_reply(pool: String, reply: &Value) -> Option<Self> {
        let text = |name: &str| Some(reply.get(name)?.as_str()?.to_owned());
        Some(Self {
            pool,
            id: text("id")?,
            primary: text("primary")?,
            secondary: text("secondary")?,
            until: text("until")?,
        })
    }

    fn show(&self) -> Markup {
        let both = format!("{}\n{}", self.primary, self.secondary);
        html! {
            @for (name, value) in [("reserved_pool", &self.pool), ("reservation", &self.id), ("reserved_primary", &self.primary),
                ("reserved_secondary", &self.secondary), ("reserved_until", &self.until)] {
                input type="hidden" name=(name) value=(value);
            }
            dl #reserved tabindex="-1" data-focus {
                dt { "Primary" } dd { (copied(&self.primary)) }
                dt { "Secondary" } dd { (copied(&self.secondary)) }
            }
            p { button.second type="button" data-copy=(both) hidden { "Copy both" } }
            @if let Ok(until) = self.until.parse() {
                p.hint { "Set aside for you until " (words::clock(until)) ". They are given when you save." }
            }
        }
    }
}

/// Set the next free pair of the chosen pool aside. The one that was set aside before is free again.
///
/// # Errors
/// As the API refuses it.
pub(super) async fn reserve(console: &Console, visitor: &Visitor, form: &Form) -> Result<Reserved, Refused> {
    if let Some(old) = Reserved::of_form(form) {
        let path = format!("/v1/pools/{}/reservations/{}", part(&old.pool), part(&old.id));
        // It may have run out by now, which is as good.
        let _ = call(&console.api, &visitor.operator, Method::DELETE, &path, &Value::Null).await;
    }
    let chosen = form.given("pool").map(str::to_owned).or_else(|| pools(console).into_iter().next());
    let no_pool =
        || Refused::here("no_pool", Some("pool"), "there is no pool yet: make one, or bring your own addresses");
    let pool = chosen.ok_or_else(no_pool)?;
    let path = format!("/v1/pools/{}/reservations", part(&pool));
    let reply = call(&console.api, &visitor.operator, Method::POST, &path, &json!({})).await?;
    Reserved::of_reply(pool, &reply).ok_or_else(no_pool)
}

/// What is wrong with addresses that were brought along: found before anything is saved.
pub(super) fn wrong(form: &Form) -> Vec<WrongField> {
    let given = ["primary", "secondary"].map(|name| (name, form.given(name)));
    if form.text("addresses") != "own" || given.iter().all(|(_, text)| text.is_none()) {
        return Vec::new();
    }
    let wrong = given.into_iter().filter_map(|(name, text)| {
        let detail = match text {
            None => "is missing: an account has two addresses".to_owned(),
            Some(text) => SourceAddr::parse(text).err()?.to_string(),
        };
        Some(WrongField { field: name.to_owned(), detail })
    });
    wrong.collect()
}

/// Give an account the addresses that the form asks for. `false`: it asks for none.
///
/// # Errors
/// As the API refuses it.
pub(super) async fn assign(console: &Console, visitor: &Visitor, name: &str, form: &Form) -> Result<bool, Refused> {
    let own = form.text("addresses") == "own";
    let body = match (own, form.given("reservation")) {
        (true, _) if form.given("primary").is_none() && form.given("secondary").is_none() => return Ok(false),
        (true, _) => form.object(&["primary", "secondary"]),
        (false, Some(id)) => json!({ "reservation": id }),
        (false, None) if pools(console).is_empty() => return Ok(false),
        (false, None) => form.object(&["pool"]),
    };
    let path = format!("/v1/accounts/{}/pair", part(name));
    call(&console.api, &visitor.operator, Method::POST, &path, &body).await.map(|_| true)
}

/// The names of all pools.
pub(super) fn pools(console: &Console) -> Vec<String> {
    console.admin.accounts.addressing().pools().into_iter().map(|pool| pool.name).collect()
}

/// The group of fields. `reserved`: set aside just now.
pub(super) fn show(console: &Console, form: &Form, reserved: Option<&Reserved>, refused: Option<&Refused>) -> Markup {
    let pools = pools(console);
    let before = Reserved::of_form(form);
    let reserved = reserved.or(before.as_ref());
    let own = form.given("addresses").map_or(pools.is_empty(), |chosen| chosen == "own");
    let error = |name: &str| refused.and_then(|refused| refused.of(name));
    html! {
        fieldset #pair {
            legend { "Addresses" }
            p.hint { "Each account has two of its own, and nobody else ever gets them." }
            label.choice { input type="radio" name="addresses" value="pool" checked[!own]; "From a pool of this gateway" }
            label.choice { input type="radio" name="addresses" value="own" checked[own]; "Bring my own" }
            div data-shown-with="addresses=pool" {
                @if pools.is_empty() {
                    p #pool { "There is no pool yet. " a href="/console/pools" target="_blank" { "Make one in another tab" } ", or bring your own two addresses." }
                } @else {
                    @if let Some(wrong) = error("pool") { p.error { "✘ " (wrong) } }
                    @if pools.len() > 1 {
                        div.field {
                            label for="pool" { "Pool" }
                            select #pool name="pool" {
                                @for name in &pools { option value=(name) selected[form.text("pool") == name] { (name) } }
                            }
                        }
                    }
                    p { button.second name="assign" value="1" formnovalidate { "Auto Assign IP" }
                        span.hint { " Shows the two addresses before you save. Without it the next free two are given." } }
                    @if let Some(reserved) = reserved { (reserved.show()) }
                }
            }
            div data-shown-with="addresses=own" {
                @for (name, label) in [("primary", "Primary address"), ("secondary", "Secondary address")] {
                    (field(&Field { name, label, value: form.text(name), at_times: true, error: error(name), ..Field::default() }))
                }
                p { button.second formaction="/console/look/addresses" formtarget="_blank" formnovalidate
                    data-look="addresses-look" data-when="primary secondary" { "Check these addresses" } }
                div #addresses-look {}
            }
        }
    }
}
