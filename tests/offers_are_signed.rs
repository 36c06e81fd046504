//! Promise 5 where a seller signs what it offers and that it was paid (x402 `offer-receipt`): the official package verifies
//! both, and our wallet takes no offer whose signature is somebody's forgery.

use alloy_primitives::B256;
use chain::accounts::ACCOUNTS;
use mandates::base64url;
use mandates::jws::Unsigned;
use mandates::keys::LocalKey;
use purser::config::RouteConfig;
use purser::world::shop_address;
use reqwest::Method;
use serde_json::{Map, Value, json};
use x402::exact::WalletKey;
use x402::offer_receipt::{EXTENSION, offer_payload, offer_signer};
use x402::wire::{PaymentRequired, read_header};

use crate::foreign_clients::node_script;
use crate::harness::process::stdout;
use crate::harness::shop::{code, new_key};
use crate::harness::text;
use crate::harness::world::World;

struct Signed {
    world: World,
    mandate: String,
}

impl Signed {
    async fn open() -> Self {
        let mut world = World::start_with(60).await;
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        sell.routes.push(RouteConfig {
            path: "/signed".into(),
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
        format!("{}/signed", self.world.config.public_url())
    }

    async fn header(&self) -> String {
        let met = self.world.client.fetch("GET", &self.url(), None).await.unwrap();
        met.header("payment-required").expect("a 402").to_owned()
    }

    async fn pay(&self, required: &PaymentRequired) -> Result<Value, purser::client::ClientError> {
        let body = json!({ "mandate": self.mandate, "payment_required": required });
        let mut again = body.clone();
        let key = new_key();
        let agent = &self.world.agent;
        let first = self.world.client.call(Method::POST, "/v1/payments", agent, Some(&key), Some(body)).await;
        // Each of these is meant as another purchase of the same thing.
        match first {
            Err(error) if error.code() == Some("purchase_unresolved") => {
                let open =
                    self.world.call(Method::GET, &format!("/v1/mandates/{}/spend", self.mandate), agent, None).await;
                let open = open.unwrap();
                let newest = open["spends"][0]["id"].clone();
                again["again_after"] = newest;
                self.world.client.call(Method::POST, "/v1/payments", agent, Some(&new_key()), Some(again)).await
            }
            other => other,
        }
    }
}

/// The demand with other signed offers.
fn with(demand: &PaymentRequired, offers: Value) -> PaymentRequired {
    let mut demand = demand.clone();
    demand.extensions = Some(Map::from_iter([(EXTENSION.to_owned(), json!({ "info": { "offers": offers } }))]));
    demand
}

fn jws(header: &Value, payload: &Map<String, Value>, key: &LocalKey) -> Value {
    let unsigned = Unsigned::over(header.as_object().unwrap(), Value::Object(payload.clone()).to_string().as_bytes());
    let signature = key.sign(unsigned.signing_input()).unwrap();
    json!([{ "format": "jws", "signature": unsigned.finish(signature) }])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_package_verifies_our_offers_and_receipts() {
    let shop = Signed::open().await;
    let header = shop.header().await;
    let demand: PaymentRequired = read_header(header.as_bytes()).unwrap();
    let paid = shop.pay(&demand).await.expect("our wallet takes our offer");
    let bought = shop.world.client.fetch("GET", &shop.url(), Some(text(&paid, "payment_signature"))).await.unwrap();
    assert_eq!(bought.status.as_u16(), 200);
    let receipt = bought.header("payment-response").unwrap().to_owned();
    let read =
        tokio::task::spawn_blocking(move || node_script("read_offer.mjs").args([header, receipt]).output().unwrap());
    let output = read.await.unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    let offer = &said["offers"][0];
    assert_eq!((text(offer, "resourceUrl"), text(offer, "amount")), (shop.url().as_str(), "10000"));
    assert_eq!(said["accepts"], serde_json::to_value(&demand.accepts[0]).unwrap());
    assert_eq!((&said["matches"], &said["receipt"]["version"]), (&json!(true), &json!(1)), "{said}");
    assert_eq!(text(&said["receipt"], "payer").to_lowercase(), text(&paid, "payer"));
    // The evidence has the offer as it was signed, and what was found of it.
    shop.world.until(text(&paid, "id"), "settled").await;
    let path = format!("/v1/payments/{}/evidence", text(&paid, "id"));
    let file = shop.world.call(Method::GET, &path, &shop.world.user, None).await.unwrap();
    let bundle = text(&file, "bundle");
    assert!(bundle.contains("offer_signature") && bundle.contains(EXTENSION), "{bundle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_under_a_forged_signature_is_not_paid() {
    let shop = Signed::open().await;
    let demand: PaymentRequired = read_header(shop.header().await.as_bytes()).unwrap();
    let signed = demand.extensions.as_ref().unwrap()[EXTENSION]["info"]["offers"][0]["signature"].as_str().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let payload = |until: u64| offer_payload(&shop.url(), &demand.accepts[0], until);
    let (ours, other) = (LocalKey::from_random(&[7; 32]).unwrap(), LocalKey::from_random(&[8; 32]).unwrap());
    let header = |key: &LocalKey, kid: &str| json!({ "alg": "ES256", "kid": kid, "jwk": key.public().to_jwk() });
    let did = |key: &LocalKey| {
        let jwk = Value::Object(key.public().to_jwk()).to_string();
        format!("did:jwk:{}#0", base64url::encode(jwk.as_bytes()))
    };
    let (head, tail) = signed.rsplit_once('.').unwrap();
    let flipped = format!("{head}.{}{}", if tail.starts_with('A') { "B" } else { "A" }, &tail[1..]);
    let eip712 =
        |signature: &str| json!([{ "format": "eip712", "payload": payload(now + 60), "signature": signature }]);
    for (case, offers) in [
        ("another signature", json!([{ "format": "jws", "signature": flipped }])),
        ("another key than it names", jws(&header(&other, "did:web:shop.example#1"), &payload(now + 60), &ours)),
        ("another key than its kid", jws(&header(&ours, &did(&other)), &payload(now + 60), &ours)),
        ("one that has run out", jws(&header(&ours, &did(&ours)), &payload(now - 1), &ours)),
        ("no signature of an account", eip712("0x00")),
        ("a signature of nothing", eip712(&format!("0x{}1b", "00".repeat(64)))),
    ] {
        let paid = shop.pay(&with(&demand, offers)).await;
        assert!(paid.is_err(), "{case}: {paid:?}");
        assert_eq!(code(paid), "offer_signature_invalid", "{case}");
    }
    // Of other terms, or in a form that nobody here reads: it vouches for nothing, and hinders nothing.
    let mut cheaper = payload(now + 60);
    cheaper.insert("amount".to_owned(), json!("1"));
    for offers in [
        jws(&header(&other, "did:web:shop.example#1"), &cheaper, &ours),
        json!([{ "format": "pgp", "signature": "text" }, 7, null]),
        json!("offers"),
    ] {
        shop.pay(&with(&demand, offers)).await.expect("an offer");
    }
}

/// The form that accounts sign: the digest is the official package's, so whoever is paid is recovered.
#[test]
fn an_offer_that_an_account_signed_names_it() {
    let requirements = json!({
        "scheme": "exact", "network": "eip155:31337", "amount": "10000", "asset": chain::token::ADDRESS.to_string(),
        "payTo": shop_address().to_string(), "maxTimeoutSeconds": 60,
    });
    let requirements = serde_json::from_value(requirements).unwrap();
    let payload = offer_payload("https://shop.example/signed", &requirements, 1_800_000_000);
    let key = WalletKey::from_bytes(&ACCOUNTS[2].private_key.0).unwrap();
    let mut sign = node_script("sign_offer.mjs");
    let output =
        sign.args([ACCOUNTS[2].private_key.to_string(), Value::Object(payload.clone()).to_string()]).output().unwrap();
    let signature = stdout(&output).trim().to_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(offer_signer(&payload, &signature), Some(key.address()));
    let mut changed = payload.clone();
    changed.insert("amount".to_owned(), json!("10001"));
    assert_ne!(offer_signer(&changed, &signature), Some(key.address()));
    assert_eq!(offer_signer(&payload, &B256::ZERO.to_string()), None);
}
