//! What a failed dial says of the line that it went by.

use super::health::{PathState, Reason};
use crate::egress::DialError;

/// What a failed dial says of the leg's line.
pub(super) const fn line_of(err: &DialError) -> PathState {
    PathState::Failed(match err {
        DialError::Bind { .. } => Reason::BindFailed,
        DialError::AddressGone { .. } => Reason::AddressGone,
        DialError::Connect { .. } => Reason::ConnectFailed,
        DialError::TimedOut { .. } | DialError::OutOfTime { .. } => Reason::ConnectTimedOut,
        DialError::WrongSource { .. } => Reason::WrongSource,
        DialError::Tls { .. } => Reason::TlsFailed,
        DialError::TlsTimedOut { .. } => Reason::TlsTimedOut,
        DialError::Http { .. } => Reason::HttpFailed,
        // A request in a hurry, a name, a refusal of ours, or a matter of this process or host.
        DialError::TooLittleTime { .. }
        | DialError::Forbidden { .. }
        | DialError::ByIpv4Only { .. }
        | DialError::SeenAsAnother { .. }
        | DialError::Resolve(_)
        | DialError::TooMany { .. }
        | DialError::HostExhausted { .. } => return PathState::NotTried,
    })
}
