//! Lines of a file from either end, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// The longest line that is taken for one. Ours stay under 8 KiB.
pub(super) const LONGEST: usize = 64 * 1024;

/// One line, without its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawLine {
    /// Where it begins.
    pub(super) offset: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    /// Its bytes; empty when it is too long to be a line.
    pub(super) bytes: Vec<u8>,
    /// Was there a newline?
    pub(super) ended: bool,
    /// Longer than [`LONGEST`].
    pub(super) too_long: bool,
}

/// From a place to the end.
#[derive(Debug)]
pub(super) struct Forward {
    file: BufReader<File>,
    offset: u64,
}

impl Forward {
    /// `offset` is where a line begins.
    pub(super) fn new(mut file: File, offset: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file: BufReader::with_capacity(LONGEST, file), offset })
    }

    /// The next line into `line`, whose memory is used again. `false` at the end.
    pub(super) fn read(&mut self, line: &mut RawLine) -> io::Result<bool> {
        line.bytes.clear();
        line.offset = self.offset;
        line.too_long = false;
        let mut read = (&mut self.file).take(LONGEST as u64 + 1).read_until(b'\n', &mut line.bytes)? as u64;
        line.ended = line.bytes.last() == Some(&b'\n');
        if !line.ended && read > LONGEST as u64 {
            line.too_long = true;
            line.bytes.clear();
            let skipped = skip_line(&mut self.file)?;
            read += skipped.0;
            line.ended = skipped.1;
        } else if line.ended {
            line.bytes.pop();
        }
        self.offset += read;
        line.end = self.offset;
        Ok(read > 0)
    }
}

/// Over the rest of a line: how many bytes, and was there a newline?
fn skip_line(file: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let mut skipped = 0;
    loop {
        let chunk = file.fill_buf()?;
        let newline = chunk.iter().position(|b| *b == b'\n');
        let used = newline.map_or(chunk.len(), |at| at + 1);
        file.consume(used);
        skipped += used as u64;
        if newline.is_some() || used == 0 {
            return Ok((skipped, newline.is_some()));
        }
    }
}

impl RawLine {
    pub(super) const fn empty() -> Self {
        Self { offset: 0, end: 0, bytes: Vec::new(), ended: false, too_long: false }
    }
}

/// From a place to the beginning.
#[derive(Debug)]
pub(super) struct Backward {
    file: File,
    /// Where in the file `buffer` begins.
    start: u64,
    /// Bytes that are read and not given out, up to the end of the next line.
    buffer: Vec<u8>,
    /// The next line ends here, newline included.
    end: u64,
}

impl Backward {
    /// `end` is where a line ends, newline included, or the file.
    pub(super) const fn new(file: File, end: u64) -> Self {
        Self { file, start: end, buffer: Vec::new(), end }
    }

    /// The line before the last one that was given.
    pub(super) fn read(&mut self) -> io::Result<Option<RawLine>> {
        if self.end == 0 {
            return Ok(None);
        }
        if self.buffer.is_empty() {
            self.fill()?;
        }
        let ended = self.buffer.last() == Some(&b'\n');
        let mut too_long = false;
        let mut unsearched = self.buffer.len() - usize::from(ended);
        let begin = loop {
            let newline = self.buffer.iter().take(unsearched).rposition(|b| *b == b'\n');
            if let Some(at) = newline {
                break at + 1;
            }
            if self.start == 0 {
                break 0;
            }
            // Its newline is not a part of it.
            if self.buffer.len() > LONGEST + usize::from(ended) {
                too_long = true;
                self.buffer.clear();
            }
            let searched = self.buffer.len();
            self.fill()?;
            unsearched = self.buffer.len() - searched;
        };
        let mut bytes = self.buffer.split_off(begin);
        let offset = self.start + begin as u64;
        if ended {
            bytes.pop();
        }
        too_long |= bytes.len() > LONGEST;
        if too_long {
            bytes = Vec::new();
        }
        let line = RawLine { offset, end: self.end, bytes, ended, too_long };
        self.end = offset;
        Ok(Some(line))
    }

    /// One more chunk before `buffer`.
    fn fill(&mut self) -> io::Result<()> {
        let size = self.start.min(LONGEST as u64);
        let mut chunk = vec![0; usize::try_from(size).unwrap_or(LONGEST)];
        self.start -= size;
        self.file.read_exact_at(&mut chunk, self.start)?;
        chunk.append(&mut self.buffer);
        self.buffer = chunk;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn forward(bytes: &[u8]) -> Vec<RawLine> {
        let mut reader = Forward::new(file(bytes), 0).unwrap();
        let mut line = RawLine::empty();
        let mut lines = Vec::new();
        while reader.read(&mut line).unwrap() {
            lines.push(line.clone());
        }
        lines
    }

    fn backward(bytes: &[u8]) -> Vec<RawLine> {
        let mut reader = Backward::new(file(bytes), bytes.len() as u64);
        let mut lines: Vec<_> = std::iter::from_fn(|| reader.read().unwrap()).collect();
        lines.reverse();
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A page of orders must not depend on the end it is read from.
        #[test]
        fn both_ways_see_the_same_lines(
            lengths in proptest::collection::vec(prop_oneof![0..40_usize, 65_530..65_540_usize, 65_000..200_000_usize], 0..8),
            ended in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                bytes.extend(std::iter::repeat_n(b'a' + number as u8, *length));
                bytes.push(b'\n');
            }
            if !ended {
                bytes.pop();
            }
            let lines = forward(&bytes);
            prop_assert_eq!(&lines, &backward(&bytes));
            let total: u64 = lines.iter().map(|line| line.end - line.offset).sum();
            prop_assert_eq!(total, bytes.len() as u64);
            for line in &lines {
                let length = line.end - line.offset - u64::from(line.ended);
                prop_assert_eq!(line.too_long, length > LONGEST as u64);
                prop_assert!(line.too_long || line.bytes.len() as u64 == length);
            }
        }
    }
}
