//! Where the members of a JSON object stand in its text.
//!
//! An order is a flat object of plain texts and numbers, and [`object`] reads such a one in one pass, strictly: whatever
//! is nested, escaped, or not JSON is none. Read leniently it takes what is nested and escaped too, and trusts that it
//! is JSON: only for a text that serde has taken.

use std::borrow::Cow;

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Without quotation marks and escapes.
    pub name: Cow<'a, str>,
    /// The value as it stands in the text.
    pub raw: &'a str,
}

/// An order has fifteen members.
const MEMBERS: usize = 20;

/// The members of an object that is all of this text, as they come.
pub(super) fn object(text: &str, lenient: bool) -> Option<Vec<Member<'_>>> {
    let mut cursor = JsonCursor { text, at: 0, lenient };
    cursor.blanks();
    cursor.expect(b'{')?;
    cursor.blanks();
    let mut members = Vec::with_capacity(MEMBERS);
    if cursor.peek() == Some(b'}') {
        cursor.at += 1;
    } else {
        loop {
            let name = self::name(cursor.string()?)?;
            cursor.blanks();
            cursor.expect(b':')?;
            cursor.blanks();
            let raw = cursor.value()?;
            members.push(Member { name, raw });
            cursor.blanks();
            match cursor.next()? {
                b',' => cursor.blanks(),
                b'}' => break,
                _ => return None,
            }
        }
    }
    cursor.blanks();
    (cursor.at == text.len()).then_some(members)
}

/// The items of an array that is all of this text, which serde has taken.
pub(super) fn array(text: &str) -> Option<Vec<&str>> {
    let mut cursor = JsonCursor { text, at: 0, lenient: true };
    cursor.blanks();
    cursor.expect(b'[')?;
    cursor.blanks();
    let mut items = Vec::new();
    if cursor.peek() == Some(b']') {
        return Some(items);
    }
    loop {
        items.push(cursor.value()?);
        cursor.blanks();
        match cursor.next()? {
            b',' => cursor.blanks(),
            b']' => return Some(items),
            _ => return None,
        }
    }
}

/// How deep a text is nested that serde has taken.
pub(super) fn depth(text: &str) -> usize {
    let mut cursor = JsonCursor { text, at: 0, lenient: true };
    let (mut depth, mut deepest) = (0_usize, 0);
    while let Some(next) = cursor.peek() {
        match next {
            b'"' => {
                if cursor.string().is_none() {
                    return usize::MAX;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        cursor.at += 1;
    }
    deepest
}

/// What a text says, quotation marks and escapes gone. `None` for half of a pair of surrogates, which is no character.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// What is no text is a name of its own.
fn name(raw: &str) -> Option<Cow<'_, str>> {
    Some(text(raw).unwrap_or(Cow::Borrowed(raw)))
}

struct JsonCursor<'a> {
    text: &'a str,
    at: usize,
    lenient: bool,
}

impl<'a> JsonCursor<'a> {
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

    /// With its quotation marks.
    fn string(&mut self) -> Option<&'a str> {
        let begin = self.at;
        self.expect(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at += rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))?;
            match self.next()? {
                b'"' => return self.text.get(begin..self.at),
                b'\\' if self.lenient => self.at += 1,
                _ => return None,
            }
        }
    }

    fn value(&mut self) -> Option<&'a str> {
        let begin = self.at;
        match self.peek()? {
            b'"' => return self.string(),
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            b'{' | b'[' if self.lenient => self.nested()?,
            _ => return None,
        }
        self.text.get(begin..self.at)
    }

    /// To the bracket that ends what begins here.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
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
