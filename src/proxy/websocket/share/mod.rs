//! Where an account has its feed shared: callers that subscribe to the same are served by one socket of the broker's.
//!
//! A caller's socket is a `relay` of its own, whose other end is not the broker but the account's `fanout`; each of the
//! broker's sockets is a `relay` as well, whose caller is the fan-out. So frames are checked, silences noticed and the
//! broker's side opened again as they are elsewhere, and a caller that goes takes nobody along. `interests` knows who
//! wants what, `packets` whose a price is, `ends` reads and writes frames.
//!
//! Only callers of one account, customer, host and query share. The broker's sockets are the account's and not the first
//! caller's: they outlive its key and its listener, and each caller's end with those of its own.

mod ends;
mod fanout;
mod interests;
mod packets;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use tokio::io::{DuplexStream, duplex};
use tokio::sync::OwnedMutexGuard;

use super::limits::StreamLimits;
use super::opened::Relay;
use super::relay::{self, CallerSide, Terms};
use super::reopen::Reopener;
use crate::broker::dhan::streams::StreamKind;
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Authority, ClientId, lock};
use crate::proxy::tunnel::TunnelLifetime;
use crate::proxy::websocket::frame::code;
use crate::telemetry::stream_reporter::StreamReporter;
use crate::telemetry::streams::{StreamCounters, StreamOwner};
use fanout::{Closed, Fanout, Known, Queue, Wanted};
use interests::Caller;

/// What a pipe within the gateway holds, in bytes.
const PIPE: usize = 64 * 1024;

/// Whose feed it is, and which. No `Debug`: its query is the caller's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct FeedId {
    pub(in super::super) account: AccountName,
    pub(in super::super) client_id: ClientId,
    pub(in super::super) host: Authority,
    pub(in super::super) path: String,
    /// The query without what is signed.
    pub(in super::super) query: String,
}

/// A feed's fan-out, while it has callers. Whoever opens one holds the lock meanwhile, so that there are not two.
type Slot = Arc<tokio::sync::Mutex<Weak<Shared>>>;

/// The feeds that are shared.
#[derive(Default)]
pub(in super::super) struct SharedFeeds(Mutex<HashMap<FeedId, Slot>>);

impl std::fmt::Debug for SharedFeeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SharedFeeds").field(&lock(&self.0).len()).finish()
    }
}

/// The way in to one feed, for one caller at a time.
pub(in super::super) struct Entrance(OwnedMutexGuard<Weak<Shared>>);

/// A fan-out, and how another of the broker's sockets is opened for it. No `Debug`: what opens one holds secrets.
struct Shared {
    fanout: Fanout,
    /// Opens the next one.
    reopener: Mutex<Reopener>,
    limits: Arc<StreamLimits>,
    tasks: Tasks,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A caller's place at a feed that is shared.
pub(in super::super) struct Seat {
    pipe: DuplexStream,
    known: Arc<Known>,
    limits: Arc<StreamLimits>,
}

impl SharedFeeds {
    /// The way in to a feed; whoever else wants in waits until this is dropped.
    pub(in super::super) async fn enter(&self, id: FeedId) -> Entrance {
        let slot = {
            let mut feeds = lock(&self.0);
            if feeds.len().is_power_of_two() && !feeds.contains_key(&id) {
                feeds.retain(|_, slot| {
                    Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|feed| feed.strong_count() > 0)
                });
            }
            Arc::clone(feeds.entry(id).or_default())
        };
        Entrance(slot.lock_owned().await)
    }
}

impl Entrance {
    /// A place at the feed, if it is there.
    pub(in super::super) fn join(&self) -> Option<Seat> {
        Shared::join(&self.0.upgrade()?)
    }

    /// A place at a feed that is not there yet, of this first socket of the broker's and for as long as that may live.
    ///
    /// # Errors
    /// The socket, if it is one that is not opened again.
    pub(in super::super) fn open(
        mut self,
        socket: Relay,
        until: TunnelLifetime,
        tasks: &Tasks,
    ) -> Result<Seat, Box<Relay>> {
        let Some(again) = &socket.again else { return Err(Box::new(socket)) };
        let (fanout, first, place) = Fanout::new();
        let (reopener, limits) = (Mutex::new(again.sibling()), Arc::clone(again.limits()));
        let shared = Arc::new(Shared { fanout, reopener, limits, tasks: tasks.clone() });
        let seat = Shared::seat(&shared, place);
        *self.0 = Arc::downgrade(&shared);
        Shared::run(&shared, first, socket, until);
        Ok(seat)
    }
}

impl Shared {
    fn join(shared: &Arc<Self>) -> Option<Seat> {
        Some(Self::seat(shared, shared.fanout.join()?))
    }

    fn seat(shared: &Arc<Self>, place: (Caller, Queue)) -> Seat {
        let (callers, ours) = duplex(PIPE);
        let (served, known) = (Arc::clone(shared), Arc::clone(&place.1.known));
        shared.tasks.spawn(async move {
            let open = |wanted| Self::open_another(&served, wanted);
            ends::serve_caller(&served.fanout, place, ours, open).await;
        });
        Seat { pipe: callers, known, limits: Arc::clone(&shared.limits) }
    }

    /// Serve one of the broker's sockets.
    fn run(shared: &Arc<Self>, wanted: Wanted, socket: Relay, until: TunnelLifetime) {
        let (callers, ours) = duplex(PIPE);
        let served = Arc::clone(shared);
        shared.tasks.spawn(async move { ends::serve_socket(&served.fanout, wanted, ours).await });
        shared.tasks.spawn(async move { Box::pin(socket.run(Box::new(callers), &until)).await });
    }

    /// Open another of the broker's sockets; what is to be said there is kept meanwhile.
    fn open_another(shared: &Arc<Self>, wanted: Wanted) {
        let (shared, mut reopener) = (Arc::clone(shared), Box::new(lock(&shared.reopener).sibling()));
        let tasks = shared.tasks.clone();
        tasks.spawn(async move {
            let opened = tokio::select! {
                biased;
                () = shared.tasks.stopping() => Err((code::GOING_AWAY, "the gateway is stopping".to_owned())),
                () = wanted.unwanted.cancelled() => Err((code::NORMAL, String::new())),
                opened = Box::pin(reopener.open_first()) => opened.map_err(|failed| {
                    let words = format!("another socket for the feed could not be opened: {}", failed.detail);
                    (if failed.has_no_place { code::POLICY } else { code::RESTART }, words)
                }),
            };
            match opened {
                Ok((place, opened)) => {
                    let (relay, until) = Relay::reopened(opened, place, reopener);
                    Self::run(&shared, wanted, relay, until);
                }
                Err((code, words)) => {
                    ends::is_over(&shared.fanout, wanted.said, wanted.id, Closed::SocketEnded, (code, &words));
                }
            }
        });
    }
}

impl Seat {
    /// Pass frames on until the caller's socket ends, and tell of its end. The broker's sockets are told of by
    /// themselves.
    pub(super) async fn run(
        self,
        caller: Box<dyn CallerSide>,
        owner: &StreamOwner,
        reporter: &StreamReporter,
        until: &TunnelLifetime,
    ) {
        let sharing = reporter.joined(owner);
        let Self { pipe, known, limits } = self;
        let counters = Arc::new(StreamCounters::default());
        let mut end = relay::converse(caller, pipe, Terms::shared(StreamKind::Feed), counters, until, None).await;
        if let Some((why, words)) = known.closed.get().filter(|(why, _)| *why != Closed::ByCaller) {
            (end.why, end.detail) = (why.as_str(), Some(words.clone()));
        }
        end.dropped += known.dropped.load(Ordering::Relaxed);
        drop(sharing);
        limits.metrics().dropped(owner.kind, end.dropped);
        reporter.left(owner, &end);
        end.log(owner);
    }
}

#[cfg(test)]
mod tests;
