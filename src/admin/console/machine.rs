//! "This machine": what the gateway found out about the host, the worst first, each with what mends it.

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::json;

use super::act::{Act, act};
use super::context::Console;
use super::field::block;
use super::page::{self, Part, form};
use super::visitor::Visitor;
use super::words;
use crate::domain::OperatorRole;
use crate::host::{Examination, Examined, Finding, Group, Outcome, Report, Severity};

/// `/console/machine`
pub(super) async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let (report, examined) = (console.admin.host.last(), console.admin.host.examined());
    let content = html! {
        h1 { "This machine" }
        div #machine data-live="change leg" {
            @match examined.as_deref() {
                Some(examined) => { (head(&visitor, examined)) (newer(report.as_deref(), examined)) (groups(examined)) }
                None => (before(&visitor, report.as_deref())),
            }
        }
    };
    page::page(&console, &visitor, Part::Machine, "This machine", &content)
}

/// Look at everything now.
pub(super) async fn check(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let (back, done) = ("/console/machine", "Checked.");
    act(&console, &visitor, Act { method: Method::POST, path: "/v1/host/check", body: json!({}), back, done }).await
}

fn again(visitor: &Visitor, word: &str) -> Markup {
    html! {
        @if visitor.may(OperatorRole::Operator) { (form(visitor, "/console/machine/check", &html! { button { (word) } })) }
    }
}

fn head(visitor: &Visitor, examined: &Examination) -> Markup {
    let count = |outcome| examined.count(outcome);
    let (failed, warnings, unknown) = (count(Outcome::Failed), count(Outcome::Warning), count(Outcome::Unknown));
    html! {
        p {
            @if failed == 0 { (words::GOOD) " Nothing stops trading" } @else { (words::BAD) " " strong { (things(failed, "stops", "stop")) " trading" } }
            @if warnings > 0 { "; " (things(warnings, "is", "are")) " worth mending" }
            @if unknown > 0 { "; " (things(unknown, "could", "could")) " not be seen" }
            ". Checked " (words::since(examined.checked_at)) " ago, at " (page::time(examined.checked_at)) "."
        }
        (again(visitor, "Check again"))
    }
}

fn things(count: usize, one: &str, several: &str) -> String {
    format!("{} {}", words::counted(count, "thing"), if count == 1 { one } else { several })
}

/// What the gateway saw by itself since the examination, where that is news.
fn newer(report: Option<&Report>, examined: &Examination) -> Markup {
    let known = |finding: &&Finding| {
        !examined
            .checks
            .iter()
            .flat_map(|one| &one.findings)
            .any(|one| one.id == finding.id && one.what == finding.what)
    };
    let report = report.filter(|report| report.checked_at > examined.checked_at);
    let news: Vec<&Finding> = report.iter().flat_map(|report| &report.findings).filter(known).collect();
    html! {
        @if !news.is_empty() {
            section aria-labelledby="news" {
                h2 #news { "Seen since then" }
                @for finding in news { (one(finding)) }
            }
        }
    }
}

/// Before anybody asked for all checks: what the gateway looks at by itself.
fn before(visitor: &Visitor, report: Option<&Report>) -> Markup {
    html! {
        @match report {
            None => p { "The gateway is looking at this machine. Reload the page in a moment." },
            Some(report) => {
                p { @if report.findings.is_empty() { (words::GOOD) " What the gateway looks at by itself is as it should be." }
                    @else { (words::BAD) " " (things(report.findings.len(), "is not as it should be", "are not as they should be")) "." }
                    " Checked " (words::since(report.checked_at)) " ago. All 40 checks connect to Dhan and ask name servers, and take seconds: press Check." }
                @for finding in worst_first(&report.findings) { (one(finding)) }
            }
        }
        (again(visitor, "Check"))
    }
}

fn worst_first(findings: &[Finding]) -> Vec<&Finding> {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    sorted
}

const GROUPS: [(Group, &str); 5] = [
    (Group::Addresses, "Addresses"),
    (Group::Lines, "Lines to Dhan"),
    (Group::Names, "Names"),
    (Group::Limits, "Clock and limits"),
    (Group::Gateway, "The gateway"),
];

/// The worse, the earlier.
const fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failed => 0,
        Outcome::Warning => 1,
        Outcome::Unknown => 2,
        Outcome::Good => 3,
    }
}

/// Groups with their checks; the worst of both first.
fn sorted(examined: &Examination) -> Vec<(Group, &'static str, Vec<&Examined>)> {
    let mut groups: Vec<_> = GROUPS
        .into_iter()
        .map(|(group, title)| {
            let mut of: Vec<&Examined> = examined.checks.iter().filter(|one| one.check.group == group).collect();
            of.sort_by_key(|one| (rank(one.outcome), one.check.number));
            (group, title, of)
        })
        .collect();
    groups.sort_by_key(|(_, _, of)| of.first().map_or(u8::MAX, |one| rank(one.outcome)));
    groups
}

fn groups(examined: &Examination) -> Markup {
    html! {
        @for (group, title, of) in sorted(examined) {
            @let (good, other): (Vec<&Examined>, Vec<&Examined>) = of.into_iter().partition(|one| one.outcome == Outcome::Good);
            section aria-labelledby=(group.as_str()) {
                h2 id=(group.as_str()) { (title) }
                @for one in other { (check_of(one)) }
                @if !good.is_empty() {
                    details {
                        summary { (words::GOOD) " " (words::counted(good.len(), "check")) @if good.len() == 1 { " is as it should be" } @else { " are as they should be" } }
                        ul.plain { @for one in good { li { (words::GOOD) " " (one.check.title) " " span.hint { (one.found) } } } }
                    }
                }
            }
        }
    }
}

fn check_of(one: &Examined) -> Markup {
    html! {
        @if one.outcome == Outcome::Unknown {
            div.finding { p { (words::UNKNOWN) " " strong { (one.check.title) } " Not known: " (one.found) } }
        } @else {
            @for finding in worst_first(&one.findings) { (self::one(finding)) }
            @if one.findings.is_empty() { div.finding.bad-edge { p { (words::BAD) " " strong { (one.check.title) } " " (one.found) } } }
        }
    }
}

/// A finding: what is so, why it matters, what to do.
pub(super) fn one(finding: &Finding) -> Markup {
    let stops = finding.severity == Severity::Error;
    html! {
        div.finding.bad-edge[stops].warn-edge[!stops] {
            p { @if stops { (words::BAD) " " } @else { (words::NEXT) " Worth mending: " } strong { (what(finding)) } }
            p.hint { (words::sentence(&finding.why)) }
            @if !is_said_by_commands(finding) { p { (words::sentence(&finding.fix)) } }
            (commands(&finding.commands))
        }
    }
}

/// What is so. One that begins with an account's name keeps its letters: names are told apart by them.
fn what(finding: &Finding) -> String {
    let of_account = finding.about.iter().any(|sender| {
        let is_pool = sender.owner.as_deref().is_none_or(|owner| owner.starts_with("pool "));
        !is_pool && finding.what.starts_with(&sender.to_string())
    });
    let is_key = finding.what.split(' ').next().is_some_and(|word| word.contains('.'));
    match (of_account, is_key) {
        (true, _) => words::sentence(&format!("account {}", finding.what)),
        (_, true) => format!("{}.", finding.what.trim_end_matches('.')),
        _ => words::sentence(&finding.what),
    }
}

/// Would the text only repeat the commands under it?
fn is_said_by_commands(finding: &Finding) -> bool {
    !finding.commands.is_empty() && finding.fix == format!("as root: {}", finding.commands.join(" && "))
}

/// Commands to be run in this order, with a button that copies them all.
pub(super) fn commands(commands: &[String]) -> Markup {
    html! {
        @if !commands.is_empty() {
            p.hint { "As root:" }
            (block(&commands.join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::checks;

    /// Who opens the page has trouble: it stands at the top, whatever group it is of.
    #[test]
    fn the_worst_stands_first_in_its_group_and_its_group_first() {
        let outcome = |number| match number {
            28 => Outcome::Failed,
            24 => Outcome::Unknown,
            17 => Outcome::Warning,
            _ => Outcome::Good,
        };
        let examined = |check: &'static crate::host::Check| Examined {
            check,
            outcome: outcome(check.number),
            found: "so".to_owned(),
            findings: Vec::new(),
        };
        let checks = checks().iter().map(examined).collect();
        let examination = Examination { checked_at: jiff::Timestamp::now(), system: "ip", checks };
        let groups = sorted(&examination);
        let first: Vec<_> = groups.iter().map(|(group, _, of)| (*group, of[0].check.number)).collect();
        assert_eq!(first[..3], [(Group::Limits, 28), (Group::Lines, 17), (Group::Names, 24)]);
        let shown = self::groups(&examination).into_string();
        assert!(shown.contains("Not known: so") && shown.contains("checks are as they should be"), "{shown}");
    }
}
