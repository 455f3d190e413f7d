//! An open loop: requests are due at fixed times, whether or not those before them are answered.
//!
//! Latency counts from when a request was due, so one that finds its connection busy, or its sender late, has waited,
//! and that shows (the other way, counting from when it was sent, leaves out exactly the worst moments).
//!
//! It runs on the upstream's thread, in one event loop that never sleeps while a load runs. On two cores that is what
//! is most exact: no timer is coarse, no wake-up of this side is measured, and nothing waits for a core that spins.
//! What it costs: a request that becomes due while the upstream is at work waits for that, some tens of microseconds;
//! how late it was is in [`Outcome::lag`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::load::{PATIENCE, connect, is_whole};
use crate::upstream::HOST;

/// How long the replies to a window's last requests may take. Past it the peer cannot bear the rate at all.
const BACKLOG: Duration = Duration::from_secs(60);

/// What to send, when, and for how long.
pub(crate) struct Plan {
    pub at: SocketAddr,
    /// Speak TLS there, as to the upstream.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Sent one after the other, and from the first again.
    pub requests: Vec<Bytes>,
    /// They take turns, whether free or not, as callers that know nothing of each other.
    pub connections: usize,
    /// A second.
    pub rate: u32,
    /// Requests before the window are sent likewise, and not counted.
    pub warm_up: Duration,
    pub window: Duration,
}

/// What came of it. Times in nanoseconds.
pub(crate) struct Outcome {
    /// From when a request was due until its reply was here whole.
    pub latency: Histogram<u64>,
    /// From when a request was due until the generator got to it.
    pub lag: Histogram<u64>,
    /// From when the window's first request was due until its last was answered.
    pub elapsed: Duration,
    /// Before the window too.
    pub replies_in_all: u64,
}

/// A request that is due.
struct Due {
    at: Instant,
    counts: bool,
    request: Bytes,
}

/// Run it there. Panics if anything but 200 comes back.
pub(crate) fn run(runtime: &Handle, plan: Plan) -> Outcome {
    let (done, is_done) = mpsc::channel();
    let mut load = JoinSet::new();
    load.spawn_on(
        async move {
            // Nobody is left to tell only if the waiting thread panicked.
            let _ = done.send(drive(plan).await);
        },
        runtime,
    );
    is_done.recv().expect("the load came to its end")
}

async fn drive(plan: Plan) -> Outcome {
    let (before, counted) = (requests(plan.rate, plan.warm_up), requests(plan.rate, plan.window).max(1));
    let each = usize::try_from(before + counted).expect("a number of requests") / plan.connections + 1;
    let latency = Arc::new(Mutex::new(histogram()));
    let mut tasks = JoinSet::new();
    let mut queues = Vec::new();
    for _ in 0..plan.connections {
        let tcp = tokio::time::timeout(PATIENCE, connect(plan.at)).await.expect("connected in time");
        let tcp = tcp.unwrap_or_else(|err| panic!("cannot connect to {}: {err}", plan.at));
        // All that are ever for this connection fit in.
        let (queue, dues) = tokio::sync::mpsc::channel(each);
        queues.push(queue);
        let latency = Arc::clone(&latency);
        match &plan.tls {
            None => tasks.spawn(answer(tcp, dues, latency)),
            Some(config) => {
                let name = ServerName::try_from(HOST).expect("a name");
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.expect("TLS");
                tasks.spawn(answer(stream, dues, latency))
            }
        };
    }

    let mut lag = histogram();
    let begin = Instant::now() + Duration::from_millis(5);
    let due = |n: u64| begin + Duration::from_nanos(n * 1_000_000_000 / u64::from(plan.rate));
    for n in 0..before + counted {
        let at = due(n);
        // To yield polls the sockets, without waiting for them.
        while Instant::now() < at {
            tokio::task::yield_now().await;
        }
        let counts = n >= before;
        if counts {
            record(&mut lag, at.elapsed());
        }
        let turn = usize::try_from(n).expect("a number of requests");
        let due = Due { at, counts, request: plan.requests[turn % plan.requests.len()].clone() };
        queues[turn % queues.len()].try_send(due).unwrap_or_else(|err| panic!("a connection ended: {err}"));
    }
    drop(queues);
    let ended = async {
        // Until the last reply too this side must not fall asleep.
        while !tasks.is_empty() {
            match tasks.try_join_next() {
                Some(ended) => ended.expect("a connection's task"),
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(BACKLOG, ended).await.expect("the replies to all requests");
    let latency = latency.lock().expect("nobody panicked with it").clone();
    Outcome { latency, lag, elapsed: due(before).elapsed(), replies_in_all: before + counted }
}

/// How many are due in this time.
fn requests(rate: u32, time: Duration) -> u64 {
    (f64::from(rate) * time.as_secs_f64()) as u64
}

/// Of times up to the longest that is waited, to three digits.
fn histogram() -> Histogram<u64> {
    let longest = u64::try_from((BACKLOG * 2).as_nanos()).expect("nanoseconds");
    Histogram::new_with_bounds(1, longest, 3).expect("bounds of a histogram")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// One connection: what is due, one after the other.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut dues: tokio::sync::mpsc::Receiver<Due>,
    latency: Arc<Mutex<Histogram<u64>>>,
) {
    let mut buffer = Vec::with_capacity(4096);
    while let Some(due) = dues.recv().await {
        stream.write_all(&due.request).await.expect("a kept-alive connection");
        stream.flush().await.expect("a kept-alive connection");
        buffer.clear();
        while !is_whole(&buffer) {
            let read = stream.read_buf(&mut buffer).await.expect("a kept-alive connection");
            assert!(read > 0, "a kept-alive connection ended");
        }
        if due.counts {
            record(&mut latency.lock().expect("nobody panicked with it"), due.at.elapsed());
        }
    }
}
