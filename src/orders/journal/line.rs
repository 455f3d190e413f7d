//! Entry to line and back. Written by hand: this is on the way of every order.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::entry::{Entry, Kind};
use super::note::Note;
use super::words::{PathText, Word};
use crate::domain::{AccountName, Authority, Outcome, Role, SourceAddr};

/// The hash of a line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// `prev` of the very first line.
    pub const ZERO: Self = Self([0; 32]);

    /// Of the bytes before `,"hash"`.
    pub(super) fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Of 64 hexadecimal digits, lower case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Some(Self(HEXLOWER.decode(text).ok()?.try_into().ok()?))
    }

    fn hex(self) -> [u8; 64] {
        let mut hex = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        hex
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A line as it was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its number.
    pub seq: u64,
    /// What it says.
    pub entry: Entry,
    /// The hash of the line before.
    pub prev: LineHash,
    /// Its own.
    pub hash: LineHash,
}

const HASH: &[u8] = b",\"hash\":\"";
/// `,"hash":"` , 64 digits, `"}`.
const ENDING: usize = HASH.len() + 64 + 2;

/// Write the line of an entry, newline included, and return its hash.
pub(super) fn write(line: &mut Vec<u8>, seq: u64, entry: &Entry, prev: LineHash) -> LineHash {
    line.clear();
    let mut inner = Vec::with_capacity(512);
    body(&mut inner, entry);
    seal(line, seq, &inner, prev)
}

/// Append the line of a body at its place in the chain, newline included, and return its hash.
pub(super) fn seal(lines: &mut Vec<u8>, seq: u64, body: &[u8], prev: LineHash) -> LineHash {
    let begin = lines.len();
    // Writing to a Vec does not fail.
    let _ = write!(lines, "{{\"seq\":{seq}");
    lines.extend_from_slice(body);
    lines.extend_from_slice(b",\"prev\":\"");
    lines.extend_from_slice(&prev.hex());
    lines.push(b'"');
    let hash = LineHash::of(lines.get(begin..).unwrap_or_default());
    lines.extend_from_slice(HASH);
    lines.extend_from_slice(&hash.hex());
    lines.extend_from_slice(b"\"}\n");
    hash
}

/// What a line says, without its place in the chain.
pub(super) fn body(line: &mut Vec<u8>, e: &Entry) {
    let _ = write!(line, ",\"at\":\"{:.6}\",\"kind\":\"{}\"", e.at, e.kind.as_str());
    text(line, "request_id", e.request_id.as_ref().map(Word::as_str));
    text(line, "account", e.account.as_ref().map(AccountName::as_str));
    text(line, "leg", e.leg.map(Role::as_str));
    plain(line, "source", e.source);
    plain(line, "target", e.target.as_ref());
    text(line, "method", e.method.as_ref().map(http::Method::as_str));
    text(line, "path", e.path.as_ref().map(PathText::as_str));
    text(line, "correlation_id", e.correlation_id.as_ref().map(Word::as_str));
    text(line, "idempotency_key", e.idempotency_key.as_ref().map(Word::as_str));
    text(line, "order_id", e.order_id.as_ref().map(Word::as_str));
    let mut digest = [0; 64];
    let digest = e.body_sha256.map(|sha256| {
        HEXLOWER.encode_mut(&sha256, &mut digest);
        std::str::from_utf8(&digest).unwrap_or_default()
    });
    text(line, "body_sha256", digest);
    number(line, "token_generation", e.token_generation);
    number(line, "status", e.status);
    text(line, "broker_code", e.broker_code.as_ref().map(Word::as_str));
    text(line, "outcome", e.outcome.map(Outcome::as_str));
    number(line, "recovered", e.recovered);
    number(line, "upstream_us", e.upstream_us);
    number(line, "total_us", e.total_us);
    if let Some(note) = &e.note {
        line.extend_from_slice(b",\"note\":");
        // Strings and numbers only: it does not fail.
        if serde_json::to_writer(&mut *line, note).is_err() {
            line.extend_from_slice(b"null");
        }
    }
}

fn name(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

/// A value that needs no escape in JSON and no quotes.
fn number(line: &mut Vec<u8>, key: &str, value: Option<impl fmt::Display>) {
    name(line, key);
    let _ = match value {
        Some(value) => write!(line, "{value}"),
        None => line.write_all(b"null"),
    };
}

/// An address: text that needs no escape.
fn plain(line: &mut Vec<u8>, key: &str, value: Option<impl fmt::Display>) {
    name(line, key);
    let _ = match value {
        Some(value) => write!(line, "\"{value}\""),
        None => line.write_all(b"null"),
    };
}

fn text(line: &mut Vec<u8>, key: &str, value: Option<&str>) {
    name(line, key);
    let Some(value) = value else {
        line.extend_from_slice(b"null");
        return;
    };
    if value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    } else if serde_json::to_writer(&mut *line, value).is_err() {
        // It does not fail on a string.
        line.extend_from_slice(b"null");
    }
}

/// Why a line is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It does not end as a line does; no hash can be read.
    Ending,
    /// Its hash is another than the one it claims.
    Hash { found: LineHash, claimed: LineHash },
    /// The hash is right, and the rest is no entry.
    Content { hash: LineHash, why: String },
}

impl Wrong {
    pub(super) fn why(&self) -> String {
        match self {
            Self::Ending => "it does not end with a hash, as a line does".to_owned(),
            Self::Hash { .. } => "its hash is not that of its content: it was changed after it was written".to_owned(),
            Self::Content { why, .. } => format!("it is no journal entry ({why})"),
        }
    }
}

/// The hash that a line has as it stands, right or wrong: what a note after a broken
/// line holds on to. Without the newline.
pub(super) fn hash_as_it_stands(line: &[u8]) -> LineHash {
    split(line).map_or_else(|| LineHash::of(line), |(body, _)| LineHash::of(body))
}

fn split(line: &[u8]) -> Option<(&[u8], LineHash)> {
    let (body, ending) = line.split_at_checked(line.len().checked_sub(ENDING)?)?;
    let claimed = ending.strip_prefix(HASH)?.strip_suffix(b"\"}")?;
    Some((body, LineHash::parse(claimed)?))
}

/// Read a line without its newline, and check its hash.
pub(super) fn check(line: &[u8]) -> Result<Recorded, Wrong> {
    let (body, claimed) = split(line).ok_or(Wrong::Ending)?;
    let found = LineHash::of(body);
    if found != claimed {
        return Err(Wrong::Hash { found, claimed });
    }
    read(line).map_err(|why| Wrong::Content { hash: found, why })
}

#[derive(Deserialize)]
struct Raw<'a> {
    seq: u64,
    at: Timestamp,
    kind: Kind,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    account: Option<AccountName>,
    leg: Option<Role>,
    source: Option<SourceAddr>,
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    order_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body_sha256: Option<Cow<'a, str>>,
    token_generation: Option<u64>,
    status: Option<u16>,
    #[serde(borrow)]
    broker_code: Option<Cow<'a, str>>,
    outcome: Option<Outcome>,
    recovered: Option<bool>,
    upstream_us: Option<u64>,
    total_us: Option<u64>,
    #[serde(borrow)]
    note: Option<&'a RawValue>,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(borrow)]
    hash: Cow<'a, str>,
}

/// Read a line without checking its hash.
pub(super) fn read(line: &[u8]) -> Result<Recorded, String> {
    let raw: Raw<'_> = serde_json::from_slice(line).map_err(|err| err.to_string())?;
    let word = |text: Option<Cow<'_, str>>| text.map(|text| Word::new(&text));
    let hash = |name, text: &str| LineHash::parse(text.as_bytes()).ok_or(format!("{name} is not 64 digits"));
    let target = raw.target.map(|text| Authority::parse(&text, None)).transpose().map_err(|err| err.to_string())?;
    let method = raw.method.map(|text| text.parse()).transpose().map_err(|_| "no method".to_owned())?;
    let body_sha256 = raw.body_sha256.map(|text| hash("body_sha256", &text).map(|hash| hash.0)).transpose()?;
    // A newer program may write notes that this one does not know; they are no harm.
    let note = raw
        .note
        .map(|note| serde_json::from_str(note.get()).unwrap_or_else(|_| Note::Message { text: note.get().to_owned() }));
    let entry = Entry {
        at: raw.at,
        kind: raw.kind,
        request_id: word(raw.request_id),
        account: raw.account,
        leg: raw.leg,
        source: raw.source,
        target,
        method,
        path: raw.path.map(|text| PathText::new(&text)),
        correlation_id: word(raw.correlation_id),
        idempotency_key: word(raw.idempotency_key),
        order_id: word(raw.order_id),
        body_sha256,
        token_generation: raw.token_generation,
        status: raw.status,
        broker_code: word(raw.broker_code),
        outcome: raw.outcome,
        recovered: raw.recovered,
        upstream_us: raw.upstream_us,
        total_us: raw.total_us,
        note,
    };
    Ok(Recorded { seq: raw.seq, entry, prev: hash("prev", &raw.prev)?, hash: hash("hash", &raw.hash)? })
}
