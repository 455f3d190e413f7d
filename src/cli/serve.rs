//! `sixgate serve`, with and without the sandbox (`demo`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::demo;
use super::failure::failed;
use super::runtime::runtime;
use super::serve_error::ServeError;
use crate::app::App;
use crate::config;
use crate::domain::chain;
use crate::domain::tasks::Stopped;
use crate::telemetry;

/// Run the gateway until it gets SIGTERM or SIGINT; requests under way are then
/// finished within `proxy.drain`.
///
/// Secrets never stand in arguments. The master key comes from the file
/// `state.master_key_file`, a systemd credential named `sixgate.master-key`, or
/// SIXGATE_MASTER_KEY (64 hexadecimal digits).
#[derive(Debug, clap::Args)]
pub(super) struct ServeArguments {
    /// The configuration file (or SIXGATE_CONFIG); `config/sixgate.toml` of the source shows every key.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG", required_unless_present = "sandbox")]
    config: Option<PathBuf>,
    /// Start the built-in broker beside the gateway, with a demo account: no
    /// configuration, no root and no broker account needed. As root its two
    /// addresses, and a few to give to accounts of your own, are put on the loopback
    /// interface for as long as it runs. A configuration file is not read; SIXGATE_LISTENER_0_ADDRESS and
    /// SIXGATE_ADMIN_ADDRESS choose other ports. Other commands find it by themselves.
    #[arg(long)]
    sandbox: bool,
    /// With --sandbox: so many demo accounts (demo, demo2, ...), each with a pair of addresses and a client key of its
    /// own, by which the listener tells them apart.
    ///
    /// More than one needs root, or netns-scripts/sandbox.sh --accounts N: without it there is one address, ::1.
    #[arg(long, value_name = "N", requires = "sandbox", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    accounts: u16,
    /// With --sandbox: keep state in this folder instead of a temporary one.
    #[arg(long, value_name = "DIR", requires = "sandbox")]
    state: Option<PathBuf>,
}

pub(super) fn run(arguments: ServeArguments) -> ExitCode {
    let served = match (arguments.config, arguments.sandbox) {
        // A SIXGATE_CONFIG of the environment does not stand in the way of a demo.
        (Some(path), false) => serve(&path),
        (_, true) | (None, _) => demo::serve(arguments.state, arguments.accounts),
    };
    let code = match served {
        Ok(Stopped::Clean | Stopped::Cut { .. }) => ExitCode::SUCCESS,
        Err(ServeError::Config(problems)) => {
            eprintln!("{problems}");
            ExitCode::from(2)
        }
        Err(err @ ServeError::Log(_)) => failed(&err),
        // Its reader may have stopped reading, and this has to end all the same.
        Err(err) => {
            telemetry::say(&format!("sixgate: {}", chain(&err)));
            ExitCode::FAILURE
        }
    };
    telemetry::flush_logs();
    code
}

fn serve(path: &Path) -> Result<Stopped, ServeError> {
    let config = config::load(path)?;
    telemetry::start_logs(&config.log).map_err(ServeError::Log)?;
    runtime()?.block_on(async {
        let app = App::build(config, false).await?;
        telemetry::print(app.bound().join("\n") + "\n");
        Ok(app.run(Some(path)).await)
    })
}
