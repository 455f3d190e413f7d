//! Text that others wrote, made fit for a terminal.

/// Without control characters: some texts come from the broker, and none may move
/// the cursor of whoever reads them.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
