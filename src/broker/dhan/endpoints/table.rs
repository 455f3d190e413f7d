//! `endpoints.toml`, read, and the row that a path is of.

use std::collections::HashMap;

use http::Method;
use serde::Deserialize;

use super::endpoint::{BASE, Endpoint};

/// The legs of a super order, which are fixed words too.
const LEGS: [&str; 3] = ["ENTRY_LEG", "TARGET_LEG", "STOP_LOSS_LEG"];

#[derive(Debug, Default)]
pub(super) struct EndpointTable {
    rows: Vec<PathRow>,
}

/// One path and its methods.
#[derive(Debug)]
pub(super) struct PathRow {
    segments: Vec<Segment>,
    methods: HashMap<Method, Endpoint>,
}

#[derive(Debug)]
enum Segment {
    Word(String),
    Parameter,
    /// A parameter that is one of [`LEGS`].
    Leg,
}

/// The row of a path.
#[derive(Debug)]
pub(super) struct MatchedRow<'t> {
    pub(super) row: &'t PathRow,
    pub(super) endpoint: Endpoint,
    /// Spelt as in the table.
    pub(super) exact: bool,
}

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointTableError {
    #[error("the file is not what it should be")]
    Toml(#[from] toml::de::Error),
    #[error("{method} {path} may write, and has none of write, read and once")]
    Unsaid { method: Method, path: String },
}

impl EndpointTable {
    pub(super) fn parse(text: &str) -> Result<Self, EndpointTableError> {
        #[derive(Deserialize)]
        struct File {
            endpoint: Vec<Wire>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "UPPERCASE", deny_unknown_fields)]
        struct Wire {
            #[serde(rename = "path")]
            path: String,
            get: Option<Endpoint>,
            post: Option<Endpoint>,
            put: Option<Endpoint>,
            delete: Option<Endpoint>,
        }
        let file: File = toml::from_str(text)?;
        let mut rows = Vec::with_capacity(file.endpoint.len());
        for wire in file.endpoint {
            let methods = [
                (Method::GET, wire.get),
                (Method::POST, wire.post),
                (Method::PUT, wire.put),
                (Method::DELETE, wire.delete),
            ];
            let methods: HashMap<_, _> = methods.into_iter().filter_map(|(m, e)| Some((m, e?))).collect();
            let unsaid = |(method, endpoint): &(&Method, &Endpoint)| {
                **method != Method::GET && !endpoint.is_write() && !endpoint.read && !endpoint.once
            };
            if let Some((method, _)) = methods.iter().find(unsaid) {
                return Err(EndpointTableError::Unsaid { method: method.clone(), path: wire.path });
            }
            rows.push(PathRow { segments: segments(&wire.path).map(Segment::of).collect(), methods });
        }
        // A literal segment beats a parameter: /orders/slicing before /orders/{order-id}.
        rows.sort_by_key(|row| row.segments.iter().filter(|s| !matches!(s, Segment::Word(_))).count());
        Ok(Self { rows })
    }

    /// The row that a server may take this path for: as it is spelt, else whatever its case, with a slash at its end
    /// or without its base.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<MatchedRow<'_>> {
        self.exactly(method, path).or_else(|| self.loosely(method, path))
    }

    fn exactly(&self, method: &Method, path: &str) -> Option<MatchedRow<'_>> {
        let below = path.strip_prefix(BASE)?.strip_prefix('/')?;
        self.row(method, |row| row.fits(below, Segment::is), true)
    }

    fn loosely(&self, method: &Method, path: &str) -> Option<MatchedRow<'_>> {
        let below = loose(path);
        self.row(method, |row| row.fits(below, Segment::may_be), false)
    }

    fn row(&self, method: &Method, fits: impl Fn(&PathRow) -> bool, exact: bool) -> Option<MatchedRow<'_>> {
        self.rows.iter().filter(|row| fits(row)).find_map(|row| {
            let endpoint = *row.methods.get(method)?;
            Some(MatchedRow { row, endpoint, exact })
        })
    }

    /// How many requests it knows.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.iter().map(|row| row.methods.len()).sum()
    }
}

impl PathRow {
    fn fits(&self, below: &str, segment: impl Fn(&Segment, &str) -> bool) -> bool {
        let mut parts = below.split('/');
        self.segments.iter().all(|want| parts.next().is_some_and(|part| segment(want, part))) && parts.next().is_none()
    }

    /// This row's path, with the ids of `path`, which fits it.
    pub(super) fn spelt(&self, path: &str) -> String {
        let mut parts = segments(loose(path));
        let mut spelt = String::from(BASE);
        for segment in &self.segments {
            let given = parts.next().unwrap_or_default();
            spelt.push('/');
            spelt.push_str(match segment {
                Segment::Word(word) => word,
                Segment::Parameter => given,
                Segment::Leg => leg(given).unwrap_or(given),
            });
        }
        spelt
    }

    pub(super) fn is_kill_switch(&self) -> bool {
        matches!(self.segments.as_slice(), [Segment::Word(word)] if word == "killswitch")
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        match text {
            "{order-leg}" => Self::Leg,
            text if text.starts_with('{') => Self::Parameter,
            text => Self::Word(text.to_owned()),
        }
    }

    fn is(&self, part: &str) -> bool {
        match self {
            Self::Word(word) => word == part,
            Self::Parameter => !part.is_empty(),
            // In another case it is to be put right.
            Self::Leg => !part.is_empty() && leg(part).is_none_or(|leg| leg == part),
        }
    }

    fn may_be(&self, part: &str) -> bool {
        match self {
            Self::Word(word) => word.eq_ignore_ascii_case(part),
            Self::Parameter | Self::Leg => !part.is_empty(),
        }
    }
}

/// The leg that this is, in the broker's spelling.
fn leg(text: &str) -> Option<&'static str> {
    LEGS.into_iter().find(|leg| leg.eq_ignore_ascii_case(text))
}

/// A path without base and slashes around it, whichever of them it has.
fn loose(path: &str) -> &str {
    let path = path.trim_matches('/');
    match path.split_once('/') {
        Some((base, below)) if base.eq_ignore_ascii_case(BASE.trim_start_matches('/')) => below,
        Some(_) | None => path,
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('/').split('/')
}
