//! `sixgate order`: orders of which nobody knows what became of them, and how one stands at the broker.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::client::{self, Client, JsonArgument};
use super::endpoint::GatewayArguments;
use super::failure::CallError;
use super::fields::Fields;
use super::table::{self, list, maybe, text};

/// Orders whose outcome is not known: list, look one up at the broker, settle
///
/// An order's outcome is `unknown` when it left, its answer was lost, and the broker could not be
/// asked what became of it. The gateway does not send it again. Somebody has to look: this is how,
/// in three steps. Every order is in `sixgate journal`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate order unsettled
  sixgate order show alpha 112111182198
  sixgate order settle bcqbnctg-jqfh-ktbd-qnms-mdcbgqpjpncd --outcome executed --note 'order book, 112111182198'")]
pub(super) struct OrderArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
    #[command(flatten)]
    output: JsonArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Orders of the last seven days of which nobody knows what became of them, the newest first
    ///
    /// 100 at most. Exit code 1 if there is one, so that a script can watch for it.
    #[command(after_long_help = "Examples:
  sixgate order unsettled
  sixgate order unsettled --json | jq -r '.items[].request_id'")]
    Unsettled,
    /// One order as the broker shows it now
    ///
    /// Asks the broker, which counts among the account's requests.
    #[command(after_long_help = "Example:
  sixgate order show alpha 112111182198")]
    Show {
        /// The account's name
        name: String,
        /// The broker's id of the order, as in its reply or in `sixgate journal list`
        order_id: String,
    },
    Settle(Settle),
}

/// Note in the journal that you have looked what became of an order
///
/// The order is then unsettled no more. Its outcome in the journal stays `unknown`, because nothing
/// that stands there is ever changed; your note stands beside it. Only an order whose outcome is
/// `unknown` can be settled.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate order settle bcqbnctg-jqfh-ktbd-qnms-mdcbgqpjpncd --note 'not in the order book' --outcome not_sent
  sixgate order settle bcqbnctg-jqfh-ktbd-qnms-mdcbgqpjpncd --note 'closed by hand, see the day book'")]
struct Settle {
    /// The request's id: `sixgate-request-id` of the reply, or REQUEST of `sixgate order unsettled`
    request_id: String,
    /// What was found and where, for whoever reads the journal: 1 to 256 characters, no secret
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// What became of it, if you know
    #[arg(long)]
    outcome: Option<Settled>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Settled {
    /// It did not reach the broker
    NotSent,
    /// The broker refused it
    Rejected,
    /// The broker took it
    Executed,
}

impl Settled {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Executed => "executed",
        }
    }
}

pub(super) fn run(arguments: &OrderArguments) -> ExitCode {
    let json = arguments.output.json;
    client::run(&arguments.gateway, async |client| match &arguments.command {
        Command::Unsettled => unsettled(client, json).await,
        Command::Show { name, order_id } => show(client, client::account(name)?, order_id, json).await,
        Command::Settle(settle) => note(client, settle, json).await,
    })
}

async fn unsettled(client: &Client, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.get(&["v1", "orders", "unsettled"]).await?;
    let value = answer.value()?;
    let items = list(&value, "/items");
    if json {
        table::print(&answer.text)?;
    } else if items.is_empty() {
        table::print("no order is unsettled")?;
    } else {
        table::print(&shown(items))?;
        eprintln!(
            "Look for each in the order book at the broker (sixgate order show NAME ORDER, where it has an id), and then \
             say what you found: sixgate order settle REQUEST --note TEXT"
        );
    }
    Ok(if items.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(items: &[Value]) -> String {
    let rows = items.iter().map(|item| {
        let [ist, _] = table::two_columns(item, "/at");
        let request =
            [maybe(item, "/method"), maybe(item, "/path")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let columns = ["/order_id", "/correlation_id", "/request_id"];
        let [order, correlation, id] = columns.map(|column| text(item, column));
        [ist, text(item, "/account"), request, order, correlation, id]
    });
    table::table(["TIME (IST)", "ACCOUNT", "WHAT", "ORDER", "CORRELATION", "REQUEST"], rows)
}

async fn show(client: &Client, name: &str, order_id: &str, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.get(&["v1", "accounts", name, "orders", order_id]).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let order = answer.value()?;
    let rows = [
        ("order", "/order_id"),
        ("correlation", "/correlation_id"),
        ("status", "/status"),
        ("side", "/side"),
        ("symbol", "/symbol"),
        ("security id", "/security_id"),
        ("segment", "/segment"),
        ("product", "/product"),
        ("type", "/order_type"),
        ("quantity", "/quantity"),
        ("filled", "/filled"),
        ("price", "/price"),
        ("average price", "/average_price"),
        ("reason", "/reason"),
        ("made (IST)", "/created_at"),
        ("changed (IST)", "/updated_at"),
    ];
    table::print(&table::lines(rows.map(|(name, pointer)| (name, text(&order, pointer)))))?;
    Ok(ExitCode::SUCCESS)
}

async fn note(client: &Client, settle: &Settle, json: bool) -> Result<ExitCode, CallError> {
    let mut fields = Fields::default();
    fields.set("note", settle.note.as_str());
    fields.may("outcome", settle.outcome.map(Settled::as_str));
    client.post(&["v1", "orders", &settle.request_id, "settled"], fields).await?;
    if !json {
        table::print(&format!("the journal has your note on {}", settle.request_id))?;
    }
    Ok(ExitCode::SUCCESS)
}
