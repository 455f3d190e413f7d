//! One thing that this host lacks.

use super::facts::Sender;

/// How much a finding stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something can trade, or will be hurt only on a bad day.
    Warning,
    /// Something cannot trade until it is mended.
    Error,
}

impl Severity {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that this host lacks, for somebody who is no network engineer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A word that never changes.
    pub id: &'static str,
    /// How much it stops.
    pub severity: Severity,
    /// The addresses that it is true of; none where it is the whole host's.
    pub about: Vec<Sender>,
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do, mostly a command.
    pub fix: String,
    /// What mends it, ready to be run as root and in this order. Where only a person can know a word of it, that word is
    /// in capitals. None where no command can.
    pub commands: Vec<String>,
}

impl Finding {
    /// Without IPv6 nothing else can be right, and saying so of every address hides it.
    pub(super) fn hides_addresses(&self) -> bool {
        matches!(self.id, "ipv6_off" | "ipv6_sockets_forbidden")
    }
}

/// The finding with these commands, which stand in its text too where it has none.
pub(super) fn mended_by(mut finding: Finding, commands: Vec<String>) -> Finding {
    if !commands.is_empty() && finding.fix.is_empty() {
        finding.fix = format!("as root: {}", commands.join(" && "));
    }
    Finding { commands, ..finding }
}

/// So many addresses or hosts are named in one text.
const NAMED: usize = 8;

/// The first few of them, by name.
pub(super) fn some_of(all: &[impl ToString]) -> String {
    let named: Vec<_> = all.iter().take(NAMED).map(ToString::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// The same id told once, with all addresses that it is true of and all commands.
pub(super) fn put_together(findings: Vec<Finding>) -> Vec<Finding> {
    let mut together = Vec::<Finding>::new();
    for one in findings {
        match together.iter_mut().find(|known| known.id == one.id && known.about.is_empty() == one.about.is_empty()) {
            Some(known) if !one.about.is_empty() => {
                let new = |about: &Sender| !known.about.contains(about);
                let about: Vec<_> = one.about.into_iter().filter(new).collect();
                known.about.extend(about);
                let commands: Vec<_> = one.commands.into_iter().filter(|one| !known.commands.contains(one)).collect();
                known.commands.extend(commands);
            }
            Some(_) | None => together.push(one),
        }
    }
    for finding in &mut together {
        let others: Vec<_> = finding.about.iter().skip(1).collect();
        if !others.is_empty() {
            finding.what = format!("{} (the same is true of {})", finding.what, some_of(&others));
        }
    }
    together
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. Why it matters: {}. What to do: {}", self.what, self.why, self.fix)
    }
}
