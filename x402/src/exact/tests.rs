//! Invalid payments first. The recorded payment of the official Python SDK is the valid one that each is made from.

mod mutation;
mod onchain;
mod wallets;

use alloy_primitives::{B256, U256};
use serde_json::{Value, json};

use super::payment::STRINGS;
use super::*;
use crate::fixture::{self, NOW};
use crate::network::AssetTable;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme;
use crate::wire::{PaymentPayload, PaymentRequirements};

fn key() -> WalletKey {
    WalletKey::from_hex(fixture::exact()["payerPrivateKey"].as_str().unwrap()).unwrap()
}

/// Verified against the table of the untouched requirements, whatever the test did to its own.
fn answer(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<VerifiedPayment, Refusal> {
    verify(payload, requirements, &fixture::assets(&fixture::requirements()), NOW)
}

fn refused(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Reason {
    answer(payload, requirements).unwrap_err().reason
}

/// The recorded payment with one value replaced, its signature left as it was.
fn tampered(pointer: &str, value: Value) -> PaymentPayload {
    let mut json = serde_json::to_value(fixture::payload()).unwrap();
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    serde_json::from_value(json).unwrap()
}

/// The recorded payment with another authorization, properly signed by the payer.
fn resigned(change: impl FnOnce(&mut Authorization)) -> PaymentPayload {
    let mut payload = fixture::payload();
    let (mut authorization, _) = read_payload(&payload).unwrap();
    change(&mut authorization);
    let terms = Terms::read(&fixture::requirements()).unwrap();
    let signature = key().sign(authorization.digest(&terms.domain)).unwrap();
    payload.payload = json!({
        "signature": signature.to_text(),
        "authorization": {
            "from": authorization.from.to_string(),
            "to": authorization.to.to_string(),
            "value": authorization.value.to_string(),
            "validAfter": authorization.valid_after.to_string(),
            "validBefore": authorization.valid_before.to_string(),
            "nonce": authorization.nonce.to_string(),
        }
    })
    .as_object()
    .unwrap()
    .clone();
    payload
}

#[test]
fn each_tampered_field_has_its_own_answer() {
    const OTHER: &str = "0x000000000000000000000000000000000000dEaD";
    let auth = |name: &str| format!("/payload/authorization/{name}");
    let cases = [
        ("/x402Version".to_owned(), json!(1), Reason::InvalidX402Version),
        ("/accepted/scheme".to_owned(), json!("upto"), Reason::ExactScheme),
        ("/accepted/network".to_owned(), json!("eip155:8453"), Reason::NetworkMismatch),
        ("/accepted/amount".to_owned(), json!("1"), Reason::AcceptedRequirementsMismatch),
        ("/accepted/asset".to_owned(), json!(OTHER), Reason::AcceptedRequirementsMismatch),
        ("/accepted/payTo".to_owned(), json!(OTHER), Reason::AcceptedRequirementsMismatch),
        ("/accepted/maxTimeoutSeconds".to_owned(), json!(61), Reason::AcceptedRequirementsMismatch),
        ("/accepted/extra/name".to_owned(), json!("USDC"), Reason::AcceptedRequirementsMismatch),
        ("/accepted/extra".to_owned(), json!(null), Reason::AcceptedRequirementsMismatch),
        (auth("from"), json!(OTHER), Reason::Signature),
        (auth("to"), json!(OTHER), Reason::RecipientMismatch),
        (auth("value"), json!("9999"), Reason::ValueMismatch),
        (auth("value"), json!("10001"), Reason::ValueMismatch),
        (auth("validAfter"), json!("1"), Reason::Signature),
        (auth("validBefore"), json!("2110850577"), Reason::Signature),
        (auth("nonce"), json!(B256::ZERO.to_string()), Reason::Signature),
        ("/payload/signature".to_owned(), json!("0x"), Reason::Signature),
        ("/payload/signature".to_owned(), json!("signed"), Reason::SignatureFormat),
        ("/payload/authorization".to_owned(), json!({}), Reason::InvalidPayload),
        ("/payload".to_owned(), json!({}), Reason::InvalidPayload),
    ];
    for (pointer, value, reason) in cases {
        let payload = tampered(&pointer, value.clone());
        assert_eq!(refused(&payload, &fixture::requirements()), reason, "{pointer} = {value}");
    }
}

#[test]
fn malformed_values_are_refused_and_never_read_leniently() {
    for text in ["", " 10000", "10000\n", "+10000", "010000", "10_000", "0x2710", "1e4", "\u{ff11}0000", "-10000"] {
        let payload = tampered("/payload/authorization/value", json!(text));
        assert_eq!(refused(&payload, &fixture::requirements()), Reason::AuthorizationValue, "{text:?}");
    }
    let number = tampered("/payload/authorization/value", json!(10000));
    assert_eq!(refused(&number, &fixture::requirements()), Reason::InvalidPayload);
    for (field, text) in [
        ("from", "0x7099"),
        ("to", "merchant"),
        ("nonce", "0x00"),
        ("nonce", ""),
        ("validAfter", "-1"),
        ("validBefore", "1e10"),
        ("validBefore", "115792089237316195423570985008687907853269984665640564039457584007913129639936"),
    ] {
        let payload = tampered(&format!("/payload/authorization/{field}"), json!(text));
        assert_eq!(refused(&payload, &fixture::requirements()), Reason::InvalidPayload, "{field} = {text:?}");
    }
}

#[test]
fn what_is_no_string_is_named() {
    for pointer in STRINGS.map(|name| format!("/{}", name.replace('.', "/"))) {
        for value in [Value::Null, json!(10000), json!(["0x"]), json!({})] {
            let refusal = answer(&tampered(&pointer, value.clone()), &fixture::requirements()).unwrap_err();
            let field = format!("/{}", refusal.field.replace('.', "/"));
            assert_eq!(
                (refusal.reason, field, refusal.found),
                (Reason::InvalidPayload, pointer.clone(), value.to_string())
            );
        }
    }
    let empty = tampered("/payload", json!({}));
    let refusal = answer(&empty, &fixture::requirements()).unwrap_err();
    assert_eq!(refusal.to_string(), "payload.signature: expected a string, found nothing");
}

#[test]
fn a_network_without_assets_is_another_refusal_than_an_asset_that_is_not_there() {
    for (network, reason) in [("eip155:999999", Reason::InvalidNetwork), ("eip155:8453", Reason::AssetUnknown)] {
        let requirements = PaymentRequirements { network: network.into(), ..fixture::requirements() };
        assert_eq!(refused(&tampered("/accepted/network", json!(network)), &requirements), reason, "{network}");
    }
}

#[test]
fn whoever_claims_to_pay_is_named_whatever_the_terms_are() {
    type Change = fn(&mut PaymentRequirements);
    let payer = |payload: &PaymentPayload, requirements: &PaymentRequirements| {
        scheme::claimed_payer(payload, requirements).map(|payer| payer.to_string())
    };
    let (good, required) = (fixture::payload(), fixture::requirements());
    for nobody in [json!("merchant"), json!(7), Value::Null, json!("")] {
        assert_eq!(payer(&tampered("/payload/authorization/from", nobody), &required), None);
    }
    assert_eq!(payer(&tampered("/payload", json!({})), &required), None);
    assert_eq!(payer(&tampered("/payload/authorization", json!("0x")), &required), None);
    let account = Some(key().address().to_string());
    let changes: [Change; 6] = [
        |r| r.scheme = "zzz".into(),
        |r| r.network = "garbage".into(),
        |r| r.asset = "USDC".into(),
        |r| r.amount = "0".into(),
        |r| r.extra = None,
        |_| {},
    ];
    for change in changes {
        let mut requirements = required.clone();
        change(&mut requirements);
        assert_eq!(payer(&good, &requirements), account, "{requirements:?}");
    }
    assert_eq!(payer(&tampered("/payload/signature", Value::Null), &required), account);
}

#[test]
fn a_requirement_that_cannot_be_meant_is_refused() {
    type Change = fn(&mut PaymentRequirements);
    let cases: [(&str, Change, Reason); 17] = [
        ("scheme", |r| r.scheme = "upto".into(), Reason::ExactScheme),
        ("network", |r| r.network = "base".into(), Reason::NetworkMismatch),
        ("amount + 1", |r| r.amount = "10001".into(), Reason::ValueMismatch),
        ("amount zero", |r| r.amount = "0".into(), Reason::InvalidPaymentRequirements),
        ("amount hex", |r| r.amount = "0x2710".into(), Reason::InvalidPaymentRequirements),
        ("amount negative", |r| r.amount = "-1".into(), Reason::InvalidPaymentRequirements),
        ("amount above u128", |r| r.amount = format!("1{}", "0".repeat(39)), Reason::InvalidPaymentRequirements),
        ("asset", |r| r.asset = "USDC".into(), Reason::InvalidPaymentRequirements),
        ("asset zero", |r| r.asset = format!("0x{}", "0".repeat(40)), Reason::InvalidPaymentRequirements),
        ("another asset", |r| r.asset = format!("0x{}", "1".repeat(40)), Reason::AssetUnknown),
        ("payTo role", |r| r.pay_to = "merchant".into(), Reason::InvalidPaymentRequirements),
        ("payTo other", |r| r.pay_to = format!("0x{}", "1".repeat(40)), Reason::RecipientMismatch),
        ("timeout", |r| r.max_timeout_seconds = 0, Reason::InvalidPaymentRequirements),
        ("no domain", |r| r.extra = None, Reason::MissingDomain),
        ("name", |r| set_extra(r, "name", json!("USDC")), Reason::TokenNameMismatch),
        ("version", |r| set_extra(r, "version", json!("1")), Reason::TokenVersionMismatch),
        ("method", |r| set_extra(r, "assetTransferMethod", json!("permit2")), Reason::UnsupportedPayloadType),
    ];
    for (name, change, reason) in cases {
        let mut requirements = fixture::requirements();
        change(&mut requirements);
        assert_eq!(refused(&fixture::payload(), &requirements), reason, "{name}");
    }
}

fn set_extra(requirements: &mut PaymentRequirements, name: &str, value: Value) {
    requirements.extra.as_mut().unwrap().insert(name.to_owned(), value);
}

#[test]
fn an_unlisted_asset_is_refused_however_well_it_is_signed() {
    let other = PaymentRequirements { asset: format!("0x{}", "1".repeat(40)), ..fixture::requirements() };
    for (table, reason) in
        [(fixture::assets(&other), Reason::AssetUnknown), (AssetTable::trusted(), Reason::InvalidNetwork)]
    {
        let refusal = verify(&fixture::payload(), &fixture::requirements(), &table, NOW).unwrap_err();
        assert_eq!(refusal.reason, reason);
    }
}

#[test]
fn the_window_is_bounded_on_both_sides() {
    let mut requirements = fixture::requirements();
    requirements.max_timeout_seconds = 60;
    let at = |valid_after: u64, valid_before: u64| {
        let mut payload = resigned(|authorization| {
            authorization.valid_after = U256::from(valid_after);
            authorization.valid_before = U256::from(valid_before);
        });
        payload.accepted = requirements.clone();
        answer(&payload, &requirements).map(|_| ()).map_err(|refusal| refusal.reason)
    };
    assert_eq!(at(0, NOW - 1), Err(Reason::ValidBefore));
    assert_eq!(at(0, NOW), Err(Reason::ValidBefore));
    assert_eq!(at(0, NOW + 5), Err(Reason::ValidBefore));
    assert_eq!(at(0, NOW + 60 + 61), Err(Reason::ValidBefore));
    assert_eq!(at(0, u64::MAX), Err(Reason::ValidBefore));
    assert_eq!(at(NOW + 1, NOW + 60), Err(Reason::ValidAfter));
    assert_eq!(at(u64::MAX, NOW + 60), Err(Reason::ValidAfter));
    assert_eq!(at(0, NOW + 6), Ok(()));
    assert_eq!(at(NOW, NOW + 60 + 60), Ok(()));
    let forever = resigned(|authorization| authorization.valid_before = U256::MAX);
    assert_eq!(refused(&forever, &fixture::requirements()), Reason::ValidBefore);
}

#[test]
fn a_clock_at_either_end_does_not_panic() {
    let (payload, requirements) = (fixture::payload(), fixture::requirements());
    let table = fixture::assets(&requirements);
    assert_eq!(verify(&payload, &requirements, &table, 0).unwrap_err().reason, Reason::ValidBefore);
    assert_eq!(verify(&payload, &requirements, &table, u64::MAX).unwrap_err().reason, Reason::ValidBefore);
}

#[test]
fn a_signature_has_one_form() {
    let recorded = crate::value::bytes(fixture::payload().payload["signature"].as_str().unwrap(), 65).unwrap();
    let with = |bytes: &[u8]| {
        refused(&tampered("/payload/signature", json!(format!("0x{}", hex::encode(bytes)))), &fixture::requirements())
    };
    assert_eq!(with(&high_s(&recorded)), Reason::Signature, "high s");
    assert_eq!(with(&recorded[..64]), Reason::Signature, "64 bytes (ERC-2098)");
    assert_eq!(with(&[recorded.clone(), vec![0]].concat()), Reason::Signature, "66 bytes");
    assert_eq!(with(&[0; 65]), Reason::Signature, "zero");
    assert_eq!(with(&[0xff; 65]), Reason::Signature, "above the order");
    let mut parity = recorded.clone();
    parity[64] = 29;
    assert_eq!(with(&parity), Reason::Signature, "v 29");
    parity[64] = if recorded[64] == 27 { 28 } else { 27 };
    assert_eq!(with(&parity), Reason::Signature, "the other v recovers somebody else");
    let wrapped = [vec![0; 96], [0x64, 0x92].repeat(16)].concat();
    assert_eq!(with(&wrapped), Reason::SignatureFormat, "ERC-6492 around nothing");
    assert_eq!(with(&vec![1; 9000]), Reason::SignatureFormat, "oversize");

    let mut older = recorded.clone();
    older[64] -= 27;
    let payload = tampered("/payload/signature", json!(format!("0x{}", hex::encode(older))));
    let verified = answer(&payload, &fixture::requirements()).unwrap();
    assert_eq!(verified.call().signature(), recorded, "v of 0 and 1 is written as 27 and 28");
}

/// Two libraries that both keep to RFC 6979 agree to the byte; a payment that is signed again is the same payment.
#[test]
fn a_key_signs_as_another_library_does() {
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    for refused in [[0; 32], order.to_be_bytes(), [0xff; 32]] {
        assert_eq!(WalletKey::from_bytes(&refused).map(|key| key.address()), Err(KeyError::Malformed));
    }
    let mut seed = B256::ZERO;
    for _ in 0..64 {
        seed = alloy_primitives::keccak256(seed);
        let digest = alloy_primitives::keccak256(seed);
        let (own, peer) =
            (WalletKey::from_bytes(&seed).unwrap(), k256::ecdsa::SigningKey::from_slice(&seed.0).unwrap());
        let (expected, recovery) = peer.sign_prehash_recoverable(&digest.0).unwrap();
        let signature = own.sign(digest).unwrap();
        assert_eq!(signature.to_bytes()[..64], expected.to_bytes()[..], "{seed}");
        assert_eq!(signature.to_bytes()[64], 27 + recovery.to_byte(), "{seed}");
        assert_eq!(signature, own.sign(digest).unwrap());
        assert_eq!(signature.recover(digest).unwrap(), own.address());
        assert_eq!(own.address(), alloy_primitives::Address::from_private_key(&peer));
    }
}

/// (r, n - s) with the other parity: the same signature to mathematics, another text to everybody else.
fn high_s(signature: &[u8]) -> Vec<u8> {
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let mut out = signature.to_vec();
    let s = U256::from_be_slice(&signature[32..64]);
    out[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    out[64] = if signature[64] == 27 { 28 } else { 27 };
    out
}

#[test]
fn other_payload_types_are_refused_by_name() {
    let others = fixture::others();
    let payload: PaymentPayload = serde_json::from_value(others["permit2"].clone()).unwrap();
    let requirements: PaymentRequirements = serde_json::from_value(others["permit2Requirements"].clone()).unwrap();
    let mut eip3009 = requirements.clone();
    set_extra(&mut eip3009, "assetTransferMethod", json!("eip3009"));
    assert_eq!(refused(&payload, &eip3009), Reason::UnsupportedPayloadType);
    assert_eq!(refused(&payload, &fixture::requirements()), Reason::UnsupportedPayloadType);
    assert_eq!(refused(&fixture::payload(), &requirements), Reason::UnsupportedPayloadType);
    let capture: PaymentRequirements = serde_json::from_value(others["authCaptureRequirements"].clone()).unwrap();
    assert_eq!(Terms::read(&capture).unwrap_err().reason, Reason::ExactScheme);
}

#[test]
fn the_recorded_payment_verifies_and_recomputes() {
    let data = fixture::exact();
    let terms = Terms::read(&fixture::requirements()).unwrap();
    let (authorization, signature) = read_payload(&fixture::payload()).unwrap();
    assert_eq!(terms.domain.separator().to_string(), data["domainSeparatorOnChain"].as_str().unwrap());
    assert_eq!(authorization.digest(&terms.domain).to_string(), data["eip712Digest"].as_str().unwrap());
    assert_eq!(key().address().to_string(), data["payer"].as_str().unwrap());
    let ours = key().sign(authorization.digest(&terms.domain)).unwrap();
    assert_eq!(ours.to_text(), signature, "deterministic signing agrees with eth-account");

    let verified = answer(&fixture::payload(), &fixture::requirements()).unwrap();
    assert_eq!(verified.payer(), key().address());
    assert_eq!(verified.expected().value, U256::from(10_000));
    assert_eq!(verified.expected().valid_before, 2_110_850_578);
    assert_eq!(claim_key(&fixture::payload(), &fixture::requirements()), Ok(verified.claim_key()));

    let settled = serde_json::from_value(data["settledExample"]["paymentPayload"].clone()).unwrap();
    let mut requirements = fixture::requirements();
    requirements.max_timeout_seconds = 60;
    assert!(answer(&settled, &requirements).is_ok(), "the payment that was settled on a chain");
}

#[test]
fn an_accepted_offer_may_say_more_than_was_asked() {
    let mut payload = fixture::payload();
    set_extra(&mut payload.accepted, "note", json!({"n": 1.50}));
    payload.accepted.asset = payload.accepted.asset.to_lowercase();
    assert!(answer(&payload, &fixture::requirements()).is_ok());
}

/// The cases are about mandates too, which this crate does not know: those whose only fault lies there verify here.
#[test]
fn the_pulse_cases_get_the_answer_of_their_rail() {
    let expected = |codes: &[&str]| {
        [
            ("AP2_X402_SCHEME_MISMATCH", Reason::ExactScheme),
            ("EIP3009_RECIPIENT_MISMATCH", Reason::RecipientMismatch),
            ("EIP3009_SIGNATURE_INVALID", Reason::Signature),
            ("EIP3009_VALID_AFTER_IN_FUTURE", Reason::ValidAfter),
            ("EIP3009_VALID_BEFORE_EXPIRED", Reason::ValidBefore),
            ("EIP3009_VALUE_MISMATCH", Reason::ValueMismatch),
        ]
        .into_iter()
        .find(|(code, _)| codes.contains(code))
        .map(|(_, reason)| reason)
    };
    let mut refusals = 0;
    for case in fixture::pulse_cases() {
        let read = |name: &str| case["x402"][name].clone();
        let requirements: PaymentRequirements = serde_json::from_value(read("requirements")).unwrap();
        let payload = serde_json::from_value(read("payload")).unwrap();
        let codes: Vec<&str> =
            case["expected"]["failureCodes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let table = fixture::assets(&PaymentRequirements { scheme: SCHEME.to_owned(), ..requirements.clone() });
        let found = verify(&payload, &requirements, &table, case["nowEpochSeconds"].as_u64().unwrap());
        refusals += usize::from(found.is_err());
        assert_eq!(found.err().map(|refusal| refusal.reason), expected(&codes), "{}", case["id"]);
    }
    assert_eq!(refusals, 9);
}

#[test]
fn a_key_does_not_show_itself() {
    for text in ["", "0x", "00", &"0".repeat(64), &"f".repeat(64), &"g".repeat(64), &"1".repeat(65)] {
        let error = WalletKey::from_hex(text).unwrap_err();
        assert!(text.len() < 64 || !error.to_string().contains(text));
    }
    let secret = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let shown = format!("{:?}", WalletKey::from_hex(secret).unwrap());
    assert_eq!(shown, "WalletKey(0x70997970C51812dc3A010C7d01b50e0d17dc79C8)");
}

#[test]
fn a_nonce_is_bound_to_mandate_and_spend() {
    let one = nonce([1; 32], [2; 32]);
    assert_ne!(one, nonce([2; 32], [1; 32]));
    assert_ne!(one, nonce([1; 32], [3; 32]));
    assert_ne!(one, nonce([3; 32], [2; 32]));
    // SHA-256("purser/eip3009-nonce/1" 00 01*32 02*32): fixed for ever, stored payments depend on it
    assert_eq!(one.to_string(), "0x659c79309bd67022377041336fdc9bfe039f8cf9a4d5d15f277c8e9ac8eaf50a");
}
