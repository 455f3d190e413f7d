//! What is read, what is refused, and how replies are framed.

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits {
    body: 64,
    idle: Duration::from_secs(5),
    request: Duration::from_secs(5),
    write: Duration::from_secs(5),
};

/// What is read when `bytes` come and the caller closes its side.
async fn read(bytes: &[u8]) -> Result<(RequestHead, Bytes), ReadError> {
    let (mut caller, ours) = tokio::io::duplex(64 * 1024);
    caller.write_all(bytes).await.unwrap();
    caller.shutdown().await.unwrap();
    let mut connection = Connection::new(ours, LIMITS);
    if connection.begins().await.is_none() {
        return Err(ReadError::Gone);
    }
    let (head, by) = connection.head().await?;
    let body = connection.body(&head, by).await?;
    Ok((head, body))
}

/// Each of these has been used to hide one request in another.
#[tokio::test]
async fn framing_that_two_parsers_could_read_differently_is_refused() {
    for (request, what) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            "both, turned round",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "the same length twice"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", "a list of lengths"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "a sign"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", "hexadecimal"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", "no length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "a length past 64 bits"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "another coding"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "identity"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "twice chunked",
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked in 1.0"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\n\r\n",
            "a chunk extension",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
            "a signed chunk size",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
            "a blank after a chunk size",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n          ",
            "a bare LF after a chunk size",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "a chunk that is longer",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", "trailers"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "two hosts"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", "a folded line"),
        ("GET / HTTP/1.1\nHost: a\n\n", "bare line feeds"),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "one bare line feed"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", "a bare carriage return"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "CONNECT with a body"),
    ] {
        let got = read(request.as_bytes()).await;
        assert!(matches!(got, Err(ReadError::Refused(ParseRefusal::Ambiguous(_)))), "{what}: {:?}", got.err());
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
    ] {
        let got = read(request.as_bytes()).await;
        assert!(matches!(got, Err(ReadError::Refused(ParseRefusal::Malformed(_)))), "{request:?}: {:?}", got.err());
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_held() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    assert!(matches!(read(long.as_bytes()).await, Err(ReadError::Refused(ParseRefusal::HeadTooLarge))));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert!(matches!(read(many.as_bytes()).await, Err(ReadError::Refused(ParseRefusal::HeadTooLarge))));
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\r\n";
    assert!(matches!(read(body.as_bytes()).await, Err(ReadError::Refused(ParseRefusal::BodyTooLarge))));
    let chunk = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffff\r\n";
    assert!(matches!(read(chunk.as_bytes()).await, Err(ReadError::Refused(ParseRefusal::BodyTooLarge))));
}

/// http.client of Python 3.11, and so the broker's own SDK, sends this.
#[tokio::test]
async fn a_connect_in_http_1_0_without_host_is_taken() {
    let (head, _) = read(b"CONNECT api.dhan.co:443 HTTP/1.0\r\n\r\n").await.ok().unwrap();
    assert_eq!((head.method, head.target.as_str()), (Method::CONNECT, "api.dhan.co:443"));
    assert_eq!(head.version, Version::HTTP_10);
}

#[tokio::test]
async fn bodies_of_both_framings_are_read_and_the_next_request_is_found() {
    let (mut caller, ours) = tokio::io::duplex(64 * 1024);
    let bytes = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
        GET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
    caller.write_all(bytes).await.unwrap();
    let mut connection = Connection::new(ours, LIMITS);
    for (target, body) in [("/1", "abc"), ("/2", "def"), ("/3", "")] {
        assert!(connection.begins().await.is_some());
        let (head, by) = connection.head().await.ok().unwrap();
        let got = connection.body(&head, by).await.unwrap();
        assert_eq!((head.target.as_str(), &got[..]), (target, body.as_bytes()));
    }
}

async fn replied(request: &str, reply: Response<Body>) -> (String, bool) {
    let (mut caller, ours) = tokio::io::duplex(64 * 1024);
    caller.write_all(request.as_bytes()).await.unwrap();
    let mut connection = Connection::new(ours, LIMITS);
    connection.begins().await;
    let (head, _) = connection.head().await.ok().unwrap();
    let again = connection.reply(ReplyFraming::of(&head), reply).await;
    drop(connection);
    let mut text = String::new();
    caller.read_to_string(&mut text).await.unwrap();
    (text, again)
}

#[tokio::test]
async fn a_reply_is_framed_by_its_length_and_the_connection_kept_as_asked() {
    let reply = |body: &'static str| Response::new(Body::from(Bytes::from(body)));
    let (text, again) = replied("GET / HTTP/1.1\r\nHost: a\r\n\r\n", reply("hello")).await;
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert!(again);
    let (text, again) = replied("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", reply("")).await;
    assert!(text.contains("content-length: 0") && text.contains("connection: close") && !again, "{text}");
    let (text, again) = replied("GET / HTTP/1.0\r\n\r\n", reply("x")).await;
    assert!(text.ends_with("\r\n\r\nx") && !again, "{text}");
    let (text, again) = replied("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", reply("x")).await;
    assert!(text.contains("connection: keep-alive") && again, "{text}");
    let (text, _) = replied("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", reply("hello")).await;
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

proptest! {
    /// Bytes from anybody: never a panic, and a body never longer than allowed.
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0..120usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let good = b"POST /v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
        let mut mixed = good[..cut.min(good.len())].to_vec();
        mixed.extend_from_slice(&bytes);
        for input in [bytes, mixed] {
            if let Ok((_, body)) = runtime.block_on(read(&input)) {
                prop_assert!(body.len() <= LIMITS.body);
            }
        }
    }
}
