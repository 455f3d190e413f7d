//! What a doctor found out, from which the checks are judged.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::Ipv6Net;
use jiff::SignedDuration;

use super::facts::{Facts, Sender};
use super::failure::Failure;
use super::machine::Machine;

/// All of it.
#[derive(Debug)]
pub struct Evidence {
    /// What the kernel says of addresses and routes, after what was dialled had failed or not.
    pub facts: Facts,
    /// What else this host says.
    pub machine: Machine,
    /// What name servers say. None where nobody asked.
    pub names: Option<NamesSaid>,
    /// What came of connections.
    pub tries: Vec<Try>,
    /// What came of a connection to each host of `egress.ipv4_hosts`.
    pub ipv4: Vec<Ipv4Try>,
    /// What the gateway is told to do.
    pub setting: Setting,
}

/// What the gateway is told to do, as far as checks need it.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The prefixes of pools.
    pub prefixes: Vec<Ipv6Net>,
    /// Addresses that are not of the internet, and what they are.
    pub not_global: Vec<(Sender, String)>,
    /// Addresses that have been tentative for over three seconds.
    pub tentative: Vec<Ipv6Addr>,
    /// How many files this process may have open.
    pub descriptors: usize,
    /// Why that is too few, and how many it takes.
    pub descriptors_lack: Option<(String, usize)>,
    /// How many connections an address may have.
    pub connections_per_leg: usize,
    /// How many accounts there are, if that is known.
    pub accounts: Option<usize>,
    /// Does a gateway run here, whose ports are its own?
    pub running: bool,
    /// Where the admin API can be reached from elsewhere, if it can.
    pub admin_exposed: Option<String>,
    /// Accounts that another program logs in to, and what is known of that. None where no gateway was asked.
    pub logins: Option<Vec<(String, String)>>,
    /// Hosts with pins, and what they are pinned to.
    pub pins: Vec<(String, String)>,
    /// Was there a configuration?
    pub configured: bool,
    /// Is the broker on this host? Then it is the built-in one, and addresses and pins are there to try it with.
    pub broker_is_here: bool,
}

/// A host of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerHost {
    /// Its name.
    pub name: String,
    /// Is it needed for orders and logins?
    pub is_needed: bool,
    /// Are orders placed on it?
    pub takes_orders: bool,
}

/// What name servers say.
#[derive(Clone, Debug)]
pub struct NamesSaid {
    /// Who names the servers: `egress.name_servers` or a file.
    pub origin: String,
    /// Is that the configuration?
    pub from_config: bool,
    /// The hosts that were asked for: those without a pin.
    pub hosts: Vec<BrokerHost>,
    /// Every answer.
    pub answers: Vec<NameAnswer>,
    /// Hosts without an IPv6 address that have an IPv4 address, but for the one on which orders are placed.
    pub ipv4: Vec<String>,
    /// Prefixes of NAT64, by what servers say of `ipv4only.arpa` (RFC 7050).
    pub nat64: Vec<Ipv6Net>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct NameAnswer {
    /// Whose.
    pub server: SocketAddr,
    /// About which host.
    pub host: String,
    /// How long it took.
    pub took: Duration,
    /// What it says.
    pub says: NameSays,
}

/// What a server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameSays {
    /// These addresses.
    Addresses(Vec<Ipv6Addr>),
    /// There is none.
    NoRecord(String),
    /// One to which nothing is sent, by this rule.
    Forbidden(Ipv6Addr, String),
    /// Nothing of use.
    Failed(String),
}

/// A connection that was tried.
#[derive(Clone, Debug)]
pub struct Try {
    /// From where.
    pub sender: Sender,
    /// To which host.
    pub host: String,
    /// What came of it.
    pub came: Came,
}

/// A connection that was tried to a host of `egress.ipv4_hosts`.
#[derive(Clone, Debug)]
pub struct Ipv4Try {
    /// The host.
    pub host: String,
    /// The address that the configuration has it leave from.
    pub source: Ipv4Addr,
    /// What came of it.
    pub came: Came,
}

/// What came of a connection.
#[derive(Clone, Debug)]
pub enum Came {
    /// It was connected, and something answered.
    Answered {
        /// Until TCP and TLS were done.
        connected: Duration,
        /// Until the answer's head was there.
        answered: Duration,
        /// How far its clock is ahead of this host's, if it says what time it is.
        ahead: Option<SignedDuration>,
    },
    /// It was not.
    Failed {
        /// How, where the way may be to blame.
        failure: Option<Failure>,
        /// In words.
        why: String,
    },
}

impl Try {
    /// Did anything come back?
    pub const fn is_answered(&self) -> bool {
        matches!(self.came, Came::Answered { .. })
    }
}

impl Evidence {
    /// Did anything come back to this address?
    pub(super) fn works(&self, sender: &Sender) -> Option<bool> {
        let mut tries = self.tries.iter().filter(|one| one.sender.source == sender.source).peekable();
        tries.peek()?;
        Some(tries.any(Try::is_answered))
    }

    /// The pool's prefix that an address is of, else its /64.
    pub(super) fn prefix_of(&self, address: Ipv6Addr) -> Ipv6Net {
        let pool = self.setting.prefixes.iter().find(|net| net.contains(&address)).copied();
        pool.unwrap_or_else(|| Ipv6Net::new(address, 64).map_or_else(|_| address.into(), |net| net.trunc()))
    }
}
