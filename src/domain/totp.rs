//! The secret of an account's TOTP codes, as people have it.

use zeroize::Zeroizing;

use super::problem::Invalid;

/// What the address of an authenticator's code begins with.
const SCHEME: &str = "otpauth://totp/";

/// The bytes of a TOTP secret (base32). Brokers show it in groups, in either case, with or without padding; the picture
/// beside it holds an `otpauth://` address with the secret in it.
///
/// # Errors
/// [`Invalid`] when it is not that, or shorter than the 80 bits that brokers give.
pub fn decode(secret: &str) -> Result<Zeroizing<Vec<u8>>, Invalid> {
    let secret = secret.trim();
    match secret.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME)) {
        Some(_) => base32(in_address(secret)?),
        None => base32(secret),
    }
}

/// The secret in an address of that kind, which must ask for the codes that we make.
fn in_address(address: &str) -> Result<&str, Invalid> {
    let query = address.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let members = || query.split(['&', '#']).filter_map(|member| member.split_once('='));
    let strange = |(name, value): (&str, &str)| match name.to_ascii_lowercase().as_str() {
        "algorithm" => !value.eq_ignore_ascii_case("SHA1"),
        "digits" => value != "6",
        "period" => value != "30",
        _ => false,
    };
    if members().any(strange) {
        return Err(Invalid::new(
            "the otpauth:// address asks for other codes than the broker's (SHA1, 6 digits, 30 s)",
        ));
    }
    let secret = members().find(|(name, _)| name.eq_ignore_ascii_case("secret"));
    // Of base32 only the padding is ever escaped.
    secret
        .and_then(|(_, value)| value.split('%').next())
        .ok_or(Invalid::new("the otpauth:// address has no secret in it"))
}

fn base32(secret: &str) -> Result<Zeroizing<Vec<u8>>, Invalid> {
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
        for address in [
            "otpauth://totp/Dhan:1000000001?secret=JBSWY3DPEHPK3PXP&issuer=Dhan",
            " OTPAUTH://totp/x?issuer=Dhan&digits=6&period=30&algorithm=SHA1&Secret=jbswy3dpehpk3pxp%3D%3D\n",
        ] {
            assert_eq!(decode(address).unwrap(), want, "{address}");
        }
        for other in ["algorithm=SHA256", "digits=8", "period=60", "issuer=Dhan"] {
            let secret = if other.starts_with("issuer") { "secrets=" } else { "secret=" };
            let said = decode(&format!("otpauth://totp/x?{other}&{secret}JBSWY3DPEHPK3PXP")).unwrap_err().to_string();
            assert!(said.contains("otpauth://") && !said.contains("JBSWY"), "{said}");
        }
        for none in [
            "otpauth://hotp/x?secret=JBSWY3DPEHPK3PXP",
            "",
            " = ",
            "not base32!",
            "123456",
            "JBSWY3DP",
            "JBSWY3DPEHPK3PX\u{e9}",
        ] {
            assert!(decode(none).is_err(), "{none:?}");
        }
    }
}
