//! Codes by RFC 6238: SHA-1, six digits, steps of 30 seconds.

use jiff::Timestamp;
use totp_rs::Builder;
use zeroize::Zeroizing;

use crate::domain::Secret;
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;

/// Seconds that a code lasts.
const STEP: u64 = 30;

/// The code of exactly `step` (RFC 6238's `T`), whatever the clock says.
pub(super) fn code(secret: &Secret, step: u64) -> Result<Zeroizing<String>, Invalid> {
    let bytes = crate::domain::totp::decode(secret.expose_secret())?;
    // `build` refuses secrets under 128 bits; the broker's have 80.
    let generator = Builder::new().with_secret(bytes.as_slice()).build_noncompliant();
    let time = step.checked_mul(STEP).ok_or(Invalid::new("a step that no clock will see"))?;
    Ok(Zeroizing::new(generator.generate(time).to_string()))
}

/// The code of a secret at this moment, and for how many seconds it is the one.
///
/// # Errors
/// [`Invalid`] when it is no TOTP secret.
pub fn code_at(secret: &Secret, now: Timestamp) -> Result<(Zeroizing<String>, u64), Invalid> {
    let second = u64::try_from(now.as_second()).map_err(|_| Invalid::new("the clock shows a time before 1970"))?;
    Ok((code(secret, second / STEP)?, STEP - second % STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 6238, appendix B, for SHA-1: the last six of their eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret: Secret = data_encoding::BASE32.encode(b"12345678901234567890").into();
        for (second, want) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(&secret, second / 30).unwrap().as_str(), want, "{second}");
        }
    }

    /// Who compares it with an app sees the same six digits change at the same moment.
    #[test]
    fn a_code_is_told_with_the_seconds_that_it_is_the_one() {
        let secret: Secret = data_encoding::BASE32.encode(b"12345678901234567890").into();
        let at = |second| code_at(&secret, Timestamp::from_second(second).unwrap());
        for (second, left) in [(1_111_111_109, 1), (1_111_111_080, 30)] {
            let (code, seconds) = at(second).unwrap();
            assert_eq!((code.as_str(), seconds), ("081804", left));
        }
        assert!(at(-1).is_err());
    }

    /// Six digits, leading zeros included: one less is a refusal that counts.
    #[test]
    fn a_code_has_six_digits_and_a_bad_secret_is_not_quoted() {
        let secret: Secret = "jbsw y3dp-ehpk 3pxp".into();
        let codes: Vec<_> = (0..200).map(|step| code(&secret, step).unwrap()).collect();
        assert!(codes.iter().all(|code| code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())));
        assert!(codes.iter().any(|code| code.starts_with('0')));
        let said = code(&"hunter2".into(), 1).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
        assert!(code(&secret, u64::MAX).is_err());
    }
}
