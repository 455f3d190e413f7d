//! What stands around a secret: blanks, quotation marks, its name, a comma.

use zeroize::Zeroizing;

use super::kind::Kind;
use crate::domain::characters::{is_blank, is_quote};
use crate::domain::secret::LoginSecret;

/// How often something is taken away: `export X="secret=..."` needs three.
const ROUNDS: usize = 8;
/// Characters that a name in front of a secret has at most.
const LONGEST_NAME: usize = 48;
/// What names are made of beside a word of the kind.
const ANY: [&str; 18] = [
    "export", "set", "let", "const", "var", "env", "my", "your", "the", "dhan", "hq", "live", "account", "login",
    "trading", "code", "is", "no",
];

/// The text without what stands around the secret in it.
pub(super) fn without(kind: Kind, text: &str) -> &str {
    let mut text = text;
    for _ in 0..ROUNDS {
        let before = text.len();
        text = text.trim_matches(is_blank);
        if kind == Kind::Key {
            text = unquoted(text);
        } else {
            text = text.trim_end_matches([',', ';']).trim_matches(|c| is_blank(c) || is_quote(c));
        }
        text = without_scheme(kind, without_name(kind, text));
        if text.len() == before {
            break;
        }
    }
    text
}

/// Without a pair of quotation marks around it; one of two may be a part of it.
fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix(is_quote).and_then(|text| text.strip_suffix(is_quote));
    inner.unwrap_or(text)
}

/// `Bearer x` is `x`.
fn without_scheme(kind: Kind, text: &str) -> &str {
    const SCHEMES: [&str; 3] = ["bearer", "jwt", "token"];
    match text.split_once(is_blank) {
        Some((scheme, rest)) if matches!(kind, Kind::AccessToken | Kind::Key) => {
            let known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
            if known { rest.trim_start_matches(is_blank) } else { text }
        }
        Some(_) | None => text,
    }
}

/// `name: x` and `name=x` are `x`, where the name is one that a secret of this kind has.
fn without_name(kind: Kind, text: &str) -> &str {
    let Some((name, value)) = text.split_once([':', '=', '\u{ff1a}']) else { return text };
    // Of a text that ends in `=` nothing would be left: that is padding.
    let value = value.trim_start_matches(['=', '>', ':']).trim_start_matches(is_blank);
    let short = name.chars().count() <= LONGEST_NAME;
    if short && !value.is_empty() && is_name(kind, name) { value } else { text }
}

/// Is it a name that a secret of this kind has, in any spelling: `DHAN_TOTP_SECRET`, `"accessToken"`, `API key`?
fn is_name(kind: Kind, name: &str) -> bool {
    let own: &[&str] = match kind {
        Kind::Login(LoginSecret::Pin) => &["pin", "mpin"],
        Kind::Login(LoginSecret::TotpSecret) => {
            &["totp", "otp", "2fa", "mfa", "secret", "key", "seed", "setup", "manual", "base32", "authenticator"]
        }
        Kind::Login(LoginSecret::Phone) => &["phone", "mobile", "number", "tel", "cell"],
        Kind::Login(LoginSecret::ApiKey) => &["api", "app", "key", "id"],
        Kind::Login(LoginSecret::ApiSecret) => &["api", "app", "secret", "key"],
        Kind::AccessToken => &["access", "token", "jwt", "authorization", "auth"],
        Kind::Key => &["authorization", "token", "key"],
    };
    // Wiped: it may be a part of a secret after all.
    let mut letters = Zeroizing::new(String::with_capacity(name.len()));
    letters.extend(name.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()));
    let between = |c: char| is_blank(c) || is_quote(c) || matches!(c, '_' | '-' | '.');
    name.chars().all(|c| c.is_alphanumeric() || between(c)) && is_made_of(&letters, own, false)
}

/// Is `letters` made of words of `own`, at least one of them, and of common ones?
fn is_made_of(letters: &str, own: &[&str], has_own: bool) -> bool {
    if letters.is_empty() {
        return has_own;
    }
    let goes_on =
        |word: &&str, is_own| letters.strip_prefix(*word).is_some_and(|rest| is_made_of(rest, own, has_own || is_own));
    own.iter().any(|word| goes_on(word, true)) || ANY.iter().any(|word| goes_on(word, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_where_it_is_one_of_the_kind() {
        for (kind, given) in [
            (Kind::Login(LoginSecret::TotpSecret), "TOTP: x"),
            (Kind::Login(LoginSecret::TotpSecret), "secret=x"),
            (Kind::Login(LoginSecret::TotpSecret), "export DHAN_TOTP_SECRET=\"x\";"),
            (Kind::Login(LoginSecret::TotpSecret), "\u{201c}totpSecret\u{201d}: \u{201c}x\u{201d},"),
            (Kind::Login(LoginSecret::TotpSecret), "Setup key: secret=x"),
            (Kind::Login(LoginSecret::Pin), "mPIN = x"),
            (Kind::Login(LoginSecret::ApiKey), "api-key: x"),
            (Kind::Login(LoginSecret::ApiKey), "app_id => x"),
            (Kind::Login(LoginSecret::ApiSecret), "'appSecret': 'x',"),
            (Kind::Login(LoginSecret::Phone), "Mobile No.: x"),
            (Kind::AccessToken, "access-token: x"),
            (Kind::AccessToken, "Authorization: Bearer x"),
            (Kind::AccessToken, "bearer\u{a0}x"),
            (Kind::AccessToken, "<x>"),
            (Kind::Key, "Bearer x"),
            (Kind::Key, "\u{feff}\"x\"\r\n"),
        ] {
            assert_eq!(without(kind, given), "x", "{given}");
        }
    }

    /// Half a secret that was taken for its name would be a wrong secret, and a refused login.
    #[test]
    fn a_part_of_a_secret_is_not_taken_for_its_name() {
        for (kind, given) in [
            (Kind::Login(LoginSecret::TotpSecret), "otpauth://totp/x?secret=JBSW"),
            (Kind::Login(LoginSecret::TotpSecret), "JBSWY3DP===="),
            (Kind::Login(LoginSecret::TotpSecret), "TOTP="),
            (Kind::Login(LoginSecret::ApiKey), "a1b2c3d4=x"),
            (Kind::Login(LoginSecret::Pin), "totp: 123456"),
            (Kind::Key, "correct horse battery staple"),
            (Kind::Key, "it's"),
            (Kind::Key, "x,"),
        ] {
            assert_eq!(without(kind, given), given);
        }
    }
}
