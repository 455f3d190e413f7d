//! Correlation ids that we make ourselves out of an `Idempotency-Key`, and how any that a gateway made is known.

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use crate::domain::ClientId;

/// As the broker takes them in every place: letters and digits.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The broker refuses the 26th character.
const LONGEST: usize = 25;

/// The id of a write that has only an `Idempotency-Key`: 25 characters of `A-Z 2-7` that begin with `SG`, 115 bits. It
/// is the same for a repeat, and another for another customer, key, trading `day` (in India) or body (`value_sha256` is
/// over its values), so that yesterday's order under the key, or another order, is never found by it.
pub fn derived(client_id: &ClientId, key: &str, day: Date, value_sha256: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    // The key is the only part that a caller writes: its length stands before it.
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value_sha256);
    hash.update(day.to_string());
    hash.update([0]);
    hash.update(client_id.as_str());
    let hash: [u8; 32] = hash.finalize().into();
    let letters = hash.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31)));
    "SG".bytes().chain(letters.copied()).take(LONGEST).map(char::from).collect()
}

/// Has it the form of an id that a gateway makes: `SG`, and 22 or 23 of `A-Z 2-7`?
pub fn is_made_by_a_gateway(id: &str) -> bool {
    let rest = id.strip_prefix("SG").unwrap_or_default();
    (22..=LONGEST - 2).contains(&rest.len()) && rest.bytes().all(|letter| LETTERS.contains(&letter))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn customer(id: &str) -> ClientId {
        ClientId::parse(id).unwrap()
    }

    #[test]
    fn a_derived_id_holds_customer_key_day_and_body() {
        let (one, day) = (customer("1000000001"), date(2026, 11, 23));
        let id = derived(&one, "key", day, &[1; 32]);
        assert_eq!(id, derived(&one, "key", day, &[1; 32]), "a repeat must be found");
        for other in [
            derived(&customer("1000000002"), "key", day, &[1; 32]),
            derived(&one, "yek", day, &[1; 32]),
            derived(&one, "key", date(2026, 11, 24), &[1; 32]),
            derived(&one, "key", day, &[2; 32]),
        ] {
            assert_ne!(id, other);
        }
    }

    proptest! {
        #[test]
        fn the_broker_takes_every_derived_id(key in "\\PC{0,255}", body in any::<[u8; 32]>()) {
            let id = derived(&customer("1000000001"), &key, date(2026, 11, 23), &body);
            prop_assert!(id.len() <= 25 && id.starts_with("SG"));
            prop_assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()));
            prop_assert!(is_made_by_a_gateway(&id));
        }
    }
}
