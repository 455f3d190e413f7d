//! What arrived: the record that tests assert on.

use std::collections::VecDeque;
use std::net::SocketAddrV6;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ClientId;

/// How many requests are kept; the oldest is forgotten first.
const KEPT: usize = 50_000;

/// One request, as the broker saw it. Tokens are shown: they are the sandbox's.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Counts up from 1 through the sandbox's life.
    pub sequence: u64,
    /// When it had arrived whole.
    pub at: Timestamp,
    /// Where it came from.
    pub peer: SocketAddrV6,
    /// Which connection it came on, counted from 1.
    pub connection: u64,
    /// The name of the TLS handshake.
    pub sni: Option<String>,
    /// The name of the request (`Host` or `:authority`).
    pub host: Option<String>,
    /// `GET`, and so on.
    pub method: String,
    /// As it came, query included.
    pub path_and_query: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The header `access-token`; for WebSockets the token of the query or of
    /// the login frame.
    pub token: Option<String>,
    /// The header `client-id`; for WebSockets the client id beside the token.
    pub client_id_header: Option<String>,
    /// The header `dhanClientId`.
    pub dhan_client_id_header: Option<String>,
    /// `dhanClientId` of the body.
    pub body_client_id: Option<String>,
    /// `correlationId` of the body.
    pub correlation_id: Option<String>,
    /// The body's length.
    pub body_length: usize,
    /// Every header as it came, in lower case, for tests of what must not be sent.
    pub headers: Vec<(String, String)>,
    /// Whose live token it carried.
    pub account: Option<ClientId>,
    /// Was it a WebSocket's beginning?
    pub websocket: bool,
    /// Was an order made, changed or cancelled because of it?
    pub executed: bool,
    /// The status of the reply; none while there is none, or if none was sent.
    pub status: Option<u16>,
}

/// The record.
#[derive(Default)]
pub(super) struct Record {
    kept: VecDeque<Seen>,
    counted: u64,
}

impl Record {
    /// Add one; its number.
    pub(super) fn add(&mut self, mut seen: Seen) -> u64 {
        self.counted += 1;
        seen.sequence = self.counted;
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(seen);
        self.counted
    }

    /// Change one that may have been forgotten meanwhile.
    pub(super) fn update(&mut self, sequence: u64, change: impl FnOnce(&mut Seen)) {
        let at = self.kept.binary_search_by_key(&sequence, |seen| seen.sequence);
        if let Some(seen) = at.ok().and_then(|at| self.kept.get_mut(at)) {
            change(seen);
        }
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.kept.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}
