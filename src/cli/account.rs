//! `sixgate account`.

mod limits;
mod list;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::secrets::SecretArguments;
use super::table::{self, both_clocks, is, list as items, maybe, text};
use super::{next_step, token, trouble};
use crate::domain::{Platform, RepeatsBy, StreamsMode};

/// Trading accounts: list, show, limits, create, change, delete, pin to a leg
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate account list --sort trouble
  sixgate account create alpha --platform DHAN_V2_AT_IPV6 --client-id 1000000001 --ask
  sixgate account create beta --platform DHAN_V2_IPV6 --client-id 1000000002
  sixgate account show alpha --json
  sixgate account leg alpha secondary")]
pub(super) struct AccountArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::ListArguments),
    /// One account, in full
    #[command(after_long_help = "Example:
  sixgate account show alpha")]
    Show {
        /// The account's name
        name: String,
    },
    /// How much of the broker's limits an account has used
    ///
    /// A row for each window of each limit. ALLOWED is what the gateway lets through: the broker's
    /// number without `limits.margin`. Cancels and what else takes risk away go beyond it, up to
    /// LIMIT. The broker is not asked.
    #[command(after_long_help = "Examples:
  sixgate account limits alpha
  sixgate account limits alpha --json | jq '.items[] | select(.class == \"order\")'")]
    Limits {
        /// The account's name
        name: String,
    },
    Create(Create),
    Change(Change),
    /// Delete an account with its secrets and client keys
    ///
    /// Its addresses become tombstones: no other account gets them, because a broker that
    /// has seen an address with one customer refuses it for the next.
    #[command(after_long_help = "Example:
  sixgate account delete alpha --yes")]
    Delete {
        /// The account's name
        name: String,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
    },
    /// Send an account's requests by one leg, or by the one that its health chooses
    #[command(after_long_help = "Examples:
  sixgate account leg alpha secondary    # until told otherwise
  sixgate account leg alpha auto         # the primary while it admits, else the secondary")]
    Leg {
        /// The account's name
        name: String,
        /// Which
        leg: Pin,
    },
}

/// Make an account
///
/// A pair of addresses is given to it with --assign-pair, or later by `sixgate pair assign`.
/// Secrets come from files, from standard input or from a prompt, never from arguments.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  Asked for PIN and TOTP secret on the terminal, and given the next free pair:
    sixgate account create alpha --platform DHAN_V2_AT_IPV6 --client-id 1000000001 \\
      --ask --assign-pair
  Secrets from files:
    sixgate account create alpha --platform DHAN_V2_AT_IPV6 --client-id 1000000001 \\
      --pin-file pin.txt --totp-secret-file totp.txt
  A token by hand each day, the first one from standard input:
    pass dhan/token | sixgate account create beta --platform DHAN_V2_IPV6 --client-id 1000000002 \\
      --access-token-file -")]
struct Create {
    /// Our name of it: 1 to 64 of A-Z a-z 0-9 . _ -
    name: String,
    /// How it logs in
    #[arg(long, ignore_case = true)]
    platform: PlatformArgument,
    /// The broker's client id: digits, under My Profile on web.dhan.co
    #[arg(long, value_name = "DIGITS")]
    client_id: String,
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    nickname: Option<String>,
    /// What makes an order a repeat of an earlier one
    #[arg(long)]
    repeats_by: Option<RepeatsArgument>,
    /// What becomes of a WebSocket whose broker's side ends
    #[arg(long)]
    streams: Option<StreamsArgument>,
    /// Also give it the next free pair of a pool
    #[arg(long)]
    assign_pair: bool,
    /// With --assign-pair: of this pool
    #[arg(long, value_name = "NAME", requires = "assign_pair")]
    pool: Option<String>,
    #[command(flatten)]
    secrets: SecretArguments,
}

/// Change what is given of an account, and leave the rest
///
/// The name does not change; nor does the client id while the account has a pair that it has logged in with, or that was
/// given before.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate account change alpha --nickname 'Alpha, long term'
  sixgate account change alpha --ask=pin
  sixgate account change alpha --remove api_key --remove api_secret
  sixgate account change alpha --platform DHAN_V2_AT_IPV6 --pin-file pin.txt --totp-secret-file totp.txt")]
struct Change {
    /// The account's name
    name: String,
    /// How it logs in
    #[arg(long, ignore_case = true)]
    platform: Option<PlatformArgument>,
    /// The broker's client id
    #[arg(long, value_name = "DIGITS")]
    client_id: Option<String>,
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    nickname: Option<String>,
    /// What makes an order a repeat of an earlier one
    #[arg(long)]
    repeats_by: Option<RepeatsArgument>,
    /// What becomes of a WebSocket whose broker's side ends
    #[arg(long)]
    streams: Option<StreamsArgument>,
    /// Take this away
    #[arg(long, value_name = "WHAT")]
    remove: Vec<Removable>,
    #[command(flatten)]
    secrets: SecretArguments,
}

/// What of an account can be taken away.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Removable {
    Nickname,
    Pin,
    TotpSecret,
    Phone,
    ApiKey,
    ApiSecret,
}

impl Removable {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Nickname => "nickname",
            Self::Pin => "pin",
            Self::TotpSecret => "totp_secret",
            Self::Phone => "phone",
            Self::ApiKey => "api_key",
            Self::ApiSecret => "api_secret",
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RepeatsArgument {
    /// Each correlationId and each Idempotency-Key names one order
    #[value(name = "any_id")]
    AnyId,
    /// Only an Idempotency-Key does: correlation ids are labels that many orders share
    #[value(name = "idempotency_key")]
    IdempotencyKey,
}

impl From<RepeatsArgument> for RepeatsBy {
    fn from(argument: RepeatsArgument) -> Self {
        match argument {
            RepeatsArgument::AnyId => Self::AnyId,
            RepeatsArgument::IdempotencyKey => Self::IdempotencyKey,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StreamsArgument {
    /// It is closed, and the caller connects again
    #[value(name = "pass_on")]
    PassOn,
    /// The gateway opens the broker's side again, and the caller's stays open
    #[value(name = "reconnect")]
    Reconnect,
    /// The same, and callers of the feed share the broker's sockets
    #[value(name = "share")]
    Share,
}

impl From<StreamsArgument> for StreamsMode {
    fn from(argument: StreamsArgument) -> Self {
        match argument {
            StreamsArgument::PassOn => Self::PassOn,
            StreamsArgument::Reconnect => Self::Reconnect,
            StreamsArgument::Share => Self::Share,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PlatformArgument {
    /// By PIN and TOTP: no daily work
    #[value(name = "DHAN_V2_AT_IPV6")]
    Automatic,
    /// A token given by hand, renewed where the broker allows it
    #[value(name = "DHAN_V2_IPV6")]
    Manual,
}

impl From<PlatformArgument> for Platform {
    fn from(argument: PlatformArgument) -> Self {
        match argument {
            PlatformArgument::Automatic => Self::Automatic,
            PlatformArgument::Manual => Self::Manual,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pin {
    Primary,
    Secondary,
    /// The primary while it admits, else the secondary
    Auto,
}

pub(super) fn run(arguments: &AccountArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::List(which) => list::list(client, which, json).await,
        Command::Limits { name } => limits::limits(client, client::account(name)?, json).await,
        Command::Show { name } => show(client, name, json).await,
        Command::Create(create) => make(client, create, json).await,
        Command::Change(change) => alter(client, change, json).await,
        Command::Delete { name, yes } => delete(client, name, *yes, json).await,
        Command::Leg { name, leg } => pin(client, name, *leg, json).await,
    })
}

async fn show(client: &Client, name: &str, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.get(&["v1", "accounts", client::account(name)?]).await?;
    print(&answer, json)
}

/// Print an account's body.
pub(super) fn print(answer: &client::Answer, json: bool) -> Result<ExitCode, CallError> {
    if json {
        table::print(&answer.text)?;
    } else {
        table::print(&table::lines(described(&answer.value()?, Timestamp::now())))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn described(account: &Value, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("name", text(account, "/name")),
        ("nickname", text(account, "/nickname")),
        ("client id", text(account, "/client_id")),
        ("platform", text(account, "/platform")),
        ("halted", halted(account)),
        ("pinned to", maybe(account, "/pin").unwrap_or_else(|| "no leg: their health decides".to_owned())),
        ("repeats by", text(account, "/repeats_by")),
        ("streams", text(account, "/streams")),
        ("repeats today", text(account, "/repeats_today")),
        ("last request", last_request(account)),
    ];
    rows.extend(items(account, "/sockets").iter().map(|of_kind| ("websockets", websockets(of_kind))));
    for role in ["primary", "secondary"] {
        let Some(address) = maybe(account, &format!("/pair/{role}")) else {
            rows.push((role, "-".to_owned()));
            continue;
        };
        let leg = items(account, "/legs").iter().find(|leg| text(leg, "/role") == role);
        rows.push((role, leg.map_or_else(|| address.clone(), |leg| format!("{address}  {}", leg_state(leg)))));
    }
    let token = account.pointer("/token").unwrap_or(&Value::Null);
    rows.extend(token::described(token, now));
    rows.extend(trouble::not_alone(account).map(|why| ("not alone", why)));
    rows.push(("secrets", secrets(account)));
    rows.push(("validated", validated(account)));
    rows.push(("created", both_clocks(&text(account, "/created_at"))));
    rows
}

/// When, by which listener, and which program.
fn last_request(account: &Value) -> String {
    let Some(at) = maybe(account, "/last_request/at") else { return "none since the gateway was started".to_owned() };
    let [class, listener] = ["class", "listener"].map(|field| text(account, &format!("/last_request/{field}")));
    let program = maybe(account, "/last_request/program").map(|program| format!(", {program}")).unwrap_or_default();
    format!("{}; {class} by {listener}{program}", both_clocks(&at))
}

/// Those of one kind: how many are open, and what passed on them.
fn websockets(of_kind: &Value) -> String {
    let [kind, open, opened, refused] =
        ["kind", "open", "opened", "refused"].map(|field| text(of_kind, &format!("/{field}")));
    let [messages, bytes, dropped] =
        ["messages_from_broker", "bytes_from_broker", "dropped"].map(|field| text(of_kind, &format!("/{field}")));
    let dropped = if dropped == "0" { String::new() } else { format!(", {dropped} messages dropped") };
    let again = text(of_kind, "/reconnects");
    let again = if again == "0" { String::new() } else { format!(", reconnected {again} times") };
    let sharing = text(of_kind, "/sharing");
    let shared = if sharing == "0" { String::new() } else { format!(", shared by {sharing} callers") };
    format!(
        "{kind}: {open} open{shared}; {opened} opened, {refused} refused{dropped}{again}, {messages} messages ({bytes} bytes) from the \
         broker since {}",
        both_clocks(&text(of_kind, "/since"))
    )
}

/// Those that are set, by name.
fn secrets(account: &Value) -> String {
    let set = account.pointer("/secrets").and_then(Value::as_object).into_iter().flatten();
    let set = set.filter(|(_, secret)| is(secret, "/set")).map(|(name, _)| name.as_str());
    let names: Vec<&str> = set.collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn validated(account: &Value) -> String {
    let Some(at) = maybe(account, "/validated/at") else {
        return format!("not since the gateway was started; sixgate validate {}", text(account, "/name"));
    };
    let failed = items(account, "/validated/checks").iter().filter(|check| !is(check, "/ok"));
    let failed: Vec<String> =
        failed.map(|check| format!("{} {}", text(check, "/name"), text(check, "/result"))).collect();
    let found = if failed.is_empty() { "ready".to_owned() } else { failed.join(", ") };
    format!("{found}; at {}", both_clocks(&at))
}

fn halted(account: &Value) -> String {
    let warning = maybe(account, "/halt_warning").map(|warning| format!("; {warning}")).unwrap_or_default();
    let why = if table::is(account, "/halted") { trouble::reason(account) } else { String::new() };
    format!("{}{why}{warning}", text(account, "/halted"))
}

fn leg_state(leg: &Value) -> String {
    let since = both_clocks(&text(leg, "/since"));
    let number = |pointer| leg.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let open = crate::domain::counted(number("/connections"), "connection");
    let ready = match number("/idle_connections") {
        0 => "none of them ready".to_owned(),
        ready => format!("{ready} ready"),
    };
    format!("{}; since {since}; {open}, {ready}", trouble::leg_reason(leg))
}

async fn make(client: &Client, create: &Create, json: bool) -> Result<ExitCode, CallError> {
    let name = client::account(&create.name)?;
    let platform = Platform::from(create.platform);
    let mut fields = Fields::default();
    fields.set("name", name);
    fields.set("platform", platform.as_str());
    fields.set("client_id", create.client_id.as_str());
    fields.may("nickname", create.nickname.as_deref());
    fields.may("repeats_by", create.repeats_by.map(|by| RepeatsBy::from(by).as_str()));
    fields.may("streams", create.streams.map(|mode| StreamsMode::from(mode).as_str()));
    create.secrets.read(Some(platform), &mut fields)?;
    let mut made = client.post(&["v1", "accounts"], fields).await?;
    if create.assign_pair {
        let mut fields = Fields::default();
        fields.may("pool", create.pool.as_deref());
        // The account stays: its secrets were typed, and the pair is one more command.
        let assigned = client.post(&["v1", "accounts", name, "pair"], fields).await;
        assigned.map_err(|err| CallError::Refused {
            text: format!("the account {name} was made, but has no pair yet: {err}; then: sixgate pair assign {name}"),
        })?;
        made = client.get(&["v1", "accounts", name]).await?;
    }
    let code = print(&made, json)?;
    if let Some(next) = next_step::advice(&made.value()?).filter(|_| !json) {
        eprintln!("{next}");
    }
    Ok(code)
}

async fn alter(client: &Client, change: &Change, json: bool) -> Result<ExitCode, CallError> {
    let name = client::account(&change.name)?;
    let mut platform = change.platform.map(Platform::from);
    let mut fields = Fields::default();
    fields.may("platform", platform.map(Platform::as_str));
    fields.may("client_id", change.client_id.as_deref());
    fields.may("nickname", change.nickname.as_deref());
    fields.may("repeats_by", change.repeats_by.map(|word| RepeatsBy::from(word).as_str()));
    fields.may("streams", change.streams.map(|mode| StreamsMode::from(mode).as_str()));
    if !change.remove.is_empty() {
        let names: Vec<Value> = change.remove.iter().map(|what| what.as_str().into()).collect();
        fields.set("remove", names);
    }
    if change.secrets.prompts_by_platform() && platform.is_none() {
        let account = client.get(&["v1", "accounts", name]).await?.value()?;
        platform = Platform::parse(&text(&account, "/platform")).ok();
    }
    change.secrets.read(platform, &mut fields)?;
    if fields.is_empty() {
        return Err(CallError::Usage("there is nothing to change; see sixgate account change --help".to_owned()));
    }
    print(&client.patch(&["v1", "accounts", name], fields).await?, json)
}

async fn delete(client: &Client, name: &str, yes: bool, json: bool) -> Result<ExitCode, CallError> {
    let name = client::account(name)?;
    if !yes {
        return Err(CallError::Usage(format!(
            "this deletes the account {name} with its secrets and client keys, and its addresses are then given to no \
             other account; if that is meant, add --yes"
        )));
    }
    client.delete(&["v1", "accounts", name]).await?;
    if !json {
        table::print(&format!("the account {name} is deleted"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn pin(client: &Client, name: &str, leg: Pin, json: bool) -> Result<ExitCode, CallError> {
    let mut fields = Fields::default();
    let pin = match leg {
        Pin::Primary => "primary",
        Pin::Secondary => "secondary",
        Pin::Auto => "auto",
    };
    fields.set("pin", pin);
    print(&client.put(&["v1", "accounts", client::account(name)?, "leg"], fields).await?, json)
}
