//! What verification of a chain costs, against the bare cryptography that no verifier can do without.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use ledger::money::Amount;
use mandates::chain::Position;
use mandates::clock::Clock;
use mandates::constraint::{AllowedPayees, AmountRange, Budget, Constraint, OpenCheckout, Written};
use mandates::currency::Currency;
use mandates::issue::{self, Addressed, HopTerms, RootTerms};
use mandates::json::Object;
use mandates::keys::{KeyId, KeySet, LocalKey};
use mandates::mandate::{Family, Mandate, Open, Vct};
use mandates::party::{Instrument, Merchant, Money};
use mandates::payment::ClosedPayment;
use mandates::rejection::Rejection;
use mandates::verify::{
    Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, RootMemory, Usage, verify, verify_remembering,
};
use serde_json::json;

use super::{Better, Row, interleave};

const ROUNDS: usize = 31;
const NOW: i64 = 1_795_000_000;

fn say(refused: Rejection) -> String {
    refused.to_string()
}

pub(crate) fn key(seed: u8) -> Result<LocalKey, String> {
    let key = LocalKey::from_random(&[seed; 32]).map_err(say)?;
    let name = KeyId::new(key.public().thumbprint());
    Ok(key.named(name))
}

fn sign(key: &LocalKey, unsigned: mandates::jws::Unsigned) -> Result<String, String> {
    let signature = key.sign(unsigned.signing_input()).map_err(say)?;
    Ok(unsigned.finish(signature))
}

fn shop(name: &str) -> Merchant {
    Merchant { id: name.into(), name: format!("The {name}"), website: Some(format!("https://{name}.example")) }
}

/// Three constraints, of which one is a list that a holder may thin out.
fn open(holder: &LocalKey, currency: &Currency) -> Mandate {
    let constraints = [
        Constraint::AmountRange(AmountRange { currency: currency.clone(), max: Amount::new(10_000), min: None }),
        Constraint::Budget(Budget { max: 100.into(), currency: currency.clone() }),
        Constraint::AllowedPayees(AllowedPayees { allowed: vec![shop("shop"), shop("other")] }),
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
}

fn closed(currency: &Currency) -> Mandate {
    Mandate::Payment(ClosedPayment {
        transaction_id: "transaction".into(),
        payee: shop("shop"),
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
    })
}

/// A root by a provider, open hops between, and a closed payment at the end.
pub(crate) fn chain(provider: &LocalKey, middle: u8) -> Result<String, String> {
    let mut count = 0_u8;
    let mut salts = move || {
        count = count.wrapping_add(1);
        [count; 16]
    };
    let currency = Currency::new("USD").map_err(say)?;
    let mut holder = key(100)?;
    let key_id = provider.key_id();
    let terms = RootTerms {
        key_id: &key_id,
        issuer: "https://a",
        issued_at_seconds: NOW,
        addressed: Addressed::ToNobody,
        status: None,
    };
    let mut token = sign(provider, issue::root(&terms, &[open(&holder, &currency)], &mut salts).map_err(say)?)?;
    let hop = |position| HopTerms { position, audience: "aud", nonce: "nonce", issued_at_seconds: NOW };
    for step in 0..middle {
        let next = key(101 + step)?;
        let handed_on = [open(&next, &currency)];
        let unsigned = issue::hop(&token, &hop(Position::Middle), &handed_on, &mut salts).map_err(say)?;
        token = sign(&holder, unsigned)?;
        holder = next;
    }
    let unsigned = issue::hop(&token, &hop(Position::Leaf), &[closed(&currency)], &mut salts).map_err(say)?;
    sign(&holder, unsigned)
}

pub fn rows() -> Result<Vec<Row>, String> {
    let provider = key(1)?;
    let trusted = KeySet::new([provider.public().clone()]).map_err(say)?;
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
    let signature = provider.sign(&message).map_err(say)?;
    // The library's own ES256, and nothing of ours around it.
    let (x, y) = provider.public().coordinates();
    let raw = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4][..], &x, &y].concat());
    let raw = raw.map_err(|refused| refused.to_string())?;
    let mut peer = || raw.verify_sig(&message, &signature).map_err(|refused| refused.to_string());
    let mut rows = Vec::new();
    let memory = RootMemory::default();
    let (cold, warm) = (None, Some(&memory));
    for (name, middle, memory) in [("chain_cold", 0, cold), ("chain_warm_root", 0, warm), ("chain_3_hops", 1, cold)] {
        let token = chain(&provider, middle)?;
        let mut ours = || {
            let verdict = match memory {
                Some(memory) => verify_remembering(&token, &context, memory),
                None => verify(&token, &context),
            };
            verdict.outcome.map(|_| ()).map_err(say)
        };
        let (ours, peer) = interleave(ROUNDS, &mut ours, &mut peer)?;
        let signatures = middle + 2;
        let verified = if memory.is_some() { signatures - 1 } else { signatures };
        rows.push(Row {
            name,
            ours,
            peer: Some(peer),
            peer_is: "one raw ES256 verify of 1 KiB",
            rounds: ROUNDS,
            more: json!({ "signatures": signatures, "verified": verified, "constraints": 3, "bytes": token.len() }),
            rate: false,
            better: Better::Lower,
        });
    }
    Ok(rows)
}
