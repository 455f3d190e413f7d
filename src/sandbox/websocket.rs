//! WebSockets (stub).
use super::Inner;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use std::sync::Arc;
pub(super) fn wanted<B>(_request: &Request<B>) -> bool {
    false
}
pub(super) fn accept(
    _inner: &Arc<Inner>,
    _parts: &http::request::Parts,
    _upgrade: hyper::upgrade::OnUpgrade,
    _sequence: u64,
) -> Response<Full<Bytes>> {
    super::reply::Reply::empty(StatusCode::UPGRADE_REQUIRED).into_response()
}
