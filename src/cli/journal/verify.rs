//! `sixgate journal verify`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::location::Location;
use crate::domain::counted;
use crate::orders::journal;

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    pub(super) location: Location,
    /// Answer as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(folder: &Path, arguments: &VerifyArguments) -> io::Result<ExitCode> {
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
        writeln!(
            out,
            "{}: {} in {}: {verdict}",
            folder.display(),
            counted(report.lines, "line"),
            counted(report.files, "file")
        )?;
        if let Some(last) = &report.last {
            writeln!(out, "newest line: number {}, {}, hash {}", last.seq, last.at, last.hash)?;
        }
        if report.unfinished > 0 {
            writeln!(
                out,
                "{} at the end: no line yet, being written or left by a crash",
                counted(report.unfinished, "byte")
            )?;
        }
        if report.lines > 0 && !report.head {
            writeln!(out, "there is no .head: whether lines are missing at the end cannot be told")?;
        }
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
