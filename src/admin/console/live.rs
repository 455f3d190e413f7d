//! `/console/events`: what happens, for pages that are open. Each event is the account's name and its kind alone; the
//! page then fetches anew what it shows.
//!
//! Whoever publishes an event must not pay for those who look: after lines were sent, a stream sleeps for [`TOGETHER`]
//! and is woken by nothing. What happened meanwhile is sent as one piece then, each account and kind once.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event as Line, KeepAlive, Sse};
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, Stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::context::Console;
use super::visitor::Visitor;
use crate::telemetry::events::{Begin, Heard, Listener};

/// How often a stream on which nothing happens is kept alive, and its session looked at.
const LOOK: Duration = Duration::from_secs(10);
/// What happens within this time after the last that was sent is sent together. A page that follows within a second is
/// live for a person, and each line makes the page fetch itself anew.
const TOGETHER: Duration = Duration::from_secs(1);

/// What happens from now on, until the session ends.
pub(super) async fn events(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Sse<impl Stream<Item = Result<Line, Infallible>>> {
    let events = console.admin.orders.events.listen(Begin::Now);
    let watcher = Watcher { events, console, visitor, ready_at: Instant::now() };
    let lines = stream::unfold(Some(watcher), async |watcher| watcher?.next().await).flat_map(stream::iter);
    Sse::new(lines.map(Ok)).keep_alive(KeepAlive::new().interval(LOOK))
}

/// Somebody who looks.
struct Watcher {
    events: Listener,
    console: Console,
    visitor: Visitor,
    /// Until then it sleeps.
    ready_at: Instant,
}

impl Watcher {
    /// The next lines, and the watcher unless it ends with them.
    async fn next(mut self) -> Option<(Vec<Line>, Option<Self>)> {
        let admin = &self.console.admin;
        let news = async {
            sleep_until(self.ready_at).await;
            timeout(LOOK, self.events.next()).await.unwrap_or_default()
        };
        let mut heard = tokio::select! {
            heard = news => heard,
            () = admin.tasks.stopping() => return None,
        };
        while let Some(more) = self.events.next().now_or_never() {
            heard.extend(more);
        }
        let known = admin.operators.load().by_digest(self.visitor.operator.token).is_some();
        if !known || !admin.sessions.is_open(self.visitor.session, std::time::Instant::now()) {
            return Some((vec![Line::default().event("signed-out").data("-")], None));
        }
        if heard.is_empty() {
            return Some((vec![Line::default().comment("still here")], Some(self)));
        }
        self.ready_at = Instant::now() + TOGETHER;
        Some((lines(&heard), Some(self)))
    }
}

/// In the order in which they were first heard.
fn lines(heard: &[Heard]) -> Vec<Line> {
    let mut known = HashSet::new();
    let new = heard.iter().map(|heard| match heard {
        Heard::Event(event) => (event.subject.as_str(), event.account.as_str()),
        Heard::Lost(_) => ("lost", "-"),
    });
    new.filter(|line| known.insert(*line)).map(|(kind, data)| Line::default().event(kind).data(data)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::AccountName;
    use crate::telemetry::events::{Events, Gap, Subject};

    /// A page fetches itself anew for each line.
    #[tokio::test]
    async fn each_account_and_kind_is_one_line_however_much_happened() {
        let events = Events::default();
        let mut listener = events.listen(Begin::Now);
        for name in ["alpha", "beta", "alpha"] {
            for subject in [Subject::Order, Subject::Token, Subject::Order] {
                events.publish(subject, &AccountName::parse(name).unwrap(), || Value::Null);
            }
        }
        let mut heard = listener.next().await;
        heard.push(Heard::Lost(Gap::Dropped(3)));
        let shown: Vec<String> = lines(&heard).into_iter().map(|line| format!("{line:?}")).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
        for (line, (kind, account)) in shown.iter().zip([
            ("order", "alpha"),
            ("token", "alpha"),
            ("order", "beta"),
            ("token", "beta"),
            ("lost", "-"),
        ]) {
            assert!(line.contains(&format!("event: {kind}")) && line.contains(&format!("data: {account}")), "{line}");
        }
    }
}
