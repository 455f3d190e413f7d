//! Checks 24 to 27: what names stand for.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::{BrokerHost, Evidence, NameAnswer, NameSays, NamesSaid};
use crate::host::finding::mended_by;
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
    for host in &names.hosts {
        of_host(names, host, book);
    }
    book.good(24, format!("{} hosts have one", names.hosts.len()));
    book.good(25, "it is");
    servers(names, book);
}

fn about<'a>(names: &'a NamesSaid, host: &BrokerHost) -> Vec<&'a NameAnswer> {
    names.answers.iter().filter(|answer| answer.host == host.name).collect()
}

fn of_host(names: &NamesSaid, host: &BrokerHost, book: &mut Book) {
    let answers = about(names, host);
    let fix = |what: &str| {
        format!(
            "{what} other servers under [egress] in the configuration, such as name_servers = [\"[2606:4700:4700::1111]:53\"], \
             or pin the host's address in [egress.resolve]"
        )
    };
    for answer in &answers {
        if let Some(at) = translated(names, &answer.says) {
            let mut finding = texts::error(
                "nat64",
                format!("{} says that {} is {at}, which stands for an IPv4 address (NAT64)", answer.server, host.name),
                "connections would leave by a translator, and the broker would see an IPv4 address that is not the account's",
                fix("name"),
            );
            if !names.from_config {
                finding = mended_by(finding, vec![commands::without_server(&answer.server.ip().to_string())]);
            }
            book.found(finding);
            return;
        }
    }
    if answers.iter().any(|answer| matches!(answer.says, NameSays::Addresses(_))) {
        return;
    }
    let said: Vec<_> = answers.iter().map(|answer| format!("{} {}", answer.server, words(&answer.says))).collect();
    let (make, why): (fn(_, _, &str, _) -> _, _) = match host.is_needed {
        true => (texts::error, "no order or no login can be sent: nothing is ever sent over IPv4"),
        false => (
            texts::warning,
            "what comes from that host (feeds, lists of instruments) does not come through the gateway",
        ),
    };
    book.found(make("no_aaaa", format!("{} has no IPv6 address: {}", host.name, said.join("; ")), why, fix("name")));
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
    book.good(27, "they are");
    for (name, address) in &evidence.machine.overrides {
        let finding = texts::warning(
            "name_overridden",
            format!("/etc/hosts says that {name} is {address}"),
            "if the broker moves, orders still go there, or nowhere. An entry for a loopback address leads only programs on \
             this host to the gateway",
            format!("remove the line, unless it is meant; as root: {}", commands::without_name("/etc/hosts", name)),
        );
        book.found(mended_by(finding, vec![commands::without_name("/etc/hosts", name)]));
    }
    if !evidence.setting.pins.is_empty() {
        let pins: Vec<_> = evidence.setting.pins.iter().map(|(host, to)| format!("{host} to {to}")).collect();
        book.found(texts::warning(
            "name_overridden",
            format!("egress.resolve pins {}", pins.join(", ")),
            "if the broker moves, orders still go there, or nowhere",
            "remove the pins from [egress.resolve] in the configuration, unless they are meant".to_owned(),
        ));
    }
}
