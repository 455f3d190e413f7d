//! Refusals that say what is not so: verdicts of one back end that another would not
//! give, and refusals that quote the caller's own words.

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::{self, Reply};

/// What a back end says of a token or a customer, whether or not it is so. Which shape
/// it comes in is the path's: quotes and option chains have one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// 401, 807: the token is past its end. Elsewhere DH-901.
    Expired,
    /// 401, 808: client id or token is invalid. Elsewhere DH-901.
    NotAuthenticated,
    /// 401, 809: the token is invalid. Elsewhere DH-906 with 401.
    InvalidToken,
    /// 401, 806: no data plan. Elsewhere DH-902.
    NoDataPlan,
    /// 401 DH-901, on whatever path.
    Dh901,
    /// 401 DH-902, on whatever path.
    Dh902,
    /// 401 DH-906 `Invalid Token`, on whatever path.
    Dh906,
}

impl Verdict {
    pub(super) fn reply(self, path: &str) -> Reply {
        let quotes = path.contains("/marketfeed") || path.contains("/optionchain");
        match self {
            Self::Expired if quotes => reply::data_expired(),
            Self::NotAuthenticated if quotes => reply::data_invalid_token(),
            Self::InvalidToken if quotes => reply::data_token(),
            Self::NoDataPlan if quotes => reply::data_not_subscribed(),
            Self::NoDataPlan | Self::Dh902 => reply::not_subscribed(),
            Self::Expired | Self::NotAuthenticated | Self::Dh901 => reply::unauthenticated(),
            Self::InvalidToken | Self::Dh906 => reply::invalid_token().with_status(StatusCode::UNAUTHORIZED),
        }
    }
}

/// Which of the caller's own words a refusal quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quoted {
    /// The token that came in the header.
    AccessToken,
    /// The body's `correlationId`.
    CorrelationId,
    /// The whole body.
    Body,
    /// The path, with its query.
    Path,
}

impl Quoted {
    /// 400 DH-905, whose message quotes what came.
    pub(super) fn reply(self, path_and_query: &str, headers: &HeaderMap, body: &[u8]) -> Reply {
        let quoted = match self {
            Self::AccessToken => headers
                .get("access-token")
                .map(|token| String::from_utf8_lossy(token.as_bytes()).into_owned())
                .unwrap_or_default(),
            Self::CorrelationId => {
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                body.get("correlationId").and_then(Value::as_str).unwrap_or_default().to_owned()
            }
            Self::Body => String::from_utf8_lossy(body).into_owned(),
            Self::Path => path_and_query.to_owned(),
        };
        reply::input(&format!("Invalid value: {quoted}"))
    }
}
