//! A socket of the broker's that is open: until it ends it passes frames to and from its caller, and then it is told of.

use http::Response;

use super::again::{Again, Reopened};
use super::limits::StreamPlace;
use super::liveness::Patience;
use super::relay::{self, CallerSide, Terms};
use super::reopen::Reopener;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::domain::Outcome;
use crate::egress::Upgraded;
use crate::net::rewind::Rewind;
use crate::proxy::tunnel::TunnelLifetime;
use crate::telemetry::stream_reporter::StreamReporter;
use crate::telemetry::streams::StreamOwner;

/// A socket of the broker's, to be joined with the caller's side.
pub(in super::super) struct Relay {
    upstream: Rewind<Upgraded>,
    terms: Terms,
    owner: StreamOwner,
    reporter: StreamReporter,
    place: StreamPlace,
    /// Where the account has its streams reconnected.
    pub(super) again: Option<Box<Reopener>>,
}

impl Relay {
    /// Of the broker's 101.
    ///
    /// # Errors
    /// 502 when its connection cannot be taken over.
    pub(in super::super) fn new(
        reply: Response<Body>,
        terms: Terms,
        (owner, reporter): (StreamOwner, StreamReporter),
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
        Ok((Response::from_parts(parts, ()), Self { upstream, terms, owner, reporter, place, again: None }))
    }

    /// Of a socket that we opened by ourselves, and until when it may go on.
    pub(super) fn reopened(
        opened: Reopened<Rewind<Upgraded>>,
        place: StreamPlace,
        reopener: Box<Reopener>,
    ) -> (Self, TunnelLifetime) {
        let Reopened { broker, token, login, until } = opened;
        let terms = Terms { kind: place.kind, deflate: false, login, token, patience: Patience::USUAL };
        let (owner, reporter) = (reopener.owner().clone(), reopener.reporter().clone());
        (Self { upstream: broker, terms, owner, reporter, place, again: Some(reopener) }, until)
    }

    /// The broker's side is opened again by this when it ends.
    pub(in super::super) fn reopened_by(mut self, again: Option<Box<Reopener>>) -> Self {
        self.again = again;
        self
    }

    /// Pass frames on until the socket ends, and tell of its end.
    pub(super) async fn run(self, caller: Box<dyn CallerSide>, until: &TunnelLifetime) {
        let Self { upstream, terms, owner, reporter, place, mut again } = self;
        let counters = place.metrics().counters_of(owner.kind, reporter.streams());
        let open = reporter.opened(&owner);
        let opens = again.as_deref_mut().map(|again| again as &mut dyn Again<_>);
        let end = relay::converse(caller, upstream, terms, counters, until, opens).await;
        drop(open);
        place.metrics().ended(owner.kind, &end);
        // By which leg it ended may be another than by which it began.
        let owner = again.as_ref().map_or(&owner, |again| again.owner());
        reporter.ended(owner, &end);
        end.log(owner);
    }
}
