//! Serving one caller's connection to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Response, StatusCode};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::sync::CancellationToken;

use super::Proxy;
use super::admission::{self, CachedAdmission, ListenerContext};
use super::destination::{self, Form};
use super::exchange::{Handled, Inbound, TunnelContext, Upgrade};
use super::http1::{Connection, ParseRefusal, ReadError, ReplyFraming, RequestHead, Rewind};
use super::tunnel::{self, CallerStream};
use crate::dispatch::Arrival;
use crate::dispatch::reply::Body;
use crate::domain::places::ConnectionPermit;

/// How long a TLS handshake of a caller may take.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long whoever is still sending what was refused is listened to once the gateway stops.
const GOODBYE: Duration = Duration::from_secs(1);

impl Proxy {
    /// Serve one caller's connection to its end.
    /// Its first request has waited since `came`, if it did.
    pub(super) async fn connection<IO: CallerStream>(
        self: Arc<Self>,
        mut listener: ListenerContext,
        place: ConnectionPermit,
        came: Option<Instant>,
        io: IO,
    ) {
        // Each apart: an idle tunnel must not hold the room that requests or another kind take.
        let ended = Box::pin(self.http1(&mut listener, &place, None, came, io)).await;
        match ended {
            None => {}
            Some((io, Upgrade::Blind(upstream, until))) => Box::pin(tunnel::relay(io, upstream, &until)).await,
            Some((io, Upgrade::WebSocket(relay, until))) => Box::pin(relay.run(io, &until)).await,
            Some((io, Upgrade::Intercept(tunnel))) => Box::pin(self.intercepted(listener, &place, tunnel, io)).await,
        }
    }

    /// Requests one after the other, until the caller goes or the bytes become
    /// something else.
    #[expect(clippy::too_many_lines, reason = "what befalls one request, in the order in which it happens")]
    async fn http1<IO>(
        &self,
        listener: &mut ListenerContext,
        place: &ConnectionPermit,
        tunnel: Option<&TunnelContext>,
        came: Option<Instant>,
        io: IO,
    ) -> Option<(Rewind<IO>, Upgrade)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut connection = Connection::new(io, self.settings.load().limits);
        connection.waiting_since(came);
        // A caller of HTTP/1 that is gone is gone for all that its connection brought.
        let gone = CancellationToken::new();
        let mut known = CachedAdmission::default();
        let mut stopping = pin!(self.tasks.stopping());
        loop {
            connection.set_limits(self.settings.load().limits);
            let begun = tokio::select! {
                // First: what a caller has said already is heard.
                biased;
                begun = connection.begins() => begun,
                () = &mut stopping => None,
                () = place.close_requested() => None,
            };
            let Some(arrived) = begun else {
                connection.close().await;
                return None;
            };
            if listener.refresh() {
                known = CachedAdmission::default();
            }
            // It may have waited for this request since before a reload.
            let settings = self.settings.load_full();
            connection.set_limits(settings.limits);
            let standing = place.standing();
            if !standing.is_strangers() {
                place.is_busy();
            }
            let read = tokio::select! {
                biased;
                read = connection.head() => read,
                () = place.close_requested(), if standing.is_strangers() => Err(ParseRefusal::MakesRoom.into()),
            };
            let read = read.and_then(|(mut head, by)| {
                if listener.listener.transparent && tunnel.is_none() {
                    head.target = destination::absolute(head.target, &head.headers)?;
                }
                Ok((head, by))
            });
            let (head, by) = match read {
                Ok(head) => head,
                Err(error) => return self.unread(connection, place, error).await,
            };
            // Before the body is read, so that nobody makes us hold bodies without a key.
            let form = Form::of(&head.target, tunnel.is_some());
            let shown = tunnel.map_or(&head.headers, |tunnel| &*tunnel.admitted_by);
            let admitted = known.admit(listener, &self.accounts, shown, form);
            let mut admitted = match admitted {
                Err(problem) if head.has_body() => {
                    let named = admission::named(shown, form);
                    let reply = self.turn_away(listener, &head.method, named, problem);
                    let asked = ReplyFraming::of(&head).closing();
                    if answered(&mut connection, place, asked, reply).await.is_some() {
                        connection.linger(self.gives_way(place)).await;
                    }
                    return None;
                }
                // Asked again when its body is there: a key may be taken away meanwhile, and who waits must not keep
                // what the account had.
                Ok(_) if head.has_body() && !connection.holds_body(&head) => None,
                admitted => Some(admitted),
            };
            // From here on it has shown a key, or will in no time be asked for it.
            place.is_busy();
            let body = match connection.body(&head, by).await {
                Ok(body) => body,
                Err(error) => return self.unread(connection, place, error).await,
            };
            let admitted = match admitted.take() {
                Some(admitted) => admitted,
                None => {
                    let shown = tunnel.map_or(&head.headers, |tunnel| &*tunnel.admitted_by);
                    listener.admit(&self.accounts, shown, form)
                }
            };
            let mut asked = ReplyFraming::of(&head);
            let named = admitted.is_err().then(|| admission::named(&head.headers, form)).flatten();
            let version = head.version;
            let RequestHead { method, target, headers, .. } = head;
            let handled = match admitted {
                Ok(account) => {
                    let arrival = Arrival { at: arrived, gone: gone.clone() };
                    let inbound = Inbound { method, target, form, headers, body, account, settings, arrival };
                    // Apart from the connection's own future: an idle caller must not hold what an order takes.
                    let mut handling = Box::pin(self.handle(listener, tunnel, inbound));
                    // Its end is looked at first: a request may have waited here for longer than its caller did.
                    tokio::select! {
                        biased;
                        () = connection.ends(), if !gone.is_cancelled() => {
                            gone.cancel();
                            handling.as_mut().await
                        }
                        handled = handling.as_mut() => handled,
                    }
                }
                Err(problem) => {
                    // Whatever more it has said is there to be seen below.
                    if !gone.is_cancelled() && connection.ends().now_or_never().is_some() {
                        gone.cancel();
                    }
                    Handled::Reply(self.turn_away(listener, &method, named, problem))
                }
            };
            match handled {
                Handled::Reply(reply) => {
                    // The stop may have come while it was under way, and so may somebody who needs the place.
                    if self.tasks.is_stopping() || place.must_close() {
                        asked = asked.closing();
                    }
                    let is_nobody = reply.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
                    // Before it is written: who shows no key and does not read is not busy.
                    if is_nobody {
                        place.is_again(standing);
                        // Who has no key and does not wait to hear so would be told all day, at everybody's cost.
                        if standing.is_strangers() && connection.has_more() {
                            asked = asked.closing();
                        }
                    }
                    if !answered(&mut connection, place, asked, reply).await? {
                        if connection.has_more() {
                            connection.linger(self.gives_way(place)).await;
                        } else {
                            connection.close().await;
                        }
                        return None;
                    }
                    if !is_nobody {
                        place.is_idle();
                    }
                }
                Handled::Upgrade(reply, switch) => {
                    return connection.switch(version, &reply).await.map(|io| (io, *switch));
                }
            }
        }
    }

    /// Answer what could not be read, if anybody is there to hear it.
    async fn unread<IO>(
        &self,
        mut connection: Connection<IO>,
        place: &ConnectionPermit,
        error: ReadError,
    ) -> Option<(Rewind<IO>, Upgrade)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if let ReadError::Refused(refusal) = error {
            let reply = self.refuse(None, refusal.into());
            // Whose place is needed at once is not listened to any longer.
            if refusal == ParseRefusal::MakesRoom {
                connection.last_word(ReplyFraming::unreadable(), reply).await;
            } else if answered(&mut connection, place, ReplyFraming::unreadable(), reply).await.is_some() {
                connection.linger(self.gives_way(place)).await;
            }
        }
        None
    }

    /// Until whoever was refused, and may still send, is to be listened to no longer: others need the place, or the
    /// gateway stops.
    async fn gives_way(&self, place: &ConnectionPermit) {
        // Nothing is under way any more.
        if place.standing().is_busy() {
            place.is_idle();
        }
        let stopped = async {
            self.tasks.stopping().await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            () = place.close_requested() => {}
            () = stopped => {}
        }
    }

    /// Answer a caller who speaks plain HTTP to a listener that speaks TLS.
    pub(super) async fn without_tls(&self, place: &ConnectionPermit, stream: TcpStream) {
        let connection = Connection::new(stream, self.settings.load().limits);
        self.unread(connection, place, ParseRefusal::WithoutTls.into()).await;
    }

    /// Serve what comes through a tunnel to a host of the broker, whose TLS ends here.
    async fn intercepted<IO>(
        self: Arc<Self>,
        listener: ListenerContext,
        place: &ConnectionPermit,
        tunnel: TunnelContext,
        io: IO,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !tunnel.tls {
            return self.inside(listener, place, &tunnel, io).await;
        }
        let Some(leaf) = self.leaf(&tunnel) else { return };
        self.decrypted(listener, place, tunnel, TlsAcceptor::from(leaf).accept(io)).await;
    }

    /// What the TLS of a tunnel is ended with.
    pub(super) fn leaf(&self, tunnel: &TunnelContext) -> Option<Arc<ServerConfig>> {
        let leaf = self.interceptor.leaf(&tunnel.authority.host);
        leaf.inspect_err(|err| tracing::error!(error = %err, "no certificate for an intercepted host")).ok()
    }

    /// End the TLS of a tunnel and serve what comes out of it.
    pub(super) async fn decrypted<IO>(
        self: Arc<Self>,
        listener: ListenerContext,
        place: &ConnectionPermit,
        tunnel: TunnelContext,
        handshake: Accept<IO>,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let accepted = tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => {
                // Nearly always a caller that does not trust ca.pem yet.
                return tracing::warn!(host = %tunnel.authority.host, error = %err,
                    "a caller's TLS handshake failed; does it trust ca.pem?");
            }
            Err(_) => return,
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return self.http2(listener, place, tunnel, stream).await;
        }
        self.inside(listener, place, &tunnel, stream).await;
    }

    /// HTTP/1 inside a tunnel.
    async fn inside<IO>(&self, mut listener: ListenerContext, place: &ConnectionPermit, tunnel: &TunnelContext, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        place.is_idle();
        // No tunnel inside a tunnel: a CONNECT in here is refused as a method.
        let ended = self.http1(&mut listener, place, Some(tunnel), None, io).await;
        if let Some((io, Upgrade::WebSocket(relay, until))) = ended {
            Box::pin(relay.run(io, &until)).await;
        }
    }
}

/// Write a reply: as [`Connection::reply`], and `None` when whoever it is for has shown no key and is to make room.
/// Strangers who do not read what they are told would hold their places for as long as anybody may take to read.
async fn answered<IO>(
    connection: &mut Connection<IO>,
    place: &ConnectionPermit,
    asked: ReplyFraming,
    reply: Response<Body>,
) -> Option<bool>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let is_strangers = place.standing().is_strangers();
    tokio::select! {
        // First: a reply that goes out at once is heard by whoever has to go.
        biased;
        sent = connection.reply(asked, reply) => Some(sent),
        () = place.close_requested(), if is_strangers => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection holds from its begin to its end, a tunnel's too: not what one request takes.
    #[test]
    fn a_connection_has_no_room_for_requests_of_its_own() {
        fn room<R>(
            _: impl FnOnce(Arc<Proxy>, ListenerContext, ConnectionPermit, Option<Instant>, TcpStream) -> R,
        ) -> usize {
            size_of::<R>()
        }
        let held = room(Proxy::connection::<TcpStream>);
        assert!(held <= 528, "{held} bytes");
    }
}
