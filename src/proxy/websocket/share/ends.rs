//! Frames in and out of a fan-out: on the side of a caller, where it is the server, and on the side of one of the
//! broker's sockets, where it is the client.
//!
//! Both are pipes within the gateway. On their other ends a `relay` each has already checked what comes, and knows who
//! is still there.

use std::convert::Infallible;
use std::future::poll_fn;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, split};
use tokio::sync::mpsc::{UnboundedReceiver, channel};

use super::super::frame::{Opcode, close_payload, code, encode, read_close};
use super::super::reader::{Control, FrameReader, Piece, Sender};
use super::super::relay::mask;
use super::fanout::{Closed, Fanout, Queue, Said, Wanted};
use super::interests::{Caller, SocketId};
use crate::net::read_buffer::poll_fill;

/// The longest message of a caller's. A subscription to a hundred instruments has 6 KiB.
const CALLERS_MESSAGE: usize = 64 * 1024;
/// The longest message of the broker's. A packet of the feed has 162 bytes, a message one or several.
const BROKERS_MESSAGE: usize = 1024 * 1024;

/// So many pings of the broker's wait for their answers.
const PONGS: usize = 16;

/// What came whole.
enum Heard {
    Message(Opcode, Vec<u8>),
    Control(Control),
    /// What is no WebSocket, or longer than any message: the code and the words that say so.
    Broken(u16, &'static str),
}

/// Messages of a pipe.
struct Ear {
    pipe: ReadHalf<DuplexStream>,
    reader: FrameReader,
    input: BytesMut,
    begun: Vec<u8>,
    longest: usize,
}

impl Ear {
    fn new(pipe: ReadHalf<DuplexStream>, sender: Sender) -> Self {
        let longest = match sender {
            Sender::Caller => CALLERS_MESSAGE,
            Sender::Broker => BROKERS_MESSAGE,
        };
        Self { pipe, reader: FrameReader::new(sender, false), input: BytesMut::new(), begun: Vec::new(), longest }
    }

    /// The next message or control frame; `None` at the end.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.reader.next(&mut self.input) {
                Ok(Some(Piece::Control(control))) => return Some(Heard::Control(control)),
                Ok(Some(Piece::Data(data))) => {
                    if data.begins {
                        self.begun.clear();
                    }
                    if self.begun.len() + data.wire.len() > self.longest {
                        return Some(Heard::Broken(code::TOO_BIG, "the message is longer than any that is known here"));
                    }
                    self.begun.extend_from_slice(&data.payload());
                    if data.ends_message {
                        return Some(Heard::Message(data.kind, std::mem::take(&mut self.begun)));
                    }
                }
                Ok(None) => {
                    let (pipe, input) = (&mut self.pipe, &mut self.input);
                    if matches!(poll_fn(|cx| poll_fill(pipe, input, cx)).await, Ok(0) | Err(_)) {
                        return None;
                    }
                }
                Err(broken) => return Some(Heard::Broken(broken.code, broken.words)),
            }
        }
    }
}

/// Serve a caller until it is gone. Whichever sockets of the broker's it makes necessary are given to `open`.
pub(super) async fn serve_caller(
    fanout: &Fanout,
    (caller, mut queue): (Caller, Queue),
    pipe: DuplexStream,
    open: impl Fn(Wanted),
) {
    let (from, mut to) = split(pipe);
    let mut ear = Ear::new(from, Sender::Caller);
    let hear = async {
        while let Some(heard) = ear.next().await {
            match heard {
                Heard::Message(_, message) => {
                    fanout.hear(caller, &message).into_iter().for_each(&open);
                    fanout.wait_for_room().await;
                }
                Heard::Control(control) => match control.opcode {
                    Opcode::Ping => fanout.pong(caller, &control.payload),
                    Opcode::Close => {
                        let (said, _) = read_close(&control.payload).unwrap_or((code::NO_STATUS, ""));
                        fanout.close(caller, said, "");
                        break;
                    }
                    Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
                },
                Heard::Broken(code, words) => {
                    fanout.close(caller, code, words);
                    break;
                }
            }
        }
        fanout.leave(caller);
    };
    let say = async {
        while let Some(frames) = queue.next().await {
            if to.write_all(&frames).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(hear, say);
}

/// Serve one of the broker's sockets until it ends.
pub(super) async fn serve_socket(fanout: &Fanout, wanted: Wanted, pipe: DuplexStream) {
    let Wanted { id, mut said, .. } = wanted;
    let (from, mut to) = split(pipe);
    let mut ear = Ear::new(from, Sender::Broker);
    let (answers, mut to_answer) = channel(PONGS);
    let hear = async {
        while let Some(heard) = ear.next().await {
            match heard {
                Heard::Message(opcode, message) => fanout.deliver(id, opcode, &message),
                Heard::Control(control) => match control.opcode {
                    // One that asks again and again without reading goes without some answers.
                    Opcode::Ping => drop(answers.try_send(encode(Opcode::Pong, &control.payload, Some(mask())))),
                    Opcode::Close => {
                        let (code, words) = read_close(&control.payload).unwrap_or((code::NO_STATUS, ""));
                        return (code, words.to_owned());
                    }
                    Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
                },
                Heard::Broken(code, words) => return (code, words.to_owned()),
            }
        }
        (code::UNEXPECTED, "the shared socket ended without a Close".to_owned())
    };
    let say = async {
        loop {
            let (frame, is_last) = tokio::select! {
                Some(pong) = to_answer.recv() => (pong, false),
                next = said.recv() => {
                    let next = next.unwrap_or(Said::Close);
                    fanout.was_said(&next);
                    (frame(&next), next == Said::Close)
                }
            };
            if to.write_all(&frame).await.is_err() || is_last {
                // The end is heard, not said.
                return std::future::pending::<Infallible>().await;
            }
        }
    };
    let (code, words) = tokio::select! {
        end = hear => end,
        never = say => match never {},
    };
    is_over(fanout, said, id, Closed::SocketEnded, (code, &words));
}

/// One of the broker's sockets has ended or was never there: what waits to be said there never will be.
pub(super) fn is_over(
    fanout: &Fanout,
    mut said: UnboundedReceiver<Said>,
    id: SocketId,
    why: Closed,
    (code, words): (u16, &str),
) {
    fanout.ended(id, why, code, words);
    said.close();
    while let Ok(never) = said.try_recv() {
        fanout.was_said(&never);
    }
}

fn frame(said: &Said) -> Vec<u8> {
    match said {
        Said::Text(message) => encode(Opcode::Text, message, Some(mask())),
        Said::Close => encode(Opcode::Close, &close_payload(code::NORMAL, ""), Some(mask())),
    }
}
