//! The secret of an account's TOTP codes: base32, or the `otpauth://` address of the picture beside it.

use zeroize::Zeroizing;

use super::characters::{class, is_blank, is_dash};
use super::problem::Invalid;

/// What the address of an authenticator's code begins with, whatever follows.
const SCHEME: &str = "otpauth";
/// Letters of a secret: brokers give 80 bits and more, and no hash of SHA-1 uses more than 512.
const LETTERS: std::ops::RangeInclusive<usize> = 16..=64;
/// The letters of base32 (RFC 4648 section 6), in the order of their values.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The bytes of a TOTP secret. Bits that are left over after the last whole byte count for nothing, as in authenticators:
/// not every page that shows a secret makes it from bytes.
///
/// # Errors
/// [`Invalid`] when it is no TOTP secret.
pub fn decode(secret: &str) -> Result<Zeroizing<Vec<u8>>, Invalid> {
    let letters = letters(secret)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(letters.len()));
    let (mut window, mut bits) = (0u16, 0u32);
    for value in letters.chars().filter_map(|letter| ALPHABET.find(letter)) {
        window = window << 5 | u16::try_from(value).unwrap_or_default();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            let [_, byte] = (window >> bits).to_be_bytes();
            bytes.push(byte);
        }
    }
    Ok(bytes)
}

/// The letters of a TOTP secret in upper case, without groups and padding. Brokers show it in groups, in either case, with
/// or without padding; the picture beside it holds an `otpauth://` address with the secret in it.
///
/// # Errors
/// [`Invalid`] when it is not that, when there are too few or too many, or when the address asks for codes that are not
/// the broker's.
pub fn letters(secret: &str) -> Result<Zeroizing<String>, Invalid> {
    let mut text = Zeroizing::new(String::with_capacity(secret.len()));
    text.extend(secret.chars().filter(|c| !is_blank(*c)));
    match text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME)) {
        Some(_) => base32(&in_address(&text)?),
        None => base32(&text),
    }
}

/// The secret in an address of that kind, which must ask for the codes that we make.
fn in_address(address: &str) -> Result<Zeroizing<String>, Invalid> {
    let (kind, query) = address.split_once('?').unwrap_or((address, ""));
    let kind = kind.to_ascii_lowercase();
    if kind.starts_with("otpauth-migration:") {
        return Err(Invalid::new(
            "this is what an authenticator exports to another one; give the secret of the one account, as it was shown \
             when TOTP was set up",
        ));
    }
    if !kind.starts_with("otpauth://totp") {
        return Err(Invalid::new(
            "the otpauth:// address is for codes of another kind; the broker's begins with otpauth://totp/",
        ));
    }
    let other = |what: &str| {
        Err(Invalid::because(format!(
            "the otpauth:// address asks for other codes than the broker's (SHA1, 6 digits, 30 s): {what}"
        )))
    };
    let mut secret: Option<Zeroizing<String>> = None;
    // Copied from a page's source, the next member begins with what HTML makes of `&`.
    for member in query.split(['&', '#']).map(|member| member.strip_prefix("amp;").unwrap_or(member)) {
        let Some((name, value)) = member.split_once('=') else { continue };
        let value = decoded(value);
        match name.to_ascii_lowercase().as_str() {
            "algorithm" if !is_sha1(&value) => return other("its algorithm is not SHA1"),
            "digits" if !matches!(value.as_str(), "" | "6") => return other("it has not 6 digits"),
            "period" if !matches!(value.as_str(), "" | "30") => return other("they do not last 30 s"),
            "secret" => match &secret {
                Some(first) if *first != value => {
                    return Err(Invalid::new("the otpauth:// address has two secrets in it, and they differ"));
                }
                Some(_) | None => secret = Some(value),
            },
            _ => {}
        }
    }
    secret.filter(|secret| !secret.is_empty()).ok_or(Invalid::new("the otpauth:// address has no secret in it"))
}

/// Is it a name of SHA-1, or none?
fn is_sha1(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace(['-', '_'], "");
    matches!(plain.as_str(), "" | "sha1" | "hmacsha1")
}

/// `%3D` decoded; what cannot be decoded stands as it is, and is told of as what it is.
fn decoded(text: &str) -> Zeroizing<String> {
    let mut decoded = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii) {
            Some(byte) => {
                decoded.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn base32(secret: &str) -> Result<Zeroizing<String>, Invalid> {
    let mut letters = Zeroizing::new(String::with_capacity(secret.len()));
    let inner = secret.chars().filter(|c| !is_blank(*c) && !is_dash(*c) && !matches!(c, '=' | '+'));
    letters.extend(inner.map(|c| c.to_ascii_uppercase()));
    let shown = "a TOTP secret is 16 to 64 letters A-Z and digits 2-7, as shown when TOTP is set up";
    if letters.len() == 6 && letters.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Invalid::because(format!("{shown}; six digits are a code that an authenticator made from it")));
    }
    if let Some(strange) = letters.chars().find(|c| !ALPHABET.contains(*c)) {
        let class = match strange {
            '0' | '1' | '8' | '9' => "one of the digits 0, 1, 8 or 9 (O, I, B and G look like them)",
            other => class(other),
        };
        return Err(Invalid::because(format!("{shown}, and this has {class} in it")));
    }
    if !LETTERS.contains(&letters.len()) {
        return Err(Invalid::because(format!("{shown}, and this has {}", letters.len())));
    }
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_in_any_usual_spelling() {
        let want = decode("JBSWY3DPEHPK3PXP").unwrap();
        assert_eq!(*want, data_encoding::BASE32.decode(b"JBSWY3DPEHPK3PXP").unwrap());
        for same in [
            "jbsw y3dp-ehpk 3pxp====",
            "otpauth://totp/Dhan:1000000001?secret=JBSWY3DPEHPK3PXP&issuer=Dhan",
            " OTPAUTH://totp/x?issuer=Dhan&digits=6&period=30&algorithm=SHA1&Secret=jbswy3dpehpk3pxp%3D%3D\n",
            "otpauth://TOTP/x?algorithm=HmacSHA1&digits=&period=&secret=JBSW%20Y3DP%2dEHPK+3PXP",
            "otpauth://totp?secret=JBSWY3DPEHPK3PXP&secret=JBSWY3DPEHPK3PXP",
        ] {
            assert_eq!(decode(same).unwrap(), want, "{same}");
        }
    }

    /// Codes of another kind would be refused by the broker, and two refusals stop the logins.
    #[test]
    fn an_address_that_asks_for_other_codes_is_refused_by_what_it_asks_for() {
        for (given, want) in [
            ("otpauth://totp/x?algorithm=SHA256&secret=JBSWY3DPEHPK3PXP", "algorithm"),
            ("otpauth://totp/x?digits=8&secret=JBSWY3DPEHPK3PXP", "6 digits"),
            ("otpauth://totp/x?period=60&secret=JBSWY3DPEHPK3PXP", "30 s"),
            ("otpauth://totp/x?issuer=Dhan&secrets=JBSWY3DPEHPK3PXP", "no secret"),
            ("otpauth://totp/x?secret=", "no secret"),
            ("otpauth://totp/x", "no secret"),
            ("otpauth://totp/x?secret=JBSWY3DPEHPK3PXP&secret=JBSWY3DPEHPK3PXQ", "two secrets"),
            ("otpauth://totp/x?secret=JBSWY3DPEHPK3P%", "a punctuation mark"),
            ("otpauth://totp/x?secret=JBSWY3DP%00EHPK3PXP", "a control character"),
            ("otpauth://hotp/x?secret=JBSWY3DPEHPK3PXP", "another kind"),
            ("otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU%3D", "exports"),
        ] {
            let said = decode(given).unwrap_err().to_string();
            assert!(said.contains(want), "{given}: {said}");
            assert!(!said.contains("JBSWY") && !said.contains("CjEK"), "{said}");
        }
    }

    /// Where the bits do not come out even, authenticators drop what is left over; codes from other bytes are refused.
    #[test]
    fn bits_that_are_left_over_count_for_nothing() {
        let even = decode("JBSWY3DPEHPK3PXP").unwrap();
        for (odd, bytes) in [
            ("JBSWY3DPEHPK3PXPA", 10),
            ("JBSWY3DPEHPK3PXP7", 10),
            ("JBSWY3DPEHPK3PXPAB", 11),
            ("JBSWY3DPEHPK3PXPA7", 11),
            ("JBSWY3DPEHPK3PXPA77", 11),
            ("JBSWY3DPEHPK3PXPA77777", 13),
        ] {
            let decoded = decode(odd).unwrap();
            assert_eq!((decoded.len(), decoded.get(..10)), (bytes, Some(&even[..])), "{odd}");
        }
        assert_eq!(decode("JBSWY3DPEHPK3PXPAA").unwrap(), decode("JBSWY3DPEHPK3PXPAD").unwrap());
        assert_ne!(decode("JBSWY3DPEHPK3PXPAA").unwrap(), decode("JBSWY3DPEHPK3PXPAE").unwrap());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for none in ["", " = ", "not base32!", "123456", "JBSWY3DP", "JBSWY3DPEHPK3PX\u{e9}"] {
            assert!(decode(none).is_err(), "{none:?}");
        }
        assert!(decode(&"A".repeat(64)).is_ok() && decode(&"A".repeat(65)).is_err());
    }
}
