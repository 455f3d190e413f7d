//! `sixgate halt`.

use std::process::ExitCode;

use clap::Args;

use super::account;
use super::client::{self, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table::{self, text};

/// Refuse placements and changes, of one account or of all, or let them pass again
///
/// Reads pass, and so does what takes risk away: cancels of any kind, closing positions,
/// the kill switch. Callers get 403 `account_halted`. With --all, accounts that are made meanwhile begin halted, and
/// --off frees those that were halted with all and none that was halted by itself.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate halt alpha
  sixgate halt alpha --reason 'strategy runs wild'
  sixgate halt alpha --off
  sixgate halt --all --reason 'exchange trouble'
  sixgate halt --all --off")]
pub(super) struct HaltArguments {
    /// The account's name
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// All accounts, those to come included
    #[arg(long)]
    all: bool,
    /// Why it is halted, for whoever finds it so
    #[arg(long, value_name = "TEXT", conflicts_with = "off")]
    reason: Option<String>,
    /// Let orders pass again
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

pub(super) fn run(arguments: &HaltArguments) -> ExitCode {
    client::run(&arguments.gateway, async |client| {
        let mut fields = Fields::default();
        fields.set("halted", !arguments.off);
        fields.may("reason", arguments.reason.as_deref());
        let json = arguments.output.json;
        match &arguments.name {
            Some(name) => {
                let path = ["v1", "accounts", client::account(name)?, "halt"];
                account::print(&client.put(&path, fields).await?, json)
            }
            None => all(&client.put(&["v1", "halt"], fields).await?, json),
        }
    })
}

fn all(answer: &client::Answer, json: bool) -> Result<ExitCode, CallError> {
    let value = answer.value()?;
    if json {
        table::print(&answer.text)?;
    } else {
        table::print(&table::lines([
            ("all halted", text(&value, "/halted")),
            ("accounts", text(&value, "/accounts")),
            ("of them halted", text(&value, "/accounts_halted")),
            ("changed now", text(&value, "/changed")),
            ("failed", text(&value, "/failed")),
        ]))?;
    }
    Ok(if text(&value, "/failed") == "0" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
