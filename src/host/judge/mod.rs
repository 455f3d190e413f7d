//! The checks themselves: from what was found out to what is wrong, with the commands that mend it. Pure.

mod addresses;
mod boot;
mod gateway;
mod ipv4;
mod limits;
mod lines;
mod names;

use super::check::{Book, Examination, Examined};
use super::evidence::Evidence;

/// Judge all checks.
pub fn examine(evidence: &Evidence) -> Examination {
    Examination {
        checked_at: jiff::Timestamp::now(),
        system: evidence.machine.system.as_str(),
        checks: checks(evidence),
    }
}

fn checks(evidence: &Evidence) -> Vec<Examined> {
    let mut book = Book::default();
    gateway::sockets(evidence, &mut book);
    if book.has("ipv6_off") || book.has("ipv6_sockets_forbidden") {
        for number in 2..=23 {
            book.unknown(number, "without IPv6 nothing of this can be seen; mend that first");
        }
    } else {
        addresses::judge(evidence, &mut book);
        boot::judge(evidence, &mut book);
        lines::judge(evidence, &mut book);
    }
    names::judge(evidence, &mut book);
    ipv4::judge(evidence, &mut book);
    limits::judge(evidence, &mut book);
    gateway::judge(evidence, &mut book);
    book.close()
}

#[cfg(test)]
mod tests;
