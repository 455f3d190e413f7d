//! The login of the order updates: the caller's first message is a login, and the account's own goes in its place.
//!
//! Whatever else the caller says is dropped and counted: it has nothing to say there, and a second login could be
//! another account's. It is no reason to end the socket: some programs send texts of their own to keep it alive.

use std::sync::Arc;

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::frame::{Violation, code};
use super::reader::Data;
use crate::domain::ClientId;
use crate::tokens::LiveToken;

/// The longest login that is taken.
const LIMIT: usize = 16 * 1024;

/// What the order-update host wants to hear first.
#[derive(Debug)]
pub(in super::super) struct Login {
    client_id: ClientId,
    token: Arc<LiveToken>,
}

impl Login {
    /// For an account.
    pub(in super::super) const fn new(client_id: ClientId, token: Arc<LiveToken>) -> Self {
        Self { client_id, token }
    }

    /// The account's own login.
    fn message(&self) -> Vec<u8> {
        serde_json::json!({
            "LoginReq": {
                "MsgCode": 42,
                "ClientId": self.client_id.as_str(),
                "Token": self.token.secret().expose_secret(),
            },
            "UserType": "SELF",
        })
        .to_string()
        .into_bytes()
    }
}

/// Hears a caller's messages: one login, and what is dropped.
pub(super) struct LoginGate {
    login: Login,
    /// The message that is coming. It may hold a partner's secret.
    begun: Zeroizing<Vec<u8>>,
    logged_in: bool,
}

/// What becomes of a part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The message is not whole.
    Part,
    /// It was a login: this is said to the broker in its place.
    Login(Vec<u8>),
    /// It was something else, or another login.
    Dropped,
}

impl LoginGate {
    pub(super) fn new(login: Login) -> Self {
        Self { login, begun: Zeroizing::default(), logged_in: false }
    }

    /// From now on this login takes the place of the caller's. What a new socket of the broker's is told, if the caller has
    /// logged in.
    pub(super) fn renew(&mut self, login: Login) -> Option<Vec<u8>> {
        self.login = login;
        self.logged_in.then(|| self.login.message())
    }

    /// Hear the next part of what the caller says.
    ///
    /// # Errors
    /// A login that is longer than any.
    pub(super) fn hear(&mut self, data: &Data) -> Result<Heard, Violation> {
        if self.logged_in {
            return Ok(if data.ends_message { Heard::Dropped } else { Heard::Part });
        }
        if data.begins {
            self.begun.clear();
        }
        if self.begun.len() + data.wire.len() > LIMIT {
            return Err(Violation { code: code::TOO_BIG, words: "the login is longer than 16 KiB" });
        }
        self.begun.extend_from_slice(&data.payload());
        if !data.ends_message {
            return Ok(Heard::Part);
        }
        let said = std::mem::take(&mut self.begun);
        if !is_login(&said) {
            return Ok(Heard::Dropped);
        }
        self.logged_in = true;
        Ok(Heard::Login(self.login.message()))
    }
}

/// Is it a login, an account's own or a partner's, however its members are ordered?
fn is_login(said: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(said) else { return false };
    members.iter().any(|(name, value)| name.eq_ignore_ascii_case("LoginReq") && value.is_object())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use jiff::Timestamp;

    use super::super::frame::{Opcode, encode};
    use super::super::reader::{FrameReader, Piece, Sender};
    use super::*;

    const SELF: &str = r#"{"LoginReq":{"MsgCode":42,"ClientId":"9","Token":"fake"},"UserType":"SELF"}"#;
    const PARTNER: &str =
        r#"{"UserType":"PARTNER","Secret":"0000-0aa","LoginReq":{"ClientId":"PARTNER01","MsgCode":42}}"#;

    fn gate() -> LoginGate {
        let token = LiveToken::new("real-token".to_owned().into(), Timestamp::MAX, "manual".into(), 1).unwrap();
        LoginGate::new(Login::new(ClientId::parse("1000000001").unwrap(), Arc::new(token)))
    }

    /// What becomes of each message of these frames.
    fn heard(gate: &mut LoginGate, wire: &[u8]) -> Result<Vec<Heard>, Violation> {
        let (mut reader, mut input) = (FrameReader::new(Sender::Caller, false), BytesMut::from(wire));
        let mut found = Vec::new();
        while let Some(piece) = reader.next(&mut input)? {
            if let Piece::Data(data) = piece {
                match gate.hear(&data)? {
                    Heard::Part => {}
                    other @ (Heard::Login(_) | Heard::Dropped) => found.push(other),
                }
            }
        }
        Ok(found)
    }

    fn frame(first: u8, payload: &str) -> Vec<u8> {
        let mut frame = encode(Opcode::Text, payload.as_bytes(), Some([4, 3, 2, 1]));
        frame[0] = first;
        frame
    }

    /// The caller's login may be another account's, or a placeholder.
    #[test]
    fn a_login_in_any_form_becomes_the_accounts_own() {
        let (head, tail) = PARTNER.split_at(40);
        for wire in [
            frame(0x81, SELF),
            frame(0x82, SELF),
            frame(0x81, &format!(" {} \n", SELF.replace("LoginReq", "loginReq"))),
            frame(0x81, PARTNER),
            [frame(0x01, head), frame(0x80, tail)].concat(),
            [frame(0x02, head), frame(0x00, ""), frame(0x80, tail)].concat(),
        ] {
            let mut gate = gate();
            let found = heard(&mut gate, &wire).unwrap();
            let [Heard::Login(said)] = &found[..] else { panic!("{found:?}") };
            let said: serde_json::Value = serde_json::from_slice(said).unwrap();
            let want = serde_json::json!({
                "LoginReq": {"MsgCode": 42, "ClientId": "1000000001", "Token": "real-token"}, "UserType": "SELF",
            });
            assert_eq!(said, want);
            assert!(gate.logged_in);
        }
    }

    /// With another account's token on the same connection it would listen to that one.
    #[test]
    fn what_is_no_login_or_a_second_one_is_dropped() {
        let mut gate = gate();
        let wire = [frame(0x81, "ping"), frame(0x81, "{}"), frame(0x82, "\u{1}")].concat();
        assert_eq!(heard(&mut gate, &wire), Ok(vec![Heard::Dropped, Heard::Dropped, Heard::Dropped]));
        assert!(!gate.logged_in);
        assert!(matches!(heard(&mut gate, &frame(0x81, SELF)).unwrap()[..], [Heard::Login(_)]));
        let again = [frame(0x81, SELF), frame(0x01, "a"), frame(0x80, "b")].concat();
        assert_eq!(heard(&mut gate, &again), Ok(vec![Heard::Dropped, Heard::Dropped]));
    }

    #[test]
    fn a_login_that_does_not_end_is_not_held() {
        let long = [frame(0x01, &"x".repeat(10_000)), frame(0x00, &"x".repeat(10_000))].concat();
        assert_eq!(heard(&mut gate(), &long).unwrap_err().code, code::TOO_BIG);
    }
}
