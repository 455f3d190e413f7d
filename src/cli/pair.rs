//! `sixgate pair`.

use std::net::Ipv6Addr;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::next_step;
use super::table::{self, both_clocks, text};
use super::text::clean;

/// An account's two addresses: assign, retire, set aside
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate pair assign alpha
  sixgate pair assign alpha --primary 2001:db8:a1::77 --secondary 2001:db8:a2::77
  sixgate pair reserve --pool main
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
  sixgate pair assign alpha --primary 2001:db8:a1::77 --secondary 2001:db8:a2::77
  sixgate pair assign alpha --reservation 5f0c2b6e9d")]
    Assign {
        /// The account's name
        name: String,
        /// The pool to take it from; not needed while there is one
        #[arg(long, value_name = "NAME", conflicts_with_all = ["primary", "secondary", "reservation"])]
        pool: Option<String>,
        /// Your own primary address
        #[arg(long, value_name = "ADDRESS", requires = "secondary")]
        primary: Option<Ipv6Addr>,
        /// Your own secondary address
        #[arg(long, value_name = "ADDRESS", requires = "primary")]
        secondary: Option<Ipv6Addr>,
        /// The pair that `sixgate pair reserve` set aside under this id
        #[arg(long, value_name = "ID", conflicts_with_all = ["primary", "secondary"])]
        reservation: Option<String>,
    },
    /// Set the next free pair aside for ten minutes, and print its id
    ///
    /// You see which addresses an account will get before there is the account. Nobody else is
    /// given them meanwhile. A restart of the gateway ends it.
    #[command(after_long_help = "Examples:
  sixgate pair reserve
  sixgate pair assign alpha --reservation $(sixgate pair reserve --pool main --json | jq -r .id)")]
    Reserve {
        /// The pool to take it from; not needed while there is one
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
    },
    /// Give back a pair that was set aside
    #[command(after_long_help = "Example:
  sixgate pair release 5f0c2b6e9d --pool main")]
    Release {
        /// What `sixgate pair reserve` printed
        id: String,
        /// The pool that it is of; not needed while there is one
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
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
        Command::Assign { name, pool, primary, secondary, reservation } => {
            let mut fields = Fields::default();
            fields.may("pool", pool.as_deref());
            fields.may("primary", primary.map(|address| address.to_string()));
            fields.may("secondary", secondary.map(|address| address.to_string()));
            fields.may("reservation", reservation.as_deref());
            assign(client, client::account(name)?, fields, json).await
        }
        Command::Reserve { pool } => reserve(client, pool.as_deref(), json).await,
        Command::Release { id, pool } => release(client, id, pool.as_deref(), json).await,
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
    if let Some(next) = next_step::advice(&account) {
        eprintln!("{next}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The pool that was named, or the only one.
async fn pool_of(client: &Client, named: Option<&str>) -> Result<String, CallError> {
    if let Some(name) = named {
        return client::checked("the pool's name", name).map(str::to_owned);
    }
    let pools = table::values(&client.list(&["v1", "pools"]).await?);
    let names: Vec<String> = pools.iter().map(|pool| text(pool, "/name")).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(CallError::Refused { text: "there is no pool; make one: sixgate pool create".to_owned() }),
        several => Err(CallError::Usage(format!("say which pool (--pool NAME): there are {}", several.join(", ")))),
    }
}

async fn reserve(client: &Client, pool: Option<&str>, json: bool) -> Result<ExitCode, CallError> {
    let pool = pool_of(client, pool).await?;
    let answer = client.post(&["v1", "pools", &pool, "reservations"], Fields::default()).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let reserved = answer.value()?;
    table::print(&table::lines([
        ("id", text(&reserved, "/id")),
        ("pool", pool),
        ("primary", text(&reserved, "/primary")),
        ("secondary", text(&reserved, "/secondary")),
        ("until", both_clocks(&text(&reserved, "/until"))),
    ]))?;
    eprintln!("Next: sixgate pair assign NAME --reservation {}", clean(&text(&reserved, "/id")));
    Ok(ExitCode::SUCCESS)
}

async fn release(client: &Client, id: &str, pool: Option<&str>, json: bool) -> Result<ExitCode, CallError> {
    let pool = pool_of(client, pool).await?;
    client.delete(&["v1", "pools", &pool, "reservations", id]).await?;
    if !json {
        table::print("the pair is free again")?;
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
