//! `/v1/accounts/{name}/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Problem};
use super::fields::{self, Fields, InPath};
use super::state::Admin;
use super::wire::{KeyBody, KeyFields, NewKeyBody, Page};
use crate::accounts::KeyView;

/// Characters of a label.
const LABEL: usize = 64;

/// An account's client keys. Their texts are not kept.
#[utoipa::path(get, path = "/v1/accounts/{name}/keys", tag = "keys", security(("bearer" = [])),
    responses((status = 200, body = Page<KeyBody>), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
) -> Result<Json<Page<KeyBody>>, Failure> {
    let keys = admin.accounts.keys(&fields::name(&name)?)?;
    let body = |key: KeyView| KeyBody {
        id: key.id,
        created_at: key.created_at.to_string(),
        label: key.label,
        last_used_at: key.last_used_at.map(|at| at.to_string()),
    };
    let items = keys.into_iter().map(body).collect();
    Ok(Json(Page { items, next: None }))
}

/// Make a client key. It is shown here and never again.
#[utoipa::path(post, path = "/v1/accounts/{name}/keys", tag = "keys", request_body = KeyFields, security(("bearer" = [])),
    responses((status = 201, body = NewKeyBody), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<(StatusCode, Json<NewKeyBody>), Failure> {
    let label = fields.text("label")?;
    if label.as_ref().is_some_and(|label| {
        label.trim().is_empty() || label.chars().count() > LABEL || label.chars().any(char::is_control)
    }) {
        return Err(Failure::field("label", format!("is 1 to {LABEL} characters, none of them a control character")));
    }
    let label = label.map(|label| label.trim().to_owned());
    fields.done()?;
    let key = admin.accounts.add_labelled_key(&fields::name(&name)?, label.clone()).await?;
    Ok((StatusCode::CREATED, Json(NewKeyBody::show(&key.id, &key.key, label))))
}

/// Delete a client key. Tunnels that it opened end with their next request.
#[utoipa::path(delete, path = "/v1/accounts/{name}/keys/{id}", tag = "keys", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<StatusCode, Failure> {
    admin.accounts.delete_key(&fields::name(&name)?, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
