//! WebSockets (RFC 6455): the handshake is signed in its query or the session in its login; after that frames are read,
//! checked and passed on as they are.
//!
//! Map: `handshake` is what is asked, `limits` what the broker bears, `relay` the life of a socket. Below it `frame` and
//! `reader` read frames (`utf8` their texts), `lane` is one direction, `login` the order updates' first message,
//! `liveness` who is still there, `token` whose token it is, `end` why it ends and what each side is told, `farewell` how
//! that is said.
//!
//! Not here: which leg a handshake goes by, and signing (`crate::dispatch`).

mod end;
mod farewell;
mod frame;
pub(super) mod fuzzing;
mod handshake;
mod lane;
mod limits;
mod liveness;
mod login;
mod reader;
mod relay;
mod token;
mod utf8;

use http::Response;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http1::Rewind;
use super::tunnel::TunnelLifetime;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::domain::Outcome;
use crate::egress::Upgraded;
use crate::telemetry::streams::StreamOwner;

pub(super) use handshake::Handshake;
pub(super) use limits::{StreamLimits, StreamPlace};
pub(super) use liveness::Patience;
pub(super) use login::Login;
pub(super) use relay::Terms;
pub(super) use token::TokenWatch;

/// An accepted WebSocket, to be joined with the caller's side.
pub(super) struct Relay {
    upstream: Rewind<Upgraded>,
    terms: Terms,
    owner: StreamOwner,
    place: StreamPlace,
}

impl Relay {
    /// Of the broker's 101.
    ///
    /// # Errors
    /// 502 when its connection cannot be taken over.
    pub(super) fn new(
        reply: Response<Body>,
        terms: Terms,
        owner: StreamOwner,
        place: StreamPlace,
    ) -> Result<(Response<()>, Self), Problem> {
        let (parts, body) = reply.into_parts();
        let upgraded = match body {
            Body::Broker(body) => body.into_upgraded(),
            Body::Own(_) | Body::Begun { .. } => None,
        };
        let (upstream, early) = upgraded.ok_or_else(|| {
            Problem::new(Code::UpstreamFailed, "the broker's connection cannot be taken over", Outcome::Unknown)
        })?;
        let upstream = Rewind::new(early, upstream);
        Ok((Response::from_parts(parts, ()), Self { upstream, terms, owner, place }))
    }

    /// Pass frames on until the socket ends, and tell of its end.
    pub(super) async fn run<IO: AsyncRead + AsyncWrite + Unpin>(self, caller: IO, until: &TunnelLifetime) {
        let Self { upstream, terms, owner, place } = self;
        let counters = place.metrics().counters(owner.kind);
        let end = relay::converse(caller, upstream, terms, counters, until).await;
        place.metrics().ended(owner.kind, &end);
        end.log(&owner);
    }
}
