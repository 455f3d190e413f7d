//! What a refusal of the broker means for the next try, and what people are told.

use std::borrow::Cow;

use crate::broker::dhan::errors::{self, Context, ErrorRow, RecognisedRefusal, Reply, Rule};

use super::call::HttpReply;
use crate::tokens::lifecycle::{Refusal, RetryAdvice, Trouble};

/// A reply that no row of the table knows for what it is: HTTP 200 without what was
/// asked for, or a page elsewhere (3xx).
const UNREADABLE: Trouble = Trouble::new(
    "login_unavailable",
    "The broker's answer is not one that can be read",
    "Wait: the gateway tries again by itself; look at the broker's status page if it lasts",
);

/// The refusal in an answer, if it is one.
pub(super) fn of(answer: &HttpReply, context: Context, secrets: &[&str]) -> Option<Refusal> {
    // A page elsewhere is nobody's judgement on a PIN.
    if (300..400).contains(&answer.status) {
        return Some(unreadable());
    }
    let reply = Reply { status: answer.status, content_type: answer.content_type.as_deref(), body: &answer.body };
    errors::classify(&reply, context).map(|found| read(&found, context, secrets))
}

/// An answer that should be a good one and is not.
pub(super) const fn unreadable() -> Refusal {
    Refusal { verdict: RetryAdvice::Unknown, login_refusal: false, trouble: UNREADABLE }
}

/// Only a person can mend it.
pub(super) fn for_a_person(trouble: Trouble) -> Refusal {
    Refusal { verdict: RetryAdvice::AskPerson, login_refusal: false, trouble }
}

fn read(found: &RecognisedRefusal, context: Context, secrets: &[&str]) -> Refusal {
    let row = found.row;
    let trouble = Trouble {
        code: Cow::Owned(row.code.clone()),
        summary: Cow::Owned(summary(found, secrets)),
        action: Cow::Owned(sentence(&row.action).to_owned()),
    };
    Refusal { verdict: verdict(row, context), login_refusal: row.login_refusal, trouble }
}

fn verdict(row: &ErrorRow, context: Context) -> RetryAdvice {
    match (row.code.as_str(), row.rule) {
        ("renewal_not_allowed", _) => RetryAdvice::WrongKind,
        // The broker failed, and may have made a token before it did.
        ("login_unavailable" | "renewal_unsettled", _) | (_, Rule::OtherLeg | Rule::PassOn) => RetryAdvice::Unknown,
        (_, Rule::RetryAfter(wait)) => RetryAdvice::RetryAfter(wait),
        (_, Rule::NextWindow) => RetryAdvice::NextWindow,
        (_, Rule::Remint) if context == Context::Renew => RetryAdvice::TokenDead,
        (_, Rule::Remint) => RetryAdvice::Unknown,
        (_, Rule::AskPerson) => RetryAdvice::AskPerson,
    }
}

/// What happened, with the broker's own words behind it.
fn summary(found: &RecognisedRefusal, secrets: &[&str]) -> String {
    let mut text = sentence(&found.row.summary).to_owned();
    // The table's cleaning knows what secrets look like; here it is known what they are.
    let quotable = |words: &&String| secrets.iter().all(|secret| secret.is_empty() || !words.contains(secret));
    let words = found.broker_words.as_ref().filter(quotable);
    match (&found.broker_code, words) {
        (Some(code), Some(words)) => text.push_str(&format!("; the broker says {code}, \"{words}\"")),
        (None, Some(words)) => text.push_str(&format!("; the broker says \"{words}\"")),
        (Some(code), None) => text.push_str(&format!("; the broker says {code}")),
        (None, None) => {}
    }
    text
}

/// A sentence without its full stop: more may be put behind it.
fn sentence(text: &str) -> &str {
    text.trim_end_matches('.')
}
