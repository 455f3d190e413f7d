//! The pools of the configuration: made where they are absent.

use ipnet::Ipv6Net;

use crate::addressing::{Addressing, AddressingError};
use crate::config::PoolConfig;

/// Why a pool of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("pool {name} of the configuration cannot be made")]
    Make {
        name: String,
        #[source]
        err: AddressingError,
    },
    #[error(
        "pool {name} of the configuration exists already with the prefixes {has}; pools are not changed, give the new one another name"
    )]
    Differs { name: String, has: String },
}

/// A pool of the file is made if it is absent; one that is there must be the same.
pub(super) async fn make_pool(addressing: &Addressing, pool: &PoolConfig) -> Result<(), PoolError> {
    let fail = |err| PoolError::Make { name: pool.name.clone(), err };
    if is_made(addressing, pool)? {
        return Ok(());
    }
    match addressing.create_pool(&pool.name, pool.primary, pool.secondary).await {
        // The accounts that have pairs do not need it.
        Err(err @ AddressingError::NoRoom { .. }) => {
            tracing::error!(pool = pool.name, "the pool was not made: {err}");
            Ok(())
        }
        made => made.map_err(fail),
    }
}

/// Is this pool there?
pub(super) fn is_made(addressing: &Addressing, pool: &PoolConfig) -> Result<bool, PoolError> {
    match addressing.pools().into_iter().find(|known| known.name == pool.name) {
        Some(known) => is_same(pool, known.prefixes.primary, known.prefixes.secondary).map(|()| true),
        None => Ok(false),
    }
}

/// Has the pool of the configuration the prefixes of the one that is there?
pub(super) fn is_same(pool: &PoolConfig, primary: Ipv6Net, secondary: Ipv6Net) -> Result<(), PoolError> {
    if (primary, secondary) == (pool.primary, pool.secondary) {
        return Ok(());
    }
    Err(PoolError::Differs { name: pool.name.clone(), has: format!("{primary} and {secondary}") })
}
