//! What a listener does when a connection cannot be accepted, or has no place. It waits in the kernel's queue then, and is
//! not lost; that it waits is told.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Seldom;
use crate::domain::host_limits::Lack;
use crate::domain::places::{ConnectionPermit, Crowd, ListenerLimit, NewCaller};

/// Pause after an error such as "too many open files", which would otherwise be returned again at once for ever.
const PAUSE: Duration = Duration::from_millis(50);
/// Such errors come twenty times a second for as long as they last, at every listener: one line of them in this time.
static WARNING: Seldom = Seldom::once_in(Duration::from_secs(60));
/// Longer than it takes strangers and the idle to make room: who still waits then waits for the busy.
const LONG: Duration = Duration::from_secs(3);

/// Whose places they are.
#[derive(Debug)]
pub struct Whose {
    /// What to say of them when all are taken.
    text: fn(&Crowd) -> String,
    warning: Seldom,
}

/// The connections of callers, who trade.
pub static CALLERS: Whose = Whose {
    text: |crowd| {
        format!(
            "{}, and their orders wait too; close tunnels and feeds that nobody needs, or raise proxy.max_connections (and \
             LimitNOFILE= in the unit with it)",
            said("callers wait to be served", crowd)
        )
    },
    warning: Seldom::once_in(Duration::from_secs(60)),
};

/// The connections of operators, who use the admin API.
pub static OPERATORS: Whose = Whose {
    text: |crowd| {
        format!(
            "{}, so nobody can be halted or changed; end programs that keep calls open there (ss -tnp shows them). Orders go on",
            said("operators wait to be served by the admin API", crowd)
        )
    },
    warning: Seldom::once_in(Duration::from_secs(60)),
};

fn said(who: &str, crowd: &Crowd) -> String {
    let Crowd { most, taken, busy } = crowd;
    format!(
        "{who}: of {most} connections that may be open at once {taken} are, and {busy} of them are busy and are not ended \
         for others"
    )
}

/// A place for who was just accepted. Where there is none he waits for one, and those behind him in the kernel's queue
/// with him; that they wait for long is told. Cancel-safe.
pub async fn place(places: &Arc<ListenerLimit>, comer: NewCaller, whose: &'static Whose) -> ConnectionPermit {
    let began = Instant::now();
    let taking = places.take(comer);
    tokio::pin!(taking);
    loop {
        tokio::select! {
            biased;
            place = &mut taking => return place,
            () = tokio::time::sleep(LONG) => {}
        }
        if let Some(times) = whose.warning.due() {
            let waited_s = began.elapsed().as_secs();
            tracing::error!(waited_s, times, "{}", (whose.text)(&places.crowd()));
        }
    }
}

/// Tell of it, and wait a moment. Where a descriptor lacks, who holds one without having shown who he is makes room.
pub async fn failed(err: &io::Error, places: &ListenerLimit) {
    let lack = Lack::of(err);
    if lack.is_some() {
        places.send_a_stranger_away();
    }
    if let Some(times) = WARNING.due() {
        match lack {
            Some(lack) => {
                tracing::error!(error = %err, times, "connections to this gateway wait to be accepted: {lack}");
            }
            None => tracing::error!(
                times,
                "a connection could not be taken in: {err}; it is tried again, nothing to do unless this line comes each \
                 minute: then send it to us"
            ),
        }
    }
    tokio::time::sleep(PAUSE).await;
}
