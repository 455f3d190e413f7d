//! The admin API, bound and not serving yet.

use std::sync::Arc;

use crate::admin::{self, Admin};
use crate::config::Bind;
use crate::domain::places::{ConnectionLimit, ListenerLimit};
use crate::net::bind;
use crate::proxy::ListenError;

use super::error::StartError;

#[derive(Debug)]
pub(super) struct AdminServer {
    pub(super) at: String,
    pub(super) socket: admin::Socket,
    pub(super) router: axum::Router,
    pub(super) places: Arc<ListenerLimit>,
}

pub(super) fn bind_admin(bind: &Bind, parts: admin::Parts, places: usize) -> Result<AdminServer, StartError> {
    let fail = |err| ListenError::Bind { bind: bind.to_string(), err };
    let (at, socket, local) = match bind {
        Bind::Tcp(address) => {
            let socket = bind::bind_tcp(*address).map_err(fail)?;
            let local = socket.local_addr().map_err(fail)?;
            (format!("http://{local}"), admin::Socket::Tcp(socket), Some(local))
        }
        Bind::Unix(path) => {
            let socket = bind::bind_unix(path, 0o600).map_err(fail)?;
            (format!("unix:{}", path.display()), admin::Socket::Unix(socket), None)
        }
    };
    let house = ConnectionLimit::new(places);
    parts.metrics.show_places("operators", &house);
    let router = admin::router(Admin::new(parts, local));
    Ok(AdminServer { at, socket, router, places: ListenerLimit::new(&house, places) })
}
