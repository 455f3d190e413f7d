//! `sixgate status`: is all well, on one screen.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::table::{self, both_clocks, is, list, maybe, text};
use super::trouble;

/// Accounts that are named; the rest is counted.
const NAMED: usize = 20;

/// What runs, since when, and who cannot trade and why
///
/// Exit code 1 if an account cannot trade, the journal cannot be written, or this host lacks
/// something.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate status
  sixgate status --json | jq .cannot_trade")]
pub(super) struct StatusArguments {
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

pub(super) fn run(arguments: &StatusArguments) -> ExitCode {
    client::run(&arguments.gateway, async |client| status(client, arguments.output.json).await)
}

async fn status(client: &Client, json: bool) -> Result<ExitCode, CallError> {
    // A gateway of an earlier version has no such page, and the rest is worth as much.
    let about = match client.get(&["v1", "status"]).await {
        Ok(answer) => answer.value()?,
        Err(CallError::NoRoute { .. }) => Value::Null,
        Err(err) => return Err(err),
    };
    let accounts = table::values(&client.list(&["v1", "accounts"]).await?);
    let pools = table::values(&client.list(&["v1", "pools"]).await?);
    let host = client.get(&["v1", "host"]).await?.value()?;
    let ready = client.get_any(&["readyz"]).await?;
    let troubled: Vec<(String, Vec<String>)> = accounts
        .iter()
        .map(|account| (text(account, "/name"), trouble::of(account, Timestamp::now())))
        .filter(|(_, why)| !why.is_empty())
        .collect();
    let ready: Vec<&str> = ready.lines().filter(|line| !line.starts_with("this host: ")).collect();
    let is_ready = ready == ["ready"];
    let findings = list(&host, "/findings");
    if json {
        let troubled: Vec<Value> = troubled.iter().map(|(name, why)| json!({ "account": name, "why": why })).collect();
        let whole = json!({ "status": about, "ready": ready, "accounts": accounts.len(), "cannot_trade": troubled,
            "pools": pools, "host": findings });
        table::print(&whole.to_string())?;
    } else {
        table::print(&shown(&about, &accounts, &troubled, &pools, &ready, findings))?;
    }
    Ok(if is_ready && troubled.is_empty() && findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(
    about: &Value,
    accounts: &[Value],
    troubled: &[(String, Vec<String>)],
    pools: &[Value],
    ready: &[&str],
    findings: &[Value],
) -> String {
    let mut rows = Vec::new();
    if !about.is_null() {
        let kind = if is(about, "/sandbox") { " with the built-in broker: nothing here reaches Dhan" } else { "" };
        rows.push(("sixgate", format!("{}{kind}", text(about, "/version"))));
        rows.push(("since", both_clocks(&text(about, "/started_at"))));
        rows.push(("file", maybe(about, "/config_file").unwrap_or_else(|| "none".to_owned())));
        let doors = list(about, "/listeners").iter().map(|listener| text(listener, "/at"));
        rows.push(("callers", doors.collect::<Vec<_>>().join(", ")));
        rows.push(("journal", format!("{} lines", text(about, "/journal/seq"))));
    }
    rows.push(("ready", ready.join("; ")));
    rows.extend(pools.iter().map(|pool| {
        let (name, given, all) = (text(pool, "/name"), text(pool, "/assigned"), text(pool, "/capacity"));
        ("pool", format!("{name}: {given} pairs given, of {all}"))
    }));
    rows.push(("accounts", format!("{}, of which {} cannot trade", accounts.len(), troubled.len())));
    let mut parts = vec![table::lines(rows)];
    if !troubled.is_empty() {
        let rows = troubled.iter().take(NAMED).map(|(name, why)| [name.clone(), why.join("; ")]);
        parts.push(table::table(["ACCOUNT", "WHY IT CANNOT TRADE"], rows));
        if troubled.len() > NAMED {
            parts.push(format!("and {} more: sixgate account list", troubled.len() - NAMED));
        }
    }
    parts.extend(findings.iter().map(|finding| {
        let line = |member| super::text::clean(&text(finding, member));
        format!("This host: {}\n  why it matters: {}\n  what to do: {}", line("/what"), line("/why"), line("/fix"))
    }));
    parts.join("\n\n")
}
