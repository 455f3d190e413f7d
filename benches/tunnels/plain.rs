//! The far end of a tunnel: plain TCP, so that what is measured is the relay and not TLS.
//!
//! A connection's bytes come back as they are, until it sends [`MORE`]: from then on it gets the bytes of
//! [`pattern`] as fast as it takes them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where it listens.
pub(crate) const AT: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1), 9000, 0, 0);
/// Asks for bytes without end.
pub(crate) const MORE: u8 = 0xff;
/// After so many bytes the pattern begins anew: a prime, so that a lost or doubled buffer shows.
const PERIOD: usize = 251;

/// A running one; its thread ends with the process.
pub(crate) struct Plain {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    open: AtomicU64,
    connections: Mutex<BTreeMap<IpAddr, u64>>,
}

/// What the stream without end has at this place.
pub(crate) const fn pattern(at: u64) -> u8 {
    (at % PERIOD as u64) as u8
}

impl Plain {
    /// Start it on a thread that runs on `core` only.
    pub(crate) fn start(core: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            crate::cpu::pin_this_thread(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = listen(AT.into()).unwrap_or_else(|err| panic!("cannot listen on {AT}: {err}"));
                ready.send(()).expect("somebody waits for this");
                accept(listener, counting).await;
            });
        });
        is_ready.recv().expect("the upstream listens");
        Self { counts }
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.counts.open.load(Relaxed)
    }

    /// Connections until now, by the address they came from.
    pub(crate) fn connections(&self) -> BTreeMap<IpAddr, u64> {
        self.counts.connections.lock().expect("nobody panicked with it").clone()
    }
}

/// With a backlog for thousands at once.
fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, counts: Arc<Counts>) {
    // A whole number of periods: written again and again it goes on where it ended.
    let block: Arc<[u8]> = (0..PERIOD as u64 * 1024).map(pattern).collect();
    let mut connections = JoinSet::new();
    loop {
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
        let (stream, peer) = listener.accept().await.expect("accept a connection");
        stream.set_nodelay(true).expect("no delay");
        *counts.connections.lock().expect("nobody panicked with it").entry(peer.ip()).or_default() += 1;
        counts.open.fetch_add(1, Relaxed);
        let (block, counts) = (Arc::clone(&block), Arc::clone(&counts));
        connections.spawn(async move {
            // Ends by an error when the load hangs up within the stream without end, as it does.
            let _ = serve(stream, &block).await;
            counts.open.fetch_sub(1, Relaxed);
        });
    }
}

async fn serve(mut stream: TcpStream, block: &[u8]) -> io::Result<()> {
    // Small: thousands of idle tunnels have one each, in the load's process.
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count if buffer[..count].contains(&MORE) => break,
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
    loop {
        stream.write_all(block).await?;
    }
}
