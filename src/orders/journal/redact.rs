//! Text that others chose, made fit to be kept for years.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The longest text that is kept as it came. A correlation id has at most 30 characters.
const LONGEST: usize = 128;
/// What is no longer than this holds no token.
const SHORT: usize = 40;

/// A caller's or the broker's word: an id, a key, a code; or several with commas
/// between them. What is longer than 128 bytes or looks like an access token is kept as `sha256:` and its digest, so that
/// a caller who put a token into the wrong header does not find it in the journal.
/// The same text always makes the same word, so words can be compared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafeText(Arc<str>);

impl SafeText {
    /// The word for a text.
    pub fn new(text: &str) -> Self {
        if Self::is_fit(text) { Self(text.into()) } else { Self(digest(text).into()) }
    }

    /// The word for a text that is kept elsewhere too: one copy of it, if it is fit.
    pub fn of(text: &Arc<str>) -> Self {
        if Self::is_fit(text) { Self(Arc::clone(text)) } else { Self(digest(text).into()) }
    }

    fn is_fit(text: &str) -> bool {
        text.len() <= SHORT || (text.len() <= 16 * LONGEST && text.split(',').all(is_fit))
    }

    /// An id of the gateway's own, which is fit.
    pub fn own(id: &Arc<str>) -> Self {
        debug_assert!(is_fit(id));
        Self(Arc::clone(id))
    }

    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, to be kept elsewhere.
    pub const fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

/// A request's path without its query and fragment; segments as [`SafeText`]s.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SafePath(Arc<str>);

impl SafePath {
    /// Of a path or a whole request target.
    pub fn new(target: &str) -> Self {
        let end = memchr::memchr2(b'?', b'#', target.as_bytes()).unwrap_or(target.len());
        let path = target.get(..end).unwrap_or_default();
        if path.len() <= SHORT || (path.len() <= 4 * LONGEST && path.split('/').all(is_fit)) {
            return Self(path.into());
        }
        if path.len() > 16 * LONGEST {
            return Self(digest(path).into());
        }
        let words: Vec<_> =
            path.split('/').map(|part| if is_fit(part) { part.to_owned() } else { digest(part) }).collect();
        Self(words.join("/").into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest text of an order's terms that is kept as it came.
const LONGEST_TERM: usize = 64;

/// A text of an order's terms. The broker's own words are short and plain; what is not, or looks like a token, is kept
/// as its digest. Needs no escape in JSON.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
    let is_digest = || {
        let digits = text.strip_prefix(DIGEST).unwrap_or_default();
        digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    if plain && ((text.len() <= LONGEST_TERM && is_fit(text)) || is_digest()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(digest(text))
    }
}

/// A JWT begins with `{"`, which is `eyJ` in base64, and is never this short.
fn is_fit(text: &str) -> bool {
    text.len() <= LONGEST && !(text.len() > SHORT && text.contains("eyJ"))
}

const DIGEST: &str = "sha256:";

fn digest(text: &str) -> String {
    format!("{DIGEST}{}", HEXLOWER.encode(&Sha256::digest(text)))
}

macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}
shown!(SafeText, SafePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_word_stays_and_a_token_does_not() {
        assert_eq!(SafeText::new("my-order_1").as_str(), "my-order_1");
        let token = format!("eyJ{}.eyJ{}.x", "a".repeat(40), "b".repeat(40));
        let word = SafeText::new(&format!("Bearer {token}"));
        assert!(word.as_str().starts_with("sha256:") && word.as_str().len() == 71, "{word}");
        assert_eq!(word, SafeText::new(&format!("Bearer {token}")));
        assert!(SafeText::new(&"x".repeat(129)).as_str().starts_with("sha256:"));
    }

    #[test]
    fn a_path_loses_its_query() {
        assert_eq!(SafePath::new("/v2/orders?token=secret").as_str(), "/v2/orders");
        assert_eq!(SafePath::new("/v2/orders#secret").as_str(), "/v2/orders");
        let path = SafePath::new(&format!("/v2/eyJ{}/x", "a".repeat(50)));
        assert!(path.as_str().starts_with("/v2/sha256:") && path.as_str().ends_with("/x"), "{path}");
        assert!(SafePath::new(&"/abcdefg".repeat(1000)).as_str().starts_with("sha256:"));
    }
}
