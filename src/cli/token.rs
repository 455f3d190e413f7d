//! `sixgate token`. A token is never shown, only where it stands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::client::{self, Answer, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::secrets;
use super::table::{self, both_clocks, distance, maybe, text};
use super::text::clean;

/// An account's access token: show its state, set, refresh, consent
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate token show alpha
  sixgate token set alpha --file token.txt
  sixgate token refresh alpha
  sixgate token consent alpha")]
pub(super) struct TokenArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Where the account's token stands, and until when it lives. Never the token
    #[command(after_long_help = "Example:
  sixgate token show alpha")]
    Show {
        /// The account's name
        name: String,
    },
    Set(Set),
    /// Get a new token now, and wait for it (up to 30 s)
    ///
    /// The token before dies at the broker. Exit code 1 if there is no live token afterwards.
    #[command(after_long_help = "Examples:
  sixgate token refresh alpha
  After correcting a PIN that the broker refused:
    sixgate account change alpha --ask=pin && sixgate token refresh alpha --vouched")]
    Refresh {
        /// The account's name
        name: String,
        /// You vouch for PIN and TOTP secret
        ///
        /// After two refusals the gateway stops by itself, because a third may lock the
        /// account at the broker. Say this when you have checked both.
        #[arg(long)]
        vouched: bool,
    },
    /// Begin a login in the browser, and print its address
    ///
    /// Open it, log in there, and the broker sends the browser back to the gateway, which
    /// then has its token. The broker allows 25 a day for each account.
    #[command(after_long_help = "Example:
  sixgate token consent alpha")]
    Consent {
        /// The account's name
        name: String,
    },
}

/// Give the account a token that you got from the broker's page
///
/// It takes effect with the next request. Possible for every account, whatever its platform.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate token set alpha --file token.txt
  pass dhan/alpha | sixgate token set alpha --file -
  sixgate token set alpha --ask")]
struct Set {
    /// The account's name
    name: String,
    /// The file with the token, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask for it on the terminal, without echo
    #[arg(long, conflicts_with = "file")]
    ask: bool,
}

pub(super) fn run(arguments: &TokenArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::Show { name } => {
            let answer = client.get(&["v1", "accounts", client::account(name)?, "token"]).await?;
            print(&answer, json).map(|_| ExitCode::SUCCESS)
        }
        Command::Set(set) => give(client, set, json).await,
        Command::Refresh { name, vouched } => refresh(client, client::account(name)?, *vouched, json).await,
        Command::Consent { name } => consent(client, client::account(name)?, json).await,
    })
}

async fn give(client: &Client, set: &Set, json: bool) -> Result<ExitCode, CallError> {
    let name = client::account(&set.name)?;
    let token = secrets::from_file_or_prompt(set.file.as_deref(), set.ask, "Access token")?;
    let mut fields = Fields::default();
    fields.secret("access_token", &token);
    let answer = client.put(&["v1", "accounts", name, "token"], fields).await?;
    print(&answer, json).map(|_| ExitCode::SUCCESS)
}

async fn refresh(client: &Client, name: &str, vouched: bool, json: bool) -> Result<ExitCode, CallError> {
    let mut fields = Fields::default();
    if vouched {
        fields.set("vouched", true);
    }
    let answer = client.post(&["v1", "accounts", name, "token", "refresh"], fields).await?;
    let live = print(&answer, json)?;
    Ok(if live { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn consent(client: &Client, name: &str, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.post(&["v1", "accounts", name, "token", "consent"], Fields::default()).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let value = answer.value()?;
    let url = maybe(&value, "/login_url").ok_or_else(|| client.strange())?;
    table::print(&clean(&url))?;
    eprintln!("Open it in a browser and log in. Consents left today: {}.", text(&value, "/consents_left"));
    Ok(ExitCode::SUCCESS)
}

/// Print a token's state; is it live?
fn print(answer: &Answer, json: bool) -> Result<bool, CallError> {
    let value = answer.value()?;
    if json {
        table::print(&answer.text)?;
    } else {
        table::print(&table::lines(described(&value, Timestamp::now())))?;
    }
    Ok(text(&value, "/state") == "live")
}

/// A token's state in lines.
pub(super) fn described(token: &Value, now: Timestamp) -> Vec<(&'static str, String)> {
    let source = maybe(token, "/source").map(|source| format!(" ({source})")).unwrap_or_default();
    let state = text(token, "/state");
    let mut rows = vec![("token", format!("{state}{source}"))];
    if let Some(until) = maybe(token, "/waiting_until") {
        let left = distance(&until, now).map(|left| format!(", {left}")).unwrap_or_default();
        let why = super::trouble::waits(token).map(|why| format!("; {why}")).unwrap_or_default();
        rows.push(("next login", format!("{}{left}{why}", both_clocks(&until))));
    }
    if let Some(until) = maybe(token, "/expires_at") {
        // The broker may have ended a token hours before the time that stands in it.
        let left = match state.as_str() {
            "live" | "refreshing" => distance(&until, now).map(|left| format!(", {left}")).unwrap_or_default(),
            _ => "; it does not sign any more".to_owned(),
        };
        rows.push(("until", format!("{}{left}", both_clocks(&until))));
    }
    if let Some(summary) = maybe(token, "/last_error/summary") {
        rows.push(("problem", format!("{summary} ({})", text(token, "/last_error/code"))));
        rows.push(("what to do", text(token, "/last_error/action")));
    }
    rows
}
