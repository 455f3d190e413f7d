//! New connections from a source that has tens of thousands of ended ones.
//!
//! A connection that this side closed holds its port for a minute (TIME_WAIT). Where a port is looked for that is free
//! for every destination, an account with many of them finds none: the search gets slow, and then fails. The gateway
//! leaves the choice to `connect`, which needs a port that is free for its destination only. Here the ended ones lead
//! elsewhere. Where tens of thousands lead where the new ones go, `connect` itself looks for long, whoever asks.
//!
//! Every window has an account of its own, so that nothing has to wait for a minute until ended connections are gone.
//! They are made by plain connections from the account's address, thousands a second: the kernel does not ask which
//! process an ended one was of. Those of the window itself come on top, whether there were any before or not.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::broker::Broker;
use crate::plain::Plain;
use crate::results::{CLIFF, Report};
use crate::site::{Site, Trader};
use crate::support::wait_until;
use crate::tunnels::{self, Way};
use crate::upstream::Manner;
use crate::{LOAD_CORE, orders};

/// Cold orders at once.
const CONNECTIONS: usize = 8;
/// Where the ended connections lead.
const ELSEWHERE: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 3), 900, 0, 0);
/// Their ports begin here.
const FIRST_PORT: u16 = 25_000;
/// Ended connections that are made at a time.
const AT_ONCE: usize = 800;
/// How long making ended connections may take: they last for a minute.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is measured of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Orders that each have a new connection to the broker.
    Orders,
    /// Tunnels that carry a byte there and back.
    Tunnels,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Orders, Self::Tunnels];

    const fn cost(self) -> (&'static str, &'static str) {
        match self {
            Self::Orders => ("CPU per cold order", "us"),
            Self::Tunnels => ("CPU per tunnel", "us"),
        }
    }

    const fn rate(self) -> (&'static str, &'static str) {
        match self {
            Self::Orders => ("cold orders", "1/s"),
            Self::Tunnels => ("tunnels", "1/s"),
        }
    }
}

/// Measure an account with `many` ended connections against one with none, in every round.
pub(crate) fn measure(index: u16, dir: &Path, many: usize, window: Duration, report: &mut Report) {
    let (broker, plain) = (Broker::start(LOAD_CORE, dir, Manner::ClosesAndForgets, PATIENCE), Plain::start(LOAD_CORE));
    elsewhere();
    let rounds = report.rounds;
    let accounts = 1 + 2 * u64::from(rounds) * Kind::ALL.len() as u64;
    let mut site = Site::make(index, accounts, &broker, PATIENCE / 2, dir);
    // The first of them has its order and connections made by this.
    site.restart();
    let mut fresh = site.traders.iter().rev();
    let mut next = || fresh.next().expect("an account for each window");
    for round in 0..rounds {
        for kind in Kind::ALL {
            let (none, crowded) = ((0, next()), (many, next()));
            fill(ipv6(crowded.1), many);
            // Whoever is first is another one each time.
            let turns = if round % 2 == 0 { [none, crowded] } else { [crowded, none] };
            for (at, trader) in turns {
                let before = ended(ipv6(trader));
                let (cost, rate) = match kind {
                    Kind::Orders => cold_orders(&site, &broker, trader, window),
                    Kind::Tunnels => connects(&site, &plain, trader, window),
                };
                eprintln!(
                    "round {} of {rounds}: {}: {cost:.1} us at {rate:.0}/s, {before} ended connections before, {} after",
                    round + 1,
                    kind.cost().0,
                    ended(ipv6(trader)),
                );
                // Some of many may have come to their end; of none there are a few by the gateway's own questions.
                assert!(before * 10 >= at * 9 && (at > 0 || before < 100), "{before} ended connections, not {at}");
                report.add(CLIFF, at as u64, round, kind.cost(), cost);
                report.add(CLIFF, at as u64, round, kind.rate(), rate);
            }
        }
    }
}

fn cold_orders(site: &Site, broker: &Broker, trader: &Trader, window: Duration) -> (f64, f64) {
    let window = orders::closed_loop(site, broker, std::slice::from_ref(trader), CONNECTIONS, window);
    (orders::cost(&window), orders::rate(&window))
}

fn connects(site: &Site, plain: &Plain, trader: &Trader, window: Duration) -> (f64, f64) {
    let way = Way::new(site.at, Some(&trader.connect));
    let window = tunnels::connects(&way, window / 4, window, || site.cpu());
    wait_until("all tunnels are closed", Duration::from_secs(10), || plain.open() == 0);
    let came = plain.connections().get(&trader.primary).copied().unwrap_or_default();
    assert!(came >= window.tunnels, "{came} connections from {} for {} tunnels", trader.primary, window.tunnels);
    let (cpu, count) = (window.closed.since(window.opened).total(), window.count.max(1) as f64);
    (cpu.as_secs_f64() * 1e6 / count, count / window.elapsed.as_secs_f64())
}

fn ipv6(trader: &Trader) -> Ipv6Addr {
    match trader.primary {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is no pair's"),
    }
}

/// Connections of this source that are in TIME_WAIT.
fn ended(source: Ipv6Addr) -> usize {
    // As the kernel writes it: four words, each in the machine's byte order. Then a colon, ports, and the state: 06.
    let octets = source.octets();
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")));
    let local: String = words.map(|word| format!("{word:08X}")).collect();
    let table = fs::read_to_string("/proc/net/tcp6").expect("/proc/net/tcp6");
    let is_ended = |line: &&str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        columns.next().is_some_and(|at| at.starts_with(&local)) && columns.nth(1) == Some("06")
    };
    table.lines().filter(is_ended).count()
}

/// Open and close connections from so many ports of the source. Not more at once than a listener keeps for who accepts
/// them: beyond it a connect waits for a second.
fn fill(source: Ipv6Addr, many: usize) {
    let began = Instant::now();
    let ports: Vec<u16> = (FIRST_PORT..=u16::MAX).take(many).collect();
    for (part, ports) in ports.chunks(AT_ONCE).enumerate() {
        for port in ports {
            match open_and_close(source, *port) {
                Ok(()) => {}
                // The gateway's own question for the account's token had that one: it is among the ended too.
                Err(err) if err.kind() == io::ErrorKind::AddrInUse => {}
                Err(err) => panic!("from {source}: {err}"),
            }
        }
        // The other side closes after ours.
        let has = part * AT_ONCE + ports.len();
        wait_until("connections have ended", PATIENCE, || ended(source) >= has);
    }
    assert!(began.elapsed() < PATIENCE, "the first of them are gone before the last are made");
    eprintln!("{many} ended connections from {source} in {:.1?}", began.elapsed());
}

/// From a port that is named: to look for a free one takes ever longer.
fn open_and_close(source: Ipv6Addr, port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_freebind_v6(true)?;
    socket.bind(&SocketAddrV6::new(source, port, 0, 0).into())?;
    socket.connect(&ELSEWHERE.into())
}

/// Where the ended connections lead: each is closed here when the other side has closed it. The thread ends with the
/// process.
fn elsewhere() {
    let listener = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
    listener.bind(&ELSEWHERE.into()).unwrap_or_else(|err| panic!("cannot listen on {ELSEWHERE}: {err}"));
    listener.listen(4096).expect("listen");
    std::thread::spawn(move || {
        crate::cpu::pin_this_thread(LOAD_CORE);
        loop {
            let (mut stream, _) = listener.accept().expect("accept a connection");
            let said = stream.read(&mut [0]).expect("the other side closes it");
            assert_eq!(said, 0, "nothing is said");
        }
    });
}
