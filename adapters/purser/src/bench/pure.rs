//! What verification costs, against the bare cryptography that no verifier can do without.

use alloy_primitives::{Address, B256};
use ledger::money::Amount;
use mandates::chain::Position;
use mandates::clock::Clock;
use mandates::constraint::{AmountRange, Budget, Constraint, OpenCheckout, Written};
use mandates::currency::Currency;
use mandates::issue::{self, Addressed, HopTerms, RootTerms};
use mandates::json::Object;
use mandates::keys::{KeyId, KeySet, LocalKey};
use mandates::mandate::{Family, Mandate, Open, Vct};
use mandates::party::{Instrument, Merchant, Money};
use mandates::payment::ClosedPayment;
use mandates::verify::{Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify as verify_chain};
use serde_json::{Value, json};
use x402::exact::{self, EvmSignature, WalletKey};
use x402::network::{Asset, AssetTable, Network, TransferMethod};
use x402::select::{Wallet, select};
use x402::wire::{PaymentRequired, PaymentRequirements, ResourceInfo};

use super::{Better, Row, interleave};

const ROUNDS: usize = 31;
const NOW: i64 = 1_795_000_000;

fn key(seed: u8) -> Result<LocalKey, String> {
    let key = LocalKey::from_random(&[seed; 32]).map_err(|error| error.to_string())?;
    let name = KeyId::new(key.public().thumbprint());
    Ok(key.named(name))
}

fn sign(key: &LocalKey, unsigned: mandates::jws::Unsigned) -> Result<String, String> {
    let signature = key.sign(unsigned.signing_input()).map_err(|error| error.to_string())?;
    Ok(unsigned.finish(signature))
}

/// A root by a provider, open hops between, and a closed payment at the end.
fn chain(provider: &LocalKey, middle: u8) -> Result<String, String> {
    let say = |error: mandates::rejection::Rejection| error.to_string();
    let mut count = 0_u8;
    let mut salts = move || {
        count = count.wrapping_add(1);
        [count; 16]
    };
    let currency = Currency::new("USD").map_err(say)?;
    let open = |holder: &LocalKey| {
        let constraints = [
            Constraint::AmountRange(AmountRange { currency: currency.clone(), max: Amount::new(10_000), min: None }),
            Constraint::Budget(Budget { max: 100.into(), currency: currency.clone() }),
        ];
        Mandate::Open(Open {
            vct: Vct::OpenPayment,
            constraints: constraints.into_iter().map(Written::Known).collect(),
            holder: holder.public().clone(),
            presets: Object::new(),
            issued_at_seconds: Some(NOW),
            not_before_seconds: None,
            expires_at_seconds: Some(NOW + 3_600),
        })
    };
    let mut holder = key(100)?;
    let key_id = provider.key_id();
    let terms = RootTerms {
        key_id: &key_id,
        issuer: "https://a",
        issued_at_seconds: NOW,
        addressed: Addressed::ToNobody,
        status: None,
    };
    let mut token = sign(provider, issue::root(&terms, &[open(&holder)], &mut salts).map_err(say)?)?;
    let hop = |position| HopTerms { position, audience: "aud", nonce: "nonce", issued_at_seconds: NOW };
    for step in 0..middle {
        let next = key(101 + step)?;
        let unsigned = issue::hop(&token, &hop(Position::Middle), &[open(&next)], &mut salts).map_err(say)?;
        token = sign(&holder, unsigned)?;
        holder = next;
    }
    let closed = ClosedPayment {
        transaction_id: "transaction".into(),
        payee: Merchant { id: "shop".into(), name: "Shop".into(), website: None },
        payment_amount: Money { amount: Amount::new(100), currency: currency.clone() },
        payment_instrument: Instrument {
            id: "1".into(),
            kind: "x402".into(),
            description: None,
            details: Object::new(),
        },
        pisp: None,
        execution_date: None,
        risk_data: None,
        issued_at_seconds: None,
        expires_at_seconds: Some(NOW + 60),
        others: Object::new(),
    };
    let unsigned = issue::hop(&token, &hop(Position::Leaf), &[Mandate::Payment(closed)], &mut salts).map_err(say)?;
    sign(&holder, unsigned)
}

pub fn verify() -> Result<Vec<Row>, String> {
    let provider = key(1)?;
    let trusted = KeySet::new([provider.public().clone()]).map_err(|error| error.to_string())?;
    let context = Context {
        clock: Clock { now_seconds: NOW, skew_seconds: 60 },
        trusted: &trusted,
        family: ExpectedFamily::Exactly(Family::Payment),
        expected: Expected::Exactly { audience: "aud", nonce: "nonce" },
        leaf_age_seconds_max: 300,
        purchase: Purchase::TransactionId("transaction"),
        open_checkout: OpenCheckout::Unknown,
        usage: Usage::Unknown,
        nonces: Nonces::LeftToState,
        revoked: Revoked::LeftToState,
    };
    let message = vec![7; 1_024];
    let signature = provider.sign(&message).map_err(|error| error.to_string())?;
    let mut peer = || provider.public().verify(&message, &signature).map_err(|error| error.to_string());
    let mut rows = Vec::new();
    for (name, middle) in [("chain_cold", 0), ("chain_3_hops", 2)] {
        let token = chain(&provider, middle)?;
        let mut ours = || verify_chain(&token, &context).outcome.map(|_| ()).map_err(|error| error.to_string());
        let (ours, peer) = interleave(ROUNDS, &mut ours, &mut peer)?;
        rows.push(Row {
            name,
            ours,
            peer,
            peer_is: "one raw ES256 verify of 1 KiB",
            rounds: ROUNDS,
            more: json!({ "signatures": middle + 2, "bytes": token.len() }),
            rate: false,
            better: Better::Lower,
        });
    }
    Ok(rows)
}

pub fn x402() -> Result<Vec<Row>, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let network = Network::new(31_337).ok_or("no network")?;
    let (name, version) = ("USD Coin".to_owned(), "2".to_owned());
    let address = Address::repeat_byte(0x55);
    let mut assets = AssetTable::trusted();
    let row = Asset { network, address, name, version, decimals: 6, transfer: TransferMethod::Eip3009 };
    assets.add(row).map_err(|error| say(&error))?;
    let requirements = PaymentRequirements {
        scheme: "exact".into(),
        network: network.to_string(),
        amount: "10000".into(),
        asset: address.to_string(),
        pay_to: Address::repeat_byte(0x66).to_string(),
        max_timeout_seconds: 60,
        extra: json!({ "name": "USD Coin", "version": "2" }).as_object().cloned(),
        unknown: serde_json::Map::new(),
    };
    let required = PaymentRequired::new(ResourceInfo::new("https://a/b"), vec![requirements.clone()], None);
    let wallet = WalletKey::from_bytes(&[3; 32]).map_err(|error| say(&error))?;
    let now = u64::try_from(NOW).map_err(|error| say(&error))?;
    let offer = select(&required, "GET", Wallet::new(&assets)).map_err(|error| say(&error))?;
    let unsigned = offer.authorize(wallet.address(), B256::repeat_byte(9), 0, now + 50).map_err(|error| say(&error))?;
    let payload = unsigned.sign(&wallet).map_err(|error| say(&error))?;
    let digest = unsigned.digest();
    let signature: EvmSignature = wallet.sign(digest).map_err(|error| say(&error))?;
    let mut ours =
        || exact::verify(&payload, &requirements, &assets, now).map(|_| ()).map_err(|error| error.to_string());
    let mut peer = || signature.recover(digest).map(|_| ()).map_err(|error| error.to_string());
    let (ours, peer) = interleave(ROUNDS, &mut ours, &mut peer)?;
    Ok(vec![Row {
        name: "exact_stateless",
        ours,
        peer,
        peer_is: "one secp256k1 key recovery",
        rounds: ROUNDS,
        more: Value::Null,
        rate: false,
        better: Better::Lower,
    }])
}
