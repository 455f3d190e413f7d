//! `sixgate sandbox fault`: what is to go wrong at a built-in broker that runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::{self, Client};
use crate::cli::failure::{self, CallError};
use crate::cli::{running, table};
use crate::domain::ClientId;
use crate::sandbox::{Aim, Effect, Scenario};

/// Where a broker's control listener is when nobody says.
pub(super) const DEFAULT_CONTROL: &str = "127.0.0.1:8444";
/// How long its answer may take: it waits for nothing.
const ANSWER: Duration = Duration::from_secs(10);

/// Let something go wrong at the built-in broker that runs
///
/// It befalls the next order, unless told otherwise. All of it can be said at the control
/// listener too, and more (docs/sandbox.md).
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate sandbox fault lost                     # the next order is taken, and its answer lost
  sixgate sandbox fault late --ms 4000           # the next order is taken 4 s after it came
  sixgate sandbox fault too-many --times 3       # 429 for three orders
  sixgate sandbox fault refused-address          # \"Invalid IP\" once: the other leg is used
  sixgate sandbox fault dead-token               # every account's token ends
  sixgate sandbox fault silent-sockets           # open WebSockets stay, and say nothing more
  sixgate sandbox fault compression              # every reply is gzip, until cleared
  sixgate sandbox fault lost --path /v2/super    # of super orders
  sixgate sandbox fault clear                    # all is well again")]
pub(super) struct FaultArguments {
    /// What goes wrong
    what: What,
    /// How often
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    times: u32,
    /// Until cleared
    #[arg(long, conflicts_with = "times")]
    always: bool,
    /// After so many that are well
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    skip: u32,
    /// Only for this customer of the broker
    #[arg(long, value_name = "DIGITS", value_parser = |text: &str| ClientId::parse(text))]
    client_id: Option<ClientId>,
    /// For requests of this method
    #[arg(long, default_value = "POST")]
    method: String,
    /// For paths that begin so
    #[arg(long, default_value = "/v2/orders")]
    path: String,
    /// The delay of slow and late, the life of short-sockets, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5000)]
    ms: u64,
    /// The control listener [default: that of the sandbox that runs, else http://127.0.0.1:8444]
    #[arg(long, value_name = "URL", env = "SIXGATE_SANDBOX_CONTROL")]
    control: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The order is taken, and the connection ends without an answer
    Lost,
    /// The connection ends without an answer, and the order is not taken
    LostBefore,
    /// The order is taken, and no answer ever comes
    Hang,
    /// The order is taken at once and answered after --ms
    Slow,
    /// The order is taken only after --ms, also when its caller has gone
    Late,
    /// 429 DH-904: too many requests
    #[value(alias = "429")]
    TooMany,
    /// 400 DH-905 Invalid IP: no orders from this address
    RefusedAddress,
    /// The account's token ends, as by a login elsewhere
    DeadToken,
    /// 200 with an order that is REJECTED
    Rejected,
    /// 502 with a page of HTML, and the order is not taken
    BadGateway,
    /// Every reply is compressed, asked or not, until cleared
    Compression,
    /// Every reply breaks off inside its compression, until cleared
    BrokenCompression,
    /// Open WebSockets are told 805: too many of their kind
    TooManySockets,
    /// Open WebSockets are told 807: the token has ended
    SocketToken,
    /// Open WebSockets say nothing more, and stay open
    SilentSockets,
    /// Open WebSockets are reset without a Close
    ResetSockets,
    /// Open WebSockets say a text that is no JSON
    SocketText,
    /// WebSockets opened from now on are reset after --ms, until cleared
    ShortSockets,
    /// Nothing new: show what is still to go wrong
    List,
    /// Nothing goes wrong any more
    Clear,
}

impl What {
    const fn scenario(self) -> Option<Scenario> {
        Some(match self {
            Self::Lost => Scenario::Lost,
            Self::LostBefore => Scenario::LostBefore,
            Self::Hang => Scenario::Hang,
            Self::Slow => Scenario::Slow,
            Self::Late => Scenario::Late,
            Self::TooMany => Scenario::TooMany,
            Self::RefusedAddress => Scenario::RefusedAddress,
            Self::DeadToken => Scenario::DeadToken,
            Self::Rejected => Scenario::Rejected,
            Self::BadGateway => Scenario::BadGateway,
            Self::Compression => Scenario::Compression,
            Self::BrokenCompression => Scenario::BrokenCompression,
            Self::TooManySockets => Scenario::TooManySockets,
            Self::SocketToken => Scenario::SocketToken,
            Self::SilentSockets => Scenario::SilentSockets,
            Self::ResetSockets => Scenario::ResetSockets,
            Self::SocketText => Scenario::SocketText,
            Self::ShortSockets => Scenario::ShortSockets,
            Self::List | Self::Clear => return None,
        })
    }
}

pub(super) fn run(arguments: &FaultArguments) -> ExitCode {
    let done = Control::find(arguments.control.as_deref())
        .and_then(|control| client::block_on(apply(&control, arguments))?)
        .map(|()| ExitCode::SUCCESS);
    failure::exit_code(done)
}

async fn apply(control: &Control, arguments: &FaultArguments) -> Result<(), CallError> {
    let Some(scenario) = arguments.what.scenario() else {
        if matches!(arguments.what, What::Clear) {
            control.call(Method::DELETE, "faults", None).await?;
            control.call(Method::DELETE, "habits", None).await?;
            return table::print("nothing goes wrong any more");
        }
        let faults = control.call(Method::GET, "faults", None).await?;
        let habits = control.call(Method::GET, "habits", None).await?;
        return table::print(&format!("faults: {faults}\nhabits: {habits}"));
    };
    match scenario.effect(arguments.ms) {
        Effect::Fault(fault) => {
            let aim = Aim {
                method: arguments.method.clone(),
                path: arguments.path.clone(),
                client_id: arguments.client_id.clone(),
                times: (!arguments.always).then_some(arguments.times),
                skip: arguments.skip,
            };
            let fault = serde_json::to_value(aim.at(*fault)).map_err(|err| CallError::Client(err.to_string()))?;
            control.call(Method::POST, "faults", Some(fault)).await?;
            let times = if arguments.always {
                "until cleared".to_owned()
            } else {
                crate::domain::counted(arguments.times, "time")
            };
            table::print(&format!("armed for {} {}, {times}", arguments.method, arguments.path))
        }
        Effect::Habits(habits) => {
            let habits = serde_json::to_value(habits).map_err(|err| CallError::Client(err.to_string()))?;
            control.call(Method::PUT, "habits", Some(habits)).await?;
            table::print("so it is from now on, until `sixgate sandbox fault clear`")
        }
        Effect::Sockets(fault) => {
            let body = serde_json::json!({ "fault": fault });
            for id in customers(control, arguments).await? {
                control.call(Method::POST, &format!("accounts/{id}/sockets"), Some(body.clone())).await?;
            }
            table::print("it has befallen every socket that is open")
        }
        Effect::EndToken => {
            let ids = customers(control, arguments).await?;
            for id in &ids {
                control.call(Method::DELETE, &format!("accounts/{id}/token"), None).await?;
            }
            table::print(&format!("ended: the tokens of {}", crate::domain::counted(ids.len(), "account")))
        }
    }
}

/// The one that is meant, or all.
async fn customers(control: &Control, arguments: &FaultArguments) -> Result<Vec<String>, CallError> {
    match &arguments.client_id {
        Some(id) => Ok(vec![id.to_string()]),
        None => control.customers().await,
    }
}

/// The control listener of a broker that runs.
struct Control {
    http: reqwest::Client,
    base: Url,
}

impl Control {
    fn find(given: Option<&str>) -> Result<Self, CallError> {
        let text = match given {
            Some(given) => given.to_owned(),
            None => {
                let mut running = running::find().into_iter().filter_map(|running| running.control);
                match (running.next(), running.next()) {
                    (Some(one), Some(other)) => {
                        return Err(CallError::Usage(format!(
                            "several sandboxes run; say which with --control, for example {one} or {other}"
                        )));
                    }
                    (Some(one), None) => one,
                    (None, _) => format!("http://{DEFAULT_CONTROL}"),
                }
            }
        };
        let wrong = || CallError::Usage("--control is a URL such as http://127.0.0.1:8444".to_owned());
        let base: Url = text.parse().map_err(|_| wrong())?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(wrong());
        }
        Ok(Self { http: Client::plain()?, base })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<String, CallError> {
        let url = self.base.join(path).map_err(|err| CallError::Client(err.to_string()))?;
        let mut request = self.http.request(method, url).timeout(ANSWER);
        if let Some(body) = body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let at = self.base.as_str().trim_end_matches('/').to_owned();
        let response = request
            .send()
            .await
            .map_err(|err| CallError::NoSandbox { at: at.clone(), why: client::last_cause(&err) })?;
        let status = response.status();
        let text = response.text().await.map_err(|err| CallError::NoSandbox { at, why: client::last_cause(&err) })?;
        if status.is_success() {
            return Ok(text);
        }
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let why = serde_json::from_str(&text)
            .map_or_else(|_| "it gave no reason".to_owned(), |refusal: Refusal| refusal.error);
        Err(CallError::Refused { text: format!("the built-in broker refused it: {why} ({status})") })
    }

    async fn customers(&self) -> Result<Vec<String>, CallError> {
        let text = self.call(Method::GET, "accounts", None).await?;
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        Ok(rows.iter().map(|row| table::text(row, "/client_id")).collect())
    }
}
