//! What arrived: the record that tests assert on.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddrV6;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ClientId;

/// How many requests are kept; the oldest is forgotten first.
const KEPT: usize = 50_000;

/// One request, as the broker saw it. Tokens, PINs and codes are in the fields, as
/// they came: they are the sandbox's own. `Debug` leaves them out, because what a
/// failed test prints is kept and read elsewhere.
#[derive(Clone, Serialize)]
pub struct Seen {
    /// Counts up from 1 through the sandbox's life.
    pub sequence: u64,
    /// When it had arrived whole, by this host's clock.
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
    /// The path and query as they came.
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
    /// Which account a request to the login host is for, as its query or its
    /// consent says.
    pub login_of: Option<ClientId>,
    /// Was it a WebSocket's beginning?
    pub websocket: bool,
    /// Was an order made, changed or cancelled because of it?
    pub executed: bool,
    /// The status of the reply; none while there is none, or if none was sent.
    pub status: Option<u16>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.path_and_query.split_once('?').unwrap_or((&self.path_and_query, ""));
        let names =
            |text: &str| text.split('&').filter_map(|pair| pair.split('=').next()).collect::<Vec<_>>().join("&");
        f.debug_struct("Seen")
            .field("sequence", &self.sequence)
            .field("at", &self.at)
            .field("peer", &self.peer)
            .field("connection", &self.connection)
            .field("sni", &self.sni)
            .field("host", &self.host)
            .field("method", &self.method)
            .field("path", &path)
            .field("query_names", &names(query))
            .field("version", &self.version)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("client_id_header", &self.client_id_header)
            .field("dhan_client_id_header", &self.dhan_client_id_header)
            .field("body_client_id", &self.body_client_id)
            .field("correlation_id", &self.correlation_id)
            .field("body_length", &self.body_length)
            .field("header_names", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("account", &self.account)
            .field("login_of", &self.login_of)
            .field("websocket", &self.websocket)
            .field("executed", &self.executed)
            .field("status", &self.status)
            .finish()
    }
}

/// Every request that the built-in broker saw.
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
