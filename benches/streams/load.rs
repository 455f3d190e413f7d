//! Callers with WebSockets: what they are sent at fixed times, as fast as it goes, or once.
//!
//! All of it runs on the broker's thread, in one event loop that does not sleep while messages are due: see
//! `latency/open_loop.rs`, which gives the reasons, for why times count from when a message was due.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use hdrhistogram::Histogram;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::broker::{Broker, FEED, Say, due_and_counts, message};

/// How long any step may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon a refused handshake is tried again: a place is free a moment after its last socket's end.
const AGAIN: Duration = Duration::from_millis(20);
/// What all times count from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How a caller gets a WebSocket.
#[derive(Clone)]
pub(crate) struct Way {
    pub at: SocketAddr,
    /// What asks for a tunnel, if one is needed.
    pub connect: Option<String>,
    /// Speak TLS then, with the feed's host.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What asks for the WebSocket, by turns.
    pub asks: Vec<String>,
}

/// A caller's open WebSocket.
pub(crate) struct Socket {
    stream: Box<dyn Stream>,
    input: BytesMut,
}

impl Way {
    /// The `n`-th socket.
    async fn open(&self, n: usize) -> Socket {
        let opened = async {
            loop {
                if let Some(socket) = self.try_open(n).await {
                    return socket;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, opened).await.expect("a WebSocket in time")
    }

    /// `None` if its account has as many as it may have.
    async fn try_open(&self, n: usize) -> Option<Socket> {
        let socket = if self.at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.expect("a socket");
        let tcp = socket.connect(self.at).await.unwrap_or_else(|err| panic!("cannot connect to {}: {err}", self.at));
        tcp.set_nodelay(true).expect("no delay");
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if let Some(connect) = &self.connect {
            let reply = ask(&mut stream, connect).await;
            assert!(reply.starts_with("HTTP/1.1 200 "), "{connect}{reply}");
        }
        if let Some(config) = &self.tls {
            let name = ServerName::try_from(FEED).expect("a name");
            stream = Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await.expect("TLS"));
        }
        let asks = &self.asks[n % self.asks.len()];
        let reply = ask(&mut stream, asks).await;
        if reply.starts_with("HTTP/1.1 429 ") {
            return None;
        }
        assert!(reply.starts_with("HTTP/1.1 101 "), "{asks}{reply}");
        Some(Socket { stream, input: BytesMut::new() })
    }
}

/// Byte for byte: what follows a head is not to be lost.
async fn ask(stream: &mut Box<dyn Stream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("a request");
    stream.flush().await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

impl Socket {
    /// Read on, answer pings, and hand the payloads of messages to `hear`.
    async fn read(&mut self, mut hear: impl FnMut(&[u8])) {
        let count = self.stream.read_buf(&mut self.input).await.expect("a WebSocket that stays");
        assert!(count > 0, "a WebSocket ended");
        while let Some((opcode, head, length)) = frame(&self.input) {
            if self.input.len() < head + length {
                break;
            }
            self.input.advance(head);
            let payload = self.input.split_to(length);
            match opcode {
                2 => hear(&payload),
                9 => {
                    let mut pong = vec![0x8a, 0x80 | length as u8, 0, 0, 0, 0];
                    pong.extend_from_slice(&payload);
                    self.stream.write_all(&pong).await.expect("a pong");
                    self.stream.flush().await.expect("a pong");
                }
                other => panic!("a frame that nobody sent: opcode {other}, {payload:?}"),
            }
        }
    }
}

/// Opcode, and the lengths of head and payload, of the frame that bytes begin with.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let &[first, second, ..] = bytes else { return None };
    match second {
        126 => Some((first & 0x0f, 4, u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]).into())),
        127 => panic!("nobody sends frames of 64 KiB"),
        length => Some((first & 0x0f, 2, length.into())),
    }
}

/// Run a future there and wait for its value.
fn on<T: Send + 'static>(runtime: &Handle, future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    let mut task = JoinSet::new();
    task.spawn_on(
        async move {
            // Nobody is left to tell only if the waiting thread panicked.
            let _ = done.send(future.await);
        },
        runtime,
    );
    is_done.recv().expect("the load came to its end")
}

async fn open_all(way: &Way, broker: &Broker, count: usize) -> Vec<Socket> {
    let mut sockets = Vec::with_capacity(count);
    for n in 0..count {
        sockets.push(way.open(n).await);
    }
    assert_eq!(broker.sockets().len(), count, "WebSockets at the broker against those that were opened");
    sockets
}

/// What is sent at fixed times.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// They take turns.
    pub sockets: usize,
    /// Messages a second, over all sockets.
    pub rate: u32,
    /// Those before the ones that count.
    pub before: u64,
    pub counted: u64,
}

/// What came of it. Times in nanoseconds.
pub(crate) struct Outcome {
    /// From when a message was due at the broker until its caller had it whole.
    pub latency: Histogram<u64>,
    /// From when it was due until the broker got to it.
    pub lag: Histogram<u64>,
}

/// Send messages at fixed times. Panics if one is missing, or another than was sent.
pub(crate) fn at_fixed_times(broker: &Arc<Broker>, way: &Way, plan: Plan) -> Outcome {
    let (own, way) = (Arc::clone(broker), way.clone());
    on(&broker.runtime, async move {
        let sockets = open_all(&way, &own, plan.sockets).await;
        let says = own.sockets();
        let (latency, heard) = (Arc::new(Mutex::new(histogram())), Arc::new(AtomicU64::new(0)));
        let mut callers = JoinSet::new();
        for mut socket in sockets {
            let (latency, heard) = (Arc::clone(&latency), Arc::clone(&heard));
            callers.spawn(async move {
                loop {
                    socket
                        .read(|payload| {
                            let (due, counts) = due_and_counts(payload);
                            if counts {
                                let mut latency = latency.lock().expect("nobody panicked with it");
                                latency.saturating_record(since_epoch().saturating_sub(due).max(1));
                            }
                            heard.fetch_add(1, Relaxed);
                        })
                        .await;
                }
            });
        }
        let mut lag = histogram();
        let begin = since_epoch() + 5_000_000;
        let all = plan.before + plan.counted;
        for n in 0..all {
            let due = begin + n * 1_000_000_000 / u64::from(plan.rate);
            // To yield polls the sockets, without waiting for them.
            while since_epoch() < due {
                tokio::task::yield_now().await;
            }
            let counts = n >= plan.before;
            if counts {
                lag.saturating_record((since_epoch() - due).max(1));
            }
            let turn = usize::try_from(n).expect("a number of messages") % says.len();
            says[turn].send(Say::Frame(message(due, counts))).unwrap_or_else(|_| panic!("a WebSocket ended"));
        }
        let by = Instant::now() + PATIENCE;
        while heard.load(Relaxed) < all {
            assert!(Instant::now() < by, "{} of {all} messages came", heard.load(Relaxed));
            assert!(callers.try_join_next().is_none(), "a caller's task ended");
            tokio::task::yield_now().await;
        }
        let latency = latency.lock().expect("nobody panicked with it").clone();
        assert_eq!(latency.len(), plan.counted);
        Outcome { latency, lag }
    })
}

/// What came of a window of measuring.
pub(crate) struct Window<T> {
    pub elapsed: Duration,
    /// Messages that callers had while it was open.
    pub messages: u64,
    pub opened: T,
    pub closed: T,
}

/// Send as fast as it goes, with a look by `probe` when the window opens and when it closes.
pub(crate) fn as_fast_as_it_goes<T: Send + 'static>(
    broker: &Arc<Broker>,
    way: &Way,
    sockets: usize,
    (warm_up, window): (Duration, Duration),
    probe: impl Fn() -> T + Send + 'static,
) -> Window<T> {
    let (own, way) = (Arc::clone(broker), way.clone());
    on(&broker.runtime, async move {
        let open = open_all(&way, &own, sockets).await;
        let messages = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for mut socket in open {
            let messages = Arc::clone(&messages);
            callers.spawn(async move {
                loop {
                    let mut count = 0;
                    socket
                        .read(|payload| {
                            due_and_counts(payload);
                            count += 1;
                        })
                        .await;
                    messages.fetch_add(count, Relaxed);
                }
            });
        }
        for says in own.sockets() {
            says.send(Say::Flood).unwrap_or_else(|_| panic!("a WebSocket ended"));
        }
        ends_early(&mut callers, warm_up).await;
        let (began, first, opened) = (Instant::now(), messages.load(Relaxed), probe());
        ends_early(&mut callers, window).await;
        let (elapsed, last, closed) = (began.elapsed(), messages.load(Relaxed), probe());
        Window { elapsed, messages: last - first, opened, closed }
    })
}

/// Wait; no WebSocket may end meanwhile.
async fn ends_early(callers: &mut JoinSet<()>, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        Some(ended) = callers.join_next() => panic!("a WebSocket ended: {ended:?}"),
    }
}

/// Hold so many, each of which has had a message, while `look` looks.
pub(crate) fn held<T: Send + 'static>(
    broker: &Arc<Broker>,
    way: &Way,
    count: usize,
    look: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (own, way) = (Arc::clone(broker), way.clone());
    on(&broker.runtime, async move {
        let mut sockets = open_all(&way, &own, count).await;
        for says in own.sockets() {
            says.send(Say::Frame(message(0, true))).unwrap_or_else(|_| panic!("a WebSocket ended"));
        }
        for socket in &mut sockets {
            let mut heard = false;
            while !heard {
                tokio::time::timeout(PATIENCE, socket.read(|_| heard = true)).await.expect("a message in time");
            }
        }
        look()
    })
}

fn since_epoch() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).expect("nanoseconds")
}

/// Of times up to the longest that is waited, to three digits.
fn histogram() -> Histogram<u64> {
    let longest = u64::try_from((PATIENCE * 2).as_nanos()).expect("nanoseconds");
    Histogram::new_with_bounds(1, longest, 3).expect("bounds of a histogram")
}
