//! Where what the broker showed waits to be looked at.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::found::OrdersElsewhere;
use super::look::BookRow;
use crate::domain::{AccountName, ClientId, lock};

/// Books that wait to be looked at. When it is full, one more is not looked at: the next one shows the same.
const WAITING: usize = 16;

/// Where books wait to be looked at.
#[derive(Debug)]
pub struct BookWatch {
    put: mpsc::Sender<Look>,
    waiting: Mutex<Option<mpsc::Receiver<Look>>>,
}

impl Default for BookWatch {
    fn default() -> Self {
        let (put, waiting) = mpsc::channel(WAITING);
        Self { put, waiting: Mutex::new(Some(waiting)) }
    }
}

/// What the broker showed of whose orders.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) account: AccountName,
    pub(super) customer: ClientId,
    pub(super) elsewhere: Arc<OrdersElsewhere>,
    pub(super) shown: Shown,
}

#[derive(Debug)]
pub(super) enum Shown {
    Book(Bytes),
    One(BookRow),
}

impl BookWatch {
    /// One more to look at, if there is room for it.
    pub(super) fn put(&self, look: Look) {
        let _ = self.put.try_send(look);
    }

    /// What is put there; for one who looks.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<Look>> {
        lock(&self.waiting).take()
    }
}
