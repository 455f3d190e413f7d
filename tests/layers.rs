//! One crate has no compiler walls between its modules; this is the wall.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the top down. A room may use its own floor and those below it.
const FLOORS: &[&[&str]] = &[
    &["main", "lib", "fuzzing"],
    &["cli"],
    &["app"],
    &["proxy", "admin"],
    &["dispatch"],
    &["accounts"],
    &["tokens", "orders"],
    &["legs", "addressing"],
    &["broker", "egress", "store"],
    &["telemetry"],
    &["config"],
    &["host"],
    &["net"],
    &["domain"],
];

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("no floor is known for {room}"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The room that a path below `src` is in.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Every room that the text names by `crate::room`, with the line. Comments and
/// the text after `#[cfg(test)]` do not count: a test may build what it needs.
fn named(text: &str) -> Vec<(usize, String)> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap();
        for rest in line.split("crate::").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() && name.chars().all(|c| !c.is_uppercase()) {
                found.push((number + 1, name));
            }
            assert!(
                !rest.starts_with('{'),
                "line {}: import one room a line, so that this test can read it",
                number + 1
            );
        }
    }
    found
}

/// An arrow that points up makes two rooms one, and the promises harder to see.
#[test]
fn no_import_points_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "only {} sources were found", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let below = path.strip_prefix(&root).unwrap();
        let from = room(below);
        if path.ends_with("tests.rs") {
            continue;
        }
        for (line, to) in named(&fs::read_to_string(&path).unwrap()) {
            let allowed = match from.as_str() {
                // The built-in broker must not learn from the gateway what a broker does.
                "sandbox" => matches!(to.as_str(), "sandbox" | "domain" | "broker"),
                _ if to == "sandbox" => matches!(from.as_str(), "cli" | "lib"),
                _ => floor(&to) >= floor(&from) && (floor(&to) > floor(&from) || to == from || from == "lib"),
            };
            if !allowed {
                wrong.push(format!("src/{}:{line}: {from} uses {to}", below.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_what_it_should() {
    let text =
        "use crate::proxy::x;\n// use crate::app;\nlet a = crate::store::Store::open();\n#[cfg(test)]\nuse crate::cli;";
    let found: Vec<_> = named(text).into_iter().map(|(line, room)| format!("{line} {room}")).collect();
    assert_eq!(found, ["1 proxy", "3 store"]);
}
