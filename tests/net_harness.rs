//! The test network itself: if it does not do what it says, every other test proves nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::net::{self, Uplink, broker, connect_from, primary, script_path, secondary};
use crate::support::{Net, Ns, NsRuntime};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(5);

fn service() -> SocketAddrV6 {
    SocketAddrV6::new(broker(1), 443, 0, 0)
}

/// A broker that accepts and says who came.
struct Visitors {
    /// Keeps the listener's task alive.
    _runtime: NsRuntime,
    seen: mpsc::UnboundedReceiver<IpAddr>,
}

impl Visitors {
    fn at(net: &Net) -> Self {
        let runtime = net.runtime(Ns::Broker);
        let (tell, seen) = mpsc::unbounded_channel();
        let listener = runtime.run(async { TcpListener::bind(service()).await.unwrap() });
        runtime.spawn(async move {
            while let Ok((_stream, peer)) = listener.accept().await {
                if tell.send(peer.ip()).is_err() {
                    break;
                }
            }
        });
        Self { _runtime: runtime, seen }
    }

    fn next(&mut self) -> IpAddr {
        let seen = &mut self.seen;
        net::Place::here().run(move || async { timeout(LIMIT, seen.recv()).await }).unwrap().unwrap()
    }

    fn nobody_else(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }
}

fn connect(net: &Net, source: Ipv6Addr) -> std::io::Result<()> {
    net.in_ns(Ns::Gateway, || async move { timeout(LIMIT, connect_from(source, service())).await.unwrap().map(drop) })
}

/// All later claims about source addresses are read off the broker's side of such connections.
#[test]
fn the_broker_sees_the_very_address_that_was_bound() {
    let net = Net::up();
    let mut visitors = Visitors::at(&net);

    for source in [primary(0x77), secondary(0x77), primary(0xffff)] {
        connect(&net, source).unwrap();
        assert_eq!(visitors.next(), IpAddr::from(source));
    }
}

/// A test that looks for connections nobody bound must be able to see one.
#[test]
fn a_connection_that_nobody_bound_shows_an_address_outside_of_the_prefixes() {
    let net = Net::up();
    let mut visitors = Visitors::at(&net);

    net.in_ns(Ns::Gateway, || async {
        TcpSocket::new_v6().unwrap().connect(service().into()).await.unwrap();
    });

    assert_eq!(visitors.next(), IpAddr::from(net::UNBOUND));
}

/// Else a caller that went around the gateway would pass for one that went through it.
#[test]
fn the_caller_reaches_the_gateway_but_not_the_broker() {
    let net = Net::up();
    let mut visitors = Visitors::at(&net);
    let at_gateway = SocketAddrV6::new(net::GATEWAY, 8080, 0, 0);
    let runtime = net.runtime(Ns::Gateway);
    let listener = runtime.run(async move { TcpListener::bind(at_gateway).await.unwrap() });

    let (to_gateway, to_broker) = net.in_ns(Ns::Caller, || async {
        let to_gateway = TcpSocket::new_v6().unwrap().connect(at_gateway.into()).await.unwrap().local_addr().unwrap();
        (to_gateway.ip(), TcpSocket::new_v6().unwrap().connect(service().into()).await)
    });

    let accepted = runtime.run(async move { listener.accept().await.unwrap().1 });
    assert_eq!((to_gateway, accepted.ip()), (IpAddr::from(net::CALLER), IpAddr::from(net::CALLER)));
    assert!(to_broker.is_err(), "connected: {to_broker:?}");
    assert!(visitors.nobody_else());
}

/// Failover tests cut one line; if the other prefix went with it, or the first went out by the second line, they
/// would show nothing.
#[test]
fn each_prefix_has_its_own_line_and_no_other() {
    let net = Net::up();
    let mut visitors = Visitors::at(&net);
    for (line, cut, other) in [(1, primary(5), secondary(5)), (2, secondary(6), primary(6))] {
        net.uplink(line, Uplink::Down);
        let err = connect(&net, cut).unwrap_err();
        assert!(
            matches!(err.kind(), std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable),
            "{err:?}"
        );
        connect(&net, other).unwrap();
        assert_eq!(visitors.next(), IpAddr::from(other));

        net.uplink(line, Uplink::Up);
        connect(&net, cut).unwrap();
        assert_eq!(visitors.next(), IpAddr::from(cut));
    }
    assert!(visitors.nobody_else());
}

/// A dead router does not refuse, it is quiet; timeouts are tested with that.
#[test]
fn a_silent_line_answers_nothing_until_it_is_mended() {
    let net = Net::up();
    let mut visitors = Visitors::at(&net);
    let attempt = |source, patience| {
        net.in_ns(Ns::Gateway, || async move { timeout(patience, connect_from(source, service())).await.is_ok() })
    };

    net.uplink(1, Uplink::Silent);
    assert!(!attempt(primary(1), Duration::from_millis(300)));
    assert!(attempt(secondary(1), LIMIT));
    assert_eq!(visitors.next(), IpAddr::from(secondary(1)));
    assert!(visitors.nobody_else());

    net.uplink(1, Uplink::Up);
    connect(&net, primary(2)).unwrap();
    assert_eq!(visitors.next(), IpAddr::from(primary(2)));
}

/// Tests run at the same time, with the same addresses in each network.
#[test]
fn two_networks_at_once_do_not_disturb_each_other() {
    let one = Net::up();
    let two = Net::up();
    let mut visitors_of_one = Visitors::at(&one);
    let mut visitors_of_two = Visitors::at(&two);

    connect(&one, primary(1)).unwrap();
    connect(&two, primary(2)).unwrap();
    assert_eq!(visitors_of_one.next(), IpAddr::from(primary(1)));
    assert_eq!(visitors_of_two.next(), IpAddr::from(primary(2)));
    assert!(visitors_of_one.nobody_else() && visitors_of_two.nobody_else());

    drop((visitors_of_two, two));
    connect(&one, secondary(1)).unwrap();
    assert_eq!(visitors_of_one.next(), IpAddr::from(secondary(1)));
}

/// A program started inside has to see that namespace, and its id has to be its own: signals go there.
#[test]
fn a_command_runs_inside_and_keeps_its_process_id() {
    let net = Net::up();

    let mut command = net.command(Ns::Caller, "sh");
    let child = command.args(["-c", "echo $$; ip -o link"]).stdout(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();

    assert_eq!(output.lines().next(), Some(id.as_str()));
    assert!(output.contains("to-gateway") && !output.contains("uplink1"), "{output}");
    assert!(net.ip(Ns::Gateway, "-o link").contains("uplink1"));
}

/// A machine that runs the tests all day must not fill up.
#[test]
fn the_end_leaves_nothing_behind() {
    fn named(prefix: &str) -> BTreeSet<String> {
        let all =
            std::fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.filter(|name| name.starts_with(&format!("{prefix}-"))).collect()
    }
    let net = Net::up();
    let prefix = net.prefix().to_owned();
    assert_eq!(named(&prefix).len(), 3);
    let interfaces = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
    let interfaces = String::from_utf8(interfaces).unwrap();
    assert!(!interfaces.contains("uplink") && !interfaces.contains("to-caller"), "{interfaces}");

    drop(net);

    assert_eq!(named(&prefix), BTreeSet::new());
}

/// Whoever tries things by hand runs them twice.
#[test]
fn both_scripts_may_be_run_again() {
    let net = Net::up();
    let run = |name: &str| Command::new(script_path(name)).arg(net.prefix()).status().unwrap().success();

    assert!(run("up.sh") && run("up.sh"), "up.sh over what is there");
    let mut visitors = Visitors::at(&net);
    connect(&net, primary(9)).unwrap();
    assert_eq!(visitors.next(), IpAddr::from(primary(9)));
    drop(visitors);

    assert!(run("down.sh") && run("down.sh"), "down.sh on nothing");
}

/// The reason for `IP_BIND_ADDRESS_NO_PORT`, in numbers: without it an account stops at one port range for all
/// destinations together.
#[test]
fn letting_connect_choose_the_port_gives_one_port_range_per_destination() {
    let net = Net::up(); // for the right to make another
    let prefix = format!("{}ports", net.prefix());

    let output = Command::new(script_path("ports.sh")).arg(prefix).output().unwrap();

    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("without IP_BIND_ADDRESS_NO_PORT: 200 connections"), "{text}");
    assert!(text.contains("with IP_BIND_ADDRESS_NO_PORT: 600 connections"), "{text}");
}
