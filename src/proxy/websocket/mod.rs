//! WebSockets (RFC 6455): the handshake is signed in its query or the session in its login; after that frames are read,
//! checked and passed on as they are.
//!
//! Map: `handshake` is what is asked, `limits` what the broker bears, `relay` the life of a socket. Below it `frame` and
//! `reader` read frames (`utf8` their texts), `lane` is one direction, `login` the order updates' first message,
//! `liveness` who is still there, `token` whose token it is, `end` why it ends and what each side is told, `farewell` how
//! that is said.
//!
//! Where an account has its streams reconnected, the broker's side is opened again when it ends: `upstream` is its
//! handshake, `reopen` opens it with the caller admitted anew, `again` says how often that is tried, `relay::away` serves
//! the caller meanwhile, and `replay` and `subscriptions` know what it has asked for. Where it has its feed shared,
//! `share` stands between callers and the broker's sockets.
//!
//! Not here: which leg a handshake goes by, and signing (`crate::dispatch`).

mod again;
mod end;
mod farewell;
mod frame;
pub(super) mod fuzzing;
mod handshake;
mod lane;
mod limits;
mod liveness;
mod login;
mod opened;
mod reader;
mod relay;
mod reopen;
mod replay;
mod share;
mod subscriptions;
mod token;
mod upstream;
mod utf8;

use tokio::io::{AsyncRead, AsyncWrite};

use super::tunnel::TunnelLifetime;
use crate::telemetry::stream_reporter::StreamReporter;
use crate::telemetry::streams::StreamOwner;

pub(super) use handshake::{Handshake, accepted, switching};
pub(super) use limits::StreamLimits;
pub(super) use liveness::Patience;
pub(super) use login::Login;
pub(super) use opened::Relay;
use relay::CallerSide;
pub(super) use relay::Terms;
pub(super) use reopen::{Admitted, By, PLACE_WITHIN, Reopener, retry_after};
pub(super) use share::{FeedId, Seat, SharedFeeds};
pub(super) use upstream::{signed, watch};

/// An accepted WebSocket of a caller's.
pub(super) enum Accepted {
    /// With a socket of the broker's for it alone.
    Alone(Box<Relay>),
    /// Served by those that the account's callers share.
    Shared(Seat, StreamOwner, StreamReporter),
}

impl Accepted {
    /// Pass frames on until the socket ends, and tell of its end.
    pub(super) async fn run<IO>(self, caller: IO, until: &TunnelLifetime)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let caller: Box<dyn CallerSide> = Box::new(caller);
        match self {
            Self::Alone(relay) => relay.run(caller, until).await,
            Self::Shared(seat, owner, reporter) => seat.run(caller, &owner, &reporter, until).await,
        }
    }
}
