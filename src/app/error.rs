//! Why the gateway did not start.

use std::path::PathBuf;

use super::pools::PoolError;
use crate::accounts::AccountError;
use crate::addressing::AddressingError;
use crate::admin::TokenError;
use crate::broker::dhan::limits::LimitsError;
use crate::egress::tls::TlsError;
use crate::orders::journal::JournalError;
use crate::proxy::ListenError;
use crate::proxy::intercept::InterceptError;
use crate::store::StoreError;
use crate::store::seal::SealError;

/// Why the gateway did not start. Whatever it was, nothing was changed by it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum StartError {
    #[error("the master key cannot be used")]
    Key(#[from] SealError),
    #[error(
        "the master key {file} is missing, and the state in {state} was sealed with it: restore it from its backup"
    )]
    KeyMissing { file: PathBuf, state: PathBuf },
    #[error("the state in {path} cannot be used")]
    Store {
        path: String,
        #[source]
        err: StoreError,
    },
    #[error("the addresses in the state cannot be read")]
    Addressing(#[from] AddressingError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("the accounts in the state cannot be read")]
    Accounts(#[from] AccountError),
    #[error(transparent)]
    Roots(#[from] TlsError),
    #[error("the interception authority cannot be used")]
    Intercept(#[from] InterceptError),
    #[error("limits.file cannot be used")]
    Limits(#[from] LimitsError),
    #[error("the order journal cannot be used")]
    Journal(#[from] JournalError),
    #[error("the order journal in {folder} cannot be read back")]
    Recall {
        folder: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("the audit log (audit/ in the state folder) cannot be used")]
    Audit(#[source] std::io::Error),
    #[error("the admin token cannot be used")]
    Token(#[from] TokenError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("a thread cannot be started; is the limit of threads reached (ulimit -u, TasksMax= of systemd)?")]
    Threads(#[source] std::io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error("a part of the gateway did not start")]
    Interrupted,
}
