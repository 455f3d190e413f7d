//! The addresses of the demo's accounts.

use std::path::Path;

use crate::cli::serve_error::ServeError;
use crate::domain::{Pair, SourceAddr};
use crate::net::host_address::LentAddress;

/// The demo accounts' pairs, and what had to be lent for them.
pub(super) enum Addresses {
    /// A pair for each, lent to the loopback interface.
    Own(Vec<Pair>, #[expect(dead_code, reason = "taken back on drop")] Vec<LentAddress>),
    /// `::1` twice, for the one account that there is.
    Shared {
        pair: [Pair; 1],
        /// Why no address could be lent.
        why: std::io::Error,
    },
}

impl Addresses {
    /// Two addresses for each account, of a unique local prefix (RFC 4193), lent to the loopback interface; `::1` twice
    /// where that is not permitted and there is one account. A state folder that is kept keeps its prefix.
    pub(super) fn take(folder: &Path, accounts: u16) -> Result<Self, ServeError> {
        let state = |err| ServeError::State { path: folder.to_owned(), err };
        let invalid = |why| state(std::io::Error::other(why));
        let prefix = prefix(folder)?;
        let (mut pairs, mut lent) = (Vec::new(), Vec::new());
        for number in 1..=accounts {
            let address = |net: &str| SourceAddr::parse(&format!("{prefix}:{net}::{number:x}")).map_err(invalid);
            let pair = Pair { primary: address("a1")?, secondary: address("a2")? };
            for address in [pair.primary, pair.secondary] {
                match LentAddress::lend(address) {
                    Ok(address) => lent.push(address),
                    Err(why) if accounts == 1 => {
                        let own = SourceAddr::new(std::net::Ipv6Addr::LOCALHOST).map_err(invalid)?;
                        return Ok(Self::Shared { pair: [Pair { primary: own, secondary: own }], why });
                    }
                    Err(err) => return Err(ServeError::NoAddresses { accounts, err }),
                }
            }
            pairs.push(pair);
        }
        Ok(Self::Own(pairs, lent))
    }

    pub(super) fn pairs(&self) -> &[Pair] {
        match self {
            Self::Own(pairs, _) => pairs,
            Self::Shared { pair, .. } => pair,
        }
    }
}

/// `fdxx:xxxx:xxxx`, made once for a state folder.
fn prefix(folder: &Path) -> Result<String, ServeError> {
    let state = |err| ServeError::State { path: folder.to_owned(), err };
    let kept = folder.join("sandbox-prefix");
    if let Ok(text) = std::fs::read_to_string(&kept) {
        return Ok(text.trim().to_owned());
    }
    let mut id = [0u8; 5];
    getrandom::fill(&mut id).map_err(|_| state(std::io::Error::other("the kernel gave no random bytes")))?;
    let [a, b, c, d, e] = id;
    let text = format!("fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}");
    std::fs::write(&kept, &text).map_err(state)?;
    Ok(text)
}
