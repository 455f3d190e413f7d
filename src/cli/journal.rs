//! `sixgate journal`: read the order journal where it lies. No running gateway is
//! needed, and one that runs does not mind.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::failure::failed;
use crate::config;
use crate::domain::{AccountName, Outcome, india};
use crate::orders::journal::{self, Csv, Follow, Kind, Order, Query, Recorded, SafeText};

/// How often new lines are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Lines read at once.
const PAGE: usize = 1000;

/// The order journal: what was sent, and what became of it.
///
/// Reads `journal/` below the state folder; no running gateway is needed.
#[derive(Debug, Args)]
pub(super) struct JournalArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show lines, the newest first.
    List(ListArguments),
    /// Show lines as they are written, until stopped.
    Follow(FollowArguments),
    /// Check that no line was changed, removed, put in or moved. Exit code 1 if one was.
    Verify(VerifyArguments),
    /// Write lines to a file or standard output, the oldest first.
    Export(ExportArguments),
}

/// Where the journal is.
#[derive(Debug, Args)]
struct Where {
    /// The configuration file, for its `state.path`.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG", required_unless_present = "state")]
    config: Option<PathBuf>,
    /// The state folder itself.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Filter {
    /// Of this account only.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| AccountName::parse(text))]
    account: Option<AccountName>,
    /// Of this kind only.
    #[arg(long, value_enum)]
    kind: Option<KindWord>,
    /// With this outcome only.
    #[arg(long, value_enum)]
    outcome: Option<OutcomeWord>,
    /// From here on: a time (2026-11-24T03:45:00Z), a day in India (2026-11-24), or an age (2h, 3days).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Before this: as --since.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// With this order id only.
    #[arg(long, value_name = "ID")]
    order_id: Option<String>,
    /// With this correlation id only.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    filter: Filter,
    /// How many lines.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// The oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// JSON Lines, each as it stands in the journal.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FollowArguments {
    #[command(flatten)]
    place: Where,
    /// Of this account only.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| AccountName::parse(text))]
    account: Option<AccountName>,
    /// Begin with so many lines that are there already.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    last: usize,
    /// JSON Lines, each as it stands in the journal.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    #[command(flatten)]
    place: Where,
    /// Answer as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExportArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    filter: Filter,
    /// The format of the export
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// To this file, which must not exist yet, instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// RFC 4180, with a header.
    Csv,
    /// JSON Lines, each as it stands in the journal.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum KindWord {
    Intent,
    Outcome,
    Note,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OutcomeWord {
    NotSent,
    Rejected,
    Executed,
    Unknown,
}

impl Filter {
    fn query(&self, order: Order) -> Query {
        Query {
            account: self.account.clone(),
            kind: self.kind.map(|kind| match kind {
                KindWord::Intent => Kind::Intent,
                KindWord::Outcome => Kind::Outcome,
                KindWord::Note => Kind::Note,
            }),
            since: self.since,
            until: self.until,
            outcome: self.outcome.map(|outcome| match outcome {
                OutcomeWord::NotSent => Outcome::NotSent,
                OutcomeWord::Rejected => Outcome::Rejected,
                OutcomeWord::Executed => Outcome::Executed,
                OutcomeWord::Unknown => Outcome::Unknown,
            }),
            request_id: None,
            order_id: self.order_id.as_deref().map(SafeText::new),
            correlation_id: self.correlation_id.as_deref().map(SafeText::new),
            order,
            limit: PAGE,
            cursor: None,
            scan: u64::MAX,
        }
    }
}

/// A time as people give it.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<Date>() {
        return Ok(india::instant(day.to_datetime(jiff::civil::Time::midnight())));
    }
    let age = humantime::parse_duration(text).ok().and_then(|age| SignedDuration::try_from(age).ok());
    let at = age.and_then(|age| Timestamp::now().checked_sub(age).ok());
    at.ok_or_else(|| "give a time (2026-11-24T03:45:00Z), a day (2026-11-24) or an age (2h)".to_owned())
}

pub(super) fn run(arguments: &JournalArguments) -> ExitCode {
    let place = match &arguments.command {
        Command::List(arguments) => &arguments.place,
        Command::Follow(arguments) => &arguments.place,
        Command::Verify(arguments) => &arguments.place,
        Command::Export(arguments) => &arguments.place,
    };
    let folder = match place.folder() {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    let done = match &arguments.command {
        Command::List(arguments) => list(&folder, arguments),
        Command::Follow(arguments) => follow(&folder, arguments),
        Command::Verify(arguments) => verify(&folder, arguments),
        Command::Export(arguments) => export(&folder, arguments),
    };
    match done {
        Ok(code) => code,
        // `| head` has seen enough.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(err) => failed(&err),
    }
}

impl Where {
    fn folder(&self) -> Result<PathBuf, ExitCode> {
        let state = match (&self.state, &self.config) {
            (Some(state), _) => state.clone(),
            (None, Some(config)) => match config::load(config) {
                Ok(config) => config.state.path,
                Err(problems) => {
                    eprintln!("{problems}");
                    return Err(ExitCode::from(2));
                }
            },
            // clap does not let it come to this.
            (None, None) => return Err(ExitCode::from(2)),
        };
        let folder = state.join("journal");
        if !folder.is_dir() {
            eprintln!(
                "sixgate: {} is not there: nothing was written to it yet, or it is another's state",
                folder.display()
            );
            return Err(ExitCode::FAILURE);
        }
        Ok(folder)
    }
}

fn list(folder: &Path, arguments: &ListArguments) -> io::Result<ExitCode> {
    let order = if arguments.oldest_first { Order::OldestFirst } else { Order::NewestFirst };
    let page = journal::query(folder, &Query { limit: arguments.limit, ..arguments.filter.query(order) })?;
    let mut out = io::stdout().lock();
    if arguments.json {
        for recorded in &page.items {
            journal::write_json(&mut out, recorded)?;
        }
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(HEADER);
        for recorded in &page.items {
            table.add_row(row(recorded));
        }
        writeln!(out, "{}", table.trim_fmt())?;
        if page.next.is_some() {
            eprintln!("there are more; see --limit and --since");
        }
    }
    if page.unreadable > 0 {
        eprintln!("{} lines cannot be read; see `sixgate journal verify`", page.unreadable);
    }
    Ok(ExitCode::SUCCESS)
}

const HEADER: [&str; 10] =
    ["TIME (IST)", "ACCOUNT", "KIND", "REQUEST", "OUTCOME", "STATUS", "LEG", "ORDER", "CORRELATION", "MS"];

/// A line for people.
fn row(recorded: &Recorded) -> [String; 10] {
    let e = &recorded.entry;
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let request = match (&e.method, &e.path, &e.note) {
        (_, _, Some(note)) => serde_json::to_string(note).unwrap_or_default(),
        (Some(method), Some(path), None) => format!("{method} {path}"),
        (_, _, None) => "-".to_owned(),
    };
    let status = e.status.map(|status| match &e.broker_code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    });
    let outcome = e.outcome.map(|outcome| match e.recovered {
        Some(true) => format!("{} (recovered)", outcome.as_str()),
        Some(false) | None => outcome.as_str().to_owned(),
    });
    [
        india::local(e.at).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        text(e.account.as_ref().map(ToString::to_string)),
        e.kind.as_str().to_owned(),
        shown(&request),
        text(outcome),
        text(status.as_deref().map(shown)),
        text(e.leg.map(|leg| leg.as_str().to_owned())),
        text(e.order_id.as_ref().map(|id| shown(id.as_str()))),
        text(e.correlation_id.as_ref().map(|id| shown(id.as_str()))),
        text(e.total_us.map(|us| format!("{}.{:01}", us / 1000, us % 1000 / 100))),
    ]
}

/// Text that a caller chose may hold what moves a terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn follow(folder: &Path, arguments: &FollowArguments) -> io::Result<ExitCode> {
    let mut place = Follow::from_end(folder, arguments.last)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let mut out = io::stdout().lock();
            for line in place.poll()? {
                match line {
                    Ok(recorded) if arguments.account.is_some() && recorded.entry.account != arguments.account => {}
                    Ok(recorded) if arguments.json => journal::write_json(&mut out, &recorded)?,
                    Ok(recorded) => writeln!(out, "{}", row(&recorded).join("  "))?,
                    Err(err) => eprintln!("sixgate: {err}"),
                }
            }
            out.flush()?;
        }
    })
}

fn verify(folder: &Path, arguments: &VerifyArguments) -> io::Result<ExitCode> {
    let report = journal::verify(folder)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let mut text = serde_json::to_value(&report)?;
        if let Some(members) = text.as_object_mut() {
            members.insert("ok".to_owned(), report.is_good().into());
        }
        writeln!(out, "{text}")?;
    } else {
        for problem in &report.problems {
            writeln!(out, "{}, line {}: {}", problem.file, problem.line, problem.what)?;
        }
        let told = report.problems.len() as u64;
        if report.problem_count > told {
            writeln!(out, "and {} more", report.problem_count - told)?;
        }
        let verdict = match report.problem_count {
            0 => "good".to_owned(),
            1 => "1 PROBLEM".to_owned(),
            count => format!("{count} PROBLEMS"),
        };
        writeln!(out, "{}: {} lines in {} files: {verdict}", folder.display(), report.lines, report.files)?;
        if let Some(last) = &report.last {
            writeln!(out, "newest line: number {}, {}, hash {}", last.seq, last.at, last.hash)?;
        }
        if report.unfinished > 0 {
            writeln!(out, "{} bytes at the end are no line yet: being written, or left by a crash", report.unfinished)?;
        }
        if report.lines > 0 && !report.head {
            writeln!(out, "there is no .head: whether lines are missing at the end cannot be told")?;
        }
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where exported lines go.
enum Sink<W: Write> {
    Csv(Csv<W>),
    Json(W),
}

impl<W: Write> Sink<W> {
    fn write(&mut self, recorded: &Recorded) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.write(recorded),
            Self::Json(out) => journal::write_json(out, recorded),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.finish(),
            Self::Json(mut out) => out.flush(),
        }
    }
}

fn export(folder: &Path, arguments: &ExportArguments) -> io::Result<ExitCode> {
    let out: Box<dyn Write> = match &arguments.output {
        Some(path) => Box::new(File::create_new(path)?),
        None => Box::new(io::stdout().lock()),
    };
    let out = BufWriter::new(out);
    let format = if arguments.json { Format::Json } else { arguments.format };
    let mut sink = match format {
        Format::Csv => Sink::Csv(Csv::new(out)?),
        Format::Json => Sink::Json(out),
    };
    let (mut written, mut unreadable) = (0, 0);
    let mut query = arguments.filter.query(Order::OldestFirst);
    loop {
        let page = journal::query(folder, &query)?;
        for recorded in &page.items {
            sink.write(recorded)?;
        }
        written += page.items.len();
        unreadable += page.unreadable;
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
    }
    sink.finish()?;
    if arguments.output.is_some() || io::stderr().is_terminal() {
        eprintln!("{written} lines");
    }
    if unreadable > 0 {
        eprintln!("{unreadable} lines cannot be read and were left out; see `sixgate journal verify`");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
