//! Client keys: what a caller shows to be an account's order engine.
//!
//! A key is 256 random bits, so a plain SHA-256 of it is kept: there is nothing
//! to guess, and a slow hash per request would be a way to stop the gateway.

use std::sync::Arc;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::key_use::KeyUse;
use crate::domain::Secret;
use crate::domain::problem::Invalid;

/// The hashes of an account's keys.
#[derive(Clone, Debug, Default)]
pub struct ClientKeys {
    hashes: Vec<[u8; 32]>,
    /// Of each of them, when it was last used.
    uses: Vec<Arc<KeyUse>>,
    /// Cancelled when one of them is taken away: what they opened ends, because
    /// nobody remembers which key opened what.
    revoked: CancellationToken,
}

impl ClientKeys {
    /// From stored hashes.
    pub fn new(hashes: impl Iterator<Item = [u8; 32]>) -> Self {
        let hashes: Vec<_> = hashes.collect();
        let uses = hashes.iter().map(|_| Arc::default()).collect();
        Self { hashes, uses, revoked: CancellationToken::new() }
    }

    /// These, in place of `old`: what `old` opened goes on if each of its keys is still here.
    pub(super) fn after(mut self, old: &Self) -> Self {
        if old.hashes.iter().all(|key| self.hashes.contains(key)) {
            self.revoked = old.revoked.clone();
        } else {
            old.end();
        }
        for (key, used) in self.hashes.iter().zip(&mut self.uses) {
            if let Some(known) = old.use_of(key) {
                *used = Arc::clone(known);
            }
        }
        self
    }

    /// When the key of this hash was used.
    pub(super) fn use_of(&self, hash: &[u8; 32]) -> Option<&Arc<KeyUse>> {
        self.hashes.iter().zip(&self.uses).find(|(key, _)| *key == hash).map(|(_, used)| used)
    }

    /// Was any of them used since it was last looked at, or, `ever`, since the start?
    pub(super) fn any_used(&self, ever: bool) -> bool {
        self.uses.iter().any(|used| if ever { used.was_used() } else { used.is_marked() })
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

    /// Is `shown` one of them? Then it is being used. Takes the same time whichever it is.
    pub fn accept(&self, shown: &[u8]) -> bool {
        self.find(shown).inspect(|used| used.mark()).is_some()
    }

    /// The use of the key that `shown` is. Comparing takes the same time whichever it is; its place is no secret.
    pub fn find(&self, shown: &[u8]) -> Option<&Arc<KeyUse>> {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        let mut place = u32::MAX;
        for (number, key) in (0_u32..).zip(&self.hashes) {
            place.conditional_assign(&number, key.ct_eq(&shown));
        }
        self.uses.get(usize::try_from(place).ok()?)
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
        let used = |key: &NewKey| keys.use_of(&key.digest()).unwrap().is_marked();
        assert!(used(&one) && used(&two));
        let third = NewKey::generate().unwrap();
        let later = ClientKeys::new([third.digest(), two.digest()].into_iter()).after(&keys);
        let marked = |key: &NewKey| later.use_of(&key.digest()).unwrap().is_marked();
        assert!(marked(&two) && !marked(&third), "a use outlives the row, and is of its own key");
        assert!(!keys.accept(b"") && !keys.accept(b"sgk_"));
        assert!(!ClientKeys::default().accept(b""), "no keys means nobody");
        assert!(!format!("{one:?}").contains(one.key.expose_secret()));
    }
}
