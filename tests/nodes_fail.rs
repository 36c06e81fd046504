//! Promise 3 against nodes: whatever a node says or does not say, it is never "the signature is bad", never "it did not
//! happen", and nothing stays held. Each fault has its code, and `doctor` names it.

use std::time::Duration;

use purser::client::ClientError;
use purser::dev::DevOptions;
use purser::world::HOME;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::rpc_proxy::Fault;
use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;
use crate::harness::world::World;

/// What a payment is refused with.
fn refused(answer: Result<Value, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused { status, code, .. }) => (status, code.unwrap_or_default()),
        other => panic!("a refusal was expected: {other:?}"),
    }
}

fn doctor(world: &World) -> (bool, String) {
    let file = world.config_file().display().to_string();
    let output = run(&["doctor", "--config", &file], &world.env());
    (output.status.success(), stdout(&output))
}

async fn suffers(fault: Fault, code: &str) {
    // Longer than a silent node is waited for.
    let world = World::start_with(60).await;
    let mandate = world.mandate().await;
    let signed = world.pay(&mandate, "signed").await.expect("a payment while the node is well");
    let (well, said) = doctor(&world);
    assert!(well, "{said}");

    world.proxy.suffer(Some(fault));
    // What the node said of its last final block is believed for a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(refused(world.pay(&mandate, "while").await), (503, code.to_owned()), "{fault:?}");
    let presented = world.fetch(Some(text(&signed, "payment_signature"))).await.unwrap();
    assert!(presented.status.is_server_error(), "{fault:?}: an outage is no verdict: {}", presented.status);
    assert_eq!(world.fetch(None).await.unwrap().status.as_u16(), 402, "the price is known without a node");
    let ready = reqwest::get(format!("{}/readyz", world.config.public_url())).await.unwrap();
    assert_eq!(ready.status().as_u16(), 503, "{fault:?}");
    let (well, said) = doctor(&world);
    assert!(!well && said.contains(&format!("FAIL node 1: {code}")), "{fault:?}: {said}");

    // The node is well again: the same payment goes through, once; what was refused left nothing behind.
    world.proxy.suffer(None);
    let mut delivered = world.fetch(Some(text(&signed, "payment_signature"))).await.unwrap();
    for _ in 0..40 {
        if delivered.status.as_u16() == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        delivered = world.fetch(Some(text(&signed, "payment_signature"))).await.unwrap();
    }
    assert_eq!(delivered.status.as_u16(), 200, "{fault:?}");
    world.until(text(&signed, "id"), "settled").await;
    let view = world.call(reqwest::Method::GET, &format!("/v1/mandates/{mandate}"), &world.agent, None).await.unwrap();
    assert_eq!((view["payments"]["used"].as_u64(), text(&view["held"], "units")), (Some(1), "0"), "{fault:?}");
    assert!(world.pay(&mandate, "while").await.is_ok(), "the key was not used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_an_outage() {
    suffers(Fault::Silent, "chain_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_node_is_an_outage() {
    suffers(Fault::Broken, "chain_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_node_is_an_outage() {
    suffers(Fault::Busy, "chain_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_talks_nonsense_is_an_outage() {
    suffers(Fault::Garbage, "chain_unavailable").await;
    suffers(Fault::Nonsense, "chain_unavailable").await;
    suffers(Fault::Cut, "chain_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_has_a_code_of_its_own() {
    suffers(Fault::Refuses, "chain_refused").await;
}

/// A node of another chain is named by the doctor, and nothing starts on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_chain_is_turned_away() {
    let mut world = World::start().await;
    world.proxy.suffer(Some(Fault::OtherChain));
    let (well, said) = doctor(&world);
    assert!(!well && said.contains("FAIL node 1: chain_id_mismatch: chain 1, 31337 was expected"), "{said}");
    world.kill();
    let output = run(&["serve", "--config", &world.config_file().display().to_string()], &world.env());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("chain_id_mismatch"), "{said}");
}

/// It rests behind five hundred; what lies there is looked at all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_behind_a_full_page() {
    const PAGE: u32 = 500;
    let options = DevOptions { sweep_millis: Some(3_600_000), ..DevOptions::default() };
    let shop = Shop::open_with(options).await;
    let mut many = intent();
    many["total"] = "50.00".into();
    let mandate = shop.mandate(many).await;
    let tenant = shop.service.tenant(HOME).unwrap();
    for number in 0..PAGE {
        let mut offer = shop.offer(&format!("/waits/{number}"), 1_000);
        // However slow the machine is, none is over before the sweep.
        offer.accepts.iter_mut().for_each(|accepted| accepted.max_timeout_seconds = 3_600);
        shop.pay(&mandate, &offer, &new_key()).await.unwrap();
    }
    let required = shop.met("/paid/report").await;
    let paid = shop.pay(&mandate, &required, &new_key()).await.unwrap();
    assert_eq!(shop.fetch("/paid/report", Some(text(&paid, "payment_signature"))).await.status.as_u16(), 200);
    let swept = shop.service.engine().sweep(&tenant).await.unwrap();
    assert_eq!((swept.looked_at, swept.resolved), (PAGE + 1, 1), "the last one was presented");
    shop.service.stop().await;
}

/// What waits for its seller costs a node the same, however much it is; and the one that moves is seen among the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_asks_a_node_once_however_many_payments_wait() {
    let options = DevOptions { sweep_millis: Some(3_600_000), ..DevOptions::default() };
    let shop = Shop::open_with(options).await;
    let mandate = shop.mandate(intent()).await;
    let tenant = shop.service.tenant(HOME).unwrap();
    let calls = || {
        u64::from_str_radix(shop.rpc("devnet_calls", json!([])).as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let sweep = async || {
        let before = calls();
        let swept = shop.service.engine().sweep(&tenant).await.unwrap();
        (swept.looked_at, swept.resolved, calls() - before)
    };
    let waits = shop.pay(&mandate, &shop.offer("/waits", 1_000), &new_key()).await.unwrap();
    let (one, none, few) = sweep().await;
    assert_eq!((one, none), (1, 0));
    for number in 0..30 {
        shop.pay(&mandate, &shop.offer(&format!("/waits/{number}"), 1_000), &new_key()).await.unwrap();
    }
    let (many, none, as_few) = sweep().await;
    assert_eq!((many, none, as_few), (31, 0, few), "looked at, resolved, calls");

    let required = shop.met("/paid/report").await;
    let paid = shop.pay(&mandate, &required, &new_key()).await.unwrap();
    assert_eq!(shop.fetch("/paid/report", Some(text(&paid, "payment_signature"))).await.status.as_u16(), 200);
    let (all, moved, calls) = sweep().await;
    assert_eq!((all, moved), (32, 1), "the one that was presented, and no other");
    assert!(calls < 4 * few + 10, "{calls} calls for one that moved among 31");
    let state = async |payment: &Value| {
        let path = format!("/v1/payments/{}", text(payment, "id"));
        text(&shop.call(Method::GET, &path, &shop.agent, None).await.unwrap(), "state").to_owned()
    };
    assert_eq!((state(&paid).await, state(&waits).await), ("settled".into(), "committed".into()));
    shop.service.stop().await;
}
