//! The OpenAPI document against the running service, by an unmodified foreign fuzzer: no server error, no status, media
//! type or body that the document does not name, whoever calls; and nothing is held afterwards. And the official documents of
//! ACP against the same: there a request that its schema has is not called malformed either, and one that it has not is
//! never taken.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::process::{Service, run};
use crate::harness::vault::in_seconds;
use crate::harness::{foreign, root, text};

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      unsupported_method";

/// Ids that exist, so that the routes are tried beyond their doors.
fn known_ids(mandate: &str, payment: &str) -> String {
    let operation = |path: &str, id: &str| {
        format!("[[operations]]\ninclude-path-regex = \"^{path}/.id.\"\nparameters = {{ \"path.id\" = \"{id}\" }}\n")
    };
    [operation("/v1/mandates", mandate), operation("/v1/payments", payment)].concat()
}

/// A payment that is there and over.
fn bought(dev: &Service) -> String {
    let command = dev.line["pay"]["command"].as_array().expect("a command");
    let url = text(&dev.line["paid"], "url");
    let fill = |part: &serde_json::Value| part.as_str().unwrap().replace("{url}", url).replace("{key}", "fuzz");
    let args: Vec<String> = command.iter().skip(1).map(fill).collect();
    assert!(run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]).status.success());
    text(&spends(dev)["spends"][0], "id").to_owned()
}

/// By whoever gave the mandate: an operator that is fuzzed stops the agent.
fn spends(dev: &Service) -> serde_json::Value {
    let url = format!("{}/v1/mandates/{}/spend", dev.url(), text(&dev.line["mandate"], "id"));
    let token = text(&dev.line["user"], "token").to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
    })
}

/// How many operations were tried, where nothing was found.
fn tested(output: &Output, of: &str) -> usize {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{of}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: "));
    tested.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn a_foreign_fuzzer_finds_nothing_that_the_document_does_not_say() {
    let dev = Service::dev();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("schemathesis.toml");
    std::fs::write(&config, known_ids(text(&dev.line["mandate"], "id"), &bought(&dev))).unwrap();
    let before = spends(&dev);
    // The user comes last: it may revoke what the others try.
    for role in ["agent", "merchant", "admin", "user"] {
        let bearer = format!("Authorization: Bearer {}", text(&dev.line[role], "token"));
        // Vault and shop look at the agent and the merchant alone: whoever else comes is one stranger like another.
        let (others, least) = match role {
            "agent" | "merchant" => ("^$", 60),
            _ => ("^/(v1/vault|agentic_commerce|acp|checkout)", 40),
        };
        let output = Command::new(foreign("schemathesis"))
            .arg("--config-file")
            .arg(&config)
            .args(["run", text(&dev.line, "openapi_url"), "--checks", CHECKS, "--no-color", "--continue-on-failure"])
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"])
            .args(["-H", &bearer, "-H", "Idempotency-Key: fuzz-key", "-H", "API-Version: 2026-04-17"])
            .args(["--exclude-path-regex", others])
            .current_dir(folder.path())
            .output()
            .expect("schemathesis runs");
        assert!(tested(&output, role) >= least, "as {role}");
        let after = spends(&dev);
        for figure in ["held", "posted", "payments"] {
            assert!(!before[figure].is_null(), "{before}");
            assert_eq!(before[figure], after[figure], "as {role}: nothing is spent or held");
        }
    }
}

/// What a request that fits its schema may be answered with: everything but 400. A budget, a price, a card's digits and a
/// session that is over are beyond any schema.
const ACCEPTED: &str = r#"["2xx", "401", "403", "404", "405", "409", "422"]"#;

/// A session that is there, so that what is done with one is tried beyond the door.
fn opened(acp: &Value) -> String {
    let body = json!({ "line_items": [{ "id": "gift_card" }], "currency": "usd", "capabilities": {} });
    let request = reqwest::Client::new()
        .post(format!("{}/checkout_sessions", text(acp, "url")))
        .bearer_auth(text(acp, "token"))
        .header("API-Version", "2026-04-17")
        .header("Idempotency-Key", "opened-first")
        .json(&body);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let opened: Value = runtime.block_on(async { request.send().await.unwrap().json().await.unwrap() });
    text(&opened, "id").to_owned()
}

/// All checks that there are; what of the documents is mended and narrowed for it, and why, is in
/// `tests/foreign/acp_document.py`.
#[test]
fn a_foreign_fuzzer_finds_nothing_that_the_official_documents_of_acp_do_not_say() {
    let dev = Service::dev();
    let acp = &dev.line["acp"];
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("schemathesis.toml");
    let known = format!(
        "[checks]\npositive_data_acceptance.expected-statuses = {ACCEPTED}\n[[operations]]\n\
         include-path-regex = \"^/checkout_sessions/.checkout_session_id.\"\n\
         parameters = {{ \"path.checkout_session_id\" = \"{}\" }}\n",
        opened(acp)
    );
    let there = json!({ "products": ["gift_card", "item_123", "bouquet_roses", "gardenias"], "currency": "usd",
        "merchants": ["shop", "acme"], "until": in_seconds(3_600) });
    for (name, operations) in [("delegate_payment", 1), ("agentic_checkout", 5)] {
        // A filter that matches no operation is a warning.
        std::fs::write(&config, if operations > 1 { known.as_str() } else { known.split("[[").next().unwrap() })
            .unwrap();
        let document = folder.path().join(format!("{name}.json"));
        let mut mending = Command::new(foreign("python"))
            .arg(root().join("tests/foreign/acp_document.py"))
            .arg(root().join(format!("fixtures/acp/openapi.{name}.yaml")))
            .arg(&document)
            .stdin(Stdio::piped())
            .spawn()
            .expect("python runs");
        mending.stdin.take().unwrap().write_all(there.to_string().as_bytes()).unwrap();
        assert!(mending.wait().unwrap().success());
        let output = Command::new(foreign("schemathesis"))
            .arg("--config-file")
            .arg(&config)
            .arg("run")
            .arg(&document)
            .args(["--url", text(acp, "url"), "--checks", "all", "--no-color", "--continue-on-failure"])
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"])
            .args(["-H", &format!("Authorization: Bearer {}", text(acp, "token")), "-H", "API-Version: 2026-04-17"])
            .current_dir(folder.path())
            .output()
            .expect("schemathesis runs");
        assert_eq!(tested(&output, name), operations);
    }
}
