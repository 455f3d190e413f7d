//! Codes by RFC 6238: SHA-1, six digits, steps of 30 seconds, one step of tolerance.

use jiff::Timestamp;
use totp_rs::{Builder, Totp};

use crate::domain::totp;

/// The account's generator; none without a secret that can be read.
fn generator(secret: &str) -> Option<Totp> {
    let secret = totp::decode(secret).ok()?;
    // `build` refuses secrets under 128 bits; the broker's have 80.
    Some(Builder::new().with_secret(secret.as_slice()).build_noncompliant())
}

fn seconds(now: Timestamp) -> Option<u64> {
    now.as_second().try_into().ok()
}

/// The code of a moment.
pub(in super::super) fn code(secret: &str, now: Timestamp) -> Option<String> {
    Some(generator(secret)?.generate(seconds(now)?).to_string())
}

/// The step that a code belongs to, if it is this moment's or a neighbour's.
pub(super) fn step_of(secret: &str, code: &str, now: Timestamp) -> Option<u64> {
    generator(secret)?.check(code, seconds(now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The vectors of RFC 6238, appendix B, for SHA-1: the last six of their
    /// eight digits. A gateway tested against a wrong clockwork is not tested.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = data_encoding::BASE32.encode(b"12345678901234567890");
        for (second, want) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(&secret, at(second)).as_deref(), Some(want), "{second}");
        }
    }

    /// One step either way, not two: a clock that is a minute off is found out.
    #[test]
    fn a_neighbouring_steps_code_is_taken_and_no_other() {
        let secret = "JBSWY3DPEHPK3PXP"; // 80 bits, as the broker's are
        let now = 1_795_401_015;
        for (offset, step) in [(-60, None), (-30, Some(-1)), (0, Some(0)), (30, Some(1)), (60, None)] {
            let code = code(secret, at(now + offset)).unwrap();
            let want = step.map(|step| u64::try_from(now / 30 + step).unwrap());
            assert_eq!(step_of(secret, &code, at(now)), want, "{offset}");
        }
    }

    #[test]
    fn a_secret_is_read_in_any_usual_spelling() {
        let want = code("JBSWY3DPEHPK3PXP", at(0));
        assert!(want.is_some());
        assert_eq!(code("jbsw y3dp-ehpk 3pxp====", at(0)), want);
        for none in ["", " = ", "not base32!"] {
            assert_eq!(code(none, at(0)), None, "{none:?}");
        }
    }
}
