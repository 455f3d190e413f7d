//! Who changed what: the audit log.
//!
//! `audit/YYYY-MM.jsonl` in the state folder, one JSON object a line, in the order in which changes were made. Lines
//! are chained as those of the order journal are: `hash` is SHA-256 over the line's bytes before `,"hash"`, `prev` the
//! hash of the line before, across files, 64 zeros at the first. No secret is ever in one: values are those that the
//! API shows, and of secrets only the names.
//!
//! Lines are written by a thread of its own, in order. A call waits [`PATIENCE`] for its line and no longer: a halt is
//! not held up by a disk that hangs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, oneshot};
use utoipa::ToSchema;

use crate::domain::chain;
use crate::orders::journal::{LineHash, seal};
use crate::telemetry::Seldom;

/// Lines that may wait to be written.
const WAITING: usize = 1024;
/// How many changes somebody who follows them may be behind.
const BEHIND: usize = 256;
/// How long a call waits for its line.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest end of a file that is searched for its last line.
const LONGEST_LINE: u64 = 1 << 20;
/// Lines that could not be written, one report of them in this time.
static FAILED: Seldom = Seldom::once_in(Duration::from_secs(60));

/// Where a change came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Via {
    /// A call with a bearer token: a program or the command line.
    Api,
    /// The console.
    Console,
}

/// A change that was made or refused.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub at: Timestamp,
    /// The operator's name.
    pub actor: String,
    pub role: &'static str,
    pub via: Via,
    pub method: String,
    pub path: String,
    /// The status that it was answered with.
    pub status: u16,
    pub account: Option<String>,
    /// What the account shows differently after it.
    pub changes: Vec<FieldChange>,
}

impl Change {
    /// Was anything changed? What was refused or only read is logged too.
    fn is_made(&self) -> bool {
        self.status < 400 && !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// A field of an account, before and after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct FieldChange {
    pub field: String,
    /// As text; JSON of what is no text. Null for nothing.
    pub before: Option<String>,
    /// As `before`.
    pub after: Option<String>,
}

/// Members that differ, in their order.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let none = serde_json::Map::new();
    let (before, after) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let of = |map: &serde_json::Map<String, Value>, name: &str| match map.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let changes = names.into_iter().map(|name| FieldChange {
        field: name.clone(),
        before: of(before, name),
        after: of(after, name),
    });
    changes.filter(|change| change.before != change.after).collect()
}

/// A line as the API shows it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct AuditBody {
    pub seq: u64,
    pub at: String,
    /// Who: the operator's name in the configuration, or `admin`, `operator`, `viewer`.
    pub actor: String,
    /// What they may do.
    pub role: String,
    /// `api` or `console`.
    pub via: String,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub account: Option<String>,
    pub changes: Vec<FieldChange>,
    /// The hash of the line before.
    pub prev: String,
    /// SHA-256 of this line up to `,"hash"`.
    pub hash: String,
}

/// The audit log of a gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    folder: PathBuf,
    lines: SyncSender<(Change, oneshot::Sender<()>)>,
    made: broadcast::Sender<Option<String>>,
}

impl AuditLog {
    /// Open the log in `folder`, which is made if it is absent, and start its thread.
    ///
    /// # Errors
    /// When the folder or its newest file cannot be read or written.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let writer = Writer::open(folder)?;
        let (lines, waiting) = sync_channel(WAITING);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&waiting))?;
        let (made, _) = broadcast::channel(BEHIND);
        Ok(Self { folder: folder.to_owned(), lines, made })
    }

    /// Hears of every change that is made from now on: the account's name, or `None` for one that is of no account or of
    /// all of them.
    pub(super) fn follow(&self) -> broadcast::Receiver<Option<String>> {
        self.made.subscribe()
    }

    /// Write a line, and wait a little until it is written.
    pub(super) async fn record(&self, change: Change) {
        tracing::info!(
            target: "sixgate::audit",
            actor = change.actor,
            role = change.role,
            method = change.method,
            path = change.path,
            status = change.status,
            "admin call"
        );
        if change.is_made() {
            let _nobody_follows = self.made.send(change.account.clone());
        }
        let (done, written) = oneshot::channel();
        if self.lines.try_send((change, done)).is_err() {
            failed("too many lines wait to be written; is the disk of the state folder slow?");
            return;
        }
        let _ = tokio::time::timeout(PATIENCE, written).await;
    }

    /// Lines before number `before`, the newest first, `limit` at most.
    ///
    /// # Errors
    /// When a file cannot be read. A line that is none is passed over.
    pub(super) fn page(&self, before: Option<u64>, limit: usize) -> io::Result<Vec<AuditBody>> {
        let mut page = Vec::with_capacity(limit);
        for path in files(&self.folder)?.into_iter().rev() {
            // From the end, and no more are parsed than are wanted: after ten thousand changes that took 90 ms.
            let text = std::fs::read(path)?;
            let lines = text.rsplit(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            let older = lines.filter(|line: &AuditBody| before.is_none_or(|before| line.seq < before));
            page.extend(older.take(limit - page.len()));
            if page.len() == limit {
                break;
            }
        }
        Ok(page)
    }
}

fn failed(why: &str) {
    if let Some(times) = FAILED.due() {
        tracing::error!(times, why, "the audit log lacks a change; it is in this log all the same, as \"admin call\"");
    }
}

/// The log's files, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The thread's part: the newest file, and where the chain stands.
struct Writer {
    folder: PathBuf,
    name: String,
    file: File,
    seq: u64,
    head: LineHash,
}

impl Writer {
    fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut writer = match files(folder)?.pop() {
            Some(path) => Self::resume(folder, &path)?,
            None => {
                let name = month(Timestamp::now());
                let file = append(&folder.join(&name))?;
                Self { folder: folder.to_owned(), name, file, seq: 0, head: LineHash::ZERO }
            }
        };
        writer.turn_over(Timestamp::now())?;
        Ok(writer)
    }

    /// Go on after the last whole line of the newest file. What a kill left of a line after it is cut off.
    fn resume(folder: &Path, path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut file = append(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(LONGEST_LINE);
        file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let cut = end.len() - whole;
        if cut > 0 {
            tracing::warn!(bytes = cut, file = %path.display(), "half a line of the audit log was cut off");
            file.set_len(length - u64::try_from(cut).unwrap_or_default())?;
        }
        end.truncate(whole);
        let mut lines = end.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).rev();
        let known = |line: &[u8]| {
            let line: AuditBody = serde_json::from_slice(line).ok()?;
            Some((line.seq, LineHash::parse(line.hash.as_bytes())?))
        };
        let newest = lines.next();
        let (seq, head) = match (newest, newest.and_then(known)) {
            (_, Some(found)) => found,
            // A spoilt line keeps nobody from changing anything; the break in the chain shows it.
            (Some(_), None) => {
                tracing::error!(file = %path.display(), "the last line of the audit log cannot be read: its chain is broken there");
                lines.find_map(known).unwrap_or((0, LineHash::ZERO))
            }
            // Nothing whole is in it: the chain goes on from the file before.
            (None, _) => match files(folder)?.into_iter().rev().find(|file| file.as_path() < path) {
                Some(before) => Self::resume(folder, &before).map(|writer| (writer.seq, writer.head))?,
                None => (0, LineHash::ZERO),
            },
        };
        Ok(Self { folder: folder.to_owned(), name, file, seq, head })
    }

    fn run(mut self, waiting: &Receiver<(Change, oneshot::Sender<()>)>) {
        while let Ok((change, done)) = waiting.recv() {
            if let Err(err) = self.write(&change) {
                failed(&chain(&err));
            }
            let _ = done.send(());
        }
    }

    fn write(&mut self, change: &Change) -> io::Result<()> {
        self.turn_over(change.at)?;
        let object = serde_json::to_string(change).map_err(io::Error::other)?;
        let members = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        let body = format!(",{members}");
        let mut line = Vec::with_capacity(body.len() + 192);
        let head = seal(&mut line, self.seq + 1, body.as_bytes(), self.head);
        let before = self.file.metadata()?.len();
        if let Err(err) = self.file.write_all(&line) {
            // No half line is followed by a whole one.
            self.file.set_len(before)?;
            return Err(err);
        }
        (self.seq, self.head) = (self.seq + 1, head);
        Ok(())
    }

    /// Begin the file of this month. A clock that goes back leaves the newest file as it is.
    fn turn_over(&mut self, now: Timestamp) -> io::Result<()> {
        let name = month(now);
        if name > self.name {
            self.file = append(&self.folder.join(&name))?;
            self.name = name;
        }
        Ok(())
    }
}

fn month(at: Timestamp) -> String {
    at.strftime("%Y-%m.jsonl").to_string()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(at: &str, path: &str) -> Change {
        Change {
            at: at.parse().unwrap(),
            actor: "desk".to_owned(),
            role: "operator",
            via: Via::Console,
            method: "PUT".to_owned(),
            path: path.to_owned(),
            status: 200,
            account: Some("alpha".to_owned()),
            changes: differences(&json!({ "halted": false, "pin": {} }), &json!({ "halted": true, "pin": {} })),
        }
    }

    /// Every line follows from the one before, over months, restarts and a line that a kill cut.
    #[test]
    fn lines_are_chained_over_files_restarts_and_a_half_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path()).unwrap();
        writer.name = "2026-01.jsonl".to_owned();
        writer.file = append(&dir.path().join(&writer.name)).unwrap();
        for file in files(dir.path()).unwrap() {
            if !file.ends_with("2026-01.jsonl") {
                std::fs::remove_file(file).unwrap();
            }
        }
        writer.write(&change("2026-01-31T23:59:59Z", "/v1/accounts/alpha/halt")).unwrap();
        writer.write(&change("2026-02-01T00:00:00Z", "/v1/accounts/alpha/halt")).unwrap();
        let newest = files(dir.path()).unwrap().pop().unwrap();
        append(&newest).unwrap().write_all(b"{\"seq\":3,\"at\":\"2026").unwrap();
        let mut writer = Writer::resume(dir.path(), &newest).unwrap();
        writer.write(&change("2026-01-05T00:00:00Z", "/v1/accounts/{}")).unwrap();
        let log = AuditLog { folder: dir.path().to_owned(), lines: sync_channel(1).0, made: broadcast::channel(1).0 };
        let lines = log.page(None, 10).unwrap();
        assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(lines[1].prev, lines[2].hash);
        assert_eq!(lines[0].prev, lines[1].hash);
        assert_eq!(lines[2].prev, LineHash::ZERO.to_string());
        assert_eq!(
            lines[0].changes,
            [FieldChange { field: "halted".into(), before: Some("false".into()), after: Some("true".into()) }]
        );
        assert_eq!(log.page(Some(3), 1).unwrap()[0].seq, 2);
        let mut all = Vec::new();
        for file in files(dir.path()).unwrap() {
            all.extend(std::fs::read(file).unwrap());
        }
        for line in all.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let text = std::str::from_utf8(line).unwrap();
            let (body, rest) = text.split_once(",\"hash\":\"").unwrap();
            use sha2::Digest as _;
            let hash = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(body.as_bytes()));
            assert_eq!(rest, format!("{hash}\"}}"));
        }
    }
}
