//! The pools of the configuration: made where they are absent.

use ipnet::Ipv6Net;

use super::master_key::existing_master_key;
use super::start_error::{PoolError, StartError};
use crate::addressing::{Addressing, AddressingError};
use crate::config::{Config, Pool};
use crate::domain::chain;
use crate::store::records::PoolRecord;
use crate::store::{self, StoreError};

/// A pool of the file is made if it is absent; one that is there must be the same.
pub(super) async fn make_pool(addressing: &Addressing, pool: &Pool) -> Result<(), PoolError> {
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
pub(super) fn is_made(addressing: &Addressing, pool: &Pool) -> Result<bool, PoolError> {
    match addressing.pools().into_iter().find(|known| known.name == pool.name) {
        Some(known) => is_same(pool, known.prefixes.primary, known.prefixes.secondary).map(|()| true),
        None => Ok(false),
    }
}

/// Has the pool of the configuration the prefixes of the one that is there?
fn is_same(pool: &Pool, primary: Ipv6Net, secondary: Ipv6Net) -> Result<(), PoolError> {
    if (primary, secondary) == (pool.primary, pool.secondary) {
        return Ok(());
    }
    Err(PoolError::Differs { name: pool.name.clone(), has: format!("{primary} and {secondary}") })
}

/// What a start would refuse because of the state that is there, by key. The state is not opened for it, and may be in
/// use: its newest export is read.
///
/// # Errors
/// Why the state could not be looked at, where a start may well succeed: another user may read it.
pub fn refused_by_state(config: &Config) -> Result<Vec<(String, String)>, String> {
    let (path, file) = (&config.state.path, &config.state.master_key_file);
    let key = match existing_master_key(file, path) {
        Ok(Some(key)) => key,
        Ok(None) => return Ok(Vec::new()),
        Err(err @ StartError::KeyMissing { .. }) => {
            return Ok(vec![("state.master_key_file".to_owned(), chain(&err))]);
        }
        Err(err) => return Err(chain(&err)),
    };
    let stored = match store::exported::<PoolRecord>(path, &key) {
        Ok(stored) => stored.unwrap_or_default(),
        Err(err @ StoreError::WrongKey { .. }) => return Ok(vec![("state.master_key_file".to_owned(), chain(&err))]),
        Err(err) => return Err(chain(&err)),
    };
    let differ = config.pools.iter().enumerate().filter_map(|(index, pool)| {
        let (_, known) = stored.iter().find(|(name, _)| *name == pool.name)?;
        let err = is_same(pool, known.primary, known.secondary).err()?;
        Some((format!("pool.{index}"), err.to_string()))
    });
    Ok(differ.collect())
}
