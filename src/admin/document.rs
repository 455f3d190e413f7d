//! The OpenAPI document: what stands beside the routes, made whole.
//!
//! What holds for every call (the answers of [`super::auth`] and of the server
//! itself, the media type of errors) is added here once and not beside each route.

use std::collections::BTreeSet;

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
    let bodies = strict_bodies(&mut document);
    for (path, item) in members(document.get_mut("paths")) {
        for (method, operation) in members(Some(item)) {
            complete(method, operation);
            add_parameters(path, operation);
            if let Some(body) = operation.get_mut("requestBody").and_then(Value::as_object_mut) {
                let needed = body_name(body).is_some_and(|name| bodies.contains(&name));
                body.insert("required".to_owned(), needed.into());
            }
        }
    }
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn members(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

/// The component that a request's body is one of.
fn body_name(body: &Map<String, Value>) -> Option<String> {
    let reference = body.get("content")?.get("application/json")?.pointer("/schema/$ref")?.as_str()?;
    Some(reference.rsplit('/').next()?.to_owned())
}

/// A field that a call does not have is refused, and the schemas of bodies say so. Answers those that need a field: where
/// none is needed, no body is.
fn strict_bodies(document: &mut Value) -> BTreeSet<String> {
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    let operations = paths.filter_map(|(_, item)| item.as_object()).flatten();
    let bodies = operations.filter_map(|(_, operation)| body_name(operation.get("requestBody")?.as_object()?));
    let bodies: BTreeSet<String> = bodies.collect();
    let mut needed = BTreeSet::new();
    for (name, schema) in members(document.pointer_mut("/components/schemas")) {
        let Some(schema) = schema.as_object_mut().filter(|_| bodies.contains(name)) else { continue };
        schema.insert("additionalProperties".to_owned(), false.into());
        if schema.get("required").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty()) {
            needed.insert(name.clone());
        }
    }
    needed
}

fn complete(method: &str, operation: &mut Value) {
    let word = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default();
    // A handler's name is unique in its file only, and a file is a tag.
    let tag = operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or_default();
    let id = json!(format!("{tag}_{}", word("operationId")));
    let secured = operation.get("security").is_some();
    let has_body = operation.get("requestBody").is_some();
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let has_query = parameters.is_some_and(|all| all.iter().any(|one| one.get("in") == Some(&json!("query"))));
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
    if has_query {
        common.extend([StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY]);
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
