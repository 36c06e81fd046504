//! Many questions in one exchange: what a node leaves out, mixes up or makes up there must not become an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::primitives::U256;
use axum::Router;
use axum::routing::post;
use tokio::net::TcpListener;
use x402::chain::{AuthorizedCall, Chain, ChainError, Findings, find_each};

use super::*;

/// A node whose answers to batches pass through `bend`, and how many exchanges it saw.
async fn bent(stage: &Stage, bend: impl Fn(&mut Value) + Send + Sync + 'static) -> (RpcChain, Arc<AtomicU64>) {
    let (devnet, bend, seen) = (stage.devnet.clone(), Arc::new(bend), Arc::new(AtomicU64::new(0)));
    let counted = seen.clone();
    let answer = move |body: axum::body::Bytes| {
        let (devnet, bend, counted) = (devnet.clone(), bend.clone(), counted.clone());
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut answer: Value = serde_json::from_slice(&devnet.dispatch(&body).unwrap()).unwrap();
            if answer.is_array() {
                bend(&mut answer);
            }
            answer.to_string()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
    (RpcChain::http(&url, RpcConfig::default()).unwrap(), seen)
}

async fn found(chain: &RpcChain, call: &TransferCall) -> Result<Findings, ChainError> {
    chain.findings(AuthorizedCall::Key(call), RELAYER.address).await
}

#[tokio::test]
async fn a_batch_that_cannot_be_meant_is_asked_again_one_by_one() {
    let stage = Stage::new();
    let call = payment(1);
    let right = find_each(&stage.chain, AuthorizedCall::Key(&call), RELAYER.address).await.unwrap();
    assert_eq!((right.balance, right.consumed), (U256::from(1_000_000), false));
    type Bend = fn(&mut Value);
    let cases: [(&str, Bend); 8] = [
        ("an error for all of it", |a| {
            *a = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "no batches" } })
        }),
        ("nothing", |a| *a = json!([])),
        ("one too few", |a| drop(a.as_array_mut().unwrap().pop())),
        ("another id", |a| a[2]["id"] = json!(999_999)),
        ("one twice", |a| a[3] = a[4].clone()),
        ("neither result nor error", |a| a[5] = json!({ "jsonrpc": "2.0", "id": a[5]["id"] })),
        ("a balance that is no number", |a| a[4]["result"] = json!("0x")),
        ("busy", |a| {
            a[1] = json!({ "jsonrpc": "2.0", "id": a[1]["id"], "error": { "code": -32005, "message": "slow" } })
        }),
    ];
    for (case, bend) in cases {
        let (chain, seen) = bent(&stage, bend).await;
        assert!(found(&chain, &call).await.as_ref() == Ok(&right), "{case}: something was made up");
        assert!(seen.load(Ordering::SeqCst) > 1, "{case}: the batch was believed");
    }
    let (chain, seen) = bent(&stage, |answers| answers.as_array_mut().unwrap().reverse()).await;
    assert_eq!(found(&chain, &call).await, Ok(right), "in whichever order");
    assert_eq!(seen.load(Ordering::SeqCst), 1, "in one exchange");
}

#[tokio::test]
async fn one_exchange_finds_what_many_find() {
    let stage = Stage::new();
    let (used, good) = (payment(1), payment(2));
    stage.settle(&used).await;
    let dear = signed(PAYER, TransferCall { value: U256::from(2_000_000), ..unsigned(3) });
    let nowhere = TransferCall { asset: PAYEE.address, ..payment(4) };
    for call in [used, good, dear, nowhere.clone(), signed(PAYEE, unsigned(5))] {
        let each = find_each(&stage.chain, AuthorizedCall::Key(&call), RELAYER.address).await;
        let at_once = found(&stage.chain, &call).await;
        assert_eq!(at_once, each);
    }
    let nothing = found(&stage.chain, &nowhere).await.unwrap();
    assert_eq!((nothing.chain_id, nothing.token_code.is_empty()), (31_337, true));
}
