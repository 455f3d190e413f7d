//! TLS towards the broker: roots, and one session store per exit.
//!
//! A session ticket earned from one account's address is never offered from
//! another's: the store of sessions belongs to the exit. Everything else of a
//! client configuration is shared.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ClientConfig, RootCertStore};

use super::sessions::Sessions;
use crate::net::tls_server;

/// What is offered to the server, part of the key of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlpnProfile {
    /// `http/1.1` only: WebSockets, and everything while `egress.http2` is off.
    Http1,
    /// `h2` and `http/1.1`.
    Http2,
}

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum TlsError {
    #[error("cannot read certificates from {path}: {reason}")]
    Roots { path: PathBuf, reason: String },
    #[error("the TLS provider refused its own defaults")]
    Provider(#[source] rustls::Error),
}

/// The part of the client configuration that all exits share.
#[derive(Clone, Debug)]
pub(super) struct Base {
    http1: ClientConfig,
    http2: ClientConfig,
}

/// One exit's configurations; its sessions are in none other. They are made when they
/// are first used: of ten thousand accounts few use both legs, and fewer HTTP/2.
#[derive(Debug, Default)]
pub(super) struct ExitTls {
    /// Connections that the exit has open.
    open: Arc<AtomicUsize>,
    sessions: OnceLock<Resumption>,
    http1: OnceLock<Arc<ClientConfig>>,
    http2: OnceLock<Arc<ClientConfig>>,
}

impl Base {
    /// Public roots and `extra_roots` (PEM files).
    pub(super) fn new(extra_roots: &[PathBuf]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for path in extra_roots {
            for der in read_certificates(path)? {
                let refused = |err: rustls::Error| TlsError::Roots { path: path.clone(), reason: err.to_string() };
                roots.add(der).map_err(refused)?;
            }
        }
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // For servers that leave it to us: most processors have instructions for SHA-256, and few for the SHA-384 that
        // comes with AES-256. No weaker than the rest of a handshake (X25519, P-256).
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
            config
        };
        Ok(Self { http1: offering(&[b"http/1.1"]), http2: offering(&[b"h2", b"http/1.1"]) })
    }
}

impl ExitTls {
    /// Those of an exit that has so many connections `open`.
    pub(super) fn new(open: Arc<AtomicUsize>) -> Self {
        Self { open, ..Self::default() }
    }

    /// The configuration of `base` with this exit's sessions.
    pub(super) fn config(&self, base: &Base, profile: AlpnProfile) -> &Arc<ClientConfig> {
        let (own, base) = match profile {
            AlpnProfile::Http1 => (&self.http1, &base.http1),
            AlpnProfile::Http2 => (&self.http2, &base.http2),
        };
        own.get_or_init(|| {
            let mut config = base.clone();
            config.resumption = self
                .sessions
                .get_or_init(|| Resumption::store(Arc::new(Sessions::new(Arc::clone(&self.open)))))
                .clone();
            Arc::new(config)
        })
    }
}

/// Every certificate of a PEM file, at least one.
///
/// # Errors
/// [`TlsError::Roots`] when the file cannot be read or holds none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    tls_server::read_certificates(path).map_err(|reason| TlsError::Roots { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

    use super::*;

    const FULL: HandshakeKind = HandshakeKind::Full;

    /// A handshake in memory; what kind the client saw, its tickets taken in.
    fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> HandshakeKind {
        let mut client = begin(client, name);
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        for _ in 0..10 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut reader = wire.as_slice();
            while !reader.is_empty() {
                server.read_tls(&mut reader).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut reader = wire.as_slice();
            while !reader.is_empty() {
                client.read_tls(&mut reader).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        client.handshake_kind().unwrap()
    }

    fn begin(client: &Arc<ClientConfig>, name: &str) -> ClientConnection {
        ClientConnection::new(Arc::clone(client), name.to_owned().try_into().unwrap()).unwrap()
    }

    /// A server of ten names that gives two tickets a handshake, and who trusts it.
    fn server(versions: &[&'static rustls::SupportedProtocolVersion]) -> (Arc<ServerConfig>, Base) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = (0..10).map(name).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        server.send_tls13_tickets = 2;
        (Arc::new(server), Base::new(&[file.path().to_owned()]).unwrap())
    }

    fn name(n: usize) -> String {
        format!("api{n}.dhan.co")
    }

    /// Two exits that shared a session store would offer one account's ticket
    /// from the other's address.
    #[test]
    fn a_session_is_resumed_by_the_exit_that_earned_it_and_no_other() {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let (server, base) = server(&[version]);
            let (one, two) = (ExitTls::default(), ExitTls::default());
            let kind = |exit: &ExitTls| handshake(exit.config(&base, AlpnProfile::Http1), &server, &name(0));
            assert_eq!([kind(&one), kind(&one), kind(&two)], [FULL, HandshakeKind::Resumed, FULL], "{version:?}");
        }
    }

    /// Nothing that the library offers is left out, and what is cheap comes first.
    #[test]
    fn of_all_the_suites_the_one_with_sha_256_is_preferred() {
        let (server, base) = server(&[&rustls::version::TLS13]);
        let mut client = begin(&Arc::new(base.http1.clone()), &name(0));
        let mut server = ServerConnection::new(server).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        server.read_tls(&mut hello.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        // This server takes the client's first.
        assert_eq!(server.negotiated_cipher_suite().unwrap().suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);

        let sorted = |provider: &rustls::crypto::CryptoProvider| {
            let mut suites: Vec<_> = provider.cipher_suites.iter().map(|suite| u16::from(suite.suite())).collect();
            suites.sort_unstable();
            suites
        };
        assert_eq!(sorted(base.http1.crypto_provider()), sorted(&rustls::crypto::aws_lc_rs::default_provider()));
    }

    /// Who has a ticket and what is kept with it can go on where the session stopped.
    #[test]
    fn a_ticket_never_shows() {
        for (version, kept) in [(&rustls::version::TLS13, "Tls13"), (&rustls::version::TLS12, "Tls12")] {
            let (server, base) = server(&[version]);
            let exit = ExitTls::default();
            handshake(exit.config(&base, AlpnProfile::Http1), &server, &name(0));
            let shown = format!("{exit:?}");
            assert!(!shown.contains(kept) && !shown.contains("ticket:"), "{shown}");
        }
    }

    /// A ticket that is used twice links the connections to whoever looks on (RFC 8446, appendix C.4).
    #[test]
    fn a_ticket_is_spent_by_the_connection_that_it_is_offered_on() {
        let (server, base) = server(&[&rustls::version::TLS13]);
        let exit = ExitTls::default();
        let config = exit.config(&base, AlpnProfile::Http1);
        assert_eq!(handshake(config, &server, &name(0)), FULL);
        // A connection that comes to nothing: its handshake begins all the same.
        drop(begin(config, &name(0)));
        assert_eq!(handshake(config, &server, &name(0)), FULL);
        assert_eq!(handshake(config, &server, &name(0)), HandshakeKind::Resumed);
    }

    /// Orders that dial at once resume, as long as there were connections to bring tickets for them.
    #[test]
    fn as_many_tickets_are_kept_as_connections_are_open() {
        let (server, base) = server(&[&rustls::version::TLS13]);
        let after_spending = |spent: usize, open: usize| {
            let exit = ExitTls::new(Arc::new(AtomicUsize::new(open)));
            let config = exit.config(&base, AlpnProfile::Http1);
            // Each brings two and spends one.
            for _ in 0..9 {
                handshake(config, &server, &name(0));
            }
            for _ in 0..spent {
                drop(begin(config, &name(0)));
            }
            handshake(config, &server, &name(0))
        };
        for (open, kept) in [(0, 1), (1, 1), (3, 3), (100, 8)] {
            assert_eq!(after_spending(kept - 1, open), HandshakeKind::Resumed, "{open} open");
            assert_eq!(after_spending(kept, open), FULL, "{open} open");
        }
    }

    #[test]
    fn the_host_that_was_met_first_is_forgotten_when_there_are_many() {
        let (server, base) = server(&[&rustls::version::TLS13]);
        let exit = ExitTls::default();
        let kind = |n: usize| handshake(exit.config(&base, AlpnProfile::Http1), &server, &name(n));
        for n in 0..10 {
            assert_eq!(kind(n), FULL);
        }
        assert_eq!(kind(9), HandshakeKind::Resumed);
        assert_eq!(kind(2), HandshakeKind::Resumed);
        assert_eq!(kind(1), FULL);
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let err = Base::new(&[file.path().to_owned()]).unwrap_err();
        assert!(err.to_string().contains(&file.path().display().to_string()), "{err}");
    }
}
