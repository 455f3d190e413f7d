//! `sixgate reload`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::table::{self, is, list, text};

/// Put the configuration file in force, as SIGHUP does, and say what was refused
///
/// No connection is dropped. A file with problems changes nothing. Some keys are in force
/// from start to stop: they are named, and the rest is applied.
///
/// Exit code 1 if the file was refused.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate check --config sixgate.toml && sixgate reload
  sixgate reload --json | jq .restart")]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

pub(super) fn run(arguments: &ReloadArguments) -> ExitCode {
    client::run(&arguments.gateway, async |client| reload(client, arguments.output.json).await)
}

async fn reload(client: &Client, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.post_for_verdict(&["v1", "reload"]).await?;
    let value = answer.value()?;
    if json {
        table::print(&answer.text)?;
    } else {
        table::print(&described(&value))?;
    }
    Ok(if is(&value, "/ok") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(value: &Value) -> String {
    let file = text(value, "/file");
    let mut lines = vec![if is(value, "/ok") {
        format!("{file} is in force")
    } else {
        format!("{file} was refused, and nothing has changed:")
    }];
    lines.extend(
        list(value, "/problems")
            .iter()
            .map(|problem| format!("  {}: {}", text(problem, "/key"), text(problem, "/text"))),
    );
    let plain = |pointer| list(value, pointer).iter().filter_map(Value::as_str);
    lines.extend(plain("/restart").map(|key| format!("  {key} has changed, and a restart is needed to apply it")));
    lines.extend(plain("/warnings").map(|warning| format!("  warning: {warning}")));
    lines.iter().map(|line| super::text::clean(line)).collect::<Vec<_>>().join("\n")
}
