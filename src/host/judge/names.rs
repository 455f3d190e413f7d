//! Checks 24 to 27: what names stand for.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::Ipv6Net;

use super::ipv4;
use crate::domain::counted;
use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::{BrokerHost, Evidence, NameAnswer, NameSays, NamesSaid};
use crate::host::finding::{mended_by, some_of};
use crate::host::texts;

/// A server that takes longer is slow: a host that moves is followed only as fast.
const SLOW: Duration = Duration::from_secs(1);
/// Addresses that stand for IPv4 ones everywhere (RFC 6052).
const WELL_KNOWN: &str = "64:ff9b::/96";

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    overridden(evidence, book);
    let Some(names) = &evidence.names else {
        for number in 24..=26 {
            book.unknown(number, "no name server was asked");
        }
        return;
    };
    if names.hosts.is_empty() {
        for number in 24..=26 {
            book.good(number, "every host of the broker is pinned in egress.resolve, so names are not asked for");
        }
        return;
    }
    let over_ipv4 = |host: &&BrokerHost| evidence.ipv4.iter().any(|one| one.host == host.name);
    let (apart, hosts): (Vec<_>, Vec<_>) = names.hosts.iter().partition(over_ipv4);
    translations(names, &hosts, book);
    without_address(names, &hosts, book);
    let apart = match apart.len() {
        0 => String::new(),
        more => format!("; {more} reached over IPv4 (egress.ipv4_hosts)"),
    };
    book.good(24, format!("of {} looked at{apart}", counted(hosts.len(), "host")));
    book.good(25, "it is");
    servers(names, book);
}

fn about<'a>(names: &'a NamesSaid, host: &BrokerHost) -> Vec<&'a NameAnswer> {
    names.answers.iter().filter(|answer| answer.host == host.name).collect()
}

fn fix(what: &str) -> String {
    format!(
        "{what} other servers under [egress] in the configuration, such as name_servers = [\"[2606:4700:4700::1111]:53\"], \
         or pin the host's address in [egress.resolve]"
    )
}

/// A server that says of one host that it is an address of NAT64 says so of all: told once for each server.
fn translations(names: &NamesSaid, hosts: &[&BrokerHost], book: &mut Book) {
    let mut told: Vec<(SocketAddr, Vec<String>)> = Vec::new();
    for host in hosts {
        let of_host = |answer: &&NameAnswer| Some((answer.server, translated(names, &answer.says)?));
        let Some((server, at)) = about(names, host).iter().find_map(of_host) else { continue };
        let one = format!("{} is {at}", host.name);
        match told.iter_mut().find(|(known, _)| *known == server) {
            Some((_, hosts)) => hosts.push(one),
            None => told.push((server, vec![one])),
        }
    }
    for (server, hosts) in told {
        let mut finding = texts::error(
            "nat64",
            format!("{server} says that {}, which stands for an IPv4 address (NAT64)", some_of(&hosts)),
            "connections would leave by a translator, and the broker would see an IPv4 address that is not the account's",
            fix("name"),
        );
        if !names.from_config {
            finding = mended_by(finding, vec![commands::without_server(&server.ip().to_string())]);
        }
        book.found(finding);
    }
}

/// Hosts of which the same is said are told of at once.
fn without_address(names: &NamesSaid, hosts: &[&BrokerHost], book: &mut Book) {
    let mut told: Vec<(String, Vec<&BrokerHost>)> = Vec::new();
    for host in hosts {
        let answers = about(names, host);
        let has_one = |answer: &&NameAnswer| {
            matches!(answer.says, NameSays::Addresses(_)) || translated(names, &answer.says).is_some()
        };
        if answers.iter().any(has_one) {
            continue;
        }
        let said: Vec<_> = answers.iter().map(|answer| format!("{} {}", answer.server, words(&answer.says))).collect();
        let said = said.join("; ");
        match told.iter_mut().find(|(known, _)| *known == said) {
            Some((_, hosts)) => hosts.push(host),
            None => told.push((said, vec![host])),
        }
    }
    for (said, hosts) in told {
        let is_any = |has: fn(&BrokerHost) -> bool| hosts.iter().any(|host| has(host));
        let (make, why): (fn(_, _, &str, _) -> _, _) =
            match (is_any(|host| host.takes_orders), is_any(|host| host.is_needed)) {
                (true, _) => (texts::error, "no order can be sent: orders never leave over IPv4"),
                (false, true) => {
                    (texts::error, "no account can log in: nothing is sent over IPv4 unless the configuration says so")
                }
                (false, false) => (
                    texts::warning,
                    "what comes from that host (feeds, lists of instruments) does not come through the gateway",
                ),
            };
        let named: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
        let fix = match ipv4::entry(names, &named) {
            Some(entry) => format!("{entry}; or {}", fix("name")),
            None => fix("name"),
        };
        let has = if hosts.len() == 1 { "has" } else { "have" };
        book.found(make("no_aaaa", format!("{} {has} no IPv6 address: {said}", some_of(&named)), why, fix));
    }
}

fn words(says: &NameSays) -> String {
    match says {
        NameSays::Addresses(all) => {
            format!("says {}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        NameSays::Forbidden(at, rule) => format!("says {at}, which is forbidden by rule {rule}"),
        NameSays::NoRecord(words) | NameSays::Failed(words) => words.clone(),
    }
}

/// An address of it that stands for an IPv4 one.
fn translated(names: &NamesSaid, says: &NameSays) -> Option<Ipv6Addr> {
    let well_known = WELL_KNOWN.parse::<Ipv6Net>().ok();
    let within = |at: &&Ipv6Addr| names.nat64.iter().chain(&well_known).any(|net| net.contains(*at));
    match says {
        NameSays::Addresses(all) => all.iter().find(within).copied(),
        NameSays::Forbidden(at, _) => Some(at).filter(within).copied(),
        NameSays::NoRecord(_) | NameSays::Failed(_) => None,
    }
}

fn servers(names: &NamesSaid, book: &mut Book) {
    let all: BTreeSet<SocketAddr> = names.answers.iter().map(|answer| answer.server).collect();
    let good = |answer: &NameAnswer| matches!(answer.says, NameSays::Addresses(_));
    let somebody_knows = |host: &str| names.answers.iter().any(|answer| answer.host == host && good(answer));
    for server in &all {
        let of: Vec<_> = names.answers.iter().filter(|answer| answer.server == *server).collect();
        let lame = of.iter().find(|answer| matches!(answer.says, NameSays::Failed(_)));
        let ignorant = of.iter().find(|answer| {
            matches!(answer.says, NameSays::NoRecord(_) | NameSays::Forbidden(..)) && somebody_knows(&answer.host)
        });
        let slow = of.iter().find(|answer| good(answer) && answer.took > SLOW);
        let what = match (lame, ignorant, slow) {
            (Some(lame), _, _) => format!("{server} is of no use: asked for {}, it {}", lame.host, words(&lame.says)),
            (None, Some(other), _) => {
                format!("{server} contradicts the others: asked for {}, it {}", other.host, words(&other.says))
            }
            (None, None, Some(slow)) => format!("{server} is slow: it took {:.1} s", slow.took.as_secs_f32()),
            (None, None, None) => continue,
        };
        let alone = !names.answers.iter().any(|answer| answer.server != *server && good(answer));
        let mut finding = match alone {
            true => texts::error,
            false => texts::warning,
        }(
            "name_servers",
            what,
            "hosts keep the address that they had for a day; a host that moves, or one that was never known, is found by a \
             good server only",
            format!("mend the server, or take it out of {}", names.origin),
        );
        if !alone && !names.from_config {
            finding = mended_by(finding, vec![commands::without_server(&server.ip().to_string())]);
        }
        book.found(finding);
    }
    book.good(26, format!("{} do ({})", all.len(), names.origin));
}

fn overridden(evidence: &Evidence, book: &mut Book) {
    let is_here = evidence.setting.broker_is_here;
    let pinned = "egress.resolve leads to the broker on this host, as it is meant to";
    book.good(27, if is_here { pinned } else { "they are" });
    let overrides = &evidence.machine.overrides;
    if !overrides.is_empty() {
        let told: Vec<_> = overrides.iter().map(|(name, address)| format!("{name} is {address}")).collect();
        let commands: Vec<_> = overrides.iter().map(|(name, _)| commands::without_name("/etc/hosts", name)).collect();
        let lines = if commands.len() == 1 { "line" } else { "lines" };
        let finding = texts::warning(
            "name_overridden",
            format!("/etc/hosts says that {}", some_of(&told)),
            "if the broker moves, orders still go there, or nowhere. An entry for a loopback address leads only programs on \
             this host to the gateway",
            format!("remove the {lines}, unless it is meant; as root: {}", commands.join(" && ")),
        );
        book.found(mended_by(finding, commands));
    }
    let pins = &evidence.setting.pins;
    if !pins.is_empty() && !is_here {
        let pins: Vec<_> = pins.iter().map(|(host, to)| format!("{host} to {to}")).collect();
        book.found(texts::warning(
            "name_overridden",
            format!("egress.resolve pins {}", pins.join(", ")),
            "if the broker moves, orders still go there, or nowhere",
            "remove the pins from [egress.resolve] in the configuration, unless they are meant".to_owned(),
        ));
    }
}
