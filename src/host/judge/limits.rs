//! Checks 28 to 33: the clock, and what the kernel allows.

use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::{Came, Evidence};
use crate::host::finding::mended_by;
use crate::host::texts;

/// Programs that keep a clock right.
const KEEPERS: [&str; 6] = ["systemd-timesyn", "chronyd", "ntpd", "ntpd-rs-daemon", "ptp4l", "phc2sys"];
/// From this version on IPv6 routes are not counted.
const UNCOUNTED: (u32, u32) = (6, 3);
/// Fewer routes than this run out under load.
const FEW_ROUTES: u64 = 4096;
/// What a table that is nearly full is full by.
const NEARLY: u64 = 80;

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    clock(evidence, book);
    descriptors(evidence, book);
    ports(evidence, book);
    routes(evidence, book);
    neighbours(evidence, book);
    tracked(evidence, book);
}

fn clock(evidence: &Evidence, book: &mut Book) {
    let told = evidence.tries.iter().filter_map(|one| match &one.came {
        Came::Answered { ahead, .. } => *ahead,
        Came::Failed { .. } => None,
    });
    // The nearest: what is late on its way looks like a clock that is off.
    let ahead = evidence.facts.clock_ahead.or_else(|| told.min_by_key(|ahead| ahead.abs()));
    if let Some(ahead) = ahead.filter(|ahead| ahead.abs() > texts::CLOCK) {
        return book.found(mended_by(texts::clock_off(ahead), commands::clock()));
    }
    let machine = &evidence.machine;
    let is_kept = machine.clock_synchronised || machine.runs(&KEEPERS);
    match (is_kept, &machine.container, ahead) {
        (true, _, Some(_)) => book.good(28, "it agrees with the broker's, and is kept"),
        (true, _, None) => book.unknown(28, "it is kept, and the broker was not heard"),
        (false, Some(_), Some(_)) => book.good(28, "it agrees with the broker's; the container's host keeps it"),
        (false, Some(_), None) => book.unknown(28, "the container's host keeps it, and the broker was not heard"),
        (false, None, _) => book.found(mended_by(
            texts::warning(
                "clock_unkept",
                "no program that keeps the clock right was seen on this host".to_owned(),
                "a clock that nobody keeps drifts by seconds a day, and the codes of logins go by it",
                String::new(),
            ),
            commands::clock(),
        )),
    }
}

fn descriptors(evidence: &Evidence, book: &mut Book) {
    let setting = &evidence.setting;
    let limit = setting.descriptors;
    let Some((why, wanted)) = &setting.descriptors_lack else {
        return book.good(29, format!("it may have {limit}"));
    };
    let wanted = wanted.next_power_of_two();
    let finding = texts::warning(
        "descriptors",
        format!("a process of this user may have {limit} files and connections open"),
        why,
        format!(
            "set LimitNOFILE={wanted} in the gateway's systemd unit, or run ulimit -n {wanted} before it is started by hand"
        ),
    );
    book.found(mended_by(finding, commands::of_unit(&evidence.machine.boot, &format!("LimitNOFILE={wanted}"))));
}

fn ports(evidence: &Evidence, book: &mut Book) {
    let Some((low, high)) = evidence.machine.ports else {
        return book.unknown(30, "net.ipv4.ip_local_port_range cannot be read");
    };
    let count = usize::try_from(high.saturating_sub(low) + 1).unwrap_or(usize::MAX);
    let wanted = evidence.setting.connections_per_leg.max(1).saturating_mul(2);
    let busiest = evidence.machine.time_wait.values().max().copied().unwrap_or_default();
    if count >= wanted && busiest < count / 10 * 8 {
        return book.good(30, format!("{count}, and at most {busiest} are held back for an address"));
    }
    let finding = texts::warning(
        "few_ports",
        format!("there are {count} ports to dial from ({low} to {high}), and {busiest} are held back for one address"),
        "each connection takes one, and it is held back for a minute after it; with none left no connection can be made",
        String::new(),
    );
    book.found(mended_by(finding, commands::sysctl_kept("net.ipv4.ip_local_port_range", "1024 65535")));
}

fn routes(evidence: &Evidence, book: &mut Book) {
    let kernel = &evidence.machine.kernel;
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = numbers.next().and_then(Result::ok).zip(numbers.next().and_then(Result::ok));
    let Some(version) = version else {
        return book.unknown(31, format!("the kernel's version cannot be read ({kernel:?})"));
    };
    if version >= UNCOUNTED {
        return book.good(31, format!("kernel {kernel} does not count routes"));
    }
    match evidence.machine.route_cache {
        None => book.unknown(31, "net.ipv6.route.max_size cannot be read here"),
        Some(most) if most > FEW_ROUTES => book.good(31, format!("{most} routes")),
        Some(most) => {
            let finding = texts::warning(
                "route_cache",
                format!("kernel {kernel} keeps at most {most} IPv6 routes (net.ipv6.route.max_size)"),
                "under load connections fail with \"Network is unreachable\" although the route is there",
                String::new(),
            );
            book.found(mended_by(finding, commands::sysctl_kept("net.ipv6.route.max_size", "1048576")));
        }
    }
}

fn neighbours(evidence: &Evidence, book: &mut Book) {
    let on_link = evidence.facts.looks.iter().filter(|(_, look)| look.link.is_some()).count();
    let wanted = evidence.setting.accounts.map_or(0, |accounts| accounts * 2).max(on_link);
    if on_link == 0 {
        return book.good(32, "no address is on-link");
    }
    let Some(most) = evidence.machine.neighbours else {
        return book.unknown(32, "net.ipv6.neigh.default.gc_thresh3 is seen in the host's own network namespace only");
    };
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    if most >= wanted.saturating_add(64) {
        return book.good(32, format!("{most}"));
    }
    let finding = texts::warning(
        "neighbour_table",
        format!("the kernel keeps at most {most} neighbours, and {wanted} addresses are on-link"),
        "when the table is full, packets to and from some addresses are dropped now and then",
        String::new(),
    );
    let wanted = wanted.saturating_mul(2).max(4096).to_string();
    book.found(mended_by(finding, commands::sysctl_kept("net.ipv6.neigh.default.gc_thresh3", &wanted)));
}

fn tracked(evidence: &Evidence, book: &mut Book) {
    let Some((count, most)) = evidence.machine.tracked else {
        return book.good(33, "connections are not tracked");
    };
    if count.saturating_mul(100) < most.saturating_mul(NEARLY) {
        return book.good(33, format!("{count} of {most}"));
    }
    let finding = texts::warning(
        "conntrack",
        format!("{count} of {most} connections that the kernel can track are tracked"),
        "when the table is full, the kernel drops new connections, orders among them, without a word to the gateway",
        String::new(),
    );
    let wanted = most.saturating_mul(4).to_string();
    book.found(mended_by(finding, commands::sysctl_kept("net.netfilter.nf_conntrack_max", &wanted)));
}
