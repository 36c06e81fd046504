//! Invalid permits first. The recorded payments of the official Python SDK are the valid ones that each is made from.

mod approvals;
mod onchain;

use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};

use super::*;
use crate::exact::{self, Checked, Signed, Transfer, VerifiedPayment, WalletKey};
use crate::fixture;
use crate::network::{Asset, AssetTable, Network, TransferMethod};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::settlement::NonceSpace;
use crate::wire::{PaymentPayload, PaymentRequirements};
use crate::{scheme, upto};

/// Within the recorded permits' windows.
const NOW: u64 = 1_795_491_200;
const OTHER: &str = "0x000000000000000000000000000000000000dEaD";

fn key() -> WalletKey {
    WalletKey::from_hex("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d").unwrap()
}

#[derive(Clone, Copy)]
enum Which {
    Exact,
    Upto,
}

fn recorded(which: Which) -> (PaymentPayload, PaymentRequirements) {
    let (case, requirements) = match which {
        Which::Exact => ("exact_permit2_py", "rq"),
        Which::Upto => ("upto_py", "uq"),
    };
    let case = fixture::permits()[case].clone();
    let read = |name: &str| case[name].clone();
    (serde_json::from_value(read("p")).unwrap(), serde_json::from_value(read(requirements)).unwrap())
}

fn table() -> AssetTable {
    let (_, requirements) = recorded(Which::Exact);
    let mut table = AssetTable::trusted();
    table
        .add(Asset {
            network: Network::new(31_337).unwrap(),
            address: requirements.asset.parse().unwrap(),
            name: "USD Coin".into(),
            version: "2".into(),
            decimals: 6,
            transfer: TransferMethod::Permit2,
        })
        .unwrap();
    table
}

/// As an account without code signs it.
fn by_key(checked: Result<Checked, Refusal>) -> Result<VerifiedPayment, Refusal> {
    match checked? {
        Checked::ByKey(payment) => Ok(payment),
        Checked::ByWallet(unproved) => Err(unproved.into_refusal()),
    }
}

fn answer(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<VerifiedPayment, Refusal> {
    by_key(scheme::check(payload, requirements, &table(), NOW))
}

fn refused(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Reason {
    answer(payload, requirements).unwrap_err().reason
}

/// The recorded payment with one value replaced (`null`: left out), its signature left as it was.
fn tampered(which: Which, pointer: &str, value: Value) -> PaymentPayload {
    let mut json = serde_json::to_value(recorded(which).0).unwrap();
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    serde_json::from_value(json).unwrap()
}

/// The recorded payment with another permit, properly signed by the payer.
fn resigned(which: Which, change: impl FnOnce(&mut Permit)) -> PaymentPayload {
    let (mut payload, _) = recorded(which);
    let (mut permit, _) = read_payload(&payload).unwrap();
    change(&mut permit);
    let signature = key().sign(permit.digest(Network::new(31_337).unwrap())).unwrap();
    let wire = PermitWire::new(&permit, signature.to_text());
    payload.payload = serde_json::to_value(wire).unwrap().as_object().unwrap().clone();
    payload
}

#[test]
fn each_tampered_field_has_its_own_answer() {
    let permit = |name: &str| format!("/payload/permit2Authorization/{name}");
    let cases = [
        ("/x402Version".to_owned(), json!(1), Reason::InvalidX402Version),
        ("/accepted/scheme".to_owned(), json!("upto"), Reason::ExactScheme),
        ("/accepted/network".to_owned(), json!("eip155:8453"), Reason::NetworkMismatch),
        ("/accepted/amount".to_owned(), json!("1"), Reason::AcceptedRequirementsMismatch),
        ("/accepted/asset".to_owned(), json!(OTHER), Reason::AcceptedRequirementsMismatch),
        ("/accepted/payTo".to_owned(), json!(OTHER), Reason::AcceptedRequirementsMismatch),
        ("/accepted/extra/assetTransferMethod".to_owned(), json!("eip3009"), Reason::AcceptedRequirementsMismatch),
        (permit("spender"), json!(UPTO_PROXY.to_string()), Reason::Permit2Spender),
        (permit("spender"), json!(PERMIT2.to_string()), Reason::Permit2Spender),
        (permit("witness/to"), json!(OTHER), Reason::Permit2RecipientMismatch),
        (permit("permitted/amount"), json!("9999"), Reason::Permit2AmountMismatch),
        (permit("permitted/amount"), json!("10001"), Reason::Permit2AmountMismatch),
        (permit("permitted/token"), json!(OTHER), Reason::Permit2TokenMismatch),
        (permit("from"), json!(OTHER), Reason::Permit2Signature),
        (permit("nonce"), json!("1"), Reason::Permit2Signature),
        (permit("deadline"), json!("1795491469"), Reason::Permit2Signature),
        (permit("witness/validAfter"), json!("1"), Reason::Permit2Signature),
        ("/payload/signature".to_owned(), json!("0x"), Reason::Permit2Signature),
        ("/payload/signature".to_owned(), json!("signed"), Reason::SignatureFormat),
        ("/payload/permit2Authorization".to_owned(), json!({}), Reason::InvalidPayload),
        ("/payload".to_owned(), json!({}), Reason::InvalidPayload),
        ("/payload".to_owned(), json!({"authorization": {}}), Reason::UnsupportedPayloadType),
    ];
    for (pointer, value, reason) in cases {
        let payload = tampered(Which::Exact, &pointer, value.clone());
        assert_eq!(refused(&payload, &recorded(Which::Exact).1), reason, "{pointer} = {value}");
    }
}

#[test]
fn malformed_values_are_refused_and_never_read_leniently() {
    for text in ["", " 1", "1\n", "+1", "01", "1_0", "0x1", "1e4", "\u{ff11}", "-1"] {
        for name in ["permitted/amount", "nonce", "deadline", "witness/validAfter"] {
            let pointer = format!("/payload/permit2Authorization/{name}");
            let payload = tampered(Which::Exact, &pointer, json!(text));
            assert_eq!(refused(&payload, &recorded(Which::Exact).1), Reason::InvalidPayload, "{name} = {text:?}");
        }
    }
    for name in ["from", "spender", "permitted/token", "witness/to"] {
        for text in ["", "0x7099", "merchant"] {
            let pointer = format!("/payload/permit2Authorization/{name}");
            let payload = tampered(Which::Exact, &pointer, json!(text));
            assert_eq!(refused(&payload, &recorded(Which::Exact).1), Reason::InvalidPayload, "{name} = {text:?}");
        }
    }
    let mut wider = tampered(Which::Exact, "/payload/permit2Authorization/nonce", json!(1));
    assert_eq!(refused(&wider, &recorded(Which::Exact).1), Reason::InvalidPayload, "a number that is no text");
    wider.payload["permit2Authorization"]["nonce"] = json!(format!("1{}", "0".repeat(78)));
    assert_eq!(refused(&wider, &recorded(Which::Exact).1), Reason::InvalidPayload, "above uint256");
}

#[test]
fn the_window_is_bounded_on_both_sides() {
    let at = |valid_after: u64, deadline: u64| {
        let payload = resigned(Which::Exact, |permit| {
            permit.deadline = U256::from(deadline);
            permit.witness = Witness::Exact { to: permit.witness.to(), valid_after: U256::from(valid_after) };
        });
        answer(&payload, &recorded(Which::Exact).1).map(|_| ()).map_err(|refusal| refusal.reason)
    };
    assert_eq!(at(0, NOW - 1), Err(Reason::Permit2DeadlineExpired));
    assert_eq!(at(0, NOW + 5), Err(Reason::Permit2DeadlineExpired));
    assert_eq!(at(0, NOW + 300 + 61), Err(Reason::Permit2DeadlineExpired));
    assert_eq!(at(0, u64::MAX), Err(Reason::Permit2DeadlineExpired));
    assert_eq!(at(NOW + 1, NOW + 60), Err(Reason::Permit2NotYetValid));
    assert_eq!(at(u64::MAX, NOW + 60), Err(Reason::Permit2NotYetValid));
    assert_eq!(at(0, NOW + 6), Ok(()));
    assert_eq!(at(NOW, NOW + 300 + 60), Ok(()));
    let forever = resigned(Which::Exact, |permit| permit.deadline = U256::MAX);
    assert_eq!(refused(&forever, &recorded(Which::Exact).1), Reason::Permit2DeadlineExpired);
}

#[test]
fn what_is_no_string_is_named() {
    for pointer in permit::STRINGS.map(|name| format!("/{}", name.replace('.', "/"))) {
        let (_, requirements) = recorded(Which::Exact);
        for value in [Value::Null, json!(7), json!([])] {
            let refusal = answer(&tampered(Which::Exact, &pointer, value.clone()), &requirements).unwrap_err();
            let field = format!("/{}", refusal.field.replace('.', "/"));
            assert_eq!(
                (refusal.reason, field, refusal.found),
                (Reason::InvalidPayload, pointer.clone(), value.to_string())
            );
        }
    }
}

#[test]
fn a_requirement_that_cannot_be_meant_is_refused() {
    type Change = fn(&mut PaymentRequirements);
    let set = |requirements: &mut PaymentRequirements, name: &str, value: Value| {
        requirements.extra.as_mut().unwrap().insert(name.to_owned(), value);
    };
    let cases: [(&str, Change, Reason); 6] = [
        ("amount + 1", |r| r.amount = "10001".into(), Reason::Permit2AmountMismatch),
        ("amount zero", |r| r.amount = "0".into(), Reason::InvalidPaymentRequirements),
        ("another asset", |r| r.asset = format!("0x{}", "1".repeat(40)), Reason::AssetUnknown),
        ("payTo", |r| r.pay_to = format!("0x{}", "1".repeat(40)), Reason::Permit2RecipientMismatch),
        ("timeout", |r| r.max_timeout_seconds = 0, Reason::InvalidPaymentRequirements),
        ("network", |r| r.network = "base".into(), Reason::NetworkMismatch),
    ];
    for (name, change, reason) in cases {
        let (payload, mut requirements) = recorded(Which::Exact);
        change(&mut requirements);
        assert_eq!(refused(&payload, &requirements), reason, "{name}");
    }
    for (name, value, reason) in [
        ("name", json!("USDC"), Reason::TokenNameMismatch),
        ("version", json!("1"), Reason::TokenVersionMismatch),
        ("name", json!(7), Reason::MissingDomain),
        ("assetTransferMethod", json!("erc7710"), Reason::UnsupportedPayloadType),
        ("assetTransferMethod", json!("eip3009"), Reason::Eip3009NotSupported),
    ] {
        let (payload, mut requirements) = recorded(Which::Exact);
        set(&mut requirements, name, value.clone());
        assert_eq!(refused(&payload, &requirements), reason, "{name} = {value}");
    }
}

#[test]
fn a_permit_for_any_amount_needs_its_own_proxy_and_facilitator() {
    let facilitator = |value: Value| tampered(Which::Upto, "/payload/permit2Authorization/witness/facilitator", value);
    let (_, requirements) = recorded(Which::Upto);
    assert_eq!(refused(&facilitator(json!(OTHER)), &requirements), Reason::UptoFacilitator);
    assert_eq!(refused(&facilitator(json!(null)), &requirements), Reason::UptoFacilitator);
    assert_eq!(refused(&facilitator(json!("us")), &requirements), Reason::InvalidPayload);
    let spender = tampered(Which::Upto, "/payload/permit2Authorization/spender", json!(EXACT_PROXY.to_string()));
    assert_eq!(refused(&spender, &requirements), Reason::Permit2Spender);
    let scheme = tampered(Which::Upto, "/accepted/scheme", json!("exact"));
    assert_eq!(refused(&scheme, &requirements), Reason::UptoScheme);
    let network = tampered(Which::Upto, "/accepted/network", json!("eip155:1"));
    assert_eq!(refused(&network, &requirements), Reason::UptoNetworkMismatch);
    let named = tampered(Which::Upto, "/accepted/extra/facilitatorAddress", json!(OTHER));
    assert_eq!(refused(&named, &requirements), Reason::AcceptedRequirementsMismatch);
    for (name, value) in [("facilitatorAddress", json!(null)), ("facilitatorAddress", json!("us"))] {
        let (payload, mut requirements) = recorded(Which::Upto);
        requirements.extra.as_mut().unwrap().insert(name.to_owned(), value);
        assert_eq!(refused(&payload, &requirements), Reason::InvalidPaymentRequirements);
    }
    // What was signed for one scheme is nothing in the other.
    let (payload, _) = recorded(Which::Upto);
    let (_, exact) = recorded(Which::Exact);
    assert_eq!(refused(&payload, &exact), Reason::ExactScheme);
    let mixed = resigned(Which::Exact, |permit| {
        permit.witness = Witness::Upto { to: permit.witness.to(), facilitator: Address::ZERO, valid_after: U256::ZERO };
    });
    assert_eq!(refused(&mixed, &exact), Reason::InvalidPayload);
}

#[test]
fn a_charge_stays_within_what_is_permitted() {
    let charge = |amount: &str| {
        let (payload, requirements) = recorded(Which::Upto);
        let requirements = PaymentRequirements { amount: amount.to_owned(), ..requirements };
        by_key(scheme::check_charge(&payload, &requirements, &table(), NOW)).map_err(|refusal| refusal.reason)
    };
    assert_eq!(charge("10001").unwrap_err(), Reason::UptoExceedsAmount);
    assert_eq!(charge("340282366920938463463374607431768211455").unwrap_err(), Reason::UptoExceedsAmount);
    for text in ["-1", "", "1.5", "0x1", "50%", "340282366920938463463374607431768211456"] {
        assert_eq!(charge(text).unwrap_err(), Reason::InvalidPaymentRequirements, "{text:?}");
    }
    // The most is what was signed, whatever the payload's copy of it says.
    let mut raised = recorded(Which::Upto);
    raised.0.accepted.amount = "20000".into();
    raised.1.amount = "15000".into();
    let refusal = by_key(scheme::check_charge(&raised.0, &raised.1, &table(), NOW)).unwrap_err();
    assert_eq!(refusal.reason, Reason::Permit2AmountMismatch);
    let whole = recorded(Which::Upto);
    let less = PaymentRequirements { amount: "1".into(), ..whole.1.clone() };
    assert_eq!(refused(&whole.0, &less), Reason::Permit2AmountMismatch, "verify asks for the whole");

    assert_eq!(charge("10000").unwrap().expected().value, U256::from(10_000));
    assert_eq!(charge("37").unwrap().expected().value, U256::from(37));
    assert_eq!(charge("0").unwrap().expected().value, U256::ZERO);
}

#[test]
fn a_sponsored_allowance_is_of_this_permit_or_none() {
    let info = |change: fn(&mut Value)| {
        let (mut payload, requirements) = recorded(Which::Exact);
        let mut extension = sponsored();
        change(&mut extension["info"]);
        payload.extensions = Some(serde_json::Map::from_iter([(sponsor::EXTENSION.to_owned(), extension)]));
        answer(&payload, &requirements).map(|payment| payment.call()).map_err(|refusal| refusal.reason)
    };
    type Change = fn(&mut Value);
    let cases: [(Change, Reason); 12] = [
        (|i| i["from"] = json!(OTHER), Reason::Eip2612From),
        (|i| i["asset"] = json!(OTHER), Reason::Eip2612Asset),
        (|i| i["spender"] = json!(EXACT_PROXY.to_string()), Reason::Eip2612Spender),
        (|i| i["amount"] = json!(U256::MAX.to_string()), Reason::Eip2612Amount),
        (|i| i["amount"] = json!("9999"), Reason::Eip2612Amount),
        (|i| i["deadline"] = json!((NOW + 5).to_string()), Reason::Eip2612Deadline),
        (|i| i["from"] = json!("payer"), Reason::Eip2612Format),
        (|i| i["nonce"] = json!("-1"), Reason::Eip2612Format),
        (|i| i["amount"] = json!(10_000), Reason::Eip2612Format),
        (|i| i["signature"] = json!("0x00"), Reason::Eip2612Format),
        (|i| i["version"] = json!("2"), Reason::Eip2612Format),
        (|i| *i = json!({"signature": "0x00"}), Reason::Eip2612Format),
    ];
    for (change, reason) in cases {
        assert_eq!(info(change).unwrap_err(), reason);
    }
    let call = |called| match called {
        crate::chain::SettlementCall::Permit(call) => call,
        other => panic!("{other:?}"),
    };
    let offered = call(info(|i| *i = json!({"description": "d", "version": "1"})).unwrap());
    assert_eq!(offered.sponsored, None, "the seller's offer of it, echoed");
    let taken = call(info(|_| ()).unwrap()).sponsored.unwrap();
    let taken = taken.permit().unwrap();
    assert_eq!((taken.value, taken.deadline), (U256::from(10_000), U256::from(NOW + 60)));
}

fn sponsored() -> Value {
    let (_, requirements) = recorded(Which::Exact);
    let terms = scheme::terms(&requirements).unwrap();
    let allowance = sponsor::Allowance {
        owner: key().address(),
        value: terms.value(),
        nonce: U256::ZERO,
        deadline: U256::from(NOW + 60),
    };
    let signature = key().sign(allowance.digest(&terms.domain)).unwrap();
    allowance.extension(terms.token, signature)
}

#[test]
fn a_nonce_of_permit2_is_not_one_of_the_token() {
    let (payload, requirements) = recorded(Which::Exact);
    let (_, permit) = scheme::claimed(&payload, &requirements).unwrap();
    let eip3009 = crate::settlement::ClaimKey { space: NonceSpace::Eip3009, ..permit };
    assert_ne!(permit.to_bytes(), eip3009.to_bytes());
    assert_ne!(permit.to_string(), eip3009.to_string());
    assert!(permit.to_string().ends_with("/permit2"));
    let mine = nonce([1; 32], [2; 32]);
    assert_ne!(mine, exact::nonce([1; 32], [2; 32]));
    assert_ne!(mine, nonce([2; 32], [1; 32]));
    // SHA-256("purser/permit2-nonce/1" 00 01*32 02*32): fixed for ever, stored payments depend on it
    assert_eq!(mine.to_string(), "0x0e0493e52198c05678ad9e2d02ba7e5d0acfdaa452a959e5f6eb9c09aee3daaa");
}

#[test]
fn the_recorded_payments_verify_and_recompute() {
    for which in [Which::Exact, Which::Upto] {
        let (payload, requirements) = recorded(which);
        let payment = answer(&payload, &requirements).unwrap();
        let Signed::Permit2(permit) = *payment.signed() else { panic!("a permit") };
        let ours = key().sign(permit.digest(payment.terms().network)).unwrap();
        assert_eq!(payload.payload["signature"], ours.to_text(), "deterministic signing agrees with eth-account");
        let written = serde_json::to_value(PermitWire::new(&permit, ours.to_text())).unwrap();
        assert_eq!(written, Value::Object(payload.payload.clone()), "and so does the form on the wire");
        let expected = payment.expected();
        assert_eq!(expected.value, U256::from(10_000));
        assert_eq!(
            U256::from(expected.valid_before),
            permit.deadline + U256::from(1),
            "Permit2 takes its deadline itself"
        );
        assert_eq!(expected.key.space, NonceSpace::Permit2);
        assert_eq!(expected.key.nonce, B256::from(permit.nonce));
        assert_eq!(scheme::claimed(&payload, &requirements).unwrap().1, payment.claim_key());
        let facilitator = match payment.terms().transfer {
            Transfer::Upto { facilitator } => Some(facilitator),
            Transfer::Permit2 | Transfer::Eip3009 | Transfer::Channel { .. } | Transfer::Escrow(_) => None,
        };
        assert_eq!(permit.witness.facilitator(), facilitator);
    }
    let (mut payload, mut requirements) = recorded(Which::Exact);
    for terms in [&mut payload.accepted, &mut requirements] {
        terms.extra = Some(serde_json::Map::from_iter([("assetTransferMethod".to_owned(), json!("permit2"))]));
    }
    assert!(answer(&payload, &requirements).is_ok(), "name and version are EIP-2612's and may be left out");
    let _ = upto::SCHEME;
}
