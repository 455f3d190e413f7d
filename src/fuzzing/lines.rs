//! Lines of the journal.

use crate::orders::journal::fuzzing::{check, keeps_its_hash, read, write};

/// What is read of a line is written as a line that says the same and whose hash is right; and no content makes a
/// line's hash be looked for in another place.
///
/// # Panics
/// Where that does not hold.
pub fn journal_line(data: &[u8]) {
    assert!(keeps_its_hash(data), "a line's own content hides its hash");
    assert!(check(data).is_err() || read(data).is_ok(), "a line with a hash is no line without");
    let Ok(first) = read(data) else { return };
    let (line, hash) = write(&first);
    let (end, text) = line.split_last().unwrap_or((&0, b""));
    assert!(*end == b'\n' && !text.contains(&b'\n'), "not one line");
    let back = check(text);
    assert!(back.is_ok(), "what was written is not read: {back:?}");
    let Ok(back) = back else { return };
    assert_eq!((back.seq, back.prev, back.hash), (first.seq, first.prev, hash));
    // Kept to the microsecond.
    let rounded = first.entry.at.duration_since(back.entry.at).as_nanos();
    assert!((0..1000).contains(&rounded), "another time: {rounded} ns");
    let mut wanted = first.entry;
    wanted.at = back.entry.at;
    assert_eq!(back.entry, wanted, "another entry");
    assert_eq!(write(&back).0, line, "the same entry makes another line");
}
