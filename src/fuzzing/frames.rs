//! WebSocket frames of callers of order updates.

use super::input::pieces;
use crate::proxy::fuzzing::{LOGIN, order_updates, text};

/// A masked frame.
struct Frame<'a> {
    first: u8,
    payload: Vec<u8>,
    /// All of it as it came.
    wire: &'a [u8],
}

/// The longest frame that is looked at here.
const LONGEST: usize = 16 * 1024;

/// The frame at the front and what comes after it (RFC 6455 section 5.2). `None` while it is not whole, or if it is
/// not masked or longer than is taken.
fn frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (length, rest) = match second & 0x7f {
        126 => rest.split_first_chunk::<2>().map(|(n, rest)| (usize::from(u16::from_be_bytes(*n)), rest))?,
        127 => return None,
        short => (usize::from(short), rest),
    };
    let (mask, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (wire, rest) = bytes.split_at_checked(bytes.len() - rest.len())?;
    if second & 0x80 == 0 || wire.len() > LONGEST {
        return None;
    }
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((Frame { first: *first, payload, wire }, rest))
}

/// Of what a caller says the broker hears pings and their like as they came, and once the account's own login; and
/// nothing else, however it comes.
///
/// # Panics
/// Where that does not hold.
pub fn websocket(data: &[u8]) {
    let (heard, end) = order_updates(data, usize::MAX);
    for piece in pieces(data) {
        let (other, other_end) = order_updates(data, piece);
        assert_eq!(plain(&heard), plain(&other), "in pieces of {piece} it is something else");
        assert_eq!(end, other_end, "in pieces of {piece} it ends otherwise");
    }

    let (mut rest, mut controls) = (data, Vec::new());
    while let Some((from_caller, after)) = frame(rest) {
        rest = after;
        if from_caller.first & 8 != 0 {
            controls.push(from_caller.wire);
        }
    }
    let (mut rest, mut controls, mut logged_in) = (&heard[..], controls.into_iter(), false);
    while let Some((there, after)) = frame(rest) {
        rest = after;
        if there.first & 8 != 0 {
            assert_eq!(Some(there.wire), controls.next(), "a control frame arrives otherwise");
            continue;
        }
        assert!(!logged_in, "the broker hears a second message");
        logged_in = true;
        assert_eq!(there.first, 0x81, "the login is no text frame");
        let login: serde_json::Value = serde_json::from_slice(&there.payload).unwrap_or_default();
        let says = |name| login.pointer(name).and_then(serde_json::Value::as_str);
        assert_eq!(says("/LoginReq/ClientId"), Some(LOGIN.0), "another account's login");
        assert_eq!(says("/LoginReq/Token"), Some(LOGIN.1), "another account's token");
    }
    assert!(rest.is_empty(), "half a frame was passed on");

    let wire = text(data);
    let back = frame(&wire).map(|(frame, rest)| (frame.first, frame.payload, rest.len()));
    assert!(wire.len() > LONGEST || back == Some((0x81, data.to_vec(), 0)), "a text frame is read otherwise");
}

/// Frames without their masks, which differ from time to time.
fn plain(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((frame, rest)) = frame(wire) {
        frames.push((frame.first, frame.payload));
        wire = rest;
    }
    frames
}
