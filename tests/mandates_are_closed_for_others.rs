//! Promises 1, 2, 3 and 5 where a payment mandate is closed for somebody else, who pays it: what it may take stays held
//! until their signed receipt comes, one nonce of theirs is used once, and the whole of it is in the evidence.

use std::time::Duration;

use mandates::keys::LocalKey;
use purser::client::ClientError;
use purser::world::{BYSTANDER, HOME, SHOP};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::closing::{BANK, answered, asked, cart, close, close_as, figures, flip, receipt, verdict};
use crate::harness::process::{run, stdout};
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_closed_is_refused_and_holds_nothing() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let mut for_another = intent();
    for_another["payees"] = json!([{ "id": "another", "name": "Another" }]);
    let for_another = shop.mandate(for_another).await;
    let good = cart(&shop, 100, json!({})).await;
    let forged = {
        let (rest, signature) = good.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        format!("{rest}.{first}{}", &signature[1..])
    };
    let own = shop.service.engine().tenant(&HOME.parse().unwrap()).unwrap().issuer.clone();
    let in_two_seconds = shop.service.engine().clock.now().seconds() + 2;
    let dear = cart(&shop, 301, json!({})).await;
    let nothing = cart(&shop, 0, json!({})).await;
    let euros = cart(&shop, 100, json!({ "currency": "EUR" })).await;
    let over = cart(&shop, 100, json!({ "exp": in_two_seconds })).await;
    for (body, status, expected) in [
        (asked(&mandate, &dear, json!({})), 422, "amount_above_max"),
        (asked(&mandate, &nothing, json!({})), 400, "amount_zero"),
        (asked(&mandate, &euros, json!({})), 422, "asset_mismatch"),
        (asked(&mandate, &over, json!({})), 422, "cart_mismatch"),
        (asked(&mandate, &forged, json!({})), 422, "checkout_jwt_signature_invalid"),
        (asked(&mandate, "a.b.c", json!({})), 422, "checkout_jwt_malformed"),
        (asked(&for_another, &good, json!({})), 422, "payee_not_allowed"),
        (asked(&mandate, &good, json!({ "audience": own })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "audience": "" })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "nonce": "" })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "nonce": "a\nb" })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "nonce": "n".repeat(513) })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "checkout": { "audience": own, "nonce": "n" } })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "checkout": { "audience": "shop" } })), 400, "invalid_request"),
        (
            asked(&mandate, &good, json!({ "checkout": { "audience": "https://m.example", "nonce": "n" } })),
            400,
            "invalid_request",
        ),
        (
            asked(&mandate, &good, json!({ "checkout": { "audience": SHOP.to_uppercase(), "nonce": "n" } })),
            400,
            "invalid_request",
        ),
        (asked(&mandate, &good, json!({ "audience": format!("{SHOP}/") })), 422, "verifier_unknown"),
        (asked(&mandate, &good, json!({ "audience": SHOP.to_uppercase() })), 422, "verifier_unknown"),
        (asked(&mandate, &good, json!({ "audience": format!("{own}/") })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "payment_instrument": {} })), 422, "schema"),
        (asked(&mandate, &good, json!({ "payment_instrument": { "id": "card-1" } })), 422, "schema"),
        (asked(&mandate, &good, json!({ "payment_instrument": "card" })), 400, "invalid_request"),
        (asked(&mandate, &good, json!({ "amount": 1 })), 400, "invalid_request"),
        (asked(&"00".repeat(32), &good, json!({})), 404, "not_found"),
    ] {
        let (found, code, detail) = refused(close(&shop, &new_key(), body.clone()).await);
        assert_eq!((found, code.as_str()), (status, expected), "{body}: {detail}");
        let page = shop.call(Method::GET, &format!("/errors/{code}"), &shop.agent, None).await.expect("a page");
        assert_eq!(page["code"], code.as_str());
    }
    let bystander = shop.service.token(HOME, BYSTANDER, ledger::id::CallerKind::Agent).unwrap();
    for (token, status) in [(&bystander, 404), (&shop.user, 403), (&shop.merchant, 403)] {
        assert_eq!(refused(close_as(&shop, token, asked(&mandate, &good, json!({}))).await).0, status);
    }
    let keyless =
        shop.call(Method::POST, "/v1/mandates/payments", &shop.agent, Some(asked(&mandate, &good, json!({}))));
    assert_eq!(refused(keyless.await).0, 400, "a key is not optional");
    assert_eq!(figures(&shop, &mandate).await, ("0.00".into(), "0.00".into()));
    assert_eq!(figures(&shop, &for_another).await, ("0.00".into(), "0.00".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_mandate_is_held_until_its_receipt_comes() {
    let shop = Shop::open().await;
    let key = shop.service.merchant_key().unwrap();
    let mandate = shop.mandate(intent()).await;
    let jwt = cart(&shop, 250, json!({})).await;
    let body = asked(&mandate, &jwt, json!({ "checkout": { "audience": SHOP, "nonce": "of the shop" } }));
    let (spend, nonce) = (new_key(), text(&body, "nonce").to_owned());
    let closed = close(&shop, &spend, body.clone()).await.expect("closed");
    assert_eq!((text(&closed, "state"), text(&closed, "network")), ("submitted", "ap2:payment"));
    assert!(!closed.to_string().contains("card-1"), "the instrument stands in no record: {closed}");
    assert_eq!(figures(&shop, &mandate).await, ("2.50".into(), "0.00".into()));
    assert_eq!(close(&shop, &spend, body.clone()).await.expect("again"), closed, "the same key, the same bytes");

    // Each verifier finds its own valid, for itself, for its nonce and for this cart only.
    let payment = text(&closed, "payment_mandate");
    let asks = |presented: &str, audience: &str, nonce: &str, jwt: &str| {
        json!({ "presented": presented, "audience": audience, "nonce": nonce, "checkout_jwt": jwt,
            "merchant_jwks": { "keys": [key.public().to_jwk()] } })
    };
    let another = cart(&shop, 250, json!({})).await;
    let checkout = text(&closed, "checkout_mandate");
    for (presented, audience, nonce, jwt, code) in [
        (payment, BANK, nonce.as_str(), jwt.as_str(), None),
        (checkout, SHOP, "of the shop", jwt.as_str(), None),
        (payment, SHOP, nonce.as_str(), jwt.as_str(), Some("aud_mismatch")),
        (payment, BANK, "another", jwt.as_str(), Some("nonce_mismatch")),
        (payment, BANK, nonce.as_str(), another.as_str(), Some("transaction_id_mismatch")),
        (checkout, BANK, "of the shop", jwt.as_str(), Some("aud_mismatch")),
        (checkout, SHOP, nonce.as_str(), jwt.as_str(), Some("nonce_mismatch")),
        (checkout, SHOP, "of the shop", another.as_str(), Some("checkout_not_expected")),
    ] {
        let verdict = verdict(&shop, asks(presented, audience, nonce, jwt)).await;
        assert_eq!(verdict["valid"], code.is_none(), "{verdict}");
        assert_eq!(verdict["code"].as_str(), code, "{verdict}");
    }

    // Neither an outcome without a receipt, nor a void, nor anybody's receipt but theirs frees it.
    let id = text(&closed, "id");
    let outcome = |body: Value| shop.call(Method::POST, text_of(id, "outcome"), &shop.agent, Some(body));
    assert_eq!(outcome(json!({})).await.unwrap()["state"], "submitted");
    assert_eq!(outcome(json!({ "status": 500 })).await.unwrap()["state"], "submitted");
    let void = shop.call(Method::POST, text_of(id, "void"), &shop.agent, None).await;
    assert_eq!(code(void), "spend_state");
    let stranger = LocalKey::from_random(&[7; 32]).unwrap();
    let posing = LocalKey::from_random(&[7; 32]).unwrap().named(key.public().key_id());
    let good = receipt(&shop, &key, &closed, false);
    let soon = shop.service.engine().clock.now().seconds() + 13;
    let short = cart(&shop, 250, json!({ "exp": soon })).await;
    let elsewhere = close(&shop, &new_key(), asked(&mandate, &short, json!({}))).await.expect("another");
    let mut other_reference = closed.clone();
    other_reference["payment_mandate"] = elsewhere["payment_mandate"].clone();
    for (receipt, expected) in [
        (receipt(&shop, &stranger, &closed, false), "unknown_kid"),
        (receipt(&shop, &posing, &closed, false), "signature_invalid"),
        (receipt(&shop, &key, &other_reference, false), "receipt_reference_unknown"),
        (good[..good.len() - 4].to_owned() + "AAAA", "signature_invalid"),
        ("nonsense".to_owned(), "malformed_jwt"),
    ] {
        assert_eq!(code(answered(&shop, &closed, &receipt).await), expected);
    }
    assert_eq!(figures(&shop, &mandate).await, ("5.00".into(), "0.00".into()));

    let paid = receipt(&shop, &key, &closed, true);
    let settled = answered(&shop, &closed, &paid).await.expect("their receipt");
    assert_eq!((text(&settled, "state"), &settled["final"]), ("settled", &json!(true)));
    assert_eq!(answered(&shop, &closed, &paid).await.expect("again"), settled);
    assert_eq!(code(answered(&shop, &closed, &good).await), "receipt_contradicts", "they said that it was paid");
    // Their word that it was not paid frees it when it cannot be paid any more.
    let not_paid = receipt(&shop, &key, &elsewhere, false);
    assert_eq!(code(answered(&shop, &elsewhere, &not_paid).await), "not_expired");
    let freed = loop {
        match answered(&shop, &elsewhere, &not_paid).await {
            Ok(freed) => break freed,
            Err(error) => assert!(shop.service.engine().clock.now().seconds() < soon + 10, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert_eq!(text(&freed, "state"), "released");
    assert!(shop.service.engine().clock.now().seconds() >= soon);
    assert_eq!(figures(&shop, &mandate).await, ("2.50".into(), "0.00".into()));
}

fn text_of<'a>(id: &str, what: &str) -> &'a str {
    Box::leak(format!("/v1/payments/{id}/{what}").into_boxed_str())
}

/// Whom else a person allowed is no business of who is paid.
#[tokio::test(flavor = "multi_thread")]
async fn verifiers_see_one_of_the_allowed_payees() {
    let shop = Shop::open().await;
    let mut several = intent();
    let own = json!({ "id": SHOP, "name": "Demo Shop", "website": shop.service.url() });
    several["payees"] = json!([{ "id": "clinic", "name": "A clinic" }, own, { "id": "lawyer", "name": "A lawyer" }]);
    let mandate = shop.mandate(several).await;
    let shows = |chain: &str, name: &str| {
        let texts = chain.split('~').filter_map(mandates::base64url::decode);
        texts.filter_map(|bytes| String::from_utf8(bytes).ok()).any(|text| text.contains(name))
    };
    let whole = shop.call(Method::GET, &format!("/v1/mandates/{mandate}"), &shop.agent, None).await.unwrap();
    assert!(shows(text(&whole, "payment"), "A clinic"));
    let body =
        asked(&mandate, &cart(&shop, 10, json!({})).await, json!({ "checkout": { "audience": SHOP, "nonce": "n" } }));
    let closed = close(&shop, &new_key(), body).await.expect("closed");
    for chain in [text(&closed, "payment_mandate"), text(&closed, "checkout_mandate")] {
        let seen = ["A clinic", "Demo Shop", "A lawyer"].map(|name| shows(chain, name));
        assert_eq!(seen, [false, true, false], "{chain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nonce_one_cart_and_one_key_are_used_once() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let (first, second) = (cart(&shop, 10, json!({})).await, cart(&shop, 20, json!({})).await);
    let key = new_key();
    let body = asked(&mandate, &first, json!({ "nonce": "once" }));
    close(&shop, &key, body.clone()).await.expect("closed");
    let other = |differing| close(&shop, &key, asked(&mandate, &first, differing));
    for differing in [json!({ "nonce": "twice" }), json!({ "nonce": "once", "audience": SHOP })] {
        assert_eq!(code(other(differing).await), "idempotency_key_reused");
    }
    // Another mandate does not make their nonce new.
    let more = shop.mandate(intent()).await;
    for (mandate, cart, nonce, expected) in [
        (&mandate, &second, "once", "authorization_claimed"),
        (&more, &second, "once", "authorization_claimed"),
        (&mandate, &first, "fresh", "purchase_unresolved"),
    ] {
        let refusal = close(&shop, &new_key(), asked(mandate, cart, json!({ "nonce": nonce }))).await;
        assert_eq!(code(refusal), expected, "{nonce}");
    }
    // Nor does something else to pay with.
    let instrument = json!({ "nonce": "once", "payment_instrument": { "id": "card-2", "type": "card" } });
    assert_eq!(code(close(&shop, &new_key(), asked(&mandate, &second, instrument)).await), "authorization_claimed");
    let again = asked(&mandate, &first, json!({ "nonce": "meant", "again_after": "00".repeat(32) }));
    assert_eq!(code(close(&shop, &new_key(), again).await), "spend_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_never_pass_the_budget_that_other_rails_use_too() {
    let shop = Shop::open().await;
    let mut small = intent();
    (small["total"], small["per_payment"]) = ("1.00".into(), "0.30".into());
    let mandate = shop.mandate(small).await;
    let on_chain = shop.offer("/paid/report", 250_000);
    shop.pay(&mandate, &on_chain, &new_key()).await.expect("a quarter over x402");
    let mut carts = Vec::new();
    for _ in 0..12 {
        carts.push(asked(&mandate, &cart(&shop, 25, json!({})).await, json!({})));
    }
    let shop = std::sync::Arc::new(shop);
    let tasks: Vec<_> = carts
        .into_iter()
        .map(|body| {
            let shop = shop.clone();
            tokio::spawn(async move { close(&shop, &new_key(), body).await })
        })
        .collect();
    let mut closed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => closed += 1,
            Err(ClientError::Refused { code, .. }) => assert_eq!(code.as_deref(), Some("amount_exceeds_budget")),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(closed, 3, "three quarters are left");
    assert_eq!(figures(&shop, &mandate).await, ("1.00".into(), "0.00".into()));
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/paid/x", 250_000), &new_key()).await), "amount_exceeds_budget");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_answers_is_unknown_and_stays_held() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let ends = shop.service.engine().clock.now().seconds() + 12;
    let jwt = cart(&shop, 10, json!({ "exp": ends })).await;
    let closed = close(&shop, &new_key(), asked(&mandate, &jwt, json!({}))).await.expect("closed");
    assert_eq!(closed["valid_before"], ends);
    let path = format!("/v1/payments/{}", text(&closed, "id"));
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let spend = shop.call(Method::GET, &path, &shop.agent, None).await.unwrap();
        match text(&spend, "state") {
            "unknown" => break,
            "submitted" => assert!(std::time::Instant::now() < deadline, "it is never in doubt"),
            other => panic!("it is {other}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(shop.service.engine().clock.now().seconds() >= ends);
    assert_eq!(figures(&shop, &mandate).await, ("0.10".into(), "0.00".into()));
    let key = shop.service.merchant_key().unwrap();
    let late = answered(&shop, &closed, &receipt(&shop, &key, &closed, true)).await.expect("late, and theirs");
    assert_eq!(text(&late, "state"), "settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_bites_and_a_revoked_mandate_closes_nothing() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let jwt = cart(&shop, 10, json!({})).await;
    let stop = json!({ "scope": format!("mandate/{mandate}") });
    let stopped = shop.client.call(Method::POST, "/v1/kill", &shop.user, None, Some(stop)).await.expect("a stop");
    assert_eq!(code(close(&shop, &new_key(), asked(&mandate, &jwt, json!({}))).await), "stopped");
    let lift = format!("/v1/kill/{}", text(&stopped, "id"));
    shop.call(Method::DELETE, &lift, &shop.user, None).await.expect("lifted");
    close(&shop, &new_key(), asked(&mandate, &jwt, json!({}))).await.expect("closed");
    shop.call(Method::POST, &format!("/v1/mandates/{mandate}/revoke"), &shop.user, None).await.expect("revoked");
    let other = cart(&shop, 10, json!({})).await;
    assert_eq!(code(close(&shop, &new_key(), asked(&mandate, &other, json!({}))).await), "mandate_revoked");
    assert_eq!(figures(&shop, &mandate).await, ("0.10".into(), "0.00".into()), "what is out is out");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_evidence_verifies_offline_and_no_changed_evidence_does() {
    let shop = Shop::open().await;
    let key = shop.service.merchant_key().unwrap();
    let mandate = shop.mandate(intent()).await;
    let jwt = cart(&shop, 99, json!({})).await;
    let body = asked(&mandate, &jwt, json!({ "checkout": { "audience": SHOP, "nonce": "n" } }));
    let closed = close(&shop, &new_key(), body).await.expect("closed");
    let evidence = async || {
        let path = format!("/v1/payments/{}/evidence", text(&closed, "id"));
        shop.call(Method::GET, &path, &shop.user, None).await.expect("evidence")
    };
    let folder = tempfile::tempdir().unwrap();
    let check = |file: &Value| {
        let (path, trust) = (folder.path().join("evidence.json"), folder.path().join("trust.json"));
        std::fs::write(&path, file.to_string()).unwrap();
        std::fs::write(&trust, file["issuer_keys"].to_string()).unwrap();
        let (path, trust) = (path.display().to_string(), trust.display().to_string());
        let output = run(&["verify", "--evidence", &path, "--trust", &trust], &[]);
        (output.status.code(), stdout(&output))
    };
    let open = evidence().await;
    assert_eq!(check(&open).0, Some(0), "{}", check(&open).1);
    answered(&shop, &closed, &receipt(&shop, &key, &closed, true)).await.expect("paid");
    let file = evidence().await;
    let (status, said) = check(&file);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(BANK) && said.contains("99 USD"), "{said}");
    assert!(said.contains("not proved that money moved"), "{said}");
    let other = close(&shop, &new_key(), asked(&mandate, &cart(&shop, 99, json!({})).await, json!({}))).await.unwrap();
    type Edit = Box<dyn Fn(&mut Value)>;
    let edits: Vec<(&str, Edit)> = vec![
        ("papers taken away", Box::new(|file| file["papers"] = Value::Null)),
        ("receipt taken away", Box::new(|file| file["receipt"] = Value::Null)),
        ("state", Box::new(|file| file["state"] = "released".into())),
        ("transaction", Box::new(|file| file["transaction"] = "00".repeat(32).into())),
        (
            "papers of another",
            Box::new(move |file| {
                let papers = json!({ "type": "purser.presentation/1", "payment": other["payment_mandate"] });
                file["papers"] = papers.to_string().into();
            }),
        ),
        ("receipt changed", Box::new(|file| file["receipt"] = text(file, "receipt").replacen("eyJ", "eyK", 1).into())),
        (
            "verifier changed",
            Box::new(|file| file["bundle"] = text(file, "bundle").replace(BANK, "https://mallory.example").into()),
        ),
    ];
    for (what, edit) in edits {
        let mut changed = file.clone();
        edit(&mut changed);
        assert_ne!(changed, file, "{what} changes nothing");
        let (status, said) = check(&changed);
        assert_eq!(status, Some(1), "{what}: {said}");
    }
}

/// A merchant verifies with us and takes the order: once, whoever presents it, and its receipt posts the payment.
#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_uses_the_mandate_up_and_its_receipt_settles() {
    let shop = Shop::open().await;
    let key = shop.service.merchant_key().unwrap();
    let mandate = shop.mandate(intent()).await;
    let jwt = cart(&shop, 120, json!({})).await;
    let more = json!({ "audience": SHOP, "nonce": "p", "checkout": { "audience": SHOP, "nonce": "c" } });
    let closed = close(&shop, &new_key(), asked(&mandate, &jwt, more)).await.expect("closed");
    let verify = async |token: &str, presented: &str, nonce: &str, accept: Value, without: &str| {
        let mut body = json!({
            "presented": presented, "audience": SHOP, "nonce": nonce, "checkout_jwt": jwt,
            "merchant_jwks": { "keys": [key.public().to_jwk()] }, "trust": shop.service.roots().to_jwks(),
            "accept": accept,
        });
        body.as_object_mut().unwrap().remove(without);
        shop.call(Method::POST, "/v1/mandates/verify", token, Some(body)).await
    };
    let (payment, checkout) = (text(&closed, "payment_mandate"), text(&closed, "checkout_mandate"));
    let order = json!({ "order_id": "order-1" });
    let paid = json!({ "payment_id": "p-1", "psp_confirmation_id": "s-1", "network_confirmation_id": "n-1" });
    for (token, presented, nonce, accept, without, expected) in [
        (&shop.agent, checkout, "c", &order, "", (403, "forbidden")),
        (&shop.user, checkout, "c", &order, "", (403, "forbidden")),
        (&shop.merchant, checkout, "c", &order, "checkout_jwt", (400, "invalid_request")),
        (&shop.merchant, payment, "p", &order, "", (400, "invalid_request")),
        (&shop.merchant, checkout, "c", &paid, "", (400, "invalid_request")),
        (&shop.merchant, checkout, "c", &json!({ "order": 1 }), "", (400, "invalid_request")),
        (&shop.merchant, checkout, "c", &json!({ "order_id": "" }), "", (400, "invalid_request")),
        (&shop.merchant, checkout, "c", &json!({ "order_id": "o".repeat(257) }), "", (400, "invalid_request")),
    ] {
        let (status, code, detail) = refused(verify(token, presented, nonce, accept.clone(), without).await);
        assert_eq!((status, code.as_str()), expected, "{detail}");
    }
    // What is not valid is accepted by nobody, and burns nothing.
    let wrong = verify(&shop.merchant, checkout, "another", order.clone(), "").await.unwrap();
    assert_eq!((&wrong["valid"], text(&wrong, "code")), (&json!(false), "nonce_mismatch"));
    let first = verify(&shop.merchant, checkout, "c", order.clone(), "").await.expect("an order");
    assert_eq!(first["valid"], true, "{first}");
    let again = verify(&shop.merchant, checkout, "c", order.clone(), "").await.expect("the same order");
    assert_eq!(again["receipt"], first["receipt"]);
    let second = verify(&shop.merchant, checkout, "c", json!({ "order_id": "order-2" }), "").await;
    assert_eq!(code(second), "mandate_consumed");
    let flipped = flip(checkout);
    let same = verify(&shop.merchant, &flipped, "c", json!({ "order_id": "order-3" }), "").await;
    assert_eq!(code(same), "mandate_consumed", "another spelling of it is not another mandate");

    let taken = verify(&shop.merchant, payment, "p", paid, "").await.expect("the money");
    let settled = answered(&shop, &closed, text(&taken, "receipt")).await.expect("their receipt");
    assert_eq!(text(&settled, "state"), "settled");
    let wrong_kind = answered(&shop, &closed, text(&first, "receipt")).await;
    assert_eq!(code(wrong_kind), "receipt_field_missing", "a checkout receipt is none of a payment");
    let operator = shop.service.token(SHOP, "admin", ledger::id::CallerKind::Operator).unwrap();
    let events = shop.call(Method::GET, "/v1/events?limit=500", &operator, None).await.expect("events");
    let accepted = events["events"].as_array().unwrap().iter().filter(|event| event["type"] == "mandate.accepted");
    assert_eq!(accepted.count(), 2, "{events}");
}
