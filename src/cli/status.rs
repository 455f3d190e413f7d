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
use crate::domain::{at_most_a_million, counted};

/// Accounts that are named; the rest is counted.
const NAMED: usize = 20;

/// What runs, since when, and who cannot trade and why
///
/// Exit code 1 if an account cannot trade, something else logs in or trades for one, nobody
/// knows what became of an order, the journal cannot be written, or this host lacks something.
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
    let shared: Vec<(String, String)> = accounts
        .iter()
        .filter(|account| list(account, "/problems").iter().any(|problem| problem == "not_alone"))
        .filter_map(|account| Some((text(account, "/name"), trouble::not_alone(account)?)))
        .collect();
    let ready: Vec<&str> = ready.lines().filter(|line| !line.starts_with("this host: ")).collect();
    let is_ready = ready == ["ready"];
    let findings = list(&host, "/findings");
    let all_is_well =
        is_ready && troubled.is_empty() && shared.is_empty() && unsettled(&about) == 0 && findings.is_empty();
    if json {
        let troubled: Vec<Value> = troubled.iter().map(|(name, why)| json!({ "account": name, "why": why })).collect();
        let shared: Vec<Value> = shared.iter().map(|(name, why)| json!({ "account": name, "why": why })).collect();
        let whole = json!({ "status": about, "ready": ready, "accounts": accounts.len(), "cannot_trade": troubled,
            "not_alone": shared, "pools": pools, "host": findings });
        table::print(&whole.to_string())?;
    } else {
        let mut parts = vec![summary(&about, accounts.len(), troubled.len(), &pools, &ready)];
        let troubled: Vec<_> = troubled.into_iter().map(|(name, why)| (name, why.join("; "))).collect();
        parts.extend(named("WHY IT CANNOT TRADE", &troubled));
        parts.extend(named("WHAT ELSE LOGS IN OR TRADES FOR IT", &shared));
        parts.extend(findings.iter().map(finding));
        table::print(&parts.join("\n\n"))?;
    }
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Orders of which nobody knows what became.
fn unsettled(about: &Value) -> u64 {
    number(about, "/unsettled_orders")
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn summary(about: &Value, accounts: usize, troubled: usize, pools: &[Value], ready: &[&str]) -> String {
    let mut rows = Vec::new();
    if !about.is_null() {
        let kind = if is(about, "/sandbox") { " with the built-in broker: nothing here reaches Dhan" } else { "" };
        rows.push(("sixgate", format!("{}{kind}", text(about, "/version"))));
        rows.push(("since", both_clocks(&text(about, "/started_at"))));
        rows.push(("file", maybe(about, "/config_file").unwrap_or_else(|| "none".to_owned())));
        let doors = list(about, "/listeners").iter().map(|listener| text(listener, "/at"));
        rows.push(("callers", doors.collect::<Vec<_>>().join(", ")));
        rows.push(("journal", counted(number(about, "/journal/seq"), "line")));
        if unsettled(about) > 0 {
            rows.push((
                "unknown",
                format!(
                    "nobody knows what became of {}: look in the order book, then settle it in the console \
                     (sixgate journal list --outcome unknown)",
                    counted(unsettled(about), "order")
                ),
            ));
        }
    }
    rows.push(("ready", ready.join("; ")));
    rows.extend(pools.iter().map(|pool| {
        let (name, given) = (text(pool, "/name"), counted(number(pool, "/assigned"), "pair"));
        ("pool", format!("{name}: {given} given, of {}", at_most_a_million(&text(pool, "/capacity"))))
    }));
    rows.push(("accounts", format!("{accounts}, of which {troubled} cannot trade")));
    table::lines(rows)
}

/// The first of these accounts with what is said of each.
fn named(header: &str, accounts: &[(String, String)]) -> Vec<String> {
    if accounts.is_empty() {
        return Vec::new();
    }
    let rows = accounts.iter().take(NAMED).map(|(name, why)| [name.clone(), why.clone()]);
    let table = table::table(["ACCOUNT", header], rows);
    let more = accounts.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more: sixgate account list"));
    std::iter::once(table).chain(more).collect()
}

fn finding(finding: &Value) -> String {
    let line = |member| super::text::clean(&text(finding, member));
    format!("This host: {}\n  why it matters: {}\n  what to do: {}", line("/what"), line("/why"), line("/fix"))
}
