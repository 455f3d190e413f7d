//! The end of a socket: what it means, and how both sides are told.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Conversation, Lane, mask};
use crate::broker::dhan::streams::Disconnect;
use crate::proxy::websocket::end::Why;
use crate::proxy::websocket::farewell::{self, Then};
use crate::proxy::websocket::frame::{Opcode, close_payload, encode};
use crate::proxy::websocket::reader::{FrameReader, Sender};
use crate::proxy::websocket::token::TokenWatch;

impl<C, B> Conversation<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// What it means that the socket ended so, by what is known beside it.
    pub(super) fn judge(&self, why: Why, token: &TokenWatch) -> Why {
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
        if soon && self.down.passed.messages == self.opened.1 {
            token.was_refused();
            return Why::LoginRefused(None);
        }
        why
    }

    /// Tell both sides, as far as they can be told, and end both connections.
    pub(super) async fn farewell(&mut self, why: &Why, code: u16, words: &str) {
        let then = match why {
            // The Close that it has not heard yet is answered.
            _ if self.withheld.is_some() => Then::HearClose,
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
            | Why::LineDead(_)
            | Why::BrokerBroke(_)
            | Why::Disconnected(_)
            | Why::LoginRefused(_)
            | Why::TokenReplaced
            | Why::Over(_) => Then::HearClose,
        };
        let words = if self.closing.is_some() { "" } else { words };
        self.say_withheld();
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
        let tell_broker = async {
            if let Some(broker) = broker {
                farewell::end(broker, up, (&mut nobody, &mut nothing), Then::End, limit).await;
            }
        };
        tokio::join!(tell_caller, tell_broker);
    }
}
