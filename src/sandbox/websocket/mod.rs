//! The broker's WebSockets: the handshake, and the life of a socket.
//!
//! A dead token is not refused at the handshake: the upgrade is accepted and the
//! TCP connection reset some milliseconds later, without a Close. Measured, and
//! the reason why a gateway cannot take an open socket for a live token.

mod feed;
mod frames;
mod socket;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::time::{Instant, interval_at};

use crate::domain::ClientId;

use super::Inner;
use super::api::query_value;
use super::reply::{self, Reply};
use super::stream::{host, name_only};
use super::tokens::{Consumer, TokenState};
use super::trouble::{self, StreamFault, StreamHost as Kind};
use super::world::{Event, OpenSocket, World};

use feed::Feed;
use frames::Opcode;
use socket::{Gone, Message, Socket};

/// How often the broker pings, and how often it repeats a price.
const PING: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(1);
/// How long a socket may be silent.
const SILENCE: Duration = Duration::from_secs(40);
/// How long after a dead token the connection is reset; measured on order updates.
const RESET_AFTER: Duration = Duration::from_millis(10);
/// How long the login frame may take. [C]
const LOGIN: Duration = Duration::from_secs(30);

/// What some brokers say to keep a socket alive; here where a test wants it.
const HEARTBEAT: &[u8] = b"heartbeat";

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const PROTOCOL: u16 = 1002;

/// Which of the broker's sockets a request is for.
fn kind_of(host: &str, path: &str) -> Option<Kind> {
    match (host.split('.').next()?, path) {
        ("api-order-update", "/" | "") => Some(Kind::OrderUpdate),
        ("api-feed", "/" | "") => Some(Kind::Feed),
        ("depth-api-feed", "/twentydepth") => Some(Kind::Depth20),
        // Documents and SDK disagree; both are taken.
        ("full-depth-api", "/" | "" | "/twohundreddepth") => Some(Kind::Depth200),
        _ => None,
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Does a request ask for a WebSocket?
pub(super) fn wanted<B>(request: &Request<B>) -> bool {
    is_upgrade(request.headers())
}

/// Accept the handshake (RFC 6455, section 4.2) and serve the socket.
pub(super) fn accept(
    inner: &Arc<Inner>,
    parts: &http::request::Parts,
    upgrade: OnUpgrade,
    sequence: u64,
) -> Response<Full<Bytes>> {
    let refuse = |reply: Reply| {
        let status = reply.status.as_u16();
        inner.world().seen.update(sequence, |seen| seen.status = Some(status));
        reply.into_response()
    };
    let named = host(parts).map(name_only).unwrap_or_default();
    let (path, now) = (parts.uri.path(), inner.world().now());
    let Some(kind) = kind_of(named, path) else { return refuse(reply::not_found(path, now)) };
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let (Some(key), Some(b"13")) = (key, version) else { return refuse(Reply::empty(StatusCode::BAD_REQUEST)) };
    let Ok(accepted) = HeaderValue::from_str(&accept_key(key.as_bytes())) else {
        return refuse(Reply::empty(StatusCode::BAD_REQUEST));
    };
    let query = parts.uri.query().unwrap_or_default();
    let login = Login {
        token: query_value(query, "token").unwrap_or_default().to_owned(),
        client_id: query_value(query, "clientId").unwrap_or_default().to_owned(),
    };
    let login = (query_value(query, "authType") == Some("2") && kind != Kind::OrderUpdate).then_some(login);
    if let Some(login) = &login {
        // Now, as all of it has come: its client may be gone before the socket is begun.
        note(&mut inner.world(), sequence, login);
    }
    let visit = Visit { inner: Arc::clone(inner), kind, sequence };
    inner.tasks.spawn(async move {
        let stop = visit.inner.tasks.clone();
        tokio::select! {
            upgraded = upgrade => {
                if let Some(socket) = upgraded.ok().and_then(Socket::new) {
                    visit.serve(socket, login).await;
                }
            }
            // A handshake whose client left resolves by itself; this is for the rest.
            () = stop.stopping() => {}
        }
    });
    let mut response = Reply::empty(StatusCode::SWITCHING_PROTOCOLS).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    inner.world().seen.update(sequence, |seen| seen.status = Some(101));
    response
}

/// `Sec-WebSocket-Accept` for a key: RFC 6455, section 1.3.
fn accept_key(key: &[u8]) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finish().as_ref())
}

/// Who a socket says it is.
struct Login {
    token: String,
    client_id: String,
}

/// Record who a socket says it is, and whose live token that is.
fn note(world: &mut World, sequence: u64, login: &Login) -> Option<ClientId> {
    let account = match world.account_of(&login.token, world.now()) {
        TokenState::Live(client_id) => Some(client_id),
        TokenState::Dead | TokenState::Expired => None,
    };
    world.seen.update(sequence, |seen| {
        seen.token = Some(login.token.clone());
        seen.client_id_header = Some(login.client_id.clone());
        // Whose it was when it came, also where it has died since.
        seen.account = seen.account.take().or_else(|| account.clone());
    });
    account
}

/// One WebSocket's life.
struct Visit {
    inner: Arc<Inner>,
    kind: Kind,
    sequence: u64,
}

impl Visit {
    /// `query` is the login of the query, if one is there and says that it is.
    async fn serve(self, mut socket: Socket, query: Option<Login>) {
        let login = match self.kind {
            Kind::OrderUpdate => self.login_frame(&mut socket).await,
            Kind::Feed | Kind::Depth20 | Kind::Depth200 => query,
        };
        let admitted = login.and_then(|login| self.admit(login));
        let Some((token, events)) = admitted else {
            tokio::time::sleep(RESET_AFTER).await;
            if self.kind == Kind::OrderUpdate && self.inner.world().desk.habits.login_refusal_packet {
                let _gone = socket.send(Opcode::Binary, &trouble::disconnect(self.kind, 809)).await;
                let _gone = socket.close(NORMAL).await;
                return;
            }
            return socket.reset();
        };
        let _open = Open { inner: Arc::clone(&self.inner), sequence: self.sequence };
        let session = Session {
            feed: (self.kind != Kind::OrderUpdate).then(|| Feed::new(self.kind)),
            token,
            events,
            heard: Instant::now(),
        };
        // What ended it is known to the client; nobody here needs it.
        let _ended = self.converse(&mut socket, session).await;
    }

    /// The first frame of an order-update socket.
    async fn login_frame(&self, socket: &mut Socket) -> Option<Login> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Frame {
            login_req: Request,
            user_type: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            msg_code: u32,
            client_id: String,
            token: String,
        }
        let by = Instant::now() + LOGIN;
        let text = loop {
            let message = {
                let mut next = pin!(tokio::time::timeout_at(by, socket.next()));
                tokio::select! {
                    message = next.as_mut() => message.ok()?.ok()?,
                    () = self.inner.tasks.stopping() => return None,
                }
            };
            match message {
                Message::Text(text) => break text,
                // A ping is answered whenever it comes (RFC 6455 section 5.5.2).
                Message::Ping(payload) => socket.send(Opcode::Pong, &payload).await.ok()?,
                Message::Pong => {}
                Message::Binary | Message::Close => return None,
            }
        };
        let frame: Frame = serde_json::from_slice(&text).ok()?;
        let login = Login { token: frame.login_req.token, client_id: frame.login_req.client_id };
        (frame.login_req.msg_code == 42 && frame.user_type == "SELF").then_some(login)
    }

    /// Note who it is, and hear the account's events if the token is live and the
    /// client id the token's.
    fn admit(&self, login: Login) -> Option<(String, broadcast::Receiver<Event>)> {
        let mut world = self.inner.world();
        let socket = OpenSocket { sequence: self.sequence, kind: self.kind };
        let account = note(&mut world, self.sequence, &login);
        let ledger = account.as_ref().and_then(|client_id| world.ledger(client_id));
        // Measured: 200 levels are for tokens of the web page only.
        let web = ledger.and_then(|l| l.token.as_ref()).is_some_and(|token| token.consumer == Consumer::Web);
        let refused = self.kind == Kind::Depth200 && !web
            || account.as_ref().map(ClientId::as_str) != Some(login.client_id.as_str());
        let events = ledger.filter(|_| !refused).map(|ledger| ledger.events.subscribe());
        if let Some(ledger) = account.as_ref().filter(|_| !refused).and_then(|id| world.ledger_mut(id)) {
            ledger.let_in(socket);
        }
        Some((login.token, events?))
    }

    async fn converse(&self, socket: &mut Socket, mut session: Session) -> std::io::Result<()> {
        let mut ping = interval_at(Instant::now() + PING, PING);
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        let (life, texts) = {
            let habits = &self.inner.world().desk.habits;
            (habits.socket_life_ms, habits.socket_text_ms)
        };
        let mut life = pin!(after(life));
        let every = Duration::from_millis(texts.unwrap_or(u64::from(u32::MAX)).max(1));
        let mut text = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Ok(message) => if session.hear(socket, message).await? == Then::End { return Ok(()) },
                    Err(Gone::Malformed) => return socket.close(PROTOCOL).await,
                    Err(Gone::Closed) => return Ok(()),
                },
                event = session.events.recv() => match event {
                    Ok(Event::Order(text)) if self.kind == Kind::OrderUpdate => {
                        socket.send(Opcode::Text, text.as_bytes()).await?;
                    }
                    Ok(Event::TokenDied(token)) if token == session.token => {
                        if !self.inner.world().desk.habits.sockets_outlive_token {
                            socket.reset_when_dropped();
                            return Ok(());
                        }
                    }
                    Ok(Event::Befalls(whom, fault)) if whom.contains(&self.sequence) => {
                        if self.suffer(socket, fault).await? == Then::End {
                            return Ok(());
                        }
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                _ = ping.tick() => {
                    if session.heard.elapsed() > SILENCE {
                        return socket.close(NORMAL).await;
                    }
                    socket.send(Opcode::Ping, b"").await?;
                }
                _ = tick.tick() => for packet in session.packets() {
                    socket.send(Opcode::Binary, &packet).await?;
                },
                _ = text.tick() => socket.send(Opcode::Text, HEARTBEAT).await?,
                () = life.as_mut() => {
                    socket.reset_when_dropped();
                    return Ok(());
                }
                () = self.inner.tasks.stopping() => return socket.close(GOING_AWAY).await,
            }
        }
    }

    /// What befalls it befalls it now.
    async fn suffer(&self, socket: &mut Socket, fault: StreamFault) -> std::io::Result<Then> {
        match fault {
            StreamFault::Text => {
                socket.send(Opcode::Text, HEARTBEAT).await?;
                return Ok(Then::GoOn);
            }
            StreamFault::Disconnect { reason } => {
                socket.send(Opcode::Binary, &trouble::disconnect(self.kind, reason)).await?;
                socket.shut_down().await?;
            }
            // Longer than anybody may wait for a word.
            StreamFault::Silence => tokio::select! {
                () = tokio::time::sleep(SILENCE * 2) => {}
                () = self.inner.tasks.stopping() => {}
            },
            StreamFault::Reset => socket.reset_when_dropped(),
            StreamFault::Close { code } => socket.close(code).await?,
        }
        Ok(Then::End)
    }
}

/// Resolves after so many milliseconds, if it is so many.
async fn after(milliseconds: Option<u64>) {
    match milliseconds {
        Some(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        None => std::future::pending().await,
    }
}

/// A socket that is let in, until it ends.
struct Open {
    inner: Arc<Inner>,
    sequence: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut world = self.inner.world();
        let owner = world.ledgers().find(|ledger| ledger.sockets.iter().any(|open| open.sequence == self.sequence));
        if let Some(id) = owner.map(|ledger| ledger.account.client_id.clone())
            && let Some(ledger) = world.ledger_mut(&id)
        {
            ledger.gone(self.sequence);
        }
    }
}

/// What a socket is about, once it is let in.
struct Session {
    token: String,
    events: broadcast::Receiver<Event>,
    heard: Instant,
    feed: Option<Feed>,
}

#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

impl Session {
    async fn hear(&mut self, socket: &mut Socket, message: Message) -> std::io::Result<Then> {
        self.heard = Instant::now();
        match message {
            Message::Text(text) => {
                let Some(feed) = &mut self.feed else { return Ok(Then::GoOn) };
                match feed.subscribe(&text, Timestamp::now()) {
                    Some(packets) => {
                        for packet in packets {
                            socket.send(Opcode::Binary, &packet).await?;
                        }
                    }
                    None => {
                        socket.close(NORMAL).await?;
                        return Ok(Then::End);
                    }
                }
            }
            // The SDK sends one of the old binary protocol's packets as it leaves.
            Message::Binary | Message::Pong => {}
            Message::Ping(payload) => socket.send(Opcode::Pong, &payload).await?,
            Message::Close => {
                socket.close(NORMAL).await?;
                return Ok(Then::End);
            }
        }
        Ok(Then::GoOn)
    }

    fn packets(&self) -> Vec<Bytes> {
        self.feed.as_ref().map(|feed| feed.packets(Timestamp::now())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The RFC's own example; any other value and every client hangs up.
    #[test]
    fn the_handshake_answers_as_the_rfc_says() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
