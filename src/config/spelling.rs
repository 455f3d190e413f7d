//! "Did you mean": which known word is a slip of the pen away.

/// The candidate that is a slip of the pen away: one mistake for every four
/// letters, at least one, and never a whole new word.
pub(super) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    // Beyond this it is no slip, and the distance costs the product of both lengths.
    if name.len() > 80 {
        return None;
    }
    let allowed = (name.len() / 4).clamp(1, 3);
    let slips = candidates.map(|candidate| (distance(name, &candidate), candidate));
    slips.filter(|(slips, _)| *slips <= allowed).min().map(|(_, candidate)| candidate)
}

/// Letters to add, drop, change, or swap with their neighbour to get from one
/// word to the other (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (row, letter) in from.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let cell = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut best = (cell(&above, column + 1) + 1).min(cell(&line, column) + 1);
            best = best.min(cell(&above, column) + usize::from(letter != *other));
            let swapped = column > 0 && last == Some(*other) && to.get(column - 1) == Some(&letter);
            if swapped {
                best = best.min(cell(&before, column - 1) + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
        last = Some(letter);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A swap of neighbours is the most common slip, and one mistake to whoever made it.
    #[test]
    fn each_kind_of_slip_counts_once() {
        for (from, to, slips) in [
            ("drain", "drain", 0),
            ("drian", "drain", 1),
            ("drai", "drain", 1),
            ("drainn", "drain", 1),
            ("drein", "drain", 1),
            ("", "drain", 5),
            ("drain", "", 5),
            ("kitten", "sitting", 3),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(from, to), slips, "{from} {to}");
        }
    }

    /// A suggestion that is another word altogether misleads more than none.
    #[test]
    fn a_different_word_is_not_suggested() {
        let known = || ["api", "auth", "feed"].into_iter().map(str::to_owned);
        assert_eq!(nearest("apy", known()), Some("api".to_owned()));
        assert_eq!(nearest("url", known()), None);
        assert_eq!(nearest(&"a".repeat(1000), known()), None);
    }
}
