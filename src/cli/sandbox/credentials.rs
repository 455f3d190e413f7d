//! The accounts of the built-in broker: made up, or from a file.

use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;

use crate::cli::table;
use crate::domain::ClientId;
use crate::sandbox::{Account, GivenAccount};

/// The first client id that is made up.
const FIRST: u32 = 1_000_000_001;
/// Where the broker's page sends people back to: a gateway on this host, as it is when nothing else is said.
const REDIRECT: &str = "http://127.0.0.1:8081/auth/dhan";

/// Why there are no accounts.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("cannot read the accounts in {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error(
        "{path} is not a list of accounts, such as \
         [{{\"client_id\": \"1000000001\", \"pin\": \"123456\", \"totp_secret\": \"JBSWY3DPEHPK3PXP\"}}]: line {line}, column {column}"
    )]
    Form { path: PathBuf, line: usize, column: usize },
    #[error("the kernel gave no random bytes")]
    Random,
    #[error("a client id cannot be made up: {0}")]
    ClientId(crate::domain::problem::Invalid),
}

/// So many accounts of nobody.
pub(super) fn make_up(count: u16) -> Result<Vec<Account>, CredentialsError> {
    (0..u32::from(count))
        .map(|number| {
            let client_id = ClientId::parse(&(FIRST + number).to_string()).map_err(CredentialsError::ClientId)?;
            let mut random = [0u8; 40];
            getrandom::fill(&mut random).map_err(|_| CredentialsError::Random)?;
            let (totp, rest) = random.split_at(20);
            let (key, rest) = rest.split_at(5);
            let (secret, pin) = rest.split_at(11);
            let pin =
                pin.iter().fold(0u32, |pin, byte| pin.wrapping_mul(256).wrapping_add(u32::from(*byte))) % 1_000_000;
            let name = format!("SANDBOX TRADER {}", number + 1);
            let account = Account::new(client_id, &name, &format!("{pin:06}"), &BASE32_NOPAD.encode(totp));
            Ok(account.with_app(
                &BASE32_NOPAD.encode(key).to_ascii_lowercase(),
                &BASE32_NOPAD.encode(secret).to_ascii_lowercase(),
                REDIRECT,
            ))
        })
        .collect()
}

/// The accounts of a file. What is wrong with it is not quoted: it holds PINs.
pub(super) fn read(path: &Path) -> Result<Vec<Account>, CredentialsError> {
    let text = std::fs::read(path).map_err(|err| CredentialsError::Read { path: path.to_owned(), err })?;
    let given: Vec<GivenAccount> = serde_json::from_slice(&text).map_err(|err| CredentialsError::Form {
        path: path.to_owned(),
        line: err.line(),
        column: err.column(),
    })?;
    Ok(given.into_iter().map(Account::from).collect())
}

/// The accounts with their credentials, which belong to nobody.
pub(super) fn shown(accounts: &[Account]) -> String {
    if accounts.is_empty() {
        return String::new();
    }
    let maybe = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = accounts.iter().map(|account| {
        [
            account.client_id.to_string(),
            account.pin.clone(),
            account.totp_secret.clone(),
            maybe(&account.api_key),
            maybe(&account.api_secret),
        ]
    });
    let table = table::table(["CLIENT ID", "PIN", "TOTP SECRET", "API KEY", "API SECRET"], rows);
    format!("\n{table}\n\nTheir addresses are registered from a gateway: sixgate register NAME\n")
}
