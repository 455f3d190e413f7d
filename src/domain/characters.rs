//! Characters that people copy along with a secret, and words for what a character is.

/// Is nothing seen of it? Every blank of Unicode, and what has no width: marks of byte order and of direction, joiners,
/// soft hyphens. Web pages, mail and chats leave them in what is copied there.
pub const fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180b}'..='\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
        )
}

/// The keyboard's hyphen, or what editors and chats make of it.
pub const fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
}

/// A quotation mark of any kind, or a bracket that is put around an address.
pub const fn is_quote(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '`' | '<' | '>' | '\u{ab}' | '\u{bb}' | '\u{b4}' | '\u{2018}'
            ..='\u{201f}' | '\u{2039}' | '\u{203a}'
    )
}

/// What kind of character it is, in words that do not tell which.
pub fn class(c: char) -> &'static str {
    match c {
        c if is_blank(c) => "a blank",
        c if c.is_control() => "a control character",
        c if is_quote(c) => "a quotation mark",
        'a'..='z' | 'A'..='Z' => "a letter",
        '0'..='9' => "a digit",
        c if c.is_ascii() => "a punctuation mark",
        c if is_dash(c) => "a dash that is not the keyboard's hyphen",
        c if c.is_numeric() => "a digit that is not one of 0-9",
        c if c.is_alphabetic() => "a letter that is not one of A-Z",
        _ => "a character that is no letter, digit or punctuation mark of the keyboard",
    }
}

/// What kind of character a text has in it that is not good there.
pub fn strange(text: &str, good: impl Fn(char) -> bool) -> Option<&'static str> {
    text.chars().find(|c| !good(*c)).map(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_of_any_blank_and_something_of_everything_else() {
        for blank in
            "\t\n\r \u{85}\u{a0}\u{1680}\u{2000}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}".chars()
        {
            assert!(is_blank(blank), "{blank:?}");
        }
        for unseen in "\u{ad}\u{200b}\u{200c}\u{200d}\u{200e}\u{202e}\u{2060}\u{2066}\u{feff}\u{fe0f}".chars() {
            assert!(is_blank(unseen), "{unseen:?}");
        }
        assert!(('!'..='~').all(|c| !is_blank(c)));
    }

    #[test]
    fn a_class_says_what_a_character_is_and_not_which() {
        for (c, want) in [
            ('x', "a letter"),
            ('7', "a digit"),
            (':', "a punctuation mark"),
            ('\u{201c}', "a quotation mark"),
            ('\u{2013}', "a dash that is not the keyboard's hyphen"),
            ('\u{967}', "a digit that is not one of 0-9"),
            ('\u{430}', "a letter that is not one of A-Z"),
            ('\u{0}', "a control character"),
            ('\u{a0}', "a blank"),
            ('\u{1f511}', "a character that is no letter, digit or punctuation mark of the keyboard"),
        ] {
            assert_eq!(class(c), want, "{c:?}");
        }
    }
}
