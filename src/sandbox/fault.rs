//! What can be made to go wrong, and for which requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ClientId;

use super::verdict::{Quoted, Verdict};

/// A way to go wrong, for the requests that match.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// For which requests. Nothing set means every request.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// What happens to them.
    pub action: Action,
    /// Let this many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests it happens to; without it, all until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many milliseconds the request lies there before.
    #[serde(default)]
    pub after_ms: u64,
}

impl Fault {
    /// A fault for every request, until cleared.
    pub fn new(action: Action) -> Self {
        Self { matches: Match::default(), action, skip: 0, times: None, after_ms: 0 }
    }

    /// Only for this method and paths that begin like this (`/v2/orders`).
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.matches.method = Some(method.to_owned());
        self.matches.path = Some(path.to_owned());
        self
    }

    /// Only for requests to this host (`auth.dhan.co`).
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.matches.host = Some(host.to_owned());
        self
    }

    /// Only for requests with this account's token, and logins of this account.
    #[must_use]
    pub fn of(mut self, client_id: &ClientId) -> Self {
        self.matches.client_id = Some(client_id.clone());
        self
    }

    /// Only for the data back ends: quotes, option chains and charts.
    #[must_use]
    pub fn on_data(mut self) -> Self {
        self.matches.data = Some(true);
        self
    }

    /// Only after the request lay there for so many milliseconds: a refusal takes its time too.
    #[must_use]
    pub fn after(mut self, ms: u64) -> Self {
        self.after_ms = ms;
        self
    }

    /// Only this many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// Which requests a fault is for. What is not set matches everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The host asked for (`api.dhan.co`).
    pub host: Option<String>,
    /// Only requests of this method.
    pub method: Option<String>,
    /// How the path begins, base included (`/v2/orders`).
    pub path: Option<String>,
    /// Whose token it carries, live or dead; for logins, which account they are for.
    pub client_id: Option<ClientId>,
    /// Is it a path of the data back ends: `marketfeed`, `optionchain`, `charts`, `data`?
    pub data: Option<bool>,
}

/// The first segments of the data back ends' paths.
const DATA: [&str; 4] = ["marketfeed", "optionchain", "charts", "data"];

/// What goes wrong. `executed` says whether the request is carried out before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Answer this and do nothing.
    Refuse {
        /// The status of the reply.
        status: u16,
        /// The JSON body; `null` for an empty one.
        #[serde(default)]
        body: Value,
    },
    /// Close the connection without an answer.
    Close {
        /// Carry the request out first?
        #[serde(default)]
        executed: bool,
    },
    /// Answer with the head and half of the body, and close the connection.
    CutOff {
        /// Carry the request out first?
        #[serde(default)]
        executed: bool,
    },
    /// Never answer; the connection stays.
    Hang {
        /// Carry the request out first?
        #[serde(default)]
        executed: bool,
    },
    /// Answer 502 with a page of HTML, as a proxy in front of the broker does.
    BadGateway {
        /// Carry the request out first?
        #[serde(default)]
        executed: bool,
    },
    /// Answer a page of HTML where JSON is meant, with any status.
    Html {
        /// The status; 200 unless told otherwise.
        #[serde(default = "ok")]
        status: u16,
        /// Carry the request out first?
        #[serde(default)]
        executed: bool,
    },
    /// Carry the request out as ever and answer so many milliseconds later.
    Slow {
        /// The delay in milliseconds.
        ms: u64,
    },
    /// Carry the request out only so many milliseconds later, also when its caller is
    /// gone by then.
    Late {
        /// The delay in milliseconds.
        ms: u64,
    },
    /// Say this of the token or the customer, true or not, and do nothing.
    Verdict {
        /// The verdict that the reply gives.
        says: Verdict,
    },
    /// Refuse the request with a message that quotes it, and do nothing.
    Quote {
        /// What of it.
        what: Quoted,
    },
    /// Take the request as ever, and let its orders be REJECTED.
    RejectOrders {
        /// Only so many of them; all unless told otherwise.
        #[serde(default)]
        first: Option<u32>,
        /// Does the reply say TRANSIT, so that only the book knows?
        #[serde(default)]
        silent: bool,
    },
    /// Answer as ever, and say `Connection: close` from a connection's Nth
    /// request on. HTTP/1.1 only.
    LastOnConnection {
        /// N.
        after: u64,
    },
    /// Answer as ever, with a `Date` that is wrong, as a back end whose clock is off or a cache does.
    Dated {
        /// By how many seconds it is ahead of the broker's clock; less than nothing for behind.
        ahead: i64,
    },
}

fn ok() -> u16 {
    200
}

impl Action {
    /// Is the request carried out although it goes wrong?
    pub(super) fn executes(&self) -> bool {
        match self {
            Self::Refuse { .. } | Self::Verdict { .. } | Self::Quote { .. } => false,
            Self::Close { executed }
            | Self::CutOff { executed }
            | Self::Hang { executed }
            | Self::BadGateway { executed }
            | Self::Html { executed, .. } => *executed,
            Self::Slow { .. }
            | Self::Late { .. }
            | Self::RejectOrders { .. }
            | Self::LastOnConnection { .. }
            | Self::Dated { .. } => true,
        }
    }
}

/// What becomes of the orders of one request at the exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// How many more orders end as REJECTED.
    pub(super) rejected: u32,
    /// The reply does not say so.
    pub(super) silent: bool,
}

impl Fate {
    pub(super) fn of(fault: Option<&Action>) -> Self {
        match fault {
            Some(Action::RejectOrders { first, silent }) => {
                Self { rejected: first.unwrap_or(u32::MAX), silent: *silent }
            }
            Some(_) | None => Self::default(),
        }
    }

    /// Is the next of the orders REJECTED? Counted.
    pub(super) fn rejects(&mut self) -> bool {
        let rejects = self.rejected > 0;
        self.rejected = self.rejected.saturating_sub(1);
        rejects
    }
}

/// What a fault is matched against.
pub(super) struct Subject<'a> {
    pub(super) host: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) client_id: Option<&'a ClientId>,
}

impl Match {
    fn fits(&self, subject: &Subject<'_>) -> bool {
        self.host.as_ref().is_none_or(|host| host.eq_ignore_ascii_case(subject.host))
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(subject.method))
            && self.path.as_ref().is_none_or(|path| subject.path.starts_with(path.as_str()))
            && self.client_id.as_ref().is_none_or(|id| Some(id) == subject.client_id)
            && self.data.is_none_or(|data| data == is_data(subject.path))
    }
}

fn is_data(path: &str) -> bool {
    path.strip_prefix("/v2/").and_then(|below| below.split('/').next()).is_some_and(|first| DATA.contains(&first))
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Faults {
    armed: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// Those that can still befall a request.
    pub(super) fn armed(&self) -> Vec<Fault> {
        self.armed.iter().filter(|fault| fault.times != Some(0)).cloned().collect()
    }

    /// The first fault that this request is due for, counted as used.
    pub(super) fn take(&mut self, subject: &Subject<'_>) -> Option<Fault> {
        for fault in self.armed.iter_mut().filter(|fault| fault.matches.fits(subject)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            match &mut fault.times {
                Some(0) => {}
                Some(left) => {
                    *left -= 1;
                    return Some(fault.clone());
                }
                None => return Some(fault.clone()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fault that hits one request too many or too few makes the test that
    /// uses it prove something else.
    #[test]
    fn a_fault_hits_the_requests_it_is_for_and_no_more() {
        let mut faults = Faults::default();
        let close = Action::Close { executed: false };
        faults.add(Fault { skip: 1, ..Fault::new(close).on("POST", "/v2/orders").times(1) });
        let subject = |method, path| Subject { host: "api.dhan.co", method, path, client_id: None };
        assert!(faults.take(&subject("GET", "/v2/orders")).is_none());
        assert!(faults.take(&subject("POST", "/v2/profile")).is_none());
        assert!(faults.take(&subject("POST", "/v2/orders")).is_none(), "skipped");
        assert!(faults.take(&subject("POST", "/v2/orders/slicing")).is_some());
        assert!(faults.take(&subject("POST", "/v2/orders")).is_none(), "spent");
    }

    /// Faults come in as JSON through the control listener.
    #[test]
    fn faults_are_written_as_json() {
        let text = r#"{"match":{"path":"/v2/orders"},"action":{"close":{"executed":true}},"times":2}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert!(fault.action.executes() && fault.times == Some(2));
        assert!(serde_json::from_str::<Fault>(r#"{"action":{"closed":{}}}"#).is_err());
    }
}
