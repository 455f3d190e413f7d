//! Bodies of order writes, by value.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::input::parts;
use crate::orders::body::JsonBody;
use crate::orders::terms::Number;

/// Between the two bodies of an input: it stands in no JSON.
const BETWEEN: u8 = 0x1e;

/// Two bodies have one digest if they say the same, and only then; and the ids of both are those that any JSON reader
/// finds. The second body may be missing.
///
/// # Panics
/// Where that does not hold.
pub fn body_value(data: &[u8]) {
    let (one, two) = parts(data, BETWEEN);
    let Some((first, digest)) = one_body(one) else { return };
    let anew = spelt_anew(&first);
    let again = JsonBody::read(anew.as_bytes()).map(|body| body.value_sha256());
    assert_eq!(again, Ok(digest), "spelt anew it is another order: {anew}");
    if let Some((second, other)) = one_body(two) {
        assert_eq!(first == second, digest == other, "told apart wrongly");
    }
}

fn one_body(text: &[u8]) -> Option<(Said, [u8; 32])> {
    let body = JsonBody::read(text).ok()?;
    let simple = serde_json::from_slice::<&RawValue>(text).ok().and_then(|raw| Pairs::of(raw.get()));
    // Half of a pair of surrogates in a name is no text to serde.
    let odd = text.windows(2).any(|pair| pair == b"\\u");
    assert!(simple.is_some() || odd, "no object of JSON was read");
    let simple = simple?;
    let raw = |name: &str| simple.0.iter().find(|(is, _)| is == name).map(|(_, raw)| *raw);
    assert_eq!(body.client_id(), raw("dhanClientId"), "another client id");
    assert_eq!(body.correlation_id(), raw("correlationId"), "another correlation id");
    assert_eq!(body.is_empty(), simple.0.is_empty(), "empty or not");
    for name in ["dhanClientId", "correlationId"] {
        let spellings = simple.0.iter().filter(|(is, _)| is.eq_ignore_ascii_case(name)).count();
        assert!(spellings <= 1, "{name} twice");
    }
    let said = Said::members(&simple, true)?;
    Some((said, body.value_sha256()))
}

/// The members of an object, as serde finds them.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Pairs<'a> {
    fn of(raw: &'a str) -> Option<Self> {
        serde_json::from_str(raw).ok()
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                    pairs.push((Cow::Owned(name), raw.get()));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Walk)
    }
}

/// What a JSON value says.
#[derive(Debug, PartialEq)]
enum Said {
    /// `true`, `false` or `null`.
    Word(String),
    Text(String),
    Number(Number),
    Array(Vec<Self>),
    /// By name; of one name in their order.
    Object(Vec<(String, Self)>),
}

impl Said {
    /// `None` for a text with half of a pair of surrogates, which serde does not read.
    fn of(raw: &str) -> Option<Self> {
        let spelt = |text: &str| Number::parse(text).map_or_else(|| Self::Text(text.to_owned()), Self::Number);
        Some(match raw.as_bytes().first()? {
            b'"' => spelt(&serde_json::from_str::<String>(raw).ok()?),
            b'{' => Self::members(&Pairs::of(raw)?, false)?,
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
                Self::Array(items.iter().map(|item| Self::of(item.get())).collect::<Option<_>>()?)
            }
            b't' | b'f' | b'n' => Self::Word(raw.to_owned()),
            _ => spelt(raw),
        })
    }

    fn members(pairs: &Pairs<'_>, of_the_body: bool) -> Option<Self> {
        let counts = |name: &str| !of_the_body || !matches!(name, "dhanClientId" | "correlationId");
        let pairs = pairs.0.iter().filter(|(name, _)| counts(name));
        let mut said = pairs.map(|(name, raw)| Some((name.to_string(), Self::of(raw)?))).collect::<Option<Vec<_>>>()?;
        said.sort_by(|one, other| one.0.cmp(&other.0));
        Some(Self::Object(said))
    }
}

/// The same in other bytes: numbers in quotes, blanks, members from the last to the first where none stands twice, every
/// character of a text escaped, and ids of another caller's.
fn spelt_anew(said: &Said) -> String {
    let text = spell(said);
    let ids = "\"dhanClientId\":\"9\",\"correlationId\":\"another\"";
    match text.strip_prefix("{ }") {
        Some(_) => format!("{{{ids}}}"),
        None => format!("{{{ids},{}", text.strip_prefix('{').unwrap_or_default()),
    }
}

fn spell(said: &Said) -> String {
    match said {
        Said::Word(word) => word.clone(),
        Said::Number(number) => format!(" \"{number}\" "),
        Said::Text(text) => escaped(text),
        Said::Array(items) => format!("[ {} ]", items.iter().map(spell).collect::<Vec<_>>().join(" ,\n")),
        Said::Object(members) => {
            let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
            names.dedup();
            let mut parts: Vec<_> =
                members.iter().map(|(name, value)| format!("{} : {}", escaped(name), spell(value))).collect();
            if names.len() == members.len() {
                parts.reverse();
            }
            format!("{{ {}}}", parts.join("\t, "))
        }
    }
}

fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{units}\"")
}
