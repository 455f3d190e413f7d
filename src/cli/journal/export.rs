//! `sixgate journal export`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::filter::Filter;
use super::location::Location;
use crate::orders::journal::{self, Csv, Order, Recorded};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    pub(super) location: Location,
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
pub(super) enum Format {
    /// RFC 4180, with a header.
    Csv,
    /// JSON Lines, each as it stands in the journal.
    Json,
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

pub(super) fn export(folder: &Path, arguments: &ExportArguments) -> io::Result<ExitCode> {
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
        eprintln!("{}", crate::domain::counted(written, "line"));
    }
    if unreadable > 0 {
        eprintln!(
            "{} left out as unreadable; see `sixgate journal verify`",
            crate::domain::counted(unreadable, "line")
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
