//! Bodies about the gateway as a whole.

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::about::OpenListener;
use crate::config::{ClientKey, Dhan};
use crate::orders::journal::Journal;

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusBody {
    pub version: &'static str,
    /// When it started, by the host's clock of that time.
    pub started_at: String,
    /// How long it has run, sleep of the machine included.
    pub uptime_seconds: u64,
    /// Where its configuration is read from; null without a file.
    pub config_file: Option<String>,
    /// Does it send to the built-in broker? Then nothing here reaches Dhan.
    pub sandbox: bool,
    /// This API: `http://127.0.0.1:8081`, or null on a unix socket.
    pub admin_url: Option<String>,
    /// Where callers connect.
    pub listeners: Vec<ListenerBody>,
    /// SHA-256 of the certificate that callers trust (`/ca.pem`), as openssl shows it.
    pub ca_sha256: Option<String>,
    pub broker: BrokerHostsBody,
    pub journal: JournalHeadBody,
    pub accounts: AccountCounts,
    /// Order writes since the start of which nobody knows what became.
    pub unknown_outcomes: u64,
    /// Orders of the last seven days of which nobody knows what became, and at which no person has looked.
    pub unsettled_orders: usize,
}

/// Where callers connect, and on what terms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListenerBody {
    /// `http://127.0.0.1:8080`, `https://...` or `unix:/path`.
    pub at: String,
    /// The one account that it serves; null where the caller says which.
    pub account: Option<String>,
    /// Must callers show `account:client-key`?
    pub client_key: bool,
    /// Is it TLS towards callers?
    pub tls: bool,
    /// Does a peer's uid say which account it is?
    pub by_uid: bool,
    /// Does it answer as if it were the broker, and is no proxy?
    pub transparent: bool,
}

impl From<&OpenListener> for ListenerBody {
    fn from(open: &OpenListener) -> Self {
        let listener = &open.listener;
        Self {
            at: open.at.clone(),
            account: listener.account.as_ref().map(ToString::to_string),
            client_key: listener.client_key == ClientKey::Required,
            tls: listener.tls.is_some(),
            by_uid: !listener.uids.is_empty(),
            transparent: listener.transparent,
        }
    }
}

/// The broker's hosts, with their ports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BrokerHostsBody {
    pub api: String,
    pub auth: String,
    pub order_update: String,
    pub feed: String,
    pub depth20: String,
    pub depth200: String,
    pub images: String,
}

impl From<&Dhan> for BrokerHostsBody {
    fn from(hosts: &Dhan) -> Self {
        let Dhan { api, auth, order_update, feed, depth20, depth200, images } = hosts;
        Self {
            api: api.to_string(),
            auth: auth.to_string(),
            order_update: order_update.to_string(),
            feed: feed.to_string(),
            depth20: depth20.to_string(),
            depth200: depth200.to_string(),
            images: images.to_string(),
        }
    }
}

/// The order journal's newest line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JournalHeadBody {
    /// Its number; 0 before the first, null while the disk keeps everybody waiting.
    pub seq: Option<u64>,
    /// Its hash.
    pub hash: Option<String>,
    /// Can lines be written?
    pub writable: bool,
    /// Does nothing lack of what a start reads back?
    pub whole: bool,
}

impl JournalHeadBody {
    /// It waits for whoever writes, if not for long: not on a runtime worker.
    pub(crate) fn of(journal: &Journal) -> Self {
        let newest = journal.newest_line();
        Self {
            seq: newest.map(|(seq, _)| seq),
            hash: newest.filter(|(seq, _)| *seq > 0).map(|(_, hash)| hash.to_string()),
            writable: journal.trouble().is_none(),
            whole: journal.whole().is_whole(),
        }
    }
}

/// How many accounts are in which state.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct AccountCounts {
    pub total: u64,
    pub halted: u64,
    /// Those for which something else logs in or places orders, mostly a second gateway.
    pub not_alone: u64,
    /// Those that have no pair, and so no legs.
    pub without_pair: u64,
    pub tokens: TokenCounts,
    pub legs: LegCounts,
}

/// Accounts by the state of their token.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TokenCounts {
    pub absent: u64,
    pub minting: u64,
    pub live: u64,
    pub refreshing: u64,
    pub waiting: u64,
    pub needs_person: u64,
}

/// Legs by their state.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LegCounts {
    pub admits: u64,
    pub tripped: u64,
    pub probing: u64,
}
