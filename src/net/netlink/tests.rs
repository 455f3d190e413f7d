//! What the kernel's messages say, and that none of them makes the reader panic.

use proptest::prelude::*;

use super::*;

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes
}

/// An `rtmsg` as the kernel writes it.
fn route(prefix: &str, kind: u8, interface: u32) -> Vec<u8> {
    let (address, length) = prefix.split_once('/').unwrap_or((prefix, "128"));
    let mut bytes = vec![AF_INET6, length.parse().unwrap(), 0, 0, 255, 2, 0, kind, 0, 0, 0, 0];
    bytes.extend(attribute(RTA_TABLE, &255u32.to_ne_bytes()));
    bytes.extend(attribute(RTA_DST, &address.parse::<Ipv6Addr>().unwrap().octets()));
    bytes.extend(attribute(RTA_PRIORITY, &0u32.to_ne_bytes()));
    bytes.extend(attribute(RTA_OIF, &interface.to_ne_bytes()));
    bytes
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A follower that was told of these local routes.
fn told(prefixes: &[&str]) -> Follower {
    let mut follower = Follower::default();
    follower.missed();
    let request = follower.next_request().unwrap();
    assert_eq!(request.len(), HEADER + ROUTE);
    let mut bytes: Vec<u8> =
        prefixes.iter().flat_map(|p| message(RTM_NEWROUTE, NLM_F_MULTI, 1, &route(p, RTN_LOCAL, 1))).collect();
    bytes.extend(message(RTM_NEWROUTE, NLM_F_MULTI, 1, &route("2001:db8:ffff::/48", 1, 1)));
    assert_eq!(follower.take(&bytes), News::default(), "told before the end of the dump");
    assert_eq!(follower.take(&message(NLMSG_DONE, NLM_F_MULTI, 1, &[0; 4])), News { changed: true, ..News::default() });
    follower
}

#[test]
fn an_address_is_here_while_a_local_route_covers_it() {
    let mut follower = told(&["::1", "2001:db8:a1::/64", "2001:db8:a2::7"]);
    let covers = |follower: &Follower, text| follower.known().covers(ip(text));
    assert!(covers(&follower, "2001:db8:a1::5") && covers(&follower, "2001:db8:a2::7"));
    assert!(!covers(&follower, "2001:db8:a2::8"), "only a whole prefix covers its neighbours");
    assert!(!covers(&follower, "2001:db8:ffff::1"), "a route to elsewhere");
    let gone = message(RTM_DELROUTE, 0, 0, &route("2001:db8:a1::/64", RTN_LOCAL, 1));
    assert!(follower.take(&gone).changed && !covers(&follower, "2001:db8:a1::5"));
    assert!(!follower.take(&gone).changed, "gone already");
    let back = message(RTM_NEWROUTE, 0, 0, &route("2001:db8:a1::/64", RTN_LOCAL, 1));
    assert!(follower.take(&back).changed && covers(&follower, "2001:db8:a1::5"));
}

/// The same address on two interfaces: one of them going takes nothing away.
#[test]
fn two_routes_to_one_address_are_two() {
    let mut follower = told(&["::1", "2001:db8::1"]);
    follower.take(&message(RTM_NEWROUTE, 0, 0, &route("2001:db8::1", RTN_LOCAL, 2)));
    follower.take(&message(RTM_DELROUTE, 0, 0, &route("2001:db8::1", RTN_LOCAL, 1)));
    assert!(follower.known().covers(ip("2001:db8::1")));
    follower.take(&message(RTM_DELROUTE, 0, 0, &route("2001:db8::1", RTN_LOCAL, 2)));
    assert!(!follower.known().covers(ip("2001:db8::1")));
}

/// What comes while the table is being read must be in what was read.
#[test]
fn a_change_during_a_dump_is_not_lost() {
    let mut follower = told(&["::1", "2001:db8::1"]);
    follower.missed();
    follower.next_request().unwrap();
    assert_eq!(follower.next_request(), None, "a second one at once would be EBUSY");
    for prefix in ["::1", "2001:db8::1"] {
        follower.take(&message(RTM_NEWROUTE, NLM_F_MULTI, 2, &route(prefix, RTN_LOCAL, 1)));
    }
    follower.take(&message(RTM_DELROUTE, 0, 0, &route("2001:db8::1", RTN_LOCAL, 1)));
    follower.take(&message(RTM_NEWROUTE, 0, 0, &route("2001:db8::2", RTN_LOCAL, 1)));
    follower.take(&message(NLMSG_DONE, NLM_F_MULTI, 2, &[0; 4]));
    assert!(!follower.known().covers(ip("2001:db8::1")) && follower.known().covers(ip("2001:db8::2")));
}

#[test]
fn a_dump_whose_table_changed_is_made_again_a_few_times() {
    let mut follower = told(&["::1", "2001:db8::1"]);
    follower.missed();
    let mut dumps = 0;
    while follower.next_request().is_some() {
        dumps += 1;
        let sequence = follower.sequence;
        follower.take(&message(RTM_NEWROUTE, NLM_F_MULTI | NLM_F_DUMP_INTR, sequence, &route("::1", RTN_LOCAL, 1)));
        follower.take(&message(NLMSG_DONE, NLM_F_MULTI, sequence, &[0; 4]));
    }
    assert_eq!(dumps, MOST_INTERRUPTED + 1);
    assert!(!follower.known().covers(ip("2001:db8::1")));
}

/// A sysctl lets a link go down without a word about its routes.
#[test]
fn an_address_that_goes_and_leaves_its_route_makes_us_look_again() {
    let mut follower = told(&["::1", "2001:db8::1", "2001:db8:a1::/64"]);
    let gone = |address: &str| {
        let mut payload = vec![AF_INET6, 128, 0, 0, 1, 0, 0, 0];
        payload.extend(attribute(IFA_ADDRESS, &ip(address).octets()));
        message(RTM_DELADDR, 0, 0, &payload)
    };
    follower.take(&gone("2001:db8:a1::1"));
    assert_eq!(follower.next_request(), None, "its prefix is here whether it is configured or not");
    follower.take(&gone("2001:db8::1"));
    follower.take(&message(RTM_DELROUTE, 0, 0, &route("2001:db8::1", RTN_LOCAL, 1)));
    assert_eq!(follower.next_request(), None, "its route went as it should");
    follower.take(&message(RTM_NEWROUTE, 0, 0, &route("2001:db8::1", RTN_LOCAL, 1)));
    follower.take(&gone("2001:db8::1"));
    assert!(follower.next_request().is_some());
}

#[test]
fn a_refused_dump_is_told() {
    let mut follower = Follower::default();
    follower.missed();
    follower.next_request().unwrap();
    let news = follower.take(&message(NLMSG_ERROR, 0, 1, &(-1i32).to_ne_bytes()));
    assert_eq!(news, News { refused: Some(1), ..News::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8)) {
        let mut follower = told(&["::1"]);
        for packet in &packets {
            follower.take(packet);
            let _ = follower.next_request();
        }
    }

    /// Whole messages of the right kinds with anything in them, which random bytes never are.
    #[test]
    fn no_message_panics(
        list in prop::collection::vec((prop::sample::select(vec![2u16, 3, 16, 17, 20, 21, 24, 25]), any::<u16>(),
            0..3u32, prop::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..20),
    ) {
        let mut follower = told(&["::1"]);
        for (kind, flags, sequence, mut payload, plausible) in list {
            if plausible && payload.len() > 7 {
                payload[0] = AF_INET6;
                payload[7] = RTN_LOCAL;
            }
            follower.take(&message(kind, flags, sequence, &payload));
            let _ = follower.next_request();
            let _ = follower.known().covers(Ipv6Addr::LOCALHOST);
        }
    }

    /// Asking by prefix answers what walking all routes would.
    #[test]
    fn covers_is_what_the_routes_say(
        steps in prop::collection::vec((any::<bool>(), 0..=128u8, 0..4u128, 0..2u32), 1..100), asked in 0..16u128,
    ) {
        let mut routes = LocalRoutes::default();
        let spread = |n: u128| Ipv6Addr::from(n << 126 | n << 62 | n);
        for (add, length, n, interface) in steps {
            let route = Route { prefix: masked(spread(n), length), length, table: 255, interface, metric: 0 };
            if add { routes.insert(route) } else { routes.remove(&route) };
        }
        let covered = |r: &Route| masked(spread(asked), r.length) == r.prefix;
        prop_assert_eq!(routes.covers(spread(asked)), routes.routes.iter().any(covered));
    }
}
