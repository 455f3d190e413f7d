//! On what ground an order write is served, asked again when it is about to leave.
//!
//! Between its arrival and that moment a key may be deleted, the account halted, its pair retired, or the listener's
//! terms tightened. Where nothing was changed, which is nearly always, asking costs two comparisons.

use std::sync::Arc;

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::Proxy;
use super::admission::{ListenerContext, credentials_of};
use super::destination::Form;
use super::reply::{Code, Problem};
use crate::accounts::Account;

/// See the module. No `Debug`: it holds a key.
pub(super) struct Permission<'a> {
    door: &'a ListenerContext,
    account: &'a Account,
    /// What the caller showed; nothing where no key is asked for and none was shown.
    shown: Shown,
    form: Form,
}

/// Where the credentials are.
enum Shown {
    /// In the request's own fields.
    Own(HeaderMap),
    /// In those of the `CONNECT` that it came through.
    Tunnel(Arc<HeaderMap>),
}

/// What may have changed since a request was admitted, and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exempt {
    /// It takes risk away: a halt does not stop it.
    pub halt: bool,
}

impl<'a> Permission<'a> {
    /// Of a request that was admitted as `account` by what it showed.
    pub(super) fn new(
        door: &'a ListenerContext,
        account: &'a Account,
        headers: &HeaderMap,
        tunnel: Option<&Arc<HeaderMap>>,
        form: Form,
    ) -> Self {
        let shown = match tunnel {
            Some(shown) => Shown::Tunnel(Arc::clone(shown)),
            // Also where no key is asked for: a reload may ask for one.
            None => Shown::Own(credentials_of(headers)),
        };
        Self { door, account, shown, form }
    }

    /// Who sent a write without an id, and what it says: the caller's address and what it showed, and the values.
    pub(super) fn twin(&self, values: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(values);
        match (self.door.peer, self.door.uid) {
            (Some(peer), _) => hash.update(peer.to_string()),
            (None, Some(uid)) => hash.update(uid.to_le_bytes()),
            (None, None) => {}
        }
        let shown = match &self.shown {
            Shown::Own(shown) => shown,
            Shown::Tunnel(shown) => shown,
        };
        for (_, value) in &credentials_of(shown) {
            hash.update([0]);
            hash.update(value.as_bytes());
        }
        hash.finalize().into()
    }

    /// Does it hold now? Cheap where nothing was changed.
    ///
    /// # Errors
    /// Why it does not; nothing was sent.
    pub(super) fn check(&self, proxy: &Proxy, exempt: Exempt) -> Result<(), Problem> {
        let now = proxy.accounts.lookup(self.account.name.as_str());
        let Some(row) = now else { return Err(changed("the account was deleted while this waited")) };
        let same_row = std::ptr::eq(Arc::as_ptr(&row), self.account);
        if !same_row || !self.door.is_current() {
            self.admit_again(proxy)?;
            let kept = match (&row.legs, &self.account.legs) {
                (Some(now), Some(then)) => Arc::ptr_eq(now, then),
                _ => false,
            };
            if !kept || row.client_id() != self.account.client_id() {
                return Err(changed("the account or its pair was changed while this waited; send it again"));
            }
        }
        if exempt.halt { Ok(()) } else { refuse_if_halted(&row) }
    }

    fn admit_again(&self, proxy: &Proxy) -> Result<(), Problem> {
        let mut door = self.door.clone();
        door.refresh();
        let shown = match &self.shown {
            Shown::Own(shown) => shown,
            Shown::Tunnel(shown) => shown,
        };
        let admitted = door.admit(&proxy.accounts, shown, self.form)?;
        if admitted.name == self.account.name {
            return Ok(());
        }
        Err(changed("this listener serves another account since a reload"))
    }

    /// Wait until it does not hold any more; for ever, if that does not happen. Cancel-safe.
    pub(super) async fn lost(&self, proxy: &Proxy, exempt: Exempt) -> Problem {
        loop {
            // The row and the terms that are watched are taken before they are looked at.
            let row = proxy.accounts.lookup(self.account.name.as_str());
            let tightened = self.door.terms.as_ref().map(|terms| terms.load().tightened().clone());
            if let Err(problem) = self.check(proxy, exempt) {
                return problem;
            }
            let Some(row) = row else { continue };
            let tightening = async {
                match &tightened {
                    Some(tightened) => tightened.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = row.replaced().cancelled() => {}
                () = tightening => {}
            }
        }
    }
}

fn changed(detail: &str) -> Problem {
    Problem::before_sending(Code::EgressUnavailable, detail)
}

/// # Errors
/// 403 `account_halted`.
pub(super) fn refuse_if_halted(account: &Account) -> Result<(), Problem> {
    let Some(halt) = &account.record.halted else { return Ok(()) };
    let reason = if halt.reason.is_empty() { String::new() } else { format!(": {}", halt.reason) };
    let detail = format!(
        "an operator halted account {} at {}{reason}; cancels, DELETE /positions and the kill switch pass",
        account.name, halt.since
    );
    Err(Problem::before_sending(Code::AccountHalted, detail))
}
