//! The certificates that a command trusts: the public roots of this host and the gateway's own authority, as PEM and as
//! a trust store for Java.
//!
//! A trust store of PKCS #12 (RFC 7292) that holds certificates alone needs neither a password nor a MAC, because there
//! is nothing to hide and it lies in a private folder. So it is a dozen nested sequences, which `yasna` writes, and none
//! of the ciphers that a library for whole key stores brings.

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

/// RFC 2315: data.
const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
/// RFC 7292 section 4.2.3.
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
/// RFC 2985: the alias.
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
/// Java's own: without it a certificate is no trust anchor (`sun.security.pkcs12.PKCS12KeyStore`).
const TRUSTED_KEY_USAGE: &[u64] = &[2, 16, 840, 1, 113_894, 746_875, 1, 1];
const ANY_EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37, 0];

/// The certificates that a command trusts.
#[derive(Debug)]
pub(super) struct Trust {
    own: String,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// The roots that programs of this host trust, as `SSL_CERT_FILE` or the system has them, and the authority in
    /// `own`. `None` where that is no certificate.
    pub(super) fn of_host_and(own: &str) -> Option<Self> {
        // What cannot be read of the host's is what its other programs cannot read either.
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        let authority = CertificateDer::from_pem_slice(own.as_bytes()).ok()?.into_owned();
        certificates.retain(|known| *known != authority);
        certificates.insert(0, authority);
        Some(Self { own: own.to_owned(), certificates })
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// As a bundle.
    pub(super) fn pem(&self) -> String {
        let mut text = self.own.trim_end().to_owned() + "\n";
        for certificate in self.certificates.iter().skip(1) {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in BASE64.encode(certificate).as_bytes().chunks(64) {
                text.push_str(&String::from_utf8_lossy(line));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }

    /// As a trust store.
    pub(super) fn pkcs12(&self) -> Vec<u8> {
        let bags = yasna::construct_der(|writer| {
            writer.write_sequence_of(|writer| {
                for (number, certificate) in self.certificates.iter().enumerate() {
                    bag(writer.next(), &format!("sixgate{number}"), certificate);
                }
            });
        });
        let safe = yasna::construct_der(|writer| writer.write_sequence_of(|writer| data(writer.next(), &bags)));
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(3); // version
                data(writer.next(), &safe);
            });
        })
    }
}

fn id(parts: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(parts)
}

/// A ContentInfo that is not encrypted.
fn data(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&id(DATA));
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(content));
    });
}

/// A SafeBag with one certificate, which is trusted.
fn bag(writer: DERWriter<'_>, alias: &str, certificate: &[u8]) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&id(CERTIFICATE_BAG));
        writer.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_oid(&id(X509_CERTIFICATE));
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(certificate));
            });
        });
        writer.next().write_set_of(|writer| {
            attribute(writer.next(), FRIENDLY_NAME, |writer| writer.write_bmp_string(alias));
            attribute(writer.next(), TRUSTED_KEY_USAGE, |writer| writer.write_oid(&id(ANY_EXTENDED_KEY_USAGE)));
        });
    });
}

fn attribute(writer: DERWriter<'_>, name: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&id(name));
        writer.next().write_set_of(|writer| value(writer.next()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that talks to others beside the broker has to trust theirs too.
    #[test]
    fn a_bundle_has_the_gateway_s_authority_first_and_the_host_s_roots() {
        let own = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap().cert;
        let trust = Trust::of_host_and(&own.pem()).unwrap();
        let bundle = trust.pem();
        let read: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(read, trust.certificates());
        assert_eq!(read.first(), Some(own.der()));
        assert!(Trust::of_host_and("no certificate").is_none());
    }
}
