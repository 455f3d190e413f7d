//! Dhan's hosts and how each is signed.

/// What a broker host is for, which decides how a request to it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// REST: signed by headers, order writes by their body too.
    Api,
    /// Login: the gateway's own, nothing of a caller's is ever sent there.
    Auth,
    /// Order updates: a WebSocket signed in its first frame.
    OrderUpdate,
    /// Market feed and depth: WebSockets signed in the query.
    Feed,
    /// Instrument lists: public files, not signed.
    Images,
}

impl Service {
    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Auth => "auth",
            Self::OrderUpdate => "order_update",
            Self::Feed => "feed",
            Self::Images => "images",
        }
    }
}
