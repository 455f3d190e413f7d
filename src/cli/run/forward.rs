//! The only ways out of an isolated command's namespace.
//!
//! The listening sockets were made inside and are accepted on out here, so what comes by them is carried from one network
//! to the other by this process and by nothing that the command could use: there is no route, no socket and no key in
//! there. A connection to one of the broker's names becomes a tunnel through the gateway; one to a host that was allowed
//! goes there; any other is closed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::listener::At;
use super::plan::{Route, Routes};
use crate::domain::lock;
use crate::domain::tasks::Tasks;

/// The longest reply to a `CONNECT` that is read.
const LONGEST_REPLY: usize = 16 * 1024;
/// After a failure to accept, which is nearly always a want of descriptors.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// So many different lines are told at most.
const MOST_TOLD: usize = 32;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Carries connections out of a namespace. No `Debug`: it holds a key.
pub(super) struct Forwarder {
    routes: Routes,
    gateway: Gateway,
    is_used: AtomicBool,
    told: Mutex<BTreeSet<String>>,
}

/// How the gateway is reached, and as whom.
pub(super) struct Gateway {
    at: At,
    /// `Basic` credentials, where the listener asks for them.
    credentials: Option<Zeroizing<String>>,
    tls: Option<TlsConnector>,
}

impl Gateway {
    /// A listener, and the account and key that it wants to see. `roots` are trusted where it speaks TLS.
    ///
    /// # Errors
    /// There is no TLS.
    pub(super) fn new(
        at: At,
        caller: Option<(&str, &str)>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, rustls::Error> {
        let credentials = caller.map(|(account, key)| {
            let text = Zeroizing::new(format!("{account}:{key}"));
            Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(text.as_bytes())))
        });
        let tls = if matches!(at, At::Tcp { tls: true, .. }) { Some(connector(roots)?) } else { None };
        Ok(Self { at, credentials, tls })
    }

    /// # Errors
    /// Nobody is there.
    pub(super) async fn reach(&self) -> io::Result<Box<dyn Stream>> {
        let (host, port) = match &self.at {
            At::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            At::Tcp { host, port, .. } => (host, *port),
        };
        let stream = connect(host, port).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    /// A tunnel to `target`; or what the gateway said instead.
    async fn tunnel(&self, target: &str) -> io::Result<Result<Box<dyn Stream>, Vec<u8>>> {
        let mut stream = self.reach().await?;
        let credentials = self.credentials.as_ref().map_or("", |text| text.as_str());
        let program = concat!("sixgate-run/", env!("CARGO_PKG_VERSION"));
        let head = Zeroizing::new(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {program}\r\n{credentials}\r\n"
        ));
        stream.write_all(head.as_bytes()).await?;
        let mut reply = Vec::new();
        // A byte at a time, once a connection: what comes behind the head is not ours to read.
        while !reply.ends_with(b"\r\n\r\n") && reply.len() < LONGEST_REPLY {
            reply.push(stream.read_u8().await?);
        }
        let status = reply.split(|byte| *byte == b' ').nth(1);
        if status == Some(b"200") {
            return Ok(Ok(stream));
        }
        // Its text says why, and ends with the connection or with itself; whichever comes, it is told as it came.
        let mut rest = vec![0; LONGEST_REPLY];
        let length = stream.read(&mut rest).await.unwrap_or_default();
        reply.extend_from_slice(rest.get(..length).unwrap_or_default());
        Ok(Err(reply))
    }
}

/// A connection from here. Not from an account's address: it leads to the gateway, or to what a person allowed.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        match socket.connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(err) => last = err,
        }
    }
    Err(last)
}

fn connector(roots: &[CertificateDer<'static>]) -> Result<TlsConnector, rustls::Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(store).with_no_client_auth()).into())
}

impl Forwarder {
    pub(super) fn new(routes: Routes, gateway: Gateway) -> Arc<Self> {
        Arc::new(Self { routes, gateway, is_used: AtomicBool::new(false), told: Mutex::default() })
    }

    /// Has anything gone to the gateway?
    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// Accept on a socket of the namespace until this process ends.
    ///
    /// # Errors
    /// The socket cannot be waited for.
    pub(super) fn serve(self: &Arc<Self>, socket: std::net::TcpListener, tasks: &Tasks) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let (socket, this, own) = (TcpListener::from_std(socket)?, Arc::clone(self), tasks.clone());
        tasks.spawn(async move {
            loop {
                match socket.accept().await {
                    Ok((stream, _)) => {
                        let this = Arc::clone(&this);
                        own.spawn(async move { this.carry(stream).await });
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
        Ok(())
    }

    async fn carry(&self, mut inside: TcpStream) {
        let Ok(to) = inside.local_addr() else { return };
        let _ = inside.set_nodelay(true);
        let mut outside: Box<dyn Stream> = match self.routes.get(&(to.ip(), to.port())) {
            None => return self.tell(&refused(to)),
            Some(Route::Direct { host, port }) => match connect(host, *port).await {
                Ok(stream) => Box::new(stream),
                Err(err) => return self.tell(&format!("{host}:{port} is not reached: {err}")),
            },
            Some(Route::Gateway(target)) => match self.gateway.tunnel(target).await {
                Ok(Ok(stream)) => {
                    self.is_used.store(true, Ordering::Relaxed);
                    stream
                }
                Ok(Err(reply)) => {
                    self.is_used.store(true, Ordering::Relaxed);
                    self.tell(&format!("the gateway refuses {target}: {}", in_words(&reply)));
                    // Who speaks no TLS can read it.
                    if to.port() != 443 {
                        let _ = inside.write_all(&reply).await;
                        let _ = inside.shutdown().await;
                    }
                    return;
                }
                Err(err) => return self.tell(&format!("the gateway at {} is not reached: {err}", self.gateway.at)),
            },
        };
        let _ = copy_bidirectional(&mut inside, &mut outside).await;
    }

    /// Once: an engine that tries again all day would fill the terminal.
    fn tell(&self, line: &str) {
        let mut told = lock(&self.told);
        if told.len() < MOST_TOLD && told.insert(line.to_owned()) {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "sixgate run: {line}");
        }
    }
}

fn refused(to: SocketAddr) -> String {
    format!("{to} leads nowhere; --allow HOST:PORT lets the command reach a host besides")
}

/// What a refusal says, in a line: its `detail`, else its first line.
fn in_words(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    crate::cli::text::clean(detail.unwrap_or_else(|| head.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_gateway_s_words() {
        let reply = b"HTTP/1.1 403 Forbidden\r\nContent-Type: x\r\n\r\n{\"detail\":\"the account\\u001b is halted\"}";
        assert_eq!(in_words(reply), "the account  is halted");
        assert_eq!(in_words(b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"), "HTTP/1.1 502 Bad Gateway");
        assert_eq!(in_words(b""), "");
    }
}
