//! Promise 4 where money moves beside the book: refunds are what the chain shows, and what nobody told is listed.

use ledger::id::CallerKind;
use purser::client::ClientError;
use purser::world::{ADMIN, AGENT, HOME, MERCHANT, SHOP, USER, shop_address, wallet_address};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::shop::code;
use crate::harness::world::World;
use crate::harness::{process::run, text};

/// What the shop sends by itself, in a block that is final, and the hash of it.
async fn shop_sends(world: &World, to: &str, amount: u128) -> String {
    let key = format!("{:#x}", chain::accounts::ACCOUNTS[2].private_key);
    world.sends(&key, &chain::token::ADDRESS.to_string(), &[to, &amount.to_string()]).await
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

fn token_of(world: &World, tenant: &str, who: &str, kind: CallerKind) -> String {
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    purser::service::mint(&minter, tenant, who, kind, 3_600).unwrap()
}

/// As the shop knows the payment.
fn sale_of(payment: &Value) -> String {
    let [asset, payer, nonce] = ["asset", "payer", "nonce"].map(|name| text(payment, name));
    format!("/v1/sales/{}", format!("{asset}/{payer}/{nonce}").replace('/', "%2F"))
}

/// The sale, once it is in a final block.
async fn finally(world: &World, merchant: &str, sale: &str) {
    for _ in 0..200 {
        let shown = world.call(Method::GET, sale, merchant, None).await.unwrap();
        if shown["final"] == true {
            return assert_eq!((&shown["refunded"], &shown["amount"]), (&json!("0"), &json!("10000")), "{shown}");
        }
        world.rpc("anvil_mine", json!([1])).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{sale} is not final");
}

async fn gives_back(world: &World, token: &str, sale: &str, transaction: &str) -> Result<Value, ClientError> {
    let body = Some(json!({ "transaction": transaction }));
    world.call(Method::POST, &format!("{sale}/refund"), token, body).await
}

/// What the shop sends back is posted as the chain shows it: of the sale that is named, to whoever paid it, a transfer once,
/// never more than was paid, whichever process is asked; and it buys nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_seller_gives_back_what_the_chain_shows_once() {
    let mut world = World::start().await;
    let merchant = token_of(&world, SHOP, MERCHANT, CallerKind::Merchant);
    let wallet = format!("{:#x}", wallet_address(HOME, &world.ring).unwrap());
    let early = shop_sends(&world, &wallet, 0).await;
    let mandate = world.mandate().await;
    let (mut payments, mut sales) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let payment = world.pay(&mandate, &format!("sold-{number}")).await.unwrap();
        assert_eq!(world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap().status.as_u16(), 200);
        world.until(text(&payment, "id"), "settled").await;
        sales.push(sale_of(&payment));
        payments.push(payment);
    }
    for sale in &sales {
        finally(&world, &merchant, sale).await;
    }
    let unpaid = sale_of(&world.pay(&mandate, "unpaid").await.unwrap());
    let shop = format!("{:#x}", shop_address());
    let broke = shop_sends(&world, &wallet, 30_001).await;
    world.rpc("devnet_mint", json!([shop, "0xf4240"])).await;
    let stranger = "0x00000000000000000000000000000000000000cc";
    let (part, rest) = (shop_sends(&world, &wallet, 4_000).await, shop_sends(&world, &wallet, 6_000).await);
    let (too_much, elsewhere) = (shop_sends(&world, &wallet, 10_001).await, shop_sends(&world, stranger, 5_000).await);
    let paying = world.call(Method::GET, &sales[0], &merchant, None).await.unwrap();
    for (transaction, expected) in [
        ("0x12", "invalid_request"),
        ("", "invalid_request"),
        (&*format!("0x{}", "ab".repeat(32)), "not_found"),
        (&*elsewhere, "invalid_request"),
        (&broke, "invalid_request"),
        (&early, "invalid_request"),
        // The payment itself goes the other way.
        (text(&paying, "transaction"), "invalid_request"),
        (&too_much, "refund_exceeds_sale"),
    ] {
        assert_eq!(code(gives_back(&world, &merchant, &sales[0], transaction).await), expected, "{transaction}");
    }
    for (sale, expected) in [
        (unpaid.as_str(), "not_found"),
        ("/v1/sales/1", "not_found"),
        (&sales[0].to_uppercase().replace("/V1/SALES", "/v1/sales"), "not_found"),
        (&format!("{}%2Fpermit2", sales[0]), "not_found"),
    ] {
        assert_eq!(code(gives_back(&world, &merchant, sale, &part).await), expected, "{sale}");
    }
    for (tenant, who, kind, expected) in [
        (SHOP, AGENT, CallerKind::Agent, "forbidden"),
        (SHOP, USER, CallerKind::User, "forbidden"),
        (HOME, AGENT, CallerKind::Agent, "forbidden"),
        // Another book has no such sale.
        (HOME, ADMIN, CallerKind::Operator, "not_found"),
    ] {
        let token = token_of(&world, tenant, who, kind);
        assert_eq!(code(gives_back(&world, &token, &sales[0], &part).await), expected, "{tenant} {who}");
        assert_eq!(code(world.call(Method::GET, &sales[0], &token, None).await), expected, "{tenant} {who}");
    }
    for (sale, transaction, refunded) in
        [(0, &part, "4000"), (0, &part, "4000"), (0, &rest, "10000"), (0, &part, "10000")]
    {
        let after = gives_back(&world, &merchant, &sales[sale], transaction).await.unwrap();
        assert_eq!((&after["refunded"], &after["state"]), (&json!(refunded), &json!("settled")), "{after}");
    }
    for sale in [&sales[1], &sales[2]] {
        assert_eq!(code(gives_back(&world, &merchant, sale, &part).await), "refund_claimed", "one payer, two sales");
    }
    let again = world.fetch(Some(text(&payments[0], "payment_signature"))).await.unwrap();
    assert_eq!(again.status.as_u16(), 402, "what was given back buys nothing");
    let again = world.fetch(Some(text(&payments[1], "payment_signature"))).await.unwrap();
    assert_eq!(again.status.as_u16(), 200, "the others' answers are as they were");
    races(&world, &merchant, &wallet, &sales).await;
    books_of_the_shop(&mut world);
}

/// The same transaction, at two processes at once, for one sale and for two.
async fn races(world: &World, merchant: &str, wallet: &str, sales: &[String]) {
    let (replica, client) = world.replica(1);
    let at_other = async |sale: &str, transaction: &str| {
        let (path, body) = (format!("{sale}/refund"), Some(json!({ "transaction": transaction })));
        client.call(Method::POST, &path, merchant, None, body).await
    };
    let same = shop_sends(world, wallet, 1_000).await;
    let (one, other) = tokio::join!(gives_back(world, merchant, &sales[1], &same), at_other(&sales[1], &same));
    assert_eq!((&one.unwrap()["refunded"], &other.unwrap()["refunded"]), (&json!("1000"), &json!("1000")));
    let either = shop_sends(world, wallet, 2_000).await;
    let (one, other) = tokio::join!(gives_back(world, merchant, &sales[1], &either), at_other(&sales[2], &either));
    let won = [&one, &other].into_iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(won, 1, "one transfer is one refund: {one:?} {other:?}");
    let lost = if one.is_err() { one } else { other };
    assert_eq!(code(lost), "refund_claimed");
    drop(replica);
}

/// 10,000 and 3,000 of 30,000 went back: in the accounts, on the chain, in the events and in the exports.
fn books_of_the_shop(world: &mut World) {
    world.serve = None;
    let file = world.config_file().display().to_string();
    let said = |arguments: &[&str]| {
        let output = run(&[arguments, &["--config", &file]].concat(), &world.env());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(said(&["ledger", "verify"]).0);
    let (_, balances) = said(&["ledger", "balances", "--json"]);
    let shop = balances.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shop = shop.into_iter().find(|line| line["tenant"] == SHOP).unwrap();
    assert_eq!(shop["balanced"], true);
    for (account, expected) in [("sales", "30000"), ("returns", "-13000"), ("receivable", "0"), ("wallet/", "17000")] {
        let found = shop["accounts"].as_array().unwrap().iter();
        let found = found.into_iter().find(|entry| text(entry, "account").starts_with(account)).expect(account);
        assert_eq!(text(found, "balance"), expected, "{account}: {shop}");
    }
    let (_, reports) = said(&["reconcile", "--json", "--tenant", SHOP]);
    let report: Value = serde_json::from_str(reports.lines().next().expect("a line of the shop's")).unwrap();
    // Three sales and four refunds. What was sent too much, and to others, is not of these sales: it is listed.
    let items = report["items"].as_array().unwrap();
    assert!(items.iter().all(|item| text(item, "state") == "unexpected"), "{report}");
    assert_eq!(report["matched"], 7, "{report}");
    for (format, account) in [("beancount", "Income:Returns"), ("hledger", "Income:Returns"), ("csv", "returns")] {
        let (done, exported) = said(&["ledger", "export", "--tenant", SHOP, "--format", format]);
        assert!(done && exported.contains(account), "{format}: {exported}");
    }
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
