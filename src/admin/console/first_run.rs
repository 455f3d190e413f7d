//! From an empty gateway to a program's first request: a list that is computed from the gateway's real state each time,
//! on the front page while anything of it is open, and always under Help.
//!
//! Who skips a line skips it for everybody, until the gateway is restarted: nothing is kept for it. A gateway by which an
//! order was ever executed has been through all of it, so a restart does not bring the list back.

use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use ipnet::Ipv6Net;
use maud::{Markup, html};
use serde_json::json;

use super::super::sessions::Flash;
use super::super::state::Admin;
use super::act::{Act, act, lacks};
use super::call::part;
use super::context::Console;
use super::first_steps::{STEPS, Step};
use super::form::Form;
use super::page::{self, Part, form};
use super::visitor::Visitor;
use super::{first_addresses, machine, words};
use crate::accounts::Account;
use crate::domain::{AccountName, OperatorRole, Outcome, Role};
use crate::host::{Finding, Severity, halves};
use crate::orders::journal::{Query, query};

/// What is so, and what is needed to say how to go on.
#[derive(Debug, Default)]
struct Progress {
    done: u8,
    /// The first account by name that the open line is about.
    account: Option<AccountName>,
    findings: Vec<Finding>,
    is_looked_at: bool,
}

impl Progress {
    const fn has(&self, step: Step) -> bool {
        self.done & step.bit() != 0
    }

    /// Names what is shown: it is other when something else is.
    fn state(&self, put_off: u8) -> String {
        let findings: Vec<&str> = self.findings.iter().map(|finding| finding.id).collect();
        format!("{}-{put_off}-{}-{}", self.done, self.is_looked_at, findings.join("-"))
    }

    /// Look. It walks over accounts and reads the journal: not on a runtime worker.
    fn look(admin: &Admin) -> Self {
        let mut progress = Self::default();
        let (mut has_pair, mut is_logged_in, mut is_registered, mut is_valid) = (false, false, false, false);
        admin.accounts.for_each(|account| {
            has_pair |= account.legs.is_some();
            is_registered |= registered(account);
            let is_live = account.token.live().is_ok();
            is_logged_in |= is_live;
            is_valid |= is_live && account.validated.load().as_ref().is_some_and(|done| done.ok());
            if progress.account.as_ref().is_none_or(|first| account.name < *first) {
                progress.account = Some(account.name.clone());
            }
        });
        let report = admin.host.last();
        progress.is_looked_at = report.is_some();
        progress.findings = report
            .iter()
            .flat_map(|report| &report.findings)
            .filter(|finding| finding.severity == Severity::Error)
            .cloned()
            .collect();
        let has_addresses = has_pair || !admin.accounts.addressing().pools().is_empty();
        let traded = traded(admin);
        let so = [
            (Step::Addresses, has_addresses),
            (Step::Answers, traded || has_addresses && progress.is_looked_at && progress.findings.is_empty()),
            (Step::Account, !admin.accounts.is_empty()),
            (Step::LoggedIn, is_logged_in || traded),
            (Step::Registered, is_registered || traded),
            (Step::Valid, is_valid || traded),
            (Step::Connected, traded || admin.metrics.first_signed().is_some()),
        ];
        progress.done = so.into_iter().filter(|(_, so)| *so).fold(0, |done, (step, _)| done | step.bit());
        progress
    }
}

/// Does Dhan hold both its addresses, as it said last?
fn registered(account: &Account) -> bool {
    let Some(legs) = &account.legs else { return false };
    [Role::Primary, Role::Secondary].into_iter().all(|role| {
        let own = legs.pair().of(role).ip();
        account.registration.get(role).is_some_and(|seen| seen.slot.holds.is(own.into()))
    })
}

/// Was an order ever executed by this gateway?
fn traded(admin: &Admin) -> bool {
    let wanted = Query { outcome: Some(Outcome::Executed), limit: 1, ..Query::default() };
    query(admin.orders.journal.folder(), &wanted).is_ok_and(|page| !page.items.is_empty())
}

async fn look(console: &Console) -> Progress {
    let admin = console.admin.clone();
    tokio::task::spawn_blocking(move || Progress::look(&admin)).await.unwrap_or_default()
}

/// The list for the front page: nothing when nothing of it is open.
pub(super) async fn strip(console: &Console, visitor: &Visitor) -> Markup {
    let skipped = &console.skipped;
    if skipped.all_done.load(Ordering::Relaxed) {
        return html! {};
    }
    let progress = look(console).await;
    let put_off = skipped.steps.load(Ordering::Relaxed);
    if STEPS.iter().all(|(step, _)| progress.has(*step)) {
        skipped.all_done.store(true, Ordering::Relaxed);
    }
    let open = STEPS.into_iter().any(|(step, _)| !progress.has(step) && put_off & step.bit() == 0);
    html! {
        @if open {
            section #first-steps aria-labelledby="first" data-live="token leg validation change order" data-state=(progress.state(put_off)) {
                h2 #first { "First steps" }
                p.hint { "This list ticks itself. It goes when all is done or skipped, and stays under " a href="/console/help" { "Help" } "." }
                (list(console, visitor, &progress, put_off))
            }
        }
    }
}

/// `/console/first-run`
pub(super) async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let progress = look(&console).await;
    let put_off = console.skipped.steps.load(Ordering::Relaxed);
    let content = html! {
        h1 { "First steps" }
        div #first-steps data-live="token leg validation change order" data-state=(progress.state(put_off)) {
            (list(&console, &visitor, &progress, put_off))
        }
    };
    page::page(&console, &visitor, Part::Help, "First steps", &content)
}

fn list(console: &Console, visitor: &Visitor, progress: &Progress, put_off: u8) -> Markup {
    let is_open = |step: Step| !progress.has(step) && put_off & step.bit() == 0;
    let next = STEPS.into_iter().map(|(step, _)| step).find(|step| is_open(*step));
    html! {
        ol.steps {
            @for (step, title) in STEPS {
                @let is_done = progress.has(step);
                li {
                    @if is_done { p { (words::GOOD) " " strong { (title) } @if step == Step::Connected { (first_request(console)) } } } @else {
                        details open[next == Some(step)] {
                            summary { (words::NEXT) " " strong { (title) } @if put_off & step.bit() != 0 { " (skipped)" } }
                            (how(console, visitor, progress, step))
                            (skip(visitor, step, put_off & step.bit() != 0))
                        }
                    }
                }
            }
        }
    }
}

fn skip(visitor: &Visitor, step: Step, is_skipped: bool) -> Markup {
    html! {
        @if visitor.may(OperatorRole::Operator) {
            (form(visitor, "/console/first-run/skip", &html! {
                input type="hidden" name="step" value={ (format!("{step:?}")) };
                input type="hidden" name="skip" value=(!is_skipped);
                button.quiet { @if is_skipped { "Show it again" } @else { "Skip for now" } }
            }))
        }
    }
}

/// `: GET /v2/orders at 09:14 IST from 127.0.0.1, for alpha`, if there was one since the start.
fn first_request(console: &Console) -> Markup {
    html! {
        @if let Some(first) = console.admin.metrics.first_signed() {
            ": " (first.what) " at " (page::time(first.at))
            @if let Some(caller) = first.caller { " from " (caller.to_canonical()) }
            ", for " (first.account) "."
        }
    }
}

/// How a line is ticked.
fn how(console: &Console, visitor: &Visitor, progress: &Progress, step: Step) -> Markup {
    let account = progress.account.as_ref().map(|name| format!("/console/accounts/{}", part(name.as_str())));
    let first = html! { p { "Create an account first." } };
    html! {
        @match (step, account) {
            (Step::Addresses, _) => (first_addresses::show(visitor)),
            (Step::Answers, _) => (answers(progress)),
            (Step::Account, _) => {
                p { "Its two addresses, how it logs in, and your name for it. Nothing goes to Dhan before you say so." }
                @if visitor.may(OperatorRole::Admin) { p { a.button href="/console/create" { "Create account" } } }
            }
            (Step::LoggedIn | Step::Registered | Step::Valid | Step::Connected, None) => (first),
            (Step::LoggedIn, Some(account)) => {
                p { "With PIN and TOTP key it logs in by itself, each day; by hand you paste a token. The account's page says what it \
                     waits for." }
                p { a.button.second href=(account) { "Open the account" } }
            }
            (Step::Registered, Some(account)) => {
                p { "Dhan takes orders only from addresses that it knows. One button does it, once the account is logged in; Dhan then \
                     locks them for 7 days." }
                p { a.button.second href={ (account) "/registration" } { "Register at Dhan" } }
            }
            (Step::Valid, Some(account)) => {
                p { "Validate looks at everything that an order needs, and logs in before if that is needed." }
                p { a.button.second href=(account) { "Open the account" } }
            }
            (Step::Connected, Some(account)) => {
                p { "Your program sends by this gateway: Keys and lines has what to put into it, filled in." }
                @for open in console.admin.about.listeners().iter() { p { "The gateway listens at " code { (open.at) } "." } }
                p { a.button.second href={ (account) "/keys" } { "Keys and lines" } }
                p { "Waiting for the first request that Dhan answers…" }
            }
        }
    }
}

fn answers(progress: &Progress) -> Markup {
    html! {
        @if !progress.has(Step::Addresses) { p { "Addresses come first." } }
        @else if !progress.is_looked_at { p { "The gateway is looking. Reload the page in a moment." } }
        @else {
            @for finding in &progress.findings { (machine::one(finding)) }
            p { a.button.second href="/console/machine" { "This machine: all checks" } }
        }
    }
}

/// Put a line off, or take it up again.
pub(super) async fn put_off(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    let steps = &console.skipped.steps;
    let (back, text) = match (Step::parse(form.text("step")), form.text("skip") == "true") {
        (Some(step), true) => {
            steps.fetch_or(step.bit(), Ordering::Relaxed);
            ("/console", "Skipped until the gateway is restarted. The list stays under Help.")
        }
        (Some(step), false) => {
            steps.fetch_and(!step.bit(), Ordering::Relaxed);
            ("/console", "It is on the list again.")
        }
        (None, _) => ("/console/first-run", "There is no such line."),
    };
    page::back(&console, &visitor, back, Flash { good: true, text: text.to_owned() })
}

/// Make the pool `main` of the two halves of a prefix.
pub(super) async fn halve(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Admin) {
        return refused;
    }
    let given = form.text("prefix");
    let found = given.parse::<Ipv6Net>().ok().and_then(halves);
    let Some((primary, secondary)) = found else {
        let text = format!("{given:?} is no prefix that can be halved, such as 2001:db8:1:2::/64.");
        return page::back(&console, &visitor, "/console", Flash { good: false, text });
    };
    let body = json!({ "name": "main", "primary": primary.to_string(), "secondary": secondary.to_string() });
    let done = "The pool main is there. Does this machine answer for its addresses?";
    act(&console, &visitor, Act { method: Method::POST, path: "/v1/pools", body, back: "/console", done }).await
}
