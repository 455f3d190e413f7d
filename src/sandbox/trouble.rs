//! What can befall a socket that is open.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Something that befalls open sockets at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StreamFault {
    /// The broker says by a packet that it ends the socket, and ends the connection without a Close. `[C]` for how.
    Disconnect {
        /// 805 too many sockets, 806 no data plan, 807 token ended, 808 login failed, 809 token wrong, 810 client id.
        reason: u16,
    },
    /// The connection stays, and nothing more is said or heard on it.
    Silence,
    /// The connection is reset without a Close.
    Reset,
    /// A text that is no JSON, as for a heartbeat.
    Text,
    /// A Close with this code.
    Close {
        /// The code.
        code: u16,
    },
}

/// Which of an account's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamHost {
    /// The market feed.
    Feed,
    /// Depth of 20 levels.
    Depth20,
    /// Depth of 200 levels.
    Depth200,
    /// Order updates.
    OrderUpdate,
}

/// The packet that says why a socket ends: 10 bytes on the feed (`<BHBIH`), 12 on the depth sockets (`<hBBiI`).
pub(super) fn disconnect(kind: StreamHost, reason: u16) -> Bytes {
    let mut packet = BytesMut::with_capacity(12);
    match kind {
        StreamHost::Feed | StreamHost::OrderUpdate => {
            packet.put_u8(50);
            packet.put_u16_le(10);
            packet.put_u8(0);
            packet.put_u32_le(0);
            packet.put_u16_le(reason);
        }
        StreamHost::Depth20 | StreamHost::Depth200 => {
            packet.put_u16_le(12);
            packet.put_u8(50);
            packet.put_u8(0);
            packet.put_u32_le(0);
            packet.put_u32_le(reason.into());
        }
    }
    packet.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_packet_is_as_it_was_recorded() {
        assert_eq!(disconnect(StreamHost::Feed, 807)[..], [0x32, 0x0a, 0, 0, 0, 0, 0, 0, 0x27, 0x03]);
        assert_eq!(disconnect(StreamHost::Depth20, 805)[..], [12, 0, 50, 0, 0, 0, 0, 0, 0x25, 0x03, 0, 0]);
    }
}
