//! A shop's checkouts by ACP and UCP: what the merchant signed is what is bought, for what it says, once, and nothing is
//! completed that was not paid.

mod acp;
mod buyers;
mod cards;
mod ends;
mod odd;
mod one_budget;
mod orders;
mod races;
mod schemas;
mod signed;
mod tokens;
mod told;

use mandates::keys::{KeySet, LocalKey};
use mandates::ucp::verify;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::checkout::{AP2, Differing, Platform, together, ucp_items, ucp_mandates};
use crate::harness::closing::{answered, figures};
use crate::harness::shop::{intent, new_key};
use crate::harness::text;

#[tokio::test(flavor = "multi_thread")]
async fn a_ucp_checkout_is_completed_by_mandate() {
    let platform = Platform::open().await;
    let found = platform.send(Method::GET, "/.well-known/ucp", &[], None).await;
    assert!(found.body["ucp"]["capabilities"].get(AP2).is_some());
    let jwks = json!({ "keys": found.body["signing_keys"] });
    let keys = KeySet::from_jwks(jwks.as_object().unwrap()).unwrap();
    let session = platform.open_ucp().await;
    let id = text(&session, "id").to_owned();
    let read = verify(session.to_string().as_bytes(), &keys).expect("the merchant signed it");
    assert_eq!(read.checkout_jwt, text(&session["ap2"], "checkout_jwt"), "the signature is the same in both forms");
    let shown = platform.ucp(Method::GET, &format!("/{id}"), None).await;
    assert_eq!(shown.body, session, "shown as it was signed");

    // Two of them cost more; the mandate is closed over what is signed now.
    let changed = platform.ucp(Method::PUT, &format!("/{id}"), Some(ucp_items("gift_card", 2))).await.body;
    assert_eq!(changed["totals"].as_array().unwrap().last().unwrap()["amount"], 200);
    let mandate = platform.shop.mandate(intent()).await;
    let closed = platform.chained(&mandate, &changed).await;
    let (checkout, payment) = (text(&closed, "checkout_mandate"), text(&closed, "payment_mandate"));
    assert_eq!(figures(&platform.shop, &mandate).await, ("2.00".into(), "0.00".into()));
    let (path, key) = (format!("/{id}/complete"), new_key());
    let body = ucp_mandates(checkout, payment);
    let done = platform.ucp_as(&platform.locked, Method::POST, &path, &key, Some(&body)).await;
    assert_eq!((done.status, text(&done.body, "status")), (200, "completed"), "{}", done.body);
    assert!(verify(done.body.to_string().as_bytes(), &keys).is_ok(), "signed to the end");
    let again = platform.ucp_as(&platform.locked, Method::POST, &path, &key, Some(&body)).await;
    assert_eq!((again.body, again.headers.contains_key("idempotent-replayed")), (done.body.clone(), true));

    // The receipt is what posts the payment where it was held.
    let settled =
        answered(&platform.shop, &closed, text(&done.body["ap2"], "payment_receipt")).await.expect("a receipt");
    assert_eq!(text(&settled, "state"), "settled");
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "2.00".into()));

    // It is over: not completed again, not changed, not cancelled; and what paid for it pays for nothing else.
    for (method, path, body) in [
        (Method::POST, path.clone(), Some(body.clone())),
        (Method::PUT, format!("/{id}"), Some(ucp_items("gift_card", 3))),
        (Method::POST, format!("/{id}/cancel"), None),
    ] {
        let answer = platform.ucp(method, &path, body).await;
        assert_eq!(answer.said(), (409, "not_modifiable"), "{path}: {}", answer.body);
    }
    let second = platform.open_ucp().await;
    let replayed = platform.complete(&second, checkout, payment).await;
    assert_eq!(replayed.code(), "mandate_scope_mismatch", "{}", replayed.body);
    let shown = platform.ucp(Method::GET, &format!("/{}", text(&second, "id")), None).await;
    assert_eq!(text(&shown.body, "status"), "ready_for_complete");
    assert_eq!(platform.ucp(Method::GET, &format!("/{id}"), None).await.body, done.body);
}

/// Every leaf of a document, each changed in one of the copies.
fn changed_everywhere(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(members) => {
            let mut all: Vec<Value> = Vec::new();
            for (name, member) in members {
                for other in changed_everywhere(member) {
                    let mut copy = members.clone();
                    copy[name] = other;
                    all.push(copy.into());
                }
                let mut without = members.clone();
                without.remove(name);
                all.push(without.into());
            }
            let mut more = members.clone();
            more.insert("added".into(), true.into());
            all.push(more.into());
            all
        }
        Value::Array(entries) => {
            let mut all: Vec<Value> = Vec::new();
            for (at, entry) in entries.iter().enumerate() {
                for other in changed_everywhere(entry) {
                    let mut copy = entries.clone();
                    copy[at] = other;
                    all.push(copy.into());
                }
            }
            all
        }
        Value::String(text) => vec![format!("{text}x").into()],
        Value::Number(number) => vec![(number.as_u64().unwrap_or_default() + 1).into()],
        Value::Bool(flag) => vec![(!flag).into()],
        Value::Null => vec![1.into()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_was_changed_anywhere_is_refused() {
    let platform = Platform::open().await;
    let session = platform.open_ucp().await;
    let jwt = text(&session["ap2"], "checkout_jwt");
    let parts: Vec<&str> = jwt.split('.').collect();
    let payload: Value = serde_json::from_slice(&mandates::base64url::decode(parts[1]).unwrap()).unwrap();
    let changed = changed_everywhere(&payload);
    assert!(changed.len() > 60, "{}", changed.len());
    for other in changed {
        let text = mandates::canonical::canonical(&other).unwrap();
        let forged = format!("{}.{}.{}", parts[0], mandates::base64url::encode(text.as_bytes()), parts[2]);
        let mandate = platform.single(&session, &Differing { jwt: Some(&forged), ..Differing::default() });
        let answer = platform.complete(&session, &mandate, "unread").await;
        assert_eq!(answer.code(), "merchant_authorization_invalid", "{other}: {}", answer.body);
    }
    let shown = platform.ucp(Method::GET, &format!("/{}", text(&session, "id")), None).await;
    assert_eq!(shown.body, session, "nothing came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_of_the_mandate_extension_is_answered() {
    let platform = Platform::open().await;
    let session = platform.open_ucp().await;
    let id = text(&session, "id").to_owned();
    let stranger = LocalKey::from_random(&[9; 32]).unwrap();
    let grown = platform.ucp(Method::PUT, &format!("/{id}"), Some(ucp_items("gift_card", 2))).await.body;
    let other = platform.open_ucp().await;
    let payment = platform.single_payment(&grown, "card");
    let of = |session: &Value, differing: Differing<'_>| platform.single(session, &differing);
    let good = || of(&grown, Differing::default());
    let posing = LocalKey::from_random(&[9; 32]).unwrap().named(platform.root.key_id());
    for (checkout, payment, code) in [
        (of(&session, Differing::default()), &payment, "mandate_scope_mismatch"),
        (of(&other, Differing::default()), &payment, "mandate_scope_mismatch"),
        (of(&grown, Differing { nonce: Some("another"), ..Differing::default() }), &payment, "mandate_scope_mismatch"),
        (
            of(&grown, Differing { audience: Some("https://else.example"), ..Differing::default() }),
            &payment,
            "mandate_scope_mismatch",
        ),
        (of(&grown, Differing { lives_seconds: Some(-120), ..Differing::default() }), &payment, "mandate_expired"),
        (of(&grown, Differing { key: Some(&stranger), ..Differing::default() }), &payment, "mandate_invalid_signature"),
        (of(&grown, Differing { key: Some(&posing), ..Differing::default() }), &payment, "mandate_invalid_signature"),
        ("header.payload.signature~kb_signature".to_owned(), &payment, "mandate_invalid_signature"),
        (String::new(), &payment, "mandate_invalid_signature"),
        (payment.clone(), &payment, "mandate_scope_mismatch"),
        (good(), &platform.single_payment(&session, "card"), "mandate_scope_mismatch"),
        (good(), &platform.single_payment(&other, "card"), "mandate_scope_mismatch"),
        (good(), &"success_token".to_owned(), "mandate_invalid_signature"),
        (good(), &good(), "mandate_scope_mismatch"),
    ] {
        let answer = platform.complete(&grown, &checkout, payment).await;
        assert_eq!((answer.status, answer.code()), (200, code), "{}", answer.body);
        assert_eq!(answer.body["ucp"]["status"], "error");
    }
    // Whoever negotiated AP2 does not go back, and not by leaving something out.
    let path = format!("/{id}/complete");
    for body in [
        json!({}),
        json!({ "ap2": {} }),
        json!({ "ap2": null, "payment": ucp_mandates("", &payment)["payment"] }),
        json!({ "ap2": { "checkout_mandate": good() } }),
        json!({ "ap2": { "checkout_mandate": good() }, "payment": { "instruments": [{ "handler_id": "mock", "credential": { "token": "success_token" } }] } }),
    ] {
        let answer = platform.ucp(Method::POST, &path, Some(body.clone())).await;
        assert_eq!((answer.status, answer.code()), (200, "mandate_required"), "{body}");
    }
    for (profile, status, code) in [
        (platform.of("/keyless"), 200, "agent_missing_key"),
        (platform.of("/later"), 422, "version_unsupported"),
        (platform.of("/empty"), 422, "profile_malformed"),
        (platform.of("/nothing"), 424, "profile_unreachable"),
        ("http://192.0.2.1/profile".to_owned(), 400, "invalid_profile_url"),
        ("file:///etc/passwd".to_owned(), 400, "invalid_profile_url"),
        ("https://10.0.0.1/profile".to_owned(), 400, "invalid_profile_url"),
        (String::new(), 400, "invalid_profile_url"),
    ] {
        let answer = platform.ucp_as(&profile, Method::POST, "", &new_key(), Some(&ucp_items("gift_card", 1))).await;
        assert_eq!(answer.said(), (status, code), "{profile}: {}", answer.body);
    }
    let plain = platform.ucp_as(&platform.plain, Method::POST, "", &new_key(), Some(&ucp_items("gift_card", 1))).await;
    assert!(plain.status == 201 && plain.body.get("ap2").is_none());
    let path = format!("/{}/complete", text(&plain.body, "id"));
    let unpaid =
        platform.ucp_as(&platform.plain, Method::POST, &path, &new_key(), Some(&ucp_mandates(&good(), &payment))).await;
    assert_eq!(unpaid.status, 400, "nothing pays for a checkout without mandates: {}", unpaid.body);
    let hidden = platform.ucp_as(&platform.plain, Method::GET, &format!("/{id}"), &new_key(), None).await;
    assert_eq!(hidden.said(), (404, "not_found"), "another platform's checkout is not there");
    let done = platform.complete(&grown, &good(), &payment).await;
    assert_eq!(text(&done.body, "status"), "completed", "{}", done.body);
}

/// Eight people pay for one checkout at once, each with mandates of their own.
#[tokio::test(flavor = "multi_thread")]
async fn one_checkout_is_completed_once() {
    let platform = Platform::open().await;
    let session = platform.open_ucp().await;
    let path = format!("/{}/complete", text(&session, "id"));
    let bodies: Vec<Value> = (0..8)
        .map(|one| {
            let lives_seconds = Some(200 + one);
            let checkout = platform.single(&session, &Differing { lives_seconds, ..Differing::default() });
            ucp_mandates(&checkout, &platform.single_payment(&session, &format!("card-{one}")))
        })
        .collect();
    let calls = bodies.iter().map(|body| platform.ucp(Method::POST, &path, Some(body.clone())));
    let answers = together(calls).await;
    let completed: Vec<_> = answers.iter().filter(|answer| answer.body["status"] == "completed").collect();
    assert_eq!(completed.len(), 1, "{:?}", answers.iter().map(|answer| answer.said()).collect::<Vec<_>>());
    for answer in answers.iter().filter(|answer| answer.body["status"] != "completed") {
        assert!(["complete_in_progress", "not_modifiable"].contains(&answer.code()), "{}", answer.body);
        assert_eq!(answer.status, 409);
    }
    let shown = platform.ucp(Method::GET, path.trim_end_matches("/complete"), None).await;
    assert_eq!(shown.body, completed[0].body);
}
