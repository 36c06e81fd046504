//! A seller that keeps nothing but what it was shown: the official client, unmodified, pays it over HTTP; and what is asked for
//! outlives the process that sent it, and the block.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use purser::dev::DevOptions;
use x402::wire::{PaymentRequired, ResourceInfo, read_header, write_header};

use super::*;

/// Holds the price, gives what was bought, and takes what its path says: nothing is all given back.
async fn sell(State(stage): State<Arc<Stage>>, Path(taken): Path<u128>, headers: HeaderMap) -> Response {
    let resource = ResourceInfo::new(format!("http://seller.example/{taken}"));
    let Some(header) = headers.get("payment-signature") else {
        let asked = PaymentRequired::new(resource, vec![stage.required.clone()], None);
        let header = [("payment-required", write_header(&asked).unwrap())];
        return (StatusCode::PAYMENT_REQUIRED, header, "pay").into_response();
    };
    let payload: PaymentPayload = read_header(header.as_bytes()).unwrap();
    let payment = Value::Object(payload.payload);
    let held = stage.settled(&payment).await;
    assert_eq!(text(&held, "amount"), PRICE.to_string());
    let request = match taken {
        0 => stage.void(&payment),
        _ => {
            let mut capture = stage.capture(&payment, taken, (PRICE, 0));
            if taken < PRICE {
                capture["voidAuthorizerSignature"] = stage.void(&payment)["authorizerSignature"].clone();
            }
            capture
        }
    };
    stage.settled(&request).await;
    (StatusCode::OK, format!("bought for {taken}")).into_response()
}

/// Every unit is where it belongs.
#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_pays_what_was_used_of_what_was_held() {
    let stage = Arc::new(Stage::open().await);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{taken}", get(sell)).with_state(Arc::clone(&stage));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let balance = |of: Address| {
        let at = format!("0x70a08231{:0>64}", format!("{of:x}"));
        let token = chain::token::ADDRESS.to_string();
        let said = stage.shop.rpc("eth_call", json!([{ "to": token, "data": at }, "latest"]));
        u128::from_str_radix(said.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let (payer, shop) = (balance(PAYER.address), balance(shop_address()));
    let key = PAYER.private_key.to_string();
    let urls = [format!("{base}/3000"), format!("{base}/0"), format!("{base}/{PRICE}")];
    let output =
        tokio::task::spawn_blocking(move || node_script("buy_holds.mjs").arg(key).args(urls).output().unwrap());
    let output = output.await.unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for (line, taken) in said.lines().zip([3_000, 0, PRICE]) {
        let bought: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&bought["status"], text(&bought, "body")), (&json!(200), format!("bought for {taken}").as_str()));
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(stage.moved(None, shop_address()), [3_000, PRICE]);
    assert_eq!(stage.moved(None, PAYER.address), [PRICE - 3_000, PRICE]);
    assert_eq!(payer - balance(PAYER.address), 3_000 + PRICE);
    assert_eq!(balance(shop_address()) - shop, 3_000 + PRICE);
    assert_eq!(balance(stage.store()), 0, "nothing is left behind");
}

/// The same bytes, whatever happens meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_outlives_its_process_and_its_block() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || DevOptions { data: Some(folder.path().to_owned()), finalized_lag_blocks: 200, ..DevOptions::default() };
    let stage = Stage::of(Shop::open_with(options()).await).await;
    let payment = stage.payment();
    stage.settled(&payment).await;
    let capture = stage.capture(&payment, 4_000, (PRICE, 0));
    stage.shop.rpc("evm_setAutomine", json!([false]));
    let waits = stage.ask("/settle", &capture, &stage.required).await;
    assert_eq!(waits["errorReason"], "settlement_pending", "{waits}");
    let sent = text(&waits, "transaction").to_owned();
    let required = stage.required.clone();
    stage.shop.service.stop().await;

    let shop = Shop::open_with(options()).await;
    let stage = Stage { required, ..Stage::of(shop).await };
    stage.shop.rpc("evm_setAutomine", json!([true]));
    assert_eq!(settled_at_last(&stage, &capture).await["transaction"], sent, "by what was written down before");

    stage.shop.rpc("evm_setAutomine", json!([false]));
    let height = |value: &Value| u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let receipt = || stage.shop.rpc("eth_getTransactionReceipt", json!([sent]));
    while !receipt().is_null() {
        let depth = height(&stage.shop.rpc("eth_blockNumber", json!([]))) + 1 - height(&receipt()["blockNumber"]);
        stage.shop.rpc("anvil_rollback", json!([depth]));
    }
    stage.shop.rpc("evm_setAutomine", json!([true]));
    let deadline = Instant::now() + Duration::from_secs(20);
    while receipt().is_null() {
        assert!(Instant::now() < deadline, "what the chain took back is sent again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(settled_at_last(&stage, &capture).await["transaction"], sent);
    assert_eq!(stage.moved(None, shop_address()), [4_000], "captured once");
}

/// Asked until it is known.
async fn settled_at_last(stage: &Stage, payload: &Value) -> Value {
    for _ in 0..20 {
        let said = stage.ask("/settle", payload, &stage.required).await;
        if said["success"] == true {
            return said;
        }
        assert_eq!(said["errorReason"], "settlement_pending", "{said}");
    }
    panic!("it is pending for ever")
}
