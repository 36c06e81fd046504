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

/// What another program sees of a payment, which takes and gives back the lock as fast as it can.
enum Seen {
    /// Reserved and not committed, with the lock.
    Held,
    /// Committed, with the lock: nothing more is written.
    Committed(SqliteConnection),
    /// It got through between two looks.
    Nothing,
}

async fn watch<T>(world: &World, paying: &tokio::task::JoinHandle<T>) -> Seen {
    let mut connection = lock(world).await.expect("the lock, while nothing happens");
    loop {
        let text = "SELECT state FROM spend WHERE state IN ('held', 'committed')";
        let open = sqlx::query(text).fetch_optional(&mut connection).await.unwrap();
        match open.map(|row| row.get::<String, _>(0)).as_deref() {
            Some("held") => return Seen::Held,
            Some(_) => return Seen::Committed(connection),
            None => {}
        }
        sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
        while sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.is_err() {}
        if paying.is_finished() {
            return Seen::Nothing;
        }
    }
}

/// Held and committed in one unit: nobody ever sees the one without the other, and the service that is killed right behind
/// that unit, with or without a signature, answers the same key after its restart; it buys once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_hold() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let mut kills = 0;
    for number in 1..=8 {
        let key = format!("held-{number}");
        let required = world.fetch(None).await.unwrap().header("payment-required").unwrap().to_owned();
        let body = json!({ "mandate": mandate, "payment_required_header": required });
        let (client, agent, of_try) = (world.client.clone(), world.agent.clone(), key.clone());
        let paying =
            tokio::spawn(
                async move { client.call(Method::POST, "/v1/payments", &agent, Some(&of_try), Some(body)).await },
            );
        match watch(&world, &paying).await {
            Seen::Held => panic!("payment {number} is held, and nothing is committed"),
            Seen::Nothing => drop(paying.await),
            Seen::Committed(connection) => {
                world.kill();
                drop(connection);
                let _ = paying.await;
                world.restart();
                kills += 1;
            }
        }
        let payment = world.pay(&mandate, &key).await.expect("the same key is answered");
        let fetched = world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap();
        assert_eq!(fetched.status.as_u16(), 200);
        world.until(text(&payment, "id"), "settled").await;
    }
    assert!(kills > 0, "no payment was seen while it was under way");
    assert_eq!(world.moved().await, 8);
    world.check_books(8).await;
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
