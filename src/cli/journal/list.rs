//! `sixgate journal list`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::filter::Filter;
use super::location::Location;
use super::row::{HEADER, row};
use crate::orders::journal::{self, Order, Query};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub(super) location: Location,
    #[command(flatten)]
    filter: Filter,
    /// How many lines.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// The oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// JSON Lines, each as it stands in the journal.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(folder: &Path, arguments: &ListArguments) -> io::Result<ExitCode> {
    let order = if arguments.oldest_first { Order::OldestFirst } else { Order::NewestFirst };
    let page = journal::query(folder, &Query { limit: arguments.limit, ..arguments.filter.query(order) })?;
    let mut out = io::stdout().lock();
    if arguments.json {
        for recorded in &page.items {
            journal::write_json(&mut out, recorded)?;
        }
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(HEADER);
        for recorded in &page.items {
            table.add_row(row(recorded));
        }
        writeln!(out, "{}", table.trim_fmt())?;
        if page.next.is_some() {
            eprintln!("there are more; see --limit and --since");
        }
    }
    if page.unreadable > 0 {
        eprintln!("{} cannot be read; see `sixgate journal verify`", crate::domain::counted(page.unreadable, "line"));
    }
    Ok(ExitCode::SUCCESS)
}
