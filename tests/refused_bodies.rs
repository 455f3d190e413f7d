//! Callers that are refused while they are still sending: the refusal can be read. Most programs read when they have sent
//! all of their request, and a connection that was reset meanwhile is all that they know then.

use std::time::Duration;

use crate::support::caller::{Stream, basic, connect, tls, tunnel};
use crate::support::net::Ns;
use crate::support::world::{LISTENER, LOOPBACK, World, config, pins};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Many times what sockets keep, and over `proxy.body_limit`.
const PIECES: usize = 128;
const PIECE: usize = 64 * 1024;
/// A caller on a slow line, and a gateway that waits for it longer than for a moment.
const SLOWLY: Duration = Duration::from_millis(25);

/// Send a request's head and a body of [`PIECES`], piece by piece, and only then read.
async fn sent_whole(mut stream: impl Stream, head: &str, piece: &[u8], pause: Duration) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    for n in 0..PIECES {
        let sent = async {
            stream.write_all(piece).await?;
            stream.flush().await
        };
        sent.await.unwrap_or_else(|err| panic!("{head:?}: piece {n} of {PIECES}: {err}"));
        // The pace of the line, and a wait for nothing.
        tokio::time::sleep(pause).await;
    }
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap_or_else(|err| panic!("{head:?}: {err}"));
    told
}

fn head(target: &str, more: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: api.dhan.co\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n",
        PIECES * PIECE
    )
}

fn chunked(target: &str) -> String {
    head(target, "").replace(&format!("Content-Length: {}", PIECES * PIECE), "Transfer-Encoding: chunked")
}

fn is_refusal(told: &str, status: u16, code: &str) {
    assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
    assert!(told.contains(&format!("\"code\":\"{code}\"")) && told.contains("connection: close"), "{told}");
    assert!(told.trim_end().ends_with('}'), "it is whole: {told}");
}

#[test]
fn a_refusal_is_read_by_a_caller_that_sends_its_body_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["gw.lan".to_owned()]).unwrap();
    std::fs::write(dir.path().join("c.pem"), key.cert.pem()).unwrap();
    std::fs::write(dir.path().join("k.pem"), key.signing_key.serialize_pem()).unwrap();
    let more = format!(
        "[[listener]]\naddress = \"127.0.0.1:8082\"\naccount = \"a1\"\nclient_key = \"none\"\n\
         tls_certificate = \"{0}/c.pem\"\ntls_key = \"{0}/k.pem\"\n\
         [[listener]]\naddress = \"[::1]:443\"\naccount = \"a1\"\ntransparent = true\n",
        dir.path().display()
    );
    let world = World::up_with(1, &config(&format!("{more}\n{}", pins())));
    let ca = world.dir.path().join("state/ca.pem");
    let trader = world.traders[0].clone();
    let (plain, api) = ("http://api.dhan.co/v2/orders", "api.dhan.co");
    let body = vec![b' '; PIECE];
    let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &body, b"\r\n"].concat();

    // No key, from elsewhere, on a slow line: refused by its head alone.
    let told = world
        .net
        .in_ns(Ns::Caller, || async { sent_whole(connect(LISTENER).await, &head(plain, ""), &body, SLOWLY).await });
    is_refusal(&told, 407, "proxy_auth_required");
    let wrong = format!("Proxy-Authorization: {}\r\n", basic("a1", "sgk_wrong"));
    let told = world.net.in_ns(Ns::Caller, || async {
        sent_whole(connect(LISTENER).await, &head(plain, &wrong), &body, Duration::ZERO).await
    });
    is_refusal(&told, 407, "proxy_auth_required");

    // Too large, told by its length and found out on the way; plainly, in an intercepted tunnel, and as if to the broker.
    let shown = basic("a1", &trader.key);
    for (pause, head, piece) in [
        (SLOWLY, head("/v2/orders", ""), &body),
        (Duration::ZERO, chunked("/v2/orders"), &chunk),
        (Duration::ZERO, head("/v2/orders", "Transfer-Encoding: chunked\r\n"), &chunk),
    ] {
        let (status, code) = match head.contains("chunked") && head.contains("Content-Length") {
            true => (400, "ambiguous_framing"),
            false => (413, "body_too_large"),
        };
        let with_key = head
            .replace("POST /v2", "POST http://api.dhan.co/v2")
            .replace("\r\nHost", &format!("\r\nProxy-Authorization: {shown}\r\nHost"));
        let told = world
            .net
            .in_ns(Ns::Caller, || async { sent_whole(connect(LISTENER).await, &with_key, piece, pause).await });
        is_refusal(&told, status, code);
        let told = world.net.in_ns(Ns::Caller, || async {
            let key = [("proxy-authorization", shown.as_str())];
            let (status, inside) = tunnel(connect(LISTENER).await, "api.dhan.co:443", &key).await;
            assert_eq!(status, 200);
            let inside = tls(inside, api, &ca, &[b"http/1.1"]).await.unwrap();
            sent_whole(inside, &head, piece, pause).await
        });
        is_refusal(&told, status, code);
        let told = world.net.in_ns(Ns::Caller, || async {
            let key = [("proxy-authorization", shown.as_str())];
            let (status, inside) = tunnel(connect(LISTENER).await, "api.dhan.co:80", &key).await;
            assert_eq!(status, 200);
            sent_whole(inside, &head, piece, pause).await
        });
        is_refusal(&told, status, code);
        let told = world.net.in_ns(Ns::Gateway, || async {
            let stream = tls(connect("[::1]:443".parse().unwrap()).await, api, &ca, &[b"http/1.1"]).await.unwrap();
            sent_whole(stream, &head, piece, pause).await
        });
        is_refusal(&told, status, code);
    }

    // In plain HTTP to a listener of TLS, and a tunnel that is refused while the caller already speaks into it.
    let told = world.net.in_ns(Ns::Gateway, || async {
        sent_whole(connect(([127, 0, 0, 1], 8082).into()).await, &head(plain, ""), &body, Duration::ZERO).await
    });
    is_refusal(&told, 400, "bad_request");
    let told = world.net.in_ns(Ns::Gateway, || async {
        let ahead = [&[0x16, 3, 1, 2, 0][..], &body[5..]].concat();
        let connect_to = "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n";
        sent_whole(connect(LOOPBACK.parse().unwrap()).await, connect_to, &ahead, Duration::ZERO).await
    });
    assert!(told.starts_with("HTTP/1.1 403 ") && told.contains("destination_denied"), "{told}");
    assert_eq!(world.broker.seen().iter().filter(|seen| seen.method == "POST").count(), 0);
}
