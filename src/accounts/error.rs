//! Why a change of an account was not made.

use crate::addressing::AddressingError;
use crate::domain::problem::Invalid;
use crate::domain::secret::LoginSecret;
use crate::domain::{AccountName, ClientId};
use crate::store::StoreError;

/// Why a change of an account was not made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum AccountError {
    #[error("there is no account {0}")]
    NoSuchAccount(AccountName),
    #[error("there is no such {0}")]
    NoSuch(&'static str),
    #[error("account {0} exists already")]
    NameTaken(AccountName),
    #[error("client id {client_id} is account {account}'s already; one customer of the broker has one pair")]
    ClientIdTaken { client_id: ClientId, account: String },
    #[error("account {0} has a pair already; retire it first (DELETE /v1/accounts/{0}/pair)")]
    HasPair(AccountName),
    #[error(
        "the client id of account {0} cannot change while it has addresses that it has logged in with, or had before; \
         take its pair away first (DELETE /v1/accounts/{0}/pair)"
    )]
    IsCustomers(AccountName),
    #[error("account {0} has no pair")]
    NoPair(AccountName),
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: Invalid },
    #[error("{}", several(.0))]
    Lacks(Vec<LoginSecret>),
    #[error("{0} pairs are set aside already; give some back, or wait until they end")]
    TooManyReservations(usize),
    #[error(transparent)]
    Addressing(#[from] AddressingError),
    #[error("the state could not be read or written")]
    Store(#[from] StoreError),
    #[error("account {0} is just logging in with the client id that it has; try again in a moment")]
    LoggingIn(AccountName),
    #[error("account {0} was changed by somebody else at the same moment; try again")]
    Busy(AccountName),
    #[error(
        "account {name} was changed since you read it: it is at version {version} now. Read it again, and look what is new"
    )]
    Changed { name: AccountName, version: String },
}

/// Why a secret of a login has to be given.
pub const LOGS_IN_BY: &str = "is missing; DHAN_V2_AT_IPV6 logs in by PIN and TOTP";

fn several(lacks: &[LoginSecret]) -> String {
    let lack = |secret: &LoginSecret| format!("{}: {LOGS_IN_BY}", secret.as_str());
    lacks.iter().map(lack).collect::<Vec<_>>().join(". ")
}
