//! The market feed and order updates with tungstenite, which knows no proxy, both with a placeholder for a token.
//!
//! One JSON line a step: `ticker`, `pong`, `place`, `alert`; it panics if one is missing. tungstenite finds the
//! authorities to trust by `SSL_CERT_FILE`.
//!
//! ```text
//! tungstenite_updates [ws://127.0.0.1:8080/ws]
//! ```

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a program of somebody else's: it connects as they do, and ends by panicking when it cannot go on"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::http::Uri;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

const FEED: &str = "wss://api-feed.dhan.co";
const UPDATES: &str = "wss://api-order-update.dhan.co";
const QUERY: &str = "/?version=2&token=placeholder&clientId=0&authType=2";
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

fn say(step: &str, what: &Value) {
    println!("{}", json!({ "step": step, "what": what }));
}

/// What a client key is shown as, where a URL has one: neither tungstenite nor HTTP written by hand does it.
fn authorization(uri: &Uri) -> Option<String> {
    let (account_and_key, _) = uri.authority()?.as_str().rsplit_once('@')?;
    Some(format!("Basic {}", data_encoding::BASE64.encode(account_and_key.as_bytes())))
}

fn connect(url: &str) -> Socket {
    let uri: Uri = url.parse().expect("a URL");
    let shown = authorization(&uri);
    let mut request = ClientRequestBuilder::new(uri);
    if let Some(shown) = shown {
        request = request.with_header("Authorization", shown);
    }
    let (socket, _) = tungstenite::connect(request).unwrap_or_else(|err| panic!("{url}: {err}"));
    let tcp = match socket.get_ref() {
        MaybeTlsStream::Plain(tcp) => tcp,
        MaybeTlsStream::Rustls(tls) => tls.get_ref(),
        _ => panic!("a stream that was not asked for"),
    };
    tcp.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

/// The next message that is no ping; tungstenite answers those.
fn next(socket: &mut Socket) -> Message {
    loop {
        match socket.read().expect("a message") {
            Message::Ping(_) => {}
            other @ (Message::Text(_)
            | Message::Binary(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => {
                return other;
            }
        }
    }
}

/// An order over plain HTTP: to the API's host, or to a base URL's.
fn place(base: Option<&Uri>) -> Value {
    let at = base.and_then(|uri| Some(format!("{}:{}", uri.host()?, uri.port_u16()?)));
    let at = at.unwrap_or_else(|| "api.dhan.co:80".to_owned());
    let host = at.trim_end_matches(":80");
    let shown = base.and_then(authorization).map(|shown| format!("Authorization: {shown}\r\n")).unwrap_or_default();
    let body = json!({
        "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
        "validity": "DAY", "securityId": "11536", "quantity": 5, "price": 3310.5,
    })
    .to_string();
    let mut stream = TcpStream::connect(&at).unwrap_or_else(|err| panic!("{at}: {err}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    write!(
        stream,
        "POST /v2/orders HTTP/1.1\r\nHost: {host}\r\n{shown}Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("an order sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a whole reply");
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let (_, body) = reply.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

fn main() {
    let base = std::env::args().nth(1);
    let url = |name: &str, host: &str| base.as_ref().map_or(host.to_owned(), |base| format!("{base}/{name}"));

    let mut feed = connect(&format!("{}{QUERY}", url("feed", FEED)));
    let one = json!({ "ExchangeSegment": "NSE_EQ", "SecurityId": "11536" });
    let subscribe = json!({ "RequestCode": 15, "InstrumentCount": 1, "InstrumentList": [one] });
    feed.send(Message::text(subscribe.to_string())).expect("subscribed");
    let packet = next(&mut feed).into_data();
    let security_id = packet.get(4..8).and_then(|id| id.try_into().ok()).map(u32::from_le_bytes);
    say("ticker", &json!({ "code": packet.first(), "securityId": security_id }));
    feed.close(None).expect("a Close");

    let mut updates = connect(&url("order-update", UPDATES));
    let login = json!({ "LoginReq": { "MsgCode": 42, "ClientId": "0", "Token": "placeholder" }, "UserType": "SELF" });
    updates.send(Message::text(login.to_string())).expect("logged in");
    // Not acknowledged: an answer to a ping shows that the login was read.
    updates.send(Message::Ping("read?".into())).expect("a ping");
    say("pong", &json!(next(&mut updates).into_text().expect("text").as_str()));
    let placed = place(base.as_ref().map(|base| base.parse().expect("a URL")).as_ref());
    say("place", &placed);
    let alert = next(&mut updates).into_text().expect("text");
    let alert: Value = serde_json::from_str(&alert).expect("JSON");
    say("alert", alert.pointer("/Data/orderNo").unwrap_or(&Value::Null));
}
