//! What is known of orders from elsewhere, of each account.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use jiff::civil::Date;

use super::look::{BookRow, ForeignSender};
use crate::domain::{BootInstant, india, lock};

/// The book of one account is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// And once there are such orders, each look of which may read much of the journal.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Orders that are known to be from elsewhere, of one account. The broker takes 7,000 a day.
const MOST: usize = 16 * 1024;

/// Orders of a day that came from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignOrders {
    /// Whose they are: another gateway's, where there are any of those.
    pub sender: ForeignSender,
    /// How many there are of that sender.
    pub count: usize,
    /// The newest of them.
    pub newest: BookRow,
    /// When the book was looked at.
    pub found_at: Timestamp,
    /// Lines of the own journal lack, so they may be the gateway's own.
    pub may_be_own: bool,
    day: Date,
}

impl ForeignOrders {
    /// The word in the API. Never changes.
    pub const fn code(&self) -> &'static str {
        match self.sender {
            ForeignSender::Gateway => "another_gateway_trades",
            ForeignSender::Program => "another_program_trades",
        }
    }

    /// One sentence that says what was found.
    pub fn summary(&self) -> String {
        let (orders, have) = if self.count == 1 { ("1 order", "it") } else { ("orders", "them") };
        let orders = if self.count == 1 { orders.to_owned() } else { format!("{} {orders}", self.count) };
        let newest = self.newest.described();
        let lacks = if self.may_be_own { "; lines of this gateway's journal lack, so they may be its own" } else { "" };
        match self.sender {
            ForeignSender::Gateway => format!(
                "Dhan's order book of today has {orders} with an id as a gateway makes it, and this gateway's journal does \
                 not have {have} ({newest}): another gateway places orders for this account, most often one that was \
                 started from a copy of the state folder{lacks}"
            ),
            ForeignSender::Program => format!(
                "Dhan's order book of today has {orders} with an id that did not come through this gateway ({newest}): \
                 another program places orders for this account by Dhan's API; orders given by hand have no id and are \
                 not counted{lacks}"
            ),
        }
    }

    /// What to do about it.
    pub const fn action(&self) -> &'static str {
        match self.sender {
            ForeignSender::Gateway => {
                "find the other gateway and stop it: each login of one ends the other's token, and neither knows what the \
                 other has sent. If this gateway's state or journal was restored or lost today, these may be its own \
                 earlier orders: compare them with the order book; they are not told any more tomorrow"
            }
            ForeignSender::Program => {
                "find that program: its orders count in Dhan's limits, and this gateway can neither halt it nor keep it \
                 from sending an order twice. Let it send through this gateway, or stop it"
            }
        }
    }
}

/// What is known of such orders of one account.
#[derive(Debug, Default)]
pub struct OrdersElsewhere {
    last: ArcSwapOption<ForeignOrders>,
    looked: Mutex<Looked>,
}

#[derive(Debug, Default)]
struct Looked {
    at: Option<BootInstant>,
    day: Option<Date>,
    /// Orders of that day that the journal does not have, so that it is not read for them again.
    foreign: HashSet<Box<str>>,
}

impl Looked {
    /// What was found on another day is over.
    fn begin(&mut self, day: Date) {
        if self.day != Some(day) {
            *self = Self { at: self.at, day: Some(day), foreign: HashSet::new() };
        }
    }
}

impl OrdersElsewhere {
    /// Those of the day of this moment.
    pub fn of_today(&self, now: Timestamp) -> Option<Arc<ForeignOrders>> {
        self.last.load_full().filter(|found| found.day == india::local(now).date())
    }

    /// Is it time to look at the book again? Whoever is told so looks.
    pub(super) fn may_look(&self, now: BootInstant) -> bool {
        let wait = if self.last.load().is_some() { LOOK_AGAIN } else { LOOK_EVERY };
        let mut looked = lock(&self.looked);
        let is_due = looked.at.is_none_or(|at| now.since(at) >= wait);
        if is_due {
            looked.at = Some(now);
        }
        is_due
    }

    /// Which of these were found before to be from elsewhere?
    pub(super) fn known(&self, rows: &[BookRow], day: Date) -> HashSet<Box<str>> {
        let mut looked = lock(&self.looked);
        looked.begin(day);
        rows.iter().filter_map(|row| looked.foreign.get(&row.order_id).cloned()).collect()
    }

    /// What was found in the book, or of one order. `true` if that is news.
    pub(super) fn found(&self, mut foreign: Vec<(BookRow, ForeignSender)>, seen: Seen) -> bool {
        let mut looked = lock(&self.looked);
        looked.begin(seen.day);
        for (row, _) in &foreign {
            if looked.foreign.len() < MOST {
                looked.foreign.insert(row.order_id.clone());
            }
        }
        drop(looked);
        let before = self.last.load_full().filter(|before| before.day == seen.day);
        let sender = foreign.iter().map(|(_, sender)| *sender).max();
        foreign.retain(|(_, one)| Some(*one) == sender);
        let newest =
            foreign.iter().map(|(row, _)| row).max_by(|a, b| (&a.made, &a.order_id).cmp(&(&b.made, &b.order_id)));
        let (Some(sender), Some(newest)) = (sender, newest.cloned()) else {
            // One order that is ours says nothing of the others.
            if seen.whole_book {
                self.last.store(None);
            }
            return false;
        };
        // Nor does one that is not ours say how many there are.
        if !seen.whole_book && before.as_ref().is_some_and(|before| before.sender >= sender) {
            return false;
        }
        let count = foreign.len();
        let Seen { found_at, may_be_own, day, .. } = seen;
        let is_news = before.is_none_or(|before| before.sender != sender);
        self.last.store(Some(Arc::new(ForeignOrders { sender, count, newest, found_at, may_be_own, day })));
        is_news
    }
}

/// When and how orders were seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) found_at: Timestamp,
    pub(super) day: Date,
    pub(super) whole_book: bool,
    pub(super) may_be_own: bool,
}
