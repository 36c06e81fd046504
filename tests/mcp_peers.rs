//! Unmodified MCP packages of others against ours: the TypeScript SDK as a coding agent's client over HTTP and over
//! stdio, x402's Python client as a payer of tools, and the protocol's own conformance scenarios.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::foreign_clients::{node_script, python_script};
use crate::harness::process::{Service, purser, stdout};
use crate::harness::{foreign, text};

/// The scenarios that any server must pass; the others want tools, prompts and resources of a test server.
const SCENARIOS: [&str; 4] = ["server-initialize", "ping", "tools-list", "dns-rebinding-protection"];

fn said(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("the peer runs");
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"))).collect()
}

/// What the SDK got is the same however it comes: it holds each answer against the tool's schema by itself.
fn buys_once(said: &Value, marker: &str) {
    let names: BTreeSet<&str> = said["tools"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["request_mandate", "quote", "pay", "status", "budget"] {
        assert!(names.contains(name), "{names:?}");
    }
    let data = |name: &str| &said[name]["structuredContent"];
    assert_eq!(
        (said["refused"]["isError"].as_bool(), data("refused")["code"].as_str()),
        (Some(true), Some("not_found"))
    );
    assert_eq!(text(&data("quote")["offers"][0], "amount"), "10000");
    for bought in [data("first"), data("again")] {
        assert!(text(bought, "body").contains(marker), "{bought}");
    }
    assert_eq!(data("first")["payment"]["id"], data("again")["payment"]["id"], "one name is one payment");
    assert_eq!(data("status")["state"], "settled");
    assert_eq!(data("budget")["payments"]["used"], 1);
    assert_eq!(
        (data("asked")["state"].as_str(), data("pending")["state"].as_str()),
        (Some("pending"), Some("pending"))
    );
}

#[test]
fn the_typescript_client_spends_over_http() {
    let dev = Service::dev();
    let (mcp, paid) = (&dev.line["mcp"], &dev.line["paid"]);
    let arguments = |token: &str| {
        ["http", text(mcp, "url"), token, text(paid, "url"), text(&dev.line["mandate"], "id")].map(str::to_owned)
    };
    for token in [text(mcp, "foreign_token"), "nonsense", text(&dev.line["user"], "token")] {
        let output = node_script("mcp_client.mjs").args(arguments(token)).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", stdout(&output));
    }
    let said = said(node_script("mcp_client.mjs").args(arguments(text(mcp, "token"))));
    buys_once(&said[0], text(paid, "marker"));
}

#[test]
fn the_typescript_client_spends_over_stdio() {
    let dev = Service::dev();
    let purser = purser().display().to_string();
    let (paid, mandate) = (&dev.line["paid"], text(&dev.line["mandate"], "id"));
    let arguments = ["stdio", &purser, text(&dev.line, "service_file"), text(paid, "url"), mandate];
    let said = said(node_script("mcp_client.mjs").args(arguments));
    buys_once(&said[0], text(paid, "marker"));
    let asked = &said[0]["asked"]["structuredContent"];
    let shown = &said[0]["shown"][0];
    assert_eq!((shown["mode"].as_str(), &shown["url"]), (Some("url"), &asked["url"]), "the client showed the question");
}

#[test]
fn the_python_x402_client_pays_for_a_tool() {
    let dev = Service::dev();
    let (mcp, buyer) = (&dev.line["mcp"], &dev.line["buyer"]);
    let arguments = [text(mcp, "shop_url"), text(mcp, "paid_tool"), text(buyer, "private_key"), "3"];
    let purchases = said(python_script("mcp_pay.py").args(arguments));
    assert_eq!(purchases.len(), 3);
    let mut transactions = BTreeSet::new();
    for purchase in &purchases {
        assert_eq!((&purchase["is_error"], &purchase["success"]), (&json!(false), &json!(true)), "{purchase}");
        assert!(text(purchase, "text").contains(text(&dev.line["paid"], "marker")));
        transactions.insert(text(purchase, "transaction").to_owned());
    }
    assert_eq!(transactions.len(), 3, "three purchases, three settlements");
}

#[test]
fn the_conformance_scenarios_pass() {
    let dev = Service::dev();
    // Finds the modules by its presence; the scenarios are started by name.
    node_script("mcp_client.mjs");
    let suite = crate::harness::node_folder().join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let results = tempfile::tempdir().unwrap();
    for scenario in SCENARIOS {
        let mut command = Command::new(foreign("node"));
        command.arg(&suite).args(["server", "--url", text(&dev.line["mcp"], "shop_url"), "--scenario", scenario]);
        let output = command.current_dir(results.path()).output().unwrap();
        let said = stdout(&output);
        assert!(output.status.success() && said.contains("0 failed"), "{scenario}: {said}");
    }
}

#[test]
fn standard_output_is_the_protocols_alone() {
    let dev = Service::dev();
    let mut command = Command::new(purser());
    command.args(["mcp", "--service", text(&dev.line, "service_file")]).env("RUST_LOG", "debug");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let begin = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let call = |id: u64, name: &str, arguments: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": name, "arguments": arguments } });
    let budget = call(2, "budget", json!({ "mandate": dev.line["mandate"]["id"] }));
    for line in [begin, ready, budget, call(3, "budget", json!({})), call(4, "burn", json!({}))] {
        writeln!(input, "{line}").unwrap();
    }
    let mut answers = std::collections::BTreeMap::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while answers.len() < 4 {
        let line = lines.next().expect("an answer").unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no message: {line}"));
        answers.insert(answer["id"].as_u64().expect("an answer to a request"), answer);
    }
    assert_eq!(answers[&2]["result"]["structuredContent"]["state"], "active");
    assert_eq!(answers[&3]["result"]["structuredContent"]["code"], "invalid_request", "no mandate was named anywhere");
    assert_eq!(answers[&4]["error"]["code"], -32602);
    drop(input);
    assert!(lines.next().is_none(), "nothing comes after the end");
    assert!(child.wait().unwrap().success());
}
