//! `sixgate sandbox`: the built-in broker alone, and what is to go wrong at it.

mod credentials;
mod fault;

use std::fmt::Write;
use std::net::SocketAddrV6;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::failure::failed;
use super::running::{Published, Running};
use super::runtime::runtime;
use crate::domain::tasks::Tasks;
use crate::sandbox::{Options, Sandbox};
use crate::telemetry;

/// Run only the built-in broker. It speaks TLS as Dhan's hosts with an authority
/// of its own; point a client at it by resolving those names to the address that
/// is printed. The control listener adds accounts, makes tokens and shows what
/// the broker saw.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "fault",
    after_long_help = "Examples:
  Two accounts with credentials that are made up and printed, and what a gateway's configuration needs:
    sixgate sandbox --accounts 2 --print-config > broker.toml
  Lose the answer to the next order:
    sixgate sandbox fault lost
  All that can go wrong:
    sixgate sandbox fault --help"
)]
pub(super) struct SandboxArguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fault(fault::FaultArguments),
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// Where the broker listens.
    #[arg(long, value_name = "[ADDR]:PORT", default_value = "[::1]:8443")]
    listen: SocketAddrV6,
    /// Where its control listener (plain HTTP, loopback only) listens.
    #[arg(long, value_name = "ADDR:PORT", default_value = fault::DEFAULT_CONTROL)]
    control: std::net::SocketAddr,
    /// Write its authority's certificate here. [default with --print-config: sandbox-ca.pem]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// So many accounts, with client ids, PINs, TOTP secrets and API keys that are made up and printed.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    accounts: u16,
    /// These accounts: a JSON array of objects with client_id, pin, totp_secret and, as needed, name, api_key,
    /// api_secret, redirect_url and registered (primary, secondary).
    #[arg(long, value_name = "FILE", conflicts_with = "accounts")]
    accounts_file: Option<PathBuf>,
    /// Print what a gateway's configuration needs to use this broker (its authority, and where its hosts are) to
    /// standard output, and all else to standard error.
    #[arg(long)]
    print_config: bool,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
enum SandboxCommandError {
    #[error(transparent)]
    Credentials(#[from] credentials::CredentialsError),
    #[error(transparent)]
    Broker(#[from] crate::sandbox::SandboxError),
    #[error("cannot write {path}")]
    Ca {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("it cannot run")]
    Runtime(#[from] std::io::Error),
}

pub(super) fn run(arguments: SandboxArguments) -> ExitCode {
    if let Some(Command::Fault(arguments)) = &arguments.command {
        return fault::run(arguments);
    }
    let log = crate::config::LogConfig { level: tracing::Level::INFO, json: false };
    if let Err(err) = telemetry::start_logs(&log) {
        return failed(&err);
    }
    let ended = runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(serve(arguments.serve)));
    telemetry::flush_logs();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err @ SandboxCommandError::Credentials(_)) => {
            failed(&err);
            ExitCode::from(2)
        }
        Err(err) => failed(&err),
    }
}

async fn serve(arguments: ServeArguments) -> Result<(), SandboxCommandError> {
    let ServeArguments { listen, control, mut ca, accounts, accounts_file, print_config } = arguments;
    let accounts = match accounts_file {
        Some(file) => credentials::read(&file)?,
        None => credentials::make_up(accounts)?,
    };
    let shown = credentials::shown(&accounts);
    let tasks = Tasks::default();
    let options = Options { listen, control: Some(control), accounts, ..Options::default() };
    let broker = Sandbox::start(options, &tasks).await?;
    if print_config {
        ca.get_or_insert_with(|| PathBuf::from("sandbox-ca.pem"));
    }
    if let Some(path) = &mut ca {
        let written = std::fs::write(&*path, broker.ca_pem());
        written.map_err(|err| SandboxCommandError::Ca { path: path.clone(), err })?;
        // Whoever pastes it may have the configuration in another folder.
        *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
    }
    let running = Running {
        pid: std::process::id(),
        gateway: None,
        control: broker.control_address().map(|at| format!("http://{at}")),
    };
    let published = Published::new(&running);
    let mut text = explained(&broker, ca.as_deref());
    text.push_str(&shown);
    match &ca {
        Some(ca) if print_config => {
            // At once, with a line that says who is who: a file that is written to is read as a whole.
            eprint!("{text}");
            telemetry::print(gateway_config(ca, broker.address()));
        }
        Some(_) | None => telemetry::print(text),
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tasks.stop(std::time::Duration::from_secs(1)).await;
    drop(published);
    Ok(())
}

fn explained(broker: &Sandbox, ca: Option<&Path>) -> String {
    let mut text = String::new();
    if let Some(path) = ca {
        let _ = writeln!(text, "CA      {}", path.display());
    }
    let _ = writeln!(text, "broker  https://{} (as {})", broker.address(), Options::broker_hosts().join(", "));
    if let Some(at) = broker.control_address() {
        let _ = writeln!(text, "control http://{at} (GET /ca.pem, POST /accounts, POST /accounts/ID/token, GET /seen,");
        let _ = writeln!(text, "        and what goes wrong: POST /faults, PUT /habits, POST /accounts/ID/orders;");
        let _ = writeln!(text, "        by name: sixgate sandbox fault --help)");
    }
    text
}

/// What a gateway's configuration needs to use a broker at this address in place of Dhan.
pub(super) fn gateway_config(ca: &Path, broker: SocketAddrV6) -> String {
    let mut text = format!("[egress]\nextra_roots = [{:?}]\n[egress.resolve]\n", ca.display().to_string());
    for host in Options::broker_hosts() {
        let _ = writeln!(text, "\"{host}\" = [\"{broker}\"]");
    }
    text
}
