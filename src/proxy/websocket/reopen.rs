//! Opening the broker's side of a socket again: as a caller's handshake would be, by the same steps.
//!
//! The caller is admitted anew each time, by the listener's terms and the account's row of that moment; the leg is the
//! one that health chooses then, the token the one that signs then; the account's limits for handshakes hold. The socket
//! keeps its place among the account's own meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::again::{Again, Episode, GaveUp, Lost, Reopened};
use super::handshake;
use super::limits::{StreamLimits, StreamPlace};
use super::upstream::{Upstream, watch};
use crate::accounts::{Account, Accounts};
use crate::broker::dhan::streams::StreamKind;
use crate::dispatch::reply::{Body, Problem, Retry};
use crate::dispatch::{self, UpstreamRequest, legs};
use crate::domain::tasks::Tasks;
use crate::domain::{ClientId, random};
use crate::egress::Upgraded;
use crate::legs::Legs;
use crate::net::rewind::Rewind;
use crate::proxy::admission::ListenerContext;
use crate::proxy::destination::Form;
use crate::proxy::tunnel::TunnelLifetime;
use crate::telemetry::access::Access;
use crate::telemetry::stream_reporter::StreamReporter;
use crate::telemetry::streams::{StreamOwner, StreamReconnect, StreamRefusal};

/// How long a token that may be on its way is waited for in one try.
const TOKEN_WITHIN: Duration = Duration::from_secs(10);
/// How long another socket of an account's callers waits for one of the account's places: one that has just been closed
/// is free again when the broker has heard of it.
pub(in super::super) const PLACE_WITHIN: Duration = Duration::from_secs(5);

/// Whose a socket is, to be looked at anew. No `Debug`: it may hold a key.
#[derive(Clone)]
pub(in super::super) struct Admitted {
    pub(in super::super) accounts: Arc<Accounts>,
    pub(in super::super) by: By,
    pub(in super::super) client_id: ClientId,
    pub(in super::super) tasks: Tasks,
}

/// Who is admitted. No `Debug`: it may hold a key.
#[derive(Clone)]
pub(in super::super) enum By {
    /// A caller, by what it showed: fields of its own, or those of the `CONNECT` that it came through.
    Caller { listener: Box<ListenerContext>, shown: Arc<HeaderMap>, form: Form },
    /// The account itself, whose callers are admitted elsewhere.
    Account,
}

impl Admitted {
    /// The account's row, if it may have its streams reconnected now.
    fn again(&mut self, owner: &StreamOwner) -> Result<Arc<Account>, String> {
        let row = match &mut self.by {
            By::Caller { listener, shown, form } => {
                listener.refresh();
                listener.admit(&self.accounts, shown, *form).map_err(|problem| problem.detail)?
            }
            By::Account => self.accounts.lookup(owner.account.as_str()).ok_or("the account was deleted")?,
        };
        if row.name != owner.account || *row.client_id() != self.client_id {
            return Err("this listener serves another account or customer since a change".to_owned());
        }
        if !row.record.streams.reconnects() {
            return Err("the account's streams are reconnected no longer".to_owned());
        }
        Ok(row)
    }

    /// How long a socket may go on, by whichever leg.
    pub(in super::super) fn lifetime(&self, account: &Account, legs: &Legs) -> TunnelLifetime {
        match &self.by {
            By::Caller { listener, .. } => TunnelLifetime::of(account, legs, listener, &self.tasks),
            By::Account => TunnelLifetime::of_all_callers(legs, &self.tasks),
        }
    }
}

/// Why one try failed.
enum Failed {
    /// Another may be made, after this at least.
    ForNow(Duration, String),
    /// No other would be better.
    ForGood(String),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        let least = match problem.retry {
            Retry::After(wait) => wait,
            Retry::Default | Retry::Never => Duration::ZERO,
        };
        Self::ForNow(least, problem.detail)
    }
}

/// A socket beside others could not be opened.
#[derive(Debug)]
pub(super) struct NotOpened {
    pub(super) detail: String,
    /// The account has as many as the broker allows.
    pub(super) has_no_place: bool,
}

/// See the module. No `Debug`: it holds a key.
pub(in super::super) struct Reopener {
    admitted: Admitted,
    limits: Arc<StreamLimits>,
    upstream: Upstream,
    /// The subprotocol that was agreed upon.
    protocol: Option<HeaderValue>,
    owner: StreamOwner,
    reporter: StreamReporter,
    episode: Option<Episode>,
}

impl Reopener {
    /// Of a socket that has not been opened yet; [`Reopener::opened`] is to follow.
    pub(in super::super) fn new(
        admitted: Admitted,
        limits: &Arc<StreamLimits>,
        out: &UpstreamRequest,
        (owner, reporter): (StreamOwner, StreamReporter),
        kind: StreamKind,
    ) -> Self {
        let upstream = Upstream::of(out, kind);
        Self { admitted, limits: Arc::clone(limits), upstream, protocol: None, owner, reporter, episode: None }
    }

    /// It was opened, with this answer, and is whose the owner says.
    pub(in super::super) fn opened(&mut self, answer: &HeaderMap, owner: &StreamOwner) {
        self.protocol = answer.get(SEC_WEBSOCKET_PROTOCOL).cloned();
        self.owner = owner.clone();
    }

    /// The limits of all sockets.
    pub(super) const fn limits(&self) -> &Arc<StreamLimits> {
        &self.limits
    }

    /// For another socket of the same.
    pub(super) fn sibling(&self) -> Self {
        Self {
            admitted: self.admitted.clone(),
            limits: Arc::clone(&self.limits),
            upstream: self.upstream.clone(),
            protocol: self.protocol.clone(),
            owner: self.owner.clone(),
            reporter: self.reporter.clone(),
            episode: None,
        }
    }

    /// Open such a socket. Where that fails for now it is tried again as one that has ended is.
    ///
    /// # Errors
    /// Why it could not be opened, which has been logged and told.
    pub(super) async fn open_first(&mut self) -> Result<(StreamPlace, Reopened<Rewind<Upgraded>>), NotOpened> {
        let entered = self.limits.enter(&self.admitted.client_id, self.upstream.kind, PLACE_WITHIN).await;
        let place = entered.map_err(|(why, problem)| {
            let has_no_place = why == StreamRefusal::Sockets;
            self.not_opened(why.as_str(), problem.detail, has_no_place)
        })?;
        let now = Instant::now();
        let lost = Lost { why: "", opened: now, refused: 0, instruments: 0 };
        let mut episode = Episode::of(None, &lost, now);
        // The first try does not wait.
        episode.next(now, Duration::ZERO, 0);
        let mut is_first = true;
        loop {
            let tried = match std::mem::take(&mut is_first) {
                // Its place had its moment already.
                true => timeout_at(episode.by(), self.handshake(0)).await,
                false => timeout_at(episode.by(), self.try_once(0)).await,
            };
            let random = u32::from_be_bytes(random::bytes().unwrap_or_default());
            let (detail, wait) = match tried {
                Ok(Ok(opened)) => return Ok((place, opened)),
                Ok(Err(Failed::ForNow(least, detail))) => (detail, episode.next(Instant::now(), least, random)),
                Ok(Err(Failed::ForGood(detail))) => (detail, None),
                Err(_) => ("the broker did not answer in time".to_owned(), None),
            };
            let Some(wait) = wait else { return Err(self.not_opened("not_opened", detail, false)) };
            tokio::time::sleep(wait).await;
        }
    }

    fn not_opened(&self, why: &'static str, detail: String, has_no_place: bool) -> NotOpened {
        let StreamOwner { request_id, account, kind, .. } = &self.owner;
        tracing::warn!(
            request_id = &**request_id,
            account = account.as_str(),
            service = kind,
            why,
            detail,
            "websocket for shared callers not opened"
        );
        self.reporter.refused(account, kind, request_id, (why, &detail));
        NotOpened { detail, has_no_place }
    }

    /// Where its beginning and end are told.
    pub(super) const fn reporter(&self) -> &StreamReporter {
        &self.reporter
    }

    /// Whose it is, and by which leg it goes now.
    pub(super) const fn owner(&self) -> &StreamOwner {
        &self.owner
    }

    async fn open_again(&mut self, lost: Lost) -> Result<Reopened<Rewind<Upgraded>>, GaveUp> {
        let began = Instant::now();
        let mut episode = Episode::of(self.episode.take(), &lost, began);
        let (mut least, mut last) = (Duration::ZERO, None);
        if episode.refused_again(lost.refused) {
            let detail = "the broker refuses the token that signs".to_owned();
            return Err(self.give_up(&lost, &episode, began, &detail));
        }
        let random = || u32::from_be_bytes(random::bytes().unwrap_or_default());
        while let Some(wait) = episode.next(Instant::now(), least, random()) {
            tokio::time::sleep(wait).await;
            // Whatever it waits for, it does not outlast the episode.
            let tried = timeout_at(episode.by(), self.try_once(lost.refused)).await;
            match tried {
                Ok(Ok(reopened)) => {
                    self.limits.metrics().reconnected(self.owner.kind, lost.why);
                    self.told(&lost, &episode, began, None);
                    self.reporter.reconnected(&self.owner, lost.why);
                    self.episode = Some(episode);
                    return Ok(reopened);
                }
                Ok(Err(Failed::ForGood(detail))) => return Err(self.give_up(&lost, &episode, began, &detail)),
                Ok(Err(Failed::ForNow(wait, detail))) => (least, last) = (wait, Some(detail)),
                Err(_) => break,
            }
        }
        let detail = last.unwrap_or_else(|| "there was no time for it".to_owned());
        Err(self.give_up(&lost, &episode, began, &detail))
    }

    fn told(&self, lost: &Lost, episode: &Episode, began: Instant, failed: Option<&str>) {
        let (why, tries, away, instruments) = (lost.why, episode.tries, began.elapsed(), lost.instruments);
        StreamReconnect { why, tries, away, instruments, failed }.log(&self.owner);
    }

    fn give_up(&self, lost: &Lost, episode: &Episode, began: Instant, detail: &str) -> GaveUp {
        self.limits.metrics().not_reconnected(self.owner.kind, lost.why);
        self.told(lost, episode, began, Some(detail));
        GaveUp
    }

    async fn try_once(&mut self, refused: u64) -> Result<Reopened<Rewind<Upgraded>>, Failed> {
        self.admitted.again(&self.owner).map_err(Failed::ForGood)?;
        let wait = self.limits.again(&self.admitted.client_id).await;
        wait.map_err(|wait| Failed::ForNow(wait, "the account's handshakes are held back for the broker".to_owned()))?;
        self.handshake(refused).await
    }

    async fn handshake(&mut self, refused: u64) -> Result<Reopened<Rewind<Upgraded>>, Failed> {
        let row = self.admitted.again(&self.owner).map_err(Failed::ForGood)?;
        // A mint has killed the old token before the new one is here.
        let by = Instant::now() + TOKEN_WITHIN;
        row.token.wait_until_idle(by).await;
        let token = row.token.wait(refused, by).await.map_err(|none| match none.retry_after {
            Some(wait) => Failed::ForNow(wait, none.summary),
            None => Failed::ForGood(none.summary),
        })?;
        let (key, accepted) =
            handshake::key().map_err(|_| Failed::ForNow(Duration::ZERO, "no random bytes".to_owned()))?;
        // Permission is asked at the deed: what was waited for took its time.
        let row = self.admitted.again(&self.owner).map_err(Failed::ForGood)?;
        let legs = legs(&row).map_err(|problem| Failed::ForGood(problem.detail))?;
        let (out, login) = self.upstream.again(&row, &token, key).map_err(|problem| Failed::ForGood(problem.detail))?;
        let mut until = self.admitted.lifetime(&row, legs);
        let mut record = Access::new(&self.owner.request_id, &Method::GET);
        let reply = Box::pin(dispatch::send(legs, &out, &mut record)).await?;
        if let Some(leg) = record.leg.map(|role| legs.leg(role)) {
            (until.leg, until.address) = (Some(leg.barred()), Some(leg.address_gone()));
        }
        self.judge(reply.status(), reply.headers(), &accepted)?;
        let upgraded = match reply.into_body() {
            Body::Broker(body) => body.into_upgraded(),
            Body::Own(_) | Body::Begun { .. } => None,
        };
        let (broker, early) =
            upgraded.ok_or_else(|| Failed::ForGood("the broker's connection cannot be taken over".to_owned()))?;
        (self.owner.leg, self.owner.source) = (record.leg, record.source);
        Ok(Reopened { broker: Rewind::new(early, broker), token: watch(&row, &token), login, until })
    }

    /// What the broker's answer means.
    fn judge(&self, status: StatusCode, headers: &HeaderMap, accepted: &str) -> Result<(), Failed> {
        let said = format!("the broker answered the handshake with {}", status.as_u16());
        match status {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = retry_after(headers);
                self.limits.refused(&self.admitted.client_id, retry_after);
                return Err(Failed::ForNow(Duration::ZERO, said));
            }
            // Who sits in front of the broker answers so while it is restarted, or asks for a token that lives.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT => {
                return Err(Failed::ForNow(Duration::ZERO, said));
            }
            status if status.is_client_error() => return Err(Failed::ForGood(said)),
            _ => return Err(Failed::ForNow(Duration::ZERO, said)),
        }
        if !handshake::is_answer(headers, accepted) {
            return Err(Failed::ForNow(Duration::ZERO, "the broker's answer is not to this handshake".to_owned()));
        }
        // What the caller speaks was settled with it once.
        let same = self.upstream.protocol().is_none() || headers.get(SEC_WEBSOCKET_PROTOCOL) == self.protocol.as_ref();
        if same { Ok(()) } else { Err(Failed::ForGood("the broker chose another subprotocol".to_owned())) }
    }
}

impl Again<Rewind<Upgraded>> for Reopener {
    fn open(&mut self, lost: Lost) -> BoxFuture<'_, Result<Reopened<Rewind<Upgraded>>, GaveUp>> {
        self.open_again(lost).boxed()
    }
}

/// How long the broker wants to be left alone. A date in its place says it no better.
pub(in super::super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
