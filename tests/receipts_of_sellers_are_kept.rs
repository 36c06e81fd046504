//! A seller's signed receipt (x402 `offer-receipt`) is kept with the payment, and the evidence says what it proves. One that
//! lies is kept as a lie, and changes nothing of what the chain says.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::accounts::ACCOUNTS;
use mandates::jws::Unsigned;
use mandates::keys::LocalKey;
use purser::config::RouteConfig;
use reqwest::Method;
use serde_json::{Map, Value, json};
use x402::exact::WalletKey;
use x402::offer_receipt::{receipt_digest, receipt_payload};

use crate::foreign_clients::{Killed, node_script};
use crate::harness::process::{Service, run, stdout};
use crate::harness::shop::new_key;
use crate::harness::world::World;
use crate::harness::{free_address, text};

const PATH: &str = "/signed";

struct Signed {
    world: World,
    mandate: String,
}

/// What was paid, and what the seller answered.
struct Bought {
    id: String,
    payer: String,
    transaction: String,
    answered: Value,
}

impl Signed {
    async fn open() -> Self {
        let mut world = World::start_with(60).await;
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        sell.routes.push(RouteConfig {
            path: PATH.into(),
            amount: "10000".into(),
            description: "what is signed".into(),
            body: Some("goods".into()),
            signed: true,
            ..RouteConfig::default()
        });
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        let mandate = world.mandate_of("5.00", 100).await;
        Self { world, mandate }
    }

    fn url(&self) -> String {
        format!("{}{PATH}", self.world.config.public_url())
    }

    /// Bought, settled, and not told yet what the seller answered.
    async fn buy(&self) -> Bought {
        let met = self.world.client.fetch("GET", &self.url(), None).await.unwrap();
        let body = json!({ "mandate": self.mandate, "payment_required_header": met.header("payment-required") });
        let (key, agent) = (new_key(), &self.world.agent);
        let paid = self.world.client.call(Method::POST, "/v1/payments", agent, Some(&key), Some(body)).await.unwrap();
        let got = self.world.client.fetch("GET", &self.url(), Some(text(&paid, "payment_signature"))).await.unwrap();
        let answered: Value =
            serde_json::from_slice(&STANDARD.decode(got.header("payment-response").unwrap()).unwrap()).unwrap();
        let id = text(&paid, "id").to_owned();
        self.world.until(&id, "settled").await;
        let (payer, transaction) = (text(&paid, "payer").to_owned(), text(&answered, "transaction").to_owned());
        Bought { id, payer, transaction, answered }
    }

    /// Tells the service what the seller answered.
    async fn tell(&self, bought: &Bought, answered: &Value) -> Value {
        let path = format!("/v1/payments/{}/outcome", bought.id);
        let body = json!({ "payment_response": STANDARD.encode(answered.to_string()), "status": 200 });
        self.world.call(Method::POST, &path, &self.world.agent, Some(body)).await.unwrap()
    }

    async fn evidence(&self, bought: &Bought) -> Value {
        let path = format!("/v1/payments/{}/evidence", bought.id);
        self.world.call(Method::GET, &path, &self.world.user, None).await.unwrap()
    }

    async fn verified(&self, bought: &Bought) -> (bool, String) {
        let file = self.world.folder.path().join(format!("{}.json", bought.id));
        std::fs::write(&file, self.evidence(bought).await.to_string()).unwrap();
        verify(&file)
    }

    fn records(&self, page: &Value, bought: &Bought) -> usize {
        let of_it = |record: &&Value| record["operation"] == "attest" && record["spend"] == bought.id.as_str();
        page["records"].as_array().unwrap().iter().filter(of_it).count()
    }
}

/// The line of the receipt, and whether the file holds.
fn verify(file: &Path) -> (bool, String) {
    let output = run(&["verify", "--evidence", file.to_str().unwrap()], &[]);
    let said = stdout(&output);
    let line = said.lines().find(|line| line.contains("sellers_receipt")).unwrap_or_default().to_owned();
    (output.status.success(), line)
}

fn with(answered: &Value, receipt: Value) -> Value {
    let mut answered = answered.clone();
    answered["extensions"]["offer-receipt"] = json!({ "info": { "receipt": receipt } });
    answered
}

fn jws(payload: &Map<String, Value>, key: &LocalKey, shown: &LocalKey) -> Value {
    let header = json!({ "alg": "ES256", "kid": "did:web:shop.example#1", "jwk": shown.public().to_jwk() });
    let text = Value::Object(payload.clone()).to_string();
    let unsigned = Unsigned::over(header.as_object().unwrap(), text.as_bytes());
    let signature = key.sign(unsigned.signing_input()).unwrap();
    json!({ "format": "jws", "signature": unsigned.finish(signature) })
}

fn by_account(payload: &Map<String, Value>, key: &WalletKey) -> Value {
    let signature = key.sign(receipt_digest(payload).unwrap()).unwrap().to_text();
    json!({ "format": "eip712", "payload": payload, "signature": signature })
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_lies_is_kept_as_a_lie_and_changes_nothing() {
    let shop = Signed::open().await;
    let (ours, other) = (LocalKey::from_random(&[7; 32]).unwrap(), LocalKey::from_random(&[8; 32]).unwrap());
    let stranger = WalletKey::from_bytes(&[9; 32]).unwrap();
    let elsewhere = format!("0x{}", "ab".repeat(32));
    for (case, is_lie) in [
        ("another resource", true),
        ("another payer", true),
        ("another network", true),
        ("an old one", true),
        ("another key than it brings", true),
        ("another transaction", true),
        ("no signature", true),
        ("a stranger's account", false),
    ] {
        let bought = shop.buy().await;
        let payload = |url: &str, network: &str, payer: &str, transaction: &str, at: u64| {
            receipt_payload(url, network, payer, transaction, at)
        };
        let (url, network, payer) = (shop.url(), "eip155:31337", bought.payer.as_str());
        let good = payload(&url, network, payer, "", now());
        let receipt = match case {
            "another resource" => jws(&payload(&format!("{url}/gold"), network, payer, "", now()), &ours, &ours),
            "another payer" => jws(&payload(&url, network, &ACCOUNTS[5].address.to_string(), "", now()), &ours, &ours),
            "another network" => jws(&payload(&url, "eip155:1", payer, "", now()), &ours, &ours),
            "an old one" => jws(&payload(&url, network, payer, "", now() - 4_000), &ours, &ours),
            "another key than it brings" => jws(&good, &ours, &other),
            "another transaction" => jws(&payload(&url, network, payer, &elsewhere, now()), &ours, &ours),
            "no signature" => json!({ "format": "eip712", "payload": good, "signature": "0x00" }),
            _ => by_account(&good, &stranger),
        };
        let spend = shop.tell(&bought, &with(&bought.answered, receipt)).await;
        assert_eq!((text(&spend, "state"), text(&spend, "transaction")), ("settled", bought.transaction.as_str()));
        let (holds, line) = shop.verified(&bought).await;
        assert!(holds && line.starts_with("ok"), "{case}: {line}");
        assert_eq!(line.contains("NOT TRUE"), is_lie, "{case}: {line}");
        assert!(is_lie || line.contains("a key that nobody names"), "{case}: {line}");
        // The first one stands, whatever comes later.
        shop.tell(&bought, &bought.answered).await;
        assert_eq!(shop.verified(&bought).await, (true, line), "{case}");
    }
    // What is no receipt at all is none.
    let bought = shop.buy().await;
    for nothing in [json!(null), json!(7), json!({ "info": {} }), json!({ "info": { "receipt": null } })] {
        let mut answered = bought.answered.clone();
        answered["extensions"]["offer-receipt"] = nothing;
        shop.tell(&bought, &answered).await;
    }
    assert_eq!(shop.verified(&bought).await, (true, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_sellers_receipt_is_kept_once_and_proves_what_it_says() {
    let shop = Signed::open().await;
    let bought = shop.buy().await;
    for _ in 0..3 {
        shop.tell(&bought, &bought.answered).await;
    }
    let (holds, line) = shop.verified(&bought).await;
    assert!(holds && line.contains(&bought.transaction) && !line.contains("NOT TRUE"), "{line}");
    let admin = {
        let minter = purser::service::minter(&shop.world.config, &shop.world.ring).unwrap();
        purser::service::mint(&minter, purser::world::HOME, "admin", ledger::id::CallerKind::Operator, 600).unwrap()
    };
    let page = shop.world.call(Method::GET, "/v1/ledger/journal?limit=500", &admin, None).await.unwrap();
    assert_eq!(shop.records(&page, &bought), 1, "kept once");
    // The file cannot be made to say something else.
    let file = shop.world.folder.path().join("changed.json");
    let evidence = shop.evidence(&bought).await;
    let kept = text(&evidence, "sellers_receipt").to_owned();
    assert!(kept.contains("by_payee") || kept.contains("by_origin") || kept.contains("by_itself"), "{kept}");
    for (case, instead) in [
        ("another verdict", json!(kept.replace("signed", "not_true"))),
        ("another text", json!(kept.replace("jws", "JWS"))),
        ("no text", Value::Null),
    ] {
        let mut changed = evidence.clone();
        changed["sellers_receipt"] = instead;
        std::fs::write(&file, changed.to_string()).unwrap();
        let (holds, line) = verify(&file);
        assert!(!holds && line.starts_with("FAIL"), "{case}: {line}");
    }
}

fn until_it_listens(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {port}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The unmodified TypeScript seller signs with the account that is paid, so it vouches for itself by what the chain shows.
#[test]
fn an_official_sellers_receipt_is_by_who_was_paid() {
    let dev = Service::dev();
    let (port, asset, account) = (free_address().port(), &dev.line["chain"]["asset"], &ACCOUNTS[3]);
    let (port_text, key) = (port.to_string(), account.private_key.to_string());
    let mut script = node_script("sell_with_receipts.mjs");
    script.args([&port_text, dev.url(), &key, text(asset, "address"), text(asset, "name"), text(asset, "version")]);
    script.args(["20000", "sold-with-a-receipt"]);
    let process = script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let _seller = Killed(process);
    until_it_listens(port);
    let url = format!("http://127.0.0.1:{port}/sold");
    let command = dev.line["pay"]["command"].as_array().unwrap().iter().skip(1);
    let fill = |part: &Value| part.as_str().unwrap().replace("{url}", &url).replace("{key}", "with-a-receipt");
    let args: Vec<String> = command.map(fill).collect();
    let output = run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("is settled"), "{told}");
    let id = told.split("payment ").nth(1).unwrap().split(':').next().unwrap().to_owned();
    let evidence = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let request = reqwest::Client::new().get(format!("{}/v1/payments/{id}/evidence", dev.url()));
        request.bearer_auth(text(&dev.line["user"], "token")).send().await.unwrap().json::<Value>().await.unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evidence.json");
    std::fs::write(&file, evidence.to_string()).unwrap();
    let (holds, line) = verify(&file);
    assert!(holds && line.contains("by who was paid") && line.contains("as the chain shows"), "{line}: {evidence}");
}
