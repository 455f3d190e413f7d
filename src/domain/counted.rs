//! Numbers as people read them, with their things.

/// `1 line`, `6 lines`, `2 addresses`, `3 tries`: so many of a thing, whose one is named.
pub fn counted(count: impl TryInto<u128>, one: &str) -> String {
    let count = count.try_into().unwrap_or(u128::MAX);
    if count == 1 { format!("1 {one}") } else { format!("{} {}", grouped(count), several(one)) }
}

/// The plural of a word, as English makes it of nearly all.
fn several(one: &str) -> String {
    let vowel_before_y = one.trim_end_matches('y').ends_with(['a', 'e', 'o', 'u']);
    if let Some(stem) = one.strip_suffix('y').filter(|_| !vowel_before_y) {
        return format!("{stem}ies");
    }
    let hisses = ["s", "x", "ch", "sh"].iter().any(|ending| one.ends_with(ending));
    format!("{one}{}", if hisses { "es" } else { "s" })
}

/// `10,000`.
pub fn grouped(count: u128) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A decimal that may have 38 digits, such as how many pairs a pool has: beyond a million nobody counts.
pub fn at_most_a_million(decimal: &str) -> String {
    match decimal.parse::<u128>() {
        Ok(count) if count <= 1_000_000 => grouped(count),
        Ok(_) => "over a million".to_owned(),
        Err(_) => decimal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "1 things" and "1 lines in 1 files" were in the pages that people read first.
    #[test]
    fn one_thing_is_one_and_several_have_their_plural() {
        let told = [counted(1, "thing"), counted(0, "line"), counted(2_u64, "address"), counted(3_usize, "try")];
        assert_eq!(told, ["1 thing", "0 lines", "2 addresses", "3 tries"]);
        assert_eq!([counted(12_345, "key"), counted(2, "day")], ["12,345 keys", "2 days"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_count_of_many_digits_is_told_in_words() {
        let told = ["12345", "18446744073709551614", "-"].map(at_most_a_million);
        assert_eq!(told, ["12,345", "over a million", "-"]);
    }
}
