//! `/v1/events`: what happens, as server-sent events; `/v1/events/recent`: what just happened.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Line, KeepAlive, Sse};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::error::{Failure, Problem};
use super::operators::Operator;
use super::parameters::Parameters;
use super::state::Admin;
use super::wire::{EventBody, EventFilter, RecentEventsBody, RecentFilter};
use crate::domain::AccountName;
use crate::telemetry::events::{Begin, Event, EventId, Gap, Heard, Listener, Subject};

/// How often a connection on which nothing happens is kept alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked whether the token still gives a role.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// What happens within this time after the last that was sent is sent together: who tells an order wakes nobody then.
const TOGETHER: Duration = Duration::from_millis(20);
/// The header by which a browser says what it heard last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Which events somebody wants.
#[derive(Debug, Default)]
struct Filter {
    account: Option<AccountName>,
    subject: Option<Subject>,
}

impl Filter {
    fn read(given: &mut Parameters) -> Result<Self, Failure> {
        let account = given.account("account")?;
        let known = |word: &str| Subject::ALL.into_iter().find(|subject| subject.as_str() == word);
        let wrong = |_| Failure::field("subject", "is token, leg, order, validation or stream");
        let subject = given.take("subject").map(|word| known(&word).ok_or(word)).transpose().map_err(wrong)?;
        Ok(Self { account, subject })
    }

    fn wants(&self, event: &Event) -> bool {
        self.account.as_ref().is_none_or(|account| *account == event.account)
            && self.subject.is_none_or(|subject| subject == event.subject)
    }
}

/// What happens: events `token`, `leg`, `order`, `validation` and `stream` (a WebSocket: `what` is
/// `opened`, `reconnected`, `ended` or `refused`, or of callers that share one `joined` or `left`, with `kind` and the
/// `reason`; of refusals one in ten seconds), each with an id and a JSON object of `at`, `account` and
/// what the API shows of it. With the header `Last-Event-ID` it goes on after that event, with `since` it begins at that
/// moment, else now. `lost` tells that events are missing at this place, how many at most (`lost`, null if that is not
/// known) and why (`reason`): `dropped`, of more than the last 4,096 that are kept; `restarted`, as the gateway was
/// started again since. `ended` tells that the token gives no role any more.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventFilter,
        ("Last-Event-ID" = Option<String>, Header, pattern = "^[0-9a-f]{8}-[0-9]{1,19}$", description = "The id of the event that was heard last.")),
    security(("bearer" = [])),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 422, body = Problem)))]
pub(super) async fn listen(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    mut given: Parameters,
) -> Result<Sse<impl Stream<Item = Result<Line, Infallible>>>, Failure> {
    let filter = Filter::read(&mut given)?;
    let since = given.time("since")?;
    given.done()?;
    let begin = match (last_heard(&headers)?, since) {
        (Some(id), _) => Begin::After(id),
        (None, Some(at)) => Begin::Since(at),
        (None, None) => Begin::Now,
    };
    let watcher =
        Watcher { listener: admin.orders.events.listen(begin), admin, operator, filter, ready_at: Instant::now() };
    // Without data it is no event, and tells a browser what to ask for should the connection end before the first.
    let first = Line::default().id(watcher.listener.at().to_string());
    let lines = stream::unfold(Some(watcher), async |watcher| watcher?.next().await).flat_map(stream::iter);
    let lines = stream::iter([first]).chain(lines).map(Ok);
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The id of the event that was heard last, if the caller says one.
fn last_heard(headers: &HeaderMap) -> Result<Option<EventId>, Failure> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let id = id.to_str().unwrap_or_default();
    id.parse()
        .map(Some)
        .map_err(|why: crate::domain::problem::Invalid| Failure::field("Last-Event-ID", why.to_string()))
}

/// Who listens, and by which token.
struct Watcher {
    listener: Listener,
    admin: Admin,
    operator: Operator,
    filter: Filter,
    ready_at: Instant,
}

impl Watcher {
    /// The next lines; none any more when the gateway stops.
    async fn next(mut self) -> Option<(Vec<Line>, Option<Self>)> {
        loop {
            let look = sleep_until(Instant::now() + LOOK_EVERY);
            let ready_at = self.ready_at;
            let news = async {
                sleep_until(ready_at).await;
                self.listener.next().await
            };
            let heard = tokio::select! {
                heard = news => heard,
                () = look => Vec::new(),
                // A stop does not wait for those who only listen.
                () = self.admin.tasks.stopping() => return None,
            };
            if self.admin.operators.load().by_digest(self.operator.token).is_none() {
                let why = json!({ "reason": "token_removed" });
                return Some((vec![Line::default().event("ended").data(why.to_string())], None));
            }
            if !heard.is_empty() {
                self.ready_at = Instant::now() + TOGETHER;
            }
            let lines: Vec<_> = heard.into_iter().filter_map(|heard| self.line(heard)).collect();
            if !lines.is_empty() {
                return Some((lines, Some(self)));
            }
        }
    }

    fn line(&self, heard: Heard) -> Option<Line> {
        match heard {
            Heard::Event(event) if self.filter.wants(&event) => {
                let EventBody { id, event, data } = body(&self.admin, &event);
                Some(Line::default().id(id).event(event).data(serde_json::to_string(&data).unwrap_or_default()))
            }
            Heard::Event(_) => None,
            Heard::Lost(gap) => {
                let said = match gap {
                    Gap::Dropped(count) => json!({ "lost": count, "reason": "dropped" }),
                    Gap::Restarted => json!({ "lost": null, "reason": "restarted" }),
                };
                Some(Line::default().event("lost").data(said.to_string()))
            }
        }
    }
}

fn body(admin: &Admin, event: &Event) -> EventBody {
    let id = admin.orders.events.id(event.number).to_string();
    EventBody { id, event: event.subject.as_str(), data: event.data().clone() }
}

/// What just happened, the newest first, of the last 4,096 events since the start. Give the first `id` as `Last-Event-ID`
/// to `/v1/events` to go on from there.
#[utoipa::path(get, path = "/v1/events/recent", tag = "events", params(RecentFilter), security(("bearer" = [])),
    responses((status = 200, body = RecentEventsBody), (status = 422, body = Problem)))]
pub(super) async fn recent(
    State(admin): State<Admin>,
    mut given: Parameters,
) -> Result<Json<RecentEventsBody>, Failure> {
    let filter = Filter::read(&mut given)?;
    let limit = given.limit()?;
    given.done()?;
    let events = admin.orders.events.recent(limit, |event| filter.wants(event));
    Ok(Json(RecentEventsBody { items: events.iter().map(|event| body(&admin, event)).collect() }))
}
