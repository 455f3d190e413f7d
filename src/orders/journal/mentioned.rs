//! Which orders stand in the journal.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::entry::Entry;
use super::query::{Order, Query, query};
use super::redact::SafeText;
use crate::domain::AccountName;

/// Lines that are looked at in one go.
const LINES: usize = 10_000;

/// Of each order, by any of its ids: does it stand in a line of this account, from `since` on? The newest lines are read
/// first, about `lines` of them at most, and no more once all were found. Reads files: not on a runtime worker.
///
/// # Errors
/// When files cannot be read.
pub fn mentioned(
    folder: &Path,
    account: &AccountName,
    orders: &[Vec<SafeText>],
    since: Timestamp,
    lines: usize,
) -> io::Result<Vec<bool>> {
    let mut found = vec![false; orders.len()];
    // A correlation id may be a label of many orders.
    let mut of = HashMap::<&SafeText, Vec<usize>>::new();
    for (number, ids) in orders.iter().enumerate() {
        ids.iter().for_each(|id| of.entry(id).or_default().push(number));
    }
    let mut wanted = Query { since: Some(since), limit: LINES, order: Order::NewestFirst, ..Query::default() };
    for _ in 0..lines.div_ceil(LINES) {
        if found.iter().all(|found| *found) {
            break;
        }
        // Lines of other accounts are read too, and count.
        let page = query(folder, &wanted)?;
        let own = page.items.iter().map(|line| &line.entry).filter(|entry| entry.account.as_ref() == Some(account));
        for number in own.flat_map(ids_of).filter_map(|id| of.get(&id)).flatten() {
            if let Some(found) = found.get_mut(*number) {
                *found = true;
            }
        }
        match page.next {
            Some(next) => wanted.cursor = Some(next),
            None => break,
        }
    }
    Ok(found)
}

fn ids_of(entry: &Entry) -> impl Iterator<Item = SafeText> {
    // Those of a multi-order are in its terms.
    let of_each = entry.terms().iter().filter_map(|terms| terms.correlation_id.as_deref()).map(SafeText::new);
    entry.correlation_id.iter().cloned().chain(entry.order_ids().map(SafeText::new)).chain(of_each)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Journal, Kind, Options};
    use super::*;
    use crate::orders::terms::Terms;

    /// An order that is taken for a stranger's raises an alarm in the middle of a trading day.
    #[test]
    fn an_order_is_found_by_any_of_its_ids_in_its_own_account() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let journal = Journal::open(dir.path(), &Options::new(false, Duration::from_secs(86_400)), now).unwrap();
        let name = |text: &str| AccountName::parse(text).unwrap();
        let word = |text: &str| Some(SafeText::new(text));
        let line = |account: &str| Entry { account: Some(name(account)), ..Entry::new(Kind::Outcome, now) };
        let multi = [Terms { correlation_id: Some("part-2".into()), ..Terms::default() }];
        for entry in [
            Entry { correlation_id: word("in-flight"), ..line("alpha") },
            Entry { order_id: word("11,12"), ..line("alpha") },
            Entry { terms: Some(multi.into()), ..line("alpha") },
            Entry { correlation_id: word("others"), ..line("beta") },
        ] {
            journal.append(&entry).unwrap();
        }
        let orders: Vec<Vec<SafeText>> =
            [["1", "in-flight"], ["12", "label"], ["2", "part-2"], ["3", "others"], ["4", "4"]]
                .map(|ids| ids.map(SafeText::new).to_vec())
                .to_vec();
        let found = mentioned(dir.path(), &name("alpha"), &orders, Timestamp::MIN, 1_000).unwrap();
        assert_eq!(found, [true, true, true, false, false]);
        assert_eq!(mentioned(dir.path(), &name("alpha"), &orders[..1], Timestamp::MAX, 1_000).unwrap(), [false]);
        assert!(mentioned(dir.path(), &name("alpha"), &[], Timestamp::MIN, 1_000).unwrap().is_empty());
    }
}
