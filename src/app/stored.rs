//! What a start would refuse because of the state that is there.

use super::error::StartError;
use super::master_key::existing_master_key;
use super::pools::is_same;
use crate::config::Config;
use crate::domain::chain;
use crate::store::records::PoolRecord;
use crate::store::{self, StoreError};

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
        Ok(stored) => stored,
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
