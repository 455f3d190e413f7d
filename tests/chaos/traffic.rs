//! What goes on meanwhile: orders, reads and streams of many accounts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::PROBES;
use crate::support::caller::basic;
use crate::support::engine::OrderRequest;
use crate::support::world::{LISTENER, TestAccount};

/// Between two orders of one account: 900 in an hour, of which the broker takes 1,000.
const EVERY: Duration = Duration::from_secs(4);
/// Between two tries of one order.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a caller goes on repeating, and then wants to know from whoever looks into it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Accounts with a stream.
const STREAMS: usize = 6;
/// A ping that is not answered in this time is a dead stream's.
const SILENCE: Duration = Duration::from_secs(5);

/// What one order's caller knows in the end.
pub(super) struct Ended {
    /// Among all traders.
    pub account: usize,
    pub id: String,
    pub outcome: String,
    pub order_id: String,
    pub wish: OrderRequest,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    over: CancellationToken,
    pub reads: AtomicU64,
    pub streams: AtomicU64,
    pub pongs: AtomicU64,
}

impl Traffic {
    /// No new orders; those under way are seen to their end.
    pub(super) fn stop(&self) {
        self.over.cancel();
    }

    /// Stops it when it is dropped.
    pub(super) fn stopped_at_the_end(&self) -> DropGuard {
        self.over.clone().drop_guard()
    }

    /// Until it is stopped.
    pub(super) async fn run(&self, traders: &[TestAccount]) -> Vec<Ended> {
        let engines = traders.iter().enumerate().map(|(n, trader)| self.engine(n, trader));
        let streams = traders.iter().take(STREAMS).map(|trader| self.stream(trader));
        let (ended, _) = join(join_all(engines), join_all(streams)).await;
        ended.into_iter().flatten().collect()
    }

    async fn engine(&self, account: usize, trader: &TestAccount) -> Vec<Ended> {
        let mut ended = Vec::new();
        sleep(EVERY * u32::try_from(account % 40).unwrap() / 40).await;
        let mut turn = interval(EVERY);
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                () = self.over.cancelled() => return ended,
            }
            let id = format!("{}-{}", trader.name, ended.len());
            ended.push(place(account + usize::from(PROBES), trader, id).await);
            let read = timeout(SILENCE, OrderRequest::read().send(LISTENER, trader)).await;
            if let Ok(Some(told)) = read {
                self.reads.fetch_add(u64::from(told.status == 200), Ordering::Relaxed);
            }
        }
    }

    /// A feed that is opened again whenever it ends or says nothing.
    async fn stream(&self, trader: &TestAccount) {
        while !self.over.is_cancelled() {
            let _ended = self.one_stream(trader).await;
            sleep(PAUSE).await;
        }
    }

    async fn one_stream(&self, trader: &TestAccount) -> Option<()> {
        let mut stream = TcpSocket::new_v6().ok()?.connect(LISTENER).await.ok()?;
        let head = format!(
            "GET http://api-feed.dhan.co/?version=2&token=placeholder&clientId=9&authType=2 HTTP/1.1\r\n\
             Host: api-feed.dhan.co\r\nProxy-Authorization: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            basic(&trader.name, &trader.key),
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut answer = [0; 4096];
        let length = timeout(SILENCE, stream.read(&mut answer)).await.ok()?.ok()?;
        answer.get(..length)?.starts_with(b"HTTP/1.1 101").then_some(())?;
        self.streams.fetch_add(1, Ordering::Relaxed);
        let mut turn = interval(Duration::from_secs(1));
        while !self.over.is_cancelled() {
            turn.tick().await;
            // A ping without a payload, masked by nothing (RFC 6455 section 5.5.2).
            stream.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.ok()?;
            let length = timeout(SILENCE, stream.read(&mut answer)).await.ok()?.ok()?;
            answer.get(..length)?.first()?;
            self.pongs.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }
}

/// One order, repeated under its id until a word comes.
async fn place(account: usize, trader: &TestAccount, id: String) -> Ended {
    let wish = OrderRequest::place(Some(&id), 100.0);
    let began = Instant::now();
    let mut pause = interval(PAUSE);
    let (mut unknown, mut outcome, mut order_id) = (0, "not_sent".to_owned(), String::new());
    while began.elapsed() < PATIENCE {
        pause.tick().await;
        let Ok(Some(told)) = timeout(Duration::from_secs(20), wish.send(LISTENER, trader)).await else { continue };
        match told.outcome.as_str() {
            "executed" => {
                (outcome, order_id) = (told.outcome.clone(), told.order_id());
                break;
            }
            "unknown" => {
                "unknown".clone_into(&mut outcome);
                unknown += 1;
                if unknown == 3 {
                    break;
                }
            }
            // No leg, no place or no journal for the moment: an engine sends again.
            _ => {}
        }
    }
    Ended { account, id, outcome, order_id, wish }
}
