//! What happens to an account's WebSockets, counted and told as events: opened, reconnected, ended, refused; and of
//! callers that share them: joined, left.

use std::sync::Arc;

use serde_json::{Value, json};

use super::account_streams::AccountStreams;
use super::events::{Events, Subject};
use super::streams::{StreamEnd, StreamOwner};
use crate::domain::{AccountName, Role};

/// Where the beginning, the end and the refusal of an account's sockets are told.
#[derive(Clone, Debug)]
pub struct StreamReporter {
    streams: Arc<AccountStreams>,
    events: Events,
}

/// A socket that counts as open, until this is dropped.
#[derive(Debug)]
#[must_use = "the socket counts as open until it is dropped"]
pub struct OpenStream {
    streams: Arc<AccountStreams>,
    kind: &'static str,
}

/// A caller that counts as sharing sockets, until this is dropped.
#[derive(Debug)]
#[must_use = "the caller counts as sharing until it is dropped"]
pub struct SharingCaller {
    streams: Arc<AccountStreams>,
    kind: &'static str,
}

impl Drop for SharingCaller {
    fn drop(&mut self) {
        self.streams.sharing(self.kind, false);
    }
}

impl StreamReporter {
    /// Of an account with these counts.
    pub const fn new(streams: Arc<AccountStreams>, events: Events) -> Self {
        Self { streams, events }
    }

    /// The counts.
    pub const fn streams(&self) -> &Arc<AccountStreams> {
        &self.streams
    }

    /// A socket was opened.
    pub fn opened(&self, owner: &StreamOwner) -> OpenStream {
        self.streams.opened(owner.kind);
        let told = owner.clone();
        self.events.publish(Subject::Stream, &owner.account, move || about(&told, "opened", json!({})));
        OpenStream { streams: Arc::clone(&self.streams), kind: owner.kind }
    }

    /// The broker's side of a socket was opened again, by the owner's leg now; `why` the one before ended.
    pub fn reconnected(&self, owner: &StreamOwner, why: &'static str) {
        self.streams.reconnected(owner.kind);
        let told = owner.clone();
        let event = move || about(&told, "reconnected", json!({ "reason": why }));
        self.events.publish(Subject::Stream, &owner.account, event);
    }

    /// A caller shares the account's sockets of this kind.
    pub fn joined(&self, owner: &StreamOwner) -> SharingCaller {
        self.streams.sharing(owner.kind, true);
        let told = owner.clone();
        self.events.publish(Subject::Stream, &owner.account, move || about(&told, "joined", json!({})));
        SharingCaller { streams: Arc::clone(&self.streams), kind: owner.kind }
    }

    /// A caller's socket that was served by shared ones ended; to be told once it counts as sharing no longer.
    pub fn left(&self, owner: &StreamOwner, end: &StreamEnd) {
        self.publish_end("left", owner, end);
    }

    /// A socket ended; to be told once it counts as open no longer.
    pub fn ended(&self, owner: &StreamOwner, end: &StreamEnd) {
        self.publish_end("ended", owner, end);
    }

    fn publish_end(&self, what: &'static str, owner: &StreamOwner, end: &StreamEnd) {
        self.streams.dropped(owner.kind, end.dropped);
        let (told, end) = (owner.clone(), end.clone());
        self.events.publish(Subject::Stream, &owner.account, move || {
            let [messages_from_caller, messages_from_broker] = end.messages;
            let [bytes_from_caller, bytes_from_broker] = end.bytes;
            let more = json!({
                "reason": end.why,
                "detail": end.detail,
                "close_code": end.code,
                "duration_ms": u64::try_from(end.duration.as_millis()).unwrap_or(u64::MAX),
                "messages_from_caller": messages_from_caller,
                "messages_from_broker": messages_from_broker,
                "bytes_from_caller": bytes_from_caller,
                "bytes_from_broker": bytes_from_broker,
                "dropped": end.dropped,
                "reconnects": end.reconnects,
            });
            about(&told, what, more)
        });
    }

    /// A socket was refused, by the gateway or by the broker: a word, and what the caller was told.
    pub fn refused(&self, account: &AccountName, kind: &'static str, request_id: &Arc<str>, why: (&'static str, &str)) {
        if !self.streams.refused(kind) {
            return;
        }
        let owner =
            StreamOwner { request_id: Arc::clone(request_id), account: account.clone(), kind, leg: None, source: None };
        let (reason, detail) = (why.0, why.1.to_owned());
        let told = move || about(&owner, "refused", json!({ "reason": reason, "detail": detail }));
        self.events.publish(Subject::Stream, account, told);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.closed(self.kind);
    }
}

/// What every event of a socket has, and `more`.
fn about(owner: &StreamOwner, what: &'static str, more: Value) -> Value {
    let mut told = json!({
        "what": what,
        "kind": owner.kind,
        "request_id": &*owner.request_id,
        "leg": owner.leg.map(Role::as_str),
        "source": owner.source.map(|source| source.to_string()),
    });
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::events::{Begin, Heard};

    fn owner() -> StreamOwner {
        StreamOwner {
            request_id: "r-1".into(),
            account: AccountName::parse("alpha").unwrap(),
            kind: "feed",
            leg: Some(Role::Primary),
            source: None,
        }
    }

    fn end() -> StreamEnd {
        StreamEnd {
            why: "caller_closed",
            detail: None,
            code: 1000,
            duration: Duration::from_secs(1),
            messages: [1, 2],
            bytes: [10, 20],
            dropped: 3,
            reconnects: 0,
        }
    }

    #[tokio::test]
    async fn a_sockets_life_is_counted_by_kind_and_told_with_its_reason() {
        let (streams, events) = (Arc::<AccountStreams>::default(), Events::default());
        assert!(streams.view().is_empty(), "no kind is shown that nobody asked for");
        let mut listener = events.listen(Begin::Now);
        let reporter = StreamReporter::new(Arc::clone(&streams), events);
        let (first, second) = (reporter.opened(&owner()), reporter.opened(&owner()));
        streams.add("feed", [1, 2], [10, 20]);
        drop(first);
        reporter.ended(&owner(), &end());
        reporter.reconnected(&owner(), "token_replaced");
        let view = streams.view();
        let [feed] = &view[..] else { panic!("{view:?}") };
        assert_eq!((feed.kind, feed.open, feed.opened, feed.dropped, feed.reconnects), ("feed", 1, 2, 3, 1));
        assert_eq!((feed.messages, feed.bytes), ([1, 2], [10, 20]));
        drop(second);
        assert_eq!(streams.view()[0].open, 0);
        let heard = listener.next().await;
        let data = |nth: usize| match &heard[nth] {
            Heard::Event(event) => Value::Object(event.data().clone()),
            Heard::Lost(gap) => panic!("{gap:?}"),
        };
        let first = data(0);
        assert_eq!(
            (&first["what"], &first["kind"], &first["account"]),
            (&json!("opened"), &json!("feed"), &json!("alpha"))
        );
        let last = data(2);
        assert_eq!((&last["what"], &last["reason"]), (&json!("ended"), &json!("caller_closed")));
        assert_eq!((&last["messages_from_broker"], &last["dropped"]), (&json!(2), &json!(3)));
    }

    /// A loop of refused handshakes would push every order out of the events that are kept.
    #[tokio::test]
    async fn refusals_are_all_counted_and_seldom_told() {
        let (streams, events) = (Arc::<AccountStreams>::default(), Events::default());
        let mut listener = events.listen(Begin::Now);
        let reporter = StreamReporter::new(Arc::clone(&streams), events);
        for _ in 0..100 {
            reporter.refused(&owner().account, "feed", &"r-2".into(), ("sockets", "five are open"));
        }
        reporter.refused(&owner().account, "depth20", &"r-3".into(), ("pace", "too fast"));
        assert_eq!(streams.view().iter().map(|kind| kind.refused).collect::<Vec<_>>(), [100, 1]);
        let heard = listener.next().await;
        assert_eq!(heard.len(), 2, "{heard:?}");
    }
}
