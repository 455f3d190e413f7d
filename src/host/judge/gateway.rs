//! Checks 1 and 34 to 40: the gateway and what is around it.

use std::net::SocketAddr;

use crate::domain::counted;
use crate::host::check::Book;
use crate::host::commands;
use crate::host::evidence::Evidence;
use crate::host::facts::Ipv6;
use crate::host::finding::mended_by;
use crate::host::folder::{Folder, Kind};
use crate::host::texts;

/// A disk that is full before is told.
const DAYS: u64 = 30;
/// Less room than this is little, whatever the rate.
const ROOM: u64 = 256 * 1024 * 1024;

/// Checks 1, 37 and 38: without them nothing else can be right.
pub(super) fn sockets(evidence: &Evidence, book: &mut Book) {
    let facts = &evidence.facts;
    if let Some(off) = facts.ipv6.finding() {
        let mut all = Vec::new();
        if let Ipv6::Off(keys) = &facts.ipv6 {
            all.extend(keys.iter().map(|key| commands::sysctl(key, "0")));
            // Turning it on again brings no route back.
            all.extend(evidence.setting.prefixes.iter().map(|net| commands::local_route(*net)));
        }
        book.found(mended_by(off, all));
    }
    book.good(1, "it is");
    let families = "RestrictAddressFamilies=AF_INET6 AF_INET AF_NETLINK AF_UNIX";
    if let Some(why) = &facts.inet6_refused {
        book.found(mended_by(texts::inet6_forbidden(why), commands::of_unit(&evidence.machine.boot, families)));
    }
    if let Some(why) = &facts.netlink_refused {
        book.found(mended_by(texts::netlink_forbidden(why), commands::of_unit(&evidence.machine.boot, families)));
    }
    if let Some(why) = &facts.unix_refused {
        let needs = ["what connects by unix sockets (listeners, systemd's notice of the start)".to_owned()];
        let needs = if facts.needs_unix.is_empty() { &needs[..] } else { &facts.needs_unix };
        book.found(mended_by(texts::unix_forbidden(why, needs), commands::of_unit(&evidence.machine.boot, families)));
    }
    book.good(37, "it may");
    let lacks = &evidence.machine.lacks_features;
    book.good(38, "it can");
    if !lacks.is_empty() {
        book.found(texts::error(
            "kernel_features",
            format!("the kernel refuses {} (it is {})", lacks.join(" and "), evidence.machine.kernel),
            "addresses of a routed prefix cannot be used, or an account runs out of ports",
            "use a kernel of version 4.15 or newer".to_owned(),
        ));
    }
}

pub(super) fn judge(evidence: &Evidence, book: &mut Book) {
    ports(evidence, book);
    match &evidence.machine.state {
        Some(folder) => state(evidence, folder, book),
        None => book.unknown(35, "the state folder is not known: name the configuration with --config"),
    }
    container(evidence, book);
    admin(evidence, book);
    logins(evidence, book);
}

fn ports(evidence: &Evidence, book: &mut Book) {
    let machine = &evidence.machine;
    if !evidence.setting.configured {
        return book.unknown(34, "the listeners are not known: name the configuration with --config");
    }
    if evidence.setting.running {
        return book.good(34, "the running gateway has them");
    }
    let Some(listening) = &machine.listening else { return book.unknown(34, "/proc/net/tcp cannot be read") };
    book.good(34, "they are");
    for wanted in &machine.binds {
        let Some(taken) = listening.iter().find(|held| held.takes(*wanted)) else { continue };
        book.found(port_taken(*wanted, taken.user));
    }
}

fn port_taken(wanted: SocketAddr, user: u32) -> crate::host::Finding {
    let port = wanted.port();
    mended_by(
        texts::error(
            "port_taken",
            format!("a program of user {user} listens at {wanted} already"),
            "the gateway cannot start while another program has the port",
            format!(
                "see which one it is (as root: ss -Hltnp 'sport = :{port}') and stop it, or write another port into the \
                 configuration"
            ),
        ),
        vec![format!("ss -Hltnp 'sport = :{port}'")],
    )
}

fn state(evidence: &Evidence, folder: &Folder, book: &mut Book) {
    let path = folder.path.display();
    let id = "state_folder";
    let mut wrong = Vec::new();
    if let Some(owner) = &folder.others {
        // The gateway may well run as that user, so nothing is wrong as far as anybody knows.
        return book.unknown(
            35,
            format!(
                "{path} cannot be judged by this user, for it is {}'s; run it as the gateway's user, who may be that one: \
                 sudo -u {} sixgate doctor",
                owner.name, owner.argument
            ),
        );
    }
    if !folder.writable {
        wrong.push(texts::error(
            id,
            format!("{path} cannot be written to by this user"),
            "the gateway cannot keep its state there",
            "run the doctor as the gateway's user, or give that user the folder (chown)".to_owned(),
        ));
    }
    if folder.exists && folder.mode & 0o077 != 0 {
        wrong.push(mended_by(
            texts::error(
                id,
                format!("{path} is open to other users of this host (mode {:o})", folder.mode),
                "the sealed secrets, the key of the authority that callers trust and the journal are in it",
                String::new(),
            ),
            vec![format!("chmod 700 {path}")],
        ));
    }
    let forgets = match folder.kind {
        // Of the built-in broker's customers nobody has to know anything tomorrow.
        _ if evidence.setting.broker_is_here => None,
        Kind::Memory => Some("is in memory (tmpfs), and gone when the host restarts"),
        Kind::Layers if evidence.machine.container.is_some() => Some("is inside the container, and gone with it"),
        Kind::Network => Some("is on another host (NFS); what is synced there may be lost, and it may hang"),
        Kind::Layers | Kind::Disk => None,
    };
    if let Some(what) = forgets {
        wrong.push(texts::error(
            id,
            format!("{path} {what}"),
            "accounts, keys and the order journal are in it, and without them nobody knows what was sent",
            "put state.path of the configuration on a disk of this host (a volume of the container)".to_owned(),
        ));
    }
    let days = folder.days_left().filter(|days| *days < DAYS);
    let room = folder.free_bytes.filter(|bytes| *bytes < ROOM);
    if let Some(left) = days
        .map(|days| format!("full in {} at the rate of the journal's last one", counted(days, "day")))
        .or_else(|| room.map(|bytes| format!("nearly full: {} MiB are left", bytes / 1024 / 1024)))
    {
        wrong.push(texts::warning(
            id,
            format!("the disk of {path} is {left}"),
            "an order that cannot be written to the journal is not sent",
            "free room there (df -h), or move state.path to a larger disk".to_owned(),
        ));
    }
    if wrong.is_empty() {
        let room = folder.free_bytes.map_or_else(String::new, |bytes| format!(", {} MiB free", bytes / 1024 / 1024));
        let there = if folder.exists { "its mode is right" } else { "it is made at the first start" };
        book.good(35, format!("{path}: {there}{room}; keep a copy of its master key elsewhere"));
    }
    for finding in wrong {
        book.found(finding);
    }
}

fn container(evidence: &Evidence, book: &mut Book) {
    let Some(kind) = &evidence.machine.container else { return book.good(36, "it is none") };
    let missing = book.has("address_missing") || book.has("no_route") || book.has("ipv6_off");
    if !missing {
        return book.good(36, format!("a container ({kind}) that has them"));
    }
    book.found(texts::error(
        "container",
        format!("this is a container ({kind}), and its own network has not the addresses or no way out"),
        "what is set up on the host is not seen inside a container with a network of its own",
        "run it with the host's network (docker run --network=host, podman run --network=host), or make the routes inside \
         the container"
            .to_owned(),
    ));
}

fn admin(evidence: &Evidence, book: &mut Book) {
    let setting = &evidence.setting;
    match &setting.admin_exposed {
        None if setting.configured => book.good(39, "it is"),
        None => book.good(39, "it is, where no configuration says otherwise"),
        Some(at) => book.found(texts::error(
            "admin_exposed",
            format!("the admin API is at {at}, where other hosts can reach it, without TLS"),
            "whoever can read the network reads its token, and with that trades",
            "write address = \"127.0.0.1:8081\" under [admin] in the configuration, and reach it by ssh -L \
             8081:127.0.0.1:8081 HOST"
                .to_owned(),
        )),
    }
}

fn logins(evidence: &Evidence, book: &mut Book) {
    match &evidence.setting.logins {
        None => book.unknown(40, "only a running gateway knows, and none was found (or its token cannot be read)"),
        Some(others) => {
            book.good(40, "as far as tokens tell");
            for (account, what) in others {
                book.found(texts::error(
                    "another_program_logs_in",
                    format!("{account}: {what}"),
                    "each of its logins ends the token that the gateway has, and requests fail until there is another",
                    "find what else logs in to this account (a second gateway, a script, another vendor, the Generate button \
                     on web.dhan.co) and stop it"
                        .to_owned(),
                ));
            }
        }
    }
}
