//! `/console/events`: what happens, for pages that are open. Each event is the account's name and its kind alone; the
//! page then fetches anew what it shows.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event as Line, KeepAlive, Sse};
use futures_util::stream;

use super::context::Console;
use super::visitor::Visitor;
use crate::telemetry::events::{Begin, Heard, Listener};

/// How often a stream on which nothing happens is kept alive, and its session looked at.
const LOOK: Duration = Duration::from_secs(10);

/// What happens from now on, until the session ends.
pub(super) async fn events(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Sse<impl stream::Stream<Item = Result<Line, Infallible>>> {
    let heard = Stream {
        events: console.admin.orders.events.listen(Begin::Now),
        heard: VecDeque::new(),
        console,
        visitor,
        open: true,
    };
    Sse::new(stream::unfold(heard, Stream::next)).keep_alive(KeepAlive::new().interval(LOOK))
}

/// A stream that somebody reads.
struct Stream {
    events: Listener,
    /// What was heard and is not sent yet.
    heard: VecDeque<Heard>,
    console: Console,
    visitor: Visitor,
    open: bool,
}

impl Stream {
    async fn next(mut self) -> Option<(Result<Line, Infallible>, Self)> {
        if !self.open {
            return None;
        }
        let admin = &self.console.admin;
        if self.heard.is_empty() {
            tokio::select! {
                heard = tokio::time::timeout(LOOK, self.events.next()) => self.heard.extend(heard.unwrap_or_default()),
                () = admin.tasks.stopping() => return None,
            }
        }
        let known = admin.operators.load().by_digest(self.visitor.operator.token).is_some();
        self.open = known && admin.sessions.is_open(self.visitor.session, Instant::now());
        if !self.open {
            return Some((Ok(Line::default().event("signed-out").data("-")), self));
        }
        let line = match self.heard.pop_front() {
            None => Line::default().comment("still here"),
            Some(Heard::Event(event)) => Line::default().event(event.subject.as_str()).data(event.account.as_str()),
            Some(Heard::Lost(_)) => Line::default().event("lost").data("-"),
        };
        Some((Ok(line), self))
    }
}
