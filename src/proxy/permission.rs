//! On what ground an order write is served, asked again when it is about to leave.
//!
//! Between its arrival and that moment a key may be deleted, the account halted, its pair retired, or the listener's
//! terms tightened. Where nothing was changed, which is nearly always, asking costs two comparisons.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::admission::{ListenerContext, credentials_of};
use super::destination::Form;
use super::exchange::{Exchange, Inbound};
use crate::accounts::{Account, Accounts};
use crate::dispatch::reply::{Code, Problem};
use crate::dispatch::{Exempt, Permission, refuse_if_halted};

/// See the module. No `Debug`: it holds a key.
pub(super) struct ListenerPermission<'a> {
    accounts: &'a Accounts,
    listener: &'a ListenerContext,
    account: &'a Account,
    /// What the caller showed; nothing where no key is asked for and none was shown.
    shown: CredentialsPlace,
    form: Form,
}

/// Where the credentials are.
enum CredentialsPlace {
    /// In the request's own fields.
    Own(HeaderMap),
    /// In those of the `CONNECT` that it came through.
    Tunnel(Arc<HeaderMap>),
}

impl<'a> ListenerPermission<'a> {
    /// Of a request that was admitted as the account of `exchange` by what it showed.
    pub(super) fn new(accounts: &'a Accounts, exchange: &Exchange<'a>, inbound: &Inbound) -> Self {
        let shown = match exchange.tunnel {
            Some(tunnel) => CredentialsPlace::Tunnel(Arc::clone(&tunnel.admitted_by)),
            // Also where no key is asked for: a reload may ask for one.
            None => CredentialsPlace::Own(credentials_of(&inbound.headers)),
        };
        Self { accounts, listener: exchange.listener, account: exchange.account, shown, form: inbound.form }
    }

    fn shown(&self) -> &HeaderMap {
        match &self.shown {
            CredentialsPlace::Own(shown) => shown,
            CredentialsPlace::Tunnel(shown) => shown,
        }
    }

    fn admit_again(&self) -> Result<(), Problem> {
        let mut listener = self.listener.clone();
        listener.refresh();
        let admitted = listener.admit(self.accounts, self.shown(), self.form)?;
        if admitted.name == self.account.name {
            return Ok(());
        }
        Err(changed("this listener serves another account since a reload"))
    }
}

impl Permission for ListenerPermission<'_> {
    fn check(&self, exempt: Exempt) -> Result<(), Problem> {
        let now = self.accounts.lookup(self.account.name.as_str());
        let Some(row) = now else { return Err(changed("the account was deleted while this waited")) };
        let same_row = std::ptr::eq(Arc::as_ptr(&row), self.account);
        if !same_row || !self.listener.is_current() {
            self.admit_again()?;
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

    fn lost(&self, exempt: Exempt) -> BoxFuture<'_, Problem> {
        Box::pin(async move {
            loop {
                // The row and the terms that are watched are taken before they are looked at.
                let row = self.accounts.lookup(self.account.name.as_str());
                let tightened = self.listener.terms.as_ref().map(|terms| terms.load().tightened().clone());
                if let Err(problem) = self.check(exempt) {
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
        })
    }

    fn twin(&self, values: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(values);
        match (self.listener.peer, self.listener.uid) {
            (Some(peer), _) => hash.update(peer.to_string()),
            (None, Some(uid)) => hash.update(uid.to_le_bytes()),
            (None, None) => {}
        }
        for (_, value) in &credentials_of(self.shown()) {
            hash.update([0]);
            hash.update(value.as_bytes());
        }
        hash.finalize().into()
    }
}

fn changed(detail: &str) -> Problem {
    Problem::before_sending(Code::EgressUnavailable, detail)
}
