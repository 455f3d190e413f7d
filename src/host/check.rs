//! The checks of a host: what is looked at, by which word, and what came of it.

use std::fmt;

use jiff::Timestamp;

use super::finding::{Finding, Severity, put_together};

/// One thing that is looked at. The table of all is [`checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its place in the order in which they are told.
    pub number: u8,
    /// A word that never changes; also that of its finding, if it has only one.
    pub id: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// The question, for people.
    pub title: &'static str,
    /// Ids of other findings that are about the same.
    pub also: &'static [&'static str],
}

/// What a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Addresses and routes of this host.
    Addresses,
    /// Ways out, and what is on them.
    Lines,
    /// Name service.
    Names,
    /// The clock, and what the kernel allows.
    Limits,
    /// The gateway itself.
    Gateway,
}

impl Group {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Lines => "lines",
            Self::Names => "names",
            Self::Limits => "limits",
            Self::Gateway => "gateway",
        }
    }
}

const fn check(
    number: u8,
    id: &'static str,
    group: Group,
    title: &'static str,
    also: &'static [&'static str],
) -> Check {
    Check { number, id, group, title, also }
}

const CHECKS: [Check; 40] = [
    check(1, "ipv6_off", Group::Addresses, "Is IPv6 on?", &[]),
    check(2, "no_route", Group::Addresses, "Is there a route to the broker from each address?", &[]),
    check(
        3,
        "address_missing",
        Group::Addresses,
        "Does this host take each address as its own?",
        &["ipv4_source_missing"],
    ),
    check(4, "address_lost", Group::Addresses, "Are the routes of the host's own configuration still there?", &[]),
    check(5, "not_kept_at_boot", Group::Addresses, "Will the addresses be there after a restart of the host?", &[]),
    check(6, "neighbours_unanswered", Group::Addresses, "Does somebody answer the router for on-link addresses?", &[]),
    check(7, "proxy_without_forwarding", Group::Addresses, "Does the kernel answer for what it is told to?", &[]),
    check(8, "forwarding_drops_route", Group::Addresses, "Does forwarding leave the router's route alone?", &[]),
    check(9, "ndppd_unheard", Group::Addresses, "Does what ndppd answers get through?", &[]),
    check(10, "duplicate_address", Group::Addresses, "Is each address this host's alone?", &[]),
    check(11, "tentative_address", Group::Addresses, "Are all addresses ready for use?", &[]),
    check(12, "leased_address", Group::Addresses, "Are all addresses this host's for good?", &[]),
    check(13, "reserved_address", Group::Addresses, "Is no account's address a router's or this host's own?", &[]),
    check(14, "not_global", Group::Addresses, "Can the broker answer to each address?", &[]),
    check(15, "few_addresses", Group::Addresses, "Are there enough addresses?", &[]),
    check(16, "one_way_out", Group::Lines, "Are the two addresses of a pair on two lines?", &[]),
    check(17, "wrong_way_out", Group::Lines, "Does each address leave by its own line?", &["source_rule_missing"]),
    check(18, "reverse_path_filter", Group::Lines, "Does this host take answers on either line?", &[]),
    check(19, "firewall", Group::Lines, "Does no firewall stop connections?", &["refused_on_the_way", "no_answer"]),
    check(20, "single_addresses_only", Group::Lines, "Does the provider route the whole prefix to this host?", &[]),
    check(
        21,
        "broker_unreachable",
        Group::Lines,
        "Does the broker answer by each line?",
        &["gateway_silent", "unreachable", "no_way_further", "ipv4_unreachable"],
    ),
    check(22, "packets_too_big", Group::Lines, "Do large packets get through?", &[]),
    check(23, "mtu_too_small", Group::Lines, "Can each line carry IPv6 (MTU of 1280 or more)?", &[]),
    check(24, "no_aaaa", Group::Names, "Has each host of the broker an IPv6 address?", &["ipv4_not_needed"]),
    check(25, "nat64", Group::Names, "Is the broker's address a real one, not NAT64?", &[]),
    check(26, "name_servers", Group::Names, "Do all name servers answer, and alike?", &[]),
    check(27, "name_overridden", Group::Names, "Are the broker's names left to name servers?", &[]),
    check(28, "clock_off", Group::Limits, "Is the clock right?", &["clock_unkept"]),
    check(29, "descriptors", Group::Limits, "May the gateway open enough files and connections?", &["memory"]),
    check(30, "few_ports", Group::Limits, "Are there enough ports to dial from?", &[]),
    check(31, "route_cache", Group::Limits, "Does the kernel's IPv6 route cache bear load?", &[]),
    check(32, "neighbour_table", Group::Limits, "Is there room for all neighbours?", &[]),
    check(33, "conntrack", Group::Limits, "Is there room for more tracked connections?", &[]),
    check(34, "port_taken", Group::Gateway, "Are the listeners' ports free?", &[]),
    check(35, "state_folder", Group::Gateway, "Is the state kept safely?", &[]),
    check(36, "container", Group::Gateway, "If this is a container, has it the addresses?", &[]),
    check(
        37,
        "netlink_forbidden",
        Group::Gateway,
        "May the gateway use the sockets that it needs?",
        &["ipv6_sockets_forbidden", "unix_sockets_forbidden"],
    ),
    check(38, "kernel_features", Group::Gateway, "Can the kernel do what the gateway needs?", &["freebind_off"]),
    check(39, "admin_exposed", Group::Gateway, "Is the admin API out of other hosts' reach?", &[]),
    check(40, "another_program_logs_in", Group::Gateway, "Is the gateway alone in logging in?", &[]),
];

/// All checks, in the order in which they are told.
pub const fn checks() -> &'static [Check] {
    &CHECKS
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it should be.
    Good,
    /// It is worth mending, and stops nothing today.
    Warning,
    /// Something cannot trade until it is mended.
    Failed,
    /// It could not be seen.
    Unknown,
}

impl Outcome {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A check, and what came of it.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Which.
    pub check: &'static Check,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, or why nothing could be seen.
    pub found: String,
    /// What is wrong, with what to do.
    pub findings: Vec<Finding>,
}

/// All checks of a host, made once.
#[derive(Clone, Debug)]
pub struct Examination {
    /// When it was done.
    pub checked_at: Timestamp,
    /// What configures this host's network.
    pub system: &'static str,
    /// One for each of [`checks`], in their order.
    pub checks: Vec<Examined>,
}

impl Examination {
    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|one| one.outcome == outcome).count()
    }

    /// The commands that mend what is wrong, in the order of the checks, each once, with what each is for.
    pub fn plan(&self) -> Vec<(&Finding, Vec<&str>)> {
        let mut seen = Vec::new();
        let mut plan = Vec::new();
        for finding in self.checks.iter().flat_map(|one| &one.findings) {
            let new = |command: &&str| {
                let new = !seen.contains(&(*command).to_owned());
                if new {
                    seen.push((*command).to_owned());
                }
                new
            };
            let commands: Vec<_> = finding.commands.iter().map(String::as_str).filter(new).collect();
            if !commands.is_empty() || finding.commands.is_empty() {
                plan.push((finding, commands));
            }
        }
        plan
    }
}

/// Collects what is said of each check; what nobody spoke of is unknown.
#[derive(Debug, Default)]
pub(super) struct Book {
    said: Vec<(u8, Said)>,
    findings: Vec<Finding>,
}

#[derive(Debug)]
enum Said {
    Good(String),
    Unknown(String),
}

impl Book {
    /// It was looked at and nothing was wrong, unless a finding says otherwise.
    pub(super) fn good(&mut self, number: u8, found: impl Into<String>) {
        self.said.push((number, Said::Good(found.into())));
    }

    /// It could not be seen, unless a finding says otherwise.
    pub(super) fn unknown(&mut self, number: u8, why: impl Into<String>) {
        self.said.push((number, Said::Unknown(why.into())));
    }

    /// Something is wrong.
    pub(super) fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Is something wrong by this id?
    pub(super) fn has(&self, id: &str) -> bool {
        self.findings.iter().any(|finding| finding.id == id)
    }

    /// One for each check, in their order.
    pub(super) fn close(mut self) -> Vec<Examined> {
        let mut all = Vec::with_capacity(CHECKS.len());
        for check in &CHECKS {
            let (findings, rest) =
                self.findings.into_iter().partition(|one| one.id == check.id || check.also.contains(&one.id));
            self.findings = rest;
            let findings = put_together(findings);
            let said = self.said.iter().find(|(number, _)| *number == check.number).map(|(_, said)| said);
            let worst = findings.iter().map(|finding| finding.severity).max();
            let (outcome, found) = match (worst, said) {
                (Some(Severity::Error), _) => (Outcome::Failed, summary(&findings)),
                (Some(Severity::Warning), _) => (Outcome::Warning, summary(&findings)),
                (None, Some(Said::Good(found))) => (Outcome::Good, found.clone()),
                (None, Some(Said::Unknown(why))) => (Outcome::Unknown, why.clone()),
                (None, None) => (Outcome::Unknown, "nobody looked".to_owned()),
            };
            all.push(Examined { check, outcome, found, findings });
        }
        all
    }
}

fn summary(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.what.as_str()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::texts;

    /// Numbers are in the documentation and in people's notes, ids in their scripts.
    #[test]
    fn every_check_has_a_number_and_words_of_its_own() {
        let mut words = Vec::<&str>::new();
        for (at, check) in checks().iter().enumerate() {
            assert_eq!(usize::from(check.number), at + 1);
            assert!(check.title.ends_with('?') && !check.id.is_empty(), "{check:?}");
            words.extend([check.id].iter().chain(check.also).copied());
        }
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "a finding belongs to one check");
    }

    #[test]
    fn what_is_wrong_wins_over_what_was_said_and_what_nobody_said_is_unknown() {
        let mut book = Book::default();
        book.good(1, "on");
        book.good(2, "by eth0");
        book.unknown(3, "only root can see it");
        book.found(texts::ipv6_off(&["net.ipv6.conf.all.disable_ipv6".to_owned()]));
        let closed = book.close();
        let of = |number: usize| (closed[number - 1].outcome, closed[number - 1].found.as_str());
        assert!(matches!(of(1), (Outcome::Failed, found) if found.contains("turned off")));
        assert_eq!(of(2), (Outcome::Good, "by eth0"));
        assert_eq!(of(3), (Outcome::Unknown, "only root can see it"));
        assert_eq!(of(4), (Outcome::Unknown, "nobody looked"));
    }
}
