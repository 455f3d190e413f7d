//! `sixgate ca`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{self, Client};
use super::endpoint::{Endpoint, GatewayArguments, read_token};
use super::failure::{self, CallError};
use super::table;

/// The certificate that callers trust: export
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate ca export --out ca.pem
  sixgate ca export --config sixgate.toml | openssl x509 -noout -text")]
pub(super) struct CaArguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateway: GatewayArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the gateway's CA certificate (PEM) to standard output or a file
    ///
    /// It is asked of the gateway, with no token where none can be read (a loopback or unix
    /// listener wants none). With --config and no gateway running it is read from its state
    /// folder. It is no secret.
    #[command(after_long_help = "Examples:
  sixgate ca export --out ca.pem
  sixgate ca export > ca.pem
  export SSL_CERT_FILE=$PWD/ca.pem")]
    Export {
        /// Write it to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(arguments: &CaArguments) -> ExitCode {
    let Command::Export { out } = &arguments.command;
    let run = || -> Result<ExitCode, CallError> {
        let endpoint = Endpoint::find(&arguments.gateway)?;
        let pem = certificate(&endpoint)?;
        match out {
            None => table::print(&pem)?,
            Some(path) => {
                std::fs::write(path, &pem).map_err(|err| CallError::Output { what: path.display().to_string(), err })?
            }
        }
        Ok(ExitCode::SUCCESS)
    };
    failure::exit_code(run())
}

fn certificate(endpoint: &Endpoint) -> Result<String, CallError> {
    let client = Client::new(endpoint, read_token(&endpoint.token_file).ok())?;
    let asked = client::block_on(client.get(&["ca.pem"]))?;
    match (asked, &endpoint.config) {
        (Ok(answer), _) if answer.text.starts_with("-----BEGIN CERTIFICATE-----") => Ok(answer.text),
        (Ok(_), _) => Err(client.strange()),
        (Err(err @ CallError::Unreachable { .. }), Some(config)) => {
            std::fs::read_to_string(config.state.path.join("ca.pem")).map_err(|_| err)
        }
        (Err(err), _) => Err(err),
    }
}
