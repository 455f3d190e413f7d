//! Which orders of a book may be from elsewhere. Pure.

use crate::orders::correlation;
use crate::orders::lookup::OrderRow;

/// Who sent an order, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForeignSender {
    /// Another program.
    Program,
    /// Another gateway.
    Gateway,
}

/// An order as the broker's book shows it, as far as that says where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookRow {
    /// The broker's id.
    pub order_id: Box<str>,
    /// The id that it was sent under.
    pub correlation_id: Option<Box<str>>,
    /// When it was made, by the broker's clock, in India, as the broker writes it.
    pub made: Option<Box<str>>,
}

impl BookRow {
    /// For a sentence.
    pub(super) fn described(&self) -> String {
        let id = self.correlation_id.as_deref().unwrap_or("-");
        let made = self.made.as_ref().map(|made| format!(", made {made} IST")).unwrap_or_default();
        format!("the newest is {} under the id {id}{made}", self.order_id)
    }

    /// Who sent it, if its id says anything: what was given by hand has none, and where a program gave none the broker
    /// shows `<client id>-<milliseconds>`.
    pub(super) fn sender(&self) -> Option<ForeignSender> {
        let id = self.correlation_id.as_deref()?.trim();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_brokers = id.split_once('-').is_some_and(|(client, at)| digits(client) && digits(at));
        if id.is_empty() || is_brokers {
            return None;
        }
        Some(if correlation::is_made_by_a_gateway(id) { ForeignSender::Gateway } else { ForeignSender::Program })
    }
}

/// The orders of an answer, and whether it was a list. `None` where it cannot be read.
pub(super) fn rows(body: &[u8]) -> Option<(Vec<BookRow>, bool)> {
    let (rows, is_list) = OrderRow::all(body)?;
    let shown = |row: OrderRow| {
        let text = |name: &str| row.word(name).map(|word| Box::from(&*word));
        Some(BookRow { order_id: text("orderId")?, correlation_id: text("correlationId"), made: text("createTime") })
    };
    Some((rows.into_iter().filter_map(shown).collect(), is_list))
}
