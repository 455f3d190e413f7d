//! The broker's place: TLS 1.3 and HTTP/1.1, WebSockets that say what they are told to say, and whether a token is good.
//!
//! A WebSocket without its account's token is refused. Frames of callers are read as far as pings have to be answered.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use bytes::{Buf, Bytes, BytesMut};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::upstream::{NOT_FOUND, REFUSAL, token};

/// Where it listens.
pub(crate) const AT: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1), 443, 0, 0);
/// The host of the market feed.
pub(crate) const FEED: &str = "api-feed.dhan.co";
/// The API's, which a gateway asks whether a token is good.
pub(crate) const API: &str = "api.dhan.co";
/// As long as a price in full mode.
pub(crate) const PAYLOAD: usize = 162;
/// So many messages are written at a time when all that goes is to go.
const BLOCK: usize = 96;

/// The id of account `number` at the broker.
pub(crate) fn client_id(number: usize) -> String {
    (1_000_000_001 + number).to_string()
}

/// What a WebSocket is told.
pub(crate) enum Say {
    /// Say this frame.
    Frame(Bytes),
    /// Say messages without end.
    Flood,
}

/// A message as the feed has it, in a frame: when it was due, and whether it counts.
pub(crate) fn message(due: u64, counts: bool) -> Bytes {
    let mut frame = vec![0; 4 + PAYLOAD];
    frame[..4].copy_from_slice(&[0x82, 126, 0, PAYLOAD as u8]);
    // The code of a price in full mode, and its length.
    frame[4..7].copy_from_slice(&[8, PAYLOAD as u8, 0]);
    frame[7] = counts.into();
    frame[12..20].copy_from_slice(&due.to_be_bytes());
    frame.into()
}

/// What [`message`] was told, of its payload.
pub(crate) fn due_and_counts(payload: &[u8]) -> (u64, bool) {
    assert_eq!((payload.len(), payload[0]), (PAYLOAD, 8), "another message than was sent");
    (u64::from_be_bytes(payload[8..16].try_into().expect("eight bytes")), payload[3] == 1)
}

/// A running one; its thread ends with the process.
pub(crate) struct Broker {
    /// Of the authority that signed its certificate.
    pub ca_file: PathBuf,
    /// Trusts that authority.
    pub client: Arc<ClientConfig>,
    /// What it runs on, one thread on one core. The load runs there too.
    pub runtime: Handle,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Those that are open, in their order.
    sockets: Mutex<BTreeMap<u64, UnboundedSender<Say>>>,
    opened: AtomicU64,
    refused: AtomicU64,
    addresses: Mutex<BTreeMap<IpAddr, u64>>,
}

impl Broker {
    /// Start it on a thread that runs on `core` only.
    pub(crate) fn start(core: usize, dir: &Path) -> Self {
        let (server, client, ca_pem) = certificates();
        let ca_file = dir.join("broker-ca.pem");
        std::fs::write(&ca_file, ca_pem).expect("write the authority's certificate");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            crate::cpu::pin_this_thread(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind(AT).await.unwrap_or_else(|err| panic!("cannot listen on {AT}: {err}"));
                ready.send(Handle::current()).expect("somebody waits for this");
                accept(listener, TlsAcceptor::from(server), serving).await;
            });
        });
        let runtime = is_ready.recv().expect("the broker listens");
        Self { ca_file, client, runtime, shared }
    }

    /// The sockets that are open, from the oldest.
    pub(crate) fn sockets(&self) -> Vec<UnboundedSender<Say>> {
        self.shared.sockets.lock().expect("nobody panicked with it").values().cloned().collect()
    }

    /// WebSockets that came without their account's token.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// WebSockets until now, by the address that they came from.
    pub(crate) fn addresses(&self) -> BTreeMap<IpAddr, u64> {
        self.shared.addresses.lock().expect("nobody panicked with it").clone()
    }
}

fn certificates() -> (Arc<ServerConfig>, Arc<ClientConfig>, String) {
    let mut authority = CertificateParams::default();
    // Names of their own: to OpenSSL a certificate whose name is its authority's has signed itself.
    authority.distinguished_name.push(DnType::CommonName, "Sixgate benchmark CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new([FEED.to_owned(), API.to_owned()]).expect("names");
    leaf.distinguished_name.push(DnType::CommonName, FEED);
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate and its key");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("an authority");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client), authority.pem())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
        let (tcp, peer) = listener.accept().await.expect("accept a connection");
        tcp.set_nodelay(true).expect("no delay");
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // Ends by an error when the other side hangs up in the middle of a flood, as it does.
            if let Ok(stream) = acceptor.accept(tcp).await {
                let _ = serve(stream, peer.ip(), &shared).await;
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, from: IpAddr, shared: &Shared) -> io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        let Some(length) = memchr::memmem::find(&input, b"\r\n\r\n").map(|at| at + 4) else {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&input.split_to(length)).into_owned();
        let Some(key) = field(&head, "sec-websocket-key") else {
            stream.write_all(answer(&head).as_bytes()).await?;
            stream.flush().await?;
            continue;
        };
        let asked = |name: &str| {
            let (_, value) = head.lines().next()?.split_once(&format!("{name}="))?;
            Some(value.split(['&', ' ']).next()?.to_owned())
        };
        if asked("token").is_none_or(|shown| asked("clientId").is_none_or(|id| shown != token(&id))) {
            shared.refused.fetch_add(1, Relaxed);
            stream.write_all(REFUSAL.as_bytes()).await?;
            stream.flush().await?;
            continue;
        }
        *shared.addresses.lock().expect("nobody panicked with it").entry(from).or_default() += 1;
        let (says, told) = unbounded_channel();
        let number = shared.opened.fetch_add(1, Relaxed);
        shared.sockets.lock().expect("nobody panicked with it").insert(number, says);
        let reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(&key)
        );
        let ended = async {
            stream.write_all(reply.as_bytes()).await?;
            stream.flush().await?;
            converse(stream, input, told).await
        }
        .await;
        shared.sockets.lock().expect("nobody panicked with it").remove(&number);
        return ended;
    }
}

fn field(head: &str, name: &str) -> Option<String> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// To what is no WebSocket: whether a token is good, which it is; 404 to anything else.
fn answer(head: &str) -> String {
    let shown = field(head, "access-token").filter(|_| head.starts_with("GET /v2/profile "));
    let claims = shown.and_then(|token| {
        let claims = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
        serde_json::from_slice::<serde_json::Value>(&claims).ok()
    });
    let Some(claims) = claims else { return NOT_FOUND.to_owned() };
    let body = serde_json::json!({
        "dhanClientId": claims["dhanClientId"], "tokenValidity": "01/01/2099 05:30",
        "activeSegment": "Equity, Derivative", "ddpi": "Deactive", "mtf": "Deactive", "dataPlan": "Active",
        "dataValidity": "2099-01-01 05:30:00.0",
    })
    .to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What answers a handshake's key (RFC 6455 section 4.2.2).
fn accept_key(key: &str) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    data_encoding::BASE64.encode(hash.finish().as_ref())
}

async fn converse<S>(stream: S, mut input: BytesMut, mut told: UnboundedReceiver<Say>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut read, mut write) = tokio::io::split(stream);
    loop {
        tokio::select! {
            said = told.recv() => match said {
                Some(Say::Frame(frame)) => {
                    write.write_all(&frame).await?;
                    write.flush().await?;
                }
                Some(Say::Flood) => break,
                None => return Ok(()),
            },
            count = read.read_buf(&mut input) => {
                if count? == 0 || !hear(&mut input, &mut write).await? {
                    return Ok(());
                }
            }
        }
    }
    let block = message(0, true).repeat(BLOCK);
    loop {
        write.write_all(&block).await?;
        write.flush().await?;
    }
}

/// Answer pings. `false` once a Close came.
async fn hear<W: AsyncWrite + Unpin>(input: &mut BytesMut, to: &mut W) -> io::Result<bool> {
    while let &[first, second, ..] = input.as_ref() {
        let length = usize::from(second & 0x7f);
        assert!(second & 0x80 != 0 && length < 126, "a caller says control frames only");
        if input.len() < 6 + length {
            break;
        }
        let mask = [input[2], input[3], input[4], input[5]];
        input.advance(6);
        let payload: Vec<u8> = input.split_to(length).iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        match first & 0x0f {
            8 => return Ok(false),
            9 => {
                let mut pong = vec![0x8a, second & 0x7f];
                pong.extend(payload);
                to.write_all(&pong).await?;
                to.flush().await?;
            }
            _ => {}
        }
    }
    Ok(true)
}
