//! What goes wrong with a host, its lines and its broker, and is mended again.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use nix::errno::Errno;
use sixgate::sandbox::{Action, Compression, Encoding, Fault, Habits};
use tokio::net::{TcpSocket, TcpStream};

use super::probe;
use crate::support::bad_disk::BadDisk;
use crate::support::clock::Clock;
use crate::support::log_pipe::LogPipe;
use crate::support::name_server::{NameServer, Says};
use crate::support::net::{self, Ns, NsRuntime, Uplink};
use crate::support::random::Random;
use crate::support::world::{self, LISTENER, World, automatic, config};

/// Where the broker is by its name: nobody's address, but such as the guard lets pass.
const BROKER: Ipv6Addr = Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0xb);
/// How long a machine sleeps.
const NAP: SignedDuration = SignedDuration::from_mins(10);

/// The gateway's host, and all that can be broken of it.
pub(super) struct Host {
    pub world: World,
    names: NameServer,
    caller: NsRuntime,
    gateway: NsRuntime,
    strangers: Vec<TcpStream>,
    slept: SignedDuration,
    probes: usize,
    // Last: the name server answers until all else is gone.
    _broker: NsRuntime,
}

/// One kind of fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    AddressGone(&'static str),
    BothAddressesGone,
    RouteLost(&'static str),
    Line(u8, Uplink),
    BothLines(Uplink),
    Names(&'static str),
    DiskFull,
    DiskFails,
    DiskHangs,
    NobodyReadsTheLog,
    Strangers,
    NoDescriptors,
    ClockSet(i64),
    Slept,
    Broker(&'static str),
    Killed,
    Stopped,
}

impl Trouble {
    pub(super) const ALL: [Self; 31] = [
        Self::AddressGone("2001:db8:a1::/64"),
        Self::AddressGone("2001:db8:a2::/64"),
        Self::BothAddressesGone,
        Self::RouteLost("101"),
        Self::RouteLost("102"),
        Self::Line(1, Uplink::Down),
        Self::Line(2, Uplink::Down),
        Self::Line(1, Uplink::Silent),
        Self::Line(2, Uplink::Silent),
        Self::BothLines(Uplink::Down),
        Self::BothLines(Uplink::Silent),
        Self::Names("silent"),
        Self::Names("no such name"),
        Self::Names("no record"),
        Self::Names("garbage"),
        Self::Names("a lie"),
        Self::DiskFull,
        Self::DiskFails,
        Self::DiskHangs,
        Self::NobodyReadsTheLog,
        Self::Strangers,
        Self::NoDescriptors,
        Self::ClockSet(90_000),
        Self::ClockSet(-45),
        Self::Slept,
        Self::Broker("hangs"),
        Self::Broker("closes"),
        Self::Broker("answers 502"),
        Self::Broker("compresses"),
        Self::Killed,
        Self::Stopped,
    ];

    /// As it is printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AddressGone(_) => "an address gone",
            Self::BothAddressesGone => "both addresses gone",
            Self::RouteLost(_) => "a route lost",
            Self::Line(_, Uplink::Down) => "a line down",
            Self::Line(..) => "a line silent",
            Self::BothLines(Uplink::Down) => "both lines down",
            Self::BothLines(_) => "both lines silent",
            Self::Names(_) => "name service",
            Self::DiskFull => "disk full",
            Self::DiskFails => "disk fails",
            Self::DiskHangs => "disk hangs",
            Self::NobodyReadsTheLog => "nobody reads the log",
            Self::Strangers => "strangers",
            Self::NoDescriptors => "no descriptors",
            Self::ClockSet(_) => "clock set",
            Self::Slept => "slept",
            Self::Broker(_) => "broker",
            Self::Killed => "killed",
            Self::Stopped => "stopped",
        }
    }

    pub(super) fn begin(self, host: &mut Host, random: &mut Random) {
        let ip = |arguments: &str| host.world.net.ip(Ns::Gateway, arguments);
        match self {
            Self::AddressGone(prefix) => drop(ip(&format!("-6 route del local {prefix} dev lo"))),
            Self::BothAddressesGone => {
                ip("-6 route del local 2001:db8:a1::/64 dev lo");
                ip("-6 route del local 2001:db8:a2::/64 dev lo");
            }
            Self::RouteLost(table) => drop(ip(&format!("-6 route add unreachable default table {table} metric 1"))),
            Self::Line(line, state) => host.world.net.uplink(line, state),
            Self::BothLines(state) => [1, 2].into_iter().for_each(|line| host.world.net.uplink(line, state)),
            Self::Names(how) => {
                host.names.says(match how {
                    "silent" => Says::Nothing,
                    "no such name" => Says::Error(3),
                    "no record" => Says::NoData,
                    "garbage" => Says::Garbage,
                    _ => Says::address(Ipv6Addr::LOCALHOST),
                });
                // What is known is asked for only where there is no connection.
                host.world.broker.hang_up();
            }
            Self::DiskFull => host.fill(),
            Self::DiskFails => {
                host.disk().fail_writes(Some(*random.one_of(&[Errno::EIO, Errno::EROFS, Errno::EDQUOT])))
            }
            Self::DiskHangs => host.disk().hold_writes(true),
            Self::NobodyReadsTheLog => host.log_pipe().is_read(false),
            Self::Strangers => host.strangers_come(400),
            Self::NoDescriptors => {
                let open = std::fs::read_dir(format!("/proc/{}/fd", host.world.gateway.id())).unwrap().count();
                host.limit(&(open + 2).to_string());
                host.world.broker.hang_up();
            }
            Self::ClockSet(ahead) => host.clock().set(host.slept + SignedDuration::from_secs(ahead)),
            Self::Slept => {
                host.slept += NAP;
                host.world.broker.set_clock_skew(host.slept);
                host.clock().sleep(host.slept);
            }
            Self::Broker(how) => {
                let executed = random.below(3) != 0;
                let action = match how {
                    "hangs" => Action::Hang { executed },
                    "closes" => Action::Close { executed },
                    "answers 502" => Action::BadGateway { executed },
                    _ => {
                        let compression = *random.one_of(&[
                            Compression::Asked,
                            Compression::Always(Encoding::Gzip),
                            Compression::Broken(Encoding::Gzip),
                        ]);
                        return host.world.broker.set_habits(Habits { compression, ..host.world.broker.habits() });
                    }
                };
                host.world.broker.fault(Fault::new(action).on("POST", "/v2/orders").times(20));
            }
            Self::Killed => host.world.gateway.kill9(),
            Self::Stopped => drop(host.world.gateway.terminate()),
        }
    }

    pub(super) fn end(self, host: &mut Host) {
        let ip = |arguments: &str| host.world.net.ip(Ns::Gateway, arguments);
        match self {
            Self::AddressGone(prefix) => drop(ip(&format!("-6 route add local {prefix} dev lo"))),
            Self::BothAddressesGone => {
                ip("-6 route add local 2001:db8:a1::/64 dev lo");
                ip("-6 route add local 2001:db8:a2::/64 dev lo");
            }
            Self::RouteLost(table) => drop(ip(&format!("-6 route del unreachable default table {table} metric 1"))),
            Self::Line(line, _) => host.world.net.uplink(line, Uplink::Up),
            Self::BothLines(_) => {
                // The script waits for the links of both.
                [1, 2].into_iter().for_each(|line| drop(ip(&format!("link set uplink{line} up"))));
                [1, 2].into_iter().for_each(|line| host.world.net.uplink(line, Uplink::Up));
            }
            Self::Names(_) => host.names.says(Says::Addresses(vec![BROKER], 5)),
            Self::DiskFull => std::fs::remove_file(host.filler()).unwrap(),
            Self::DiskFails => host.disk().fail_writes(None),
            Self::DiskHangs => host.disk().hold_writes(false),
            Self::NobodyReadsTheLog => host.log_pipe().is_read(true),
            Self::Strangers => host.strangers.clear(),
            Self::NoDescriptors => host.limit("1024"),
            Self::ClockSet(_) => host.clock().set(host.slept),
            Self::Slept => {}
            Self::Broker(_) => host.calm(),
            Self::Killed | Self::Stopped => host.world.start_again(),
        }
    }
}

impl Host {
    /// All of it, with so many accounts that log in by themselves.
    pub(super) fn up(accounts: u16) -> Self {
        let resolver = SocketAddr::new(net::broker(3).into(), 5353);
        let orders = "[orders]\nresponse_timeout = \"3s\"\nreconcile_for = \"3s\"\n[proxy]\ndrain = \"1s\"\nmax_connections = 120\n\
                      [tokens]\nlogins_per_second = 20\n";
        let text = config(&format!("user_timeout = \"1s\"\nname_servers = [\"{resolver}\"]\n{orders}"))
            .replace("warm = 0", "warm = 0\ndwell = \"1s\"");
        let world = World::up_on(0, &text, |dir| {
            let state = dir.join("state");
            std::fs::create_dir(&state).unwrap();
            net::own_disk(&state, "mode=700,size=256m");
            world::Host {
                clock: Some(Clock::new(dir)),
                bad_disk: Some(BadDisk::new(dir)),
                log: Some(LogPipe::new(dir)),
                ..world::Host::default()
            }
        });
        world.net.ip(Ns::Broker, &format!("-6 address add {BROKER}/128 dev lo nodad"));
        let (broker, caller, gateway) =
            (world.net.runtime(Ns::Broker), world.net.runtime(Ns::Caller), world.net.runtime(Ns::Gateway));
        let names = broker.run(NameServer::start(resolver, Says::Addresses(vec![BROKER], 5)));
        world.broker.set_cooldown(Duration::ZERO);
        let strangers = Vec::new();
        let mut host =
            Self { world, names, caller, gateway, strangers, slept: SignedDuration::ZERO, probes: 0, _broker: broker };
        for n in 1..=accounts {
            host.world.broker.add_account(World::broker_account(n));
            host.world.add(n, &automatic());
        }
        host.leaves_again(Duration::from_secs(120)).expect("an order before anything goes wrong");
        host
    }

    /// Wait until an order leaves, of accounts that do nothing else.
    pub(super) fn leaves_again(&mut self, limit: Duration) -> Option<()> {
        let began = Instant::now();
        while began.elapsed() < limit {
            self.probes += 1;
            let (trader, wish) = (&self.world.traders[self.probes % usize::from(super::PROBES)], probe(self.probes));
            let told = self.world.net.in_ns(Ns::Caller, || async {
                tokio::time::timeout(Duration::from_secs(20), wish.send(LISTENER, trader)).await
            });
            if told.is_ok_and(|told| told.is_some_and(|told| told.outcome == "executed")) {
                return Some(());
            }
            super::pass(Duration::from_millis(250));
        }
        None
    }

    /// The broker is as it ever was.
    pub(super) fn calm(&self) {
        self.world.broker.clear_faults();
        self.world.broker.set_habits(Habits { compression: Compression::Never, ..self.world.broker.habits() });
    }

    /// What the gateway logged.
    pub(super) fn log(&self) -> String {
        self.world.gateway.log()
    }

    fn clock(&self) -> &Clock {
        self.world.clock()
    }

    fn disk(&self) -> &BadDisk {
        self.world.host().bad_disk.as_ref().unwrap()
    }

    fn log_pipe(&self) -> &LogPipe {
        self.world.host().log.as_ref().unwrap()
    }

    fn filler(&self) -> std::path::PathBuf {
        self.world.dir.path().join("state/filler")
    }

    /// Not a byte is left on the disk.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let piece = vec![0; 64 * 1024];
        while file.write_all(&piece).is_ok() {}
        while file.write_all(b"0").is_ok() {}
    }

    /// The gateway may open so many files.
    fn limit(&self, soft: &str) {
        let process = self.world.gateway.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={soft}:")]).status();
        assert!(done.expect("prlimit of util-linux").success());
    }

    /// So many connections that say nothing, half of them to the listener and half to the admin port.
    fn strangers_come(&mut self, count: usize) {
        async fn come(at: SocketAddr, count: usize) -> Vec<TcpStream> {
            let mut all = Vec::new();
            for _ in 0..count {
                let socket = if at.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
                let connecting = socket.unwrap().connect(at);
                // A full queue lets nobody in: then that many it is.
                match tokio::time::timeout(Duration::from_millis(500), connecting).await {
                    Ok(Ok(stream)) => all.push(stream),
                    _ => break,
                }
            }
            all
        }
        self.strangers = self.caller.run(come(LISTENER, count / 2));
        self.strangers.extend(self.gateway.run(come("127.0.0.1:8081".parse().unwrap(), count / 2)));
    }
}
