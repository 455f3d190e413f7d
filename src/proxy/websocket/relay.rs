//! The life of a socket: frames passed on both ways until one side is done or it may go on no longer, and a proper end.
//!
//! Invariants:
//! - Frames are read and checked in both directions; what is passed on is what came, byte for byte, but for the login of
//!   the order updates.
//! - Whatever ends a socket, both sides are told by a Close, unless they cannot be: gone, or inside a frame of 16 KiB and
//!   more. There is one line in the log of each end.
//! - Where the account has its streams reconnected, the broker's side may be opened again (`away`): the caller then hears
//!   whole messages of one side and of the next, and the next one hears whole messages of the caller.
//! - Memory is bounded whatever either side sends and however slowly the other reads (`lane`).

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::again::Again;
use super::end::Why;
use super::frame::{Opcode, encode};
use super::lane::{Lane, Passed};
use super::liveness::{Due, Liveness, Mark, Patience};
use super::login::{Login, LoginGate};
use super::reader::{FrameReader, Sender};
use super::replay::Replay;
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

impl Terms {
    /// Of a caller of a socket that is shared: signed, and opened again, elsewhere.
    pub(super) const fn shared(kind: StreamKind) -> Self {
        Self { kind, deflate: false, login: None, token: TokenWatch::NONE, patience: Patience::USUAL }
    }
}

/// A caller's side of a WebSocket, whatever it came by. Behind a pointer, or the program would have a copy of all that
/// passes frames on for each kind of connection.
pub(super) trait CallerSide: AsyncRead + AsyncWrite + Unpin + Send {}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> CallerSide for IO {}

/// Both sides of a socket, and what is known of it.
pub(super) struct Conversation<C, B> {
    caller: C,
    /// `None` while it is opened again.
    broker: Option<B>,
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
    /// Where the broker's side may be opened again.
    replay: Option<Box<Replay>>,
    /// When the broker's side was opened, and how many messages had come of it by then.
    opened: (Instant, u64),
    /// What the broker said of its end, and whether it is a Close: kept from the caller, who is not to hear of an end
    /// that is none.
    withheld: Option<(BytesMut, bool)>,
    /// A ping of the caller's that the broker has not answered.
    unanswered: Option<Bytes>,
    reconnects: u32,
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
    mut again: Option<&mut dyn Again<B>>,
) -> StreamEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let began = Instant::now();
    let Terms { kind, deflate, login, mut token, patience } = terms;
    let mut both = Conversation::new((caller, broker), kind, deflate, login, patience, counters);
    both.replay = again.is_some().then(|| Box::new(Replay::new(kind)));
    let mut own: Option<TunnelLifetime> = None;
    let why = loop {
        let until = own.as_ref().unwrap_or(until);
        let why = both.pass(&token, until).await;
        let why = both.judge(why, &token);
        let Some(again) = again.as_deref_mut().filter(|_| both.may_go_on(&why)) else { break why };
        match Box::pin(both.reopen(why, again, &token, until)).await {
            Ok(reopened) => (token, own) = reopened,
            Err(why) => break why,
        }
    };
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
        reconnects: both.reconnects,
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
            broker: Some(broker),
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
            replay: None,
            opened: (now, 0),
            withheld: None,
            unanswered: None,
            reconnects: 0,
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
        // Who is not listened to cannot be heard, nor who is not there.
        if !self.down.is_written() || self.broker.is_none() {
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
            if let Some(broker) = &mut self.broker
                && let Poll::Ready(Err(err)) = self.up.poll_write(broker, cx)
            {
                return Poll::Ready(self.left(Sender::Broker, Some(err)));
            }
            if !self.down.closed
                && let Some(broker) = &mut self.broker
                && let Poll::Ready(read) = self.down.poll_read(broker, cx)
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
            // Without a broker what it says is answered here: who does not read the answers is not heard.
            let is_heard = self.broker.is_some() || self.down.is_written();
            if !self.up.closed
                && is_heard
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
            (None, Sender::Broker) => match err {
                Some(err) if is_of_the_line(&err) => Why::LineDead(err),
                err => Why::BrokerLeft(err),
            },
        }
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

/// Does it say that nothing gets through, and nothing of the broker?
fn is_of_the_line(err: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    matches!(err.kind(), HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut)
}

const fn closed_by(first: Sender) -> Why {
    match first {
        Sender::Caller => Why::CallerClosed,
        Sender::Broker => Why::BrokerClosed,
    }
}

/// A mask for a frame of ours. It keeps what a web page says from looking like another protocol (RFC 6455, section
/// 10.3), and what we say is no page's: without random bytes one that is known will do.
pub(super) fn mask() -> [u8; 4] {
    let mut mask = [0; 4];
    let _best_effort = getrandom::fill(&mut mask);
    mask
}

mod away;
mod ending;
mod hear;

#[cfg(test)]
mod tests;
