//! While a socket has no broker's side: the caller's stays open and is answered, and another is opened.
//!
//! Nothing of a message is lied about. Where the caller has heard part of one, or has asked for what is not remembered
//! whole, the socket ends as it would have without.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::hear::close_code;
use super::{Conversation, TunnelLifetime, closed_by, mask};
use crate::proxy::tunnel::Over;
use crate::proxy::websocket::again::{Again, GaveUp, Lost, Reopened};
use crate::proxy::websocket::end::Why;
use crate::proxy::websocket::farewell::{self, Then};
use crate::proxy::websocket::frame::{Opcode, close_payload, encode};
use crate::proxy::websocket::reader::{Control, FrameReader, Sender};
use crate::proxy::websocket::token::TokenWatch;

impl<C, B> Conversation<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// It would end for this reason. May the broker's side be opened again instead?
    pub(super) fn may_go_on(&self, why: &Why) -> bool {
        if self.down.reader.is_inside_message() || !self.replay.as_ref().is_some_and(|replay| replay.may_be_replayed())
        {
            return false;
        }
        match why {
            Why::BrokerLeft(_)
            | Why::BrokerSilent
            | Why::LineDead(_)
            | Why::TokenReplaced
            | Why::LoginRefused(None)
            | Why::Over(Over::Leg | Over::Address) => true,
            // Only where its Close was kept from the caller.
            Why::BrokerClosed => self.withheld.is_some(),
            Why::Disconnected(reason) | Why::LoginRefused(Some(reason)) => reason.may_pass(),
            Why::CallerClosed
            | Why::CallerLeft(_)
            | Why::CallerSilent
            | Why::CallerBroke(_)
            | Why::NoLogin
            | Why::BrokerBroke(_)
            | Why::Over(Over::Account | Over::Keys | Over::Listener | Over::Halted | Over::Stopping) => false,
        }
    }

    /// Open the broker's side again, and go on with it: its token, and until when it may go on.
    ///
    /// # Errors
    /// Why the socket ends: what ended the broker's side, if there is no other, or what happened meanwhile.
    pub(super) async fn reopen(
        &mut self,
        why: Why,
        again: &mut dyn Again<B>,
        token: &TokenWatch,
        until: &TunnelLifetime,
    ) -> Result<(TokenWatch, Option<TunnelLifetime>), Why> {
        let is_of_token =
            matches!(&why, Why::LoginRefused(_)) || matches!(&why, Why::Disconnected(reason) if reason.is_of_token());
        let lost = Lost {
            why: why.as_str(),
            opened: self.opened.0,
            refused: if is_of_token { token.generation() } else { 0 },
            instruments: self.replay.as_ref().map_or(0, |replay| replay.instruments()),
        };
        let closing = self.closing;
        let old = self.leave(&why);
        let (until, limit) = (until.by_any_leg(), self.patience.farewell);
        let opening = async {
            if let Some((mut broker, mut lane)) = old {
                let (mut nobody, mut nothing) = (FrameReader::new(Sender::Broker, false), BytesMut::new());
                // The account has five sockets of a kind: this one is to be gone before there is another.
                farewell::end(&mut broker, &mut lane, (&mut nobody, &mut nothing), Then::End, limit).await;
            }
            again.open(lost).await
        };
        let waited = self.wait_for(opening, &until).await;
        // What ends it meanwhile has words of its own.
        let opened = waited.inspect_err(|_| self.withheld = None)?;
        match opened {
            // What it has said meanwhile may not be remembered whole.
            Ok(reopened) if self.may_go_on(&why) => Ok(self.resume(reopened)),
            Ok(_) | Err(GaveUp) => {
                self.closing = closing;
                Err(why)
            }
        }
    }

    /// Take the broker's side away: what is left of it, to be ended, with a Close said there.
    fn leave(&mut self, why: &Why) -> Option<(B, super::Lane)> {
        let code = self.closing.take().map_or_else(|| why.to_broker(), |(_, said, _)| said);
        let broker = self.broker.take();
        let mut lane = self.up.split_output();
        lane.closed |= lane.say(&encode(Opcode::Close, &close_payload(code, ""), Some(mask())));
        self.down.start_anew(FrameReader::new(Sender::Broker, false));
        if let Some(mark) = self.unanswered.take() {
            self.down.say(&encode(Opcode::Pong, &mark, None));
        }
        broker.map(|broker| (broker, lane))
    }

    /// Serve the caller until another broker's side is there, or there will be none. An error ends the socket.
    async fn wait_for<T>(&mut self, opening: impl Future<Output = T>, until: &TunnelLifetime) -> Result<T, Why> {
        let over = until.over();
        tokio::pin!(opening, over);
        loop {
            let due = self.next_due();
            tokio::select! {
                biased;
                ended = std::future::poll_fn(|cx| self.poll(cx)) => {
                    if let Some(why) = ended {
                        return Err(why);
                    }
                }
                why = &mut over => return Err(Why::Over(why)),
                opened = &mut opening => return Ok(opened),
                () = tokio::time::sleep_until(due) => {
                    if let Some(why) = self.do_what_is_due(Instant::now()) {
                        return Err(why);
                    }
                }
            }
        }
    }

    /// Go on with a new broker's side, which is told who it is and what the caller wants.
    fn resume(&mut self, reopened: Reopened<B>) -> (TokenWatch, Option<TunnelLifetime>) {
        let Reopened { broker, token, login, until } = reopened;
        let now = Instant::now();
        self.broker = Some(broker);
        (self.disconnect, self.binary_on_text, self.withheld) = (None, false, None);
        self.opened = (now, self.down.passed.messages);
        self.reconnects += 1;
        self.liveness.heard(Sender::Broker, now);
        if let (Some(gate), Some(login)) = (&mut self.login, login) {
            let said = gate.renew(login);
            self.signed_at = said.as_ref().map(|_| now);
            if let Some(said) = said {
                self.up.say(&encode(Opcode::Text, &said, Some(mask())));
            }
        } else {
            self.signed_at = Some(now);
        }
        for (opcode, message) in self.replay.as_mut().map(|replay| replay.messages()).unwrap_or_default() {
            self.up.say(&encode(opcode, &message, Some(mask())));
        }
        (token, Some(until))
    }

    /// A ping, a pong or a Close of the caller's while there is no broker.
    ///
    /// # Errors
    /// The end, after a Close.
    pub(super) fn answer_control(&mut self, control: &Control) -> Result<(), Why> {
        match control.opcode {
            Opcode::Ping => {
                self.down.say(&encode(Opcode::Pong, &control.payload, None));
                Ok(())
            }
            Opcode::Close => {
                let said = close_code(control);
                self.down.closed |= self.down.say(&encode(Opcode::Close, &close_payload(said, ""), None));
                (self.up.closed, self.withheld) = (true, None);
                self.closing = Some((Sender::Caller, said, Instant::now()));
                Err(closed_by(Sender::Caller))
            }
            // An answer to us, or to a broker that is no longer there.
            Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.liveness.is_answer(Sender::Caller, &control.payload);
                Ok(())
            }
        }
    }

    /// What was kept from the caller, now that the socket ends all the same.
    pub(super) fn say_withheld(&mut self) {
        if let Some((wire, is_close)) = self.withheld.take()
            && self.down.say(&wire)
        {
            self.down.closed |= is_close;
            self.down.passed.messages += u64::from(!is_close);
        }
    }
}

#[cfg(test)]
mod tests;
