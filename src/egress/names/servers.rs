//! All name servers of a host, asked for one name.
//!
//! The one that answered last is asked first. One that says anything of no use is followed by the next at once, and one
//! that is silent after a quarter of a second, while it may still answer: the first address wins. So a dead server
//! among good ones costs a quarter of a second once, and "there is no such record" from one that knows no better does
//! not hide what another knows.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::family::Family;
use super::question::{self, ServerAnswer, Unusable};
use super::system::{self, Files, Servers};
use crate::domain::Host;
use crate::domain::lock;

/// How long a server may be silent before the next one is asked as well.
const STAGGER: Duration = Duration::from_millis(250);
/// How long what the hosts file says is believed.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// What each one that was asked said instead of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) struct ServerFailures {
    pub servers: Servers,
    pub said: Vec<(Option<SocketAddr>, Unusable)>,
}

impl ServerFailures {
    /// What each said, in a line.
    pub(crate) fn said(&self) -> String {
        let each = self.said.iter().map(|(server, why)| match server {
            Some(server) => format!("{server} {why}"),
            None => format!("/etc/hosts {why}"),
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

/// Whom to ask, and who answered last.
#[derive(Debug)]
pub(super) struct NameServers {
    files: Files,
    configured: Mutex<Vec<SocketAddr>>,
    answered: Mutex<Option<SocketAddr>>,
}

impl NameServers {
    pub(super) fn new(files: Files, configured: Vec<SocketAddr>) -> Self {
        Self { files, configured: Mutex::new(configured), answered: Mutex::default() }
    }

    /// Others, from the next lookup on. Were they others?
    pub(super) fn configure(&self, servers: &[SocketAddr]) -> bool {
        let mut configured = lock(&self.configured);
        let other = *configured != servers;
        *configured = servers.to_vec();
        other
    }

    /// The servers as they are now. Reads a small file.
    pub(super) async fn servers(&self) -> Servers {
        let configured = lock(&self.configured).clone();
        let files = self.files.clone();
        let found = tokio::task::spawn_blocking(move || Servers::find(&configured, &files)).await;
        // Only while the runtime ends.
        found.unwrap_or_else(|err| Servers { list: Vec::new(), origin: system::Origin::Nowhere(err.to_string()) })
    }

    /// Ask for `host` until somebody gives an address or nobody is left.
    pub(super) async fn query(&self, host: &Host, family: Family) -> Result<ServerAnswer, ServerFailures> {
        let mut servers = self.servers().await;
        let mut said = Vec::new();
        match self.look_in_hosts(host, family).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(why) => said.push((None, why)),
        }
        let last = *lock(&self.answered);
        servers.list.sort_by_key(|server| Some(*server) != last);
        let mut left = servers.list.iter().copied();
        let mut queries = FuturesUnordered::new();
        loop {
            if let Some(server) = left.next() {
                queries.push(async move { (server, question::query(server, host.as_str(), family).await) });
            } else if queries.is_empty() {
                return Err(ServerFailures { servers, said });
            }
            let patience = Instant::now() + STAGGER;
            while !queries.is_empty() {
                let answer = tokio::select! {
                    answer = queries.next() => answer,
                    () = sleep_until(patience), if left.len() > 0 => break,
                };
                match answer {
                    Some((server, Ok(found))) => {
                        *lock(&self.answered) = Some(server);
                        return Ok(found);
                    }
                    Some((server, Err(why))) => said.push((Some(server), why)),
                    None => {}
                }
                if left.len() > 0 {
                    break;
                }
            }
        }
    }

    async fn look_in_hosts(&self, host: &Host, family: Family) -> Result<Option<ServerAnswer>, Unusable> {
        let (files, host) = (self.files.clone(), host.clone());
        let found = tokio::task::spawn_blocking(move || system::from_hosts(&files, host.as_str(), family)).await;
        let addresses = found.unwrap_or(Ok(None))?;
        Ok(addresses.map(|addresses| ServerAnswer { addresses, ttl: HOSTS_TTL }))
    }
}
