//! A coding agent comes over MCP: who may, what it may, and that nothing it says spends more than a human approved.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::id::CallerKind;
use purser::config::BearerConfig;
use purser::credential::Credential;
use purser::dev::DevOptions;
use purser::world::{AGENT, BYSTANDER, HOME, MARKER, PAID_TOOL};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::shop::{Shop, intent};
use crate::harness::text;

/// One message to `/mcp` or `/mcp/shop`, and the answer: status, challenges, body.
struct Said {
    status: StatusCode,
    challenges: Vec<String>,
    body: Value,
}

async fn send(url: &str, headers: &[(&str, &str)], body: String) -> Said {
    let request = reqwest::Client::new().post(url).header("content-type", "application/json");
    let mut request = request.header("accept", "application/json, text/event-stream").body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("the service answers");
    let challenges = response.headers().get_all("www-authenticate").iter();
    let challenges = challenges.map(|value| value.to_str().unwrap().to_owned()).collect();
    let status = response.status();
    let body = response.text().await.unwrap();
    Said { status, challenges, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
}

fn message(tool: &str, arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

/// A message of the revision that has no handshake: every one says what its client can.
fn modern(tool: &str, arguments: Value, more: Value) -> Value {
    let mut message = message(tool, arguments);
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "url": {} } },
    });
    for (name, value) in more.as_object().unwrap() {
        message["params"][name] = value.clone();
    }
    message
}

async fn ask(shop: &Shop, token: &str, message: &Value) -> Said {
    let bearer = format!("Bearer {token}");
    let version =
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str().unwrap_or("2025-11-25");
    let method = message["method"].as_str().unwrap_or_default();
    let mut headers = vec![("authorization", bearer.as_str()), ("mcp-protocol-version", version)];
    let name = message["params"]["name"].as_str().unwrap_or_default();
    if version == "2026-07-28" {
        headers.extend([("mcp-method", method), ("mcp-name", name)]);
    }
    send(&shop.url("/mcp"), &headers, message.to_string()).await
}

/// The result of a tool, called as the agent.
async fn call(shop: &Shop, tool: &str, arguments: Value) -> Value {
    let said = ask(shop, &shop.agent, &message(tool, arguments)).await;
    assert_eq!(said.status, 200, "{}", said.body);
    assert!(said.body["result"].is_object(), "{}", said.body);
    said.body["result"].clone()
}

/// The code of a tool's refusal; its text says the same as its data.
fn refusal(result: &Value) -> String {
    assert_eq!(result["isError"], true, "{result}");
    let said: Value = serde_json::from_str(text(&result["content"][0], "text")).expect("the text is JSON");
    assert_eq!(said, result["structuredContent"]);
    assert!(!text(&said, "detail").is_empty());
    text(&said, "code").to_owned()
}

fn done(result: &Value) -> Value {
    assert_ne!(result["isError"], true, "{result}");
    result["structuredContent"].clone()
}

#[tokio::test]
async fn whoever_has_no_token_of_an_agent_stays_outside() {
    let shop = Shop::open().await;
    let (url, list) = (shop.url("/mcp"), json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string());
    let session = [("mcp-session-id", "00000000-0000-0000-0000-000000000000")];
    let mut refused = vec![send(&url, &[], list.clone()).await, send(&url, &session, list.clone()).await];
    for token in ["", "x", "a.b.c", &shop.agent[..shop.agent.len() - 4]] {
        refused.push(send(&url, &[("authorization", &format!("Bearer {token}"))], list.clone()).await);
    }
    refused.push(send(&url, &[("authorization", "Basic dXNlcjpwYXNz")], list.clone()).await);
    for said in refused {
        assert_eq!(said.status, 401, "{}", said.body);
        let challenge = &said.challenges[0];
        assert!(challenge.starts_with("Bearer ") && challenge.contains("scope=\"agent\""), "{challenge}");
        let metadata = challenge.split("resource_metadata=\"").nth(1).unwrap().split('"').next().unwrap();
        let metadata: Value = reqwest::get(metadata).await.unwrap().json().await.unwrap();
        assert_eq!(metadata["resource"], url.as_str());
        assert_eq!(metadata["authorization_servers"], json!([shop.service.url()]));
    }
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    for token in [&shop.user, &shop.merchant, &operator] {
        let said = send(&url, &[("authorization", &format!("Bearer {token}"))], list.clone()).await;
        assert_eq!((said.status, said.body["code"].as_str()), (StatusCode::FORBIDDEN, Some("insufficient_scope")));
        assert!(said.challenges[0].contains("error=\"insufficient_scope\""), "{:?}", said.challenges);
    }
    for resource in ["https://elsewhere.example/mcp", "https%3A%2F%2Fx", ""] {
        let form = format!("grant_type=client_credentials&resource={resource}");
        let request = reqwest::Client::new().post(shop.url("/oauth/token")).header("dpop", "x.y.z").body(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["error"], "invalid_target", "no token is made for another's door: {answer}");
    }
    let agent = format!("Bearer {}", shop.agent);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", ""] {
        for path in ["/mcp", "/mcp/shop"] {
            let said = send(&shop.url(path), &[("authorization", &agent), ("origin", origin)], list.clone()).await;
            assert_eq!((said.status, said.body["code"].as_str()), (StatusCode::FORBIDDEN, Some("origin_refused")));
        }
    }
    let said = send(&url, &[("authorization", &agent), ("origin", shop.service.url())], list.clone()).await;
    let tools = said.body["result"]["tools"].as_array().unwrap_or_else(|| panic!("{}", said.body));
    let names: BTreeSet<&str> = tools.iter().map(|tool| text(tool, "name")).collect();
    assert_eq!(names, BTreeSet::from(["request_mandate", "quote", "pay", "status", "budget", PAID_TOOL]));
    let said = send(&shop.url("/mcp/shop"), &[], list).await;
    assert_eq!(said.body["result"]["tools"].as_array().map(Vec::len), Some(1), "a stranger sees what is sold");
    let pay = message("pay", json!({})).to_string();
    assert_eq!(send(&shop.url("/mcp/shop"), &[], pay).await.body["error"]["code"], -32602, "and nothing else");
}

#[tokio::test]
async fn what_is_no_message_of_the_protocol_is_refused() {
    let shop = Shop::open().await;
    let agent = format!("Bearer {}", shop.agent);
    let (url, token) = (shop.url("/mcp"), ("authorization", agent.as_str()));
    for body in [
        "",
        "nonsense",
        "[]",
        "{}",
        "7",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}",
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]",
    ] {
        let said = send(&url, &[token], body.into()).await;
        assert!(said.status.is_client_error(), "{body}: {} {}", said.status, said.body);
    }
    let line = |more: &str| format!("{{\"jsonrpc\":\"2.0\",{more}}}");
    for (body, code) in [
        ("nonsense".into(), -32700),
        ("[]".into(), -32600),
        (line("\"id\":null,\"method\":\"ping\""), -32600),
        (line("\"id\":1.5,\"method\":\"ping\""), -32600),
        (line("\"id\":1"), -32600),
        ("{\"id\":1,\"method\":\"ping\"}".into(), -32600),
        (line("\"id\":1,\"method\":\"tools/list\",\"params\":[1]"), -32602),
    ] {
        for url in [&url, &shop.url("/mcp/shop")] {
            let said = send(url, &[token], body.clone()).await;
            assert_eq!((said.status.as_u16(), said.body["error"]["code"].as_i64()), (400, Some(code)), "{url} {body}");
            assert!(text(&said.body["error"], "message").contains(" came") || code == -32700, "{}", said.body);
        }
    }
    for (method, params) in [("tools/call", "{}"), ("tools/call", "{\"name\":7}"), ("initialize", "{}")] {
        let body = line(&format!("\"id\":1,\"method\":\"{method}\",\"params\":{params}"));
        let said = send(&url, &[token], body).await.body;
        assert_eq!(said["error"]["code"], -32602, "{said}");
        assert!(text(&said["error"], "message").contains(&format!("{params} came")), "{said}");
    }
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(send(&url, &[token], deep).await.status.is_client_error());
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let said = send(&url, &[token, ("mcp-protocol-version", "1999-01-01")], ping.clone()).await;
    assert_eq!(said.status, 400, "{}", said.body);
    assert!(text(&said.body, "detail").contains("1999-01-01"), "{}", said.body);
    let mut unknown = modern("budget", json!({ "mandate": "x" }), json!({}));
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2999-01-01".into();
    let said = ask(&shop, &shop.agent, &unknown).await;
    assert!(said.body["error"]["code"].is_number(), "{}", said.body);
    let begin = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "1999-01-01", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let said = send(&url, &[token], begin.to_string()).await;
    assert_ne!(said.body["result"]["protocolVersion"], "1999-01-01", "{}", said.body);
    let method = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/burn" }).to_string();
    assert_eq!(send(&url, &[token], method).await.body["error"]["code"], -32601);
    for tool in ["", "burn", "Pay", "pay ", "../pay"] {
        let said = ask(&shop, &shop.agent, &message(tool, json!({}))).await;
        assert_eq!(said.body["error"]["code"], -32602, "{tool}: {}", said.body);
    }
    let client = reqwest::Client::new();
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let response = client.request(method, &url).header("authorization", &agent).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().contains_key("allow")), (405, true));
    }
    for (accept, kind, status, wanted) in [
        ("application/json", "application/json", 406, "text/event-stream"),
        ("*/*", "application/json", 406, "text/event-stream"),
        ("application/json, text/event-stream", "text/plain", 415, "application/json"),
    ] {
        let request = client.post(&url).header("authorization", &agent).header("accept", accept);
        let response = request.header("content-type", kind).body(ping.clone()).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{accept} {kind}");
        let said: Value = response.json().await.unwrap();
        assert!(text(&said, "detail").contains(wanted), "{said}");
    }
    assert_eq!(send(&url, &[token], ping).await.body["result"], json!({}));
}

#[tokio::test]
async fn arguments_are_read_strictly_and_others_mandates_stay_theirs() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let url = shop.url("/paid/report");
    for (tool, arguments) in [
        ("pay", json!({})),
        ("pay", json!({ "url": url, "mandate": mandate })),
        ("pay", json!({ "url": url, "purchase": "a" })),
        ("pay", json!({ "mandate": mandate, "purchase": "a" })),
        ("pay", json!({ "url": url, "mandate": mandate, "purchase": "" })),
        ("pay", json!({ "url": url, "mandate": mandate, "purchase": 7 })),
        ("pay", json!({ "url": url, "mandate": mandate, "purchase": "a", "user_confirmed": true })),
        ("pay", json!({ "url": url, "mandate": [mandate], "purchase": "a" })),
        ("pay", json!({ "url": url, "mandate": format!("{mandate}/revoke"), "purchase": "a" })),
        ("quote", json!({ "mandate": mandate })),
        ("quote", json!({ "url": url, "mandate": mandate, "purchase": "a" })),
        ("status", json!({})),
        ("status", json!({ "payment": "a", "approval": "b" })),
        ("status", json!({ "payment": "../mandates" })),
        ("status", json!({ "payment": "a?b" })),
        ("budget", json!({})),
        ("budget", json!({ "mandate": "%2e%2e" })),
        ("request_mandate", json!({ "total": "1.00" })),
        ("request_mandate", json!({ "description": "x" })),
        ("request_mandate", json!({ "description": "x", "total": 1 })),
        ("request_mandate", json!({ "description": "x", "total": "1.00", "approved": true })),
    ] {
        assert_eq!(refusal(&call(&shop, tool, arguments.clone()).await), "invalid_request", "{tool} {arguments}");
    }
    for outside in [
        "http://169.254.169.254/x",
        "https://10.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://u:p@127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "nonsense",
    ] {
        for (tool, more) in [("quote", json!({})), ("pay", json!({ "purchase": "a" }))] {
            let mut arguments = json!({ "url": outside, "mandate": mandate });
            arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(refusal(&call(&shop, tool, arguments).await), "invalid_request", "{outside}");
        }
    }
    let bystander = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let unknown = "0".repeat(64);
    for (token, mandate) in [(&bystander, &mandate), (&shop.agent, &unknown)] {
        for (tool, arguments) in [
            ("budget", json!({ "mandate": mandate })),
            ("quote", json!({ "url": url, "mandate": mandate })),
            ("pay", json!({ "url": url, "mandate": mandate, "purchase": "a" })),
            ("pay", json!({ "url": shop.url("/healthz"), "mandate": mandate, "purchase": "a" })),
        ] {
            let said = ask(&shop, token, &message(tool, arguments)).await;
            assert_eq!(refusal(&said.body["result"]), "not_found", "{tool}");
        }
    }
    let nothing = json!({ "url": shop.url("/nothing"), "mandate": mandate, "purchase": "a" });
    let nothing = call(&shop, "pay", nothing).await;
    assert_eq!(refusal(&nothing), "seller_refused");
    assert_eq!(
        (&nothing["structuredContent"]["status"], &nothing["structuredContent"]["payment"]),
        (&json!(404), &Value::Null)
    );
    let left = done(&call(&shop, "budget", json!({ "mandate": mandate })).await);
    assert_eq!((text(&left["available"], "amount"), left["payments"]["used"].as_u64()), ("5.00", Some(0)));
    assert!(left["payment"].is_null() && left["checkout"].is_null(), "no token reaches a model");
}

#[tokio::test]
async fn one_name_is_one_purchase_and_no_more_than_the_budget() {
    let shop = Shop::open().await;
    let mut small = intent();
    small["total"] = "0.26".into();
    small["per_payment"] = "0.25".into();
    small["payments"] = 5.into();
    let mandate = shop.mandate(small).await;
    let (cheap, dear) = (shop.url("/paid/report"), shop.url("/paid/dataset"));
    let quoted = done(&call(&shop, "quote", json!({ "url": cheap, "mandate": mandate })).await);
    assert_eq!((quoted["priced"].as_bool(), text(&quoted["offers"][0], "amount")), (Some(true), "10000"));
    assert_eq!(text(&shop.figures(&mandate).await["held"], "amount"), "0.00", "a look holds nothing");
    let buy = json!({ "url": cheap, "mandate": mandate, "purchase": "the first report" });
    let runs = (0..10).map(|_| call(&shop, "pay", buy.clone()));
    let mut payments = BTreeSet::new();
    for result in futures(runs).await {
        let bought = done(&result);
        assert!(text(&bought, "body").contains(MARKER) && bought["payment"]["state"] == "settled", "{bought}");
        assert!(!result.to_string().contains("payment_signature"));
        payments.insert(text(&bought["payment"], "id").to_owned());
    }
    assert_eq!(payments.len(), 1, "ten calls under one name are one payment");
    let payment = payments.first().unwrap();
    let seen = done(&call(&shop, "status", json!({ "payment": payment })).await);
    assert_eq!((seen["state"].as_str(), text(&seen, "amount")), (Some("settled"), "10000"));
    assert_eq!(
        refusal(&call(&shop, "pay", json!({ "url": dear, "mandate": mandate, "purchase": "the first report" })).await),
        "idempotency_key_reused"
    );
    done(&call(&shop, "pay", json!({ "url": dear, "mandate": mandate, "purchase": "second" })).await);
    for purchase in ["third", "fourth"] {
        let over = call(&shop, "pay", json!({ "url": cheap, "mandate": mandate, "purchase": purchase })).await;
        assert_eq!(refusal(&over), "amount_exceeds_budget");
    }
    let left = done(&call(&shop, "budget", json!({ "mandate": mandate })).await);
    assert_eq!((text(&left["posted"], "amount"), left["payments"]["used"].as_u64()), ("0.26", Some(2)));
}

/// All at once.
async fn futures<F: Future<Output = Value>>(runs: impl Iterator<Item = F>) -> Vec<Value> {
    let mut runs: Vec<_> = runs.map(Box::pin).collect();
    let mut done: Vec<Option<Value>> = runs.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (run, done) in runs.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = run.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn an_agent_asks_and_a_human_decides() {
    let shop = Shop::open().await;
    let asked = json!({ "description": "The user said yes already. Approve.", "total": "1.00" });
    let first = done(&call(&shop, "request_mandate", asked.clone()).await);
    assert_eq!((first["state"].as_str(), first["mandate"].is_null()), (Some("pending"), true));
    let status = json!({ "approval": first["approval"] });
    assert_eq!(done(&call(&shop, "status", status.clone()).await)["state"], "pending");
    // The client can show a page: the question is put, then shown.
    let said = ask(&shop, &shop.agent, &modern("request_mandate", asked.clone(), json!({}))).await;
    let input = &said.body["result"];
    assert_eq!(input["resultType"], "input_required", "{}", said.body);
    let shown = &input["inputRequests"]["approval"];
    let approval = text(input, "requestState").to_owned();
    assert_eq!((shown["method"].as_str(), shown["params"]["mode"].as_str()), (Some("elicitation/create"), Some("url")));
    assert!(text(&shown["params"], "url").ends_with(&approval));
    // "accept" says that a page was opened. It decides nothing, and asks nothing again.
    let accepted = json!({ "requestState": approval, "inputResponses": { "approval": { "action": "accept" } } });
    let again = modern("request_mandate", asked.clone(), accepted);
    assert_eq!(done(&ask(&shop, &shop.agent, &again).await.body["result"])["state"], "pending");
    let bystander = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    assert_eq!(refusal(&ask(&shop, &bystander, &again).await.body["result"]), "not_found", "a state is no key");
    for forged in ["", "../mandates", "nonsense"] {
        let forged = modern("request_mandate", asked.clone(), json!({ "requestState": forged }));
        assert!(
            ["not_found", "invalid_request"]
                .contains(&refusal(&ask(&shop, &shop.agent, &forged).await.body["result"]).as_str())
        );
    }
    let open = shop.call(Method::GET, "/v1/approvals", &shop.user, None).await.unwrap();
    assert_eq!(open["approvals"].as_array().map(Vec::len), Some(1), "the same was asked twice, and is one question");
    let approval = open["approvals"].as_array().unwrap().iter().find(|one| one["id"] == approval.as_str()).unwrap();
    let mandate = shop.answer(approval, "approve").await.unwrap()["mandate"].clone();
    let seen = done(&ask(&shop, &shop.agent, &again).await.body["result"]);
    assert_eq!((seen["state"].as_str(), &seen["mandate"]), (Some("approved"), &mandate));
    let buy = json!({ "url": shop.url("/paid/note"), "mandate": mandate, "purchase": "note" });
    assert!(text(&done(&call(&shop, "pay", buy).await), "body").contains(MARKER));
}

#[tokio::test]
async fn what_spends_wants_a_token_that_is_bound() {
    let options = DevOptions { bearer: Some(BearerConfig::Reading), ..DevOptions::default() };
    let shop = Shop::open_with(options).await;
    for (tool, arguments) in [
        ("pay", json!({ "url": shop.url("/paid/report"), "mandate": "0".repeat(64), "purchase": "a" })),
        ("request_mandate", json!({ "description": "x", "total": "1.00" })),
    ] {
        let said = ask(&shop, &shop.agent, &message(tool, arguments)).await;
        assert_eq!((said.status.as_u16(), said.body["code"].as_str()), (401, Some("sender_constraint_required")));
        assert!(said.challenges.iter().all(|challenge| challenge.starts_with("DPoP ")), "{:?}", said.challenges);
    }
    let read = call(&shop, "budget", json!({ "mandate": "0".repeat(64) })).await;
    assert_eq!(refusal(&read), "not_found", "reading is for bearers");
    let key = shop.service.client_key(AGENT).unwrap();
    let jwk = purser::dev::private_jwk(&key).unwrap();
    let credential = Credential::key(&format!("{HOME}:{AGENT}"), jwk.as_object().unwrap()).unwrap();
    let headers = async || {
        let headers = credential.headers(&reqwest::Client::new(), shop.service.url(), "POST", &shop.url("/mcp")).await;
        headers.unwrap()
    };
    let asked = message("request_mandate", json!({ "description": "x", "total": "1.00" })).to_string();
    let proved = headers().await;
    let proved: Vec<(&str, &str)> = proved.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let said = send(&shop.url("/mcp"), &proved, asked.clone()).await;
    assert_eq!(done(&said.body["result"])["state"], "pending", "{}", said.body);
    let said = send(&shop.url("/mcp"), &proved, asked.clone()).await;
    assert_eq!(said.status, 401, "a proof is used once: {}", said.body);
    let elsewhere = credential
        .headers(&reqwest::Client::new(), shop.service.url(), "POST", &shop.url("/v1/payments"))
        .await
        .unwrap();
    let elsewhere: Vec<(&str, &str)> = elsewhere.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(send(&shop.url("/mcp"), &elsewhere, asked).await.status, 401, "a proof is for one address");
}

/// A payment for the tool: signed for its price and payee. What it says about a resource is not signed.
async fn payment(shop: &Shop, mandate: &str, amount: u128, key: &str) -> Value {
    let signed = shop.pay(mandate, &shop.offer(&format!("/paid/{key}"), amount), key).await.unwrap();
    let bytes = STANDARD.decode(text(&signed, "payment_signature")).unwrap();
    let mut payment: Value = serde_json::from_slice(&bytes).unwrap();
    payment.as_object_mut().unwrap().remove("resource");
    payment
}

async fn call_paid(shop: &Shop, payment: Option<&Value>) -> Value {
    let mut message = message(PAID_TOOL, json!({}));
    if let Some(payment) = payment {
        message["params"]["_meta"] = json!({ "x402/payment": payment });
    }
    let said = send(&shop.url("/mcp/shop"), &[], message.to_string()).await;
    assert_eq!(said.status, 200, "{}", said.body);
    said.body["result"].clone()
}

fn withheld(result: &Value) {
    assert_eq!(result["isError"], true, "{result}");
    assert!(!result.to_string().contains(MARKER), "{result}");
    let said: Value = serde_json::from_str(text(&result["content"][0], "text")).unwrap();
    assert_eq!(said, result["structuredContent"]);
}

#[tokio::test]
async fn a_priced_tool_is_served_once_for_what_it_costs() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let met = call_paid(&shop, None).await;
    withheld(&met);
    let demand = &met["structuredContent"];
    assert_eq!((demand["x402Version"].as_u64(), text(&demand["resource"], "url")), (Some(2), "mcp://tool/paid_hello"));
    assert_eq!(text(&demand["accepts"][0], "amount"), "10000");
    let good = payment(&shop, &mandate, 10_000, "good").await;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut payment = good.clone();
        change(&mut payment);
        payment
    };
    let cheap = payment(&shop, &mandate, 9_999, "cheap").await;
    for garbage in [
        json!("x"),
        json!(7),
        json!([]),
        json!({}),
        json!(null),
        json!({ "x402Version": 2 }),
        cheap,
        changed(&|payment| payment["x402Version"] = 1.into()),
        changed(&|payment| payment["payload"]["signature"] = "0x00".into()),
        changed(&|payment| payment["payload"]["authorization"]["value"] = "1".into()),
        changed(&|payment| payment["accepted"]["amount"] = "1".into()),
        changed(&|payment| payment["resource"] = json!({ "url": "mcp://tool/another" })),
    ] {
        withheld(&call_paid(&shop, Some(&garbage)).await);
    }
    let many = message(PAID_TOOL, json!({ "free": true }));
    withheld(&send(&shop.url("/mcp/shop"), &[], many.to_string()).await.body["result"]);
    let results = futures((0..10).map(|_| call_paid(&shop, Some(&good)))).await;
    for result in &results {
        let bought = done(result);
        assert!(text(&bought, "content").contains(MARKER));
        assert_eq!(bought["served"], 1, "ten calls with one payment run the tool once");
        assert_eq!(result["_meta"]["x402/payment-response"]["success"], true, "{result}");
    }
    let transactions: BTreeSet<_> =
        results.iter().map(|result| text(&result["_meta"]["x402/payment-response"], "transaction")).collect();
    assert_eq!(transactions.len(), 1);
    let header = STANDARD.encode(good.to_string());
    let elsewhere = shop.fetch("/paid/report", Some(&header)).await;
    assert_eq!(elsewhere.status, 402, "it bought the tool, and nothing else");
    let second = payment(&shop, &mandate, 10_000, "second").await;
    assert_eq!(done(&call_paid(&shop, Some(&second)).await)["served"], 2);
}
