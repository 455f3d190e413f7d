//! Checks 2, 3, 6, 7 and 9 to 15: what is so of each address.

use ipnet::Ipv6Net;

use crate::host::addresses::Held;
use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::Evidence;
use crate::host::facts::{Look, Wish};
use crate::host::finding::{Finding, mended_by};
use crate::host::findings::{one_way_for_both, trouble};
use crate::host::texts;

/// From so long a prefix on, few accounts fit.
const SMALL: u8 = 124;
/// More addresses than this on a link are better answered for by ndppd.
const BY_HAND: usize = 16;
/// With no address nothing can be asked of one.
const NONE: &str = "no address is known yet: name the configuration with --config (its pools have them), or an address with \
                    --address";

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    few(evidence, book);
    reserved_and_global(evidence, book);
    proxies(evidence, book);
    let looks = &evidence.facts.looks;
    if looks.is_empty() {
        without_addresses(evidence, book);
        return;
    }
    if looks.iter().any(|(_, look)| look.local.is_none() || look.leaves.is_none()) {
        for number in [2, 3, 17] {
            book.unknown(number, "the kernel may not be asked (netlink)");
        }
    }
    for (wish, look) in looks {
        of_one(evidence, wish, look, book);
    }
    said_well(evidence, book);
}

fn without_addresses(evidence: &Evidence, book: &mut Book) {
    for number in [3, 6, 9, 10, 11, 12, 13, 14, 17, 19, 20, 21, 22] {
        book.unknown(number, NONE);
    }
    match &evidence.facts.way {
        Some(Err(why)) => {
            let finding = texts::no_route(None, evidence.facts.to, why, None);
            book.found(mended_by(finding, vec![default_route(evidence, None, None)]));
        }
        Some(Ok(way)) => book.good(2, format!("by {}", way.interface)),
        None => book.unknown(2, "the kernel may not be asked (netlink)"),
    }
}

fn of_one(evidence: &Evidence, wish: &Wish, look: &Look, book: &mut Book) {
    let facts = &evidence.facts;
    let one = trouble(&wish.sender, facts.to, look, facts.freebind, wish.failed);
    let one = one.or_else(|| one_way_for_both(&wish.sender, facts, look));
    let with = |mut finding: Finding, commands| {
        finding.about.push(wish.sender.clone());
        mended_by(finding, commands)
    };
    if let Some(held) = look.on.as_ref() {
        held_for_good(evidence, wish, held, book);
    }
    let Some(finding) = one else { return };
    let ndppd = finding.id == "no_answer" && look.link.is_some() && look.on.is_none();
    if ndppd && evidence.machine.runs(&["ndppd"]) {
        book.found(with(ndppd_unheard(wish, look), on_the_interface(wish, look)));
        return;
    }
    let is_routed = look.on.is_none() && look.link.is_none();
    if matches!(finding.id, "no_answer" | "unreachable") && is_routed && somebody_works(evidence) {
        book.found(with(single_addresses_only(evidence, wish), Vec::new()));
    }
    let commands = commands_for(evidence, finding.id, wish, look);
    book.found(with(finding, commands));
}

fn somebody_works(evidence: &Evidence) -> bool {
    evidence.tries.iter().any(crate::host::evidence::Try::is_answered)
}

fn commands_for(evidence: &Evidence, id: &str, wish: &Wish, look: &Look) -> Vec<String> {
    let prefix = evidence.prefix_of(wish.sender.source.ip());
    match id {
        "address_missing" if look.link.is_some() => on_the_interface(wish, look),
        "address_missing" => vec![commands::local_route(prefix)],
        "neighbours_unanswered" => {
            let on_link = evidence.facts.looks.iter().filter(|(_, other)| other.link == look.link).count();
            match look.link.as_deref().filter(|_| on_link > BY_HAND) {
                Some(link) => commands::ndppd(prefix, link),
                None => on_the_interface(wish, look),
            }
        }
        "no_route" => vec![default_route(evidence, own_interface(look), look.table)],
        "wrong_way_out" => own_way(evidence, own_interface(look), prefix),
        "source_rule_missing" => {
            let used = used(evidence);
            let unused = evidence.facts.uplinks.iter().find(|uplink| !used.contains(&uplink.interface));
            own_way(evidence, unused.map(|uplink| uplink.interface.as_str()), prefix)
        }
        "duplicate_address" => {
            let held = look.on.as_ref().map(|held| (held.length, held.interface.as_str()));
            let (length, interface) = held.unwrap_or((128, "INTERFACE"));
            let at = wish.sender.source;
            vec![
                format!("ip -6 addr del {at}/{length} dev {interface}"),
                format!("ip -6 addr add {at}/{length} dev {interface}"),
            ]
        }
        "freebind_off" => vec![commands::sysctl("net.ipv6.ip_nonlocal_bind", "1")],
        "packets_too_big" => {
            let way = look.leaves.as_ref().and_then(|way| way.as_ref().ok());
            let interface = way.map_or("INTERFACE", |way| way.interface.as_str());
            vec![format!("ip link set dev {interface} mtu 1280")]
        }
        "firewall" | "refused_on_the_way" | "no_answer" => vec!["nft list ruleset".to_owned()],
        _ => Vec::new(),
    }
}

fn own_interface(look: &Look) -> Option<&str> {
    look.on.as_ref().map(|held| held.interface.as_str()).or(look.link.as_deref())
}

fn on_the_interface(wish: &Wish, look: &Look) -> Vec<String> {
    let way = look.leaves.as_ref().and_then(|way| way.as_ref().ok()).map(|way| way.interface.as_str());
    let interface = look.link.as_deref().or(way).unwrap_or("INTERFACE");
    vec![commands::address(wish.sender.source.ip(), interface)]
}

/// The interfaces that addresses leave by.
fn used(evidence: &Evidence) -> Vec<String> {
    let leaves = |look: &Look| Some(look.leaves.as_ref()?.as_ref().ok()?.interface.clone());
    evidence.facts.looks.iter().filter_map(|(_, look)| leaves(look)).collect()
}

/// A default route by what is known of routers: by that of the address's own interface, else by the one that no other
/// address leaves by.
fn default_route(evidence: &Evidence, own: Option<&str>, table: Option<u32>) -> String {
    let machine = &evidence.machine;
    let used = used(evidence);
    let unused = || {
        let mut found = machine.routers.iter().filter(|router| !used.contains(&router.interface));
        let first = found.next()?;
        found.all(|other| other.interface == first.interface).then_some(first)
    };
    let router = machine.router(own).or_else(unused);
    let interface = own.or(router.map(|router| router.interface.as_str()));
    let links = machine.links.iter().flatten().filter(|link| link.is_up && !link.is_loopback);
    let only: Vec<_> = links.map(|link| link.name.as_str()).collect();
    let only = only.first().filter(|_| only.len() == 1).copied();
    commands::default_route(router.and_then(|router| router.gateway), interface.or(only), table)
}

/// A table of its own for a line, and a rule that leads a prefix there.
fn own_way(evidence: &Evidence, interface: Option<&str>, prefix: Ipv6Net) -> Vec<String> {
    let mut uplinks: Vec<_> = evidence.facts.uplinks.iter().map(|uplink| uplink.interface.as_str()).collect();
    uplinks.sort_unstable();
    let place = uplinks.iter().position(|uplink| Some(*uplink) == interface).unwrap_or(1);
    let table = 101 + u32::try_from(place).unwrap_or_default();
    let uplink = evidence.facts.uplinks.iter().find(|uplink| Some(uplink.interface.as_str()) == interface);
    let gateway = uplink.and_then(|uplink| uplink.gateway);
    vec![commands::default_route(gateway, interface, Some(table)), commands::source_rule(prefix, table)]
}

fn ndppd_unheard(wish: &Wish, look: &Look) -> Finding {
    let link = look.link.as_deref().unwrap_or("INTERFACE");
    texts::error(
        "ndppd_unheard",
        format!("ndppd runs, and still no answer came to {}", wish.sender),
        "some providers' routers do not hear what ndppd answers by its link-local address, or it was not told of this prefix; \
         then answers to the address are dropped, and no order can be sent from it",
        format!(
            "see that /etc/ndppd.conf has a proxy for {link} with a rule for the prefix. If it has, add each address to the \
             interface: ip -6 addr add {}/128 dev {link} nodad; or ask the provider to route the prefix to this host",
            wish.sender.source
        ),
    )
}

fn single_addresses_only(evidence: &Evidence, wish: &Wish) -> Finding {
    let prefix = evidence.prefix_of(wish.sender.source.ip());
    texts::warning(
        "single_addresses_only",
        format!(
            "{} is this host's and has a way out, and nothing comes back to it, while other addresses work",
            wish.sender
        ),
        "many providers route only single addresses to a machine, and drop what comes to the rest of its prefix",
        format!(
            "ask the provider whether all of {prefix} is routed to this host; in a cloud (AWS and the like) assign the \
             prefix to the machine's interface in its panel. If it is routed, look for a firewall first"
        ),
    )
}

fn held_for_good(evidence: &Evidence, wish: &Wish, held: &Held, book: &mut Book) {
    let (at, interface, length) = (wish.sender.source, &held.interface, held.length);
    if held.is_tentative() && evidence.setting.tentative.contains(&at.ip()) {
        let finding = texts::error(
            "tentative_address",
            format!("{} is on {interface} and still not ready for use", wish.sender),
            "the kernel asks whether another machine has the address, and gets to no end; until then nothing can be sent \
             from it",
            String::new(),
        );
        let again = vec![
            format!("ip -6 addr del {at}/{length} dev {interface}"),
            format!("ip -6 addr add {at}/{length} dev {interface} nodad"),
        ];
        book.found(about(mended_by(finding, again), wish));
    } else if held.is_leased() {
        let finding = texts::warning(
            "leased_address",
            format!("{} was given to {interface} for a time only", wish.sender),
            "it will be another one some day, and the one that is registered at the broker cannot be changed for seven days",
            format!(
                "configure it as a static address. As root, until the host restarts: ip -6 addr change {at}/{length} dev \
                 {interface} valid_lft forever preferred_lft forever"
            ),
        );
        let command =
            format!("ip -6 addr change {at}/{length} dev {interface} valid_lft forever preferred_lft forever");
        book.found(about(mended_by(finding, vec![command]), wish));
    }
}

fn about(mut finding: Finding, wish: &Wish) -> Finding {
    finding.about.push(wish.sender.clone());
    finding
}

fn proxies(evidence: &Evidence, book: &mut Book) {
    let machine = &evidence.machine;
    if machine.proxied.is_empty() {
        return book.good(7, "the kernel is told to answer for no address");
    }
    book.good(7, "the kernel answers for what it is told to");
    let mut dead = Vec::new();
    for (wish, look) in &evidence.facts.looks {
        let Some(link) = look.link.as_deref().filter(|_| look.on.is_none()) else { continue };
        let answers = machine.settings_of(link).is_some_and(|settings| settings.proxy_ndp && settings.forwarding);
        if machine.proxied.contains(&wish.sender.source.ip()) && !answers {
            dead.push((wish, look, link));
        }
    }
    for (wish, look, link) in dead {
        let finding = texts::error(
            "proxy_without_forwarding",
            format!(
                "the kernel is told to answer for {} on {link} (ip -6 neigh add proxy), and does not: it does so only with \
                 proxy_ndp and forwarding turned on for {link}",
                wish.sender
            ),
            "the router asks who has the address, and nobody answers, so no order can be sent from it",
            format!(
                "as root: {}. Or install ndppd. Turning forwarding on for {link} works too, but may remove its default route",
                commands::address(wish.sender.source.ip(), link)
            ),
        );
        book.found(about(mended_by(finding, on_the_interface(wish, look)), wish));
    }
}

fn few(evidence: &Evidence, book: &mut Book) {
    // A line between two hosts is small and needs no more, unless addresses of accounts are on it.
    let looks = &evidence.facts.looks;
    let is_theirs = |net: &Ipv6Net| {
        let alone = looks.is_empty() && evidence.setting.prefixes.is_empty();
        alone || looks.iter().any(|(wish, _)| net.contains(&wish.sender.source.ip()))
    };
    let on_links =
        evidence.machine.held.iter().filter(|held| held.is_global()).filter_map(Held::on_link).filter(is_theirs);
    let pools = evidence.setting.prefixes.iter().copied();
    let small: Vec<_> = pools.chain(on_links).filter(|net| (SMALL..128).contains(&net.prefix_len())).collect();
    let Some(first) = small.first() else {
        return book.good(15, "no prefix is as small as a /124");
    };
    if evidence.setting.broker_is_here {
        return book.good(15, "the sandbox has few addresses, and is there to be tried");
    }
    let count = 1_u32 << (128 - first.prefix_len());
    book.found(texts::warning(
        "few_addresses",
        format!("{first} has only {count} addresses"),
        "each account takes one of each of two prefixes, and some of a prefix are the router's and this host's own",
        "ask the provider for a larger prefix (a /64 is usual), or give each account its pair yourself: sixgate pair assign \
         NAME --primary ADDRESS --secondary ADDRESS"
            .to_owned(),
    ));
}

fn reserved_and_global(evidence: &Evidence, book: &mut Book) {
    for (wish, _) in &evidence.facts.looks {
        let own = &evidence.machine.own;
        let Some(why) = own.reserved(wish.sender.source) else { continue };
        let is_forbidden = own.forbids(wish.sender.source).is_some();
        let make = if is_forbidden { texts::error } else { texts::warning };
        let finding = make(
            "reserved_address",
            format!("{} is no address for an account: {why}", wish.sender),
            "answers to it may go to somebody else, or what this host sends for itself looks like the account's",
            "give the account another pair: sixgate pair assign NAME".to_owned(),
        );
        book.found(about(finding, wish));
    }
    for (sender, rule) in &evidence.setting.not_global {
        let mut finding = texts::error(
            "not_global",
            format!("{sender} is no address of the internet ({rule})"),
            "the broker cannot answer to it, and cannot register it",
            "take a prefix that the provider gave you: write it into [[pool]] of the configuration".to_owned(),
        );
        finding.about.push(sender.clone());
        book.found(finding);
    }
}

/// What is said where nothing was found.
fn said_well(evidence: &Evidence, book: &mut Book) {
    let looks = &evidence.facts.looks;
    let count = looks.len();
    let all = |what: &str| format!("{what} ({count} looked at)");
    book.good(2, all("each has one"));
    book.good(3, all("each is this host's"));
    book.good(10, all("nobody else has one"));
    book.good(11, all("all are ready"));
    book.good(12, all("none is for a time only"));
    book.good(13, all("none is"));
    book.good(14, all("each can be answered to"));
    book.good(17, all("each does"));
    let on_link: Vec<_> = looks.iter().filter(|(_, look)| look.link.is_some() && look.on.is_none()).collect();
    if on_link.is_empty() {
        book.good(6, "every address is on an interface or of a prefix that is routed here");
        book.good(9, "nothing is left to ndppd");
        return;
    }
    let works =
        on_link.iter().all(|(wish, _)| evidence.works(&wish.sender).unwrap_or(true)) && somebody_works(evidence);
    for number in [6, 9] {
        match works {
            true => book.good(number, "answers come to on-link addresses"),
            false => {
                book.unknown(number, "whether the router finds on-link addresses shows only when one is connected from")
            }
        }
    }
}
