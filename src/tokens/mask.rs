//! Secrets of the account's own in what the broker says: it quotes what it was sent.
//!
//! A refusal is passed on as it came but for those. Each of their bytes becomes an
//! asterisk: the length stays, and so do `Content-Length` and the JSON around it.

use bytes::Bytes;
use memchr::memmem;

use crate::domain::Secret;
use crate::domain::secret::ExposeSecret;

/// What is shorter is no secret, and would be found everywhere.
const SHORTEST: usize = 6;
/// A quotation may be cut off: a token's part that begins like this is ours.
const BEGINS: usize = 16;

/// `body` without these secrets. It is not copied when it holds none. For refusals: what is
/// looked through is as long as the body, for each secret.
pub fn mask(body: &Bytes, secrets: &[&Secret]) -> Bytes {
    let mut masked: Option<Vec<u8>> = None;
    for secret in secrets {
        let whole = secret.expose_secret().as_bytes();
        if whole.len() < SHORTEST {
            continue;
        }
        cover(body, whole, whole.len(), &mut masked);
        // A JWT's first part says only what it is; the others tell who and prove it.
        for part in whole.split(|byte| *byte == b'.').skip(1).filter(|part| part.len() >= BEGINS) {
            cover(body, part, BEGINS, &mut masked);
        }
    }
    masked.map_or_else(|| body.clone(), Bytes::from)
}

/// Cover what begins with the first `begins` bytes of `secret`, as far as it goes on as that does.
fn cover(body: &[u8], secret: &[u8], begins: usize, masked: &mut Option<Vec<u8>>) {
    let Some(start) = secret.get(..begins) else { return };
    for at in memmem::find_iter(body, start) {
        let found = body.get(at..).unwrap_or_default();
        let length = found.iter().zip(secret).take_while(|(one, other)| one == other).count();
        let masked = masked.get_or_insert_with(|| body.to_vec());
        if let Some(covered) = masked.get_mut(at..at + length) {
            covered.fill(b'*');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzUxMiJ9.eyJkaGFuQ2xpZW50SWQiOiIxMDAwMDAwMDAxIn0.c2lnbmF0dXJlLW9mLXRoaXM";

    fn masked(body: &str, secrets: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::from(*secret)).collect();
        let body = Bytes::copy_from_slice(body.as_bytes());
        String::from_utf8(mask(&body, &secrets.iter().collect::<Vec<_>>()).to_vec()).unwrap()
    }

    /// A broker's error that quoted the token reached the caller.
    #[test]
    fn a_quoted_token_is_covered_whole_or_in_part_and_the_length_stays() {
        let (payload, signature) = TOKEN.split_once('.').unwrap().1.split_once('.').unwrap();
        for quoted in [TOKEN, &TOKEN[..50], payload, signature, &signature[..18]] {
            let body = format!(r#"{{"errorMessage":"Invalid Token {quoted}","again":"{quoted}"}}"#);
            let got = masked(&body, &[TOKEN, "5e7c1a9b-77aa"]);
            assert!(!got.contains(&payload[..4]) && !got.contains(&signature[..4]), "{got}");
            assert_eq!(got.len(), body.len());
            assert!(serde_json::from_str::<serde_json::Value>(&got).is_ok(), "{got}");
        }
        assert_eq!(masked("key 0a1b2c3d.", &["0a1b2c3d"]), "key ********.");
    }

    /// Another account's placeholder, an order's text and an empty secret are nothing of ours.
    #[test]
    fn what_holds_no_secret_goes_on_as_it_came_and_is_not_copied() {
        let body = Bytes::from_static(br#"{"errorMessage":"Invalid Token"}"#);
        let secret = Secret::from(TOKEN);
        assert_eq!(mask(&body, &[&secret, &Secret::from("")]).as_ptr(), body.as_ptr());
        let other = TOKEN.replace("eyJkaGFu", "eyJpc3Mi").replace("c2lnbmF0", "eA");
        assert_eq!(masked(&other, &[TOKEN]), other);
    }
}
