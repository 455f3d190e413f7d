//! Serving one caller's connection to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
use crate::dispatch::reply::{self, Body, Code, Problem};
use crate::domain::Outcome;
use crate::domain::places::{ConnectionPermit, PermitHandle};

/// How long a TLS handshake of a caller may take.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;

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
                        connection.linger().await;
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
                        connection.close().await;
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
                connection.linger().await;
            }
        }
        None
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
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        place.is_idle();
        // No tunnel inside a tunnel: a CONNECT in here is refused as a method.
        let ended = self.http1(&mut listener, place, Some(tunnel), None, io).await;
        if let Some((io, Upgrade::WebSocket(relay, until))) = ended {
            Box::pin(relay.run(io, &until)).await;
        }
    }

    async fn http2<IO>(
        self: Arc<Self>,
        listener: ListenerContext,
        place: &ConnectionPermit,
        tunnel: TunnelContext,
        io: IO,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let proxy = Arc::clone(&self);
        // Held by a request to its end, also when the caller has reset its stream.
        let streams = Arc::new(Semaphore::new(STREAMS as usize));
        let busy = Arc::clone(&streams);
        // Until the first request, and between any two.
        place.is_idle();
        let handle = place.handle();
        let service = service_fn(move |request: Request<Incoming>| {
            let (proxy, listener, tunnel, streams, handle) =
                (Arc::clone(&proxy), listener.clone(), tunnel.clone(), Arc::clone(&streams), handle.clone());
            async move {
                let permit = Streaming::begin(streams, handle).await;
                Ok::<_, Infallible>(proxy.stream(listener, tunnel, request, permit).await)
            }
        });
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(32 * 1024)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        let connection = builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let idle = async {
            // Idle for a whole period: nothing under way at its begin and its end.
            let mut was_idle = false;
            loop {
                let idle = self.settings.load().limits.idle;
                tokio::time::sleep(idle).await;
                let is_idle = busy.available_permits() == STREAMS as usize;
                if was_idle && is_idle {
                    return;
                }
                was_idle = is_idle;
            }
        };
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.tasks.stopping() => connection.as_mut().graceful_shutdown(),
            () = idle => connection.as_mut().graceful_shutdown(),
            // What is under way by then is still answered.
            () = place.close_requested() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    /// One request of an HTTP/2 connection.
    async fn stream(
        self: Arc<Self>,
        mut listener: ListenerContext,
        tunnel: TunnelContext,
        request: Request<Incoming>,
        permit: Streaming,
    ) -> Response<Body> {
        let arrived = Instant::now();
        listener.refresh();
        // hyper drops this future when the caller resets its stream or is gone.
        let gone = CancellationToken::new();
        let _gone_if_dropped = gone.clone().drop_guard();
        let (mut parts, body) = request.into_parts();
        debug_assert_eq!(parts.version, Version::HTTP_2);
        let bodiless = parts.method == Method::HEAD;
        // :authority is this protocol's Host (RFC 9113 section 8.3.1).
        if let Some(authority) = parts.uri.authority()
            && !parts.headers.contains_key(http::header::HOST)
            && let Ok(host) = http::HeaderValue::from_str(authority.as_str())
        {
            parts.headers.insert(http::header::HOST, host);
        }
        let target = parts.uri.to_string();
        let form = Form::of(&target, true);
        if let Err(problem) = listener.admit(&self.accounts, &tunnel.admitted_by, form) {
            return without_body(bodiless, self.refuse(None, problem));
        }
        let settings = self.settings.load_full();
        let body = Limited::new(body, settings.limits.body).collect();
        let refusal = match tokio::time::timeout(settings.limits.request, body).await {
            Ok(Ok(body)) => {
                let body = body.to_bytes();
                let (method, headers) = (parts.method, parts.headers);
                // A key may have been taken away while the body came.
                let account = match listener.admit(&self.accounts, &tunnel.admitted_by, form) {
                    Ok(account) => account,
                    Err(problem) => return without_body(bodiless, self.refuse(Some(&method), problem)),
                };
                let arrival = Arrival { at: arrived, gone };
                let inbound = Inbound { method, target, form, headers, body, account, settings, arrival };
                return without_body(bodiless, self.to_the_end(listener, tunnel, inbound, permit).await);
            }
            Ok(Err(err)) if err.is::<LengthLimitError>() => ParseRefusal::BodyTooLarge,
            Ok(Err(_)) => ParseRefusal::Malformed("the body broke off"),
            Err(_) => ParseRefusal::TooSlow,
        };
        without_body(bodiless, self.refuse(None, refusal.into()))
    }

    /// In a task of its own: a stream that the caller resets must not stop an order half-way.
    async fn to_the_end(
        self: Arc<Self>,
        listener: ListenerContext,
        tunnel: TunnelContext,
        inbound: Inbound,
        permit: Streaming,
    ) -> Response<Body> {
        let proxy = Arc::clone(&self);
        let handled = self.tasks.spawn(async move {
            let handled = proxy.handle(&listener, Some(&tunnel), inbound).await;
            drop(permit);
            handled
        });
        match handled.await {
            Ok(Handled::Reply(reply)) => reply,
            Ok(Handled::Upgrade(..)) => {
                self.refuse(None, Problem::before_sending(Code::BadRequest, "not possible over HTTP/2"))
            }
            Err(_) => {
                let detail = "the request broke down inside the gateway; look in the order book";
                may_have_left(self.refuse(None, Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown)))
            }
        }
    }
}

/// The answer to a request that broke down somewhere. An order may have left before that, and an engine reads the header.
fn may_have_left(mut reply: Response<Body>) -> Response<Body> {
    reply.headers_mut().insert(reply::OUTCOME, http::HeaderValue::from_static(Outcome::Unknown.as_str()));
    reply
}

/// A request of an HTTP/2 connection, to its end. With the last one its connection is idle.
struct Streaming {
    permit: Option<OwnedSemaphorePermit>,
    streams: Arc<Semaphore>,
    handle: PermitHandle,
}

impl Streaming {
    async fn begin(streams: Arc<Semaphore>, handle: PermitHandle) -> Self {
        let permit = Arc::clone(&streams).acquire_owned().await.ok();
        handle.is_busy();
        Self { permit, streams, handle }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        drop(self.permit.take());
        // One that begins in this moment may be taken for idle: when its connection has to go, it is answered first.
        if self.streams.available_permits() == STREAMS as usize {
            self.handle.is_idle();
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

/// A reply to HEAD says how long its body would be, and has none.
fn without_body(bodiless: bool, mut reply: Response<Body>) -> Response<Body> {
    if bodiless && matches!(reply.body(), Body::Own(_)) {
        if let Some(length) = reply.body().size_hint().exact() {
            reply.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        *reply.body_mut() = Body::from(bytes::Bytes::new());
    }
    reply
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

    /// An engine that heard no outcome of an order which may have left would place it anew.
    #[test]
    fn a_request_that_broke_down_has_an_unknown_outcome_in_its_header_too() {
        let problem = Problem::new(Code::OutcomeUnknown, "it broke down", Outcome::Unknown);
        let reply = may_have_left(problem.into_reply(None, "id"));
        assert_eq!(reply.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(reply.headers()[reply::OUTCOME], "unknown");
    }
}
