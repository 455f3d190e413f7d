//! `/v1/status`: what runs here, where it listens and how its accounts stand, on one page.

use axum::Json;
use axum::extract::State;

use super::about::fingerprint;
use super::counts::count;
use super::error::{Failure, cut_short};
use super::state::Admin;
use super::wire::{JournalHeadBody, ListenerBody, StatusBody};

/// What runs here: version, listeners, the authority's fingerprint, the journal's newest line, and how many accounts are
/// in which state. No secret.
#[utoipa::path(get, path = "/v1/status", tag = "status", security(("bearer" = [])), responses((status = 200, body = StatusBody)))]
pub(super) async fn read(State(admin): State<Admin>) -> Result<Json<StatusBody>, Failure> {
    // It waits, if not for long, for whoever writes the journal; and ten thousand accounts are counted.
    tokio::task::spawn_blocking(move || status(&admin)).await.map(Json).map_err(|_| cut_short())
}

fn status(admin: &Admin) -> StatusBody {
    let about = &admin.about;
    StatusBody {
        version: env!("CARGO_PKG_VERSION"),
        started_at: about.started.to_string(),
        uptime_seconds: admin.orders.age().as_secs(),
        config_file: about.file().map(|file| file.display().to_string()),
        sandbox: about.is_sandbox,
        admin_url: admin.site.listens_at(),
        listeners: about.listeners().iter().map(ListenerBody::from).collect(),
        ca_sha256: fingerprint(&admin.ca_pem),
        broker: (&about.broker).into(),
        journal: JournalHeadBody::of(&admin.orders.journal),
        accounts: count(&admin.accounts),
        unknown_outcomes: admin.metrics.unknown_outcomes(),
        unsettled_orders: admin.orders.journal.unsettled_count().count,
    }
}
