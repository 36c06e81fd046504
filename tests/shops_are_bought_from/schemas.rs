//! What we answer is what the schemas say, and what the official examples ask is understood.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::checkout::{Platform, ucp_items, validated};
use crate::harness::shop::new_key;
use crate::harness::vault::{DELEGATE, VERSION, post};
use crate::harness::{root, text};

const ACP: &str = "json-schema/schema.agentic_checkout.json#/$defs/";
const UCP: &str = "schemas/";

fn example(name: &str) -> Value {
    let path = root().join("fixtures/acp/2026-04-17/examples").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Bodies that open a checkout: of the examples that are valid, and of those that are not by their own schema.
fn opening() -> (Vec<Value>, Vec<Value>) {
    let checkout = example("examples.agentic_checkout.json");
    let valid = ["create_checkout_session_request", "create_checkout_session_request_with_first_touch_attribution"];
    let valid = valid.iter().map(|name| checkout[*name].clone()).collect();
    let folder = root().join("fixtures/acp/2026-04-17/examples/discount-extension");
    let mut invalid: Vec<Value> = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        if file.ends_with(".json") {
            invalid.push(example(&format!("discount-extension/{file}"))["request"].clone());
        }
    }
    let several = example("examples.multi_item_checkout.json");
    invalid.extend(several.as_object().unwrap().values().filter(|one| one.get("line_items").is_some()).cloned());
    assert!(invalid.len() >= 6);
    (valid, invalid)
}

#[tokio::test(flavor = "multi_thread")]
async fn official_examples_are_read_and_answers_are_valid() {
    let platform = Platform::open().await;
    let (valid, invalid) = opening();
    let mut opened = Value::Null;
    for body in valid {
        let answer = platform.acp(Method::POST, "", Some(body.clone())).await;
        assert_eq!(answer.status, 201, "{body}: {}", answer.body);
        opened = answer.body;
    }
    for body in invalid {
        let answer = platform.acp(Method::POST, "", Some(body.clone())).await;
        let is_told = answer.status == 400 && answer.body["message"].is_string();
        assert!(answer.status == 201 || is_told, "{body}: {}", answer.body);
    }
    let checkout = example("examples.agentic_checkout.json");
    let path = format!("/{}", text(&opened, "id"));
    let updated = platform.acp(Method::POST, &path, Some(checkout["update_checkout_session_request"].clone())).await;
    assert_eq!(updated.status, 200, "{}", updated.body);
    for (name, body) in checkout.as_object().unwrap().iter().filter(|(_, body)| body.get("payment_data").is_some()) {
        // Understood, and declined for what it is: no vault gave that token, and no handler but the vault's is known.
        let answer = platform.acp(Method::POST, &format!("{path}/complete"), Some(body.clone())).await;
        let is_card = body["payment_data"]["handler_id"] == "card_tokenized";
        let (said, param) = match is_card {
            true => ((200, "payment_declined"), &answer.body["messages"][0]["param"]),
            false => ((400, "invalid"), &answer.body["param"]),
        };
        assert_eq!(answer.said(), said, "{name}: {}", answer.body);
        assert_eq!(param, if is_card { "$.payment_data" } else { "$.handler_id" }, "{name}");
    }
    let secured = json!({ "line_items": [{ "item": { "id": "bouquet_roses" }, "quantity": 2 }], "currency": "usd",
        "buyer": { "email": "a@example.com", "first_name": "A" }, "coupons": ["10OFF"],
        "capabilities": { "extensions": ["dev.purser.ap2@2026-04-17"] } });
    platform.acp(Method::POST, "", Some(secured)).await;
    let trace = checkout["cancel_checkout_session_request"].clone();
    assert_eq!(platform.acp(Method::POST, &format!("{path}/cancel"), Some(trace)).await.status, 200);

    let ucp = platform.open_ucp().await;
    let mut sent = ucp_items("bouquet_roses", 1);
    sent["fulfillment"] = json!({ "methods": [{ "type": "shipping", "selected_destination_id": "d",
        "destinations": [{ "id": "d", "street_address": "1 Main St", "address_country": "US", "postal_code": "62704" }],
        "groups": [{ "selected_option_id": "std-ship" }] }] });
    sent["discounts"] = json!({ "codes": ["10OFF"] });
    sent["buyer"] = json!({ "email": "a@example.com" });
    let path = format!("/{}", text(&ucp, "id"));
    let sent = platform.ucp(Method::PUT, &path, Some(sent)).await;
    assert_eq!(text(&sent.body, "status"), "ready_for_complete", "{}", sent.body);
    platform.ucp(Method::PUT, &path, Some(ucp_items("gardenias", 1))).await;
    platform.ucp(Method::PUT, &path, Some(ucp_items("wumpus", 1))).await;
    platform.ucp(Method::POST, &format!("{path}/complete"), Some(json!({}))).await;
    platform.ucp(Method::POST, &format!("{path}/cancel"), None).await;

    let discovery = platform.send(Method::GET, "/.well-known/acp.json", &[], None).await.body;
    let profile = platform.send(Method::GET, "/.well-known/ucp", &[], None).await.body;
    let answered = platform.answered.lock().unwrap().clone();
    let mut acp: Vec<(String, Value)> = vec![(format!("{ACP}DiscoveryResponse"), discovery)];
    let mut ucp: Vec<(String, Value)> = vec![("discovery/profile_schema.json#/$defs/business_profile".into(), profile)];
    for (kind, mut body) in answered {
        match kind {
            "acp" => {
                // The base is closed: an extension's member is not in it.
                body.as_object_mut().unwrap().remove("ap2");
                acp.push((format!("{ACP}CheckoutSession"), body));
            }
            "acp_error" => acp.push((format!("{ACP}Error"), body)),
            "ucp_error" => ucp.push((format!("{UCP}shopping/types/error_response.json"), body)),
            _ => {
                for schema in ["shopping/ap2_mandate.json", "shopping/fulfillment.json", "shopping/discount.json"] {
                    ucp.push((format!("{UCP}{schema}#/$defs/dev.ucp.shopping.checkout"), body.clone()));
                }
            }
        }
    }
    for (folder, documents) in [("acp/2026-04-17", acp), ("ucp/2026-04-08", ucp)] {
        let cases: Vec<(String, &Value)> = documents.iter().map(|(schema, body)| (schema.clone(), body)).collect();
        for ((schema, body), wrong) in documents.iter().zip(validated(folder, &cases)) {
            assert!(wrong.is_empty(), "{schema}: {wrong:?}\n{body}");
        }
    }
    // The validator does find what is wrong.
    let broken = json!({ "id": "x", "status": "paid" });
    assert!(!validated("acp/2026-04-17", &[(format!("{ACP}CheckoutSession"), &broken)])[0].is_empty());
}

/// What an agent asked for in a document of the lenient reader's corpus: the body itself, or the arguments of a tool.
fn asked(document: &Value) -> &Value {
    match &document["params"]["arguments"]["payload"] {
        Value::Null => document,
        payload => payload,
    }
}

/// Every official example that is not valid by its own schema (`VALIDATION.txt`), whatever it is of, at every door: read, or
/// refused in the door's own words.
#[tokio::test(flavor = "multi_thread")]
async fn no_official_example_that_is_none_breaks_a_door() {
    let platform = Platform::open().await;
    let listed = std::fs::read_to_string(root().join("fixtures/acp/2026-04-17/VALIDATION.txt")).unwrap();
    let failing: Vec<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("FAIL "))
        .map(|line| line.split_once(" -> ").unwrap().0.split_once(' ').unwrap())
        .collect();
    assert_eq!(failing.len(), 27, "as many as the list says");
    let session =
        platform.acp(Method::POST, "", Some(json!({ "line_items": [{ "id": "item_123" }], "currency": "usd" })));
    let session = text(&session.await.body, "id").to_owned();
    let mut opened = Vec::new();
    for (file, name) in failing {
        let document = example(file);
        let document = asked(&document[name]);
        assert!(document.is_object(), "{file} {name}");
        for path in ["", &format!("/{session}"), &format!("/{session}/complete")] {
            let answer = platform.acp(Method::POST, path, Some(document.clone())).await;
            let is_read = [200, 201].contains(&answer.status) && answer.body["status"].is_string();
            let is_told = [400, 405].contains(&answer.status)
                && ["code", "message"]
                    .iter()
                    .all(|member| answer.body[*member].as_str().is_some_and(|said| !said.is_empty()));
            assert!(is_read || is_told, "{file} {name} at {path}: {} {}", answer.status, answer.body);
            if answer.status == 201 {
                opened.push((name, answer.body["line_items"].as_array().map(Vec::len)));
            }
        }
        let body = document.to_string().into_bytes();
        let headers = [("API-Version", VERSION), ("Idempotency-Key", &*new_key())];
        let answer = post(&platform.shop.url(DELEGATE), &platform.shop.agent, &headers, body).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{file} {name}: {answer:?}");
        assert!(answer.body["message"].as_str().is_some_and(|said| said.contains("expected")), "{answer:?}");
    }
    println!("{opened:?}");
    platform.shop.service.stop().await;
}
