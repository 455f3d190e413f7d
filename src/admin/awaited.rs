//! Who was sent to the broker's page and is expected back.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::StatusCode;
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::error::Failure;
use crate::domain::AccountName;
use crate::domain::lock;

/// How long a person may take.
pub(super) const OPEN: Duration = Duration::from_secs(24 * 3600);

/// Links that are open at once in the whole gateway; the oldest goes first.
const MOST: usize = 4096;

/// People who were sent to the broker's page, by the digest of their secret.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<HashMap<[u8; 32], Person>>);

#[derive(Clone, Debug)]
struct Person {
    account: AccountName,
    page: String,
    since: Instant,
}

impl Awaited {
    /// Expect somebody for `account`; answers the secret.
    pub(super) fn expect(&self, account: AccountName, page: String) -> Result<String, Failure> {
        let mut random = [0_u8; 20];
        let failed =
            |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random", "the kernel gave no random bytes");
        getrandom::fill(&mut random).map_err(failed)?;
        let secret = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
        let mut people = lock(&self.0);
        people.retain(|_, person| person.since.elapsed() < OPEN);
        if people.len() >= MOST
            && let Some(oldest) = people.iter().min_by_key(|(_, person)| person.since).map(|(digest, _)| *digest)
        {
            people.remove(&oldest);
        }
        people.insert(digest(&secret), Person { account, page, since: Instant::now() });
        Ok(secret)
    }

    /// Where the browser with this secret is to go.
    pub(super) fn page(&self, secret: &str) -> Option<String> {
        let people = lock(&self.0);
        people.get(&digest(secret)).filter(|person| person.since.elapsed() < OPEN).map(|person| person.page.clone())
    }

    /// Whose secret it is. Good for one use.
    pub(super) fn take(&self, secret: &str) -> Option<AccountName> {
        let mut people = lock(&self.0);
        people.remove(&digest(secret)).filter(|person| person.since.elapsed() < OPEN).map(|person| person.account)
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A redirect that comes twice, or to somebody who was sent nowhere, opens nothing.
    #[test]
    fn a_secret_is_good_for_one_person_and_one_use() {
        let awaited = Awaited::default();
        let name = AccountName::parse("alpha").unwrap();
        let secret = awaited.expect(name.clone(), "https://page".into()).unwrap();
        let other = awaited.expect(AccountName::parse("beta").unwrap(), "https://page2".into()).unwrap();
        assert_ne!(secret, other);
        assert_eq!(awaited.page(&secret).as_deref(), Some("https://page"));
        assert_eq!(awaited.take("guess"), None);
        assert_eq!(awaited.take(&secret), Some(name));
        assert_eq!(awaited.take(&secret), None);
        assert_eq!(awaited.page(&secret), None);
    }
}
