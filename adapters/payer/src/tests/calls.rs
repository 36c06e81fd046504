//! Hostile servers of tools and hostile agents.

use axum::Json;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::routing::{get, post};

use super::*;
use crate::agent::Errand;
use crate::tool::ToolCall;

const KEY: &str = "purchase-one";

fn demand(resource: &str) -> Value {
    let requirements = json!({
        "scheme": "exact", "network": "eip155:31337", "amount": "1", "asset": "0x00", "payTo": "0x00",
        "maxTimeoutSeconds": 60,
    });
    json!({ "x402Version": 2, "error": "pay", "resource": { "url": resource }, "accepts": [requirements] })
}

fn wallet() -> Counting {
    Counting { header: Some(STANDARD.encode(json!({ "signed": true }).to_string())), ..Counting::default() }
}

/// What a tool of this name answers.
fn tool(name: &str, payment: &Value) -> Value {
    let failed = |said: Value| json!({ "content": [{ "type": "text", "text": said.to_string() }], "isError": true });
    let with_data = |said: Value| {
        let mut result = failed(said.clone());
        result["structuredContent"] = said;
        result
    };
    let sold = json!({
        "content": [{ "type": "text", "text": "sold" }],
        "_meta": { "x402/payment-response": { "success": true, "transaction": "0x1", "network": "n" } },
    });
    match (name, payment.is_null()) {
        ("free", true) => json!({ "content": [{ "type": "text", "text": "free" }] }),
        ("broken", true) => failed(json!({ "message": "no such city" })),
        ("as_text", true) => failed(demand("mcp://tool/as_text")),
        ("sold" | "as_text", false) => sold,
        ("sold" | "loop", _) => with_data(demand(&format!("mcp://tool/{name}"))),
        ("another", true) => with_data(demand("mcp://tool/dearer")),
        ("no_offer", true) => with_data(json!({ "x402Version": 2, "accepts": [] })),
        ("third", true) => {
            let mut said = demand("mcp://tool/third");
            said["x402Version"] = 3.into();
            with_data(said)
        }
        // A demand that says that it is no error.
        ("polite", true) => {
            let mut result = with_data(demand("mcp://tool/polite"));
            result["isError"] = false.into();
            result
        }
        (other, _) => panic!("{other} was paid"),
    }
}

async fn mcp(State(visits): State<Arc<AtomicUsize>>, Json(message): Json<Value>) -> Response {
    let answer = |result: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
        Response::builder().header("content-type", "application/json").body(body.into()).unwrap()
    };
    match message["method"].as_str().unwrap() {
        "initialize" => answer(json!({
            "protocolVersion": "2025-06-18", "capabilities": { "tools": {} }, "serverInfo": { "name": "s", "version": "1" },
        })),
        "tools/call" => {
            visits.fetch_add(1, Ordering::SeqCst);
            let name = message["params"]["name"].as_str().unwrap();
            if name == "unknown" {
                let error = json!({ "code": -32602, "message": "no\u{1b}[2J tool" });
                let body = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }).to_string();
                return Response::builder().header("content-type", "application/json").body(body.into()).unwrap();
            }
            answer(tool(name, &message["params"]["_meta"]["x402/payment"]))
        }
        _ if message.get("id").is_none() => Response::builder().status(202).body(Body::empty()).unwrap(),
        _ => {
            let error = json!({ "code": -32601, "message": "unknown" });
            let body = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }).to_string();
            Response::builder().header("content-type", "application/json").body(body.into()).unwrap()
        }
    }
}

/// A card that sends wherever the path says, and an agent that behaves as the message says.
async fn card(headers: HeaderMap, Path(kind): Path<String>) -> Json<Value> {
    let host = headers["host"].to_str().unwrap();
    let here = format!("http://{host}/agent");
    let interface = |url: &str, how: &str| json!({ "url": url, "protocolBinding": how, "protocolVersion": "1.0" });
    Json(match kind.as_str() {
        "good.json" => json!({ "supportedInterfaces": [interface(&here, "JSONRPC")] }),
        "older.json" => json!({ "url": here, "preferredTransport": "JSONRPC", "protocolVersion": "0.3.0" }),
        "away.json" => json!({ "supportedInterfaces": [interface("http://127.0.0.1:1/agent", "JSONRPC")] }),
        "grpc.json" => json!({ "supportedInterfaces": [interface(&here, "GRPC")] }),
        "older-grpc.json" => json!({ "url": here, "preferredTransport": "GRPC" }),
        other => panic!("{other}"),
    })
}

async fn agent(State(visits): State<Arc<AtomicUsize>>, Json(call): Json<Value>) -> Json<Value> {
    visits.fetch_add(1, Ordering::SeqCst);
    let is_newer = call["method"] == "SendMessage";
    assert!(is_newer || call["method"] == "message/send", "{call}");
    let message = &call["params"]["message"];
    let paid = message["metadata"].get("x402.payment.payload").is_some();
    let said = message["parts"][0]["text"].as_str().unwrap();
    let wish = if paid { message["taskId"].as_str().unwrap() } else { said };
    let task = |id: &str, state: &str, metadata: Value| {
        let state =
            if is_newer { format!("TASK_STATE_{}", state.to_uppercase().replace('-', "_")) } else { state.into() };
        let task =
            json!({ "id": id, "contextId": "c", "status": { "state": state, "message": { "metadata": metadata } } });
        if is_newer { json!({ "task": task }) } else { task }
    };
    let asks = |required: Value| {
        task(
            wish,
            "input-required",
            json!({ "x402.payment.status": "payment-required", "x402.payment.required": required }),
        )
    };
    let receipts =
        json!({ "x402.payment.receipts": [{ "success": false }, { "success": true, "transaction": "0x2" }] });
    // As protocol buffers write it.
    let mut doubles = demand("http://a/b");
    doubles["x402Version"] = json!(2.0);
    let result = match (wish, paid) {
        ("free", false) => task("free", "completed", json!({})),
        ("talk", false) => json!({ "message": { "messageId": "m", "parts": [{ "text": "hello" }] } }),
        ("sold" | "loop" | "swap" | "fails", false) => asks(doubles),
        ("asks", false) => task("asks", "input-required", json!({})),
        ("junk", false) => asks(json!("pay me")),
        ("empty", false) => asks(json!({ "x402Version": 2, "accepts": [] })),
        ("sold", true) => task("sold", "completed", receipts),
        ("loop", true) => asks(doubles),
        ("fails", true) => task("fails", "failed", json!({})),
        ("swap", true) => task("another", "completed", receipts),
        ("refuses", _) => {
            return Json(json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32602, "message": "no\n" } }));
        }
        (other, _) => panic!("{other} was paid"),
    };
    Json(json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
}

async fn open(wallet: Counting) -> Stage {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let visits = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route("/mcp", post(mcp)).route("/cards/{kind}", get(card)).route("/agent", post(agent));
    let router = router.with_state(visits.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let wallet = Arc::new(wallet);
    let payer = Payer::new(wallet.clone(), Duration::from_secs(5)).unwrap();
    Stage { base, visits, wallet, payer }
}

impl Stage {
    fn call(&self, tool: &str) -> ToolCall {
        let url = format!("{}/mcp", self.base);
        ToolCall { url, tool: tool.into(), arguments: serde_json::Map::new(), key: KEY.into() }
    }

    fn errand(&self, card: &str, message: &str) -> Errand {
        Errand { url: format!("{}/cards/{card}.json", self.base), message: message.into(), key: KEY.into() }
    }
}

#[tokio::test]
async fn a_tool_is_paid_for_once_and_never_for_another() {
    let stage = open(wallet()).await;
    for (tool, code) in [
        ("another", "not_payable"),
        ("no_offer", "not_payable"),
        ("third", "not_payable"),
        ("unknown", "seller_refused"),
    ] {
        let refused = stage.payer.call_tool(&stage.call(tool)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{tool}: {refused}");
        assert!(!refused.to_string().contains('\u{1b}'), "{refused}");
    }
    for (tool, is_failure) in [("free", false), ("broken", true), ("polite", false)] {
        let answered = stage.payer.call_tool(&stage.call(tool)).await.unwrap();
        assert_eq!((answered.is_failure, answered.paid.is_none()), (is_failure, true), "{tool}");
    }
    assert_eq!(stage.paid(), 0);

    let looped = stage.payer.call_tool(&stage.call("loop")).await.unwrap();
    assert_eq!((looped.is_failure, stage.paid()), (true, 1), "a second demand is an answer");
    for tool in ["sold", "as_text"] {
        let sold = stage.payer.call_tool(&stage.call(tool)).await.unwrap();
        assert_eq!((sold.is_failure, &sold.result["content"][0]["text"]), (false, &json!("sold")));
    }
    let looked = stage.wallet.looked.lock().unwrap().clone();
    assert_eq!(looked.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [Some(402), Some(200), Some(200)]);
    let receipt: Value = serde_json::from_slice(&STANDARD.decode(looked[1].1.as_ref().unwrap()).unwrap()).unwrap();
    assert_eq!(receipt["transaction"], "0x1");
}

#[tokio::test]
async fn a_look_at_a_tool_or_an_agent_pays_nothing() {
    let stage = open(wallet()).await;
    for (tool, priced) in [("free", false), ("broken", false), ("sold", true)] {
        assert_eq!(stage.payer.meet_tool(&stage.call(tool)).await.unwrap().1.is_some(), priced, "{tool}");
    }
    for (message, priced) in [("free", false), ("talk", false), ("asks", false), ("sold", true)] {
        let met = stage.payer.meet_errand(&stage.errand("good", message)).await.unwrap();
        assert_eq!(met.1.is_some(), priced, "{message}");
    }
    assert_eq!(stage.paid(), 0);
}

#[tokio::test]
async fn an_agent_is_paid_once_at_the_origin_that_was_asked() {
    let stage = open(wallet()).await;
    for card in ["away", "grpc", "older-grpc"] {
        let refused = stage.payer.send_errand(&stage.errand(card, "sold")).await.unwrap_err();
        assert_eq!(refused.code(), "seller_unreadable", "{card}: {refused}");
    }
    assert_eq!(stage.visits.load(Ordering::SeqCst), 0, "nobody was told anything");
    for (message, code) in [("junk", "not_payable"), ("empty", "not_payable"), ("refuses", "seller_refused")] {
        let refused = stage.payer.send_errand(&stage.errand("good", message)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{message}: {refused}");
    }
    for (message, is_failure) in [("free", false), ("talk", false), ("asks", true)] {
        let answered = stage.payer.send_errand(&stage.errand("good", message)).await.unwrap();
        assert_eq!((answered.is_failure, answered.paid.is_none()), (is_failure, true), "{message}");
    }
    assert_eq!(stage.paid(), 0);

    let swapped = stage.payer.send_errand(&stage.errand("good", "swap")).await.unwrap_err();
    assert_eq!((swapped.code(), stage.paid()), ("seller_unreadable", 1));
    for (message, card) in [("loop", "good"), ("fails", "older"), ("sold", "good"), ("sold", "older")] {
        let answered = stage.payer.send_errand(&stage.errand(card, message)).await.unwrap();
        assert_eq!((answered.is_failure, answered.paid.is_some()), (message != "sold", true), "{message} of {card}");
    }
    let looked = stage.wallet.looked.lock().unwrap();
    assert_eq!((stage.paid(), looked.len(), looked[0].0), (5, 5, None), "looked at, also where nothing was understood");
    let receipt = STANDARD.decode(looked[3].1.as_ref().unwrap()).unwrap();
    assert!(String::from_utf8(receipt).unwrap().contains("0x2"), "the last receipt is the one of this payment");
}

#[tokio::test]
async fn what_is_no_server_and_a_wallet_that_signs_nothing_to_show_are_told_apart() {
    let stage = open(Counting::default()).await;
    let nowhere = ToolCall { url: "http://127.0.0.1:1/mcp".into(), ..stage.call("sold") };
    let elsewhere = ToolCall { url: format!("{}/cards/good.json", stage.base), ..stage.call("sold") };
    for (call, code) in [(nowhere, "seller_unreachable"), (elsewhere, "seller_unreadable")] {
        let refused = stage.payer.call_tool(&call).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(!refused.to_string().contains("::"), "no names of ours or of a library's: {refused}");
    }
    for url in ["ftp://a/b", "no address"] {
        let errand = Errand { url: url.into(), ..stage.errand("good", "sold") };
        assert_eq!(stage.payer.send_errand(&errand).await.unwrap_err().code(), "seller_unreadable", "{url}");
    }
    assert_eq!(stage.paid(), 0);
    let refused = stage.payer.call_tool(&stage.call("sold")).await.unwrap_err();
    assert!(refused.to_string().contains("no payment to show"), "{refused}");
    assert_eq!(stage.wallet.looked.lock().unwrap().len(), 1, "it is looked at all the same");
}
