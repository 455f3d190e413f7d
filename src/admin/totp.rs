//! `/v1/totp/preview`: what would an authenticator show? Before the broker judges a secret, a person compares.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::time::Instant;

use super::error::{Failure, Problem};
use super::fields::Fields;
use super::state::Admin;
use super::wire::{TotpBody, TotpFields};
use crate::domain::steady;
use crate::tokens::client::code_at;

/// The code that a TOTP secret gives now, to be compared with an authenticator. Nothing is stored, and the broker is not
/// asked. Ten a minute.
#[utoipa::path(post, path = "/v1/totp/preview", tag = "accounts", operation_id = "totp_preview", request_body = TotpFields, security(("bearer" = [])),
    responses((status = 200, body = TotpBody), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn preview(State(admin): State<Admin>, mut fields: Fields) -> Result<Json<TotpBody>, Failure> {
    let secret = fields.needed_secret("totp_secret")?;
    fields.done()?;
    admin.previews.take(Instant::now()).map_err(|wait| {
        let text = format!("ten codes a minute are shown; wait {} s", wait.as_secs() + 1);
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many", text).after(wait)
    })?;
    let code = code_at(&secret, steady::now()).map_err(|why| Failure::unusable("totp_secret", why.to_string()))?;
    let (code, seconds_left) = code;
    Ok(Json(TotpBody { code: code.to_string(), seconds_left }))
}
