//! What is refused, and by which name.

use super::*;

const OTHER: &str = "0x000000000000000000000000000000000000dEaD";

/// The recorded message with one value replaced (`null`: left out).
fn with(kind: &str, pointer: &str, value: Value) -> PaymentPayload {
    let mut json = fixture::channels()[kind].clone();
    match (value, pointer.rsplit_once('/')) {
        (Value::Null, Some((parent, name))) => {
            json.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        }
        (value, Some((parent, name))) => {
            let parent = json.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
            match parent {
                Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
                parent => parent[name] = value,
            }
        }
        (_, None) => panic!("no {pointer}"),
    }
    serde_json::from_value(json).unwrap()
}

fn answer(kind: &str, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<(), Refusal> {
    match kind {
        "deposit" => match scheme::check(payload, requirements, &table(), NOW)? {
            Checked::ByKey(_) => Ok(()),
            Checked::ByWallet(unproved) => Err(unproved.into_refusal()),
        },
        "voucher" | "refund" => check_voucher(payload, requirements, &table()).map(|_| ()),
        _ => Message::read(&payload.payload).map(|_| ()),
    }
}

fn refused(kind: &str, pointer: &str, value: Value, expected: Reason) {
    let shown = value.to_string();
    let refusal = answer(kind, &with(kind, pointer, value), &requirements()).unwrap_err();
    assert_eq!(spelled(refusal.reason), expected, "{kind}{pointer} = {shown}: {refusal}");
}

#[test]
fn a_payload_without_its_parts_is_refused() {
    for (kind, reason) in [
        ("deposit", Reason::BatchDepositPayload),
        ("voucher", Reason::BatchVoucherPayload),
        ("refund", Reason::BatchRefundPayload),
        ("completed_refund", Reason::BatchRefundPayload),
    ] {
        for part in ["channelConfig", "voucher"] {
            refused(kind, &format!("/payload/{part}"), Value::Null, reason);
            refused(kind, &format!("/payload/{part}"), json!("x"), reason);
        }
        let of_channel =
            ["payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token", "withdrawDelay", "salt"];
        for name in of_channel {
            refused(kind, &format!("/payload/channelConfig/{name}"), Value::Null, reason);
            refused(kind, &format!("/payload/channelConfig/{name}"), json!("0x12"), reason);
        }
        for name in ["maxClaimableAmount", "signature", "channelId"] {
            refused(kind, &format!("/payload/voucher/{name}"), Value::Null, reason);
        }
    }
    for name in ["amount", "authorization"] {
        refused("deposit", &format!("/payload/deposit/{name}"), Value::Null, Reason::BatchDepositPayload);
    }
    for name in ["validAfter", "validBefore", "salt", "signature"] {
        let pointer = format!("/payload/deposit/authorization/erc3009Authorization/{name}");
        refused("deposit", &pointer, Value::Null, Reason::BatchDepositPayload);
    }
    refused("claim", "/payload/claims", Value::Null, Reason::BatchClaimPayload);
    refused("claim", "/payload/claims", json!([]), Reason::BatchClaimPayload);
    for name in ["voucher", "signature", "totalClaimed"] {
        refused("claim", &format!("/payload/claims/0/{name}"), Value::Null, Reason::BatchClaimPayload);
        refused("completed_refund", &format!("/payload/claims/0/{name}"), Value::Null, Reason::BatchRefundPayload);
    }
    for name in ["receiver", "token"] {
        for value in [Value::Null, json!("0x"), json!(1), json!(format!("0x{}", "00".repeat(20)))] {
            refused("settle", &format!("/payload/{name}"), value, Reason::BatchSettlePayload);
        }
    }
    refused("completed_refund", "/payload/amount", Value::Null, Reason::BatchRefundPayload);
    for kind in ["deposit", "voucher", "refund", "claim", "settle"] {
        for value in [Value::Null, json!("x"), json!(7), json!("Deposit")] {
            refused(kind, "/payload/type", value, Reason::BatchPayloadType);
        }
    }
}

#[test]
fn amounts_have_one_spelling() {
    let wrong = ["", " 1", "+1", "01", "1e3", "0x10", "1_0", "-1", "340282366920938463463374607431768211456"];
    for text in wrong {
        refused("deposit", "/payload/deposit/amount", json!(text), Reason::BatchDepositPayload);
        refused("deposit", "/payload/voucher/maxClaimableAmount", json!(text), Reason::BatchDepositPayload);
        refused("voucher", "/payload/voucher/maxClaimableAmount", json!(text), Reason::BatchVoucherPayload);
        refused("refund", "/payload/voucher/maxClaimableAmount", json!(text), Reason::BatchRefundPayload);
        refused("refund", "/payload/amount", json!(text), Reason::BatchRefundAmount);
        refused("completed_refund", "/payload/amount", json!(text), Reason::BatchRefundAmount);
        refused("claim", "/payload/claims/0/totalClaimed", json!(text), Reason::BatchClaimPayload);
    }
    refused("deposit", "/payload/deposit/amount", json!("0"), Reason::BatchDepositPayload);
    refused("refund", "/payload/amount", json!("0"), Reason::BatchRefundAmount);
    refused("refund", "/payload/amount", json!(500), Reason::BatchRefundAmount);
    refused("completed_refund", "/payload/amount", json!("0"), Reason::BatchRefundAmount);
    refused("completed_refund", "/payload/refundNonce", json!("-1"), Reason::BatchRefundPayload);
    refused("claim", "/payload/claims/0/totalClaimed", json!("2001"), Reason::BatchClaimPayload);
    let claim = fixture::channels()["claim"]["payload"]["claims"][0].clone();
    let many = Value::Array(vec![claim; CLAIMS_MAX + 1]);
    refused("claim", "/payload/claims", many.clone(), Reason::BatchClaimPayload);
    refused("completed_refund", "/payload/claims", many, Reason::BatchRefundPayload);
}

#[test]
fn a_channel_is_the_one_that_is_named_and_asked_for() {
    for kind in ["deposit", "voucher", "refund"] {
        for value in [json!("0x12"), json!(""), json!(format!("0x{}", "zz".repeat(32)))] {
            refused(kind, "/payload/voucher/channelId", value, Reason::BatchChannelIdInvalid);
        }
        let other = json!(format!("0x{}", "11".repeat(32)));
        refused(kind, "/payload/voucher/channelId", other.clone(), Reason::BatchChannelIdMismatch);
        refused(kind, "/payload/channelConfig/salt", other, Reason::BatchChannelIdMismatch);
        for name in ["payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token"] {
            let pointer = format!("/payload/channelConfig/{name}");
            refused(kind, &pointer, json!(OTHER), Reason::BatchChannelIdMismatch);
        }
        refused(kind, "/payload/channelConfig/withdrawDelay", json!(901), Reason::BatchChannelIdMismatch);
        let huge = json!(1_u64 << 40);
        refused(kind, "/payload/channelConfig/withdrawDelay", huge, Reason::BatchWithdrawDelayOutOfRange);
    }
}

/// The same message, and other terms.
fn asked(kind: &str, name: &str, value: Value) -> Reason {
    let mut json = serde_json::to_value(requirements()).unwrap();
    match json.pointer_mut(name) {
        Some(place) => *place = value,
        None => json["extra"][name.trim_start_matches("/extra/")] = value,
    }
    let requirements = serde_json::from_value(json).unwrap();
    spelled(answer(kind, &payload(kind), &requirements).unwrap_err().reason)
}

#[test]
fn terms_that_the_payer_did_not_sign_are_refused() {
    for kind in ["deposit", "voucher", "refund"] {
        assert_eq!(asked(kind, "/network", json!("eip155:1")), Reason::BatchNetworkMismatch);
        assert_eq!(asked(kind, "/payTo", json!(OTHER)), Reason::BatchReceiverMismatch);
        let authorizer = |value| asked(kind, "/extra/receiverAuthorizer", value);
        assert_eq!(authorizer(json!(OTHER)), Reason::BatchReceiverAuthorizerMismatch);
        assert_eq!(authorizer(Value::Null), Reason::BatchReceiverAuthorizerMismatch);
        assert_eq!(authorizer(json!(7)), Reason::BatchReceiverAuthorizerMismatch);
        let delay = |value| asked(kind, "/extra/withdrawDelay", value);
        assert_eq!(delay(json!(1800)), Reason::BatchWithdrawDelayMismatch);
        assert_eq!(delay(Value::Null), Reason::BatchWithdrawDelayMismatch);
        assert_eq!(delay(json!("900")), Reason::BatchWithdrawDelayMismatch);
        assert_eq!(asked(kind, "/extra/assetTransferMethod", json!("permit2")), Reason::BatchErc3009Required);
        assert_eq!(asked(kind, "/extra/name", Value::Null), Reason::BatchMissingDomain);
        assert_eq!(asked(kind, "/extra/name", json!("Other")), Reason::TokenNameMismatch);
        assert_eq!(asked(kind, "/asset", json!(OTHER)), Reason::AssetUnknown);
        assert_eq!(asked(kind, "/amount", json!("999")), Reason::AcceptedRequirementsMismatch);
        refused(kind, "/accepted/amount", json!("1"), Reason::AcceptedRequirementsMismatch);
        refused(kind, "/accepted/scheme", json!("exact"), Reason::BatchScheme);
        refused(kind, "/accepted/network", json!("eip155:1"), Reason::BatchNetworkMismatch);
        refused(kind, "/x402Version", json!(1), Reason::InvalidX402Version);
    }
    let mut table = table();
    let other: alloy_primitives::Address = OTHER.parse().unwrap();
    let asset = Asset {
        network: network(),
        address: other,
        name: "USD Coin".into(),
        version: "2".into(),
        decimals: 6,
        transfer: TransferMethod::Eip3009,
    };
    table.add(asset).unwrap();
    let required = PaymentRequirements { asset: OTHER.into(), ..requirements() };
    let refusal = check_voucher(&payload("voucher"), &required, &table).unwrap_err();
    assert_eq!(refusal.reason, Reason::BatchTokenMismatch);
}

/// A channel of these parameters, its voucher signed by its own key, under terms that ask for it.
fn resigned(change: impl Fn(&mut Value)) -> (PaymentPayload, PaymentRequirements) {
    let mut json = fixture::channels()["voucher"].clone();
    change(&mut json["payload"]["channelConfig"]);
    let mut required = requirements();
    required
        .extra
        .as_mut()
        .unwrap()
        .insert("withdrawDelay".into(), json["payload"]["channelConfig"]["withdrawDelay"].clone());
    json["accepted"] = serde_json::to_value(&required).unwrap();
    let Message::Voucher(voucher) = Message::read(json["payload"].as_object().unwrap()).unwrap() else { panic!() };
    let id = voucher.channel.id(network());
    let signer = if voucher.channel.payer_authorizer.is_zero() { "payer" } else { "payerAuthorizer" };
    let signature = key(signer).sign(voucher_digest(network(), id, voucher.max_claimable)).unwrap();
    json["payload"]["voucher"]["channelId"] = json!(format!("{id:#x}"));
    json["payload"]["voucher"]["signature"] = json!(signature.to_text());
    (serde_json::from_value(json).unwrap(), required)
}

#[test]
fn a_payer_waits_neither_too_short_nor_too_long() {
    for (delay, expected) in [
        (0, Some(Reason::BatchWithdrawDelayOutOfRange)),
        (899, Some(Reason::BatchWithdrawDelayOutOfRange)),
        (2_592_001, Some(Reason::BatchWithdrawDelayOutOfRange)),
        (900, None),
        (2_592_000, None),
    ] {
        let (payload, required) = resigned(|channel| channel["withdrawDelay"] = json!(delay));
        let found = check_voucher(&payload, &required, &table()).err().map(|refusal| refusal.reason);
        assert_eq!(found, expected, "{delay}");
    }
}

#[test]
fn a_signature_is_that_of_whoever_the_channel_names() {
    for kind in ["deposit", "voucher", "refund"] {
        let theirs = text("/claim/payload/claimAuthorizerSignature");
        for value in [json!("0x"), json!("x"), json!(theirs), json!(format!("0x{}", "00".repeat(65)))] {
            refused(kind, "/payload/voucher/signature", value, Reason::BatchVoucherSignature);
        }
        refused(kind, "/payload/voucher/maxClaimableAmount", json!("2001"), Reason::BatchVoucherSignature);
    }
    let pointer = "/payload/deposit/authorization/erc3009Authorization";
    let voucher = json!(text("/voucher/payload/voucher/signature"));
    refused("deposit", &format!("{pointer}/signature"), voucher, Reason::BatchReceiveSignature);
    refused("deposit", &format!("{pointer}/signature"), json!("0x12"), Reason::BatchReceiveSignature);
    refused(
        "deposit",
        &format!("{pointer}/salt"),
        json!(format!("0x{}", "11".repeat(32))),
        Reason::BatchReceiveSignature,
    );
    refused("deposit", "/payload/deposit/amount", json!("10001"), Reason::BatchReceiveSignature);
    refused("deposit", &format!("{pointer}/validAfter"), json!("1"), Reason::BatchReceiveSignature);
}

#[test]
fn a_deposit_has_a_window_and_one_way_to_move() {
    let at = |name: &str| format!("/payload/deposit/authorization/erc3009Authorization/{name}");
    for until in [NOW + 5, NOW, 0, NOW + 361, u64::MAX] {
        refused("deposit", &at("validBefore"), json!(until.to_string()), Reason::BatchValidBefore);
    }
    refused("deposit", &at("validAfter"), json!((NOW + 1).to_string()), Reason::BatchValidAfter);
    let pointer = "/payload/deposit/authorization";
    refused("deposit", pointer, json!({}), Reason::BatchErc3009Required);
    refused("deposit", pointer, json!({ "permit2Authorization": {} }), Reason::BatchErc3009Required);
    let both = json!({
        "erc3009Authorization": fixture::channels().pointer(&format!("/deposit{pointer}/erc3009Authorization")).unwrap(),
        "permit2Authorization": {},
    });
    refused("deposit", pointer, both, Reason::BatchErc3009Required);
}

#[test]
fn where_no_key_is_named_the_payer_answers() {
    use crate::chain::WalletAnswer;
    let zero = format!("0x{}", "00".repeat(20));
    let (payload, required) = resigned(|channel| channel["payerAuthorizer"] = json!(zero));
    let bound = check_voucher(&payload, &required, &table()).unwrap();
    let prove = |bound: &Bound, node: fixture::Node| now_or_never(bound.prove(&node)).err().map(|error| error.reason());
    let good = fixture::Node::good();
    let contract = |wallet| fixture::Node { payer_code: &[1], wallet, ..fixture::Node::good() };
    assert_eq!(prove(&bound, fixture::Node { down: true, ..good.clone() }), Some(Reason::UnexpectedVerifyError));
    assert_eq!(prove(&bound, contract(WalletAnswer::Refused)), Some(Reason::BatchVoucherSignature));
    assert_eq!(prove(&bound, contract(WalletAnswer::NotMade)), Some(Reason::BatchVoucherSignature));
    let mut forged = bound.clone();
    forged.voucher.max_claimable = amount(2001);
    assert_eq!(prove(&forged, good.clone()), Some(Reason::BatchVoucherSignature));
    assert_eq!(prove(&bound, good), None);
    assert_eq!(prove(&bound, contract(WalletAnswer::Signed)), None);
}
