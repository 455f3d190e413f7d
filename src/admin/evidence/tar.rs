//! Files of a tar archive (POSIX.1-1988, `ustar`), one after another.

/// An archive is made of blocks of this size.
const BLOCK: usize = 512;

/// A file as it stands in an archive. `name` has at most 100 bytes.
pub(super) fn file(name: &str, content: &[u8], at: i64) -> Vec<u8> {
    let mut bytes = header(name, content.len(), at);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// What an archive ends with.
pub(super) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn header(name: &str, size: usize, at: i64) -> Vec<u8> {
    let number = |value: u64, digits: usize| format!("{value:0digits$o}\0");
    let before = [field(name, 100), field(&number(0o644, 7), 8), field(&number(0, 7), 8), field(&number(0, 7), 8)];
    let sizes = [field(&number(size as u64, 11), 12), field(&number(u64::try_from(at).unwrap_or_default(), 11), 12)];
    let before: Vec<u8> = before.into_iter().chain(sizes).flatten().collect();
    // A regular file. The rest (links, owners' names, devices) stays empty.
    let after: Vec<u8> = [field("0", 1), field("", 100), field("ustar\0", 6), field("00", 2), field("", 247)].concat();
    // The sum is made with blanks in its own place.
    let sum: u64 = before.iter().chain(&after).map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ');
    [before, field(&format!("{sum:06o}\0 "), 8), after].concat()
}

fn field(text: &str, width: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(width, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_made_of_whole_blocks() {
        for length in [0, 1, 511, 512, 513] {
            let bytes = file("a/b.txt", &vec![b'x'; length], 1_800_000_000);
            assert_eq!(bytes.len(), BLOCK + length.next_multiple_of(BLOCK), "{length}");
            assert!(bytes.starts_with(b"a/b.txt\0"));
        }
        assert_eq!(end().len(), 1024);
    }
}
