//! What the broker's refusals mean: what the gateway does about each, and the two
//! sentences a person reads. The table is `errors.toml`.
//!
//! One cause comes in several shapes (a dead token is a business error on trading
//! paths, a keyed code on data paths, and logins fail with HTTP 200), and one code has
//! several causes (DH-905 and DH-906 six each, 401 also for a missing subscription). So
//! replies are read by what they say, whatever their status and content type (`reply`).
//! What a second send rests on is held to more: the reply as a whole (`proof`).
//!
//! Invariants:
//! - Pure, and never panics: a reply is hostile input.
//! - What is not known lands in a row that does no harm: passed on to the caller, or,
//!   at a login, a person is asked, because a repeated login can lock the account.
//! - Nothing of a reply is kept but its code and a bounded, cleaned text.
//!
//! Not here: what became of an order (a refusal here is not proof that a 5xx did
//! nothing), nor counting and waiting (`tokens`).

mod proof;
mod reply;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use reply::{RefusalFields, Sign};

pub use reply::{Context, Reply};

/// What the gateway does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The broker is busy or wants a pause: not before this has passed.
    RetryAfter(Duration),
    /// Wait for the next TOTP window, then try once more.
    NextWindow,
    /// The token is dead: make or ask for another one.
    Remint,
    /// The source address is refused: the other leg may be taken.
    OtherLeg,
    /// Only a person can mend it: stop trying.
    AskPerson,
    /// A business error: the caller's to see.
    PassOn,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The word for programs. Never changes.
    pub code: String,
    /// What the gateway does.
    pub rule: Rule,
    /// What happened, in one sentence.
    pub summary: String,
    /// What to do, in one sentence.
    pub action: String,
    /// Counts towards the lock-out guard: the broker judged a PIN or a TOTP code,
    /// or may have.
    pub login_refusal: bool,
    when: Vec<Matcher>,
    /// Words that prove it, as [`proof::whole`] gives them.
    proof: Vec<String>,
}

/// A refusal that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecognisedRefusal {
    /// What it means.
    pub row: &'static ErrorRow,
    /// The broker's code in its usual spelling (`DH-905`, `807`), where there was one.
    pub broker_code: Option<String>,
    /// The broker's own words: at most 200 characters, without control characters
    /// and without anything that looks like a token, a PIN or a secret.
    pub broker_words: Option<String>,
}

/// What a reply refuses and why. `None` when it is no refusal, which is not to say
/// that it holds what was asked for.
pub fn classify(reply: &Reply<'_>, context: Context) -> Option<RecognisedRefusal> {
    let seen = reply::read(reply, context)?;
    let row = TABLE.rows.iter().find(|row| row.when.iter().any(|matcher| matcher.fits(&seen, context)));
    Some(RecognisedRefusal {
        row: row.unwrap_or(&LAST_RESORT),
        broker_code: seen.codes.into_iter().next(),
        broker_words: seen.words.as_deref().and_then(reply::clean),
    })
}

/// Does this reply, as a whole, refuse the token? Then the broker did not act on the
/// request. A 5xx is never such proof, nor a reply that names an order, nor words
/// that stand among others: the broker quotes what it was sent.
pub fn refuses_token(reply: &Reply<'_>) -> bool {
    is_proved(reply, Rule::Remint)
}

/// Does this reply, as a whole, refuse the source address? Then the broker did not act
/// on the request. What is no proof of a refused token is none here.
pub fn refuses_source(reply: &Reply<'_>) -> bool {
    is_proved(reply, Rule::OtherLeg)
}

/// Is this reply a reason to ask `/profile` whether the token lives? It proves nothing:
/// back ends have refused tokens that were alive.
pub fn doubts_token(reply: &Reply<'_>) -> bool {
    refuses_token(reply)
        || (reply.status < 500 && classify(reply, Context::Data).is_some_and(|found| found.row.rule == Rule::Remint))
}

/// Every row, for documentation and tests.
pub fn rows() -> &'static [ErrorRow] {
    &TABLE.rows
}

/// Is this reply the refusal that `rule` is about, and nothing else?
fn is_proved(reply: &Reply<'_>, rule: Rule) -> bool {
    proof::shows(reply, |words| TABLE.rows.iter().any(|row| row.rule == rule && row.proof.contains(words)))
}

static TABLE: LazyLock<ErrorTable> =
    LazyLock::new(|| ErrorTable::parse(include_str!("errors.toml")).unwrap_or_default());

/// Only for a table that does not parse or has no row for everything; a test
/// keeps both from happening.
static LAST_RESORT: LazyLock<ErrorRow> = LazyLock::new(|| ErrorRow {
    code: "unknown_refusal".to_owned(),
    rule: Rule::AskPerson,
    summary: "The broker refused the request.".to_owned(),
    action: "Read the broker's words in the reply.".to_owned(),
    login_refusal: true,
    when: Vec::new(),
    proof: Vec::new(),
});

#[derive(Debug, Default)]
struct ErrorTable {
    rows: Vec<ErrorRow>,
}

/// Why `errors.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
enum ErrorTableError {
    #[error("the file is not what it should be")]
    Toml(#[from] toml::de::Error),
    #[error("row {row} has a rule that is not known, or wait_seconds where it does not belong")]
    Rule { row: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorFile {
    #[serde(rename = "checked")]
    _checked: jiff::civil::Date,
    row: Vec<WireRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRow {
    code: String,
    when: Vec<Matcher>,
    #[serde(default)]
    proof: Vec<String>,
    rule: String,
    wait_seconds: Option<u64>,
    #[serde(default)]
    login_refusal: bool,
    summary: String,
    action: String,
}

/// One way a row is recognised. What is given must all fit; nothing given fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matcher {
    code: Option<Vec<String>>,
    says: Option<Vec<String>>,
    is: Option<Vec<String>>,
    context: Option<Vec<Context>>,
    status: Option<[u16; 2]>,
    sign: Option<Sign>,
}

impl ErrorTable {
    fn parse(text: &str) -> Result<Self, ErrorTableError> {
        let file: ErrorFile = toml::from_str(text)?;
        let rows = file.row.into_iter().map(ErrorRow::read).collect::<Result<_, _>>()?;
        Ok(Self { rows })
    }
}

impl ErrorRow {
    fn read(wire: WireRow) -> Result<Self, ErrorTableError> {
        let rule = match (wire.rule.as_str(), wire.wait_seconds) {
            ("retry_after", Some(seconds)) => Rule::RetryAfter(Duration::from_secs(seconds)),
            ("next_window", None) => Rule::NextWindow,
            ("remint", None) => Rule::Remint,
            ("other_leg", None) => Rule::OtherLeg,
            ("ask_person", None) => Rule::AskPerson,
            ("pass_on", None) => Rule::PassOn,
            _ => return Err(ErrorTableError::Rule { row: wire.code }),
        };
        Ok(Self {
            code: wire.code,
            rule,
            summary: wire.summary,
            action: wire.action,
            login_refusal: wire.login_refusal,
            when: wire.when.into_iter().map(Matcher::ready).collect(),
            proof: wire.proof.iter().map(|text| proof::whole(text)).collect(),
        })
    }
}

impl Matcher {
    /// Texts in the form in which a reply's words are compared.
    fn ready(mut self) -> Self {
        for text in self.says.iter_mut().chain(self.is.iter_mut()).flatten() {
            *text = reply::plain(text);
        }
        self
    }

    fn fits(&self, seen: &RefusalFields, context: Context) -> bool {
        self.context.as_ref().is_none_or(|any| any.contains(&context))
            && self.status.is_none_or(|[from, to]| (from..=to).contains(&seen.status))
            && self.sign.is_none_or(|sign| seen.sign == sign)
            && self.code.as_ref().is_none_or(|any| seen.codes.iter().any(|code| any.contains(code)))
            && self.says.as_ref().is_none_or(|any| any.iter().any(|text| seen.plain.contains(text.as_str())))
            && self.is.as_ref().is_none_or(|any| any.contains(&seen.plain))
    }
}
