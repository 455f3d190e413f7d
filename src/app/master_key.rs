//! The master key: where it comes from.

use std::path::Path;

use super::error::StartError;
use crate::store::seal::MasterKey;

/// The name of the systemd credential (`LoadCredential=`) that holds it.
const MASTER_KEY_CREDENTIAL: &str = "sixgate.master-key";

/// The key of the state, which is made if there is neither.
pub(super) fn master_key(file: &Path, state: &Path) -> Result<MasterKey, StartError> {
    match existing_master_key(file, state)? {
        Some(key) => Ok(key),
        None => Ok(MasterKey::load_or_create(file)?),
    }
}

/// From the environment, else from a systemd credential, else from the file; nothing before the first start.
pub(super) fn existing_master_key(file: &Path, state: &Path) -> Result<Option<MasterKey>, StartError> {
    if let Some(hex) = crate::store::handed_over::key() {
        return Ok(Some(MasterKey::from_hex(&hex)?));
    }
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(MASTER_KEY_CREDENTIAL));
    if let Some(path) = credential.filter(|path| path.exists()) {
        return Ok(Some(MasterKey::load_credential(&path)?));
    }
    if file.exists() {
        return Ok(Some(MasterKey::load_or_create(file)?));
    }
    // A new key cannot open what another one sealed; making one would only hide that the right one is missing.
    if state.join("stamp").exists() {
        return Err(StartError::KeyMissing { file: file.to_owned(), state: state.to_owned() });
    }
    Ok(None)
}
