//! I-A: what is given before the settlement is final.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_before_it_is_paid_is_bounded_and_owed() {
    let mut world = World::lagging(60, 4).await;
    let exposure = (3 * PRICE).to_string();
    let early = |release: &str| json!({ "release": release, "exposure_max": exposure });
    let strict = json!({ "release": "verified", "exposure_max": PRICE.to_string(), "beyond_exposure": "refuse" });
    let routes = vec![
        route("/early/verified", early("verified")),
        route("/early/submitted", early("submitted")),
        route("/early/strict", strict),
    ];
    sell(&mut world, routes, None);
    for (number, path) in [(21, "/early/verified"), (22, "/early/submitted")] {
        let buyer = Buyer::new(&world, number, 100 * PRICE).await;
        let other = Buyer::new(&world, number + 10, PRICE).await;
        let before = paid(&world).await;
        world.rpc("evm_setAutomine", json!([false])).await;
        let mut payments = Vec::new();
        for _ in 0..3 {
            let payment = buyer.sign(&world, path, 600).await;
            let got = present(&world, path, &payment).await;
            assert!(got.is_served() && got.receipt.is_none(), "{path}: {} {}", got.status, got.body);
            // The same payment again is the same answer, and no other work; for another resource it is nothing.
            assert_eq!(present(&world, path, &payment).await.body, got.body, "{path}");
            let elsewhere = present(&world, &format!("{path}?other"), &payment).await;
            assert!(!elsewhere.is_served(), "{path}: {}", elsewhere.body);
            payments.push(payment);
        }
        assert_eq!(paid(&world).await, before, "{path}: nothing is mined");
        until_receivable(&world, 3 * PRICE).await;
        assert_eq!(owed(&world).len(), 3, "{path}");
        // One more is more than was said: its answer is held back until it is paid.
        if path == "/early/verified" {
            let beyond = buyer.sign(&world, path, 600).await;
            let got = present(&world, path, &beyond).await;
            assert!(!got.is_served() && got.body.get("content").is_none(), "{path}: {} {}", got.status, got.body);
            payments.push(beyond);
        }
        // Somebody else has not used anything up.
        let got = present(&world, path, &other.sign(&world, path, 600).await).await;
        assert!(got.is_served(), "{path}: {} {}", got.status, got.body);
        world.rpc("evm_setAutomine", json!([true])).await;
        for payment in &payments {
            let got = until_paid(&world, path, payment).await;
            assert_eq!(got.receipt.unwrap()["success"], true, "{path}");
        }
        until_receivable(&world, 0).await;
        assert_eq!(
            paid(&world).await,
            before + 1 + u128::try_from(payments.len()).unwrap(),
            "{path}: every grant was paid"
        );
    }
    // A route may rather refuse.
    let buyer = Buyer::new(&world, 25, 10 * PRICE).await;
    world.rpc("evm_setAutomine", json!([false])).await;
    let (first, second) =
        (buyer.sign(&world, "/early/strict", 600).await, buyer.sign(&world, "/early/strict", 600).await);
    assert!(present(&world, "/early/strict", &first).await.is_served());
    let refused = present(&world, "/early/strict", &second).await;
    assert_eq!((refused.status, text(&refused.body, "error")), (402, "exposure_exceeded"), "{}", refused.body);
    world.rpc("evm_setAutomine", json!([true])).await;
    until_paid(&world, "/early/strict", &first).await;
    assert!(present(&world, "/early/strict", &second).await.is_served(), "there is room again");
    verify_books(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_as_many_blocks_as_its_route_says() {
    const CONFIRMATIONS: u64 = 10;
    let mut world = World::lagging(60, 40).await;
    sell(&mut world, vec![route("/deep", json!({ "confirmations": CONFIRMATIONS }))], None);
    let buyer = Buyer::new(&world, 31, 10 * PRICE).await;
    let payment = buyer.sign(&world, "/deep", 600).await;
    let got = until_paid(&world, "/deep", &payment).await;
    let receipt = got.receipt.unwrap();
    let mined = world.rpc("eth_getTransactionReceipt", json!([receipt["transaction"]])).await;
    let number = |value: &Value| u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let head = number(&world.rpc("eth_blockNumber", json!([])).await);
    let stands = head + 1 - number(&mined["blockNumber"]);
    assert!(stands >= CONFIRMATIONS, "given in {stands} blocks");
    verify_books(&world);
}
