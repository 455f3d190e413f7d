//! What `/profile` says.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::Value;

use super::call::HttpReply;
use super::refusal;
use crate::broker::dhan::errors::{self, Context, Reply};
use crate::domain::NoAnswer;
use crate::domain::{ClientId, india};
use crate::tokens::lifecycle::{CheckOutcome, Trouble};

/// What `/profile` says of a token and its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenProfile {
    /// Whether the token lives.
    pub outcome: CheckOutcome,
    /// Until when, as the broker says it: to the minute.
    pub valid_until: Option<Timestamp>,
    /// Is there a subscription to the data API?
    pub data_plan: Option<bool>,
    /// Why it is not known to live.
    pub trouble: Option<Trouble>,
}

impl Default for TokenProfile {
    fn default() -> Self {
        Self { outcome: CheckOutcome::Unclear, valid_until: None, data_plan: None, trouble: None }
    }
}

/// Read the answer to `/profile` that was asked with `token`.
pub(super) fn read(answer: Result<HttpReply, NoAnswer<String>>, client_id: &ClientId, token: &str) -> TokenProfile {
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why) | NoAnswer::Unknown(why)) => {
            let trouble = Trouble {
                code: "no_answer".into(),
                summary: format!("the broker did not answer: {why}").into(),
                action: "see the account's legs; the gateway keeps trying".into(),
            };
            return TokenProfile { outcome: CheckOutcome::NoAnswer, trouble: Some(trouble), ..TokenProfile::default() };
        }
    };
    let reply = Reply { status: answer.status, content_type: answer.content_type.as_deref(), body: &answer.body };
    if let Some(refusal) = refusal::of(&answer, Context::Trading, &[token]) {
        // Nothing of a caller's is in the question, so nothing can be quoted: any word against the token counts.
        let outcome = if errors::doubts_token(&reply) { CheckOutcome::Dead } else { CheckOutcome::Unclear };
        return TokenProfile { outcome, trouble: Some(refusal.trouble), ..TokenProfile::default() };
    }
    good(&answer, client_id)
}

fn good(answer: &HttpReply, client_id: &ClientId) -> TokenProfile {
    let unclear = || TokenProfile { trouble: Some(refusal::unreadable().trouble), ..TokenProfile::default() };
    let mut json = serde_json::Deserializer::from_slice(&answer.body).into_iter::<Value>();
    let Some(Ok(Value::Object(members))) = json.next() else { return unclear() };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let whose = match members.get("dhanClientId") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return unclear(),
    };
    if whose != client_id.as_str() {
        tracing::error!(account = %client_id, "the broker takes this account's token for another account's");
        let trouble = Trouble::new(
            "token_of_another_account",
            "The broker takes this token for another account's",
            "Correct the account's client_id, or give it a token of its own",
        );
        return TokenProfile { outcome: CheckOutcome::Dead, trouble: Some(trouble), ..TokenProfile::default() };
    }
    let until = text("tokenValidity").and_then(|text| DateTime::strptime("%d/%m/%Y %H:%M", text.trim()).ok());
    let plan = text("dataPlan").map(|plan| plan.trim().eq_ignore_ascii_case("active"));
    TokenProfile {
        outcome: CheckOutcome::Lives,
        valid_until: until.map(india::instant),
        data_plan: plan,
        trouble: None,
    }
}
