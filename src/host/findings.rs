//! What is wrong with this host, judged from what was found out: pure.

use std::net::Ipv6Addr;

use super::addresses::Held;
use super::explain::Failure;
use super::facts::{Facts, Ipv6, Look};
use super::texts;
use crate::domain::SourceAddr;

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
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do, mostly a command.
    pub fix: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}. What to do: {}", self.what, self.why, self.fix)
    }
}

/// Ids of what a self-check does not tell though a failed dial does: it may be the broker's fault as well.
const NOT_THE_HOSTS: &[&str] = &["no_answer"];

/// Judge the facts. The same id is told once, with the number of other addresses that it is true of.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(facts.ipv6.finding());
    if let Some(why) = &facts.inet6_refused {
        found.push(texts::inet6_forbidden(why));
    }
    if let Some(why) = &facts.netlink_refused {
        found.push(texts::netlink_forbidden(why));
    }
    if let Some(why) = facts.unix_refused.as_ref().filter(|_| !facts.needs_unix.is_empty()) {
        found.push(texts::unix_forbidden(why, &facts.needs_unix));
    }
    // Without IPv6 nothing else can be right, and saying so of every address hides it.
    if found.iter().all(|finding| !matches!(finding.id, "ipv6_off" | "ipv6_sockets_forbidden")) {
        addresses(facts, &mut found);
    }
    if let Some(ahead) = facts.clock_ahead.filter(|ahead| ahead.abs() > texts::CLOCK) {
        found.push(texts::clock_off(ahead));
    }
    found
}

fn addresses(facts: &Facts, found: &mut Vec<Finding>) {
    let mut more = Vec::<(&'static str, usize)>::new();
    for (wish, look) in &facts.looks {
        let one = trouble(wish.source, facts.to, look, facts.freebind, wish.failed);
        let one = one.filter(|finding| !NOT_THE_HOSTS.contains(&finding.id));
        let Some(one) = one.or_else(|| one_way_for_both(wish.source, facts, look)) else { continue };
        match more.iter_mut().find(|(id, _)| *id == one.id) {
            Some((_, others)) => *others += 1,
            None => {
                more.push((one.id, 0));
                found.push(one);
            }
        }
    }
    if facts.looks.is_empty()
        && let Some(Err(why)) = &facts.way
    {
        found.push(texts::no_route(None, facts.to, why, None));
    }
    for finding in found {
        if let Some((_, others)) = more.iter().find(|(id, others)| *id == finding.id && *others > 0) {
            finding.what = format!("{} (and so it is for {others} more of the addresses)", finding.what);
        }
    }
}

/// There are two lines to the outside, and all addresses leave by one: no rule leads the others to theirs.
fn one_way_for_both(source: SourceAddr, facts: &Facts, look: &Look) -> Option<Finding> {
    let own = look.leaves.as_ref()?.as_ref().ok().filter(|own| own.interface != "lo")?;
    // Where something says which line is the address's own, that was looked at before.
    if look.table.is_some() || look.on.is_some() || look.link.is_some() {
        return None;
    }
    let unused = facts.uplinks.iter().find(|uplink| {
        let leaves_by_it = |look: &Look| {
            look.leaves.as_ref().is_some_and(|way| way.as_ref().is_ok_and(|way| way.interface == uplink.interface))
        };
        uplink.interface != own.interface && !facts.looks.iter().any(|(_, look)| leaves_by_it(look))
    })?;
    // The first of the addresses has the line rightly; that of its pair is the one that lacks a rule.
    let is_first = facts.looks.first().is_some_and(|(first, _)| first.source == source);
    (!is_first && facts.looks.len() > 1).then(|| texts::one_way_for_both(source, own, unused))
}

impl Ipv6 {
    /// What is wrong with it, if anything is.
    pub(super) fn finding(&self) -> Option<Finding> {
        match self {
            Self::On => None,
            Self::NotInKernel => Some(texts::ipv6_not_in_kernel()),
            Self::Off(keys) => Some(texts::ipv6_off(keys)),
        }
    }
}

/// What is wrong with this source and the way from it, after this failure if there was one. Nothing is told that was
/// not found out.
pub(super) fn trouble(
    from: SourceAddr,
    to: Ipv6Addr,
    look: &Look,
    freebind: bool,
    failed: Option<Failure>,
) -> Option<Finding> {
    if let Some(off) = look.ipv6.finding() {
        return Some(off);
    }
    if look.on.as_ref().is_some_and(Held::is_duplicate) {
        return Some(texts::duplicate(from, look.on.as_ref()?));
    }
    if look.local == Some(false) {
        let leaves = look.leaves.as_ref().and_then(|way| way.as_ref().ok());
        return Some(texts::address_missing(from, leaves));
    }
    if look.local == Some(true) && look.on.is_none() && !freebind && !look.nonlocal_bind {
        return Some(texts::freebind_needed(from));
    }
    let leaves = match &look.leaves {
        Some(Err(why)) => return Some(texts::no_route(Some(from), to, why, look.table)),
        Some(Ok(leaves)) => Some(leaves),
        None => None,
    };
    let own = look.on.as_ref().map(|held| held.interface.as_str()).or(look.link.as_deref());
    if let Some((leaves, own)) = leaves.zip(own)
        && leaves.interface != own
        && !matches!(own, "lo")
        && leaves.interface != "lo"
    {
        return Some(texts::wrong_way_out(from, leaves, own));
    }
    let failed = failed?;
    if let (Failure::Silent, Some(link), None, false) = (failed, &look.link, &look.on, look.answered_for) {
        return Some(texts::on_link_unanswered(from, link));
    }
    texts::of_failure(failed, from, to, leaves)
}
