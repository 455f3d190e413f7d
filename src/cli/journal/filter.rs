//! Which lines of the journal are asked for.

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{AccountName, Outcome, india};
use crate::orders::journal::{Kind, Order, Query, SafeText};

/// Lines read at once.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Of this account only.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| AccountName::parse(text))]
    account: Option<AccountName>,
    /// Of this kind only.
    #[arg(long, value_enum)]
    kind: Option<KindArgument>,
    /// With this outcome only.
    #[arg(long, value_enum)]
    outcome: Option<OutcomeArgument>,
    /// From here on: a time (2026-11-24T03:45:00Z), a day in India (2026-11-24), or an age (2h, 3days).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Before this: as --since.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// With this order id only.
    #[arg(long, value_name = "ID")]
    order_id: Option<String>,
    /// With this correlation id only.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum KindArgument {
    Intent,
    Outcome,
    Note,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OutcomeArgument {
    NotSent,
    Rejected,
    Executed,
    Unknown,
}

impl Filter {
    pub(super) fn query(&self, order: Order) -> Query {
        Query {
            account: self.account.clone(),
            kind: self.kind.map(|kind| match kind {
                KindArgument::Intent => Kind::Intent,
                KindArgument::Outcome => Kind::Outcome,
                KindArgument::Note => Kind::Note,
            }),
            since: self.since,
            until: self.until,
            outcome: self.outcome.map(|outcome| match outcome {
                OutcomeArgument::NotSent => Outcome::NotSent,
                OutcomeArgument::Rejected => Outcome::Rejected,
                OutcomeArgument::Executed => Outcome::Executed,
                OutcomeArgument::Unknown => Outcome::Unknown,
            }),
            order_id: self.order_id.as_deref().map(SafeText::new),
            request_id: None,
            correlation_id: self.correlation_id.as_deref().map(SafeText::new),
            order,
            limit: PAGE,
            cursor: None,
            scan: u64::MAX,
        }
    }
}

/// A time as people give it.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<Date>() {
        return Ok(india::instant(day.to_datetime(jiff::civil::Time::midnight())));
    }
    let age = humantime::parse_duration(text).ok().and_then(|age| SignedDuration::try_from(age).ok());
    let at = age.and_then(|age| Timestamp::now().checked_sub(age).ok());
    at.ok_or_else(|| "give a time (2026-11-24T03:45:00Z), a day (2026-11-24) or an age (2h)".to_owned())
}
