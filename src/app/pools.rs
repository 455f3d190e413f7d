//! The pools of the configuration: made where they are absent.

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
        Some(known) if known.prefixes.primary == pool.primary && known.prefixes.secondary == pool.secondary => Ok(true),
        Some(known) => Err(PoolError::Differs {
            name: known.name,
            has: format!("{} and {}", known.prefixes.primary, known.prefixes.secondary),
        }),
        None => Ok(false),
    }
}
