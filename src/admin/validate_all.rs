//! `/v1/validate/job`: every account is looked at by a job of the gateway's own, which goes on whoever closes a page. One
//! at a time, and the last one's result stays until the next begins or the gateway stops.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use futures_util::StreamExt;

use super::error::{Failure, Problem};
use super::fields::Fields;
use super::operators::Operator;
use super::state::Admin;
use super::validate::{AT_ONCE, every_row, look_only, publish};
use super::validation_job::Cause;
use super::wire::{CauseBody, JobBody, NoFields};

/// Look at every account, as a job. Reads only.
#[utoipa::path(post, path = "/v1/validate/job", tag = "validate", operation_id = "validate_job_begin", request_body = NoFields, security(("bearer" = [])),
    responses((status = 202, body = JobBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn begin(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    fields: Fields,
) -> Result<(StatusCode, Json<JobBody>), Failure> {
    fields.done()?;
    let rows = every_row(&admin)?;
    if !admin.validate_all.begin(Arc::clone(&operator.name), rows.len()) {
        let text = "every account is being validated already (GET /v1/validate/job tells how far it is)";
        return Err(Failure::new(StatusCode::CONFLICT, "under_way", text));
    }
    let working = admin.clone();
    let work = async move {
        let admin = &working;
        let looks = futures_util::stream::iter(rows).for_each_concurrent(AT_ONCE, |row| async move {
            if admin.validate_all.next() {
                let checks = look_only(admin, &row).await;
                admin.validate_all.note(&row.name, &checks);
                // Whoever hears of it finds it noted, the end too.
                publish(admin, &row.name, &checks);
            }
        });
        tokio::select! {
            () = looks => {}
            () = admin.tasks.stopping() => {}
        }
    };
    admin.tasks.spawn(work);
    Ok((StatusCode::ACCEPTED, Json(body(&admin)?)))
}

/// How far the job is, or how the last one ended.
#[utoipa::path(get, path = "/v1/validate/job", tag = "validate", operation_id = "validate_job", security(("bearer" = [])),
    responses((status = 200, body = JobBody), (status = 404, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>) -> Result<Json<JobBody>, Failure> {
    body(&admin).map(Json)
}

/// Stop the job. What was found until then stays; one that has ended stays as it ended.
#[utoipa::path(delete, path = "/v1/validate/job", tag = "validate", operation_id = "validate_job_stop", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn stop(State(admin): State<Admin>) -> Result<StatusCode, Failure> {
    if admin.validate_all.stop() { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}

fn body(admin: &Admin) -> Result<JobBody, Failure> {
    let progress = admin.validate_all.progress().ok_or_else(none)?;
    let cause = |((check, result), cause): (&(&'static str, &'static str), &Cause)| CauseBody {
        check,
        result,
        accounts: cause.accounts,
        first: cause.first.iter().map(ToString::to_string).collect(),
    };
    Ok(JobBody {
        by: progress.by.to_string(),
        started_at: progress.started.to_string(),
        ended_at: progress.ended.map(|at| at.to_string()),
        stopped: progress.stopped,
        total: progress.total as u64,
        done: progress.done as u64,
        not_ready: progress.not_ready as u64,
        seconds_left: progress.left.map(|left| left.as_secs()),
        causes: progress.causes.iter().map(cause).collect(),
    })
}

fn none() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "there was no such job since the gateway was started")
}
