//! Walks the known keys of a file, and of the environment over it.
//!
//! Each pull takes its value out of the table, so what is left at the end is
//! what nobody knows. Nothing here stops at a problem: a pull notes it and the
//! walk goes on, so that a person mends a file in one go.
//!
//! Not here: which keys there are and their defaults (`sections`), what a type
//! accepts (`values`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use super::problems::Problems;
use super::spelling::nearest;
use super::values::{Count, FromValue, Size, key_text, kind, show};

/// The start of every variable that is ours.
pub(super) const PREFIX: &str = "SIXGATE_";

/// Variables of other parts of the program, which are no keys of the file.
const ELSEWHERE: [&str; 3] = ["SIXGATE_CONFIG", "SIXGATE_MASTER_KEY", "SIXGATE_ADMIN"];

/// What a pull found.
#[derive(Debug)]
pub(super) enum Pulled<T> {
    /// Neither the file nor the environment has it.
    Absent,
    /// It cannot be used, and a problem says so. Checks skip what depends on it:
    /// one mistake makes one problem.
    Bad,
    /// It is there, and this is its value.
    Good(T),
}

impl<T> Pulled<T> {
    /// The value, if it is there and good.
    pub(super) fn good(self) -> Option<T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// Was something there, good or bad?
    pub(super) const fn given(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A value that can be too small or too large.
pub(super) trait Ranged: FromValue + PartialOrd {
    /// Nothing at all, for the types where people may take that for "no limit".
    const NONE: Option<Self>;
    /// The value as it is written in a file.
    fn written(&self) -> String;
}

impl Ranged for Duration {
    const NONE: Option<Self> = Some(Self::ZERO);
    fn written(&self) -> String {
        format!("\"{}\"", humantime::format_duration(*self))
    }
}

impl Ranged for Count {
    const NONE: Option<Self> = Some(Self(0));
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Ranged for Size {
    const NONE: Option<Self> = Some(Self(0));
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Ranged for f64 {
    const NONE: Option<Self> = None;
    fn written(&self) -> String {
        self.to_string()
    }
}

/// A file's tables and the environment, being read.
pub(super) struct ConfigReader<'e> {
    root: Table,
    environment: &'e BTreeMap<String, String>,
    /// The sections that are lists of tables. All others are tables.
    lists: &'static [&'static str],
    used: BTreeSet<String>,
    /// Every key asked for: `listener.address`, without the list's index.
    known: BTreeSet<String>,
    /// What an item of a list is called in problems, where it has a better name
    /// than its index: `pool.0` is `pool.main`.
    labels: BTreeMap<String, String>,
    pub(super) problems: Problems,
}

impl<'e> ConfigReader<'e> {
    pub(super) fn new(
        root: Table,
        environment: &'e BTreeMap<String, String>,
        lists: &'static [&'static str],
        problems: Problems,
    ) -> Self {
        let (used, known, labels) = Default::default();
        Self { root, environment, lists, used, known, labels, problems }
    }

    /// A table by its path, which may have dots. Absent is as good as empty.
    pub(super) fn section(&mut self, path: &'static str) -> Section<'_, 'e> {
        Section {
            at: path.split('.').map(PathStep::Key).collect(),
            known: path.to_owned(),
            label: path.to_owned(),
            variable: format!("{PREFIX}{}", shout(path)),
            reader: self,
        }
    }

    /// One item of a list of tables.
    pub(super) fn item(&mut self, list: &'static str, index: usize) -> Section<'_, 'e> {
        Section {
            at: list.split('.').map(PathStep::Key).chain([PathStep::Item(index)]).collect(),
            known: list.to_owned(),
            label: format!("{list}.{index}"),
            variable: format!("{PREFIX}{}_{index}", shout(list)),
            reader: self,
        }
    }

    /// How many items a list of tables has, in the file and after that in the
    /// environment: `SIXGATE_LISTENER_0_ADDRESS` alone makes a first listener.
    pub(super) fn items(&mut self, list: &'static str) -> usize {
        let mut steps = list.split('.');
        let first = steps.next().and_then(|key| self.root.get(key));
        let found = steps.fold(first, |below, key| below?.get(key));
        let mut count = found.and_then(Value::as_array).map_or(0, Vec::len);
        let start = format!("{PREFIX}{}_", shout(list));
        let variables = self.environment.keys().filter_map(|name| name.strip_prefix(start.as_str()));
        let indices = variables.filter_map(|rest| rest.split_once('_')).map(|(index, _)| index);
        let plain = |text: &str| text.parse::<usize>().ok().filter(|index| index.to_string() == text);
        for index in indices.filter_map(plain).collect::<BTreeSet<usize>>() {
            if index == count {
                count += 1;
            } else if index > count {
                let text = format!("is set by {start}{index}_..., but the next one is {count} (the first is 0)");
                self.problems.add(format!("{list}.{index}"), text);
            }
        }
        count
    }

    /// Does the file have this at all, of whatever type, unless empty?
    pub(super) fn has(&self, name: &str) -> bool {
        self.root.get(name).is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty()))
    }

    /// Takes over the keys that another reader was asked for.
    pub(super) fn learn(&mut self, known: BTreeSet<String>) {
        self.known.extend(known);
    }

    /// Every key that was asked for.
    pub(super) fn into_known(self) -> BTreeSet<String> {
        self.known
    }

    /// Ends the walk: each key that nobody asked for is a problem, and each
    /// variable a warning, as it may be meant for something else.
    pub(super) fn finish(mut self) -> (Problems, Vec<String>) {
        let root = std::mem::take(&mut self.root);
        self.strangers(&root, "", "");
        let mut warnings = Vec::new();
        let strangers = self.environment.keys().filter(|name| name.starts_with(PREFIX) && !self.used.contains(*name));
        for name in strangers.filter(|name| !ELSEWHERE.contains(&name.as_str())) {
            // A list's variables carry an index: the one that was written.
            let index = name.split('_').find(|part| part.parse::<usize>().is_ok()).unwrap_or("0");
            let known = self.known.iter().map(|key| match key.rsplit_once('.') {
                Some((list, key)) if self.is_list(list) => format!("{PREFIX}{}_{index}_{}", shout(list), shout(key)),
                _ => format!("{PREFIX}{}", shout(key)),
            });
            let hint = nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            warnings.push(format!("the variable {} sets no key that is known{hint}", key_text(name)));
        }
        (self.problems, warnings)
    }

    /// What is left in a table. `known` is its path without indices, `label` with.
    fn strangers(&mut self, table: &Table, known: &str, label: &str) {
        for (name, value) in table {
            let path = join(known, name);
            let label = join(label, &key_text(name));
            let inside = format!("{path}.");
            let has_keys = self.known.iter().any(|key| key.starts_with(&inside));
            match (has_keys, self.is_list(&path), value) {
                (true, false, Value::Table(below)) => self.strangers(below, &path, &label),
                (true, false, other) => {
                    let text = format!("{} is {}; write it as a table: [{path}]", show(other), kind(other));
                    self.problems.add(label, text);
                }
                (true, true, Value::Array(items)) => self.strange_items(items, &path),
                (true, true, other) => {
                    let text = format!("is {}; write it with two brackets: [[{path}]]", kind(other));
                    self.problems.add(label, text);
                }
                (false, ..) => {
                    let hint = self.meant(known, name).map(|near| format!("; did you mean {near}?"));
                    let way_out = hint.unwrap_or_else(|| "; take it out, or see config/sixgate.toml".to_owned());
                    let word = if value.is_table() { "table" } else { "key" };
                    // Its value stays out of sight: it may be a secret put in the wrong place.
                    self.problems.add(label, format!("is no {word} that is known{way_out}"));
                }
            }
        }
    }

    fn strange_items(&mut self, items: &[Value], path: &str) {
        for (index, item) in items.iter().enumerate() {
            let label = format!("{path}.{index}");
            let label = self.labels.get(&label).cloned().unwrap_or(label);
            if let Some(below) = item.as_table() {
                self.strangers(below, path, &label);
            } else {
                self.problems.add(label, format!("is {}; write it as a table: [[{path}]]", kind(item)));
            }
        }
    }

    fn is_list(&self, path: &str) -> bool {
        self.lists.contains(&path)
    }

    /// The known key that was meant: spelled nearly so in the same table, or
    /// spelled just so in another one.
    fn meant(&self, section: &str, name: &str) -> Option<String> {
        let start = if section.is_empty() { String::new() } else { format!("{section}.") };
        let siblings = self.known.iter().filter_map(|key| key.strip_prefix(start.as_str()));
        let siblings: BTreeSet<&str> = siblings.filter_map(|rest| rest.split('.').next()).collect();
        if let Some(near) = nearest(name, siblings.into_iter().map(str::to_owned)) {
            return Some(near);
        }
        let same = |key: &&String| key.rsplit('.').next() == Some(name);
        self.known.iter().find(same).cloned()
    }
}

#[derive(Clone, Copy)]
enum PathStep {
    Key(&'static str),
    Item(usize),
}

/// One table of a [`ConfigReader`], to pull keys from.
pub(super) struct Section<'r, 'e> {
    reader: &'r mut ConfigReader<'e>,
    at: Vec<PathStep>,
    known: String,
    label: String,
    variable: String,
}

impl Section<'_, '_> {
    /// The key's name in problems.
    pub(super) fn label(&self, key: &str) -> String {
        format!("{}.{key}", self.label)
    }

    /// The section's own name in problems.
    pub(super) fn own_label(&self) -> String {
        self.label.clone()
    }

    /// Calls this item by its name from now on.
    pub(super) fn relabel(&mut self, label: String) {
        let before = std::mem::replace(&mut self.label, label.clone());
        self.reader.labels.insert(before, label);
    }

    /// Notes a problem of one key.
    pub(super) fn problem(&mut self, key: &str, text: impl Into<String>) {
        let label = self.label(key);
        self.reader.problems.add(label, text);
    }

    /// Pulls a key.
    pub(super) fn pull<T: FromValue>(&mut self, key: &'static str) -> Pulled<T> {
        self.reader.known.insert(format!("{}.{key}", self.known));
        let variable = format!("{}_{}", self.variable, shout(key));
        let in_file = self.table().and_then(|table| table.remove(key));
        let (value, origin) = match (self.reader.environment.get(&variable), in_file) {
            (Some(text), _) => (environment_value::<T>(text), format!(" (from {variable})")),
            (None, Some(value)) => (value, String::new()),
            (None, None) => return Pulled::Absent,
        };
        self.reader.used.insert(variable);
        match T::from_value(&value) {
            Ok(value) => Pulled::Good(value),
            Err(faults) => {
                let label = self.label(key);
                for (below, text) in faults {
                    self.reader.problems.add(format!("{label}{below}"), format!("{text}{origin}"));
                }
                Pulled::Bad
            }
        }
    }

    /// Pulls a key that has a default.
    pub(super) fn or<T: FromValue>(&mut self, key: &'static str, default: T) -> T {
        self.pull(key).good().unwrap_or(default)
    }

    /// Pulls a key whose default is written as in a file; nothing if it is bad.
    pub(super) fn or_text<T: FromValue>(&mut self, key: &'static str, default: &str) -> Option<T> {
        match self.pull(key) {
            Pulled::Good(value) => Some(value),
            Pulled::Bad => None,
            Pulled::Absent => T::from_value(&Value::String(default.to_owned())).ok(),
        }
    }

    /// Pulls a key that has a default and a range.
    pub(super) fn within<T: Ranged>(&mut self, key: &'static str, default: T, range: RangeInclusive<T>) -> T {
        let Some(value) = self.pull::<T>(key).good() else { return default };
        if range.contains(&value) {
            return value;
        }
        let (found, example) = (value.written(), default.written());
        let (least, most) = (range.start().written(), range.end().written());
        let text = if T::NONE.is_some_and(|none| none == value) {
            format!("{found} is no limit; give one, for example {example}")
        } else {
            format!("{found} is not from {least} to {most}; give one that is, for example {example}")
        };
        self.problem(key, text);
        default
    }

    /// Pulls a key that must be there. Absent and bad both are problems by now.
    pub(super) fn required<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        let pulled = self.pull(key);
        if !pulled.given() {
            self.problem(key, format!("is missing; give {}", T::WANTED));
        }
        pulled.good()
    }

    fn table(&mut self) -> Option<&mut Table> {
        let mut steps = self.at.iter();
        let Some(PathStep::Key(first)) = steps.next() else { return None };
        let mut value = self.reader.root.get_mut(*first)?;
        for step in steps {
            value = match step {
                PathStep::Key(key) => value.as_table_mut()?.get_mut(*key)?,
                PathStep::Item(index) => value.as_array_mut()?.get_mut(*index)?,
            };
        }
        value.as_table_mut()
    }
}

/// A variable's text as a value: TOML if that is of the type the key has, else
/// the plain text. So `8` is a number where one is wanted and a name elsewhere.
fn environment_value<T: FromValue>(text: &str) -> Value {
    text.parse().ok().filter(T::fits).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// `egress.connect_timeout` as `EGRESS_CONNECT_TIMEOUT`.
fn shout(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl fmt::Debug for Section<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}
