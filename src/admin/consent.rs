//! Logging in by the broker's page: `POST .../token/consent` makes a link, the person's
//! browser goes there and comes back to `/auth/dhan` with a `tokenId`.
//!
//! The broker's redirect says only the `tokenId`: not for which account it is, nor who
//! asked. So the link leads first to a page of ours that leaves a secret in the browser
//! (a cookie that only `/auth/dhan` gets), and what comes back without that secret is
//! refused: nobody can have somebody else's `tokenId` taken, nor take a second one.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::awaited::OPEN;
use super::error::{Failure, Problem};
use super::fields::{Fields, InPath};
use super::state::Admin;
use super::tokens::LOGIN_WAIT;
use super::wire::{ConsentBody, ConsentFields, TokenBody};
use crate::domain::{Secret, india};

const COOKIE_NAME: &str = "sixgate-consent";

/// Log in by the broker's page: without `token_id` a link to it, which counts among the
/// broker's 25 a day; with one, the token it stands for.
#[utoipa::path(post, path = "/v1/accounts/{name}/token/consent", tag = "tokens", request_body = ConsentFields, security(("bearer" = [])),
    responses((status = 200, body = ConsentBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn begin(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Json<ConsentBody>, Failure> {
    let account = admin.account(&name)?;
    let token_id = fields.secret("token_id")?;
    fields.done()?;
    if let Some(token_id) = token_id {
        if !account.keeper.returned(token_id).await {
            let text =
                "nobody was sent to the broker's page for this account in the last 24 hours: ask for a link first";
            return Err(Failure::new(StatusCode::CONFLICT, "consent_not_awaited", text));
        }
        account.token.wait_until_idle(Instant::now() + LOGIN_WAIT).await;
        let token = TokenBody::of(&account);
        return Ok(Json(ConsentBody { login_url: None, broker_url: None, consents_left: None, token }));
    }
    let denied = |trouble: crate::tokens::lifecycle::Trouble| {
        let text = format!("{}; {}", trouble.summary, trouble.action.replace("{name}", account.name.as_str()));
        Failure::new(StatusCode::CONFLICT, "consent_denied", text)
    };
    let link = account.keeper.consent().await.map_err(denied)?;
    let secret = admin.consents.expect(account.name.clone(), link.url.clone())?;
    // The cookie of the way there has to be found on the way back, so by the name that the browser has.
    let asked = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|_| admin.site.has_port());
    let scheme = if admin.site.is_https() { "https" } else { "http" };
    let base = admin.site.public_url().or_else(|| asked.map(|host| format!("{scheme}://{host}")));
    Ok(Json(ConsentBody {
        login_url: base.map(|base| format!("{base}/auth/dhan/start?state={secret}")),
        broker_url: Some(link.url),
        consents_left: Some(link.left),
        token: TokenBody::of(&account),
    }))
}

/// On the way to the broker's page: leaves a secret in the browser.
#[utoipa::path(get, path = "/auth/dhan/start", tag = "tokens",
    params(("state" = String, Query, description = "As in `login_url`.")),
    responses((status = 303, description = "To the broker's page."), (status = 403, body = Problem)))]
pub(super) async fn leave(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let secret = parameter(query.as_deref(), "state").unwrap_or_default();
    let page = admin.consents.page(&secret).ok_or_else(not_awaited)?;
    // Lax: it comes back by a link from the broker's site, and is sent to nothing else.
    let cookie = format!("{COOKIE_NAME}={secret}; Path=/auth/dhan; HttpOnly; SameSite=Lax; Max-Age={}", OPEN.as_secs());
    let headers = [(LOCATION, page), (SET_COOKIE, cookie), (CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Back from the broker's page. The redirect URL to give the broker.
#[utoipa::path(get, path = "/auth/dhan", tag = "tokens",
    params(("tokenId" = String, Query, min_length = 1, description = "The broker's.")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 403, body = Problem)))]
pub(super) async fn come_back(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let token_id = parameter(query.as_deref(), "tokenId").filter(|id| !id.is_empty());
    let token_id = token_id.ok_or_else(|| Failure::field("tokenId", "is missing; the broker's page adds it"))?;
    let shown = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let prefix = format!("{COOKIE_NAME}=");
    let name =
        shown.filter_map(|pair| pair.trim().strip_prefix(&prefix)).find_map(|secret| admin.consents.take(secret));
    let account = admin.account(name.ok_or_else(not_awaited)?.as_str())?;
    if !account.keeper.returned(Secret::from(token_id)).await {
        return Err(not_awaited());
    }
    account.token.wait_until_idle(Instant::now() + LOGIN_WAIT).await;
    let token = TokenBody::of(&account);
    let said = match (&token.last_error, token.expires_at) {
        _ if token.state == "minting" => "The broker has not answered yet. The gateway goes on by itself.".to_owned(),
        (None, Some(until)) if token.state == "live" => {
            let until = until
                .parse()
                .map_or_else(|_| until.clone(), |at| india::local(at).strftime("%-d %b %H:%M IST").to_string());
            format!("Logged in. The token lives until {until}.")
        }
        (Some(wrong), _) => format!("Not logged in: {} {}", wrong.summary, wrong.action),
        (None, _) => format!("The token's state is {}.", token.state),
    };
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sixgate: {name}</title>\
         <h1>{name}</h1><p>{said}</p><p>This page can be closed.</p></html>\n",
        name = account.name,
        said = escaped(&said),
    );
    let gone = format!("{COOKIE_NAME}=; Path=/auth/dhan; HttpOnly; SameSite=Lax; Max-Age=0");
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (SET_COOKIE, gone),
    ];
    Ok((headers, page).into_response())
}

fn not_awaited() -> Failure {
    let text = "this browser was not sent to the broker's page by this gateway, or has been back already: ask for a link \
                (POST /v1/accounts/{name}/token/consent) and open it in this browser";
    Failure::new(StatusCode::FORBIDDEN, "consent_not_awaited", text)
}

/// A value of a query. The broker's ids and ours need no escapes.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_s_parts_are_found_by_their_whole_name() {
        assert_eq!(parameter(Some("a=1&tokenId=x-y&b"), "tokenId").as_deref(), Some("x-y"));
        assert_eq!(parameter(Some("xtokenId=1"), "tokenId"), None);
        assert_eq!(parameter(None, "tokenId"), None);
    }
}
