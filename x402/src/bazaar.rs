//! Extension `bazaar` (`specs/extensions/bazaar.md`): how a priced resource is called and what it answers, for catalogues.
//!
//! It says what the operator wrote down as examples; the schema beside it is made from them and names no other document.

use serde_json::{Map, Value, json};

/// The name of the extension.
pub const EXTENSION: &str = "bazaar";

const TEXT_BYTES_MAX: usize = 32;
const TAGS_MAX: usize = 5;

/// How a resource is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// GET or DELETE, with examples of its parameters.
    Query { method: String, parameters: Map<String, Value> },
    /// POST, PUT or PATCH, with an example of its JSON body.
    Body { method: String, example: Value },
}

/// What is declared, with an example of the answer where there is one.
pub fn declaration(input: &Input, output: Option<&Value>) -> Value {
    let (said, members, required) = match input {
        Input::Query { method, parameters } => {
            let said = json!({ "type": "http", "method": method, "queryParams": parameters });
            let members = json!({
                "method": { "type": "string", "enum": ["GET", "HEAD", "DELETE"] },
                "queryParams": described(&Value::Object(parameters.clone())),
            });
            (said, members, json!(["type", "method"]))
        }
        Input::Body { method, example } => {
            let said = json!({ "type": "http", "method": method, "bodyType": "json", "body": example });
            let members = json!({
                "method": { "type": "string", "enum": ["POST", "PUT", "PATCH"] },
                "bodyType": { "type": "string", "enum": ["json", "form-data", "text"] },
                "body": described(example),
            });
            (said, members, json!(["type", "method", "bodyType", "body"]))
        }
    };
    let mut properties = json!({ "type": { "type": "string", "const": "http" } });
    if let (Value::Object(all), Value::Object(members)) = (&mut properties, members) {
        all.extend(members);
    }
    let mut info = json!({ "input": said });
    let mut parts = json!({
        "input": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
    });
    if let Some(example) = output {
        info["output"] = json!({ "type": "json", "example": example });
        parts["output"] = json!({
            "type": "object",
            "properties": { "type": { "type": "string" }, "example": described(example) },
            "required": ["type"],
        });
    }
    json!({
        "info": info,
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": parts,
            "required": ["input"],
        },
    })
}

/// The types of an example, as JSON Schema.
fn described(example: &Value) -> Value {
    match example {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(number) if number.is_i64() || number.is_u64() => json!({ "type": "integer" }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(_) => json!({ "type": "array" }),
        Value::Object(members) => {
            let properties: Map<String, Value> =
                members.iter().map(|(name, value)| (name.clone(), described(value))).collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

/// Whether a catalogue takes it as the name of a service or as a tag: 1 to 32 printable ASCII characters.
pub fn is_label(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// Whether a catalogue takes all of them: at most five, none twice in whatever case.
pub fn are_tags(tags: &[String]) -> bool {
    let mut seen: Vec<String> = tags.iter().map(|tag| tag.to_ascii_lowercase()).collect();
    seen.sort();
    seen.dedup();
    tags.len() <= TAGS_MAX && seen.len() == tags.len() && tags.iter().all(|tag| is_label(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_catalogue_takes_is_no_label() {
        for text in ["", "ä", "a\n", "\u{7f}", &"a".repeat(33)] {
            assert!(!is_label(text), "{text:?}");
            assert!(!are_tags(&[text.to_owned()]));
        }
        let tags = |tags: &[&str]| are_tags(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
        assert!(!tags(&["a", "b", "c", "d", "e", "f"]) && !tags(&["weather", "Weather"]));
        assert!(tags(&[]) && tags(&["a", "b", "c", "d", "e"]) && is_label("Example Weather"));
    }

    #[test]
    fn the_schema_is_of_the_examples() {
        let parameters = json!({ "city": "Berlin", "days": 3, "share": 0.5, "raw": true, "any": null });
        let input = Input::Query { method: "GET".into(), parameters: parameters.as_object().unwrap().clone() };
        let said = declaration(&input, Some(&json!({ "days": [1] })));
        assert_eq!(said["info"]["input"]["queryParams"], parameters);
        let types = &said["schema"]["properties"]["input"]["properties"]["queryParams"]["properties"];
        let of = |name: &str| types[name]["type"].as_str().unwrap_or("any");
        assert_eq!(["city", "days", "share", "raw", "any"].map(of), ["string", "integer", "number", "boolean", "any"]);
        assert_eq!(said["schema"]["properties"]["output"]["properties"]["example"]["type"], "object");
        let body = declaration(&Input::Body { method: "POST".into(), example: json!({ "q": "x" }) }, None);
        assert_eq!(body["info"]["input"]["bodyType"], "json");
        assert!(body["info"].get("output").is_none() && !body.to_string().contains("$ref"));
    }
}
