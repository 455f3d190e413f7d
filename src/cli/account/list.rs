//! `sixgate account list`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::failure::CallError;
use crate::cli::table::{self, list as items, text};

/// Every account, with its pair, legs, token and problems
///
/// With filters only those that pass all of them.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate account list
  sixgate account list --sort trouble | head
  sixgate account list --problem needs_person
  sixgate account list --state waiting --query 2001:db8:a1:
  sixgate account list --problem leg_tripped --json | jq -r '.items[].name'")]
pub(super) struct ListArguments {
    /// Only those whose token stands so
    #[arg(long)]
    state: Option<TokenState>,
    /// Only those that are in this trouble
    #[arg(long)]
    problem: Option<Problem>,
    /// Only those with this text in the name, nickname, client id or an address
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// The order in which they come
    #[arg(long)]
    sort: Option<Sort>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum TokenState {
    /// There is none
    Absent,
    /// A login is under way
    Minting,
    /// It signs
    Live,
    /// It signs, and is being renewed
    Refreshing,
    /// The next login waits for its time
    Waiting,
    /// Somebody has to do something
    NeedsPerson,
}

impl TokenState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Minting => "minting",
            Self::Live => "live",
            Self::Refreshing => "refreshing",
            Self::Waiting => "waiting",
            Self::NeedsPerson => "needs_person",
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Problem {
    /// Its login needs a person
    NeedsPerson,
    /// Its orders are refused, because somebody halted it
    Halted,
    /// One of its legs is not used
    LegTripped,
    /// No token signs for it
    NoToken,
    /// Its last validation found something wrong
    ValidationFailed,
    /// It was not validated since the gateway was started
    NotValidated,
}

impl Problem {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NeedsPerson => "needs_person",
            Self::Halted => "halted",
            Self::LegTripped => "leg_tripped",
            Self::NoToken => "no_token",
            Self::ValidationFailed => "validation_failed",
            Self::NotValidated => "not_validated",
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sort {
    /// By name
    Name,
    /// The worst first
    Trouble,
}

impl Sort {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Trouble => "trouble",
        }
    }
}

pub(super) async fn list(client: &Client, which: &ListArguments, json: bool) -> Result<ExitCode, CallError> {
    let filter = [
        ("state", which.state.map(TokenState::as_str)),
        ("problem", which.problem.map(Problem::as_str)),
        ("q", which.query.as_deref()),
        ("sort", which.sort.map(Sort::as_str)),
    ];
    let filter: Vec<_> = filter.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let found = client.list_of(&["v1", "accounts"], &filter).await?;
    if json {
        table::print_items(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = [
        "NAME",
        "CLIENT ID",
        "PLATFORM",
        "PRIMARY",
        "SECONDARY",
        "LEGS",
        "TOKEN",
        "UNTIL (IST)",
        "UNTIL (UTC)",
        "HALTED",
        "PROBLEMS",
    ];
    table::print(&table::table(header, table::values(&found).iter().map(row)))?;
    Ok(ExitCode::SUCCESS)
}

fn row(account: &Value) -> [String; 11] {
    // A token that does not sign has no hours left, whatever it says of itself.
    let signs = matches!(text(account, "/token/state").as_str(), "live" | "refreshing");
    let until = table::two_columns(account, "/token/expires_at");
    let [ist, utc] = if signs { until } else { ["-".to_owned(), "-".to_owned()] };
    [
        text(account, "/name"),
        text(account, "/client_id"),
        text(account, "/platform"),
        text(account, "/pair/primary"),
        text(account, "/pair/secondary"),
        // `admits/tripped`: the primary and the secondary.
        or_dash(items(account, "/legs").iter().map(|leg| text(leg, "/state")).collect(), "/"),
        text(account, "/token/state"),
        ist,
        utc,
        text(account, "/halted"),
        or_dash(items(account, "/problems").iter().filter_map(Value::as_str).map(str::to_owned).collect(), ","),
    ]
}

fn or_dash(words: Vec<String>, between: &str) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(between) }
}
