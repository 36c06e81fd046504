//! What a payment processor does and does not say (promise 3): a decline leaves the token as it was, unknown is not failed,
//! nothing is captured twice, and no card is read anywhere.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use purser::dev::DevOptions;
use purser::dev::acp::with_vault;
use purser::keys::Slot;
use purser::world::{HOME, USER};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{Service, purser, run};
use crate::harness::shop::new_key;
use crate::harness::text;
use crate::harness::vault::{Answer, DELEGATE, PAN, VERSION, Vault, post, request, with_card};
use crate::harness::world::World;

/// Test cards of `purser acquirer`, by name.
fn card(name: &str) -> Value {
    let cards = purser::acquirer::simulator::cards();
    with_card(text(&cards, name))
}

/// How often a processor captured for a payment.
async fn captures(acquirer: &str, payment: &str) -> usize {
    let url = format!("{acquirer}/v1/payments/{payment}");
    let call = reqwest::Client::new().get(url).bearer_auth(purser::acquirer::DEVNET_SECRET);
    let told: Value = call.send().await.unwrap().json().await.unwrap();
    let done = |deed: &&Value| deed["deed"] == "capture" && deed["answer"]["outcome"] == "done";
    told["deeds"].as_array().unwrap().iter().filter(done).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn declines_and_lost_answers_end_as_the_processor_says() {
    let vault = Vault::open().await;
    let mandate = vault.mandate("100.00").await;
    let acquirer = vault.shop.service.acquirer_url().expect("one in this process").to_owned();
    for (name, code) in
        [("declined", "card_declined"), ("insufficient_funds", "insufficient_funds"), ("expired_card", "expired_card")]
    {
        let given = vault.token_of(&mandate, 500, card(name)).await;
        let key = new_key();
        for _ in 0..2 {
            let declined = vault.capture(&given, &key, 500).await;
            assert_eq!(
                (declined.status, declined.code(), text(&declined.body, "decline_code")),
                (422, "payment_declined", code)
            );
            assert!(declined.body["receipt"].is_string(), "{declined:?}");
        }
        assert_eq!(vault.view(&given).await["state"], "held", "a token is used up by a capture");
        for _ in 0..7 {
            assert_eq!(vault.capture(&given, &new_key(), 500).await.code(), "payment_declined");
        }
        assert_eq!(
            vault.capture(&given, &new_key(), 500).await.code(),
            "attempts_exhausted",
            "a card is not tried out"
        );
        let voided = vault.vault("void", &vault.shop.merchant, None, json!({ "token": given.token })).await;
        assert_eq!(text(&voided.body, "state"), "voided");
        assert_eq!(captures(&acquirer, text(&voided.body, "payment")).await, 0);
    }
    assert_eq!(vault.figures(&mandate).await, ("0.00".into(), "0.00".into()));
    let first = vault.token_of(&mandate, 500, card("declined_first")).await;
    assert_eq!(vault.capture(&first, &new_key(), 400).await.code(), "payment_declined");
    assert_eq!(vault.capture(&first, &new_key(), 300).await.status, 200, "the next attempt, for less");
    assert_eq!(vault.figures(&mandate).await, ("0.00".into(), "3.00".into()));
    // Lost on the way there, or back: asked again under the same key, by the service or by the merchant.
    for name in ["lost_question", "lost_answer", "notice_only"] {
        let given = vault.token_of(&mandate, 500, card(name)).await;
        let key = new_key();
        let unknown = vault.capture(&given, &key, 200).await;
        assert_eq!((unknown.status, text(&unknown.body, "state")), (202, "unknown"), "{name}: {unknown:?}");
        assert_eq!(vault.vault("void", &vault.shop.merchant, None, json!({ "token": given.token })).await.status, 409);
        let settled = vault.until(&given, "settled").await;
        assert_eq!(settled["captured"]["amount"], 200, "{name}");
        assert_eq!(captures(&acquirer, text(&settled, "payment")).await, 1, "{name}");
        let again = vault.capture(&given, &key, 200).await;
        assert_eq!((again.status, &again.body["captured"]), (200, &settled["captured"]));
    }
    // The second notice changed nothing, and nobody else's is taken.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(vault.figures(&mandate).await, ("0.00".into(), "9.00".into()));
    let forged = json!({ "payment": "00".repeat(32), "key": "k", "outcome": "done", "id": "x", "network_id": "y", "amount": "1", "currency": "USD" });
    for (tenant, signature, status) in
        [("home", "t=1,v1=00", 403), ("home", "", 403), ("nobody", "", 404), ("shop", "", 404)]
    {
        let url = vault.shop.url(&format!("/v1/vault/notices/{tenant}"));
        let answer = post(&url, "", &[("Acquirer-Signature", signature)], forged.to_string().into()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    vault.sound().await;
    vault.shop.service.stop().await;
}

/// Takes out every sealed card, as an erasure that runs beside does.
async fn erase_cards(vault: &Vault) {
    let (service, home) = (&vault.shop.service, HOME.parse().unwrap());
    let kept = service.engine().subject(&home, &USER.parse().unwrap()).await.unwrap().documents;
    let cards: Vec<_> = kept.iter().filter(|(_, kept)| kept.kind == "sealed-card").map(|(digest, _)| *digest).collect();
    assert!(!cards.is_empty());
    store::erase(service.database(), &home, &cards).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_not_begun_without_its_card_and_an_unknown_one_stays_unknown() {
    // Nobody listens at the discard port.
    let options = DevOptions { acquirer: Some("http://127.0.0.1:9".into()), ..DevOptions::default() };
    let vault = Vault::open_with(options).await;
    let mandate = vault.mandate("100.00").await;
    let (begun, left) =
        (vault.token_of(&mandate, 500, json!({})).await, vault.token_of(&mandate, 700, json!({})).await);
    let key = new_key();
    let unknown = vault.capture(&begun, &key, 500).await;
    assert_eq!((unknown.status, text(&unknown.body, "state")), (202, "unknown"), "{unknown:?}");
    erase_cards(&vault).await;
    let refused = vault.capture(&left, &new_key(), 700).await;
    assert_eq!(refused.code(), "erased", "{refused:?}");
    assert_eq!(vault.view(&left).await["state"], "held", "nobody was asked");
    let voided = vault.vault("void", &vault.shop.merchant, None, json!({ "token": left.token })).await;
    assert_eq!((voided.status, text(&voided.body, "state")), (200, "voided"));
    // Whether the processor took it nobody can ask any more: what it holds stays held until the settlement file tells.
    for _ in 0..2 {
        let again = vault.capture(&begun, &key, 500).await;
        assert_eq!((again.status, text(&again.body, "state")), (202, "unknown"), "{again:?}");
    }
    assert_eq!(vault.figures(&mandate).await, ("5.00".into(), "0.00".into()));
    vault.sound().await;
    vault.shop.service.stop().await;
}

async fn delegate(url: &str, token: &str, body: &Value) -> Answer {
    let headers = [("API-Version", VERSION), ("Idempotency-Key", &*new_key())];
    post(&format!("{url}{DELEGATE}"), token, &headers, body.to_string().into_bytes()).await
}

/// Every file below a folder that has this text in it.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// A dev service in a folder, with everything that it says in a file there.
fn dev(folder: &Path, acquirer: &str) -> (std::process::Child, Value) {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("said.log")).unwrap();
    let mut child = Command::new(purser())
        .args(["dev", "--json", "--acquirer", acquirer, "--data"])
        .arg(folder.join("data"))
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

/// Rounds of killing: three, or as many as `PURSER_CRASH_RUNS` says.
fn rounds() -> u64 {
    std::env::var("PURSER_CRASH_RUNS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// When a round is killed: the first three while the processor surely works, the others from before it is asked until after it
/// has answered.
fn moment(round: u64) -> Duration {
    Duration::from_millis(if round < 3 { 500 } else { round.wrapping_mul(397) % 1_600 })
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_processor_works_nothing_is_captured_twice_and_no_card_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("acquirer.log").display().to_string();
    let acquirer = Service::start(&["acquirer", "--data", &data], &[]);
    let (mut child, mut line) = dev(folder.path(), acquirer.url());
    for round in 0..rounds() {
        let acp = line["acp"].clone();
        let body = request(text(&acp, "mandate"), 500, card("slow"));
        let token = delegate(text(&acp, "url"), text(&acp, "token"), &body).await.token();
        let asks = json!({ "token": token, "amount": 400, "currency": "usd", "checkout_session_id": body["allowance"]["checkout_session_id"] });
        let key = new_key();
        let capture = async |acp: Value| {
            let headers = [("Idempotency-Key", key.as_str())];
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut call = client.post(text(&acp, "capture_url")).bearer_auth(text(&acp, "merchant_token")).json(&asks);
            for (name, value) in headers {
                call = call.header(name, value);
            }
            call.send().await
        };
        let killed = async {
            tokio::time::sleep(moment(round)).await;
            child.kill().unwrap();
            child.wait().unwrap();
        };
        let (answer, ()) = tokio::join!(capture(acp), killed);
        assert!(answer.is_err() || round >= 3, "round {round}: nobody was left to answer");
        (child, line) = dev(folder.path(), acquirer.url());
        let acp = line["acp"].clone();
        if round >= 3 {
            // Maybe nothing had been asked: a merchant without an answer asks again.
            capture(acp.clone()).await.unwrap();
        }
        let settled = crate::harness::vault::until_settled(&acp, &token).await;
        assert_eq!(settled["captured"]["amount"], 400);
        assert_eq!(captures(acquirer.url(), text(&settled, "payment")).await, 1, "round {round}");
        assert_eq!(capture(acp).await.unwrap().status().as_u16(), 200);
    }
    let good = request(text(&line["acp"], "mandate"), 500, json!({}));
    delegate(text(&line["acp"], "url"), text(&line["acp"], "token"), &good).await.token();
    for needle in [PAN.as_bytes(), b"4000000000000101", b"Jane Doe"] {
        assert!(
            files_with(folder.path(), needle).is_empty(),
            "database, log of the database, log: {:?}",
            files_with(folder.path(), needle)
        );
    }
    assert!(!files_with(folder.path(), b"purser.spend-evidence").is_empty(), "the search finds what is there");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_file_ends_what_nobody_answered_and_a_backup_has_no_card() {
    let acquirer = Service::start(&["acquirer"], &[]);
    let mut world = World::start().await;
    with_vault(&mut world.config, acquirer.url());
    world.ring.provide(&Slot::all(&world.config)).await.unwrap();
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let mandate = world.mandate_with(json!({ "total": "50.00", "per_payment": "5.00", "payments": 10 })).await;
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    let kind = ledger::id::CallerKind::Merchant;
    let merchant = purser::service::mint(&minter, "shop", "merchant", kind, 600).unwrap();
    let url = world.config.public_url();
    let mut payments = Vec::new();
    for name in ["file_only", "file_only_declined"] {
        let body = request(&mandate, 500, card(name));
        let token = delegate(&url, &world.agent, &body).await.token();
        let asks = json!({ "token": token, "amount": 400, "currency": "usd", "checkout_session_id": body["allowance"]["checkout_session_id"] });
        let key = new_key();
        let headers = [("Idempotency-Key", key.as_str())];
        let unknown = post(&format!("{url}/v1/vault/capture"), &merchant, &headers, asks.to_string().into()).await;
        assert_eq!((unknown.status, text(&unknown.body, "state")), (202, "unknown"), "{unknown:?}");
        payments.push(text(&unknown.body, "payment").to_owned());
    }
    let csv = reqwest::get(text(&acquirer.line, "settlement_url")).await.unwrap().text().await.unwrap();
    let file = world.folder.path().join("settlement.csv");
    std::fs::write(&file, &csv).unwrap();
    let config = world.config_file().display().to_string();
    let path = file.display().to_string();
    let args = ["reconcile", "--settlement", &path, "--tenant", "home", "--config", &config, "--json"];
    let looked = run(&args, &world.env());
    let told = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(!looked.status.success() && told.matches("held_here").count() == 2, "{told}\n{csv}");
    let applied = run(&[&args[..], &["--apply"]].concat(), &world.env());
    assert!(
        applied.status.success(),
        "{}{}",
        String::from_utf8_lossy(&applied.stdout),
        String::from_utf8_lossy(&applied.stderr)
    );
    for (payment, state) in payments.iter().zip(["settled", "held"]) {
        let found = world.call(Method::GET, &format!("/v1/payments/{payment}"), &world.agent, None).await.unwrap();
        assert_eq!(found["state"], state);
    }
    let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    assert_eq!((text(&figures["held"], "amount"), text(&figures["posted"], "amount")), ("5.00", "4.00"));
    let backup = world.folder.path().join("backup.sqlite").display().to_string();
    let backed = run(&["backup", "--out", &backup, "--config", &config], &world.env());
    assert!(backed.status.success(), "{}", String::from_utf8_lossy(&backed.stderr));
    for number in ["4000000000003063", "4000000000000341", "Jane Doe"] {
        let found = files_with(world.folder.path(), number.as_bytes());
        assert!(found.is_empty(), "{number} in {found:?}");
    }
}
