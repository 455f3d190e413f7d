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
}

impl Finding {
    /// Without IPv6 nothing else can be right, and saying so of every address hides it.
    pub(super) fn hides_addresses(&self) -> bool {
        matches!(self.id, "ipv6_off" | "ipv6_sockets_forbidden")
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. Why it matters: {}. What to do: {}", self.what, self.why, self.fix)
    }
}
