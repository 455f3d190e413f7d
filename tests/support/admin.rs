//! A small client for the admin API: one request a connection, JSON both ways.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpSocket, UnixStream};

use super::net::Place;

/// The longest that any call may take: a token refresh waits up to 30 s.
const LIMIT: Duration = Duration::from_secs(45);

/// Where an admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAt {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// A client of one admin API.
#[derive(Clone, Debug)]
pub(crate) struct AdminClient {
    place: Place,
    at: AdminAt,
    token: Option<String>,
}

/// A status and the body: JSON, or a string with the text if it is not JSON, or null if there was none.
pub(crate) type Answer = (u16, Value);

impl AdminClient {
    /// One that shows no token.
    pub(crate) fn anonymous(place: &Place, at: AdminAt) -> Self {
        Self { place: place.clone(), at, token: None }
    }

    /// One that shows the token in a file.
    pub(crate) fn with_token_file(place: &Place, at: AdminAt, file: &Path) -> Self {
        let token = std::fs::read_to_string(file).unwrap_or_else(|err| panic!("no token in {}: {err}", file.display()));
        Self::anonymous(place, at).with_token(token.trim())
    }

    /// This one, showing another token.
    #[must_use]
    pub(crate) fn with_token(mut self, token: impl Display) -> Self {
        self.token = Some(token.to_string());
        self
    }

    /// `GET`
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    /// `POST`
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    /// `PUT`
    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(body))
    }

    /// `PATCH`
    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, Some(body))
    }

    /// `DELETE`
    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None)
    }

    /// Any call; panics if there is no answer.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_call(method, path, body).unwrap_or_else(|err| panic!("{method} {path}: {err}"))
    }

    /// Any call. Blocks while it runs in the gateway's namespace, so a broker that the answer needs has to run
    /// elsewhere than on this thread.
    pub(crate) fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        self.place.run(|| self.request(method, path, body))
    }

    /// Any call, from a task that runs in the right namespace already.
    pub(crate) async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        match tokio::time::timeout(LIMIT, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LIMIT:?}"))),
        }
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        match &self.at {
            AdminAt::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                let stream = socket.connect(*address).await?;
                self.exchange_over(TokioIo::new(stream), &address.to_string(), method, path, body).await
            }
            AdminAt::Unix(socket) => {
                let stream = UnixStream::connect(socket).await?;
                self.exchange_over(TokioIo::new(stream), "localhost", method, path, body).await
            }
        }
    }

    async fn exchange_over<S>(
        &self,
        stream: S,
        host: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<Answer>
    where
        S: Read + Write + Unpin,
    {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;

        let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        // The connection is driven beside the exchange and not waited for after it: a server that keeps it open
        // would keep us too.
        tokio::pin!(answer);
        let (status, bytes) = tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
        .map_err(io::Error::other)?;
        Ok((status, value_of(&bytes)))
    }
}

fn value_of(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
