//! `sixgate purge`.

use std::io::{BufRead, IsTerminal, Write};
use std::net::Ipv6Addr;
use std::process::ExitCode;

use clap::Args;

use super::client::{self, Client};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::table::{self, both_clocks, text};

/// Forget that an account had an address, so that another account may get it
///
/// Only an address that its account gave up (a tombstone) can be purged, one at a time and by its name. Dhan may
/// still know the address with its earlier customer, and refuse it for the next: purge one only when you know that it
/// does not, or when it goes back to the same person under another client id.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate purge 2001:db8:a1::17
  sixgate purge 2001:db8:a1::17 --yes")]
pub(super) struct PurgeArguments {
    /// The address
    address: Ipv6Addr,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    gateway: GatewayArguments,
}

pub(super) fn run(arguments: &PurgeArguments) -> ExitCode {
    client::run(&arguments.gateway, async |client| purge(client, arguments).await)
}

async fn purge(client: &Client, arguments: &PurgeArguments) -> Result<ExitCode, CallError> {
    let address = arguments.address.to_string();
    let path = ["v1", "addresses", &address];
    if !arguments.yes {
        let record = client.get(&path).await?.value()?;
        let retired = both_clocks(&text(&record, "/retired_at"));
        let had = format!("{address} was {}'s (client id {})", text(&record, "/account"), text(&record, "/client_id"));
        let warning = format!("{had} until {retired}. Dhan may still know it, and refuse it for another customer.");
        if !std::io::stdin().is_terminal() {
            return Err(CallError::Usage(format!("{warning} If that is meant, add --yes")));
        }
        eprint!("{warning}\nType the address to purge it: ");
        let _ = std::io::stderr().flush();
        let mut typed = String::new();
        let _ = std::io::stdin().lock().read_line(&mut typed);
        if typed.trim().parse() != Ok(arguments.address) {
            return Err(CallError::Usage("that is another address; nothing was purged".to_owned()));
        }
    }
    client.delete(&path).await?;
    table::print(&format!("{address} is purged: any account may get it"))?;
    Ok(ExitCode::SUCCESS)
}
