//! Promise 6: after a stop returned, nothing new is reserved and nothing new is signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledger::id::CallerKind;
use purser::client::ClientError;
use purser::world::{CARRIER, HOME, MARKER, NEIGHBOUR, SHOP, shop_address};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::shop::{Shop, code, intent};
use crate::harness::text;

/// 32 clients pay while the mandate is revoked. What the book held when the call returned is all that it ever holds.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reserved_after_a_revocation_returned() {
    for round in 0..5 {
        let shop = Arc::new(Shop::open().await);
        let mut request = intent();
        request["payments"] = 100_000.into();
        request["total"] = "4000.00".into();
        let mandate = shop.mandate(request).await;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for client in 0..32 {
            let (shop, mandate, stopped) = (shop.clone(), mandate.clone(), stopped.clone());
            clients.push(tokio::spawn(async move {
                let (mut paid, mut late) = (0_u32, 0_u32);
                for number in 0..200 {
                    let was_stopped = stopped.load(Ordering::SeqCst);
                    let offer = shop.offer(&format!("/r{round}/c{client}/n{number}"), 10_000);
                    match shop.pay(&mandate, &offer, &format!("r{round}-c{client}-n{number}")).await {
                        Ok(_) if was_stopped => late += 1,
                        Ok(_) => paid += 1,
                        Err(error) => {
                            assert_eq!(error.code(), Some("mandate_revoked"), "{error}");
                            break;
                        }
                    }
                }
                (paid, late)
            }));
        }
        until_it_is_answered(&shop, &mandate).await;
        let path = format!("/v1/mandates/{mandate}/revoke");
        shop.call(Method::POST, &path, &shop.user, None).await.expect("revoked");
        let at_return = shop.figures(&mandate).await["payments"]["used"].as_u64().unwrap();
        stopped.store(true, Ordering::SeqCst);
        let (mut paid, mut late) = (0, 0);
        for client in clients {
            let (ours, theirs) = client.await.unwrap();
            paid += u64::from(ours);
            late += u64::from(theirs);
        }
        assert_eq!(late, 0, "a payment began after the stop had returned");
        assert!(paid > 0, "there was something to stop");
        let after = shop.figures(&mandate).await["payments"]["used"].as_u64().unwrap();
        // What was held and not yet signed is given back, so the figure may fall; it never rises.
        assert!(after <= at_return, "round {round}: {at_return} when the call returned, {after} later");
        assert_eq!(after, paid, "round {round}: what was answered is what is held");
    }
}

async fn kill(shop: &Shop, token: &str, scope: &str) -> Result<Value, ClientError> {
    shop.call(Method::POST, "/v1/kill", token, Some(json!({ "scope": scope }))).await
}

async fn lift(shop: &Shop, token: &str, id: &str) -> Result<Value, ClientError> {
    shop.call(Method::DELETE, &format!("/v1/kill/{id}"), token, None).await
}

/// Every scope bars a new payment and the signature of a held one; nothing outside it; and it is lifted by who may.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_stopped_stands_still_until_it_is_lifted() {
    let shop = Shop::open().await;
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let mandate = shop.mandate(intent()).await;
    let own = format!("mandate/{mandate}");
    let scopes = ["everything", "person/user", "agent/shopper", &own, "payee/shop"];
    for (number, scope) in scopes.into_iter().enumerate() {
        let required = shop.met("/paid/report").await;
        let stop = kill(&shop, &operator, scope).await.unwrap();
        assert_eq!((text(&stop, "scope"), text(&stop, "state"), text(&stop, "by")), (scope, "closed", "admin"));
        let again = kill(&shop, &operator, scope).await.unwrap();
        assert_eq!(again, stop, "twice is as once");
        let refused = shop.pay(&mandate, &required, &format!("stopped-{number}")).await;
        assert_eq!(code(refused), "stopped", "{scope}");
        let read = shop.call(Method::GET, &format!("/v1/mandates/{mandate}"), &shop.agent, None).await;
        assert_eq!(
            read.map_or_else(|error| error.code().map(str::to_owned), |_| None).is_some(),
            number < 3,
            "{scope}"
        );
        assert_eq!(
            code(lift(&shop, &shop.user, text(&stop, "id")).await),
            if number == 0 || number == 4 { "forbidden" } else { "not_yours_to_lift" }
        );
        lift(&shop, &operator, text(&stop, "id")).await.unwrap();
        // What the book refused it refuses for ever under that key; three of the scopes turn the agent away before.
        if number >= 3 {
            let again = shop.pay(&mandate, &required, &format!("stopped-{number}")).await;
            assert_eq!(code(again), "stopped", "a key keeps its answer");
        }
        let payment = shop.pay(&mandate, &required, &format!("lifted-{number}")).await.expect(scope);
        assert_eq!(shop.fetch("/paid/report", Some(text(&payment, "payment_signature"))).await.status.as_u16(), 200);
        let outcome = format!("/v1/payments/{}/outcome", text(&payment, "id"));
        shop.call(Method::POST, &outcome, &shop.agent, Some(json!({}))).await.unwrap();
        assert_eq!(code(lift(&shop, &operator, text(&stop, "id")).await), "not_found", "it is lifted");
    }
    // What is not within the scope goes on.
    for scope in
        ["person/neighbour", "agent/bystander", "payee/another", &format!("mandate/{}", shop.mandate(intent()).await)]
    {
        kill(&shop, &operator, scope).await.unwrap();
    }
    shop.pay(&mandate, &shop.offer("/free/of/it", 10_000), "beside").await.expect("others were stopped");
    let stops = shop.call(Method::GET, "/v1/kill", &shop.user, None).await.unwrap();
    assert_eq!(stops["stops"].as_array().map(Vec::len), Some(4), "{stops}");
}

/// A person stops what is theirs and nothing else; agents and merchants stop nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_stops_what_is_theirs() {
    let shop = Shop::open().await;
    let neighbour = shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    let mandate = shop.mandate(intent()).await;
    let own = format!("mandate/{mandate}");
    for scope in ["everything", "payee/shop", "person/neighbour", "agent/bystander"] {
        assert_eq!(code(kill(&shop, &shop.user, scope).await), "forbidden", "{scope}");
    }
    assert_eq!(code(kill(&shop, &neighbour, &own).await), "not_found", "somebody else's is as if it were not there");
    for token in [&shop.agent, &shop.merchant] {
        for scope in ["everything", "agent/shopper", "person/user"] {
            assert_eq!(code(kill(&shop, token, scope).await), "forbidden", "{scope}");
        }
    }
    for scope in ["", "all", "person/", "agent", "mandate/zz", "tenant/home", "everything/", "person/a b"] {
        assert_eq!(code(kill(&shop, &shop.user, scope).await), "invalid_request", "{scope}");
    }
    let required = shop.met("/paid/report").await;
    for scope in ["person/user", "agent/shopper", &own] {
        let stop = kill(&shop, &shop.user, scope).await.unwrap();
        assert_eq!(code(shop.pay(&mandate, &required, &format!("own-{scope}")).await), "stopped");
        // One that is stopped itself does not come so far.
        let by_agent = if scope == own { "forbidden" } else { "stopped" };
        assert_eq!(code(lift(&shop, &shop.agent, text(&stop, "id")).await), by_agent, "no agent lifts it");
        lift(&shop, &shop.user, text(&stop, "id")).await.unwrap();
    }
    shop.pay(&mandate, &required, "on").await.expect("lifted");
}

/// Until one of 32 clients, each of which waits for its answer, was answered: there are more payments than clients.
async fn until_it_is_answered(shop: &Shop, mandate: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while shop.figures(mandate).await["payments"]["used"].as_u64().unwrap() <= 32 {
        assert!(Instant::now() < deadline, "nobody pays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// 32 clients pay while everything is stopped: what the book held when the call returned is all that it ever holds.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reserved_after_a_kill_returned() {
    for (round, scope) in ["everything", "agent/shopper", "person/user"].into_iter().enumerate() {
        let shop = Arc::new(Shop::open().await);
        let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
        let mut request = intent();
        (request["payments"], request["total"]) = (100_000.into(), "4000.00".into());
        let mandate = shop.mandate(request).await;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for client in 0..32 {
            let (shop, mandate, stopped) = (shop.clone(), mandate.clone(), stopped.clone());
            clients.push(tokio::spawn(async move {
                let (mut paid, mut late) = (0_u64, 0_u64);
                for number in 0..200 {
                    let was_stopped = stopped.load(Ordering::SeqCst);
                    let offer = shop.offer(&format!("/k{round}/c{client}/n{number}"), 10_000);
                    match shop.pay(&mandate, &offer, &format!("k{round}-c{client}-n{number}")).await {
                        Ok(_) if was_stopped => late += 1,
                        Ok(_) => paid += 1,
                        Err(error) => {
                            assert_eq!(error.code(), Some("stopped"), "{error}");
                            break;
                        }
                    }
                }
                (paid, late)
            }));
        }
        until_it_is_answered(&shop, &mandate).await;
        kill(&shop, &operator, scope).await.expect("stopped");
        let at_return = shop.figures(&mandate).await["payments"]["used"].as_u64().unwrap();
        stopped.store(true, Ordering::SeqCst);
        let (mut paid, mut late) = (0, 0);
        for client in clients {
            let (ours, theirs) = client.await.unwrap();
            (paid, late) = (paid + ours, late + theirs);
        }
        assert_eq!(late, 0, "{scope}: a payment began after the stop had returned");
        assert!(paid > 0, "there was something to stop");
        let after = shop.figures(&mandate).await["payments"]["used"].as_u64().unwrap();
        assert!(after <= at_return, "{scope}: {at_return} when the call returned, {after} later");
        assert_eq!(after, paid, "{scope}: what was answered is what is held");
    }
}

/// A shop that is stopped takes no payment, and a carrier carries none; what was signed for them is good when they go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_tenant_sells_nothing_and_carries_nothing() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    for (tenant, path) in [(SHOP, "/paid/report"), (CARRIER, "/paid/note")] {
        let operator = shop.service.token(tenant, "admin", CallerKind::Operator).unwrap();
        let payment = shop.pay(&mandate, &shop.met(path).await, tenant).await.unwrap();
        let signature = text(&payment, "payment_signature");
        let stop = kill(&shop, &operator, "everything").await.unwrap();
        let answer = shop.fetch(path, Some(signature)).await;
        assert_eq!(answer.status.as_u16(), if tenant == SHOP { 503 } else { 402 }, "{tenant}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(MARKER), "{tenant}");
        assert_eq!(
            shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).len(),
            usize::from(tenant == CARRIER)
        );
        lift(&shop, &operator, text(&stop, "id")).await.unwrap();
        let mut answer = shop.fetch(path, Some(signature)).await;
        for _ in 0..40 {
            if answer.status.as_u16() == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            answer = shop.fetch(path, Some(signature)).await;
        }
        assert_eq!(answer.status.as_u16(), 200, "{tenant}: {}", String::from_utf8_lossy(&answer.body));
    }
}
