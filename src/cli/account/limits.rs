//! `sixgate account limits`.

use std::process::ExitCode;

use crate::cli::client::Client;
use crate::cli::failure::CallError;
use crate::cli::table::{self, list, text};

pub(super) async fn limits(client: &Client, name: &str, json: bool) -> Result<ExitCode, CallError> {
    let answer = client.get(&["v1", "accounts", name, "limits"]).await?;
    if json {
        table::print(&answer.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let value = answer.value()?;
    let columns = ["/class", "/seconds", "/used", "/reserved", "/allowed", "/limit"];
    let rows = list(&value, "/items").iter().map(|item| columns.map(|column| text(item, column)));
    let header = ["COUNTS", "SECONDS", "USED", "ON THEIR WAY", "ALLOWED", "LIMIT"];
    let waiting = text(&value, "/waiting");
    table::print(&format!("{}\n\nrequests that wait for room: {waiting}", table::table(header, rows)))?;
    Ok(ExitCode::SUCCESS)
}
