//! `/v1/evidence`: an account's lines of the order journal, with what is needed to check them elsewhere.
//!
//! A tar archive that is made while it is sent: a few hundred lines are in memory at a time, however long the span is.
//! An archive that was cut short has no `SHA256SUMS`, and does not pass for a whole one.

mod tar;

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use futures_util::stream;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{Failure, Problem, cut_short};
use super::parameters::Parameters;
use super::state::Admin;
use super::wire::EvidenceFilter;
use crate::domain::AccountName;
use crate::orders::journal::{DayHead, Journal, Order, Query, Recorded, day_heads, query, write_json};

/// Lines that are read at once, and stand in one file.
const AT_ONCE: usize = 500;

/// A tar archive of an account's lines of the order journal from `since` to `until`: the lines as they stand, the newest
/// line of the journal and of each day's file, and a script that checks it all. For operators, as it leaves the house and
/// reads the disk at length. An account that is no more is still found.
#[utoipa::path(get, path = "/v1/evidence", tag = "orders", params(EvidenceFilter), security(("bearer" = [])),
    responses((status = 200, body = String, content_type = "application/x-tar"), (status = 422, body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn export(State(admin): State<Admin>, mut given: Parameters) -> Result<Response, Failure> {
    let account = given.account("account")?.ok_or_else(|| Failure::field("account", "is missing"))?;
    let (since, until) = (given.time("since")?, given.time("until")?);
    given.done()?;
    let busy = |_| {
        let text = "as many archives as may be at once are being made; try again when one is done";
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "busy", text)
    };
    let maker = Arc::clone(&admin.makers).try_acquire_owned().map_err(busy)?;
    let journal = admin.orders.journal.clone();
    let now = Timestamp::now();
    let name = format!("evidence-{account}-{}.tar", now.strftime("%Y%m%dT%H%M%SZ"));
    let begin = move || Archive::begin(&journal, account, since, until, now, maker);
    let begun = tokio::task::spawn_blocking(begin).await.map_err(|_| cut_short())?;
    let (archive, first) = begun.map_err(|err| {
        let text = format!("the journal cannot be read: {err}");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "journal_failed", text)
    })?;
    let rest = stream::unfold(Some(archive), async |archive| {
        let archive = archive?;
        let made = tokio::task::spawn_blocking(move || archive.next()).await.map_err(io::Error::other).flatten();
        Some(match made {
            Ok((bytes, archive)) => (Ok(bytes), archive),
            Err(err) => {
                tracing::warn!(error = %err, "an archive of evidence was cut short");
                (Err(err), None)
            }
        })
    });
    let whole = futures_util::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let headers = [
        (CONTENT_TYPE, "application/x-tar".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, Body::from_stream(whole)).into_response())
}

/// A line by its place in the chain.
#[derive(Clone, Debug, Serialize)]
struct Link {
    seq: u64,
    hash: String,
}

impl From<&Recorded> for Link {
    fn from(line: &Recorded) -> Self {
        Self { seq: line.seq, hash: line.hash.to_string() }
    }
}

/// What an archive says of itself.
#[derive(Debug, Serialize)]
struct Manifest {
    made_at: Timestamp,
    made_by: &'static str,
    account: AccountName,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: u64,
    first: Option<Link>,
    last: Option<Link>,
    /// The journal's newest line when it was begun. No line of the archive is newer.
    newest: Link,
    day_heads: Vec<DayHead>,
    /// Lines of the span, of whatever account, that cannot be read.
    unreadable: u64,
}

/// An archive that is being made.
#[derive(Debug)]
struct Archive {
    journal: Journal,
    wanted: Query,
    manifest: Manifest,
    /// Lines of `SHA256SUMS`.
    sums: String,
    parts: u64,
    lines_done: bool,
    _maker: OwnedSemaphorePermit,
}

impl Archive {
    /// Its beginning. Like the rest it reads files: not on a runtime worker.
    fn begin(
        journal: &Journal,
        account: AccountName,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        now: Timestamp,
        maker: OwnedSemaphorePermit,
    ) -> io::Result<(Self, Bytes)> {
        let slow = || io::Error::other("its disk keeps everybody waiting");
        let (seq, hash) = journal.newest_line().ok_or_else(slow)?;
        let manifest = Manifest {
            made_at: now,
            made_by: concat!("sixgate ", env!("CARGO_PKG_VERSION")),
            account: account.clone(),
            since,
            until,
            lines: 0,
            first: None,
            last: None,
            newest: Link { seq, hash: hash.to_string() },
            day_heads: day_heads(journal.folder(), since, until)?,
            unreadable: 0,
        };
        let order = Order::OldestFirst;
        let wanted = Query { account: Some(account), since, until, order, limit: AT_ONCE, ..Query::default() };
        let (journal, sums) = (journal.clone(), String::new());
        let mut archive = Self { journal, wanted, manifest, sums, parts: 0, lines_done: false, _maker: maker };
        let readme = archive.file("README.txt", include_bytes!("evidence/README.txt"));
        let script = archive.file("verify_journal.py", include_bytes!("evidence/verify_journal.py"));
        Ok((archive, [readme, script].concat().into()))
    }

    /// What comes next, and the archive if more comes after that.
    fn next(mut self) -> io::Result<(Bytes, Option<Self>)> {
        while !self.lines_done {
            let part = self.lines()?;
            if !part.is_empty() {
                self.parts += 1;
                let name = format!("lines-{:06}.jsonl", self.parts);
                return Ok((self.file(&name, &part).into(), Some(self)));
            }
        }
        let text = serde_json::to_vec_pretty(&self.manifest)?;
        let manifest = self.file("manifest.json", &text);
        let sums = std::mem::take(&mut self.sums);
        let sums = tar::file("SHA256SUMS", sums.as_bytes(), self.manifest.made_at.as_second());
        Ok(([manifest, sums, tar::end()].concat().into(), None))
    }

    /// Some more lines.
    fn lines(&mut self) -> io::Result<Vec<u8>> {
        let page = query(self.journal.folder(), &self.wanted)?;
        self.wanted.cursor = page.next;
        self.lines_done = page.next.is_none();
        self.manifest.unreadable += page.unreadable;
        let mut text = Vec::new();
        for line in &page.items {
            // Written since it was begun.
            if line.seq > self.manifest.newest.seq {
                self.lines_done = true;
                break;
            }
            write_json(&mut text, line)?;
            self.manifest.lines += 1;
            self.manifest.first.get_or_insert_with(|| line.into());
            self.manifest.last = Some(line.into());
        }
        Ok(text)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Vec<u8> {
        self.sums.push_str(&format!("{}  {name}\n", HEXLOWER.encode(&Sha256::digest(content))));
        tar::file(name, content, self.manifest.made_at.as_second())
    }
}
