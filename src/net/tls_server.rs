//! TLS towards those who connect to us.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why a listener's certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path} for TLS towards callers: {reason}")]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// An acceptor that shows the chain in `certificate` (PEM, leaf first) and proves it by `key` (PEM).
///
/// # Errors
/// [`CertificateError`] names the file that cannot be read or does not fit.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, CertificateError> {
    let fail = |path: &Path, reason: String| CertificateError { path: path.to_owned(), reason };
    let chain = read_certificates(certificate).map_err(|reason| fail(certificate, reason))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|err| fail(key, err.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| fail(certificate, err.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|err| fail(key, err.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Every certificate of a PEM file, at least one.
///
/// # Errors
/// The reason, when the file cannot be read or holds none.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|err| err.to_string())?.collect();
    let found = found.map_err(|err| err.to_string())?;
    if found.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(found) }
}
