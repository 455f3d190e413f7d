//! Is a token whole? A JWT (RFC 7519) has three parts with dots between; who copies one loses its beginning or its end.

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::domain::characters::strange;
use crate::domain::problem::Invalid;

/// Does the token have all of its parts, each of them whole as far as that can be seen?
///
/// # Errors
/// [`Invalid`] that says which part is not.
pub(super) fn check(token: &str) -> Result<(), Invalid> {
    if let Some(class) = strange(token, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '=')) {
        return Err(Invalid::because(format!(
            "not a Dhan access token: a token has only letters, digits and . - _, and this has {class} in it; paste it \
             without what stands around it"
        )));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let (count, s) = match token.split('.').count() {
            1 => (1, ""),
            count => (count, "s"),
        };
        return Err(Invalid::because(format!(
            "not a Dhan access token (a JWT: three parts with dots between, beginning with eyJ): this has {count} part{s}; \
             if it is one, some of it is missing or stands there twice"
        )));
    };
    let Some(algorithm) = object(header) else {
        return Err(cut("its first part, the header, does not begin with eyJ or is damaged"));
    };
    if object(claims).is_none() {
        return Err(cut("its second part, the claims, is damaged"));
    }
    let length = signature.trim_end_matches('=').len();
    match signature_length(algorithm.get("alg").and_then(serde_json::Value::as_str).unwrap_or_default()) {
        Some(whole) if length != whole => Err(cut(&format!(
            "its third part, the signature, has {length} characters in place of {whole}; the end is cut off or was doubled"
        ))),
        // A last group of base64 has two characters at least.
        None if length == 0 || length % 4 == 1 => Err(cut("its third part, the signature, is cut")),
        Some(_) | None => Ok(()),
    }
}

fn cut(what: &str) -> Invalid {
    Invalid::because(format!("not a whole Dhan access token: {what}. Copy it again, by the page's own copy button"))
}

/// The JSON object in a part.
fn object(part: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let json = BASE64URL_NOPAD.decode(part.trim_end_matches('=').as_bytes()).map(Zeroizing::new).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Characters of a signature (RFC 7518 section 3.1), where the algorithm has one length.
fn signature_length(algorithm: &str) -> Option<usize> {
    match algorithm {
        "HS256" => Some(43),
        "HS384" => Some(64),
        "HS512" | "ES256" | "EdDSA" => Some(86),
        "ES384" => Some(128),
        _ => None,
    }
}
