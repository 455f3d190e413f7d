//! The one form of a JSON value: every spelling of a value has it, and no other value does.
//!
//! Each part begins with a byte that says what it is, and a text with its length, so no two values run together.

use std::borrow::Cow;

use super::cursor::{self, Member};
use crate::orders::terms::Number;

/// Of the members of an object.
pub(super) fn object(members: &mut [&Member<'_>], form: &mut Vec<u8>) {
    // Stable: of two of one name their order counts.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    form.push(b'{');
    for member in members {
        part(b'm', &member.name, form);
        value(member.raw, form);
    }
    form.push(b'}');
}

/// Of a raw value. Its depth is bounded: the body was read.
fn value(raw: &str, form: &mut Vec<u8>) {
    match raw.as_bytes().first() {
        Some(b'"') => match cursor::text(raw) {
            Some(text) => spelt(&text, form),
            None => part(b'"', raw, form),
        },
        Some(b'-' | b'0'..=b'9') => spelt(raw, form),
        Some(b'{') => {
            let members = cursor::object(raw, true).unwrap_or_default();
            object(&mut members.iter().collect::<Vec<_>>(), form);
        }
        Some(b'[') => {
            form.push(b'[');
            for item in cursor::array(raw).unwrap_or_default() {
                value(item, form);
            }
            form.push(b']');
        }
        Some(_) | None => part(b'w', raw, form),
    }
}

/// A number, or a text, which may spell one.
fn spelt(text: &str, form: &mut Vec<u8>) {
    match number(text) {
        Some(number) => part(b'0', &number, form),
        None => part(b's', text, form),
    }
}

/// What [`Number`] makes of it; of nearly all numbers a part of the text itself.
pub(super) fn number(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    if !matches!(bytes.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    let plain = bytes.len() <= 40 && bytes.first() != Some(&b'0') && bytes.iter().all(u8::is_ascii_digit);
    if plain {
        return Some(Cow::Borrowed(text));
    }
    if let Some((whole, fraction)) = text.split_once('.')
        && text.len() <= 40
        && !fraction.is_empty()
        && (whole == "0" || !whole.starts_with(['0', '-']))
        && !whole.is_empty()
        && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return Some(Cow::Borrowed(text.trim_end_matches('0').trim_end_matches('.')));
    }
    Number::parse(text).map(|number| Cow::Owned(number.into()))
}

fn part(kind: u8, text: &str, form: &mut Vec<u8>) {
    form.push(kind);
    // Nearly all lengths are short, and what is not written need not be hashed.
    match u8::try_from(text.len()) {
        Ok(length) if length < u8::MAX => form.push(length),
        Ok(_) | Err(_) => {
            form.push(u8::MAX);
            form.extend_from_slice(&(text.len() as u64).to_le_bytes());
        }
    }
    form.extend_from_slice(text.as_bytes());
}
