//! What is wrong with this host, judged from what was found out: pure.

use std::net::Ipv6Addr;

use super::addresses::Held;
use super::facts::{Facts, Ipv6, Look, Sender, Wish};
use super::failure::Failure;
use super::finding::{Finding, put_together};
use super::texts;
use crate::domain::host_limits::Lack;

/// Ids of what a self-check does not tell though a failed dial does: it may be the broker's fault as well.
const NOT_THE_HOSTS: &[&str] = &["no_answer"];
/// Ids of what is only guessed from silence.
const BY_SILENCE: &[&str] = &["neighbours_unanswered", "packets_too_big"];

/// What is told where nobody could look: all that was found before, for nothing of it is known to be mended, and why.
pub fn could_not_look(lack: Lack, before: &[Finding]) -> Vec<Finding> {
    let lacks = texts::lacks(lack);
    let kept = before.iter().filter(|known| known.id != lacks.id).cloned();
    kept.chain([lacks.clone()]).collect()
}

/// Judge the facts. The same id is told once, with the other addresses that it is true of. What was found before and
/// could not be asked this time is told on.
pub fn findings(facts: &Facts, before: &[Finding]) -> Vec<Finding> {
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
    if !found.iter().any(Finding::hides_addresses) {
        addresses(facts, &mut found);
        let kept = before.iter().filter(|known| facts.could_not_look(known));
        let kept: Vec<_> = kept.filter(|known| found.iter().all(|finding| finding.id != known.id)).cloned().collect();
        found.extend(kept);
    }
    if let Some(ahead) = facts.clock_ahead.filter(|ahead| ahead.abs() > texts::CLOCK) {
        found.push(texts::clock_off(ahead));
    }
    found
}

fn addresses(facts: &Facts, found: &mut Vec<Finding>) {
    // A broker that is silent to everybody is no fault of this host's.
    let all_silent = !facts.looks.iter().any(|(wish, _)| wish.admits);
    for (wish, look) in &facts.looks {
        let one = trouble(&wish.sender, facts.to, look, facts.freebind, wish.failed);
        let one = one.filter(|finding| !NOT_THE_HOSTS.contains(&finding.id));
        let one = one.filter(|finding| !(BY_SILENCE.contains(&finding.id) && (all_silent || wish.worked)));
        let Some(mut one) = one.or_else(|| one_way_for_both(&wish.sender, facts, look)) else { continue };
        one.about.push(wish.sender.clone());
        found.push(one);
    }
    if facts.looks.is_empty()
        && let Some(Err(why)) = &facts.way
    {
        found.push(texts::no_route(None, facts.to, why, None));
    }
    *found = put_together(std::mem::take(found));
}

impl Facts {
    /// Is this of an address that the kernel did not answer about this time?
    fn could_not_look(&self, known: &Finding) -> bool {
        let unseen = |(wish, look): &(Wish, Look)| {
            (look.local.is_none() || look.leaves.is_none()) && known.about.contains(&wish.sender)
        };
        let no_way_known =
            known.id == "no_route" && known.about.is_empty() && self.looks.is_empty() && self.way.is_none();
        no_way_known || self.looks.iter().any(unseen)
    }
}

/// There are two lines to the outside, and all addresses leave by one: no rule leads the others to theirs.
pub(super) fn one_way_for_both(sender: &Sender, facts: &Facts, look: &Look) -> Option<Finding> {
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
    let is_first = facts.looks.first().is_some_and(|(first, _)| first.sender == *sender);
    (!is_first && facts.looks.len() > 1).then(|| texts::one_way_for_both(sender, own, unused))
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
    from: &Sender,
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
    if look.on.as_ref().is_some_and(Held::is_tentative) {
        return None;
    }
    if look.local == Some(false) {
        let leaves = look.leaves.as_ref().and_then(|way| way.as_ref().ok());
        return Some(texts::address_missing(from, look.link.as_deref(), leaves));
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
        // Addresses of a routed prefix may be on any interface, one that leads nowhere among them.
        && look.own_leads_out
        && !matches!(own, "lo")
        && leaves.interface != "lo"
    {
        return Some(texts::wrong_way_out(from, leaves, own));
    }
    let failed = failed?;
    if let (Failure::Silent, Some(link), None, false) = (failed, &look.link, &look.on, look.answered_for) {
        return Some(texts::on_link_unanswered(from, link));
    }
    texts::of_failure(failed, from, to, leaves.map(|leaves| (leaves, look.hop_failed)))
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::super::addresses::on;
    use super::super::finding::Severity;
    use super::super::way::Leaves;
    use super::*;
    use crate::domain::SourceAddr;

    const TO: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1);

    fn sender(address: &str) -> Sender {
        Sender { source: SourceAddr::parse(address).unwrap(), owner: Some("alpha primary".into()) }
    }

    fn by(interface: &str) -> Leaves {
        Leaves { interface: interface.to_owned(), gateway: Some("fe80::1".parse().unwrap()) }
    }

    /// An address of a prefix that is routed here, with a way out.
    fn good() -> Look {
        Look {
            ipv6: Ipv6::On,
            local: Some(true),
            on: None,
            link: None,
            leaves: Some(Ok(by("eth0"))),
            table: None,
            answered_for: false,
            own_leads_out: true,
            nonlocal_bind: false,
            hop_failed: false,
        }
    }

    fn facts(looks: Vec<Look>) -> Facts {
        let wish = |n: usize| {
            let sender = sender(&format!("2001:db8:a{}::1", n + 1));
            Wish { sender, admits: true, failed: None, worked: false }
        };
        let looks = looks.into_iter().enumerate();
        let looks = looks.map(|(n, look)| (wish(n), look)).collect();
        Facts { uplinks: vec![by("eth0")], to: TO, ..Facts::made(looks) }
    }

    /// Told of a host that is well, a finding sends somebody to mend what is not broken.
    #[test]
    fn each_look_has_its_own_finding_and_a_good_one_has_none() {
        let on_eth0 = || Some(on("eth0", "2001:db8:a1::1/128"));
        let link = || Some("eth0".to_owned());
        let nobody = Some(Err("Network is unreachable".to_owned()));
        let silent = Some(Failure::Silent);
        let errno = |errno: Errno| Some(Failure::Connect(errno as i32));
        for (look, freebind, failed, id) in [
            (good(), true, None, None),
            (Look { on: on_eth0(), ..good() }, false, None, None),
            (Look { nonlocal_bind: true, ..good() }, false, None, None),
            // Nothing is known, so nothing is told.
            (Look { local: None, leaves: None, ..good() }, false, None, None),
            (Look { local: None, leaves: None, ..good() }, true, silent, None),
            (Look { ipv6: Ipv6::NotInKernel, local: Some(false), ..good() }, true, silent, Some("ipv6_off")),
            (Look { local: Some(false), leaves: nobody.clone(), ..good() }, true, silent, Some("address_missing")),
            (good(), false, None, Some("freebind_off")),
            (Look { leaves: nobody, ..good() }, true, silent, Some("no_route")),
            (Look { on: on_eth0(), leaves: Some(Ok(by("eth1"))), ..good() }, true, None, Some("wrong_way_out")),
            (Look { link: link(), leaves: Some(Ok(by("eth1"))), ..good() }, true, None, Some("wrong_way_out")),
            // Many providers route a prefix that looks to be on the link: only silence says that this one does not.
            (Look { link: link(), ..good() }, true, None, None),
            (Look { link: link(), ..good() }, true, silent, Some("neighbours_unanswered")),
            (Look { link: link(), answered_for: true, ..good() }, true, silent, Some("no_answer")),
            (Look { link: link(), on: on_eth0(), ..good() }, true, silent, Some("no_answer")),
            (good(), true, Some(Failure::SilentTls), Some("packets_too_big")),
            (good(), true, errno(Errno::EPERM), Some("firewall")),
            (good(), true, errno(Errno::EACCES), Some("refused_on_the_way")),
            (good(), true, errno(Errno::ENETUNREACH), Some("no_way_further")),
            (Look { leaves: None, ..good() }, true, errno(Errno::ENETUNREACH), None),
            (Look { hop_failed: true, ..good() }, true, errno(Errno::EHOSTUNREACH), Some("gateway_silent")),
            (good(), true, errno(Errno::EHOSTUNREACH), Some("unreachable")),
            (good(), true, errno(Errno::ECONNRESET), None),
            (good(), true, Some(Failure::Bind(Errno::EMFILE as i32)), None),
        ] {
            let found = trouble(&sender("2001:db8:a1::1"), TO, &look, freebind, failed);
            assert_eq!(found.as_ref().map(|finding| finding.id), id, "{look:?} {failed:?}: {found:?}");
        }
    }

    /// A broker that is down is not this host's fault.
    #[test]
    fn silence_without_a_cause_here_is_no_finding_of_the_host() {
        let mut silent = facts(vec![good(), good()]);
        silent.looks.iter_mut().for_each(|(wish, _)| wish.failed = Some(Failure::Silent));
        assert_eq!(findings(&silent, &[]), []);
    }

    #[test]
    fn what_is_true_of_many_addresses_is_told_once() {
        let missing = || Look { local: Some(false), ..good() };
        let found = findings(&facts(vec![good(), missing(), missing(), missing()]), &[]);
        assert_eq!(found.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["address_missing"]);
        let about: Vec<_> = found[0].about.iter().map(|sender| sender.source.to_string()).collect();
        assert_eq!(about, ["2001:db8:a2::1", "2001:db8:a3::1", "2001:db8:a4::1"]);
        for named in
            ["alpha primary 2001:db8:a2::1 is not", "alpha primary 2001:db8:a3::1, alpha primary 2001:db8:a4::1"]
        {
            assert!(found[0].what.contains(named), "{found:?}");
        }
        let found = findings(&facts((0..12).map(|_| missing()).collect()), &[]);
        assert!(found[0].what.contains("and 3 more"), "{found:?}");
    }

    /// A broker that answers nobody looks to each leg like a line that is broken.
    #[test]
    fn what_is_guessed_from_silence_is_not_told_where_all_are_silent_or_this_one_worked() {
        let link = || Look { link: Some("eth0".to_owned()), ..good() };
        for (look, failure, id) in
            [(link(), Failure::Silent, "neighbours_unanswered"), (good(), Failure::SilentTls, "packets_too_big")]
        {
            let mut one = facts(vec![look.clone(), good()]);
            one.looks[0].0.failed = Some(failure);
            one.looks[0].0.admits = false;
            let found = findings(&one, &[]);
            assert_eq!(
                found.iter().map(|found| (found.id, found.severity)).collect::<Vec<_>>(),
                [(id, Severity::Warning)]
            );
            one.looks[0].0.worked = true;
            assert_eq!(findings(&one, &[]), [], "it worked since the host changed");
            one.looks[0].0.worked = false;
            one.looks[1].0.admits = false;
            assert_eq!(findings(&one, &[]), [], "none works");
        }
    }

    /// A check that could not ask knows nothing, least of all that something was mended.
    #[test]
    fn what_could_not_be_asked_stays_as_it_was() {
        let before = findings(&facts(vec![Look { local: Some(false), ..good() }]), &[]);
        assert_eq!(before.len(), 1);
        let silent = Look { local: None, leaves: None, ..good() };
        assert_eq!(findings(&facts(vec![silent]), &before), before);
        assert_eq!(findings(&facts(vec![good()]), &before), []);
        let lacking = could_not_look(Lack::Descriptors, &before);
        assert_eq!(lacking.iter().map(|found| found.id).collect::<Vec<_>>(), ["address_missing", "descriptors"]);
        assert!(lacking[1].to_string().contains("LimitNOFILE="), "{lacking:?}");
        assert_eq!(could_not_look(Lack::Descriptors, &lacking), lacking);
    }

    /// Two lines and one of them unused is told; one line, or a rule for each, is as it should be.
    #[test]
    fn a_second_line_that_nobody_leaves_by_is_told() {
        let ids = |facts: &Facts| findings(facts, &[]).iter().map(|finding| finding.id).collect::<Vec<_>>();
        let mut two = facts(vec![good(), good()]);
        assert_eq!(ids(&two), Vec::<&str>::new());
        two.uplinks.push(by("eth1"));
        assert_eq!(ids(&two), ["source_rule_missing"]);
        for (_, look) in &mut two.looks {
            look.table = Some(101);
        }
        assert_eq!(ids(&two), Vec::<&str>::new());
        assert_eq!(ids(&Facts { uplinks: vec![by("eth0"), by("eth1")], ..facts(vec![good()]) }), Vec::<&str>::new());
    }

    #[test]
    fn what_this_process_may_not_do_is_told_where_it_matters() {
        let ids = |facts: Facts| findings(&facts, &[]).iter().map(|finding| finding.id).collect::<Vec<_>>();
        let refused = || Some("Address family not supported by protocol".to_owned());
        assert_eq!(ids(Facts { unix_refused: refused(), ..facts(vec![]) }), Vec::<&str>::new());
        let needs_unix = vec!["something".to_owned()];
        assert_eq!(ids(Facts { unix_refused: refused(), needs_unix, ..facts(vec![]) }), ["unix_sockets_forbidden"]);
        assert_eq!(ids(Facts { netlink_refused: refused(), ..facts(vec![]) }), ["netlink_forbidden"]);
        let off = Facts { inet6_refused: refused(), ..facts(vec![Look { local: Some(false), ..good() }]) };
        assert_eq!(ids(off), ["ipv6_sockets_forbidden"], "what follows from it is not told");
        let nowhere = Some(Err("Network is unreachable".to_owned()));
        assert_eq!(ids(Facts { way: nowhere, ..facts(vec![]) }), ["no_route"]);
        let late = Some(jiff::SignedDuration::from_secs(3));
        assert_eq!(ids(Facts { clock_ahead: late, ..facts(vec![]) }), ["clock_off"]);
    }
}
