//! The OpenAPI document against the running service, by an unmodified foreign fuzzer: no server error, no status, media
//! type or body that the document does not name, whoever calls; and nothing is held afterwards.

use std::process::Command;

use crate::harness::process::{Service, run};
use crate::harness::{foreign, text};

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

fn spends(dev: &Service) -> serde_json::Value {
    let url = format!("{}/v1/mandates/{}/spend", dev.url(), text(&dev.line["mandate"], "id"));
    let token = text(&dev.line["agent"], "token").to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
    })
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
        let output = Command::new(foreign("schemathesis"))
            .arg("--config-file")
            .arg(&config)
            .args(["run", text(&dev.line, "openapi_url"), "--checks", CHECKS, "--no-color", "--continue-on-failure"])
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--seed", "1"])
            .args(["-H", &format!("Authorization: Bearer {}", text(&dev.line[role], "token"))])
            .args(["-H", "Idempotency-Key: fuzz-key"])
            .current_dir(folder.path())
            .output()
            .expect("schemathesis runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "as {role}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: "));
        let tested: usize = tested.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        assert!(tested >= 30, "as {role}, {tested} operations were tried: {said}");
        let after = spends(&dev);
        for figure in ["held", "posted", "payments"] {
            assert_eq!(before[figure], after[figure], "as {role}: nothing is spent or held");
        }
    }
}
