//! TLS sessions of one exit, to be resumed by it and no other (RFC 8446, section 2.2).
//!
//! In rustls' own store an exit takes 1.9 KB before it holds a ticket, and eight
//! tickets of a host after that, each with a copy of the server's certificates: 3 KB
//! and more of a public one. Every connection brings tickets and spends one, so as many
//! are kept here as the exit has connections open: one where an account idles.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::lock;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Hosts remembered. The broker has fewer.
const HOSTS: usize = 8;

/// Tickets kept for each, at most.
const TICKETS: usize = 8;

/// The sessions of one exit.
pub(super) struct Sessions {
    /// In the order they were first heard of.
    hosts: Mutex<Vec<HostSessions>>,
    /// Connections that the exit has open.
    open: Arc<AtomicUsize>,
}

/// Not `Debug`: what rustls shows of a session has its ticket.
struct HostSessions {
    name: ServerName<'static>,
    kx_hint: Option<NamedGroup>,
    tls12: Option<Box<Tls12ClientSessionValue>>,
    /// Tickets of TLS 1.3, the oldest first.
    tls13: Vec<Tls13ClientSessionValue>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Those of an exit that has so many connections `open`.
    pub(super) fn new(open: Arc<AtomicUsize>) -> Self {
        Self { hosts: Mutex::default(), open }
    }

    /// Nothing panics while it is held, and a session that is lost costs a handshake.
    fn lock(&self) -> MutexGuard<'_, Vec<HostSessions>> {
        lock(&self.hosts)
    }

    fn of<T>(&self, name: &ServerName<'_>, look: impl FnOnce(&mut HostSessions) -> Option<T>) -> Option<T> {
        self.lock().iter_mut().find(|host| host.name == *name).and_then(look)
    }

    fn keep(&self, name: ServerName<'static>, change: impl FnOnce(&mut HostSessions)) {
        let mut hosts = self.lock();
        if let Some(host) = hosts.iter_mut().find(|host| host.name == name) {
            return change(host);
        }
        if hosts.len() >= HOSTS {
            hosts.remove(0);
        }
        let mut host = HostSessions { name, kx_hint: None, tls12: None, tls13: Vec::new() };
        change(&mut host);
        hosts.reserve_exact(1);
        hosts.push(host);
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.keep(server_name, |host| host.kx_hint = Some(group));
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.of(server_name, |host| host.kx_hint)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.keep(server_name, |host| host.tls12 = Some(Box::new(value)));
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.of(server_name, |host| host.tls12.as_deref().cloned())
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.of(server_name, |host| host.tls12.take());
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let most = self.open.load(Ordering::Relaxed).clamp(1, TICKETS);
        self.keep(server_name, |host| {
            let surplus = (host.tls13.len() + 1).saturating_sub(most);
            host.tls13.drain(..surplus.min(host.tls13.len()));
            host.tls13.reserve_exact(1);
            host.tls13.push(value);
        });
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // The newest is the one that the server has least likely forgotten.
        self.of(server_name, |host| host.tls13.pop())
    }
}
