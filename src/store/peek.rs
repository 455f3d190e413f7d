//! What a folder's newest export holds, read without opening the store: nothing is locked, written or mended. A store
//! that is in use exports a second after a change, so this may be that much behind.
//!
//! Not here: what an export is (`export`), loading one after damage (`open`).

use std::path::Path;

use super::records::{self, Record, RecordKey};
use super::{MasterKey, Sealer, StoreError, export, unreadable};

/// The records of one kind; nothing where there is no store, or it has made no export yet.
///
/// # Errors
/// [`StoreError::WrongKey`], [`StoreError::Corrupt`] where no export opens as a whole, [`StoreError::Io`].
pub fn exported<R: Record>(path: &Path, key: &MasterKey) -> Result<Vec<(R::Key, R)>, StoreError> {
    let fail = |err: std::io::Error| StoreError::of(err.into(), "read the exports of", path);
    let sealer = Sealer::new(key)?;
    let exports = path.join("exports");
    let Some((_, newest)) = export::list(&exports).map_err(fail)?.into_iter().next() else { return Ok(Vec::new()) };
    let header = export::read_header(&newest).map_err(fail)?;
    if header.key_id != sealer.key_id() {
        return Err(StoreError::WrongKey { path: path.to_path_buf() });
    }
    let Some((_, _, entries)) = export::newest_good(&exports, &sealer).map_err(fail)? else {
        return Err(StoreError::Corrupt { path: path.to_path_buf(), why: "no export opens".to_owned() });
    };
    let of_tree = entries.iter().filter(|(physical, _)| physical.first() == Some(&R::TREE.id()));
    let read = of_tree.map(|(physical, held)| {
        let plain = if R::TREE.is_secret() {
            let key = physical.get(1..).unwrap_or_default();
            let plain = sealer.open_record(R::TREE.name(), key, held).map_err(|_| unreadable::<R>(physical))?;
            records::decode::<R>(&plain)
        } else {
            records::decode::<R>(held)
        };
        let key = physical.get(1..).and_then(R::Key::from_bytes);
        key.zip(plain).ok_or_else(|| unreadable::<R>(physical))
    });
    read.collect()
}
