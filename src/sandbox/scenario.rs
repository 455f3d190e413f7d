//! Bad days by name, for people: the faults and habits that a test of an order engine begins with.

use serde_json::{Value, json};

use super::encoding::Encoding;
use super::fault::{Action, Fault};
use super::habits::{Compression, Habits};
use super::trouble::StreamFault;
use crate::domain::ClientId;

/// A bad day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The order is taken, and the connection ends without an answer.
    Lost,
    /// The connection ends without an answer, and nothing was done.
    LostBefore,
    /// The order is taken, and no answer ever comes.
    Hang,
    /// The order is taken at once, and answered late.
    Slow,
    /// The order is taken late, also when its caller has gone.
    Late,
    /// 429: too many requests.
    TooMany,
    /// The broker takes no orders from this address.
    RefusedAddress,
    /// The token is ended, as by a login elsewhere.
    DeadToken,
    /// A 200 whose order is REJECTED.
    Rejected,
    /// 502 with a page of HTML, the order undone.
    BadGateway,
    /// Every reply is compressed, asked or not.
    Compression,
    /// Every reply breaks off inside its compression.
    BrokenCompression,
    /// Open sockets are told 805, as by a sixth of their kind.
    TooManySockets,
    /// Open sockets are told 807: the token has ended.
    SocketToken,
    /// Open sockets say nothing more, and stay.
    SilentSockets,
    /// Open sockets are reset without a Close.
    ResetSockets,
    /// Open sockets say a text that is no JSON.
    SocketText,
    /// Every socket is reset after a while.
    ShortSockets,
}

/// How a scenario comes about.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Single requests go wrong.
    Fault(Box<Fault>),
    /// All replies are so.
    Habits(Box<Habits>),
    /// The live token ends.
    EndToken,
    /// Something befalls the sockets that are open.
    Sockets(StreamFault),
}

impl Scenario {
    /// What to arm. `ms` is the delay of those that have one.
    pub fn effect(self, ms: u64) -> Effect {
        let compressed = |compression| Effect::Habits(Box::new(Habits { compression, ..Habits::default() }));
        let action = match self {
            Self::Lost => Action::Close { executed: true },
            Self::LostBefore => Action::Close { executed: false },
            Self::Hang => Action::Hang { executed: true },
            Self::Slow => Action::Slow { ms },
            Self::Late => Action::Late { ms },
            Self::TooMany => refuse(
                429,
                "Rate_Limit",
                "DH-904",
                "Too many requests on server from single user breaching rate limits. Try throttling API calls.",
            ),
            Self::RefusedAddress => refuse(400, "Input_Exception", "DH-905", "Invalid IP"),
            Self::Rejected => Action::RejectOrders { first: None, silent: false },
            Self::BadGateway => Action::BadGateway { executed: false },
            Self::DeadToken => return Effect::EndToken,
            Self::TooManySockets => return Effect::Sockets(StreamFault::Disconnect { reason: 805 }),
            Self::SocketToken => return Effect::Sockets(StreamFault::Disconnect { reason: 807 }),
            Self::SilentSockets => return Effect::Sockets(StreamFault::Silence),
            Self::ResetSockets => return Effect::Sockets(StreamFault::Reset),
            Self::SocketText => return Effect::Sockets(StreamFault::Text),
            Self::ShortSockets => {
                return Effect::Habits(Box::new(Habits { socket_life_ms: Some(ms), ..Habits::default() }));
            }
            Self::Compression => return compressed(Compression::Always(Encoding::Gzip)),
            Self::BrokenCompression => return compressed(Compression::Broken(Encoding::Gzip)),
        };
        Effect::Fault(Box::new(Fault::new(action)))
    }
}

fn refuse(status: u16, kind: &str, code: &str, message: &str) -> Action {
    let body: Value = json!({"errorType": kind, "errorCode": code, "errorMessage": message});
    Action::Refuse { status, body }
}

/// Which requests a fault is for, as people say it.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The method.
    pub method: String,
    /// How the path begins.
    pub path: String,
    /// Whose requests; everybody's without it.
    pub client_id: Option<ClientId>,
    /// How many of them; all without it.
    pub times: Option<u32>,
    /// So many pass first.
    pub skip: u32,
}

impl Aim {
    /// The fault, for these requests.
    pub fn at(&self, mut fault: Fault) -> Fault {
        fault = fault.on(&self.method, &self.path);
        fault.matches.client_id.clone_from(&self.client_id);
        Fault { times: self.times, skip: self.skip, ..fault }
    }
}
