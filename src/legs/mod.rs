//! Legs: an account's two ways out, and which one to take.
//!
//! A leg owns its exit, and with it every connection and TLS session made from
//! its address. Legs are made for one account and one pair; when the pair
//! changes the account gets new legs, and the old ones are ended: idle
//! connections go with them, tunnels and WebSockets are cut. So nothing of one
//! account can be handed to another.
//!
//! New requests go to the primary; to the secondary when the primary could not
//! be dialled. Nothing had been written then, so this is safe for an order too.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{Authority, Pair, Role, SourceAddr};
use crate::egress::{DialError, Egress, Exit, Lease, OneCall};

/// What is known of a leg's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegState {
    /// Its last dial worked, or it has not been tried.
    Admits,
    /// Its last dial failed. It is tried again by the next request.
    Tripped {
        /// The dial error's code.
        reason: &'static str,
    },
}

impl LegState {
    /// The word in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Admits => "admits",
            Self::Tripped { .. } => "tripped",
        }
    }

    /// Why it is not `admits`.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Admits => None,
            Self::Tripped { reason } => Some(reason),
        }
    }
}

/// One way out for one account.
#[derive(Debug)]
pub struct Leg {
    role: Role,
    exit: Arc<Exit>,
    state: Mutex<(LegState, SystemTime)>,
}

impl Leg {
    fn new(role: Role, exit: Arc<Exit>) -> Self {
        Self { role, exit, state: Mutex::new((LegState::Admits, SystemTime::now())) }
    }

    /// Primary or secondary.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The address it leaves from.
    pub fn source(&self) -> SourceAddr {
        self.exit.source()
    }

    /// Its state and since when.
    pub fn state(&self) -> (LegState, SystemTime) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection to speak HTTP on, from this leg and no other.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease(&self, to: &Authority, how: Reuse) -> Result<Lease, DialError> {
        let leased = match how {
            Reuse::Idle => self.exit.lease(to).await,
            Reuse::Never => self.exit.lease_new(to).await,
            Reuse::ForUpgrade => self.exit.lease_for_upgrade(to).await,
        };
        self.note(&leased);
        leased
    }

    /// The broker refused an order from this leg's address.
    pub fn refused_source(&self) {}

    /// The broker took an order from this leg's address.
    pub fn accepted_source(&self) {}

    /// Idle upstream connections.
    pub fn idle(&self) -> usize {
        self.exit.idle()
    }

    /// A client for one call of our own, by this leg and no other. It is dialled by
    /// `by`, which is also when its request has left at the latest; `whole` is the
    /// time from then on for the reply.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn one_call(&self, to: &Authority, by: Instant, whole: Duration) -> Result<OneCall, DialError> {
        let dialled = tokio::time::timeout_at(by, self.exit.dial(to)).await;
        let dialled = dialled.unwrap_or_else(|_| Err(DialError::OutOfTime { from: self.source(), to: to.clone() }));
        self.note(&dialled);
        let until_sent = by.saturating_duration_since(Instant::now());
        self.exit.one_call(dialled?, to, until_sent, whole)
    }

    fn note<T>(&self, dialled: &Result<T, DialError>) {
        let new = match dialled {
            Ok(_) => LegState::Admits,
            // What says nothing about the leg: a name, or a refusal of ours.
            Err(err) if !err.may_try_next() => return,
            Err(err) => LegState::Tripped { reason: err.code() },
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != new {
            tracing::warn!(leg = self.role.as_str(), source = %self.source(), from = state.0.as_str(), to = new.as_str(),
                reason = new.reason(), "a leg changed state");
            *state = (new, SystemTime::now());
        }
    }
}

/// Neither leg could be dialled. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe())]
pub struct NoLeg {
    /// What each leg that was tried failed with, in order.
    pub tried: Vec<(Role, DialError)>,
}

impl NoLeg {
    fn describe(&self) -> String {
        let each = self.tried.iter().map(|(role, err)| format!("{}: {}", role.as_str(), err.chain()));
        each.collect::<Vec<_>>().join("; ")
    }

    /// The code of the first failure, for metrics.
    pub fn code(&self) -> &'static str {
        self.tried.first().map_or("no_leg", |(_, err)| err.code())
    }
}

/// An account's two legs.
#[derive(Debug)]
pub struct Legs {
    primary: Leg,
    secondary: Leg,
    ended: CancellationToken,
}

impl Legs {
    /// Legs for `pair`, with connections of their own.
    pub fn new(pair: &Pair, egress: &Arc<Egress>) -> Self {
        let leg = |role| Leg::new(role, egress.exit(pair.of(role)));
        Self { primary: leg(Role::Primary), secondary: leg(Role::Secondary), ended: CancellationToken::new() }
    }

    /// The account has these legs no longer: what was opened by them and would go
    /// on for ever, tunnels and WebSockets, ends now. Requests end by themselves.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Cancelled by [`Legs::end`].
    pub const fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The pair these legs leave from.
    pub fn pair(&self) -> Pair {
        Pair { primary: self.primary.source(), secondary: self.secondary.source() }
    }

    /// One of them.
    pub const fn leg(&self, role: Role) -> &Leg {
        match role {
            Role::Primary => &self.primary,
            Role::Secondary => &self.secondary,
        }
    }

    /// The legs to try for a request, in order.
    pub fn choose(&self, _purpose: Purpose) -> [&Leg; 2] {
        self.both()
    }

    /// Primary, then secondary.
    pub const fn both(&self) -> [&Leg; 2] {
        [&self.primary, &self.secondary]
    }

    /// A connection for one request, from the primary or else the secondary, by `by`.
    ///
    /// # Errors
    /// [`NoLeg`]; nothing was sent.
    pub async fn lease<'a>(
        &'a self,
        to: &'a Authority,
        _purpose: Purpose,
        how: Reuse,
        by: Instant,
    ) -> Result<(&'a Leg, Lease), NoLeg> {
        self.first(to, by, |leg| async move {
            match how {
                Reuse::Idle => leg.exit.lease(to).await,
                Reuse::Never => leg.exit.lease_new(to).await,
                Reuse::ForUpgrade => leg.exit.lease_for_upgrade(to).await,
            }
        })
        .await
    }

    /// A connected socket for a blind tunnel, by `by`.
    ///
    /// # Errors
    /// [`NoLeg`]; nothing was sent.
    pub async fn dial<'a>(&'a self, to: &'a Authority, by: Instant) -> Result<(&'a Leg, TcpStream), NoLeg> {
        self.first(to, by, |leg| leg.exit.dial(to)).await
    }

    /// The first leg that can be dialled by `by`. A leg that is not the last gets half
    /// of what is left: a dead line must leave time for the other one.
    async fn first<'a, T, F>(
        &'a self,
        to: &'a Authority,
        by: Instant,
        dial: impl Fn(&'a Leg) -> F,
    ) -> Result<(&'a Leg, T), NoLeg>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let mut tried = Vec::new();
        for leg in self.both() {
            let share = match leg.role {
                Role::Primary => by.saturating_duration_since(Instant::now()) / 2,
                Role::Secondary => by.saturating_duration_since(Instant::now()),
            };
            let out_of_time = |_| Err(DialError::OutOfTime { from: leg.source(), to: to.clone() });
            let dialled = tokio::time::timeout(share, dial(leg)).await.unwrap_or_else(out_of_time);
            leg.note(&dialled);
            match dialled {
                Ok(made) => return Ok((leg, made)),
                Err(err) => {
                    let go_on = err.may_try_next();
                    tried.push((leg.role, err));
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(NoLeg { tried })
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request that only reads: any address will do.
    Read,
    /// An order write: the broker looks at the address.
    OrderWrite,
}

impl Purpose {
    /// Of a request that is an order write, or is not.
    pub const fn of(write: bool) -> Self {
        if write { Self::OrderWrite } else { Self::Read }
    }
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// An idle one, else a new one.
    Idle,
    /// A new one.
    Never,
    /// A new HTTP/1.1 one that will not come back.
    ForUpgrade,
}
