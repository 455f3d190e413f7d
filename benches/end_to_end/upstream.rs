//! The broker's place: TLS 1.3 and HTTP/1.1, one fixed reply, connections kept or closed.
//!
//! It looks at every order: one without the account's credentials gets 401. It counts orders, and connections by the
//! address that they come from. What a gateway asks for itself, at times of its own, is not counted: whether the token
//! is good (`/v2/profile`) it is told, and to everything else the answer is 404.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Whose place it takes.
pub(crate) const HOST: &str = "api.dhan.co";
/// The account's id at the broker.
pub(crate) const CLIENT_ID: &str = "1000000001";

/// 190 bytes, as long as a reply of the broker's to an order without its cookies.
pub(crate) const REPLY: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\
    Date: Mon, 23 Nov 2026 04:00:00 GMT\r\nX-Request-Id: 0af7651916cd43dd\r\n\r\n\
    {\"orderId\":\"112611230001\",\"orderStatus\":\"PENDING\"}";
/// The same before a connection that ends.
pub(crate) const LAST_REPLY: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\
    Date: Mon, 23 Nov 2026 04:00:00 GMT\r\nConnection: close\r\n\r\n\
    {\"orderId\":\"112611230001\",\"orderStatus\":\"PENDING\"}";
pub(crate) const REFUSAL: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
/// Of [`CLIENT_ID`], with a token that lives as long as [`token`] says.
const PROFILE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 178\r\n\r\n\
    {\"dhanClientId\":\"1000000001\",\"tokenValidity\":\"01/01/2099 05:30\",\"activeSegment\":\"Equity, Derivative\",\
    \"ddpi\":\"Deactive\",\"mtf\":\"Deactive\",\"dataPlan\":\"Deactive\",\"dataValidity\":\"NA\"}";
pub(crate) const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// What an upstream does with connections. There may be one of each, at addresses of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It keeps them.
    Keeps,
    /// It closes each after one reply, and gives nothing by which the next handshake could be shorter.
    ClosesAndForgets,
    /// It closes each after one reply, and gives tickets for the next.
    ClosesWithTickets,
}

impl Manner {
    /// Makes its addresses, files and ports differ from the others'.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Keeps => 1,
            Self::ClosesAndForgets => 2,
            Self::ClosesWithTickets => 3,
        }
    }

    pub(crate) const fn at(self) -> SocketAddrV6 {
        SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, self.number()), 443, 0, 0)
    }
}

/// A running upstream; its thread ends with the process.
pub(crate) struct Upstream {
    /// Of the authority that signed its certificate.
    pub ca_file: PathBuf,
    /// The account's token: only requests that carry it are answered with an order.
    pub token: String,
    /// Trusts that authority, and speaks what the upstream speaks.
    pub client: Arc<ClientConfig>,
    /// What it runs on, one thread on one core. A load that is run there too is never in another's way.
    pub runtime: Handle,
    manner: Manner,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    refused: AtomicU64,
    resumed: AtomicU64,
    connections: Mutex<BTreeMap<IpAddr, u64>>,
}

/// What it has seen until now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub requests: u64,
    /// Orders without the account's credentials.
    pub refused: u64,
    /// Handshakes that went on from an earlier session.
    pub resumed: u64,
    /// Accepted, by the address they came from.
    pub connections: BTreeMap<IpAddr, u64>,
}

impl Seen {
    pub(crate) fn connections(&self) -> u64 {
        self.connections.values().sum()
    }
}

impl Upstream {
    /// Start it on a thread that runs on `core` only.
    pub(crate) fn start(core: usize, dir: &Path, manner: Manner) -> Self {
        assert_eq!(REPLY.len(), 190);
        let (server, client, ca_pem) = certificates(manner);
        let ca_file = dir.join(format!("upstream-{}-ca.pem", manner.number()));
        std::fs::write(&ca_file, ca_pem).expect("write the authority's certificate");
        let token = token(CLIENT_ID);
        let counts = Arc::new(Counts::default());
        let serving = Serving { token: token.clone(), manner, counts: Arc::clone(&counts) };
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            crate::cpu::pin_this_thread(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let at = manner.at();
                let listener = TcpListener::bind(at).await.unwrap_or_else(|err| panic!("cannot listen on {at}: {err}"));
                ready.send(Handle::current()).expect("somebody waits for this");
                accept(listener, TlsAcceptor::from(server), Arc::new(serving)).await;
            });
        });
        let runtime = is_ready.recv().expect("the upstream listens");
        Self { ca_file, token, client, runtime, manner, counts }
    }

    pub(crate) fn at(&self) -> SocketAddrV6 {
        self.manner.at()
    }

    pub(crate) const fn number(&self) -> u16 {
        self.manner.number()
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen {
            requests: self.counts.requests.load(Relaxed),
            refused: self.counts.refused.load(Relaxed),
            resumed: self.counts.resumed.load(Relaxed),
            connections: self.counts.connections.lock().expect("nobody panicked with it").clone(),
        }
    }
}

/// A token as Dhan makes them (a JWT), with no valid signature: it lives until 2099.
pub(crate) fn token(client_id: &str) -> String {
    let part = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let claims = format!(
        r#"{{"iss":"dhan","partnerId":"","exp":4070908800,"iat":1795401000,"tokenConsumerType":"SELF","webhookUrl":"","dhanClientId":"{client_id}"}}"#
    );
    let signature = part(&"s".repeat(64));
    format!("{}.{}.{signature}", part(r#"{"typ":"JWT","alg":"HS512"}"#), part(&claims))
}

/// What the server shows, what a client trusts, and the authority's certificate.
pub(crate) fn certificates(manner: Manner) -> (Arc<ServerConfig>, Arc<ClientConfig>, String) {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Sixgate benchmark CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let mut leaf = CertificateParams::new([HOST.to_owned()]).expect("a name");
    leaf.distinguished_name.push(DnType::CommonName, HOST);
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&key, &authority).expect("a certificate");

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate and its key");
    match manner {
        Manner::Keeps => {}
        Manner::ClosesAndForgets => {
            server.send_tls13_tickets = 0;
            server.session_storage = Arc::new(NoServerSessionStorage {});
        }
        // Sealed and kept by the client: a store would forget old ones under load.
        Manner::ClosesWithTickets => {
            server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a key for tickets");
        }
    }
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("an authority");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client), authority.pem())
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// An order with the account's credentials.
    Order,
    /// An order without them.
    Unsigned,
    /// Whether the token is good, which it is.
    Profile,
    /// Something else.
    Other,
}

struct Serving {
    token: String,
    manner: Manner,
    counts: Arc<Counts>,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, serving: Arc<Serving>) {
    let mut connections = JoinSet::new();
    loop {
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
        let (tcp, peer) = listener.accept().await.expect("accept a connection");
        tcp.set_nodelay(true).expect("no delay");
        *serving.counts.connections.lock().expect("nobody panicked with it").entry(peer.ip()).or_default() += 1;
        let (acceptor, serving) = (acceptor.clone(), Arc::clone(&serving));
        connections.spawn(async move {
            match acceptor.accept(tcp).await {
                Ok(stream) => {
                    if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                        serving.counts.resumed.fetch_add(1, Relaxed);
                    }
                    serving.serve(stream).await
                }
                Err(err) => Err(err),
            }
        });
    }
}

impl Serving {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(4096);
        loop {
            let Some((length, asked)) = self.request(&buffer) else {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            buffer.drain(..length);
            let reply = match (asked, self.manner) {
                (Asked::Profile, _) => PROFILE,
                (Asked::Other, _) => NOT_FOUND,
                (Asked::Unsigned, _) => {
                    self.counts.refused.fetch_add(1, Relaxed);
                    REFUSAL
                }
                (Asked::Order, manner) => {
                    self.counts.requests.fetch_add(1, Relaxed);
                    if manner == Manner::Keeps { REPLY } else { LAST_REPLY }
                }
            };
            stream.write_all(reply.as_bytes()).await?;
            stream.flush().await?;
            if asked == Asked::Order && self.manner != Manner::Keeps {
                stream.shutdown().await?;
                // What the other side still says is read: a close before that would be a reset.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                return Ok(());
            }
        }
    }

    /// The length of the request that `bytes` begin with, if it is whole, and what it is.
    fn request(&self, bytes: &[u8]) -> Option<(usize, Asked)> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(head) = request.parse(bytes).expect("an HTTP request") else { return None };
        let length = head + content_length(request.headers).unwrap_or_default();
        let has = |name: &str, value: &str| {
            request.headers.iter().any(|f| f.name.eq_ignore_ascii_case(name) && f.value == value.as_bytes())
        };
        let signed = || has("access-token", &self.token) && has("client-id", CLIENT_ID);
        let asked = match (request.method, request.path) {
            // HAProxy passes on the caller's target as it came.
            (Some("POST"), Some(target)) if target.ends_with("/v2/orders") && signed() => Asked::Order,
            (Some("POST"), _) => Asked::Unsigned,
            (_, Some("/v2/profile")) if has("access-token", &self.token) => Asked::Profile,
            _ => Asked::Other,
        };
        (bytes.len() >= length).then_some((length, asked))
    }
}

/// What `Content-Length` says.
pub(crate) fn content_length(fields: &[httparse::Header<'_>]) -> Option<usize> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(field.value).ok()?.parse().ok()
}
