//! One crate has no compiler walls between its modules; this is the wall.
//!
//! Two rules: no import points up between rooms, and no two files import each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};
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

/// Circles that are still there. One that is gone must leave this list.
const TOLERATED: &[&[&str]] = &[];

/// One file's code as the words and signs that imports are made of: `::` is one sign, text and numbers are left out,
/// and so is whatever stands under `#[cfg(test)]`.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut found: Vec<String> = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == 'r' && (at(i + 1) == '"' || (at(i + 1) == '#' && matches!(at(i + 2), '#' | '"'))) {
            let hashes = chars.iter().skip(i + 1).take_while(|c| **c == '#').count();
            i += 2 + hashes;
            while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#')) {
                i += 1;
            }
            i += 1 + hashes;
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += 3;
            while at(i - 1) != '\'' || (at(i - 2) == '\\' && at(i - 3) != '\\') {
                i += 1;
            }
        } else if c.is_alphanumeric() || c == '_' {
            let word: String = chars.iter().skip(i).take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            i += word.chars().count();
            // What is before the quote of a byte string is no word.
            if !matches!(at(i), '"') || word != "b" {
                found.push(word);
            }
        } else if c == ':' && at(i + 1) == ':' {
            found.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push(c.to_string());
            }
            i += 1;
        }
    }
    without_tests(&found)
}

/// The tokens without each item that stands under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        if !tokens.iter().skip(i).take(mark.len()).eq(mark.iter()) {
            kept.push(token.clone());
            i += 1;
            continue;
        }
        i += mark.len();
        let (mut depth, mut in_attribute) = (0, false);
        while let Some(token) = tokens.get(i) {
            i += 1;
            match token.as_str() {
                "#" if depth == 0 => in_attribute = true,
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && in_attribute && token == "]" {
                in_attribute = false;
            } else if depth == 0 && matches!(token.as_str(), ";" | "}") {
                break;
            }
        }
    }
    kept
}

/// One `use`: where it points, and by which name it is known here (`*` for all names).
#[derive(Clone, Debug)]
struct Import {
    path: Vec<String>,
    name: String,
    public: bool,
}

/// What a file says about other files.
#[derive(Debug, Default)]
struct File {
    imports: Vec<Import>,
    /// Paths of two words or more in its code, outside `use`.
    paths: BTreeSet<Vec<String>>,
    /// Every other word that no `::` and no `.` stands before.
    words: BTreeSet<String>,
    /// Items that it defines.
    defined: BTreeSet<String>,
}

impl File {
    fn read(text: &str) -> Self {
        let mut file = Self::default();
        let tokens = tokens(text);
        let word = |i: usize| tokens.get(i).map_or("", String::as_str);
        let is_name = |text: &str| text.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let mut public = false;
        let mut i = 0;
        while i < tokens.len() {
            match word(i) {
                "use" => {
                    i = file.tree(&tokens, i + 1, &[], public);
                    public = false;
                    continue;
                }
                "mod" => {
                    i += 2;
                    public = false;
                    continue;
                }
                "pub" => public = true,
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" => {
                    public = false;
                    let name = if word(i + 1) == "mut" || word(i + 1) == "fn" { i + 2 } else { i + 1 };
                    file.defined.insert(word(name).to_owned());
                }
                "(" | ")" | "crate" | "super" | "in" | "self" => {}
                _ => public = false,
            }
            if is_name(word(i)) && (i == 0 || !matches!(word(i - 1), "::" | ".")) {
                let mut path = vec![word(i).to_owned()];
                while word(i + 1) == "::" && is_name(word(i + 2)) {
                    path.push(word(i + 2).to_owned());
                    i += 2;
                }
                if path.len() > 1 {
                    file.paths.insert(path.clone());
                }
                file.words.insert(path.swap_remove(0));
            }
            i += 1;
        }
        file
    }

    /// Reads a tree of `use` from `i` on, and tells where it ends.
    fn tree(&mut self, tokens: &[String], mut i: usize, before: &[String], public: bool) -> usize {
        let word = |i: usize| tokens.get(i).map_or(";", String::as_str);
        let mut path = before.to_vec();
        loop {
            match word(i) {
                "{" => {
                    while !matches!(word(i), "}" | ";") {
                        i = self.tree(tokens, i + 1, &path, public);
                    }
                    return i + 1;
                }
                "::" => i += 1,
                "," | "}" | ";" => {
                    if path.len() > before.len() {
                        self.import(path.clone(), None, public);
                    }
                    return i;
                }
                "as" => {
                    self.import(path, Some(word(i + 1)), public);
                    return i + 2;
                }
                name => {
                    path.push(name.to_owned());
                    i += 1;
                }
            }
        }
    }

    fn import(&mut self, mut path: Vec<String>, name: Option<&str>, public: bool) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = name.map_or_else(|| path.last().unwrap().clone(), str::to_owned);
        self.imports.push(Import { path, name, public });
    }
}

/// The files below `src`, by the path of the module that each is: `[]`, `[legs]`, `[legs, health]`.
type Files = BTreeMap<Vec<String>, File>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Module(Vec<String>),
    /// Something that this module's file defines.
    Item(Vec<String>),
}

/// What `path` means within `from`; `None` for what is not of this crate, or of this file alone.
fn resolve(files: &Files, from: &[String], path: &[String], depth: usize) -> Option<Target> {
    let (first, rest) = path.split_first()?;
    let file = files.get(from)?;
    let child = |module: &[String], name: &String| {
        let path = [module, std::slice::from_ref(name)].concat();
        files.contains_key(&path).then_some(path)
    };
    let start = match first.as_str() {
        "crate" => Target::Module(Vec::new()),
        "self" => Target::Module(from.to_vec()),
        "super" => Target::Module(from.split_last()?.1.to_vec()),
        name => match child(from, first) {
            Some(module) => Target::Module(module),
            None => {
                let known = file.imports.iter().find(|import| import.name == name && import.path != path)?;
                if depth == 0 {
                    return None;
                }
                resolve(files, from, &known.path, depth - 1)?
            }
        },
    };
    let Target::Module(mut module) = start else { return Some(start) };
    for (index, name) in rest.iter().enumerate() {
        if name == "super" {
            module.pop();
        } else if name == "*" || name == "self" {
        } else if let Some(child) = child(&module, name) {
            module = child;
        } else {
            return Some(item(files, &module, rest.get(index..)?, depth).unwrap_or(Target::Item(module)));
        }
    }
    Some(Target::Module(module))
}

/// What the name at the head of `path`, which is no module below `module`, means there.
fn item(files: &Files, module: &[String], path: &[String], depth: usize) -> Option<Target> {
    let (file, name) = (files.get(module)?, path.first()?);
    if file.defined.contains(name) {
        return Some(Target::Item(module.to_vec()));
    }
    let depth = depth.checked_sub(1)?;
    if let Some(known) = file.imports.iter().find(|import| import.name == *name) {
        let whole = [known.path.as_slice(), path.get(1..)?].concat();
        return resolve(files, module, &whole, depth);
    }
    file.imports.iter().filter(|import| import.name == "*").find_map(|glob| {
        match resolve(files, module, &glob.path, depth)? {
            Target::Module(of) if of != module => item(files, &of, path, depth),
            Target::Module(_) | Target::Item(_) => None,
        }
    })
}

/// Which files each file imports from. Naming a module is no import of its file, and to
/// re-export a name that a file does not use itself is none either.
fn arrows(files: &Files) -> BTreeMap<&[String], BTreeSet<Vec<String>>> {
    let of = |module: &Vec<String>, file: &File| {
        let mut to = BTreeSet::new();
        for import in &file.imports {
            if import.public && !file.words.contains(&import.name) {
                continue;
            }
            match resolve(files, module, &import.path, 8) {
                Some(Target::Item(found)) => drop(to.insert(found)),
                Some(Target::Module(found)) if import.name == "*" => drop(to.insert(found)),
                Some(Target::Module(_)) | None => {}
            }
        }
        for path in &file.paths {
            if let Some(Target::Item(found)) = resolve(files, module, path, 8) {
                to.insert(found);
            }
        }
        to.remove(module);
        to
    };
    files.iter().map(|(module, file)| (module.as_slice(), of(module, file))).collect()
}

/// Sets of files of which each imports from each, directly or through others.
fn circles(files: &Files) -> Vec<Vec<String>> {
    let arrows = arrows(files);
    let reach = |from: &[String]| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_vec()];
        while let Some(module) = next.pop() {
            let new = arrows.get(module.as_slice()).into_iter().flatten().filter(|to| seen.insert((*to).clone()));
            next.extend(new.cloned());
        }
        seen
    };
    let reached: BTreeMap<_, _> = files.keys().map(|module| (module, reach(module))).collect();
    let mut found = BTreeSet::new();
    for (module, all) in &reached {
        if all.contains(*module) {
            let both = all.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)));
            found.insert(both.map(|module| module.join("/")).collect::<Vec<_>>());
        }
    }
    found.into_iter().collect()
}

fn module_of(below: &Path) -> Vec<String> {
    let mut path: Vec<String> = below.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

/// Files that import each other can only be understood, tested and moved together. The built-in broker is left out:
/// its handlers and the world that they change are one.
#[test]
fn no_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let mut files = Files::new();
    for path in paths {
        let module = module_of(path.strip_prefix(&root).unwrap());
        if !path.ends_with("tests.rs") && !path.ends_with("main.rs") {
            files.insert(module, File::read(&fs::read_to_string(&path).unwrap()));
        }
    }
    let (sandbox, found): (Vec<_>, Vec<_>) =
        circles(&files).into_iter().partition(|circle| circle.iter().all(|file| file.starts_with("sandbox")));
    println!("{} circles, and {} within the sandbox: {sandbox:?}", found.len(), sandbox.len());
    let shown: Vec<_> = found.iter().map(|circle| circle.join(" <-> ")).collect();
    let tolerated: Vec<_> = TOLERATED.iter().map(|circle| circle.join(" <-> ")).collect();
    assert_eq!(shown, tolerated, "\n{}", shown.join("\n"));
}

fn made_up(files: &[(&str, &str)]) -> Vec<String> {
    let read = |(path, text): &(&str, &str)| (module_of(Path::new(path)), File::read(text));
    circles(&files.iter().map(read).collect()).iter().map(|circle| circle.join(" ")).collect()
}

#[test]
fn the_finder_of_circles_sees_what_it_should() {
    // Through a re-export, a nested tree, another name, a module's name and a path within the code.
    let seen = [
        ("a/mod.rs", "pub mod x; mod y; pub use x::X;"),
        ("a/x.rs", "use super::y::{self, Z}; pub struct X; fn f() { y::g(); }"),
        ("a/y.rs", "pub struct Z; pub fn g() { let x: crate::a::X; }"),
        ("b/mod.rs", "mod c; pub use c::C as D; pub fn f() -> D {}"),
        ("b/c.rs", "pub struct C; fn g() { super::f() }"),
        ("d.rs", "use crate::{e as other}; pub struct D; fn f() { other::E }"),
        ("e.rs", "use crate::d::*; pub struct E;"),
    ];
    assert_eq!(made_up(&seen), ["a/x a/y", "b b/c", "d e"]);
    // A declaration, a re-export that is not used, the name of a module, a test, a comment and a text.
    let unseen = [
        ("a/mod.rs", "mod x; pub use x::x; pub struct Y;"),
        ("a/x.rs", "pub(super) fn x() {} use super::Y;"),
        ("b.rs", "use crate::c; pub struct B;"),
        ("c.rs", "use crate::b::B; pub struct C;"),
        ("d.rs", "#[cfg(test)]\n#[allow(x)]\nmod tests { use crate::e::E; }\npub struct D; // crate::e::E\n"),
        ("e.rs", "pub struct E; fn f() { crate::d::D; }"),
        ("f.rs", "const F: &str = \"crate::g::G \\\" crate::g::G\"; fn f() -> char { '\"' }"),
        ("g.rs", "fn f<'a>(c: &'a str) { crate::f::F; } pub struct G;"),
    ];
    assert!(made_up(&unseen).is_empty(), "{:?}", made_up(&unseen));
}
