//! Which caller wants which instruments, and which of the broker's sockets brings them. Pure.
//!
//! Invariants:
//! - What two callers want in the same mode is subscribed to once. It is given up when nobody wants it any longer.
//! - On one of the broker's sockets no instrument is subscribed to in two modes: whether the broker then sends both or
//!   only the last nobody knows. The second mode goes by another socket.
//! - Who joins late gets what came last of each kind of packet, as the broker would send it after a subscription.
//! - Bounded: sockets and instruments by the broker's limits, what is kept of an instrument by one packet of each code.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::super::subscriptions::{Instrument, list_message};
use super::packets::{Key, packets};
use crate::broker::dhan::streams::{SOCKETS, StreamKind};

/// The longest packet that is kept. A full one has 162 bytes.
const LONGEST: usize = 512;
/// Packets of so many codes are kept: the broker has six.
const CODES: usize = 8;

/// A caller, by a number that is never given twice.
pub(super) type Caller = u64;
/// One of the broker's sockets, by a number that is never given twice.
pub(super) type SocketId = u64;

/// What one instrument is to whom, on one of the broker's sockets.
#[derive(Debug)]
struct Interest {
    /// The mode: the code that subscribes to it.
    code: u64,
    /// As the broker is asked for it.
    instrument: Instrument,
    callers: Vec<Caller>,
    /// The last packet of each code.
    last: Vec<(u8, Bytes)>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Open another of the broker's sockets.
    Open(SocketId),
    /// Say this there.
    Say(SocketId, Vec<u8>),
    /// Nobody wants anything of it any longer.
    Close(SocketId),
    /// Give the caller that asked this packet.
    Give(Bytes),
}

/// Every socket that the broker allows is taken, and none of them can bring what was asked for as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

#[derive(Debug, Default)]
struct Socket {
    interests: HashMap<Key, Interest>,
    /// How many instruments each caller wants of it, and how many of those have no number here.
    callers: HashMap<Caller, (usize, usize)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Interests {
    /// In the order in which they were opened.
    sockets: Vec<(SocketId, Socket)>,
    next: SocketId,
}

impl Interests {
    /// With one socket, which is open, and its number.
    pub(super) fn new() -> (Self, SocketId) {
        (Self { sockets: vec![(0, Socket::default())], next: 1 }, 0)
    }

    /// The first of the sockets that are open.
    pub(super) fn first(&self) -> Option<SocketId> {
        self.sockets.first().map(|(id, _)| *id)
    }

    /// A caller subscribes to instruments in the mode of this code. Sockets are opened first, then spoken to, and last the
    /// caller is given what is known.
    ///
    /// # Errors
    /// [`NoRoom`], and it has subscribed to some of them only.
    pub(super) fn subscribe(
        &mut self,
        caller: Caller,
        code: u64,
        instruments: &[Instrument],
    ) -> Result<Vec<Step>, NoRoom> {
        let (mut steps, mut given) = (Vec::new(), Vec::new());
        let mut asked: BTreeMap<SocketId, Vec<Instrument>> = BTreeMap::new();
        for instrument in instruments {
            let key = Key::of(instrument);
            let place = match self.place(&key, code) {
                Some(place) => place,
                None if self.sockets.len() < SOCKETS => {
                    steps.push(Step::Open(self.next));
                    self.sockets.push((self.next, Socket::default()));
                    self.next += 1;
                    self.sockets.len() - 1
                }
                None => return Err(NoRoom),
            };
            let Some((id, socket)) = self.sockets.get_mut(place) else { continue };
            let instrument = key.spelled(instrument);
            let interest = socket.want(caller, key, code, &instrument);
            if interest.last.is_empty() {
                // Nothing has come of it: who asks again may have been right to. The broker drops some without a word.
                asked.entry(*id).or_default().push(instrument);
            }
            given.extend(interest.last.iter().map(|(_, packet)| Step::Give(packet.clone())));
        }
        for (id, instruments) in asked {
            let chunks = instruments.chunks(StreamKind::INSTRUMENTS_A_MESSAGE);
            steps.extend(chunks.map(|chunk| Step::Say(id, said(code, chunk))));
        }
        steps.append(&mut given);
        Ok(steps)
    }

    /// The socket that brings an instrument in this mode, or can do so.
    fn place(&self, key: &Key, code: u64) -> Option<usize> {
        let sockets = || self.sockets.iter().map(|(_, socket)| &socket.interests);
        let brings = |interests: &HashMap<Key, Interest>| interests.get(key).is_some_and(|it| it.code == code);
        let can = |interests: &HashMap<Key, Interest>| {
            !interests.contains_key(key) && interests.len() < StreamKind::Feed.instruments()
        };
        sockets().position(brings).or_else(|| sockets().position(can))
    }

    /// A caller wants no more of instruments in the mode of this code.
    pub(super) fn unsubscribe(&mut self, caller: Caller, code: u64, instruments: &[Instrument]) -> Vec<Step> {
        let keys: Vec<_> = instruments.iter().map(Key::of).collect();
        self.give_up(caller, |_| keys.clone(), Some(code))
    }

    /// A caller is gone.
    pub(super) fn leave(&mut self, caller: Caller) -> Vec<Step> {
        let all = |socket: &Socket| socket.interests.keys().cloned().collect();
        self.give_up(caller, all, None)
    }

    fn give_up(&mut self, caller: Caller, keys: impl Fn(&Socket) -> Vec<Key>, mode: Option<u64>) -> Vec<Step> {
        let mut steps = Vec::new();
        for (id, socket) in &mut self.sockets {
            if !socket.callers.contains_key(&caller) {
                continue;
            }
            let mut unwanted: BTreeMap<u64, Vec<Instrument>> = BTreeMap::new();
            for key in keys(socket) {
                if let Some((code, instrument)) = socket.give_up(caller, &key, mode) {
                    unwanted.entry(code).or_default().push(instrument);
                }
            }
            for (code, instruments) in unwanted {
                let chunks = instruments.chunks(StreamKind::INSTRUMENTS_A_MESSAGE);
                // The code that ends a mode follows the one that begins it.
                steps.extend(chunks.map(|chunk| Step::Say(*id, said(code + 1, chunk))));
            }
        }
        let first = self.first();
        let unused = |(id, socket): &mut (SocketId, Socket)| Some(*id) != first && socket.interests.is_empty();
        steps.extend(self.sockets.extract_if(.., unused).map(|(id, _)| Step::Close(id)));
        steps
    }

    /// A socket of the broker's has ended. Who wanted something of it?
    pub(super) fn ended(&mut self, id: SocketId) -> Vec<Caller> {
        let ended = self.sockets.extract_if(.., |(other, _)| *other == id);
        let mut callers: Vec<_> = ended.flat_map(|(_, socket)| socket.callers.into_keys()).collect();
        callers.sort_unstable();
        callers
    }

    /// What a binary message of the broker's on this socket is to whom.
    pub(super) fn deliver(&mut self, id: SocketId, message: &[u8]) -> Vec<(Whose, Vec<u8>)> {
        let mut given: Vec<(Whose, Vec<u8>)> = Vec::new();
        let Some((_, socket)) = self.sockets.iter_mut().find(|(other, _)| *other == id) else { return given };
        let mut give = |whose: Whose, bytes: &[u8]| match given.iter_mut().find(|(other, _)| *other == whose) {
            Some((_, given)) => given.extend_from_slice(bytes),
            None => given.push((whose, bytes.to_vec())),
        };
        let (packets, rest) = packets(message);
        for packet in packets {
            let Some((segment, number)) = packet.instrument else {
                give(Whose::Everybody, packet.bytes);
                continue;
            };
            if let Some(interest) = socket.interests.get_mut(&Key::Numbers(segment, number)) {
                interest.note(packet.code, packet.bytes);
                interest.callers.iter().for_each(|caller| give(Whose::Caller(*caller), packet.bytes));
            } else {
                // It can only be for one whose instrument has no number here.
                let words = socket.callers.iter().filter(|(_, (_, words))| *words > 0);
                words.for_each(|(caller, _)| give(Whose::Caller(*caller), packet.bytes));
            }
        }
        if !rest.is_empty() {
            socket.callers.keys().for_each(|caller| give(Whose::Caller(*caller), rest));
        }
        given
    }

    /// Who wants something of this socket.
    pub(super) fn callers(&self, id: SocketId) -> Vec<Caller> {
        let socket = self.sockets.iter().find(|(other, _)| *other == id);
        socket.map(|(_, socket)| socket.callers.keys().copied().collect()).unwrap_or_default()
    }
}

/// Whose something is that the broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is of no instrument.
    Everybody,
    Caller(Caller),
}

impl Interest {
    fn note(&mut self, code: u8, packet: &[u8]) {
        if packet.len() > LONGEST || !is_of_mode(code, self.code) {
            return;
        }
        let packet = Bytes::copy_from_slice(packet);
        if let Some((_, last)) = self.last.iter_mut().find(|(other, _)| *other == code) {
            *last = packet;
        } else if self.last.len() < CODES {
            self.last.push((code, packet));
        }
    }
}

/// Does a packet of this code belong to the mode? One of another mode may still be on its way.
const fn is_of_mode(code: u8, mode: u64) -> bool {
    match code {
        2 => mode == 15,
        4 => mode == 17,
        8 => mode == 21,
        _ => true,
    }
}

impl Socket {
    fn want(&mut self, caller: Caller, key: Key, code: u64, instrument: &Instrument) -> &Interest {
        let words = usize::from(matches!(key, Key::Words(_)));
        let interest = self.interests.entry(key).or_insert_with(|| Interest {
            code,
            instrument: instrument.clone(),
            callers: Vec::new(),
            last: Vec::new(),
        });
        if !interest.callers.contains(&caller) {
            interest.callers.push(caller);
            let counts = self.callers.entry(caller).or_default();
            *counts = (counts.0 + 1, counts.1 + words);
        }
        interest
    }

    /// A caller wants this no longer, in this mode or in any. What nobody wants any longer, and its mode.
    fn give_up(&mut self, caller: Caller, key: &Key, mode: Option<u64>) -> Option<(u64, Instrument)> {
        let interest = self.interests.get_mut(key).filter(|interest| mode.is_none_or(|mode| mode == interest.code))?;
        let at = interest.callers.iter().position(|other| *other == caller)?;
        interest.callers.swap_remove(at);
        let is_unwanted = interest.callers.is_empty();
        if let Some(counts) = self.callers.get_mut(&caller) {
            *counts = (counts.0.saturating_sub(1), counts.1.saturating_sub(usize::from(matches!(key, Key::Words(_)))));
            if counts.0 == 0 {
                self.callers.remove(&caller);
            }
        }
        let interest = if is_unwanted { self.interests.remove(key) } else { None }?;
        Some((interest.code, interest.instrument))
    }
}

fn said(code: u64, instruments: &[Instrument]) -> Vec<u8> {
    list_message(code, instruments.iter()).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
