//! `sixgate check`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Config, Problems};
use crate::orders::limits::Rules;

/// Check a configuration file.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG")]
    config: PathBuf,
    /// Answer as one JSON object: `ok` and `problems` (`key`, `text`).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let problems = match config::load(&arguments.config).and_then(|config| with_its_limits(config, arguments)) {
        Ok(config) => {
            if arguments.json {
                println!("{}", serde_json::json!({ "ok": true, "problems": [], "warnings": config.warnings }));
            } else {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                println!("{} can be used", arguments.config.display());
            }
            return ExitCode::SUCCESS;
        }
        Err(problems) => problems,
    };
    if arguments.json {
        let list: Vec<_> = problems.iter().map(|(key, text)| serde_json::json!({ "key": key, "text": text })).collect();
        println!("{}", serde_json::json!({ "ok": false, "problems": list, "warnings": [] }));
    } else {
        eprintln!("{problems}");
    }
    ExitCode::from(2)
}

/// A table of limits is the broker's business, and read by its room.
fn with_its_limits(config: Config, arguments: &CheckArguments) -> Result<Config, Problems> {
    let Err(err) = Rules::load(config.limits.file.as_deref(), config.limits.margin) else { return Ok(config) };
    let mut problems = Problems::new(&arguments.config.display().to_string());
    let cause = std::error::Error::source(&err).map(|cause| format!(": {cause}")).unwrap_or_default();
    problems.add("limits.file", format!("{err}{cause}"));
    Err(problems)
}
