//! Client keys: what a caller shows to be an account's order engine.
//!
//! A key is 256 random bits, so a plain SHA-256 of it is kept: there is nothing
//! to guess, and a slow hash per request would be a way to stop the gateway.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::domain::Secret;
use crate::domain::problem::Invalid;

/// The hashes of an account's keys.
#[derive(Clone, Debug, Default)]
pub struct ClientKeys {
    hashes: Vec<[u8; 32]>,
    /// Cancelled when one of them is taken away: what they opened ends, because
    /// nobody remembers which key opened what.
    revoked: CancellationToken,
}

impl ClientKeys {
    /// From stored hashes.
    pub fn new(hashes: impl Iterator<Item = [u8; 32]>) -> Self {
        Self { hashes: hashes.collect(), revoked: CancellationToken::new() }
    }

    /// These, in place of `old`: what `old` opened goes on if each of its keys is still here.
    pub(super) fn after(mut self, old: &Self) -> Self {
        if old.hashes.iter().all(|key| self.hashes.contains(key)) {
            self.revoked = old.revoked.clone();
        } else {
            old.end();
        }
        self
    }

    /// End what was opened with them.
    pub(super) fn end(&self) {
        self.revoked.cancel();
    }

    /// Cancelled when one of these keys is taken away.
    pub const fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Has the account no client keys?
    pub const fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Is `shown` one of them? Takes the same time whichever it is.
    pub fn accept(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.hashes.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&shown)).into()
    }
}

/// A key that was just made: the only time its text is seen.
#[derive(Debug)]
pub struct NewKey {
    /// Names the key in lists and for deletion.
    pub id: String,
    /// What the caller shows.
    pub key: Secret,
}

impl NewKey {
    pub(super) fn generate() -> Result<Self, Invalid> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        let mut id = [0u8; 5];
        let none = |_| Invalid::new("the kernel gave no random bytes");
        getrandom::fill(&mut *bytes).map_err(none)?;
        getrandom::fill(&mut id).map_err(none)?;
        let key = format!("sgk_{}", BASE32_NOPAD.encode(&*bytes).to_ascii_lowercase()).into();
        Ok(Self { id: HEXLOWER.encode(&id), key })
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.key.expose_secret().as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_was_made_is_accepted() {
        let (one, two) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        let keys = ClientKeys::new([one.digest(), two.digest()].into_iter());
        assert!(keys.accept(one.key.expose_secret().as_bytes()));
        assert!(keys.accept(two.key.expose_secret().as_bytes()));
        assert!(!keys.accept(b"") && !keys.accept(b"sgk_"));
        assert!(!ClientKeys::default().accept(b""), "no keys means nobody");
        assert!(!format!("{one:?}").contains(one.key.expose_secret()));
    }
}
