//! A client of the sandbox that knows nothing of the gateway, and the fixtures.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use sixgate::domain::tasks::Tasks;
use sixgate::domain::{ClientId, Pair, SourceAddr};
use sixgate::sandbox::{Account, Options, Sandbox};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A started sandbox with one account, and who asks it.
#[derive(Clone)]
pub(super) struct Broker {
    pub sandbox: Sandbox,
    pub tasks: Tasks,
    pub id: ClientId,
    pub token: String,
    pub client_id_header: Option<String>,
    pub http2: bool,
}

impl Broker {
    /// The account may send orders from `::1`.
    pub(super) async fn start() -> Self {
        let primary = SourceAddr::parse("::1").unwrap();
        Self::start_with(Some(Pair { primary, secondary: SourceAddr::parse("2001:db8::2").unwrap() })).await
    }

    pub(super) async fn start_with(registered: Option<Pair>) -> Self {
        let id = ClientId::parse("1000000001").unwrap();
        let account = Account { registered, ..Account::new(id.clone(), "TEST TRADER", "123456", "JBSWY3DPEHPK3PXP") };
        let options =
            Options { control: Some("127.0.0.1:0".parse().unwrap()), accounts: vec![account], ..Options::default() };
        let tasks = Tasks::default();
        let sandbox = Sandbox::start(options, &tasks).await.unwrap();
        let token = sandbox.mint_token(&id);
        Self { sandbox, tasks, client_id_header: Some(id.to_string()), id, token, http2: false }
    }

    /// TLS to one of the broker's names.
    pub(super) async fn tls(&self, host: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpSocket::new_v6().unwrap().connect(self.sandbox.address().into()).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// An HTTP/1.1 connection.
    pub(super) async fn connect(&self, host: &str) -> hyper::Result<(http1::SendRequest<Full<Bytes>>, ())> {
        let tls = self.tls(host, b"http/1.1").await;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        Tasks::default().spawn(connection);
        Ok((sender, ()))
    }

    pub(super) fn request(&self, method: &str, path: &str, body: Option<String>) -> Request<Full<Bytes>> {
        let uri = if self.http2 { format!("https://api.dhan.co{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(uri).header("dhanClientId", self.id.as_str());
        if !self.http2 {
            request = request.header(header::HOST, "api.dhan.co");
        }
        if !self.token.is_empty() {
            request = request.header("access-token", &self.token);
        }
        if let Some(id) = &self.client_id_header {
            request = request.header("client-id", id);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::from(body.unwrap_or_default())).unwrap()
    }

    /// Send with more headers on a connection of its own; the reply as it came.
    pub(super) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: Option<String>,
    ) -> hyper::Result<Response<Bytes>> {
        let mut request = self.request(method, path, body);
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let response = if self.http2 {
            let tls = self.tls("api.dhan.co", b"h2").await;
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) = http2::handshake(executor, TokioIo::new(tls)).await?;
            Tasks::default().spawn(connection);
            sender.send_request(request).await?
        } else {
            self.connect("api.dhan.co").await?.0.send_request(request).await?
        };
        let (parts, body) = response.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    }

    /// Send on a connection of its own; the status and the body, null if empty.
    async fn exchange(&self, method: &str, path: &str, body: Option<String>) -> hyper::Result<(u16, Value)> {
        let response = self.raw(method, path, &[], body).await?;
        let status = response.status().as_u16();
        let text = String::from_utf8(response.into_body().to_vec()).unwrap();
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok((status, body))
    }

    pub(super) async fn try_send(&self, method: &str, path: &str, body: Option<&Value>) -> hyper::Result<(u16, Value)> {
        self.exchange(method, path, body.map(Value::to_string)).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.try_send(method, path, body).await.unwrap()
    }

    pub(super) async fn send_text(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.exchange(method, path, Some(body.to_owned())).await.unwrap()
    }

    /// A read that must succeed.
    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Ask the control listener.
    pub(super) async fn control(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let at = self.sandbox.control_address().unwrap();
        let tcp = TcpSocket::new_v4().unwrap().connect(at).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
        Tasks::default().spawn(connection);
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header(header::HOST, at.to_string());
        let response = sender.send_request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

/// A fixture's body.
pub(super) fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/dhan/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path}: {err}"))).unwrap()
}

/// A documented request.
pub(super) struct FixtureRequest {
    pub method: String,
    pub path: String,
    pub body: Value,
}

pub(super) fn fixture_request(name: &str) -> FixtureRequest {
    let value = fixture(&format!("{name}.request"));
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    FixtureRequest { method: text("method"), path: text("path"), body: value["body"].clone() }
}

/// The same keys, and values of the same types: a whole number stays whole, and
/// what is null in the fixture may be anything.
pub(super) fn same_shape(want: &Value, got: &Value) {
    compare("$", want, got);
}

fn compare(at: &str, want: &Value, got: &Value) {
    match (want, got) {
        (Value::Null, _) => {}
        (Value::Object(want), Value::Object(got)) => {
            let keys =
                |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(keys(want), keys(got), "{at}");
            for (key, want) in want {
                compare(&format!("{at}.{key}"), want, &got[key]);
            }
        }
        (Value::Array(want), Value::Array(got)) => {
            assert!(want.is_empty() == got.is_empty(), "{at}: {got:?}");
            for (index, got) in got.iter().enumerate() {
                compare(&format!("{at}[{index}]"), want.get(index).unwrap_or(&want[0]), got);
            }
        }
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {}
        (Value::Number(want), Value::Number(got)) => {
            assert!(want.is_f64() || !got.is_f64(), "{at}: {got} is not whole");
        }
        _ => panic!("{at}: {got} is not like {want}"),
    }
}
