//! A client of the admin API that believes nothing: every reply is kept and held against `/openapi.json`.
//!
//! It speaks HTTP by hand, so that a test can send what no library would, and so that it sees headers.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::schema;

const LIMIT: Duration = Duration::from_secs(30);

/// A loopback address of this test's own, so that tests which run at the same time do not meet.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Where the API listens.
#[derive(Clone, Debug)]
pub(crate) enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl At {
    /// What `Host` has to say.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// One reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    /// Head and body as they came.
    pub raw: String,
    pub body: Value,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.raw.split("\r\n\r\n").next()?;
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// A member of the body, as text.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Panics unless this is the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.raw);
        self
    }

    /// Panics unless this is a 422 that names the field.
    #[track_caller]
    pub(crate) fn names(self, field: &str) -> Self {
        assert_eq!((self.status, self.text("/field")), (422, field), "{}", self.raw);
        assert!(self.text("/detail").starts_with(field), "{}", self.raw);
        self
    }
}

/// A client. Clones share what was seen.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    at: At,
    token: Option<String>,
    document: Arc<Value>,
    /// Every reply, for searching.
    pub seen: Arc<Mutex<Vec<Reply>>>,
    /// Method, path of the document and status of every call.
    pub covered: Arc<Mutex<BTreeSet<(String, String, u16)>>>,
}

impl Api {
    /// The API at `at`, showing the token of `file`.
    pub(crate) fn new(at: At, file: &Path) -> Self {
        let token = std::fs::read_to_string(file).unwrap().trim().to_owned();
        let mut api = Self {
            at,
            token: Some(token),
            document: Arc::new(Value::Null),
            seen: Arc::default(),
            covered: Arc::default(),
        };
        api.document = Arc::new(api.raw("GET", "/openapi.json", &[], b"").unwrap().is(200).body);
        api
    }

    /// This one, showing another token or none.
    pub(crate) fn showing(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: Value) -> Reply {
        self.call("PUT", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: Value) -> Reply {
        self.call("PATCH", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path, None)
    }

    /// A call; its reply must be one that the document has.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let reply = self.raw(method, path, &[("content-type", "application/json")], text.as_bytes());
        let reply = reply.unwrap_or_else(|err| panic!("{method} {path}: {err}"));
        self.check(method, path, &reply);
        reply
    }

    /// A call as it is told. `Host` and the token are added unless `headers` has them.
    pub(crate) fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let reply = read_reply(self.send(method, path, headers, body)?)?;
        self.seen.lock().unwrap().push(reply.clone());
        Ok(reply)
    }

    /// Only the sending half.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Stream> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("host") {
            head.push_str(&format!("host: {}\r\n", self.at.host()));
        }
        if let Some(token) = self.token.as_ref().filter(|_| !has("authorization")) {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = connect(&self.at)?;
        // A server that refuses a long body stops reading; its reply is what counts.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        Ok(stream)
    }

    #[track_caller]
    fn check(&self, method: &str, path: &str, reply: &Reply) {
        let path = path.split('?').next().unwrap_or_default();
        let template = schema::template(&self.document, path).unwrap_or_else(|| panic!("{path} is not documented"));
        let key = (method.to_owned(), template.clone(), reply.status);
        if let Err(why) = schema::check(&self.document, method, &template, reply) {
            panic!("{method} {template} answered what /openapi.json does not have: {why}\n{}", reply.raw);
        }
        self.covered.lock().unwrap().insert(key);
    }
}

/// A connection of either kind.
pub(crate) trait Connection: Read + Write + Send + std::fmt::Debug {}
impl<T: Read + Write + Send + std::fmt::Debug> Connection for T {}
pub(crate) type Stream = Box<dyn Connection>;

#[expect(clippy::disallowed_methods, reason = "a test's client has no account's address to leave from")]
pub(crate) fn connect(at: &At) -> io::Result<Stream> {
    match at {
        At::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(LIMIT))?;
            Ok(Box::new(stream))
        }
        At::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(LIMIT))?;
            Ok(Box::new(stream))
        }
    }
}

pub(crate) fn read_reply(mut stream: Stream) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // After a refusal of a body that was not read to its end.
        Err(err) if err.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => {}
        done => drop(done?),
    }
    let raw = String::from_utf8_lossy(&bytes).into_owned();
    let status = raw.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no reply: {raw:?}")))?;
    let body = raw.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap_or_else(|_| json!(body)) };
    Ok(Reply { status, raw, body })
}

/// A token as the broker makes them.
pub(crate) fn token(client_id: &str, seconds_left: i64) -> String {
    let exp = jiff::Timestamp::now().as_second() + seconds_left;
    let claims = json!({ "iss": "dhan", "exp": exp, "tokenConsumerType": "SELF", "dhanClientId": client_id });
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.{}", part(r#"{"typ":"JWT","alg":"HS512"}"#), part(&claims.to_string()), part(&"s".repeat(64)))
}
