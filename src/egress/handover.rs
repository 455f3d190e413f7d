//! A way for reqwest to leave by an exit.
//!
//! reqwest dials by itself, and cannot bind as [`super::source`] does. So the
//! connection is made first, by the exit, as for an order; then it is handed to
//! reqwest over a unix socket that serves exactly one connection, to this process.
//! reqwest makes TLS over it, so only ciphertext crosses the socket.
//!
//! Invariants:
//! - A client has one connection and can make no other: what it cannot send on that
//!   one, it does not send.
//! - Abstract names are seen by every process of the network namespace (`/proc/net/unix`),
//!   so whoever connects must be this process (`SO_PEERCRED`); anybody else is dropped.
//! - The exit's own TLS configuration is used, and with it its own sessions.

use std::io;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::Authority;
use crate::domain::tasks::Tasks;

/// What a broker's gate sees of us. A request without it looks like a robot's.
const USER_AGENT: &str = concat!("sixgate/", env!("CARGO_PKG_VERSION"));

/// A reqwest client whose one connection is made already, by an exit. Dropping it
/// ends the connection.
#[derive(Debug)]
pub struct OneCall {
    client: reqwest::Client,
    base: String,
    _open: DropGuard,
}

/// How long the parts of a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the beginning to the end of TLS, after which the request is sent.
    pub(super) until_sent: Duration,
    /// From the beginning to the end of the reply.
    pub(super) whole: Duration,
}

impl OneCall {
    /// Hand `stream`, which leads to `to`, to a client of its own.
    pub(super) fn over(
        stream: TcpStream,
        to: &Authority,
        tls: rustls::ClientConfig,
        limits: Limits,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // The NUL in front makes it abstract: there is no file, and none is left behind.
        let name = format!("\0sixgate-{}", HEXLOWER.encode(&random));
        let listener = UnixListener::bind(&name)?;
        let client = reqwest::Client::builder()
            .unix_socket(name.as_str())
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(USER_AGENT)
            .pool_max_idle_per_host(0)
            .connect_timeout(limits.until_sent)
            .timeout(limits.whole)
            .build()
            .map_err(|err| io::Error::other(err.without_url()))?;
        let ended = CancellationToken::new();
        let stopping = tasks.clone();
        let carry = carry(listener, stream, ended.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = carry => {}
                () = stopping.stopping() => {}
            }
        });
        Ok(Self { client, base: format!("https://{to}"), _open: ended.drop_guard() })
    }

    /// A request for `path_and_query`, which begins with a slash. Send it once.
    pub fn request(&self, method: reqwest::Method, path_and_query: &str) -> reqwest::RequestBuilder {
        self.client.request(method, [self.base.as_str(), path_and_query].concat())
    }
}

/// Wait for our own end, then copy both ways until one closes or `ended` is called.
async fn carry(listener: UnixListener, mut stream: TcpStream, ended: CancellationToken) {
    let copied = async {
        let mut own = match own_connection(&listener).await {
            Ok(own) => own,
            Err(err) => {
                tracing::warn!(error = %err, "a private socket failed; the call that was to use it was not sent");
                return;
            }
        };
        drop(listener);
        if let Err(err) = copy_bidirectional(&mut own, &mut stream).await {
            tracing::debug!(error = %err, "a connection for a call of our own ended");
        }
    };
    tokio::select! {
        () = copied => {}
        () = ended.cancelled() => {}
    }
}

/// The first connection that is this process's.
async fn own_connection(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        let pid = stream.peer_cred()?.pid();
        if is_own(pid) {
            return Ok(stream);
        }
        tracing::warn!(pid, "another process connected to a private socket; it was turned away");
    }
}

fn is_own(pid: Option<i32>) -> bool {
    pid.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A stream and its other end.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let near = TcpSocket::new_v6().unwrap().connect(at).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    fn tls() -> rustls::ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    }

    /// The name shows in /proc/net/unix: whoever is faster than reqwest must neither get
    /// the connection nor keep reqwest from it.
    #[tokio::test]
    async fn another_process_is_turned_away_and_our_own_is_served() {
        let (near, mut far) = pair().await;
        let name = format!("\0sixgate-test-{}", std::process::id());
        let listener = UnixListener::bind(&name).unwrap();
        let script = format!(
            "import socket\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(10)\ns.connect(b'\\0{}')\nassert s.recv(9) == b''",
            name.trim_start_matches('\0')
        );
        let mut thief = Command::new("python3").args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap();
        let tasks = Tasks::default();
        let ended = CancellationToken::new();
        let carried = tasks.spawn(carry(listener, near, ended.clone()));
        let waited = tokio::task::spawn_blocking(move || thief.wait().unwrap()).await.unwrap();
        assert!(waited.success(), "it was not turned away");

        let mut own = UnixStream::connect(&name).await.unwrap();
        own.write_all(b"ours").await.unwrap();
        let mut got = [0u8; 4];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ours");
        // There is one connection, and no second.
        assert!(UnixStream::connect(&name).await.is_err());
        ended.cancel();
        carried.await.unwrap();
        assert_eq!(far.read(&mut got).await.unwrap(), 0, "the connection ends with the call");
    }

    /// A failed handshake is proof that nothing of the request was sent; a keeper
    /// relies on it.
    #[tokio::test]
    async fn a_failed_handshake_is_told_as_such_and_the_connection_ends_with_the_client() {
        let (near, mut far) = pair().await;
        let tasks = Tasks::default();
        let to = Authority::parse("api.dhan.co:443", None).unwrap();
        let limits = Limits { until_sent: Duration::from_secs(5), whole: Duration::from_secs(5) };
        let one = OneCall::over(near, &to, tls(), limits, &tasks).unwrap();
        let answer = async {
            let mut hello = [0u8; 512];
            assert!(far.read(&mut hello).await.unwrap() > 0);
            far.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        };
        let (sent, ()) = tokio::join!(one.request(reqwest::Method::GET, "/x?secret=1").send(), answer);
        let err = sent.unwrap_err();
        assert!(err.is_connect(), "{err:?}");
        assert!(!format!("{:?}", err.without_url()).contains("secret"));
        drop(one);
        let mut rest = Vec::new();
        let _reset_or_end = far.read_to_end(&mut rest).await;
        assert_eq!(tasks.stop(Duration::from_secs(5)).await, crate::domain::tasks::Stopped::Clean);
    }
}
