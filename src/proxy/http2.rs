//! Serving HTTP/2 inside a tunnel whose TLS ends here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Proxy;
use super::admission::ListenerContext;
use super::destination::Form;
use super::exchange::{Handled, Inbound, TunnelContext};
use super::http1::ParseRefusal;
use crate::dispatch::Arrival;
use crate::dispatch::reply::{self, Body, Code, Problem};
use crate::domain::Outcome;
use crate::domain::places::{ConnectionPermit, PermitHandle};

/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;

impl Proxy {
    /// Requests side by side, until the caller goes or has been idle for a while.
    pub(super) async fn http2<IO>(
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
    use http::StatusCode;

    use super::*;

    /// An engine that heard no outcome of an order which may have left would place it anew.
    #[test]
    fn a_request_that_broke_down_has_an_unknown_outcome_in_its_header_too() {
        let problem = Problem::new(Code::OutcomeUnknown, "it broke down", Outcome::Unknown);
        let reply = may_have_left(problem.into_reply(None, "id"));
        assert_eq!(reply.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(reply.headers()[reply::OUTCOME], "unknown");
    }
}
