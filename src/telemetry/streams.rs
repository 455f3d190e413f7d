//! WebSockets: what is counted of them, and the one line at the end of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::{AccountName, Role, SourceAddr, lock};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    kind: &'static str,
    /// Who said it: `caller` or `broker`.
    from: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    kind: &'static str,
    reason: &'static str,
}

/// Why a socket was refused before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRefusal {
    /// The account has as many of the kind as the broker allows.
    Sockets,
    /// The account opens them too fast.
    Pace,
    /// The broker has said 429.
    Broker,
}

impl StreamRefusal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Pace => "pace",
            Self::Broker => "broker",
        }
    }
}

/// What is counted of WebSockets. The kinds are of a closed enum (`broker::dhan::streams`).
#[derive(Debug, Default)]
pub struct StreamMetrics {
    open: Family<KindLabels, Gauge>,
    messages: Family<DirectionLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    dropped: Family<KindLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    ended: Family<ReasonLabels, Counter>,
    counters: Mutex<HashMap<&'static str, Arc<StreamCounters>>>,
}

/// The counters of a kind, found once for each socket.
#[derive(Debug)]
pub struct StreamCounters {
    messages: [Counter; 2],
    bytes: [Counter; 2],
}

impl StreamCounters {
    /// Adds what passed: first what the caller said, then the broker.
    pub fn add(&self, messages: [u64; 2], bytes: [u64; 2]) {
        for (counter, more) in self.messages.iter().zip(messages).chain(self.bytes.iter().zip(bytes)) {
            if more > 0 {
                counter.inc_by(more);
            }
        }
    }
}

impl StreamMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("streams", "WebSockets that are open", self.open.clone());
        registry.register("stream_messages", "Messages that WebSockets passed on", self.messages.clone());
        registry.register("stream_bytes", "Bytes of the frames of WebSockets", self.bytes.clone());
        let help = "Messages of callers of order updates that were dropped: no login, or another one";
        registry.register("stream_messages_dropped", help, self.dropped.clone());
        let help = "WebSockets that were refused before their handshake was sent, because of the broker's limits";
        registry.register("streams_refused", help, self.refused.clone());
        registry.register("streams_ended", "WebSockets that have ended", self.ended.clone());
    }

    /// So many more are open.
    pub fn opened(&self, kind: &'static str, more: i64) {
        self.open.get_or_create(&KindLabels { kind }).inc_by(more);
    }

    /// One was refused.
    pub fn refused(&self, kind: &'static str, why: StreamRefusal) {
        self.refused.get_or_create(&ReasonLabels { kind, reason: why.as_str() }).inc();
    }

    /// Where a socket of this kind counts what it passes on.
    pub fn counters(&self, kind: &'static str) -> Arc<StreamCounters> {
        let made = || {
            let of = |family: &Family<DirectionLabels, Counter>| {
                ["caller", "broker"].map(|from| family.get_or_create(&DirectionLabels { kind, from }).clone())
            };
            Arc::new(StreamCounters { messages: of(&self.messages), bytes: of(&self.bytes) })
        };
        Arc::clone(lock(&self.counters).entry(kind).or_insert_with(made))
    }

    /// One has ended.
    pub fn ended(&self, kind: &'static str, end: &StreamEnd) {
        self.ended.get_or_create(&ReasonLabels { kind, reason: end.why }).inc();
        self.dropped.get_or_create(&KindLabels { kind }).inc_by(end.dropped);
    }
}

/// Whose a socket is, for its line.
#[derive(Clone, Debug)]
pub struct StreamOwner {
    /// The id of the request that opened it.
    pub request_id: Arc<str>,
    /// Whose it is.
    pub account: AccountName,
    /// Its kind's word.
    pub kind: &'static str,
    /// The leg that it goes by.
    pub leg: Option<Role>,
    /// The address that it leaves from.
    pub source: Option<SourceAddr>,
}

/// How a socket ended. In pairs: first what the caller said, then the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// Why, a word of a closed list.
    pub why: &'static str,
    /// What is known beside it.
    pub detail: Option<String>,
    /// The code of the Close that the caller was told.
    pub code: u16,
    /// How long it was open.
    pub duration: Duration,
    /// Whole messages.
    pub messages: [u64; 2],
    /// Bytes of frames.
    pub bytes: [u64; 2],
    /// Of the caller's messages, those that were not passed on.
    pub dropped: u64,
}

impl StreamEnd {
    /// Write the line.
    pub fn log(&self, owner: &StreamOwner) {
        let [messages_from_caller, messages_from_broker] = self.messages;
        let [bytes_from_caller, bytes_from_broker] = self.bytes;
        tracing::info!(
            target: "sixgate::access",
            request_id = &*owner.request_id,
            account = owner.account.as_str(),
            service = owner.kind,
            leg = owner.leg.map(Role::as_str),
            source = owner.source.map(|source| source.to_string()),
            why = self.why,
            detail = self.detail,
            close_code = self.code,
            duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            messages_from_caller,
            messages_from_broker,
            bytes_from_caller,
            bytes_from_broker,
            dropped = (self.dropped > 0).then_some(self.dropped),
            "websocket ended"
        );
    }
}
