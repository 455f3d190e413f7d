//! What a person is wanted for, on every page: accounts in trouble, and orders of which nobody knows what became.
//!
//! Accounts are counted at most once in two seconds for all who look together. The journal is read when the gateway is
//! opened first, when there is another order of that kind, and now and then while there are any: reading a day of it may
//! take a while, so it is read beside the page, which shows what was known last.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::super::state::Admin;
use super::words;
use crate::accounts::overview::{Counts, Trouble, Wanted};
use crate::domain::lock;
use crate::orders::journal::{Recorded, unsettled};

/// How old the counts of a page may be.
const COUNTS: Duration = Duration::from_secs(2);
/// How old the list of orders may be while there are any.
const ORDERS: Duration = Duration::from_secs(30);
/// As far back as `/v1/orders/unsettled` looks.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Orders that are counted; more are "more".
const MOST: usize = 100;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Attention {
    counts: ArcSwap<Counts>,
    orders: ArcSwap<Vec<Recorded>>,
    due: Mutex<Due>,
}

/// When it was looked at last.
#[derive(Debug, Default)]
struct Due {
    counted: Option<Instant>,
    read: Option<(Instant, u64)>,
}

impl Attention {
    /// Look again if it is time. Waits for the counts and not for the journal.
    pub(super) async fn refresh(self: &Arc<Self>, admin: &Admin) {
        let (unknown, now) = (admin.metrics.unknown_outcomes(), Instant::now());
        let (count, read) = {
            let mut due = lock(&self.due);
            let count = due.counted.is_none_or(|at| now >= at + COUNTS);
            let any = !self.orders.load().is_empty();
            let read = due.read.is_none_or(|(at, known)| known != unknown || any && now >= at + ORDERS);
            if count {
                due.counted = Some(now);
            }
            if read {
                due.read = Some((now, unknown));
            }
            (count, read)
        };
        if read {
            self.read(admin);
        }
        if count {
            let accounts = Arc::clone(&admin.accounts);
            let counted = tokio::task::spawn_blocking(move || accounts.overview(&Wanted::default()).counts).await;
            if let Ok(counts) = counted {
                self.counts.store(Arc::new(counts));
            }
        }
    }

    /// An order was settled, or something became of it: it is not shown any more.
    pub(super) fn settled(&self, request_id: &str) {
        let is_other = |line: &&Recorded| line.entry.request_id.as_ref().is_none_or(|id| id.as_str() != request_id);
        let left: Vec<_> = self.orders.load().iter().filter(is_other).cloned().collect();
        self.orders.store(Arc::new(left));
    }

    /// How many accounts are in which trouble.
    pub(super) fn counts(&self) -> Counts {
        **self.counts.load()
    }

    fn read(self: &Arc<Self>, admin: &Admin) {
        let (this, folder) = (Arc::clone(self), admin.orders.journal.folder().to_path_buf());
        let since = Timestamp::now().saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        admin.tasks.spawn(async move {
            let read = tokio::task::spawn_blocking(move || unsettled(&folder, since, MOST)).await;
            // Where it cannot be read, the page of orders says why.
            if let Ok(Ok(found)) = read {
                this.orders.store(Arc::new(found));
            }
        });
    }

    /// The strips under the navigation.
    pub(super) fn strips(&self) -> Markup {
        let (orders, need) = (self.orders.load(), self.counts().of(Trouble::NeedsPerson));
        html! {
            div #attention data-along {
                @if let Some(first) = orders.first() {
                    p.strip.alarm {
                        strong { (words::BAD) " " (orders_text(orders.len())) }
                        " Look in the order book before you send "
                        @if orders.len() == 1 { "it" } @else { "one" } " again. "
                        @match first.entry.request_id.as_ref().filter(|_| orders.len() == 1) {
                            Some(id) => a href={ "/console/orders/" (super::call::part(id.as_str())) } { "Look at it" },
                            None => a href="/console/orders?outcome=unknown" { "Look at them" },
                        }
                    }
                }
                @if need > 0 {
                    p.strip { a href="/console?problem=needs_person" { @if need == 1 { "1 account needs you" } @else { (words::number(need as usize)) " accounts need you" } } }
                }
            }
        }
    }
}

fn orders_text(count: usize) -> String {
    match count {
        1 => "Nobody knows what became of an order.".to_owned(),
        MOST => format!("Nobody knows what became of {MOST} orders or more."),
        count => format!("Nobody knows what became of {count} orders."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_in_which_all_is_well_says_nothing() {
        let shown = Attention::default().strips().into_string();
        assert!(!shown.contains("<p"), "{shown}");
        assert_eq!(orders_text(1), "Nobody knows what became of an order.");
        assert!(orders_text(MOST).contains("100 orders or more"));
    }
}
