//! Random bytes for ids, taken from the kernel in advance: an order wants three ids, and each would be a system call.
//!
//! For ids only, but for [`mix`], which is not random at all. Keys, nonces and secrets are taken from the kernel where they are needed, and leave no copy.

use std::cell::RefCell;
use std::sync::Arc;

use uuid::{Builder, Uuid};

const KEPT: usize = 1024;

struct BufferedBytes {
    bytes: [u8; KEPT],
    left: usize,
}

thread_local! {
    static RANDOM: RefCell<BufferedBytes> = const { RefCell::new(BufferedBytes { bytes: [0; KEPT], left: 0 }) };
}

/// `N` random bytes, which nobody is given twice.
///
/// # Errors
/// When the kernel has none.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    const { assert!(N <= KEPT) };
    RANDOM.with_borrow_mut(|kept| {
        if kept.left < N {
            getrandom::fill(&mut kept.bytes)?;
            kept.left = KEPT;
        }
        kept.left -= N;
        let mut taken = [0; N];
        if let Some(own) = kept.bytes.get_mut(kept.left..kept.left + N) {
            taken.copy_from_slice(own);
            own.fill(0);
        }
        Ok(taken)
    })
}

/// An id that grows with time (RFC 9562 section 5.7).
pub fn time_ordered_id() -> Uuid {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    match bytes() {
        Ok(random) => Builder::from_unix_timestamp_millis(now.as_millis() as u64, &random).into_uuid(),
        Err(_) => Uuid::now_v7(),
    }
}

/// The letters of [`request_id`], in the order of their values, so that ids grow with time as well.
const LETTERS: [u8; 16] = *b"bcdfghjkmnpqrstv";

/// The id of a request: a [`time_ordered_id`] in letters, in the groups that a UUID has. Programs and scripts look through
/// errors for codes (`if "429" in str(error)`), and a digit of an id may stand anywhere; without vowels there are no words
/// in it either.
pub fn request_id() -> Arc<str> {
    let mut text = Uuid::encode_buffer();
    let text = time_ordered_id().hyphenated().encode_lower(&mut text).as_bytes();
    let mut letters = [b'-'; uuid::fmt::Hyphenated::LENGTH];
    for (letter, digit) in letters.iter_mut().zip(text) {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => continue,
        };
        if let Some(of_value) = LETTERS.get(usize::from(value)) {
            *letter = *of_value;
        }
    }
    std::str::from_utf8(&letters).unwrap_or_default().into()
}

/// What a row of numbers that are to be mixed goes on by (`SplitMix64`, by Sebastiano Vigna).
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a number's bits (the last step of `SplitMix64`): good enough to keep accounts apart, and no secret.
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A program that finds 429 in an error waits, and one that finds 500 sends again.
    #[test]
    fn a_request_s_id_has_no_digit_and_grows_with_time_all_the_same() {
        let ids: Vec<Arc<str>> = (0..10_000).map(|_| request_id()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        let shape = |id: &Arc<str>| id.split('-').map(str::len).collect::<Vec<_>>();
        assert!(ids.iter().all(|id| shape(id) == [8, 4, 4, 4, 12]));
        assert!(ids.iter().all(|id| id.bytes().all(|b| b == b'-' || LETTERS.contains(&b))));
        // The first 48 bits are milliseconds.
        assert!(ids.iter().map(|id| &id[..13]).is_sorted());
    }

    #[test]
    fn ids_differ_and_grow_with_time() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| time_ordered_id()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let millis = |id: &Uuid| id.get_timestamp().map(|at| at.to_unix());
        assert!(ids.iter().map(millis).is_sorted());
    }
}
