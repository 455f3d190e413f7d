//! The built-in broker with its customers, and the gateway's configuration and accounts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use crate::accounts::{Accounts, NewAccount, NewKey};
use crate::addressing::Prefixes;
use crate::app::App;
use crate::cli::running::{Running, RunningGateway};
use crate::cli::sandbox::gateway_config;
use crate::cli::serve_error::ServeError;
use crate::config::{self, Config};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, ClientId, Pair, Platform, RepeatsBy, StreamsMode, india};
use crate::sandbox::{Account, Options, Sandbox};
use crate::store::records::CredentialsRecord;
use crate::telemetry;

/// How long what is printed waits for the demo accounts' first logins: near the end of a code's 30 seconds they take
/// the next one, and an order does not wait that long.
const FIRST_LOGIN: Duration = Duration::from_secs(10);
/// How a token came that nobody pasted and no login made.
const SOURCE: &str = "sandbox";
/// The first demo account. The others have a number behind it.
const NAME: &str = "demo";
/// What people call it. Nicknames of the others have a number behind it too.
const NICKNAME: &str = "Sandbox demo";
/// The first demo account's id at the built-in broker. The others follow.
const FIRST_CLIENT_ID: u32 = 1_000_000_001;
/// Customers of the built-in broker who have no account yet: whoever tries to make one needs some. Far from the demo
/// accounts' ids, of which a later run may have more.
const FREE_CLIENT_IDS: [u32; 3] = [1_000_900_001, 1_000_900_002, 1_000_900_003];
/// The login of each customer.
pub(super) const PIN: &str = "123456";
/// See [`PIN`].
pub(super) const TOTP_SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DP";

/// Where the demo keeps its state; a temporary one goes at the end.
pub(super) struct StateFolder {
    pub(super) path: PathBuf,
    pub(super) temporary: bool,
}

impl StateFolder {
    pub(super) fn new(given: Option<PathBuf>) -> Result<Self, ServeError> {
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

/// An account of the demo.
pub(super) struct DemoAccount {
    pub(super) name: AccountName,
    nickname: String,
    pub(super) client_id: ClientId,
    pub(super) pair: Pair,
}

/// The built-in broker with its customers, and the gateway's configuration.
pub(super) struct Demo {
    pub(super) broker: Sandbox,
    pub(super) accounts: Vec<DemoAccount>,
    pub(super) config: Config,
    config_text: String,
    pub(super) addresses: Addresses,
}

impl Demo {
    pub(super) async fn start(folder: &Path, count: u16, tasks: &Tasks) -> Result<Self, ServeError> {
        let state = |err| ServeError::State { path: folder.to_owned(), err };
        let invalid = |why| state(std::io::Error::other(why));
        let addresses = Addresses::take(folder, count)?;
        let mut accounts = Vec::with_capacity(count.into());
        for (number, pair) in (1..).zip(addresses.pairs()) {
            let (name, nickname) = match number {
                1 => (NAME.to_owned(), NICKNAME.to_owned()),
                _ => (format!("{NAME}{number}"), format!("{NICKNAME} {number}")),
            };
            let client_id = (FIRST_CLIENT_ID + number - 1).to_string();
            accounts.push(DemoAccount {
                name: AccountName::parse(&name).map_err(invalid)?,
                nickname,
                client_id: ClientId::parse(&client_id).map_err(invalid)?,
                pair: *pair,
            });
        }
        let customer = |client_id: &ClientId| Account::new(client_id.clone(), "DEMO TRADER", PIN, TOTP_SECRET);
        let mut customers: Vec<_> =
            accounts.iter().map(|account| customer(&account.client_id).registered(account.pair)).collect();
        for client_id in FREE_CLIENT_IDS {
            customers.push(customer(&ClientId::parse(&client_id.to_string()).map_err(invalid)?));
        }
        let control = Some(std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)));
        let options = Options { accounts: customers, control, orders_before: orders_before(), ..Options::default() };
        let broker = Sandbox::start(options, tasks).await?;
        let ca = folder.join("sandbox-ca.pem");
        std::fs::write(&ca, broker.ca_pem()).map_err(state)?;
        // One account needs no key on a loopback port. Of several, the key says which; and of those that people make, at a
        // port that is free.
        let keyed = "client_key = \"required\"";
        let door = match (count, addresses.pool()) {
            (1, Some(_)) => format!("account = \"{NAME}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{keyed}"),
            (1, None) => format!("account = \"{NAME}\""),
            _ => keyed.to_owned(),
        };
        let text = format!(
            "[state]\npath = {state:?}\n\
             [[listener]]\naddress = \"127.0.0.1:8080\"\n{door}\n\
             [admin]\naddress = \"127.0.0.1:8081\"\n{pool}{egress}",
            state = folder.display().to_string(),
            pool = addresses.pool().map(pool_config).unwrap_or_default(),
            egress = gateway_config(&ca, broker.address()),
        );
        let config = config::from_text_and_environment("the sandbox's configuration", folder, &text)?;
        telemetry::start_logs(&config.log).map_err(ServeError::Log)?;
        Ok(Self { broker, accounts, config, config_text: text, addresses })
    }

    /// Ids at the built-in broker for accounts that people make, if there are addresses for them.
    pub(super) fn free_client_ids(&self) -> Option<[u32; 3]> {
        self.addresses.pool().map(|_| FREE_CLIENT_IDS)
    }

    /// Where commands find it.
    pub(super) fn running(&self, app: &App) -> Running {
        Running {
            pid: std::process::id(),
            gateway: Some(RunningGateway {
                admin: app.admin().to_owned(),
                token_file: self.config.admin.token_file.clone(),
                state: self.config.state.path.clone(),
                config: self.config_text.clone(),
            }),
            control: self.broker.control_address().map(|at| format!("http://{at}")),
        }
    }

    /// Make the accounts, or find those of an earlier run, and give each a client key.
    pub(super) async fn prepare(&self, accounts: &Accounts) -> Result<Vec<NewKey>, ServeError> {
        for account in &self.accounts {
            self.make(account, accounts).await?;
        }
        self.know_again(accounts).await?;
        let by = Instant::now() + FIRST_LOGIN;
        let mut keys = Vec::with_capacity(self.accounts.len());
        for DemoAccount { name, .. } in &self.accounts {
            if let Some(account) = accounts.lookup(name.as_str()) {
                // Its keeper may not know of the pair yet, and say that none will come. Where none came, the first
                // order says why.
                while account.token.wait(0, by).await.is_err() && Instant::now() < by {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            for key in accounts.keys(name)? {
                accounts.delete_key(name, &key.id).await?;
            }
            keys.push(accounts.add_key(name).await?);
        }
        Ok(keys)
    }

    /// The broker is a new one, and accounts that people made in an earlier run are its customers too.
    async fn know_again(&self, accounts: &Accounts) -> Result<(), ServeError> {
        let free = FREE_CLIENT_IDS.map(|id| id.to_string());
        let mut made = Vec::new();
        accounts.for_each(|account| {
            if free.iter().any(|id| account.client_id().as_str() == id) {
                let pair = account.legs.as_ref().map(|legs| legs.pair());
                made.push((account.name.clone(), account.client_id().clone(), pair));
            }
        });
        for (name, client_id, pair) in made {
            self.broker.register(&client_id, pair);
            accounts.give_token(&name, self.broker.mint_token(&client_id).into(), SOURCE).await?;
        }
        Ok(())
    }

    async fn make(&self, account: &DemoAccount, accounts: &Accounts) -> Result<(), ServeError> {
        let DemoAccount { name, nickname, client_id, pair } = account;
        let known = accounts.lookup(name.as_str()).is_some();
        if !known {
            let new = NewAccount {
                name: name.clone(),
                nickname: Some(nickname.clone()),
                platform: Platform::Automatic,
                client_id: client_id.clone(),
                credentials: CredentialsRecord {
                    pin: Some(PIN.to_owned().into()),
                    totp_secret: Some(TOTP_SECRET.to_owned().into()),
                    ..CredentialsRecord::default()
                },
                access_token: None,
                repeats_by: RepeatsBy::AnyId,
                streams: StreamsMode::PassOn,
            };
            accounts.create(new).await?;
        }
        // The pair of an earlier run in another mode stays retired; the sandbox registers whatever pair this run has.
        if accounts.pair(name)?.is_some_and(|has| has.pair != *pair) {
            accounts.retire_pair(name).await?;
        }
        accounts.assign_given(name, *pair).await?;
        // A new account logs in by itself. One of an earlier run has a token of a broker that is gone, and may have
        // logged in a moment ago.
        if known {
            accounts.give_token(name, self.broker.mint_token(client_id).into(), SOURCE).await?;
        }
        Ok(())
    }
}

fn pool_config(pool: &Prefixes) -> String {
    format!("[[pool]]\nname = \"sandbox\"\nprimary = \"{}\"\nsecondary = \"{}\"\n", pool.primary, pool.secondary)
}

/// More than an earlier broker of this day can have given: ten for each second of the day.
fn orders_before() -> u64 {
    let now = india::local(jiff::Timestamp::now());
    let seconds = (i64::from(now.hour()) * 60 + i64::from(now.minute())) * 60 + i64::from(now.second());
    u64::try_from(seconds * 10).unwrap_or_default()
}
