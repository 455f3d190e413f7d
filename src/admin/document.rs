//! The OpenAPI document: what stands beside the routes, made whole.
//!
//! What holds for every call (the answers of [`super::auth`] and of the server
//! itself, the media type of errors) is added here once and not beside each route.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

const PROBLEM: &str = "application/problem+json";

/// The document's text.
pub(super) fn text(mut document: OpenApi) -> String {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().security_schemes.insert("bearer".to_owned(), bearer.into());
    let mut document = serde_json::to_value(document).unwrap_or_default();
    for (path, item) in members(document.get_mut("paths")) {
        for (method, operation) in members(Some(item)) {
            complete(method, operation);
            add_parameters(path, operation);
        }
    }
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn members(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

fn complete(method: &str, operation: &mut Value) {
    let word = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default();
    // A handler's name is unique in its file only, and a file is a tag.
    let tag = operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or_default();
    let id = json!(format!("{tag}_{}", word("operationId")));
    let secured = operation.get("security").is_some();
    let has_body = operation.get("requestBody").is_some();
    let Some(operation) = operation.as_object_mut() else { return };
    operation.insert("operationId".to_owned(), id);
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };

    let mut common = vec![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
    if secured {
        common.push(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if secured && method != "get" {
        // What changes anything has to be saved: the disk may be full, or fail.
        common.extend([StatusCode::CONFLICT, StatusCode::INSUFFICIENT_STORAGE, StatusCode::SERVICE_UNAVAILABLE]);
    }
    if has_body {
        common.extend([StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY]);
    }
    for status in common {
        let problem = json!({ "content": { PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } } } });
        responses.entry(status.as_str()).or_insert(problem);
    }
    for (status, response) in responses.iter_mut() {
        if let Some(response) = response.as_object_mut() {
            finish(status, response);
        }
    }
}

/// What stands in braces in the path.
fn add_parameters(path: &str, operation: &mut Value) {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let mut all: Vec<Value> = names.map(parameter).collect();
    let Some(operation) = operation.as_object_mut() else { return };
    let others = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    all.extend(others.filter(|other| other.get("in") != Some(&json!("path"))).cloned());
    if !all.is_empty() {
        operation.insert("parameters".to_owned(), all.into());
    }
}

/// Errors have a media type of their own; a response must have a description.
fn finish(status: &str, response: &mut Map<String, Value>) {
    if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) {
        let is_problem = |media: &Value| media.pointer("/schema/$ref") == Some(&json!("#/components/schemas/Problem"));
        if content.get("application/json").is_some_and(is_problem)
            && let Some(problem) = content.remove("application/json")
        {
            content.insert(PROBLEM.to_owned(), problem);
        }
    }
    let said = response.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if !said {
        let reason = status.parse().ok().and_then(|code: StatusCode| code.canonical_reason());
        response.insert("description".to_owned(), json!(reason.unwrap_or("As named")));
    }
}
