//! What a seller makes of what a foreign facilitator says.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::*;

const PATIENCE: Duration = Duration::from_millis(500);

fn terms() -> Value {
    json!({
        "scheme": "exact", "network": "eip155:31337", "amount": "10000", "maxTimeoutSeconds": 60,
        "asset": "0x700b6A60ce7EaaEA56F065753d8dcB9653dbAD35", "payTo": "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
        "extra": { "name": "USD Coin", "version": "2" },
    })
}

fn payment() -> (PaymentPayload, PaymentRequirements) {
    let payload = json!({
        "x402Version": 2, "accepted": terms(),
        "payload": {
            "signature": format!("0x{}", "11".repeat(65)),
            "authorization": {
                "from": "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
                "to": "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc", "value": "10000", "validAfter": "0",
                "validBefore": "2000000000", "nonce": format!("0x{}", "22".repeat(32)),
            },
        },
    });
    (serde_json::from_value(payload).unwrap(), serde_json::from_value(terms()).unwrap())
}

fn failed(reason: &str) -> Value {
    json!({ "success": false, "errorReason": reason, "transaction": "", "network": "eip155:31337" })
}

/// A facilitator that says this to everything, and the paths and keys that it was asked with.
async fn saying(answer: Response<String>) -> (Remote, Arc<Mutex<Vec<(String, String)>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, (parts, body)) = (asked.clone(), answer.into_parts());
    let router = Router::new().fallback(async move |request: Request| {
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        seen.lock().unwrap().push((request.uri().path().to_owned(), key.to_owned()));
        (parts.status, parts.headers, body).into_response()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Remote::new(&url, PATIENCE).unwrap(), asked)
}

fn answer(status: u16, body: String) -> Response<String> {
    http::Response::builder().status(status).body(body).unwrap()
}

async fn settled(answer: Response<String>) -> Relayed<SettleResponse> {
    let (payload, requirements) = payment();
    saying(answer).await.0.settle(&payload, &requirements).await
}

#[tokio::test]
async fn a_5xx_is_no_result_in_whatever_shape() {
    for status in [500, 502, 503, 504] {
        for body in [failed("unexpected_settle_error"), failed("insufficient_funds"), json!({ "success": true })] {
            let relayed = settled(answer(status, body.to_string())).await;
            assert!(matches!(relayed, Relayed::Silence(_)), "{status} {body}: {relayed:?}");
        }
    }
}

#[tokio::test]
async fn an_unexpected_error_is_no_result_with_any_status() {
    for reason in ["unexpected_settle_error", "unexpected_error", "invalid_exact_evm_failed_to_get_receipt"] {
        for status in [200, 400] {
            let relayed = settled(answer(status, failed(reason).to_string())).await;
            assert!(matches!(relayed, Relayed::Silence(_)), "{status} {reason}: {relayed:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_of_the_protocol_is_silence() {
    let long = json!({ "success": true, "transaction": "x".repeat(MESSAGE_BYTES_MAX), "network": "" });
    for body in [String::new(), "<html>".into(), "[]".into(), "{}".into(), long.to_string()] {
        assert!(matches!(settled(answer(200, body)).await, Relayed::Silence(_)));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_slow_or_absent_facilitator_is_silent() {
    let (payload, requirements) = payment();
    let (elsewhere, asked) = saying(answer(200, json!({ "success": true }).to_string())).await;
    let away = http::Response::builder().status(307).header(header::LOCATION, format!("{}/settle", elsewhere.url));
    assert!(matches!(settled(away.body(String::new()).unwrap()).await, Relayed::Silence(_)));
    assert!(asked.lock().unwrap().is_empty(), "a payment went where nobody configured");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mute = Remote::new(&url, PATIENCE).unwrap();
    assert!(matches!(mute.settle(&payload, &requirements).await, Relayed::Silence(_)), "accepts and says nothing");
    drop(listener);
    assert!(matches!(mute.settle(&payload, &requirements).await, Relayed::Silence(_)), "refuses the connection");
    assert!(Remote::new("no url", PATIENCE).is_err());
}

#[tokio::test]
async fn a_refusal_counts_with_the_status_of_either_school_and_the_key_is_the_claim() {
    let (payload, requirements) = payment();
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::PAYMENT_REQUIRED] {
        let (remote, asked) = saying(answer(status.as_u16(), failed("insufficient_funds").to_string())).await;
        let Relayed::Answer(response) = remote.settle(&payload, &requirements).await else {
            panic!("an answer was expected")
        };
        let reason = "invalid_exact_evm_insufficient_balance";
        assert_eq!((response.success, response.error_reason.as_deref()), (false, Some(reason)));
        let key = scheme::claim_key(&payload, &requirements).unwrap().to_string();
        assert_eq!(*asked.lock().unwrap(), [("/settle".to_owned(), key)]);
    }
    let success = json!({ "success": true, "transaction": "0x1", "network": "eip155:31337", "payer": "0x2" });
    assert!(matches!(settled(answer(200, success.to_string())).await, Relayed::Answer(response) if response.success));
    let (remote, asked) = saying(answer(200, json!({ "isValid": true, "payer": "0x2" }).to_string())).await;
    assert!(matches!(remote.verify(&payload, &requirements).await, Relayed::Answer(response) if response.is_valid));
    assert_eq!(asked.lock().unwrap()[0].0, "/verify");
}

#[tokio::test]
async fn a_code_is_passed_on_in_one_spelling_and_never_wrapped() {
    let (payload, requirements) = payment();
    for (said, passed_on) in [
        ("recipient_mismatch", "invalid_exact_evm_recipient_mismatch"),
        ("missing_eip712_domain", "invalid_exact_evm_missing_eip712_domain"),
        ("invalid_exact_evm_payload_signature", "invalid_exact_evm_signature"),
        ("permit2_allowance_required", "permit2_allowance_required"),
        ("some_code_of_tomorrow", "some_code_of_tomorrow"),
        ("Some Sentence.", "Some Sentence."),
    ] {
        let Relayed::Answer(settled) = settled(answer(400, failed(said).to_string())).await else {
            panic!("an answer was expected")
        };
        assert_eq!(settled.error_reason.as_deref(), Some(passed_on));
        let refused = json!({ "isValid": false, "invalidReason": said, "payer": null }).to_string();
        let Relayed::Answer(refused) = saying(answer(412, refused)).await.0.verify(&payload, &requirements).await
        else {
            panic!("an answer was expected")
        };
        assert_eq!(refused.invalid_reason.as_deref(), Some(passed_on));
    }
    let null = json!({ "success": false, "errorReason": "insufficient_funds", "transaction": null, "network": null });
    assert!(matches!(settled(answer(400, null.to_string())).await, Relayed::Answer(response) if !response.success));
}

/// Also where nothing of it is charged: whoever carries has to hear that the permit is used up.
#[tokio::test]
async fn a_price_by_usage_is_carried_too() {
    let mut terms = terms();
    terms["scheme"] = json!("upto");
    terms["extra"]["assetTransferMethod"] = json!("permit2");
    terms["extra"]["facilitatorAddress"] = json!("0x90f79bf6eb2c4f870365e785982e1f101e93b906");
    let payload: PaymentPayload = serde_json::from_value(json!({
        "x402Version": 2, "accepted": terms,
        "payload": {
            "signature": format!("0x{}", "11".repeat(65)),
            "permit2Authorization": {
                "from": "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
                "permitted": { "token": terms["asset"], "amount": "10000" },
                "spender": "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002",
                "nonce": "5", "deadline": "4000000000",
                "witness": { "to": terms["payTo"], "facilitator": terms["extra"]["facilitatorAddress"],
                    "validAfter": "0" },
            },
        },
    }))
    .unwrap();
    for charged in ["0", "37", "10000"] {
        let mut requirements: PaymentRequirements = serde_json::from_value(terms.clone()).unwrap();
        requirements.amount = charged.to_owned();
        let (remote, asked) = saying(answer(200, failed("insufficient_funds").to_string())).await;
        let relayed = remote.settle(&payload, &requirements).await;
        assert!(matches!(relayed, Relayed::Answer(_)), "{charged}: {relayed:?}");
        assert_eq!(asked.lock().unwrap()[0].0, "/settle", "{charged}");
    }
}
