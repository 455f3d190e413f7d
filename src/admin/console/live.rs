//! `/console/events`: what happens and what somebody changes, for pages that are open. Each event is the account's name
//! (`-` for none or all of them) and its kind alone; the page then fetches anew what it shows.
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
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until, timeout};

use super::context::Console;
use super::visitor::Visitor;
use crate::telemetry::events::{Begin, Heard, Listener};

/// How often a stream on which nothing happens is kept alive, and its session looked at.
const LOOK: Duration = Duration::from_secs(10);
/// What happens within this time after the last that was sent is sent together. A page that follows within a second is
/// live for a person, and each line makes the page fetch itself anew.
const TOGETHER: Duration = Duration::from_secs(1);
/// What stands in place of an account's name where there is none.
const NONE: &str = "-";

/// What happens from now on, until the session ends.
pub(super) async fn events(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Sse<impl Stream<Item = Result<Line, Infallible>>> {
    let events = console.admin.orders.events.listen(Begin::Now);
    let changes = console.admin.audit.follow();
    let watcher = Watcher { events, changes, console, visitor, ready_at: Instant::now() };
    let lines = stream::unfold(Some(watcher), async |watcher| watcher?.next().await).flat_map(stream::iter);
    Sse::new(lines.map(Ok)).keep_alive(KeepAlive::new().interval(LOOK))
}

/// Somebody who looks.
struct Watcher {
    events: Listener,
    changes: broadcast::Receiver<Option<String>>,
    console: Console,
    visitor: Visitor,
    /// Until then it sleeps.
    ready_at: Instant,
}

impl Watcher {
    /// The next lines, and the watcher unless it ends with them.
    async fn next(mut self) -> Option<(Vec<Line>, Option<Self>)> {
        let Self { events, changes, console, visitor, ready_at } = &mut self;
        let admin = &console.admin;
        let news = async {
            sleep_until(*ready_at).await;
            let either = async {
                tokio::select! {
                    heard = events.next() => (heard, None),
                    change = changes.recv() => (Vec::new(), Some(change)),
                }
            };
            timeout(LOOK, either).await.unwrap_or_default()
        };
        let (heard, change) = tokio::select! {
            news = news => news,
            () = admin.tasks.stopping() => return None,
        };
        let mut news = News::default();
        heard.iter().for_each(|heard| news.happened(heard));
        change.into_iter().for_each(|change| news.changed(change));
        while let Some(more) = events.next().now_or_never() {
            more.iter().for_each(|heard| news.happened(heard));
        }
        while let Some(more) = changes.recv().now_or_never() {
            let is_over = more == Err(RecvError::Closed);
            news.changed(more);
            if is_over {
                break;
            }
        }
        let known = admin.operators.load().by_digest(visitor.operator.token).is_some();
        if !known || !admin.sessions.is_open(visitor.session, std::time::Instant::now()) {
            return Some((vec![Line::default().event("signed-out").data("-")], None));
        }
        if news.lines.is_empty() {
            return Some((vec![Line::default().comment("still here")], Some(self)));
        }
        *ready_at = Instant::now() + TOGETHER;
        Some((news.lines, Some(self)))
    }
}

/// Lines in the order in which they were first heard, each account and kind once.
#[derive(Default)]
struct News {
    known: HashSet<(&'static str, String)>,
    lines: Vec<Line>,
}

impl News {
    fn happened(&mut self, heard: &Heard) {
        match heard {
            Heard::Event(event) => self.say(event.subject.as_str(), event.account.as_str()),
            Heard::Lost(_) => self.say("lost", NONE),
        }
    }

    fn changed(&mut self, change: Result<Option<String>, RecvError>) {
        match change {
            Ok(account) => self.say("change", account.as_deref().unwrap_or(NONE)),
            Err(RecvError::Lagged(_)) => self.say("lost", NONE),
            Err(RecvError::Closed) => {}
        }
    }

    fn say(&mut self, kind: &'static str, account: &str) {
        if self.known.insert((kind, account.to_owned())) {
            self.lines.push(Line::default().event(kind).data(account));
        }
    }
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
        let mut news = News::default();
        heard.iter().for_each(|heard| news.happened(heard));
        for account in [Some("alpha".to_owned()), None, None] {
            news.changed(Ok(account));
        }
        news.changed(Err(RecvError::Lagged(2)));
        let shown: Vec<String> = news.lines.into_iter().map(|line| format!("{line:?}")).collect();
        assert_eq!(shown.len(), 7, "{shown:?}");
        for (line, (kind, account)) in shown.iter().zip([
            ("order", "alpha"),
            ("token", "alpha"),
            ("order", "beta"),
            ("token", "beta"),
            ("lost", "-"),
            ("change", "alpha"),
            ("change", "-"),
        ]) {
            assert!(line.contains(&format!("event: {kind}")) && line.contains(&format!("data: {account}")), "{line}");
        }
    }
}
