//! Is a text message UTF-8, looked at piece by piece?

/// The bytes of a character whose rest is still to come: at most three.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8Check {
    begun: [u8; 4],
    length: usize,
}

impl Utf8Check {
    /// Take the next piece. `false` as soon as it cannot be UTF-8 any more.
    pub(super) fn takes(&mut self, mut piece: &[u8]) -> bool {
        // What the last piece began is ended byte by byte.
        while self.length > 0 {
            let [next, rest @ ..] = piece else { return true };
            piece = rest;
            let Some(place) = self.begun.get_mut(self.length) else { return false };
            *place = *next;
            self.length += 1;
            match std::str::from_utf8(self.begun.get(..self.length).unwrap_or_default()) {
                Ok(_) => self.length = 0,
                Err(err) if err.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        let Err(err) = std::str::from_utf8(piece) else { return true };
        let tail = piece.get(err.valid_up_to()..).unwrap_or_default();
        match (err.error_len(), self.begun.get_mut(..tail.len())) {
            (None, Some(begun)) => {
                begun.copy_from_slice(tail);
                self.length = tail.len();
                true
            }
            _ => false,
        }
    }

    /// Is what was taken whole?
    pub(super) const fn is_whole(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_text(bytes: &[u8], piece: usize) -> bool {
        let mut check = Utf8Check::default();
        bytes.chunks(piece).all(|piece| check.takes(piece)) && check.is_whole()
    }

    proptest! {
        /// However it comes, it is what the standard library says of all of it.
        #[test]
        fn pieces_do_not_matter(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..12),
                "\\PC{0,12}".prop_map(String::into_bytes),
                ("\\PC{0,6}", any::<u8>(), "\\PC{0,6}").prop_map(|(a, byte, b)| [a.as_bytes(), &[byte], b.as_bytes()].concat()),
            ],
            piece in 1..6_usize,
        ) {
            prop_assert_eq!(is_text(&bytes, piece), std::str::from_utf8(&bytes).is_ok());
        }
    }

    #[test]
    fn half_a_character_at_the_end_is_no_text() {
        assert!(!is_text("é".as_bytes().split_last().unwrap().1, 1));
        assert!(is_text("a€😀".as_bytes(), 1));
    }
}
