//! What a person is wanted for, on every page: accounts in trouble, and orders of which nobody knows what became.
//!
//! Accounts are counted at most once in two seconds for all who look together. The journal keeps in memory which orders
//! those are, so that nothing is read for a page.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use maud::{Markup, html};

use super::super::state::Admin;
use super::words;
use crate::accounts::overview::{Counts, Trouble, Wanted};
use crate::domain::lock;
use crate::orders::journal::{MOST_UNSETTLED, UnsettledCount};

/// How old the counts of a page may be.
const COUNTS: Duration = Duration::from_secs(2);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Attention {
    counts: ArcSwap<Counts>,
    orders: ArcSwap<UnsettledCount>,
    counted: Mutex<Option<Instant>>,
}

impl Attention {
    /// Look again if it is time.
    pub(super) async fn refresh(&self, admin: &Admin) {
        self.orders.store(Arc::new(admin.orders.journal.unsettled_count()));
        let is_due = {
            let (mut counted, now) = (lock(&self.counted), Instant::now());
            let is_due = counted.is_none_or(|at| now >= at + COUNTS);
            if is_due {
                *counted = Some(now);
            }
            is_due
        };
        if is_due {
            let accounts = Arc::clone(&admin.accounts);
            let counted = tokio::task::spawn_blocking(move || accounts.overview(&Wanted::default()).counts).await;
            if let Ok(counts) = counted {
                self.counts.store(Arc::new(counts));
            }
        }
    }

    /// How many accounts are in which trouble.
    pub(super) fn counts(&self) -> Counts {
        **self.counts.load()
    }

    /// The strips under the navigation.
    pub(super) fn strips(&self) -> Markup {
        let (orders, need) = (self.orders.load(), self.counts().of(Trouble::NeedsPerson));
        let not_alone = self.counts().of(Trouble::NotAlone);
        html! {
            div #attention data-along {
                @if orders.count > 0 {
                    p.strip.alarm {
                        strong { (words::BAD) " " (orders_text(orders.count)) }
                        " Look in the order book before you send "
                        @if orders.count == 1 { "it" } @else { "one" } " again. "
                        @match orders.newest.as_ref().filter(|_| orders.count == 1) {
                            Some(id) => a href={ "/console/orders/" (super::call::part(id.as_str())) } { "Look at it" },
                            None => a href="/console/orders?outcome=unknown" { "Look at them" },
                        }
                    }
                }
                @if not_alone > 0 {
                    p.strip.alarm {
                        strong { (words::BAD) " " (not_alone_text(not_alone)) }
                        " Two gateways can send an order twice. "
                        a href="/console?problem=not_alone" { "See which, and what to do" }
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
        MOST_UNSETTLED => format!("Nobody knows what became of {} orders or more.", words::number(count)),
        count => format!("Nobody knows what became of {count} orders."),
    }
}

fn not_alone_text(accounts: u64) -> String {
    match accounts {
        1 => "Something else logs in or places orders for an account.".to_owned(),
        several => format!("Something else logs in or places orders for {several} accounts."),
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
        assert!(orders_text(MOST_UNSETTLED).contains("1,000 orders or more"));
    }
}
