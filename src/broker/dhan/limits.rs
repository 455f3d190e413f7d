//! How much the broker takes from one account. The numbers are `limits.toml`.
//!
//! Not here: keeping them (`orders::limits`), and which endpoint counts against which
//! ([`super::endpoints`]).

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::endpoints::RateClass;

/// So many requests in any span of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The number of requests allowed in the window.
    pub count: u32,
    /// In how long.
    #[serde(deserialize_with = "duration")]
    pub per: Duration,
}

/// The broker's limits for one account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerLimits {
    /// The date they were checked.
    pub checked: String,
    /// Changes of one order.
    pub modifications_per_order: u32,
    /// The same option chain is given once in so long.
    #[serde(deserialize_with = "duration")]
    pub option_chain_every: Duration,
    windows: Windows,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Windows {
    order: Vec<Window>,
    data: Vec<Window>,
    quote: Vec<Window>,
    other: Vec<Window>,
}

impl BrokerLimits {
    /// The windows that a class counts against. An option chain counts as data.
    pub fn windows(&self, class: RateClass) -> &[Window] {
        match class {
            RateClass::Order => &self.windows.order,
            RateClass::Data | RateClass::OptionChain => &self.windows.data,
            RateClass::Quote => &self.windows.quote,
            RateClass::Other => &self.windows.other,
        }
    }

    /// Read a table in the form of the built-in one.
    ///
    /// # Errors
    /// [`LimitsError`]; nothing of it is used then.
    pub fn read(path: &Path) -> Result<Self, LimitsError> {
        let text = std::fs::read_to_string(path).map_err(|err| LimitsError::File { path: path.to_owned(), err })?;
        let table: Self = toml::from_str(&text).map_err(|err| LimitsError::Table { path: path.to_owned(), err })?;
        let windows = [&table.windows.order, &table.windows.data, &table.windows.quote, &table.windows.other];
        // Zero never means unlimited, and a class without a window would be.
        let no_limit = windows.iter().any(|of| of.is_empty() || of.iter().any(|w| w.count == 0 || w.per.is_zero()));
        if no_limit || table.modifications_per_order == 0 {
            return Err(LimitsError::NoLimit { path: path.to_owned() });
        }
        Ok(table)
    }

    /// What cannot be read is kept as the least that the broker gives anybody.
    fn strictest() -> Self {
        let one = vec![Window { count: 1, per: Duration::from_secs(1) }];
        Self {
            checked: String::new(),
            modifications_per_order: 1,
            option_chain_every: Duration::from_secs(3),
            windows: Windows { order: one.clone(), data: one.clone(), quote: one.clone(), other: one },
        }
    }
}

/// Why a table of limits cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum LimitsError {
    #[error("cannot read the table of limits {path}")]
    File {
        path: PathBuf,
        #[source]
        err: std::io::Error,
    },
    #[error("the table of limits {path} is not what it should be")]
    Table {
        path: PathBuf,
        #[source]
        err: toml::de::Error,
    },
    #[error("the table of limits {path} has a class without a window, or a 0; 0 is no limit")]
    NoLimit { path: PathBuf },
}

/// The broker's limits.
pub fn limits() -> &'static BrokerLimits {
    static TABLE: LazyLock<BrokerLimits> = LazyLock::new(|| {
        // A test reads it, so that it comes to the other only in a build that was never tested.
        toml::from_str(include_str!("limits.toml")).unwrap_or_else(|_| BrokerLimits::strictest())
    });
    &TABLE
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_one_s_own_must_have_every_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("limits.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            BrokerLimits::read(&path)
        };
        let good = include_str!("limits.toml");
        assert!(read(good).is_ok());
        assert!(matches!(read(&good.replace("count = 5,", "count = 0,")), Err(LimitsError::NoLimit { .. })));
        assert!(matches!(
            read(&good.replace("quote = [{ count = 1, per = \"1s\" }]", "quote = []")),
            Err(LimitsError::NoLimit { .. })
        ));
        assert!(matches!(read("checked = 1"), Err(LimitsError::Table { .. })));
        assert!(matches!(BrokerLimits::read(&dir.path().join("none")), Err(LimitsError::File { .. })));
    }

    #[test]
    fn the_table_is_what_the_broker_documents() {
        let limits: BrokerLimits = toml::from_str(include_str!("limits.toml")).unwrap();
        let of = |class| limits.windows(class).iter().map(|w| (w.count, w.per.as_secs())).collect::<Vec<_>>();
        assert_eq!(of(RateClass::Order), [(10, 1), (250, 60), (1000, 3600), (7000, 86_400)]);
        assert_eq!(of(RateClass::Data), [(5, 1), (100_000, 86_400)]);
        assert_eq!(of(RateClass::Quote), [(1, 1)]);
        assert_eq!(of(RateClass::Other), [(20, 1)]);
        assert_eq!((limits.modifications_per_order, limits.option_chain_every.as_secs()), (25, 3));
        assert!(limits.checked.parse::<jiff::civil::Date>().is_ok());
    }
}
