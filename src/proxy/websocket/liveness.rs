//! Who has been silent for how long, and what is due because of it. Pure: `now` is an argument.
//!
//! The broker pings every 10 s, and callers' libraries answer. Who has said nothing for a while is pinged by us, and who
//! has not answered a while later is taken for gone.

use std::time::Duration;

use tokio::time::Instant;

use super::reader::Sender;

/// How long what is waited for may take.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Patience {
    /// Silence after which we ask.
    pub(super) ask_after: Duration,
    /// Silence after which nobody is there.
    pub(super) gone_after: Duration,
    /// A ping could not be said now; how soon it is tried again.
    pub(super) again: Duration,
    /// How long a caller may take to log in.
    pub(super) login: Duration,
    /// How long an answer to a Close is waited for.
    pub(super) close: Duration,
    /// How long we take to tell both sides of an end of ours.
    pub(super) farewell: Duration,
    /// After a swap of tokens the sockets of all accounts are told to reconnect, spread over this long: within the 40 s
    /// in which a socket of an old token has to end, and not all at once.
    pub(super) spread: Duration,
    /// An end so soon after the login, with nothing said, is how the broker refuses one: measured 10 ms.
    pub(super) refusal: Duration,
}

impl Patience {
    /// As it is for all. The broker's own limit for a silence is 40 s, and ours has to end within it.
    pub(in super::super) const USUAL: Self = Self {
        ask_after: Duration::from_secs(20),
        gone_after: Duration::from_secs(38),
        again: Duration::from_secs(1),
        login: Duration::from_secs(30),
        close: Duration::from_secs(5),
        farewell: Duration::from_secs(3),
        spread: Duration::from_secs(35),
        refusal: Duration::from_secs(5),
    };
}

/// What a ping of ours says, so that its answer is known.
pub(super) type Mark = [u8; 8];

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping to this one.
    Ask(Sender),
    /// This one is taken for gone.
    Gone(Sender),
    /// The caller has not logged in.
    NoLogin,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    heard: Instant,
    /// When we may ask, or ask again.
    ask_at: Instant,
    asked: Option<Mark>,
}

impl Watched {
    fn new(now: Instant, patience: &Patience) -> Self {
        Self { heard: now, ask_at: now + patience.ask_after, asked: None }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Liveness {
    patience: Patience,
    caller: Watched,
    broker: Watched,
    login_by: Option<Instant>,
}

impl Liveness {
    /// From now on; `login` where the caller has to log in.
    pub(super) fn new(now: Instant, patience: Patience, login: bool) -> Self {
        let watched = Watched::new(now, &patience);
        Self { patience, caller: watched, broker: watched, login_by: login.then_some(now + patience.login) }
    }

    const fn of(&mut self, who: Sender) -> &mut Watched {
        match who {
            Sender::Caller => &mut self.caller,
            Sender::Broker => &mut self.broker,
        }
    }

    /// Something came from this one, or it cannot have been heard because we did not listen.
    pub(super) fn heard(&mut self, who: Sender, now: Instant) {
        let ask_after = self.patience.ask_after;
        let watched = self.of(who);
        watched.heard = now;
        watched.ask_at = now + ask_after;
    }

    /// The caller has logged in.
    pub(super) const fn logged_in(&mut self) {
        self.login_by = None;
    }

    /// We asked with this mark.
    pub(super) fn asked(&mut self, who: Sender, mark: Mark) {
        let never = self.patience.gone_after + self.patience.again;
        let watched = self.of(who);
        watched.asked = Some(mark);
        watched.ask_at = watched.heard + never;
    }

    /// We could not ask now.
    pub(super) fn ask_later(&mut self, who: Sender, now: Instant) {
        self.of(who).ask_at = now + self.patience.again;
    }

    /// Is this pong the answer to our ping? Then it is nobody else's.
    pub(super) fn is_answer(&mut self, who: Sender, payload: &[u8]) -> bool {
        self.of(who).asked.take_if(|mark| mark.as_slice() == payload).is_some()
    }

    /// What is due.
    pub(super) fn due(&self, now: Instant) -> Due {
        for (who, watched) in [(Sender::Broker, &self.broker), (Sender::Caller, &self.caller)] {
            if now >= watched.heard + self.patience.gone_after {
                return Due::Gone(who);
            }
            if now >= watched.ask_at {
                return Due::Ask(who);
            }
        }
        if self.login_by.is_some_and(|by| now >= by) { Due::NoLogin } else { Due::Nothing }
    }

    /// When something will be due, if nothing happens before.
    pub(super) fn next(&self) -> Instant {
        let next = |watched: &Watched| watched.ask_at.min(watched.heard + self.patience.gone_after);
        let first = next(&self.broker).min(next(&self.caller));
        self.login_by.map_or(first, |by| by.min(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// The sandbox's and the broker's limit is 40 s; who waits for the broker's own end has lost that long.
    #[test]
    fn who_says_nothing_is_asked_and_then_taken_for_gone_within_40_seconds() {
        let start = Instant::now();
        let mut live = Liveness::new(start, Patience::USUAL, false);
        live.heard(Sender::Caller, at(start, 15));
        assert_eq!((live.due(at(start, 19)), live.next()), (Due::Nothing, at(start, 20)));
        assert_eq!(live.due(at(start, 20)), Due::Ask(Sender::Broker));
        live.asked(Sender::Broker, *b"01234567");
        assert_eq!((live.due(at(start, 34)), live.next()), (Due::Nothing, at(start, 35)));
        live.heard(Sender::Caller, at(start, 35));
        assert_eq!((live.due(at(start, 37)), live.next()), (Due::Nothing, at(start, 38)));
        assert_eq!(live.due(at(start, 38)), Due::Gone(Sender::Broker));
    }

    #[test]
    fn an_answer_is_ours_once_and_only_with_our_mark() {
        let start = Instant::now();
        let mut live = Liveness::new(start, Patience::USUAL, false);
        live.asked(Sender::Caller, *b"01234567");
        assert!(!live.is_answer(Sender::Broker, b"01234567") && !live.is_answer(Sender::Caller, b"0123456"));
        assert!(live.is_answer(Sender::Caller, b"01234567"));
        assert!(!live.is_answer(Sender::Caller, b"01234567"));
        live.heard(Sender::Caller, at(start, 21));
        live.heard(Sender::Broker, at(start, 30));
        assert_eq!(live.due(at(start, 41)), Due::Ask(Sender::Caller), "it is asked again");
    }

    #[test]
    fn a_ping_that_could_not_be_said_is_tried_again() {
        let start = Instant::now();
        let mut live = Liveness::new(start, Patience::USUAL, false);
        live.heard(Sender::Broker, at(start, 19));
        live.ask_later(Sender::Caller, at(start, 20));
        assert_eq!((live.due(at(start, 20)), live.next()), (Due::Nothing, at(start, 21)));
        assert_eq!(live.due(at(start, 21)), Due::Ask(Sender::Caller));
    }

    #[test]
    fn who_does_not_log_in_is_not_waited_for() {
        let start = Instant::now();
        let mut live = Liveness::new(start, Patience::USUAL, true);
        live.heard(Sender::Broker, at(start, 29));
        live.heard(Sender::Caller, at(start, 29));
        assert_eq!(live.due(at(start, 30)), Due::NoLogin);
        live.logged_in();
        assert_eq!(live.due(at(start, 30)), Due::Nothing);
    }
}
