//! What a form sends: `application/x-www-form-urlencoded`, and nothing else.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::domain::characters::is_blank;

/// The fields of a form as they were typed. No `Debug`: some are secrets.
#[derive(Clone, Default)]
pub(super) struct Form(BTreeMap<String, Vec<Zeroizing<String>>>);

impl Form {
    /// Read a body. What cannot be decoded is taken as it stands.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut fields = BTreeMap::<String, Vec<Zeroizing<String>>>::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
                None => (pair, &[][..]),
            };
            fields.entry(decoded(name)).or_default().push(Zeroizing::new(decoded(value)));
        }
        Self(fields)
    }

    /// The text of a field, without blanks around it; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|values| values.first()).map(|value| value.trim()).unwrap_or_default()
    }

    /// The text of a field without any blank in it: a client id, as it is copied from Dhan's page.
    pub(super) fn closed_up(&self, name: &str) -> String {
        self.text(name).chars().filter(|c| !is_blank(*c)).collect()
    }

    /// The text of a field if there is any.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Was a box ticked?
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Every text of a field that can be there more than once.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(|value| value.trim()).filter(|text| !text.is_empty())
    }

    /// Those fields of `plain` that have a text.
    pub(super) fn shown<'f>(&'f self, plain: &'f [&str]) -> impl Iterator<Item = (&'f str, &'f str)> {
        let shown = self.0.iter().filter(|(name, _)| plain.contains(&name.as_str()));
        shown
            .filter_map(|(name, values)| Some((name.as_str(), values.first()?.trim())))
            .filter(|(_, text)| !text.is_empty())
    }

    /// A JSON object of the fields that have a text, for a call of `/v1`.
    pub(super) fn object(&self, names: &[&str]) -> Value {
        let given = names.iter().filter_map(|name| Some(((*name).to_owned(), Value::from(self.given(name)?))));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

/// `%41` and `+` decoded (WHATWG URL, "application/x-www-form-urlencoded parsing").
fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = rest.as_slice().get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest.nth(1);
                    }
                    None => bytes.push(b'%'),
                }
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_send_them() {
        let form = Form::read(b"name=alpha+one&pin=%34%39&empty=&x=1&x=2&half=%4&caf%C3%A9=%E2%82%B9&tick");
        assert_eq!(form.text("name"), "alpha one");
        assert_eq!(form.text("pin"), "49");
        assert_eq!(form.given("empty"), None);
        assert_eq!(form.all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.text("half"), "%4");
        assert_eq!(form.text("café"), "₹");
        assert!(form.ticked("tick") && !form.ticked("tock"));
        assert_eq!(form.object(&["pin", "empty", "absent"]), serde_json::json!({ "pin": "49" }));
    }
}
