//! Lines for other programs.

use std::io::{self, Write};

use data_encoding::HEXLOWER;

use super::codec::{self, Recorded};
use super::order_terms;

/// The columns of [`Csv`]: the members of a line, in their order, and `note`.
pub const COLUMNS: [&str; 26] = [
    "seq",
    "at",
    "kind",
    "request_id",
    "account",
    "leg",
    "source",
    "target",
    "method",
    "path",
    "correlation_id",
    "idempotency_key",
    "order_id",
    "terms",
    "body_sha256",
    "write_sha256",
    "token_generation",
    "status",
    "broker_code",
    "outcome",
    "recovered",
    "upstream_us",
    "total_us",
    "note",
    "prev",
    "hash",
];

/// Write a line as it stands in the journal, newline included.
///
/// # Errors
/// The writer's.
pub fn write_json(out: &mut impl Write, recorded: &Recorded) -> io::Result<()> {
    let mut line = Vec::with_capacity(1024);
    codec::write_again(&mut line, recorded);
    out.write_all(&line)
}

/// RFC 4180, with a header; an absent value is an empty field.
#[derive(Debug)]
pub struct Csv<W> {
    out: W,
}

impl<W: Write> Csv<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut out: W) -> io::Result<Self> {
        write!(out, "{}\r\n", COLUMNS.join(","))?;
        Ok(Self { out })
    }

    /// Write one line.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, recorded: &Recorded) -> io::Result<()> {
        let e = &recorded.entry;
        let text = |value: Option<String>| value.unwrap_or_default();
        let fields = [
            recorded.seq.to_string(),
            format!("{:.6}", e.at),
            e.kind.as_str().to_owned(),
            text(e.request_id.as_ref().map(ToString::to_string)),
            text(e.account.as_ref().map(ToString::to_string)),
            text(e.leg.map(|leg| leg.as_str().to_owned())),
            text(e.source.map(|source| source.to_string())),
            text(e.target.as_ref().map(ToString::to_string)),
            text(e.method.as_ref().map(ToString::to_string)),
            text(e.path.as_ref().map(ToString::to_string)),
            text(e.correlation_id.as_ref().map(ToString::to_string)),
            text(e.idempotency_key.as_ref().map(ToString::to_string)),
            text(e.order_id.as_ref().map(ToString::to_string)),
            text(e.terms.as_deref().map(order_terms::text)),
            text(e.body_sha256.map(|digest| HEXLOWER.encode(&digest))),
            text(e.write_sha256.map(|digest| HEXLOWER.encode(&digest))),
            text(e.token_generation.map(|number| number.to_string())),
            text(e.status.map(|number| number.to_string())),
            text(e.broker_code.as_ref().map(ToString::to_string)),
            text(e.outcome.map(|outcome| outcome.as_str().to_owned())),
            text(e.recovered.map(|recovered| recovered.to_string())),
            text(e.upstream_us.map(|number| number.to_string())),
            text(e.total_us.map(|number| number.to_string())),
            text(e.note.as_ref().and_then(|note| serde_json::to_string(note).ok())),
            recorded.prev.to_string(),
            recorded.hash.to_string(),
        ];
        for (number, field) in fields.iter().enumerate() {
            if number > 0 {
                self.out.write_all(b",")?;
            }
            if field.contains(['"', ',', '\n', '\r']) {
                write!(self.out, "\"{}\"", field.replace('"', "\"\""))?;
            } else {
                self.out.write_all(field.as_bytes())?;
            }
        }
        self.out.write_all(b"\r\n")
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
