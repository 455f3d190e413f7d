//! The whole of it: three namespaces, the built-in broker in one, the real gateway
//! in another, and accounts that the broker knows.

use std::net::{SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sixgate::domain::tasks::Tasks;
use sixgate::domain::{ClientId, Pair, SourceAddr};
use sixgate::sandbox::{Account, Options, Sandbox};

use super::bad_disk::BadDisk;
use super::clock::Clock;
use super::etc::Etc;
use super::gateway::Ready;
use super::log_pipe::LogPipe;
use super::net::{self, Ns, NsRuntime};
use super::slow_disk::SlowDisk;
use super::wait::wait_until;
use super::{Gateway, Net, Place};

/// Where callers from elsewhere connect.
pub(crate) const LISTENER: SocketAddr = SocketAddr::V6(SocketAddrV6::new(net::GATEWAY, 8080, 0, 0));
/// Where callers on the gateway's own host connect, as account `a1`.
pub(crate) const LOOPBACK: &str = "127.0.0.1:8080";

/// An account in the gateway and at the broker.
#[derive(Clone, Debug)]
pub(crate) struct TestAccount {
    pub name: String,
    pub client_id: ClientId,
    pub pair: Pair,
    pub key: String,
    pub token: String,
}

/// The PIN of every account at the broker.
pub(crate) const PIN: &str = "123456";
/// The TOTP secret of every account at the broker.
pub(crate) const TOTP: &str = "JBSWY3DPEHPK3PXP";

/// How an account is made that logs in by itself.
pub(crate) fn automatic() -> Value {
    json!({ "platform": "DHAN_V2_AT_IPV6", "pin": PIN, "totp_secret": TOTP })
}

/// See the module.
pub(crate) struct World {
    pub gateway: Gateway,
    pub broker: Sandbox,
    pub traders: Vec<TestAccount>,
    pub dir: tempfile::TempDir,
    pub net: Net,
    host: Host,
    config: String,
    // Last, so that it answers until everybody else is gone.
    _broker_runtime: NsRuntime,
}

/// The configuration of a gateway whose broker is in the broker's namespace. It keeps no
/// warm connections: what a test counts must not depend on the hour.
pub(crate) fn config(more: &str) -> String {
    format!(
        r#"
        [state]
        path = "{{dir}}/state"
        [[listener]]
        address = "{LISTENER}"
        plaintext = "i-know"
        [[listener]]
        address = "{LOOPBACK}"
        account = "a1"
        [[listener]]
        address = "unix:{{dir}}/proxy.sock"
        uids = {{ "{uid}" = "a2" }}
        [admin]
        address = "127.0.0.1:8081"
        [legs]
        warm = 0
        [egress]
        extra_roots = ["{{dir}}/broker-ca.pem"]
        connect_timeout = "1s"
        {more}
        "#,
        uid = nix::unistd::getuid(),
    )
}

/// Pins of the broker's hosts to the broker's three addresses.
pub(crate) fn pins() -> String {
    let hosts = ["api", "auth", "api-order-update", "api-feed", "depth-api-feed", "full-depth-api", "images"];
    let pin = |(n, host): (usize, &&str)| {
        let address = net::broker(u16::try_from(n % 3 + 1).unwrap());
        format!("\"{host}.dhan.co\" = [\"[{address}]:443\"]\n")
    };
    format!("[egress.resolve]\n{}", hosts.iter().enumerate().map(pin).collect::<String>())
}

/// What the gateway's host has that may not be as it should be.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// A wall clock that can be moved.
    pub clock: Option<Clock>,
    /// A disk that can be slow.
    pub slow_disk: Option<SlowDisk>,
    /// A disk that can fail or hang.
    pub bad_disk: Option<BadDisk>,
    /// An `/etc` of its own.
    pub etc: Option<Etc>,
    /// A log whose reader can stop.
    pub log: Option<LogPipe>,
}

impl Host {
    fn give(&self, command: &mut Command) {
        if let Some(clock) = &self.clock {
            clock.give(command);
        }
        if let Some(disk) = &self.slow_disk {
            disk.give(command);
        }
        if let Some(disk) = &self.bad_disk {
            disk.give(command);
        }
        if let Some(etc) = &self.etc {
            etc.give(command);
        }
        if let Some(log) = &self.log {
            log.give(command);
        }
    }
}

fn start(place: &Place, config: &str, dir: &Path, host: &Host) -> Gateway {
    Gateway::start_with(place, config, dir, Ready::Readyz, |command| host.give(command))
}

impl World {
    /// Everything up, with accounts `a1` to `a{traders}`.
    pub(crate) fn up(traders: u16, more: &str) -> Self {
        Self::up_with(traders, &config(&format!("{more}\n{}", pins())))
    }

    /// The same with a whole configuration.
    pub(crate) fn up_with(traders: u16, config: &str) -> Self {
        Self::up_on(traders, config, |_| Host::default())
    }

    /// The same on another host than usual, which is made with the folder that its files may be in.
    pub(crate) fn up_on(traders: u16, config: &str, host: impl FnOnce(&Path) -> Host) -> Self {
        let mut world = Self::up_but_for_traders(config, host);
        world.add_manual(traders);
        world
    }

    /// The same with a wall clock that can be moved.
    pub(crate) fn up_with_clock(traders: u16, config: &str) -> Self {
        Self::up_on(traders, config, |dir| Host { clock: Some(Clock::new(dir)), ..Host::default() })
    }

    /// The same with a disk that can be slow.
    pub(crate) fn up_with_slow_disk(traders: u16, config: &str) -> Self {
        Self::up_on(traders, config, |dir| Host { slow_disk: Some(SlowDisk::new(dir)), ..Host::default() })
    }

    /// The same with an `/etc` of the test's own, which is empty.
    pub(crate) fn up_with_etc(traders: u16, config: &str) -> Self {
        Self::up_on(traders, config, |dir| Host { etc: Some(Etc::new(dir)), ..Host::default() })
    }

    /// The `/etc` of [`World::up_with_etc`].
    pub(crate) fn etc(&self) -> &Etc {
        self.host.etc.as_ref().expect("this world has the machine's /etc")
    }

    /// The clock of [`World::up_with_clock`].
    pub(crate) fn clock(&self) -> &Clock {
        self.host.clock.as_ref().expect("this world's clock cannot be moved")
    }

    /// The disk of [`World::up_with_slow_disk`].
    pub(crate) fn disk(&self) -> &SlowDisk {
        self.host.slow_disk.as_ref().expect("this world's disk cannot be slow")
    }

    /// The host that the gateway is on.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    fn up_but_for_traders(config: &str, host: impl FnOnce(&Path) -> Host) -> Self {
        let net = Net::up();
        let broker_runtime = net.runtime(Ns::Broker);
        let listen = SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, 443, 0, 0);
        let options = Options { listen, ..Options::default() };
        let broker = broker_runtime.run(async move { Sandbox::start(options, &Tasks::default()).await.unwrap() });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("broker-ca.pem"), broker.ca_pem()).unwrap();
        let host = host(dir.path());
        let gateway = start(&net.place(Ns::Gateway), config, dir.path(), &host);
        let (config, traders) = (config.to_owned(), Vec::new());
        Self { gateway, broker, traders, dir, net, host, config, _broker_runtime: broker_runtime }
    }

    /// Accounts whose token is given by hand.
    fn add_manual(&mut self, traders: u16) {
        for n in 1..=traders {
            let token = self.at_the_broker(n);
            self.add(n, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
        }
    }

    /// The broker's id of account `n`.
    pub(crate) fn client_id(n: u16) -> ClientId {
        ClientId::parse(&format!("{}", 1_000_000_000_u32 + u32::from(n))).unwrap()
    }

    fn pair(n: u16) -> Pair {
        let source = |ip| SourceAddr::new(ip).unwrap();
        Pair { primary: source(net::primary(n)), secondary: source(net::secondary(n)) }
    }

    /// Account `n` as the broker knows it, with the pair registered that it will have.
    pub(crate) fn broker_account(n: u16) -> Account {
        Account::new(Self::client_id(n), &format!("a{n}"), PIN, TOTP).registered(Self::pair(n))
    }

    /// Let the broker know account `n`; a live token of it.
    pub(crate) fn at_the_broker(&self, n: u16) -> String {
        self.broker.add_account(Self::broker_account(n));
        self.broker.mint_token(&Self::client_id(n))
    }

    /// Make account `n`, which the broker knows, with these fields, a pair and a key.
    pub(crate) fn add(&mut self, n: u16, fields: &Value) -> TestAccount {
        let (name, client_id, pair) = (format!("a{n}"), Self::client_id(n), Self::pair(n));
        let mut account = json!({ "name": name, "client_id": client_id.as_str() });
        account.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.post("/v1/accounts", &account, 201);
        let pair_body = json!({ "primary": pair.primary.to_string(), "secondary": pair.secondary.to_string() });
        self.post(&format!("/v1/accounts/{name}/pair"), &pair_body, 201);
        let key = self.post(&format!("/v1/accounts/{name}/keys"), &json!({}), 201);
        let key = key.get("key").and_then(Value::as_str).unwrap().to_owned();
        let token = fields.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.traders.push(TestAccount { name, client_id, pair, key, token });
        self.traders.last().unwrap().clone()
    }

    /// Start the gateway again, which must have ended, with the state that it left.
    pub(crate) fn start_again(&mut self) {
        let place = self.net.place(Ns::Gateway);
        self.gateway = start(&place, &self.config, self.dir.path(), &self.host);
    }

    /// An admin call that must answer `status`.
    pub(crate) fn post(&self, path: &str, body: &Value, status: u16) -> Value {
        let (got, answer) = self.gateway.admin().post(path, body);
        assert_eq!(got, status, "POST {path}: {answer}");
        answer
    }

    /// Wait until the gateway has no connection to the broker left, as after
    /// [`Sandbox::hang_up`].
    #[track_caller]
    pub(crate) fn wait_until_unconnected(&self) {
        wait_until("the gateway to have no connections left", Duration::from_secs(30), || {
            let mut list = self.net.command(Ns::Gateway, "ss");
            list.args(["-Htn", "state", "established", "state", "close-wait", "dport", "=", ":443"]);
            list.output().expect("ss of iproute2").stdout.is_empty()
        });
    }

    /// The file that callers trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("state/ca.pem")
    }

    /// Wait until a code made now is good for as long as this: a login waits for the next one when the code at hand ends
    /// in 3 seconds, and a test that is about an order's own time must not hang on that.
    pub(crate) fn wait_for_a_code_that_lasts(at_least: Duration) {
        const STEP: Duration = Duration::from_secs(30);
        assert!(at_least < STEP, "no code lasts so long");
        wait_until("a fresh code", STEP, || {
            let since_1970 = std::time::UNIX_EPOCH.elapsed().expect("a clock that is set").as_millis();
            STEP.as_millis() - since_1970 % STEP.as_millis() >= at_least.as_millis()
        });
    }

    /// Whose address is it?
    pub(crate) fn holder(&self, address: std::net::Ipv6Addr) -> Option<&TestAccount> {
        self.traders.iter().find(|t| t.pair.primary.ip() == address || t.pair.secondary.ip() == address)
    }
}
