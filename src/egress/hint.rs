//! Why a dial may have failed, beside the error itself: what the kernel says of the way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::domain::Authority;
use crate::domain::lock;
use crate::host::Failure;

/// What the kernel says of a failed dial, in words for callers. Empty where it was not asked or says nothing that helps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint(Option<Arc<str>>);

impl Hint {
    /// The words, if there are any.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl From<Option<Arc<str>>> for Hint {
    fn from(text: Option<Arc<str>>) -> Self {
        Self(text)
    }
}

/// What an exit dials at the moment. A dial that is dropped because its caller has no more time cannot say itself what it
/// was waiting for. Of several at once the last counts: it is for words only.
#[derive(Debug, Default)]
pub(super) struct Tried(Mutex<Option<Under>>);

/// What is under way: the target, the address of it, and how it will have failed if it is given up now.
#[derive(Debug)]
struct Under {
    to: Authority,
    at: SocketAddr,
    failure: Failure,
}

impl Tried {
    pub(super) fn begins(&self, to: &Authority, at: SocketAddr, failure: Failure) {
        *self.lock() = Some(Under { to: to.clone(), at, failure });
    }

    pub(super) fn ends(&self) {
        *self.lock() = None;
    }

    /// What was being dialled for `to`.
    pub(super) fn take(&self, to: &Authority) -> Option<(SocketAddr, Failure)> {
        let mut tried = self.lock();
        let fits = tried.as_ref().is_some_and(|under| under.to == *to);
        tried.take_if(|_| fits).map(|under| (under.at, under.failure))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Under>> {
        lock(&self.0)
    }
}
