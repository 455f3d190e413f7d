//! `/v1/totp/preview`: what would an authenticator show? Before the broker judges a secret, a person compares.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::time::Instant;

use super::error::{Failure, Problem};
use super::fields::Fields;
use super::state::Admin;
use super::wire::{TotpBody, TotpFields};
use crate::domain::{lock, steady};
use crate::tokens::client::code_at;

/// In so long...
const SPAN: Duration = Duration::from_secs(60);
/// ...so many are answered: who types needs fewer, and who guesses wants more.
const MOST: usize = 10;

/// When the last previews were made.
#[derive(Debug, Default)]
pub(super) struct Previews(Mutex<VecDeque<Instant>>);

impl Previews {
    /// Count one.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut made = lock(&self.0);
        while made.pop_front_if(|at| now.duration_since(*at) >= SPAN).is_some() {}
        match made.front() {
            Some(first) if made.len() >= MOST => Err(SPAN.saturating_sub(now.duration_since(*first))),
            _ => {
                made.push_back(now);
                Ok(())
            }
        }
    }
}

/// The code that a TOTP secret gives now, to be compared with an authenticator. Nothing is stored, and the broker is not
/// asked. Ten a minute.
#[utoipa::path(post, path = "/v1/totp/preview", tag = "accounts", operation_id = "totp_preview", request_body = TotpFields, security(("bearer" = [])),
    responses((status = 200, body = TotpBody), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn preview(State(admin): State<Admin>, mut fields: Fields) -> Result<Json<TotpBody>, Failure> {
    let secret = fields.secret("totp_secret")?.ok_or_else(|| Failure::field("totp_secret", "is missing"))?;
    fields.done()?;
    admin.previews.take(Instant::now()).map_err(|wait| {
        let text = format!("ten codes a minute are shown; wait {} s", wait.as_secs() + 1);
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many", text).after(wait)
    })?;
    let code = code_at(&secret, steady::now()).map_err(|why| Failure::field("totp_secret", why.to_string()))?;
    let (code, seconds_left) = code;
    Ok(Json(TotpBody { code: code.to_string(), seconds_left }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who can ask without end can look for the secret of a code that was seen.
    #[test]
    fn ten_a_minute_and_then_one_has_to_wait() {
        let (previews, start) = (Previews::default(), Instant::now());
        for second in 0..10 {
            assert_eq!(previews.take(start + Duration::from_secs(second)), Ok(()));
        }
        assert_eq!(previews.take(start + Duration::from_secs(20)), Err(Duration::from_secs(40)));
        assert_eq!(previews.take(start + SPAN), Ok(()));
        assert_eq!(previews.take(start + SPAN), Err(Duration::from_secs(1)));
    }
}
