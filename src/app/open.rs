//! Opening what is on the disk: the master key, the store, the order journal.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::StartError;
use super::master_key::master_key;
use crate::accounts::Accounts;
use crate::config::Config;
use crate::orders::Orders;
use crate::orders::limits::Rules;
use crate::orders::restore::Recalled;
use crate::store::Store;
use crate::telemetry::events::Events;

pub(super) async fn open_store(config: &Config) -> Result<Store, StartError> {
    let (path, key_file) = (config.state.path.clone(), config.state.master_key_file.clone());
    let open = move || -> Result<Store, StartError> {
        let fail = |err| StartError::Store { path: path.display().to_string(), err };
        let key = master_key(&key_file, &path)?;
        Store::open(&path, key).map_err(fail)
    };
    // It reads and syncs files: not on a worker of the runtime.
    tokio::task::spawn_blocking(open).await.map_err(|_| StartError::Interrupted)?
}

pub(super) async fn open_orders(
    config: &Config,
    accounts: Arc<Accounts>,
    events: Events,
) -> Result<(Orders, Recalled), StartError> {
    let (folder, journal) = (config.state.path.join("journal"), config.journal.clone());
    let limits = config.limits.clone();
    let open = move || -> Result<(Orders, Recalled), StartError> {
        let rules = Rules::load(limits.file.as_deref(), limits.margin)?;
        let orders = Orders::open(&folder, journal.fsync, journal.keep, rules, limits.max_wait, events)?;
        let recalled = orders
            .recall(jiff::Timestamp::now(), |line| accounts.customer_of(line.source, line.account.as_ref(), line.at))
            .map_err(|err| StartError::Recall { folder, err })?;
        Ok((orders, recalled))
    };
    // Not on a thread of the runtime: those give way to orders, and so would the journal's, which starts here.
    let (done, opened) = oneshot::channel();
    std::thread::Builder::new()
        .name("journal-open".to_owned())
        .spawn(move || drop(done.send(open())))
        .map_err(StartError::Threads)?;
    opened.await.map_err(|_| StartError::Interrupted)?
}
