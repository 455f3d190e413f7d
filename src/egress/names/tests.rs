//! Names against name servers that fail in every way.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::*;

#[allow(dead_code, reason = "the integration tests use another part of it")]
#[path = "../../../tests/support/name_server.rs"]
mod name_server;

use name_server::{NameServer, Says};

const LONG: Duration = Duration::from_secs(30);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn good() -> Ipv6Addr {
    ip("4000::1")
}

fn host() -> Host {
    Host::parse("api.example").unwrap()
}

async fn server(says: Says) -> NameServer {
    NameServer::start("[::1]:0".parse().unwrap(), says).await
}

/// A server that is there and says nothing, without a test's own code in the way.
async fn silent() -> (SocketAddr, tokio::net::UdpSocket) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    (socket.local_addr().unwrap(), socket)
}

fn names(servers: &[SocketAddr]) -> Arc<Names> {
    let files = Files { resolv_conf: PathBuf::from("/nowhere"), hosts: PathBuf::from("/nowhere"), ..Files::default() };
    Names::with_files(files, servers, Tasks::default())
}

async fn look(names: &Arc<Names>) -> Result<Vec<Ipv6Addr>, ResolveError> {
    let found = names.lookup(&host(), Family::V6, Instant::now() + LONG).await;
    let v6 = |address: &IpAddr| match address {
        IpAddr::V6(address) => *address,
        IpAddr::V4(address) => panic!("{address} for an AAAA record"),
    };
    found.map(|(_, addresses)| addresses.iter().map(v6).collect())
}

/// The answer's time is over, as if its TTL had passed and nobody had asked meanwhile.
fn let_it_be_over(names: &Names) {
    names.name(&host(), Family::V6).let_it_be_over();
}

/// Wait until the keeper has ended an attempt that began after now.
async fn another_attempt(names: &Names) {
    let name = names.name(&host(), Family::V6);
    let mut ended = pin!(name.queried.notified());
    ended.as_mut().enable();
    tokio::time::timeout(LONG, ended).await.expect("it is asked again");
}

/// The kind: whatever a name server says that is no address, what was known stays known, and nobody waits for it.
#[tokio::test]
async fn nothing_that_a_server_says_or_does_not_say_takes_a_known_address_away() {
    let forbidden = ["::1", "::", "::ffff:127.0.0.1", "fe80::1", "fd00::1", "2001:db8::1", "64:ff9b::102:304"];
    let lies = forbidden.map(|address| Says::Addresses(vec![ip(address)], 60));
    let many: Vec<_> = (0..20).map(|n| ip(&format!("4000::{n:x}"))).collect();
    let other = [
        Says::Error(1),
        Says::Error(2),
        Says::Error(3),
        Says::Error(4),
        Says::Error(5),
        Says::NoData,
        Says::Alias("nowhere.example"),
        Says::Alias("api.example"),
        Says::ByAlias(vec![], 60),
        Says::Garbage,
        Says::SomebodyElses,
        Says::TooLongWithoutTcp(many, 0),
        Says::Nothing,
    ];
    let tries = lies.into_iter().chain(other).map(|says| async move {
        let server = server(Says::address(good())).await;
        server.says_of("nowhere.example", Says::NoData);
        let names = names(&[server.at()]);
        assert_eq!(look(&names).await.unwrap(), [good()]);
        server.says(says.clone());
        names.name(&host(), Family::V6).did_not_work(good().into());
        another_attempt(&names).await;
        // Not asked anew: a failure is remembered.
        let asked = server.asked();
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(look(&names).await.unwrap(), [good()], "{says:?}");
        }
        assert!(began.elapsed() < PATIENCE * 10, "{says:?} held 100 dials up for {:?}", began.elapsed());
        assert!(server.asked() <= asked + 8, "{says:?}: asked {} times", server.asked() - asked);
    });
    join_all(tries).await;
}

/// Nobody has used it for an hour, and meanwhile its servers have died: the first one waits for less than a second.
#[tokio::test]
async fn an_old_answer_is_used_within_a_second_when_the_servers_are_silent_and_at_once_from_then_on() {
    let server = server(Says::address(good())).await;
    let names = names(&[server.at()]);
    look(&names).await.unwrap();
    server.says(Says::Nothing);
    let_it_be_over(&names);
    names.name(&host(), Family::V6).left_alone();
    let began = Instant::now();
    assert_eq!(look(&names).await.unwrap(), [good()]);
    let took = began.elapsed();
    assert!(took >= PATIENCE && took < question::SILENCES.iter().sum::<Duration>(), "{took:?}");
    another_attempt(&names).await;
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(look(&names).await.unwrap(), [good()]);
    }
    assert!(began.elapsed() < PATIENCE * 10, "{:?}", began.elapsed());
}

/// An order with little time left must not spend all of it on a name that is known.
#[tokio::test]
async fn a_short_deadline_leaves_time_to_use_the_old_answer() {
    let server = server(Says::address(good())).await;
    let names = names(&[server.at()]);
    look(&names).await.unwrap();
    server.says(Says::Nothing);
    let_it_be_over(&names);
    names.name(&host(), Family::V6).left_alone();
    let by = Instant::now() + Duration::from_millis(600);
    let (_, addresses) = names.lookup(&host(), Family::V6, by).await.unwrap();
    assert_eq!((addresses, Instant::now() < by), (vec![IpAddr::from(good())], true));
}

/// A restart of every engine at once is one question, and so is the time when an answer is over.
#[tokio::test]
async fn however_many_dial_there_is_one_question() {
    let server = server(Says::address(good())).await;
    let names = names(&[server.at()]);
    for _ in 0..2 {
        let asked = server.asked();
        for found in join_all((0..100).map(|_| look(&names))).await {
            assert_eq!(found.unwrap(), [good()]);
        }
        assert_eq!(server.asked(), asked + 1);
        let_it_be_over(&names);
        names.name(&host(), Family::V6).left_alone();
    }
}

/// A host in use is asked about by itself when its answer is over: nobody waits, and a broker that moves is followed.
#[tokio::test]
async fn an_answer_is_renewed_before_anybody_asks_for_it() {
    let server = server(Says::Addresses(vec![good()], 0)).await;
    let names = names(&[server.at()]);
    look(&names).await.unwrap();
    let moved = ip("4000::2");
    server.says(Says::address(moved));
    another_attempt(&names).await;
    assert_eq!((look(&names).await.unwrap(), server.asked()), (vec![moved], 2));
}

/// The old address is dead, and its TTL an hour: who finds it dead has the name asked for again.
#[tokio::test]
async fn a_dead_address_is_asked_about_before_its_time_and_others_go_first() {
    let (old, new) = (good(), ip("4000::2"));
    let server = server(Says::Addresses(vec![old, new], 3600)).await;
    let names = names(&[server.at()]);
    let (name, addresses) = names.lookup(&host(), Family::V6, Instant::now() + LONG).await.unwrap();
    assert_eq!(name.in_order(&addresses), [old, new]);
    name.did_not_work(old.into());
    assert_eq!(name.in_order(&addresses), [new, old]);
    another_attempt(&names).await;
    assert_eq!(server.asked(), 2);
    name.worked(new.into());
    name.did_not_work(old.into());
    name.worked(old.into());
    assert_eq!(name.in_order(&addresses), [old, new]);
    // Made to lie: what worked is still tried, after what it says.
    let lie = ip("4000::bad");
    assert_eq!(name.in_order(&[lie.into()]), [lie, old]);
    name.did_not_work(lie.into());
    assert_eq!(name.in_order(&[lie.into()]), [old, lie]);
}

/// A first server that is dead must not make every lookup wait for it.
#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_and_the_one_that_answers_goes_first_from_then_on() {
    let (dead, _socket) = silent().await;
    for (first, says) in
        [(Some(dead), Says::Nothing), (None, Says::Error(2)), (None, Says::NoData), (None, Says::Garbage)]
    {
        let (bad, good_one) = (server(says.clone()).await, server(Says::address(good())).await);
        let names = names(&[first.unwrap_or(bad.at()), good_one.at()]);
        let began = Instant::now();
        assert_eq!(look(&names).await.unwrap(), [good()], "{says:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{says:?} took {:?}", began.elapsed());
        let asked = bad.asked();
        names.name(&host(), Family::V6).did_not_work(good().into());
        another_attempt(&names).await;
        assert_eq!((bad.asked(), good_one.asked()), (asked, 2), "{says:?}");
    }
}

/// No server there, no route to it, of either family: known at once, and the next one is asked at once.
#[tokio::test]
async fn a_server_that_is_not_there_costs_no_time() {
    let there = server(Says::address(good())).await;
    let gone: Vec<SocketAddr> =
        ["127.0.0.1:9", "[::1]:9", "[fe80::1%2147483647]:53"].map(|at| at.parse().unwrap()).to_vec();
    let names = names(&[&gone[..], &[there.at()]].concat());
    let began = Instant::now();
    assert_eq!(look(&names).await.unwrap(), [good()]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let none = self::names(&gone);
    let text = look(&none).await.unwrap_err().to_string();
    assert!(text.contains("127.0.0.1:9 cannot be asked (Connection refused"), "{text}");
    assert!(text.contains("[::1]:9 cannot be asked (Connection refused"), "{text}");
}

/// More records than UDP holds, aliases within one reply and over several, and the address by which it is reached.
#[tokio::test]
async fn long_answers_and_aliases_are_followed() {
    let many: Vec<_> = (1..=60).map(|n| ip(&format!("4000::{n:x}"))).collect();
    let server = server(Says::TooLong(many.clone(), 3)).await;
    let found = look(&names(&[server.at()])).await.unwrap();
    assert_eq!(found, many[..32]);
    server.says(Says::TooLongWithoutTcp(many.clone(), 3));
    assert_eq!(look(&names(&[server.at()])).await.unwrap(), many[..3], "any of them will do");
    server.says(Says::ByAlias(vec![good()], 60));
    assert_eq!(look(&names(&[server.at()])).await.unwrap(), [good()]);
    server.says(Says::Alias("edge.example"));
    server.says_of("edge.example", Says::address(good()));
    assert_eq!(look(&names(&[server.at()])).await.unwrap(), [good()]);
    server.says(Says::Addresses(vec![ip("::1"), good(), good()], 60));
    assert_eq!(look(&names(&[server.at()])).await.unwrap(), [good()], "what the guard forbids is left out");
}

/// A host that never had an address: who said what, what it means, what to do, and within which time.
#[tokio::test]
async fn a_name_that_was_never_known_says_which_server_said_what() {
    let (silent_at, _socket) = silent().await;
    for (says, code, words) in [
        (Says::NoData, "no_ipv6_address", "says that there is no AAAA record"),
        (Says::Error(3), "no_ipv6_address", "says that there is no such name (NXDOMAIN)"),
        (Says::Error(2), "resolve_failed", "could not find out (SERVFAIL)"),
        (Says::Error(5), "resolve_failed", "refuses to answer this host (REFUSED)"),
        (Says::Garbage, "resolve_failed", "answered with what is no DNS message"),
        (Says::SomebodyElses, "resolve_failed", "answered with what is no reply to the question"),
        (Says::Addresses(vec![ip("::1")], 60), "destination_forbidden", "forbidden by rule loopback"),
    ] {
        let server = server(says.clone()).await;
        let names = names(&[server.at(), silent_at]);
        let err = crate::egress::DialError::from(look(&names).await.unwrap_err());
        let text = err.chain();
        assert_eq!(err.code(), code, "{text}");
        for words in
            [words, "api.example", "egress.resolve", &server.at().to_string(), &format!("{silent_at} gave no answer")]
        {
            assert!(text.contains(words), "{says:?} without {words:?}: {text}");
        }
        // The next one waits for another attempt, and no longer than it has time.
        let soon = Duration::from_millis(200);
        let began = Instant::now();
        names.lookup(&host(), Family::V6, began + soon).await.unwrap_err();
        assert!(began.elapsed() < soon + PATIENCE * 10, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_deadline_that_ends_in_the_lookup_says_so() {
    let (silent_at, _socket) = silent().await;
    let by = Instant::now() + Duration::from_millis(100);
    let err = names(&[silent_at]).lookup(&host(), Family::V6, by).await.unwrap_err();
    assert!(err.to_string().contains("ran out while the address of api.example was looked up"), "{err}");
    assert_eq!(crate::egress::DialError::from(err).code(), "resolve_failed");
}

/// The file that says whom to ask is missing at first, then half written, then there, then another by a rename.
#[tokio::test]
async fn resolv_conf_is_read_anew_however_it_is_replaced() {
    // The file has no ports: the servers are on addresses of their own, at one port. That of DNS takes root.
    let serve = async |at: &str, port, says| NameServer::start(SocketAddr::new(at.parse().unwrap(), port), says).await;
    let a = serve("127.53.1.1", 0, Says::address(good())).await;
    let port = a.at().port();
    let b = serve("127.53.1.2", port, Says::address(ip("4000::2"))).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    let files = Files { resolv_conf: file.clone(), hosts: PathBuf::from("/nowhere"), port };
    let names = Names::with_files(files, &[], Tasks::default());
    let err = look(&names).await.unwrap_err();
    let text = err.to_string();
    assert!(text.contains("this host has no name servers") && text.contains("cannot be read (No such file"), "{text}");
    assert!(text.contains("read again by itself") && matches!(err, ResolveError::NoServers { .. }), "{text}");

    let until = async |what: &str, address: Ipv6Addr| {
        let end = Instant::now() + LONG;
        while look(&names).await.ok() != Some(vec![address]) {
            assert!(Instant::now() < end, "{what}");
            tokio::task::yield_now().await;
        }
    };
    std::fs::write(&file, "nameserver 127.53.").unwrap();
    std::fs::write(&file, "nameserver 127.53.1.1\n").unwrap();
    until("it is there now", good()).await;

    let other = dir.path().join("other");
    std::fs::write(&other, "nameserver 127.53.1.2\n").unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    a.says(Says::Nothing);
    names.name(&host(), Family::V6).did_not_work(good().into());
    until("another by a link", ip("4000::2")).await;
    assert!(b.asked() > 0);
}

/// By SIGHUP, while DNS is broken: what is known stays known, and the new ones are asked at once.
#[tokio::test]
async fn other_name_servers_are_asked_at_once_and_nothing_is_forgotten() {
    let (silent_at, _socket) = silent().await;
    let names = names(&[silent_at]);
    look(&names).await.unwrap_err();
    let server = server(Says::address(good())).await;
    names.configure(&[server.at()]);
    another_attempt(&names).await;
    assert_eq!(look(&names).await.unwrap(), [good()]);
    names.configure(&[silent_at]);
    assert_eq!(look(&names).await.unwrap(), [good()]);
}

/// A worker's runtime may end, and so may whoever asked first: the others still get their answer.
#[tokio::test]
async fn who_asked_first_may_go_away() {
    let server = server(Says::Nothing).await;
    let names = names(&[server.at()]);
    let (gone, is_gone) = oneshot::channel();
    let first = {
        let names = Arc::clone(&names);
        async move {
            tokio::select! {
                _ = look(&names) => panic!("nobody answers"),
                () = async { while names.name(&host(), Family::V6).is_unused() { tokio::task::yield_now().await } } => {}
            }
            gone.send(()).unwrap();
        }
    };
    let second = async {
        is_gone.await.unwrap();
        server.says(Says::address(good()));
        look(&names).await
    };
    let ((), found) = tokio::join!(first, second);
    assert_eq!(found.unwrap(), [good()]);
}

/// Name service is dead when the host boots. What is kept is only a help: whatever is wrong with it, it does no harm.
#[tokio::test]
async fn what_was_known_is_known_after_a_restart_and_a_file_that_is_wrong_is_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("names.json");
    let server = server(Says::address(good())).await;
    let before = names(&[server.at()]);
    before.keep_in(file.clone());
    look(&before).await.unwrap();
    let end = Instant::now() + LONG;
    while !file.exists() {
        assert!(Instant::now() < end, "it is written");
        tokio::task::yield_now().await;
    }
    server.says(Says::Error(2));
    let after = async |text: Option<String>| {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let after = names(&[server.at()]);
        after.keep_in(file.clone());
        look(&after).await
    };
    assert_eq!(after(None).await.unwrap(), [good()]);
    let entry = |address: &str, at: u64| Some(format!(r#"{{"api.example":{{"addresses":["{address}"],"at":{at}}}}}"#));
    let now = kept::now();
    assert_eq!(after(entry("4000::7", now - 23 * 3600)).await.unwrap(), [ip("4000::7")]);
    assert_eq!(after(entry("4000::7", now + 9999)).await.unwrap(), [ip("4000::7")], "a clock that is not set yet");
    for wrong in [entry("4000::7", now - 25 * 3600), entry("::1", now), Some("{".to_owned()), Some(String::new())] {
        assert!(after(wrong.clone()).await.is_err(), "{wrong:?}");
    }
    // It is looked up all the same.
    server.says(Says::address(ip("4000::2")));
    assert_eq!(after(entry("4000::7", now)).await.unwrap(), [ip("4000::2")]);
}

/// A feed that has no AAAA is found by its A records, and they never stand in for AAAA records.
#[tokio::test]
async fn each_kind_of_address_is_asked_for_and_kept_apart() {
    let (dir, address) = (tempfile::tempdir().unwrap(), std::net::Ipv4Addr::new(18, 238, 136, 6));
    let path = dir.path().join("names.json");
    let server = server(Says::Ipv4(address)).await;
    let names = names(&[server.at()]);
    names.keep_in(path.clone());
    let of = async |names: &Arc<Names>, family| {
        names.lookup(&host(), family, Instant::now() + LONG).await.map(|(_, addresses)| addresses)
    };
    assert_eq!(of(&names, Family::V4).await.unwrap(), [address]);
    let err = of(&names, Family::V6).await.unwrap_err();
    assert!(matches!(err, ResolveError::NoAddress { .. }), "{err:?}");
    assert!(err.to_string().contains("egress.ipv4_hosts"), "{err}");
    server.says(Says::address(good()));
    names.name(&host(), Family::V6).did_not_work(good().into());
    another_attempt(&names).await;
    assert_eq!(
        (of(&names, Family::V6).await.unwrap(), of(&names, Family::V4).await.unwrap().len()),
        (vec![good().into()], 1)
    );
    // Both are known after a restart, whose name servers are dead.
    let kept = async || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("4000::1"));
    while !kept().await {
        tokio::task::yield_now().await;
    }
    let (dead, _socket) = silent().await;
    let again = self::names(&[dead]);
    again.keep_in(path);
    assert_eq!(of(&again, Family::V4).await.unwrap(), [address]);
    assert_eq!(of(&again, Family::V6).await.unwrap(), [good()]);
}

#[tokio::test]
async fn a_host_without_an_a_record_says_what_to_change() {
    let server = server(Says::NoData).await;
    let err = names(&[server.at()]).lookup(&host(), Family::V4, Instant::now() + LONG).await.unwrap_err();
    assert_eq!(crate::egress::DialError::from(err).code(), "no_ipv4_address");
}
