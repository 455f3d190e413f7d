//! Checks 4, 5 and 8: what a restart, or a setting, does to addresses and routes.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::Evidence;
use crate::host::finding::mended_by;
use crate::host::texts;

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    advertised(evidence, book);
    let needs = Needs::of(evidence);
    if needs.prefixes.is_empty() && needs.addresses.is_empty() {
        book.unknown(4, "no address is known yet");
        book.unknown(5, "no address is known yet");
        return;
    }
    lost(evidence, book);
    kept(evidence, &needs, book);
}

/// What has to be there when the host has started.
#[derive(Debug, Default)]
struct Needs {
    prefixes: Vec<Ipv6Net>,
    addresses: Vec<(Ipv6Addr, String)>,
}

impl Needs {
    fn of(evidence: &Evidence) -> Self {
        let mut needs = Self::default();
        for (wish, look) in &evidence.facts.looks {
            let at = wish.sender.source.ip();
            let on = look.on.as_ref().map(|held| held.interface.clone()).or_else(|| look.link.clone());
            match on {
                Some(interface) => needs.addresses.push((at, interface)),
                None => needs.prefixes.push(evidence.prefix_of(at)),
            }
        }
        needs.prefixes.sort_unstable();
        needs.prefixes.dedup();
        needs
    }

    /// What of it no file makes.
    fn not_kept(&self, evidence: &Evidence) -> Self {
        let boot = &evidence.machine.boot;
        Self {
            prefixes: self.prefixes.iter().filter(|net| !boot.keeps_prefix(**net)).copied().collect(),
            addresses: self.addresses.iter().filter(|(at, _)| !boot.keeps_address(*at)).cloned().collect(),
        }
    }
}

/// The host's configuration makes it, and it is not there.
fn lost(evidence: &Evidence, book: &mut Book) {
    let boot = &evidence.machine.boot;
    for (wish, _) in evidence.facts.looks.iter().filter(|(_, look)| look.local == Some(false)) {
        let at = wish.sender.source.ip();
        let prefix = evidence.prefix_of(at);
        let by_unit = boot.unit == Some(true);
        if !boot.keeps_prefix(prefix) && !boot.keeps_address(at) && !by_unit {
            continue;
        }
        let mut finding = texts::error(
            "address_lost",
            format!("the host's own configuration makes {} this host's, and it is not so now", wish.sender),
            "something took the route or the address away after the start of the host: turning IPv6 or the loopback \
             interface off and on does, and systemd-networkd removes routes that it did not make. It will happen again",
            String::new(),
        );
        finding.about.push(wish.sender.clone());
        let again = match by_unit {
            true => "systemctl restart sixgate-routes.service".to_owned(),
            false => commands::local_route(prefix),
        };
        book.found(mended_by(finding, vec![again]));
    }
    if evidence.facts.looks.iter().any(|(_, look)| look.local.is_none()) {
        book.unknown(4, "the kernel may not be asked (netlink)");
    } else {
        book.good(4, "nothing of it is gone");
    }
}

fn kept(evidence: &Evidence, needs: &Needs, book: &mut Book) {
    if evidence.setting.broker_is_here {
        return book.good(5, "the broker is on this host, and so the addresses need to be there only while it runs");
    }
    let machine = &evidence.machine;
    let boot = &machine.boot;
    match boot.unit {
        Some(true) => return book.good(5, "sixgate-routes.service makes them"),
        Some(false) => {
            let finding = texts::warning(
                "not_kept_at_boot",
                "sixgate-routes.service is installed and does not run when the host starts".to_owned(),
                "after a restart of the host no order can be sent until the addresses are made again",
                String::new(),
            );
            return book.found(mended_by(finding, vec!["systemctl enable --now sixgate-routes.service".to_owned()]));
        }
        None => {}
    }
    let missing = needs.not_kept(evidence);
    if missing.prefixes.is_empty() && missing.addresses.is_empty() {
        return book.good(5, format!("files of {} name them", machine.system.as_str()));
    }
    if let Some(file) = boot.unreadable.first() {
        return book.unknown(
            5,
            format!("only root can read {} and the like: run sixgate doctor as root to see", file.display()),
        );
    }
    let prefixes = missing.prefixes.iter().map(ToString::to_string);
    let named: Vec<_> = prefixes.chain(missing.addresses.iter().map(|(at, _)| at.to_string())).collect();
    let finding = texts::warning(
        "not_kept_at_boot",
        format!(
            "no file of this host's network configuration ({}) names {}",
            machine.system.as_str(),
            named.join(", ")
        ),
        "after a restart of the host they are gone, and no order can be sent until they are made again",
        String::new(),
    );
    book.found(mended_by(finding, commands::at_boot(machine.system, &missing.prefixes, &missing.addresses)));
}

/// A host that forwards takes no more routes from routers' advertisements, and drops those it has.
fn advertised(evidence: &Evidence, book: &mut Book) {
    let machine = &evidence.machine;
    let Some(has_default) = machine.has_default else {
        return book.unknown(8, "the kernel may not be asked (netlink)");
    };
    book.good(8, "no interface that forwards depends on a router's advertisements");
    for settings in machine.settings.iter().filter(|settings| settings.forwarding && settings.accept_ra == 1) {
        let interface = &settings.interface;
        let is_up =
            machine.links.iter().flatten().any(|link| link.name == *interface && link.is_up && !link.is_loopback);
        // With a route from elsewhere nothing is lost.
        if !is_up || has_default && !machine.advertised.contains(interface) {
            continue;
        }
        let finding = texts::error(
            "forwarding_drops_route",
            format!("{interface} forwards, so its route from the router's advertisements is dropped"),
            "docker, libvirt and VPN programs turn forwarding on; without the route no order can be sent",
            String::new(),
        );
        let key = format!("net.ipv6.conf.{interface}.accept_ra");
        book.found(mended_by(finding, commands::sysctl_kept(&key, "2")));
    }
}
