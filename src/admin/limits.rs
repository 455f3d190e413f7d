//! `/v1/accounts/{name}/limits`, and asking the broker within them.

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::error::{Failure, Problem};
use super::fields::InPath;
use super::parameters::Parameters;
use super::state::Admin;
use super::tokens::wait_for_token;
use super::wire::{LimitBody, LimitsBody, OrderAtBrokerBody};
use crate::accounts::Account;
use crate::orders::elsewhere::BookRow;
use crate::orders::limits::RateRequest;
use crate::tokens::client::{Answered, OrderKey};

/// How long a question waits for room.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// By which of its ids. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct AskedBy {
    /// Which id is in the path: `order_id`, the broker's, when not given; or `correlation_id`.
    #[param(pattern = "^(order_id|correlation_id)$")]
    pub by: Option<String>,
}

/// How much of the broker's limits the account has used. The broker is not asked.
#[utoipa::path(get, path = "/v1/accounts/{name}/limits", tag = "orders", operation_id = "limits", security(("bearer" = [])),
    responses((status = 200, body = LimitsBody), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
) -> Result<Json<LimitsBody>, Failure> {
    let gate = admin.orders.gate(admin.account(&name)?.client_id());
    let items = gate.usage().into_iter().map(LimitBody::from).collect();
    Ok(Json(LimitsBody { items, waiting: u64::try_from(gate.waiting()).unwrap_or(u64::MAX) }))
}

/// Ask the broker how an order stands. Counts among what it allows the account, so an operator may and a viewer may not.
/// With `by=correlation_id` the id in the path is the one that the caller or the gateway gave: so an order is found whose
/// reply was lost. 404 `order_not_found` where the broker answers and shows no such order: it shows those of today, and a new one a moment
/// after it was placed. A login that is under way is waited for, ten seconds at most. 502 where it could not be asked, or gave no answer that can be read: nothing is known then.
#[utoipa::path(get, path = "/v1/accounts/{name}/orders/{order_id}", tag = "orders", operation_id = "ask", params(AskedBy), security(("bearer" = [])),
    responses((status = 200, body = OrderAtBrokerBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn order_at_broker(
    State(admin): State<Admin>,
    InPath((name, order_id)): InPath<(String, String)>,
    mut given: Parameters,
) -> Result<Json<OrderAtBrokerBody>, Failure> {
    let unknown = |why: String| Failure::new(StatusCode::NOT_FOUND, "not_found", why);
    let by = given.read("by", "is order_id or correlation_id", |word| match word {
        "order_id" => Some(false),
        "correlation_id" => Some(true),
        _ => None,
    })?;
    given.done()?;
    let key = if by == Some(true) { OrderKey::correlation_id(&order_id) } else { OrderKey::order_id(&order_id) };
    let key = key.map_err(|why| unknown(why.to_string()))?;
    let conflict = |code, text: String| Failure::new(StatusCode::CONFLICT, code, text);
    wait_for_token(&*admin.account(&name)?).await;
    // Its addresses may have been taken away meanwhile.
    let account = admin.account(&name)?;
    let legs = account.legs.as_ref();
    let legs =
        legs.ok_or_else(|| conflict("no_pair", format!("account {name} has no pair, so nothing of it leaves")))?;
    let token = account.token.live().map_err(|why| conflict("token_unavailable", why.summary))?;
    wait_for_room(&admin, &account).await?;
    let called = admin.client.order(legs, account.client_id(), &token.secret(), &key).await;
    match called.answered {
        Answered::Good(Some(order)) => {
            if let Some(order_id) = &order.order_id {
                let text = |text: &Option<String>| text.as_deref().map(Box::from);
                let (correlation_id, made) = (text(&order.correlation_id), text(&order.created_at));
                account.saw_order(&admin.orders, BookRow { order_id: order_id.as_str().into(), correlation_id, made });
            }
            Ok(Json(order.into()))
        }
        Answered::Good(None) => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "order_not_found",
            format!(
                "Dhan shows no order {order_id} for account {name}. It shows orders of today only, and a new one a moment \
                 after it was placed"
            ),
        )),
        answered @ (Answered::Refused(_) | Answered::Unknown(_) | Answered::NotSent(_)) => {
            let why = answered.into_result().err().unwrap_or_default();
            Err(Failure::new(
                StatusCode::BAD_GATEWAY,
                "broker_failed",
                match by {
                    Some(true) => format!(
                        "the order could not be asked for by its own id. Dhan may answer so where it has no order of that \
                         id: {why}"
                    ),
                    _ => format!("the order could not be asked for: {why}"),
                },
            ))
        }
    }
}

/// Wait until the account may ask the broker one more question: nobody's looking must use up what its engine needs, nor
/// break the broker's limit. The question itself is counted when it leaves.
///
/// # Errors
/// 429 when there is no room soon.
pub(super) async fn wait_for_room(admin: &Admin, account: &Account) -> Result<(), Failure> {
    let request = RateRequest::of_question(&Method::GET, "/v2/profile");
    match admin.orders.gate(account.client_id()).reserve(request, Instant::now() + PATIENCE).await {
        Ok(room) => {
            drop(room);
            Ok(())
        }
        Err(limited) => {
            let text = format!("{limited}; what engines and people ask counts together");
            let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, limited.code(), text);
            Err(match limited.retry_after {
                Some(wait) => failure.after(wait),
                None => failure,
            })
        }
    }
}
