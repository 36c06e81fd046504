//! Denial of settlement: served, and then nothing to settle, or nobody who does.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_pay_owes_and_is_served_on_credit_no_more() {
    let mut world = World::start_with(60).await;
    let carrier = Carrier::start(&world).await;
    let path = "/denied/early";
    let routes = vec![route(path, json!({ "release": "verified", "exposure_max": (5 * PRICE).to_string() }))];
    sell(&mut world, routes, Some(&carrier.url));
    // The facilitator withholds until it is too late, the buyer moves what they have.
    carrier.silent.store(true, Ordering::SeqCst);
    let buyer = Buyer::new(&world, 61, 10 * PRICE).await;
    let unpaid = buyer.sign(&world, path, 30).await;
    assert!(present(&world, path, &unpaid).await.is_served());
    buyer.move_away(&world, path).await;
    carrier.silent.store(false, Ordering::SeqCst);
    world.rpc("evm_increaseTime", json!([60])).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while owed(&world).iter().all(|line| line["state"] != "unpaid") {
        assert!(Instant::now() < deadline, "{:?}", owed(&world));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let line = owed(&world).remove(0);
    assert_eq!((text(&line, "owed_by"), text(&line, "amount")), ("payer", "10000"), "{line}");
    assert_eq!(receivable(&world), PRICE.to_string(), "what was given stays owed");
    assert!(!present(&world, path, &unpaid).await.is_served(), "what was not paid is not given again");
    // With money again, and a facilitator that says nothing: nothing is given before it is settled.
    world.rpc("devnet_mint", json!([buyer.key.address(), format!("{:#x}", 10 * PRICE)])).await;
    carrier.silent.store(true, Ordering::SeqCst);
    let blocked = buyer.sign(&world, path, 3_000).await;
    let got = present(&world, path, &blocked).await;
    assert!(!got.is_served() && got.body.get("content").is_none(), "{} {}", got.status, got.body);
    assert_eq!(paid(&world).await, 0);
    carrier.silent.store(false, Ordering::SeqCst);
    assert!(until_paid(&world, path, &blocked).await.is_served(), "who pays first is served");
    // Somebody else is not blocked for it; and an operator ends it.
    let (file, nonce) = (world.config_file().display().to_string(), text(&line, "authorization").to_owned());
    let refused = run(&["receivables", "--config", &file, "--write-off", &nonce], &world.env());
    assert!(!refused.status.success(), "without a reason");
    let args = ["receivables", "--config", &file, "--write-off", &nonce, "--because", "paid in cash"];
    let written = run(&args, &world.env());
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert_eq!((owed(&world).len(), receivable(&world).as_str()), (0, "0"));
    world.rpc("evm_setAutomine", json!([false])).await;
    let again = buyer.sign(&world, path, 3_000).await;
    let got = present(&world, path, &again).await;
    assert!(got.is_served() && got.receipt.is_none(), "on credit again: {} {}", got.status, got.body);
    world.rpc("evm_setAutomine", json!([true])).await;
    until_paid(&world, path, &again).await;
    verify_books(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_served_is_collected_after_a_restart() {
    let mut world = World::start_with(60).await;
    let carrier = Carrier::start(&world).await;
    let path = "/denied/late";
    let routes = vec![route(path, json!({ "release": "verified", "exposure_max": (5 * PRICE).to_string() }))];
    sell(&mut world, routes, Some(&carrier.url));
    carrier.silent.store(true, Ordering::SeqCst);
    let buyer = Buyer::new(&world, 62, 10 * PRICE).await;
    let payments = [buyer.sign(&world, path, 600).await, buyer.sign(&world, path, 600).await];
    for payment in &payments {
        assert!(present(&world, path, payment).await.is_served());
    }
    world.kill();
    until_receivable(&world, 2 * PRICE).await;
    carrier.silent.store(false, Ordering::SeqCst);
    world.restart();
    // Nobody presents anything: the service has it carried by itself.
    until_receivable(&world, 0).await;
    assert_eq!(paid(&world).await, 2);
    for payment in &payments {
        assert!(until_paid(&world, path, payment).await.is_served());
    }
    assert_eq!(paid(&world).await, 2, "once each");
    verify_books(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_first_is_not_worked_for_before() {
    let mut world = World::start_with(60).await;
    let upstream = Upstream::start().await;
    let at = |path: &str| format!("{}{path}", upstream.url);
    let dear = json!({ "upstream": at("/dear"), "settle_first_above": (PRICE - 1).to_string() });
    let strangers = json!({ "upstream": at("/strangers"), "settle_first_without_history": true });
    sell(&mut world, vec![route("/first/dear", dear), route("/first/strangers", strangers)], None);
    let [dear, stranger] = [Buyer::new(&world, 63, 100 * PRICE).await, Buyer::new(&world, 66, 100 * PRICE).await];
    for (path, buyer) in [("/first/dear", &dear), ("/first/strangers", &stranger)] {
        let (runs, before) = (upstream.runs(), paid(&world).await);
        // Signed, and then there is nothing: no work is done.
        let poor = Buyer::new(&world, if path.ends_with("dear") { 64 } else { 65 }, PRICE).await;
        let empty = poor.sign(&world, path, 60).await;
        poor.move_away(&world, path).await;
        assert!(!present(&world, path, &empty).await.is_served());
        world.rpc("evm_setAutomine", json!([false])).await;
        let payment = buyer.sign(&world, path, 600).await;
        let got = present(&world, path, &payment).await;
        assert!(!got.is_served(), "{path}: {} {}", got.status, got.body);
        assert_eq!((upstream.runs(), paid(&world).await), (runs, before), "{path}: not worked for before it is paid");
        // Paid, and then the work fails: the payer has a receipt, and is owed what they paid for.
        upstream.fails.store(true, Ordering::SeqCst);
        world.rpc("evm_setAutomine", json!([true])).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let failed = loop {
            let got = present(&world, path, &payment).await;
            if got.receipt.is_some() {
                break got;
            }
            assert!(Instant::now() < deadline, "{path}: {} {}", got.status, got.body);
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(
            (failed.status, &failed.receipt.unwrap()["success"]),
            (500, &json!(true)),
            "{path}: {}",
            failed.body
        );
        let lines = owed(&world);
        assert_eq!((lines.len(), text(&lines[0], "owed_by"), text(&lines[0], "state")), (1, "seller", "undelivered"));
        // The same payment has it tried again; bought once, paid once, delivered once.
        upstream.fails.store(false, Ordering::SeqCst);
        let got = present(&world, path, &payment).await;
        assert!(got.is_served() && got.receipt.is_some(), "{path}: {} {}", got.status, got.body);
        let again = present(&world, path, &payment).await;
        assert_eq!((again.body, upstream.runs(), paid(&world).await), (got.body, runs + 2, before + 1), "{path}");
        assert_eq!(owed(&world).len(), 0);
    }
    // Who has paid for good is no stranger any more: the work is done first again.
    world.rpc("anvil_mine", json!([5])).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let runs = upstream.runs();
    world.rpc("evm_setAutomine", json!([false])).await;
    let payment = stranger.sign(&world, "/first/strangers", 600).await;
    assert!(!present(&world, "/first/strangers", &payment).await.is_served());
    assert_eq!(upstream.runs(), runs + 1, "held back, and worked for");
    world.rpc("evm_setAutomine", json!([true])).await;
    until_paid(&world, "/first/strangers", &payment).await;
    verify_books(&world);
}
