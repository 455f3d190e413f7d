//! Writing down, now and then, when client keys were last used.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;

use super::{Account, AccountError, Accounts};
use crate::domain::AccountName;
use crate::domain::tasks::Tasks;
use crate::store::Change;
use crate::store::records::ClientKeyRecord;

/// How often marks are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What was written down may be older by so many seconds.
const WRITE_EVERY: i64 = 3600;
/// How long a stop waits until all are written down.
const WRITE_WITHIN: Duration = Duration::from_secs(3);
/// So many are written down at once.
const TOGETHER: usize = 16;

impl Accounts {
    /// Look at the marks and write down, now and then, until the gateway stops.
    pub async fn write_down_key_use(self: Arc<Self>, tasks: Tasks) {
        let this = &*self;
        loop {
            let is_last = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = tasks.stopping() => true,
            };
            let used: Vec<Arc<Account>> =
                this.rows.pin().values().filter(|row| row.keys.any_used(is_last)).map(Arc::clone).collect();
            let written = futures_util::stream::iter(used)
                .for_each_concurrent(TOGETHER, |row| async move { this.look_at(&row.name, is_last).await });
            if is_last {
                let _ = tokio::time::timeout(WRITE_WITHIN, written).await;
                return;
            }
            written.await;
        }
    }

    async fn look_at(&self, name: &AccountName, is_last: bool) {
        // Whoever cannot be written down now is tried again when it is used again.
        let _ = self.write_down(name, Timestamp::now(), is_last).await;
    }

    async fn write_down(&self, name: &AccountName, now: Timestamp, is_last: bool) -> Result<(), AccountError> {
        let _turn = self.turns.of(name).await;
        let Some(row) = self.lookup(name.as_str()) else { return Ok(()) };
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut change = Change::new();
        let mut is_due = false;
        for (id, old) in self.key_records(name)? {
            let Some(used) = row.keys.use_of(&old.sha256) else { continue };
            used.settle(now);
            let Some(last) = used.last() else { continue };
            let age = last.as_second() - old.last_used_at.map_or(0, Timestamp::as_second);
            if age >= WRITE_EVERY || is_last && age > 0 {
                let id = (name.clone(), id);
                let new = ClientKeyRecord { last_used_at: Some(last), ..old.clone() };
                change = change.unchanged(&id, &old).put(&id, &new);
                is_due = true;
            }
        }
        if is_due {
            self.store.commit(change).await?;
        }
        Ok(())
    }
}
