//! Mandates that are closed for somebody else, and what their verifiers answer.

use ledger::id::CallerKind;
use mandates::chain::reference_hashes;
use mandates::keys::LocalKey;
use mandates::receipt::{Answer, Failure, Receipt};
use purser::client::{Client, ClientError};
use purser::world::{MERCHANT, SHOP};
use reqwest::Method;
use serde_json::{Value, json};

use super::shop::{Shop, new_key};
use super::text;
use super::world::World;

pub const BANK: &str = "https://bank.example/credentials";

/// A cart of the shop's, signed.
pub async fn cart(shop: &Shop, cents: u64, differing: Value) -> String {
    cart_by(&shop.client, &shop.merchant, cents, differing).await
}

/// The same of any service.
pub async fn cart_by(client: &Client, merchant: &str, cents: u64, differing: Value) -> String {
    let mut checkout = json!({
        "id": new_key(), "status": "ready_for_complete", "currency": "USD", "links": [],
        "line_items": [{ "id": "line-1", "quantity": 1, "item": { "id": "shoes", "title": "Shoes", "price": cents },
            "totals": [{ "type": "total", "amount": cents }] }],
        "totals": [{ "type": "total", "amount": cents }],
    });
    differing.as_object().unwrap().iter().for_each(|(name, value)| checkout[name] = value.clone());
    let body = Some(json!({ "checkout": checkout }));
    let signed = client.call(Method::POST, "/v1/mandates/carts", merchant, None, body).await.expect("a signed cart");
    text(&signed, "checkout_jwt").to_owned()
}

/// A mandate of a world's, closed over a new cart, with a cart of the shop's.
pub async fn closed_in(world: &World, mandate: &str, cents: u64) -> Result<Value, ClientError> {
    closed_over(world, mandate, cents, json!({})).await
}

/// The same over a cart that differs in this from the usual.
pub async fn closed_over(world: &World, mandate: &str, cents: u64, differing: Value) -> Result<Value, ClientError> {
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    let merchant = purser::service::mint(&minter, SHOP, MERCHANT, CallerKind::Merchant, 3_600).unwrap();
    let jwt = cart_by(&world.client, &merchant, cents, differing).await;
    let (key, body) = (new_key(), asked(mandate, &jwt, json!({})));
    world.client.call(Method::POST, "/v1/mandates/payments", &world.agent, Some(&key), Some(body)).await
}

/// What the shop answers it with, handed in.
pub async fn answered_in(world: &World, closed: &Value, paid: bool) -> Result<Value, ClientError> {
    let key = purser::world::merchant_key(&world.ring).unwrap();
    let reference = reference_hashes(text(closed, "payment_mandate")).unwrap().sd_hash;
    let issued_at_seconds = store::wall_clock()().seconds();
    let receipt = Receipt { issuer: SHOP.to_owned(), issued_at_seconds, reference, answer: answer(paid) };
    let path = format!("/v1/payments/{}/outcome", text(closed, "id"));
    world.call(Method::POST, &path, &world.agent, Some(json!({ "receipt": signed(&key, &receipt) }))).await
}

pub fn asked(mandate: &str, cart: &str, differing: Value) -> Value {
    let mut body = json!({
        "mandate": mandate, "cart": cart, "audience": BANK, "nonce": new_key(),
        "payment_instrument": { "id": "card-1", "type": "card", "description": "Card ****1234" },
    });
    differing.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

pub async fn close(shop: &Shop, key: &str, body: Value) -> Result<Value, ClientError> {
    shop.client.call(Method::POST, "/v1/mandates/payments", &shop.agent, Some(key), Some(body)).await
}

pub async fn close_as(shop: &Shop, token: &str, body: Value) -> Result<Value, ClientError> {
    shop.client.call(Method::POST, "/v1/mandates/payments", token, Some(&new_key()), Some(body)).await
}

/// What the shop answers a payment mandate with.
pub fn receipt(shop: &Shop, key: &LocalKey, closed: &Value, paid: bool) -> String {
    let reference = reference_hashes(text(closed, "payment_mandate")).unwrap().sd_hash;
    let issued_at_seconds = shop.service.engine().clock.now().seconds();
    signed(key, &Receipt { issuer: shop.service.url().to_owned(), issued_at_seconds, reference, answer: answer(paid) })
}

fn answer(paid: bool) -> Answer {
    if paid {
        let (psp_confirmation_id, network_confirmation_id) = ("psp-1".to_owned(), "net-1".to_owned());
        return Answer::Paid { payment_id: "pay-1".into(), psp_confirmation_id, network_confirmation_id };
    }
    let failure = Failure { error: "insufficient_funds".into(), error_description: "too little".into() };
    Answer::NotPaid { payment_id: "pay-1".into(), failure }
}

pub fn signed(key: &LocalKey, receipt: &Receipt) -> String {
    let unsigned = receipt.unsigned(&key.public().key_id());
    let signature = key.sign(unsigned.signing_input()).unwrap();
    unsigned.finish(signature)
}

pub async fn answered(shop: &Shop, closed: &Value, receipt: &str) -> Result<Value, ClientError> {
    let path = format!("/v1/payments/{}/outcome", text(closed, "id"));
    shop.call(Method::POST, &path, &shop.agent, Some(json!({ "receipt": receipt }))).await
}

/// Held and posted, in major units.
pub async fn figures(shop: &Shop, mandate: &str) -> (String, String) {
    let figures = shop.figures(mandate).await;
    (text(&figures["held"], "amount").to_owned(), text(&figures["posted"], "amount").to_owned())
}

pub async fn verdict(shop: &Shop, body: Value) -> Value {
    shop.call(Method::POST, "/v1/mandates/verify", &shop.user, Some(body)).await.expect("a verdict")
}

/// The leaf's signature with `n - s` for `s`: valid, and another text.
pub fn flip(chain: &str) -> String {
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (before, leaf) = chain.rsplit_once("~~").expect("a leaf");
    let (jwt, disclosures) = leaf.split_once('~').expect("an SD-JWT");
    let (input, signature) = jwt.rsplit_once('.').expect("a signature");
    let mut bytes = mandates::base64url::decode(signature).expect("base64url");
    let order = hex::decode(N).unwrap();
    let mut borrow = 0_i16;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(bytes[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{before}~~{input}.{}~{disclosures}", mandates::base64url::encode(&bytes))
}
