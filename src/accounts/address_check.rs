//! What the broker sees of a leg: `getIP` with the account's own token, and whose an
//! address is that it saw.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Account, Accounts};
use crate::domain::Role;
use crate::legs::{GetIp, Legs, SeenAddress};
use crate::tokens::LiveToken;
use crate::tokens::client::{Answered, BrokerClient, Registered};

/// Asks for whichever account the leg is of.
pub struct AddressChecker {
    /// Weak: accounts hold their legs, and legs whoever asks.
    accounts: Weak<Accounts>,
    client: Arc<BrokerClient>,
}

impl AddressChecker {
    /// For the looks at these accounts' legs.
    pub fn new(accounts: &Arc<Accounts>, client: Arc<BrokerClient>) -> Arc<Self> {
        Arc::new(Self { accounts: Arc::downgrade(accounts), client })
    }

    /// The account that these are the legs of. It may have been made anew meanwhile: its
    /// token must not leave by these.
    fn of(&self, legs: &Legs) -> Option<Arc<Account>> {
        let account = self.accounts.upgrade()?.lookup(legs.account().as_str())?;
        account.legs.as_ref().filter(|own| std::ptr::eq(Arc::as_ptr(own), legs))?;
        Some(account)
    }

    fn means(&self, legs: &Legs) -> Option<(Arc<Account>, Arc<LiveToken>)> {
        let account = self.of(legs)?;
        let token = account.token.live().ok()?;
        Some((account, token))
    }
}

impl GetIp for AddressChecker {
    fn can_call(&self, legs: &Legs) -> bool {
        self.means(legs).is_some()
    }

    fn get_ip(&self, legs: &Arc<Legs>, role: Role) -> Option<BoxFuture<'static, Option<SeenAddress>>> {
        let (account, token) = self.means(legs)?;
        let (client, legs) = (Arc::clone(&self.client), Arc::clone(legs));
        let call = async move {
            let leg = legs.leg(role);
            let called = client.get_ip(leg, account.client_id(), &token.secret()).await;
            match called.answered {
                Answered::Good(registered) => {
                    account.registration.note(&registered);
                    Some(seen(&registered, role, leg.source().ip()))
                }
                // A whole reply that says nothing of it.
                Answered::Refused(_) => Some(SeenAddress { detected: None, orders_allowed: None }),
                Answered::Unknown(_) | Answered::NotSent(_) => None,
            }
        };
        Some(call.boxed())
    }

    fn is_anothers(&self, legs: &Legs, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address.to_canonical() else { return false };
        let accounts = self.accounts.upgrade();
        let known = accounts.zip(self.of(legs));
        known.is_none_or(|(accounts, account)| {
            accounts.addressing().is_anothers(address, &account.name, account.client_id())
        })
    }
}

/// What an answer says of the leg `role` with the address `own`.
fn seen(registered: &Registered, role: Role, own: Ipv6Addr) -> SeenAddress {
    // Where the broker does not say it in so many words, its own comparison does.
    let matches = registered.match_status.as_deref().and_then(|status| match status {
        "MATCH" | "PRIMARY_MATCH" | "SECONDARY_MATCH" => Some(true),
        "MISMATCH" | "NOT_CONFIGURED" => Some(false),
        _ => None,
    });
    SeenAddress { detected: registered.seen_from(role, own), orders_allowed: registered.orders_allowed.or(matches) }
}
