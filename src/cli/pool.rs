//! `sixgate pool`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ipnet::Ipv6Net;
use serde_json::Value;

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table::{self, text};

/// Pools of addresses that pairs are given from: list, create, delete
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate pool list
  sixgate pool create main --primary 2001:db8:a1::/64 --secondary 2001:db8:a2::/64
  sixgate pool delete main")]
pub(super) struct PoolArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every pool, with how many pairs it has given, what is left, and the pair that comes next
    #[command(after_long_help = "Example:
  sixgate pool list")]
    List,
    /// Make a pool of two prefixes
    ///
    /// Both must be routed to this host and overlap no other pool. They do not change
    /// afterwards. Pairs are given from the lowest addresses upwards.
    #[command(after_long_help = "Examples:
  sixgate pool create main --primary 2001:db8:a1::/64 --secondary 2001:db8:a2::/64
  One /64 in two halves:
    sixgate pool create half --primary 2001:db8:a1::/65 --secondary 2001:db8:a1:0:8000::/65")]
    Create {
        /// Its name: 1 to 64 of A-Z a-z 0-9 . _ -
        name: String,
        /// The prefix of the primaries
        #[arg(long, value_name = "PREFIX")]
        primary: Ipv6Net,
        /// The prefix of the secondaries
        #[arg(long, value_name = "PREFIX")]
        secondary: Ipv6Net,
    },
    /// Delete a pool that no account has a pair of
    #[command(after_long_help = "Example:
  sixgate pool delete spare")]
    Delete {
        /// Its name
        name: String,
    },
}

pub(super) fn run(arguments: &PoolArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::List => all(client, json).await,
        Command::Create { name, primary, secondary } => make(client, name, *primary, *secondary, json).await,
        Command::Delete { name } => delete(client, name, json).await,
    })
}

async fn all(client: &Client, json: bool) -> Result<ExitCode, CallError> {
    let items = client.list(&["v1", "pools"]).await?;
    if json {
        table::print_items(&items)?;
    } else {
        table::print(&shown(&table::values(&items)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(pools: &[Value]) -> String {
    let columns =
        ["/name", "/primary", "/secondary", "/assigned", "/free", "/next/primary", "/next/secondary", "/retired"];
    let rows = pools.iter().map(|pool| columns.map(|column| text(pool, column)));
    table::table(
        ["NAME", "PRIMARY", "SECONDARY", "ASSIGNED", "FREE", "NEXT PRIMARY", "NEXT SECONDARY", "TOMBSTONES"],
        rows,
    )
}

async fn make(
    client: &Client,
    name: &str,
    primary: Ipv6Net,
    secondary: Ipv6Net,
    json: bool,
) -> Result<ExitCode, CallError> {
    let mut fields = Fields::default();
    fields.set("name", name);
    fields.set("primary", primary.to_string());
    fields.set("secondary", secondary.to_string());
    let answer = client.post(&["v1", "pools"], fields).await?;
    if json {
        table::print(&answer.text)?;
    } else {
        table::print(&shown(&[answer.value()?]))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(client: &Client, name: &str, json: bool) -> Result<ExitCode, CallError> {
    let name = client::checked("the pool's name", name)?;
    client.delete(&["v1", "pools", name]).await?;
    if !json {
        table::print(&format!("the pool {name} is deleted"))?;
    }
    Ok(ExitCode::SUCCESS)
}
