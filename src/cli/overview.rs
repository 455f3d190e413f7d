//! `sixgate help`: the commands in groups, each with its own first line.

use clap::Command;

/// A command that stands in none is shown in the last.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["serve", "sandbox", "run", "check", "status", "reload", "doctor", "console"]),
    ("Accounts and their addresses", &["account", "pool", "pair", "purge", "key"]),
    ("At the broker", &["token", "totp", "validate", "register", "halt", "order"]),
    ("Records and state", &["journal", "backup", "restore", "rekey"]),
    ("Everything else", &["ca", "completions", "man"]),
];

/// One table for all commands; docs/operating.md has it too.
const EXIT_CODES: &str = "Exit codes:
  0    Done, and all is well
  1    Not done, refused, or a check found something that is wrong or not known
  2    Wrong usage, or a configuration that cannot be used
  130  Interrupted at a prompt
`run` ends as its command does; 126 and 127: that could not be run, or was not found";

const HELP: (&str, &str) = ("help", "Print this, or the help of a command");

/// The command with its help in groups.
pub(super) fn grouped(command: Command) -> Command {
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\n\nOptions:\n{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(template).after_help(EXIT_CODES)
}

fn groups(command: &Command) -> String {
    // One line each: of what a command says of itself, the first sentence.
    let about = |command: &Command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        about.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
    };
    let all: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| (command.get_name().to_owned(), about(command)))
        .chain([(HELP.0.to_owned(), HELP.1.to_owned())])
        .collect();
    let known = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let mut text = String::new();
    for (index, (title, names)) in GROUPS.iter().enumerate() {
        let last = index + 1 == GROUPS.len();
        let mut of: Vec<&(String, String)> =
            names.iter().filter_map(|name| all.iter().find(|(known, _)| known == name)).collect();
        if last {
            of.extend(all.iter().filter(|(name, _)| !known(name)));
        }
        if of.is_empty() {
            continue;
        }
        text.push_str(&format!("{title}:\n"));
        for (name, about) in of {
            text.push_str(&format!("  {name:<12} {}\n", about));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    /// A command that is in no help is a command that nobody finds.
    #[test]
    fn every_command_is_in_the_overview_once() {
        let text = super::groups(&crate::cli::command());
        for command in crate::cli::command().get_subcommands() {
            let line = format!("\n  {:<12} ", command.get_name());
            assert_eq!(text.matches(&line).count(), 1, "{}\n{text}", command.get_name());
        }
    }

    /// clap finds contradictions in what was declared only when it is run.
    #[test]
    fn the_command_line_is_sound() {
        crate::cli::command().debug_assert();
        crate::cli::secrets::watching(crate::cli::command()).debug_assert();
    }
}
