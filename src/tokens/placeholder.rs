//! What a caller that logs in by itself is given: a reply of the right shape with
//! a token that opens nothing. The real login is the gateway's; a second one
//! would kill the live token.

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::broker::dhan::token::PLACEHOLDER_ISSUER;
use crate::domain::ClientId;

/// A day: what the broker gives.
const LIFE_SECONDS: i64 = 86_400;

/// The reply to a login call at `path`, if it is one that gives a token or a consent.
pub fn reply(path: &str, client_id: &ClientId, now: Timestamp) -> Option<Value> {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    match last.as_str() {
        "generateaccesstoken" | "renewtoken" | "consumeapp-consent" | "consume-consent" => Some(token(client_id, now)),
        "generate-consent" if path.contains("/partner/") => {
            Some(json!({ "consentId": uuid::Uuid::now_v7().to_string(), "consentStatus": "GENERATED" }))
        }
        "generate-consent" => Some(json!({
            "consentAppId": uuid::Uuid::now_v7().to_string(),
            "consentAppStatus": "GENERATED",
            "status": "success",
        })),
        _ => None,
    }
}

/// The broker's six fields (`auth/generate-access-token.200.ok.json`). The token
/// is a JWT in form, so that programs which read its `exp` go on, and is signed
/// with nothing.
fn token(client_id: &ClientId, now: Timestamp) -> Value {
    let until = now.as_second().saturating_add(LIFE_SECONDS);
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = part(json!({ "typ": "JWT", "alg": "none" }));
    let claims = part(json!({
        "iss": PLACEHOLDER_ISSUER,
        "exp": until,
        "iat": now.as_second(),
        "tokenConsumerType": "APP",
        "dhanClientId": client_id.as_str(),
    }));
    // The broker's times are Indian, without saying so.
    let expiry = Timestamp::from_second(until)
        .map(|until| until.to_zoned_datetime(TimeZone::get("Asia/Kolkata").unwrap_or(TimeZone::UTC)))
        .map(|until| until.strftime("%Y-%m-%dT%H:%M:%S.000").to_string())
        .unwrap_or_default();
    json!({
        "dhanClientId": client_id.as_str(),
        "dhanClientName": "SIXGATE",
        "dhanClientUcc": "SIXGATE",
        "givenPowerOfAttorney": false,
        "accessToken": format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(b"sixgate-placeholder")),
        "expiryTime": expiry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::dhan::token::Claims;

    /// A program that logs in by itself reads the reply before it goes on.
    #[test]
    fn a_program_that_logs_in_gets_a_token_it_can_read() {
        let id = ClientId::parse("1000000001").unwrap();
        let now = Timestamp::from_second(1_795_401_000).unwrap();
        for path in
            ["/app/generateAccessToken", "/v2/RenewToken", "/app/consumeApp-consent", "/partner/consume-consent"]
        {
            let reply = reply(path, &id, now).unwrap();
            let token = reply["accessToken"].as_str().unwrap();
            let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!((&claims["dhanClientId"], &claims["exp"]), (&json!("1000000001"), &json!(1_795_487_400)));
            assert!(Claims::read(token).is_err(), "it must not be taken for the broker's");
            assert_eq!(reply["expiryTime"], "2026-11-24T08:00:00.000", "{path}");
        }
        assert_eq!(reply("/app/generate-consent", &id, now).unwrap()["consentAppStatus"], "GENERATED");
        assert_eq!(reply("/partner/generate-consent", &id, now).unwrap()["consentStatus"], "GENERATED");
        assert!(reply("/login/consentApp-login", &id, now).is_none());
    }
}
