use alloy_primitives::B256;
use ledger::id::{BudgetId, Micros, SpendId};
use ledger::money::Amount;
use ledger::spend::Authorization;
use ledger::transfer::{Money, TransferId};
use mandates::canonical::canonical_object;
use mandates::jws::Unsigned;
use mandates::keys::{KeyId, LocalKey};
use serde_json::json;
use x402::exact::WalletKey;

use super::*;

const URL: &str = "https://shop.example/report";
const KID: &str = "did:web:shop.example#one";
const HELD_AT: i64 = 1_800_000_000;

fn key(seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap()
}

fn account(seed: u8) -> Address {
    WalletKey::from_bytes(&[seed; 32]).unwrap().address()
}

/// Account 1 paid account 2.
fn spend() -> Spend {
    let asset: ledger::money::AssetId = "eip155:8453/erc20:0x0000000000000000000000000000000000000001".parse().unwrap();
    let payer = format!("{:#x}", account(1));
    Spend {
        id: SpendId([1; 32]),
        state: SpendState::Settled,
        young: None,
        announced: None,
        budget: BudgetId([2; 32]),
        windows: Vec::new(),
        authority: Amount::new(1),
        money: Money { asset: asset.clone(), amount: Amount::new(1) },
        rate: None,
        payee: "shop".parse().unwrap(),
        pay_to: format!("{:#x}", account(2)),
        purchase: ledger::id::Digest([3; 32]),
        authorization: Authorization { network: "eip155:8453".into(), asset, payer, nonce: [9; 32] },
        valid_before: HELD_AT + 60,
        since_block: 0,
        expires_at: Micros(0),
        hold: TransferId { seq: 0, leg: 0 },
        transaction: None,
        refunded: Amount::ZERO,
        build: None,
        issuer: None,
        evidence: ledger::id::Digest([4; 32]),
    }
}

fn payload() -> Map<String, Value> {
    let payer = account(1).to_string();
    offer_receipt::receipt_payload(URL, "eip155:8453", &payer, "", u64::try_from(HELD_AT).unwrap())
}

fn jws(header: Value, payload: &Map<String, Value>, by: &LocalKey) -> Value {
    let text = canonical_object(payload).unwrap();
    let unsigned = Unsigned::over(header.as_object().unwrap(), text.as_bytes());
    let signature = by.sign(unsigned.signing_input()).unwrap();
    json!({ "format": "jws", "signature": unsigned.finish(signature) })
}

fn header(by: &LocalKey) -> Value {
    json!({ "alg": "ES256", "jwk": by.public().to_jwk(), "kid": KID })
}

fn judged(receipt: &Value, keys: &[PublicKey], published: Option<&KeySet>) -> Result<Vouched, String> {
    let spend = spend();
    let bound = Bound { resource_url: URL, spend: &spend, held_at: HELD_AT, keys, published };
    judge(receipt, bound).map(|judged| judged.vouched)
}

#[test]
fn what_is_of_another_payment_is_not_true() {
    let good = payload();
    for (field, found) in [
        ("version", json!(2)),
        ("resourceUrl", json!("https://shop.example/other")),
        ("resourceUrl", json!("https://shop.example/report?x=1")),
        ("network", json!("eip155:1")),
        ("network", json!("base")),
        ("payer", json!(account(3).to_string())),
        ("payer", json!("somebody")),
        ("payer", Value::Null),
        ("issuedAt", json!(HELD_AT - 301)),
        ("issuedAt", json!("now")),
        ("issuedAt", Value::Null),
    ] {
        let mut other = good.clone();
        other.insert(field.to_owned(), found.clone());
        let receipt = jws(header(&key(1)), &other, &key(1));
        assert!(judged(&receipt, &[key(1).public().clone()], None).is_err(), "{field}: {found}");
    }
}

#[test]
fn what_is_no_signature_is_not_true() {
    let good = jws(header(&key(1)), &payload(), &key(1));
    let text = good["signature"].as_str().unwrap();
    let (head, tail) = text.rsplit_once('.').unwrap();
    let flipped = format!("{head}.{}{}", if tail.starts_with('A') { "B" } else { "A" }, &tail[1..]);
    let published = KeySet::new([key(1).public().clone().named(KeyId::new(KID))]).unwrap();
    let eip712 = |signature: &str| json!({ "format": "eip712", "payload": payload(), "signature": signature });
    for (case, receipt) in [
        ("nothing", json!({})),
        ("another form", json!({ "format": "pgp", "signature": text })),
        ("no text", json!({ "format": "jws", "signature": 7 })),
        ("no JWS", json!({ "format": "jws", "signature": "a.b" })),
        ("another signature", json!({ "format": "jws", "signature": flipped })),
        ("another key than it brings", jws(header(&key(1)), &payload(), &key(2))),
        ("under a published name, by another", jws(header(&key(2)), &payload(), &key(2))),
        ("no signature of an account", eip712("0x00")),
        ("a signature of nothing", eip712(&format!("0x{}1b", "00".repeat(64)))),
    ] {
        assert!(judged(&receipt, &[], Some(&published)).is_err(), "{case}");
    }
}

#[test]
fn who_vouches_is_said() {
    let receipt = jws(header(&key(1)), &payload(), &key(1));
    let published = KeySet::new([key(1).public().clone().named(KeyId::new(KID))]).unwrap();
    assert_eq!(judged(&receipt, &[key(1).public().clone()], None), Ok(Vouched::ByPayee));
    assert_eq!(judged(&receipt, &[key(2).public().clone()], Some(&published)), Ok(Vouched::ByOrigin));
    assert_eq!(judged(&receipt, &[], None), Ok(Vouched::ByItself));
    let bare = jws(json!({ "alg": "ES256", "kid": "did:web:other.example#one" }), &payload(), &key(1));
    assert_eq!(judged(&bare, &[], None), Ok(Vouched::NotLookedAt));
    // By the account that is paid, and by another one. The digest is that of x402's own function, which is asked to recover.
    for (seed, vouched) in [(2, Vouched::ByPayee), (3, Vouched::ByItself)] {
        let digest = offer_receipt::receipt_digest(&payload()).unwrap();
        let signature = WalletKey::from_bytes(&[seed; 32]).unwrap().sign(digest).unwrap().to_text();
        let receipt = json!({ "format": "eip712", "payload": payload(), "signature": signature });
        assert_eq!(judged(&receipt, &[], None), Ok(vouched));
    }
    assert_ne!(offer_receipt::receipt_digest(&payload()), Some(B256::ZERO));
}
