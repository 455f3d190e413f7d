//! The command line: one file per command.

mod account;
mod advice;
mod ca;
mod check;
mod client;
mod completions;
mod console;
mod demo;
mod doctor;
mod endpoint;
mod failure;
mod fields;
mod halt;
mod journal;
mod key;
mod man;
mod next_step;
mod order;
mod overview;
mod pair;
mod pool;
mod prompt;
mod purge;
mod register;
mod reload;
mod run;
mod running;
mod runtime;
mod sandbox;
mod secrets;
mod serve;
mod serve_error;
mod status;
mod table;
mod text;
mod token;
mod totp;
mod trouble;
mod validate;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

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
    Serve(serve::ServeArguments),
    /// Run only the built-in broker, to test order engines against.
    Sandbox(sandbox::SandboxArguments),
    /// Check a configuration file: every problem at once, then stop. Nothing is
    /// opened, bound or changed.
    Check(check::CheckArguments),
    Doctor(doctor::DoctorArguments),
    Status(status::StatusArguments),
    Reload(reload::ReloadArguments),
    Account(Box<account::AccountArguments>),
    Pool(pool::PoolArguments),
    Pair(pair::PairArguments),
    Purge(purge::PurgeArguments),
    Key(key::KeyArguments),
    Run(Box<run::RunArguments>),
    Token(token::TokenArguments),
    Totp(totp::TotpArguments),
    Order(order::OrderArguments),
    Validate(validate::ValidateArguments),
    Register(register::RegisterArguments),
    Halt(halt::HaltArguments),
    Console(console::ConsoleArguments),
    Ca(ca::CaArguments),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
    /// Read, verify and export the order journal.
    Journal(journal::JournalArguments),
}

/// The whole command line, as it is parsed and helped with.
fn command() -> clap::Command {
    overview::grouped(Arguments::command())
}

/// Run the command that this process's arguments name. Errors go to standard error;
/// the exit code is 0 for done, 1 for failed, 2 for arguments or a configuration that
/// cannot be used.
pub fn run() -> ExitCode {
    if let Some(code) = run::inside::become_command() {
        return code;
    }
    let matches = secrets::watching(command()).get_matches();
    if let Err(err) = secrets::refuse_misplaced(&matches) {
        return failure::exit_code(Err(err));
    }
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|err| err.exit());
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Sandbox(arguments) => sandbox::run(arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Account(arguments) => account::run(&arguments),
        Command::Pool(arguments) => pool::run(&arguments),
        Command::Pair(arguments) => pair::run(&arguments),
        Command::Purge(arguments) => purge::run(&arguments),
        Command::Key(arguments) => key::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Totp(arguments) => totp::run(&arguments),
        Command::Order(arguments) => order::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Register(arguments) => register::run(&arguments),
        Command::Halt(arguments) => halt::run(&arguments),
        Command::Console(arguments) => console::run(&arguments),
        Command::Ca(arguments) => ca::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, &mut command()),
        Command::Man(arguments) => man::run(&arguments, command()),
    }
}
