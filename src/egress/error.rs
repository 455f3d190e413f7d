//! Why nothing could be dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::guard::RuleId;
use super::hint::Hint;
use super::names::{Family, Origin, ServerFailures as LookupFailure, Unusable};
use crate::domain::host_limits::Lack;
use crate::domain::{Authority, Host, LocalAddress, SourceAddr, chain};
use crate::host::Failure;

/// Why no connection was made. The text says what we were doing and for whom; the
/// cause is `source()` and is not repeated, so a printed chain says each thing once.
/// Nothing of a request had been written when one of these is returned.
/// A `hint` is what the kernel said of the way when it was asked; [`chain`](Self::chain) ends
/// with it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum DialError {
    #[error("this host refuses to send from {from}")]
    Bind {
        from: LocalAddress,
        #[source]
        err: io::Error,
        hint: Hint,
    },
    /// What to do is in the hint, or where there is none added by [`chain`](Self::chain).
    #[error("{from} is not an address of this host any more (no interface has it, and no local route covers it)")]
    AddressGone { from: SourceAddr, hint: Hint },
    #[error("cannot connect from {from} to {to}")]
    Connect {
        from: LocalAddress,
        to: SocketAddr,
        #[source]
        err: io::Error,
        hint: Hint,
    },
    #[error("{to} did not answer {from} within {limit:?} (egress.connect_timeout)")]
    TimedOut { from: LocalAddress, to: SocketAddr, limit: Duration, hint: Hint },
    #[error(
        "the kernel gave a connection from {from} another address ({local:?}); it was closed before anything was sent"
    )]
    WrongSource { from: LocalAddress, local: Option<SocketAddr> },
    #[error(
        "{host} leads to {to}, an address that nothing is sent to (rule {rule}); if it is right, pin it in egress.resolve"
    )]
    Forbidden { host: Host, to: SocketAddr, rule: RuleId },
    #[error("no connection to the broker can be made")]
    Resolve(#[from] ResolveError),
    #[error("TLS with {to} at {at} failed")]
    Tls {
        to: Authority,
        at: SocketAddr,
        #[source]
        err: io::Error,
    },
    #[error("the TLS handshake with {to} at {at} was not done within {limit:?} (egress.connect_timeout)")]
    TlsTimedOut { to: Authority, at: SocketAddr, limit: Duration, hint: Hint },
    #[error(
        "the broker sees {from} as {seen}, which may be another account's address, so nothing that is signed goes that way. \
         Something between here and the broker changes addresses: look for NAT66, masquerade or snat (nft list ruleset), \
         and remove it for {from}. The gateway asks the broker again by itself"
    )]
    SeenAsAnother { from: SourceAddr, seen: IpAddr },
    /// A guard: whoever dials an IPv4 host takes the exit for it, and an order write is refused before.
    #[error(
        "{host} is a host of egress.ipv4_hosts: what is sent there leaves over IPv4 from an address that accounts share, \
         and orders leave over IPv6, from an account's own address"
    )]
    ByIpv4Only { host: Host },
    #[error("no connection from {from} to {to} could be made in the time that the request has")]
    OutOfTime { from: LocalAddress, to: Authority, hint: Hint },
    /// Says nothing of the line: it had no time to show that it works.
    #[error(
        "the request had {} ms for a connection from {from} to {to}, in which none was made. That is too little to say \
         anything of the line: a request has little time after a wait (for its token, for the broker's limits, for its other \
         line), or where orders.leave_within is short",
        had.as_millis()
    )]
    TooLittleTime { from: LocalAddress, to: Authority, had: Duration, hint: Hint },
    #[error("HTTP with {to} could not begin")]
    Http {
        to: Authority,
        #[source]
        err: hyper::Error,
    },
    #[error("{from} already has {most} connections open, and may not have more (egress.connections_per_leg)")]
    TooMany { from: LocalAddress, most: usize },
    /// Says nothing of the line, of the address or of the broker: none of them was tried.
    #[error("no connection to the broker could be opened from {from}; the network is not at fault: {lack}")]
    HostExhausted {
        from: LocalAddress,
        lack: Lack,
        #[source]
        err: io::Error,
    },
}

impl DialError {
    /// The word in metrics and logs. Never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind_failed",
            Self::AddressGone { .. } => "address_gone",
            Self::Connect { .. } => "connect_failed",
            Self::TimedOut { .. } | Self::OutOfTime { .. } | Self::TooLittleTime { .. } => "connect_timed_out",
            Self::WrongSource { .. } => "wrong_source",
            Self::SeenAsAnother { .. } => "seen_as_another",
            Self::ByIpv4Only { .. } => "ipv4_only",
            Self::Forbidden { .. } | Self::Resolve(ResolveError::Forbidden { .. }) => "destination_forbidden",
            Self::Resolve(ResolveError::NoAddress { .. } | ResolveError::Ipv4Only { .. }) => "no_ipv6_address",
            Self::Resolve(ResolveError::NoIpv4Address { .. }) => "no_ipv4_address",
            Self::Resolve(ResolveError::Failed { .. } | ResolveError::NoServers { .. } | ResolveError::Late { .. }) => {
                "resolve_failed"
            }
            Self::Tls { .. } => "tls_failed",
            Self::TlsTimedOut { .. } => "tls_timed_out",
            Self::Http { .. } => "http_failed",
            Self::TooMany { .. } => "too_many_connections",
            Self::HostExhausted { .. } => "host_exhausted",
        }
    }

    /// May the other leg be tried? A refusal is an answer, not an outage; and what this host lacks, it lacks for both.
    pub const fn may_try_next(&self) -> bool {
        !matches!(
            self,
            Self::Forbidden { .. }
                | Self::ByIpv4Only { .. }
                | Self::Resolve(_)
                | Self::TooMany { .. }
                | Self::HostExhausted { .. }
        )
    }

    /// `other`, unless the error says that this host has run out of something: whatever was tried, that is why it failed.
    pub(super) fn of_host_or(from: LocalAddress, err: io::Error, other: impl FnOnce(io::Error) -> Self) -> Self {
        match Lack::of(&err) {
            Some(lack) => Self::HostExhausted { from, lack, err },
            None => other(err),
        }
    }

    /// The whole chain on one line, for a caller or a log, and what the kernel said of the way when it was asked.
    pub fn chain(&self) -> String {
        let mut text = chain(self);
        if let Some(hint) = self.hint().and_then(Hint::text) {
            text.push_str("; ");
            text.push_str(hint);
        } else if let Self::Bind { from: LocalAddress::Ipv4(from), .. } = self {
            text.push_str(&format!(
                "; {from} is the IPv4 source of egress.ipv4_hosts. Name an address there that an interface of this host has \
                 (ip -4 addr show), or add it: ip addr add {from}/32 dev INTERFACE"
            ));
        } else if let Self::AddressGone { from, .. } = self {
            text.push_str(&format!(
                ", so no order can be sent from it. What to do, as root: ip -6 addr add {from}/128 dev INTERFACE nodad; or, \
                 if the provider routes the whole prefix to this host: ip -6 route add local PREFIX dev lo"
            ));
        }
        text
    }

    const fn hint(&self) -> Option<&Hint> {
        match self {
            Self::Bind { hint, .. }
            | Self::AddressGone { hint, .. }
            | Self::Connect { hint, .. }
            | Self::TimedOut { hint, .. }
            | Self::TlsTimedOut { hint, .. }
            | Self::OutOfTime { hint, .. }
            | Self::TooLittleTime { hint, .. } => Some(hint),
            Self::WrongSource { .. }
            | Self::HostExhausted { .. }
            | Self::Forbidden { .. }
            | Self::ByIpv4Only { .. }
            | Self::Resolve(_)
            | Self::Tls { .. }
            | Self::SeenAsAnother { .. }
            | Self::Http { .. }
            | Self::TooMany { .. } => None,
        }
    }

    /// How the way failed, where it may be to blame.
    pub fn failure(&self) -> Option<Failure> {
        let number = |err: &io::Error| err.raw_os_error().unwrap_or_default();
        match self {
            Self::Bind { err, .. } => Some(Failure::Bind(number(err))),
            Self::Connect { err, .. } => Some(Failure::Connect(number(err))),
            Self::TimedOut { .. } => Some(Failure::Silent),
            Self::TlsTimedOut { .. } => Some(Failure::SilentTls),
            Self::OutOfTime { .. }
            | Self::TooLittleTime { .. }
            | Self::AddressGone { .. }
            | Self::HostExhausted { .. }
            | Self::WrongSource { .. }
            | Self::Forbidden { .. }
            | Self::ByIpv4Only { .. }
            | Self::Resolve(_)
            | Self::Tls { .. }
            | Self::SeenAsAnother { .. }
            | Self::Http { .. }
            | Self::TooMany { .. } => None,
        }
    }

    /// As this error with what `explain` says of it, where the way may be to blame.
    pub(super) fn explained(mut self, explain: impl FnOnce(Failure) -> Hint) -> Self {
        let failure = self.failure();
        if let Self::Bind { hint, .. }
        | Self::Connect { hint, .. }
        | Self::TimedOut { hint, .. }
        | Self::TlsTimedOut { hint, .. } = &mut self
            && let Some(failure) = failure
        {
            *hint = explain(failure);
        }
        self
    }
}

/// Why a name gave no address. Each text says what the servers said and what to do, for somebody who is no network
/// engineer. Nothing was dialled, and no leg has anything to do with it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum ResolveError {
    #[error(
        "{host} has no IPv6 address (no AAAA record), so nothing can be sent to it: Sixgate never falls back to IPv4 by \
         itself. {said}. If it should have one, name other servers in egress.name_servers, or pin its address in \
         egress.resolve. A host of the broker's on which no orders are placed (feeds, data, login) may be named in \
         egress.ipv4_hosts, with the IPv4 address of this host to send from"
    )]
    NoAddress { host: Host, said: String },
    #[error(
        "{host} is in egress.ipv4_hosts and has no IPv4 address (no A record), so nothing can be sent to it. {said}. \
             If it has an IPv6 address now, take it out there"
    )]
    NoIpv4Address { host: Host, said: String },
    #[error("{host} is an IPv4 address, and Sixgate sends over IPv6 only")]
    Ipv4Only { host: Host },
    #[error(
        "the address of {host} is not known, so nothing can be sent to it: the name servers (of {origin}) did not tell it. \
         {said}. See that they run and that this host reaches them (`dig {record} {host}`); or name others in {origin}, \
         or pin its address in egress.resolve. They are asked again by themselves, no restart is needed"
    )]
    Failed { host: Host, record: &'static str, origin: String, said: String },
    #[error(
        "the address of {host} is not known, so nothing can be sent to it: this host has no name servers, {reason}. \
         Write a line such as \"nameserver 2606:4700:4700::1111\" into it (or see why whatever manages it did not), name \
         servers in egress.name_servers, or pin the address in egress.resolve. The file is read again by itself, no \
         restart is needed. ({said})"
    )]
    NoServers { host: Host, reason: String, said: String },
    #[error(
        "{host} leads to {to}, an address that nothing is sent to (rule {rule}): {said}. If it is right, pin it in egress.resolve"
    )]
    Forbidden { host: Host, to: IpAddr, rule: RuleId, said: String },
    #[error(
        "the time ran out while the address of {host} was looked up: the name servers had told nothing after {waited:?}. \
         See that those in /etc/resolv.conf or egress.name_servers answer (`dig {record} {host}`)"
    )]
    Late { host: Host, record: &'static str, waited: Duration },
}

impl ResolveError {
    /// Of a lookup that failed, and nothing is known from before.
    pub(super) fn of(host: &Host, family: Family, failure: &LookupFailure) -> Self {
        let (host, said, origin) = (host.clone(), failure.said(), &failure.servers.origin);
        let whys = || failure.said.iter().map(|(_, why)| why);
        // An entry of /etc/hosts that leads callers here is as it should be: who asked no name server has not found out.
        let of_servers = || failure.said.iter().filter(|(server, _)| server.is_some()).map(|(_, why)| why);
        let forbidden = of_servers().find_map(|why| match why {
            Unusable::Forbidden(to, rule) => Some((*to, *rule)),
            Unusable::Silent(_)
            | Unusable::Unreachable(_)
            | Unusable::Malformed(_)
            | Unusable::NoSuchName
            | Unusable::NoRecord(_)
            | Unusable::Refused(_)
            | Unusable::Truncated(_) => None,
        });
        match (forbidden, origin) {
            (Some((to, rule)), _) => Self::Forbidden { host, to, rule, said },
            // Those that answered agree.
            (None, _) if whys().any(Unusable::is_no_record) => match family {
                Family::V6 => Self::NoAddress { host, said },
                Family::V4 => Self::NoIpv4Address { host, said },
            },
            (None, Origin::Nowhere(reason)) => Self::NoServers { host, reason: reason.clone(), said },
            (None, origin) => Self::Failed { host, record: family.record(), origin: origin.to_string(), said },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::forbidden;
    use super::super::names::Servers;
    use super::*;

    /// Who is told that an entry of /etc/hosts is wrong takes it out, and then callers do not find the gateway.
    #[test]
    fn an_entry_of_the_hosts_file_that_leads_to_the_gateway_is_no_fault_of_the_name() {
        let host = Host::parse("api.dhan.co").unwrap();
        let (server, to) = ("[2001:db8::53]:53".parse().unwrap(), IpAddr::from(std::net::Ipv6Addr::LOCALHOST));
        let rule = forbidden(to).unwrap();
        let of = |said| {
            let servers = Servers { list: vec![server], origin: Origin::Config };
            ResolveError::of(&host, Family::V6, &LookupFailure { servers, said })
        };
        let silent = (Some(server), Unusable::Silent(Duration::from_secs(1)));
        let by_hosts = of(vec![(None, Unusable::Forbidden(to, rule)), silent.clone()]);
        assert!(matches!(by_hosts, ResolveError::Failed { .. }), "{by_hosts:?}");
        let by_server = of(vec![silent, (Some(server), Unusable::Forbidden(to, rule))]);
        assert!(matches!(by_server, ResolveError::Forbidden { .. }), "{by_server:?}");
    }
}
