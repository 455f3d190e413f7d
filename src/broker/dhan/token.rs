//! What an access token says of itself.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::domain::ClientId;
use crate::domain::problem::Invalid;

/// The `iss` of the placeholders that callers are given in place of tokens. Nothing of
/// the broker's has it.
pub const PLACEHOLDER_ISSUER: &str = "sixgate";

/// The claims of a Dhan access token (a JWT, RFC 7519) that matter here. The
/// signature is the broker's secret and not checked: only the broker can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The account it is for.
    pub client_id: ClientId,
    /// When it ends, in seconds since 1970 UTC. The truth about its life: the
    /// reply's `expiryTime` has no zone.
    pub expires_at: i64,
    /// When it was made (`iat`), in seconds since 1970 UTC, where said.
    pub issued_at: Option<i64>,
    /// `SELF` (made on the web, can be renewed) or `APP`, where said.
    pub consumer: Option<String>,
}

impl Claims {
    /// # Errors
    /// [`Invalid`] when this is not a token of Dhan's. Never quotes the token.
    pub fn read(token: &str) -> Result<Self, Invalid> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "dhanClientId")]
            client_id: String,
            exp: i64,
            // Nothing hangs on it, so a strange one must not make a token no token.
            iat: Option<serde_json::Value>,
            iss: Option<serde_json::Value>,
            #[serde(rename = "tokenConsumerType")]
            consumer: Option<String>,
        }
        let bad = || Invalid::new("not a Dhan access token (a JWT: three parts with dots between, beginning with eyJ)");
        let mut parts = token.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad());
        }
        let claims = BASE64URL_NOPAD.decode(claims.trim_end_matches('=').as_bytes()).map_err(|_| bad())?;
        // To serde the values alone, in an array, are a struct too; claims are an object (RFC 7519 section 4).
        let object = claims.trim_ascii_start().starts_with(b"{");
        let wire: Option<Wire> = serde_json::from_slice(&claims).ok().filter(|_| object);
        let wire = wire.ok_or(Invalid::new("a JWT, but without Dhan's claims dhanClientId and exp"))?;
        if wire.iss.as_ref().and_then(serde_json::Value::as_str) == Some(PLACEHOLDER_ISSUER) {
            return Err(Invalid::new(
                "this is the placeholder that the gateway gives to programs that log in by themselves; make a token on \
                 web.dhan.co",
            ));
        }
        let client_id = ClientId::parse(&wire.client_id)?;
        let issued_at = wire.iat.and_then(|iat| iat.as_i64());
        Ok(Self { client_id, expires_at: wire.exp, issued_at, consumer: wire.consumer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("eyJ0eXAiOiJKV1QifQ.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))
    }

    #[test]
    fn the_claims_of_both_kinds_are_read() {
        let text = r#"{"iss":"dhan","partnerId":"","exp":1795487400,"iat":1795401000,"tokenConsumerType":"SELF","dhanClientId":"1000000001"}"#;
        let claims = Claims::read(&token(text)).unwrap();
        assert_eq!(claims.client_id.as_str(), "1000000001");
        assert_eq!(claims.expires_at, 1_795_487_400);
        assert_eq!(claims.issued_at, Some(1_795_401_000));
        assert_eq!(claims.consumer.as_deref(), Some("SELF"));
        let text = r#"{"exp":1795487400,"iat":"now","dhanClientId":"1000000001"}"#;
        assert_eq!(Claims::read(&token(text)).unwrap().issued_at, None);
    }

    /// The text of the refusal goes to a caller: it must not carry the token.
    #[test]
    fn what_is_no_token_is_refused_without_being_quoted() {
        for bad in
            ["", "hunter2", "a.b.c", "a.b", &token("{}"), &token(r#"{"exp":"x"}"#), &format!("{}\n", token("{}"))]
        {
            let said = Claims::read(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !said.contains(bad), "{said}");
        }
    }
}
