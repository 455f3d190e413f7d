//! The hosts of `egress.ipv4_hosts`: whether they need it, and whether what is sent to them can leave.

use std::net::Ipv4Addr;

use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::{Came, Evidence, Ipv4Try, NameSays, NamesSaid};
use crate::host::failure::Failure;
use crate::host::finding::mended_by;
use crate::host::texts;

const NOT_THERE: &str = "what that host is for (logins, feeds, lists of instruments) does not work until then. Orders are not \
                         affected: they never leave over IPv4";

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    for one in &evidence.ipv4 {
        if let Some(names) = &evidence.names
            && has_ipv6(names, &one.host)
        {
            book.found(texts::warning(
                "ipv4_not_needed",
                format!("{} has an IPv6 address, and egress.ipv4_hosts has it reached over IPv4", one.host),
                "what is sent there leaves from one address for all accounts, and there is no second way out beside it",
                format!("take {} out of [egress.ipv4_hosts] in the configuration", one.host),
            ));
        }
        let Came::Failed { failure, why } = &one.came else { continue };
        match failure {
            Some(Failure::Bind(_)) => book.found(source_missing(one, why)),
            Some(_) | None => book.found(texts::error(
                "ipv4_unreachable",
                format!("{} was not reached over IPv4 from {}: {why}", one.host, one.source),
                NOT_THERE,
                format!(
                    "see that {} leads out of this host: curl --interface {} https://{}/ must connect",
                    one.source, one.source, one.host
                ),
            )),
        }
    }
}

/// The word of an entry, for the fix of hosts that have none, where one of them can have it.
pub(super) fn entry(names: &NamesSaid, hosts: &[String]) -> Option<String> {
    let source = Ipv4Addr::new(192, 0, 2, 7);
    let host = hosts.iter().find(|host| names.ipv4.contains(host))?;
    let it = if hosts.len() == 1 { "it" } else { host };
    Some(format!(
        "{it} has an IPv4 address, and no order is placed on it: name it in [egress.ipv4_hosts] with the IPv4 address of this \
         host to send from (ip -4 addr show), such as \"{host}\" = \"{source}\""
    ))
}

fn has_ipv6(names: &NamesSaid, host: &str) -> bool {
    names.answers.iter().any(|answer| answer.host == host && matches!(answer.says, NameSays::Addresses(_)))
}

fn source_missing(one: &Ipv4Try, why: &str) -> crate::host::finding::Finding {
    let finding = texts::error(
        "ipv4_source_missing",
        format!(
            "{}, the source of {} in egress.ipv4_hosts, is not an address of this host: {why}",
            one.source, one.host
        ),
        NOT_THERE,
        format!(
            "name an address there that an interface has (ip -4 addr show), or add it, as root: {}",
            commands::ipv4_address(one.source)
        ),
    );
    mended_by(finding, vec![commands::ipv4_address(one.source)])
}
