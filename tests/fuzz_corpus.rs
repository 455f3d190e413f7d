//! What fuzzing found, or began with, holds for good: every kept input goes through the claims of `src/fuzzing.rs`
//! again, without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sixgate::fuzzing::TARGETS;

fn folder(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(below)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn whatever_was_kept_holds() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (target, claim) in TARGETS {
        let corpus = folder("corpus").join(target);
        for name in names(&corpus) {
            let input = fs::read(corpus.join(&name)).unwrap();
            tried += 1;
            if catch_unwind(AssertUnwindSafe(|| claim(&input))).is_err() {
                wrong.push(format!("{target}/{name}"));
            }
        }
    }
    println!("{tried} inputs for {} targets", TARGETS.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A target without a corpus, or a corpus that no target reads, would be tried by nobody.
#[test]
fn each_target_has_a_corpus_and_is_fuzzed() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder("corpus")), known);
    let sources = names(&folder("fuzz_targets"));
    assert_eq!(sources, known.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &known {
        let source = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(source.contains(&format!("sixgate::fuzzing::{name}(data)")), "{name} fuzzes something else");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
        let kept = names(&folder("corpus").join(name)).len();
        assert!(kept >= 10, "only {kept} inputs for {name}");
    }
}
