//! A listener that answers as if it were the broker itself.
//!
//! An entry in `/etc/hosts`, a DNS answer, or nftables (REDIRECT, TPROXY) brings programs here that know no proxy. The
//! broker's host is named by the TLS handshake (server name indication, RFC 6066 section 3) or, without TLS, by `Host`.
//! Only the broker's hosts are served: this is no way to anywhere else.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;

use super::Proxy;
use super::admission::ListenerContext;
use super::connection::HANDSHAKE_WITHIN;
use super::exchange::TunnelContext;
use crate::domain::Host;
use crate::domain::places::ConnectionPermit;
use crate::host;
use crate::net::protocol::{self, Protocol};

/// `unrecognized_name` (RFC 6066 section 3), as a fatal alert before any handshake (RFC 8446 section 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

impl Proxy {
    /// Serve a connection that its caller believes to have with the broker.
    pub(super) async fn transparent(
        self: Arc<Self>,
        listener: ListenerContext,
        place: ConnectionPermit,
        came: Option<Instant>,
        stream: TcpStream,
    ) {
        if let Some(source) = listener.peer.filter(|peer| self.is_an_accounts(*peer))
            && !is_another_programs(&stream).await
        {
            tracing::error!(
                %source,
                "the gateway's own connection to the broker was led back to its transparent listener, and is closed: leave \
                 what the gateway's user sends (nftables: meta skuid) or what leaves from the accounts' addresses out of the rule"
            );
            return;
        }
        let protocol = tokio::select! {
            protocol = tokio::time::timeout(HANDSHAKE_WITHIN, protocol::of(&stream)) => protocol,
            () = place.close_requested() => return,
        };
        match protocol {
            Ok(Some(Protocol::Tls)) => Box::pin(self.by_server_name(listener, place, stream)).await,
            Ok(Some(Protocol::Http | Protocol::Socks)) => self.connection(listener, place, came, stream).await,
            Ok(None) | Err(_) => {}
        }
    }

    /// Is this the address of an account's leg? A connection of the leg's own would be answered by us, and never by the
    /// broker.
    fn is_an_accounts(&self, peer: IpAddr) -> bool {
        match peer {
            // The sandbox without root has legs of `::1`, where its callers are too.
            IpAddr::V6(peer) => !peer.is_loopback() && self.accounts.addressing().is_held(peer),
            IpAddr::V4(_) => false,
        }
    }

    async fn by_server_name(self: Arc<Self>, listener: ListenerContext, place: ConnectionPermit, stream: TcpStream) {
        let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = tokio::select! {
            hello = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor) => hello,
            () = place.close_requested() => return,
        };
        let Ok(Ok(mut hello)) = hello else { return };
        let name = hello.client_hello().server_name().map(str::to_owned);
        let host = name.as_deref().and_then(|name| Host::parse(name).ok());
        let authority = match host.map(|host| self.settings.load().destinations.broker_host(host)) {
            Some(Ok(authority)) => authority,
            refused => {
                let why = match refused {
                    Some(Err(problem)) => problem.detail,
                    Some(Ok(_)) | None => {
                        "its TLS handshake names no host, and this listener serves the broker's hosts by their \
                                           names"
                            .to_owned()
                    }
                };
                let caller = listener.peer.map(tracing::field::display);
                tracing::warn!(caller, why, "a transparent listener refused a caller");
                let _ = hello.io.write_all(&UNRECOGNIZED_NAME).await;
                let _ = hello.io.shutdown().await;
                return;
            }
        };
        let tunnel = TunnelContext { authority, tls: true, admitted_by: Arc::new(HeaderMap::new()) };
        let Some(leaf) = self.leaf(&tunnel) else { return };
        self.decrypted(listener, &place, tunnel, hello.into_stream(leaf)).await;
    }
}

/// Is it known that another program of this host is at the other end? The kernel takes an account's address as the source
/// of any connection, where it is on an interface and nothing asks for another.
async fn is_another_programs(stream: &TcpStream) -> bool {
    let Ok(peer) = stream.peer_addr() else { return false };
    // Thousands of sockets and descriptors take milliseconds to look through.
    let owner = tokio::task::spawn_blocking(move || host::owner_of_socket(peer)).await;
    owner.is_ok_and(|owner| owner == host::SocketOwner::AnotherProgram)
}
