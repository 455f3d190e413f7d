//! `/v1/console/links`: links that sign a person in to the console.

use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Failure, Problem};
use super::fields::Fields;
use super::operators::Operator;
use super::sessions::CODE_LIFE;
use super::state::Admin;
use super::wire::NoFields;
use crate::domain::secret::ExposeSecret;

/// A link to the console, for one person and one use. No `Debug`: it is a secret.
#[derive(Serialize, ToSchema)]
pub(super) struct LinkBody {
    /// Open it in a browser on the gateway's machine, or through a tunnel. The code is in its fragment, which a browser
    /// sends nowhere. Null on a unix socket, which no browser can open.
    pub url: Option<String>,
    /// The code itself, to paste into the sign-in page.
    pub code: String,
    /// Until when it can be used.
    pub expires_at: String,
}

/// Make a link that signs a person in to the console, once, within five minutes, with the role of the token that asks.
#[utoipa::path(post, path = "/v1/console/links", tag = "console", request_body = NoFields, security(("bearer" = [])),
    responses((status = 201, body = LinkBody), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Fields,
) -> Result<(StatusCode, Json<LinkBody>), Failure> {
    fields.done()?;
    let code = admin.sessions.make_code(operator.token, Instant::now()).map_err(|_| {
        let text = "the kernel gave no random bytes";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random_bytes", text)
    })?;
    let code = code.expose_secret().to_owned();
    let url = admin.site.url().map(|base| format!("{base}/#code={code}"));
    let expires_at = (jiff::Timestamp::now() + CODE_LIFE).to_string();
    Ok((StatusCode::CREATED, Json(LinkBody { url, code, expires_at })))
}
