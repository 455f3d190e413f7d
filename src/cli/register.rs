//! `sixgate register`.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table::{self, both_clocks, list, maybe, text};
use super::text::clean;
use super::{prompt, trouble};

/// Put an account's pair on the broker's list of addresses, or show what is there
///
/// The broker takes orders from registered addresses only, and an address that was
/// registered cannot be changed for seven days. Empty places are filled. A place that
/// holds another address is left alone unless --replace names that address. Check before
/// that the addresses work: `sixgate validate NAME`. It asks whether you mean it.
///
/// Exit code 1 if a place could not be set.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate register alpha --show
  sixgate register alpha
  sixgate register alpha --yes
  sixgate register alpha --replace 2001:db8:old::1 --replace 2001:db8:old::2")]
pub(super) struct RegisterArguments {
    /// The account's name
    name: String,
    /// Only show what the broker holds, and change nothing
    #[arg(long, conflicts_with = "replace")]
    show: bool,
    /// This address, which the broker holds now, may be replaced
    #[arg(long, value_name = "OLD_ADDRESS")]
    replace: Vec<IpAddr>,
    /// Yes, register them; without it you are asked on the terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

pub(super) fn run(arguments: &RegisterArguments) -> ExitCode {
    client::run(&arguments.gateway, async |client| register(client, arguments).await)
}

async fn register(client: &Client, arguments: &RegisterArguments) -> Result<ExitCode, CallError> {
    let path = ["v1", "accounts", client::account(&arguments.name)?, "registration"];
    let answer = if arguments.show {
        client.get(&path).await?
    } else {
        if !arguments.yes {
            confirm(client, arguments).await?;
        }
        // A login that is under way is waited for by this question, which can be called off; a registration that has begun
        // cannot, and locks the addresses for a week.
        let _ = client.get(&path).await;
        let mut fields = Fields::default();
        let replace: Vec<Value> = arguments.replace.iter().map(|address| address.to_string().into()).collect();
        fields.set("replace", replace);
        client.put(&path, fields).await?
    };
    let value = answer.value()?;
    if arguments.output.json {
        table::print(&answer.text)?;
    } else {
        table::print(&shown(&value))?;
    }
    let undone = |change: &Value| matches!(text(change, "/action").as_str(), "refused" | "failed");
    let done = !list(&value, "/changes").iter().any(undone);
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ask a person, who sees what is to be registered and whether it works.
async fn confirm(client: &Client, arguments: &RegisterArguments) -> Result<(), CallError> {
    let name = client::account(&arguments.name)?;
    let account = client.get(&["v1", "accounts", name]).await?.value()?;
    let [primary, secondary] = ["primary", "secondary"].map(|role| text(&account, &format!("/pair/{role}")));
    let legs = list(&account, "/legs").iter().filter(|leg| text(leg, "/state") != "admits");
    let warning: String = legs
        .map(|leg| format!("The {} address does not work: {}. ", text(leg, "/role"), trouble::leg_reason(leg)))
        .collect();
    let question = format!(
        "{warning}This registers {primary} as primary and {secondary} as secondary of {name}; the broker then keeps them for \
         seven days"
    );
    if !prompt::confirm(&clean(&question), &format!("{question}; if that is meant, add --yes"))? {
        return Err(CallError::Declined);
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    let rows = ["primary", "secondary"].map(|role| {
        let of = |member: &str| format!("/{role}/{member}");
        [
            role.to_owned(),
            text(value, &of("assigned")),
            text(value, &of("registered")),
            text(value, &of("matches")),
            maybe(value, &of("change_allowed_from")).map_or_else(|| "-".to_owned(), |day| both_clocks(&day)),
        ]
    });
    let mut parts = vec![table::table(["ROLE", "ASSIGNED", "REGISTERED", "MATCHES", "CHANGE ALLOWED FROM"], rows)];
    parts.push(table::lines([
        ("seen by the broker", text(value, "/detected")),
        ("match", text(value, "/match_status")),
        ("orders allowed", text(value, "/orders_allowed")),
    ]));
    let changes = list(value, "/changes");
    if !changes.is_empty() {
        let rows = changes.iter().map(|change| ["/role", "/action", "/detail"].map(|member| text(change, member)));
        parts.push(table::table(["ROLE", "DONE", "DETAIL"], rows));
    }
    parts.join("\n\n")
}
