//! From a file and the environment to a [`Config`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::Table;

use super::problems::Problems;
use super::reader::{ConfigReader, PREFIX};
use super::{Config, assemble, check, sections};

/// More than a thousand pools and listeners fit; a log file given by mistake does not.
const LARGEST: u64 = 1 << 20;

/// Reads a file, and the variables of this process over it.
///
/// # Errors
/// Every problem of the file and of the variables at once.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let mut problems = Problems::new(&name);
    let environment = variables(&mut problems);
    let text = read_text(path).map_err(|text| problems.add("file", text));
    match text {
        Ok(text) => read(&text, path.parent().unwrap_or(Path::new("")), &environment, problems),
        Err(()) => Err(problems),
    }
}

/// Reads a text as [`from_text`], with this process's variables over it.
///
/// # Errors
/// Every problem of the text and of the variables at once, under `name`.
pub fn from_text_and_environment(name: &str, base: &Path, text: &str) -> Result<Config, Problems> {
    let mut problems = Problems::new(name);
    let environment = variables(&mut problems);
    read(text, base, &environment, problems)
}

/// This process's variables that are ours.
fn variables(problems: &mut Problems) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for (variable, value) in std::env::vars_os() {
        // Others may have any bytes; ours are text.
        let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(PREFIX)) else { continue };
        match value.into_string() {
            Ok(value) => drop(environment.insert(variable.to_owned(), value)),
            Err(_) => problems.add(variable, "is not UTF-8; give it as text, or unset it"),
        }
    }
    environment
}

/// Reads a text, with relative paths from `base` on, and variables over it.
///
/// # Errors
/// Every problem of the text and of the variables at once, under `name`.
pub fn from_text(
    name: &str,
    base: &Path,
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Config, Problems> {
    read(text, base, environment, Problems::new(name))
}

fn read(
    text: &str,
    base: &Path,
    environment: &BTreeMap<String, String>,
    mut problems: Problems,
) -> Result<Config, Problems> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(err) => {
            let (key, text) = syntax(text, &err);
            problems.add(key, text);
            return Err(problems);
        }
    };
    let mut reader = ConfigReader::new(table, environment, &sections::LISTS, problems);
    let draft = sections::read(&mut reader, base);
    let mut warnings = check::check(&draft, &mut reader.problems);
    let (mut problems, strange) = reader.finish();
    warnings.extend(strange);
    if !problems.is_empty() {
        return Err(problems);
    }
    assemble::into_config(draft, warnings).ok_or_else(|| {
        problems.add("file", "something in it was lost without a word; this is a mistake of the program, report it");
        problems
    })
}

fn read_text(path: &Path) -> Result<String, String> {
    let wrong = |err: io::Error| format!("cannot be read: {err}; give the configuration's path with --config");
    let mut bytes = Vec::new();
    // Read before measuring: a pipe or a file of /proc has no length to ask for.
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(wrong)?;
    if bytes.len() as u64 > LARGEST {
        return Err("is larger than 1 MiB and so hardly a configuration; give its path with --config".to_owned());
    }
    String::from_utf8(bytes).map_err(|err| {
        let valid = err.utf8_error().valid_up_to();
        let before = err.as_bytes().iter().take(valid);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        format!("is not UTF-8 from line {line} on; save it as UTF-8 text")
    })
}

/// Where TOML could not be read on, and why, with the line.
fn syntax(text: &str, err: &toml::de::Error) -> (String, String) {
    let at = err.span().map_or(text.len(), |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = before.matches('\n').count() + 1;
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let reason = err.message().replace('\n', ", ");
    (
        format!("line {number}, column {column}"),
        format!("{reason}; the line is: {} (texts, durations and addresses stand in quotes)", fit_to_show(line)),
    )
}

/// A line as far as it may be shown: headers, and settings whose value is no
/// secret. A token pasted without quotes is a syntax error on its own line, and
/// what is no key of ours may be a secret put in the wrong place.
fn fit_to_show(line: &str) -> String {
    let line = line.trim();
    let word = line.split(|c: char| c.is_whitespace() || c == '=' || c == ':').next().unwrap_or_default();
    let key = word.rsplit('.').next().unwrap_or(word);
    let secret = key.ends_with("_file") || key.ends_with("_key");
    let known = sections::known_keys().iter().any(|path| path.rsplit('.').next() == Some(key));
    match (line.starts_with(['[', '#']), known, secret) {
        (true, ..) | (_, true, false) => one_line(line),
        (_, true, true) => format!("{key} ..."),
        (false, false, _) => "...".to_owned(),
    }
}

fn one_line(line: &str) -> String {
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let shown: String = clean.chars().take(100).collect();
    if shown.len() < clean.len() { format!("{shown}...") } else { shown }
}
