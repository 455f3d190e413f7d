//! What goes through the relays, and is it right?
//!
//! One thread, which is also the upstream's core. Every byte that comes back at a place where one is looked at must
//! be the one that was sent there; anything else ends the run.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::plain::{MORE, pattern};
use crate::upstream::content_length;

/// How long any step may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many connect at a time.
pub(crate) const TASKS: usize = 8;
/// What a stream is read into; a receive buffer's worth.
const READ: usize = 256 * 1024;

/// What came of a window of measuring.
pub(crate) struct Window<T> {
    pub elapsed: Duration,
    /// Bytes or connects while it was open.
    pub count: u64,
    pub opened: T,
    pub closed: T,
    /// Tunnels that were opened, before and after it too.
    pub tunnels: u64,
}

/// Where to, and what to say first.
#[derive(Clone)]
pub(crate) struct Way {
    at: SocketAddr,
    greeting: Option<Arc<str>>,
}

impl Way {
    /// `greeting` is to be answered with 200.
    pub(crate) fn new(at: SocketAddr, greeting: Option<&str>) -> Self {
        Self { at, greeting: greeting.map(Arc::from) }
    }

    /// A tunnel, with the first byte through it and back.
    async fn open(&self, byte: u8) -> io::Result<TcpStream> {
        let mut stream = connect(self.at).await?;
        if let Some(greeting) = &self.greeting {
            stream.write_all(greeting.as_bytes()).await?;
            let mut answer = Vec::with_capacity(256);
            // The upstream speaks only when it is spoken to, so nothing follows the answer.
            while !answer.ends_with(b"\r\n\r\n") {
                more(&mut stream, &mut answer).await?;
            }
            let text = String::from_utf8_lossy(&answer);
            assert!(text.starts_with("HTTP/1.1 200 "), "{} refused: {text}", self.at);
        }
        echo(&mut stream, byte).await?;
        Ok(stream)
    }
}

/// A runtime for one call, on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

async fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpSocket::new_v6()?.connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn echo(stream: &mut TcpStream, byte: u8) -> io::Result<()> {
    stream.write_all(&[byte]).await?;
    let back = stream.read_u8().await?;
    assert_eq!(back, byte, "another byte came back");
    Ok(())
}

/// A byte that is echoed.
fn some_byte(n: u64) -> u8 {
    pattern(n)
}

/// As many bytes as `streams` tunnels carry from the upstream.
pub(crate) fn bulk<T>(
    way: &Way,
    streams: usize,
    warm_up: Duration,
    window: Duration,
    probe: impl Fn() -> T,
) -> Window<T> {
    block_on(async {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for n in 0..streams as u64 {
            let stream = in_time(way.open(some_byte(n))).await;
            let bytes = Arc::clone(&bytes);
            tasks.spawn(async move { drain(stream, &bytes).await });
        }
        let mut window = watch(&mut tasks, warm_up, window, &bytes, probe).await;
        window.tunnels = streams as u64;
        window
    })
}

async fn drain(mut stream: TcpStream, bytes: &AtomicU64) -> io::Result<()> {
    stream.write_all(&[MORE]).await?;
    let mut buffer = vec![0; READ];
    let mut at = 0;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Both ends of each read: what is lost, doubled or swapped moves them.
        let last = at + count as u64 - 1;
        assert!(buffer[0] == pattern(at) && buffer[count - 1] == pattern(last), "other bytes at {at} to {last}");
        at = last + 1;
        bytes.fetch_add(count as u64, Relaxed);
    }
}

/// As many tunnels as can be opened, used for one byte and closed, [`TASKS`] at a time.
pub(crate) fn connects<T>(way: &Way, warm_up: Duration, window: Duration, probe: impl Fn() -> T) -> Window<T> {
    block_on(async {
        let done = Arc::new(AtomicU64::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (way, done, stopped) = (way.clone(), Arc::clone(&done), Arc::clone(&stopped));
            tasks.spawn(async move {
                while !stopped.load(Relaxed) {
                    let byte = some_byte(done.load(Relaxed));
                    drop(way.open(byte).await?);
                    done.fetch_add(1, Relaxed);
                }
                Ok(())
            });
        }
        let mut window = watch(&mut tasks, warm_up, window, &done, probe).await;
        stopped.store(true, Relaxed);
        while let Some(ended) = in_time(async { Ok(tasks.join_next().await) }).await {
            ended.expect("a connecting task").expect("a tunnel");
        }
        window.tunnels = done.load(Relaxed);
        window
    })
}

/// Look when the window opens and when it closes. No task may end meanwhile.
async fn watch<T>(
    tasks: &mut JoinSet<io::Result<()>>,
    warm_up: Duration,
    window: Duration,
    counter: &AtomicU64,
    probe: impl Fn() -> T,
) -> Window<T> {
    ends_early(tasks, warm_up).await;
    let (began, first, opened) = (Instant::now(), counter.load(Relaxed), probe());
    ends_early(tasks, window).await;
    let (elapsed, last, closed) = (began.elapsed(), counter.load(Relaxed), probe());
    Window { elapsed, count: last - first, opened, closed, tunnels: 0 }
}

async fn ends_early(tasks: &mut JoinSet<io::Result<()>>, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        Some(ended) = tasks.join_next() => panic!("a tunnel ended: {ended:?}"),
    }
}

/// Hold `count` tunnels that have each echoed a byte; `look` while they are idle.
pub(crate) fn idle_tunnels<T>(way: &Way, count: usize, look: impl FnOnce() -> T) -> T {
    block_on(async {
        let opening = way.clone();
        let mut streams = hold(count, move |n| {
            let way = opening.clone();
            async move { way.open(some_byte(n)).await }
        })
        .await;
        let seen = look();
        // Idle, not dead.
        for (n, stream) in (1..).zip(&mut streams) {
            in_time(echo(stream, some_byte(n))).await;
        }
        seen
    })
}

/// Hold `count` callers that have each got a reply to `request`; `look` while they are idle.
pub(crate) fn idle_callers<T>(at: SocketAddr, request: &[u8], count: usize, look: impl FnOnce() -> T) -> T {
    block_on(async {
        let request: Arc<[u8]> = request.into();
        let streams = hold(count, move |_| {
            let request = Arc::clone(&request);
            async move { call(at, &request).await }
        })
        .await;
        let seen = look();
        for stream in &streams {
            let ended = stream.try_read(&mut [0]);
            let alive = matches!(&ended, Err(err) if err.kind() == io::ErrorKind::WouldBlock);
            assert!(alive, "an idle caller's connection is no longer kept: {ended:?}");
        }
        seen
    })
}

/// Open so many, [`TASKS`] at a time, and keep them.
async fn hold<F>(count: usize, open: impl Fn(u64) -> F + Clone + Send + 'static) -> Vec<TcpStream>
where
    F: Future<Output = io::Result<TcpStream>> + Send,
{
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let open = open.clone();
        tasks.spawn(async move {
            let mut streams = Vec::new();
            for n in (task..count).step_by(TASKS) {
                streams.push(in_time(open(n as u64)).await);
            }
            streams
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn call(at: SocketAddr, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = connect(at).await?;
    stream.write_all(request).await?;
    let mut reply = Vec::with_capacity(1024);
    while !is_whole(&reply) {
        more(&mut stream, &mut reply).await?;
    }
    Ok(stream)
}

/// Is this one whole reply? Panics if it is another one than was wanted.
fn is_whole(bytes: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut reply = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = reply.parse(bytes) else { return false };
    assert_eq!(reply.code, Some(200), "a reply that was not wanted: {}", String::from_utf8_lossy(bytes));
    bytes.len() == head + content_length(reply.headers).expect("a reply with a length")
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> T {
    tokio::time::timeout(PATIENCE, step).await.expect("done in time").expect("done")
}
