//! What the calls work on.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::awaited::Awaited;
use super::error::Failure;
use super::fields;
use super::roles::Roles;
use crate::accounts::registration::Subject;
use crate::accounts::{Account, AccountError, Accounts};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Platform};
use crate::host::Board;
use crate::orders::Orders;
use crate::telemetry::Metrics;
use crate::tokens::client::BrokerClient;

/// What the calls work on.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) accounts: Arc<Accounts>,
    /// Asks the broker.
    pub(super) login: Arc<BrokerClient>,
    pub(super) orders: Arc<Orders>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) roles: Arc<ArcSwap<Roles>>,
    /// What the host lacks.
    pub(super) host: Arc<Board>,
    /// Our address, for checking `Host`; `None` on a unix socket.
    pub(super) local: Option<std::net::SocketAddr>,
    pub(super) tasks: Tasks,
    /// The certificate that callers trust.
    pub(super) ca_pem: Arc<str>,
    /// People who were sent to the broker's page.
    pub(super) consents: Arc<Awaited>,
}

impl Admin {
    /// The API on `local`.
    #[expect(clippy::too_many_arguments, reason = "every part of the gateway that it shows, once")]
    pub fn new(
        accounts: Arc<Accounts>,
        login: Arc<BrokerClient>,
        orders: Arc<Orders>,
        metrics: Arc<Metrics>,
        roles: Arc<ArcSwap<Roles>>,
        host: Arc<Board>,
        local: Option<std::net::SocketAddr>,
        tasks: Tasks,
        ca_pem: Arc<str>,
    ) -> Self {
        let consents = Arc::default();
        Self { accounts, login, orders, metrics, roles, host, local, tasks, ca_pem, consents }
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
