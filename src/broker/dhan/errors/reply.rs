//! Reading a refusal in any of the shapes that the broker uses:
//!
//! - trading: `{"errorType", "errorCode", "errorMessage"}`
//! - data: `{"data": {"<code>": "<text>"}, "status": "failed"}`
//! - login, with HTTP 200: `{"status": "error", "message"}`
//! - the login page: `{"status", "data": {"errorCode", "errorMessage"}}` or
//!   `{"status": "success", "data": {"isValid": false}}`
//! - a web page, plain text, nothing, or half a reply.
//!
//! Names are compared without case and underscores, codes may be text or numbers,
//! members may be added, and trailing bytes are ignored.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A reply of the broker, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`, where there was one. A hint only: it is often wrong.
    pub content_type: Option<&'a str>,
    /// The body, or as much of it as was read.
    pub body: &'a [u8],
}

/// Which call was refused: the same code can mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// Orders, portfolio, profile, static addresses.
    Trading,
    /// Quotes, charts, option chains.
    Data,
    /// `generateAccessToken`.
    Login,
    /// `RenewToken`.
    Renew,
    /// The consent calls.
    Consent,
}

impl Context {
    /// Calls whose good reply is a JSON object, so that anything else is a failure.
    pub(super) const fn is_login(self) -> bool {
        match self {
            Self::Login | Self::Renew | Self::Consent => true,
            Self::Trading | Self::Data => false,
        }
    }
}

/// A refusal is short. What is longer is not read as one.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// A refusal inside HTTP 200 is shorter still: what is longer is data.
const LONGEST_REFUSAL_IN_200: usize = 4 * 1024;
/// Of the broker's words, what is compared and what is kept.
const COMPARED_WORDS: usize = 1000;
pub(super) const KEPT_WORDS: usize = 200;
/// Codes are short; a longer one is something else in the wrong place.
const LONGEST_CODE: usize = 31;

/// What stands in for a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sign {
    /// A web page.
    Html,
    /// The reply has no body.
    Empty,
    /// Bytes that are no answer: cut off, garbage, too long.
    Unreadable,
    /// `isValid: false`.
    TotpNotValid,
    /// An answer that could be read.
    #[serde(skip)]
    Words,
}

/// What a refusal says.
#[derive(Debug)]
pub(super) struct RefusalFields {
    pub(super) status: u16,
    pub(super) sign: Sign,
    /// Codes in their usual spelling.
    pub(super) codes: Vec<String>,
    /// The broker's words as they came. Not to be shown: see [`clean`].
    pub(super) words: Option<String>,
    /// The words as [`plain`] gives them, without a code at the front.
    pub(super) plain: String,
}

/// What is refused, if the reply is a refusal.
pub(super) fn read(reply: &Reply<'_>, context: Context) -> Option<RefusalFields> {
    let good = (200..300).contains(&reply.status);
    if reply.status < 200 {
        return None;
    }
    let longest = if good && !context.is_login() { LONGEST_REFUSAL_IN_200 } else { LONGEST_REFUSAL };
    let text = trim(reply.body, longest);
    let bare = |sign| RefusalFields { status: reply.status, sign, codes: Vec::new(), words: None, plain: plain("") };
    if is_html(&text, reply.content_type) {
        return Some(bare(Sign::Html));
    }
    if text.is_empty() {
        return (!good || context.is_login()).then(|| bare(Sign::Empty));
    }
    let parsed = (reply.body.len() <= longest).then(|| first_value(&text)).flatten();
    match parsed {
        Some(value) => match object(&value, good) {
            Some(members) => from_object(members, reply.status, context),
            None if good && !context.is_login() => None,
            None => Some(bare(Sign::Unreadable)),
        },
        None if good && !context.is_login() => None,
        None if !good && is_text(reply.body, &text) => {
            Some(with_words(bare(Sign::Words), Some(text.chars().take(COMPARED_WORDS).collect())))
        }
        None => Some(bare(Sign::Unreadable)),
    }
}

/// The body as text, blanks and a byte order mark removed, no more than is read.
fn trim(body: &[u8], longest: usize) -> Cow<'_, str> {
    let body = body.get(..longest).unwrap_or(body);
    let edge = |c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0';
    match String::from_utf8_lossy(body) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(edge)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(edge).to_owned()),
    }
}

fn is_html(text: &str, content_type: Option<&str>) -> bool {
    let said = || content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    text.starts_with('<') || (said() && !text.is_empty() && !text.starts_with(['{', '[']))
}

/// A sentence, not the rest of something else.
fn is_text(body: &[u8], text: &str) -> bool {
    body.len() <= COMPARED_WORDS && std::str::from_utf8(body).is_ok() && !text.starts_with(['{', '[', '"'])
}

fn first_value(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
}

/// The object that may hold a refusal. In a list only when the status says that it
/// is one: a list with HTTP 200 is data.
fn object(value: &Value, good: bool) -> Option<&Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        Value::Array(items) if !good => items.first().and_then(Value::as_object),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn from_object(members: &Map<String, Value>, status: u16, context: Context) -> Option<RefusalFields> {
    // The envelope first, then what it holds.
    let inner = ["data", "remarks", "error"].into_iter().filter_map(|name| member(members, name)?.as_object());
    let levels: Vec<&Map<String, Value>> = std::iter::once(members).chain(inner).collect();
    let said = member(members, "status").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let failed = matches!(said.as_deref(), Some("error" | "failed" | "failure" | "fail"));
    let succeeded = said.as_deref() == Some("success");

    let mut codes: Vec<String> = levels.iter().filter_map(|level| code(member(level, "errorcode")?)).collect();
    let mut words = levels.iter().find_map(|level| words_of(level));
    for (key, value) in levels.iter().skip(1).flat_map(|level| level.iter()).filter(|_| !succeeded) {
        if let (true, Value::String(text)) = (is_data_code(key), value) {
            codes.push(key.clone());
            words = words.or_else(|| Some(text.clone()));
        }
    }
    let not_valid = levels.iter().any(|level| member(level, "isvalid").is_some_and(says_no));
    let not_valid = not_valid && matches!(context, Context::Login | Context::Consent);

    let good = (200..300).contains(&status);
    if good && !failed && codes.is_empty() && !not_valid {
        return None;
    }
    let sign = if not_valid && codes.is_empty() { Sign::TotpNotValid } else { Sign::Words };
    Some(with_words(RefusalFields { status, sign, codes, words: None, plain: String::new() }, words))
}

fn says_no(value: &Value) -> bool {
    value == &Value::Bool(false) || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

/// A member by its name without case and underscores.
pub(super) fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let same = |key: &str| key.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).eq(name.chars());
    members.iter().find(|(key, _)| same(key)).map(|(_, value)| value)
}

/// The words at one level of a reply.
fn words_of(members: &Map<String, Value>) -> Option<String> {
    ["errormessage", "message", "errordescription", "remarks", "error", "data"]
        .into_iter()
        .filter_map(|name| member(members, name)?.as_str())
        .find(|text| !text.trim().is_empty())
        .map(str::to_owned)
}

/// 800 to 899, as data replies have them for keys.
fn is_data_code(key: &str) -> bool {
    key.len() == 3 && key.starts_with('8') && key.bytes().all(|b| b.is_ascii_digit())
}

/// A code in its usual spelling: `DH-905` for `dh_905`, `DH905` and 905.
fn code(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_ascii_uppercase(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ');
    if text.is_empty() || text.len() > LONGEST_CODE || !text.bytes().all(fits) {
        return None;
    }
    if matches!(text.as_str(), "0" | "200" | "NULL" | "NA" | "NONE" | "SUCCESS") {
        return None;
    }
    let digits = text.strip_prefix("DH").unwrap_or(&text).trim_start_matches(['-', '_', ' ']);
    let number = digits.bytes().all(|b| b.is_ascii_digit());
    let known = digits.parse().is_ok_and(|number: u16| (901..=911).contains(&number));
    let usual =
        if number && !digits.is_empty() && (known || text.starts_with("DH")) { format!("DH-{digits}") } else { text };
    Some(usual)
}

/// Puts the words in, and takes a code that stands before them (`DH-906: Invalid Token`).
fn with_words(mut seen: RefusalFields, words: Option<String>) -> RefusalFields {
    let short: String = words.iter().flat_map(|words| words.chars()).take(COMPARED_WORDS).collect();
    seen.plain = plain(&short);
    let front = seen.plain.strip_prefix(" dh ").and_then(|rest| rest.split_once(' '));
    if let Some((digits, rest)) = front
        && (3..=4).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
    {
        let code = format!("DH-{digits}");
        let rest = format!(" {rest}");
        if !seen.codes.contains(&code) {
            seen.codes.push(code);
        }
        seen.plain = rest;
    }
    seen.words = words;
    seen
}

/// Words for comparing: lower case, one blank around each, nothing else.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(' ');
    for c in text.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}

/// The broker's words as they may be shown and kept.
pub(super) fn clean(words: &str) -> Option<String> {
    let seen: String = words.chars().take(COMPARED_WORDS).map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let mut out = String::new();
    let mut left = KEPT_WORDS;
    let mut before = Secrecy::Plain;
    for word in seen.split_whitespace() {
        let secrecy = Secrecy::of(word, before);
        let shown = if secrecy == Secrecy::Holds { "[removed]" } else { word };
        before = secrecy;
        let gap = usize::from(!out.is_empty());
        if left <= gap {
            break;
        }
        if gap == 1 {
            out.push(' ');
        }
        out.extend(shown.chars().take(left - gap));
        left = left.saturating_sub(gap + shown.chars().count());
    }
    (!out.is_empty()).then_some(out)
}

/// Characters that move the cursor, hide, or turn the reading direction.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What a word gives away. The broker may quote what it was sent, and a login's
/// query holds PIN and TOTP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Plain,
    /// It ends with a secret's name: `pin`, `"tokenId"`.
    Names,
    /// The next word is a secret: `pin:`.
    Announces,
    /// It is or holds a secret.
    Holds,
}

impl Secrecy {
    fn of(word: &str, before: Self) -> Self {
        let bare: String = word.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect::<String>().to_lowercase();
        let sign = bare.starts_with(['=', ':']);
        match before {
            Self::Announces => return Self::Holds,
            Self::Names if sign && bare.len() == 1 => return Self::Announces,
            // `PIN 482913 is wrong`
            Self::Names if sign || bare.bytes().any(|b| b.is_ascii_digit()) => return Self::Holds,
            Self::Names | Self::Plain | Self::Holds => {}
        }
        if is_long_secret(word) { Self::Holds } else { Self::named(&bare) }
    }

    fn named(bare: &str) -> Self {
        const NAMES: [&str; 5] = ["pin", "otp", "token", "secret", "password"];
        let mut found = Self::Plain;
        for name in NAMES {
            for (at, _) in bare.match_indices(name) {
                let rest = bare.get(at + name.len()..).unwrap_or_default();
                let rest = rest.strip_prefix("id").unwrap_or(rest);
                match rest.strip_prefix(['=', ':']) {
                    Some("") => found = Self::Announces,
                    Some(_) => return Self::Holds,
                    None if rest.is_empty() => found = Self::Names,
                    None => {}
                }
            }
        }
        found
    }
}

/// Does it hold what only a machine writes: a token, a key, a UUID?
fn is_long_secret(word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '=');
    let long = |run: &str| run.len() >= 32 && run.bytes().any(|b| b.is_ascii_digit());
    let jwt = |run: &str| run.find("eyJ").is_some_and(|at| run.len() - at >= 12);
    word.split(|c| !part(c)).any(|run| long(run) || jwt(run))
}
