//! Has anything come through the gateway? An engine that goes past it trades from the wrong address, and nobody notices
//! before the broker refuses it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::forward::Forwarder;
use crate::cli::client::Client;
use crate::cli::table::{maybe, text, values};

/// What proves that something came.
pub(super) enum Sign {
    /// The forwarder itself carries it.
    Forwarded(Arc<Forwarder>),
    /// The key that was made for this run has been used.
    KeyUsed(String),
    /// The account has had a request since then, of whatever program.
    RequestSince(Timestamp),
}

/// What is watched, and for how long it may be silent.
pub(super) struct Notice<'a> {
    pub(super) client: &'a Client,
    pub(super) account: &'a str,
    pub(super) program: String,
    pub(super) after: Duration,
    pub(super) sign: Sign,
}

impl Notice<'_> {
    /// Wait, and say so if nothing came. Never ends.
    pub(super) async fn watch(self) {
        if !self.after.is_zero() {
            tokio::time::sleep(self.after).await;
            // Who cannot be asked may have been restarted: nothing is said that is not known.
            if self.came().await == Some(false) {
                let Self { account, program, after, .. } = &self;
                let what = match self.sign {
                    Sign::Forwarded(_) => "does it connect to the broker's hosts by their names?",
                    Sign::KeyUsed(_) | Sign::RequestSince(_) => {
                        "does it read HTTPS_PROXY and HTTP_PROXY? With --isolate it need not, and cannot go past the \
                         gateway"
                    }
                };
                // Nobody may be there to read it.
                let _ = writeln!(
                    std::io::stderr(),
                    "sixgate run: {program} has sent no request of {account} through the gateway in its first {}: {what}",
                    humantime::format_duration(*after)
                );
            }
        }
        std::future::pending().await
    }

    async fn came(&self) -> Option<bool> {
        match &self.sign {
            Sign::Forwarded(forwarder) => Some(forwarder.is_used()),
            Sign::KeyUsed(id) => {
                let keys = self.client.list(&["v1", "accounts", self.account, "keys"]).await.ok()?;
                let key = values(&keys).into_iter().find(|key| text(key, "/id") == *id)?;
                Some(maybe(&key, "/last_used_at").is_some())
            }
            Sign::RequestSince(start) => {
                let account = self.client.get(&["v1", "accounts", self.account]).await.ok()?.value().ok()?;
                since(&account, *start)
            }
        }
    }
}

/// Has the account had a request since `start`? `None` where the gateway does not tell.
fn since(account: &Value, start: Timestamp) -> Option<bool> {
    let last = account.pointer("/last_request")?;
    if last.is_null() {
        return Some(false);
    }
    Some(text(last, "/at").parse::<Timestamp>().ok()? >= start)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A gateway that does not tell must not make every engine look lost.
    #[test]
    fn only_what_is_known_is_said() {
        let start: Timestamp = "2026-11-30T10:00:00Z".parse().unwrap();
        let at = |at: &str| since(&json!({ "last_request": { "at": at } }), start);
        assert_eq!(at("2026-11-30T10:00:01Z"), Some(true));
        assert_eq!(at("2026-11-30T09:59:59Z"), Some(false));
        assert_eq!(at("yesterday"), None);
        assert_eq!(since(&json!({ "last_request": null }), start), Some(false));
        assert_eq!(since(&json!({}), start), None);
    }
}
