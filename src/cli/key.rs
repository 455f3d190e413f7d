//! `sixgate key`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table::{self, both_clocks, maybe, text};

/// Client keys, by which order engines show which account they trade: list, create, delete
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate key create alpha
  sixgate key list alpha
  sixgate key delete alpha ID")]
pub(super) struct KeyArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An account's keys by their ids, and when each was last used; their texts are not kept
    #[command(after_long_help = "Example:
  sixgate key list alpha")]
    List {
        /// The account's name
        name: String,
    },
    /// Make a key. It is shown now and never again
    ///
    /// Give each order engine its own, so that one can be taken away alone. An engine uses it
    /// as http://ACCOUNT:KEY@HOST:PORT, its proxy's address.
    #[command(after_long_help = "Examples:
  sixgate key create alpha --label 'engine on vm3'
  sixgate key create alpha --json | jq -r .key > alpha.key")]
    Create {
        /// The account's name
        name: String,
        /// Whose it is, for people: shown in lists
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// Delete a key. Its tunnels end with their next request
    #[command(after_long_help = "Example:
  sixgate key delete alpha ID")]
    Delete {
        /// The account's name
        name: String,
        /// The key's id, as `key list` shows it; not the key
        id: String,
    },
}

pub(super) fn run(arguments: &KeyArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::List { name } => all(client, client::account(name)?, json).await,
        Command::Create { name, label } => make(client, client::account(name)?, label.as_deref(), json).await,
        Command::Delete { name, id } => {
            let (name, id) = (client::account(name)?, client::checked("a key's id", id)?);
            client.delete(&["v1", "accounts", name, "keys", id]).await?;
            if !json {
                table::print(&format!("the key {id} of {name} is deleted"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    })
}

async fn all(client: &Client, name: &str, json: bool) -> Result<ExitCode, CallError> {
    let items = client.list(&["v1", "accounts", name, "keys"]).await?;
    if json {
        table::print_items(&items)?;
        return Ok(ExitCode::SUCCESS);
    }
    let keys = table::values(&items);
    let rows = keys.iter().map(|key| {
        let used = maybe(key, "/last_used_at").map_or_else(|| "never".to_owned(), |at| both_clocks(&at));
        [text(key, "/id"), text(key, "/label"), both_clocks(&text(key, "/created_at")), used]
    });
    table::print(&table::table(["ID", "LABEL", "CREATED", "LAST USED"], rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn make(client: &Client, name: &str, label: Option<&str>, json: bool) -> Result<ExitCode, CallError> {
    let mut fields = Fields::default();
    fields.may("label", label);
    let answer = client.post(&["v1", "accounts", name, "keys"], fields).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let key = answer.value()?;
    table::print(&table::lines([("id", text(&key, "/id")), ("key", text(&key, "/key"))]))?;
    eprintln!("It is not kept and not shown again. A caller's proxy is http://{name}:KEY@HOST:PORT.");
    Ok(ExitCode::SUCCESS)
}
