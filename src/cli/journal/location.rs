//! Where the journal is.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::running;
use crate::config;

/// Where the journal is.
#[derive(Debug, Args)]
pub(super) struct Location {
    /// The configuration file, for its `state.path`.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The state folder itself. [default: that of a sandbox that runs, or `state` in this folder]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Location {
    pub(super) fn folder(&self) -> Result<PathBuf, ExitCode> {
        let state = match (&self.state, &self.config) {
            (Some(state), _) => state.clone(),
            (None, Some(config)) => match config::load(config) {
                Ok(config) => config.state.path,
                Err(problems) => {
                    eprintln!("{problems}");
                    return Err(ExitCode::from(2));
                }
            },
            (None, None) => default_state()?,
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

/// `state` of this folder, as commands find their token there too; else that of the sandbox that runs.
fn default_state() -> Result<PathBuf, ExitCode> {
    let here = PathBuf::from("state");
    if here.is_dir() {
        return Ok(here);
    }
    let mut running = running::find().into_iter().filter_map(|running| running.gateway);
    let why = match (running.next(), running.next()) {
        (Some(one), None) => return Ok(one.state),
        (None, _) => "here is no folder state, and no sandbox runs",
        (Some(_), Some(_)) => "several sandboxes run",
    };
    eprintln!("sixgate: {why}; say where the journal is: --state DIR, or --config FILE (or SIXGATE_CONFIG)");
    Err(ExitCode::from(2))
}
