//! `sixgate man`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::failure::{self, CallError};

/// Write manual pages of all commands into a folder
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate man /usr/local/share/man/man1
  sixgate man man && man man/sixgate-serve.1")]
pub(super) struct ManArguments {
    /// The folder, which is made if it is absent: sixgate.1, sixgate-serve.1 and so on
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &ManArguments, command: clap::Command) -> ExitCode {
    let folder = &arguments.folder;
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    let failed = |err| CallError::Output { what: folder.display().to_string(), err };
    failure::exit_code(written.map(|()| ExitCode::SUCCESS).map_err(failed))
}
