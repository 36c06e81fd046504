//! The store is really gone: no limit can be looked at, so nothing is paid.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{figures, pay, problem, used, verify_books};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::shop::code;
use crate::harness::text;
use crate::harness::world::World;

/// Room for one payment of a cent, and what a client asks while nothing can be known of it.
async fn refused_while_gone(world: &World, mandate: &str) {
    for number in 0..3 {
        let body = json!({ "mandate": mandate, "payment_required": world.offer(&format!("gone-{number}")).await });
        let (status, told) = problem(world, &world.agent, &format!("gone-{number}"), &body).await;
        assert_eq!(status, 503, "{told}");
        assert!(["store_unavailable", "outcome_unknown"].contains(&text(&told, "code")), "{told}");
        assert_eq!(told["retryable"], true, "{told}");
        assert!(told["payment_signature"].is_null(), "{told}");
    }
}

/// The store is back: one payment fits, by the key of before; the second does not.
async fn pays_once_after(world: &World, mandate: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let offer = world.offer("gone-0").await;
    let paid = loop {
        match pay(&world.client, &world.agent, mandate, &offer, "gone-0").await {
            Ok(paid) => break paid,
            Err(error) => {
                let transient = matches!(error.code(), Some("store_unavailable" | "outcome_unknown"));
                assert!(transient && std::time::Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    assert_eq!(text(&paid, "state"), "committed");
    let offer = world.offer("gone-1").await;
    assert_eq!(
        code(pay(&world.client, &world.agent, mandate, &offer, "gone-1").await),
        "amount_exceeds_budget",
        "the outage left no room behind"
    );
    assert_eq!(used(&figures(world, mandate).await), ("1000000", "0", 1));
    assert_eq!(world.moved().await, 0);
    verify_books(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_while_postgres_is_unreachable() {
    let mut world = World::patient(Some(Cluster::start(QUICK))).await;
    let mandate = world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01" })).await;
    world.cluster.as_mut().unwrap().kill();
    refused_while_gone(&world, &mandate).await;
    // Nor is anything said of the mandate that nobody can know.
    let seen = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.agent, None).await;
    assert_eq!(code(seen), "store_unavailable");
    world.cluster.as_mut().unwrap().launch();
    pays_once_after(&world, &mandate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_while_sqlite_cannot_be_written() {
    let world = World::start_with(120).await;
    let mandate = world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01" })).await;
    // Somebody holds the lock of the file longer than anybody waits for it.
    let file = world.folder.path().join("purser.sqlite");
    let mut lock = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    lock.execute("BEGIN IMMEDIATE").await.unwrap();
    refused_while_gone(&world, &mandate).await;
    lock.execute("ROLLBACK").await.unwrap();
    pays_once_after(&world, &mandate).await;
}
