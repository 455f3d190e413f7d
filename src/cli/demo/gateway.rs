//! The built-in broker with its customers, and the gateway's configuration and accounts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use crate::accounts::{Accounts, NewAccount, NewKey};
use crate::app::App;
use crate::cli::running::{Running, RunningGateway};
use crate::cli::sandbox::gateway_config;
use crate::cli::serve_error::ServeError;
use crate::config::{self, Config};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, ClientId, Pair, Platform, RepeatsBy};
use crate::sandbox::{Account, Options, Sandbox};
use crate::store::records::CredentialsRecord;
use crate::telemetry;

/// How long what is printed waits for the demo accounts' first logins: near the end of a code's 30 seconds they take
/// the next one, and an order does not wait that long.
const FIRST_LOGIN: Duration = Duration::from_secs(10);
/// The first demo account. The others have a number behind it.
const NAME: &str = "demo";
/// The first demo account's id at the built-in broker. The others follow.
const FIRST_CLIENT_ID: u32 = 1_000_000_001;
/// The login of each demo account.
const PIN: &str = "123456";
const TOTP_SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DP";

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
    pub(super) client_id: ClientId,
    pub(super) pair: Pair,
}

/// The built-in broker with its customers, and the gateway's configuration.
pub(super) struct Demo {
    pub(super) broker: Sandbox,
    pub(super) accounts: Vec<DemoAccount>,
    pub(super) config: Config,
    pub(super) addresses: Addresses,
}

impl Demo {
    pub(super) async fn start(folder: &Path, count: u16, tasks: &Tasks) -> Result<Self, ServeError> {
        let state = |err| ServeError::State { path: folder.to_owned(), err };
        let invalid = |why| state(std::io::Error::other(why));
        let addresses = Addresses::take(folder, count)?;
        let mut accounts = Vec::with_capacity(count.into());
        for (number, pair) in (1..).zip(addresses.pairs()) {
            let name = if number == 1 { NAME.to_owned() } else { format!("{NAME}{number}") };
            let client_id = (FIRST_CLIENT_ID + number - 1).to_string();
            accounts.push(DemoAccount {
                name: AccountName::parse(&name).map_err(invalid)?,
                client_id: ClientId::parse(&client_id).map_err(invalid)?,
                pair: *pair,
            });
        }
        let customers = accounts.iter().map(|account| {
            Account::new(account.client_id.clone(), "DEMO TRADER", PIN, TOTP_SECRET).registered(account.pair)
        });
        let control = Some(std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)));
        let options = Options { accounts: customers.collect(), control, ..Options::default() };
        let broker = Sandbox::start(options, tasks).await?;
        let ca = folder.join("sandbox-ca.pem");
        std::fs::write(&ca, broker.ca_pem()).map_err(state)?;
        // One account needs no key on a loopback port. Of several, the key says which.
        let door = if count == 1 { format!("account = \"{NAME}\"") } else { "client_key = \"required\"".to_owned() };
        let text = format!(
            "[state]\npath = {state:?}\n\
             [[listener]]\naddress = \"127.0.0.1:8080\"\n{door}\n\
             [admin]\naddress = \"127.0.0.1:8081\"\n{egress}",
            state = folder.display().to_string(),
            egress = gateway_config(&ca, broker.address()),
        );
        let config = config::from_text_and_environment("the sandbox's configuration", folder, &text)?;
        telemetry::start_logs(&config.log).map_err(ServeError::Log)?;
        Ok(Self { broker, accounts, config, addresses })
    }

    /// Where commands find it.
    pub(super) fn running(&self, app: &App) -> Running {
        Running {
            pid: std::process::id(),
            gateway: Some(RunningGateway {
                admin: app.admin().to_owned(),
                token_file: self.config.admin.token_file.clone(),
                state: self.config.state.path.clone(),
            }),
            control: self.broker.control_address().map(|at| format!("http://{at}")),
        }
    }

    /// Make the accounts, or find those of an earlier run, and give each a client key.
    pub(super) async fn prepare(&self, accounts: &Accounts) -> Result<Vec<NewKey>, ServeError> {
        for account in &self.accounts {
            self.make(account, accounts).await?;
        }
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

    async fn make(&self, account: &DemoAccount, accounts: &Accounts) -> Result<(), ServeError> {
        let DemoAccount { name, client_id, pair } = account;
        let known = accounts.lookup(name.as_str()).is_some();
        if !known {
            let new = NewAccount {
                name: name.clone(),
                nickname: Some("Sandbox demo".to_owned()),
                platform: Platform::Automatic,
                client_id: client_id.clone(),
                credentials: CredentialsRecord {
                    pin: Some(PIN.to_owned().into()),
                    totp_secret: Some(TOTP_SECRET.to_owned().into()),
                    ..CredentialsRecord::default()
                },
                access_token: None,
                repeats_by: RepeatsBy::AnyId,
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
            accounts.set_token(name, self.broker.mint_token(client_id).into()).await?;
        }
        Ok(())
    }
}
