//! The command line: one file per command.

mod check;
mod journal;
mod sandbox;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A static-IPv6 egress gateway for Dhan's trading API.
///
/// Each trading account gets a pair of static IPv6 addresses and leaves from them
/// only. Order engines set HTTP_PROXY and send unauthenticated requests; Sixgate
/// holds the secrets and signs.
#[derive(Debug, Parser)]
#[command(name = "sixgate", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(ServeArguments),
    /// Run only the built-in broker, to test order engines against.
    Sandbox(SandboxArguments),
    /// Check a configuration file: every problem at once, then stop. Nothing is
    /// opened, bound or changed.
    Check(CheckArguments),
    /// Read, verify and export the order journal.
    Journal(journal::JournalArguments),
}

/// Run the gateway until it gets SIGTERM or SIGINT; requests under way are then
/// finished within `proxy.drain`.
///
/// Secrets never stand in arguments. The master key comes from the file
/// `state.master_key_file`, a systemd credential named `sixgate.master-key`, or
/// SIXGATE_MASTER_KEY (64 hexadecimal digits).
#[derive(Debug, clap::Args)]
struct ServeArguments {
    /// The configuration file; `config/sixgate.toml` of the source shows every key.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG", required_unless_present = "sandbox")]
    config: Option<PathBuf>,
    /// Start the built-in broker beside the gateway, with a demo account: no
    /// configuration, no root and no broker account needed. As root its two
    /// addresses are put on the loopback interface for as long as it runs. A
    /// configuration file is not read; SIXGATE_LISTENER_0_ADDRESS and
    /// SIXGATE_ADMIN_ADDRESS choose other ports.
    #[arg(long)]
    sandbox: bool,
    /// With --sandbox: keep state in this folder instead of a temporary one.
    #[arg(long, value_name = "DIR", requires = "sandbox")]
    state: Option<PathBuf>,
}

/// Run only the built-in broker. It speaks TLS as Dhan's hosts with an authority
/// of its own; point a client at it by resolving those names to the address that
/// is printed. The control listener adds accounts, makes tokens and shows what
/// the broker saw.
#[derive(Debug, clap::Args)]
struct SandboxArguments {
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

#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG")]
    config: PathBuf,
    /// Answer as one JSON object: `ok` and `problems` (`key`, `text`).
    #[arg(long)]
    json: bool,
}

/// Run the command. Errors go to standard error; the exit code is 0 for done, 1
/// for failed, 2 for arguments or a configuration that cannot be used.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Sandbox(arguments) => sandbox::run(arguments),
    }
}

/// Print an error and its causes.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    eprintln!("sixgate: {text}");
    ExitCode::FAILURE
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
