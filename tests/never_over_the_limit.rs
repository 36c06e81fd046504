//! Promise 2: for every budget in the chain and every ancestor of it, posted + held <= cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledger::id::BudgetId;
use ledger::store::Store;
use purser::client::ClientError;
use purser::world::{HOME, USER};
use reqwest::Method;
use serde_json::json;

use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;
use crate::harness::world::World;

/// Watches a node from the table itself, as often as it can, until told to stop. Gives the number of looks.
async fn watch(shop: Arc<Shop>, budget: BudgetId, stop: Arc<AtomicBool>) -> u64 {
    let tenant = shop.service.tenant(HOME).unwrap();
    let mut looks = 0;
    while !stop.load(Ordering::SeqCst) {
        let node = shop.service.store().budget(&tenant, budget).await.unwrap().expect("the node");
        let used = node.held.get() + node.posted.get();
        let cap = node.caps.total.expect("a cap").get();
        assert!(used <= cap, "posted + held = {used} passed the cap of {cap}");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    looks
}

/// 200 purchases of 200 different things at once, a budget for 50.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_for_fifty_holds_fifty_of_two_hundred() {
    let shop = Arc::new(Shop::open().await);
    let mut request = intent();
    request["total"] = "0.50".into();
    request["per_payment"] = "0.50".into();
    let mandate = shop.mandate(request).await;
    let stop = Arc::new(AtomicBool::new(false));
    // On a thread of its own: the purchases keep this runtime's threads busy.
    let (handle, look) =
        (tokio::runtime::Handle::current(), watch(shop.clone(), mandate.parse().unwrap(), stop.clone()));
    let watching = tokio::task::spawn_blocking(move || handle.block_on(look));
    let mut tasks = Vec::new();
    for number in 0..200 {
        let (shop, mandate) = (shop.clone(), mandate.clone());
        tasks.push(tokio::spawn(async move {
            let offer = shop.offer(&format!("/things/{number}"), 10_000);
            shop.pay(&mandate, &offer, &format!("fifty-{number}")).await
        }));
    }
    let (mut held, mut over) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(payment) => {
                assert_eq!(payment["state"], "committed");
                held += 1;
            }
            Err(ClientError::Refused { status, code, detail, .. }) => {
                assert_eq!((status, code.as_deref()), (422, Some("amount_exceeds_budget")), "{detail}");
                assert!(detail.contains("1000000") && detail.contains("50000000"), "both values: {detail}");
                over += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    stop.store(true, Ordering::SeqCst);
    assert!(watching.await.unwrap() > 10, "the node was watched while it was filled");
    assert_eq!((held, over), (50, 150));
    let figures = shop.figures(&mandate).await;
    assert_eq!(figures["held"]["amount"], "0.50");
    assert_eq!(figures["available"]["units"], "0");
}

/// Two mandates, each within its own cap, together above their person's.
#[tokio::test(flavor = "multi_thread")]
async fn siblings_share_what_their_person_may_spend() {
    let shop = Shop::open().await;
    let mut request = intent();
    request["total"] = "3000.00".into();
    request["per_payment"] = "3000.00".into();
    let (one, two) = (shop.mandate(request.clone()).await, shop.mandate(request).await);
    let dear = |number: u32| shop.offer(&format!("/dear/{number}"), 2_900_000_000);
    shop.pay(&one, &dear(1), &new_key()).await.expect("2900 of the person's 5000");
    let (status, code, detail) = refused(shop.pay(&two, &dear(2), &new_key()).await);
    assert_eq!((status, code.as_str()), (422, "amount_exceeds_budget"), "{detail}");
    let person = BudgetId::of_person(&HOME.parse().unwrap(), &USER.parse().unwrap(), &"iso4217:USD".parse().unwrap());
    assert!(detail.contains(&person.to_string()), "the refusal names the ancestor that is full: {detail}");
    shop.pay(&two, &shop.offer("/cheap", 2_000_000_000), &new_key()).await.expect("2000 more fit");
    let tenant = HOME.parse().unwrap();
    let node = shop.service.store().budget(&tenant, person).await.unwrap().unwrap();
    assert_eq!(node.held.get(), 4_900 * 100_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_above_its_own_limit_or_count_is_refused() {
    let shop = Shop::open().await;
    let mut request = intent();
    request["per_payment"] = "0.02".into();
    request["payments"] = 2.into();
    let mandate = shop.mandate(request).await;
    let (status, _, detail) = refused(shop.pay(&mandate, &shop.offer("/a", 20_001), &new_key()).await);
    assert_eq!(status, 422, "{detail}");
    shop.pay(&mandate, &shop.offer("/b", 20_000), &new_key()).await.expect("exactly the limit");
    shop.pay(&mandate, &shop.offer("/c", 1), &new_key()).await.expect("the second of two");
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/d", 1), &new_key()).await), "occurrences_exhausted");
}

/// Sub-cent prices are debited exactly, not rounded to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_price_is_debited_to_the_unit() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    for number in 0..3 {
        shop.pay(&mandate, &shop.offer(&format!("/tiny/{number}"), 1), &new_key())
            .await
            .expect("a millionth of a dollar");
    }
    assert_eq!(shop.figures(&mandate).await["held"]["units"], "300");
}

/// A refusal of the book stays the answer of its key, also when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_refusal_is_the_answer_of_its_key() {
    let shop = Shop::open().await;
    let mut request = intent();
    request["total"] = "0.01".into();
    request["per_payment"] = "0.01".into();
    let mandate = shop.mandate(request).await;
    let first = shop.pay(&mandate, &shop.offer("/one", 10_000), "kept-1").await.expect("the whole budget");
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/two", 10_000), "kept-2").await), "amount_exceeds_budget");
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/two", 10_000), "kept-2").await), "amount_exceeds_budget");
    let (_, conflict, _) = refused(shop.pay(&mandate, &shop.offer("/three", 10_000), "kept-2").await);
    assert_eq!(conflict, "idempotency_key_reused");
    assert_eq!(text(&first, "state"), "committed");
    assert_eq!(json!(shop.figures(&mandate).await["payments"]["used"]), json!(1));
}

/// What AP2 cannot say binds all the same: so much a day, so much to one payee, at these hours.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_credential_cannot_say_binds_in_the_book() {
    let shop = Shop::open().await;
    let with = |limits: serde_json::Value, hours: serde_json::Value| {
        let mut request = intent();
        (request["total"], request["per_payment"], request["payments"]) = ("1.00".into(), "1.00".into(), 50.into());
        (request["limits"], request["hours"]) = (limits, hours);
        request
    };
    let day = json!([{ "period": "day", "zone": "Pacific/Kiritimati", "amount": "0.03" },
        { "period": "rolling", "seconds": 86_400, "payments": 9 }]);
    let mandate = shop.mandate(with(day, json!(null))).await;
    for number in 0..3 {
        shop.pay(&mandate, &shop.offer(&format!("/daily/{number}"), 10_000), &new_key()).await.unwrap();
    }
    let offer = shop.offer("/daily/3", 10_000);
    let (status, refusal, detail) = refused(shop.pay(&mandate, &offer, &new_key()).await);
    assert_eq!((status, refusal.as_str()), (422, "amount_exceeds_period"));
    assert!(detail.contains("a day (Pacific/Kiritimati)"), "{detail}");
    let shown = shop.figures(&mandate).await;
    assert_eq!(shown["limits"][0]["used"]["amount"], "0.03", "{shown}");
    assert_eq!(shown["limits"][1]["payments"], json!({ "used": 3, "limit": 9 }), "{shown}");

    let each = json!([{ "period": "total", "each_payee": true, "payments": 1 }]);
    let mandate = shop.mandate(with(each, json!(null))).await;
    shop.pay(&mandate, &shop.offer("/each/1", 10_000), &new_key()).await.unwrap();
    let second = shop.pay(&mandate, &shop.offer("/each/2", 10_000), &new_key()).await;
    assert_eq!(code(second), "payments_exceed_period");

    // A minute that is not now, whenever this runs: the one that was half a day ago.
    let now = store::wall_clock()().seconds().rem_euclid(86_400) / 60;
    let then = (now + 720) % 1_440;
    let time = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let hours = json!({ "zone": "UTC", "from": time(then), "to": time((then + 1) % 1_440) });
    let mandate = shop.mandate(with(json!([]), hours)).await;
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/hours/1", 10_000), &new_key()).await), "outside_hours");

    for (limits, field) in [
        (json!([{ "period": "day", "amount": "1" }]), "limits.zone"),
        (json!([{ "period": "day", "zone": "Mars/Olympus", "amount": "1" }]), "zone"),
        (json!([{ "period": "rolling", "amount": "1" }]), "limits.seconds"),
        (json!([{ "period": "total" }]), "limits"),
        (json!(vec![json!({ "period": "total", "amount": "1" }); 17]), "limits"),
    ] {
        let body = Some(with(limits.clone(), json!(null)));
        let asked = shop.call(reqwest::Method::POST, "/v1/mandates/intents", &shop.agent, body).await;
        let (status, _, detail) = refused(asked);
        assert!(status == 400 && detail.contains(field), "{limits}: {status} {detail}");
    }
}

/// An operator who lowers a cap in the file means what is open, too; and what was reserved before goes its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_that_was_lowered_in_the_file_binds_what_is_open() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    let held = world.pay(&mandate, "before").await.expect("a payment of one cent");
    let cap = |world: &mut World, person: Option<&str>, limits: serde_json::Value| {
        let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
        let user = home.people.iter_mut().find(|known| known.id == USER).unwrap();
        user.cap = person.map(str::to_owned);
        user.limits = serde_json::from_value(limits).unwrap();
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    };
    let mut number = 0;
    // Taken up by the running service, a moment after the file is written.
    let mut until = async |world: &World, expected: &str| {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            number += 1;
            let body = json!({ "mandate": mandate, "payment_required": world.offer(&format!("{number}")).await });
            let key = format!("try-{number}");
            let answer = world.client.call(Method::POST, "/v1/payments", &world.agent, Some(&key), Some(body)).await;
            let found = answer.as_ref().err().and_then(|error| error.code()).unwrap_or("paid").to_owned();
            match answer {
                Ok(payment) => {
                    let path = format!("/v1/payments/{}/void", text(&payment, "id"));
                    let _ = world.call(Method::POST, &path, &world.agent, None).await;
                }
                Err(_) if found == expected => return,
                Err(_) => {}
            }
            if found == expected {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{found}, {expected} was waited for");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    cap(&mut world, Some("0.005"), json!([]));
    until(&world, "amount_exceeds_budget").await;
    // The uncleared cheque of before is cleared.
    let fetched = world.fetch(Some(text(&held, "payment_signature"))).await.unwrap();
    assert_eq!(fetched.status.as_u16(), 200);
    world.until(text(&held, "id"), "settled").await;
    until(&world, "amount_exceeds_budget").await;
    cap(&mut world, None, json!([{ "period": "day", "zone": "UTC", "amount": "0.005" }]));
    until(&world, "amount_exceeds_period").await;
    cap(&mut world, Some("100.00"), json!([]));
    until(&world, "paid").await;
    world.serve = None;
    let file = world.config_file().display().to_string();
    let verified = crate::harness::process::run(&["ledger", "verify", "--config", &file], &world.env());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// A runaway agent fills neither the tables nor the journal: beyond its quota it is told to wait, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_leaves_behind_so_much_and_no_more() {
    let mut world = World::start().await;
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
    (home.open_payments, home.refusals_burst, home.hold_seconds) = (Some(3), Some(4), Some(5));
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let mandate = world.mandate().await;
    let pay = async |thing: &str| {
        let body = json!({ "mandate": mandate, "payment_required": world.offer(thing).await });
        world.client.call(Method::POST, "/v1/payments", &world.agent, Some(thing), Some(body)).await
    };
    let entries = async || {
        let store = purser::assembly::open_store(&world.config, &world.ring, store::Schema::Refuse).await.unwrap();
        let entries = store.head(&HOME.parse().unwrap()).await.unwrap().0;
        store.close().await.unwrap();
        entries
    };
    let mut open = Vec::new();
    for thing in ["one", "two", "three"] {
        open.push(text(&pay(thing).await.unwrap(), "id").to_owned());
    }
    let before = entries().await;
    for thing in ["four", "five", "four"] {
        let (status, code, detail) = refused(pay(thing).await);
        assert_eq!((status, code.as_str()), (429, "quota_exceeded"), "{detail}");
        assert!(detail.contains("fewer than 3 open payments of one agent were expected, there are 3"), "{detail}");
    }
    assert_eq!(entries().await, before, "nothing is written of it");
    assert_eq!(text(&pay("two").await.unwrap(), "id"), open[1], "a known key has its answer all the same");
    // What it pays under: an agent that is stopped itself is refused before the book is asked.
    let stop = json!({ "scope": format!("mandate/{mandate}") });
    world.call(Method::POST, "/v1/kill", &world.user, Some(stop)).await.unwrap();
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
    home.open_payments = None;
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let mut told = Vec::new();
    for number in 0..12 {
        let body = json!({ "mandate": mandate, "payment_required": world.offer(&format!("{number}")).await });
        let key = format!("stopped-{number}");
        told.push(code(world.client.call(Method::POST, "/v1/payments", &world.agent, Some(&key), Some(body)).await));
    }
    let kept = told.iter().filter(|code| *code == "stopped").count();
    assert!((4..=7).contains(&kept), "{told:?}");
    assert_eq!(told.iter().filter(|code| *code == "quota_exceeded").count(), 12 - kept, "{told:?}");
}
