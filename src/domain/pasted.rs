//! Secrets as people have them: copied from a web page, a chat or a program's settings, saved by any editor.
//!
//! This is the one place where a secret is read as a person gives it: files and standard input of commands, what is typed
//! at a prompt, the console's forms and the admin API all end here. What stands around a secret goes (blanks, quotation
//! marks, names such as `TOTP:` or `secret=`), and what is in it by accident as well (line breaks, groups). What is wrong
//! with the rest is told by kinds of characters and numbers of them.
//!
//! Invariants:
//! - No error holds any part of what was given.
//! - Reading what was read changes nothing.
//!
//! Not here: whether it is the right secret (`tokens`), what a token says of itself (`broker::dhan::token`).

mod around;
mod bytes;
mod jwt;
mod kind;

use zeroize::Zeroizing;

use super::characters::{is_blank, is_dash, strange};
use super::problem::Invalid;
use super::secret::LoginSecret;
use super::{Secret, totp};

pub use bytes::text;
pub use kind::Kind;

/// Characters that a secret of a login may have: five of that length fit in one record of the store.
pub const LONGEST: usize = 256;
/// Characters that an access token may have, as many as fit in its record. The broker's have about 300.
pub const LONGEST_TOKEN: usize = 3500;

const NO_SECRET: &str = "there is no secret in it, only what stands around one";

/// Is there nothing to be seen?
pub fn is_empty(text: &str) -> bool {
    text.chars().all(is_blank)
}

/// The secret in a text.
///
/// # Errors
/// [`Invalid`] when it cannot be a secret of that kind. It says what is wrong, and never quotes.
pub fn read(kind: Kind, text: &str) -> Result<Secret, Invalid> {
    if is_empty(text) {
        return Err(Invalid::new("there is nothing in it"));
    }
    let bare = around::without(kind, text);
    if bare.is_empty() {
        return Err(Invalid::new(NO_SECRET));
    }
    let secret = match kind {
        Kind::Login(LoginSecret::Pin) => pin(bare)?,
        Kind::Login(LoginSecret::TotpSecret) => totp::letters(bare)?,
        Kind::Login(LoginSecret::Phone) => phone(bare)?,
        Kind::Login(LoginSecret::ApiKey) => api(bare, "an API key")?,
        Kind::Login(LoginSecret::ApiSecret) => api(bare, "an API secret")?,
        Kind::AccessToken => {
            let token = closed_up(bare);
            jwt::check(&token)?;
            token
        }
        Kind::Key => match bare.chars().any(char::is_control) {
            true => return Err(Invalid::new("there is a control character in it")),
            false => Zeroizing::new(bare.to_owned()),
        },
    };
    let longest = if kind == Kind::AccessToken { LONGEST_TOKEN } else { LONGEST };
    match secret.chars().count() {
        0 => Err(Invalid::new(NO_SECRET)),
        length if length > longest => Err(Invalid::because(format!(
            "it has {length} characters, which is more than the {longest} of any such secret"
        ))),
        _ => Ok(Secret::from(secret.as_str())),
    }
}

/// Without blanks, and with the keyboard's hyphen for what editors make of it.
fn closed_up(text: &str) -> Zeroizing<String> {
    kept(text, |c| !is_blank(c))
}

/// Those characters of it, in one piece of memory that is wiped.
fn kept(text: &str, keep: impl Fn(char) -> bool) -> Zeroizing<String> {
    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
    kept.extend(text.chars().filter(|c| keep(*c)).map(|c| if is_dash(c) { '-' } else { c }));
    kept
}

fn pin(text: &str) -> Result<Zeroizing<String>, Invalid> {
    let pin = kept(text, |c| !is_blank(c) && !is_dash(c));
    if let Some(class) = strange(&pin, |c| c.is_ascii_digit()) {
        return Err(Invalid::because(format!("a PIN is 4 to 6 digits, and this has {class} in it")));
    }
    match pin.len() {
        4..=6 => Ok(pin),
        length => Err(Invalid::because(format!("a PIN is 4 to 6 digits, and this has {length}"))),
    }
}

fn phone(text: &str) -> Result<Zeroizing<String>, Invalid> {
    let phone = kept(text, |c| !is_blank(c) && !is_dash(c) && !matches!(c, '(' | ')' | '.' | '/'));
    match strange(&phone, |c| c.is_ascii_digit() || c == '+') {
        None if phone.chars().all(|c| c == '+') => Err(Invalid::new("a phone number has digits, and this has none")),
        None => Ok(phone),
        Some(class) => Err(Invalid::because(format!("a phone number has digits and +, and this has {class} in it"))),
    }
}

fn api(text: &str, what: &str) -> Result<Zeroizing<String>, Invalid> {
    let secret = closed_up(text);
    match strange(&secret, |c| c.is_ascii_graphic()) {
        None => Ok(secret),
        Some(class) => {
            Err(Invalid::because(format!("{what} has letters, digits and hyphens, and this has {class} in it")))
        }
    }
}

#[cfg(test)]
mod tests;
