//! A form's field: its label, what it is for, and what is wrong with it.

use maud::{Markup, html};

/// A field of one line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field<'f> {
    /// The member of the API that it becomes; its id too.
    pub name: &'f str,
    /// What a person calls it. A program finds the field by it.
    pub label: &'f str,
    /// What it is for, under it.
    pub hint: &'f str,
    /// What stands in it. Never a secret.
    pub value: &'f str,
    /// Is what is typed hidden, and never filled in by the gateway?
    pub secret: bool,
    /// Does the form need it?
    pub required: bool,
    /// Is it needed with one choice of the form and not with another? Then it is not called optional.
    pub at_times: bool,
    /// `numeric` for digits alone.
    pub inputmode: Option<&'f str>,
    /// The id of a list on the page to choose from.
    pub list: Option<&'f str>,
    /// What is wrong with it.
    pub error: Option<&'f str>,
}

/// A field in a form.
pub(super) fn field(field: &Field<'_>) -> Markup {
    let (hint, error) = (format!("{}-hint", field.name), format!("{}-error", field.name));
    let described = match (field.hint.is_empty(), field.error) {
        (true, None) => None,
        (false, None) => Some(hint.clone()),
        (true, Some(_)) => Some(error.clone()),
        (false, Some(_)) => Some(format!("{error} {hint}")),
    };
    let input = html! {
        input id=(field.name) name=(field.name) value=[(!field.secret).then_some(field.value)]
            type=(if field.secret { "password" } else { "text" }) autocomplete="off" spellcheck="false"
            autocapitalize="none" required[field.required] inputmode=[field.inputmode] list=[field.list]
            aria-describedby=[described] aria-invalid=[field.error.map(|_| "true")]
            data-keep[field.secret];
    };
    html! {
        div.field {
            label for=(field.name) { (field.label) }
            @if !field.required && !field.at_times { span.optional { " (optional)" } }
            @if let Some(wrong) = field.error { p.error id=(error) { "✘ " (wrong) } }
            @if field.secret {
                div.with-button { (input) button.second type="button" data-show=(field.name) hidden { "Show" } }
            } @else { (input) }
            @if !field.hint.is_empty() { p.hint id=(hint) { (field.hint) } }
        }
    }
}

/// Lines of a program or a shell, with a button that copies them all, where scripts run.
pub(super) fn block(text: &str) -> Markup {
    html! { div.block { pre { code { (text) } } button.second type="button" data-copy=(text) hidden { "Copy" } } }
}

/// A text with a button that copies it, where scripts run.
pub(super) fn copied(text: &str) -> Markup {
    html! { span.copied { code { (text) } button.quiet type="button" data-copy=(text) hidden { "Copy" } } }
}
