//! `sixgate sandbox`: the built-in broker alone.

use std::fmt::Write;
use std::process::ExitCode;

use super::{SandboxArguments, failed, runtime};
use crate::domain::tasks::Tasks;
use crate::sandbox::{Options, Sandbox};
use crate::telemetry;

pub(super) fn run(arguments: SandboxArguments) -> ExitCode {
    let log = crate::config::Log { level: tracing::Level::INFO, json: false };
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
