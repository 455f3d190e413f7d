//! An order engine: it sends writes through the gateway, and remembers what it was told.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_util::task::AbortOnDropHandle;

use sixgate::domain::tasks::Tasks;

use super::caller::{basic, request};
use super::world::TestAccount;

/// The broker's host.
pub(crate) const HOST: &str = "api.dhan.co";

/// A request of an engine.
#[derive(Clone, Debug)]
pub(crate) struct OrderRequest {
    pub method: &'static str,
    pub path: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    pub body: Option<String>,
    /// Does it say `Accept-Encoding: gzip`, as most HTTP libraries do by themselves?
    pub asks_gzip: bool,
}

/// What the gateway answered.
#[derive(Clone, Debug)]
pub(crate) struct OrderAnswer {
    pub status: u16,
    /// `sixgate-outcome`; empty for reads.
    pub outcome: String,
    pub leg: String,
    pub recovered: bool,
    pub body: Bytes,
}

impl OrderAnswer {
    /// The body, or null.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The order that it names.
    pub(crate) fn order_id(&self) -> String {
        let json = self.json();
        let one = json.get(0).or_else(|| json.get("orders")?.get(0)).unwrap_or(&json);
        one.get("orderId").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The gateway's own word for what is wrong.
    pub(crate) fn code(&self) -> String {
        self.json().get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl OrderRequest {
    pub(crate) fn new(method: &'static str, path: impl Into<String>, body: Option<String>) -> Self {
        Self { method, path: path.into(), key: None, body, asks_gzip: false }
    }

    /// A limit order that waits in the book.
    pub(crate) fn place(correlation_id: Option<&str>, price: f64) -> Self {
        Self::new("POST", "/v2/orders", Some(order(correlation_id, 1, price, "")))
    }

    /// One that is split in two.
    pub(crate) fn slicing(correlation_id: Option<&str>, price: f64) -> Self {
        Self::new("POST", "/v2/orders/slicing", Some(order(correlation_id, 4, price, "")))
    }

    /// One with a target and a stop loss.
    pub(crate) fn super_order(correlation_id: Option<&str>, price: f64) -> Self {
        let legs = r#","targetPrice":4000.0,"stopLossPrice":2000.0,"trailingJump":1.0"#;
        Self::new("POST", "/v2/super/orders", Some(order(correlation_id, 1, price, legs)))
    }

    /// Two orders at once, each under an id of its own: the id with `x1` and `x2` behind it.
    pub(crate) fn multi(id: &str, price: f64) -> Self {
        let one = |n: u32| {
            let more = format!(r#","sequence":"{n}""#);
            order(Some(&format!("{id}x{n}")), n, price, &more)
        };
        Self::new("POST", "/v2/alerts/multi/orders", Some(format!(r#"{{"orders":[{},{}]}}"#, one(1), one(2))))
    }

    /// One that waits for its trigger. The broker's list shows no id of it: the price has to tell it from others.
    pub(crate) fn forever(correlation_id: Option<&str>, price: f64) -> Self {
        let more = format!(r#","orderFlag":"SINGLE","triggerPrice":{price:.2}"#);
        Self::new("POST", "/v2/forever/orders", Some(order(correlation_id, 1, price, &more)))
    }

    pub(crate) fn modify(order_id: &str, price: f64) -> Self {
        let body = format!(
            r#"{{"orderId":"{order_id}","orderType":"LIMIT","legName":"","quantity":1,"price":{price:.2},"disclosedQuantity":0,"triggerPrice":0,"validity":"DAY"}}"#
        );
        Self::new("PUT", format!("/v2/orders/{order_id}"), Some(body))
    }

    pub(crate) fn cancel(order_id: &str) -> Self {
        Self::new("DELETE", format!("/v2/orders/{order_id}"), None)
    }

    pub(crate) fn read() -> Self {
        Self::new("GET", "/v2/orders", None)
    }

    #[must_use]
    pub(crate) fn under(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Send it as `trader`, on a connection of its own. `None` when no whole answer came.
    pub(crate) async fn send(&self, at: SocketAddr, trader: &TestAccount) -> Option<OrderAnswer> {
        let socket = if at.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
        let stream = socket.ok()?.connect(at).await.ok()?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.ok()?;
        // Ended with this future too, as a caller's connection is who gives up.
        let _connection = AbortOnDropHandle::new(Tasks::default().spawn(connection));
        let auth = basic(&trader.name, &trader.key);
        let mut headers = vec![("proxy-authorization", auth.as_str())];
        headers.extend(self.key.as_deref().map(|key| ("idempotency-key", key)));
        headers.extend(self.asks_gzip.then_some(("accept-encoding", "gzip")));
        let target = format!("http://{HOST}{}", self.path);
        let reply = sender.send_request(request(self.method, &target, HOST, &headers, self.body.as_deref())).await;
        let (parts, body) = reply.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        Some(OrderAnswer {
            status: parts.status.as_u16(),
            outcome: header("sixgate-outcome").to_owned(),
            leg: header("sixgate-leg").to_owned(),
            recovered: header("sixgate-recovered") == "true",
            body,
        })
    }
}

fn order(correlation_id: Option<&str>, quantity: u32, price: f64, more: &str) -> String {
    let id = correlation_id.map(|id| format!(r#""correlationId":"{id}","#)).unwrap_or_default();
    format!(
        r#"{{{id}"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":{quantity},"price":{price:.2}{more}}}"#
    )
}
