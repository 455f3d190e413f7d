//! What a test asks of the login and changes about it.

use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::ClientId;

use super::{LoginRules, Mint, consent, totp};
use crate::sandbox::Sandbox;

impl Sandbox {
    /// The rules of the login as they are.
    pub fn login_rules(&self) -> LoginRules {
        self.inner.world().login.clone()
    }

    /// Change the rules of the login, for what comes from now on.
    pub fn set_login_rules(&self, rules: LoginRules) {
        self.inner.world().login = rules;
    }

    /// Change how long after an attempt the next one is refused; zero for never.
    pub fn set_cooldown(&self, cooldown: Duration) {
        self.inner.world().login.cooldown = cooldown;
    }

    /// Change how long tokens live that are made from now on, in whole seconds.
    pub fn set_token_life(&self, life: Duration) {
        self.inner.world().login.token_life = life;
    }

    /// Let the broker's clock run before (or, negative, behind) this host's: its
    /// `Date` headers, its check of codes, the times in tokens and their ends.
    pub fn set_clock_skew(&self, skew: SignedDuration) {
        self.inner.world().skew = skew;
    }

    /// The account's code of this moment by the broker's clock, if it has a secret.
    /// It is the same for up to 30 seconds, and good for one login.
    pub fn totp_now(&self, client_id: &ClientId) -> Option<String> {
        let world = self.inner.world();
        totp::code(&world.ledger(client_id)?.account.totp_secret, world.now())
    }

    /// Every token that was made for the account on request, oldest first.
    pub fn mints(&self, client_id: &ClientId) -> Vec<Mint> {
        self.inner.world().ledger(client_id).map(|ledger| ledger.login.mints.clone()).unwrap_or_default()
    }

    /// Log in as the account's owner does on the broker's page: the `tokenId` that the
    /// browser would bring back. None for a consent that is not there.
    pub fn give_consent(&self, consent_app_id: &str) -> Option<String> {
        consent::give(&mut self.inner.world(), consent_app_id)
    }

    /// How often a token was asked for with PIN and TOTP, refusals included. What
    /// a fault kept from being carried out is not counted.
    pub fn login_attempts(&self, client_id: &ClientId) -> u64 {
        self.inner.world().ledger(client_id).map_or(0, |ledger| ledger.login.attempts)
    }

    /// Is the account locked by refused PINs and codes? No gateway may let it
    /// come to that.
    pub fn login_locked(&self, client_id: &ClientId) -> bool {
        self.inner.world().ledger(client_id).is_some_and(|ledger| ledger.login.locked)
    }

    /// Unlock the account, as the broker's people do.
    pub fn unlock_login(&self, client_id: &ClientId) {
        if let Some(ledger) = self.inner.world().ledger_mut(client_id) {
            ledger.login.locked = false;
            ledger.login.refusals = 0;
        }
    }
}
