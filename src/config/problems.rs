//! What is wrong with a configuration: every problem at once, each with its key.

use std::fmt;

/// Why a configuration cannot be used. `Display` is what a person gets to read:
///
/// ```text
/// config/sixgate.toml cannot be used, 2 problems:
///   egress.connect_timeout: "0s" is no limit; give one, for example "3s"
///   pool.main.secondary: 2001:db8::/64 overlaps pool.main.primary 2001:db8::/48; ...
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    name: String,
    list: Vec<(String, String)>,
}

impl Problems {
    /// None yet, for the file of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), list: Vec::new() }
    }

    /// Notes one: its key, and a text with the value and a way out.
    pub fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.list.push((key.into(), text.into()));
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Key and text of each, in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(key, text)| (key.as_str(), text.as_str()))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.list.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} cannot be used, {} {word}:", self.name, self.list.len())?;
        for (key, text) in &self.list {
            write!(f, "\n  {key}: {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
