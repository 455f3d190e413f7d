//! Many figures of the same thing.

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The median: of an even number, the mean of the two in the middle.
pub(crate) fn middle(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// Median, smallest and largest, with so many digits.
pub(crate) fn spread(values: &[f64], digits: usize) -> String {
    let sorted = sorted(values);
    match (middle(&sorted), sorted.first(), sorted.last()) {
        (Some(middle), Some(least), Some(most)) => {
            format!("{middle:.digits$} ({least:.digits$} to {most:.digits$})")
        }
        _ => "-".to_owned(),
    }
}
