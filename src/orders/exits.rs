//! Exits: an exit-all or a kill switch goes before the placements and changes that came earlier and have not left.
//!
//! While one is under way the older ones stand still. When the broker took it, or nobody knows, they are turned away:
//! sent after it they would open again what it closed. When the broker refused it they go on: a kill switch is refused
//! while positions are open, and the order that waits may be the one that closes them. What takes risk away never
//! waits here and is never turned away, and what comes after an exit has nothing to do with it.
//!
//! One of these per customer of the broker. Where there was no exit, asking costs two loads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::domain::lock;

use tokio::sync::Notify;

/// The exits of one customer.
#[derive(Debug, Default)]
pub struct Exits {
    /// The number of the next write that comes.
    next: AtomicU64,
    /// One past the number of the newest exit there ever was; 0 for none.
    newest: AtomicU64,
    state: Mutex<ExitsState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct ExitsState {
    /// Numbers of the exits under way.
    under_way: Vec<u64>,
    /// Writes with a lower number are turned away...
    turned_away_below: u64,
    /// ...by this request.
    by: Option<Arc<str>>,
}

/// A write's place among the others of its customer.
#[derive(Clone, Debug)]
pub struct WritePlace {
    exits: Arc<Exits>,
    number: u64,
}

/// An exit that is under way. Dropped without a word it counts as one of which nobody knows what became.
#[derive(Debug)]
#[must_use = "older writes stand still until it ends"]
pub struct Exit {
    place: WritePlace,
    request_id: Arc<str>,
    ended: bool,
}

/// May a write leave, as far as exits are concerned?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Nothing is in its way.
    Clear,
    /// An exit that came after it is under way.
    Still,
    /// An exit that came after it was taken, or may have been: the request id of that one.
    TurnedAway(Arc<str>),
}

impl Exits {
    /// A place for a write that came just now.
    pub fn place(self: &Arc<Self>) -> WritePlace {
        WritePlace { exits: Arc::clone(self), number: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ExitsState> {
        lock(&self.state)
    }
}

impl WritePlace {
    /// This write is an exit: the older ones stand still from now on.
    pub fn exit(&self, request_id: &Arc<str>) -> Exit {
        let mut state = self.exits.state();
        state.under_way.push(self.number);
        self.exits.newest.fetch_max(self.number + 1, Ordering::Release);
        drop(state);
        Exit { place: self.clone(), request_id: Arc::clone(request_id), ended: false }
    }

    /// May it leave now?
    pub fn stand(&self) -> Stand {
        if self.exits.newest.load(Ordering::Acquire) <= self.number {
            return Stand::Clear;
        }
        let state = self.exits.state();
        if let (true, Some(by)) = (self.number < state.turned_away_below, &state.by) {
            return Stand::TurnedAway(Arc::clone(by));
        }
        if state.under_way.iter().any(|exit| *exit > self.number) { Stand::Still } else { Stand::Clear }
    }

    /// Wait until it may leave.
    ///
    /// # Errors
    /// The request id of the exit that turned it away.
    pub async fn clear(&self) -> Result<(), Arc<str>> {
        loop {
            // Before it is looked: what changes from here on wakes this one.
            let changed = self.exits.changed.notified();
            match self.stand() {
                Stand::Clear => return Ok(()),
                Stand::TurnedAway(by) => return Err(by),
                Stand::Still => changed.await,
            }
        }
    }

    /// Wait until it is turned away; for ever, if it never is. Cancel-safe.
    pub async fn turned_away(&self) -> Arc<str> {
        loop {
            let mut changed = std::pin::pin!(self.exits.changed.notified());
            changed.as_mut().enable();
            if let Stand::TurnedAway(by) = self.stand() {
                return by;
            }
            changed.await;
        }
    }
}

impl Exit {
    /// The broker refused it: what stood still goes on.
    pub fn refused(mut self) {
        self.end(false);
    }

    /// The broker took it, or nobody knows whether it did: what stood still is turned away.
    pub fn may_have_been_taken(mut self) {
        self.end(true);
    }

    fn end(&mut self, turn_away: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (exits, number) = (&self.place.exits, self.place.number);
        let mut state = exits.state();
        state.under_way.retain(|exit| *exit != number);
        if turn_away && state.turned_away_below < number {
            state.turned_away_below = number;
            state.by = Some(Arc::clone(&self.request_id));
        }
        drop(state);
        exits.changed.notify_waiters();
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        self.end(true);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn id(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn older_writes_stand_still_and_newer_ones_go() {
        let exits = Arc::new(Exits::default());
        let older = exits.place();
        let exit = exits.place().exit(&id("exit"));
        let newer = exits.place();
        assert_eq!((older.stand(), newer.stand()), (Stand::Still, Stand::Clear));
        assert!(older.clear().now_or_never().is_none());
        exit.may_have_been_taken();
        assert_eq!((older.stand(), newer.stand()), (Stand::TurnedAway(id("exit")), Stand::Clear));
        assert_eq!(older.clear().now_or_never(), Some(Err(id("exit"))));
    }

    /// A kill switch is refused while positions are open, and the order that waits may close them.
    #[tokio::test]
    async fn after_a_refused_exit_what_stood_still_goes_on() {
        let exits = Arc::new(Exits::default());
        let older = exits.place();
        let (refused, other) = (exits.place().exit(&id("kill")), exits.place().exit(&id("exit")));
        let (waited, ()) = tokio::join!(older.clear(), async {
            refused.refused();
            assert_eq!(older.stand(), Stand::Still, "another one is under way");
            other.refused();
        });
        assert_eq!(waited, Ok(()));
    }

    /// An exit whose task breaks down may have reached the broker.
    #[tokio::test]
    async fn an_exit_that_is_dropped_turns_away() {
        let exits = Arc::new(Exits::default());
        let older = exits.place();
        let exit = exits.place().exit(&id("exit"));
        assert!(older.turned_away().now_or_never().is_none());
        let (turned, ()) = tokio::join!(older.turned_away(), async { drop(exit) });
        assert_eq!(turned, id("exit"));
        assert_eq!(older.stand(), Stand::TurnedAway(id("exit")));
    }
}
