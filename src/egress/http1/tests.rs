//! What is written, how replies are framed, and what was certainly not sent.

use std::sync::{Arc, mpsc};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use zeroize::Zeroizing;

use super::*;
use crate::domain::Authority;

/// A broker in memory. The kernel takes `room` bytes and then fails.
struct Pipe {
    io: DuplexStream,
    taken: u64,
    room: usize,
}

impl Pipe {
    fn new() -> (Self, DuplexStream) {
        let (near, far) = duplex(64 * 1024);
        (Self { io: near, taken: 0, room: usize::MAX }, far)
    }
}

impl BrokerStream for Pipe {
    fn taken(&self) -> u64 {
        self.taken
    }

    fn read_kernel(&mut self, _: bool) {}
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let part = from.get(..self.room.min(from.len())).unwrap_or_default();
        if part.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, part))?;
        self.room -= n;
        self.taken += n as u64;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

struct Request {
    authority: Authority,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn new(method: Method) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("access-token", HeaderValue::from_static("t"));
        // The caller's framing is none of the broker's.
        headers.insert("content-length", HeaderValue::from_static("999"));
        Self {
            authority: Authority::parse("api.dhan.co:443", None).unwrap(),
            body: if method == Method::POST { Bytes::from_static(b"{}") } else { Bytes::new() },
            method,
            path: PathAndQuery::from_static("/v2/orders?a=b"),
            headers,
        }
    }

    fn message(&self) -> Message<'_> {
        let Self { authority, method, path, headers, body } = self;
        Message { authority, method, path, headers, body }
    }
}

/// What came of one exchange, the body whole.
async fn exchange<W: BrokerStream>(connection: &mut Http1<W>, method: Method) -> Result<(u16, Vec<u8>, bool), String> {
    let request = Request::new(method);
    let (reply, mut incoming) =
        connection.exchange(&request.message()).await.map_err(|failed| format!("{failed:?}"))?;
    let mut body = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| connection.poll_body(&mut incoming, cx)).await {
        body.extend_from_slice(&piece.map_err(|err| err.to_string())?);
    }
    Ok((reply.status().as_u16(), body, connection.rest(&incoming)))
}

/// The broker says `pieces`, one after the other, and closes.
fn answered(method: Method, pieces: &[&[u8]]) -> Result<(u16, Vec<u8>, bool), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = Pipe::new();
        let mut connection = Http1::new(near);
        let say = async {
            for piece in pieces {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            far.shutdown().await.unwrap();
        };
        tokio::join!(exchange(&mut connection, method), say).0
    })
}

#[tokio::test]
async fn a_request_is_written_whole_with_our_own_host_and_length() {
    let (near, mut far) = Pipe::new();
    let mut connection = Http1::new(near);
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    exchange(&mut connection, Method::POST).await.unwrap();
    drop(connection);
    let mut sent = String::new();
    far.read_to_string(&mut sent).await.unwrap();
    assert_eq!(
        sent,
        "POST /v2/orders?a=b HTTP/1.1\r\nhost: api.dhan.co\r\naccess-token: t\r\ncontent-length: 2\r\n\r\n{}"
    );
}

fn secret_of(query: &[(&'static str, &str)], body: &[u8]) -> Zeroizing<Vec<u8>> {
    let headers: HeaderMap = [(http::header::ACCEPT, HeaderValue::from_static("*/*"))].into_iter().collect();
    let to = head::SecretTarget { host: "auth.dhan.co", method: &Method::POST, path: "/app/x", query };
    head::encode_secret(&to, &headers, body)
}

/// A PIN with a sign in it would end up in another parameter.
#[test]
fn a_request_that_holds_secrets_is_written_whole_and_escaped() {
    let written = secret_of(&[("pin", "12&34=5 6%"), ("x", "é~")], b"{}");
    let want = "POST /app/x?pin=12%2634%3D5%206%25&x=%C3%A9~ HTTP/1.1\r\nhost: auth.dhan.co\r\naccept: */*\r\n\
                content-length: 2\r\n\r\n{}";
    assert_eq!(std::str::from_utf8(&written).unwrap(), want);
    let bare = secret_of(&[], b"");
    assert!(bare.starts_with(b"POST /app/x HTTP/1.1\r\n") && bare.ends_with(b"content-length: 0\r\n\r\n"));
}

proptest! {
    /// A buffer that grows leaves a copy behind that nobody wipes.
    #[test]
    fn a_request_that_holds_secrets_never_outgrows_its_buffer(value in "\\PC{0,200}", body in prop::collection::vec(any::<u8>(), 0..200)) {
        let written = secret_of(&[("dhanClientId", "1000000001"), ("pin", &value)], &body);
        let most = "POST".len() + "/app/x".len() + "auth.dhan.co".len() + ("dhanClientId".len() + 2 + 30)
            + ("pin".len() + 2 + 3 * value.len()) + ("accept".len() + 3 + 4) + body.len() + 128;
        prop_assert_eq!(written.capacity(), most);
    }
}

/// While the broker is waited for, which may be long, the secrets are gone already.
#[tokio::test]
async fn a_request_that_holds_secrets_is_wiped_before_the_reply_is_waited_for() {
    struct Watched(Vec<u8>, Arc<std::sync::atomic::AtomicBool>);
    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Watched {
        fn drop(&mut self) {
            self.1.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (near, mut far) = Pipe::new();
    let mut connection = Http1::new(near);
    let request = Watched(b"GET / HTTP/1.1\r\n\r\n".to_vec(), Arc::clone(&gone));
    let broker = async {
        let mut sent = [0u8; 18];
        far.read_exact(&mut sent).await.unwrap();
        tokio::task::yield_now().await;
        assert!(gone.load(std::sync::atomic::Ordering::Relaxed), "it is held while the broker thinks");
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (reply, ()) = tokio::join!(connection.exchange_written(request, &Method::GET), broker);
    assert_eq!(reply.unwrap().0.status(), 200);
}

const WHOLE: [(&str, Method, u16, &str, bool); 9] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Method::POST, 200, "hello", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\n\r\nhello", Method::POST, 200, "hello", false),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nA: b\r\n\r\n",
        Method::GET,
        200,
        "hello",
        true,
    ),
    ("HTTP/1.1 200 OK\r\n\r\nhello", Method::GET, 200, "hello", false),
    ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Method::GET, 200, "hello", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD, 200, "", true),
    ("HTTP/1.1 204 No Content\r\n\r\n", Method::DELETE, 204, "", true),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n",
        Method::POST,
        202,
        "",
        true,
    ),
    // Who says more than was asked for is not asked again.
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", Method::POST, 200, "hello", false),
];

#[test]
fn a_reply_is_read_the_same_wherever_it_is_cut() {
    for (text, method, status, body, reusable) in WHOLE {
        for cut in 0..text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            let got = answered(method.clone(), &[one, two]).unwrap();
            // What comes too late is found when the connection is used next.
            let late = two.is_empty() || !text.ends_with("HTTP/1.1 200 OK\r\n\r\n");
            assert_eq!((got.0, got.1.as_slice()), (status, body.as_bytes()), "{text:?} cut at {cut}");
            assert!(got.2 == reusable || !late, "{text:?} cut at {cut}");
        }
    }
}

/// A placement's good status is worth nothing without the order id in its body.
#[test]
fn a_reply_that_breaks_off_does_not_look_whole() {
    for (text, method, _, body, _) in WHOLE {
        let framed = text.contains("Content-Length: 5") || text.contains("chunked");
        if !framed || body.is_empty() {
            continue;
        }
        let whole = text.find("HTTP/1.1 200 OK\r\n\r\n").filter(|at| *at > 0).unwrap_or(text.len());
        for cut in 0..whole {
            assert!(answered(method.clone(), &[&text.as_bytes()[..cut]]).is_err(), "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn a_reply_that_could_be_read_in_two_ways_is_refused() {
    for head in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nhello");
        assert!(answered(Method::POST, &[text.as_bytes()]).is_err(), "{head}");
    }
    for chunks in [
        "+5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert!(answered(Method::POST, &[text.as_bytes()]).is_err(), "{chunks:?}");
    }
    assert!(answered(Method::POST, &[b"ICY 200 OK\r\n\r\n"]).is_err());
}

#[test]
fn a_reply_without_end_is_given_up() {
    let field = "a: b\r\n".repeat(20_000);
    let endless = format!("HTTP/1.1 200 OK\r\n{field}");
    assert!(answered(Method::POST, &[endless.as_bytes()]).is_err());
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert!(answered(Method::POST, &[fields.as_bytes()]).is_err());
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(17);
    assert!(answered(Method::POST, &[interim.as_bytes()]).unwrap_err().contains("interim"));
}

/// What tells an order that may go another way from one that may not.
#[tokio::test]
async fn only_a_request_of_which_the_kernel_took_nothing_was_not_sent() {
    for room in [0, 1, 10, 60] {
        let (mut near, _far) = Pipe::new();
        near.room = room;
        let request = Request::new(Method::POST);
        let failed = Http1::new(near).exchange(&request.message()).await.unwrap_err();
        assert_eq!(matches!(failed, NoAnswer::NotSent(_)), room == 0, "{room}: {failed:?}");
    }
    let (near, far) = Pipe::new();
    let mut connection = Http1::new(near);
    let request = Request::new(Method::POST);
    let message = request.message();
    let (failed, ()) = tokio::join!(connection.exchange(&message), async {
        let mut far = far;
        let mut first = [0u8; 1];
        far.read_exact(&mut first).await.unwrap();
    });
    assert!(matches!(failed, Err(NoAnswer::Unknown(_))), "it was read, and then the broker closed");
}

#[tokio::test]
async fn an_idle_connection_is_quiet_until_the_broker_says_anything() {
    let (near, far) = Pipe::new();
    let mut closed = Http1::new(near);
    assert!(closed.is_quiet(Waker::noop()));
    drop(far);
    assert!(!closed.is_quiet(Waker::noop()));

    let (near, mut far) = Pipe::new();
    let mut spoken_to = Http1::new(near);
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(!spoken_to.is_quiet(Waker::noop()));
}

/// It speaks whatever comes next, and must not carry an order.
#[tokio::test]
async fn a_connection_that_switched_protocols_is_not_used_again() {
    let (near, mut far) = Pipe::new();
    let mut connection = Http1::new(near);
    far.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframe").await.unwrap();
    let request = Request::new(Method::GET);
    let (reply, incoming) = connection.exchange(&request.message()).await.unwrap();
    assert_eq!(reply.status(), 101);
    let (_, early) = connection.into_parts();
    assert_eq!(early, "frame");
    assert!(!incoming.keep_alive);
}

proptest! {
    /// Whatever a broker sends: an answer or an error, and never more of a body than was said.
    #[test]
    fn no_reply_breaks_the_reader(
        head in prop_oneof![Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Just("")],
        rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b':'), Just(b'a')], 0..200),
        cut in 0..200_usize,
    ) {
        let bytes = [head.as_bytes(), &rest].concat();
        let (one, two) = bytes.split_at(cut.min(bytes.len()));
        let whole = answered(Method::GET, &[&bytes]);
        let parts = answered(Method::GET, &[one, two]);
        prop_assert_eq!(whole.as_ref().map(|(status, body, _)| (*status, body.clone())).ok(),
            parts.as_ref().map(|(status, body, _)| (*status, body.clone())).ok());
    }
}

/// How a broker ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    /// As TLS says it, with the TCP connection left open.
    Notify,
    /// Without a word of TLS.
    Fin,
    /// In the middle of something.
    Reset,
}

/// A broker with TLS in a thread of its own: it ends the connection in the given way when told so, and says when
/// it has done so.
fn tls_broker(end: End) -> (std::net::SocketAddr, rustls::ClientConfig, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider);
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![certificate.der().clone()], private).unwrap());

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (go, told) = mpsc::channel();
    let (say, done) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(server).unwrap();
        // Its tickets come after the handshake, and are no word of the broker's.
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut socket).unwrap();
        }
        say.send(()).unwrap();
        told.recv().unwrap();
        match end {
            End::Notify => {
                tls.send_close_notify();
                tls.write_tls(&mut socket).unwrap();
            }
            End::Fin => socket.shutdown(std::net::Shutdown::Write).unwrap(),
            End::Reset => {
                socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                drop(socket);
                say.send(()).unwrap();
                return;
            }
        }
        say.send(()).unwrap();
        // The connection stays until the test is over.
        let _ = told.recv();
        drop(socket);
    });
    (at, client, go, done)
}

/// An order may be the first thing that its thread does after the broker closed: the reactor has not looked
/// since. Whoever writes then never learns what became of it.
#[expect(clippy::disallowed_methods, reason = "the broker of this test is on the loopback")]
#[tokio::test]
async fn what_the_kernel_knows_counts_before_the_reactor_has_seen_it() {
    for end in [End::Notify, End::Fin, End::Reset] {
        let (at, config, go, done) = tls_broker(end);
        let line = CountingStream::new(tokio::net::TcpStream::connect(at).await.unwrap());
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tls = connector.connect("localhost".try_into().unwrap(), line).await.unwrap();
        let mut connection = Http1::new(tls);
        // From here on nothing is awaited: the reactor sees nothing.
        done.recv().unwrap();
        for _ in 0..10 {
            assert!(connection.is_quiet_now(), "{end:?}: a ticket is no reply");
            assert!(connection.is_quiet(Waker::noop()));
        }
        go.send(()).unwrap();
        done.recv().unwrap();
        assert!(connection.is_quiet(Waker::noop()), "{end:?}: then the kernel need not be asked");
        let began = std::time::Instant::now();
        while connection.is_quiet_now() {
            assert!(began.elapsed() < std::time::Duration::from_secs(10), "{end:?}: nobody noticed");
            std::thread::yield_now();
        }
        drop(go);
    }
}

/// Looked at past the reactor and then used: its reply must still wake whoever waits for it.
#[expect(clippy::disallowed_methods, reason = "the broker of this test is on the loopback")]
#[tokio::test]
async fn a_connection_that_was_looked_at_is_still_woken() {
    let (at, config, go, done) = tls_broker(End::Notify);
    let line = CountingStream::new(tokio::net::TcpStream::connect(at).await.unwrap());
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = connector.connect("localhost".try_into().unwrap(), line).await.unwrap();
    let mut connection = Http1::new(tls);
    done.recv().unwrap();
    assert!(connection.is_quiet_now());
    let filled = std::future::poll_fn(|cx| connection.poll_fill(cx));
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), filled);
    // It waits before the broker is told to say anything.
    let (read, ()) = tokio::join!(biased; read, async { go.send(()).unwrap() });
    assert_eq!(read.expect("it is woken").unwrap(), 0, "closed");
}
