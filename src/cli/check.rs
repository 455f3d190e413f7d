//! `sixgate check`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::refused_by_state;
use crate::config::{self, Config, Problems};
use crate::domain::chain;
use crate::net::bind::{may_accept_for_others, may_send_from};
use crate::orders::limits::Rules;

/// Check a configuration file, and whether it fits the state that is there. Exit code 2 if it
/// cannot be used.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// The configuration file (or SIXGATE_CONFIG).
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG")]
    config: PathBuf,
    /// Answer as one JSON object: `ok` and `problems` (`key`, `text`).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let problems = match config::load(&arguments.config).and_then(|config| with_what_it_names(config, arguments)) {
        Ok(config) => {
            if arguments.json {
                println!("{}", serde_json::json!({ "ok": true, "problems": [], "warnings": config.warnings }));
            } else {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                println!("{} can be used", arguments.config.display());
            }
            return ExitCode::SUCCESS;
        }
        Err(problems) => problems,
    };
    if arguments.json {
        let list: Vec<_> = problems.iter().map(|(key, text)| serde_json::json!({ "key": key, "text": text })).collect();
        println!("{}", serde_json::json!({ "ok": false, "problems": list, "warnings": [] }));
    } else {
        eprintln!("{problems}");
    }
    ExitCode::from(2)
}

/// What the file names and other rooms read: the table of limits, and the state that is there.
fn with_what_it_names(mut config: Config, arguments: &CheckArguments) -> Result<Config, Problems> {
    let mut problems = Problems::new(&arguments.config.display().to_string());
    if let Err(err) = Rules::load(config.limits.file.as_deref(), config.limits.margin) {
        problems.add("limits.file", chain(&err));
    }
    match refused_by_state(&config) {
        Ok(refused) => refused.into_iter().for_each(|(key, text)| problems.add(key, text)),
        Err(why) => config.warnings.push(format!(
            "the state in {} could not be looked at, so whether it fits is not known: {why}",
            config.state.path.display()
        )),
    }
    let transparent = config.listeners.iter().position(|listener| listener.transparent);
    if let (Some(index), Err(err)) = (transparent, may_accept_for_others()) {
        config.warnings.push(format!(
            "listener.{index}.transparent: nftables TPROXY cannot bring callers to it without CAP_NET_ADMIN, which this \
             process has not ({err}); if you use TPROXY, give the gateway that (systemd: \
             AmbientCapabilities=CAP_NET_ADMIN). REDIRECT, DNS and /etc/hosts need nothing"
        ));
    }
    for (host, ipv4) in &config.egress.ipv4_hosts {
        if may_send_from(ipv4.source).is_err_and(|err| err.kind() == ErrorKind::AddrNotAvailable) {
            config.warnings.push(format!(
                "egress.ipv4_hosts.\"{host}\": {source} is not an address of the host that this was checked on, and what \
                 leaves for {host} leaves from it. If the gateway runs here, name one that an interface has \
                 (ip -4 addr show)",
                source = ipv4.source
            ));
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}
