//! Secrets in every spelling in which one may show.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// One spelling of one secret.
struct Needle {
    name: String,
    text: Vec<u8>,
    /// Only where no letter, digit or point touches it: six digits stand in many a
    /// digest and fraction of a second by chance.
    alone: bool,
}

/// What is searched for, by its first four bytes.
#[derive(Default)]
pub(super) struct Needles(HashMap<[u8; 4], Vec<Needle>>);

impl Needles {
    fn put(&mut self, name: String, text: Vec<u8>, alone: bool) {
        let first: [u8; 4] = text.get(..4).unwrap().try_into().unwrap();
        self.0.entry(first).or_default().push(Needle { name, text, alone });
    }

    /// A secret text, as it is and encoded.
    pub(super) fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 8, "{name} is too short to be searched for");
        self.text(name, secret, false);
    }

    /// A secret of a few digits.
    pub(super) fn add_digits(&mut self, name: &str, secret: &str) {
        self.text(name, secret, true);
    }

    fn text(&mut self, name: &str, secret: &str, alone: bool) {
        self.put(name.to_owned(), secret.as_bytes().to_vec(), alone);
        let percent = secret.bytes().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02X}");
            text
        });
        self.put(format!("{name}, percent-encoded"), percent.to_lowercase().into_bytes(), false);
        self.put(format!("{name}, percent-encoded"), percent.into_bytes(), false);
        let decimal: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
        self.put(format!("{name}, as numbers"), decimal.join(", ").into_bytes(), false);
        self.put(format!("{name}, as numbers"), decimal.join(",").into_bytes(), false);
        self.encoded(name, secret.as_bytes());
    }

    /// Secret bytes, as they are and encoded.
    pub(super) fn add_bytes(&mut self, name: &str, secret: &[u8]) {
        self.put(name.to_owned(), secret.to_vec(), false);
        self.encoded(name, secret);
    }

    /// A text that is a secret only as a whole.
    pub(super) fn add_whole(&mut self, name: &str, text: &str) {
        self.put(name.to_owned(), text.as_bytes().to_vec(), false);
    }

    /// A JWT: each of its parts but the first, which all have.
    pub(super) fn add_token(&mut self, name: &str, token: &str) {
        for part in token.split('.').skip(1) {
            self.add(name, part);
        }
    }

    fn encoded(&mut self, name: &str, secret: &[u8]) {
        self.put(format!("{name} in hex"), HEXLOWER.encode(secret).into_bytes(), false);
        self.put(format!("{name} in hex"), HEXUPPER.encode(secret).into_bytes(), false);
        self.put(format!("{name} in base32"), BASE32_NOPAD.encode(secret).into_bytes(), false);
        // In the middle of something longer it is written in one of three ways; the first
        // and last characters hang on what stands around it.
        for before in 0..3 {
            let padded: Vec<u8> = std::iter::repeat_n(0, before).chain(secret.iter().copied()).collect();
            for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
                let text = encoding.encode(&padded).into_bytes();
                let inner = text.get(before * 4 / 3 + usize::from(before > 0)..text.len() - 1).unwrap_or_default();
                // Of a PIN this leaves too little to be told from chance.
                if inner.len() >= 7 {
                    self.put(format!("{name} in base64"), inner.to_vec(), false);
                }
            }
        }
    }

    /// What of them is in `bytes`, told by their names: the first place of each.
    pub(super) fn found_in(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        for (at, first) in bytes.array_windows::<4>().enumerate() {
            let Some(needles) = self.0.get(first) else { continue };
            for needle in needles.iter().filter(|needle| needle.is_at(bytes, at)) {
                let around = &bytes[at.saturating_sub(80)..bytes.len().min(at + needle.text.len() + 40)];
                let told = || format!("{} is in {place}: {}", needle.name, String::from_utf8_lossy(around));
                found.entry(&needle.name).or_insert_with(told);
            }
        }
        found.into_values().collect()
    }
}

impl Needle {
    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        let touches = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        bytes[at..].starts_with(&self.text)
            && !(self.alone && (touches(before) || touches(bytes.get(at + self.text.len()))))
    }
}

/// A search that finds nothing proves nothing.
#[test]
fn every_spelling_is_found() {
    let secret = "5e7c1a9b-77aa";
    let mut needles = Needles::default();
    needles.add("it", secret);
    let texts = [
        format!("a {secret} b"),
        format!("query=%{}", secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join("%")),
        HEXLOWER.encode(secret.as_bytes()),
        format!("{:?}", secret.as_bytes()),
        BASE64_NOPAD.encode(format!("{secret}:x").as_bytes()),
        BASE64_NOPAD.encode(format!("a:{secret}").as_bytes()),
        BASE64_NOPAD.encode(format!("a2:{secret}").as_bytes()),
        BASE64URL_NOPAD.encode(format!("user:{secret}, and more").as_bytes()),
    ];
    for text in texts {
        assert!(!needles.found_in("a test", text.as_bytes()).is_empty(), "{text}");
    }
    assert!(needles.found_in("a test", b"5e7c1a9b-77ab, nothing").is_empty());
    needles.add_digits("PIN", "039154");
    for (text, hit) in [("pin=039154&", true), ("\"039154\"", true), ("09:30:00.039154Z", false), ("a0391547", false)] {
        assert_eq!(!needles.found_in("a test", text.as_bytes()).is_empty(), hit, "{text}");
    }
}
