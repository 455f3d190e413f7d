//! WebSockets: what is counted of them, and the one line at the end of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::account_streams::AccountStreams;
use crate::domain::{AccountName, LocalAddress, Role, lock};

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
    /// The word in metrics and events. Never changes.
    pub const fn as_str(self) -> &'static str {
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
    reconnected: Family<ReasonLabels, Counter>,
    not_reconnected: Family<ReasonLabels, Counter>,
    counters: Mutex<HashMap<&'static str, Arc<StreamCounters>>>,
}

/// The counters of a kind, found once for each socket. The default ones are nobody's.
#[derive(Clone, Debug, Default)]
pub struct StreamCounters {
    messages: [Counter; 2],
    bytes: [Counter; 2],
    /// Those of the account that the socket is of, and the kind's word.
    account: Option<(Arc<AccountStreams>, &'static str)>,
}

impl StreamCounters {
    /// Adds what passed: first what the caller said, then the broker.
    pub fn add(&self, messages: [u64; 2], bytes: [u64; 2]) {
        for (counter, more) in self.messages.iter().zip(messages).chain(self.bytes.iter().zip(bytes)) {
            if more > 0 {
                counter.inc_by(more);
            }
        }
        if let Some((account, kind)) = &self.account {
            account.add(kind, messages, bytes);
        }
    }
}

impl StreamMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("streams", "WebSockets that are open", self.open.clone());
        registry.register("stream_messages", "Messages that WebSockets passed on", self.messages.clone());
        registry.register("stream_bytes", "Bytes of the frames of WebSockets", self.bytes.clone());
        let help = "Messages of callers that were dropped: no login of order updates, no request of a shared feed, or without a broker to hear them";
        registry.register("stream_messages_dropped", help, self.dropped.clone());
        let help = "WebSockets that were refused before their handshake was sent, because of the broker's limits";
        registry.register("streams_refused", help, self.refused.clone());
        let help = "WebSockets whose broker's side was opened again, by why it had ended";
        registry.register("stream_reconnects", help, self.reconnected.clone());
        let help = "WebSockets whose broker's side could not be opened again, by why it had ended";
        registry.register("stream_reconnects_failed", help, self.not_reconnected.clone());
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

    /// The broker's side of one was opened again.
    pub fn reconnected(&self, kind: &'static str, reason: &'static str) {
        self.reconnected.get_or_create(&ReasonLabels { kind, reason }).inc();
    }

    /// The broker's side of one could not be opened again.
    pub fn not_reconnected(&self, kind: &'static str, reason: &'static str) {
        self.not_reconnected.get_or_create(&ReasonLabels { kind, reason }).inc();
    }

    /// Where a socket of this kind counts what it passes on.
    pub fn counters(&self, kind: &'static str) -> Arc<StreamCounters> {
        let made = || {
            let of = |family: &Family<DirectionLabels, Counter>| {
                ["caller", "broker"].map(|from| family.get_or_create(&DirectionLabels { kind, from }).clone())
            };
            Arc::new(StreamCounters { messages: of(&self.messages), bytes: of(&self.bytes), account: None })
        };
        Arc::clone(lock(&self.counters).entry(kind).or_insert_with(made))
    }

    /// The same for a socket of this account, which are counted there too.
    pub fn counters_of(&self, kind: &'static str, account: &Arc<AccountStreams>) -> Arc<StreamCounters> {
        let counters = StreamCounters::clone(&self.counters(kind));
        Arc::new(StreamCounters { account: Some((Arc::clone(account), kind)), ..counters })
    }

    /// One has ended.
    pub fn ended(&self, kind: &'static str, end: &StreamEnd) {
        self.ended.get_or_create(&ReasonLabels { kind, reason: end.why }).inc();
        self.dropped(kind, end.dropped);
    }

    /// So many messages of a caller's were not passed on.
    pub fn dropped(&self, kind: &'static str, messages: u64) {
        self.dropped.get_or_create(&KindLabels { kind }).inc_by(messages);
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
    /// The leg that it goes by; none over IPv4.
    pub leg: Option<Role>,
    /// The address that it leaves from.
    pub source: Option<LocalAddress>,
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
    /// How often the broker's side was opened again.
    pub reconnects: u32,
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
            reconnects = (self.reconnects > 0).then_some(self.reconnects),
            "websocket ended"
        );
    }
}

/// The broker's side of a socket ended, and was opened again or could not be.
#[derive(Clone, Debug)]
pub struct StreamReconnect<'a> {
    /// Why it had ended, a word of the list that ends have.
    pub why: &'static str,
    /// How many handshakes it took, with those of ends shortly before.
    pub tries: u32,
    /// How long there was none.
    pub away: Duration,
    /// How many instruments it was subscribed to when it ended, each counted for every mode.
    pub instruments: usize,
    /// Why it could not be opened again, if it could not.
    pub failed: Option<&'a str>,
}

impl StreamReconnect<'_> {
    /// Write the line.
    pub fn log(&self, owner: &StreamOwner) {
        let away_ms = u64::try_from(self.away.as_millis()).unwrap_or(u64::MAX);
        if let Some(detail) = self.failed {
            tracing::warn!(
                request_id = &*owner.request_id,
                account = owner.account.as_str(),
                service = owner.kind,
                why = self.why,
                detail,
                tries = self.tries,
                away_ms,
                "websocket not reconnected"
            );
        } else {
            tracing::info!(
                target: "sixgate::access",
                request_id = &*owner.request_id,
                account = owner.account.as_str(),
                service = owner.kind,
                leg = owner.leg.map(Role::as_str),
                source = owner.source.map(|source| source.to_string()),
                why = self.why,
                tries = self.tries,
                away_ms,
                instruments = self.instruments,
                "websocket reconnected"
            );
        }
    }
}
