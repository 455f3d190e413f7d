//! `sixgate validate`.

use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table::{self, is, list, text};

/// Is an account ready to trade? Ask the broker, by both legs
///
/// Looks at whether each leg reaches the broker, at the token, at what address the broker sees
/// on each leg, at the registration, at whether orders are allowed, and at the clock that TOTP
/// needs. Works before there is a token: what needs one is then not known. Changes nothing
/// at the broker; a token that it refuses is asked about once more by the gateway, as after any read.
///
/// Exit code 1 if a check fails or is not known.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate validate alpha
  sixgate validate --all
  sixgate validate --all --json | jq '.items[] | select(.ok | not)'")]
pub(super) struct ValidateArguments {
    /// The account's name
    #[arg(required_unless_present = "all")]
    name: Option<String>,
    /// Every account, with progress on a terminal
    #[arg(long, conflicts_with = "name")]
    all: bool,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

pub(super) fn run(arguments: &ValidateArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.name {
        Some(name) => one(client, client::account(name)?, json).await,
        None => all(client, json).await,
    })
}

const fn exit_code(ok: bool) -> ExitCode {
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn one(client: &Client, name: &str, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.post(&["v1", "accounts", name, "validate"], Fields::default()).await?;
    let value = answer.value()?;
    if json {
        table::print(&answer.text)?;
    } else {
        let row = |check: &Value| [text(check, "/name"), result(check), text(check, "/detail")];
        table::print(&table::table(["CHECK", "RESULT", "DETAIL"], list(&value, "/checks").iter().map(row)))?;
    }
    Ok(exit_code(is(&value, "/ok")))
}

fn word(ok: bool) -> String {
    if ok { "ok" } else { "FAILED" }.to_owned()
}

/// A check's own word. What is not known is no failure, and not well either.
fn result(check: &Value) -> String {
    match text(check, "/result").as_str() {
        "unknown" => "not known".to_owned(),
        _ => word(is(check, "/ok")),
    }
}

async fn all(client: &Client, json: bool) -> Result<ExitCode, CallError> {
    let progress = progress(client).await?;
    let answered = answers(client, &progress).await;
    progress.finish_and_clear();
    let mut items = answered?;
    // They come as they are done; the API's own list is in the order of names.
    items.sort_by(|a, b| a.account.cmp(&b.account));
    let failed = items.iter().filter(|item| !item.ok).count();
    let raw: Vec<_> = items.iter().map(|item| item.raw.clone()).collect();
    if json {
        table::print_items(&raw)?;
    } else {
        let rows = table::values(&raw).into_iter().map(|item| [text(&item, "/account"), in_all(&item), wrong(&item)]);
        table::print(&table::table(["ACCOUNT", "RESULT", "WHAT IS WRONG"], rows))?;
        eprintln!("ready: {} of {}", items.len() - failed, crate::domain::counted(items.len(), "account"));
    }
    Ok(exit_code(failed == 0))
}

/// An account as a whole. One of which something is not known has not failed, and is not well either.
fn in_all(item: &Value) -> String {
    let unknown = |check: &Value| is(check, "/ok") || text(check, "/result") == "unknown";
    if !is(item, "/ok") && list(item, "/checks").iter().all(unknown) {
        return "not known".to_owned();
    }
    word(is(item, "/ok"))
}

/// The checks of an account that are not well.
fn wrong(item: &Value) -> String {
    let failed = list(item, "/checks").iter().filter(|check| !is(check, "/ok"));
    let told: Vec<_> = failed.map(|check| format!("{}: {}", text(check, "/name"), text(check, "/detail"))).collect();
    if told.is_empty() { "-".to_owned() } else { told.join("; ") }
}

/// A bar on a terminal. How many accounts there are is asked only for it.
async fn progress(client: &Client) -> Result<ProgressBar, CallError> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if bar.is_hidden() {
        return Ok(bar);
    }
    bar.set_length(client.list(&["v1", "accounts"]).await?.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} accounts {msg}") {
        bar.set_style(style);
    }
    Ok(bar)
}

/// One account's answer.
struct Item {
    account: String,
    ok: bool,
    /// As it came.
    raw: Box<RawValue>,
}

#[derive(Deserialize)]
struct Head {
    account: String,
    ok: bool,
}

impl Item {
    fn read(raw: Box<RawValue>) -> Option<Self> {
        let Head { account, ok } = serde_json::from_str(raw.get()).ok()?;
        Some(Self { account, ok, raw })
    }
}

/// Every account's answer: a line each as soon as it is done, or all at once if the
/// gateway knows no lines.
async fn answers(client: &Client, progress: &ProgressBar) -> Result<Vec<Item>, CallError> {
    let mut response = client.post_for_lines(&["v1", "validate"]).await?;
    let kind =
        response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let lines = kind.contains("ndjson");
    let (mut items, mut rest, mut failed) = (Vec::new(), Vec::new(), 0usize);
    while let Some(chunk) = response.chunk().await.map_err(|err| client.broken(&err))? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n').filter(|_| lines) {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(item) = line_item(client, &line)? {
                failed += usize::from(!item.ok);
                items.push(item);
                progress.inc(1);
                if failed > 0 {
                    progress.set_message(format!("({failed} not ready)"));
                }
            }
        }
    }
    if lines {
        items.extend(line_item(client, &rest)?);
        return Ok(items);
    }
    #[derive(Deserialize)]
    struct All {
        items: Vec<Box<RawValue>>,
    }
    let all: All = serde_json::from_slice(&rest).map_err(|_| client.strange())?;
    all.items.into_iter().map(|raw| Item::read(raw).ok_or_else(|| client.strange())).collect()
}

/// A line's account; nothing for an empty one.
fn line_item(client: &Client, line: &[u8]) -> Result<Option<Item>, CallError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let raw: Option<Box<RawValue>> = serde_json::from_slice(line).ok();
    raw.and_then(Item::read).map(Some).ok_or_else(|| client.strange())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::in_all;

    /// What is not known is no failure, and not well either.
    #[test]
    fn an_account_of_which_something_is_not_known_has_not_failed() {
        let item = |results: [&str; 2]| {
            let checks = results.map(|result| json!({ "name": "x", "ok": result == "ok", "result": result }));
            json!({ "ok": results == ["ok", "ok"], "checks": checks })
        };
        assert_eq!(in_all(&item(["ok", "ok"])), "ok");
        assert_eq!(in_all(&item(["ok", "unknown"])), "not known");
        assert_eq!(in_all(&item(["failed", "unknown"])), "FAILED");
    }
}
