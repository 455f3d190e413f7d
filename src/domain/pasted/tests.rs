//! Secrets as people have them: what is taken, what is refused by which words, and that no text is quoted.

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::*;
use crate::domain::secret::ExposeSecret;

const TOTP: Kind = Kind::Login(LoginSecret::TotpSecret);
const PIN: Kind = Kind::Login(LoginSecret::Pin);
const PHONE: Kind = Kind::Login(LoginSecret::Phone);
const API_KEY: Kind = Kind::Login(LoginSecret::ApiKey);
const API_SECRET: Kind = Kind::Login(LoginSecret::ApiSecret);

fn is(kind: Kind, given: &str) -> String {
    read(kind, given).unwrap_or_else(|why| panic!("{given:?}: {why}")).expose_secret().to_owned()
}

/// The reason why `given` is refused, which tells nothing of it.
fn refused(kind: Kind, given: &str) -> String {
    let said = match read(kind, given) {
        Err(why) => why.to_string(),
        Ok(secret) => panic!("{given:?} was read as {:?}", secret.expose_secret()),
    };
    // Four characters in a row of a secret are too many. Words may have small letters in common with it.
    let shown: Vec<char> = given.chars().filter(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).collect();
    for run in shown.windows(4).map(|run| run.iter().collect::<String>()) {
        assert!(!said.contains(&run), "{given:?}: {said}");
    }
    said
}

fn token(algorithm: &str, signature: usize) -> String {
    let header = BASE64URL_NOPAD.encode(format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#).as_bytes());
    let claims = BASE64URL_NOPAD.encode(br#"{"iss":"dhan","exp":1795487400,"dhanClientId":"1000000001"}"#);
    format!("{header}.{claims}.{}", "aB3-_".repeat(20).get(..signature).unwrap())
}

#[test]
fn a_pin_is_read_with_whatever_stands_around_and_between() {
    for given in [
        "482913",
        " 482913\r\n",
        "48 29 13",
        "482-913",
        "482\u{2013}913",
        "\u{feff}482913",
        "\u{a0}482\u{202f}913\u{3000}",
        "'482913'",
        "\u{201c}482913\u{201d}",
        "PIN: 482913",
        "DHAN_PIN=\"482913\"",
        "\"pin\": \"482913\",",
        "m-PIN\u{ff1a}482913",
    ] {
        assert_eq!(is(PIN, given), "482913", "{given:?}");
    }
    assert_eq!(is(PIN, "1234"), "1234");
    for (given, want) in [
        ("", "nothing in it"),
        (" \u{200b}\n", "nothing in it"),
        ("\"\"", "only what stands around"),
        ("123", "this has 3"),
        ("1234567", "this has 7"),
        ("12a456", "a letter"),
        ("12.456", "a punctuation mark"),
        ("\u{967}\u{968}\u{969}\u{96a}", "a digit that is not one of 0-9"),
        ("totp=123456", "a letter"),
    ] {
        assert!(refused(PIN, given).contains(want), "{given:?}: {}", refused(PIN, given));
    }
}

#[test]
fn a_totp_secret_is_read_with_whatever_stands_around_and_between() {
    for given in [
        "JBSWY3DPEHPK3PXP",
        "jbsw y3dp ehpk 3pxp",
        "JBSW-Y3DP-EHPK-3PXP",
        "JBSW\u{2013}Y3DP\u{2014}EHPK\u{2212}3PXP",
        "JBSWY3DPEHPK3PXP====",
        "JBSWY3DPEHPK3PXP=",
        "JBSWY3DP\r\nEHPK3PXP\r\n",
        "\u{feff}JBSWY3DP\u{a0}EHPK\u{200b}3PXP\u{2028}",
        "TOTP: JBSWY3DPEHPK3PXP",
        "secret=JBSWY3DPEHPK3PXP",
        "secret=jbswy3dpehpk3pxp==",
        "export DHAN_TOTP_SECRET='JBSWY3DPEHPK3PXP';",
        "Setup key : JBSW Y3DP EHPK 3PXP",
        "otpauth://totp/Dhan:1000000001?secret=JBSWY3DPEHPK3PXP&issuer=Dhan",
        "\"otpauth://totp/x?issuer=Dhan&amp;secret=JBSWY3DPEHPK3PXP\"",
        "totp=otpauth://totp/x?secret=JBSWY3DPEHPK\n3PXP&issuer=Dhan",
    ] {
        assert_eq!(is(TOTP, given), "JBSWY3DPEHPK3PXP", "{given:?}");
    }
    for (given, want) in [
        ("JBSWY3DP", "this has 8"),
        ("JBSWY3DPEHPK3PX", "this has 15"),
        (&"JBSWY3DP".repeat(9), "this has 72"),
        ("JBSWY3DPEHPK3PX0", "0, 1, 8 or 9"),
        ("JBSWY3DPEHPK3PX\u{e9}", "a letter that is not one of A-Z"),
        ("JBSWY3DPEHPK3PX!", "a punctuation mark"),
        ("482913", "six digits are a code"),
        ("482 913", "six digits are a code"),
    ] {
        assert!(refused(TOTP, given).contains(want), "{given:?}: {}", refused(TOTP, given));
    }
}

#[test]
fn a_token_is_read_with_whatever_stands_around_and_between() {
    let whole = token("HS512", 86);
    let (first, rest) = whole.split_at(40);
    let (second, third) = rest.split_at(60);
    for given in [
        whole.clone(),
        format!("  {whole}\r\n"),
        format!("{first}\r\n{second}\r\n{third}"),
        format!("\"{first}\u{a0}{second}\u{200b}{third}\","),
        format!("\u{feff}{whole}"),
        format!("Bearer {whole}"),
        format!("access-token: {whole}"),
        format!("Authorization: Bearer {whole}"),
        format!("export DHAN_ACCESS_TOKEN=\"{whole}\""),
        format!("'accessToken': '{whole}',"),
        format!("<{whole}>"),
        whole.replace('-', "\u{2013}"),
    ] {
        assert_eq!(is(Kind::AccessToken, &given), whole, "{given:?}");
    }
    for (algorithm, length) in [("HS256", 43), ("HS384", 64), ("unheard-of", 6)] {
        let token = token(algorithm, length);
        assert_eq!(is(Kind::AccessToken, &token), token);
    }
}

/// Half a token would be stored as the account's and refused by the broker at the first order.
#[test]
fn a_token_that_lost_a_part_is_refused_by_the_part() {
    let whole = token("HS512", 86);
    let claims_end = whole.rfind('.').unwrap();
    for (given, want) in [
        (&whole[..whole.len() - 1], "signature, has 85 characters in place of 86"),
        (&whole[..claims_end + 10], "signature, has 9 characters in place of 86"),
        (&whole[..=claims_end], "signature, has 0"),
        (&whole[..claims_end], "this has 2 parts"),
        (&whole[..30], "this has 1 part;"),
        (&whole[1..], "the header"),
        (&whole[6..], "the header"),
        (&whole[whole.find('.').unwrap() + 1..], "this has 2 parts"),
        (&format!("{}{}", &whole[..60], &whole[63..]), "the claims"),
        (&whole.repeat(2), "this has 5 parts"),
        (&format!("{whole}aB3"), "signature, has 89"),
        (&token("unheard-of", 5), "signature, is cut"),
        ("hunter2", "not a Dhan access token"),
        (&format!("{{\"accessToken\":\"{whole}\"}}"), "a punctuation mark"),
        (&format!("{whole}\0"), "a control character"),
    ] {
        let said = refused(Kind::AccessToken, given);
        assert!(said.contains(want), "{given:?}: {said}");
    }
}

#[test]
fn keys_of_the_broker_s_are_read_with_whatever_stands_around_and_between() {
    for given in ["a1b2c3d4", " a1b2 c3d4\n", "API Key: a1b2c3d4", "app_id=a1b2c3d4", "\u{2018}a1b2c3d4\u{2019}"] {
        assert_eq!(is(API_KEY, given), "a1b2c3d4", "{given:?}");
    }
    let secret = "0b4a9c1e-6f7d-4e3a-9b1c-2d3e4f5a6b7c";
    for given in [
        secret.to_owned(),
        secret.replace('-', "\u{2011}"),
        format!("app_secret: {secret}"),
        format!("API secret = \"{secret}\""),
        secret.replace("6f7d", "6f7\u{a0}d\r\n"),
    ] {
        assert_eq!(is(API_SECRET, &given), secret, "{given:?}");
    }
    assert!(refused(API_KEY, "a1b2\u{e9}").contains("a letter that is not one of A-Z"));
    assert!(refused(API_SECRET, "a\0b").contains("a control character"));
    assert!(refused(API_SECRET, &"a".repeat(LONGEST + 1)).contains("257 characters"));
    for given in ["+91 98765 43210", "+919876543210", "tel:+91-98765-43210", "(+91) 98765.43210"] {
        assert_eq!(is(PHONE, given), "+919876543210", "{given:?}");
    }
    assert!(refused(PHONE, "98765 ask me").contains("a letter"));
    // It was taken as a number of no digits.
    for given in ["-", "()", "./", "+", "tel:+"] {
        assert!(refused(PHONE, given).contains("this has none"), "{given:?}");
    }
}

proptest! {
    /// Any number of letters and any last bits: what an authenticator takes is taken.
    #[test]
    fn every_secret_of_16_to_64_letters_is_taken(letters in "[A-Z2-7]{16,64}") {
        prop_assert_eq!(is(TOTP, &letters), &*letters);
        prop_assert_eq!(totp::decode(&letters).unwrap().len(), letters.len() * 5 / 8);
    }

    /// What is stored is read again when it is changed, and by another version.
    #[test]
    fn reading_what_was_read_changes_nothing_and_errors_quote_nothing(given in "\\PC{0,80}", kind in 0..7usize) {
        let kind = [TOTP, PIN, PHONE, API_KEY, API_SECRET, Kind::AccessToken, Kind::Key][kind];
        if let Ok(secret) = read(kind, &given) {
            prop_assert_eq!(is(kind, secret.expose_secret()), secret.expose_secret());
        }
    }

    /// A file given by mistake is any bytes.
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(text) = text(&bytes) {
            let _ = read(TOTP, &text);
        }
    }
}
