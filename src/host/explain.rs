//! Why a dial failed, asked of the kernel when it did.
//!
//! Nothing of this is on the way of an order that leaves. After a failure the kernel is asked a few questions, which
//! takes it some microseconds each; at most [`A_SECOND`] times a second, and an answer serves for a second. Beyond that a
//! failure is told without one.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::facts::{Kernel, Sender};
use super::failure::Failure;
use super::findings::trouble;
use crate::domain::SourceAddr;
use crate::domain::lock;

/// Dials a second that the kernel is asked about.
const A_SECOND: usize = 4;
const SECOND: Duration = Duration::from_secs(1);

/// Asks, within bounds.
#[derive(Debug, Default)]
pub struct Explainer {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    began: Option<Instant>,
    looks: usize,
    /// Of this second and, while nothing is asked, of the one before: at most [`A_SECOND`].
    known: HashMap<(SourceAddr, Ipv6Addr, Failure), Option<Arc<str>>>,
}

impl Explainer {
    /// In words for callers: what the kernel says of the way from `from` to `to`, after this failure. Nothing where it
    /// says nothing that helps, or was asked too often.
    pub fn explain(&self, from: SourceAddr, to: Ipv6Addr, failed: Failure, freebind: bool) -> Option<Arc<str>> {
        // The host answered, and said no: there is nothing wrong with the way.
        if failed == Failure::Connect(Errno::ECONNREFUSED as i32) {
            return None;
        }
        let key = (from, to, failed);
        {
            let mut recent = lock(&self.recent);
            let now = Instant::now();
            if recent.began.is_none_or(|began| now.duration_since(began) >= SECOND) {
                *recent = Recent { began: Some(now), ..Recent::default() };
            }
            if let Some(known) = recent.known.get(&key) {
                return known.clone();
            }
            if recent.looks >= A_SECOND {
                return None;
            }
            recent.looks += 1;
        }
        let mut kernel = Kernel::open();
        let look = kernel.look(from, to, Some(failed));
        let sender = Sender { source: from, owner: None };
        let finding = trouble(&sender, to, &look, freebind, Some(failed)).filter(|_| kernel.lack().is_none());
        let finding = finding.map(|finding| Arc::from(finding.to_string()));
        lock(&self.recent).known.insert(key, finding.clone());
        finding
    }
}
