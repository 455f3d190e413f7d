//! The admin API, bound and not serving yet.

use std::sync::Arc;

use crate::admin::{self, Admin, Site};
use crate::config::{AdminConfig, Bind};
use crate::domain::places::{ConnectionLimit, ListenerLimit};
use crate::net::bind;
use crate::proxy::ListenError;

use super::error::StartError;

#[derive(Debug)]
pub(super) struct AdminServer {
    pub(super) at: String,
    pub(super) socket: admin::Socket,
    pub(super) tls: Arc<admin::Tls>,
    pub(super) site: Arc<Site>,
    pub(super) router: axum::Router,
    pub(super) places: Arc<ListenerLimit>,
}

pub(super) fn bind_admin(config: &AdminConfig, parts: admin::Parts, places: usize) -> Result<AdminServer, StartError> {
    let bind = &config.bind;
    let tls = admin::Tls::read(config).map_err(ListenError::Tls)?;
    let fail = |err| ListenError::Bind { bind: bind.to_string(), err };
    let (at, socket, local) = match bind {
        Bind::Tcp(address) => {
            let socket = bind::bind_tcp(*address).map_err(fail)?;
            let local = socket.local_addr().map_err(fail)?;
            let scheme = if tls.is_on() { "https" } else { "http" };
            (format!("{scheme}://{local}"), admin::Socket::Tcp(socket), Some(local))
        }
        Bind::Unix(path) => {
            let socket = bind::bind_unix(path, 0o600).map_err(fail)?;
            (format!("unix:{}", path.display()), admin::Socket::Unix(socket), None)
        }
    };
    let house = ConnectionLimit::new(places);
    parts.metrics.show_places("operators", &house);
    let site = Arc::new(Site::new(config, local));
    let router = admin::router(Admin::new(parts, Arc::clone(&site)));
    Ok(AdminServer { at, socket, tls, site, router, places: ListenerLimit::new(&house, places) })
}
