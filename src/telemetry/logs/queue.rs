//! Lines on their way out: who logs puts a whole line here and goes on, and one thread writes them.
//!
//! A log's reader is a stranger to orders: a pipe that nobody reads, a full disk and a slow terminal hold up the thread
//! that writes and nobody else. So there is room for so much text and no more; what does not fit is dropped and
//! counted, and once there is room again a line tells how many were. The room is larger for what matters more, so that
//! a flood of usual lines leaves some for errors.
//!
//! Why not `tracing-appender`: its channel is bounded in lines and not in bytes, gives every line the same room and an
//! allocation of its own, does not tell in the log what was dropped, and wakes its thread once a line.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::lock;

use prometheus_client::metrics::counter::Counter;
use tracing::Level;

/// Text that may wait: some 15,000 lines of requests.
const USUAL: usize = 4 << 20;
/// More of it for warnings, and for errors above those.
const RESERVE: usize = 1 << 20;
/// Lines are kept in pieces of this size, so that no long text is ever moved on an order's time.
const PIECE: usize = 64 << 10;
/// How long the thread lets lines gather before it writes: it is woken once for all of them.
const GATHER: Duration = Duration::from_millis(2);
/// How long it waits after a failure such as a full disk before it tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the lines go.
pub(super) trait LineSink: Send + 'static {
    /// As `write(2)`: it may wait, and it may take a part.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LineQueue {
    held: Mutex<QueuedLines>,
    filled: Condvar,
    written: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct QueuedLines {
    pieces: VecDeque<Vec<u8>>,
    /// One that was written, to be used again.
    spare: Option<Vec<u8>>,
    /// Bytes in the pieces and in the one that is being written.
    bytes: usize,
    /// Does the thread wait to be woken?
    asleep: bool,
    /// Does somebody wait for the end of it?
    hurry: bool,
    /// Dropped since the last line that told of it.
    dropped: u64,
}

/// Up to where a line of this level may fill the room.
fn room(level: Level) -> usize {
    match level {
        Level::ERROR => USUAL + 2 * RESERVE,
        Level::WARN => USUAL + RESERVE,
        _ => USUAL,
    }
}

impl QueuedLines {
    fn push(&mut self, line: &[u8]) {
        match self.pieces.back_mut() {
            Some(piece) if piece.capacity() - piece.len() >= line.len() => piece.extend_from_slice(line),
            Some(_) | None => {
                let mut piece = self.spare.take().unwrap_or_default();
                piece.reserve_exact(PIECE.max(line.len()));
                piece.extend_from_slice(line);
                self.pieces.push_back(piece);
            }
        }
        self.bytes += line.len();
    }
}

impl LineQueue {
    /// Lines that were dropped since the start.
    pub(super) const fn dropped(&self) -> &Counter {
        &self.dropped
    }

    /// Take a whole line in, or drop it. Never waits for whoever reads.
    pub(super) fn put(&self, level: Level, line: &[u8]) {
        let mut held = self.lock();
        if held.bytes + line.len() > room(level) {
            held.dropped += 1;
            self.dropped.inc();
            return;
        }
        held.push(line);
        let asleep = std::mem::take(&mut held.asleep);
        drop(held);
        if asleep {
            self.filled.notify_one();
        }
    }

    /// Wait until all that was put in is written, for `limit` at the longest. Was it?
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let by = Instant::now() + limit;
        let mut held = self.lock();
        held.hurry = true;
        self.filled.notify_one();
        while held.bytes > 0 {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self.written.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        held.hurry = false;
        true
    }

    /// Write what comes, for as long as the process lives. `on_dropped` puts a line in that says how many were dropped.
    pub(super) fn write_on(self: &Arc<Self>, mut sink: impl LineSink, on_dropped: impl Fn(u64)) {
        loop {
            let mut piece = self.next();
            write_whole(&mut sink, &piece);
            let size = piece.len();
            piece.clear();
            let mut held = self.lock();
            held.bytes -= size;
            if piece.capacity() == PIECE {
                held.spare = Some(piece);
            }
            // Told once the way is free again, and not with each piece of a slow reader.
            let dropped = if held.bytes < USUAL / 2 { std::mem::take(&mut held.dropped) } else { 0 };
            drop(held);
            self.written.notify_all();
            if dropped > 0 {
                on_dropped(dropped);
            }
        }
    }

    /// The oldest piece. Waits for one.
    fn next(&self) -> Vec<u8> {
        let mut held = self.lock();
        while held.pieces.is_empty() {
            held.asleep = true;
            held = self.filled.wait(held).unwrap_or_else(PoisonError::into_inner);
            if !held.hurry && held.bytes < PIECE {
                held = self.filled.wait_timeout(held, GATHER).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        held.asleep = false;
        held.pieces.pop_front().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        lock(&self.held)
    }
}

/// Write all of it, however long that takes: what a full disk or a reader that is gone does not take is tried again, from
/// where it stopped, so that no line is ever torn.
fn write_whole(sink: &mut impl LineSink, mut rest: &[u8]) {
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(taken @ 1..) => rest = rest.get(taken..).unwrap_or_default(),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => std::thread::park_timeout(AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A reader that takes as much as it is told to, and fails when it is told to.
    struct SlowReader {
        may: mpsc::Receiver<io::Result<usize>>,
        got: mpsc::Sender<Vec<u8>>,
    }

    impl LineSink for SlowReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without anybody who tells, it takes all.
            let most = self.may.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            let _ = self.got.send(bytes[..most].to_vec());
            Ok(most)
        }
    }

    struct Log {
        queue: Arc<LineQueue>,
        may: Option<mpsc::Sender<io::Result<usize>>>,
        got: mpsc::Receiver<Vec<u8>>,
    }

    impl Log {
        fn begin() -> Self {
            let queue = Arc::<LineQueue>::default();
            let ((may, told), (got, read)) = (mpsc::channel(), mpsc::channel());
            let writing = Arc::clone(&queue);
            std::thread::spawn(move || {
                let noted = Arc::clone(&writing);
                let note = move |n| noted.put(Level::WARN, format!("{n} were dropped\n").as_bytes());
                writing.write_on(SlowReader { may: told, got }, note);
            });
            Self { queue, may: Some(may), got: read }
        }

        fn read_all(&mut self) -> String {
            drop(self.may.take());
            assert!(self.queue.flush(LONG));
            // What tells of the dropped comes after the last of them.
            assert!(self.queue.flush(LONG));
            let mut text = Vec::new();
            while let Ok(more) = self.got.recv_timeout(Duration::from_millis(500)) {
                text.extend(more);
            }
            String::from_utf8(text).unwrap()
        }
    }

    /// A reader that stops held up every order, for the line of it could not be written.
    #[test]
    fn with_a_reader_that_stopped_lines_are_dropped_and_counted_and_errors_have_room() {
        let mut log = Log::begin();
        let line = format!("{}\n", "x".repeat(299));
        let fill = |level, text: &str| {
            let before = log.queue.dropped().get();
            let mut kept = 0;
            while log.queue.dropped().get() == before {
                log.queue.put(level, text.as_bytes());
                kept += text.len();
            }
            kept - text.len()
        };
        let usual = fill(Level::INFO, &line);
        assert!((USUAL - 300..=USUAL).contains(&usual), "{usual} bytes");
        assert!((RESERVE - 600..=RESERVE + 300).contains(&fill(Level::WARN, &line)));
        assert!((RESERVE - 600..=RESERVE + 300).contains(&fill(Level::ERROR, &line)));
        assert_eq!(log.queue.dropped().get(), 3);
        assert!(!log.queue.flush(Duration::from_millis(10)), "nobody reads");
        let text = log.read_all();
        assert!(text.ends_with("3 were dropped\n"), "{}", &text[text.len() - 600..]);
        let (last, lines) = text.lines().fold((String::new(), 0), |(_, n), line| (line.to_owned(), n + 1));
        assert_eq!((last.as_str(), lines), ("3 were dropped", text.len() / 300 + 1));
    }

    /// A full disk takes half of a line, and then none for a while.
    #[test]
    fn a_line_that_was_begun_is_ended_and_order_is_kept() {
        let mut log = Log::begin();
        log.queue.put(Level::INFO, b"one\ntwo\n");
        log.queue.put(Level::ERROR, b"three\n");
        let may = log.may.as_ref().unwrap();
        may.send(Ok(5)).unwrap();
        may.send(Err(io::Error::from_raw_os_error(nix::libc::ENOSPC))).unwrap();
        may.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
        assert_eq!(log.read_all(), "one\ntwo\nthree\n");
        assert_eq!(log.queue.dropped().get(), 0);
    }

    #[test]
    fn what_is_written_needs_no_room_any_more() {
        let mut log = Log::begin();
        drop(log.may.take());
        for _ in 0..3 {
            for _ in 0..1000 {
                log.queue.put(Level::INFO, &[b'y'; 3000]);
            }
            assert!(log.queue.flush(LONG));
        }
        assert_eq!(log.queue.dropped().get(), 0);
        assert_eq!(log.queue.lock().bytes, 0);
    }
}
