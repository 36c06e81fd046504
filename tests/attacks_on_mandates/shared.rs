//! Attacks on what two processes share: one PostgreSQL server, two `serve`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use purser::client::Client;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{figures, pay, used, verify_books};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::process::Service;
use crate::harness::shop::code;
use crate::harness::text;
use crate::harness::world::World;

async fn two() -> (World, Service, [Client; 2]) {
    let world = World::patient(Some(Cluster::start(QUICK))).await;
    let (replica, client) = world.replica(1);
    let clients = [world.client.clone(), client];
    (world, replica, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_mandate_is_accepted_once_by_two_replicas() {
    let (world, replica, clients) = two().await;
    // One purchase under one key, asked of both at once: one spend, one closed mandate, one authorization.
    let mandate = world.mandate_of("1.00", 10).await;
    let met = world.offer("once").await;
    let mut asked = JoinSet::new();
    for number in 0..16 {
        let (client, agent) = (clients[number % 2].clone(), world.agent.clone());
        let (mandate, met) = (mandate.clone(), met.clone());
        asked.spawn(async move { pay(&client, &agent, &mandate, &met, "one-key").await.expect("the same answer") });
    }
    let answers = asked.join_all().await;
    for answer in &answers {
        assert_eq!(answer["payment_signature"], answers[0]["payment_signature"], "byte for byte");
    }
    // The same closed mandate cannot be had again under another key: that is another purchase, and must be meant.
    for client in &clients {
        assert_eq!(code(pay(client, &world.agent, &mandate, &met, "another").await), "purchase_unresolved");
    }
    assert_eq!(used(&figures(&world, &mandate).await), ("1000000", "0", 1));

    // A mandate without recurrence carries one payment, whichever process is asked.
    let single = world.mandate_of("1.00", 1).await;
    let mut asked = JoinSet::new();
    for number in 0..16 {
        let (client, agent, single) = (clients[number % 2].clone(), world.agent.clone(), single.clone());
        let offer = world.offer(&format!("single-{number}")).await;
        asked.spawn(async move { pay(&client, &agent, &single, &offer, &format!("single-{number}")).await });
    }
    let (paid, refused): (Vec<_>, Vec<_>) = asked.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(paid.len(), 1, "two replicas accepted one mandate");
    refused.into_iter().for_each(|answer| assert_eq!(code(answer), "occurrences_exhausted"));
    assert_eq!(used(&figures(&world, &single).await), ("1000000", "0", 1));

    // The signed payment, presented to both shops at once: the handler runs once, one transfer.
    let payment = world.pay(&mandate, "presented").await.expect("a payment");
    let signature = text(&payment, "payment_signature");
    let file = world.folder.path().join("replica-1.toml");
    let other: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let shops = [world.config.public_url(), format!("http://{}", other["listen"].as_str().unwrap())];
    let mut presented = JoinSet::new();
    for number in 0..8 {
        let (client, url) = (world.client.clone(), format!("{}/paid/report", shops[number % 2]));
        let signature = signature.to_owned();
        presented.spawn(async move { client.fetch("GET", &url, Some(&signature)).await.expect("an answer") });
    }
    let mut served = 0;
    for answer in presented.join_all().await {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        match answer.status.as_u16() {
            200 => served += 1,
            409 => assert_eq!(body["code"], "payment_in_flight", "{body}"),
            503 => assert_eq!(body["code"], "outcome_unknown", "{body}"),
            other => panic!("{other}: {body}"),
        }
    }
    assert!(served >= 1, "the payer was served");
    world.until(text(&payment, "id"), "settled").await;
    assert_eq!(world.moved().await, 1, "one transfer for one closed mandate");
    assert_eq!(used(&figures(&world, &mandate).await), ("1000000", "1000000", 2));
    drop(replica);
    verify_books(&world);
}

/// Both read that there is room for one more, and both try to take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_look_at_a_budget_buys_nothing() {
    let (world, replica, clients) = two().await;
    for round in 0..5 {
        let mandate = world.mandate_with(json!({ "total": "0.03", "per_payment": "0.01", "payments": 100 })).await;
        for (bought, client) in clients.iter().enumerate() {
            let offer = world.offer(&format!("{round}-before-{bought}")).await;
            let key = format!("{round}-before-{bought}");
            pay(client, &world.agent, &mandate, &offer, &key).await.expect("there is room");
        }
        let path = format!("/v1/mandates/{mandate}");
        for client in &clients {
            let seen = client.call(Method::GET, &path, &world.agent, None, None).await.unwrap();
            assert_eq!(text(&seen["available"], "units"), "1000000", "both see room for one");
        }
        let mut racing = JoinSet::new();
        for number in 0..12 {
            let (client, agent, mandate) = (clients[number % 2].clone(), world.agent.clone(), mandate.clone());
            let offer = world.offer(&format!("{round}-{number}")).await;
            racing.spawn(async move { pay(&client, &agent, &mandate, &offer, &format!("{round}-{number}")).await });
        }
        let (paid, refused): (Vec<_>, Vec<_>) = racing.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(paid.len(), 1, "round {round}: the stale look was enough");
        refused.into_iter().for_each(|answer| assert_eq!(code(answer), "amount_exceeds_budget"));
        assert_eq!(used(&figures(&world, &mandate).await), ("3000000", "0", 3));
    }
    drop(replica);
    verify_books(&world);
}

/// What is signed is out, and goes its way; what is not signed when the revocation returns is neither reserved nor signed,
/// at any process.
#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_that_is_revoked_in_flight_reserves_and_signs_nothing() {
    let (world, replica, clients) = two().await;
    let mandate = world.mandate_of("5.00", 1_000).await;
    let signed = world.pay(&mandate, "signed-before").await.expect("a payment");
    let stopped = Arc::new(AtomicBool::new(false));
    let mut racing = JoinSet::new();
    for number in 0..8 {
        let (client, agent, mandate) = (clients[number % 2].clone(), world.agent.clone(), mandate.clone());
        let (stopped, offer) = (stopped.clone(), world.offer("0").await);
        racing.spawn(async move {
            let mut paid = 0_u64;
            for thing in 0..400 {
                let mut offer = offer.clone();
                let url = text(&offer["resource"], "url").replace("/things/0", &format!("/things/{number}-{thing}"));
                offer["resource"]["url"] = url.into();
                let was_stopped = stopped.load(Ordering::SeqCst);
                match pay(&client, &agent, &mandate, &offer, &format!("{number}-{thing}")).await {
                    Ok(_) => {
                        assert!(!was_stopped, "a payment began after the revocation had returned");
                        paid += 1;
                    }
                    Err(error) => {
                        // What was held and not signed when the revocation came was given back by it.
                        let expected = ["mandate_revoked", "amount_exceeds_budget", "spend_state"].map(Some);
                        assert!(expected.contains(&error.code()), "{error}");
                        break;
                    }
                }
            }
            paid
        });
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    // The other process is asked than the one that half of them pay at.
    let path = format!("/v1/mandates/{mandate}/revoke");
    clients[1].call(Method::POST, &path, &world.user, None, None).await.expect("revoked");
    let at_return = figures(&world, &mandate).await["payments"]["used"].as_u64().unwrap();
    stopped.store(true, Ordering::SeqCst);
    let paid: u64 = racing.join_all().await.into_iter().sum();
    let after = figures(&world, &mandate).await;
    assert!(paid > 0 && after["payments"]["used"].as_u64().unwrap() <= at_return, "{at_return} at the return: {after}");
    assert_eq!(used(&after).2, paid + 1, "what was answered is what is held");
    for (number, client) in clients.iter().enumerate() {
        let late = world.offer(&format!("late-{number}")).await;
        let answer = pay(client, &world.agent, &mandate, &late, &format!("late-{number}")).await;
        assert_eq!(code(answer), "mandate_revoked");
    }
    // The rule for what is out: the chain is asked to let it go unpaid, and what it shows is booked: that, or a seller who
    // was faster.
    let fetched = world.fetch(Some(text(&signed, "payment_signature"))).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let state = loop {
        let state = world.state(text(&signed, "id")).await;
        if matches!(state.as_str(), "settled" | "released") {
            break state;
        }
        assert!(std::time::Instant::now() < deadline, "what was signed before is {state}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let is_paid = state == "settled";
    assert!(is_paid || fetched.status.as_u16() != 200, "given for a payment that is {state}");
    assert_eq!(world.moved().await, usize::from(is_paid));
    let posted = if is_paid { "1000000" } else { "0" };
    assert_eq!(text(&figures(&world, &mandate).await["posted"], "units"), posted);
    drop(replica);
    verify_books(&world);
}
