//! What comes to the admin API and is meant for a proxy, or speaks something else: people take the wrong port, or the wrong
//! `https`. It is told what to change, here and in the log; a connection that just ends tells nobody anything.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::Failure;
use super::site::Site;
use crate::net::protocol::Protocol;
use crate::telemetry::Seldom;

/// How long whoever speaks something else may take to read so.
const GOODBYE: Duration = Duration::from_secs(1);
/// What of it is read and forgotten meanwhile, in bytes: an unread byte would make a reset of the close.
const FORGOTTEN: u64 = 64 * 1024;

static TOLD: Seldom = Seldom::once_in(Duration::from_secs(60));

/// The answer to a request that a proxy is asked: `CONNECT`, or an absolute URL of another host.
pub(super) fn proxy_request(site: &Site, request: &Request) -> Option<Response> {
    let of_a_proxy = match request.uri().authority() {
        _ if request.method() == Method::CONNECT => true,
        // By its own name it may be asked in this form too (RFC 9112 section 3.2.2).
        Some(authority) => site.admits(authority.as_str()).is_err(),
        None => false,
    };
    if !of_a_proxy {
        return None;
    }
    let text = "this is the admin API of the gateway, and no proxy: an order engine's proxy is the address of a [[listener]], \
                which is http://127.0.0.1:8080 unless the configuration says otherwise; set that in HTTP_PROXY and HTTPS_PROXY";
    tell("a request to a proxy", text, None);
    Some(Failure::new(StatusCode::MISDIRECTED_REQUEST, "not_a_proxy", text).into_response())
}

/// Answer whoever speaks something else than this listener does.
pub(super) async fn other_protocol(mut stream: TcpStream, spoken: Protocol, peer: IpAddr) {
    let (what, text) = match spoken {
        Protocol::Tls => (
            "TLS",
            "the caller began TLS, and this listener speaks plain HTTP: write http:// in the URL, or give the admin API \
             tls_certificate and tls_key",
        ),
        Protocol::Socks => (
            "SOCKS",
            "the caller speaks SOCKS, and this is the admin API of the gateway: an order engine's proxy is the address of \
             a [[listener]], an HTTP proxy; write http:// and that address in the proxy's URL",
        ),
        Protocol::Http => {
            ("plain HTTP", "the caller speaks plain HTTP, and this listener speaks TLS: write https:// in the URL")
        }
    };
    tell(what, text, Some(peer));
    let body = Failure::new(StatusCode::BAD_REQUEST, "wrong_protocol", text).into_text();
    let head =
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: ";
    let goodbye = async {
        stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FORGOTTEN), &mut tokio::io::sink()).await
    };
    // Whoever does not hear it had the time to.
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

fn tell(what: &str, text: &str, peer: Option<IpAddr>) {
    if let Some(times) = TOLD.due() {
        let caller = peer.map(tracing::field::display);
        tracing::warn!(what, caller, times, "the admin API refused what is not meant for it: {text}");
    }
}
