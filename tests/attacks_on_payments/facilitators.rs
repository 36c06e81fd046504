//! Facilitators that are curious, that lie, or that are not there.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use purser::client::Fetched;
use purser::dev::DevOptions;
use purser::world::{MARKER, shop_address};
use serde_json::{Value, json};

use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;

type Heard = Arc<Mutex<Vec<String>>>;

/// Says that everything was settled, and keeps what it was told.
async fn liar() -> (String, Heard) {
    let heard = Heard::default();
    let listen = |State(heard): State<Heard>, body: String| async move {
        heard.lock().unwrap().push(body);
        let transaction = format!("0x{}", "ab".repeat(32));
        axum::Json(json!({
            "isValid": true, "success": true, "payer": "0x0000000000000000000000000000000000000001",
            "transaction": transaction, "network": "eip155:31337",
        }))
    };
    let kinds = json!({ "kinds": [{ "x402Version": 2, "scheme": "exact", "network": "eip155:31337" }], "extensions": [], "signers": {} });
    let router = Router::new()
        .route("/verify", post(listen))
        .route("/settle", post(listen))
        .route("/supported", get(|| async { axum::Json(kinds) }))
        .with_state(heard.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, heard)
}

async fn signature(shop: &Shop) -> String {
    let mandate = shop.mandate(intent()).await;
    let required = shop.met("/paid/report").await;
    let payment = shop.pay(&mandate, &required, &new_key()).await.expect("a payment");
    text(&payment, "payment_signature").to_owned()
}

fn has_goods(answer: &Fetched) -> bool {
    String::from_utf8_lossy(&answer.body).contains(MARKER)
}

async fn selling_through(facilitator: String) -> Shop {
    Shop::open_with(DevOptions { facilitator: Some(facilitator), ..DevOptions::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitator_that_lies_sells_nothing() {
    let (url, heard) = liar().await;
    let shop = selling_through(url).await;
    let signature = signature(&shop).await;
    let answer = shop.fetch("/paid/report", Some(&signature)).await;
    assert!(!heard.lock().unwrap().is_empty(), "it was asked");
    assert!(!answer.status.is_success() && !has_goods(&answer), "{:?}", answer.status);
    assert!(shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).is_empty(), "nothing moved");
}

/// The address of what was bought, and what else the payer wrote beside the payment, stay here.
#[tokio::test(flavor = "multi_thread")]
async fn a_facilitator_is_not_told_what_was_bought() {
    let (url, heard) = liar().await;
    let shop = selling_through(url).await;
    let signature = signature(&shop).await;
    let mut payload: Value = serde_json::from_slice(&STANDARD.decode(&signature).unwrap()).unwrap();
    payload["resource"]["description"] = "for Jane Doe, born 1990".into();
    payload["note"] = "jane.doe@example.org".into();
    shop.fetch("/paid/report", Some(&STANDARD.encode(payload.to_string()))).await;
    let heard = heard.lock().unwrap().join("\n");
    assert!(heard.contains("authorization"), "it has what it needs: {heard}");
    for secret in ["/paid/report", "Jane", "jane.doe", "note"] {
        assert!(!heard.contains(secret), "{secret} was told: {heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_without_its_facilitator_asks_and_charges_nothing() {
    let nobody = crate::harness::free_address();
    let shop = selling_through(format!("http://{nobody}")).await;
    assert_eq!(shop.fetch("/paid/report", None).await.status.as_u16(), 402, "it asks all the same");
    let signature = signature(&shop).await;
    let answer = shop.fetch("/paid/report", Some(&signature)).await;
    assert!(answer.status.as_u16() >= 500 && !has_goods(&answer), "{:?}", answer.status);
    assert!(shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).is_empty(), "nothing moved");
}
