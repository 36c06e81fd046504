//! Who comes while somebody else is about the same checkout, or the same token: told so, with a code and when to come again,
//! and told what is true when they do.

use std::time::{Duration, Instant};

use ledger::id::CallerKind;
use purser::dev::acp::with_vault;
use purser::keys::Slot;
use purser::world::SHOP;
use reqwest::Method;
use serde_json::{Value, json};

use super::{cards, tokens};
use crate::harness::checkout::{Answer, Platform, together};
use crate::harness::closing::figures;
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::process::Service;
use crate::harness::shop::{intent, new_key};
use crate::harness::text;
use crate::harness::vault::{self, post, with_card};
use crate::harness::world::World;

/// More than a process tries by itself.
const MANY: usize = 24;

fn slow() -> String {
    text(&purser::acquirer::simulator::cards(), "slow").to_owned()
}

/// Until the session is being paid for: its processor answers two seconds later.
async fn under_way(show: impl AsyncFn() -> Value) {
    let started = Instant::now();
    while text(&show().await, "status") != "complete_in_progress" {
        assert!(started.elapsed() < Duration::from_secs(20), "it is never begun");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One completed it; every other one was told that somebody does, and when to ask again.
fn one_of(answers: &[Answer]) {
    let (done, busy): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    let said: Vec<_> = answers.iter().map(Answer::said).collect();
    assert_eq!(done.len(), 1, "{said:?}");
    assert_eq!(text(&done[0].body, "status"), "completed");
    for answer in busy {
        assert_eq!(answer.said(), (409, "complete_in_progress"), "{}", answer.body);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(!answer.body.to_string().contains("Idempotency-Key"), "it is not the key's fault: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_complete_one_acp_session_one_does_and_the_others_are_told_so() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = cards::session(&platform, 1).await;
    let token = cards::token(&platform, &mandate, &bought, 100, with_card(&slow())).await;
    let path = format!("/{}", text(&bought, "id"));
    let keys: Vec<String> = (0..MANY).map(|_| new_key()).collect();
    let complete = |key: String| {
        let (platform, bought, token) = (&platform, &bought, &token);
        async move { cards::complete(platform, bought, token, &key).await }
    };
    let beside = async {
        under_way(async || platform.acp(Method::GET, &path, None).await.body).await;
        let change = json!({ "line_items": [{ "id": "gift_card", "quantity": 2 }] });
        let change_key = new_key();
        let change =
            async |key: &str| platform.acp_as(&platform.shop.agent, Method::POST, &path, key, Some(&change)).await;
        let changed = change(&change_key).await;
        let cancelled = platform.acp(Method::POST, &format!("{path}/cancel"), None).await;
        for answer in [changed, cancelled] {
            assert_eq!(answer.said(), (409, "complete_in_progress"), "{}", answer.body);
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        change_key
    };
    let (answers, change_key) = tokio::join!(together(keys.iter().cloned().map(complete)), beside);
    one_of(&answers);
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "1.00".into()), "captured once");
    // Under the same keys again: no answer that was true for a moment stands for ever.
    for (key, first) in keys.iter().zip(&answers) {
        let again = complete(key.clone()).await;
        match again.status {
            200 => assert_eq!(again.body, first.body),
            _ => assert_eq!(again.said(), (405, "not_modifiable"), "{}", again.body),
        }
    }
    let change = json!({ "line_items": [{ "id": "gift_card", "quantity": 2 }] });
    let late = platform.acp_as(&platform.shop.agent, Method::POST, &path, &change_key, Some(&change)).await;
    assert_eq!(late.said(), (405, "not_modifiable"), "{}", late.body);
    assert_eq!(text(&platform.acp(Method::GET, &path, None).await.body, "status"), "completed");
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "1.00".into()));
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_complete_one_ucp_checkout_one_does_and_the_others_are_told_so() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = tokens::cart(&platform, 1).await;
    let token = tokens::token(&platform, &bought, &mandate, json!({ "credential": { "number": slow() } })).await;
    let path = format!("/{}", text(&bought, "id"));
    let keys: Vec<String> = (0..MANY).map(|_| new_key()).collect();
    let complete = |key: String| {
        let (platform, bought, token) = (&platform, &bought, &token);
        async move { tokens::complete(platform, bought, token, &key).await }
    };
    let plain = async |method, path: &str| platform.ucp_as(&platform.plain, method, path, &new_key(), None).await;
    let beside = async {
        under_way(async || plain(Method::GET, &path).await.body).await;
        let cancelled = plain(Method::POST, &format!("{path}/cancel")).await;
        assert_eq!(cancelled.said(), (409, "complete_in_progress"), "{}", cancelled.body);
    };
    let (answers, ()) = tokio::join!(together(keys.iter().cloned().map(complete)), beside);
    one_of(&answers);
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "1.00".into()), "captured once");
    for (key, first) in keys.iter().zip(&answers) {
        let again = complete(key.clone()).await;
        match again.status {
            200 => assert_eq!(again.body, first.body),
            _ => assert_eq!(again.said(), (409, "not_modifiable"), "{}", again.body),
        }
    }
    platform.shop.service.stop().await;
}

/// Everybody changes one session at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_changes_of_one_session_are_made_or_refused_and_never_an_outage() {
    let platform = Platform::open().await;
    let bought = cards::session(&platform, 1).await;
    let path = format!("/{}", text(&bought, "id"));
    let changes = (0..MANY).map(|number| {
        let (platform, path) = (&platform, &path);
        let body = json!({ "line_items": [{ "id": "gift_card", "quantity": number % 7 + 1 }] });
        async move { platform.acp(Method::POST, path, Some(body)).await }
    });
    let answers = together(changes).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.said(), (409, "changed_meanwhile"), "{}", answer.body);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_while_a_token_is_captured_is_told_what_stands_in_the_way() {
    let platform = Platform::open().await;
    let mandate = platform.shop.mandate(intent()).await;
    let bought = cards::session(&platform, 1).await;
    let token = cards::token(&platform, &mandate, &bought, 100, with_card(&slow())).await;
    let merchant = platform.shop.service.token(SHOP, "merchant", CallerKind::Merchant).unwrap();
    let ask = async |who: &str, path: &str, key: &str, body: Value| -> vault::Answer {
        let headers = [("Idempotency-Key", key)];
        post(&platform.shop.url(path), who, &headers, body.to_string().into_bytes()).await
    };
    let capture = |amount: u64| json!({ "token": token, "amount": amount, "currency": "usd", "checkout_session_id": bought["id"] });
    let key = new_key();
    let first = ask(&merchant, "/v1/vault/capture", &key, capture(100));
    let beside = async {
        let started = Instant::now();
        let state = async || ask(&merchant, "/v1/vault/verify", "-", json!({ "token": token })).await.body;
        while text(&state().await, "state") != "committed" {
            assert!(started.elapsed() < Duration::from_secs(20), "it is never begun");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (one, all) = (json!({ "token": token }), json!({ "token": token, "amount": 100 }));
        for (who, path, key, body, code) in [
            (&merchant, "/v1/vault/capture", &key, capture(100), "idempotency_in_flight"),
            (&merchant, "/v1/vault/capture", &new_key(), capture(100), "token_in_progress"),
            (&merchant, "/v1/vault/capture", &new_key(), capture(50), "token_in_progress"),
            (&merchant, "/v1/vault/refund", &new_key(), all, "token_in_progress"),
            (&merchant, "/v1/vault/void", &new_key(), one.clone(), "token_in_progress"),
            (&platform.shop.agent, "/v1/vault/void", &new_key(), one, "token_in_progress"),
        ] {
            let answer = ask(who, path, key, body).await;
            assert_eq!((answer.status, answer.code()), (409, code), "{path}: {answer:?}");
            assert_eq!(answer.body["retryable"], true, "{answer:?}");
        }
    };
    let (first, ()) = tokio::join!(first, beside);
    assert_eq!((first.status, text(&first.body, "state")), (200, "settled"), "{first:?}");
    let again = ask(&merchant, "/v1/vault/capture", &key, capture(100)).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    let late = ask(&platform.shop.agent, "/v1/vault/void", &new_key(), json!({ "token": token })).await;
    assert_eq!(late.status, 409, "{late:?}");
    assert_eq!(figures(&platform.shop, &mandate).await, ("0.00".into(), "1.00".into()));
    platform.shop.service.stop().await;
}

/// Two processes on one database: what the other one has in hand is not known here, and is in the book.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_complete_one_session_once() {
    let acquirer = Service::start(&["acquirer"], &[]);
    let mut world = World::on(60, Cluster::start(QUICK)).await;
    with_vault(&mut world.config, acquirer.url());
    world.ring.provide(&Slot::all(&world.config)).await.unwrap();
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let (other, _) = world.replica(1);
    let mandate = world.mandate_with(json!({ "total": "50.00", "per_payment": "5.00", "payments": 10 })).await;
    let ask = async |base: &str, path: &str, body: Value| -> vault::Answer {
        let headers = [("API-Version", vault::VERSION), ("Idempotency-Key", &*new_key())];
        post(&format!("{base}{path}"), &world.agent, &headers, body.to_string().into_bytes()).await
    };
    let bases = [world.config.public_url(), other.url().to_owned()];
    let items = json!({ "line_items": [{ "id": "gift_card", "quantity": 1 }], "currency": "usd", "capabilities": {} });
    let opened = ask(&bases[0], "/checkout_sessions", items).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let mut asks = vault::request(&mandate, 100, with_card(&slow()));
    asks["allowance"]["checkout_session_id"] = opened.body["id"].clone();
    let token = ask(&bases[1], vault::DELEGATE, asks).await.token();
    let instrument = json!({ "type": "card", "credential": { "type": "spt", "token": token } });
    let body = json!({ "payment_data": { "handler_id": "card_tokenized", "instrument": instrument } });
    let path = format!("/checkout_sessions/{}/complete", text(&opened.body, "id"));
    let answers = together((0..MANY).map(|number| ask(&bases[number % 2], &path, body.clone()))).await;
    let said: Vec<_> = answers.iter().map(|answer| (answer.status, answer.code().to_owned())).collect();
    assert_eq!(said.iter().filter(|(status, _)| *status == 200).count(), 1, "{said:?}");
    let others = said.iter().filter(|(status, _)| *status != 200);
    let is_told = |(status, code): &(u16, String)| {
        [(409, "complete_in_progress"), (405, "not_modifiable")].contains(&(*status, code.as_str()))
    };
    assert!(others.clone().all(is_told), "{said:?}");
    let view = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.agent, None).await.unwrap();
    let figures = (text(&view["held"], "amount"), text(&view["posted"], "amount"));
    assert_eq!(figures, ("0.00", "1.00"), "captured once: {view}");
}
