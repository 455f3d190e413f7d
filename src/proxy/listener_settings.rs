//! On what terms a listener accepts callers.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::{Bind, ClientKey, Listener};
use crate::net::tls_server::{self, CertificateError};

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum ListenError {
    #[error("cannot listen on {bind}")]
    Bind {
        bind: String,
        #[source]
        err: std::io::Error,
    },
    #[error(transparent)]
    Tls(#[from] CertificateError),
}

/// On what terms callers are accepted: the listener's configuration, its certificate read.
#[derive(Clone)]
pub struct ListenerSettings {
    pub(super) listener: Arc<Listener>,
    pub(super) tls: Option<TlsAcceptor>,
    /// Cancelled when stricter ones take their place: what was opened by these and would go on ends.
    tightened: CancellationToken,
}

impl std::fmt::Debug for ListenerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerSettings").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl ListenerSettings {
    /// Read the certificate and key of a listener that has them.
    ///
    /// # Errors
    /// [`ListenError::Tls`].
    pub fn new(listener: Listener) -> Result<Self, ListenError> {
        let tls = listener.tls.as_ref().map(|tls| tls_server::acceptor(&tls.certificate, &tls.key)).transpose()?;
        Ok(Self { listener: Arc::new(listener), tls, tightened: CancellationToken::new() })
    }

    /// The listener's configuration.
    pub(super) const fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Cancelled when stricter terms take the place of these.
    pub(super) const fn tightened(&self) -> &CancellationToken {
        &self.tightened
    }

    /// These, in place of `old`: what the old ones let in goes on, unless who it was might not get in now.
    pub(super) fn after(mut self, old: &Self) -> Self {
        let who = |terms: &Self| {
            let Listener { account, client_key, uids, transparent, sources, .. } = &*terms.listener;
            (account.clone(), *client_key, uids.clone(), *transparent, sources.clone())
        };
        if who(&self) == who(old) {
            self.tightened = old.tightened.clone();
        } else {
            old.tightened.cancel();
        }
        self
    }

    /// Where it listens.
    pub fn bind(&self) -> &Bind {
        &self.listener.bind
    }

    /// The mode of a unix socket. Whoever may connect trades, unless the peer's uid or a
    /// key says who it is.
    pub(super) fn mode(&self) -> u32 {
        let authenticates = self.listener.client_key == ClientKey::Required || !self.listener.uids.is_empty();
        if authenticates { 0o666 } else { 0o600 }
    }
}
