//! `sixgate completions`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::{failure, table};

/// Print a script that completes commands and options in your shell
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  sixgate completions bash > /etc/bash_completion.d/sixgate
  sixgate completions zsh > ~/.zfunc/_sixgate          # a folder of $fpath
  sixgate completions fish > ~/.config/fish/completions/sixgate.fish")]
pub(super) struct CompletionsArguments {
    /// Whose
    shell: ShellArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellArgument {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &CompletionsArguments, command: &mut clap::Command) -> ExitCode {
    let shell = match arguments.shell {
        ShellArgument::Bash => Shell::Bash,
        ShellArgument::Zsh => Shell::Zsh,
        ShellArgument::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "sixgate", &mut script);
    failure::exit_code(table::print(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS))
}
