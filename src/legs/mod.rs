//! Legs: an account's two ways out, which one to take, and how they are looked after.
//!
//! A leg owns its exit, and with it every connection and TLS session made from
//! its address. Legs are made for one account and one pair; when the pair
//! changes the account gets new legs, and the old ones are ended: idle
//! connections go with them, tunnels and WebSockets are cut. So nothing of one
//! account can be handed to another.
//!
//! New requests go to the primary while it admits, else to the secondary; never to
//! both at once. A leg that could not be dialled is left for the other one within
//! the same request: nothing had been written then, so this is safe for an order too.
//!
//! The hosts of `egress.ipv4_hosts` are reached by neither leg (`ipv4`): one way, from a source that accounts share, with
//! connections of the account's own. What becomes of it says nothing of a leg, and no order goes that way: whatever
//! takes a [`Leg`] takes one that leaves from the account's own address.
//!
//! Map, from the ground up: [`health`] is what is known of a leg, as a pure machine, and the choice between two;
//! `context` is what all legs share; `leg` joins health to an exit; this file has an account's two [`Legs`]; `register`
//! knows the legs of all accounts. `watch` tells it which addresses are on this host (`net/netlink` is how the kernel
//! says so), `probes` tries legs that do not admit, `looks` asks as what the broker sees each leg (`look_times` says
//! when), `warm` keeps connections ready on those that admit (`pace` says how often). [`Supervisor`] makes legs and
//! starts all of these. A leg knows none of them: what it wants done it asks of its `Care`.
//!
//! Names are resolved before a leg is dialled and in nobody's share of the time: name servers that fail say nothing
//! about a leg. Every dial takes a [`Destination`], which is resolved.
//!
//! What says something about a leg: whatever happens with the broker's API host, and
//! what cannot be due to any host (the bind). A failure with another host counts only
//! when the other leg then reached that host: a feed that is down must not move orders.

mod context;
mod failed_dial;
pub mod health;
mod inbox;
mod ipv4;
mod leg;
mod look_times;
mod looks;
mod pace;
mod probes;
mod register;
mod supervisor;
mod warm;
mod watch;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::time::within;
use crate::domain::{AccountName, Authority, Pair, Role};
use crate::egress::{Destination, DialError, Exit, Lease};

use context::{Care, LegContext};

pub use context::{LegEvent, LegSettings, SeenAddress};
pub use health::{LegState, Purpose, Reason};
pub use leg::{Errand, Leg, Reuse};
pub use register::GetIp;
pub use supervisor::Supervisor;

/// Neither leg could be dialled. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe())]
pub struct NoLeg {
    /// What each leg that was tried failed with, in order.
    pub tried: Vec<(Role, DialError)>,
    /// Why there was no address to dial, or no connection over IPv4. It is no leg's fault.
    pub unresolved: Option<DialError>,
}

impl NoLeg {
    fn describe(&self) -> String {
        let unresolved = self.unresolved.iter().map(DialError::chain);
        let each = self.tried.iter().map(|(role, err)| format!("{}: {}", role.as_str(), err.chain()));
        unresolved.chain(each).collect::<Vec<_>>().join("; ")
    }

    /// The code of the first failure, for metrics.
    pub fn code(&self) -> &'static str {
        let first = self.unresolved.as_ref().or_else(|| self.tried.first().map(|(_, err)| err));
        first.map_or("no_leg", DialError::code)
    }
}

/// An account's two legs.
#[derive(Debug)]
pub struct Legs {
    account: AccountName,
    primary: Leg,
    secondary: Leg,
    /// 0 for none, else 1 or 2.
    pin: AtomicU8,
    /// When a request last used them, in seconds of uptime, from 1 on.
    used: AtomicU64,
    ended: CancellationToken,
    /// The way to the hosts of `egress.ipv4_hosts`, made when it is first used.
    ipv4: OnceLock<Arc<Exit>>,
    context: Arc<LegContext>,
}

/// The legs to try, in order.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// The leg to try first.
    pub first: &'a Leg,
    /// The leg to try after it, unless an operator forbids it.
    pub then: Option<&'a Leg>,
}

impl<'a> IntoIterator for Chosen<'a> {
    type Item = &'a Leg;
    type IntoIter = std::iter::Chain<std::iter::Once<&'a Leg>, std::option::IntoIter<&'a Leg>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.then)
    }
}

impl Legs {
    /// Makes the legs of `account`, which nobody knows of yet; `care` does what takes more than one leg.
    fn cared_for(account: &AccountName, pair: &Pair, context: &Arc<LegContext>, care: Arc<dyn Care>) -> Self {
        Self {
            account: account.clone(),
            primary: Leg::new(Role::Primary, account, pair, context, Arc::clone(&care)),
            secondary: Leg::new(Role::Secondary, account, pair, context, care),
            pin: AtomicU8::new(0),
            used: AtomicU64::new(0),
            ended: CancellationToken::new(),
            ipv4: OnceLock::new(),
            context: Arc::clone(context),
        }
    }

    /// The account that they are of.
    pub const fn account(&self) -> &AccountName {
        &self.account
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

    /// Primary, then secondary.
    pub const fn both(&self) -> [&Leg; 2] {
        [&self.primary, &self.secondary]
    }

    /// The leg of this role.
    pub const fn leg(&self, role: Role) -> &Leg {
        match role {
            Role::Primary => &self.primary,
            Role::Secondary => &self.secondary,
        }
    }

    /// Use one leg only, whatever its state (but for one that the broker sees as another
    /// address), or (`None`) choose by health again.
    pub fn set_pin(&self, pin: Option<Role>) {
        let pin = match pin {
            None => 0,
            Some(Role::Primary) => 1,
            Some(Role::Secondary) => 2,
        };
        self.pin.store(pin, Ordering::Relaxed);
    }

    /// The leg an operator pinned.
    pub fn pin(&self) -> Option<Role> {
        match self.pin.load(Ordering::Relaxed) {
            1 => Some(Role::Primary),
            2 => Some(Role::Secondary),
            _ => None,
        }
    }

    /// The leg that may be tried after `not`, if there is one.
    pub fn other_than(&self, not: Role, purpose: Purpose) -> Option<&Leg> {
        let other = self.choose(purpose).into_iter().find(|leg| leg.role() != not);
        other.filter(|leg| leg.may_sign(purpose).is_ok())
    }

    /// The legs to try for a request, in order. No lock, no wait. One that is barred may
    /// be among them, at the end: nothing signed can be dialled by it.
    pub fn choose(&self, purpose: Purpose) -> Chosen<'_> {
        let (first, then) = health::choose(self.primary.rank(purpose), self.secondary.rank(purpose), self.pin());
        Chosen { first: self.leg(first), then: then.map(|role| self.leg(role)) }
    }

    /// A connection for one request, from the leg that health chooses or else the
    /// other one, by `by`. Never to a host of `egress.ipv4_hosts`: for what is no order, [`Legs::lease_any`].
    ///
    /// # Errors
    /// [`NoLeg`]; nothing was sent.
    pub async fn lease<'a>(
        &'a self,
        to: &Authority,
        purpose: Purpose,
        how: Reuse,
        by: Instant,
    ) -> Result<(&'a Leg, Lease), NoLeg> {
        let idle = |leg: &'a Leg| leg.lease_idle(to, purpose, how);
        let anew = |leg: &'a Leg, at| async move { leg.lease_anew(&at, purpose, how).await };
        self.first(to, purpose, by, (idle, anew), Lease::is_new).await
    }

    /// A connected socket for a blind tunnel, by `by`.
    ///
    /// # Errors
    /// [`NoLeg`]; nothing was sent.
    pub async fn dial<'a>(
        &'a self,
        to: &Authority,
        purpose: Purpose,
        by: Instant,
    ) -> Result<(&'a Leg, TcpStream), NoLeg> {
        let idle = |_| std::future::ready(None);
        let anew = |leg: &'a Leg, at| async move { leg.dial_anew(&at).await };
        self.first(to, purpose, by, (idle, anew), |_| true).await
    }

    /// The first leg that can be dialled by `by`, unless it has something `idle`. A leg that is not the last gets half
    /// of what is left: a dead line must leave time for the other one. What names take is taken from neither.
    async fn first<'a, T, I, F>(
        &'a self,
        to: &Authority,
        purpose: Purpose,
        by: Instant,
        (idle, anew): (impl Fn(&'a Leg) -> I, impl Fn(&'a Leg, Destination) -> F),
        is_new: impl Fn(&T) -> bool,
    ) -> Result<(&'a Leg, T), NoLeg>
    where
        I: Future<Output = Option<T>>,
        F: Future<Output = Result<T, DialError>>,
    {
        self.used.store(self.context.uptime_secs(), Ordering::Relaxed);
        let mut tried = Vec::new();
        let chosen = self.choose(purpose);
        for leg in chosen {
            if let Err(err) = leg.resolve_for_look(to, by).await {
                return Err(NoLeg { tried, unresolved: Some(err) });
            }
            let began = Instant::now();
            let other = chosen.then.filter(|last| last.role() != leg.role() && last.may_sign(purpose).is_ok());
            let share_from = |began: Instant| by.saturating_duration_since(began) / if other.is_none() { 1 } else { 2 };
            let mut share = share_from(began);
            // Its wait for what the broker sees is part of its share.
            if let Err(err) = leg.look_first(to, began + share).await {
                tried.push((leg.role(), err));
                continue;
            }
            if let Err(err) = leg.may_sign(purpose) {
                tried.push((leg.role(), err));
                continue;
            }
            let rest = (began + share).saturating_duration_since(Instant::now());
            let dialled = if let Ok(Some(found)) = within(rest, idle(leg)).await {
                Ok(Ok(found))
            } else {
                // For the second leg too: where the first found the host dead, another address may be known now.
                let (at, began) = match self.resolve_since(to, by, began).await {
                    Ok(resolved) => resolved,
                    Err(err) => return Err(NoLeg { tried, unresolved: Some(err) }),
                };
                share = share_from(began);
                within((began + share).saturating_duration_since(Instant::now()), anew(leg, at)).await
            };
            let Ok(dialled) = dialled else {
                tried.push((leg.role(), leg.out_of_time(to, share)));
                self.note_failure(to, &tried);
                continue;
            };
            // Looked at again: what became known while it was dialled counts.
            match dialled.and_then(|made| leg.may_sign(purpose).map(|()| made)) {
                Ok(made) => {
                    if is_new(&made) {
                        leg.learn(health::Event::Dialled);
                    }
                    // That the other one reaches this host shows that it was not the host's fault.
                    for (role, err) in tried.iter().filter(|_| !self.context.is_api(to)) {
                        self.leg(*role).note_failed_dial(err);
                    }
                    return Ok((leg, made));
                }
                Err(err) => {
                    let go_on = err.may_try_next();
                    tried.push((leg.role(), err));
                    self.note_failure(to, &tried);
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(NoLeg { tried, unresolved: None })
    }

    /// The addresses of `to`, by `by`, and when what began then would have begun had they been known.
    async fn resolve_since(
        &self,
        to: &Authority,
        by: Instant,
        began: Instant,
    ) -> Result<(Destination, Instant), DialError> {
        let asked = Instant::now();
        // Apart: it takes more room than a request that finds a connection.
        let at = Box::pin(self.context.egress().resolve(to, by)).await?;
        Ok((at, began + asked.elapsed()))
    }

    /// See the module for what says something about a leg.
    fn note_failure(&self, to: &Authority, tried: &[(Role, DialError)]) {
        let Some((role, err)) = tried.last() else { return };
        let own_fault =
            matches!(err, DialError::Bind { .. } | DialError::AddressGone { .. } | DialError::WrongSource { .. });
        let had_time = !matches!(err, DialError::TooLittleTime { .. });
        if own_fault || (had_time && self.context.is_api(to)) {
            self.leg(*role).note_failed_dial(err);
        }
    }

    /// When a request last used them, in seconds of uptime; 0 for never.
    fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
