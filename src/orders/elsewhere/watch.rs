//! Looking at books beside everything else: one at a time, on a thread that may wait for the disk.

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::found::{OrdersElsewhere, Seen};
use super::look::{self, BookRow, ForeignSender};
use super::queue::{Look, Shown};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, BootInstant, ClientId, india, steady};
use crate::orders::Orders;
use crate::orders::journal::{SafeText, mentioned};
use crate::telemetry::events::Subject;

/// Orders of one book for which the journal is read.
const MOST: usize = 4_000;
/// How far back it is read: a forever order of last month may come into today's book under its own id.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(31 * 24);
/// Lines that are read at most.
const LINES: usize = 500_000;

impl Orders {
    /// The broker showed this as an account's order book. Cheap: it is looked at later.
    pub fn saw_book(&self, account: &AccountName, customer: &ClientId, elsewhere: &Arc<OrdersElsewhere>, body: &Bytes) {
        if elsewhere.may_look(BootInstant::now()) {
            self.look_later(account, customer, elsewhere, Shown::Book(body.clone()));
        }
    }

    /// The broker showed this order of an account. Cheap: it is looked at later.
    pub fn saw_order(
        &self,
        account: &AccountName,
        customer: &ClientId,
        elsewhere: &Arc<OrdersElsewhere>,
        row: BookRow,
    ) {
        self.look_later(account, customer, elsewhere, Shown::One(row));
    }

    fn look_later(&self, account: &AccountName, customer: &ClientId, elsewhere: &Arc<OrdersElsewhere>, shown: Shown) {
        let (account, customer) = (account.clone(), customer.clone());
        let look = Look { account, customer, elsewhere: Arc::clone(elsewhere), shown };
        self.books.put(look);
    }

    /// Look at what was shown, one after the other, until the gateway stops.
    pub async fn watch_books(self: Arc<Self>, tasks: Tasks) {
        let Some(mut waiting) = self.books.take() else { return };
        loop {
            let look = tokio::select! {
                look = waiting.recv() => look,
                () = tasks.stopping() => return,
            };
            let Some(look) = look else { return };
            let orders = Arc::clone(&self);
            // What it finds is kept where it was looked for.
            let _ = tokio::task::spawn_blocking(move || orders.look_at(look)).await;
        }
    }

    fn look_at(&self, look: Look) {
        let Look { account, customer, elsewhere, shown } = look;
        let read = match shown {
            Shown::Book(body) => look::rows(&body),
            Shown::One(row) => Some((vec![row], false)),
        };
        let Some((rows, whole_book)) = read else { return };
        let now = steady::now();
        let day = india::local(now).date();
        let is_strange = |row: &BookRow| row.sender().is_some() && !self.known.has(&customer, &row.order_id);
        let rows: Vec<BookRow> = rows.into_iter().filter(is_strange).collect();
        let known = elsewhere.known(&rows, day);
        let (known, asked): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| known.contains(&row.order_id));
        let ids: Vec<Vec<SafeText>> = asked.iter().take(MOST).map(ids).collect();
        let since = now.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        let own = match mentioned(self.journal.folder(), &account, &ids, since, LINES) {
            Ok(own) => own,
            Err(err) => {
                tracing::info!(%account, error = %err, "orders of the broker's book could not be looked for in the journal");
                return;
            }
        };
        let strange = asked.into_iter().zip(own).filter(|(_, own)| !own).map(|(row, _)| row);
        let foreign: Vec<(BookRow, ForeignSender)> =
            known.into_iter().chain(strange).filter_map(|row| row.sender().map(|sender| (row, sender))).collect();
        let seen = Seen { found_at: now, day, whole_book, may_be_own: !self.journal.remembers_all() };
        if elsewhere.found(foreign, seen)
            && let Some(found) = elsewhere.of_today(now)
        {
            tracing::warn!(%account, code = found.code(), orders = found.count, newest = &*found.newest.order_id,
                "{}", found.summary());
            let told = move || {
                serde_json::json!({ "orders_from_elsewhere": found.count, "code": found.code(),
                    "order_id": found.newest.order_id, "correlation_id": found.newest.correlation_id,
                    "summary": found.summary(), "action": found.action() })
            };
            self.events.publish(Subject::Order, &account, told);
        }
    }
}

/// By what an order can stand in the journal.
fn ids(row: &BookRow) -> Vec<SafeText> {
    std::iter::once(&row.order_id).chain(&row.correlation_id).map(|id| SafeText::new(id)).collect()
}
