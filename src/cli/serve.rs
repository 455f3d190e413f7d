//! `sixgate serve`, with and without the sandbox.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::failed;
use super::runtime::runtime;
use crate::accounts::{AccountError, Accounts, NewAccount};
use crate::app::{App, StartError};
use crate::config::{self, ClientKey, Config, Problems};
use crate::domain::chain;
use crate::domain::secret::ExposeSecret;
use crate::domain::tasks::{Stopped, Tasks};
use crate::domain::{AccountName, ClientId, Pair, Platform, RepeatsBy, SourceAddr};
use crate::net::host_address::LentAddress;
use crate::sandbox::{Account, Options, Sandbox, SandboxError};
use crate::store::records::CredentialsRecord;
use crate::telemetry;

/// Run the gateway until it gets SIGTERM or SIGINT; requests under way are then
/// finished within `proxy.drain`.
///
/// Secrets never stand in arguments. The master key comes from the file
/// `state.master_key_file`, a systemd credential named `sixgate.master-key`, or
/// SIXGATE_MASTER_KEY (64 hexadecimal digits).
#[derive(Debug, clap::Args)]
pub(super) struct ServeArguments {
    /// The configuration file; `config/sixgate.toml` of the source shows every key.
    #[arg(long, value_name = "FILE", env = "SIXGATE_CONFIG", required_unless_present = "sandbox")]
    config: Option<PathBuf>,
    /// Start the built-in broker beside the gateway, with a demo account: no
    /// configuration, no root and no broker account needed. As root its two
    /// addresses are put on the loopback interface for as long as it runs. A
    /// configuration file is not read; SIXGATE_LISTENER_0_ADDRESS and
    /// SIXGATE_ADMIN_ADDRESS choose other ports.
    #[arg(long)]
    sandbox: bool,
    /// With --sandbox: keep state in this folder instead of a temporary one.
    #[arg(long, value_name = "DIR", requires = "sandbox")]
    state: Option<PathBuf>,
}

/// How long what is printed waits for the demo account's first login: near the end of a code's 30 seconds it takes the
/// next one, and an order does not wait that long.
const FIRST_LOGIN: Duration = Duration::from_secs(10);

/// The demo account's name, id at the built-in broker, and login.
const DEMO: (&str, &str, &str, &str) = ("demo", "1000000001", "123456", "JBSWY3DPEHPK3PXPJBSWY3DP");

/// Why `serve` ended early.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Config(#[from] Problems),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the built-in broker did not start")]
    Sandbox(#[from] SandboxError),
    #[error("the demo account could not be made")]
    Demo(#[from] AccountError),
    #[error("the demo's state in {path} cannot be used")]
    State {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("the log's thread cannot be started; is the limit of threads reached (ulimit -u, TasksMax= of systemd)?")]
    Log(#[source] std::io::Error),
    #[error("the runtime did not start")]
    Runtime(#[from] std::io::Error),
}

pub(super) fn run(arguments: ServeArguments) -> ExitCode {
    let served = match (arguments.config, arguments.sandbox) {
        // A SIXGATE_CONFIG of the environment does not stand in the way of a demo.
        (Some(path), false) => serve(&path),
        (_, true) | (None, _) => demo(arguments.state),
    };
    let code = match served {
        Ok(Stopped::Clean | Stopped::Cut { .. }) => ExitCode::SUCCESS,
        Err(ServeError::Config(problems)) => {
            eprintln!("{problems}");
            ExitCode::from(2)
        }
        Err(err @ ServeError::Log(_)) => failed(&err),
        // Its reader may have stopped reading, and this has to end all the same.
        Err(err) => {
            telemetry::say(&format!("sixgate: {}", chain(&err)));
            ExitCode::FAILURE
        }
    };
    telemetry::flush_logs();
    code
}

fn serve(path: &Path) -> Result<Stopped, ServeError> {
    let config = config::load(path)?;
    telemetry::start_logs(&config.log).map_err(ServeError::Log)?;
    runtime()?.block_on(async {
        let app = App::build(config, false).await?;
        telemetry::print(app.bound().join("\n") + "\n");
        Ok(app.run(Some(path)).await)
    })
}

fn demo(state: Option<PathBuf>) -> Result<Stopped, ServeError> {
    let folder = StateFolder::new(state)?;
    runtime()?.block_on(async {
        // Outlives the gateway, whose last requests it answers.
        let broker_tasks = Tasks::default();
        let demo = Demo::start(&folder.path, &broker_tasks).await?;
        let pair = demo.pair();
        let app = App::build(demo.config.clone(), true).await?;
        let key = demo.prepare(app.accounts()).await?;
        demo.explain(&app, pair, &key, &folder);
        let stopped = app.run(None).await;
        broker_tasks.stop(Duration::from_secs(1)).await;
        Ok(stopped)
    })
}

/// Where the demo keeps its state; a temporary one goes at the end.
struct StateFolder {
    path: PathBuf,
    temporary: bool,
}

impl StateFolder {
    fn new(given: Option<PathBuf>) -> Result<Self, ServeError> {
        use std::os::unix::fs::DirBuilderExt;
        let temporary = given.is_none();
        let path = match given {
            // The configuration's folder is where relative paths begin, so this is made absolute.
            Some(path) => std::path::absolute(&path).map_err(|err| ServeError::State { path, err })?,
            None => std::env::temp_dir().join(format!("sixgate-{}", uuid::Uuid::now_v7().simple())),
        };
        let made = std::fs::DirBuilder::new().recursive(!temporary).mode(0o700).create(&path);
        made.map_err(|err| ServeError::State { path: path.clone(), err })?;
        Ok(Self { path, temporary })
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The built-in broker with one customer.
struct Demo {
    broker: Sandbox,
    client_id: ClientId,
    name: AccountName,
    config: Config,
    addresses: Addresses,
}

/// The demo account's pair, and what had to be lent for it.
enum Addresses {
    Own(Pair, #[expect(dead_code, reason = "taken back on drop")] [LentAddress; 2]),
    Shared { pair: Pair, why: std::io::Error },
}

impl Demo {
    async fn start(folder: &Path, tasks: &Tasks) -> Result<Self, ServeError> {
        let state = |err| ServeError::State { path: folder.to_owned(), err };
        let invalid = |why| state(std::io::Error::other(why));
        let (name, client_id, pin, totp_secret) = DEMO;
        let name = AccountName::parse(name).map_err(invalid)?;
        let client_id = ClientId::parse(client_id).map_err(invalid)?;
        let addresses = Addresses::take(folder)?;
        let account = Account::new(client_id.clone(), "DEMO TRADER", pin, totp_secret).registered(addresses.pair());
        let broker = Sandbox::start(Options { accounts: vec![account], ..Options::default() }, tasks).await?;
        let ca = folder.join("sandbox-ca.pem");
        std::fs::write(&ca, broker.ca_pem()).map_err(state)?;
        let pins: String =
            Options::broker_hosts().iter().map(|host| format!("\"{host}\" = [\"{}\"]\n", broker.address())).collect();
        let text = format!(
            "[state]\npath = {state:?}\n\
             [[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"demo\"\n\
             [admin]\naddress = \"127.0.0.1:8081\"\n\
             [egress]\nextra_roots = [{ca:?}]\n\
             [egress.resolve]\n{pins}",
            state = folder.display().to_string(),
            ca = ca.display().to_string(),
        );
        let config = config::from_text_and_environment("the sandbox's configuration", folder, &text)?;
        telemetry::start_logs(&config.log).map_err(ServeError::Log)?;
        Ok(Self { broker, client_id, name, config, addresses })
    }

    const fn pair(&self) -> Pair {
        self.addresses.pair()
    }

    /// Make the demo account, or find the one of an earlier run, and give it a
    /// client key.
    async fn prepare(&self, accounts: &Accounts) -> Result<crate::accounts::NewKey, ServeError> {
        let known = accounts.lookup(self.name.as_str()).is_some();
        if !known {
            let new = NewAccount {
                name: self.name.clone(),
                nickname: Some("Sandbox demo".to_owned()),
                platform: Platform::Automatic,
                client_id: self.client_id.clone(),
                credentials: CredentialsRecord {
                    pin: Some(DEMO.2.to_owned().into()),
                    totp_secret: Some(DEMO.3.to_owned().into()),
                    ..CredentialsRecord::default()
                },
                access_token: None,
                repeats_by: RepeatsBy::AnyId,
            };
            accounts.create(new).await?;
        }
        // The pair of an earlier run in another mode stays retired; the sandbox
        // registers whatever pair this run has.
        if accounts.pair(&self.name)?.is_some_and(|has| has.pair != self.pair()) {
            accounts.retire_pair(&self.name).await?;
        }
        accounts.assign_given(&self.name, self.pair()).await?;
        // A new account logs in by itself. One of an earlier run has a token of a broker
        // that is gone, and may have logged in a moment ago.
        if known {
            accounts.set_token(&self.name, self.broker.mint_token(&self.client_id).into()).await?;
        }
        if let Some(account) = accounts.lookup(self.name.as_str()) {
            // Its keeper may not know of the pair yet, and say that none will come. Where none came, the first order
            // says why.
            let by = Instant::now() + FIRST_LOGIN;
            while account.token.wait(0, by).await.is_err() && Instant::now() < by {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        for key in accounts.keys(&self.name)? {
            accounts.delete_key(&self.name, &key.id).await?;
        }
        Ok(accounts.add_key(&self.name).await?)
    }

    fn explain(&self, app: &App, pair: Pair, key: &crate::accounts::NewKey, folder: &StateFolder) {
        let mut text = String::new();
        let _ = writeln!(text, "Sixgate with its built-in broker. Nothing here reaches Dhan.\n");
        for line in app.bound() {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "  broker    https://{} (as api.dhan.co and its other hosts)", self.broker.address());
        let _ = writeln!(text, "  account   {} (client id {})", self.name, self.client_id);
        let _ = writeln!(text, "  pair      primary {}, secondary {}", pair.primary, pair.secondary);
        let _ = writeln!(text, "  key       {} (for listeners that ask for one)", key.key.expose_secret());
        let _ = writeln!(text, "  CA        {}/ca.pem", folder.path.display());
        let _ = writeln!(text, "  admin     bearer token in {}", self.config.admin.token_file.display());
        if let Addresses::Shared { why, .. } = &self.addresses {
            let _ = writeln!(
                text,
                "\nBoth legs share ::1, because no address could be put on the loopback interface ({why}).\n\
                 To see two without being root: netns-scripts/sandbox.sh (it uses a user namespace)."
            );
        }
        let asks = self.config.listeners.first().is_some_and(|listener| listener.client_key == ClientKey::Required);
        let listener = app.first_listener().unwrap_or_default();
        let listener = match listener.split_once("://") {
            Some((scheme, rest)) if asks => format!("{scheme}://{}:{}@{rest}", self.name, key.key.expose_secret()),
            _ => listener.to_owned(),
        };
        let _ = writeln!(text, "\nPlace an order:\n\n{}\n", order_line(&listener));
        let _ = writeln!(text, "Ctrl-C stops it{}.", if folder.temporary { " and removes its state" } else { "" });
        telemetry::print(text);
    }
}

/// The curl line that places an order through `listener`.
fn order_line(listener: &str) -> String {
    format!(
        "curl -i -x {listener} http://api.dhan.co/v2/orders -H 'Content-Type: application/json' -d \
         '{{\"transactionType\":\"BUY\",\"exchangeSegment\":\"NSE_EQ\",\"productType\":\"INTRADAY\",\
         \"orderType\":\"LIMIT\",\"validity\":\"DAY\",\"securityId\":\"11536\",\"quantity\":5,\"price\":3310.5}}'"
    )
}

impl Addresses {
    /// Two addresses of a unique local prefix (RFC 4193), lent to the loopback
    /// interface; `::1` twice where that is not permitted. A state folder that is
    /// kept keeps its prefix.
    fn take(folder: &Path) -> Result<Self, ServeError> {
        let state = |err| ServeError::State { path: folder.to_owned(), err };
        let invalid = |why| state(std::io::Error::other(why));
        let kept = folder.join("sandbox-prefix");
        let prefix = match std::fs::read_to_string(&kept) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => {
                let mut id = [0u8; 5];
                getrandom::fill(&mut id).map_err(|_| invalid_random(folder))?;
                let [a, b, c, d, e] = id;
                let text = format!("fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}");
                std::fs::write(&kept, &text).map_err(state)?;
                text
            }
        };
        let address = |net: &str| SourceAddr::parse(&format!("{prefix}:{net}::1")).map_err(invalid);
        let pair = Pair { primary: address("a1")?, secondary: address("a2")? };
        let lent = LentAddress::lend(pair.primary)
            .and_then(|primary| LentAddress::lend(pair.secondary).map(|secondary| [primary, secondary]));
        match lent {
            Ok(lent) => Ok(Self::Own(pair, lent)),
            Err(why) => {
                let own = SourceAddr::new(std::net::Ipv6Addr::LOCALHOST).map_err(invalid)?;
                Ok(Self::Shared { pair: Pair { primary: own, secondary: own }, why })
            }
        }
    }

    const fn pair(&self) -> Pair {
        match self {
            Self::Own(pair, _) | Self::Shared { pair, .. } => *pair,
        }
    }
}

fn invalid_random(folder: &Path) -> ServeError {
    ServeError::State { path: folder.to_owned(), err: std::io::Error::other("the kernel gave no random bytes") }
}
