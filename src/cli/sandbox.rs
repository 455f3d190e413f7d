//! `sixgate sandbox`: the built-in broker alone.

use std::process::ExitCode;

use super::{SandboxArguments, failed, runtime};
use crate::domain::tasks::Tasks;
use crate::sandbox::{Options, Sandbox};

pub(super) fn run(arguments: SandboxArguments) -> ExitCode {
    crate::telemetry::start_logs(&crate::config::Log { level: tracing::Level::INFO, json: false });
    let SandboxArguments { listen, control, ca } = arguments;
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        runtime()?.block_on(async {
            let tasks = Tasks::default();
            let options = Options { listen, control: Some(control), ..Options::default() };
            let broker = Sandbox::start(options, &tasks).await?;
            if let Some(path) = &ca {
                std::fs::write(path, broker.ca_pem())?;
                println!("CA      {}", path.display());
            }
            println!("broker  https://{} (as {})", broker.address(), Options::broker_hosts().join(", "));
            if let Some(at) = broker.control_address() {
                println!("control http://{at} (GET /ca.pem, POST /accounts, POST /accounts/ID/token, GET /seen,");
                println!("        and what goes wrong: POST /faults, PUT /habits, POST /accounts/ID/orders)");
            }
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                _ = terminate.recv() => {}
                interrupted = tokio::signal::ctrl_c() => interrupted?,
            }
            tasks.stop(std::time::Duration::from_secs(1)).await;
            Ok(())
        })
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => failed(&*err),
    }
}
