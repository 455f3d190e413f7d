//! The command line: one file per command.

mod account;
mod ca;
mod check;
mod client;
mod completions;
mod failure;
mod halt;
mod journal;
mod key;
mod man;
mod overview;
mod pair;
mod pool;
mod prompt;
mod register;
mod sandbox;
mod secrets;
mod serve;
mod table;
mod text;
mod token;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::domain::priority;

/// A static-IPv6 egress gateway for Dhan's trading API.
///
/// Each trading account gets a pair of static IPv6 addresses and leaves from them
/// only. Order engines set HTTP_PROXY and send unauthenticated requests; Sixgate
/// holds the secrets and signs.
#[derive(Debug, Parser)]
#[command(name = "sixgate", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
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
    Account(Box<account::AccountArguments>),
    Pool(pool::PoolArguments),
    Pair(pair::PairArguments),
    Key(key::KeyArguments),
    Token(token::TokenArguments),
    Validate(validate::ValidateArguments),
    Register(register::RegisterArguments),
    Halt(halt::HaltArguments),
    Ca(ca::CaArguments),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
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

/// The whole command line, as it is parsed and helped with.
fn command() -> clap::Command {
    overview::grouped(Arguments::command())
}

/// Run the command that this process's arguments name. Errors go to standard error;
/// the exit code is 0 for done, 1 for failed, 2 for arguments or a configuration that
/// cannot be used.
pub fn run() -> ExitCode {
    let matches = secrets::watching(command()).get_matches();
    if let Err(err) = secrets::refuse_misplaced(&matches) {
        return failure::exit_code(Err(err));
    }
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|err| err.exit());
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Sandbox(arguments) => sandbox::run(arguments),
        Command::Account(arguments) => account::run(&arguments),
        Command::Pool(arguments) => pool::run(&arguments),
        Command::Pair(arguments) => pair::run(&arguments),
        Command::Key(arguments) => key::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Register(arguments) => register::run(&arguments),
        Command::Halt(arguments) => halt::run(&arguments),
        Command::Ca(arguments) => ca::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

/// Print an error and its causes.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("sixgate: {}", chain(error));
    ExitCode::FAILURE
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    text
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(priority::give_way).build()
}
