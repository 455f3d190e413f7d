//! `sixgate journal`: read the order journal where it lies. No running gateway is
//! needed, and one that runs does not mind.

mod export;
mod filter;
mod follow;
mod list;
mod location;
mod row;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::failure::failed;

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
    List(list::ListArguments),
    /// Show lines as they are written, until stopped.
    Follow(follow::FollowArguments),
    /// Check that no line was changed, removed, put in or moved. Exit code 1 if one was.
    Verify(verify::VerifyArguments),
    /// Write lines to a file or standard output, the oldest first.
    Export(export::ExportArguments),
}

pub(super) fn run(arguments: &JournalArguments) -> ExitCode {
    let location = match &arguments.command {
        Command::List(arguments) => &arguments.location,
        Command::Follow(arguments) => &arguments.location,
        Command::Verify(arguments) => &arguments.location,
        Command::Export(arguments) => &arguments.location,
    };
    let folder = match location.folder() {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    let done = match &arguments.command {
        Command::List(arguments) => list::list(&folder, arguments),
        Command::Follow(arguments) => follow::follow(&folder, arguments),
        Command::Verify(arguments) => verify::verify(&folder, arguments),
        Command::Export(arguments) => export::export(&folder, arguments),
    };
    match done {
        Ok(code) => code,
        // `| head` has seen enough.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(err) => failed(&err),
    }
}
