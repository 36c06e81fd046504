//! A bundle of payments by x402 under AP2 mandates (`bundleVersion`; `fixtures/x402/pulse`): chain, receipt, terms,
//! authorization and settlement must be one purchase. A consistent case must hold in every part, any other fail in one.

use std::collections::BTreeMap;

use mandates::json::Object;
use mandates::jws::Jws;
use mandates::keys::PublicKey;
use mandates::rejection::Rejection;
use mandates::{base64url, canonical, conformance};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x402::exact::{self, SCHEME, Terms};
use x402::network::{Asset, AssetTable, TransferMethod};
use x402::wire::{PaymentPayload, PaymentRequirements};

use super::{Line, Passed};

pub(super) fn run(bundle: &Value) -> Result<Vec<Line>, String> {
    let cases = bundle["cases"].as_array().ok_or("a bundle has an array `cases`; none is there")?;
    Ok(cases.iter().map(line).collect())
}

fn line(case: &Value) -> Line {
    let id = case["id"].as_str().unwrap_or("(no id)");
    let outcome = check(case);
    let expects = if case["expected"]["consistent"] == true { "valid" } else { "invalid" };
    let (came, why) = match &outcome {
        Ok(()) => ("valid", "-".to_owned()),
        Err(why) => ("invalid", why.clone()),
    };
    if came == expects {
        return Line { text: format!("ok {id} {came} {why}"), passed: Passed::Yes };
    }
    Line { text: format!("FAIL {id} expected {expects}, came {came} {why}"), passed: Passed::No }
}

/// In the order of the bundle: the mandate, its receipt, the terms, the payment, the settlement.
fn check(case: &Value) -> Result<(), String> {
    let (ap2, x402) = (&case["ap2"], &case["x402"]);
    let closed = &ap2["closedMandate"];
    chain(case)?;
    receipt(case)?;
    terms(closed, &x402["requirements"])?;
    let reference = text(&ap2["verification"]["closedMandateReference"]);
    payment(case, closed, reference)?;
    settlement(x402, &ap2["paymentReceipt"])
}

/// The chain verifies, and what stands beside it is what it says.
fn chain(case: &Value) -> Result<(), String> {
    let (ap2, verification) = (&case["ap2"], &case["ap2"]["verification"]);
    let evidence = &verification["cryptographicEvidence"];
    let token = text(&evidence["mandateChain"]);
    judged(&json!({
        "id": "chain", "kind": "payment_chain", "expect": "valid", "token": token,
        "root_jwk": evidence["trustedRootPublicJwk"], "now": case["nowEpochSeconds"],
        "clock_skew": verification["clockSkewSeconds"],
        "expected_aud": evidence["expectedAudience"], "expected_nonce": evidence["expectedNonce"],
        "context": {
            "family": "payment", "expected_open_checkout_hash": verification["openCheckoutReference"],
        },
    }))?;
    let disclosed = disclosed(token);
    for (name, hash) in [("openMandate", "openMandateClaimsHash"), ("closedMandate", "closedMandateClaimsHash")] {
        if !disclosed.values().any(|value| resolved(value, &disclosed) == ap2[name]) {
            return Err(format!("{name}_mismatch"));
        }
        let claims = ap2[name].as_object().ok_or_else(|| format!("{name}_missing"))?;
        same(&format!("{hash}_mismatch"), &digest_of(claims)?, text(&verification[hash]))?;
    }
    // The reference names the holder's own token: what stands between the last `~~` and its disclosures.
    let leaf = token.rsplit("~~").next().and_then(|leaf| leaf.split('~').next()).unwrap_or_default();
    same("mandate_reference_mismatch", &digest(leaf.as_bytes()), text(&verification["closedMandateReference"]))
}

/// The receipt is signed and says that this mandate was paid. It is read here and not as a receipt of AP2 v0.2 because the
/// bundle's have `error: null`, which the specification leaves out and our verifier refuses.
fn receipt(case: &Value) -> Result<(), String> {
    let (ap2, verification) = (&case["ap2"], &case["ap2"]["verification"]);
    let evidence = &verification["cryptographicEvidence"];
    let refused = |refused: Rejection| refused.code().to_owned();
    let jwk = evidence["trustedReceiptPublicJwk"].as_object().ok_or("receipt_key_missing")?;
    let key = PublicKey::from_jwk(jwk).map_err(refused)?;
    let jws = Jws::parse(text(&evidence["paymentReceiptJwt"])).map_err(refused)?;
    jws.check_header().and_then(|()| jws.verify(&key)).map_err(refused)?;
    let said = &ap2["paymentReceipt"];
    if said.as_object() != Some(&jws.payload().to_object()) {
        return Err("receipt_mismatch".to_owned());
    }
    same("receipt_not_successful", text(&said["status"]), "Success")?;
    same("receipt_reference_mismatch", text(&said["reference"]), text(&verification["closedMandateReference"]))
}

/// The terms in the signed mandate are the terms that were asked for.
fn terms(closed: &Value, requirements: &Value) -> Result<(), String> {
    let signed = &closed["payment_instrument"]["x402"];
    for name in ["scheme", "network", "amount"] {
        same(&format!("{name}_mismatch"), text(&signed[name]), text(&requirements[name]))?;
    }
    for name in ["asset", "payTo"] {
        let lower = |value: &Value| text(value).to_ascii_lowercase();
        same(&format!("{name}_mismatch"), &lower(&signed[name]), &lower(&requirements[name]))?;
    }
    let extra = &requirements["extra"];
    let pairs = [
        ("timeout_mismatch", &signed["maxTimeoutSeconds"], &requirements["maxTimeoutSeconds"]),
        ("domain_mismatch", &signed["eip712Domain"]["name"], &extra["name"]),
        ("domain_mismatch", &signed["eip712Domain"]["version"], &extra["version"]),
        ("payee_mismatch", &signed["ap2PayeeId"], &closed["payee"]["id"]),
        ("payment_amount_mismatch", &signed["ap2PaymentAmount"], &closed["payment_amount"]),
    ];
    pairs.into_iter().try_for_each(|(code, one, other)| if one == other { Ok(()) } else { Err(code.to_owned()) })
}

/// The authorization is good for the terms, by the payer of the mandate, bound to the mandate and within its time.
fn payment(case: &Value, closed: &Value, reference: &str) -> Result<(), String> {
    let unreadable = |error: serde_json::Error| error.to_string();
    let requirements: PaymentRequirements =
        serde_json::from_value(case["x402"]["requirements"].clone()).map_err(unreadable)?;
    let payload: PaymentPayload = serde_json::from_value(case["x402"]["payload"].clone()).map_err(unreadable)?;
    let now = case["nowEpochSeconds"].as_u64().unwrap_or_default();
    let verified = exact::verify(&payload, &requirements, &assets(&requirements)?, now)
        .map_err(|refusal| refusal.code().to_owned())?;
    let extra = requirements.extra.as_ref();
    let named = extra.and_then(|extra| extra.get("ap2MandateReference")).map(text).unwrap_or_default();
    same("mandate_reference_mismatch", named, reference)?;
    let (authorization, _) = exact::read_payload(&payload).map_err(|refusal| refusal.code().to_owned())?;
    let bound = base64url::decode(reference).unwrap_or_default();
    same("nonce_binding_mismatch", &hex::encode(authorization.nonce), &hex::encode(bound))?;
    let payer = format!("{:#x}", verified.payer());
    let signed = &closed["payment_instrument"]["x402"];
    same("payer_mismatch", &payer, &text(&signed["payer"]).to_ascii_lowercase())?;
    let expires = closed["exp"].as_u64().unwrap_or_default();
    if verified.expected().valid_before > expires {
        return Err("validity_exceeds_mandate".to_owned());
    }
    Ok(())
}

fn settlement(x402: &Value, receipt: &Value) -> Result<(), String> {
    let settled = &x402["settlement"];
    if settled["success"] != true {
        return Err("settlement_failed".to_owned());
    }
    let from = text(&x402["payload"]["payload"]["authorization"]["from"]).to_ascii_lowercase();
    same("settlement_payer_mismatch", &text(&settled["payer"]).to_ascii_lowercase(), &from)?;
    same("settlement_network_mismatch", text(&settled["network"]), text(&x402["requirements"]["network"]))?;
    same("receipt_transaction_mismatch", text(&receipt["network_confirmation_id"]), text(&settled["transaction"]))
}

/// The bundle's tokens are synthetic: each is taken as its own terms state it.
fn assets(requirements: &PaymentRequirements) -> Result<AssetTable, String> {
    let stated = PaymentRequirements { scheme: SCHEME.to_owned(), ..requirements.clone() };
    let terms = Terms::read(&stated).map_err(|refusal| refusal.code().to_owned())?;
    let mut table = AssetTable::trusted();
    let asset = Asset {
        network: terms.network,
        address: terms.token,
        name: terms.domain.name,
        version: terms.domain.version,
        decimals: 6,
        transfer: TransferMethod::Eip3009,
    };
    table.add(asset).map_err(|error| error.code().to_owned())?;
    Ok(table)
}

/// What a chain discloses, by the digest that names it.
fn disclosed(token: &str) -> BTreeMap<String, Value> {
    let parts = token.split('~').filter(|part| !part.is_empty() && !part.contains('.'));
    let values = parts.filter_map(|part| {
        let disclosure: Vec<Value> = serde_json::from_slice(&base64url::decode(part)?).ok()?;
        Some((digest(part.as_bytes()), disclosure.into_iter().next_back()?))
    });
    values.collect()
}

/// With every element that is named by its digest in its place. A digest cannot lie within itself, so this ends.
fn resolved(value: &Value, disclosed: &BTreeMap<String, Value>) -> Value {
    match value {
        Value::Object(members) => match members.get("...").and_then(Value::as_str).and_then(|name| disclosed.get(name))
        {
            Some(found) => resolved(found, disclosed),
            None => members.iter().map(|(name, value)| (name.clone(), resolved(value, disclosed))).collect(),
        },
        Value::Array(entries) => entries.iter().map(|entry| resolved(entry, disclosed)).collect(),
        other => other.clone(),
    }
}

fn judged(case: &Value) -> Result<(), String> {
    let result = conformance::run(case).map_err(|error| error.to_string())?;
    if result.has_passed() { Ok(()) } else { Err(result.code.unwrap_or("refused").to_owned()) }
}

fn same(code: &str, one: &str, other: &str) -> Result<(), String> {
    if one == other { Ok(()) } else { Err(code.to_owned()) }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn digest(bytes: &[u8]) -> String {
    base64url::encode(&Sha256::digest(bytes))
}

fn digest_of(claims: &Object) -> Result<String, String> {
    let canonical = canonical::canonical_object(claims).map_err(|refused| refused.code().to_owned())?;
    Ok(digest(canonical.as_bytes()))
}
