//! The broker's place, for any number of customers: TLS 1.3 and HTTP/1.1.
//!
//! Customers are numbered, and their ids and tokens follow from the number, so that nothing has to be remembered. An
//! order says in `tradingSymbol` whose it is; one with another customer's token, or on a connection that served
//! somebody else before, gets 401. What a gateway asks for itself is no order: whether a token is good
//! (`/v2/profile`) it is told, and to everything else the answer is 404.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::upstream::{LAST_REPLY, Manner, NOT_FOUND, REFUSAL, REPLY, certificates, content_length};

/// Customer number 0's id.
const FIRST_ID: u64 = 1_000_000_000;
/// How an order says whose it is.
const OWNER: &[u8] = b"\"tradingSymbol\":\"";

/// A running broker; its thread ends with the process.
pub(crate) struct Broker {
    /// Of the authority that signed its certificate.
    pub ca_file: PathBuf,
    /// What it runs on, one thread on one core. A load that is run there too is never in another's way.
    pub runtime: Handle,
    manner: Manner,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    orders: AtomicU64,
    profiles: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    /// Who asked something from where.
    sources: Mutex<BTreeSet<(u64, IpAddr)>>,
}

/// What it has seen until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub orders: u64,
    /// Questions whether a token is good.
    pub profiles: u64,
    /// Orders and questions with somebody else's credentials, or with none.
    pub refused: u64,
}

/// A customer's id at the broker.
pub(crate) fn client_id(number: u64) -> String {
    (FIRST_ID + number).to_string()
}

/// A customer's token.
pub(crate) fn token(number: u64) -> String {
    crate::upstream::token(&client_id(number))
}

impl Broker {
    /// Start it on a thread that runs on `core` only.
    /// It closes connections that are idle for so long, as brokers do.
    pub(crate) fn start(core: usize, dir: &Path, manner: Manner, idle: Duration) -> Self {
        let (server, _, ca_pem) = certificates(manner);
        let ca_file = dir.join(format!("broker-{}-ca.pem", manner.number()));
        std::fs::write(&ca_file, ca_pem).expect("write the authority's certificate");
        let counts = Arc::new(Counts::default());
        let serving = Arc::clone(&counts);
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            crate::cpu::pin_this_thread(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let at = manner.at();
                let listener = TcpListener::bind(at).await.unwrap_or_else(|err| panic!("cannot listen on {at}: {err}"));
                ready.send(Handle::current()).expect("somebody waits for this");
                let manner = Serving { keep: manner == Manner::Keeps, idle };
                accept(listener, TlsAcceptor::from(server), serving, manner).await;
            });
        });
        let runtime = is_ready.recv().expect("the broker listens");
        Self { ca_file, runtime, manner, counts }
    }

    pub(crate) const fn at(&self) -> SocketAddrV6 {
        self.manner.at()
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen {
            orders: self.counts.orders.load(Relaxed),
            profiles: self.counts.profiles.load(Relaxed),
            refused: self.counts.refused.load(Relaxed),
        }
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.counts.open.load(Relaxed)
    }

    /// Do it; each order that was answered must have been placed once, by who should.
    pub(crate) fn checked<T>(&self, place: impl FnOnce() -> T, replies: impl FnOnce(&T) -> u64) -> T {
        let before = self.seen();
        let done = place();
        let after = self.seen();
        assert_eq!(after.refused, before.refused, "orders came with the credentials of another customer");
        assert_eq!(after.orders - before.orders, replies(&done), "orders at the broker against replies");
        done
    }

    /// Where a customer's orders came from.
    pub(crate) fn sources(&self, number: u64) -> Vec<IpAddr> {
        let sources = self.counts.sources.lock().expect("nobody panicked with it");
        let from = sources.range((number, IpAddr::V4([0; 4].into()))..);
        from.take_while(|(n, _)| *n == number).map(|(_, ip)| *ip).collect()
    }
}

/// What it does with connections.
#[derive(Clone, Copy)]
struct Serving {
    keep: bool,
    idle: Duration,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, counts: Arc<Counts>, how: Serving) {
    let mut connections = JoinSet::new();
    loop {
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
        let (tcp, peer) = listener.accept().await.expect("accept a connection");
        tcp.set_nodelay(true).expect("no delay");
        counts.open.fetch_add(1, Relaxed);
        let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            // Ends by an error when the other side hangs up, as it may.
            if let Ok(stream) = acceptor.accept(tcp).await {
                let _ = serve(stream, peer.ip(), &counts, how).await;
            }
            counts.open.fetch_sub(1, Relaxed);
        });
    }
}

/// Whom a connection is for.
struct Customer {
    number: u64,
    client_id: String,
    token: String,
}

enum Asked {
    Order,
    /// Whether this customer's token is good, which it is.
    Profile(u64),
    /// What is somebody else's, or nobody's.
    Refused,
    Other,
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    from: IpAddr,
    counts: &Counts,
    how: Serving,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    let mut customer = None;
    loop {
        let Some((length, asked)) = request(&buffer, &mut customer, from, counts) else {
            let read = tokio::time::timeout(how.idle, stream.read_buf(&mut buffer)).await;
            let Ok(count) = read else { return stream.shutdown().await };
            if count? == 0 {
                return Ok(());
            }
            continue;
        };
        buffer.drain(..length);
        let is_last = !how.keep && matches!(asked, Asked::Order);
        let reply = match asked {
            Asked::Order if how.keep => REPLY.into(),
            Asked::Order => LAST_REPLY.into(),
            Asked::Profile(number) => profile(number).into(),
            Asked::Refused => REFUSAL.into(),
            Asked::Other => NOT_FOUND.into(),
        };
        let reply: std::borrow::Cow<'_, str> = reply;
        stream.write_all(reply.as_bytes()).await?;
        stream.flush().await?;
        if is_last {
            // The gateway is to close first, so that the TIME_WAIT is its own, as it mostly is behind a real broker.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            return Ok(());
        }
    }
}

fn profile(number: u64) -> String {
    let body = json!({
        "dhanClientId": client_id(number), "tokenValidity": "01/01/2099 05:30", "activeSegment": "Equity, Derivative",
        "ddpi": "Deactive", "mtf": "Deactive", "dataPlan": "Deactive", "dataValidity": "NA",
    });
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The length of the request that `bytes` begin with, if it is whole, and what it is.
fn request(bytes: &[u8], customer: &mut Option<Customer>, from: IpAddr, counts: &Counts) -> Option<(usize, Asked)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = request.parse(bytes).expect("an HTTP request") else { return None };
    let length = head + content_length(request.headers).unwrap_or_default();
    let body = bytes.get(head..length)?;
    let field = |name: &str| request.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value);
    let is_order = match (request.method, request.path) {
        (Some("POST"), Some("/v2/orders")) => true,
        (Some("GET"), Some("/v2/profile")) => false,
        _ => return Some((length, Asked::Other)),
    };
    let owner = if is_order { orderer(body) } else { field("access-token").and_then(bearer) };
    if customer.is_none()
        && let Some(number) = owner
    {
        counts.sources.lock().expect("nobody panicked with it").insert((number, from));
        *customer = Some(Customer { number, client_id: client_id(number), token: token(number) });
    }
    let theirs = customer.as_ref().filter(|customer| {
        owner == Some(customer.number)
            && field("access-token") == Some(customer.token.as_bytes())
            && (!is_order || field("client-id") == Some(customer.client_id.as_bytes()))
    });
    let (counter, asked) = match theirs {
        None => (&counts.refused, Asked::Refused),
        Some(_) if is_order => (&counts.orders, Asked::Order),
        Some(customer) => (&counts.profiles, Asked::Profile(customer.number)),
    };
    counter.fetch_add(1, Relaxed);
    Some((length, asked))
}

/// Whose order it is, as it says itself.
fn orderer(body: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(body, OWNER)? + OWNER.len();
    let digits = body.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(body.get(at..at + digits)?).ok()?.parse().ok()
}

/// Whose token it is, as it says itself.
fn bearer(token: &[u8]) -> Option<u64> {
    let claims = BASE64URL_NOPAD.decode(token.split(|byte| *byte == b'.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let id: u64 = claims.get("dhanClientId")?.as_str()?.parse().ok()?;
    id.checked_sub(FIRST_ID)
}
