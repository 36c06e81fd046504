//! A card that leaves the vault (UCP, `/detokenize`): to the merchant that the token is bound to and that takes it upon itself,
//! once; all that the token holds is committed before, and stays so until somebody who knows says what became of it.

use std::time::Duration;

use ledger::id::CallerKind;
use purser::acquirer::{DEVNET_SECRET, signature};
use purser::world::SHOP;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::shop::new_key;
use crate::harness::text;
use crate::harness::vault::{Answer, Given, PAN, Vault, merge, post};

/// A card that is left for a checkout of the other merchant's, who receives cards.
async fn left(vault: &Vault, mandate: &str, cents: u64, differing: Value) -> Given {
    let session = new_key();
    let mut body = json!({
        "credential": { "type": "pan", "number": PAN, "expiry_month": 12, "expiry_year": 2030, "cvc": "123" },
        "binding": { "checkout_id": session, "identity": { "access_token": "acme" } },
        "allowance": { "max_amount": cents, "currency": "USD" }, "mandate": mandate,
    });
    merge(&mut body, &differing);
    let given = post(&vault.shop.url("/tokenize"), &vault.shop.agent, &[], body.to_string().into_bytes()).await;
    assert_eq!(given.status, 200, "{given:?}");
    Given { token: text(&given.body, "token").to_owned(), session }
}

async fn detokenize(vault: &Vault, caller: &str, key: Option<&str>, body: &Value) -> Answer {
    let headers: Vec<_> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
    post(&vault.shop.url("/detokenize"), caller, &headers, body.to_string().into_bytes()).await
}

fn asks(given: &Given) -> Value {
    json!({ "token": given.token, "binding": { "checkout_id": given.session } })
}

async fn state(vault: &Vault, given: &Given) -> String {
    let body = json!({ "token": given.token }).to_string().into_bytes();
    let seen = post(&vault.shop.url("/v1/vault/verify"), &vault.other_merchant, &[], body).await;
    text(&seen.body, "state").to_owned()
}

/// What a processor says by itself, signed as it signs.
async fn notice(vault: &Vault, notice: &Value) -> Answer {
    let body = notice.to_string();
    let now = vault.shop.service.engine().clock.now().seconds();
    let signed = signature::sign(DEVNET_SECRET, now, body.as_bytes()).unwrap();
    post(&vault.shop.url("/v1/vault/notices/home"), "", &[("Acquirer-Signature", &signed)], body.into_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_handed_to_its_merchant_once_and_its_hold_is_committed() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let acquirer = vault.shop.service.acquirer_url().expect("one in this process").to_owned();
    let given = left(&vault, &mandate, 500, json!({})).await;
    let key = new_key();
    let card = detokenize(&vault, &vault.other_merchant, Some(&key), &asks(&given)).await;
    let expected = json!({ "type": "pan", "number": PAN, "expiry_month": 12, "expiry_year": 2030, "cvc": "123" });
    assert_eq!((card.status, &card.body), (200, &expected), "{card:?}");
    assert_eq!(card.header("cache-control"), Some("no-store"));
    assert!(["committed", "unknown"].contains(&&*state(&vault, &given).await));
    assert_eq!(vault.figures(&mandate).await, ("5.00".into(), "0.00".into()));
    // A lost answer is given again to whom it was given; to nobody else, and under no other key.
    let again = detokenize(&vault, &vault.other_merchant, Some(&key), &asks(&given)).await;
    assert_eq!((again.status, &again.body), (200, &expected));
    for other in [None, Some(new_key())] {
        let refused = detokenize(&vault, &vault.other_merchant, other.as_deref(), &asks(&given)).await;
        assert_eq!((refused.status, refused.code()), (409, "token_used"), "{refused:?}");
        assert!(!refused.body.to_string().contains(PAN));
    }
    // It is not captured here beside, and not given up.
    let capture = given.asks(500);
    let captured = vault.vault("capture", &vault.other_merchant, Some(&new_key()), capture).await;
    assert_eq!((captured.status, captured.code()), (409, "token_used"), "{captured:?}");
    let voided = vault.vault("void", &vault.shop.agent, None, json!({ "token": given.token })).await;
    assert_eq!(voided.status, 409, "{voided:?}");
    // Nobody here asks a processor for what the merchant charges, however long it takes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let payment = card.header("purser-payment-id").expect("a payment").to_owned();
    let asked = reqwest::Client::new().get(format!("{acquirer}/v1/payments/{payment}")).bearer_auth(DEVNET_SECRET);
    let asked: Value = asked.send().await.unwrap().json().await.unwrap();
    assert!(asked["deeds"].as_array().is_none_or(Vec::is_empty), "{asked}");
    assert_eq!(vault.figures(&mandate).await, ("5.00".into(), "0.00".into()));

    // Its processor says what became of it, under the key that came with the card; more than that it does not believe.
    let capture_key = card.header("purser-capture-key").expect("a key").to_owned();
    let done = json!({ "payment": payment, "key": capture_key, "outcome": "done", "id": "cap-1", "network_id": "n-1",
        "amount": "500", "currency": "USD" });
    for (name, value) in [("key", json!("another")), ("amount", json!("501")), ("currency", json!("EUR"))] {
        let mut wrong = done.clone();
        wrong[name] = value;
        let refused = notice(&vault, &wrong).await;
        assert_eq!((refused.status, refused.code()), (409, "notice_contradicts"), "{name}: {refused:?}");
    }
    let taken = notice(&vault, &done).await;
    assert_eq!((taken.status, text(&taken.body, "state")), (200, "settled"), "{taken:?}");
    assert_eq!(vault.figures(&mandate).await, ("0.00".into(), "5.00".into()));
    let over = detokenize(&vault, &vault.other_merchant, Some(&key), &asks(&given)).await;
    assert_eq!((over.status, over.code()), (409, "token_used"), "what is settled is handed to nobody: {over:?}");
    vault.sound().await;
    vault.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_handed_to_nobody_else() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let given = left(&vault, &mandate, 500, json!({})).await;
    let other = left(&vault, &mandate, 100, json!({})).await;
    let own = json!({ "binding": { "identity": { "access_token": "shop" } } });
    let of_shop = left(&vault, &mandate, 200, own).await;
    let stranger = vault.shop.service.token(SHOP, "stranger", CallerKind::Merchant).unwrap();
    let bound = |checkout: &str, identity: &str| json!({ "token": given.token, "binding": { "checkout_id": checkout, "identity": { "access_token": identity } } });
    let (merchant, acme) = (vault.shop.merchant.as_str(), vault.other_merchant.as_str());
    for (caller, body, status, code) in [
        (merchant, asks(&of_shop), 403, "cards_not_received"),
        (merchant, asks(&given), 404, "token_unknown"),
        (vault.shop.agent.as_str(), asks(&given), 403, ""),
        (vault.shop.user.as_str(), asks(&given), 404, "token_unknown"),
        (stranger.as_str(), asks(&given), 401, ""),
        ("", asks(&given), 401, ""),
        (acme, bound(&other.session, "acme"), 422, "checkout_session_mismatch"),
        (acme, bound(&given.session, "shop"), 422, "binding_mismatch"),
        (acme, bound("", "acme"), 400, "invalid_request"),
        (acme, json!({ "token": given.token }), 400, "invalid_request"),
        (acme, json!({ "token": "vt_none", "binding": { "checkout_id": given.session } }), 404, "token_unknown"),
        (acme, json!({ "token": given.token, "binding": { "checkout_id": given.session }, "all": true }), 400, ""),
    ] {
        let refused = detokenize(&vault, caller, Some(&new_key()), &body).await;
        let is_known = code.is_empty() || refused.code() == code;
        assert!(
            (refused.status == status || caller == stranger && refused.status == 404) && is_known,
            "{body}: {refused:?}"
        );
        assert!(!refused.body.to_string().contains(PAN), "{refused:?}");
    }
    for each in [&given, &other] {
        assert_eq!(state(&vault, each).await, "held");
    }
    // A stop bites before the card leaves.
    let path = format!("/v1/mandates/{mandate}/suspend");
    vault
        .shop
        .call(Method::POST, &path, &vault.shop.user, Some(json!({ "reason": "a test" })))
        .await
        .expect("suspended");
    let stopped = detokenize(&vault, acme, Some(&new_key()), &asks(&given)).await;
    assert!((400..500).contains(&stopped.status) && !stopped.body.to_string().contains(PAN), "{stopped:?}");
    assert_eq!(state(&vault, &given).await, "held");
    vault.shop.service.stop().await;
}
