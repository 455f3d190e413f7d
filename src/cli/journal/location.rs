//! Where the journal is.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config;

/// Where the journal is.
#[derive(Debug, Args)]
pub(super) struct Location {
    /// The configuration file, for its `state.path`.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG", required_unless_present = "state")]
    config: Option<PathBuf>,
    /// The state folder itself.
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
