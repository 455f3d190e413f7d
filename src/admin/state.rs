//! What the calls work on.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::awaited::Awaited;
use super::error::Failure;
use super::fields;
use super::reloads::Reloads;
use super::roles::Roles;
use crate::accounts::registration::Subject;
use crate::accounts::{Account, AccountError, Accounts};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Platform};
use crate::host::Board;
use crate::orders::Orders;
use crate::telemetry::Metrics;
use crate::tokens::client::BrokerClient;

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
    pub roles: Arc<ArcSwap<Roles>>,
    /// What the host lacks.
    pub host: Arc<Board>,
    /// Asks for the configuration file to be put in force.
    pub reloads: Reloads,
    /// Runs what a call leaves behind.
    pub tasks: Tasks,
    /// The certificate that callers trust, in PEM.
    pub ca_pem: Arc<str>,
}

/// What the calls work on.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) accounts: Arc<Accounts>,
    pub(super) client: Arc<BrokerClient>,
    pub(super) orders: Arc<Orders>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) roles: Arc<ArcSwap<Roles>>,
    pub(super) host: Arc<Board>,
    pub(super) reloads: Reloads,
    /// Our address, for checking `Host`; `None` on a unix socket.
    pub(super) local: Option<std::net::SocketAddr>,
    pub(super) tasks: Tasks,
    pub(super) ca_pem: Arc<str>,
    /// People who were sent to the broker's page.
    pub(super) consents: Arc<Awaited>,
}

impl Admin {
    /// The API on `local`.
    pub fn new(parts: Parts, local: Option<std::net::SocketAddr>) -> Self {
        let Parts { accounts, client, orders, metrics, roles, host, reloads, tasks, ca_pem } = parts;
        Self { accounts, client, orders, metrics, roles, host, reloads, local, tasks, ca_pem, consents: Arc::default() }
    }

    /// The account of this name.
    pub(super) fn account(&self, name: &str) -> Result<Arc<Account>, Failure> {
        let name = fields::name(name)?;
        let account = self.accounts.lookup(name.as_str());
        account.ok_or_else(|| AccountError::NoSuchAccount(name).into())
    }

    /// An account, as questions to the broker need it.
    pub(super) fn subject(&self, name: &AccountName) -> Result<Subject, AccountError> {
        let account = self.accounts.lookup(name.as_str());
        Ok(subject(&*account.ok_or_else(|| AccountError::NoSuchAccount(name.clone()))?))
    }

    /// Is a call from elsewhere than this host possible?
    pub(super) fn reachable_from_elsewhere(&self) -> bool {
        self.local.is_some_and(|local| !local.ip().is_loopback())
    }
}

pub(super) fn subject(account: &Account) -> Subject {
    Subject {
        client_id: account.client_id().clone(),
        legs: account.legs.clone(),
        token: account.token.live().map_err(|why| why.summary),
        automatic: account.record.platform == Platform::Automatic,
    }
}
