//! Promise 3 under `kill -9`: whatever the moment, money moves at most once, and the books end where the chain is.
//!
//! A real `purser serve` on a file, against a real `purser chain` in a process of its own, through a proxy that
//! withholds answers; the moments are hit from outside.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::harness::text;
use crate::harness::world::World;

/// Takes the database's write lock as another program would, and keeps it while it lives.
async fn lock(world: &World) -> Option<SqliteConnection> {
    let url = format!("sqlite://{}", world.config.database);
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut connection).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        if sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.is_ok() {
            return Some(connection);
        }
    }
    None
}

/// Takes and gives back the lock until a spend is held, and then keeps it; `None` when the payment got through.
async fn lock_on_hold<T>(world: &World, paying: &tokio::task::JoinHandle<T>) -> Option<SqliteConnection> {
    let mut connection = lock(world).await.expect("the lock, while nothing happens");
    loop {
        let held =
            sqlx::query("SELECT count(*) FROM spend WHERE state = 'held'").fetch_one(&mut connection).await.unwrap();
        if held.get::<i64, _>(0) == 1 {
            return Some(connection);
        }
        sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
        while sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.is_err() {}
        if paying.is_finished() {
            return None;
        }
    }
}

/// Held, nothing signed: after the restart the hold lapses, its key says so, and nothing has moved.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_hold() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    // The lock is wanted between two units a fraction of a millisecond apart: another program takes it and gives it
    // back as fast as it can, until it finds a hold. A purchase that slipped through is one of its own.
    let mut tries = 0;
    let caught = loop {
        tries += 1;
        assert!(tries <= 40, "the moment between hold and signature was not hit in {tries} tries");
        let key = format!("held-{tries}");
        let required = world.fetch(None).await.unwrap().header("payment-required").unwrap().to_owned();
        let body = json!({ "mandate": mandate, "payment_required_header": required });
        let (client, agent, of_try) = (world.client.clone(), world.agent.clone(), key.clone());
        let paying =
            tokio::spawn(
                async move { client.call(Method::POST, "/v1/payments", &agent, Some(&of_try), Some(body)).await },
            );
        if let Some(connection) = lock_on_hold(&world, &paying).await {
            world.kill();
            drop(connection);
            let _ = paying.await;
            break key;
        }
        let payment = paying.await.unwrap().expect("a payment that slipped through");
        let fetched = world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap();
        assert_eq!(fetched.status.as_u16(), 200);
        world.until(text(&payment, "id"), "settled").await;
    };
    let paid_before = world.moved().await;
    world.restart();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answered = world.pay(&mandate, &caught).await;
    assert_eq!(answered.unwrap_err().code(), Some("spend_released"), "the key of a lapsed hold");
    let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    assert_eq!(figures["held"]["units"], "0", "nothing stays held");
    assert_eq!(world.moved().await, paid_before);
    world.check_books(u128::try_from(paid_before).unwrap()).await;
}

/// Signed and handed out: the same key gives the same bytes, and they buy once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_signing() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let first = world.pay(&mandate, "signed").await.unwrap();
    world.kill();
    world.restart();
    let second = world.pay(&mandate, "signed").await.unwrap();
    assert_eq!(first["payment_signature"], second["payment_signature"], "byte for byte");
    let fetched = world.fetch(Some(text(&first, "payment_signature"))).await.unwrap();
    assert_eq!(fetched.status.as_u16(), 200);
    world.until(text(&first, "id"), "settled").await;
    assert_eq!(world.moved().await, 1);
    world.check_books(1).await;
}

/// Signed and never presented: held while it could still move money, released once it cannot, by proof.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_signing_and_never_presented() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "unused").await.unwrap();
    let id = text(&payment, "id").to_owned();
    world.kill();
    world.restart();
    assert_eq!(world.state(&id).await, "committed", "a restart proves nothing");
    world.rpc("evm_increaseTime", json!([60])).await;
    world.until(&id, "released").await;
    assert_eq!(world.pay(&mandate, "unused").await.unwrap_err().code(), Some("spend_released"));
    assert_eq!(world.moved().await, 0);
    world.check_books(0).await;
}

/// Broadcast, and nobody saw the receipt: found at start, settled once, and the buyer gets what was bought.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_broadcast_before_the_receipt() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "broadcast").await.unwrap();
    let signature = text(&payment, "payment_signature").to_owned();
    let sent = world.proxy.seen("eth_sendRawTransaction");
    world.proxy.withhold(&["eth_getTransactionReceipt", "eth_getLogs"]);
    let presented = world.present(&signature);
    world.proxy.until_seen("eth_sendRawTransaction", sent).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.kill();
    let _ = presented.await;
    assert_eq!(world.moved().await, 1, "the chain has it");
    world.proxy.release();
    world.restart();
    world.until(text(&payment, "id"), "settled").await;
    served_once(&world, &signature).await;
    assert_eq!(world.proxy.seen("eth_sendRawTransaction"), sent + 1, "nothing was sent twice");
    world.check_books(1).await;
}

/// The bytes are stored and the node may or may not have them: the same bytes again, one settlement.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_broadcast_was_answered() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "unanswered").await.unwrap();
    let signature = text(&payment, "payment_signature").to_owned();
    let sent = world.proxy.seen("eth_sendRawTransaction");
    world.proxy.withhold(&["eth_sendRawTransaction"]);
    let presented = world.present(&signature);
    world.proxy.until_seen("eth_sendRawTransaction", sent).await;
    world.kill();
    let _ = presented.await;
    world.proxy.release();
    world.restart();
    world.until(text(&payment, "id"), "settled").await;
    served_once(&world, &signature).await;
    world.check_books(1).await;
}

/// The receipt is there and the books cannot be written: nothing is lost, nothing is posted twice.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_receipt_before_posting() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "unposted").await.unwrap();
    let signature = text(&payment, "payment_signature").to_owned();
    let asked = world.proxy.seen("eth_getTransactionReceipt");
    world.proxy.withhold(&["eth_getTransactionReceipt", "eth_getLogs"]);
    let presented = world.present(&signature);
    world.proxy.until_seen("eth_getTransactionReceipt", asked).await;
    let mut locked = lock(&world).await.expect("the write lock");
    world.proxy.release();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let settled: i64 = sqlx::query("SELECT count(*) FROM settlement WHERE state = 'settled'")
        .fetch_one(&mut locked)
        .await
        .unwrap()
        .get(0);
    assert_eq!((world.moved().await, settled), (1, 0), "mined, and not posted");
    world.kill();
    let _ = presented.await;
    drop(locked);
    world.restart();
    world.until(text(&payment, "id"), "settled").await;
    served_once(&world, &signature).await;
    world.check_books(1).await;
}

/// The payer fetches what was paid for with the same signature; it is given, and nothing more moves.
async fn served_once(world: &World, signature: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let fetched = world.fetch(Some(signature)).await.unwrap();
        if fetched.status.as_u16() == 200 {
            let body: Value = serde_json::from_slice(&fetched.body).unwrap();
            assert_eq!(body["served"], 1, "the stored answer of the one run");
            break;
        }
        let said = String::from_utf8_lossy(&fetched.body).into_owned();
        assert!(matches!(fetched.status.as_u16(), 409 | 502 | 503), "unknown is not failed: {} {said}", fetched.status);
        assert!(Instant::now() < deadline, "the stored answer is given at last: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.moved().await, 1);
}
