//! The list of accounts: the worst first, filtered and paged by the server.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::wire::{AccountBody, LegBody, TokenBody};
use super::account_trouble::trouble_of;
use super::call::part;
use super::context::Console;
use super::page::{self, Part};
use super::visitor::Visitor;
use super::{first_run, words};
use crate::accounts::Account;
use crate::accounts::overview::{Counts, Overview, Position, Sort, Trouble, Wanted};
use crate::broker::dhan::endpoints::RateClass;
use crate::domain::OperatorRole;
use crate::orders::limits::Usage;

/// Accounts of a page.
const PAGE: usize = 50;
/// Troubles that are filters also when no account is in them.
const ALWAYS: [Trouble; 3] = [Trouble::NeedsPerson, Trouble::Halted, Trouble::LegTripped];
/// A day, in seconds.
const DAY: u64 = 86_400;

/// What of the list is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    q: String,
    #[serde(default)]
    problem: String,
    #[serde(default)]
    cursor: String,
    /// Where the page before this one began, if that is known.
    before: Option<String>,
}

impl Filter {
    fn wanted(&self) -> Option<Wanted> {
        let (sort, given) = (Sort::Trouble, |text: &str| Some(text.to_owned()).filter(|text| !text.trim().is_empty()));
        let trouble = match self.problem.as_str() {
            "" => None,
            word => Some(Trouble::parse(word)?),
        };
        let after = given(&self.cursor).map(|cursor| Position::read(&cursor, sort)).transpose().ok()?;
        Some(Wanted { text: given(&self.q), trouble, sort, after, limit: PAGE, ..Wanted::default() })
    }

    /// The address of the list with another problem or another page.
    fn address(&self, problem: &str, cursor: &str, before: Option<&str>) -> String {
        let given = [("q", self.q.trim()), ("problem", problem), ("cursor", cursor)];
        let mut pairs: Vec<String> = given
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", part(value)))
            .collect();
        if let Some(before) = before {
            pairs.push(format!("before={}", part(before)));
        }
        if pairs.is_empty() { "/console".to_owned() } else { format!("/console?{}", pairs.join("&")) }
    }
}

/// `/console`
pub(super) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(filter): Query<Filter>,
) -> Response {
    let Some(wanted) = filter.wanted() else {
        let why = "The link is of another list: open the accounts anew.";
        return page::refused(StatusCode::BAD_REQUEST, "No such page of the list", why);
    };
    let accounts = std::sync::Arc::clone(&console.admin.accounts);
    let Ok(found) = tokio::task::spawn_blocking(move || accounts.overview(&wanted)).await else {
        return page::refused(StatusCode::INTERNAL_SERVER_ERROR, "No list", "It broke down; see the gateway's log.");
    };
    let steps = first_run::strip(&console, &visitor).await;
    let any = found.counts.all > 0 || !filter.q.is_empty();
    let content = html! {
        (steps)
        h1 { "Accounts" }
        div #all data-live="change" {
            (all_halted(&console))
            (buttons(&visitor, any, console.admin.accounts.all_halted().is_some()))
        }
        @if any {
            (search(&filter))
            div #accounts data-live="token leg validation change" {
                (filters(&filter, &found.counts))
                (table(&console, &visitor, &filter, &found))
            }
        } @else { p { "There is no account yet." } }
    };
    page::page(&console, &visitor, Part::Accounts, "Accounts", &content)
}

fn all_halted(console: &Console) -> Markup {
    let all = console.admin.accounts.all_halted();
    html! {
        @if let Some(all) = all {
            @let (halted, count) = (console.admin.accounts.halted(), console.admin.accounts.len());
            p.flash.bad { (words::BAD) " All accounts " @if halted == count as u64 { "are" } @else { "were" } " halted "
                @if halted == count as u64 { "since " } @else { "at " } (page::time(all.since))
                @if !all.reason.is_empty() { ": " (all.reason) }
                ". "
                @if halted != count as u64 { (words::number(halted as usize)) " of " (words::number(count)) " are halted now; new ones begin halted. " }
                "Cancels, exits and reads pass." }
        }
    }
}

fn buttons(visitor: &Visitor, any: bool, halted: bool) -> Markup {
    html! {
        div.row {
            @if visitor.may(OperatorRole::Admin) { a.button href="/console/create" { "Create account" } }
            @if visitor.may(OperatorRole::Operator) && any {
                a.button.second href="/console/validate-all" { "Validate All" }
                a.button.second href="/console/halt-all" { @if halted { "Let all trade again…" } @else { "Halt All…" } }
            }
        }
    }
}

fn search(filter: &Filter) -> Markup {
    html! {
        form.row.search role="search" method="get" action="/console" {
            label.unseen for="q" { "Name, client id or address" }
            input #q type="search" name="q" value=(filter.q) placeholder="Name, client id or address";
            @if !filter.problem.is_empty() { input type="hidden" name="problem" value=(filter.problem); }
            button.second { "Search" }
            @if !filter.q.is_empty() { a href="/console" { "Show all" } }
        }
    }
}

/// The counts, each a link to those that it counts.
fn filters(filter: &Filter, counts: &Counts) -> Markup {
    let shown = Trouble::ALL
        .into_iter()
        .filter(|trouble| ALWAYS.contains(trouble) || counts.of(*trouble) > 0 || filter.problem == trouble.as_str());
    let link = |word: &str, problem: &str, count: u64| {
        let is_it = filter.problem == problem;
        html! { li { a href=(filter.address(problem, "", None)) aria-current=[is_it.then_some("true")] { (word) " " (words::number(count as usize)) } } }
    };
    html! {
        nav.filters aria-label="Which accounts" {
            ul {
                (link("All", "", counts.all))
                @for trouble in shown { (link(words::trouble(trouble), trouble.as_str(), counts.of(trouble))) }
            }
        }
    }
}

fn table(console: &Console, visitor: &Visitor, filter: &Filter, found: &Overview) -> Markup {
    let may = visitor.may(OperatorRole::Operator);
    let allowed = found.rows.first().and_then(|account| used(console, account)).map(|day| day.allowed);
    let table = html! {
        table.cards.accounts {
            thead { tr {
                th { "Account" } th { "Login" } th { "Primary" } th { "Secondary" }
                // The broker's limit is one for all: told here, it is not told fifty times.
                th { "Orders today" @if let Some(day) = allowed { span.hint { " of " (words::number(day as usize)) } } }
                th { "Last trouble" }
                @if may { th { span.unseen { "Actions" } } }
            } }
            tbody { @for account in &found.rows { (row(console, visitor, account)) } }
        }
    };
    html! {
        @if found.rows.is_empty() { p { "No account matches." } }
        @else if may { (page::form(visitor, "/console", &table)) }
        @else { (table) }
        @if found.next.is_some() || !filter.cursor.is_empty() {
            nav.row aria-label="Pages" {
                @if !filter.cursor.is_empty() { a.button.second href=(filter.address(&filter.problem, "", None)) { "First" } }
                @if let Some(before) = filter.before.as_deref().filter(|before| !before.is_empty()) {
                    a.button.second href=(filter.address(&filter.problem, before, None)) { "Previous" }
                }
                @if let Some(next) = &found.next {
                    a.button.second href=(filter.address(&filter.problem, &next.show(Sort::Trouble), Some(&filter.cursor))) { "Next" }
                }
            }
        }
    }
}

/// An account's row: the page and the live update have it from here.
fn row(console: &Console, visitor: &Visitor, account: &Account) -> Markup {
    let body = AccountBody::from(account);
    html! {
        tr #{ "account-" (body.name) } {
            td data-label="Account" {
                a href={ "/console/accounts/" (part(&body.name)) } { (body.nickname.as_deref().unwrap_or(&body.name)) }
                div.hint { @if body.nickname.is_some() { (body.name) " · " } "client id " (body.client_id) }
                @if body.halted { div { (words::BAD) " halted" } }
            }
            td data-label="Login" { (standing(&body.token)) }
            @for role in ["primary", "secondary"] {
                @let leg = body.legs.iter().find(|leg| leg.role == role);
                td data-label=(words::role(role)) {
                    (self::leg(leg))
                    @if let Some(leg) = leg { div.hint.address { (leg.address.to_string()) } }
                }
            }
            td data-label="Orders today" { @if let Some(day) = used(console, account) { (words::number(day.used as usize)) } }
            td data-label="Last trouble" { (trouble_of(account, &body)) }
            @if visitor.may(OperatorRole::Operator) { td.actions { (actions(&body)) } }
        }
    }
}

/// Buttons of the one form around the table, so that a page does not repeat its fields for each row.
fn actions(account: &AccountBody) -> Markup {
    let path = format!("/console/accounts/{}", part(&account.name));
    // Two accounts may have one nickname.
    let name = match &account.nickname {
        Some(nickname) => format!("{nickname} ({})", account.name),
        None => account.name.clone(),
    };
    html! {
        button.quiet formaction={ (path) "/validate" } aria-label={ "Validate " (name) } { "Validate" }
        @if account.halted { a.button.quiet href=(path) aria-label={ "Let it trade again…: " (name) } { "Let it trade again…" } } @else {
            button.quiet.bad formaction={ (path) "/halt" } name="halted" value="true" aria-label={ "Halt " (name) } { "Halt" }
        }
    }
}

/// Of the broker's limit of a day, what is used. Windows end with the day that began with the first.
fn used(console: &Console, account: &Account) -> Option<Usage> {
    let usage = console.admin.orders.gate(account.client_id()).usage();
    usage.into_iter().find(|usage| usage.class == RateClass::Order && usage.window.per.as_secs() == DAY)
}

/// Where a token stands, in a line.
fn standing(token: &TokenBody) -> Markup {
    let expires = token.expires_at.as_deref().and_then(|at| at.parse().ok());
    html! {
        @match (token.state, expires) {
            ("live" | "refreshing", Some(expires)) => {
                (words::GOOD) " live"
                @if let Some(left) = words::left(expires) { ", " span data-until=(token.expires_at.as_deref().unwrap_or_default()) { (left) } }
            }
            (state, _) => { (words::BAD) " " (words::token_state(state)) }
        }
    }
}

/// Where a leg stands.
pub(super) fn leg(leg: Option<&LegBody>) -> Markup {
    html! {
        @match leg {
            None => { "–" }
            Some(leg) => {
                @if leg.state == "admits" { (words::GOOD) } @else { (words::BAD) }
                " " (words::leg_state(leg.state))
                @if let Some(reason) = leg.reason { ": " (words::leg_reason(reason)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_list_keeps_what_was_asked_for() {
        let filter = Filter { q: "a b&c".to_owned(), problem: "halted".to_owned(), ..Filter::default() };
        assert_eq!(filter.address("halted", "1.x", None), "/console?q=a%20b%26c&problem=halted&cursor=1.x");
        assert_eq!(Filter::default().address("", "", None), "/console");
        let next = Filter::default().address("", "2.y", Some(""));
        assert_eq!(next, "/console?cursor=2.y&before=");
        assert!(Filter { problem: "none".to_owned(), ..Filter::default() }.wanted().is_none());
        assert!(Filter { cursor: "alpha".to_owned(), ..Filter::default() }.wanted().is_none());
    }
}
