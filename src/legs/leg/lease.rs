//! Connections by one leg: leased, dialled, and what a dial says of the leg.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Errand, Leg, Reuse};
use crate::domain::Authority;
use crate::egress::{Destination, DialError, Lease, Protocol, ResolveError};
use crate::legs::failed_dial::line_of;
use crate::legs::health::{Event, PathState, Purpose};

impl Leg {
    /// A connection by this leg and no other, for what is signed, by `by`. Its health
    /// is not asked, but for as what the broker sees it.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease(&self, to: &Authority, purpose: Purpose, how: Reuse, by: Instant) -> Result<Lease, DialError> {
        self.resolve_for_look(to, by).await?;
        self.look_first(to, by).await?;
        self.may_sign(purpose)?;
        let leased = match self.lease_idle(to, purpose, how).await {
            Some(lease) => Ok(lease),
            None => {
                let at = Box::pin(self.context.egress().resolve(to, by)).await?;
                let has = by.saturating_duration_since(Instant::now());
                let leased = tokio::time::timeout_at(by, self.lease_anew(&at, purpose, how)).await;
                let in_time = leased.is_ok();
                let leased = leased.unwrap_or_else(|_| Err(self.out_of_time(to, has)));
                if in_time || has >= self.context.fair_share() {
                    self.note_dial(to, leased.as_ref().map(|_| ()));
                }
                leased
            }
        };
        self.may_sign(purpose)?;
        leased
    }

    /// A new connection for one request of our own, by this leg and no other. It is dialled
    /// by `by`.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_errand(&self, errand: Errand, at: &Destination, by: Instant) -> Result<Lease, DialError> {
        let to = at.authority();
        let may = || match errand {
            Errand::Plain | Errand::GetIp => Ok(()),
            // A dead token cannot ask, so without a login a leg could never be proved again.
            Errand::Login => self.may_sign(Purpose::TakesRiskAway),
            Errand::Signed => self.may_sign(Purpose::Read),
        };
        if errand == Errand::Signed {
            self.resolve_for_look(to, by).await?;
            self.look_first(to, by).await?;
        }
        may()?;
        let noted = async {
            let leased = match self.not_gone(at) {
                Ok(()) => self.exit.lease_for_errand(at).await,
                Err(gone) => Err(gone),
            };
            self.note_dial(to, leased.as_ref().map(|_| ()));
            leased
        };
        let has = by.saturating_duration_since(Instant::now());
        let leased = tokio::time::timeout_at(by, noted).await;
        let leased = leased.unwrap_or_else(|_| Err(self.out_of_time(to, has)))?;
        // Looked at again: what became known while it was dialled counts.
        may().map(|()| leased)
    }

    /// Addresses for a call of our own, by `by`.
    ///
    /// # Errors
    /// [`DialError::Resolve`]; it says nothing of this leg.
    pub async fn resolve(&self, to: &Authority, by: Instant) -> Result<Destination, DialError> {
        self.context.egress().resolve(to, by).await
    }

    /// May anything that is signed go by it? No lock while nothing is known against it.
    pub(in crate::legs) fn may_sign(&self, purpose: Purpose) -> Result<(), DialError> {
        if !self.rank(purpose).is_barred() {
            return Ok(());
        }
        let seen = self.known().seen_as.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        match purpose {
            Purpose::TakesRiskAway if !self.care.is_anothers(seen) => Ok(()),
            Purpose::TakesRiskAway | Purpose::OrderWrite | Purpose::Read => {
                Err(DialError::SeenAsAnother { from: self.source(), seen })
            }
        }
    }

    /// A look is a dial of its own, to the API host, and has a second from when it can begin: so that name is known
    /// first. Only for a leg that nobody has looked at.
    ///
    /// # Errors
    /// The name is that of `to` and could not be resolved, or `by` came first.
    pub(in crate::legs) async fn resolve_for_look(&self, to: &Authority, by: Instant) -> Result<(), DialError> {
        if !self.is_unseen() {
            return Ok(());
        }
        match Box::pin(self.context.egress().resolve(self.context.api(), by)).await {
            Err(err @ DialError::Resolve(ResolveError::Late { .. })) => Err(err),
            Err(err) if self.context.is_api(to) => Err(err),
            // Then there is no look, as when the broker does not answer.
            Err(_) | Ok(_) => Ok(()),
        }
    }

    /// Nothing signed goes by a leg before it was asked as what the broker sees it, for
    /// at most a second. Where nobody can ask it is used all the same.
    pub(in crate::legs) async fn look_first(&self, to: &Authority, by: Instant) -> Result<(), DialError> {
        if !self.is_unseen() {
            return Ok(());
        }
        let has = by.saturating_duration_since(Instant::now());
        let in_time = self.care.first_look(self.role, by).await;
        if in_time { Ok(()) } else { Err(self.out_of_time(to, has)) }
    }

    /// Who waited for a connection to `to` by this leg has no more time, of which it had so much.
    pub(in crate::legs) fn out_of_time(&self, to: &Authority, had: Duration) -> DialError {
        if had < self.context.fair_share() { self.exit.too_little_time(to, had) } else { self.exit.out_of_time(to) }
    }

    pub(in crate::legs) async fn lease_idle(&self, to: &Authority, purpose: Purpose, how: Reuse) -> Option<Lease> {
        match how {
            Reuse::Idle => self.exit.lease_idle(to, protocol(purpose)).await,
            Reuse::Never | Reuse::ForUpgrade => None,
        }
    }

    pub(in crate::legs) async fn lease_anew(
        &self,
        at: &Destination,
        purpose: Purpose,
        how: Reuse,
    ) -> Result<Lease, DialError> {
        self.not_gone(at)?;
        match how {
            Reuse::Idle | Reuse::Never => self.exit.lease_new(at, protocol(purpose)).await,
            Reuse::ForUpgrade => self.exit.lease_for_upgrade(at).await,
        }
    }

    pub(in crate::legs) async fn dial_anew(&self, at: &Destination) -> Result<TcpStream, DialError> {
        self.not_gone(at)?;
        self.exit.dial(at).await
    }

    /// With freebind an address that has gone can be bound all the same, and connecting from it runs into its timeout:
    /// whoever has no other leg would wait for that.
    fn not_gone(&self, at: &Destination) -> Result<(), DialError> {
        if self.is_here() { Ok(()) } else { Err(self.exit.address_gone(self.source(), at)) }
    }

    /// What a new connection, or that there is none, says of this leg.
    fn note_dial(&self, to: &Authority, dialled: Result<(), &DialError>) {
        match dialled {
            Ok(()) => self.learn(Event::Dialled),
            Err(err) if self.context.is_api(to) => self.note_failed_dial(err),
            Err(_) => {}
        }
    }

    /// A dial failed, and not for its host's sake.
    pub(in crate::legs) fn note_failed_dial(&self, err: &DialError) {
        match line_of(err) {
            PathState::Failed(reason) => self.learn(Event::DialFailed(reason)),
            PathState::Works | PathState::NotTried => {}
        }
    }
}

const fn protocol(purpose: Purpose) -> Protocol {
    match purpose {
        Purpose::Read => Protocol::Any,
        Purpose::OrderWrite | Purpose::TakesRiskAway => Protocol::Http1,
    }
}
