//! Promise 4 where money moves beside the book: refunds are what the chain shows, and what nobody told is listed.

use std::process::Command;

use purser::world::{HOME, SHOP, shop_address, wallet_address};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::shop::code;
use crate::harness::world::World;
use crate::harness::{foreign, root, text};

/// What the shop sends by itself, in a block that is final, and the hash of it.
async fn shop_sends(world: &World, to: &str, amount: u128) -> String {
    let key = format!("{:#x}", chain::accounts::ACCOUNTS[2].private_key);
    let (url, token) = (text(&world.chain.line, "rpc_url"), chain::token::ADDRESS.to_string());
    let output = Command::new(foreign("python"))
        .arg(root().join("tests/foreign/transfer.py"))
        .args([url, &key, &token, to, &amount.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.rpc("anvil_mine", json!([3])).await;
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The chain says what was refunded, not who asks: a transfer is one refund of one payment, from the payee who was paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_what_the_chain_shows_once() {
    let mut world = World::start().await;
    let wallet = format!("{:#x}", wallet_address(HOME, &world.ring).unwrap());
    let mut spends = Vec::new();
    let mandates = [world.mandate().await, world.mandate_with(json!({ "refunds": "restore" })).await];
    for (number, mandate) in mandates.iter().enumerate() {
        let payment = world.pay(mandate, &format!("refunded-{number}")).await.unwrap();
        assert_eq!(world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap().status.as_u16(), 200);
        world.until(text(&payment, "id"), "settled").await;
        spends.push(text(&payment, "id").to_owned());
    }
    let open = world.pay(&mandates[0], "open").await.unwrap();
    let refund = async |spend: &str, transaction: &str| {
        let path = format!("/v1/payments/{spend}/refund");
        world.call(Method::POST, &path, &world.user, Some(json!({ "transaction": transaction }))).await
    };
    let early = shop_sends(&world, &wallet, 0).await;
    let shop = format!("{:#x}", shop_address());
    let broke = shop_sends(&world, &wallet, 20_001).await;
    world.rpc("devnet_mint", json!([shop, "0xf4240"])).await;
    let stranger = "0x00000000000000000000000000000000000000cc";
    let (part, rest) = (shop_sends(&world, &wallet, 4_000).await, shop_sends(&world, &wallet, 6_000).await);
    let (too_much, elsewhere) = (shop_sends(&world, &wallet, 10_001).await, shop_sends(&world, stranger, 10_000).await);
    let paying = world.call(Method::GET, &format!("/v1/payments/{}", spends[0]), &world.agent, None).await.unwrap();
    for (transaction, expected) in [
        ("0x12", "invalid_request"),
        ("", "invalid_request"),
        (&*format!("0x{}", "ab".repeat(32)), "not_found"),
        (&elsewhere, "invalid_request"),
        // It reverted: the shop did not have so much.
        (&broke, "invalid_request"),
        // Of nothing, and from before the other payment.
        (&early, "invalid_request"),
        // The payment itself: from the wallet, not to it.
        (text(&paying, "transaction"), "invalid_request"),
        (&too_much, "refund_exceeds_payment"),
    ] {
        assert_eq!(code(refund(&spends[0], transaction).await), expected, "{transaction}");
    }
    assert_eq!(code(refund(text(&open, "id"), &part).await), "spend_state", "nothing was paid yet");
    let path = format!("/v1/payments/{}/refund", spends[0]);
    let by_agent = world.call(Method::POST, &path, &world.agent, Some(json!({ "transaction": part }))).await;
    assert_eq!(code(by_agent), "forbidden", "it might give back what it may spend");
    for (spend, transaction, refunded) in [
        (&spends[0], &part, "4000"),
        (&spends[0], &part, "4000"),
        (&spends[0], &rest, "10000"),
        (&spends[0], &part, "10000"),
    ] {
        assert_eq!(refund(spend, transaction).await.unwrap()["refunded"], refunded);
    }
    assert_eq!(code(refund(&spends[1], &part).await), "refund_claimed");
    let whole = shop_sends(&world, &wallet, 10_000).await;
    assert_eq!(code(refund(&spends[0], &whole).await), "refund_exceeds_payment");
    assert_eq!(refund(&spends[1], &whole).await.unwrap()["refunded"], "10000");
    for (mandate, posted) in [(&mandates[0], "0.01"), (&mandates[1], "0.00")] {
        let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
        assert_eq!(figures["posted"]["amount"], posted, "{figures}");
    }
    world.serve = None;
    let file = world.config_file().display().to_string();
    let verified = crate::harness::process::run(&["ledger", "verify", "--config", &file], &world.env());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// The day so far agrees with the trial balance and the wallet, and its checkpoint is one that the journal goes on from;
/// the day before knows nothing of it.
fn check_close(world: &World, wallet: &Value, file: &str) {
    let close = |rest: &[&str]| {
        let args: Vec<&str> =
            ["close", "--json", "--tenant", HOME, "--config", file].iter().chain(rest).copied().collect();
        crate::harness::process::run(&args, &world.env())
    };
    let json = |rest: &[&str]| {
        let output = close(rest);
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    // The world may cross midnight while it runs: its own day, in a zone where it is noon.
    let now = jiff::Timestamp::now();
    let hours = 12 - i32::from(now.in_tz("UTC").unwrap().hour());
    let zone = if hours < 0 { format!("Etc/GMT+{}", -hours) } else { format!("Etc/GMT-{hours}") };
    let today = now.in_tz(&zone).unwrap().date();
    let (yesterday, today) = (today.yesterday().unwrap().to_string(), today.to_string());
    for (args, expected) in [
        (["--date", &today, "--zone", &zone], "a day that is over was expected"),
        (["--date", "2026-02-30", "--zone", "UTC"], "2026-02-30"),
        (["--date", &yesterday, "--zone", "Europe/Nowhere"], "Europe/Nowhere"),
        (["--date", "9999-12-31", "--zone", "UTC"], ""),
    ] {
        let output = close(&args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && told.contains(expected), "{args:?}: {told}");
    }
    let (code, before) = json(&["--date", &yesterday, "--zone", &zone]);
    let nothing = json!({ "from": 0, "before": 0 });
    assert_eq!((code, &before["over"], &before["records"]), (Some(0), &json!(true), &nothing), "{before}");
    assert_eq!(before["accounts"], json!([]));
    let (code, day) = json(&["--date", &today, "--zone", &zone, "--so-far"]);
    assert_eq!((code, &day["over"], &day["breaks"]), (Some(0), &json!(false), &json!([])), "{day}");
    let name = format!("wallet/{}", text(wallet, "wallet"));
    let account = day["accounts"].as_array().unwrap().iter().find(|line| line["account"] == name).unwrap();
    assert_eq!(account["closing"], wallet["booked"], "{account}");
    // Two payments of a cent went out, and 700 units came back.
    assert_eq!((&account["opening"], &account["credits"]), (&json!("0"), &json!("20000")), "{account}");
    let path = world.folder.path().join("day.note");
    std::fs::write(&path, text(&day, "checkpoint")).unwrap();
    let args = ["ledger", "consistency", "--tenant", HOME, "--from", &path.display().to_string(), "--config", file];
    let output = crate::harness::process::run(&args, &world.env());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What came or went without the book is listed, explains the difference, and is not mended.
#[tokio::test(flavor = "multi_thread")]
async fn breaks_between_books_and_chain_are_listed() {
    let mut world = World::start().await;
    let file = world.config_file().display().to_string();
    let wallet = format!("{:#x}", wallet_address(HOME, &world.ring).unwrap());
    let reconcile = |world: &World| {
        let output = crate::harness::process::run(&["reconcile", "--json", "--config", &file], &world.env());
        let lines = String::from_utf8(output.stdout).unwrap();
        let reports: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |tenant: &str| reports.iter().find(|line| line["tenant"] == tenant).cloned();
        (output.status.code(), of(HOME).expect("a line of the buyer's"), of(SHOP))
    };
    let mandate = world.mandate().await;
    for number in 0..2 {
        let payment = world.pay(&mandate, &format!("key-{number}")).await.unwrap();
        assert_eq!(world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap().status.as_u16(), 200);
        world.until(text(&payment, "id"), "settled").await;
    }
    let (code, home, shop) = reconcile(&world);
    let shop = shop.expect("a line of the seller's");
    assert_eq!((code, &home["agreed"], &home["matched"]), (Some(0), &json!(true), &json!(2)), "{home}");
    assert_eq!(
        (&shop["agreed"], &shop["matched"], &shop["booked"]),
        (&json!(true), &json!(2), &json!("20000")),
        "{shop}"
    );
    // The shop sends something back, and nobody tells the book.
    let sent = shop_sends(&world, &wallet, 700).await;
    let (code, home, shop) = reconcile(&world);
    let shop = shop.unwrap();
    assert_eq!((code, &home["agreed"], &home["explained"]), (Some(1), &json!(false), &json!(true)), "{home}");
    let item = &home["items"][0];
    assert_eq!((text(item, "state"), text(item, "transaction")), ("unexpected", &*sent), "{home}");
    assert_eq!((&item["on_chain"]["received"], &item["booked"]["received"]), (&json!("700"), &json!("0")));
    assert_eq!((&shop["items"][0]["on_chain"]["paid"], &shop["agreed"]), (&json!("700"), &json!(false)), "{shop}");
    // Told, it agrees; the shop's side has no account for it.
    let spends = world.call(Method::GET, &format!("/v1/mandates/{mandate}/spend"), &world.agent, None).await.unwrap();
    let path = format!("/v1/payments/{}/refund", text(&spends["spends"][0], "id"));
    world.call(Method::POST, &path, &world.user, Some(json!({ "transaction": sent }))).await.unwrap();
    let (_, home, _) = reconcile(&world);
    assert_eq!((&home["agreed"], &home["matched"]), (&json!(true), &json!(3)), "{home}");
    check_close(&world, &home, &file);
    // A node that forgets what was booked: nothing of it is mended.
    world.serve = None;
    let (_, again, _) = reconcile(&world);
    assert_eq!(again["booked"], home["booked"]);
}
