//! `/v1/events`: what happens, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Line, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::state::Admin;
use crate::telemetry::events::Event;

/// How often a connection on which nothing happens is kept alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happens from now on: events `token`, `leg`, `order` and `validation`, each with a JSON object of `at`,
/// `account` and what the API shows of it. `lost` tells how many a slow reader has missed.
#[utoipa::path(get, path = "/v1/events", tag = "events", security(("bearer" = [])),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn listen(State(admin): State<Admin>) -> Sse<impl Stream<Item = Result<Line, Infallible>>> {
    let events = admin.orders.events.listen();
    let next =
        async move |(mut events, tasks): (tokio::sync::broadcast::Receiver<Event>, crate::domain::tasks::Tasks)| {
            let heard = tokio::select! {
                heard = events.recv() => heard,
                // A stop does not wait for those who only listen.
                () = tasks.stopping() => return None,
            };
            let line = match heard {
                Ok(event) => line(&event),
                Err(RecvError::Lagged(lost)) => Line::default().event("lost").data(json!({ "lost": lost }).to_string()),
                Err(RecvError::Closed) => return None,
            };
            Some((Ok(line), (events, tasks)))
        };
    Sse::new(stream::unfold((events, admin.tasks.clone()), next)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn line(event: &Event) -> Line {
    let mut data = event.data.clone();
    if let Some(members) = data.as_object_mut() {
        members.insert("at".to_owned(), event.at.to_string().into());
        members.insert("account".to_owned(), event.account.to_string().into());
    }
    Line::default().event(event.subject.as_str()).data(data.to_string())
}
