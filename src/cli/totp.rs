//! `sixgate totp`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::secrets;
use super::table::{self, text};

/// TOTP secrets: compare one with your authenticator
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  sixgate totp preview --ask")]
pub(super) struct TotpArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    Preview(Preview),
}

/// The code that a TOTP secret gives now
///
/// If your authenticator shows the same, the secret is the right one: give it to the account by
/// `sixgate account change NAME --ask=totp-secret`. Nothing is stored, and the broker is not asked,
/// so a mistyped secret costs no try to log in. Ten codes a minute are shown.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate totp preview --ask
  sixgate totp preview --file totp.txt
  pass dhan/totp | sixgate totp preview --file -")]
struct Preview {
    /// The file with the secret in Base32 or its otpauth:// address, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask for it on the terminal, without echo
    #[arg(long, conflicts_with = "file")]
    ask: bool,
}

pub(super) fn run(arguments: &TotpArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::Preview(which) => preview(client, which, json).await,
    })
}

async fn preview(client: &Client, which: &Preview, json: bool) -> Result<ExitCode, CallError> {
    let secret = secrets::from_file_or_prompt(which.file.as_deref(), which.ask, "TOTP secret")?;
    let mut fields = Fields::default();
    fields.secret("totp_secret", &secret);
    let answer = client.post(&["v1", "totp", "preview"], fields).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let value = answer.value()?;
    let left = format!("{} s", text(&value, "/seconds_left"));
    table::print(&table::lines([("code", text(&value, "/code")), ("for another", left)]))?;
    Ok(ExitCode::SUCCESS)
}
