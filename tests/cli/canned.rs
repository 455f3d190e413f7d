//! A server that answers as it was told, and keeps what it was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What it was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `GET /v1/accounts`
    pub line: String,
    /// In lower case, a line each.
    pub head: String,
    pub body: Value,
}

/// What it answers: status, content type and body.
#[derive(Clone, Debug)]
pub(super) struct Reply(pub u16, pub &'static str, pub String);

impl Reply {
    pub(super) fn json(body: &Value) -> Self {
        Self(200, "application/json", body.to_string())
    }
}

pub(super) struct Canned {
    pub at: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Canned {
    /// `answer` gets what stands in [`Asked::line`]; without an answer it hangs up.
    pub(super) fn start(answer: impl Fn(&str) -> Option<Reply> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = Arc::clone(&asked);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(one) = read(&mut stream) else { continue };
                let reply = answer(&one.line);
                kept.lock().unwrap().push(one);
                let Some(Reply(status, kind, body)) = reply else { continue };
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nlocation: http://{at}/elsewhere\r\n\
                     connection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { at, asked }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What it was asked since the last look.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut more = [0; 4096];
        let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let line = head.lines().next()?.rsplit_once(' ')?.0.to_owned();
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let mut more = [0; 4096];
        let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&more[..count]);
    }
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some(Asked { line, head, body })
}
