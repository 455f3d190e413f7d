//! Dhan's WebSockets: their kinds, how many there may be, and how the broker says that it ends one.

/// What a socket is for. The broker counts each kind by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Prices: ticker, quote and full.
    Feed,
    /// Depth of 20 levels.
    Depth20,
    /// Depth of 200 levels.
    Depth200,
    /// What becomes of the account's orders.
    OrderUpdate,
}

/// How many sockets of a kind an account may have open: the next one makes the broker end the oldest (805).
pub const SOCKETS: usize = 5;

impl StreamKind {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Feed, Self::Depth20, Self::Depth200, Self::OrderUpdate];

    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feed => "feed",
            Self::Depth20 => "depth20",
            Self::Depth200 => "depth200",
            Self::OrderUpdate => "order_update",
        }
    }

    /// How many instruments a message may name.
    pub const INSTRUMENTS_A_MESSAGE: usize = 100;

    /// How many instruments a socket may be subscribed to.
    pub const fn instruments(self) -> usize {
        match self {
            Self::Feed => 5_000,
            Self::Depth20 => 50,
            Self::Depth200 => 1,
            Self::OrderUpdate => 0,
        }
    }

    /// What a `RequestCode` means on a socket of this kind.
    pub const fn subscribing(self, code: u64) -> Subscribing {
        match (self, code) {
            (_, 12) => Subscribing::Goodbye,
            (Self::Feed, 15 | 17 | 21) | (Self::Depth20 | Self::Depth200, 23) => Subscribing::Begins(code),
            (Self::Feed, 16 | 18 | 22) | (Self::Depth20 | Self::Depth200, 24) => Subscribing::Ends(code - 1),
            // The documents have 24, the broker's own page 25.
            (Self::Depth20 | Self::Depth200, 25) => Subscribing::Ends(23),
            _ => Subscribing::Unknown,
        }
    }

    /// Why the broker ends the socket, if this binary message says that it does.
    pub fn disconnect(self, message: &[u8]) -> Option<Disconnect> {
        let code = match self {
            // `<BHBIH`: code, length, segment, security, reason.
            Self::Feed | Self::OrderUpdate => message.first(),
            // `<hBBiI`: length, code, segment, security, reason.
            Self::Depth20 | Self::Depth200 => message.get(2),
        };
        if *code? != 50 {
            return None;
        }
        let reason = message.get(8..10).and_then(|bytes| bytes.first_chunk::<2>()).copied();
        Some(Disconnect(reason.map(u16::from_le_bytes)))
    }
}

/// What a `RequestCode` asks for. Subscriptions of one mode have the code that begins them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribing {
    /// Prices of these instruments in the mode of this code.
    Begins(u64),
    /// No more of them in that mode.
    Ends(u64),
    /// The end of the socket.
    Goodbye,
    /// Nobody knows.
    Unknown,
}

/// The broker's reason for ending a socket, if it gave one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect(pub Option<u16>);

impl Disconnect {
    /// What it means, in words. The broker's documents and its SDK label 808 and 809 a little differently.
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            Some(805) => "there are more sockets than the broker allows",
            Some(806) => "the account has not subscribed to the data plan",
            Some(807) => "the access token has ended",
            Some(808) => "the login failed",
            Some(809) => "the access token is not valid",
            Some(810) => "the client id is not valid",
            Some(_) => "the broker gives a reason that is not documented",
            None => "the broker gives no reason",
        }
    }

    /// Could another socket be served all the same? Not where there are too many, where the plan, the login or the client
    /// id is at fault.
    pub const fn may_pass(self) -> bool {
        !matches!(self.0, Some(805 | 806 | 808 | 810))
    }

    /// Does it say something of the token?
    pub const fn is_of_token(self) -> bool {
        matches!(self.0, Some(807..=809))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packets of the fixtures and of the SDK.
    #[test]
    fn a_disconnect_packet_is_read_as_its_kind_has_it() {
        let feed = [0x32, 0x0a, 0, 0, 0, 0, 0, 0, 0x27, 0x03];
        assert_eq!(StreamKind::Feed.disconnect(&feed), Some(Disconnect(Some(807))));
        assert!(Disconnect(Some(807)).is_of_token() && !Disconnect(Some(805)).is_of_token());
        let depth = [12, 0, 50, 0, 0, 0, 0, 0, 0x25, 0x03, 0, 0];
        assert_eq!(StreamKind::Depth20.disconnect(&depth), Some(Disconnect(Some(805))));
        assert_eq!(StreamKind::OrderUpdate.disconnect(&[50]), Some(Disconnect(None)));
        let ticker = [2, 16, 0, 1, 0x35, 5, 0, 0, 0x32, 0, 0, 0, 0, 0, 0, 0];
        let may_pass: Vec<_> = (805..=811).filter(|reason| Disconnect(Some(*reason)).may_pass()).collect();
        assert_eq!(may_pass, [807, 809, 811]);
        assert_eq!((StreamKind::Feed.disconnect(&ticker), StreamKind::Depth200.disconnect(b"")), (None, None));
    }
}
