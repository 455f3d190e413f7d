//! The broker's limits for sockets: how many of a kind an account may have, how fast it may open them, and how long it
//! stays away after the broker has said 429.
//!
//! The broker ends the oldest socket of a kind for the sixth (805), so two engines would take each other's feed for
//! ever. Here it is the sixth that is refused, and told why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::dhan::streams::{SOCKETS, StreamKind};
use crate::dispatch::reply::{Code, Problem, Retry};
use crate::domain::{ClientId, lock};
use crate::telemetry::streams::{StreamMetrics, StreamRefusal};

/// Handshakes that may follow at once: an engine's start. Nobody knows the broker's limit, only that there is one.
const BURST: u32 = 5;
/// How far apart they are after that.
const APART: Duration = Duration::from_millis(250);
/// How long a handshake may wait for its moment: libraries give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the broker's 429 is heeded if it does not say.
const STAY_AWAY: Duration = Duration::from_secs(30);
/// However long it says.
const LONGEST: Duration = Duration::from_secs(600);
/// How soon a place that is waited for is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A caller that is gone without a word has freed its place by then.
const VANISHED: Duration = Duration::from_secs(40);

#[derive(Debug)]
struct Standing {
    open: [usize; StreamKind::ALL.len()],
    /// When the next handshake would have its moment, if they had come one by one: a bucket of [`BURST`].
    paced_to: Instant,
    /// Until when the broker wants no handshake.
    away_until: Option<Instant>,
}

impl Standing {
    fn new(now: Instant) -> Self {
        Self { open: [0; StreamKind::ALL.len()], paced_to: now, away_until: None }
    }

    /// Is it as if it were not there?
    fn is_idle(&self, now: Instant) -> bool {
        self.open.iter().all(|open| *open == 0) && self.paced_to <= now && self.away_until.is_none_or(|at| at <= now)
    }

    /// How long the broker still wants no handshake.
    fn stays_away(&self, now: Instant) -> Option<Duration> {
        self.away_until.and_then(|until| until.checked_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// How long the next handshake has to wait. It is counted.
    fn pace(&mut self, now: Instant) -> Result<Duration, Duration> {
        let ahead = APART * (BURST - 1);
        let next = self.paced_to.max(now);
        let wait = next.saturating_duration_since(now).saturating_sub(ahead);
        if wait > PATIENCE {
            return Err(wait);
        }
        self.paced_to = next + APART;
        Ok(wait)
    }
}

/// The sockets of all accounts, by the broker's own id: its limits are a customer's.
#[derive(Debug)]
pub(in super::super) struct StreamLimits {
    customers: Mutex<HashMap<ClientId, Standing>>,
    metrics: Arc<StreamMetrics>,
}

/// A place among an account's sockets of a kind, until it is dropped.
#[derive(Debug)]
#[must_use = "the place is free again once it is dropped"]
pub(in super::super) struct StreamPlace {
    limits: Arc<StreamLimits>,
    client_id: ClientId,
    pub(super) kind: StreamKind,
}

impl StreamPlace {
    /// Where sockets are counted.
    pub(super) fn metrics(&self) -> &StreamMetrics {
        &self.limits.metrics
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.limits.metrics.opened(self.kind.as_str(), -1);
        if let Some(standing) = lock(&self.limits.customers).get_mut(&self.client_id)
            && let Some(open) = standing.open.get_mut(self.kind as usize)
        {
            *open = open.saturating_sub(1);
        }
    }
}

impl StreamLimits {
    pub(in super::super) fn new(metrics: Arc<StreamMetrics>) -> Arc<Self> {
        Arc::new(Self { customers: Mutex::default(), metrics })
    }

    /// A place for one more socket, at its moment. Where there is none it is waited for that long.
    ///
    /// # Errors
    /// Why, and 429 `rate_limited`, where there is none, or its moment is too far away.
    pub(in super::super) async fn enter(
        self: &Arc<Self>,
        client_id: &ClientId,
        kind: StreamKind,
        patience: Duration,
    ) -> Result<StreamPlace, (StreamRefusal, Problem)> {
        let by = Instant::now() + patience;
        loop {
            let now = Instant::now();
            match self.take(client_id, kind, now) {
                Ok((place, wait)) => {
                    tokio::time::sleep(wait).await;
                    return Ok(place);
                }
                Err((StreamRefusal::Sockets, _)) if now < by => tokio::time::sleep(LOOK_AGAIN).await,
                Err((why, problem)) => {
                    self.metrics.refused(kind.as_str(), why);
                    return Err((why, problem));
                }
            }
        }
    }

    fn take(
        self: &Arc<Self>,
        client_id: &ClientId,
        kind: StreamKind,
        now: Instant,
    ) -> Result<(StreamPlace, Duration), (StreamRefusal, Problem)> {
        let mut customers = lock(&self.customers);
        if customers.len().is_power_of_two() && !customers.contains_key(client_id) {
            customers.retain(|_, standing| !standing.is_idle(now));
        }
        let standing = customers.entry(client_id.clone()).or_insert_with(|| Standing::new(now));
        if let Some(wait) = standing.stays_away(now) {
            let detail = "the broker answered 429 to a WebSocket handshake of this account, and no other is sent before \
                          the time that it gave";
            return Err((StreamRefusal::Broker, limited(detail.to_owned(), wait)));
        }
        let open = standing.open.get_mut(kind as usize).map(|open| (*open, open));
        let Some((0..SOCKETS, _)) = open else {
            let share = match kind {
                StreamKind::Feed => ", or let callers share the feed (account change --streams share)",
                StreamKind::Depth20 | StreamKind::Depth200 | StreamKind::OrderUpdate => "",
            };
            let detail = format!(
                "the account has {SOCKETS} {} sockets open, as many as the broker allows; another would end the oldest. \
                 Close one{share}; a caller that vanished frees its place within 40 s",
                kind.as_str()
            );
            return Err((StreamRefusal::Sockets, limited(detail, VANISHED)));
        };
        let wait = standing.pace(now).map_err(|wait| {
            let detail = "the account opens WebSockets faster than the broker bears".to_owned();
            (StreamRefusal::Pace, limited(detail, wait.saturating_sub(PATIENCE)))
        })?;
        if let Some(open) = standing.open.get_mut(kind as usize) {
            *open += 1;
        }
        drop(customers);
        self.metrics.opened(kind.as_str(), 1);
        Ok((StreamPlace { limits: Arc::clone(self), client_id: client_id.clone(), kind }, wait))
    }

    /// The moment of another handshake for a socket that has its place.
    ///
    /// # Errors
    /// How long none may be sent.
    pub(super) async fn again(&self, client_id: &ClientId) -> Result<(), Duration> {
        let wait = self.again_at(client_id, Instant::now())?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn again_at(&self, client_id: &ClientId, now: Instant) -> Result<Duration, Duration> {
        let mut customers = lock(&self.customers);
        let Some(standing) = customers.get_mut(client_id) else { return Ok(Duration::ZERO) };
        standing.stays_away(now).map_or_else(|| standing.pace(now), Err)
    }

    /// Where sockets are counted.
    pub(super) fn metrics(&self) -> &StreamMetrics {
        &self.metrics
    }

    /// The broker answered 429 to a handshake, and wants none for so long, if it says.
    pub(in super::super) fn refused(&self, client_id: &ClientId, retry_after: Option<Duration>) {
        self.refused_at(client_id, retry_after, Instant::now());
    }

    fn refused_at(&self, client_id: &ClientId, retry_after: Option<Duration>, now: Instant) {
        let until = now + retry_after.unwrap_or(STAY_AWAY).min(LONGEST);
        let mut customers = lock(&self.customers);
        if let Some(standing) = customers.get_mut(client_id) {
            standing.away_until = standing.away_until.max(Some(until));
        }
    }
}

fn limited(detail: String, wait: Duration) -> Problem {
    let mut problem = Problem::before_sending(Code::RateLimited, detail);
    problem.retry = Retry::After(wait);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ClientId {
        ClientId::parse(&format!("10000{number:05}")).unwrap()
    }

    fn limits() -> Arc<StreamLimits> {
        StreamLimits::new(Arc::default())
    }

    /// An account's counts find a kind by its word.
    #[test]
    fn each_kind_has_its_place_among_an_accounts_counts() {
        assert_eq!(StreamKind::ALL.map(StreamKind::as_str), crate::telemetry::account_streams::KINDS);
    }

    #[test]
    fn the_sixth_of_a_kind_waits_for_a_place_and_no_other_kind_or_account_does() {
        let (limits, now) = (limits(), Instant::now());
        let take = |id: &ClientId, kind, at| limits.take(id, kind, at).map_err(|(why, _)| why);
        let mut five: Vec<_> = (0..5).map(|_| take(&id(1), StreamKind::Feed, now).unwrap()).collect();
        let later = now + Duration::from_secs(60);
        assert_eq!(take(&id(1), StreamKind::Feed, later).unwrap_err(), StreamRefusal::Sockets);
        let (_, problem) = limits.take(&id(1), StreamKind::Feed, later).unwrap_err();
        assert_eq!((problem.code, problem.retry), (Code::RateLimited, Retry::After(VANISHED)));
        let _others =
            [take(&id(1), StreamKind::OrderUpdate, later).unwrap(), take(&id(2), StreamKind::Feed, later).unwrap()];
        five.pop();
        assert!(take(&id(1), StreamKind::Feed, later).is_ok());
    }

    #[test]
    fn a_start_is_at_once_and_a_storm_is_spread() {
        let now = Instant::now();
        let mut standing = Standing::new(now);
        let waits: Vec<_> = (0..30).map_while(|_| standing.pace(now).ok()).collect();
        assert_eq!(waits[..5], [Duration::ZERO; 5]);
        assert_eq!(waits[5..8], [APART, APART * 2, APART * 3]);
        assert_eq!((waits.last(), waits.len()), (Some(&PATIENCE), 25));
        assert!(standing.pace(now).is_err());
        assert_eq!(standing.pace(now + Duration::from_secs(60)), Ok(Duration::ZERO));
    }

    #[test]
    fn the_brokers_429_is_remembered_for_as_long_as_it_says() {
        let (limits, now) = (limits(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        drop(limits.take(&id(1), StreamKind::Feed, now).unwrap());
        limits.refused_at(&id(1), Some(Duration::from_secs(7)), now);
        limits.refused_at(&id(1), Some(Duration::from_secs(2)), now);
        let (why, problem) = limits.take(&id(1), StreamKind::OrderUpdate, at(1)).unwrap_err();
        assert_eq!((why, problem.retry), (StreamRefusal::Broker, Retry::After(Duration::from_secs(6))));
        assert!(limits.take(&id(2), StreamKind::Feed, at(1)).is_ok());
        assert!(limits.take(&id(1), StreamKind::Feed, at(7)).is_ok());
        limits.refused_at(&id(1), None, at(7));
        assert!(limits.take(&id(1), StreamKind::Feed, at(36)).is_err());
        assert!(limits.take(&id(1), StreamKind::Feed, at(37)).is_ok());
    }

    /// A storm of reconnects is paced as a storm of callers is, and the broker's 429 stops both.
    #[test]
    fn a_socket_that_has_its_place_waits_for_its_moment_all_the_same() {
        let (limits, now) = (limits(), Instant::now());
        let _place = limits.take(&id(1), StreamKind::Feed, now).unwrap();
        let waits: Vec<_> = (0..6).map(|_| limits.again_at(&id(1), now).unwrap()).collect();
        // Five at once, this socket's own among them.
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO, APART, APART * 2]);
        limits.refused_at(&id(1), Some(Duration::from_secs(7)), now);
        assert_eq!(limits.again_at(&id(1), now), Err(Duration::from_secs(7)));
        assert!(limits.again_at(&id(1), now + Duration::from_secs(7)).is_ok());
    }

    /// Ten thousand accounts come and go.
    #[test]
    fn who_has_nothing_open_is_forgotten() {
        let limits = limits();
        let mut now = Instant::now();
        let kept = limits.take(&id(0), StreamKind::Feed, now).unwrap();
        for number in 1..500 {
            now += Duration::from_secs(10);
            drop(limits.take(&id(number), StreamKind::Feed, now).unwrap());
        }
        let known = lock(&limits.customers);
        assert!(known.len() < 5 && known.contains_key(&id(0)), "{}", known.len());
        drop((known, kept));
    }
}
