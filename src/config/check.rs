//! What no key can know alone: who may connect to what, and which values collide.
//!
//! A check that depends on a value that could not be read is skipped: the value
//! has its problem already, and a second one would send the reader elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ipnet::Ipv6Net;

use super::ipv4;
use super::problems::Problems;
use super::reader::Pulled;
use super::sections::{Draft, DraftListener, DraftPool};
use super::values::{key_text, quoted};
use super::{Bind, ClientKey, Dhan};
use crate::domain::Authority;

/// `sockaddr_un.sun_path` has 108 bytes, one of them the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Checks all of a draft. Returns warnings.
pub(super) fn check(draft: &Draft, problems: &mut Problems) -> Vec<String> {
    if draft.listeners.is_empty() && !draft.listener_given {
        let text = "there is none, so nobody could connect; add one, for example\n    [[listener]]\n    \
                    address = \"127.0.0.1:8080\"\n    account = \"alpha\"";
        problems.add("listener", text);
    }
    for listener in &draft.listeners {
        check_listener(listener, problems);
    }
    check_admin(draft, problems);
    check_addresses(draft, problems);
    for (index, path) in draft.egress.extra_roots.iter().enumerate() {
        check_file(path, &format!("egress.extra_roots.{index}"), problems);
    }
    check_pools(&draft.pools, problems);
    let mut warnings = draft.dhan.as_ref().map(|dhan| check_hosts(draft, dhan, problems)).unwrap_or_default();
    warnings.extend(
        draft
            .dhan
            .as_ref()
            .and_then(|dhan| ipv4::check((&draft.egress, &draft.misplaced_pins), &draft.proxy, dhan, problems)),
    );
    warnings.extend(short_drain(draft));
    warnings.extend(blind_orders(draft));
    warnings.extend(deaf_to_tls(draft));
    warnings
}

/// A transparent listener cannot pass TLS on blindly: it has only what the handshake says, and no way to hand it on.
fn deaf_to_tls(draft: &Draft) -> Vec<String> {
    let Some(dhan) = &draft.dhan else { return Vec::new() };
    let hosts = [&dhan.api, &dhan.auth, &dhan.order_update, &dhan.feed, &dhan.depth20, &dhan.depth200, &dhan.images];
    let blind: BTreeSet<_> =
        hosts.into_iter().map(|at| &at.host).filter(|host| draft.proxy.tunnel_hosts.contains(host)).collect();
    let why = match (draft.proxy.intercept, blind.is_empty()) {
        (true, true) => return Vec::new(),
        (false, _) => "proxy.intercept is false, so it serves plain HTTP only: TLS to the broker's hosts is refused here, \
                       because there is no tunnel that it could be passed on in. Set proxy.intercept = true, or let such \
                       programs use CONNECT to another listener"
            .to_owned(),
        (true, false) => {
            let names: Vec<_> = blind.into_iter().map(|host| host.as_str()).collect();
            format!(
                "TLS to {} (proxy.tunnel_hosts) is refused here, because there is no tunnel that it could be passed on \
                 in; take it out of proxy.tunnel_hosts, or let such programs use CONNECT to another listener",
                names.join(", ")
            )
        }
    };
    let transparent = draft.listeners.iter().filter(|listener| listener.is_transparent());
    transparent.map(|listener| format!("{}.transparent: {why}", listener.label)).collect()
}

/// Nobody looks into a tunnel: what makes an order safe does not hold there.
fn blind_orders(draft: &Draft) -> Option<String> {
    let api = &draft.dhan.as_ref()?.api;
    let key = match draft.proxy.tunnel_hosts.iter().position(|host| *host == api.host) {
        Some(index) => format!("proxy.tunnel_hosts.{index}"),
        None if !draft.proxy.intercept => "proxy.intercept".to_owned(),
        None => return None,
    };
    Some(format!(
        "{key}: orders inside a tunnel to {api} are neither journalled nor known again when they are repeated, and keep no \
         limit; a halt cuts such tunnels and nothing else stops what is in them. Their callers must hold the token \
         themselves. Take it out, unless that is wanted"
    ))
}

/// A stop that does not wait for an order's answer leaves its caller without one.
fn short_drain(draft: &Draft) -> Option<String> {
    let (drain, orders) = (draft.proxy.drain, &draft.orders);
    let longest = orders.leave_within + orders.response_timeout + orders.reconcile_for;
    let shown = humantime::format_duration;
    (drain < longest).then(|| {
        format!(
            "proxy.drain: a stop waits {} only, and an order may take {} (orders.leave_within, \
             orders.response_timeout and orders.reconcile_for together); raise it, or those that are slow are cut off",
            shown(drain),
            shown(longest)
        )
    })
}

fn check_listener(listener: &DraftListener, problems: &mut Problems) {
    let mut problem = |key: &str, text: String| problems.add(format!("{}.{key}", listener.label), text);
    let tls = listener.certificate.given() || listener.key.given();
    if listener.account.given() && listener.uids.given() {
        problem("uids", "stands beside account, which decides for every caller; leave one of the two out".to_owned());
    }
    let nobody = matches!(&listener.uids, Pulled::Good(uids) if uids.is_empty());
    if nobody {
        problem("uids", "is empty, so nobody would be served; give one such as { \"1000\" = \"alpha\" }".to_owned());
    }
    if let Some(bind) = &listener.bind {
        if listener.uids.given() && matches!(bind, Bind::Tcp(_)) {
            problem("uids", format!("needs a unix socket, and this listener is {bind}; use address = \"unix:...\""));
        }
        if let Some(text) = path_too_long(bind) {
            problem("address", text);
        }
        let open = matches!(listener.client_key, Pulled::Good(ClientKey::None));
        if listener.is_transparent() {
            // Its callers show no key: `check_transparent` looks at who they may be.
        } else if bind.is_reachable_from_elsewhere() {
            if open {
                let text = "\"none\" would let everybody who reaches {bind} trade; use \"required\", or a loopback or \
                            unix address";
                problem("client_key", text.replace("{bind}", &bind.to_string()));
            }
            if !tls && !listener.plaintext {
                let text = format!(
                    "{bind} can be reached from elsewhere, and client keys would be readable on the way; give \
                     tls_certificate and tls_key, or plaintext = \"i-know\""
                );
                problem("address", text);
            }
        } else if open && !listener.account.given() && !listener.uids.given() {
            let text = "\"none\" leaves open whose account it is; give account = \"alpha\", or on a unix socket uids, \
                        or use \"required\"";
            problem("client_key", text.to_owned());
        }
    }
    check_transparent(listener, problems);
    check_certificate(&listener.label, &listener.certificate, &listener.key, problems);
}

/// Who talks to a transparent listener believes to talk to the broker, and can show no key: so its address has to say
/// who it is.
fn check_transparent(listener: &DraftListener, problems: &mut Problems) {
    let mut problem = |key: &str, text: &str| problems.add(format!("{}.{key}", listener.label), text.to_owned());
    if !listener.is_transparent() {
        if listener.sources.given() {
            problem("sources", "is for transparent = true only; other callers show a client key");
        }
        return;
    }
    let (account, sources) = (listener.account.given(), listener.sources.given());
    match &listener.bind {
        Some(Bind::Unix(_)) => problem("address", "a transparent listener needs an address and a port"),
        Some(bind) if bind.is_reachable_from_elsewhere() && !sources => problem(
            "sources",
            "is missing: this transparent listener can be reached from elsewhere, and its callers show no key; say whose \
             orders come from which address, such as { \"192.0.2.10\" = \"alpha\" }, or use a loopback address",
        ),
        Some(_) if !account && !sources => {
            problem(
                "account",
                "is missing: a transparent listener has to know whose orders come to it; or give sources",
            );
        }
        Some(_) | None => {}
    }
    if matches!(&listener.sources, Pulled::Good(sources) if sources.is_empty()) {
        problem("sources", "is empty, so nobody would be served; give one such as { \"192.0.2.10\" = \"alpha\" }");
    }
    if account && sources {
        problem("sources", "stands beside account, which decides for every caller; leave one of the two out");
    }
    if matches!(listener.client_key, Pulled::Good(ClientKey::Required)) {
        problem("client_key", "\"required\" lets nobody in here: who believes to talk to the broker shows no key");
    }
    if listener.certificate.given() || listener.key.given() {
        problem(
            "tls_certificate",
            "is not for a transparent listener: it shows the broker's names by its own authority",
        );
    }
}

fn check_admin(draft: &Draft, problems: &mut Problems) {
    let admin = &draft.admin;
    if let Some(bind) = &admin.bind {
        if bind.is_reachable_from_elsewhere() && !admin.plaintext && !admin.certificate.given() && !admin.key.given() {
            let text = format!(
                "{bind} can be reached from elsewhere, and tokens would be readable on the way; use a loopback or unix \
                 address, give tls_certificate and tls_key, or plaintext = \"i-know\""
            );
            problems.add("admin.address", text);
        }
        if let Some(text) = path_too_long(bind) {
            problems.add("admin.address", text);
        }
    }
    check_certificate("admin", &admin.certificate, &admin.key, problems);
    let mut names = BTreeSet::new();
    for operator in &admin.operators {
        if operator.name.as_ref().is_some_and(|name| !names.insert(name)) {
            problems.add(format!("{}.name", operator.label), "is another operator's too; give each its own");
        }
    }
    // Two roles with one token would be one role, and the stronger.
    let mut seen = BTreeMap::new();
    let named = admin.operators.iter().map(|o| (format!("{}.token_file", o.label), o.token_file.as_ref()));
    let files = [
        ("state.master_key_file", Some(&draft.state.master_key_file)),
        ("admin.token_file", Some(&admin.token_file)),
        ("admin.operator_token_file", admin.operator_token_file.as_ref()),
        ("admin.viewer_token_file", admin.viewer_token_file.as_ref()),
    ];
    for (key, path) in files.map(|(key, path)| (key.to_owned(), path)).into_iter().chain(named) {
        let Some(path) = path else { continue };
        if let Some(other) = seen.insert(path, key.clone()) {
            problems.add(key, format!("is the same file as {other}; give each its own"));
        }
    }
}

/// Half a pair is no TLS, and a file that cannot be read none either.
fn check_certificate(label: &str, certificate: &Pulled<PathBuf>, key: &Pulled<PathBuf>, problems: &mut Problems) {
    let pairs = [("tls_certificate", certificate, "tls_key", key), ("tls_key", key, "tls_certificate", certificate)];
    for (name, file, other_name, other) in pairs {
        if file.given() && !other.given() {
            problems.add(format!("{label}.{other_name}"), format!("is missing beside {name}; give both, or neither"));
        }
        if let Pulled::Good(path) = file {
            check_file(path, &format!("{label}.{name}"), problems);
        }
    }
}

fn path_too_long(bind: &Bind) -> Option<String> {
    let Bind::Unix(path) = bind else { return None };
    let length = path.as_os_str().as_bytes().len();
    let text = "is a path of {length} bytes, and a unix socket's has at most {most}; use a shorter one, such as \
                \"unix:/run/sixgate/proxy.sock\"";
    let text = text.replace("{length}", &length.to_string()).replace("{most}", &LONGEST_SOCKET_PATH.to_string());
    (length > LONGEST_SOCKET_PATH).then(|| format!("{} {text}", quoted(&path.to_string_lossy())))
}

/// No two may be bound to one address. Port 0 is another port each time.
fn check_addresses(draft: &Draft, problems: &mut Problems) {
    let listeners = draft.listeners.iter().map(|listener| (format!("{}.address", listener.label), &listener.bind));
    let all = listeners.chain([("admin.address".to_owned(), &draft.admin.bind)]);
    let all: Vec<_> = all.filter_map(|(key, bind)| Some((key, bind.as_ref()?))).collect();
    // A wildcard takes the port from every address of its family, so those that
    // can collide are exactly those with one family and port.
    let mut by_port: BTreeMap<(bool, u16), Vec<(&str, &SocketAddr)>> = BTreeMap::new();
    let mut by_path = BTreeMap::new();
    for (key, bind) in &all {
        let other = match bind {
            Bind::Unix(path) => by_path.insert(path, key.as_str()),
            Bind::Tcp(at) if at.port() == 0 => None,
            Bind::Tcp(at) => {
                let same_port = by_port.entry((at.is_ipv6(), at.port())).or_default();
                let wild = |at: &SocketAddr| at.ip().is_unspecified();
                let taken = same_port.iter().find(|(_, other)| *other == at || wild(other) || wild(at));
                let taken = taken.map(|(key, _)| *key);
                same_port.push((key, at));
                taken
            }
        };
        if let Some(other) = other {
            problems.add(key.as_str(), format!("{bind} is taken by {other}; use another port or path"));
        }
    }
}

fn check_file(path: &Path, key: &str, problems: &mut Problems) {
    if let Err(err) = readable(path) {
        let shown = quoted(&path.to_string_lossy());
        let text = format!(
            "{shown} cannot be read: {err}; give a PEM file (relative paths start at the config file's folder)"
        );
        problems.add(key, text);
    }
}

fn readable(path: &Path) -> io::Result<()> {
    // Opening a pipe that nobody writes to would wait for ever.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    match File::open(path)?.read(&mut [0])? {
        0 => Err(io::Error::other("it is empty")),
        _ => Ok(()),
    }
}

/// Which hosts are the broker's decides what is signed, so each is one thing only.
fn check_hosts(draft: &Draft, dhan: &Dhan, problems: &mut Problems) -> Vec<String> {
    // Feed and depth are signed alike and may share a host.
    let hosts: [(&str, &str, &Authority); 7] = [
        ("api", "api", &dhan.api),
        ("auth", "auth", &dhan.auth),
        ("order_update", "order_update", &dhan.order_update),
        ("feed", "feed", &dhan.feed),
        ("depth20", "feed", &dhan.depth20),
        ("depth200", "feed", &dhan.depth200),
        ("images", "images", &dhan.images),
    ];
    let mut seen: BTreeMap<&Authority, (&str, &str)> = BTreeMap::new();
    for (key, signing, at) in hosts {
        let (other, as_other) = *seen.entry(at).or_insert((key, signing));
        if signing != as_other {
            let text =
                format!("{at} is broker.dhan.{other} too, and the two are signed differently; give each its own");
            problems.add(format!("broker.dhan.{key}"), text);
        }
    }
    let broker: BTreeMap<_, _> = hosts.iter().map(|(key, _, at)| (&at.host, *key)).collect();
    for (index, host) in draft.proxy.tunnel_hosts.iter().enumerate() {
        if !broker.contains_key(host) {
            let text = format!("{host} is no broker host, and others are always tunnelled; take it out");
            problems.add(format!("proxy.tunnel_hosts.{index}"), text);
        }
    }
    for (index, at) in draft.egress.allow.iter().enumerate() {
        if let Some(key) = broker.get(&at.host) {
            let text = format!("{at} is the broker's (broker.dhan.{key}), which may be reached anyway; take it out");
            problems.add(format!("egress.allow.{index}"), text);
        }
    }
    let allowed: BTreeSet<_> = draft.egress.allow.iter().map(|at| &at.host).collect();
    let pinned = draft.egress.resolve.keys().filter(|host| !broker.contains_key(host) && !allowed.contains(host));
    pinned
        .map(|host| {
            format!("egress.resolve.{}: no caller may reach that host; is it misspelt?", key_text(host.as_str()))
        })
        .collect()
}

/// Addresses that cannot be an account's own, as `SourceAddr` sees it.
const UNUSABLE: [(&str, &str); 5] = [
    ("::1/128", "the loopback address"),
    ("::/96", "the unspecified address, or IPv4 in IPv6 dress"),
    ("::ffff:0:0/96", "IPv4 in IPv6 dress"),
    ("fe80::/10", "link-local: it does not leave its link"),
    ("ff00::/8", "multicast: nobody can send from it"),
];

fn check_pools(pools: &[DraftPool], problems: &mut Problems) {
    let mut names = BTreeMap::new();
    let mut prefixes: Vec<(Ipv6Net, usize, String)> = Vec::new();
    for (index, pool) in pools.iter().enumerate() {
        if let Some(name) = &pool.name
            && let Some(first) = names.insert(name, index)
        {
            let text = format!("\"{name}\" is the name of [[pool]] {first} and {index} (the first is 0); rename one");
            problems.add(format!("{}.name", pool.label), text);
        }
        for (key, net) in [("primary", pool.primary), ("secondary", pool.secondary)] {
            let Some(net) = net else { continue };
            let key = format!("{}.{key}", pool.label);
            let parsed = UNUSABLE.iter().filter_map(|(bad, why)| Some((bad.parse::<Ipv6Net>().ok()?, why)));
            match parsed.into_iter().find(|(bad, _)| bad.contains(&net) || net.contains(bad)) {
                Some((bad, why)) => problems.add(
                    key,
                    format!(
                        "{net} has addresses of {bad} ({why}); give a prefix routed here, such as 2001:db8:a1::/64"
                    ),
                ),
                None => prefixes.push((net, prefixes.len(), key)),
            }
        }
    }
    check_overlap(prefixes, problems);
}

/// Prefixes overlap only by lying inside each other, so sorted by address each
/// one's neighbours up the stack are all that need a look.
fn check_overlap(mut prefixes: Vec<(Ipv6Net, usize, String)>, problems: &mut Problems) {
    prefixes.sort_by_key(|(net, place, _)| (net.network(), net.prefix_len(), *place));
    let mut around: Vec<&(Ipv6Net, usize, String)> = Vec::new();
    let mut found = Vec::new();
    for prefix in &prefixes {
        while around.pop_if(|outer| !outer.0.contains(&prefix.0)).is_some() {}
        if let Some(outer) = around.last() {
            // The later one of the file is the one to mend.
            let (first, second) = if outer.1 < prefix.1 { (*outer, prefix) } else { (prefix, *outer) };
            let text = format!("{} overlaps {} {}; give prefixes that share no address", second.0, first.2, first.0);
            found.push((second.1, second.2.as_str(), text));
        }
        around.push(prefix);
    }
    found.sort();
    for (_, key, text) in found {
        problems.add(key, text);
    }
}
