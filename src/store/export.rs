//! Export: a copy of everything in a format of our own, for the day the engine's
//! files are damaged.
//!
//! A file is a header of [`HEADER`] bytes (magic, version, key id, a random file id,
//! number, sequence, time) and chunks: one byte (1 on the last), a length of four
//! bytes, big endian, and a sealed text of whole entries (length of two bytes and
//! key, length of two bytes and value; values of secret trees stay sealed inside).
//! A chunk's associated data are the header, its index and the last mark: a file
//! that is cut, reordered or mixed with another does not open.
//!
//! Invariants:
//! - A file has its name only when it is whole and synced.
//! - The last [`KEPT`] are kept; a damaged one is passed over, never trusted in part.
//! - Only what was acknowledged is exported.
//!
//! Not here: when (`exporter`), and what a restore does with it (`open`).

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::folder;
use super::seal::{KeyId, Sealer};
use super::table::{StoreTable, TableEntries};

const MAGIC: &[u8; 16] = b"SIXGATE-EXPORT-1";
const HEADER: usize = 16 + 16 + 16 + 8 + 8 + 8;
const CHUNK: usize = 64 * 1024;
const ENDING: &str = ".export";
/// How many exports are kept.
pub(super) const KEPT: usize = 4;

/// What the first bytes of an export say. Believed only once a chunk opened under it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) key_id: KeyId,
    file_id: [u8; 16],
    number: u64,
    /// The last group of changes it holds.
    pub(super) sequence: u64,
    pub(super) taken_at: Timestamp,
}

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let taken_at = self.taken_at.as_millisecond().to_be_bytes();
        let numbers = [self.number.to_be_bytes(), self.sequence.to_be_bytes(), taken_at].concat();
        [MAGIC.as_slice(), &self.key_id.0, &self.file_id, &numbers].concat()
    }

    fn from_bytes(bytes: &[u8; HEADER]) -> io::Result<Self> {
        fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> io::Result<&'a [u8; N]> {
            let (first, after) = rest.split_first_chunk().ok_or_else(|| damaged("short"))?;
            *rest = after;
            Ok(first)
        }
        let mut rest = bytes.as_slice();
        if take::<16>(&mut rest)? != MAGIC {
            return Err(damaged("not an export, or of a newer version"));
        }
        Ok(Self {
            key_id: KeyId(*take(&mut rest)?),
            file_id: *take(&mut rest)?,
            number: u64::from_be_bytes(*take(&mut rest)?),
            sequence: u64::from_be_bytes(*take(&mut rest)?),
            taken_at: Timestamp::from_millisecond(i64::from_be_bytes(*take(&mut rest)?))
                .map_err(|_| damaged("impossible time"))?,
        })
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The exports of a folder, newest first, by number.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(number) = name.strip_suffix(ENDING).and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Write an export after the newest, then delete all but the last few.
pub(super) fn write(folder: &Path, sealer: &Sealer, table: &StoreTable) -> io::Result<PathBuf> {
    folder::make(folder)?;
    let number = list(folder)?.first().map_or(1, |(newest, _)| newest.saturating_add(1));
    let path = path_of(folder, number);
    write_to(&path, sealer, number, table)?;
    for (_, old) in list(folder)?.into_iter().skip(KEPT) {
        folder::delete(&old)?;
    }
    Ok(path)
}

/// Where an export of a number is kept.
pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}{ENDING}"))
}

/// Write an export to a file of any name, whole and synced.
pub(super) fn write_to(path: &Path, sealer: &Sealer, number: u64, table: &StoreTable) -> io::Result<()> {
    let mut file_id = [0; 16];
    getrandom::fill(&mut file_id)?;
    let (sequence, taken_at) = (table.sequence(), Timestamp::now());
    let header = Header { key_id: sealer.key_id(), file_id, number, sequence, taken_at };
    folder::write_whole(path, |file| write_chunks(file, sealer, header, &table.entries))
}

fn write_chunks(file: &mut impl Write, sealer: &Sealer, header: Header, entries: &TableEntries) -> io::Result<()> {
    let header = header.to_bytes();
    file.write_all(&header)?;
    let mut index = 0;
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(CHUNK + 8192));
    let mut left = entries.iter().peekable();
    loop {
        plain.clear();
        while plain.len() < CHUNK
            && let Some((key, value)) = left.next()
        {
            for part in [key, value] {
                let length = u16::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
                plain.extend_from_slice(&length.to_be_bytes());
                plain.extend_from_slice(part);
            }
        }
        let last = left.peek().is_none();
        let sealed = sealer.seal_export(&place(&header, index, last), &plain);
        file.write_all(&[u8::from(last)])?;
        file.write_all(&u32::try_from(sealed.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_be_bytes())?;
        file.write_all(&sealed)?;
        if last {
            return Ok(());
        }
        index += 1;
    }
}

fn place(header: &[u8], index: u64, last: bool) -> Vec<u8> {
    [header, &index.to_be_bytes(), &[u8::from(last)]].concat()
}

/// The header alone, not yet proven.
pub(super) fn read_header(path: &Path) -> io::Result<Header> {
    let mut bytes = [0; HEADER];
    File::open(path)?.read_exact(&mut bytes)?;
    Header::from_bytes(&bytes)
}

/// Read a whole export.
///
/// # Errors
/// When any part of it is damaged or missing; nothing of it is returned then.
pub(super) fn read(path: &Path, sealer: &Sealer) -> io::Result<(Header, TableEntries)> {
    let mut file = BufReader::with_capacity(128 * 1024, File::open(path)?);
    let mut header_bytes = [0; HEADER];
    file.read_exact(&mut header_bytes)?;
    let header = Header::from_bytes(&header_bytes)?;
    let mut entries = TableEntries::new();
    for index in 0.. {
        let mut mark = [0; 5];
        file.read_exact(&mut mark)?;
        let [last, length @ ..] = mark;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > 2 * CHUNK {
            return Err(damaged("impossible length"));
        }
        let mut sealed = vec![0; length];
        file.read_exact(&mut sealed)?;
        let last = last == 1;
        let plain = sealer
            .open_export(&place(&header_bytes, index, last), &sealed)
            .map_err(|_| damaged("a chunk does not open"))?;
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let key = entry_part(&mut rest)?;
            entries.insert(key, entry_part(&mut rest)?);
        }
        if last {
            break;
        }
    }
    if file.read(&mut [0])? != 0 {
        return Err(damaged("bytes after the end"));
    }
    Ok((header, entries))
}

fn entry_part(rest: &mut &[u8]) -> io::Result<Arc<[u8]>> {
    let (length, after) = rest.split_first_chunk().ok_or_else(|| damaged("short entry"))?;
    let (part, after) =
        after.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(|| damaged("short entry"))?;
    *rest = after;
    Ok(part.into())
}

/// The newest export that is good as a whole. Damaged newer ones are said.
pub(super) fn newest_good(folder: &Path, sealer: &Sealer) -> io::Result<Option<(PathBuf, Header, TableEntries)>> {
    for (_, path) in list(folder)? {
        match read(&path, sealer) {
            Ok((header, entries)) => return Ok(Some((path, header, entries))),
            Err(err) => {
                tracing::error!(path = %path.display(), error = %err, "this export is damaged; trying the one before");
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::records::{self, SequenceRecord};
    use super::super::seal::MasterKey;
    use super::super::table::{TableEntry, sequence_key};
    use super::*;

    fn sealer(digit: &str) -> Sealer {
        Sealer::new(&MasterKey::from_hex(&digit.repeat(64)).unwrap()).unwrap()
    }

    fn some(count: u32, sequence: u64) -> StoreTable {
        let sequence = records::encode(&SequenceRecord { sequence }).unwrap();
        let entry = |n: u32| -> TableEntry { (Arc::new(n.to_be_bytes()), Arc::new([7; 100])) };
        let mut entries: TableEntries = (0..count).map(entry).collect();
        entries.insert(sequence_key().into(), sequence.as_slice().into());
        StoreTable { entries }
    }

    /// Several chunks, none, and an exact end all come back as they were.
    #[test]
    fn an_export_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        for table in [StoreTable::default(), some(1, 42), some(5000, 42)] {
            let path = write(dir.path(), &sealer("1"), &table).unwrap();
            let (header, entries) = read(&path, &sealer("1")).unwrap();
            assert_eq!((header.sequence, entries), (table.sequence(), table.entries));
        }
    }

    /// A cut at a chunk's end is the cut that a format without a last mark would believe.
    #[test]
    fn a_cut_changed_or_foreign_export_is_refused_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), &sealer("1"), &some(2000, 1)).unwrap();
        let good = std::fs::read(&path).unwrap();
        let first_chunk = HEADER + 5 + u32::from_be_bytes(good[HEADER + 1..HEADER + 5].try_into().unwrap()) as usize;
        for cut in [0, HEADER - 1, HEADER, first_chunk, good.len() - 1] {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(read(&path, &sealer("1")).is_err(), "cut at {cut}");
        }
        for at in (0..good.len()).step_by(9973).chain((0..HEADER + 8).step_by(3)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path, &sealer("1")).is_err(), "byte {at}");
        }
        std::fs::write(&path, [good.as_slice(), b"x"].concat()).unwrap();
        assert!(read(&path, &sealer("1")).is_err());
        std::fs::write(&path, &good).unwrap();
        assert!(read(&path, &sealer("2")).is_err());
        assert!(read(&path, &sealer("1")).is_ok());
    }

    /// The disk must not fill, and the newest must not be the one deleted.
    #[test]
    fn the_last_few_are_kept_and_a_damaged_newest_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        for sequence in 1..=7 {
            write(dir.path(), &sealer("1"), &some(3, sequence)).unwrap();
        }
        let kept = list(dir.path()).unwrap();
        assert_eq!(kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [7, 6, 5, 4]);
        let newest = &kept[0].1;
        let whole = std::fs::read(newest).unwrap();
        std::fs::write(newest, &whole[..whole.len() / 2]).unwrap();
        let (_, header, _) = newest_good(dir.path(), &sealer("1")).unwrap().unwrap();
        assert_eq!(header.sequence, 6);
        write(dir.path(), &sealer("1"), &some(3, 8)).unwrap();
        assert_eq!(newest_good(dir.path(), &sealer("1")).unwrap().unwrap().1.sequence, 8);
    }
}
