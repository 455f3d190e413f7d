//! What the last validation found.

use maud::{Markup, html};

use super::super::super::wire::CheckBody;
use super::super::shown::Shown;
use super::super::{advice, page, words};
use crate::domain::OperatorRole;

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    html! {
        @match &shown.body.validated {
            None => p { (words::UNKNOWN) " Not looked at since the gateway was started." },
            Some(validated) => {
                p { @if validated.ok { (words::GOOD) " Ready to trade." } @else { (words::BAD) " Not ready." }
                    @if let Ok(at) = validated.at.parse() { span.hint { " Looked at " (page::time(at)) "." } } }
                @for check in &validated.checks { (line(shown, check, validated.checks.as_slice())) }
            }
        }
        @if shown.may(OperatorRole::Operator) { (shown.button("validate", &[], &html! { button.second { "Validate" } })) }
    }
}

/// A check: its shape, what was found and what to do.
pub(in super::super) fn line(shown: &Shown<'_>, check: &CheckBody, all: &[CheckBody]) -> Markup {
    let next = advice::is_next(check, all);
    let shape = match check.result {
        "ok" => words::GOOD,
        _ if next => words::NEXT,
        "failed" => words::BAD,
        _ => words::UNKNOWN,
    };
    let class = match check.result {
        "ok" => "step good",
        "failed" if !next => "step bad",
        _ => "step",
    };
    html! {
        p class=(class) role="status" data-check=(check.name) data-result=(check.result) {
            (shape) " " (advice::label(check.name)) ": " span.found { (advice::found(&check.detail)) }
            @if check.result != "ok" {
                @if next && check.name == "registration" {
                    " " a href=(shown.path("registration")) { "Register these two addresses at Dhan" } " Dhan locks them for 7 days."
                } @else if let Some(todo) = advice::todo(check.name) { span.do { " " (todo) } }
            }
        }
    }
}
