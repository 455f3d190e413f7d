//! Evidence: what of an account stands in the order journal, whether its chain is whole, and the archive of it.

use std::path::Path;

use axum::Extension;
use axum::extract::{Query as UrlQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::civil::{Date, Time};
use jiff::{Span, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::act::{forbidden, lacks};
use super::call::{part, reply};
use super::called::{self, Called, called, nobody};
use super::chain_check::Checked;
use super::context::Console;
use super::field::{Field, field};
use super::page::{self, Part, form};
use super::visitor::Visitor;
use super::words;
use crate::domain::{AccountName, OperatorRole, Outcome, india};
use crate::orders::journal::{Kind, Order, Query, query};

/// Lines that are counted at most: a page is not waited for longer.
const COUNTED: u64 = 200_000;
/// Lines that are read at once.
const AT_ONCE: usize = 5000;

/// The last day is before the first.
const BACKWARDS: &str = "backwards";

/// Whose lines, and of which days in India.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    account: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
}

/// An account and a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    account: AccountName,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Wanted {
    /// What is asked for, or which field is wrong.
    fn extent(&self) -> Result<Option<Extent>, &'static str> {
        if self.account.trim().is_empty() {
            return Ok(None);
        }
        let account = AccountName::parse(self.account.trim()).map_err(|_| "account")?;
        let day = |text: &str, field| match text.trim() {
            "" => Ok(None),
            text => text.parse::<Date>().map(Some).map_err(|_| field),
        };
        let begin = |day: Date| india::instant(day.to_datetime(Time::midnight()));
        let since = day(&self.from, "from")?.map(begin);
        let until = day(&self.to, "to")?.map(|day| begin(day.saturating_add(Span::new().days(1))));
        if since.zip(until).is_some_and(|(since, until)| until <= since) {
            return Err(BACKWARDS);
        }
        Ok(Some(Extent { account, since, until }))
    }
}

impl Extent {
    /// As `/v1/evidence` has it.
    fn query(&self) -> String {
        let time = |name: &str, at: Option<Timestamp>| at.map(|at| format!("&{name}={}", part(&at.to_string())));
        let (since, until) = (time("since", self.since), time("until", self.until));
        format!("account={}{}{}", part(self.account.as_str()), since.unwrap_or_default(), until.unwrap_or_default())
    }
}

/// What of it stands in the journal.
#[derive(Debug, Default)]
struct Counted {
    lines: u64,
    by_outcome: [u64; 4],
    first: Option<(u64, String)>,
    last: Option<(u64, String)>,
    unreadable: u64,
    has_more: bool,
}

const OUTCOMES: [Outcome; 4] = [Outcome::Executed, Outcome::Rejected, Outcome::NotSent, Outcome::Unknown];

/// Count. It reads files: not on a runtime worker.
fn count(folder: &Path, extent: &Extent) -> std::io::Result<Counted> {
    let Extent { account, since, until } = extent.clone();
    let order = Order::OldestFirst;
    let mut wanted = Query { account: Some(account), since, until, order, limit: AT_ONCE, ..Query::default() };
    let mut counted = Counted::default();
    loop {
        let page = query(folder, &wanted)?;
        counted.unreadable += page.unreadable;
        for line in &page.items {
            counted.lines += 1;
            counted.first.get_or_insert_with(|| (line.seq, line.hash.to_string()));
            counted.last = Some((line.seq, line.hash.to_string()));
            let place = OUTCOMES.iter().position(|outcome| line.entry.outcome == Some(*outcome));
            if let Some(count) =
                place.filter(|_| line.entry.kind == Kind::Outcome).and_then(|place| counted.by_outcome.get_mut(place))
            {
                *count += 1;
            }
        }
        wanted.cursor = page.next;
        counted.has_more = page.next.is_some();
        if !counted.has_more || counted.lines >= COUNTED {
            return Ok(counted);
        }
    }
}

/// `/console/evidence`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Response {
    let text = wanted.account.trim();
    let meant = (!text.is_empty()).then(|| called(&console, text));
    let name = match &meant {
        Some(Called::One(name)) => name.to_string(),
        Some(Called::Several(_) | Called::Nobody) | None => text.to_owned(),
    };
    let extent = Wanted { account: name, ..wanted.clone() }.extent();
    let wrong = extent.as_ref().err().copied();
    let found = match extent.ok().flatten() {
        None => None,
        Some(extent) => {
            let folder = console.admin.orders.journal.folder().to_path_buf();
            let of = extent.clone();
            let read = tokio::task::spawn_blocking(move || count(&folder, &of)).await;
            Some((extent, read.unwrap_or_else(|_| Err(std::io::Error::other("it broke down")))))
        }
    };
    let content = html! {
        h1 { "Evidence" }
        p.hint { "Every order write stands in the journal before it leaves and after. Lines are chained by hashes, so none can be changed or \
                  taken out unseen." }
        div #chain { (chain(&console, &visitor)) }
        (extent_form(&console, &wanted, wrong))
        @match (&found, &meant) {
            // One that was deleted left its lines.
            (Some((_, Ok(counted))), Some(meant @ (Called::Several(_) | Called::Nobody))) if counted.lines == 0 => (nobody(meant, text)),
            (None, Some(meant @ (Called::Several(_) | Called::Nobody))) if wrong == Some("account") => (nobody(meant, text)),
            (Some((extent, found)), _) => (result(&visitor, extent, found)),
            (None, _) => {}
        }
    };
    page::page(&console, &visitor, Part::Evidence, "Evidence", &content)
}

fn extent_form(console: &Console, wanted: &Wanted, wrong: Option<&str>) -> Markup {
    let known = called::list(console);
    let of = |name, label, hint, value, required, text| {
        let is_wrong = |wrong: &&str| *wrong == name || name == "to" && *wrong == BACKWARDS;
        let error = wrong.filter(is_wrong).map(|_| text);
        let list = known.as_ref().filter(|_| name == "account").map(|_| called::LIST);
        html! { (field(&Field { name, label, hint, value, required, error, list, ..Field::default() })) }
    };
    html! {
        section aria-labelledby="archive" {
            h2 #archive { "An account's lines" }
            form method="get" action="/console/evidence" {
                (of("account", "Account", "Its name or its nickname. One that was deleted is found by its name.", &wanted.account, true, "That is no account's name."))
                (of("from", "From day", "Such as 2026-11-30, in India.", &wanted.from, false, "That is no day such as 2026-11-30."))
                (of("to", "To day", "That day is part of it.", &wanted.to, false,
                    if wrong == Some(BACKWARDS) { "That day is before the first." } else { "That is no day such as 2026-11-30." }))
                button { "Look" }
            }
            @if let Some(known) = &known { (known) }
        }
    }
}

fn result(visitor: &Visitor, extent: &Extent, found: &std::io::Result<Counted>) -> Markup {
    html! {
        section aria-labelledby="found" {
            h2 #found { "Found of " (extent.account) }
            @match found {
                Err(err) => p.flash.bad { (words::BAD) " The journal cannot be read: " (err) },
                Ok(counted) if counted.lines == 0 => p { "No line." },
                Ok(counted) => {
                    dl {
                        dt { "Lines" } dd { (words::number(counted.lines as usize)) @if counted.has_more { " and more" } }
                        @for (outcome, count) in OUTCOMES.iter().zip(counted.by_outcome) {
                            dt { "Orders " (words::outcome(*outcome)) } dd { (words::number(count as usize)) }
                        }
                        @for (word, line) in [("First", &counted.first), ("Last", &counted.last)] {
                            @if let Some((seq, hash)) = line {
                                dt { (word) " line" @if word == "Last" && counted.has_more { " counted" } }
                                dd { (words::number(*seq as usize)) div.hint { code { (hash) } } }
                            }
                        }
                    }
                    @if counted.unreadable > 0 { p.flash.bad { (words::BAD) " " (words::counted(counted.unreadable, "line")) " cannot be read." } }
                    @if visitor.may(OperatorRole::Operator) {
                        p { a.button href={ "/console/evidence/download?" (extent.query()) } download { "Download" } }
                        p.hint { "A tar archive of the lines as they stand, with a script that checks them on any computer with Python." }
                    } @else { p.hint { "Who has the role operator can download them." } }
                }
            }
        }
    }
}

fn chain(console: &Console, visitor: &Visitor) -> Markup {
    let check = &console.chain;
    html! {
        @match check.last() {
            None if !check.is_under_way() => p { (words::UNKNOWN) " The chain was not checked since the gateway was started." },
            None => {}
            Some(checked) => (chain_result(&checked)),
        }
        @if check.is_under_way() {
            p role="status" { "The chain is being checked. " a href="/console/evidence" { "Look again" } }
        } @else if visitor.may(OperatorRole::Operator) {
            (form(visitor, "/console/evidence/check", &html! { button.second { "Check the chain now" } }))
        }
    }
}

fn chain_result(checked: &Checked) -> Markup {
    html! {
        @match &checked.found {
            Err(err) => p.flash.bad { (words::BAD) " The chain could not be checked at " (page::time(checked.at)) ": " (err) },
            Ok(found) if found.is_good() => p { (words::GOOD) " Chain good: " (words::counted(found.lines, "line")) " in " (words::counted(found.files, "file")) ", checked " (page::time(checked.at)) "." },
            Ok(found) => {
                div.flash.bad {
                    p { (words::BAD) " " (words::counted(found.problem_count, "problem")) ", checked " (page::time(checked.at)) ":" }
                    ul { @for problem in found.problems.iter().take(5) { li { (problem.file) @if problem.line > 0 { " line " (problem.line) } ": " (problem.what) } } }
                }
            }
        }
    }
}

/// Check the chain now. The page does not wait for it.
pub(super) async fn check(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    console.chain.begin(&console.admin);
    let text = "The chain is being read from its first line on.".to_owned();
    page::back(&console, &visitor, "/console/evidence", super::super::sessions::Flash { good: true, text })
}

/// The archive: that of `/v1/evidence`, for who is signed in.
pub(super) async fn download(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    axum::extract::RawQuery(given): axum::extract::RawQuery,
) -> Response {
    let path = format!("/v1/evidence?{}", given.unwrap_or_default());
    match reply(&console.api, &visitor.operator, &path).await {
        Ok(archive) => archive,
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
            page::refused(status, "No archive", &refused.detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(account: &str, from: &str, to: &str) -> Wanted {
        Wanted { account: account.to_owned(), from: from.to_owned(), to: to.to_owned() }
    }

    /// A day begins and ends at India's midnight, and the last day is part of the span.
    #[test]
    fn days_are_india_s() {
        let extent = wanted("alpha", "2026-11-30", "2026-11-30").extent().unwrap().unwrap();
        assert_eq!(extent.since.unwrap().to_string(), "2026-11-29T18:30:00Z");
        assert_eq!(extent.until.unwrap().to_string(), "2026-11-30T18:30:00Z");
        assert_eq!(extent.query(), "account=alpha&since=2026-11-29T18%3A30%3A00Z&until=2026-11-30T18%3A30%3A00Z");
        assert_eq!(wanted("", "x", "").extent(), Ok(None));
        assert_eq!(wanted("alpha", "yesterday", "").extent(), Err("from"));
        assert_eq!(wanted("al pha", "", "").extent(), Err("account"));
        assert_eq!(wanted("alpha", "2026-11-30", "2026-11-29").extent(), Err(BACKWARDS));
    }
}
