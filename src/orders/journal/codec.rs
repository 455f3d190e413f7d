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
use super::order_terms;
use super::redact::{SafePath, SafeText};
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
        hex(&self.0)
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
    /// The line's number in the chain.
    pub seq: u64,
    /// What it says.
    pub entry: Entry,
    /// The hash of the line before.
    pub prev: LineHash,
    /// The line's own hash.
    pub hash: LineHash,
    /// Which members it has.
    pub members: Members,
    /// When it was written at the latest: its own time, or that of a line behind it if the clock that it was written by
    /// may have been behind.
    pub by: Timestamp,
}

/// Which members a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// All of today's.
    All,
    /// `terms` and `write_sha256` are not there: a line of an older program.
    WithoutTerms,
}

const HASH: &[u8] = b",\"hash\":\"";
/// `,"hash":"` , 64 digits, `"}`.
const ENDING: usize = HASH.len() + 64 + 2;

/// Write the line of an entry, newline included, and return its hash.
#[cfg(test)]
pub(super) fn write(line: &mut Vec<u8>, seq: u64, entry: &Entry, prev: LineHash) -> LineHash {
    write_with(line, seq, entry, prev, Members::All)
}

/// The same, with the members that it had when it was written first.
pub(super) fn write_again(line: &mut Vec<u8>, recorded: &Recorded) -> LineHash {
    write_with(line, recorded.seq, &recorded.entry, recorded.prev, recorded.members)
}

fn write_with(line: &mut Vec<u8>, seq: u64, entry: &Entry, prev: LineHash, members: Members) -> LineHash {
    line.clear();
    let mut inner = Vec::with_capacity(512);
    body_with(&mut inner, entry, members);
    seal(line, seq, &inner, prev)
}

/// Append the line of a body at its place in the chain, newline included, and return its hash.
pub fn seal(lines: &mut Vec<u8>, seq: u64, body: &[u8], prev: LineHash) -> LineHash {
    let begin = lines.len();
    number(lines, b"{\"seq\":", Some(seq));
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
    body_with(line, e, Members::All);
}

fn body_with(line: &mut Vec<u8>, e: &Entry, members: Members) {
    line.extend_from_slice(b",\"at\":\"");
    timestamp(line, e.at);
    line.extend_from_slice(b"\",\"kind\":\"");
    line.extend_from_slice(e.kind.as_str().as_bytes());
    line.push(b'"');
    text(line, b",\"request_id\":", e.request_id.as_ref().map(SafeText::as_str));
    plain(line, b",\"account\":", e.account.as_ref().map(AccountName::as_str));
    plain(line, b",\"leg\":", e.leg.map(Role::as_str));
    quoted(line, b",\"source\":", e.source, |line, source| source.write(line));
    quoted(line, b",\"target\":", e.target.as_ref(), |line, target| {
        // Writing to a Vec does not fail.
        let _ = write!(line, "{target}");
    });
    // A token has neither quotation marks nor backslashes (RFC 9110 section 5.6.2).
    plain(line, b",\"method\":", e.method.as_ref().map(http::Method::as_str));
    text(line, b",\"path\":", e.path.as_ref().map(SafePath::as_str));
    text(line, b",\"correlation_id\":", e.correlation_id.as_ref().map(SafeText::as_str));
    text(line, b",\"idempotency_key\":", e.idempotency_key.as_ref().map(SafeText::as_str));
    text(line, b",\"order_id\":", e.order_id.as_ref().map(SafeText::as_str));
    if members == Members::All {
        order_terms::write(line, e.terms());
    }
    quoted(line, b",\"body_sha256\":", e.body_sha256, |line, digest| line.extend_from_slice(&hex(&digest)));
    if members == Members::All {
        quoted(line, b",\"write_sha256\":", e.write_sha256, |line, digest| line.extend_from_slice(&hex(&digest)));
    }
    number(line, b",\"token_generation\":", e.token_generation);
    number(line, b",\"status\":", e.status.map(u64::from));
    text(line, b",\"broker_code\":", e.broker_code.as_ref().map(SafeText::as_str));
    plain(line, b",\"outcome\":", e.outcome.map(Outcome::as_str));
    line.extend_from_slice(match e.recovered {
        None => b",\"recovered\":null",
        Some(true) => b",\"recovered\":true",
        Some(false) => b",\"recovered\":false",
    });
    number(line, b",\"upstream_us\":", e.upstream_us);
    number(line, b",\"total_us\":", e.total_us);
    if let Some(note) = &e.note {
        line.extend_from_slice(b",\"note\":");
        // Strings and numbers only: it does not fail.
        if serde_json::to_writer(&mut *line, note).is_err() {
            line.extend_from_slice(NULL);
        }
    }
}

const NULL: &[u8] = b"null";

/// RFC 3339 in UTC to the microsecond, as `{:.6}` writes it.
fn timestamp(line: &mut Vec<u8>, at: Timestamp) {
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let Ok(year @ 0..=9999) = u32::try_from(at.year()) else {
        // Writing to a Vec does not fail.
        let _ = write!(line, "{:.6}Z", at);
        return;
    };
    let small = |n: i8| u32::from(n.unsigned_abs());
    let parts = [
        (year, 4, b'-'),
        (small(at.month()), 2, b'-'),
        (small(at.day()), 2, b'T'),
        (small(at.hour()), 2, b':'),
        (small(at.minute()), 2, b':'),
        (small(at.second()), 2, b'.'),
        (at.subsec_nanosecond().unsigned_abs() / 1000, 6, b'Z'),
    ];
    for (mut number, digits, end) in parts {
        let mut text = [b'0'; 6];
        for place in text.iter_mut().take(digits).rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
        line.extend_from_slice(text.get(..digits).unwrap_or_default());
        line.push(end);
    }
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut hex = [0; 64];
    HEXLOWER.encode_mut(bytes, &mut hex);
    hex
}

fn number(line: &mut Vec<u8>, name: &[u8], value: Option<u64>) {
    line.extend_from_slice(name);
    let Some(mut value) = value else { return line.extend_from_slice(NULL) };
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        from -= 1;
        if value == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(from..).unwrap_or_default());
}

/// A value that needs no escape.
fn quoted<T>(line: &mut Vec<u8>, name: &[u8], value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    line.extend_from_slice(name);
    let Some(value) = value else { return line.extend_from_slice(NULL) };
    line.push(b'"');
    write(line, value);
    line.push(b'"');
}

/// The same, of a text.
fn plain(line: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    quoted(line, name, value, |line, value| line.extend_from_slice(value.as_bytes()));
}

fn text(line: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    line.extend_from_slice(name);
    let Some(value) = value else { return line.extend_from_slice(NULL) };
    // Every byte is looked at, without a way out between: many at once.
    let plain = value.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~') & (b != b'"') & (b != b'\\'));
    if plain {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    } else if serde_json::to_writer(&mut *line, value).is_err() {
        // It does not fail on a string.
        line.extend_from_slice(NULL);
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
struct LineFields<'a> {
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
    /// There, and perhaps `null`; or not there.
    #[serde(borrow, default, deserialize_with = "there")]
    terms: Option<&'a RawValue>,
    #[serde(borrow)]
    body_sha256: Option<Cow<'a, str>>,
    #[serde(borrow)]
    write_sha256: Option<Cow<'a, str>>,
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

fn there<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Read a line without checking its hash.
pub(super) fn read(line: &[u8]) -> Result<Recorded, String> {
    let raw: LineFields<'_> = serde_json::from_slice(line).map_err(|err| err.to_string())?;
    let word = |text: Option<Cow<'_, str>>| text.map(|text| SafeText::new(&text));
    let hash = |name, text: &str| LineHash::parse(text.as_bytes()).ok_or(format!("{name} is not 64 digits"));
    let target = raw.target.map(|text| Authority::parse(&text, None)).transpose().map_err(|err| err.to_string())?;
    let method = raw.method.map(|text| text.parse()).transpose().map_err(|_| "no method".to_owned())?;
    let body_sha256 = raw.body_sha256.map(|text| hash("body_sha256", &text).map(|hash| hash.0)).transpose()?;
    let write_sha256 = raw.write_sha256.map(|text| hash("write_sha256", &text).map(|hash| hash.0)).transpose()?;
    let members = if raw.terms.is_some() { Members::All } else { Members::WithoutTerms };
    let terms = raw.terms.map(|member| order_terms::read(member.get())).transpose()?.flatten();
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
        path: raw.path.map(|text| SafePath::new(&text)),
        correlation_id: word(raw.correlation_id),
        idempotency_key: word(raw.idempotency_key),
        order_id: word(raw.order_id),
        terms,
        body_sha256,
        write_sha256,
        token_generation: raw.token_generation,
        status: raw.status,
        broker_code: word(raw.broker_code),
        outcome: raw.outcome,
        recovered: raw.recovered,
        upstream_us: raw.upstream_us,
        total_us: raw.total_us,
        note,
    };
    let (prev, hash) = (hash("prev", &raw.prev)?, hash("hash", &raw.hash)?);
    let by = entry.at;
    Ok(Recorded { seq: raw.seq, entry, prev, hash, members, by })
}
