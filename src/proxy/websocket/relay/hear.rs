//! What each side of a socket says: what of it is passed on, said anew, kept or dropped.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Conversation, mask};
use crate::broker::dhan::streams::{Disconnect, StreamKind};
use crate::proxy::websocket::end::Why;
use crate::proxy::websocket::frame::{Opcode, Violation, code, encode, read_close};
use crate::proxy::websocket::login::Heard;
use crate::proxy::websocket::reader::{Control, Data, Piece, Sender};
use crate::proxy::websocket::replay::Said;

impl<C, B> Conversation<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Hear what came of the caller.
    ///
    /// # Errors
    /// The end.
    pub(super) fn hear_caller(&mut self) -> Result<(), Why> {
        while !self.up.closed
            && let Some(piece) = self.up.reader.next(&mut self.up.input).map_err(Why::CallerBroke)?
        {
            match piece {
                Piece::Control(control) => self.hear_control(Sender::Caller, control)?,
                Piece::Data(data) => {
                    self.up.passed.messages += u64::from(data.ends_message);
                    self.hear_data(data).map_err(Why::CallerBroke)?;
                }
            }
        }
        Ok(())
    }

    /// A part of what the caller says.
    fn hear_data(&mut self, data: Data) -> Result<(), Violation> {
        let away = self.broker.is_none();
        if let Some(gate) = &mut self.login {
            match gate.hear(&data)? {
                Heard::Part => {}
                Heard::Dropped => self.dropped += 1,
                Heard::Login(said) => {
                    if !away {
                        self.up.say(&encode(Opcode::Text, &said, Some(mask())));
                    }
                    self.liveness.logged_in();
                    self.signed_at = Some(Instant::now());
                }
            }
        } else if let Some(replay) = &mut self.replay {
            match replay.hear(&data, away)? {
                Said::Held => {}
                Said::Dropped => self.dropped += 1,
                Said::PassOn(opcode, message) => {
                    self.up.say(&encode(opcode, &message, Some(mask())));
                }
            }
        } else {
            self.up.pass(data.wire, data.ends_frame);
        }
        Ok(())
    }

    /// Hear what came of the broker.
    ///
    /// # Errors
    /// The end.
    pub(super) fn hear_broker(&mut self) -> Result<(), Why> {
        while !self.down.closed
            && let Some(piece) = self.down.reader.next(&mut self.down.input).map_err(Why::BrokerBroke)?
        {
            match piece {
                Piece::Control(control) => self.hear_control(Sender::Broker, control)?,
                Piece::Data(data) => {
                    if self.look_for_disconnect(&data) {
                        self.withheld = Some((data.wire, false));
                        return Err(Why::BrokerLeft(None));
                    }
                    self.down.passed.messages += u64::from(data.ends_message);
                    self.down.pass(data.wire, data.ends_frame);
                }
            }
        }
        Ok(())
    }

    /// The broker says by a packet that it ends the socket, and may end it without a Close. Is it to be kept from the
    /// caller, because another may be opened?
    fn look_for_disconnect(&mut self, data: &Data) -> bool {
        if data.kind != Opcode::Binary || !(data.begins && data.ends_message) {
            return false;
        }
        let is_refusal = self.kind == StreamKind::OrderUpdate;
        self.binary_on_text |= is_refusal;
        let disconnect = self.kind.disconnect(data.plain_payload());
        self.disconnect = disconnect.or(self.disconnect);
        let is_end = is_refusal || disconnect.is_some();
        is_end && disconnect.is_none_or(Disconnect::may_pass) && self.replay.is_some() && self.closing.is_none()
    }

    fn hear_control(&mut self, from: Sender, control: Control) -> Result<(), Why> {
        if self.broker.is_none() {
            return self.answer_control(&control);
        }
        if from == Sender::Broker && self.replay.is_some() && self.closing.is_none() && is_passing(&control) {
            self.closing = Some((from, close_code(&control), Instant::now()));
            self.withheld = Some((control.wire, true));
            return Err(Why::BrokerClosed);
        }
        match (from, control.opcode) {
            (Sender::Caller, Opcode::Ping) if self.replay.is_some() => self.unanswered = Some(control.payload.clone()),
            (Sender::Broker, Opcode::Pong) if self.unanswered.as_ref() == Some(&control.payload) => {
                self.unanswered = None
            }
            _ => {}
        }
        let lane = match from {
            Sender::Caller => &mut self.up,
            Sender::Broker => &mut self.down,
        };
        match control.opcode {
            Opcode::Pong if self.liveness.is_answer(from, &control.payload) => {}
            Opcode::Close => {
                let said = close_code(&control);
                let by = Instant::now() + self.patience.close;
                lane.pass(control.wire, true);
                lane.closed = true;
                self.hurries |= self.closing.is_none();
                self.closing.get_or_insert((from, said, by));
            }
            Opcode::Ping | Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                lane.pass(control.wire, true);
            }
        }
        Ok(())
    }
}

/// The code of a Close.
pub(super) fn close_code(control: &Control) -> u16 {
    read_close(&control.payload).map_or(code::NO_STATUS, |(code, _)| code)
}

/// Is it a Close that another socket may do without? Not one that is for what was said.
fn is_passing(control: &Control) -> bool {
    const PASSING: [u16; 6] = [code::NORMAL, code::GOING_AWAY, code::NO_STATUS, code::UNEXPECTED, code::RESTART, 1013];
    control.opcode == Opcode::Close && PASSING.contains(&close_code(control))
}
