//! The addresses of the demo's accounts, and some to give to further ones.

use std::path::Path;

use crate::addressing::Prefixes;
use crate::cli::serve_error::ServeError;
use crate::domain::{Pair, SourceAddr};
use crate::net::host_address::LentAddress;

/// Of the prefixes of the pool, which have few addresses, as each of them is lent.
const POOL_LENGTH: u8 = 125;

/// The demo accounts' pairs, and what had to be lent for them.
pub(super) enum Addresses {
    /// A pair for each and a pool of others, lent to the loopback interface.
    Own {
        pairs: Vec<Pair>,
        pool: Prefixes,
        #[expect(dead_code, reason = "taken back on drop")]
        lent: Vec<LentAddress>,
    },
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
        let mut pairs = Vec::with_capacity(accounts.into());
        for number in 1..=accounts {
            let address = |net: &str| SourceAddr::parse(&format!("{prefix}:{net}::{number:x}")).map_err(invalid);
            pairs.push(Pair { primary: address("a1")?, secondary: address("a2")? });
        }
        let net = |net: &str| {
            let text = format!("{prefix}:{net}::/{POOL_LENGTH}");
            text.parse().map_err(|_| state(std::io::Error::other(format!("{text} is no prefix"))))
        };
        let pool = Prefixes::new(net("b1")?, net("b2")?).map_err(|(_, why)| invalid(why))?;
        let spare = (0..pool.size()).filter_map(|index| pool.pair(index));
        let mut lent = Vec::new();
        for Pair { primary, secondary } in pairs.iter().copied().chain(spare) {
            for address in [primary, secondary] {
                match LentAddress::lend(address) {
                    Ok(address) => lent.push(address),
                    Err(why) if accounts == 1 => {
                        let own = SourceAddr::new(std::net::Ipv6Addr::LOCALHOST).map_err(invalid)?;
                        return Ok(Self::Shared { pair: [Pair { primary: own, secondary: own }], why });
                    }
                    Err(err) => return Err(ServeError::NoAddresses { accounts, err }),
                }
            }
        }
        Ok(Self::Own { pairs, pool, lent })
    }

    pub(super) fn pairs(&self) -> &[Pair] {
        match self {
            Self::Own { pairs, .. } => pairs,
            Self::Shared { pair, .. } => pair,
        }
    }

    /// Where accounts that people make get theirs from. `::1` is no pool.
    pub(super) fn pool(&self) -> Option<&Prefixes> {
        match self {
            Self::Own { pool, .. } => Some(pool),
            Self::Shared { .. } => None,
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
