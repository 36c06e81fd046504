//! Nodes that lie, stall or forget. Whatever they say, it must not become "it did not happen", nor "it did".

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use x402::chain::{At, Chain, ChainError};

use super::*;

/// Serves a devnet whose answers pass through `bend`, which sees the method and the answer.
async fn bent(stage: &Stage, bend: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> RpcChain {
    let (devnet, bend) = (stage.devnet.clone(), Arc::new(bend));
    let router = Router::new().route(
        "/",
        post(move |body: axum::body::Bytes| {
            let (devnet, bend) = (devnet.clone(), Arc::clone(&bend));
            async move {
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let mut answer: Value = serde_json::from_slice(&devnet.dispatch(&body).unwrap()).unwrap();
                bend(asked["method"].as_str().unwrap(), &mut answer);
                answer.to_string()
            }
        }),
    );
    RpcChain::http(&serve(router).await, RpcConfig::default()).unwrap()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn find(chain: &RpcChain) -> Result<Option<x402::chain::AuthorizationUse>, ChainError> {
    chain.find_authorization(token::ADDRESS, PAYER.address, B256::repeat_byte(1), 0).await
}

fn assert_unavailable<T: std::fmt::Debug>(case: &str, outcome: Result<T, ChainError>) {
    assert!(matches!(outcome, Err(ChainError::Unavailable(_))), "{case}: {outcome:?}");
}

#[tokio::test]
async fn a_search_is_never_empty_because_of_an_error() {
    let stage = Stage::new();
    stage.settle(&payment(1)).await;
    type Bend = fn(&mut Value);
    let cases: [(&str, &str, Bend); 15] = [
        ("no result at all", "eth_getLogs", |a| *a = json!({ "jsonrpc": "2.0", "id": a["id"] })),
        ("null for a list", "eth_getLogs", |a| a["result"] = json!(null)),
        ("text for a list", "eth_getLogs", |a| a["result"] = json!("0x")),
        ("another id", "eth_getLogs", |a| a["id"] = json!(999_999)),
        ("another contract's log", "eth_getLogs", |a| a["result"][0]["address"] = json!(PAYER.address)),
        ("another nonce", "eth_getLogs", |a| a["result"][0]["topics"][2] = json!(B256::ZERO)),
        ("another payer", "eth_getLogs", |a| a["result"][0]["topics"][1] = json!(B256::ZERO)),
        ("a removed log", "eth_getLogs", |a| a["result"][0]["removed"] = json!(true)),
        ("a pending log", "eth_getLogs", |a| a["result"][0]["blockNumber"] = json!(null)),
        ("a log twice", "eth_getLogs", |a| a["result"] = json!([a["result"][0], a["result"][0]])),
        ("a log without receipt", "eth_getTransactionReceipt", |a| a["result"] = json!(null)),
        ("a receipt of another", "eth_getTransactionReceipt", |a| a["result"]["transactionHash"] = json!(B256::ZERO)),
        ("a failed receipt", "eth_getTransactionReceipt", |a| a["result"]["status"] = json!("0x0")),
        ("a receipt without logs", "eth_getTransactionReceipt", |a| a["result"]["logs"] = json!([])),
        ("a block taken back", "eth_getBlockByHash", |a| a["result"] = json!(null)),
    ];
    for (case, bent_method, bend) in cases {
        let chain = bent(&stage, move |method, answer| {
            if method == bent_method {
                bend(answer);
            }
        });
        assert_unavailable(case, find(&chain.await).await);
    }
    assert!(find(&bent(&stage, |_, _| ()).await).await.unwrap().is_some(), "unbent, it is found");
}

#[tokio::test]
async fn node_errors_keep_their_kind() {
    let stage = Stage::new();
    let limit = bent(&stage, |_, a| {
        *a = json!({ "jsonrpc": "2.0", "id": a["id"], "error": { "code": -32005, "message": "limit exceeded" } });
    });
    let limit = limit.await;
    assert_unavailable("rate limit", find(&limit).await);
    assert_unavailable("rate limit", limit.chain_id().await);
    let sent = stage.prepare(&payment(1)).await;
    assert_unavailable("rate limit", limit.broadcast(&sent.raw).await);

    // The devnet did get it, and only the answer was bent: so the node knows it, whatever it says first.
    let refusing = bent(&stage, |method, a| {
        if method == "eth_sendRawTransaction" {
            *a = json!({ "jsonrpc": "2.0", "id": a["id"], "error": { "code": -32000, "message": "nonce too low" } });
        }
    });
    assert_eq!(refusing.await.broadcast(&sent.raw).await, Ok(()));
    let late = stage.relayer.prepare(&payment(2), 0).await.unwrap();
    let refused = stage.chain.broadcast(&late.raw).await;
    assert!(matches!(refused, Err(ChainError::Refused { code: -32000, .. })), "{refused:?}");

    let forgetful = bent(&stage, |method, a| {
        let message = if method == "eth_sendRawTransaction" { "nonce too low" } else { "internal error" };
        let code = if method == "eth_sendRawTransaction" { -32000 } else { -32603 };
        *a = json!({ "jsonrpc": "2.0", "id": a["id"], "error": { "code": code, "message": message } });
    });
    assert_unavailable("nonce too low, then silence", forgetful.await.broadcast(&sent.raw).await);
}

#[tokio::test]
async fn a_node_that_answers_another_hash_did_not_take_the_transaction() {
    let stage = Stage::new();
    let sent = stage.prepare(&payment(1)).await;
    let chain = bent(&stage, |method, a| {
        if method == "eth_sendRawTransaction" {
            a["result"] = json!(B256::ZERO);
        }
    });
    assert_unavailable("another hash", chain.await.broadcast(&sent.raw).await);
}

#[tokio::test]
async fn blocks_and_receipts_must_be_the_asked_ones() {
    let stage = Stage::new();
    let sent = stage.settle(&payment(1)).await;
    let other_number = bent(&stage, |method, a| {
        if method.starts_with("eth_getBlock") {
            a["result"]["number"] = json!("0x63");
        }
    });
    let other_number = other_number.await;
    assert_unavailable("another block", other_number.block(At::Number(1)).await);
    assert_unavailable("another block", other_number.receipt(sent.transaction).await);
    let no_block = bent(&stage, |method, a| {
        if method == "eth_getTransactionReceipt" {
            (a["result"]["blockHash"], a["result"]["blockNumber"]) = (json!(null), json!(null));
        }
    });
    assert_eq!(no_block.await.receipt(sent.transaction).await, Ok(None), "not in a block is not mined");
}

#[tokio::test]
async fn a_token_that_answers_nonsense_is_unknown() {
    let stage = Stage::new();
    let word = |filler: &str| json!(format!("0x{}", filler.repeat(32)));
    for (case, answer) in [
        ("empty", json!("0x")),
        ("huge offset", word("ff")),
        ("not hex", json!("0xzz")),
        ("a name of 100,000 letters", json!(format!("0x{:064x}{:064x}{}", 32, 100_000, "61".repeat(100_000)))),
    ] {
        let chain = bent(&stage, move |method, a| {
            if method == "eth_call" {
                a["result"] = answer.clone();
            }
        });
        assert_unavailable(case, chain.await.token(token::ADDRESS).await);
    }
    let two = bent(&stage, move |method, a| {
        if method == "eth_call" {
            a["result"] = json!(format!("0x{:064x}", 2));
        }
    });
    let (asset, payer) = (token::ADDRESS, PAYER.address);
    let state = two.await.authorization_consumed(asset, payer, B256::ZERO, At::Latest).await;
    assert_unavailable("a bool of two", state);
}

#[tokio::test]
async fn a_silent_endless_or_broken_node_is_unavailable_in_time() {
    let config = RpcConfig { timeout: Duration::from_millis(300), ..RpcConfig::default() };
    let silent = Router::new().route("/", post(std::future::pending::<StatusCode>));
    let endless = Router::new().route("/", post(|| async { "x".repeat(5 << 20) }));
    let broken = Router::new().route("/", post(|| async { (StatusCode::BAD_GATEWAY, "<html>") }));
    let moved = Router::new().route("/", post(|| async { axum::response::Redirect::temporary("/elsewhere") }));
    for (case, router) in [("silent", silent), ("endless", endless), ("broken", broken), ("moved", moved)] {
        let began = Instant::now();
        let chain = RpcChain::http(&serve(router).await, config).unwrap();
        assert_unavailable(case, find(&chain).await);
        assert!(began.elapsed() < Duration::from_secs(3), "{case}");
    }
    let nobody = RpcChain::http("http://127.0.0.1:1/secret-key", config).unwrap();
    let Err(ChainError::Unavailable(message)) = nobody.chain_id().await else { panic!("somebody listens on port 1") };
    assert!(!message.contains("secret-key"), "{message}");
    assert!(!format!("{nobody:?}").contains("secret-key"));
    for url in ["", "localhost:8545", "ftp://x/", "file:///etc/passwd"] {
        assert!(RpcChain::http(url, config).is_err(), "{url}");
    }
}
