//! The page for merchants, `adapters/server/MERCHANTS.md`, done as it says: each of its scripts against a real
//! `purser dev`, with an agent that hands over what it should, and agents that do not.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use mandates::clock::Clock;
use mandates::keys::KeySet;
use mandates::receipt::{self, ReceiptKind, References};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::Service;
use crate::harness::shop::new_key;
use crate::harness::{foreign, root, text};
use purser::client::Client;

/// The one block of a language.
fn block(language: &str) -> String {
    let page = std::fs::read_to_string(root().join("adapters/server/MERCHANTS.md")).expect("the page");
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let found = blocks.next().unwrap_or_else(|| panic!("no {language} on the page"));
    assert_eq!(blocks.next(), None, "one block of {language}");
    found
}

/// What the script prints for the agent, what it prints in the end, and whether it is content.
fn follow(mut script: Command, agent: impl FnOnce(&Value) -> String) -> (Value, Value, bool) {
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the interpreter");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().expect("a line").unwrap()).expect("JSON") };
    let offer = next();
    let mandate = agent(&offer);
    child.stdin.take().unwrap().write_all(format!("{mandate}\n").as_bytes()).unwrap();
    let said = next();
    (offer, said, child.wait().unwrap().success())
}

/// Beside a process that waits for it.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// The agent's side: it closes its mandate for whoever asks, over the cart that they gave it.
async fn checkout_mandate(dev: &Service, cart: &Value, audience: &Value, nonce: &Value) -> String {
    let client = Client::new(dev.url()).unwrap();
    let body = json!({
        "mandate": dev.line["mandate"]["id"], "cart": cart, "audience": "https://bank.example", "nonce": new_key(),
        "payment_instrument": { "id": "card-1", "type": "card" },
        "checkout": { "audience": audience, "nonce": nonce },
    });
    let token = text(&dev.line["agent"], "token");
    let closed = client.call(Method::POST, "/v1/mandates/payments", token, Some(&new_key()), Some(body)).await;
    text(&closed.expect("a closed mandate"), "checkout_mandate").to_owned()
}

async fn is_followed(name: &str, interpreter: Command) {
    let dev = Service::dev();
    let folder = tempfile::tempdir().unwrap();
    let (language, file) = name.split_once(' ').expect("a language and a file");
    let path = folder.path().join(file);
    std::fs::write(&path, block(language)).unwrap();
    let script = || {
        let mut command = Command::new(interpreter.get_program());
        command.arg(&path).env("PURSER", dev.url()).env("TOKEN", text(&dev.line["merchant"], "token"));
        command.env("AUDIENCE", "shop").env("TRUST", text(&dev.line["trust"], "jwks_url"));
        command
    };
    let mut handed = String::new();
    let (offer, said, content) = follow(script(), |offer| {
        handed = now(checkout_mandate(&dev, &offer["cart"], &offer["audience"], &offer["nonce"]));
        handed.clone()
    });
    assert!(content, "{said}");
    assert_eq!((text(&said, "order"), text(&offer, "audience")), ("order-1", "shop"));
    // The receipt is the merchant's, and the agent can check it.
    let keys = KeySet::from_jwks(dev.line["merchant"]["jwks"].as_object().unwrap()).unwrap();
    let reference = [mandates::chain::reference_hashes(&handed).unwrap().sd_hash];
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let clock = Clock { now_seconds: i64::try_from(since).unwrap(), skew_seconds: 60 };
    let receipt = text(&said, "receipt");
    let read = receipt::verify(receipt, ReceiptKind::Checkout, &keys, &clock, References::Known(&reference));
    assert!(read.expect("the merchant's receipt").is_success());

    // An old mandate; one for another cart; one for the shop under another of its names; none at all.
    let (_, said, content) = follow(script(), |_| handed.clone());
    assert_eq!((text(&said, "refused"), content), ("nonce_mismatch", false));
    let (_, said, content) = follow(script(), |offer| {
        now(checkout_mandate(&dev, &now(another_cart(&dev)), &offer["audience"], &offer["nonce"]))
    });
    assert_eq!((text(&said, "refused"), content), ("checkout_not_expected", false));
    let (_, said, content) =
        follow(script(), |offer| now(checkout_mandate(&dev, &offer["cart"], &json!(dev.url()), &offer["nonce"])));
    assert_eq!((text(&said, "refused"), content), ("aud_mismatch", false));
    let (_, said, content) = follow(script(), |_| "nothing".to_owned());
    assert!(!content && said["refused"].is_string(), "{said}");
}

/// Another cart of the same shop.
async fn another_cart(dev: &Service) -> Value {
    let client = Client::new(dev.url()).unwrap();
    let totals = json!([{ "type": "total", "amount": 10 }]);
    let line =
        json!({ "id": "1", "quantity": 1, "item": { "id": "hat", "title": "Hat", "price": 10 }, "totals": totals });
    let checkout = json!({
        "id": new_key(), "status": "ready_for_complete", "currency": "USD", "links": [], "line_items": [line],
        "totals": totals,
    });
    let token = text(&dev.line["merchant"], "token");
    let signed = client.call(Method::POST, "/v1/mandates/carts", token, None, Some(json!({ "checkout": checkout })));
    signed.await.expect("a cart")["checkout_jwt"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_curl() {
    is_followed("bash shop.sh", Command::new("bash")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_node() {
    is_followed("js shop.mjs", Command::new(foreign("node"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_php() {
    is_followed("php shop.php", Command::new("php")).await;
}

/// Every code that the page explains is one that there is.
#[tokio::test(flavor = "multi_thread")]
async fn its_codes_have_pages() {
    let page = std::fs::read_to_string(root().join("adapters/server/MERCHANTS.md")).expect("the page");
    let table = page.split("## What can go wrong").nth(1).expect("the table");
    let codes: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).collect();
    assert!(codes.len() >= 6, "{codes:?}");
    let dev = Service::dev();
    let client = Client::new(dev.url()).unwrap();
    for code in codes.iter().flat_map(|cell| cell.split(", ")).map(|code| code.trim_matches('`')) {
        let about = client.call(Method::GET, &format!("/errors/{code}"), "", None, None).await;
        assert_eq!(about.expect("a page")["code"], code);
    }
}
