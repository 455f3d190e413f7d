//! Checks 16 and 18 to 23: the ways out, and what is on them.

use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::{Came, Evidence, Try};
use crate::host::facts::Look;
use crate::host::finding::{Finding, mended_by};
use crate::host::texts;

/// What IPv6 wants of every line (RFC 8200).
const LEAST: u32 = 1280;

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    one_way(evidence, book);
    mtu(evidence, book);
    broker(evidence, book);
    filter(evidence, book);
    if evidence.facts.looks.is_empty() {
        return;
    }
    let silent = evidence.tries.iter().filter(|one| !one.is_answered()).count();
    match (evidence.tries.is_empty(), silent) {
        (true, _) => {
            for number in [19, 20, 22] {
                book.unknown(number, "nothing was connected to");
            }
        }
        (false, 0) => {
            book.good(19, "no connection was stopped");
            book.good(20, "answers came to an address of each prefix");
            book.good(22, "handshakes came through whole");
        }
        (false, _) => {
            book.unknown(19, "not every connection was answered, and only root can list the rules (nft list ruleset)");
            book.unknown(20, "not every connection was answered");
            book.unknown(22, "not every connection was answered");
        }
    }
}

fn leaves(look: &Look) -> Option<(&str, Option<std::net::Ipv6Addr>)> {
    let way = look.leaves.as_ref()?.as_ref().ok()?;
    Some((way.interface.as_str(), way.gateway))
}

fn one_way(evidence: &Evidence, book: &mut Book) {
    let ways: Vec<_> = evidence.facts.looks.iter().filter_map(|(_, look)| leaves(look)).collect();
    let mut prefixes: Vec<_> =
        evidence.facts.looks.iter().map(|(wish, _)| evidence.prefix_of(wish.sender.source.ip())).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let Some((first, gateway)) = ways.first().copied().filter(|_| prefixes.len() > 1) else {
        return book.unknown(16, "the ways of two prefixes are not known");
    };
    if ways.iter().any(|way| *way != (first, gateway)) {
        return book.good(16, "they leave by different lines");
    }
    if book.has("source_rule_missing") {
        return book.unknown(16, "a second line is there and not used, see wrong_way_out");
    }
    book.found(texts::warning(
        "one_way_out",
        format!("both addresses of every pair leave by {first}"),
        "if that line fails, both addresses fail, and no order can be sent until it is back",
        "get a second line (another provider, or a tunnel to one), with the second prefix on it; or accept that one line is \
         all there is"
            .to_owned(),
    ));
}

fn mtu(evidence: &Evidence, book: &mut Book) {
    let Some(links) = &evidence.machine.links else {
        return book.unknown(23, "the kernel may not be asked (netlink)");
    };
    book.good(23, "each can");
    for link in links.iter().filter(|link| link.is_up && !link.is_loopback && link.mtu < LEAST) {
        let finding = texts::error(
            "mtu_too_small",
            format!("{} carries packets of at most {} bytes", link.name, link.mtu),
            "the kernel turns IPv6 off on a line that cannot carry 1280 bytes",
            String::new(),
        );
        let mtu = if link.is_tunnel() { 1420 } else { 1500 };
        book.found(mended_by(finding, vec![format!("ip link set dev {} mtu {mtu}", link.name)]));
    }
}

/// The cause is told by another check, where this host knows it.
fn broker(evidence: &Evidence, book: &mut Book) {
    let looks = &evidence.facts.looks;
    if evidence.tries.is_empty() {
        if !looks.is_empty() {
            book.unknown(21, "nothing was connected to: the broker's address or a way to it is not known");
        }
        return;
    }
    for one in &evidence.tries {
        let Came::Failed { why, .. } = &one.came else { continue };
        book.found(unreachable(evidence, one, why));
    }
    let answered = evidence.tries.iter().filter_map(|one| match &one.came {
        Came::Answered { connected, answered, .. } => Some(format!(
            "{} from {}: connected in {} ms, answered in {} ms",
            one.host,
            one.sender.source,
            connected.as_millis(),
            answered.as_millis()
        )),
        Came::Failed { .. } => None,
    });
    book.good(21, answered.collect::<Vec<_>>().join("; "));
}

fn unreachable(evidence: &Evidence, one: &Try, why: &str) -> Finding {
    let works = evidence.works(&one.sender) == Some(true);
    let others = evidence.tries.iter().any(|other| other.host == one.host && other.is_answered());
    let (meaning, fix) = match (works, others) {
        (_, true) => (
            "orders of accounts with this address go by the other one, if that works",
            "other findings of this address say why, if this host can know it; mend those first. Else the line, or the \
             provider's firewall, is at fault",
        ),
        (true, false) => (
            "what that host is for does not work now",
            "other hosts of the broker answer, so the line is good; look at the broker's status page, and try again",
        ),
        (false, false) => (
            "no order and no login can be sent from it",
            "other findings say why, if this host can know it; mend those first. If there are none, the line or the broker \
             is down: look at the broker's status page",
        ),
    };
    let mut finding = texts::error(
        "broker_unreachable",
        format!("{} was not reached from {}: {why}", one.host, one.sender),
        meaning,
        fix.to_owned(),
    );
    finding.about.push(one.sender.clone());
    finding
}

/// What answers come by another line than they would go by may be dropped by a firewall that minds it.
fn filter(evidence: &Evidence, book: &mut Book) {
    let lines = evidence.facts.uplinks.len();
    if lines < 2 {
        return book.good(18, "there is only one line");
    }
    let strict =
        evidence.machine.firewalld.as_deref().filter(|value| !matches!(*value, "no" | "loose" | "loose-forward"));
    if let Some(value) = strict {
        let finding = texts::warning(
            "reverse_path_filter",
            format!("firewalld drops answers that come by another line than its own (IPv6_rpfilter={value})"),
            "with two lines that can be every answer to one of the two addresses",
            String::new(),
        );
        let file = "/etc/firewalld/firewalld.conf";
        return book.found(mended_by(
            finding,
            vec![
                format!("sed -i 's/^IPv6_rpfilter=.*/IPv6_rpfilter=loose/' {file}"),
                format!("grep -q '^IPv6_rpfilter=' {file} || echo IPv6_rpfilter=loose >> {file}"),
                commands::at_a_quiet_time("firewall-cmd --complete-reload", "it cuts connections off"),
            ],
        ));
    }
    let answered = !evidence.tries.is_empty() && evidence.tries.iter().all(Try::is_answered);
    match answered {
        true => book.good(18, "answers came by both lines"),
        false => {
            book.unknown(18, "only root can see whether a rule minds it (nft list ruleset, look for \"fib saddr\")")
        }
    }
}
