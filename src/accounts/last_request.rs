//! When a caller last asked for something of an account, and which program it was: does the engine go through the
//! gateway at all?
//!
//! On an order's way it costs a look at a snapshot, the clock, and two stores. Only who comes by another listener than
//! the last one, or with another program, has a new snapshot made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use crate::config::Listener;

/// So much is kept of what a program says of itself.
const LONGEST: usize = 96;

/// What a request was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestClass {
    /// An order write.
    Order,
    /// Anything else that was answered.
    #[default]
    Read,
    /// A WebSocket.
    Stream,
    /// A `CONNECT`; what is inside counts again where the gateway looks inside.
    Tunnel,
}

impl RequestClass {
    const ALL: [Self; 4] = [Self::Order, Self::Read, Self::Stream, Self::Tunnel];

    /// The word in the API. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Read => "read",
            Self::Stream => "stream",
            Self::Tunnel => "tunnel",
        }
    }
}

/// When a caller last asked for something of an account. In memory only.
#[derive(Debug, Default)]
pub struct LastRequest {
    /// Unix milliseconds; 0 where nobody has since the start.
    at: AtomicI64,
    /// Its place in [`RequestClass::ALL`].
    class: AtomicU8,
    caller: ArcSwapOption<Caller>,
}

/// By which listener it came, and what sent it.
#[derive(Debug)]
struct Caller {
    listener: Arc<Listener>,
    /// Where that is bound, if that is an address.
    local: Option<SocketAddr>,
    /// Its `User-Agent`, as it came and cut off.
    program: Option<Box<[u8]>>,
}

/// The last request, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRequestView {
    /// When it was answered.
    pub at: Timestamp,
    /// What it was.
    pub class: RequestClass,
    /// `127.0.0.1:8080`, or `unix:/path`.
    pub listener: String,
    /// What the program said of itself.
    pub program: Option<String>,
}

impl LastRequest {
    /// A request came by this listener, from what calls itself so.
    pub fn came(&self, listener: &Arc<Listener>, local: Option<SocketAddr>, program: Option<&[u8]>) {
        let program = program.and_then(|program| program.get(..program.len().min(LONGEST)));
        let known = self.caller.load();
        if let Some(known) = &*known
            && Arc::ptr_eq(&known.listener, listener)
            && known.local == local
            && known.program.as_deref() == program
        {
            return;
        }
        drop(known);
        let (listener, program) = (Arc::clone(listener), program.map(Into::into));
        self.caller.store(Some(Arc::new(Caller { listener, local, program })));
    }

    /// It was this, and was answered now.
    pub fn answered(&self, class: RequestClass) {
        let place = RequestClass::ALL.iter().position(|other| *other == class).unwrap_or_default();
        self.class.store(u8::try_from(place).unwrap_or_default(), Ordering::Relaxed);
        self.at.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
    }

    /// What is known of it; `None` where there was none since the start.
    pub fn view(&self) -> Option<LastRequestView> {
        let at = Some(self.at.load(Ordering::Relaxed)).filter(|at| *at != 0)?;
        let caller = self.caller.load();
        let caller = caller.as_ref()?;
        Some(LastRequestView {
            at: Timestamp::from_millisecond(at).ok()?,
            class: RequestClass::ALL.get(usize::from(self.class.load(Ordering::Relaxed))).copied().unwrap_or_default(),
            listener: caller.local.map_or_else(|| caller.listener.bind.to_string(), |local| local.to_string()),
            program: caller.program.as_deref().and_then(shown),
        })
    }
}

/// What a program says of itself, as it may be shown: no control characters, and nothing that may be a secret in the
/// wrong place.
fn shown(program: &[u8]) -> Option<String> {
    let text: String =
        program.iter().filter(|byte| matches!(byte, b' '..=b'~')).map(|byte| char::from(*byte)).collect();
    let hides = ["eyJ", "sgk_", "sga_"].iter().any(|begins| text.contains(begins));
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && !hides)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn listener(address: &str) -> Arc<Listener> {
        let text = format!("[[listener]]\naddress = \"{address}\"\naccount = \"alpha\"\n");
        let config = crate::config::from_text("test", Path::new("/x"), &text, &Default::default()).unwrap();
        Arc::new(config.listeners.into_iter().next().unwrap())
    }

    /// Who looks whether an engine is connected must not be shown another program, or a time at which nothing came.
    #[test]
    fn the_last_request_is_told_with_its_listener_and_program() {
        let (last, tcp, unix) = (LastRequest::default(), listener("127.0.0.1:0"), listener("unix:/run/a.sock"));
        assert_eq!(last.view(), None);
        last.came(&tcp, "127.0.0.1:8080".parse().ok(), Some(b"python-requests/2.32"));
        assert_eq!(last.view(), None, "it is not answered yet");
        let before = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap();
        last.answered(RequestClass::Order);
        let view = last.view().unwrap();
        assert!(view.at >= before && view.at <= Timestamp::now(), "{view:?}");
        assert_eq!((view.class, view.listener.as_str()), (RequestClass::Order, "127.0.0.1:8080"));
        assert_eq!(view.program.as_deref(), Some("python-requests/2.32"));

        last.came(&unix, None, None);
        last.answered(RequestClass::Stream);
        let view = last.view().unwrap();
        assert_eq!(
            (view.class, view.listener.as_str(), view.program),
            (RequestClass::Stream, "unix:/run/a.sock", None)
        );
    }

    /// An order must not allocate for the sake of a line on a page.
    #[test]
    fn the_same_program_by_the_same_listener_makes_nothing_new() {
        let (last, listener) = (LastRequest::default(), listener("127.0.0.1:0"));
        let snapshot = |program: &[u8]| {
            last.came(&listener, None, Some(program));
            last.caller.load_full().unwrap()
        };
        let first = snapshot(b"engine/1");
        assert!(Arc::ptr_eq(&first, &snapshot(b"engine/1")));
        assert!(!Arc::ptr_eq(&first, &snapshot(b"engine/2")));
        let long = [b'x'; 2 * LONGEST];
        assert!(Arc::ptr_eq(&snapshot(&long), &snapshot(&long)), "cut off before it is compared");
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown_as_a_program() {
        for (program, told) in [
            (&b"engine/1 (x)"[..], Some("engine/1 (x)")),
            (b"a\x1b[31mb\xff", Some("a[31mb")),
            (b"sgk_abcdef", None),
            (b"x eyJhbGciOiJIUzI1NiJ9", None),
            (b" \t ", None),
        ] {
            assert_eq!(shown(program).as_deref(), told);
        }
    }
}
