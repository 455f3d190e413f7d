//! `sixgate doctor`.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::Value;

use super::client::{self, Client};
use super::endpoint::{self, Endpoint, GatewayArguments};
use super::failure::{self, CallError};
use super::table::{self, list, text};
use crate::admin::ExaminationBody;
use crate::app::doctor::{Patient, Progress, RIVAL, examination};
use crate::domain::tasks::Tasks;
use crate::domain::{SourceAddr, chain};
use crate::egress::{Egress, Options};
use crate::host::{Examination, Examined, Finding, Outcome, Sender, needs_a_person};

/// This process could not look.
const COULD_NOT_LOOK: u8 = 3;

/// Can this host trade? Find what stands in the way, with the command that mends it
///
/// Makes forty checks of this host: IPv6, addresses and routes, the lines and what is on them, name service, the clock,
/// what the kernel allows, and the gateway's own files and ports. Each that fails is told with what was found, why it
/// matters, and the command that mends it for the system that configures this host's network (netplan,
/// systemd-networkd, NetworkManager, ifupdown, or none of them). Nothing is changed.
///
/// Run it as the gateway's user. It needs no privileges, and neither an account, a token, a configuration nor a running
/// gateway. With --config it looks at the addresses of the pools, and at listeners, pins, name servers and the state
/// folder; with a running gateway whose token it can read, at the addresses of the accounts; and at those that you name
/// with --address. What only root can see is said to be unknown, with the reason.
///
/// It looks in this order: first what this host says by itself, for which nothing is sent; then what name servers say of
/// the broker's hosts; then it connects to each of these hosts, from one address of each prefix, at most eight at once,
/// and asks for nothing (HEAD /). Nobody else is asked anything.
///
/// Exit code 0: no check failed (there may be warnings, and checks whose result is unknown). 1: a check failed. 2: wrong
/// usage, or a configuration that cannot be used. 3: this process could not look, for example for want of file
/// descriptors.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate doctor
  sixgate doctor --config /etc/sixgate/sixgate.toml
  sixgate doctor --address 2001:db8:a1::1 --address 2001:db8:a2::1
  sixgate doctor --fix-plan > plan.sh && less plan.sh && sudo sh plan.sh
  sixgate doctor --json | jq '.checks[] | select(.result == \"failed\") | .findings[].commands[]'

docs/doctor.md has a row for each check.")]
pub(super) struct DoctorArguments {
    /// Look at this address too, as if an account had it
    #[arg(long, value_name = "ADDRESS", value_parser = source)]
    address: Vec<SourceAddr>,
    /// Print only the commands that mend this host, as a script with comments. Nothing is run
    ///
    /// A command of which a person has to fill in a word (in capitals, such as GATEWAY) stands in a comment.
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    fix_plan: bool,
    /// Print one JSON object: `ok`, `system` and `checks`, each with `number`, `id`, `group`, `result` (ok, warning,
    /// failed, unknown), `found` and `findings` (`id`, `what`, `why`, `fix`, `commands`)
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArguments,
}

fn source(text: &str) -> Result<SourceAddr, String> {
    SourceAddr::parse(text).map_err(|err| err.to_string())
}

pub(super) fn run(arguments: &DoctorArguments) -> ExitCode {
    let examined = client::block_on(examine(arguments)).flatten();
    failure::exit_code(examined.and_then(|examined| match examined {
        Ok(examination) => show(arguments, &examination),
        Err(why) => {
            eprintln!("sixgate: this host could not be looked at: {why}");
            Ok(ExitCode::from(COULD_NOT_LOOK))
        }
    }))
}

async fn examine(arguments: &DoctorArguments) -> Result<Result<Examination, String>, CallError> {
    let place = Endpoint::find_if_clear(&arguments.gateway)?;
    let mut patient = match &place.config {
        Some(config) => Patient::of(Box::as_ref(config).clone()),
        None => Patient::unknown().map_err(CallError::Config)?,
    };
    patient.senders = arguments.address.iter().map(|source| Sender { source: *source, owner: None }).collect();
    consult_gateway(&place, &mut patient).await;
    let tasks = Tasks::default();
    let egress = match Egress::new(Options::from(&patient.config), tasks.clone()) {
        Ok(egress) => egress,
        Err(err) => return Err(CallError::Usage(format!("egress.extra_roots: {}", chain(&err)))),
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(100));
    let on_progress = |progress: Progress<'_>| match progress {
        Progress::Begun(what) if bar.is_hidden() => eprintln!("{what}"),
        Progress::Begun(what) => bar.set_message(what.to_owned()),
        Progress::Connected { done, of } => bar.set_message(format!("connecting to the broker: {done} of {of}")),
    };
    let examined = examination(&egress, &patient, &on_progress).await;
    bar.finish_and_clear();
    tasks.stop(Duration::from_secs(1)).await;
    Ok(examined.map_err(|lack| lack.to_string()))
}

/// A gateway that runs here knows the addresses of accounts. Without one, or without its token, pools have to do.
async fn consult_gateway(place: &Endpoint, patient: &mut Patient) {
    let token = endpoint::read_token(&place.token_file).ok();
    let is_known = token.is_some();
    let Ok(client) = Client::new(place, token) else { return };
    patient.running = client.get(&["healthz"]).await.is_ok();
    if !patient.running || !is_known {
        return;
    }
    let Ok(items) = client.list(&["v1", "accounts"]).await else { return };
    let accounts = table::values(&items);
    patient.accounts = Some(accounts.len());
    patient.logins = Some(accounts.iter().filter_map(rival).collect());
    for account in &accounts {
        for leg in list(account, "/legs") {
            let owner = Some(format!("{} {}", text(account, "/name"), text(leg, "/role")).into());
            let source = SourceAddr::parse(&text(leg, "/address")).ok();
            patient.senders.extend(source.map(|source| Sender { source, owner }));
        }
    }
}

fn rival(account: &Value) -> Option<(String, String)> {
    let is_one = text(account, "/token/last_error/code") == RIVAL;
    is_one.then(|| (text(account, "/name"), text(account, "/token/last_error/summary")))
}

fn show(arguments: &DoctorArguments, examination: &Examination) -> Result<ExitCode, CallError> {
    if arguments.json {
        let body = serde_json::to_string_pretty(&ExaminationBody::from(examination));
        table::print(&body.map_err(|err| CallError::Client(err.to_string()))?)?;
    } else if arguments.fix_plan {
        table::print(&plan(examination))?;
    } else {
        table::print(&report(examination))?;
    }
    Ok(ExitCode::from(u8::from(examination.count(Outcome::Failed) > 0)))
}

/// The word of people's table.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failed => "FAILED",
        Outcome::Unknown => "not known",
        Outcome::Good | Outcome::Warning => outcome.as_str(),
    }
}

fn report(examination: &Examination) -> String {
    let row = |one: &Examined| {
        let found = match one.outcome {
            // What is wrong is told below, whole.
            Outcome::Failed | Outcome::Warning => {
                let mut ids: Vec<_> = one.findings.iter().map(|finding| finding.id).collect();
                ids.dedup();
                ids.join(", ")
            }
            Outcome::Good | Outcome::Unknown => one.found.clone(),
        };
        [one.check.number.to_string(), one.check.title.to_owned(), word(one.outcome).to_owned(), found]
    };
    let mut said = table::table(["", "CHECK", "RESULT", "FOUND"], examination.checks.iter().map(row));
    said.push('\n');
    for outcome in [Outcome::Failed, Outcome::Warning] {
        for one in examination.checks.iter().filter(|one| one.outcome == outcome) {
            for finding in &one.findings {
                write_finding(&mut said, one, finding);
            }
        }
    }
    let count = |outcome| examination.count(outcome);
    // Writing to a text does not fail.
    let _ = writeln!(
        said,
        "\n{} failed, {} worth mending, {} good, {} not known. This host's network is configured by {}.",
        count(Outcome::Failed),
        count(Outcome::Warning),
        count(Outcome::Good),
        count(Outcome::Unknown),
        examination.system
    );
    said
}

fn write_finding(said: &mut String, one: &Examined, finding: &Finding) {
    let Finding { id, what, why, fix, commands, .. } = finding;
    let number = one.check.number;
    let _ = writeln!(said, "\n{} {number} {id}: {what}", word(one.outcome));
    let _ = writeln!(said, "  Why it matters: {why}");
    let _ = writeln!(said, "  What to do: {fix}");
    if !commands.is_empty() {
        let _ = writeln!(said, "  As root:");
    }
    for command in commands {
        let _ = writeln!(said, "    {command}");
    }
}

/// A script. What a person has to fill in, or can only do by hand, is a comment.
fn plan(examination: &Examination) -> String {
    let mut script = format!(
        "#!/bin/sh\n# What mends this host, by `sixgate doctor` at {}.\n# Read it, then run it as root: nothing of it was \
         run. A line that begins with #! needs a word of yours.\n",
        examination.checked_at
    );
    for (finding, commands) in examination.plan() {
        let _ = writeln!(script, "\n# {}: {}", finding.id, comment(&finding.what));
        let _ = writeln!(script, "# {}", comment(&finding.fix));
        for command in commands {
            let mark = if needs_a_person(command) { "#! " } else { "" };
            let _ = writeln!(script, "{mark}{command}");
        }
    }
    script
}

/// Text that cannot end its line.
fn comment(text: &str) -> String {
    super::text::clean(text)
}
