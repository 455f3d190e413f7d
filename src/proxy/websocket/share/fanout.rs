//! The callers of one account's feed and the broker's sockets that they share: who hears what, and who is told what.
//!
//! Nothing waits for a caller: what it does not read is queued, up to a bound, and beyond that it is closed with words,
//! while the others go on. A caller waits, unread, while the broker's sockets do not take what is said there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::super::frame::{Opcode, close_payload, code, encode};
use super::super::subscriptions::Request;
use super::interests::{Caller, Interests, NoRoom, SocketId, Step, Whose};
use crate::broker::dhan::streams::{SOCKETS, StreamKind};
use crate::domain::lock;

/// So much of what a caller does not read is queued, in bytes: several times what five thousand instruments have when a
/// caller joins.
const QUEUE: usize = 4 * 1024 * 1024;
/// What a frame in a queue takes beside its bytes.
const FRAME: usize = 64;
/// So many bytes are written at once.
const BATCH: usize = 16 * 1024;
/// So much may wait to be said on the broker's sockets before callers wait.
const SAID: usize = 1024 * 1024;

/// Why the fan-out closed a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It said so itself, or broke the protocol.
    ByCaller,
    /// It reads more slowly than the feed comes.
    SlowReader,
    /// What it said cannot be shared.
    NotShareable,
    /// Every socket that the broker allows is taken.
    NoRoom,
    /// One of the broker's sockets ended that brought what it wants.
    SocketEnded,
}

impl Closed {
    /// The word in logs and events. Never changes.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ByCaller => "caller_closed",
            Self::SlowReader => "slow_reader",
            Self::NotShareable => "not_shareable",
            Self::NoRoom => "sockets",
            Self::SocketEnded => "shared_socket_ended",
        }
    }
}

/// What is known of a caller at its end.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Why it was closed here, and the words that it was told.
    pub(super) closed: OnceLock<(Closed, String)>,
    /// Messages that were no subscription.
    pub(super) dropped: AtomicU64,
}

/// What is to be said to a caller, until there is no more.
#[derive(Debug)]
pub(super) struct Queue {
    frames: UnboundedReceiver<Frame>,
    shared: Arc<Held>,
    pub(super) known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    /// What waits is not said any more, but for the Close.
    is_abandoned: AtomicBool,
}

#[derive(Debug)]
enum Frame {
    Message(Vec<u8>),
    Close(Vec<u8>),
}

impl Queue {
    /// The next frames; `None` when there will be none.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut batch = Vec::new();
            let mut next = Some(self.frames.recv().await?);
            while let Some(frame) = next {
                match frame {
                    Frame::Message(bytes) => {
                        self.shared.bytes.fetch_sub(bytes.len() + FRAME, Ordering::Relaxed);
                        if !self.shared.is_abandoned.load(Ordering::Relaxed) {
                            batch.extend_from_slice(&bytes);
                        }
                    }
                    Frame::Close(bytes) => batch.extend_from_slice(&bytes),
                }
                next = if batch.len() < BATCH { self.frames.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }
}

/// Where frames for a caller are put.
#[derive(Debug)]
struct Outbox {
    frames: UnboundedSender<Frame>,
    shared: Arc<Held>,
    known: Arc<Known>,
}

impl Outbox {
    fn new() -> (Self, Queue) {
        let (sender, frames) = unbounded_channel();
        let (shared, known) = (Arc::<Held>::default(), Arc::<Known>::default());
        let queue = Queue { frames, shared: Arc::clone(&shared), known: Arc::clone(&known) };
        (Self { frames: sender, shared, known }, queue)
    }

    /// Answers whether there was room.
    fn put(&self, frame: Vec<u8>) -> bool {
        let length = frame.len() + FRAME;
        if self.shared.bytes.fetch_add(length, Ordering::Relaxed) > QUEUE {
            self.shared.bytes.fetch_sub(length, Ordering::Relaxed);
            return false;
        }
        // Who is gone reads nothing.
        let _ = self.frames.send(Frame::Message(frame));
        true
    }

    /// The last thing that is said.
    fn close(self, why: Closed, code: u16, words: &str) {
        let _ = self.known.closed.set((why, words.to_owned()));
        // Old prices are not read first by one that is behind by so much.
        self.shared.is_abandoned.fetch_or(why == Closed::SlowReader, Ordering::Relaxed);
        let _ = self.frames.send(Frame::Close(encode(Opcode::Close, &close_payload(code, words), None)));
    }
}

/// What is said on a socket of the broker's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A text of a caller's, which may have to be said again on another socket.
    Text(Vec<u8>),
    /// Nobody needs it any longer.
    Close,
}

/// One of the broker's sockets, as the fan-out knows it.
#[derive(Debug)]
struct Socket {
    said: UnboundedSender<Said>,
    unwanted: CancellationToken,
}

/// One of the broker's sockets: what is to be said there.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) id: SocketId,
    pub(super) said: UnboundedReceiver<Said>,
    /// Cancelled when nobody needs it any longer.
    pub(super) unwanted: CancellationToken,
}

#[derive(Debug)]
struct State {
    interests: Interests,
    callers: HashMap<Caller, Outbox>,
    next: Caller,
    sockets: HashMap<SocketId, Socket>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fanout {
    state: Mutex<State>,
    /// Bytes that wait to be said on the broker's sockets.
    said: Arc<AtomicUsize>,
    room: Notify,
}

impl Fanout {
    /// With one socket of the broker's, which is open, and one caller.
    pub(super) fn new() -> (Self, Wanted, (Caller, Queue)) {
        let (interests, id) = Interests::new();
        let mut state = State { interests, callers: HashMap::new(), next: 0, sockets: HashMap::new() };
        let (wanted, first) = (state.want(id), state.join());
        (Self { state: Mutex::new(state), said: Arc::default(), room: Notify::new() }, wanted, first)
    }

    /// One more caller; `None` when the broker's sockets are closed or about to be.
    pub(super) fn join(&self) -> Option<(Caller, Queue)> {
        let mut state = lock(&self.state);
        (!state.sockets.is_empty()).then(|| state.join())
    }

    /// A caller is gone: nothing is said to it any more. The last one closes the broker's sockets.
    pub(super) fn leave(&self, caller: Caller) {
        let mut state = lock(&self.state);
        state.callers.remove(&caller);
        self.forget(&mut state, caller);
    }

    /// A caller says a message. Which sockets of the broker's are to be opened because of it?
    pub(super) fn hear(&self, caller: Caller, message: &[u8]) -> Vec<Wanted> {
        let request = Request::read(StreamKind::Feed, message);
        let mut state = lock(&self.state);
        let Some(known) = state.callers.get(&caller).map(|outbox| Arc::clone(&outbox.known)) else {
            // It was closed, and has not heard of it yet.
            return Vec::new();
        };
        match request {
            Request::Of { code, begins, instruments, is_whole: true } => {
                let instruments: Vec<_> = instruments.into_iter().map(|(instrument, _)| instrument).collect();
                let steps = match begins {
                    true => state.interests.subscribe(caller, code, &instruments),
                    false => Ok(state.interests.unsubscribe(caller, code, &instruments)),
                };
                match steps {
                    Ok(steps) => return self.go(&mut state, caller, steps),
                    Err(NoRoom) => {
                        let words = format!("all callers of the account want more than {SOCKETS} sockets can bring");
                        self.close_one(&mut state, caller, Closed::NoRoom, code::POLICY, &words);
                    }
                }
            }
            Request::Goodbye => self.close_one(&mut state, caller, Closed::ByCaller, code::NORMAL, ""),
            // To pass it on would be to guess whose the answer is, to drop it to let its caller wait for ever.
            Request::Of { is_whole: false, .. } | Request::Unknown => {
                let words = "no subscription that is known here: with streams = share only those can be served";
                self.close_one(&mut state, caller, Closed::NotShareable, code::POLICY, words);
            }
            Request::Other => drop(known.dropped.fetch_add(1, Ordering::Relaxed)),
        }
        Vec::new()
    }

    /// Waits until the broker's sockets have taken most of what was said. Cancel-safe.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            if self.said.load(Ordering::Relaxed) < SAID {
                return;
            }
            room.await;
        }
    }

    /// So much was said on a socket of the broker's, or never will be.
    pub(super) fn was_said(&self, said: &Said) {
        self.said.fetch_sub(weight(said), Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// An answer to a caller's ping.
    pub(super) fn pong(&self, caller: Caller, mark: &[u8]) {
        self.give(&mut lock(&self.state), caller, encode(Opcode::Pong, mark, None));
    }

    /// A caller broke the protocol, or has said Close.
    pub(super) fn close(&self, caller: Caller, code: u16, words: &str) {
        self.close_one(&mut lock(&self.state), caller, Closed::ByCaller, code, words);
    }

    /// The broker says a message on one of its sockets.
    pub(super) fn deliver(&self, id: SocketId, opcode: Opcode, message: &[u8]) {
        let mut state = lock(&self.state);
        let is_first = state.interests.first() == Some(id);
        if opcode != Opcode::Binary {
            // Of which instrument a text is nobody knows.
            let callers = if is_first { state.everybody() } else { state.interests.callers(id) };
            for caller in callers {
                self.give(&mut state, caller, encode(opcode, message, None));
            }
            return;
        }
        for (whose, message) in state.interests.deliver(id, message) {
            let callers = match whose {
                Whose::Caller(caller) => vec![caller],
                // On every socket the same is said of the market: once is enough.
                Whose::Everybody if is_first => state.everybody(),
                Whose::Everybody => continue,
            };
            let frame = encode(opcode, &message, None);
            for caller in callers {
                self.give(&mut state, caller, frame.clone());
            }
        }
    }

    /// One of the broker's sockets has ended for good, or was never there: who has to know is told.
    pub(super) fn ended(&self, id: SocketId, why: Closed, code: u16, words: &str) {
        let mut state = lock(&self.state);
        state.sockets.remove(&id);
        let is_first = state.interests.first() == Some(id);
        let mut callers = state.interests.ended(id);
        if is_first {
            callers = state.everybody();
        }
        for caller in callers {
            self.close_one(&mut state, caller, why, code, words);
        }
    }

    /// Do what is to be done, all but opening sockets.
    fn go(&self, state: &mut State, caller: Caller, steps: Vec<Step>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for step in steps {
            match step {
                Step::Open(id) => wanted.push(state.want(id)),
                Step::Say(id, message) => {
                    if let Some(socket) = state.sockets.get(&id) {
                        self.say(socket, Said::Text(message));
                    }
                }
                Step::Close(id) => {
                    if let Some(socket) = state.sockets.remove(&id) {
                        self.end(&socket);
                    }
                }
                Step::Give(packet) => {
                    if !self.give(state, caller, encode(Opcode::Binary, &packet, None)) {
                        break;
                    }
                }
            }
        }
        wanted
    }

    fn say(&self, socket: &Socket, said: Said) {
        let weight = weight(&said);
        self.said.fetch_add(weight, Ordering::Relaxed);
        if socket.said.send(said).is_err() {
            self.said.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    fn end(&self, socket: &Socket) {
        self.say(socket, Said::Close);
        socket.unwanted.cancel();
    }

    /// Answers whether the caller is still there afterwards.
    fn give(&self, state: &mut State, caller: Caller, frame: Vec<u8>) -> bool {
        let had_room = state.callers.get(&caller).map(|outbox| outbox.put(frame));
        if had_room == Some(false) {
            let words = "you read more slowly than the feed comes, and others share it";
            self.close_one(state, caller, Closed::SlowReader, code::POLICY, words);
        }
        had_room == Some(true)
    }

    fn close_one(&self, state: &mut State, caller: Caller, why: Closed, code: u16, words: &str) {
        if let Some(outbox) = state.callers.remove(&caller) {
            outbox.close(why, code, words);
        }
        self.forget(state, caller);
    }

    /// What a caller that is gone wanted is given up, and all with the last of them.
    fn forget(&self, state: &mut State, caller: Caller) {
        if state.callers.is_empty() {
            for (_, socket) in state.sockets.drain() {
                self.end(&socket);
            }
            return;
        }
        let steps = state.interests.leave(caller);
        // None of them opens anything.
        let _ = self.go(state, caller, steps);
    }

    /// How many bytes wait to be said on the broker's sockets.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.said.load(Ordering::Relaxed)
    }

    /// How many callers there are, and how many of the broker's sockets.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.callers.len(), state.sockets.len())
    }
}

impl State {
    fn join(&mut self) -> (Caller, Queue) {
        let (outbox, queue) = Outbox::new();
        let caller = self.next;
        self.next += 1;
        self.callers.insert(caller, outbox);
        (caller, queue)
    }

    fn want(&mut self, id: SocketId) -> Wanted {
        let (sender, said) = unbounded_channel();
        let unwanted = CancellationToken::new();
        self.sockets.insert(id, Socket { said: sender, unwanted: unwanted.clone() });
        Wanted { id, said, unwanted }
    }

    fn everybody(&self) -> Vec<Caller> {
        self.callers.keys().copied().collect()
    }
}

fn weight(said: &Said) -> usize {
    match said {
        Said::Text(message) => message.len() + FRAME,
        Said::Close => 0,
    }
}
