//! The life of a socket: frames passed on both ways until one side is done or it may go on no longer, and a proper end.
//!
//! Invariants:
//! - Frames are read and checked in both directions; what is passed on is what came, byte for byte, but for the login of
//!   the order updates.
//! - Whatever ends a socket, both sides are told by a Close, unless they cannot be: gone, or inside a frame of 16 KiB and
//!   more. There is one line in the log of each end.
//! - Memory is bounded whatever either side sends and however slowly the other reads (`lane`).

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::end::Why;
use super::farewell::{self, Then};
use super::frame::{Opcode, close_payload, code, encode, read_close};
use super::lane::{Lane, Passed};
use super::liveness::{Due, Liveness, Mark, Patience};
use super::login::{Heard, Login, LoginGate};
use super::reader::{Control, Data, FrameReader, Piece, Sender};
use super::token::TokenWatch;
use crate::broker::dhan::streams::{Disconnect, StreamKind};
use crate::proxy::tunnel::TunnelLifetime;
use crate::telemetry::streams::{StreamCounters, StreamEnd};

/// What a socket is about.
pub(in super::super) struct Terms {
    pub(in super::super) kind: StreamKind,
    /// Was permessage-deflate agreed upon?
    pub(in super::super) deflate: bool,
    /// Where the caller has to log in.
    pub(in super::super) login: Option<Login>,
    pub(in super::super) token: TokenWatch,
    pub(in super::super) patience: Patience,
}

/// Both sides of a socket, and what is known of it.
pub(super) struct Conversation<C, B> {
    caller: C,
    broker: B,
    /// From the caller to the broker.
    up: Lane,
    /// From the broker to the caller.
    down: Lane,
    kind: StreamKind,
    patience: Patience,
    login: Option<LoginGate>,
    liveness: Liveness,
    /// Who said Close first, with which code, and until when the other's is waited for.
    closing: Option<(Sender, u16, Instant)>,
    /// Something is due earlier than it was.
    hurries: bool,
    /// The broker said that it ends the socket.
    disconnect: Option<Disconnect>,
    /// A binary message where only texts are: the broker refuses the login so.
    binary_on_text: bool,
    /// When the broker could first refuse the token.
    signed_at: Option<Instant>,
    dropped: u64,
    counters: Arc<StreamCounters>,
    told: [Passed; 2],
}

/// Pass frames on until the socket ends; how it ended.
pub(super) async fn converse<C, B>(
    caller: C,
    broker: B,
    terms: Terms,
    counters: Arc<StreamCounters>,
    until: &TunnelLifetime,
) -> StreamEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let began = Instant::now();
    let Terms { kind, deflate, login, token, patience } = terms;
    let mut both = Conversation::new((caller, broker), kind, deflate, login, patience, counters);
    let why = both.pass(&token, until).await;
    let why = both.judge(why, &token);
    let (code, words) = why.to_caller();
    let code = both.closing.map_or(code, |(_, said, _)| said);
    both.farewell(&why, code, &words).await;
    both.count();
    StreamEnd {
        why: why.as_str(),
        detail: why.detail(),
        code,
        duration: began.elapsed(),
        messages: [both.up.passed.messages, both.down.passed.messages],
        bytes: [both.up.passed.bytes, both.down.passed.bytes],
        dropped: both.dropped,
    }
}

impl<C, B> Conversation<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        (caller, broker): (C, B),
        kind: StreamKind,
        deflate: bool,
        login: Option<Login>,
        patience: Patience,
        counters: Arc<StreamCounters>,
    ) -> Self {
        let now = Instant::now();
        Self {
            caller,
            broker,
            up: Lane::new(FrameReader::new(Sender::Caller, deflate)),
            down: Lane::new(FrameReader::new(Sender::Broker, deflate)),
            kind,
            liveness: Liveness::new(now, patience, login.is_some()),
            patience,
            signed_at: login.is_none().then_some(now),
            login: login.map(LoginGate::new),
            closing: None,
            hurries: false,
            disconnect: None,
            binary_on_text: false,
            dropped: 0,
            counters,
            told: [Passed::default(); 2],
        }
    }

    /// What the broker hears when a caller says this, and the code of what ended it, if it ended. For fuzzing alone.
    pub(super) fn feed(&mut self, said: &[u8]) -> Result<Vec<u8>, (Vec<u8>, u16)> {
        self.up.input.extend_from_slice(said);
        let heard = self.hear_caller();
        let out = self.up.take_output();
        match heard {
            Ok(()) => Ok(out),
            Err(why) => Err((out, why.to_caller().0)),
        }
    }

    /// Pass frames on; why that ended.
    async fn pass(&mut self, token: &TokenWatch, until: &TunnelLifetime) -> Why {
        let replaced = token.replaced(self.patience.spread);
        let over = until.over();
        tokio::pin!(replaced, over);
        loop {
            let due = self.next_due();
            tokio::select! {
                biased;
                ended = poll_fn(|cx| self.poll(cx)) => {
                    if let Some(why) = ended {
                        return why;
                    }
                }
                why = &mut over => return Why::Over(why),
                () = &mut replaced => return Why::TokenReplaced,
                () = tokio::time::sleep_until(due) => {
                    if let Some(why) = self.do_what_is_due(Instant::now()) {
                        return why;
                    }
                }
            }
        }
    }

    fn next_due(&self) -> Instant {
        let next = self.liveness.next();
        self.closing.map_or(next, |(_, _, by)| by.min(next))
    }

    /// Do what the time asks for. `Some` ends the socket.
    fn do_what_is_due(&mut self, now: Instant) -> Option<Why> {
        if let Some((first, _, by)) = self.closing
            && now >= by
        {
            return Some(closed_by(first));
        }
        // Who is not listened to cannot be heard.
        if !self.down.is_written() {
            self.liveness.heard(Sender::Broker, now);
        }
        match self.liveness.due(now) {
            Due::Nothing => {}
            Due::Gone(Sender::Caller) => return Some(Why::CallerSilent),
            Due::Gone(Sender::Broker) => return Some(Why::BrokerSilent),
            Due::NoLogin => return Some(Why::NoLogin),
            Due::Ask(who) => {
                let mark: Mark = crate::domain::random::bytes().unwrap_or(*b"sixgate?");
                let asked = match who {
                    Sender::Caller => self.down.say(&encode(Opcode::Ping, &mark, None)),
                    Sender::Broker => self.up.say(&encode(Opcode::Ping, &mark, Some(mask()))),
                };
                if asked {
                    self.liveness.asked(who, mark);
                } else {
                    self.liveness.ask_later(who, now);
                }
            }
        }
        None
    }

    /// Write, read and pass on, as long as there is anything to do. `None` when what is due has to be looked at anew.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Why>> {
        match self.poll_both(cx) {
            Poll::Ready(why) => Poll::Ready(Some(why)),
            Poll::Pending if std::mem::take(&mut self.hurries) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        loop {
            let mut moved = false;
            if let Poll::Ready(Err(err)) = self.down.poll_write(&mut self.caller, cx) {
                return Poll::Ready(self.left(Sender::Caller, Some(err)));
            }
            if self.down.take_read_on() {
                // A reader that reads on is there, however slow.
                self.liveness.heard(Sender::Caller, Instant::now());
            }
            if let Poll::Ready(Err(err)) = self.up.poll_write(&mut self.broker, cx) {
                return Poll::Ready(self.left(Sender::Broker, Some(err)));
            }
            if !self.down.closed
                && let Poll::Ready(read) = self.down.poll_read(&mut self.broker, cx)
            {
                moved = true;
                match read {
                    Ok(0) => return Poll::Ready(self.left(Sender::Broker, None)),
                    Ok(_) => self.liveness.heard(Sender::Broker, Instant::now()),
                    Err(err) => return Poll::Ready(self.left(Sender::Broker, Some(err))),
                }
                if let Err(why) = self.hear_broker() {
                    return Poll::Ready(why);
                }
            }
            if !self.up.closed
                && let Poll::Ready(read) = self.up.poll_read(&mut self.caller, cx)
            {
                moved = true;
                match read {
                    Ok(0) => return Poll::Ready(self.left(Sender::Caller, None)),
                    Ok(_) => self.liveness.heard(Sender::Caller, Instant::now()),
                    Err(err) => return Poll::Ready(self.left(Sender::Caller, Some(err))),
                }
                if let Err(why) = self.hear_caller() {
                    return Poll::Ready(why);
                }
            }
            if moved {
                self.count();
                continue;
            }
            return match self.closing {
                Some((first, ..)) if self.is_closed() => Poll::Ready(closed_by(first)),
                Some(_) | None => Poll::Pending,
            };
        }
    }

    /// Has each side heard the other's Close?
    fn is_closed(&self) -> bool {
        self.up.closed && self.down.closed && self.up.is_written() && self.down.is_written()
    }

    /// One side's connection ended. After a Close that is as it should be.
    fn left(&self, who: Sender, err: Option<io::Error>) -> Why {
        match (self.closing, who) {
            (Some((first, ..)), _) => closed_by(first),
            (None, Sender::Caller) => Why::CallerLeft(err),
            (None, Sender::Broker) => Why::BrokerLeft(err),
        }
    }

    fn hear_caller(&mut self) -> Result<(), Why> {
        while !self.up.closed
            && let Some(piece) = self.up.reader.next(&mut self.up.input).map_err(Why::CallerBroke)?
        {
            match piece {
                Piece::Control(control) => self.hear_control(Sender::Caller, control),
                Piece::Data(data) => {
                    self.up.passed.messages += u64::from(data.ends_message);
                    match &mut self.login {
                        None => self.up.pass(data.wire, data.ends_frame),
                        Some(gate) => match gate.hear(&data).map_err(Why::CallerBroke)? {
                            Heard::Part => {}
                            Heard::Dropped => self.dropped += 1,
                            Heard::Login(said) => {
                                self.up.say(&encode(Opcode::Text, &said, Some(mask())));
                                self.liveness.logged_in();
                                self.signed_at = Some(Instant::now());
                            }
                        },
                    }
                }
            }
        }
        Ok(())
    }

    fn hear_broker(&mut self) -> Result<(), Why> {
        while !self.down.closed
            && let Some(piece) = self.down.reader.next(&mut self.down.input).map_err(Why::BrokerBroke)?
        {
            match piece {
                Piece::Control(control) => self.hear_control(Sender::Broker, control),
                Piece::Data(data) => {
                    self.down.passed.messages += u64::from(data.ends_message);
                    self.look_for_disconnect(&data);
                    self.down.pass(data.wire, data.ends_frame);
                }
            }
        }
        Ok(())
    }

    /// The broker says by a packet that it ends the socket, and may end it without a Close.
    fn look_for_disconnect(&mut self, data: &Data) {
        if data.kind != Opcode::Binary || !(data.begins && data.ends_message) {
            return;
        }
        self.binary_on_text |= self.kind == StreamKind::OrderUpdate;
        if let Some(disconnect) = self.kind.disconnect(data.plain_payload()) {
            self.disconnect = Some(disconnect);
        }
    }

    fn hear_control(&mut self, from: Sender, control: Control) {
        let lane = match from {
            Sender::Caller => &mut self.up,
            Sender::Broker => &mut self.down,
        };
        match control.opcode {
            Opcode::Pong if self.liveness.is_answer(from, &control.payload) => {}
            Opcode::Close => {
                lane.pass(control.wire, true);
                lane.closed = true;
                let said = read_close(&control.payload).map_or(code::NO_STATUS, |(code, _)| code);
                let by = Instant::now() + self.patience.close;
                self.hurries |= self.closing.is_none();
                self.closing.get_or_insert((from, said, by));
            }
            Opcode::Ping | Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                lane.pass(control.wire, true);
            }
        }
    }

    /// What it means that the socket ended so, by what is known beside it.
    fn judge(&self, why: Why, token: &TokenWatch) -> Why {
        let is_the_brokers = matches!(why, Why::BrokerLeft(_) | Why::BrokerClosed);
        if !is_the_brokers {
            return why;
        }
        if self.disconnect.is_some_and(Disconnect::is_of_token) || self.binary_on_text {
            token.was_refused();
        }
        if self.binary_on_text {
            return Why::LoginRefused(self.disconnect);
        }
        if let Some(disconnect) = self.disconnect {
            return Why::Disconnected(disconnect);
        }
        if matches!(why, Why::BrokerClosed) {
            return why;
        }
        if token.is_being_replaced() {
            return Why::TokenReplaced;
        }
        let soon = self.signed_at.is_some_and(|at| at.elapsed() < self.patience.refusal);
        if soon && self.down.passed.messages == 0 {
            token.was_refused();
            return Why::LoginRefused(None);
        }
        why
    }

    /// Tell both sides, as far as they can be told, and end both connections.
    async fn farewell(&mut self, why: &Why, code: u16, words: &str) {
        let then = match why {
            // It has been waited for, or there is nobody to wait for.
            _ if self.closing.is_some() => Then::End,
            Why::CallerLeft(_) | Why::CallerSilent => Then::End,
            // Nothing that it still says can be read.
            Why::CallerBroke(_) => Then::Discard,
            Why::CallerClosed
            | Why::BrokerClosed
            | Why::NoLogin
            | Why::BrokerLeft(_)
            | Why::BrokerSilent
            | Why::BrokerBroke(_)
            | Why::Disconnected(_)
            | Why::LoginRefused(_)
            | Why::TokenReplaced
            | Why::Over(_) => Then::HearClose,
        };
        let words = if self.closing.is_some() { "" } else { words };
        self.down.closed |= self.down.say(&encode(Opcode::Close, &close_payload(code, words), None));
        let to_broker = self.closing.map_or_else(|| why.to_broker(), |(_, said, _)| said);
        self.up.closed |= self.up.say(&encode(Opcode::Close, &close_payload(to_broker, ""), Some(mask())));
        let limit = self.patience.farewell;
        let Self { caller, broker, up, down, .. } = self;
        let Lane { reader, input, .. } = &mut Lane::new(FrameReader::new(Sender::Caller, false));
        std::mem::swap(reader, &mut up.reader);
        std::mem::swap(input, &mut up.input);
        let (mut nobody, mut nothing) = (FrameReader::new(Sender::Broker, false), BytesMut::new());
        let tell_caller = farewell::end(caller, down, (reader, input), then, limit);
        let tell_broker = farewell::end(broker, up, (&mut nobody, &mut nothing), Then::End, limit);
        tokio::join!(tell_caller, tell_broker);
    }

    /// Add what passed since the last time to the counters.
    fn count(&mut self) {
        let now = [self.up.passed, self.down.passed];
        self.counters.add(
            [now[0].messages - self.told[0].messages, now[1].messages - self.told[1].messages],
            [now[0].bytes - self.told[0].bytes, now[1].bytes - self.told[1].bytes],
        );
        self.told = now;
    }
}

const fn closed_by(first: Sender) -> Why {
    match first {
        Sender::Caller => Why::CallerClosed,
        Sender::Broker => Why::BrokerClosed,
    }
}

/// A mask for a frame of ours. It keeps what a web page says from looking like another protocol (RFC 6455, section
/// 10.3), and what we say is no page's: without random bytes one that is known will do.
fn mask() -> [u8; 4] {
    let mut mask = [0; 4];
    let _best_effort = getrandom::fill(&mut mask);
    mask
}

#[cfg(test)]
mod tests;
