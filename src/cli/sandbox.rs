//! `sixgate sandbox`: the built-in broker alone.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::failure::failed;
use super::runtime::runtime;
use crate::domain::tasks::Tasks;
use crate::sandbox::{Options, Sandbox};
use crate::telemetry;

/// Run only the built-in broker. It speaks TLS as Dhan's hosts with an authority
/// of its own; point a client at it by resolving those names to the address that
/// is printed. The control listener adds accounts, makes tokens and shows what
/// the broker saw.
#[derive(Debug, clap::Args)]
pub(super) struct SandboxArguments {
    /// Where the broker listens.
    #[arg(long, value_name = "[ADDR]:PORT", default_value = "[::1]:8443")]
    listen: std::net::SocketAddrV6,
    /// Where its control listener (plain HTTP, loopback only) listens.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8444")]
    control: std::net::SocketAddr,
    /// Write its authority's certificate here.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub(super) fn run(arguments: SandboxArguments) -> ExitCode {
    let log = crate::config::LogConfig { level: tracing::Level::INFO, json: false };
    if let Err(err) = telemetry::start_logs(&log) {
        return failed(&err);
    }
    let SandboxArguments { listen, control, ca } = arguments;
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        runtime()?.block_on(async {
            let tasks = Tasks::default();
            let options = Options { listen, control: Some(control), ..Options::default() };
            let broker = Sandbox::start(options, &tasks).await?;
            let mut text = String::new();
            if let Some(path) = &ca {
                std::fs::write(path, broker.ca_pem())?;
                writeln!(text, "CA      {}", path.display())?;
            }
            writeln!(text, "broker  https://{} (as {})", broker.address(), Options::broker_hosts().join(", "))?;
            if let Some(at) = broker.control_address() {
                writeln!(
                    text,
                    "control http://{at} (GET /ca.pem, POST /accounts, POST /accounts/ID/token, GET /seen,"
                )?;
                writeln!(text, "        and what goes wrong: POST /faults, PUT /habits, POST /accounts/ID/orders)")?;
            }
            telemetry::print(text);
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                _ = terminate.recv() => {}
                interrupted = tokio::signal::ctrl_c() => interrupted?,
            }
            tasks.stop(std::time::Duration::from_secs(1)).await;
            Ok(())
        })
    };
    let ended = run();
    telemetry::flush_logs();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => failed(&*err),
    }
}
