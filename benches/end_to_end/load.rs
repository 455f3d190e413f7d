//! A closed loop: every connection sends its next request when it has the reply to the last one.
//!
//! It must not be what is slow. It has one thread and no HTTP library: the request is bytes that were made before, and
//! of a reply only the status and the length are read. Whether that was enough is seen in the report, which shows how
//! much of the load's core lay idle while the peer's was full.
//!
//! Not here: latency. A closed loop waits with the peer and so does not see its worst moments.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::upstream::HOST;

/// How long any step may take before the run is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What to send, and for how long.
pub(crate) struct Load {
    pub at: SocketAddr,
    /// Speak TLS there, as to the upstream.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Dealt out to the connections in turn; each repeats its own.
    pub requests: Vec<Bytes>,
    pub connections: usize,
    pub warm_up: Duration,
    pub window: Duration,
}

/// What came of it.
pub(crate) struct Window<T> {
    pub elapsed: Duration,
    /// Replies while the window was open.
    pub replies: u64,
    /// Before and after it too.
    pub replies_in_all: u64,
    pub opened: T,
    pub closed: T,
}

#[derive(Default)]
struct Shared {
    replies: AtomicU64,
    stop: AtomicBool,
}

/// Run it on `core`, with a look by `probe` when the window opens and when it closes. Panics if anything but 200 comes
/// back: such a figure would be of something else.
pub(crate) fn run<T: Send>(core: usize, load: &Load, probe: impl Fn() -> T + Send) -> Window<T> {
    let measure = || {
        crate::cpu::pin_this_thread(core);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(drive(load, probe))
    };
    std::thread::scope(|scope| match scope.spawn(measure).join() {
        Ok(window) => window,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

async fn drive<T>(load: &Load, probe: impl Fn() -> T) -> Window<T> {
    let shared = Arc::new(Shared::default());
    let mut tasks = JoinSet::new();
    for request in load.requests.iter().cycle().take(load.connections) {
        let tcp = tokio::time::timeout(PATIENCE, connect(load.at)).await.expect("connected in time");
        let tcp = tcp.unwrap_or_else(|err| panic!("cannot connect to {}: {err}", load.at));
        let (request, shared) = (request.clone(), Arc::clone(&shared));
        match &load.tls {
            None => tasks.spawn(async move { repeat(tcp, &request, &shared).await }),
            Some(config) => {
                let name = ServerName::try_from(HOST).expect("a name");
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.expect("TLS");
                tasks.spawn(async move { repeat(stream, &request, &shared).await })
            }
        };
    }
    let opens = tokio::time::sleep(load.warm_up);
    ends_early(&mut tasks, opens).await;
    let (began, first, opened) = (Instant::now(), shared.replies.load(Relaxed), probe());
    let closes = tokio::time::sleep(load.window);
    ends_early(&mut tasks, closes).await;
    let (elapsed, last, closed) = (began.elapsed(), shared.replies.load(Relaxed), probe());
    shared.stop.store(true, Relaxed);
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a connection's task").expect("a kept-alive connection");
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the last replies came in time");
    Window { elapsed, replies: last - first, replies_in_all: shared.replies.load(Relaxed), opened, closed }
}

/// Wait; no connection may end meanwhile.
async fn ends_early(tasks: &mut JoinSet<io::Result<()>>, wait: tokio::time::Sleep) {
    tokio::select! {
        () = wait => {}
        Some(ended) = tasks.join_next() => panic!("a kept-alive connection ended: {ended:?}"),
    }
}

pub(crate) async fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? }.connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn repeat<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8], shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    while !shared.stop.load(Relaxed) {
        stream.write_all(request).await?;
        stream.flush().await?;
        buffer.clear();
        while !is_whole(&buffer) {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        shared.replies.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Is this one whole reply? Panics if it is another one than was wanted.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut reply = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = reply.parse(bytes) else { return false };
    assert_eq!(reply.code, Some(200), "a reply that was not wanted: {}", String::from_utf8_lossy(bytes));
    let length = crate::upstream::content_length(reply.headers).expect("a reply with a length");
    assert!(bytes.len() <= head + length, "more than a reply: {}", String::from_utf8_lossy(bytes));
    bytes.len() == head + length
}
