//! The two members of a JSON body that matter, found in one pass.
//!
//! An order is a flat object of plain texts and numbers. [`flat`] reads such a one and nothing else: whatever is
//! nested, escaped, or not JSON is left to serde, whose word counts. So it need not know why something is wrong,
//! only never see anything else than serde does; a test holds the two together.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

pub(super) const TWICE: &str = "stands twice";

/// The members of a JSON object that matter here, as they stand in the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Members<'a> {
    pub(in crate::proxy) client_id: Option<&'a str>,
    pub(in crate::proxy) correlation_id: Option<&'a str>,
    pub(in crate::proxy) empty: bool,
}

/// Read them.
///
/// # Errors
/// serde's: the body is no JSON object, or ([`TWICE`]) one of them cannot be told.
pub(super) fn read(body: &[u8]) -> serde_json::Result<Members<'_>> {
    std::str::from_utf8(body).ok().and_then(flat).map_or_else(|| serde_json::from_slice(body), Ok)
}

/// Of an object that is flat and plain, if it is one.
pub(in crate::proxy) fn flat(text: &str) -> Option<Members<'_>> {
    let mut cursor = Cursor { text, at: 0 };
    let mut found = Members { empty: true, ..Members::default() };
    cursor.blanks();
    cursor.expect(b'{')?;
    cursor.blanks();
    if cursor.peek() == Some(b'}') {
        cursor.at += 1;
    } else {
        found.empty = false;
        loop {
            let name = cursor.string()?;
            cursor.blanks();
            cursor.expect(b':')?;
            cursor.blanks();
            let value = cursor.value()?;
            let name = name.get(1..name.len() - 1)?;
            match name {
                "dhanClientId" => set(&mut found.client_id, value)?,
                "correlationId" => set(&mut found.correlation_id, value)?,
                other if is_either(other) => return None,
                _ => {}
            }
            cursor.blanks();
            match cursor.next()? {
                b',' => cursor.blanks(),
                b'}' => break,
                _ => return None,
            }
        }
    }
    cursor.blanks();
    (cursor.at == text.len()).then_some(found)
}

fn set<'a>(slot: &mut Option<&'a str>, value: &'a str) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Some servers take member names in any case.
fn is_either(name: &str) -> bool {
    name.eq_ignore_ascii_case("dhanClientId") || name.eq_ignore_ascii_case("correlationId")
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// With its quotation marks; no escape in it.
    fn string(&mut self) -> Option<&'a str> {
        let begin = self.at;
        self.expect(b'"')?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))?;
        self.at += length;
        self.expect(b'"')?;
        self.text.get(begin..self.at)
    }

    fn value(&mut self) -> Option<&'a str> {
        let begin = self.at;
        match self.peek()? {
            b'"' => return self.string(),
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return None,
        }
        self.text.get(begin..self.at)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let ends = self.at + word.len();
        (self.text.get(self.at..ends)? == word).then(|| self.at = ends)
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Some(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        let begin = self.at;
        self.digits();
        (self.at > begin).then_some(())
    }
}

/// A member's name, allocated only if there is an escape in it. A bare `Cow` would always be: serde borrows for one
/// only where it is asked to.
#[derive(Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut found = Members { empty: true, ..Members::default() };
                // Some servers take the last of two. One spelling, once, or it is refused.
                while let Some(Name(name)) = map.next_key()? {
                    found.empty = false;
                    let slot = match name.as_ref() {
                        "dhanClientId" => &mut found.client_id,
                        "correlationId" => &mut found.correlation_id,
                        other if is_either(other) => return Err(serde::de::Error::custom(TWICE)),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value::<&RawValue>()?.get()).is_some() {
                        return Err(serde::de::Error::custom(TWICE));
                    }
                }
                Ok(found)
            }
        }
        from.deserialize_map(Walk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "\"[a-z0-9 {}:,\u{e9}\u{1f}\\\\\"]{0,6}\"",
            "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
            prop_oneof![Just("true"), Just("false"), Just("null"), Just("tru"), Just("nulll"), Just("[1]"), Just("{}")]
                .prop_map(str::to_owned),
        ]
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("dhanClientId".to_owned()),
            Just("correlationId".to_owned()),
            Just("DhanClientID".to_owned()),
            Just("correlation\\u0049d".to_owned()),
            "[a-z]{0,5}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Two readers that see two things are how one account's order becomes another's.
        #[test]
        fn what_the_short_way_reads_serde_reads_too(
            members in prop::collection::vec((name(), value(), "[ \n\t]{0,2}"), 0..5),
            noise in prop::option::of((any::<prop::sample::Index>(), "[ ,:{}\\[\\]\"\\\\0a]")),
        ) {
            let inner: Vec<String> = members.iter().map(|(n, v, s)| format!("{s}\"{n}\"{s}:{s}{v}{s}")).collect();
            let mut text = format!("{{{}}}", inner.join(","));
            if let Some((at, noise)) = noise {
                let at = text.char_indices().map(|(at, _)| at).nth(at.index(text.chars().count())).unwrap();
                text.insert_str(at, &noise);
            }
            if let Some(found) = flat(&text) {
                prop_assert_eq!(found, serde_json::from_str::<Members<'_>>(&text).unwrap(), "{}", text);
            }
        }
    }

    /// Or the long way would be gone for every order, and nobody see it.
    #[test]
    fn an_order_goes_the_short_way() {
        let order = r#" {"dhanClientId": "1", "a":-0.5e+3,"b" :true,"c":null,"correlationId":"x y"} "#;
        let found = flat(order).unwrap();
        assert_eq!((found.client_id, found.correlation_id), (Some("\"1\""), Some("\"x y\"")));
        assert!(flat("{}").unwrap().empty);
    }

    /// An order has fifteen members: each name that is copied is an allocation per order.
    #[test]
    fn a_members_name_is_copied_only_if_it_holds_an_escape() {
        let plain: Name<'_> = serde_json::from_str("\"price\"").unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("price")));
        let escaped: Name<'_> = serde_json::from_str("\"pri\\u0063e\"").unwrap();
        assert!(matches!(escaped.0, Cow::Owned(ref name) if name == "price"));
    }
}
