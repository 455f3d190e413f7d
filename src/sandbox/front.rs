//! The broker's two back ends as replies of each were recorded in 2025 and 2026.

use http::header::VARY;
use http::response::Parts;
use http::{HeaderValue, Request};
use hyper::ext::ReasonPhrase;

/// What the order back end varies by, a header each.
const VARIES: [&str; 3] = ["Access-Control-Request-Headers", "Access-Control-Request-Method", "Origin"];

/// Is it answered by the back end of orders, portfolio and charts, rather than that of
/// quotes and option chains?
pub(super) fn is_order_back_end<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    !["/v2/marketfeed", "/v2/optionchain"].iter().any(|quotes| path.starts_with(quotes))
}

/// The head as the order back end sends it: nothing after the status, and `Vary`.
pub(super) fn as_recorded(parts: &mut Parts) {
    parts.extensions.insert(ReasonPhrase::from_static(b""));
    for name in VARIES {
        parts.headers.append(VARY, HeaderValue::from_static(name));
    }
}
