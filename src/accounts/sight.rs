//! What the broker sees of a leg: `getIP` with the account's own token, for the probes.

use std::pin::Pin;
use std::sync::{Arc, Weak};

use jiff::Timestamp;

use super::Accounts;
use crate::domain::Role;
use crate::legs::{GetIp, Legs, Seen};
use crate::tokens::login::{Answered, Login};

/// Asks for whichever account the leg is of.
pub struct Sight {
    /// Weak: accounts hold their legs, and legs whoever asks.
    accounts: Weak<Accounts>,
    login: Arc<Login>,
}

impl Sight {
    /// For the probes of these accounts' legs.
    pub fn new(accounts: &Arc<Accounts>, login: Arc<Login>) -> Arc<Self> {
        Arc::new(Self { accounts: Arc::downgrade(accounts), login })
    }

    async fn ask(&self, legs: &Legs, role: Role) -> Option<Seen> {
        let account = self.accounts.upgrade()?.lookup(legs.account().as_str())?;
        // The account may have been made anew meanwhile: its token must not leave by these.
        account.legs.as_ref().filter(|own| own.pair() == legs.pair())?;
        let token = account.token.live(Timestamp::now()).ok()?;
        let called = self.login.get_ip(legs.leg(role), account.client_id(), &token.secret()).await;
        let Answered::Good(registered) = called.answered else { return None };
        let std::net::IpAddr::V6(detected) = registered.detected? else { return None };
        // Where the broker does not say it in so many words, its own comparison does.
        let matches = registered.match_status.as_deref().map(|status| match status {
            "MATCH" | "PRIMARY_MATCH" | "SECONDARY_MATCH" => Some(true),
            "MISMATCH" | "NOT_CONFIGURED" => Some(false),
            _ => None,
        });
        Some(Seen { detected, orders_allowed: registered.orders_allowed.or(matches.flatten()) })
    }
}

impl GetIp for Sight {
    fn get_ip<'a>(
        &'a self,
        legs: &'a Arc<Legs>,
        role: Role,
    ) -> Pin<Box<dyn Future<Output = Option<Seen>> + Send + 'a>> {
        Box::pin(self.ask(legs, role))
    }
}
