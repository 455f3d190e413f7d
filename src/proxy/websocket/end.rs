//! Why a socket ended: the word in the log, and what each side is told.

use std::borrow::Cow;
use std::io;

use super::frame::{Violation, code};
use crate::broker::dhan::streams::Disconnect;
use crate::proxy::tunnel::Over;

/// Why a socket ended.
#[derive(Debug)]
pub(super) enum Why {
    /// The caller said Close.
    CallerClosed,
    /// The broker said Close.
    BrokerClosed,
    /// The caller ended its connection without one.
    CallerLeft(Option<io::Error>),
    /// The caller answered nothing.
    CallerSilent,
    /// The caller broke the protocol.
    CallerBroke(Violation),
    /// The caller did not log in.
    NoLogin,
    /// The broker ended its connection without a Close.
    BrokerLeft(Option<io::Error>),
    /// The broker said nothing.
    BrokerSilent,
    /// What was sent to the broker was not acknowledged: the kernel's word, which comes before ours of a silence.
    LineDead(io::Error),
    /// The broker broke the protocol.
    BrokerBroke(Violation),
    /// The broker said that it ends the socket.
    Disconnected(Disconnect),
    /// The broker refused the login.
    LoginRefused(Option<Disconnect>),
    /// Its token was replaced by another.
    TokenReplaced,
    /// It may go on no longer.
    Over(Over),
}

impl Why {
    /// The word in logs and metrics. Never changes.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::CallerClosed => "caller_closed",
            Self::BrokerClosed => "broker_closed",
            Self::CallerLeft(_) => "caller_left",
            Self::CallerSilent => "caller_silent",
            Self::CallerBroke(_) => "caller_broke_protocol",
            Self::NoLogin => "no_login",
            Self::BrokerLeft(_) => "broker_left",
            Self::BrokerSilent => "broker_silent",
            Self::LineDead(_) => "line_dead",
            Self::BrokerBroke(_) => "broker_broke_protocol",
            Self::Disconnected(_) => "broker_disconnected",
            Self::LoginRefused(_) => "login_refused",
            Self::TokenReplaced => "token_replaced",
            Self::Over(Over::Account) => "account_changed",
            Self::Over(Over::Keys) => "key_revoked",
            Self::Over(Over::Listener) => "listener_changed",
            Self::Over(Over::Leg) => "leg_seen_as_another",
            Self::Over(Over::Address) => "leg_address_gone",
            Self::Over(Over::Halted) => "account_halted",
            Self::Over(Over::Stopping) => "gateway_stopping",
        }
    }

    /// What the caller is told, if it has not heard a Close.
    pub(super) fn to_caller(&self) -> (u16, Cow<'static, str>) {
        let (code, words) = match self {
            Self::CallerClosed | Self::BrokerClosed | Self::CallerLeft(_) => (code::NORMAL, ""),
            Self::CallerSilent => (code::UNEXPECTED, "nothing was heard from you for 40 s, nor an answer to a ping"),
            Self::CallerBroke(violation) => (violation.code, violation.words),
            Self::NoLogin => (code::POLICY, "no login came within 30 s"),
            Self::BrokerLeft(_) => (code::UNEXPECTED, "reconnect: the broker ended the connection without a Close"),
            Self::BrokerSilent => (code::RESTART, "reconnect: nothing was heard from the broker for 40 s"),
            Self::LineDead(_) => {
                (code::RESTART, "reconnect: the line to the broker is dead, and nothing that is sent there arrives")
            }
            Self::BrokerBroke(violation) => {
                return (code::UNEXPECTED, format!("the broker broke the protocol: {}", violation.words).into());
            }
            Self::Disconnected(reason) | Self::LoginRefused(Some(reason)) => {
                let number = reason.0.map(|number| format!(" ({number})")).unwrap_or_default();
                return (code::POLICY, format!("the broker ended it: {}{number}", reason.meaning()).into());
            }
            Self::LoginRefused(None) => {
                (code::UNEXPECTED, "the broker ended it right after the login, as it does when it refuses the token")
            }
            Self::TokenReplaced => (code::RESTART, "reconnect: the token was replaced"),
            Self::Over(Over::Account) => {
                (code::POLICY, "the account or its pair of addresses was taken away or changed")
            }
            Self::Over(Over::Keys) => (code::POLICY, "a client key of the account was taken away; connect again"),
            Self::Over(Over::Listener) => (code::POLICY, "the listener's settings were changed; connect again"),
            Self::Over(Over::Leg) => {
                (code::RESTART, "reconnect: the broker saw this leg's address as another, and it is used no longer")
            }
            Self::Over(Over::Address) => {
                (code::RESTART, "reconnect: the address that this left from is no longer on the gateway's host")
            }
            Self::Over(Over::Halted) => (code::POLICY, "the account was halted"),
            Self::Over(Over::Stopping) => (code::GOING_AWAY, "the gateway is stopping"),
        };
        (code, Cow::Borrowed(words))
    }

    /// The code that the broker is told, if it has not heard a Close.
    pub(super) const fn to_broker(&self) -> u16 {
        match self {
            Self::BrokerBroke(violation) => violation.code,
            Self::CallerLeft(_) | Self::CallerSilent | Self::Over(_) | Self::TokenReplaced => code::GOING_AWAY,
            Self::CallerClosed
            | Self::BrokerClosed
            | Self::CallerBroke(_)
            | Self::NoLogin
            | Self::BrokerLeft(_)
            | Self::BrokerSilent
            | Self::LineDead(_)
            | Self::Disconnected(_)
            | Self::LoginRefused(_) => code::NORMAL,
        }
    }

    /// What is known beside the word: the kernel's own, a reason's number.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::CallerLeft(Some(err)) | Self::BrokerLeft(Some(err)) | Self::LineDead(err) => Some(err.to_string()),
            Self::CallerBroke(violation) | Self::BrokerBroke(violation) => Some(violation.words.to_owned()),
            Self::Disconnected(reason) | Self::LoginRefused(Some(reason)) => {
                let number = reason.0.map(|number| format!("{number}: ")).unwrap_or_default();
                Some(format!("{number}{}", reason.meaning()))
            }
            Self::CallerClosed
            | Self::BrokerClosed
            | Self::CallerLeft(None)
            | Self::CallerSilent
            | Self::NoLogin
            | Self::BrokerLeft(None)
            | Self::BrokerSilent
            | Self::LoginRefused(None)
            | Self::TokenReplaced
            | Self::Over(_) => None,
        }
    }
}
