//! What this gateway is: told by whoever built it, and shown by [`status`](super::status).

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use data_encoding::HEXUPPER;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::config::{Dhan, Listener};

/// A listener that is open.
#[derive(Clone, Debug)]
pub struct OpenListener {
    /// As a caller would write it.
    pub at: String,
    /// On what terms it accepts callers.
    pub listener: Arc<Listener>,
}

/// What this gateway is, from its start on; only its listeners change, with a reload.
#[derive(Debug)]
pub struct About {
    pub(super) started: Timestamp,
    pub(super) is_sandbox: bool,
    pub(super) broker: Dhan,
    file: OnceLock<PathBuf>,
    listeners: ArcSwap<Vec<OpenListener>>,
}

impl About {
    /// Of a gateway that starts now, and sends to these hosts. Does it belong to the built-in broker?
    pub fn new(broker: &Dhan, is_sandbox: bool) -> Self {
        let (file, listeners) = (OnceLock::new(), ArcSwap::default());
        Self { started: Timestamp::now(), is_sandbox, broker: broker.clone(), file, listeners }
    }

    /// Its configuration is read from this file. The first one given counts.
    pub fn reads(&self, file: &Path) {
        let _ = self.file.set(file.to_path_buf());
    }

    /// These listeners are open from now on.
    pub fn listens(&self, listeners: Vec<OpenListener>) {
        self.listeners.store(Arc::new(listeners));
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.file.get().map(PathBuf::as_path)
    }

    pub(super) fn listeners(&self) -> Arc<Vec<OpenListener>> {
        self.listeners.load_full()
    }
}

/// As `openssl x509 -noout -fingerprint -sha256` shows it; none, where the text is no certificate.
pub(super) fn fingerprint(pem: &str) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let pairs: Vec<_> = Sha256::digest(&certificate).iter().map(|byte| HEXUPPER.encode(&[*byte])).collect();
    Some(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_certificate_and_not_of_its_text() {
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        let shown = fingerprint(&made.cert.pem()).unwrap();
        assert_eq!(shown.len(), 32 * 3 - 1);
        let hex = HEXUPPER.encode(&Sha256::digest(made.cert.der()));
        assert_eq!(shown.replace(':', ""), hex);
        assert_eq!(fingerprint("no certificate"), None);
    }
}
