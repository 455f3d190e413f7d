//! `/docs`: the OpenAPI document as pages: every call in a line, and a page for each. On one page the whole document
//! would have 150 KB. No script and no byte of anybody else.

use maud::{Markup, html};
use serde_json::Value;

/// Every call in a line, by what they are about.
pub(super) fn overview(document: &Value) -> Markup {
    let mut tags: Vec<(&str, Vec<Operation<'_>>)> = Vec::new();
    for operation in operations(document) {
        let tag = operation.of.pointer("/tags/0").and_then(Value::as_str).unwrap_or("other");
        match tags.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, found)) => found.push(operation),
            None => tags.push((tag, vec![operation])),
        }
    }
    html! {
        h1 { (text(document, "/info/title")) }
        p { (prose(text(document, "/info/description"))) }
        p { "For programs: " a href="/openapi.json" { "/openapi.json" } " (OpenAPI 3.1)." }
        nav aria-label="Calls" { ul { @for (tag, _) in &tags { li { a href={ "#" (tag) } { (tag) } } } } }
        @for (tag, operations) in &tags {
            section aria-labelledby=(tag) {
                h2 id=(tag) { (tag) }
                ul { @for Operation { method, path, of } in operations {
                    li {
                        a href={ "/docs?call=" (text(of, "/operationId")) } { code { (method.to_uppercase()) " " (path) } }
                        " " (prose(first_sentence(of)))
                    }
                } }
            }
        }
    }
}

/// One call with its parameters, fields and answers, if there is one of this id.
pub(super) fn call(document: &Value, id: &str) -> Option<Markup> {
    let operation = operations(document).find(|operation| text(operation.of, "/operationId") == id)?;
    Some(html! {
        p { a href="/docs" { "All calls" } }
        (shown(document, &operation))
    })
}

/// A method on a path.
struct Operation<'d> {
    method: &'d str,
    path: &'d str,
    of: &'d Value,
}

fn operations(document: &Value) -> impl Iterator<Item = Operation<'_>> {
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    paths.flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(method, of)| Operation { method, path, of })
    })
}

fn text<'d>(value: &'d Value, pointer: &str) -> &'d str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text of the document, which is Markdown: what stands between backticks is code.
fn prose(text: &str) -> Markup {
    html! { @for (at, piece) in text.split('`').enumerate() { @if at % 2 == 1 { code { (piece) } } @else { (piece) } } }
}

fn shown(document: &Value, operation: &Operation<'_>) -> Markup {
    let Operation { method, path, of } = operation;
    let body = of.pointer("/requestBody/content").and_then(Value::as_object).and_then(|kinds| kinds.values().next());
    html! {
        h1 { code { (method.to_uppercase()) " " (path) } }
        p { (prose(text(of, "/summary"))) " " (prose(text(of, "/description"))) }
        @if let Some(parameters) = of.get("parameters").and_then(Value::as_array).filter(|list| !list.is_empty()) {
            h2 { "Parameters" }
            dl { @for parameter in parameters {
                dt { code { (text(parameter, "/name")) } " (" (text(parameter, "/in")) ")" }
                dd { (kind(&parameter["schema"])) " " (prose(text(parameter, "/description"))) }
            } }
        }
        @if let Some(schema) = body.and_then(|body| body.get("schema")) { h2 { "Body" } (fields(document, schema, 0)) }
        h2 { "Answers" }
        dl { @for (status, answer) in of.get("responses").and_then(Value::as_object).into_iter().flatten() {
            dt { (status) }
            dd {
                (prose(text(answer, "/description")))
                @for (media, content) in answer.get("content").and_then(Value::as_object).into_iter().flatten() {
                    div.hint { (media) }
                    @if status.starts_with('2') { (fields(document, &content["schema"], 0)) }
                }
            }
        } }
    }
}

fn first_sentence(of: &Value) -> &str {
    text(of, "/summary").split(". ").next().unwrap_or_default()
}

/// The members of an object, and of objects in it.
fn fields(document: &Value, schema: &Value, depth: usize) -> Markup {
    let schema = resolved(document, schema);
    let inner = schema.get("items").map(|items| resolved(document, items));
    let object = inner.filter(|_| schema.get("properties").is_none()).unwrap_or(schema);
    let required = |name: &str| object["required"].as_array().is_some_and(|list| list.iter().any(|item| item == name));
    html! {
        @if let Some(members) = object.get("properties").and_then(Value::as_object).filter(|_| depth < 4) {
            dl { @for (name, member) in members {
                dt { code { (name) } @if !required(name) { span.optional { " (optional)" } } }
                dd { (kind(member)) " " (prose(text(member, "/description"))) (fields(document, member, depth + 1)) }
            } }
        }
    }
}

/// A schema, or the one that it refers to.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let any = ["oneOf", "anyOf", "allOf"].iter().find_map(|name| schema.get(name)?.as_array());
    let schema = any.and_then(|list| list.iter().find(|one| one["type"] != "null")).unwrap_or(schema);
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'));
    reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

/// The type of a value in a word.
fn kind(schema: &Value) -> String {
    match schema.get("type") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every call of the API has a line and a page, every field that a call takes is there, and no page is large.
    #[test]
    fn every_call_and_field_is_there() {
        let document: Value = serde_json::from_str(&crate::admin::openapi()).unwrap();
        let overview = overview(&document).into_string();
        let mut pages = vec![overview.clone()];
        for Operation { method, path, of } in operations(&document) {
            let (id, name) = (text(of, "/operationId"), format!("{} {path}", method.to_uppercase()));
            assert!(overview.contains(&format!("\"/docs?call={id}\"")) && overview.contains(&name), "{name}");
            let page = call(&document, id).unwrap().into_string();
            assert!(page.contains(&name), "{name}: {page}");
            pages.push(page);
        }
        assert!(pages.len() > 25, "{}", pages.len());
        for field in ["totp_secret", "client_id", "secondary", "halted", "cursor"] {
            let field = format!("<code>{field}</code>");
            assert!(pages.iter().any(|page| page.contains(&field)), "{field}");
        }
        for page in &pages {
            assert!(page.len() < 45_000, "{} bytes: {page}", page.len());
            assert!(!page.contains('`'), "{page}");
            assert!(!page.contains("src=") && !page.contains("href=\"http") && !page.contains("<script"));
        }
        assert!(call(&document, "nothing").is_none());
    }
}
