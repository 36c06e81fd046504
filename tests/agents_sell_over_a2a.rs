//! An agent of ours sells over A2A: a task is paid once, by a payment and by nothing else, and is what the book says.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256};
use ledger::store::{Store as _, Verification};
use mandates::clock::Clock;
use mandates::keys::KeySet;
use mandates::v0_1::cart::{Audience, CartMandate, Context, Jtis};
use purser::world::buyer;
use reqwest::Client;
use serde_json::{Value, json};
use x402::exact::{Authorization, TokenDomain, WalletKey};

use crate::foreign_clients::{balance, python_script};
use crate::harness::process::{Service, stdout};
use crate::harness::shop::Shop;
use crate::harness::text;
use crate::harness::world::World;

const V0_1: &str = "https://github.com/google-a2a/a2a-x402/v0.1";
const V0_2: &str = "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2";
const AP2: &str = "https://github.com/google-agentic-commerce/ap2/tree/v0.1";
const STATUS: &str = "x402.payment.status";

static NONCES: AtomicU8 = AtomicU8::new(1);

/// A client of version 0.3 that activates these extensions, and shows this token.
struct Peer<'a> {
    url: String,
    extensions: &'a str,
    token: Option<&'a str>,
}

impl Peer<'_> {
    fn new(dev: &Service) -> Self {
        Self::at(text(&dev.line["a2a"], "url"))
    }

    fn at(url: &str) -> Self {
        Self { url: url.to_owned(), extensions: V0_2, token: None }
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let mut request = Client::new().post(&self.url).json(&body);
        if !self.extensions.is_empty() {
            request = request.header("X-A2A-Extensions", self.extensions);
        }
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    /// A message for a task.
    async fn say(&self, task: &str, more: Value) -> Value {
        let mut message =
            json!({ "role": "user", "messageId": "1", "taskId": task, "parts": [{ "kind": "text", "text": "…" }] });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("message/send", json!({ "message": message })).await
    }

    async fn ask(&self) -> Value {
        let message = json!({ "role": "user", "messageId": "1", "parts": [{ "kind": "text", "text": "hello" }] });
        self.call("message/send", json!({ "message": message })).await["result"].clone()
    }

    async fn ask_for(&self, skill: &str) -> Value {
        let part = json!({ "kind": "data", "data": { "skill": skill } });
        let message = json!({ "role": "user", "messageId": "1", "parts": [part] });
        self.call("message/send", json!({ "message": message })).await["result"].clone()
    }

    async fn pay(&self, task: &Value, payment: &Value) -> Value {
        self.say(text(task, "id"), submitted(payment)).await
    }

    async fn look(&self, task: &Value) -> Value {
        self.call("tasks/get", json!({ "id": task["id"] })).await
    }
}

fn submitted(payment: &Value) -> Value {
    json!({ "metadata": { STATUS: "payment-submitted", "x402.payment.payload": payment } })
}

fn state(answer: &Value) -> &str {
    answer["result"]["status"]["state"].as_str().unwrap_or_else(|| panic!("no task: {answer}"))
}

fn said<'a>(answer: &'a Value, name: &str) -> &'a Value {
    &answer["result"]["status"]["message"]["metadata"][name]
}

fn code(answer: &Value) -> &str {
    answer["error"]["data"][0]["metadata"]["code"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

/// A payment of the test wallet for the first offer of a demand, under a nonce of its own.
fn signed(demand: &Value) -> Value {
    let offer = &demand["accepts"][0];
    let key = WalletKey::from_bytes(&buyer().private_key.0).unwrap();
    let domain = TokenDomain {
        name: chain::token::NAME.into(),
        version: chain::token::VERSION.into(),
        chain_id: 31_337,
        verifying_contract: chain::token::ADDRESS,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let authorization = Authorization {
        from: key.address(),
        to: text(offer, "payTo").parse::<Address>().unwrap(),
        value: text(offer, "amount").parse::<U256>().unwrap(),
        valid_after: U256::ZERO,
        valid_before: U256::from(now + 50),
        nonce: B256::repeat_byte(NONCES.fetch_add(1, Ordering::Relaxed)),
    };
    let signature = key.sign(authorization.digest(&domain)).unwrap().to_text();
    json!({
        "x402Version": 2, "accepted": offer,
        "payload": { "signature": signature, "authorization": {
            "from": format!("{:#x}", authorization.from), "to": format!("{:#x}", authorization.to),
            "value": authorization.value.to_string(), "validAfter": "0",
            "validBefore": authorization.valid_before.to_string(), "nonce": authorization.nonce.to_string(),
        } },
    })
}

fn demand(task: &Value) -> &Value {
    &task["status"]["message"]["metadata"]["x402.payment.required"]
}

fn shop_has(dev: &Service) -> u128 {
    balance_of(dev, text(&dev.line["paid"], "pay_to"))
}

/// Off the test's own runtime: the helper has one of its own.
fn balance_of(dev: &Service, owner: &str) -> u128 {
    std::thread::scope(|scope| scope.spawn(|| balance(dev, owner)).join().unwrap())
}

/// Version 0.1 of the extension has messages of version 1 of x402, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_first_extension_is_asked_and_pays_in_its_own_words() {
    let dev = Service::dev();
    let (peer, before) = (Peer { extensions: V0_1, ..Peer::new(&dev) }, shop_has(&dev));
    let task = peer.ask().await;
    let offer = &demand(&task)["accepts"][0];
    assert_eq!((&demand(&task)["x402Version"], text(offer, "maxAmountRequired")), (&json!(1), "10000"), "{task}");
    assert_eq!(offer["network"], dev.line["chain"]["v1_network"]);
    let both = Peer { extensions: &format!("{V0_1}, {V0_2}"), ..Peer::new(&dev) }.ask().await;
    assert_eq!(demand(&both)["x402Version"], 2, "who speaks the later one too gets that: {both}");
    let newer = signed(&json!({ "accepts": [{ "payTo": offer["payTo"], "amount": "10000" }] }));
    let older =
        json!({ "x402Version": 1, "scheme": "exact", "network": offer["network"], "payload": newer["payload"] });
    for (name, value) in [("x402Version", json!(3)), ("scheme", json!("upto")), ("network", json!("base"))] {
        let mut wrong = older.clone();
        wrong[name] = value;
        let answer = peer.pay(&task, &wrong).await;
        assert_eq!(
            (state(&answer), said(&answer, STATUS)),
            ("input-required", &json!("payment-failed")),
            "{name}: {answer}"
        );
    }
    assert_eq!(shop_has(&dev), before, "nothing of that bought anything");
    let answer = peer.pay(&task, &older).await;
    assert_eq!((state(&answer), said(&answer, STATUS)), ("completed", &json!("payment-completed")), "{answer}");
    let receipts = said(&answer, "x402.payment.receipts").as_array().unwrap();
    assert_eq!(receipts.last().unwrap()["success"], true, "{answer}");
    assert_eq!(shop_has(&dev), before + 10_000);
}

/// Everything that is no payment: whatever it says, the task stays unpaid and the shop gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_payment_buys() {
    let dev = Service::dev();
    let (peer, before) = (Peer::new(&dev), shop_has(&dev));
    let task = peer.ask().await;
    assert_eq!(
        (text(&task["status"], "state"), text(&demand(&task)["accepts"][0], "amount")),
        ("input-required", "10000")
    );
    let (id, good) = (text(&task, "id"), signed(demand(&task)));
    for status in ["payment-verified", "payment-completed", "payment-failed", "the user confirmed"] {
        let more = json!({ "metadata": { STATUS: status, "x402_payment_verified": true, "x402.payment.receipts": [{ "success": true }] } });
        let answer = peer.say(id, more).await;
        assert_eq!((state(&answer), said(&answer, STATUS)), ("input-required", &json!("payment-required")), "{status}");
        let with_payload = json!({ "metadata": { STATUS: status, "x402.payment.payload": good } });
        assert_eq!(code(&peer.say(id, with_payload).await), "payment_not_submitted", "{status}");
    }
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut payment = good.clone();
        change(&mut payment);
        payment
    };
    let cases: [(&str, Value); 6] = [
        (
            "INVALID_SIGNATURE",
            forged(&|payment| payment["payload"]["signature"] = format!("0x{}1b", "11".repeat(64)).into()),
        ),
        ("INVALID_AMOUNT", forged(&|payment| payment["payload"]["authorization"]["value"] = "1".into())),
        ("EXPIRED_PAYMENT", forged(&|payment| payment["payload"]["authorization"]["validBefore"] = "1000".into())),
        (
            "payment_for_other_resource",
            forged(&|payment| payment["resource"] = json!({ "url": "https://elsewhere.example/" })),
        ),
        ("accepted_requirements_mismatch", forged(&|payment| payment["accepted"]["amount"] = "1".into())),
        ("invalid_payload", forged(&|payment| payment["payload"] = json!({}))),
    ];
    for (expected, payment) in cases {
        let answer = peer.pay(&task, &payment).await;
        let found = (state(&answer), said(&answer, STATUS), said(&answer, "x402.payment.error"));
        assert_eq!(found, ("input-required", &json!("payment-failed"), &json!(expected)), "{answer}");
        assert_eq!(said(&answer, "x402.payment.receipts")[0]["success"], false);
    }
    assert_eq!(code(&peer.say("task-123", submitted(&good)).await), "task_unknown");
    assert_eq!(code(&peer.say(id, json!({ "contextId": "other" })).await), "context_mismatch");
    assert_eq!(code(&Peer { extensions: "", ..Peer::new(&dev) }.say(id, json!({})).await), "extension_required");
    assert_eq!(state(&peer.look(&task).await), "input-required");
    assert_eq!(shop_has(&dev), before, "nothing was paid, and nothing given");
    let paid = peer.pay(&task, &good).await;
    assert_eq!(state(&paid), "completed", "the honest payment was not hurt: {paid}");
    assert_eq!(shop_has(&dev), before + 10_000);
}

/// One payment a task, whoever else pays; one task a payment; and what is over is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_paid_once() {
    let dev = Service::dev();
    let (peer, before) = (Peer::new(&dev), shop_has(&dev));
    let task = peer.ask().await;
    let payments: Vec<Value> = (0..6).map(|_| signed(demand(&task))).collect();
    let answers = futures_of(&peer, &task, &payments).await;
    let bought: Vec<&Value> = answers.iter().filter(|answer| answer.get("result").is_some()).collect();
    assert_eq!(bought.len(), 1, "six payments at once: {answers:?}");
    for refused in answers.iter().filter(|answer| answer.get("error").is_some()) {
        assert_eq!(code(refused), "order_has_payment");
    }
    assert_eq!(shop_has(&dev), before + 10_000, "five were not charged");
    let winner = answers.iter().position(|answer| answer.get("result").is_some()).unwrap();
    let again = peer.pay(&task, &payments[winner]).await;
    assert_eq!((state(&again), &again["result"]["artifacts"]), ("completed", &bought[0]["result"]["artifacts"]));
    let other = peer.ask().await;
    let answer = peer.pay(&other, &payments[winner]).await;
    assert_eq!(said(&answer, "x402.payment.error"), "payment_used_for_other_resource", "{answer}");
    assert_eq!(code(&peer.call("tasks/cancel", json!({ "id": task["id"] })).await), "task_not_cancelable");
    assert_eq!(state(&peer.call("tasks/cancel", json!({ "id": other["id"] })).await), "canceled");
    assert_eq!(code(&peer.pay(&other, &payments[(winner + 1) % 6]).await), "task_is_over");
    let declined = peer.ask().await;
    let answer = peer.say(text(&declined, "id"), json!({ "metadata": { STATUS: "payment-rejected" } })).await;
    assert_eq!((state(&answer), said(&answer, STATUS)), ("failed", &json!("payment-rejected")));
    assert_eq!(shop_has(&dev), before + 10_000);
}

async fn futures_of(peer: &Peer<'_>, task: &Value, payments: &[Value]) -> Vec<Value> {
    let [one, two, three, four, five, six] = payments else { panic!("six payments") };
    let answers = tokio::join!(
        peer.pay(task, one),
        peer.pay(task, two),
        peer.pay(task, three),
        peer.pay(task, four),
        peer.pay(task, five),
        peer.pay(task, six)
    );
    vec![answers.0, answers.1, answers.2, answers.3, answers.4, answers.5]
}

/// A kept service that was killed knows what was paid, and does not know who else asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing_that_was_paid() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let start = || Service::start(&["dev", "--json", "--data", &data], &[]);
    let mut dev = start();
    let agent = text(&dev.line["a2a"], "token").to_owned();
    let (paid, mine) = {
        let (peer, owner) = (Peer::new(&dev), Peer { token: Some(&agent), ..Peer::new(&dev) });
        let (paid, mine) = (peer.ask().await, owner.ask().await);
        assert_eq!(code(&peer.look(&mine).await), "task_unknown", "a task that was begun with a token is its holder's");
        let payment = signed(demand(&paid));
        assert_eq!(state(&peer.pay(&paid, &payment).await), "completed");
        (paid, mine)
    };
    dev.kill();
    let dev = start();
    let peer = Peer::new(&dev);
    let seen = peer.look(&paid).await;
    assert_eq!(state(&seen), "completed");
    assert!(seen["result"]["artifacts"].to_string().contains(text(&dev.line["paid"], "marker")), "{seen}");
    assert_eq!(said(&seen, "x402.payment.receipts")[0]["success"], true);
    let second = signed(demand(&peer.ask().await));
    assert_eq!(code(&peer.pay(&paid, &second).await), "order_has_payment", "nobody pays it again");
    let token = text(&dev.line["a2a"], "token").to_owned();
    let owner = Peer { token: Some(&token), ..Peer::new(&dev) };
    assert_eq!(state(&owner.look(&mine).await), "input-required");
    let stranger = Peer { token: Some("nonsense"), ..Peer::new(&dev) };
    assert_eq!(stranger.look(&mine).await["status"], 401, "a token that is none opens nothing");
}

/// The embedded flow: the merchant's signed cart, and the payment within a mandate for exactly this cart.
#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_paid_within_a_mandate() {
    let dev = Service::dev();
    let both = format!("{V0_2}, {AP2}");
    let peer = Peer { extensions: &both, ..Peer::new(&dev) };
    let (task, other) = (peer.ask().await, peer.ask().await);
    assert!(demand(&task).is_null(), "the terms are in the cart alone: {task}");
    let cart = &task["artifacts"][0]["parts"][0]["data"]["ap2.mandates.CartMandate"];
    let request = &cart["contents"]["payment_request"];
    assert_eq!(request["details"]["total"]["amount"], json!({ "currency": "USD", "value": 0.01 }));
    verify_cart(&dev, cart);
    let (method, terms) = (&request["method_data"][0]["supported_methods"], &request["method_data"][0]["data"]);
    let payment = signed(terms);
    let mandate = |order: &Value, method: &Value| {
        let response = json!({ "request_id": order, "method_name": method, "details": payment });
        let contents = json!({ "payment_mandate_id": "1", "payment_details_id": order, "payment_response": response });
        json!({
            "metadata": { STATUS: "payment-submitted" },
            "parts": [{ "kind": "data", "data": { "ap2.mandates.PaymentMandate": { "payment_mandate_contents": contents } } }],
        })
    };
    let order = &request["details"]["id"];
    let others = &other["artifacts"][0]["parts"][0]["data"]["ap2.mandates.CartMandate"]["contents"]["id"];
    let id = text(&task, "id");
    assert_eq!(code(&peer.say(id, mandate(others, method)).await), "cart_mismatch");
    assert_eq!(code(&peer.say(id, mandate(order, &json!("CARD"))).await), "invalid_payment_mandate");
    assert_eq!(code(&peer.say(id, mandate(&Value::Null, method)).await), "invalid_payment_mandate");
    let paid = peer.say(id, mandate(order, method)).await;
    assert_eq!((state(&paid), said(&paid, STATUS)), ("completed", &json!("payment-completed")), "{paid}");
}

/// As whoever buys would: under the merchant's published keys, for this agent.
fn verify_cart(dev: &Service, cart: &Value) {
    let keys = KeySet::from_jwks(dev.line["merchant"]["jwks"].as_object().unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let verified = CartMandate::parse(cart.to_string().as_bytes()).unwrap().verify(&Context {
        clock: Clock { now_seconds: i64::try_from(now).unwrap(), skew_seconds: 60 },
        merchant_keys: &keys,
        audience: Audience::Exactly(text(&dev.line["a2a"], "url")),
        authorization_seconds_max: 900,
        jtis: Jtis::LeftToState,
    });
    assert!(verified.is_ok(), "{verified:?}");
}

/// What was sold over A2A stands in the same books, which add up.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_stands_in_the_books() {
    let shop = Shop::open().await;
    let peer = Peer::at(&shop.url("/a2a"));
    let task = peer.ask().await;
    assert_eq!(state(&peer.pay(&task, &signed(demand(&task))).await), "completed");
    let tenant = shop.service.tenant(purser::world::SHOP).unwrap();
    let verified = shop.service.store().verify(&tenant).await.unwrap();
    assert!(matches!(verified, Verification::Sound { .. }), "{verified:?}");
    let balances = shop.service.store().balances(&tenant).await.unwrap();
    assert!(!balances.is_empty(), "the sale is booked");
}

/// Each tool is given when its seller says, over A2A too: before it is paid, when it was paid first, or deep in the chain. What
/// a task says is what the books say.
#[tokio::test(flavor = "multi_thread")]
async fn a_skill_is_given_when_its_seller_says() {
    let mut world = World::lagging(60, 25).await;
    let tool = |name: &str, more: Value| {
        let mut tool =
            json!({ "name": name, "amount": "10000", "description": name, "body": format!("the {name} thing") });
        tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(tool).expect("a tool")
    };
    let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
    sell.tools.push(tool("early", json!({ "release": "verified", "exposure_max": "50000" })));
    sell.tools.push(tool("first", json!({ "settle_first_above": "1" })));
    sell.tools.push(tool("deep", json!({ "confirmations": 8 })));
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let key = WalletKey::from_bytes(&buyer().private_key.0).unwrap();
    world.rpc("devnet_mint", json!([key.address(), "0x186a00"])).await;
    let peer = Peer::at(&format!("{}/a2a", world.config.public_url()));

    world.rpc("evm_setAutomine", json!([false])).await;
    let mut waiting = Vec::new();
    for (name, expected, status) in [
        ("early", "completed", "payment-verified"),
        ("first", "working", "payment-verified"),
        ("deep", "working", "payment-verified"),
    ] {
        let task = peer.ask_for(name).await;
        let payment = signed(demand(&task));
        let answer = peer.pay(&task, &payment).await;
        assert_eq!((state(&answer), said(&answer, STATUS)), (expected, &json!(status)), "{name}: {answer}");
        let is_given = answer.to_string().contains(&format!("the {name} thing"));
        assert_eq!(is_given, name == "early", "{name}: {answer}");
        assert_eq!(said(&answer, "x402.payment.receipts"), &json!([]), "{name}: nothing is settled");
        let canceled = peer.call("tasks/cancel", json!({ "id": task["id"] })).await;
        assert_eq!(code(&canceled), "task_not_cancelable", "{name}");
        waiting.push((name, task, payment));
    }
    world.rpc("evm_setAutomine", json!([true])).await;
    for (name, task, payment) in waiting {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let seen = peer.look(&task).await;
            let receipt = &said(&seen, "x402.payment.receipts")[0];
            if state(&seen) == "completed" && receipt["success"] == true {
                assert!(seen.to_string().contains(&format!("the {name} thing")), "{name}: {seen}");
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{name} is not paid: {seen}");
            assert!(name == "early" || !seen.to_string().contains(&format!("the {name} thing")), "{name}: {seen}");
            // What was paid first and is not made yet is made for whoever presents the payment again.
            if name == "first" {
                peer.pay(&task, &payment).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    let ended = peer.ask_for("first").await;
    let canceled = peer.call("tasks/cancel", json!({ "id": ended["id"] })).await;
    let told = canceled["result"]["status"]["message"]["parts"][0]["text"].as_str().unwrap();
    assert!(told.contains("no payment of this task is in the books") && !told.contains("charged"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_and_the_header_say_what_is_spoken() {
    let dev = Service::dev();
    let card: Value = reqwest::get(text(&dev.line["a2a"], "card_url")).await.unwrap().json().await.unwrap();
    let uris: Vec<&str> =
        card["capabilities"]["extensions"].as_array().unwrap().iter().map(|one| text(one, "uri")).collect();
    assert_eq!(uris, [V0_2, V0_1, AP2]);
    assert_eq!(card["url"], dev.line["a2a"]["url"]);
    let url = text(&dev.line["a2a"], "url");
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {} });
    let sent = Client::new().post(url).header("X-A2A-Extensions", V0_1).json(&body).send().await.unwrap();
    assert_eq!(sent.headers()["X-A2A-Extensions"], V0_1);
    assert!(sent.headers()["Cache-Control"].to_str().unwrap().contains("no-store"));
    let foreign =
        Client::new().post(url).header("Origin", "https://elsewhere.example").json(&body).send().await.unwrap();
    assert_eq!(foreign.status().as_u16(), 403, "a page of others does not speak here");
}

/// Google's SDK as the client, x402's as the wallet, in both versions of the protocol.
#[test]
fn the_official_sdk_buys() {
    let dev = Service::dev();
    let before = balance(&dev, text(&dev.line["paid"], "pay_to"));
    for (number, version) in (1..).zip(["1.0", "0.3"]) {
        let arguments =
            [dev.url(), version, text(&dev.line["a2a"], "paid_skill"), text(&dev.line["buyer"], "private_key")];
        let output = python_script("a2a_buy.py").args(arguments).output().unwrap();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
        let steps: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(steps["asked"]["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{steps}");
        for step in ["paid", "again", "seen"] {
            assert_eq!(steps[step]["status"]["state"], "TASK_STATE_COMPLETED", "{step}: {steps}");
            assert!(
                steps[step]["artifacts"].to_string().contains(text(&dev.line["paid"], "marker")),
                "{step}: {steps}"
            );
        }
        assert_eq!(steps["canceled"], "TaskNotCancelableError", "{steps}");
        assert_eq!(balance(&dev, text(&dev.line["paid"], "pay_to")), before + 10_000 * number, "{version}: paid once");
    }
}
