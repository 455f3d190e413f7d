//! The way to a host of `egress.ipv4_hosts`, for what is no order write.
//!
//! There is one such way for an account, and no second one to fail over to: both legs would leave from the same source.
//! A leg's health has no part in it, neither asks nor learns: the address that a leg leaves from is not used here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Leg, Legs, NoLeg, Purpose, Reuse};
use crate::domain::Authority;
use crate::domain::time::within;
use crate::egress::{Destination, DialError, Exit, Lease, Protocol};

impl Legs {
    /// Is `to` reached over IPv4, from a source that accounts share, and by neither leg? Never the host on which orders
    /// are placed, whatever the configuration says.
    pub fn is_ipv4(&self, to: &Authority) -> bool {
        self.context.egress().ipv4_source(&to.host).is_some() && !self.context.is_api(to)
    }

    /// The addresses of `to`, by `by`.
    ///
    /// # Errors
    /// [`DialError::Resolve`]; it says nothing of any leg.
    pub async fn resolve(&self, to: &Authority, by: Instant) -> Result<Destination, DialError> {
        self.context.egress().resolve(to, by).await
    }

    /// A connection for one request that is no order write, by `by`: by a leg as [`Legs::lease`] has it, or over IPv4 and
    /// then by none.
    ///
    /// # Errors
    /// [`NoLeg`]; nothing was sent.
    pub async fn lease_any<'a>(
        &'a self,
        to: &Authority,
        how: Reuse,
        by: Instant,
    ) -> Result<(Option<&'a Leg>, Lease), NoLeg> {
        if !self.is_ipv4(to) {
            return self.lease(to, Purpose::Read, how, by).await.map(|(leg, lease)| (Some(leg), lease));
        }
        let leased = Box::pin(self.lease_ipv4(to, how, by)).await;
        leased.map(|lease| (None, lease)).map_err(|err| NoLeg { tried: Vec::new(), unresolved: Some(err) })
    }

    async fn lease_ipv4(&self, to: &Authority, how: Reuse, by: Instant) -> Result<Lease, DialError> {
        let exit = self.ipv4_exit();
        if how == Reuse::Idle
            && let Some(idle) = exit.lease_idle(to, Protocol::Any).await
        {
            return Ok(idle);
        }
        let at = self.context.egress().resolve(to, by).await?;
        let dialled = async {
            match how {
                Reuse::Idle | Reuse::Never => exit.lease_new(&at, Protocol::Any).await,
                Reuse::ForUpgrade => exit.lease_for_upgrade(&at).await,
            }
        };
        let has = by.saturating_duration_since(Instant::now());
        within(has, dialled).await.unwrap_or_else(|_| Err(exit.out_of_time(to)))
    }

    /// A new connection for one request of our own that carries no order: a login. It is dialled by `by`.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_ipv4_for_errand(&self, at: &Destination, by: Instant) -> Result<Lease, DialError> {
        let exit = self.ipv4_exit();
        let has: Duration = by.saturating_duration_since(Instant::now());
        let leased = within(has, exit.lease_for_errand(at)).await;
        leased.unwrap_or_else(|_| Err(exit.out_of_time(at.authority())))
    }

    /// A request that had been sent over IPv4 got no answer, or its connection broke: the other idle ones may be as dead.
    pub fn suspect_ipv4(&self) {
        self.ipv4_exit().forget_idle();
    }

    fn ipv4_exit(&self) -> &Arc<Exit> {
        self.ipv4.get_or_init(|| self.context.egress().ipv4_exit())
    }
}
