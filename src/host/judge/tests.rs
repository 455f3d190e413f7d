//! What no namespace can be made to show, and that nothing is told of what is well.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::domain::SourceAddr;
use crate::host::check::{Outcome, checks as all_checks};
use crate::host::evidence::{BrokerHost, Came, Ipv4Try, NameAnswer, NameSays, NamesSaid, Setting, Try};
use crate::host::facts::{Facts, Ipv6, Look, Sender, Wish};
use crate::host::failure::Failure;
use crate::host::finding::{Finding, Severity};
use crate::host::machine::{Machine, Settings};
use crate::host::system::System;
use crate::host::way::Leaves;

/// One with nothing wrong.
fn machine() -> Machine {
    Machine {
        system: System::Ifupdown,
        boot: Default::default(),
        held: Vec::new(),
        links: Some(Vec::new()),
        own: Default::default(),
        routers: Vec::new(),
        advertised: Vec::new(),
        has_default: Some(true),
        settings: Vec::new(),
        proxied: Vec::new(),
        programs: ["chronyd".to_owned()].into(),
        clock_synchronised: true,
        firewalld: None,
        kernel: "6.12.1-amd64".to_owned(),
        ports: Some((32768, 60999)),
        neighbours: Some(1024),
        route_cache: Some(i32::MAX as u64),
        tracked: None,
        time_wait: Default::default(),
        listening: Some(Vec::new()),
        binds: Vec::new(),
        overrides: Vec::new(),
        container: None,
        lacks_features: Vec::new(),
        state: None,
    }
}

fn sender(address: &str) -> Sender {
    Sender { source: SourceAddr::parse(address).unwrap(), owner: None }
}

fn answered(address: &str, ahead: Option<SignedDuration>) -> Try {
    let came = Came::Answered { connected: Duration::from_millis(3), answered: Duration::from_millis(1), ahead };
    Try { sender: sender(address), host: "api.dhan.co".to_owned(), came }
}

fn evidence() -> Evidence {
    Evidence {
        facts: Facts::made(Vec::new()),
        machine: machine(),
        names: None,
        ipv4: Vec::new(),
        tries: vec![answered("2001:db8:a1::1", Some(SignedDuration::ZERO))],
        setting: Setting { connections_per_leg: 1024, configured: true, descriptors: 4096, ..Setting::default() },
    }
}

fn of<'a>(examined: &'a [Examined], id: &str) -> &'a Examined {
    examined.iter().find(|one| one.check.id == id).unwrap()
}

/// How this check ends, with its first command.
fn ends(evidence: &Evidence, id: &str) -> (Outcome, Option<String>) {
    let examined = checks(evidence);
    assert_eq!(examined.len(), all_checks().len());
    let one = of(&examined, id);
    (one.outcome, one.findings.first().and_then(|finding| finding.commands.first().cloned()))
}

#[test]
fn every_check_says_something_even_where_nothing_is_known() {
    for one in checks(&Evidence { tries: Vec::new(), ..evidence() }) {
        assert_ne!(one.found, "nobody looked", "{:?}", one.check);
        assert!(!one.found.is_empty(), "{:?}", one.check);
        assert_ne!(one.outcome, Outcome::Failed, "{one:?}");
    }
}

/// Told on a kernel that has no such cache, it sends somebody to set what does nothing.
#[test]
fn the_route_cache_matters_on_old_kernels_only() {
    for (kernel, most, outcome) in [
        ("6.3.0", Some(4096), Outcome::Good),
        ("6.18.44-fc", Some(4096), Outcome::Good),
        ("6.2.16", Some(4096), Outcome::Warning),
        ("5.10.0-30-amd64", Some(4096), Outcome::Warning),
        ("5.10.0-30-amd64", Some(1_048_576), Outcome::Good),
        ("5.10.0-30-amd64", None, Outcome::Unknown),
        ("strange", Some(4096), Outcome::Unknown),
    ] {
        let mut one = evidence();
        (one.machine.kernel, one.machine.route_cache) = (kernel.to_owned(), most);
        let (ended, command) = ends(&one, "route_cache");
        assert_eq!(ended, outcome, "{kernel} {most:?}");
        if outcome == Outcome::Warning {
            assert_eq!(command.as_deref(), Some("sysctl -w net.ipv6.route.max_size=1048576"));
        }
    }
}

#[test]
fn a_table_of_connections_that_is_nearly_full_is_told() {
    for (tracked, outcome) in
        [(None, Outcome::Good), (Some((799, 1000)), Outcome::Good), (Some((800, 1000)), Outcome::Warning)]
    {
        let mut one = evidence();
        one.machine.tracked = tracked;
        assert_eq!(ends(&one, "conntrack").0, outcome, "{tracked:?}");
    }
    let mut one = evidence();
    one.machine.tracked = Some((900, 1000));
    assert_eq!(ends(&one, "conntrack").1.as_deref(), Some("sysctl -w net.netfilter.nf_conntrack_max=4000"));
}

#[test]
fn ports_run_out_by_a_small_range_or_by_many_that_are_held_back() {
    let held_back = |count: usize| [("2001:db8:a1::1".parse().unwrap(), count)].into();
    for (range, count, outcome) in [
        ((32768, 60999), 0, Outcome::Good),
        ((40000, 42047), 0, Outcome::Good),
        ((40000, 42046), 0, Outcome::Warning),
        ((32768, 60999), 23_000, Outcome::Warning),
    ] {
        let mut one = evidence();
        (one.machine.ports, one.machine.time_wait) = (Some(range), held_back(count));
        assert_eq!(ends(&one, "few_ports").0, outcome, "{range:?} {count}");
    }
}

#[test]
fn the_clock_is_judged_by_the_nearest_that_the_broker_says() {
    let with = |aheads: &[i64]| Evidence {
        ipv4: Vec::new(),
        tries: aheads.iter().map(|s| answered("2001:db8:a1::1", Some(SignedDuration::from_secs(*s)))).collect(),
        ..evidence()
    };
    assert_eq!(ends(&with(&[0]), "clock_off").0, Outcome::Good);
    // One answer was late on its way.
    assert_eq!(ends(&with(&[-9, 1]), "clock_off").0, Outcome::Good);
    assert_eq!(ends(&with(&[-9, -8]), "clock_off").0, Outcome::Warning);
    let mut unkept = with(&[0]);
    (unkept.machine.clock_synchronised, unkept.machine.programs) = (false, Default::default());
    assert_eq!(ends(&unkept, "clock_off").0, Outcome::Warning);
    unkept.machine.container = Some("docker".to_owned());
    assert_eq!(ends(&unkept, "clock_off").0, Outcome::Good, "that is its host's to do");
    assert_eq!(ends(&Evidence { tries: Vec::new(), ..evidence() }, "clock_off").0, Outcome::Unknown);
}

/// Static routes are not lost to forwarding.
#[test]
fn forwarding_matters_where_the_route_is_a_routers() {
    let settings =
        |forwarding, accept_ra| Settings { interface: "eth0".to_owned(), forwarding, proxy_ndp: false, accept_ra };
    let link = |name: &str| crate::host::links::Link {
        name: name.to_owned(),
        mtu: 1500,
        kind: None,
        is_up: true,
        is_loopback: false,
    };
    for (forwarding, accept_ra, advertised, has_default, outcome) in [
        (true, 1, true, true, Outcome::Failed),
        (true, 1, false, false, Outcome::Failed),
        (true, 1, false, true, Outcome::Good),
        (true, 2, true, true, Outcome::Good),
        (true, 0, false, false, Outcome::Good),
        (false, 1, true, true, Outcome::Good),
    ] {
        let mut one = evidence();
        one.machine.links = Some(vec![link("eth0")]);
        one.machine.settings = vec![settings(forwarding, accept_ra)];
        one.machine.advertised = advertised.then(|| "eth0".to_owned()).into_iter().collect();
        one.machine.has_default = Some(has_default);
        let (ended, command) = ends(&one, "forwarding_drops_route");
        assert_eq!(ended, outcome, "{forwarding} {accept_ra} {advertised} {has_default}");
        if outcome == Outcome::Failed {
            assert_eq!(command.as_deref(), Some("sysctl -w net.ipv6.conf.eth0.accept_ra=2"));
        }
    }
}

#[test]
fn what_the_kernel_cannot_do_and_who_else_logs_in_is_told() {
    let mut one = evidence();
    assert_eq!(ends(&one, "kernel_features").0, Outcome::Good);
    assert_eq!(ends(&one, "another_program_logs_in").0, Outcome::Unknown);
    one.machine.lacks_features = vec!["IPV6_FREEBIND (Protocol not available)".to_owned()];
    one.setting.logins = Some(Vec::new());
    assert_eq!(ends(&one, "kernel_features").0, Outcome::Failed);
    assert_eq!(ends(&one, "another_program_logs_in").0, Outcome::Good);
    one.setting.logins = Some(vec![("alpha".to_owned(), "2 times since 10:00".to_owned())]);
    let examined = checks(&one);
    let other = of(&examined, "another_program_logs_in");
    assert!(other.outcome == Outcome::Failed && other.found.contains("alpha: 2 times"), "{other:?}");
}

fn names(answers: &[(&str, NameSays, u64)]) -> NamesSaid {
    let answer = |(server, says, ms): &(&str, NameSays, u64)| NameAnswer {
        server: server.parse().unwrap(),
        host: "api.dhan.co".to_owned(),
        took: Duration::from_millis(*ms),
        says: says.clone(),
    };
    NamesSaid {
        origin: "/etc/resolv.conf".to_owned(),
        from_config: false,
        hosts: vec![BrokerHost { name: "api.dhan.co".to_owned(), is_needed: true, takes_orders: true }],
        answers: answers.iter().map(answer).collect(),
        ipv4: Vec::new(),
        nat64: Vec::new(),
    }
}

#[test]
fn servers_are_judged_beside_one_another() {
    let good = || NameSays::Addresses(vec!["2600:9000::1".parse().unwrap()]);
    let none = || NameSays::NoRecord("says that there is no AAAA record".to_owned());
    let lame = || NameSays::Failed("gave no answer within 2s".to_owned());
    let (a, b) = ("192.0.2.1:53", "[2001:db8::53]:53");
    for (answers, no_aaaa, servers) in [
        (vec![(a, good(), 5), (b, good(), 5)], Outcome::Good, Outcome::Good),
        (vec![(a, good(), 5), (b, none(), 5)], Outcome::Good, Outcome::Warning),
        (vec![(a, good(), 5), (b, lame(), 5)], Outcome::Good, Outcome::Warning),
        (vec![(a, good(), 1_500), (b, good(), 5)], Outcome::Good, Outcome::Warning),
        (vec![(a, none(), 5), (b, none(), 5)], Outcome::Failed, Outcome::Good),
        (vec![(a, lame(), 5)], Outcome::Failed, Outcome::Failed),
    ] {
        let one = Evidence { names: Some(names(&answers)), ..evidence() };
        assert_eq!((ends(&one, "no_aaaa").0, ends(&one, "name_servers").0), (no_aaaa, servers), "{answers:?}");
    }
    let one = Evidence { names: Some(names(&[(a, good(), 5), (b, lame(), 5)])), ..evidence() };
    let command = ends(&one, "name_servers").1.unwrap();
    assert!(command.contains("2001:db8::53") && command.ends_with("/etc/resolv.conf"), "{command}");
}

/// A feed that has only an IPv4 address is told with the line that mends it; the host of orders never is.
#[test]
fn a_host_without_an_ipv6_address_is_told_how_it_can_be_reached_unless_it_takes_orders() {
    let none = || NameSays::NoRecord("says that there is no AAAA record".to_owned());
    let of = |takes_orders: bool, is_needed: bool, ipv4: &[&str]| {
        let mut said = names(&[("192.0.2.1:53", none(), 5)]);
        said.hosts = vec![BrokerHost { name: "api.dhan.co".to_owned(), is_needed, takes_orders }];
        said.ipv4 = ipv4.iter().map(|host| (*host).to_owned()).collect();
        let examined = checks(&Evidence { names: Some(said), ..evidence() });
        examined.iter().flat_map(|one| &one.findings).find(|one| one.id == "no_aaaa").cloned().unwrap()
    };
    let orders = of(true, true, &[]);
    assert!(orders.why.contains("orders never leave over IPv4") && !orders.fix.contains("ipv4_hosts"), "{orders:?}");
    let login = of(false, true, &["api.dhan.co"]);
    assert!(login.severity == Severity::Error && login.fix.contains("\"api.dhan.co\" = \"192.0.2.7\""), "{login:?}");
    let feed = of(false, false, &["api.dhan.co"]);
    assert!(feed.severity == Severity::Warning && feed.fix.contains("[egress.ipv4_hosts]"), "{feed:?}");
}

#[test]
fn what_is_sent_over_ipv4_is_judged_by_its_own_source() {
    let good = NameSays::Addresses(vec!["2600:9000::1".parse().unwrap()]);
    let of = |came: Came, names: Option<NamesSaid>| {
        let ipv4 = vec![Ipv4Try { host: "api.dhan.co".to_owned(), source: [192, 0, 2, 7].into(), came }];
        checks(&Evidence { ipv4, names, ..evidence() }).into_iter().flat_map(|one| one.findings).collect::<Vec<_>>()
    };
    let failed = |failure| Came::Failed { failure, why: "it did not work".to_owned() };
    let has = |found: &[Finding], id| found.iter().any(|one| one.id == id);
    let missing = of(failed(Some(Failure::Bind(99))), None);
    assert!(has(&missing, "ipv4_source_missing") && !has(&missing, "ipv4_unreachable"), "{missing:?}");
    assert!(has(&of(failed(Some(Failure::Silent)), None), "ipv4_unreachable"));
    let answered = || Came::Answered { connected: Duration::ZERO, answered: Duration::ZERO, ahead: None };
    let found = of(answered(), Some(names(&[("192.0.2.1:53", good, 5)])));
    assert!(has(&found, "ipv4_not_needed") && !has(&found, "no_aaaa"), "{found:?}");
    let none = NameSays::NoRecord("says that there is no AAAA record".to_owned());
    let found = of(answered(), Some(names(&[("192.0.2.1:53", none, 5)])));
    assert!(!has(&found, "ipv4_not_needed") && !has(&found, "no_aaaa"), "{found:?}");
}

/// An address on the link of eth0, with a way out.
fn on_link(address: &str) -> (Wish, Look) {
    let wish = Wish { sender: sender(address), admits: true, failed: None, worked: true };
    let look = Look {
        ipv6: Ipv6::On,
        local: Some(true),
        on: None,
        link: Some("eth0".to_owned()),
        leaves: Some(Ok(Leaves { interface: "eth0".to_owned(), gateway: "fe80::1".parse().ok() })),
        table: None,
        answered_for: true,
        own_leads_out: true,
        nonlocal_bind: false,
        hop_failed: false,
    };
    (wish, look)
}

/// The kernel shows this table in the host's own namespace only.
#[test]
fn a_table_of_neighbours_that_is_too_small_is_told_where_addresses_are_on_link() {
    for (most, accounts, outcome) in [
        (Some(1024), 10, Outcome::Good),
        (Some(1024), 1_000, Outcome::Warning),
        (Some(16_384), 1_000, Outcome::Good),
        (None, 10, Outcome::Unknown),
    ] {
        let facts = Facts::made(vec![on_link("2001:db8:a1::1")]);
        let mut one = Evidence { facts, ..evidence() };
        (one.machine.neighbours, one.setting.accounts) = (most, Some(accounts));
        let (ended, command) = ends(&one, "neighbour_table");
        assert_eq!(ended, outcome, "{most:?} {accounts}");
        if outcome == Outcome::Warning {
            assert_eq!(command.as_deref(), Some("sysctl -w net.ipv6.neigh.default.gc_thresh3=4096"));
        }
    }
    assert_eq!(ends(&evidence(), "neighbour_table").0, Outcome::Good, "nothing is on-link");
}

/// In the fix plan nothing is run twice.
#[test]
fn a_plan_has_each_command_once_in_the_order_of_the_checks() {
    let mut one = evidence();
    one.machine.tracked = Some((900, 1000));
    one.machine.ports = Some((1, 2));
    let mut examination = examine(&one);
    let again = examination.checks.iter().find(|one| one.check.id == "conntrack").unwrap().findings[0].clone();
    examination.checks.last_mut().unwrap().findings.push(again);
    let plan = examination.plan();
    let commands: Vec<_> = plan.iter().flat_map(|(_, commands)| commands).collect();
    assert_eq!(commands.iter().filter(|command| command.contains("conntrack_max=")).count(), 1, "{plan:?}");
    let place = |words: &str| commands.iter().position(|command| command.contains(words)).unwrap();
    assert!(place("ip_local_port_range") < place("nf_conntrack_max"));
}

/// The built-in broker's addresses and pins are gone with it, and a file that makes them is litter.
#[test]
fn what_is_there_for_the_built_in_broker_is_not_worth_mending() {
    let mut one = Evidence { facts: Facts::made(vec![on_link("fd93:0:1:a1::1")]), ..evidence() };
    one.setting.pins = vec![("api.dhan.co".to_owned(), "[::1]:8443".to_owned())];
    assert_eq!(ends(&one, "not_kept_at_boot").0, Outcome::Warning);
    assert_eq!(ends(&one, "name_overridden").0, Outcome::Warning);
    one.setting.broker_is_here = true;
    assert_eq!(ends(&one, "not_kept_at_boot").0, Outcome::Good);
    assert_eq!(ends(&one, "name_overridden").0, Outcome::Good);
}

/// Told of every host, one thing looks like seven.
#[test]
fn hosts_of_which_the_same_is_said_are_told_of_at_once() {
    let none = || NameSays::NoRecord("says that there is no AAAA record".to_owned());
    let mut said = names(&[("192.0.2.1:53", none(), 5)]);
    let feed = BrokerHost { name: "api-feed.dhan.co".to_owned(), is_needed: false, takes_orders: false };
    let other = NameAnswer { host: feed.name.clone(), ..said.answers[0].clone() };
    said.answers.push(other);
    said.hosts.push(feed);
    let examined = checks(&Evidence { names: Some(said.clone()), ..evidence() });
    let one = of(&examined, "no_aaaa");
    assert!(one.outcome == Outcome::Failed && one.findings.len() == 1, "{one:?}");
    assert!(one.found.contains("api.dhan.co, api-feed.dhan.co have no IPv6 address"), "{one:?}");
    said.answers[0].says = NameSays::Addresses(vec!["2600:9000::1".parse().unwrap()]);
    let examined = checks(&Evidence { names: Some(said), ..evidence() });
    let one = of(&examined, "no_aaaa");
    assert!(one.outcome == Outcome::Warning && one.found.contains("api-feed.dhan.co has no"), "{one:?}");
}

/// Whoever is not the gateway's user cannot say that the gateway cannot use its folder.
#[test]
fn another_user_s_state_folder_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = evidence();
    let mut folder = crate::host::folder::Folder::read(dir.path());
    let owner = crate::host::folder::Owner { name: "trader".to_owned(), argument: "trader".to_owned() };
    (folder.others, folder.writable) = (Some(owner), false);
    one.machine.state = Some(folder);
    let examined = checks(&one);
    let state = of(&examined, "state_folder");
    assert!(state.outcome == Outcome::Unknown && state.found.contains("sudo -u trader"), "{state:?}");
}

/// What changes the unit names a unit that is there.
#[test]
fn a_limit_is_set_in_a_unit_only_where_there_is_one() {
    let mut one = evidence();
    one.setting.descriptors_lack = Some(("only 68".to_owned(), 500));
    assert_eq!(ends(&one, "descriptors"), (Outcome::Warning, None));
    one.machine.boot.gateway_unit = true;
    assert_eq!(ends(&one, "descriptors").1.as_deref(), Some("mkdir -p /etc/systemd/system/sixgate.service.d"));
}
