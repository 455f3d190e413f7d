//! What the parts took when somebody last saved it, and the rule: more than 5 % more has a reason or is a mistake.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// From the root of the repository.
const FILE: &str = "benches/instructions/baseline.toml";
const HEADER: &str = "\
# Instructions of one operation each, made by:
#     cargo bench --profile dev --features redb --bench instructions -- --save
# A commit that raises one of them by more than 5 % has a line `Instructions: <why>` in its message.
";
/// How the reason begins.
const REASON: &str = "Instructions:";

/// Counts, and what they were made with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    pub made_with: String,
    pub instructions: BTreeMap<String, u64>,
}

/// Does the last commit that changed the baseline say why it raised it?
#[derive(Debug)]
pub(crate) enum Explained {
    /// It does, or there is nothing to explain, or it cannot be known.
    Yes(String),
    /// It does not.
    No(String),
}

/// More than 5 % more?
const fn is_dearer(before: u64, now: u64) -> bool {
    now as u128 * 100 > before as u128 * 105
}

impl Baseline {
    /// The one in a repository; empty when there is none.
    pub(crate) fn read(root: &Path) -> Self {
        match std::fs::read_to_string(root.join(FILE)) {
            Ok(text) => toml::from_str(&text).unwrap_or_else(|err| panic!("{FILE}: {err}")),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                Self { made_with: String::new(), instructions: BTreeMap::new() }
            }
            Err(err) => panic!("{FILE}: {err}"),
        }
    }

    /// Make it the one in a repository.
    pub(crate) fn save(&self, root: &Path) {
        let text = format!("{HEADER}{}", toml::to_string(self).expect("counts as TOML"));
        std::fs::write(root.join(FILE), text).unwrap_or_else(|err| panic!("{FILE}: {err}"));
    }

    /// A table, and a sentence for each count that this baseline does not bear.
    pub(crate) fn compared_with(&self, now: &Self) -> (String, Vec<String>) {
        let mut table = format!("{:<24}{:>10}{:>10}{:>8}", "instructions of", "baseline", "now", "ratio");
        let mut problems = Vec::new();
        for (name, count) in &now.instructions {
            let before = self.instructions.get(name);
            let ratio = before.map_or("-".to_owned(), |before| format!("{:.3}", *count as f64 / *before as f64));
            let before_text = before.map_or("-".to_owned(), u64::to_string);
            let _ = write!(table, "\n{name:<24}{before_text:>10}{count:>10}{ratio:>8}");
            match before {
                None => problems.push(format!("{name}: the baseline has no count of it; add it by --save")),
                Some(before) if is_dearer(*before, *count) => problems.push(format!(
                    "{name}: {before} before, {count} now, which is more than 5 % more; if that has to be, --save it \
                     and give the reason in a line `{REASON} <why>` of the commit"
                )),
                Some(_) => {}
            }
        }
        for name in self.instructions.keys().filter(|name| !now.instructions.contains_key(*name)) {
            problems.push(format!("{name}: is in the baseline and not counted; take it out by --save"));
        }
        if !problems.is_empty() && self.made_with != now.made_with {
            problems.push(format!(
                "the baseline was made with {}, and this with {}: that alone may be the difference; --save it in a \
                 commit of its own",
                self.made_with, now.made_with
            ));
        }
        (table, problems)
    }

    /// Which counts are more than 5 % above those before, with both.
    fn dearer_than(&self, before: &Self) -> Vec<String> {
        let both = self.instructions.iter().filter_map(|(name, now)| Some((name, before.instructions.get(name)?, now)));
        both.filter(|(_, before, now)| is_dearer(**before, **now))
            .map(|(name, before, now)| format!("{name} from {before} to {now}"))
            .collect()
    }
}

/// What `git` prints; or why it does not.
fn git(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("git").args(arguments).current_dir(root).output();
    let done = done.map_err(|err| format!("git cannot be run: {err}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }
}

/// Look at the last commit that changed the baseline of a repository.
pub(crate) fn explained(root: &Path) -> Explained {
    let not_known = |why: &str| Explained::Yes(format!("!!! WHETHER THE BASELINE ROSE IS NOT KNOWN: {why}"));
    let found = match git(root, &["log", "-1", "--format=%H%n%B", "--", FILE]) {
        Ok(found) => found,
        Err(why) => return not_known(&why),
    };
    let Some((commit, message)) = found.split_once('\n') else {
        return not_known("no commit has a baseline");
    };
    let at = |commit: &str| {
        let text = git(root, &["show", &format!("{commit}:{FILE}")])?;
        toml::from_str::<Baseline>(&text).map_err(|err| err.to_string())
    };
    let now = match at(commit) {
        Ok(now) => now,
        Err(why) => return not_known(&why),
    };
    // A shallow clone has no parent to look at, and the first baseline has none before it.
    let before = match at(&format!("{commit}^")) {
        Ok(before) => before,
        Err(why) => return not_known(&format!("there is no baseline before commit {commit}: {why}")),
    };
    judged(commit, message, &now.dearer_than(&before))
}

fn judged(commit: &str, message: &str, dearer: &[String]) -> Explained {
    let reason = message.lines().find_map(|line| line.strip_prefix(REASON)).map(str::trim);
    match (dearer, reason) {
        ([], _) => Explained::Yes(format!("commit {commit} raised no count by more than 5 %")),
        (_, Some(why)) if !why.is_empty() => {
            Explained::Yes(format!("commit {commit} raised {}, and says why: {why}", dearer.join(", ")))
        }
        _ => Explained::No(format!(
            "commit {commit} raised {} and does not say why; its message needs a line `{REASON} <why>`",
            dearer.join(", ")
        )),
    }
}
