//! `sixgate halt`.

use std::process::ExitCode;

use clap::Args;

use super::account;
use super::client::{self, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;

/// Refuse an account's placements and changes, or let them pass again
///
/// Reads pass, and so does what takes risk away: cancels of any kind, closing positions,
/// the kill switch. Callers get 403 `account_halted`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate halt alpha --reason 'strategy runs wild'
  sixgate halt alpha --off")]
pub(super) struct HaltArguments {
    /// The account's name
    name: String,
    /// Halt it, for this reason
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
        if arguments.reason.is_none() && !arguments.off {
            let text = "say why it is halted (--reason TEXT), or that it is so no longer (--off)";
            return Err(CallError::Usage(text.to_owned()));
        }
        let mut fields = Fields::default();
        fields.set("halted", !arguments.off);
        fields.may("reason", arguments.reason.as_deref());
        let path = ["v1", "accounts", client::account(&arguments.name)?, "halt"];
        account::tell(&client.put(&path, fields).await?, arguments.output.json)
    })
}
