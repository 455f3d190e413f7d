//! For fuzzing alone: a line to an entry and back, with plain values on both sides. Decides nothing; what must hold is
//! said in `crate::fuzzing`.

use super::codec::{self, LineHash, Recorded, Wrong};

/// A line without its newline, its hash not checked.
///
/// # Errors
/// Why it is none.
pub fn read(line: &[u8]) -> Result<Recorded, String> {
    codec::read(line)
}

/// A line without its newline, its hash checked.
///
/// # Errors
/// Why it is none.
pub fn check(line: &[u8]) -> Result<Recorded, String> {
    codec::check(line).map_err(|wrong| wrong.why())
}

/// The line of what was read, newline included.
pub fn write(recorded: &Recorded) -> (Vec<u8>, LineHash) {
    let mut line = Vec::new();
    let hash = codec::write_again(&mut line, recorded);
    (line, hash)
}

/// Is a line that was sealed with these bytes in it found to have the hash that it was given, whatever they are?
pub fn keeps_its_hash(body: &[u8]) -> bool {
    let mut line = Vec::new();
    let hash = codec::seal(&mut line, 1, body, LineHash::ZERO);
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let found = match codec::check(line) {
        Ok(recorded) => Some(recorded.hash),
        Err(Wrong::Content { hash, .. }) => Some(hash),
        Err(Wrong::Ending | Wrong::Hash { .. }) => None,
    };
    found == Some(hash) && codec::hash_as_it_stands(line) == hash
}
