//! I-B: whoever sees a signed authorization can have it settled. Then it is paid, whoever sent it.

use serde_json::json;

use super::*;
use crate::harness::cluster::{Cluster, QUICK};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_submits_it_the_buyer_is_served() {
    let mut world = World::on(60, Cluster::start(QUICK)).await;
    let carrier = Carrier::start(&world).await;
    carrier.refuses.store(true, Ordering::SeqCst);
    let upstream = Upstream::start().await;
    let routes = vec![
        route("/seen/held-back", json!({})),
        route("/seen/early", json!({ "release": "verified", "exposure_max": PRICE.to_string() })),
        route("/seen/first", json!({ "settle_first_above": "1" })),
        route("/seen/working", json!({ "upstream": format!("{}/a", upstream.url) })),
    ];
    sell(&mut world, routes, None);
    let buyer = Buyer::new(&world, 41, 100 * PRICE).await;
    let mut payments = 0;
    // Settled by our own facilitator first, and then by one that says "used" to everything.
    for facilitator in [None, Some(carrier.url.as_str())] {
        if facilitator.is_some() {
            sell(&mut world, Vec::new(), facilitator);
        }
        for path in ["/seen/held-back", "/seen/early", "/seen/first"] {
            let payment = buyer.sign(&world, path, 60).await;
            submit(&world, &transfer(&world, &payment)).await;
            let got = until_paid(&world, path, &payment).await;
            assert_eq!(got.receipt.unwrap()["success"], true, "{path} through {facilitator:?}");
            payments += 1;
            assert_eq!(paid(&world).await, payments, "{path} through {facilitator:?}: once");
        }
        // While the work is done, and a second process sees it paid before the first one's work is over.
        let runs = upstream.runs();
        upstream.waits.store(true, Ordering::SeqCst);
        let payment = buyer.sign(&world, "/seen/working", 60).await;
        let (replica, _) = world.replica(payments.try_into().unwrap());
        let (origin, asked) = (world.config.public_url(), payment.clone());
        let working = tokio::spawn(async move { present_at(&origin, "/seen/working", &asked).await });
        let deadline = Instant::now() + Duration::from_secs(10);
        while upstream.runs() == runs {
            assert!(Instant::now() < deadline, "the work does not begin");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        submit(&world, &transfer(&world, &payment)).await;
        payments += 1;
        until_received(&world, payments).await;
        upstream.waits.store(false, Ordering::SeqCst);
        let got = working.await.unwrap();
        assert!(got.is_served(), "paid while it was worked on, through {facilitator:?}: {} {}", got.status, got.body);
        assert_eq!(paid(&world).await, payments);
        drop(replica);
    }
    verify_books(&world);
}

/// The book has so many, whichever process wrote them.
async fn until_received(world: &World, payments: u128) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (_, records) = command(world, &["ledger", "journal", "--json", "--tenant", "shop"]);
        let received = records.iter().filter(|record| record["operation"] == "receive").count();
        if u128::try_from(received).unwrap() >= payments {
            return;
        }
        assert!(Instant::now() < deadline, "{received} of {payments} are seen");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
