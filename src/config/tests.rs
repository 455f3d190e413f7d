//! Tests of the whole way from a text to a configuration or its problems.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use toml::{Table, Value};

use super::*;

const SHIPPED: &str = include_str!("../../config/sixgate.toml");
const MINIMAL: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n";

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(text: &str) -> Result<Config, Problems> {
    from_text("test.toml", Path::new("/etc/sixgate"), text, &BTreeMap::new())
}

fn read_with(text: &str, pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    from_text("test.toml", Path::new("/etc/sixgate"), text, &env(pairs))
}

/// The problems of a text that begins with a good listener.
fn problems(text: &str) -> Problems {
    read(&format!("{text}\n{MINIMAL}")).expect_err(text)
}

/// Each of these would start a gateway that does something else than its owner
/// meant. One mistake makes one problem, named by its key, with a way out.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of mistakes")]
fn each_mistake_makes_one_problem_with_its_key_and_a_way_out() {
    for (text, key, fragments) in [
        // types, units and ranges
        ("egress.connect_timeout = 3", "egress.connect_timeout", &["3 is a whole number", "\"3s\""][..]),
        ("egress.connect_timeout = \"3\"", "egress.connect_timeout", &["\"3\" is no duration", "\"3s\""]),
        ("egress.connect_timeout = \"3 apples\"", "egress.connect_timeout", &["apples", "\"3s\""]),
        ("egress.connect_timeout = \"0s\"", "egress.connect_timeout", &["is no limit; give one, for example \"3s\""]),
        ("egress.connect_timeout = \"11m\"", "egress.connect_timeout", &["\"11m\" is not from \"1ms\" to \"10m\""]),
        ("egress.connect_timeout = \"\"", "egress.connect_timeout", &["\"\" is no duration"]),
        ("egress.http2 = \"yes\"", "egress.http2", &["\"yes\" is a text", "true or false"]),
        ("egress.name_servers = [\"2001:db8::53\"]", "egress.name_servers.0", &["no address and port", "such as"]),
        ("egress.name_servers = [\"[::]:53\"]", "egress.name_servers.0", &["not the address of one server"]),
        ("egress.idle_per_leg = -1", "egress.idle_per_leg", &["-1 is below 0"]),
        ("egress.idle_per_leg = 8.0", "egress.idle_per_leg", &["8.0 is a number with a fraction", "such as 8"]),
        ("proxy.max_connections = 0", "proxy.max_connections", &["0 is no limit", "10000"]),
        ("proxy.body_limit = \"1M\"", "proxy.body_limit", &["\"1M\" is no size", "\"1MiB\""]),
        ("proxy.body_limit = 0", "proxy.body_limit", &["0 is no limit", "\"1MiB\""]),
        ("proxy.body_limit = \"99999999999GiB\"", "proxy.body_limit", &["is no size"]),
        ("proxy.drain = \"6m\"", "proxy.drain", &["to \"5m\""]),
        ("limits.margin = 0.6", "limits.margin", &["0.6 is not from 0 to 0.5", "0.05"]),
        ("limits.margin = nan", "limits.margin", &["NaN is not from 0 to 0.5"]),
        ("limits.margin = -1", "limits.margin", &["-1 is not from 0 to 0.5"]),
        ("journal.keep = \"1h\"", "journal.keep", &["\"1day\"", "\"5years\""]),
        ("log.level = \"verbose\"", "log.level", &["\"verbose\" is no level", "\"info\""]),
        ("log.json = 1979-05-27", "log.json", &["1979-05-27 is a date"]),
        ("egress = 3", "egress", &["3 is a whole number; write it as a table: [egress]"]),
        ("state.path = \"\"", "state.path", &["is empty", "a path in quotes"]),
        // lists and tables
        ("egress.allow = \"example.com\"", "egress.allow", &["is a text", "square brackets"]),
        ("egress.allow = [\"a b\"]", "egress.allow.0", &["\"a b\"", "example.com:443"]),
        ("egress.allow = [\"ok.example\", 3]", "egress.allow.1", &["3 is a whole number"]),
        ("egress.allow = [\"api.dhan.co\"]", "egress.allow.0", &["broker.dhan.api", "take it out"]),
        ("proxy.tunnel_hosts = [\"example.com\"]", "proxy.tunnel_hosts.0", &["example.com is no broker host"]),
        ("egress.resolve = { \"api.dhan.co\" = [] }", "egress.resolve.\"api.dhan.co\"", &["has no address"]),
        ("egress.resolve = { \"api.dhan.co\" = [\"[::1]:0\"] }", "egress.resolve.\"api.dhan.co\".0", &["port 0"]),
        ("egress.resolve = { \"api.dhan.co\" = [\"1.2.3.4:443\"] }", "egress.resolve.\"api.dhan.co\".0", &["IPv6"]),
        (
            "egress.resolve = { \"api.dhan.co\" = [\"[::]:443\"] }",
            "egress.resolve.\"api.dhan.co\".0",
            &["one IPv6 host"],
        ),
        (
            "egress.ipv4_hosts = { \"api-feed.dhan.co\" = \"2001:db8::1\" }",
            "egress.ipv4_hosts.\"api-feed.dhan.co\"",
            &["\"2001:db8::1\" is an IPv6 address", "192.0.2.7"],
        ),
        (
            "egress.ipv4_hosts = { \"auth.dhan.co\" = \"0.0.0.0\" }",
            "egress.ipv4_hosts.\"auth.dhan.co\"",
            &["leaves the choice to the kernel"],
        ),
        (
            "egress.ipv4_hosts = { \"auth.dhan.co\" = \"224.0.0.1\" }",
            "egress.ipv4_hosts.\"auth.dhan.co\"",
            &["not the address of one host"],
        ),
        (
            "egress.ipv4_hosts = { \"auth.dhan.co\" = \"192.0.2.7:443\" }",
            "egress.ipv4_hosts.\"auth.dhan.co\"",
            &["is no IPv4 address"],
        ),
        (
            "egress.ipv4_hosts = { \"api.dhan.co\" = \"192.0.2.7\" }",
            "egress.ipv4_hosts.\"api.dhan.co\"",
            &["orders are placed on this host", "take it out"],
        ),
        (
            "egress.ipv4_hosts = { \"sandbox.dhan.co\" = \"192.0.2.7\" }",
            "egress.ipv4_hosts.\"sandbox.dhan.co\"",
            &["orders are placed on this host"],
        ),
        (
            "egress.ipv4_hosts = { \"api-fed.dhan.co\" = \"192.0.2.7\" }",
            "egress.ipv4_hosts.\"api-fed.dhan.co\"",
            &["no host of [broker.dhan]"],
        ),
        (
            "egress.ipv4_hosts = { \"api-feed.dhan.co\" = \"192.0.2.7\" }\nproxy.tunnel_hosts = [\"api-feed.dhan.co\"]",
            "egress.ipv4_hosts.\"api-feed.dhan.co\"",
            &["proxy.tunnel_hosts"],
        ),
        (
            "egress.ipv4_hosts = { \"api-feed.dhan.co\" = \"192.0.2.7\" }\negress.resolve = { \"api-feed.dhan.co\" = [\"[2001:db8::1]:443\"] }",
            "egress.resolve.\"api-feed.dhan.co\".0",
            &["is an IPv6 address", "from 192.0.2.7"],
        ),
        ("egress.resolve = { \"a b\" = [\"[::1]:443\"] }", "egress.resolve.\"a b\"", &["not a host name"]),
        (
            "egress.resolve = { \"api.dhan.co\" = [\"[::1]:1\"], \"API.dhan.co\" = [\"[::1]:2\"] }",
            "egress.resolve.\"api.dhan.co\"",
            &["twice"],
        ),
        (
            "egress.extra_roots = [\"/nowhere/ca.pem\"]",
            "egress.extra_roots.0",
            &["\"/nowhere/ca.pem\"", "No such file"],
        ),
        ("egress.extra_roots = [\"/\"]", "egress.extra_roots.0", &["\"/\" cannot be read: it is not a file"]),
        ("egress.extra_roots = [\"/dev/null\"]", "egress.extra_roots.0", &["it is not a file"]),
        // the broker
        ("broker.dhan.api = \"http://api.dhan.co\"", "broker.dhan.api", &["does not begin with https://"]),
        ("broker.dhan.feed = \"https://a.example\"", "broker.dhan.feed", &["does not begin with wss://"]),
        ("broker.dhan.api = \"https://api.dhan.co/v2\"", "broker.dhan.api", &["more than scheme, host and port"]),
        ("broker.dhan.feed = \"wss://a.example?x=1\"", "broker.dhan.feed", &["more than scheme, host and port"]),
        ("broker.dhan.api = \"https://me@a.example\"", "broker.dhan.api", &["not a host name"]),
        ("broker.dhan.auth = \"https://api.dhan.co\"", "broker.dhan.auth", &["broker.dhan.api too", "differently"]),
        // admin
        ("admin.address = \"localhost:8081\"", "admin.address", &["\"localhost:8081\"", "\"127.0.0.1:8080\""]),
        ("admin.address = \"0.0.0.0:8081\"", "admin.address", &["reached from elsewhere", "i-know"]),
        ("admin.address = \"127.0.0.1:8080\"", "admin.address", &["is taken by listener.0.address"]),
        ("admin.plaintext = \"yes\"", "admin.plaintext", &["\"yes\" is not accepted", "\"i-know\""]),
        (
            "admin.viewer_token_file = \"state/admin.token\"",
            "admin.viewer_token_file",
            &["same file as admin.token_file"],
        ),
        ("admin.address = \"unix:\"", "admin.address", &["has no path"]),
        // unknown
        ("egress.conect_timeout = \"3s\"", "egress.conect_timeout", &["did you mean connect_timeout?"]),
        ("egres = { freebind = true }", "egres", &["no table that is known; did you mean egress?"]),
        ("body_limit = 3", "body_limit", &["did you mean proxy.body_limit?"]),
        ("admin.frobnicate = 3", "admin.frobnicate", &["no key that is known", "take it out"]),
        ("broker.zerodha.api = \"https://a.example\"", "broker.zerodha", &["no table that is known"]),
        ("broker.dhan.depth2O = \"wss://a.example\"", "broker.dhan.depth2O", &["did you mean depth20?"]),
        ("\"a\\nb\" = 3", "\"a\\nb\"", &["no key that is known"]),
        ("pools = []", "pools", &["did you mean pool?"]),
    ] {
        let found = problems(text);
        let all: Vec<_> = found.iter().collect();
        let [(at, sentence)] = all[..] else { panic!("{text}: {found}") };
        assert_eq!(at, key, "{text}: {found}");
        for fragment in fragments {
            assert!(sentence.contains(fragment), "{text}: {found}\nlacks {fragment}");
        }
        assert!(!found.to_string().contains('\r') && found.to_string().lines().count() == 2, "{text}: {found}");
    }
}

/// A listener is who may trade: what it lets in must be what was meant.
#[test]
fn each_mistake_of_a_listener_makes_one_problem() {
    let long = "x".repeat(108);
    let too_long = format!("address = \"unix:/{long}\"\naccount = \"a\"");
    for (text, key, fragment) in [
        ("", "address", "is missing; give an address such as"),
        ("address = \"8080\"", "address", "\"8080\" is no address and port"),
        ("address = \"127.0.0.1:8080\"\naccount = \"a:b\"", "account", "\"a:b\" is no account name"),
        ("address = \"127.0.0.1:8080\"\nclient_key = \"none\"", "client_key", "whose account"),
        ("address = \"127.0.0.1:8080\"\nclient_key = \"off\"", "client_key", "\"required\" or \"none\""),
        ("address = \"0.0.0.0:8080\"", "address", "tls_certificate and tls_key"),
        ("address = \"[::ffff:127.0.0.1]:8080\"", "address", "reached from elsewhere"),
        (
            "address = \"[::]:80\"\nplaintext = \"i-know\"\naccount = \"a\"\nclient_key = \"none\"",
            "client_key",
            "everybody who reaches [::]:80",
        ),
        ("address = \"0.0.0.0:8080\"\nplaintext = true", "plaintext", "true is a truth value"),
        ("address = \"127.0.0.1:8080\"\nuids = { 1000 = \"a\" }", "uids", "needs a unix socket"),
        ("address = \"unix:/a\"\nuids = { root = \"a\" }", "uids.root", "a uid is a number"),
        ("address = \"unix:/a\"\nuids = { 1000 = \"a b\" }", "uids.1000", "is no account name"),
        ("address = \"unix:/a\"\nuids = {}", "uids", "is empty"),
        ("address = \"unix:/a\"\nuids = { 1000 = \"a\" }\naccount = \"b\"", "uids", "beside account"),
        ("address = \"127.0.0.1:8080\"\ntls_key = \"/etc/hostname\"", "tls_certificate", "beside tls_key"),
        ("address = \"127.0.0.1:8080\"\ntls_key = \"/no\"\ntls_certificate = \"/etc/hostname\"", "tls_key", "\"/no\""),
        ("address = \"127.0.0.1:8081\"", "admin.address", "taken by listener.0.address"),
        ("address = \"0.0.0.0:443\"\naccount = \"a\"\ntransparent = true", "sources", "reached from elsewhere"),
        ("address = \"127.0.0.1:443\"\ntransparent = true", "account", "whose orders come to it"),
        (
            "address = \"127.0.0.1:443\"\naccount = \"a\"\nsources = { \"::1\" = \"a\" }",
            "sources",
            "transparent = true",
        ),
        (
            "address = \"127.0.0.1:443\"\naccount = \"a\"\ntransparent = true\nsources = { \"::1\" = \"b\" }",
            "sources",
            "beside account",
        ),
        ("address = \"[::]:443\"\ntransparent = true\nsources = {}", "sources", "is empty"),
        (
            "address = \"[::]:443\"\ntransparent = true\nsources = { gw = \"a\" }",
            "sources.gw",
            "no IPv4 or IPv6 address",
        ),
        ("address = \"unix:/a\"\naccount = \"a\"\ntransparent = true", "address", "an address and a port"),
        (
            "address = \"127.0.0.1:443\"\naccount = \"a\"\ntransparent = true\nclient_key = \"required\"",
            "client_key",
            "shows no key",
        ),
        ("address = \"127.0.0.1:1\"\naccount = \"a\"\nown_hosts = [\"a:b\"]", "own_hosts.0", "cannot be read"),
        (&too_long, "address", "a path of 109 bytes"),
        ("address = \"127.0.0.1:8080\"\nacount = \"a\"", "acount", "did you mean account?"),
    ] {
        let found = read(&format!("[[listener]]\n{text}")).expect_err(text);
        let all: Vec<_> = found.iter().collect();
        let [(at, sentence)] = all[..] else { panic!("{text}: {found}") };
        assert!(at == key || at == format!("listener.0.{key}"), "{text}: {found}");
        assert!(sentence.contains(fragment), "{text}: {found}");
    }
}

/// An address given to two accounts is the one thing that must never happen.
#[test]
fn each_mistake_of_a_pool_makes_one_problem() {
    let pool = |name: &str, primary: &str, secondary: &str| {
        format!("[[pool]]\nname = \"{name}\"\nprimary = \"{primary}\"\nsecondary = \"{secondary}\"\n")
    };
    let good = pool("main", "2001:db8:a1::/64", "2001:db8:a2::/64");
    for (text, key, fragment) in [
        (
            pool("x", "2001:db8:1::/48", "2001:db8:1:2::/64"),
            "pool.x.secondary",
            "overlaps pool.x.primary 2001:db8:1::/48",
        ),
        (pool("x", "2001:db8:1:2::/64", "2001:db8:1::/48"), "pool.x.secondary", "overlaps pool.x.primary"),
        (pool("x", "2001:db8:a1::/64", "2001:db8:3::/64"), "pool.x.primary", "overlaps pool.main.primary"),
        (pool("x", "2001:db8:4::/64", "2001:db8:a2:0::1:0/112"), "pool.x.secondary", "overlaps pool.main.secondary"),
        (pool("x", "2001:db8:4::1/64", "2001:db8:5::/64"), "pool.x.primary", "give 2001:db8:4::/64"),
        (pool("x", "10.0.0.0/8", "2001:db8:5::/64"), "pool.x.primary", "is an IPv4 prefix"),
        (pool("x", "ff02::/16", "2001:db8:5::/64"), "pool.x.primary", "multicast"),
        (pool("x", "fe80::/64", "2001:db8:5::/64"), "pool.x.primary", "link-local"),
        (pool("x", "::1/128", "2001:db8:5::/64"), "pool.x.primary", "loopback"),
        (pool("x", "::ffff:0:0/112", "2001:db8:5::/64"), "pool.x.primary", "IPv4 in IPv6 dress"),
        (pool("x", "::/0", "2001:db8:5::/64"), "pool.x.primary", "loopback"),
        (pool("x", "2001:db8:5::", "2001:db8:6::/64"), "pool.x.primary", "is no IPv6 prefix"),
        (pool("a b", "2001:db8:5::/64", "2001:db8:6::/64"), "pool.1.name", "is no pool name"),
        (pool("main", "2001:db8:5::/64", "2001:db8:6::/64"), "pool.main.name", "[[pool]] 0 and 1"),
        ("[[pool]]\nname = \"x\"\nprimary = \"2001:db8:5::/64\"\n".to_owned(), "pool.x.secondary", "is missing"),
        (pool("x", "2001:db8:5::/64", "2001:db8:6::/64") + "size = 3", "pool.x.size", "no key that is known"),
    ] {
        let found = read(&format!("{MINIMAL}{good}{text}")).expect_err(&text);
        let all: Vec<_> = found.iter().collect();
        let [(at, sentence)] = all[..] else { panic!("{text}: {found}") };
        assert_eq!(at, key, "{text}: {found}");
        assert!(sentence.contains(fragment), "{text}: {found}");
    }
}

/// A person who mends one line a start gives up after the third.
#[test]
fn eight_problems_are_reported_at_once() {
    let text = r#"
        [egress]
        connect_timeout = 3
        freebind = "yes"
        idle_tmeout = "30s"
        [limits]
        margin = 2
        [[listener]]
        address = "0.0.0.0:8080"
        client_key = "none"
        [[listener]]
        address = "nowhere"
        [[pool]]
        name = "main"
        primary = "2001:db8::/48"
        secondary = "2001:db8::/64"
    "#;

    let found = read(text).unwrap_err();

    let keys: Vec<_> = found.iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "listener.1.address",
            "egress.connect_timeout",
            "egress.freebind",
            "limits.margin",
            "listener.0.client_key",
            "listener.0.address",
            "pool.main.secondary",
            "egress.idle_tmeout",
        ]
    );
    assert_eq!(found.len(), 8);
}

/// The form is in the README and in people's scripts.
#[test]
fn problems_are_printed_as_documented() {
    let mut found = Problems::new("config/sixgate.toml");
    found.add("egress.connect_timeout", "0 is no limit; give one, for example \"5s\"");
    assert_eq!(
        found.to_string(),
        "config/sixgate.toml cannot be used, 1 problem:\n  \
         egress.connect_timeout: 0 is no limit; give one, for example \"5s\""
    );
    found.add("a", "b");
    assert!(found.to_string().starts_with("config/sixgate.toml cannot be used, 2 problems:\n  egress."), "{found}");
    assert!(found.to_string().ends_with("\n  a: b"), "{found}");
}

/// Without a listener nobody could connect, and the process would look well.
#[test]
fn a_file_without_a_listener_is_told_how_to_add_one() {
    let found = read("").unwrap_err().to_string();
    assert!(found.contains("1 problem") && found.contains("[[listener]]\n    address = "), "{found}");
    // The snippet can be copied as it stands.
    let (_, snippet) = found.split_once("for example\n").unwrap();
    assert!(read(snippet).is_ok(), "{snippet}");
    // A wrong one is a different mistake.
    let found = read("[listener]\naddress = \"127.0.0.1:8080\"").unwrap_err().to_string();
    assert!(found.contains("1 problem:\n  listener: is a table; write it with two brackets: [[listener]]"), "{found}");
}

/// Two listeners on one port: which of them gets the callers is the kernel's choice.
#[test]
fn two_listeners_cannot_have_one_address() {
    let pair = |first: &str, second: &str| {
        let more = |address: &str| format!("[[listener]]\naddress = \"{address}\"\nplaintext = \"i-know\"\n");
        read(&(more(first) + &more(second)))
    };
    for (first, second) in [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("127.0.0.1:9000", "0.0.0.0:9000"),
        ("[::]:9000", "[::1]:9000"),
        ("unix:/run/a", "unix:/run/a"),
        ("unix:a", "unix:/etc/sixgate/a"),
    ] {
        let found = pair(first, second).expect_err(first);
        assert_eq!(found.len(), 1, "{found}");
        assert!(
            found.to_string().contains("listener.1.address: ") && found.to_string().contains("is taken by listener.0")
        );
    }
    for (first, second) in [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:9000", "[::1]:9000"), ("unix:/a", "unix:/b")] {
        assert!(pair(first, second).is_ok(), "{first} {second}");
    }
}

/// `client_key = "none"` is only ever implied where the design says so.
#[test]
fn client_keys_are_required_unless_the_listener_is_local_and_knows_the_account() {
    for (text, expected) in [
        ("address = \"127.0.0.1:1\"", ClientKey::Required),
        ("address = \"127.0.0.1:1\"\naccount = \"a\"", ClientKey::None),
        ("address = \"127.0.0.1:1\"\naccount = \"a\"\nclient_key = \"required\"", ClientKey::Required),
        ("address = \"[::1]:1\"\naccount = \"a\"", ClientKey::None),
        ("address = \"unix:a\"\nuids = { \"7\" = \"a\" }", ClientKey::None),
        ("address = \"unix:a\"", ClientKey::Required),
        ("address = \"0.0.0.0:1\"\naccount = \"a\"\nplaintext = \"i-know\"", ClientKey::Required),
    ] {
        let config = read(&format!("[[listener]]\n{text}")).unwrap();
        assert_eq!(config.listeners[0].client_key, expected, "{text}");
    }
    let uids = read("[[listener]]\naddress = \"unix:a\"\nuids = { \"7\" = \"a\" }").unwrap().listeners.remove(0).uids;
    assert_eq!(uids, BTreeMap::from([(7, AccountName::parse("a").unwrap())]));
}

/// The shipped file is the documentation of the defaults: a different number in
/// it would be believed.
#[test]
fn the_shipped_file_says_what_the_defaults_are() {
    let (shipped, minimal) = (read(SHIPPED).unwrap(), read(MINIMAL).unwrap());
    assert_eq!(format!("{shipped:#?}"), format!("{minimal:#?}"));
    assert!(shipped.warnings.is_empty());
}

/// The shipped file with its examples taken into use.
fn with_examples() -> String {
    let example = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let use_it = |line: &str| line.strip_prefix('#').unwrap_or(line).to_owned();
    SHIPPED.lines().map(|line| if example(&line) { use_it(line) } else { line.to_owned() } + "\n").collect()
}

/// A key that is read but not described, or described but not read, is found out
/// by the person who needs it.
#[test]
fn the_shipped_file_has_every_key_and_no_other() {
    fn keys(table: &Table, path: &str, into: &mut BTreeSet<String>) {
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let is_list = sections::LISTS.contains(&path.as_str());
            let is_value =
                matches!(path.as_str(), "egress.resolve" | "egress.ipv4_hosts" | "listener.uids" | "listener.sources");
            match (value.as_table(), value.as_array()) {
                (Some(below), _) if !is_value => keys(below, &path, into),
                (_, Some(items)) if is_list => {
                    items.iter().for_each(|item| keys(item.as_table().unwrap(), &path, into));
                }
                _ => drop(into.insert(path)),
            }
        }
    }
    let mut described = BTreeSet::new();
    keys(&with_examples().parse().unwrap(), "", &mut described);
    assert_eq!(described, sections::known_keys());
    assert!(described.contains("listener.uids") && described.contains("broker.dhan.images"), "{described:?}");
}

/// An example that does not work is worse than none.
#[test]
fn the_shipped_files_examples_pass_the_check() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["proxy.pem", "proxy.key", "admin.pem", "admin.key"] {
        std::fs::write(folder.path().join(file), "-----BEGIN").unwrap();
    }
    let config = from_text("test.toml", folder.path(), &with_examples(), &BTreeMap::new()).unwrap();
    assert_eq!(config.listeners.len(), 6);
    assert_eq!(config.pools.len(), 1);
    assert_eq!(config.egress.resolve.len(), 1);
    assert!(config.admin.viewer_token_file.is_some());
}

/// Every key is explained where it stands: a bare line is only copied.
#[test]
fn every_section_and_key_of_the_shipped_file_has_a_comment_above() {
    let mut above = "";
    for line in SHIPPED.lines() {
        let setting = !line.is_empty() && !line.starts_with("# ") && line != "#";
        // The second of two keys that one comment explains, or a list's first key.
        let follows = above.trim_start_matches('#').split_once(" = ").is_some();
        let exempt = line.contains("address = ") || line.contains(".dhan.co\" = ") || line.contains("account = \"a");
        let paired = follows && line.starts_with('#');
        assert!(!setting || above.starts_with("# ") || exempt || paired, "no comment above: {line}");
        above = line;
    }
}

/// Containers are configured so; a variable that is ignored sends orders elsewhere.
#[test]
fn variables_beat_the_file_and_are_read_as_the_key_wants() {
    let config = read_with(
        &format!("egress.connect_timeout = 7\negress.allow = [3]\n{MINIMAL}\n[[pool]]\nname = \"x\"\nprimary = \"2001:db8:1::/64\"\nsecondary = \"2001:db8:2::/64\""),
        &[
            ("SIXGATE_EGRESS_CONNECT_TIMEOUT", "5s"),
            ("SIXGATE_EGRESS_RESPONSE_TIMEOUT", "\"6s\""),
            ("SIXGATE_EGRESS_ALLOW", "[\"a.example:1\", \"b.example\"]"),
            ("SIXGATE_EGRESS_RESOLVE", "{ \"api.example\" = [\"[2001:db8::1]:443\"] }"),
            ("SIXGATE_EGRESS_FREEBIND", "false"),
            ("SIXGATE_LISTENER_0_ADDRESS", "[::1]:9"),
            ("SIXGATE_LISTENER_1_ADDRESS", "unix:b"),
            ("SIXGATE_LISTENER_1_UIDS", "{ 1000 = \"beta\" }"),
            ("SIXGATE_BROKER_DHAN_API", "https://api.example:8443"),
            ("SIXGATE_POOL_0_NAME", "1"),
            ("SIXGATE_PROXY_BODY_LIMIT", "2048"),
            ("SIXGATE_LIMITS_MARGIN", "0"),
            ("SIXGATE_LOG_LEVEL", "debug"),
            ("SIXGATE_LOG_JSON", "true"),
            ("SIXGATE_STATE_PATH", "elsewhere"),
        ],
    )
    .unwrap();
    assert_eq!(config.egress.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.egress.response_timeout, Duration::from_secs(6));
    assert_eq!(
        config.egress.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a.example:1", "b.example:443"]
    );
    assert_eq!(config.egress.resolve.len(), 1);
    assert!(!config.egress.freebind);
    assert_eq!(config.listeners[0].bind.to_string(), "[::1]:9");
    assert_eq!(config.listeners[0].account.as_ref().unwrap().as_str(), "alpha");
    assert_eq!(config.listeners[1].bind, Bind::Unix("/etc/sixgate/b".into()));
    assert_eq!(config.listeners[1].uids[&1000].as_str(), "beta");
    assert_eq!(config.dhan.api.to_string(), "api.example:8443");
    assert_eq!(config.pools[0].name, "1");
    assert_eq!(config.proxy.body_limit, 2048);
    assert_eq!(config.limits.margin, 0.0);
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert!(config.log.json);
    assert_eq!(config.state.path, Path::new("/etc/sixgate/elsewhere"));
    assert_eq!(config.warnings, Vec::<String>::new());
}

/// The file may be right and the variable wrong: without its name people search the file.
#[test]
fn a_problem_of_a_variable_names_the_variable() {
    let found =
        read_with(MINIMAL, &[("SIXGATE_EGRESS_CONNECT_TIMEOUT", "5"), ("SIXGATE_LISTENER_7_ADDRESS", "[::1]:1")]);
    let found = found.unwrap_err().to_string();
    assert!(found.contains("egress.connect_timeout: \"5\" is no duration"), "{found}");
    assert!(found.contains("(from SIXGATE_EGRESS_CONNECT_TIMEOUT)"), "{found}");
    assert!(found.contains("listener.7: is set by SIXGATE_LISTENER_7_..., but the next one is 1"), "{found}");
    assert!(found.contains("2 problems"), "{found}");
}

/// A service manager or a container may set variables of its own with our prefix.
#[test]
fn an_unknown_variable_is_a_warning_without_its_value() {
    let config = read_with(
        MINIMAL,
        &[
            ("SIXGATE_EGRES_FREEBIND", "hunter2"),
            ("SIXGATE_LISTENER_0_ADRESS", "hunter2"),
            ("SIXGATE_FROBNICATE", "hunter2"),
            ("SIXGATE_MASTER_KEY", "hunter2"),
            ("HOME", "hunter2"),
        ],
    )
    .unwrap();
    let warnings = config.warnings.join("\n");
    assert_eq!(config.warnings.len(), 3, "{warnings}");
    assert!(
        warnings.contains("SIXGATE_EGRES_FREEBIND sets no key that is known; did you mean SIXGATE_EGRESS_FREEBIND?")
    );
    assert!(warnings.contains("did you mean SIXGATE_LISTENER_0_ADDRESS?"), "{warnings}");
    assert!(!warnings.contains("hunter2") && !format!("{config:?}").contains("hunter2"), "{warnings}");
}

#[test]
fn a_host_of_ipv4_hosts_has_its_source_and_its_own_pins() {
    let text = "egress.ipv4_hosts = { \"API-feed.dhan.co\" = \"192.0.2.7\", \"auth.dhan.co\" = \"192.0.2.8\" }\n\
                egress.resolve = { \"api-feed.dhan.co\" = [\"192.0.2.20:443\"], \"api.dhan.co\" = [\"[2001:db8::1]:443\"] }";
    let config = read(&format!("{text}\n{MINIMAL}")).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let hosts: Vec<_> = config.egress.ipv4_hosts.iter().map(|(host, ipv4)| (host.as_str(), ipv4.clone())).collect();
    let of = |source: [u8; 4], pins: &[&str]| Ipv4Host {
        source: source.into(),
        pins: pins.iter().map(|pin| pin.parse().unwrap()).collect(),
    };
    let feed = of([192, 0, 2, 7], &["192.0.2.20:443"]);
    assert_eq!(hosts, [("api-feed.dhan.co", feed), ("auth.dhan.co", of([192, 0, 2, 8], &[]))]);
    assert_eq!(config.egress.resolve.keys().map(Host::as_str).collect::<Vec<_>>(), ["api.dhan.co"]);
    let blind = read(&format!("proxy.intercept = false\n{text}\n{MINIMAL}")).unwrap();
    assert!(blind.warnings.iter().any(|text| text.starts_with("proxy.intercept: is off")), "{:?}", blind.warnings);
}

/// A pin that does nothing is most likely a misspelt host.
#[test]
fn a_pin_for_a_host_that_nobody_may_reach_is_a_warning() {
    let pin = "egress.resolve.\"api.dahn.co\" = [\"[2001:db8::1]:443\"]";
    assert_eq!(read(&format!("{pin}\n{MINIMAL}")).unwrap().warnings.len(), 1);
    let drain = |text: &str| read(&format!("{text}\n{MINIMAL}")).unwrap().warnings;
    let warnings = drain("proxy.drain = \"17s\"");
    assert!(warnings.iter().any(|text| text.starts_with("proxy.drain: ") && text.contains("18s")), "{warnings:?}");
    assert!(drain("proxy.drain = \"18s\"").is_empty());
}

/// Started by hand and by the service manager, one file must mean one thing.
#[test]
fn relative_paths_start_at_the_files_folder() {
    let config = read(&format!(
        "state.path = \"s\"\nadmin.viewer_token_file = \"/abs/v\"\nadmin.address = \"unix:a.sock\"\n{MINIMAL}"
    ))
    .unwrap();
    assert_eq!(config.state.path, Path::new("/etc/sixgate/s"));
    assert_eq!(config.state.master_key_file, Path::new("/etc/sixgate/s/master.key"));
    assert_eq!(config.admin.token_file, Path::new("/etc/sixgate/s/admin.token"));
    assert_eq!(config.admin.viewer_token_file.as_deref(), Some(Path::new("/abs/v")));
    assert_eq!(config.admin.bind, Bind::Unix("/etc/sixgate/a.sock".into()));
}

/// A text of problems goes to logs and bug reports.
#[test]
fn what_may_be_a_secret_is_never_shown() {
    for text in [
        "admin.token_file = 424242",
        "admin.token_file = \"424242\\n\"",
        "state.master_key_file = [\"424242\"]",
        "admin.totp_secret = \"424242\"",
        "pin = 424242",
        "admin.token_file = eyJ424242",
        "token: 424242",
        "424242abc",
        "[[listener]]\nclient_key = 424242abc",
        "[[listener]]\nclient_key = \"424242\"\naddress = \"[::1]:1\"",
        "pin = 424242abc",
        "admin = { token_file = 424242abc }",
    ] {
        let found = problems(text);
        assert!(!found.to_string().contains("424242"), "{found}");
        assert!(!format!("{found:?}").contains("424242"), "{found:?}");
    }
    let pem =
        "[[listener]]\naddress = \"[::1]:1\"\ntls_key = \"-----BEGIN 424242\"\ntls_certificate = \"/etc/hostname\"";
    let found = read(pem).unwrap_err().to_string();
    assert!(!found.contains("424242") && found.contains("listener.0.tls_key: holds more than a path"), "{found}");
}

/// Most first mistakes are a missing quote: the line is what people look for.
#[test]
fn a_syntax_error_shows_its_line_and_column() {
    let found = read("[egress]\n  connect_timeout = 3s\n").unwrap_err();
    let all: Vec<_> = found.iter().collect();
    let [(key, text)] = all[..] else { panic!("{found}") };
    assert!(key.starts_with("line 2, column "), "{found}");
    assert!(text.contains("connect_timeout = 3s"), "{found}");
    let found = read("[egress]\nfreebind = true\nfreebind = true\n").unwrap_err().to_string();
    assert!(found.contains("line 3, column 1: duplicate key"), "{found}");
    for text in ["[egress", "a = \"", "é = \"é", "a = [[[[", "\"\"\"", "=", "a = {"] {
        assert_eq!(read(text).unwrap_err().len(), 1, "{text}");
    }
}

/// A file that cannot be read at all is a sentence, not a backtrace.
#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("latin1.toml"), b"# fine\n# caf\xe9\n").unwrap();
    std::fs::write(at("large.toml"), "# ".repeat(1 << 19) + "#").unwrap();
    std::fs::write(at("largest.toml"), MINIMAL.to_owned() + &"#".repeat((1 << 20) - MINIMAL.len())).unwrap();
    for (name, fragment) in [
        ("missing.toml", "missing.toml cannot be used, 1 problem:\n  file: cannot be read: No such file"),
        (".", "file: cannot be read: Is a directory"),
        ("latin1.toml", "file: is not UTF-8 from line 2 on"),
        ("large.toml", "file: is larger than 1 MiB"),
    ] {
        let found = load(&at(name)).unwrap_err().to_string();
        assert!(found.contains(fragment), "{found}");
    }
    let config = load(&at("largest.toml")).unwrap();
    assert_eq!(config.state.path, at("state"));
}

/// A thousand pools are the platform case; a check of each against each would be
/// a start of seconds, and a report of a million lines.
#[test]
fn overlaps_of_many_pools_are_found_once_each() {
    let pool = |i: usize| {
        format!("[[pool]]\nname = \"p{i}\"\nprimary = \"2001:db8:1::/64\"\nsecondary = \"2001:db8:2:{i:x}::/64\"\n")
    };
    let text: String = (0..1000).map(pool).collect();
    assert_eq!(read(&format!("{MINIMAL}{text}")).unwrap_err().len(), 999);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::String),
        "(unix:|https://|wss://)?[0-9a-f:.\\[\\]]{0,12}(/[0-9]{1,3}|:[0-9]{1,5}|[smhyB])?".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec((any_key(), inner), 0..6)
                .prop_map(|pairs| Value::Table(pairs.into_iter().collect())),
        ]
    })
}

/// Mostly names that are read, so that the walk gets past the first step.
fn any_key() -> impl Strategy<Value = String> {
    let parts: BTreeSet<String> =
        sections::known_keys().iter().flat_map(|k| k.split('.').map(str::to_owned).collect::<Vec<_>>()).collect();
    let parts: Vec<String> = parts.into_iter().collect();
    prop_oneof![4 => proptest::sample::select(parts), 1 => any::<String>(), 1 => "[0-9]{1,10}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A config file is the one input that every installation writes by hand.
    #[test]
    fn no_table_makes_the_reader_panic(pairs in proptest::collection::vec((any_key(), any_value()), 0..12),
                                       name in any_key(), text in any::<String>()) {
        let table: Table = pairs.into_iter().collect();
        let text_of = toml::to_string(&table).unwrap();
        let variable = format!("SIXGATE_{}", name.to_uppercase());
        let read = from_text("x", Path::new("/x"), &text_of, &env(&[(&variable, &text)]));
        prop_assert!(read.map_or_else(|p| !p.is_empty() && !p.to_string().is_empty(), |c| !c.listeners.is_empty()));
    }

    /// The same for what is no TOML at all, where positions are counted by us.
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), line in "(\\[\\[?listener\\]?\\]?|egress[.=]?)?.{0,20}\n?") {
        let _ = read(&text);
        let _ = read(&format!("{line}{text}"));
    }

    /// One slip in a long key is always recognised.
    #[test]
    fn one_slip_in_a_key_is_recognised(at in 0usize..15, letter in "[a-z]") {
        let mut key = "connect_timeout".to_owned();
        key.replace_range(at..=at, &letter);
        prop_assume!(key != "connect_timeout");
        let found = problems(&format!("egress.{key} = \"3s\"")).to_string();
        prop_assert!(found.contains("did you mean connect_timeout?"), "{}", found);
    }
}

/// Programs that know no proxy would be refused one by one, and their owners would look for the fault in them.
#[test]
fn a_transparent_listener_that_ends_no_tls_is_a_warning() {
    let transparent = "[[listener]]\naddress = \"127.0.0.1:443\"\naccount = \"alpha\"\ntransparent = true\n";
    let warnings = |first: &str, last: &str| read(&format!("{first}\n{MINIMAL}\n{last}")).unwrap().warnings;
    let of_it = |warnings: &[String]| warnings.iter().filter(|text| text.contains(".transparent: ")).cloned().collect();
    let told: Vec<String> = of_it(&warnings("proxy.intercept = false", transparent));
    assert!(told.len() == 1 && told[0].contains("proxy.intercept is false, so it serves plain HTTP only"), "{told:?}");
    let told: Vec<String> = of_it(&warnings("proxy.tunnel_hosts = [\"api-feed.dhan.co\"]", transparent));
    assert!(told.len() == 1 && told[0].contains("TLS to api-feed.dhan.co (proxy.tunnel_hosts)"), "{told:?}");
    assert!(warnings("", transparent).is_empty());
    assert!(of_it(&warnings("proxy.intercept = false", "")).is_empty());
}

/// A connection that the gateway closes while a request is on its way is an order of which nobody knows. Go and browsers
/// keep theirs for 90 s, .NET for up to 120 s.
#[test]
fn callers_close_their_idle_connections_before_the_gateway_does() {
    assert!(read(MINIMAL).unwrap().proxy.idle_timeout > std::time::Duration::from_secs(120));
}
