//! Enough of OpenAPI 3.1 and JSON Schema to hold a reply against the document.

use serde_json::{Map, Value};

use super::api::Reply;

/// The documented path that a path is one of.
pub(crate) fn template(document: &Value, path: &str) -> Option<String> {
    let paths = document["paths"].as_object()?;
    let fits = |template: &str| {
        let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a == b || a.starts_with('{') && !b.is_empty())
    };
    paths.keys().find(|template| fits(template)).cloned()
}

/// Every method and path of the document.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let empty = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().cloned().unwrap_or_default();
        let path = path.clone();
        methods.into_iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    };
    paths.iter().flat_map(of).collect()
}

/// Is this a reply that the document has?
pub(crate) fn check(document: &Value, method: &str, template: &str, reply: &Reply) -> Result<(), String> {
    let operation = &document["paths"][template][method.to_lowercase()];
    if operation.is_null() {
        return Err("no such method".to_owned());
    }
    let response = &operation["responses"][reply.status.to_string()];
    let response = response.as_object().ok_or_else(|| format!("no status {}", reply.status))?;
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        return if reply.body.is_null() { Ok(()) } else { Err("a body, and none is documented".to_owned()) };
    };
    let kind = reply.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media = content.get(kind).ok_or_else(|| format!("content type {kind:?}"))?;
    if kind.ends_with("json") {
        // Half a schema check is none: members that are not documented count as wrong, too.
        valid(document, &media["schema"], &reply.body, "")?;
    }
    Ok(())
}

fn valid(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let target = document.pointer(pointer).ok_or_else(|| format!("{reference} leads nowhere"))?;
        return valid(document, target, value, at);
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[word].as_array() {
            let tries: Vec<_> = choices.iter().map(|choice| valid(document, choice, value, at)).collect();
            return if tries.iter().any(Result::is_ok) { Ok(()) } else { Err(format!("{at}: {tries:?}")) };
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(format!("{at}: the document says nothing of its type: {schema}"));
        }
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return Err(format!("{at} is of type {kind} and not {kinds:?}"));
    }
    match value {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                valid(document, &schema["items"], item, &format!("{at}/{n}"))?;
            }
        }
        Value::Object(members) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
                return Err(format!("{at} lacks {missing}"));
            }
            for (name, member) in members {
                // An object that says of itself that it may have any.
                if schema["properties"].get(name).is_none() && schema.get("additionalProperties").is_some_and(takes_any)
                {
                    continue;
                }
                let known = schema["properties"].get(name).ok_or_else(|| format!("{at}/{name} is not documented"))?;
                valid(document, known, member, &format!("{at}/{name}"))?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn takes_any(additional: &Value) -> bool {
    *additional == Value::Bool(true)
        || additional.as_object().is_some_and(|schema| !schema.contains_key("type") && !schema.contains_key("$ref"))
}
