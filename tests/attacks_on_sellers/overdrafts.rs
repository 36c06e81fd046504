//! Allowance overdraft: many authorizations, each of them covered, shown to two replicas at once.

use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::harness::cluster::{Cluster, QUICK};

const COVERED: u128 = 3;
const AT_ONCE: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_served_than_is_there() {
    let mut world = World::patient(Some(Cluster::start(QUICK))).await;
    let plenty = (1_000 * PRICE).to_string();
    let routes = vec![
        route("/overdrawn/verified", json!({ "release": "verified", "exposure_max": plenty })),
        route("/overdrawn/submitted", json!({ "release": "submitted", "exposure_max": plenty })),
        route("/overdrawn/confirmed", json!({})),
    ];
    // One process carries for both: two that share an account of the chain get into each other's way there.
    let carrier = Carrier::start(&world).await;
    sell(&mut world, routes, Some(&carrier.url));
    let (replica, other) = world.replica(1);
    let file = world.folder.path().join("replica-1.toml");
    let other_url: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let origins = [world.config.public_url(), format!("http://{}", other_url["listen"].as_str().unwrap())];
    drop(other);
    let mut all_paid = 0;
    for (number, path) in [(51, "/overdrawn/verified"), (52, "/overdrawn/submitted"), (53, "/overdrawn/confirmed")] {
        let buyer = Buyer::new(&world, number, COVERED * PRICE).await;
        let mut payments = Vec::new();
        for _ in 0..AT_ONCE {
            payments.push(buyer.sign(&world, path, 600).await);
        }
        // Nothing leaves the balance while they come.
        world.rpc("evm_setAutomine", json!([false])).await;
        let mut presented = JoinSet::new();
        for (number, payment) in payments.iter().cloned().enumerate() {
            let (origin, path) = (origins[number % 2].clone(), path.to_owned());
            presented.spawn(async move { present_at(&origin, &path, &payment).await });
        }
        let answers = presented.join_all().await;
        world.rpc("evm_setAutomine", json!([true])).await;
        let early = answers.iter().filter(|got| got.is_served()).count();
        assert!(early <= 3, "{path}: {early} of {AT_ONCE} were served, {COVERED} are covered");
        // Those that were claimed are paid; what was refused by the way is refused, or has room now that others were given up.
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut served, mut waiting) = (0, payments);
        while served < COVERED {
            let mut left = Vec::new();
            for payment in waiting {
                let got = present(&world, path, &payment).await;
                match got.receipt.is_some_and(|said| said["success"] == true) {
                    true => served += 1,
                    false => left.push(payment),
                }
            }
            waiting = left;
            assert!(Instant::now() < deadline, "{path}: {served} served");
        }
        all_paid += COVERED;
        until_receivable(&world, 0).await;
        assert_eq!((served, paid(&world).await), (COVERED, all_paid), "{path}: served and not paid is nothing");
        println!(
            "{path}: {AT_ONCE} presented to two replicas, {COVERED} covered, {early} served at once, leak ratio 0"
        );
    }
    drop(replica);
    verify_books(&world);
}
