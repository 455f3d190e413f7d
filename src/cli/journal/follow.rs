//! `sixgate journal follow`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::location::Location;
use super::row::row;
use crate::domain::AccountName;
use crate::orders::journal::{self, Follow};

/// How often new lines are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct FollowArguments {
    #[command(flatten)]
    pub(super) location: Location,
    /// Of this account only.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| AccountName::parse(text))]
    account: Option<AccountName>,
    /// Begin with so many lines that are there already.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    last: usize,
    /// JSON Lines, each as it stands in the journal.
    #[arg(long)]
    json: bool,
}

pub(super) fn follow(folder: &Path, arguments: &FollowArguments) -> io::Result<ExitCode> {
    let mut lines = Follow::from_end(folder, arguments.last)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let mut out = io::stdout().lock();
            for line in lines.poll()? {
                match line {
                    Ok(recorded) if arguments.account.is_some() && recorded.entry.account != arguments.account => {}
                    Ok(recorded) if arguments.json => journal::write_json(&mut out, &recorded)?,
                    Ok(recorded) => writeln!(out, "{}", row(&recorded).join("  "))?,
                    Err(err) => eprintln!("sixgate: {err}"),
                }
            }
            out.flush()?;
        }
    })
}
