//! A JSON-RPC proxy that withholds: the node has the request, and its answer does not come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Default)]
struct Rules {
    withheld: Mutex<BTreeSet<String>>,
    fault: Mutex<Option<Fault>>,
    seen: Mutex<BTreeMap<String, u64>>,
}

/// What is wrong with a node. The call never reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes the call and says nothing.
    Silent,
    /// 500 and a page.
    Broken,
    /// 429, as public nodes answer.
    Busy,
    /// Not JSON.
    Garbage,
    /// JSON of another call.
    Nonsense,
    /// Its answer ends in the middle.
    Cut,
    /// A JSON-RPC error with data, whatever was asked.
    Refuses,
    /// Ethereum, it says.
    OtherChain,
}

#[derive(Clone)]
pub struct RpcProxy {
    upstream: String,
    pub url: String,
    rules: Arc<Rules>,
}

impl RpcProxy {
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Self { upstream: upstream.to_owned(), url, rules: Arc::default() };
        let router = Router::new().route("/", post(forward)).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        proxy
    }

    /// From now on the node still gets these calls, and their answers stay here.
    pub fn withhold(&self, methods: &[&str]) {
        self.rules.withheld.lock().unwrap().extend(methods.iter().map(|method| (*method).to_owned()));
    }

    /// What is withheld now is answered.
    pub fn release(&self) {
        self.rules.withheld.lock().unwrap().clear();
    }

    /// From now on everything is answered like this; `None` for rightly.
    pub fn suffer(&self, fault: Option<Fault>) {
        *self.rules.fault.lock().unwrap() = fault;
    }

    pub fn seen(&self, method: &str) -> u64 {
        self.rules.seen.lock().unwrap().get(method).copied().unwrap_or_default()
    }

    /// Waits until the node got one more of this call than `before`.
    pub async fn until_seen(&self, method: &str, before: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.seen(method) <= before {
            assert!(Instant::now() < deadline, "{method} was not called");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn withholds(&self, method: &str) -> bool {
        self.rules.withheld.lock().unwrap().contains(method)
    }
}

async fn suffered(fault: Fault, id: &Value) -> Response {
    let json = |value: Value| ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response();
    match fault {
        Fault::Silent => std::future::pending().await,
        Fault::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "<html>down for maintenance</html>").into_response(),
        Fault::Busy => (StatusCode::TOO_MANY_REQUESTS, "slow down").into_response(),
        Fault::Garbage => ([(CONTENT_TYPE, "application/json")], "no JSON").into_response(),
        Fault::Nonsense => json(json!({ "jsonrpc": "2.0", "id": "another", "result": [] })),
        Fault::Cut => ([(CONTENT_TYPE, "application/json")], "{\"jsonrpc\":\"2.0\",\"id\":1,\"resu").into_response(),
        Fault::Refuses => {
            let error = json!({ "code": -32_000, "message": "not today", "data": { "why": "x".repeat(10_000) } });
            json(json!({ "jsonrpc": "2.0", "id": id, "error": error }))
        }
        Fault::OtherChain => json(json!({ "jsonrpc": "2.0", "id": id, "result": "0x1" })),
    }
}

async fn forward(State(proxy): State<RpcProxy>, body: Bytes) -> Response {
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    let calls = call.as_array().cloned().unwrap_or_else(|| vec![call.clone()]);
    let methods: Vec<String> =
        calls.iter().map(|call| call["method"].as_str().unwrap_or_default().to_owned()).collect();
    let fault = *proxy.rules.fault.lock().unwrap();
    if let Some(fault) = fault.filter(|fault| *fault != Fault::OtherChain || methods == ["eth_chainId"]) {
        return suffered(fault, &call["id"]).await;
    }
    if fault.is_some() && call.is_array() && methods.iter().any(|method| method == "eth_chainId") {
        // It takes no batches either.
        return suffered(Fault::Nonsense, &call["id"]).await;
    }
    let request = reqwest::Client::new().post(&proxy.upstream).header(CONTENT_TYPE, "application/json").body(body);
    let answer = request.send().await.unwrap().bytes().await.unwrap();
    for method in &methods {
        *proxy.rules.seen.lock().unwrap().entry(method.clone()).or_default() += 1;
    }
    while methods.iter().any(|method| proxy.withholds(method)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ([(CONTENT_TYPE, "application/json")], answer).into_response()
}
