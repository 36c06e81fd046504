//! `/openapi.json`, and the same for people at `/docs`: one document, generated from the routes.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::page::{self, escaped};
use crate::problem::{Problem, ok};
use crate::{Documentation, panicked};

#[utoipa::path(get, path = "/openapi.json", tag = "documentation", description = "This document.",
    responses((status = 200)))]
pub async fn openapi() -> Response {
    match document() {
        Ok(document) => ok(document),
        Err(_) => panicked(Box::new(())),
    }
}

#[utoipa::path(get, path = "/docs", tag = "documentation", description = "This document as a page.",
    responses((status = 200)))]
pub async fn show() -> Result<Response, Problem> {
    let broken = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the document cannot be built");
    let document = document().map_err(broken)?;
    let mut body = format!("<h1>Purser</h1><p>{}</p>", escaped(text(&document["info"], "description")));
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            body.push_str(&section(path, method, operation, &document));
        }
    }
    Ok(page::html("API", &body))
}

pub(crate) fn document() -> Result<Value, serde_json::Error> {
    serde_json::to_value(Documentation::openapi()).map(with_common_answers)
}

/// What every route can answer, because of what stands before it: said once.
fn with_common_answers(mut document: Value) -> Value {
    let common = [
        ("408", "The body did not come in time"),
        ("413", "The body is longer than what is read"),
        ("429", "Too many calls; Retry-After says when"),
        ("431", "The headers are longer than what is read"),
        ("500", "A defect of this service"),
        ("503", "A part that is needed does not answer, or too much is under way; Retry-After says when"),
    ];
    let items = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in items.flat_map(|item| item.as_object_mut()).flat_map(|item| item.values_mut()) {
        if let Some(responses) = operation["responses"].as_object_mut() {
            if responses.contains_key("401") {
                let description = "A header, a path or a body that cannot be read";
                responses.entry("400").or_insert_with(|| json!({ "description": description }));
            }
            for (status, description) in common {
                responses.entry(status).or_insert_with(|| json!({ "description": description }));
            }
        }
    }
    document["components"]["securitySchemes"] = json!({
        "dpop": { "type": "http", "scheme": "DPoP", "description": "A token of /oauth/token and a proof (RFC 9449)." },
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "For reading." },
    });
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        // The token endpoint and the facilitator have shapes of their own.
        if path.starts_with("/v1/") || path == "/metrics" {
            item.as_object_mut().into_iter().flat_map(|item| item.values_mut()).for_each(describe_refusals);
        }
        // Open where the configuration says so.
        if let Some(open) = ["/v1/mandates/verify", "/metrics"].iter().find(|open| *open == path) {
            let operation = if *open == "/metrics" { "get" } else { "post" };
            item[operation]["security"] = json!([{ "dpop": [] }, { "bearer": [] }, {}]);
        }
    }
    document
}

/// Every refusal of ours is a problem document, and every one that wants a caller takes either kind of token.
fn describe_refusals(operation: &mut Value) {
    operation["security"] = json!([{ "dpop": [] }, { "bearer": [] }]);
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if status.starts_with(['4', '5']) {
            response["content"] = json!({ "application/problem+json": problem });
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn section(path: &str, method: &str, operation: &Value, document: &Value) -> String {
    let (path, method) = (escaped(path), escaped(&method.to_uppercase()));
    let mut section = format!("<h3 id=\"{method}-{path}\"><code>{method} {path}</code></h3>");
    section.push_str(&format!("<p>{}</p>", escaped(text(operation, "description"))));
    let inputs: String = operation["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    let asked = fields(&operation["requestBody"]["content"]["application/json"]["schema"], document);
    if !inputs.is_empty() || !asked.is_empty() {
        section.push_str(&format!("<table>{inputs}{asked}</table>"));
    }
    let given = members(&operation["responses"]).filter(|(status, _)| status.starts_with('2'));
    let given: String =
        given.map(|(_, response)| fields(&response["content"]["application/json"]["schema"], document)).collect();
    if !given.is_empty() {
        section.push_str(&format!("<p>Gives:</p><table>{given}</table>"));
    }
    let statuses: Vec<String> = members(&operation["responses"]).map(|(status, _)| escaped(status)).collect();
    section.push_str(&format!("<p>Answers {}.</p>", statuses.join(", ")));
    section
}

/// The members of a schema, of what it refers to, and of all that it is put together of.
fn fields(schema: &Value, document: &Value) -> String {
    let referred = schema["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    if let Some(referred) = referred {
        return fields(referred, document);
    }
    let parts = schema["allOf"].as_array().into_iter().flatten().map(|part| fields(part, document));
    parts.chain(members(&schema["properties"]).map(field)).collect()
}

fn parameter(parameter: &Value) -> String {
    let place = format!("{} ({})", text(parameter, "name"), text(parameter, "in"));
    format!("<tr><td><code>{}</code></td><td>{}</td></tr>", escaped(&place), escaped(text(parameter, "description")))
}

fn field((name, schema): (&String, &Value)) -> String {
    format!("<tr><td><code>{}</code></td><td>{}</td></tr>", escaped(name), escaped(text(schema, "description")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document is generated from a list beside the route table; this holds the two together.
    #[test]
    fn every_route_of_the_table_is_documented() {
        let document = document().unwrap();
        let documented: Vec<&str> = members(&document["paths"]).map(|(path, _)| path.as_str()).collect();
        let tables = [include_str!("lib.rs"), include_str!("acp/mod.rs"), include_str!("checkout/mod.rs")];
        let routes: Vec<&str> = tables
            .iter()
            .flat_map(|table| table.split(".route(\"").skip(1))
            .filter_map(|rest| rest.split_once('"'))
            .map(|(path, _)| path)
            .collect();
        assert!(routes.len() > 25, "the table is found");
        for route in &routes {
            assert!(documented.contains(route), "{route} is served and not documented");
        }
        assert_eq!(routes.len(), documented.len(), "{documented:?}");
    }

    #[test]
    fn the_page_shows_what_goes_in_and_what_comes_out() {
        let document = document().unwrap();
        let payments = section("/v1/payments", "post", &document["paths"]["/v1/payments"]["post"], &document);
        let (asked, given) = payments.split_once("<p>Gives:</p>").unwrap();
        assert!(asked.contains("<code>payment_required</code>") && !asked.contains("<code>nonce</code>"), "{asked}");
        for member in ["payment_signature", "nonce", "valid_before"] {
            assert!(given.contains(&format!("<code>{member}</code>")), "{member}: {given}");
        }
    }

    #[test]
    fn what_reads_a_caller_documents_that_it_may_not_understand_it() {
        let document = document().unwrap();
        let mut callers = 0;
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                if operation["responses"].get("401").is_some() {
                    callers += 1;
                    assert!(operation["responses"].get("400").is_some(), "{method} {path}");
                }
            }
        }
        assert!(callers > 15, "{callers}");
    }

    /// What others build against changes on purpose only: UPDATE_GOLDEN=1 writes the file anew.
    #[test]
    fn the_document_is_the_one_that_was_published() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/openapi.json");
        let now = format!("{:#}\n", document().unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap();
        let differs = published.lines().zip(now.lines()).position(|(old, new)| old != new);
        assert!(published == now, "fixtures/openapi.json differs from line {:?} on", differs.map(|line| line + 1));
    }

    #[tokio::test]
    async fn the_page_shows_every_route_and_runs_nothing() {
        let response = show().await.unwrap();
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"));
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let page = String::from_utf8(body.to_vec()).unwrap();
        for (path, _) in members(&document().unwrap()["paths"]) {
            assert!(page.contains(&escaped(path)), "{path}");
        }
        for foreign in ["<script", "http://", "https://", "src="] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
