//! What people get to see: tables that can be copied from, and times of two zones.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::advice::commands;
use super::failure::CallError;
use super::text::clean;
use crate::domain::india;

/// Print to standard output, with a newline at the end unless there is one.
///
/// # Errors
/// [`CallError::Output`]; `println!` would panic when a reader went away.
pub(super) fn print(text: &str) -> Result<(), CallError> {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
    written.map_err(|err| CallError::Output { what: "to standard output".to_owned(), err })
}

/// Print a list as the API would if it had no pages.
///
/// # Errors
/// [`CallError::Output`].
pub(super) fn print_items(items: &[Box<RawValue>]) -> Result<(), CallError> {
    let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
    print(&format!("{{\"items\":[{}]}}", items.join(",")))
}

/// Items as values. What the API sent as JSON can be read as JSON.
pub(super) fn values(items: &[Box<RawValue>]) -> Vec<Value> {
    items.iter().map(|item| serde_json::from_str(item.get()).unwrap_or_default()).collect()
}

/// A table without lines, so that a column can be copied; never wrapped, so that an
/// address stays in one piece.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = plain();
    table.set_header(header);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| fit(&cell))));
    shown(table)
}

/// Names and values, a line each.
pub(super) fn lines(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = plain();
    table.add_rows(rows.into_iter().map(|(name, value)| [name.to_owned(), fit(&value)]));
    shown(table)
}

/// A cell as it is shown: without what moves a cursor, and with commands in place of calls of the API.
fn fit(cell: &str) -> String {
    clean(&commands(cell))
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn shown(mut table: Table) -> String {
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A member as text; `-` if it is not there.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    maybe(value, pointer).unwrap_or_else(|| "-".to_owned())
}

/// A member as text, if it is there.
pub(super) fn maybe(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        other @ (Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    }
}

/// Is a member true?
pub(super) fn is(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

/// The items of a member that is a list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A time of the API on India's clocks and in UTC: brokers and exchanges speak in the
/// one, and logs in the other.
pub(super) fn both_clocks(text: &str) -> String {
    match text.parse() {
        Ok(at) => format!("{} IST ({} UTC)", ist(at), utc(at)),
        Err(_) => text.to_owned(),
    }
}

/// A time of the API on India's clocks.
pub(super) fn ist_of(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), |at| format!("{} IST", ist(at)))
}

/// A member that is a time, as `(IST, UTC)` for two columns.
pub(super) fn two_columns(value: &Value, pointer: &str) -> [String; 2] {
    match maybe(value, pointer).and_then(|text| text.parse().ok()) {
        Some(at) => [ist(at), utc(at)],
        None => [text(value, pointer), "-".to_owned()],
    }
}

fn ist(at: Timestamp) -> String {
    india::local(at).strftime("%Y-%m-%d %H:%M").to_string()
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// How long until a time, or since.
pub(super) fn distance(text: &str, now: Timestamp) -> Option<String> {
    let at: Timestamp = text.parse().ok()?;
    let minutes = at.duration_since(now).as_mins();
    let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
    let span = if hours == 0 { format!("{rest} min") } else { format!("{hours} h {rest} min") };
    Some(if at >= now { format!("{span} left") } else { format!("ended {span} ago") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People copy addresses into the broker's page; a border or a wrap breaks them.
    #[test]
    fn a_table_has_no_lines_and_does_not_wrap() {
        let long = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".repeat(8);
        let shown =
            table(["NAME", "ADDRESS"], [["a".to_owned(), long.clone()], ["bcdef".to_owned(), "x\u{1b}[2J".to_owned()]]);
        assert_eq!(shown, format!("NAME   ADDRESS\na      {long}\nbcdef  x [2J"));
        assert_eq!(lines([("name", "a".to_owned()), ("client id", "1".to_owned())]), "name       a\nclient id  1");
    }

    /// Reading the broker's clock as UTC is the classic mistake.
    #[test]
    fn times_are_told_on_both_clocks() {
        assert_eq!(both_clocks("2026-11-23T18:35:03Z"), "2026-11-24 00:05 IST (2026-11-23 18:35 UTC)");
        let now = "2026-11-23T18:35:03Z".parse().unwrap();
        assert_eq!(distance("2026-11-23T19:40:03Z", now).unwrap(), "1 h 5 min left");
        assert_eq!(distance("2026-11-23T18:30:03Z", now).unwrap(), "ended 5 min ago");
        assert_eq!(distance("never", now), None);
    }
}
