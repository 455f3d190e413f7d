//! Client keys of an account: made, listed and deleted.

use jiff::Timestamp;

use super::{AccountError, Accounts, NewKey};
use crate::domain::AccountName;
use crate::store::records::ClientKeyRecord;
use crate::store::{Change, StoreError};

impl Accounts {
    /// Make a client key. Its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub async fn add_key(&self, name: &AccountName) -> Result<NewKey, AccountError> {
        let _turn = self.turns.of(name).await;
        let account = self.stored(name)?;
        let key = NewKey::generate().map_err(|why| AccountError::Invalid { field: "key", why })?;
        let id = (name.clone(), key.id.clone());
        let record = ClientKeyRecord { sha256: key.digest(), created_at: Timestamp::now() };
        self.commit(name, Change::new().unchanged(name, &account).absent::<ClientKeyRecord>(&id).put(&id, &record))
            .await?;
        self.publish(name)?;
        Ok(key)
    }

    /// Client keys of an account: id and when each was made.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub fn keys(&self, name: &AccountName) -> Result<Vec<(String, Timestamp)>, AccountError> {
        self.stored(name)?;
        Ok(self.key_records(name)?.into_iter().map(|(id, record)| (id, record.created_at)).collect())
    }

    /// Delete a client key.
    ///
    /// # Errors
    /// [`AccountError::NoSuch`].
    pub async fn delete_key(&self, name: &AccountName, id: &str) -> Result<(), AccountError> {
        let _turn = self.turns.of(name).await;
        self.stored(name)?;
        if !self.key_records(name)?.iter().any(|(known, _)| known == id) {
            return Err(AccountError::NoSuch("client key"));
        }
        let key = (name.clone(), id.to_owned());
        let change = Change::new().present::<ClientKeyRecord>(&key).delete::<ClientKeyRecord>(&key);
        match self.store.commit(change).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => {
                self.publish(name)?;
                return Err(AccountError::NoSuch("client key"));
            }
            Err(err) => return Err(err.into()),
        }
        self.publish(name)?;
        Ok(())
    }

    pub(super) fn key_records(&self, name: &AccountName) -> Result<Vec<(String, ClientKeyRecord)>, AccountError> {
        let mut found = Vec::new();
        let mut after = (name.clone(), String::new());
        loop {
            let page = self.store.page::<ClientKeyRecord>(Some(&after), 64)?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = last.clone();
            for ((account, id), record) in page {
                if account != *name {
                    return Ok(found);
                }
                found.push((id, record));
            }
        }
    }
}
