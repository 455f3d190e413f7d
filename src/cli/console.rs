//! `sixgate console`.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::client::{self, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table;

/// Print a link that signs you in to the web console
///
/// The link works once, within five minutes, and gives the role of the token that is shown here. From another computer
/// open a tunnel first (`ssh -L 8081:127.0.0.1:8081 HOST`), and then the link there.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate console
  sixgate console --config /etc/sixgate/sixgate.toml")]
pub(super) struct ConsoleArguments {
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Deserialize)]
struct Link {
    url: Option<String>,
    code: String,
}

pub(super) fn run(arguments: &ConsoleArguments) -> ExitCode {
    client::run(&arguments.gateway, async |client| {
        let answer = client.post(&["v1", "console", "links"], Fields::default()).await?;
        if arguments.output.json {
            table::print(&answer.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let link: Link = serde_json::from_value(answer.value()?).map_err(|_| client.strange())?;
        match link.url {
            Some(url) => table::print(&format!("{url}\n"))?,
            None => table::print(&format!(
                "The admin API is on a unix socket, which no browser opens. Lead a port there, for example with\n    ssh -L \
                 8081:/path/of/the/socket HOST\nopen http://127.0.0.1:8081 and paste this code:\n{}\n",
                link.code
            ))?,
        }
        eprintln!("It works once, within 5 minutes.");
        Ok::<_, CallError>(ExitCode::SUCCESS)
    })
}
