//! `sixgate pair`.

use std::net::Ipv6Addr;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::next_step;
use super::table::{self, text};

/// An account's two addresses: assign, retire
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate pair assign alpha
  sixgate pair assign alpha --primary 2001:db8:a1::77 --secondary 2001:db8:a2::77
  sixgate pair retire alpha --yes")]
pub(super) struct PairArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give an account its pair: the next free one of a pool, or the one named
    ///
    /// An account that has a pair keeps it, and is told it again. All of the account's
    /// traffic leaves from these two addresses. Check that they reach the broker (`sixgate
    /// validate NAME`) before you register them: they are then fixed for seven days.
    #[command(after_long_help = "Examples:
  sixgate pair assign alpha
  sixgate pair assign alpha --pool main
  sixgate pair assign alpha --primary 2001:db8:a1::77 --secondary 2001:db8:a2::77")]
    Assign {
        /// The account's name
        name: String,
        /// The pool to take it from; not needed while there is one
        #[arg(long, value_name = "NAME", conflicts_with_all = ["primary", "secondary"])]
        pool: Option<String>,
        /// Your own primary address
        #[arg(long, value_name = "ADDRESS", requires = "secondary")]
        primary: Option<Ipv6Addr>,
        /// Your own secondary address
        #[arg(long, value_name = "ADDRESS", requires = "primary")]
        secondary: Option<Ipv6Addr>,
    },
    /// Take an account's pair away from it, for good
    ///
    /// A tombstone stays on both addresses: no other account is given them, because a
    /// broker that has seen an address with one customer refuses it for the next. The
    /// account itself can have the same pair back, by naming it to `pair assign`.
    #[command(after_long_help = "Example:
  sixgate pair retire alpha --yes")]
    Retire {
        /// The account's name
        name: String,
        /// Yes, retire it
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn run(arguments: &PairArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::Assign { name, pool, primary, secondary } => {
            let mut fields = Fields::default();
            fields.may("pool", pool.as_deref());
            fields.may("primary", primary.map(|address| address.to_string()));
            fields.may("secondary", secondary.map(|address| address.to_string()));
            assign(client, client::account(name)?, fields, json).await
        }
        Command::Retire { name, yes } => retire(client, client::account(name)?, *yes, json).await,
    })
}

async fn assign(client: &Client, name: &str, fields: Fields, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.post(&["v1", "accounts", name, "pair"], fields).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let pair = answer.value()?;
    let rows = [("primary", text(&pair, "/primary")), ("secondary", text(&pair, "/secondary"))];
    table::print(&table::lines(rows))?;
    let account = client.get(&["v1", "accounts", name]).await?.value()?;
    if let Some(next) = next_step::steps(&account) {
        eprintln!("{next}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn retire(client: &Client, name: &str, yes: bool, json: bool) -> Result<ExitCode, CallError> {
    if !yes {
        return Err(CallError::Usage(format!(
            "this takes the pair of {name} away: nothing of the account is sent any more, and a tombstone keeps both \
             addresses from every other account (a broker that has seen an address with one customer refuses it for the \
             next); if that is meant, add --yes"
        )));
    }
    client.delete(&["v1", "accounts", name, "pair"]).await?;
    if !json {
        table::print(&format!("the pair of {name} is retired; a tombstone keeps its addresses from other accounts"))?;
    }
    Ok(ExitCode::SUCCESS)
}
