//! `sixgate check`.

use std::process::ExitCode;

use super::CheckArguments;
use crate::config;

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let problems = match config::load(&arguments.config) {
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
