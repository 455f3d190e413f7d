//! Legs joined to exits, against the built-in broker on `::1`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::*;
use crate::domain::SourceAddr;
use crate::domain::tasks::Tasks;
use crate::egress::{Egress, Options};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;

const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, and an account's legs that are looked after.
struct Bench {
    supervisor: Arc<Supervisor>,
    legs: Arc<Legs>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    _roots: tempfile::NamedTempFile,
}

fn api() -> Authority {
    Authority::parse("api.dhan.co:443", None).unwrap()
}

async fn bench(dwell: Duration) -> Bench {
    bench_with(dwell, None).await
}

/// With the API's host somewhere else than at the broker.
async fn bench_with(dwell: Duration, api_at: Option<SocketAddrV6>) -> Bench {
    let tasks = Tasks::default();
    let broker = Sandbox::start(crate::sandbox::Options::default(), &tasks).await.unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), broker.ca_pem()).unwrap();
    let second = Duration::from_secs(1);
    // The feed's host does not answer; nothing listens on that port.
    let dead = "[::1]:9".parse().unwrap();
    let feed = Authority::parse("api-feed.dhan.co:443", None).unwrap();
    let options = Options {
        connect_timeout: second,
        user_timeout: second,
        read_timeout: second,
        freebind: false,
        http2: false,
        idle_timeout: second * 30,
        idle_per_exit: 4,
        open_per_exit: 64,
        extra_roots: vec![roots.path().to_owned()],
        resolve: BTreeMap::from([(api().host, vec![api_at.unwrap_or(broker.address())]), (feed.host, vec![dead])]),
        ipv4_hosts: std::collections::BTreeMap::new(),
        name_servers: Vec::new(),
    };
    let egress = Egress::new(options, tasks.clone()).unwrap();
    let metrics = Arc::new(Metrics::default());
    let settings = LegSettings { dwell, warm: 0, warm_always: false, api: api() };
    let supervisor = Supervisor::new(settings, egress, Arc::clone(&metrics));
    let own = SourceAddr::parse("::1").unwrap();
    let pair = Pair { primary: own, secondary: own };
    let legs = Legs::new(&AccountName::parse("a1").unwrap(), &pair, &supervisor);
    Bench { supervisor, legs, metrics, tasks, _roots: roots }
}

/// A `getIP` that always answers the same.
struct Answers(SeenAddress, AtomicUsize);

impl GetIp for Answers {
    fn can_call(&self, _: &Legs) -> bool {
        true
    }

    fn get_ip(&self, _: &Arc<Legs>, role: Role) -> Option<BoxFuture<'static, Option<SeenAddress>>> {
        assert_eq!(role, Role::Primary);
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(Box::pin(std::future::ready(Some(self.0))))
    }

    fn is_anothers(&self, _: &Legs, _: IpAddr) -> bool {
        true
    }
}

/// "Invalid IP": the leg is out for orders at once, goes on reading, is asked for by
/// `getIP`, and takes orders again after the dwell; each change is told once.
#[tokio::test]
async fn a_leg_that_the_broker_refused_takes_orders_again_after_proof() {
    let dwell = Duration::from_millis(300);
    let Bench { supervisor, legs, metrics, tasks, .. } = &bench(dwell).await;
    let mut events = supervisor.events();
    let seen = SeenAddress { detected: Some(Ipv6Addr::LOCALHOST.into()), orders_allowed: Some(true) };
    let answers = Arc::new(Answers(seen, AtomicUsize::new(0)));
    supervisor.set_get_ip(Arc::<Answers>::clone(&answers));
    supervisor.start(tasks);

    legs.leg(Role::Primary).refused_source();
    let began = Instant::now();
    assert_eq!(legs.choose(Purpose::OrderWrite).first.role(), Role::Secondary);
    assert_eq!(legs.choose(Purpose::Read).first.role(), Role::Primary);
    let mut words = Vec::new();
    while words.last() != Some(&"admits") {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        assert_eq!((event.account.as_str(), event.role), ("a1", Role::Primary));
        assert!(event.at <= SystemTime::now());
        words.push(event.to.as_str());
    }
    assert_eq!(words, ["tripped", "probing", "admits"]);
    assert!(began.elapsed() >= dwell && answers.1.load(Ordering::Relaxed) >= 2);
    assert_eq!(legs.choose(Purpose::OrderWrite).first.role(), Role::Primary);
    let text = metrics.text();
    assert!(text.contains(r#"to="tripped",reason="source_refused"} 1"#), "{text}");
    assert!(text.contains(r#"sixgate_legs{state="admits"} 2"#), "{text}");
}

/// An operator who pins knows what the machine does not; the other leg is not used
/// even when the pinned one is dead.
#[tokio::test]
async fn a_pinned_account_uses_its_leg_and_no_other() {
    let Bench { legs, .. } = &bench(Duration::from_secs(60)).await;
    let by = || Instant::now() + PATIENCE;
    for pin in [Role::Secondary, Role::Primary] {
        legs.set_pin(Some(pin));
        let (leg, _) = legs.lease(&api(), Purpose::Read, Reuse::Never, by()).await.unwrap();
        assert_eq!(leg.role(), pin);
    }
    let dead = Authority::parse("api-feed.dhan.co:443", None).unwrap();
    let none = legs.dial(&dead, Purpose::Read, by()).await.unwrap_err();
    assert_eq!(none.tried.iter().map(|(role, _)| *role).collect::<Vec<_>>(), [Role::Primary]);
    legs.set_pin(None);
    assert_eq!(legs.pin(), None);
}

/// Both legs fail to reach a feed: that is the feed's fault, and orders stay where they are.
#[tokio::test]
async fn a_host_that_no_leg_reaches_says_nothing_of_the_legs() {
    let Bench { legs, .. } = &bench(Duration::from_secs(60)).await;
    let dead = Authority::parse("api-feed.dhan.co:443", None).unwrap();
    let none = legs.dial(&dead, Purpose::Read, Instant::now() + PATIENCE).await.unwrap_err();
    assert_eq!(none.tried.len(), 2);
    assert!(legs.both().iter().all(|leg| leg.state().0 == LegState::Admits));
}

/// A caller with little time left must not take a leg from all the others; a host that
/// had time enough and said nothing must.
#[tokio::test]
async fn running_out_of_time_tells_against_a_leg_only_when_it_had_some() {
    // Its backlog takes connections; nobody begins TLS on them.
    let silent = std::net::TcpListener::bind("[::1]:0").unwrap();
    let std::net::SocketAddr::V6(at) = silent.local_addr().unwrap() else { panic!("not IPv6") };
    let Bench { legs, .. } = &bench_with(Duration::from_secs(60), Some(at)).await;
    for (time, word) in [(50, "admits"), (2500, "tripped")] {
        let by = Instant::now() + Duration::from_millis(time);
        let none = legs.lease(&api(), Purpose::OrderWrite, Reuse::Never, by).await.unwrap_err();
        assert_eq!(none.tried.len(), 2, "{none}");
        assert_eq!(none.to_string().contains("too little to say anything of the line"), word == "admits", "{none}");
        assert!(legs.both().iter().all(|leg| leg.state().0.as_str() == word), "{legs:?} after {time} ms");
    }
}

/// Metrics count the legs there are, whatever state they were in at their end.
#[tokio::test]
async fn legs_that_are_gone_are_not_counted() {
    let Bench { legs, metrics, supervisor, tasks, .. } = bench(Duration::from_secs(60)).await;
    legs.leg(Role::Primary).refused_source();
    assert!(metrics.text().contains(r#"sixgate_legs{state="tripped"} 1"#), "{}", metrics.text());
    drop(legs);
    assert!(supervisor.register.all().is_empty());
    let text = metrics.text();
    assert!(text.contains(r#"legs{state="tripped"} 0"#) && text.contains(r#"legs{state="admits"} 0"#), "{text}");
    tasks.stop(Duration::from_secs(1)).await;
}

mod looks;
