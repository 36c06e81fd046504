use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use super::*;
use crate::exact::{EvmSignature, WalletKey, verify};
use crate::fixture::{self, NOW};
use crate::wire::{PaymentPayload, ResourceInfo};

const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

fn entry() -> PaymentRequirements {
    PaymentRequirements { max_timeout_seconds: 60, ..fixture::requirements() }
}

fn required(accepts: Vec<PaymentRequirements>) -> PaymentRequired {
    PaymentRequired::new(ResourceInfo::new("https://seller.example/paid?x=1"), accepts, None)
}

fn chosen(required: &PaymentRequired) -> Result<Offer, SelectError> {
    select(required, "GET", Wallet::new(&fixture::assets(&fixture::requirements())))
}

fn with(change: impl FnOnce(&mut PaymentRequirements)) -> PaymentRequirements {
    let mut entry = entry();
    change(&mut entry);
    entry
}

fn extra(name: &str, value: Value) -> PaymentRequirements {
    with(|entry| {
        entry.extra.as_mut().unwrap().insert(name.to_owned(), value);
    })
}

const FACILITATOR: &str = "0x00000000000000000000000000000000000000fa";

fn upto(facilitator: &str) -> PaymentRequirements {
    PaymentRequirements { scheme: "upto".into(), ..extra("facilitatorAddress", json!(facilitator)) }
}

/// What is signed is good for the seller's own terms and nobody else's; the most stands in the signature.
#[test]
fn a_permit_of_the_most_names_who_may_charge() {
    let (offer, key) = (chosen(&required(vec![upto(FACILITATOR)])).unwrap(), WalletKey::from_hex(KEY).unwrap());
    let exact = chosen(&required(vec![extra("facilitatorAddress", json!(FACILITATOR))])).unwrap();
    assert_ne!(offer.digest(), exact.digest(), "the scheme is part of what was decided on");
    let unsigned = offer.authorize(key.address(), B256::repeat_byte(3), 0, NOW + 60).unwrap();
    assert_eq!(unsigned.expected().charge, crate::settlement::Charge::AtMost);
    let payload = unsigned.sign(&key).unwrap();
    let assets = fixture::assets(&fixture::requirements());
    let verified = scheme::verify(&payload, &upto(FACILITATOR), &assets, NOW);
    assert_eq!(verified.map(|payment| payment.claim_key()), Ok(unsigned.claim_key()));
    let other = "0x00000000000000000000000000000000000000fb";
    let code = |requirements: &PaymentRequirements| {
        scheme::check_charge(&payload, requirements, &assets, NOW).map(|_| ()).map_err(|refusal| refusal.code())
    };
    let of = |amount: &str| PaymentRequirements { amount: amount.into(), ..upto(FACILITATOR) };
    assert_eq!(code(&upto(other)), Err("upto_facilitator_mismatch"));
    assert_eq!(code(&of("10001")), Err("invalid_upto_evm_payload_settlement_exceeds_amount"));
    assert_eq!(code(&extra("assetTransferMethod", json!("permit2"))), Err("invalid_exact_evm_scheme"));
    assert_eq!((code(&of("37")), code(&of("0")), code(&of("10000"))), (Ok(()), Ok(()), Ok(())));
}

#[test]
fn each_offer_that_cannot_be_paid_says_why() {
    let token = entry().asset;
    let cases = [
        (with(|e| e.scheme = "batch-settlement".into()), "unsupported_scheme"),
        (with(|e| e.scheme = "Upto".into()), "unsupported_scheme"),
        // Nobody says who settles.
        (with(|e| e.scheme = "upto".into()), "invalid_payment_requirements"),
        (upto("0x0"), "invalid_payment_requirements"),
        (upto(&format!("0x{}", "0".repeat(40))), "invalid_payment_requirements"),
        (PaymentRequirements { amount: "0".into(), ..upto(FACILITATOR) }, "invalid_payment_requirements"),
        (with(|e| e.network = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".into()), "invalid_network"),
        (with(|e| e.network = "base".into()), "invalid_network"),
        (with(|e| e.network = "eip155:8453".into()), "invalid_exact_evm_failed_to_get_asset_info"),
        (with(|e| e.asset = format!("0x{}", "1".repeat(40))), "invalid_exact_evm_failed_to_get_asset_info"),
        (with(|e| e.asset = "USDC".into()), "invalid_payment_requirements"),
        (with(|e| e.amount = "0".into()), "invalid_payment_requirements"),
        (with(|e| e.amount = "1.5".into()), "invalid_payment_requirements"),
        (with(|e| e.amount = "$1".into()), "invalid_payment_requirements"),
        (with(|e| e.pay_to = "merchant".into()), "invalid_payment_requirements"),
        (with(|e| e.pay_to = format!("0x{}", "0".repeat(40))), "invalid_payment_requirements"),
        (with(|e| e.pay_to = token), "payee_is_token"),
        (with(|e| e.max_timeout_seconds = 0), "invalid_payment_requirements"),
        (with(|e| e.max_timeout_seconds = 3601), "timeout_out_of_bounds"),
        (with(|e| e.max_timeout_seconds = u64::MAX), "timeout_out_of_bounds"),
        (with(|e| e.extra = None), "invalid_exact_evm_missing_eip712_domain"),
        (extra("name", json!("USDC")), "invalid_exact_evm_token_name_mismatch"),
        (extra("name", json!(1)), "invalid_exact_evm_missing_eip712_domain"),
        (extra("version", json!("1")), "invalid_exact_evm_token_version_mismatch"),
        (extra("assetTransferMethod", json!("erc7710")), "unsupported_payload_type"),
        (extra("paymentFlow", json!("upfront")), "payment_flow_not_supported"),
        (extra("paymentFlow", json!("escrow")), "payment_flow_not_supported"),
    ];
    for (entry, code) in cases {
        let error = chosen(&required(vec![entry.clone()])).unwrap_err();
        let SelectError::NoneFits(passed_over) = error else { panic!("{error}") };
        assert_eq!(passed_over[0].why.code(), code, "{entry:?}");
    }
}

#[test]
fn a_demand_that_is_none_is_refused() {
    let code = |required: &PaymentRequired, method: &str| {
        select(required, method, Wallet::new(&AssetTable::trusted())).unwrap_err().code()
    };
    assert_eq!(code(&PaymentRequired { x402_version: 1, ..required(vec![entry()]) }, "GET"), "invalid_x402_version");
    assert_eq!(code(&required(vec![]), "GET"), "invalid_offer_count");
    assert_eq!(code(&required(vec![entry(); OFFERS_MAX + 1]), "GET"), "invalid_offer_count");
    for url in [String::new(), "https://a b".to_owned(), "https://a\n".to_owned(), "h".repeat(URL_BYTES_MAX + 1)] {
        let required = PaymentRequired { resource: ResourceInfo::new(url), ..required(vec![entry()]) };
        assert_eq!(code(&required, "GET"), "invalid_resource_url");
    }
    for method in ["", "GET /", "G\nT", &"A".repeat(METHOD_BYTES_MAX + 1)] {
        assert_eq!(code(&required(vec![entry()]), method), "invalid_method");
    }
}

#[test]
fn what_is_frozen_is_the_entry_that_was_chosen() {
    let dear = with(|e| e.amount = "99999999".into());
    let cheap = with(|e| e.scheme = "batch-settlement".into());
    let screened = screen(
        &required(vec![cheap, dear.clone(), entry()]),
        "GET",
        Wallet::new(&fixture::assets(&fixture::requirements())),
    )
    .unwrap();
    assert_eq!(screened.passed_over.iter().map(|entry| entry.index).collect::<Vec<_>>(), [0]);
    assert_eq!(screened.offers.iter().map(|offer| offer.amount().get()).collect::<Vec<_>>(), [99_999_999, 10_000]);
    assert_eq!(screened.offers[0].requirements(), &dear);
    assert_eq!(screened.offers[1].asset().as_str(), "eip155:31337/erc20:0x5fbdb2315678afecb367f032d93f642f64180aa3");
}

#[test]
fn the_digest_sees_every_field() {
    let base = chosen(&required(vec![entry()])).unwrap();
    let mut digests = vec![base.digest()];
    for changed in [
        with(|e| e.amount = "10001".into()),
        with(|e| e.pay_to = format!("0x{}", "1".repeat(40))),
        with(|e| e.max_timeout_seconds = 61),
        extra("ap2MandateReference", json!("a")),
        extra("ap2MandateReference", json!(["a"])),
        extra("ap2MandateReference", json!({"a": null})),
        extra("n", json!(1)),
        extra("n", json!("1")),
        with(|e| {
            e.unknown.insert("n".to_owned(), json!(1));
        }),
    ] {
        digests.push(chosen(&required(vec![changed])).unwrap().digest());
    }
    let elsewhere =
        PaymentRequired { resource: ResourceInfo::new("https://other.example/"), ..required(vec![entry()]) };
    digests.push(chosen(&elsewhere).unwrap().digest());
    let table = fixture::assets(&fixture::requirements());
    digests.push(select(&required(vec![entry()]), "POST", Wallet::new(&table)).unwrap().digest());
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn the_digest_ignores_spelling() {
    let base = chosen(&required(vec![entry()])).unwrap();
    let lower = with(|e| {
        e.asset = e.asset.to_lowercase();
        e.pay_to = e.pay_to.to_lowercase();
    });
    assert_eq!(chosen(&required(vec![lower])).unwrap().digest(), base.digest());
    let read = |text: &str| {
        let entry = serde_json::from_str(text).unwrap();
        chosen(&required(vec![entry])).unwrap().digest()
    };
    let text = serde_json::to_string(&entry()).unwrap();
    let reordered = text.replace(r#""name":"USD Coin","version":"2""#, r#""version":"2", "name":"USD Coin""#);
    assert_ne!(text, reordered);
    assert_eq!(read(&text), read(&reordered));
    assert_eq!(
        hex::encode(base.digest()),
        "99841e780c54d4c192946746199b22d04bbd5336060782f1531067df7b8dd1ad",
        "stored digests depend on it (computed apart, from the description of the bytes)"
    );
}

#[test]
fn only_the_payer_signs_and_only_in_a_window() {
    let offer = chosen(&required(vec![entry()])).unwrap();
    let key = WalletKey::from_hex(KEY).unwrap();
    let payer = key.address();
    let code =
        |payer: Address, after: u64, before: u64| offer.authorize(payer, B256::ZERO, after, before).unwrap_err().code();
    assert_eq!(code(payer, 5, 5), "authorization_window_empty");
    assert_eq!(code(payer, 6, 5), "authorization_window_empty");
    assert_eq!(code(Address::ZERO, 0, 5), "authorization_payer_invalid");
    assert_eq!(code(offer.pay_to(), 0, 5), "authorization_payer_invalid");

    let unsigned = offer.authorize(payer, B256::ZERO, 0, NOW + 60).unwrap();
    let stranger = WalletKey::from_bytes(&[7; 32]).unwrap();
    assert_eq!(unsigned.sign(&stranger).unwrap_err().code(), "authorization_signer_mismatch");
    let foreign: EvmSignature = stranger.sign(unsigned.digest()).unwrap();
    assert_eq!(unsigned.signed(foreign).unwrap_err().code(), "authorization_signer_mismatch");
    let other = key.sign(B256::repeat_byte(1)).unwrap();
    assert_eq!(unsigned.signed(other).unwrap_err().code(), "authorization_signer_mismatch");
}

#[test]
fn what_the_wallet_signs_the_seller_verifies() {
    let offer = chosen(&required(vec![entry()])).unwrap();
    let key = WalletKey::from_hex(KEY).unwrap();
    let nonce = crate::exact::nonce([1; 32], [2; 32]);
    let unsigned = offer.authorize(key.address(), nonce, 0, NOW + 60).unwrap();
    let payload: PaymentPayload = unsigned.sign(&key).unwrap();
    let verified = verify(&payload, &entry(), &fixture::assets(&entry()), NOW).unwrap();
    assert_eq!(verified.claim_key(), unsigned.claim_key());
    assert_eq!(verified.expected(), unsigned.expected());
    assert_eq!(payload.accepted, entry());
    assert_eq!(unsigned.sign(&key), Ok(payload), "the same purchase has the same bytes");
}
