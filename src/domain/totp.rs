//! The secret of an account's TOTP codes, as people have it.

use zeroize::Zeroizing;

use super::problem::Invalid;

/// The bytes of a TOTP secret (base32). Brokers show it in groups, in either case,
/// with or without padding.
///
/// # Errors
/// [`Invalid`] when it is not that, or shorter than the 80 bits that brokers give.
pub fn decode(secret: &str) -> Result<Zeroizing<Vec<u8>>, Invalid> {
    let letters = secret.bytes().filter(|b| !matches!(b, b' ' | b'-' | b'=')).map(|b| b.to_ascii_uppercase());
    let mut plain = Zeroizing::new(Vec::with_capacity(secret.len()));
    plain.extend(letters);
    let decoded = data_encoding::BASE32_NOPAD.decode(&plain).map(Zeroizing::new);
    decoded.ok().filter(|bytes| bytes.len() >= 10).ok_or(Invalid::new(
        "a TOTP secret is at least 16 letters A-Z and digits 2-7, as shown when TOTP is set up (not a 6-digit code)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_in_any_usual_spelling() {
        let want = decode("JBSWY3DPEHPK3PXP").unwrap();
        assert_eq!(want.len(), 10);
        assert_eq!(decode("jbsw y3dp-ehpk 3pxp====").unwrap(), want);
        for none in ["", " = ", "not base32!", "123456", "JBSWY3DP", "JBSWY3DPEHPK3PX\u{e9}"] {
            assert!(decode(none).is_err(), "{none:?}");
        }
    }
}
