//! What the calls work on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::about::About;
use super::audit::AuditLog;
use super::awaited::Awaited;
use super::error::Failure;
use super::fields;
use super::operators::Operators;
use super::previews::Previews;
use super::reloads::Reloads;
use super::sampled::Sampled;
use super::sessions::Sessions;
use super::site::Site;
use super::validation_job::ValidateAll;
use crate::accounts::registration::AccountSnapshot;
use crate::accounts::{Account, AccountError, Accounts};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Platform};
use crate::host::{Board, Examiner};
use crate::orders::Orders;
use crate::telemetry::Metrics;
use crate::tokens::client::BrokerClient;

/// Archives of evidence that are made at once: each reads the disk that orders are written to.
const EVIDENCE_MAKERS: usize = 2;
/// Order books that are read at once after validations. More validations go on without: it is no part of them.
const READERS_OF_BOOKS: usize = 8;

/// The parts of a gateway that its API shows and changes.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What is changed.
    pub accounts: Arc<Accounts>,
    /// Asks the broker.
    pub client: Arc<BrokerClient>,
    /// The journal, and what is known of orders.
    pub orders: Arc<Orders>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may call.
    pub operators: Arc<ArcSwap<Operators>>,
    /// Who changed what.
    pub audit: AuditLog,
    /// What the host lacks.
    pub host: Arc<Board>,
    /// Examines the host when it is asked to.
    pub examiner: Arc<dyn Examiner>,
    /// Asks for the configuration file to be put in force.
    pub reloads: Reloads,
    /// What this gateway is.
    pub about: Arc<About>,
    /// What was counted lately.
    pub sampled: Arc<Sampled>,
    /// Runs what a call leaves behind.
    pub tasks: Tasks,
    /// The certificate that callers trust, in PEM.
    pub ca_pem: Arc<str>,
    /// The file that it is in.
    pub ca_file: std::path::PathBuf,
}

/// What the calls work on.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) accounts: Arc<Accounts>,
    pub(super) client: Arc<BrokerClient>,
    pub(super) orders: Arc<Orders>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) operators: Arc<ArcSwap<Operators>>,
    pub(super) host: Arc<Board>,
    pub(super) examiner: Arc<dyn Examiner>,
    pub(super) reloads: Reloads,
    /// By what names it is reached.
    pub(super) site: Arc<Site>,
    pub(super) audit: AuditLog,
    pub(super) about: Arc<About>,
    pub(super) sampled: Arc<Sampled>,
    pub(super) tasks: Tasks,
    pub(super) ca_pem: Arc<str>,
    pub(super) ca_file: Arc<std::path::Path>,
    /// Who is signed in to the console.
    pub(super) sessions: Arc<Sessions>,
    /// People who were sent to the broker's page.
    pub(super) consents: Arc<Awaited>,
    /// Codes that were shown.
    pub(super) previews: Arc<Previews>,
    /// Those who make archives of evidence.
    pub(super) makers: Arc<Semaphore>,
    /// Those who read order books after validations.
    pub(super) readers_of_books: Arc<Semaphore>,
    /// The job that validates every account.
    pub(super) validate_all: Arc<ValidateAll>,
}

impl Admin {
    /// The API of a listener that is reached as `site`.
    pub fn new(parts: Parts, site: Arc<Site>) -> Self {
        let Parts {
            accounts,
            client,
            orders,
            metrics,
            operators,
            audit,
            host,
            examiner,
            reloads,
            about,
            sampled,
            tasks,
            ca_pem,
            ca_file,
        } = parts;
        let (sessions, consents) = (Arc::new(Sessions::new(&ca_pem)), Arc::default());
        let makers = Arc::new(Semaphore::new(EVIDENCE_MAKERS));
        Self {
            accounts,
            client,
            orders,
            metrics,
            operators,
            audit,
            host,
            examiner,
            reloads,
            about,
            sampled,
            site,
            tasks,
            ca_pem,
            ca_file: ca_file.into(),
            sessions,
            consents,
            previews: Arc::default(),
            makers,
            readers_of_books: Arc::new(Semaphore::new(READERS_OF_BOOKS)),
            validate_all: Arc::default(),
        }
    }

    /// The account of this name.
    pub(super) fn account(&self, name: &str) -> Result<Arc<Account>, Failure> {
        let name = fields::name(name)?;
        let account = self.accounts.lookup(name.as_str());
        account.ok_or_else(|| AccountError::NoSuchAccount(name).into())
    }

    /// An account, as questions to the broker need it.
    pub(super) fn subject(&self, name: &AccountName) -> Result<AccountSnapshot, AccountError> {
        let account = self.accounts.lookup(name.as_str());
        Ok(subject(&*account.ok_or_else(|| AccountError::NoSuchAccount(name.clone()))?))
    }
}

pub(super) fn subject(account: &Account) -> AccountSnapshot {
    AccountSnapshot {
        client_id: account.client_id().clone(),
        legs: account.legs.clone(),
        token: account.token.live().map_err(|why| why.summary),
        automatic: account.record.platform == Platform::Automatic,
        seen: Arc::clone(&account.registration),
    }
}
