//! The text in the bytes of a file: UTF-8, or the UTF-16 that Windows' editors and shells write.

use zeroize::Zeroizing;

use crate::domain::problem::Invalid;

/// How bytes are text.
#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

/// The text in the bytes of a file or of standard input, without its mark of byte order. UTF-16 is told by that mark, and
/// without one by every other byte being zero, as it is where most characters are ASCII.
///
/// # Errors
/// [`Invalid`] when it is text in none of these encodings.
pub fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Invalid> {
    let (encoding, bytes) = encoding_of(bytes)?;
    match encoding {
        Encoding::Utf8 => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| Invalid::new("it is not text in UTF-8 or UTF-16; save it as UTF-8"))?;
            Ok(Zeroizing::new(text.to_owned()))
        }
        Encoding::Utf16(unit) => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(Invalid::new("it is UTF-16 and ends within a character: its end is cut off"));
            }
            // One piece of memory: a text that grows leaves copies behind.
            let mut text = Zeroizing::new(String::with_capacity(pairs.len() * 3));
            for c in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
                text.push(c.map_err(|_| Invalid::new("it looks like UTF-16 and is none; save it as UTF-8"))?);
            }
            Ok(text)
        }
    }
}

fn encoding_of(bytes: &[u8]) -> Result<(Encoding, &[u8]), Invalid> {
    let utf32 = || Err(Invalid::new("it is UTF-32, which is not read; save it as UTF-8"));
    let little = Encoding::Utf16(u16::from_le_bytes);
    let big = Encoding::Utf16(u16::from_be_bytes);
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => utf32(),
        [0xff, 0xfe, rest @ ..] => Ok((little, rest)),
        [0xfe, 0xff, rest @ ..] => Ok((big, rest)),
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok((Encoding::Utf8, rest)),
        _ if !bytes.contains(&0) => Ok((Encoding::Utf8, bytes)),
        _ => {
            let (pairs, _) = bytes.as_chunks::<2>();
            let zeros = pairs.iter().fold([0, 0], |[first, second], pair| {
                [first + usize::from(pair[0] == 0), second + usize::from(pair[1] == 0)]
            });
            // Not all of the others: a blank of another script may have a zero in the other place.
            match zeros.map(|count| count * 2 >= pairs.len()) {
                [false, true] => Ok((little, bytes)),
                [true, false] => Ok((big, bytes)),
                _ => Err(Invalid::new("it has zero bytes in it and is no UTF-16: this is no text file")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn a_text_is_read_in_every_encoding_that_editors_save_it_in() {
        for text_of in ["JBSWY3DPEHPK3PXP\r\n", "1234", "\u{a0}1234\u{3000}", "\u{2028}JBSW Y3DP\u{200b}"] {
            let (little, big) = (utf16(text_of, u16::to_le_bytes), utf16(text_of, u16::to_be_bytes));
            for bytes in [
                text_of.as_bytes().to_vec(),
                [&[0xef, 0xbb, 0xbf], text_of.as_bytes()].concat(),
                [&[0xff, 0xfe], little.as_slice()].concat(),
                [&[0xfe, 0xff], big.as_slice()].concat(),
                little,
                big,
            ] {
                assert_eq!(text(&bytes).unwrap().as_str(), text_of, "{bytes:?}");
            }
        }
        assert_eq!(text(b"").unwrap().as_str(), "");
        assert_eq!(text(b"\xff\xfe").unwrap().as_str(), "");
    }

    /// The reason is a person's only clue: the file itself looks right in their editor.
    #[test]
    fn what_is_no_text_is_refused_by_its_encoding() {
        for (bytes, want) in [
            (&b"caf\xe9"[..], "UTF-8"),
            (b"\xff\xfe\0\0J\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0J", "UTF-32"),
            (b"\xff\xfeJ\0B", "ends within a character"),
            (b"\xff\xfe\0\xd8J\0", "is none"),
            (b"\x7fELF\x02\0\0\0\0\0\0\0", "no text file"),
        ] {
            let said = text(bytes).unwrap_err().to_string();
            assert!(said.contains(want), "{bytes:?}: {said}");
        }
    }
}
