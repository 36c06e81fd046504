//! An agent leaves a card and an allowance, a merchant redeems the token (ACP, delegate payment). Attacked: no spend without a
//! mandate, never over the limit, never twice, a human can stop it, and nobody reads a card.

use std::collections::BTreeSet;

use ledger::id::CallerKind;
use purser::world::{AGENT, BYSTANDER, HOME, MERCHANT, NEIGHBOUR, SHOP, USER};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::root;
use crate::harness::shop::new_key;
use crate::harness::text;
use crate::harness::vault::{Given, PAN, VERSION, Vault, in_seconds, merge, request};

/// What is refused before anything is looked up: what differs from a good request, status, code, member.
fn malformed() -> Vec<(Value, u16, &'static str, &'static str)> {
    let card = |differing: Value| json!({ "payment_method": differing });
    let allowed = |differing: Value| json!({ "allowance": differing });
    vec![
        (json!({ "payment_method": "-" }), 400, "invalid_request", "$.payment_method"),
        (json!({ "allowance": "-" }), 400, "invalid_request", "$.allowance"),
        (json!({ "risk_signals": "-" }), 400, "invalid_request", "$.risk_signals"),
        (json!({ "metadata": "-" }), 400, "invalid_request", "$.metadata"),
        (json!({ "metadata": { "a": 1 } }), 400, "invalid_request", "$.metadata"),
        (json!({ "metadata": null }), 400, "invalid_request", "$.metadata"),
        (json!({ "billing_address": null }), 400, "invalid_request", "$.billing_address"),
        (json!({ "billing_address": { "name": "Jane" } }), 400, "invalid_request", "$.billing_address.line_one"),
        (json!({ "amount": 1 }), 400, "invalid_request", "$"),
        (
            json!({ "risk_signals": [{ "type": "x", "score": 1, "action": "authorized" }] }),
            400,
            "invalid_request",
            "$.risk_signals[0].type",
        ),
        (
            json!({ "risk_signals": [{ "type": "card_testing", "score": 1, "action": "blocked" }] }),
            422,
            "risk_blocked",
            "$.risk_signals[0].action",
        ),
        (card(json!({ "type": "iban" })), 400, "invalid_request", "$.payment_method.type"),
        (card(json!({ "number": "-" })), 400, "invalid_request", "$.payment_method.number"),
        (card(json!({ "number": 4242 })), 400, "invalid_request", "$.payment_method.number"),
        (card(json!({ "number": "4242424242424241" })), 422, "invalid_card", "$.payment_method.number"),
        (card(json!({ "number": "4242" })), 422, "invalid_card", "$.payment_method.number"),
        (card(json!({ "number": "42424242x4242424" })), 422, "invalid_card", "$.payment_method.number"),
        (card(json!({ "exp_month": "13" })), 422, "invalid_card", "$.payment_method.exp_month"),
        (card(json!({ "exp_month": 11 })), 400, "invalid_request", "$.payment_method.exp_month"),
        (card(json!({ "exp_year": "203" })), 422, "invalid_card", "$.payment_method.exp_year"),
        (card(json!({ "cvc": "12345" })), 400, "invalid_request", "$.payment_method.cvc"),
        (card(json!({ "cvc": "1a3" })), 422, "invalid_card", "$.payment_method.cvc"),
        (card(json!({ "display_last4": "4241" })), 422, "invalid_card", "$.payment_method.display_last4"),
        (card(json!({ "display_last4": "42" })), 400, "invalid_request", "$.payment_method.display_last4"),
        (card(json!({ "virtual": null })), 400, "invalid_request", "$.payment_method.virtual"),
        (card(json!({ "pin": "1234" })), 400, "invalid_request", "$.payment_method"),
        (allowed(json!({ "reason": "recurring" })), 400, "invalid_request", "$.allowance.reason"),
        (allowed(json!({ "max_amount": "2000" })), 400, "invalid_request", "$.allowance.max_amount"),
        (allowed(json!({ "max_amount": 20.5 })), 400, "invalid_request", "$.allowance.max_amount"),
        (allowed(json!({ "max_amount": 0 })), 422, "amount_zero", "$.allowance.max_amount"),
        (allowed(json!({ "max_amount": -1 })), 422, "amount_zero", "$.allowance.max_amount"),
        // Integers without end are the schema's; what it has is never malformed.
        (allowed(json!({ "max_amount": u64::MAX })), 422, "invalid_request", "$.allowance.max_amount"),
        (
            json!({ "risk_signals": [{ "type": "card_testing", "score": u64::MAX, "action": "authorized" }] }),
            422,
            "invalid_request",
            "$",
        ),
        (allowed(json!({ "currency": "USD" })), 400, "invalid_request", "$.allowance.currency"),
        (allowed(json!({ "merchant_id": "m".repeat(257) })), 400, "invalid_request", "$.allowance.merchant_id"),
        (allowed(json!({ "expires_at": "tomorrow" })), 400, "invalid_request", "$.allowance.expires_at"),
        (allowed(json!({ "expires_at": in_seconds(-1) })), 422, "allowance_expired", "$.allowance.expires_at"),
        (
            allowed(json!({ "checkout_session_id": PAN })),
            422,
            "card_number_misplaced",
            "$.allowance.checkout_session_id",
        ),
        (
            json!({ "metadata": { "note": "card 4242-4242 4242 4242" } }),
            422,
            "card_number_misplaced",
            "$.metadata.note",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_allowance_within_a_mandate_is_refused_and_holds_nothing() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("50.00").await;
    for (differing, status, code, param) in malformed() {
        let answer = vault.delegate(&new_key(), &request(&mandate, 500, differing.clone())).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{differing}: {answer:?}");
        assert_eq!(answer.body["param"], param, "{differing}: {answer:?}");
        assert!(!format!("{answer:?}").contains(PAN), "{answer:?}");
    }
    let past = vault.mandate("1.00").await;
    vault.shop.call(Method::POST, &format!("/v1/mandates/{past}/revoke"), &vault.shop.user, None).await.unwrap();
    let mut cart = crate::harness::shop::intent();
    merge(&mut cart, &json!({ "cart": "required", "per_payment": null, "total": "50.00" }));
    let cart = vault.shop.mandate(cart).await;
    let mut elsewhere = crate::harness::shop::intent();
    merge(
        &mut elsewhere,
        &json!({ "per_payment": null, "total": "50.00", "payees": [{ "id": "acme", "name": "Acme Store" }] }),
    );
    let elsewhere = vault.shop.mandate(elsewhere).await;
    for (mandate, differing, code) in [
        ("00".repeat(32), json!({}), "not_found"),
        ("nonsense".into(), json!({}), "not_found"),
        (mandate.clone(), json!({ "metadata": { "mandate": "-" } }), "mandate_missing"),
        (mandate.clone(), json!({ "allowance": { "max_amount": 5_001 } }), "amount_above_max"),
        (mandate.clone(), json!({ "allowance": { "currency": "eur" } }), "asset_mismatch"),
        (mandate.clone(), json!({ "allowance": { "merchant_id": "nobody" } }), "merchant_unknown"),
        (elsewhere, json!({}), "payee_not_allowed"),
        (cart, json!({}), "cart_required"),
        (past, json!({ "allowance": { "max_amount": 50 } }), "mandate_revoked"),
    ] {
        let answer = vault.delegate(&new_key(), &request(&mandate, 500, differing.clone())).await;
        assert_eq!((answer.status, answer.code()), (422, code), "{differing}: {answer:?}");
    }
    let body = request(&mandate, 500, json!({})).to_string();
    let long = "k".repeat(256);
    for (headers, status, code) in [
        (vec![("API-Version", VERSION)], 400, "idempotency_key_required"),
        (vec![("API-Version", VERSION), ("Idempotency-Key", "")], 400, "idempotency_key_required"),
        (vec![("API-Version", VERSION), ("Idempotency-Key", long.as_str())], 400, "idempotency_key_required"),
        (
            vec![("API-Version", VERSION), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
            400,
            "idempotency_key_required",
        ),
        (vec![("API-Version", VERSION), ("Idempotency-Key", PAN)], 422, "card_number_misplaced"),
        (vec![("API-Version", VERSION), ("Idempotency-Key", "a"), ("Timestamp", "yesterday")], 400, "invalid_request"),
        (vec![("Idempotency-Key", "a")], 400, "missing_api_version"),
        (vec![("API-Version", "2025-09-29"), ("Idempotency-Key", "a")], 400, "unsupported_api_version"),
    ] {
        let headers = [headers, vec![("Request-Id", "req_1")]].concat();
        let answer = vault.delegate_with(&vault.shop.agent, &headers, body.clone().into_bytes()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{headers:?}: {answer:?}");
        assert_eq!(answer.header("request-id"), Some("req_1"));
        let versions = if code.ends_with("api_version") { json!([VERSION]) } else { Value::Null };
        assert_eq!(answer.body["supported_versions"], versions);
    }
    let bystander = vault.shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    for (token, status) in [
        ("", 401),
        ("nonsense", 401),
        (vault.shop.user.as_str(), 422),
        (vault.shop.merchant.as_str(), 422),
        (bystander.as_str(), 422),
    ] {
        let answer = vault.delegate_as(token, &new_key(), &request(&mandate, 500, json!({}))).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for text in ["", "[]", "{", r#"{"a":1,"a":2}"#, "null"] {
        let headers = [("API-Version", VERSION), ("Idempotency-Key", "a")];
        let answer = vault.delegate_with(&vault.shop.agent, &headers, text.into()).await;
        assert_eq!(answer.status, 400, "{text}: {answer:?}");
    }
    assert_eq!(vault.figures(&mandate).await, ("0.00".into(), "0.00".into()));
    vault.validate();
    vault.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request_and_examples_of_the_specification_are_taken() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let (key, body) = (new_key(), request(&mandate, 500, json!({ "payment_method": { "virtual": false } })));
    let first = vault.delegate(&key, &body).await;
    assert!(first.token().starts_with("vt_") && first.token().bytes().skip(3).all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!((first.header("idempotent-replayed"), first.header("idempotency-key")), (None, Some(key.as_str())));
    // The same JSON: members in another order, the same number.
    let again = body.to_string().replace("\"max_amount\":500", "\"max_amount\":500.0");
    let reversed: Vec<(String, Value)> =
        serde_json::from_str::<serde_json::Map<_, _>>(&again).unwrap().into_iter().rev().collect();
    let reversed = reversed.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect::<Vec<_>>().join(" , ");
    let headers = [("API-Version", VERSION), ("Idempotency-Key", key.as_str()), ("Request-Id", "req_7")];
    let replay = vault.delegate_with(&vault.shop.agent, &headers, format!("{{{reversed}}}").into_bytes()).await;
    assert_eq!((replay.status, &replay.body), (201, &first.body));
    assert_eq!((replay.header("idempotent-replayed"), replay.header("request-id")), (Some("true"), Some("req_7")));
    for differing in [
        json!({ "allowance": { "max_amount": 501 } }),
        json!({ "payment_method": { "checks_performed": ["cvv", "avs"] } }),
        json!({ "payment_method": { "virtual": "-" } }),
        json!({ "payment_method": { "cvc": "224" } }),
        json!({ "metadata": { "source": "another" } }),
    ] {
        let mut other = body.clone();
        merge(&mut other, &differing);
        let answer = vault.delegate(&key, &other).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (422, Some("idempotency_conflict")), "{differing}");
    }
    // Null is no absence: it is another request, and none of the schema's.
    let mut null = body.clone();
    null["payment_method"]["virtual"] = Value::Null;
    assert_eq!(vault.delegate(&key, &null).await.status, 400);
    // Many at once: one token; whoever is too early is told to wait.
    let (key, body) = (new_key(), request(&mandate, 100, json!({})));
    let calls: Vec<_> = (0..20).map(|_| vault.delegate(&key, &body)).collect();
    let mut tokens = BTreeSet::new();
    for answer in futures(calls).await {
        match answer.status {
            201 => drop(tokens.insert(answer.token())),
            status => {
                assert_eq!((status, answer.body["code"].as_str()), (409, Some("idempotency_in_flight")), "{answer:?}");
                assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
            }
        }
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(vault.figures(&mandate).await.0, "6.00");
    // A refusal of the book is kept under its key, too.
    let (key, dear) = (new_key(), request(&mandate, 9_999, json!({})));
    for expected in [None, Some("amount_exceeds_budget")] {
        let answer = vault.delegate(&key, &dear).await;
        assert_eq!((answer.status, answer.code()), (422, "amount_exceeds_budget"), "{expected:?}");
    }
    let examples = std::fs::read_to_string(root().join("fixtures/acp/examples.delegate_payment.json")).unwrap();
    let examples: Value = serde_json::from_str(&examples).unwrap();
    for differing in [
        json!({}),
        json!({ "allowance": { "merchant_id": "acme" }, "payment_method": { "display_wallet_type": "-", "virtual": "-" } }),
    ] {
        let mut example = examples["delegate_payment_request"].clone();
        merge(&mut example, &differing);
        merge(&mut example, &json!({ "allowance": { "expires_at": in_seconds(600) } }));
        let minter = vault.shop.service.acp_token(&mandate).unwrap();
        let answer = vault.delegate_as(&minter, &new_key(), &example).await;
        answer.token();
        assert_eq!(
            (&answer.body["metadata"]["campaign"], &answer.body["metadata"]["mandate"]),
            (&json!("q4"), &json!(mandate))
        );
    }
    vault.validate();
    vault.shop.service.stop().await;
}

/// All of them at once, in their order.
async fn futures<T: Send>(calls: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut pinned: Vec<_> = calls.into_iter().map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(move |context| {
        let mut is_done = true;
        for (call, answer) in &mut pinned {
            if answer.is_none() {
                match call.as_mut().poll(context) {
                    std::task::Poll::Ready(found) => *answer = Some(found),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        match is_done {
            true => std::task::Poll::Ready(pinned.iter_mut().filter_map(|(_, answer)| answer.take()).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_redeemed_once_by_its_merchant_within_its_allowance() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("1000.00").await;
    let given = vault.token_of(&mandate, 3_500, json!({})).await;
    let (shop, other) = (vault.shop.merchant.clone(), vault.other_merchant.clone());
    let asks = |differing: Value| {
        let mut body = given.asks(3_000);
        merge(&mut body, &differing);
        body
    };
    for (merchant, differing, status, code) in [
        (&other, json!({}), 404, "token_unknown"),
        (&vault.shop.user, json!({}), 404, "token_unknown"),
        (&vault.shop.agent, json!({}), 403, "forbidden"),
        (&shop, json!({ "token": format!("{}0", given.token) }), 404, "token_unknown"),
        (&shop, json!({ "token": "" }), 404, "token_unknown"),
        (&shop, json!({ "amount": 3_501 }), 422, "amount_exceeds_allowance"),
        (&shop, json!({ "amount": 0 }), 400, "amount_zero"),
        (&shop, json!({ "amount": -1 }), 400, "invalid_request"),
        (&shop, json!({ "amount": 1.5 }), 400, "invalid_request"),
        (&shop, json!({ "currency": "eur" }), 422, "currency_mismatch"),
        (&shop, json!({ "checkout_session_id": "another" }), 422, "checkout_session_mismatch"),
        (&shop, json!({ "checkout_session_id": "-" }), 400, "invalid_request"),
        (&shop, json!({ "tip": 1 }), 400, "invalid_request"),
    ] {
        let answer = vault.vault("capture", merchant, Some(&new_key()), asks(differing.clone())).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{differing}: {answer:?}");
    }
    assert_eq!(vault.vault("capture", &shop, None, asks(json!({}))).await.code(), "idempotency_key_required");
    assert_eq!(vault.vault("verify", &other, None, json!({ "token": given.token })).await.code(), "token_unknown");
    assert_eq!(vault.figures(&mandate).await, ("35.00".into(), "0.00".into()), "nothing of this moved anything");
    let view = vault.view(&given).await;
    assert_eq!(
        (&view["valid"], &view["max_amount"], &view["card"]["last4"]),
        (&json!(true), &json!(3_500), &json!("4242"))
    );
    // Of many at once one captures; its key gets the same answer for ever, another key none.
    let keys: Vec<String> = (0..8).map(|_| new_key()).collect();
    let answers = futures(keys.iter().map(|key| vault.capture(&given, key, 3_000)).collect()).await;
    let winners: Vec<_> = keys.iter().zip(&answers).filter(|(_, answer)| answer.status == 200).collect();
    let [(key, won)] = winners.as_slice() else { panic!("one wins: {answers:?}") };
    assert_eq!((text(&won.body, "state"), &won.body["captured"]["amount"]), ("settled", &json!(3_000)));
    let again = vault.capture(&given, key, 3_000).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.body["captured"], won.body["captured"]);
    for (key, cents) in [(new_key(), 3_000), (new_key(), 1), (key.to_string(), 2_999)] {
        assert_eq!(vault.capture(&given, &key, cents).await.code(), "token_used");
    }
    assert_eq!(vault.vault("void", &shop, None, json!({ "token": given.token })).await.status, 409);
    assert_eq!(vault.figures(&mandate).await, ("0.00".into(), "30.00".into()), "five came back");
    gives_back(&vault, &given, &mandate).await;
    // A session is paid once, whichever token pays it.
    let second = vault.token_of(&mandate, 500, json!({ "allowance": { "checkout_session_id": given.session } })).await;
    assert_eq!(vault.capture(&second, &new_key(), 500).await.code(), "purchase_unresolved");
    stopped_and_over(&vault, &mandate).await;
    receipts_verify(&vault, won.body.clone()).await;
    vault.sound().await;
    vault.shop.service.stop().await;
}

/// Never more than was captured, and once for a key; the mandate does not get it back.
async fn gives_back(vault: &Vault, given: &Given, mandate: &str) {
    let refund = async |merchant: &str, key: &str, cents: u64| {
        vault.vault("refund", merchant, Some(key), json!({ "token": given.token, "amount": cents })).await
    };
    let (shop, key) = (vault.shop.merchant.clone(), new_key());
    assert_eq!(refund(&vault.other_merchant, &key, 1).await.code(), "token_unknown");
    assert_eq!(refund(&vault.shop.agent, &key, 1).await.code(), "forbidden");
    assert_eq!(refund(&shop, &key, 0).await.code(), "amount_zero");
    assert_eq!(refund(&shop, &new_key(), 3_001).await.code(), "refund_declined");
    for _ in 0..2 {
        let back = refund(&shop, &key, 1_000).await;
        assert_eq!((back.status, back.body["spend"]["refunded"].as_str()), (200, Some("1000000000")), "{back:?}");
    }
    assert_eq!(refund(&shop, &new_key(), 2_001).await.code(), "refund_declined");
    assert_eq!(refund(&shop, &new_key(), 2_000).await.status, 200);
    assert_eq!(vault.figures(mandate).await, ("0.00".into(), "30.00".into()));
}

/// Voided, revoked, expired, killed: such a token takes nothing.
async fn stopped_and_over(vault: &Vault, mandate: &str) {
    let (shop, agent) = (&vault.shop.merchant, &vault.shop.agent);
    for who in [shop, agent] {
        let given = vault.token_of(mandate, 500, json!({})).await;
        let voided = vault.vault("void", who, None, json!({ "token": given.token })).await;
        assert_eq!((voided.status, text(&voided.body, "state")), (200, "voided"));
        assert_eq!(vault.capture(&given, &new_key(), 500).await.code(), "token_state");
    }
    let admin = vault.shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    for scope in
        ["everything".to_owned(), format!("mandate/{mandate}"), format!("payee/{SHOP}"), format!("agent/{AGENT}")]
    {
        let killed = vault.token_of(mandate, 500, json!({})).await;
        let before = vault.figures(mandate).await;
        let stop = vault.shop.call(Method::POST, "/v1/kill", &admin, Some(json!({ "scope": scope }))).await.unwrap();
        assert_ne!(vault.figures(mandate).await, before, "{scope}: the hold is given back");
        assert_eq!(vault.capture(&killed, &new_key(), 500).await.code(), "token_state", "{scope}");
        let lifted = format!("/v1/kill/{}", text(&stop, "id"));
        vault.shop.call(Method::DELETE, &lifted, &admin, None).await.unwrap();
        assert_eq!(
            vault.capture(&killed, &new_key(), 500).await.code(),
            "token_state",
            "{scope}: it does not come back"
        );
    }
    let short = vault.token_of(mandate, 500, json!({ "allowance": { "expires_at": in_seconds(2) } })).await;
    vault.until(&short, "expired").await;
    assert_eq!(vault.capture(&short, &new_key(), 500).await.code(), "token_state");
    let other = vault.mandate("10.00").await;
    let revoked = vault.token_of(&other, 500, json!({})).await;
    vault.shop.call(Method::POST, &format!("/v1/mandates/{other}/revoke"), &vault.shop.user, None).await.unwrap();
    assert_eq!(vault.capture(&revoked, &new_key(), 500).await.code(), "token_state");
}

/// The receipt is signed, and the whole evidence verifies offline.
async fn receipts_verify(vault: &Vault, captured: Value) {
    let path = format!("/v1/payments/{}/evidence", text(&captured, "payment"));
    let file = vault.shop.call(Method::GET, &path, &vault.shop.user, None).await.unwrap();
    assert!(!file.to_string().contains(PAN) && !file.to_string().contains("Jane Doe"));
    let file = serde_json::from_value(file).unwrap();
    let engine = vault.shop.service.engine();
    let findings = engine::evidence::check(&file, vault.shop.service.roots(), &engine.assets);
    let failed: Vec<_> = findings.iter().filter(|finding| !finding.holds).map(ToString::to_string).collect();
    assert!(failed.is_empty() && findings.iter().any(|finding| finding.check == "settlement"), "{failed:?}");
    assert_eq!(text(&captured["captured"], "receipt").split('.').count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_allowances_over_a_budget_for_ten_and_two_people_beside_each_other() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let bodies: Vec<Value> = (0..100).map(|_| request(&mandate, 1_000, json!({}))).collect();
    let keys: Vec<String> = (0..100).map(|_| new_key()).collect();
    let answers = futures(bodies.iter().zip(&keys).map(|(body, key)| vault.delegate(key, body)).collect()).await;
    let given = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.code() == "amount_exceeds_budget").count();
    assert_eq!((given, refused), (10, 90));
    assert_eq!(vault.figures(&mandate).await, ("100.00".into(), "0.00".into()));
    // The same keys and bodies, interleaved, of two agents of two people: nobody gets the other's token.
    let bystander = vault.shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let neighbour = vault.shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    let mut theirs = crate::harness::shop::intent();
    merge(&mut theirs, &json!({ "user": NEIGHBOUR, "total": "50.00" }));
    let asked = vault.shop.call(Method::POST, "/v1/mandates/intents", &bystander, Some(theirs)).await.unwrap();
    let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
    let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
    let decided = vault.shop.call(Method::POST, &path, &neighbour, Some(decision)).await.unwrap();
    let (ours, theirs) = (vault.mandate("50.00").await, text(&decided, "mandate").to_owned());
    let mut tokens = BTreeSet::new();
    for _ in 0..10 {
        let (key, body) = (new_key(), request("", 100, json!({ "metadata": { "mandate": "-" } })));
        let (mut own, mut other) = (body.clone(), body);
        own["metadata"]["mandate"] = ours.as_str().into();
        other["metadata"]["mandate"] = theirs.as_str().into();
        let calls = [(&vault.shop.agent, &own), (&bystander, &other)];
        let answers = futures(calls.iter().map(|(token, body)| vault.delegate_as(token, &key, body)).collect()).await;
        tokens.extend(answers.iter().map(|answer| answer.token()));
        let swapped = vault.delegate_as(&vault.shop.agent, &new_key(), &other).await;
        assert_eq!(
            (swapped.status, swapped.code()),
            (422, "not_found"),
            "another's mandate is as if it were not there"
        );
    }
    assert_eq!(tokens.len(), 20);
    assert_eq!((vault.figures(&ours).await.0.as_str(), USER, MERCHANT), ("10.00", "user", "merchant"));
    vault.validate();
    vault.sound().await;
    vault.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_budget_holds_over_x402_and_a_vault_token_to_the_cent() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let offer = vault.shop.offer("/paid/dear", 40_000_000);
    vault.shop.pay(&mandate, &offer, &new_key()).await.expect("40.00 by x402");
    let given = vault.token_of(&mandate, 3_500, json!({})).await;
    assert_eq!(vault.figures(&mandate).await, ("75.00".into(), "0.00".into()));
    assert_eq!(vault.capture(&given, &new_key(), 3_000).await.status, 200);
    assert_eq!(vault.figures(&mandate).await, ("40.00".into(), "30.00".into()), "5.00 came back");
    let too_much = vault.delegate(&new_key(), &request(&mandate, 3_001, json!({}))).await;
    assert_eq!(too_much.code(), "amount_exceeds_budget");
    let another = vault.shop.offer("/paid/other", 30_010_000);
    assert_eq!(
        crate::harness::shop::code(vault.shop.pay(&mandate, &another, &new_key()).await),
        "amount_exceeds_budget"
    );
    let rest: Given = vault.token_of(&mandate, 3_000, json!({})).await;
    assert_eq!(vault.figures(&mandate).await, ("70.00".into(), "30.00".into()));
    assert_eq!(vault.capture(&rest, &new_key(), 3_000).await.status, 200);
    assert_eq!(vault.figures(&mandate).await, ("40.00".into(), "60.00".into()));
    let balances = vault.shop.call(Method::GET, "/v1/ledger/accounts", &vault.shop.user, None).await;
    if let Ok(balances) = balances {
        assert!(!balances.to_string().contains(PAN));
    }
    vault.sound().await;
    vault.shop.service.stop().await;
}
