//! A caller's WebSocket: opened at the broker for it alone, or joined to a feed that callers share.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode, header};

use super::Proxy;
use super::admission::credentials_of;
use super::destination::Target;
use super::exchange::{Exchange, Handled, Inbound, Upgrade};
use super::tunnel::TunnelLifetime;
use super::websocket;
use crate::broker::dhan::streams::StreamKind;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::dispatch::{self, legs, live, sign};
use crate::domain::StreamsMode;
use crate::telemetry::stream_reporter::StreamReporter;
use crate::telemetry::streams::StreamOwner;

impl Proxy {
    /// By what the caller of a WebSocket was admitted, to be asked again.
    fn admitted(&self, exchange: &Exchange<'_>, by: websocket::By) -> websocket::Admitted {
        websocket::Admitted {
            accounts: Arc::clone(&self.accounts),
            by,
            client_id: exchange.account.client_id().clone(),
            tasks: self.tasks.clone(),
        }
    }

    pub(super) async fn websocket(
        &self,
        exchange: &mut Exchange<'_>,
        kind: StreamKind,
        (inbound, target): (Inbound, Target),
        reporter: StreamReporter,
    ) -> Result<Handled, StreamRefused> {
        let mode = exchange.account.record.streams;
        // A subprotocol would be its first caller's.
        let is_shared = mode == StreamsMode::Share
            && kind == StreamKind::Feed
            && !inbound.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
        if is_shared {
            return Box::pin(self.shared_feed(exchange, (inbound, target), reporter)).await;
        }
        let admitted = mode.reconnects().then(|| {
            let shown = match exchange.tunnel {
                Some(tunnel) => Arc::clone(&tunnel.admitted_by),
                None => Arc::new(credentials_of(&inbound.headers)),
            };
            let listener = Box::new(exchange.listener.clone());
            self.admitted(exchange, websocket::By::Caller { listener, shown, form: inbound.form })
        });
        match self.open(exchange, kind, (inbound, target), reporter, admitted).await? {
            Opened::Refused(reply) => Ok(Handled::Reply(reply)),
            Opened::Socket(reply, relay, until) => Ok(upgrade(reply, websocket::Accepted::Alone(relay), *until)),
        }
    }

    /// A caller of a feed whose sockets all callers of the account share. The first one opens it.
    async fn shared_feed(
        &self,
        exchange: &mut Exchange<'_>,
        (inbound, target): (Inbound, Target),
        reporter: StreamReporter,
    ) -> Result<Handled, StreamRefused> {
        let kind = StreamKind::Feed;
        websocket::Handshake::of(&inbound.method, &inbound.headers, kind, true)?;
        let replaced = exchange.account.replaced().clone();
        let accept = inbound.headers.get(header::SEC_WEBSOCKET_KEY).map(|key| websocket::accepted(key.as_bytes()));
        let account = exchange.account;
        let until = TunnelLifetime::of(account, legs(account)?, exchange.listener, &self.tasks);
        let feed = websocket::FeedId {
            account: account.name.clone(),
            client_id: account.client_id().clone(),
            host: target.authority.clone(),
            path: target.path.path().to_owned(),
            query: sign::unsigned(&target.path).collect::<Vec<_>>().join("&"),
        };
        let by = inbound.arrival.at + exchange.settings.timing.read_timeout;
        let entrance = tokio::select! {
            entrance = self.shared_feeds.enter(feed) => entrance,
            () = inbound.arrival.gone.cancelled() => return Err(not_opened("the caller is gone").into()),
            () = tokio::time::sleep_until(by) => {
                return Err(not_opened("another caller of the feed still waits for the broker's answer").into());
            }
        };
        // What was waited for took its time: whose it is, and by which addresses, may have been changed since.
        if replaced.is_cancelled() || !exchange.listener.is_current() {
            return Err(not_opened("the account or the listener was changed meanwhile; connect again").into());
        }
        let owner = self.stream_owner(exchange, kind);
        if let Some(seat) = entrance.join() {
            let reply = websocket::switching(accept.as_deref());
            return Ok(upgrade(reply, websocket::Accepted::Shared(seat, owner, reporter), until));
        }
        let admitted = self.admitted(exchange, websocket::By::Account);
        match self.open(exchange, kind, (inbound, target), reporter.clone(), Some(admitted)).await? {
            Opened::Refused(reply) => Ok(Handled::Reply(reply)),
            Opened::Socket(reply, relay, sockets_own) => {
                let accepted = match entrance.open(*relay, *sockets_own, &self.tasks) {
                    Ok(seat) => websocket::Accepted::Shared(seat, owner, reporter),
                    Err(alone) => websocket::Accepted::Alone(alone),
                };
                Ok(upgrade(reply, accepted, until))
            }
        }
    }

    fn stream_owner(&self, exchange: &Exchange<'_>, kind: StreamKind) -> StreamOwner {
        StreamOwner {
            request_id: Arc::clone(exchange.record.request_id()),
            account: exchange.account.name.clone(),
            kind: kind.as_str(),
            leg: None,
            source: None,
        }
    }

    /// Open a socket of the broker's. It is opened again, where that is admitted.
    async fn open(
        &self,
        exchange: &mut Exchange<'_>,
        kind: StreamKind,
        (inbound, target): (Inbound, Target),
        reporter: StreamReporter,
        admitted: Option<websocket::Admitted>,
    ) -> Result<Opened, StreamRefused> {
        let account = exchange.account;
        let handshake = websocket::Handshake::of(&inbound.method, &inbound.headers, kind, admitted.is_some())?;
        let legs = legs(account)?;
        // Of callers who share one that they have just closed may still be on its way out.
        let patience = match &admitted {
            Some(websocket::Admitted { by: websocket::By::Account, .. }) => websocket::PLACE_WITHIN,
            Some(_) | None => Duration::ZERO,
        };
        let entered = self.streams.enter(account.client_id(), kind, patience).await;
        let place = entered.map_err(|(why, problem)| StreamRefused { why: why.as_str(), problem })?;
        let by = tokio::time::Instant::now() + exchange.settings.timing.read_timeout;
        let token = live(account, by).await?;
        let watch = websocket::watch(account, &token);
        let mut out = inbound.into_upstream(target);
        dispatch::for_broker(&mut out.headers);
        handshake.request(&mut out.headers);
        let mut owner = self.stream_owner(exchange, kind);
        let mut until = match &admitted {
            Some(admitted) => admitted.lifetime(account, legs),
            None => TunnelLifetime::of(account, legs, exchange.listener, &self.tasks),
        };
        let mut again = admitted.map(|admitted| {
            Box::new(websocket::Reopener::new(admitted, &self.streams, &out, (owner.clone(), reporter.clone()), kind))
        });
        let login = websocket::signed(&mut out, kind, account, &token)?;
        // A place and a token were waited for: the pair may have been taken away since, and be another's.
        if legs.ended().is_cancelled() {
            return Err(not_opened("the account's addresses were changed meanwhile; connect again").into());
        }
        let reply = dispatch::send(legs, &out, &mut exchange.record).await?;
        if let Some(leg) = exchange.record.leg.map(|role| legs.leg(role)) {
            (until.leg, until.address) = (Some(leg.barred()), Some(leg.address_gone()));
        }
        if reply.status() == StatusCode::TOO_MANY_REQUESTS {
            self.streams.refused(account.client_id(), websocket::retry_after(reply.headers()));
        }
        if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
            let told = format!("the broker answered {}", reply.status());
            reporter.refused(&account.name, kind.as_str(), exchange.record.request_id(), ("broker_refused", &told));
            return Ok(Opened::Refused(reply));
        }
        let terms = websocket::Terms {
            kind,
            deflate: handshake.agreed(reply.headers())?,
            login,
            token: watch,
            patience: websocket::Patience::USUAL,
        };
        (owner.leg, owner.source) = (exchange.record.leg, exchange.record.source);
        if let Some(again) = &mut again {
            again.opened(reply.headers(), &owner);
        }
        let (reply, relay) = websocket::Relay::new(reply, terms, (owner, reporter), place)?;
        Ok(Opened::Socket(reply, Box::new(relay.reopened_by(again)), Box::new(until)))
    }
}

/// 503: what was waited for took too long, or is no longer what was admitted. Nothing was sent.
fn not_opened(why: &str) -> Problem {
    Problem::before_sending(Code::EgressUnavailable, why)
}

/// What came of a handshake with the broker.
enum Opened {
    /// Another status than 101.
    Refused(Response<Body>),
    /// The broker's 101, the socket, and until when it may go on.
    Socket(Response<()>, Box<websocket::Relay>, Box<TunnelLifetime>),
}

fn upgrade(reply: Response<()>, socket: websocket::Accepted, until: TunnelLifetime) -> Handled {
    Handled::Upgrade(reply, Box::new(Upgrade::WebSocket(socket, Box::new(until))))
}

/// Why no socket was opened: a word of its own or the problem's code, and what the caller is told.
pub(super) struct StreamRefused {
    pub(super) why: &'static str,
    pub(super) problem: Problem,
}

impl From<Problem> for StreamRefused {
    fn from(problem: Problem) -> Self {
        Self { why: problem.code.as_str(), problem }
    }
}
