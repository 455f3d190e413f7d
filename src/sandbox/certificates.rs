//! A certificate authority of the sandbox's own, made at each start.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::SandboxError;

/// What the authority made.
pub(super) struct Made {
    /// What a client has to trust.
    pub(super) ca_pem: String,
    /// What the server shows.
    pub(super) tls: Arc<ServerConfig>,
}

/// Make the authority and one certificate for all of `hosts`.
pub(super) fn make(hosts: &[String]) -> Result<Made, SandboxError> {
    let (ca_pem, chain, key) = sign(hosts).map_err(SandboxError::Certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key.into()))
        .map_err(SandboxError::Tls)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Made { ca_pem, tls: Arc::new(tls) })
}

type Signed = (String, Vec<rustls::pki_types::CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>);

fn sign(hosts: &[String]) -> Result<Signed, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Sixgate sandbox CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(hosts)?;
    let name = hosts.first().map_or("sandbox", String::as_str);
    leaf.distinguished_name.push(DnType::CommonName, name);
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    // Python's strict checks refuse a leaf without it.
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &authority)?;
    Ok((authority.pem(), vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der())))
}
