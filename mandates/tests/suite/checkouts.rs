//! A merchant's signature over a UCP checkout.

use mandates::cart;
use mandates::clock::Clock;
use mandates::digest::HashAlgorithm;
use mandates::json::Object;
use mandates::rejection::Code;
use mandates::ucp;
use serde_json::{Value, json};

use crate::cast::{NOW, agent, cart_claims, key, keys, merchant_key};

fn signed_checkout() -> Value {
    let mut checkout = cart_claims(1999);
    checkout.insert("ap2".to_owned(), json!({"added": 1}));
    let unsigned = ucp::unsigned(&checkout, &merchant_key().key_id()).unwrap();
    let signature = merchant_key().sign(unsigned.signing_input()).unwrap();
    Value::Object(unsigned.finish(signature).unwrap())
}

fn judge(checkout: &str) -> Result<ucp::SignedCheckout, Code> {
    ucp::verify(checkout.as_bytes(), &keys(&merchant_key())).map_err(|refused| refused.code)
}

#[test]
fn a_signed_checkout_verifies_and_is_a_checkout_jwt() {
    let checkout = signed_checkout();
    assert_eq!(checkout["ap2"]["added"], 1);
    let verified = judge(&checkout.to_string()).unwrap();
    assert_eq!(Value::Object(verified.checkout.clone()), Value::Object(cart_claims(1999)));
    let clock = Clock { now_seconds: NOW, skew_seconds: 0 };
    let cart = cart::verify(&verified.checkout_jwt, &keys(&merchant_key()), &clock).unwrap();
    assert_eq!(cart.total.get(), 1999);
    let hash = verified.hash(HashAlgorithm::Sha256);
    assert_eq!(hash, cart::hash(&verified.checkout_jwt, HashAlgorithm::Sha256));
    let spaced = serde_json::to_string_pretty(&checkout).unwrap();
    assert_eq!(judge(&spaced).unwrap(), verified, "spelling of the JSON is nothing");
}

#[test]
fn what_the_merchant_did_not_sign_is_refused() {
    let set = |pointer: &str, value: Value| {
        let mut checkout = signed_checkout();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        checkout.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        judge(&checkout.to_string()).map(|_| ())
    };
    let authorization = signed_checkout()["ap2"]["merchant_authorization"].as_str().unwrap().to_owned();
    let (header, signature) = authorization.split_once("..").unwrap();
    let other = |header: Value| format!("{}..{signature}", mandates::base64url::encode(header.to_string().as_bytes()));
    for (pointer, value, code) in [
        ("/currency", json!("EUR"), Code::SignatureInvalid),
        ("/added", json!(1), Code::SignatureInvalid),
        ("/added", json!(null), Code::SignatureInvalid),
        ("/added", serde_json::from_str("0.123456789012345678").unwrap(), Code::NumberNotCanonical),
        ("/ap2", json!({}), Code::MerchantAuthorizationMissing),
        ("/ap2", json!("x"), Code::Schema),
        ("/ap2/merchant_authorization", json!(1), Code::MerchantAuthorizationMissing),
        ("/ap2/merchant_authorization", json!(""), Code::MerchantAuthorizationMissing),
        ("/ap2/merchant_authorization", json!(format!("{header}.{signature}")), Code::MalformedJwt),
        ("/ap2/merchant_authorization", json!(format!("{header}.e30.{signature}")), Code::MalformedJwt),
        ("/ap2/merchant_authorization", json!(format!("{authorization}.")), Code::MalformedJwt),
        ("/ap2/merchant_authorization", json!(format!("{header}..")), Code::SignatureLength),
        ("/ap2/merchant_authorization", json!(other(json!({"alg": "none", "kid": "merchant"}))), Code::AlgNotAllowed),
        ("/ap2/merchant_authorization", json!(other(json!({"alg": "ES256"}))), Code::MerchantKeyUnknown),
        ("/ap2/merchant_authorization", json!(other(json!({"alg": "ES256", "kid": "x"}))), Code::MerchantKeyUnknown),
        (
            "/ap2/merchant_authorization",
            json!(other(json!({"alg": "ES256", "kid": "merchant", "b64": false, "crit": ["b64"]}))),
            Code::HeaderNotAllowed,
        ),
    ] {
        assert_eq!(set(pointer, value.clone()), Err(code), "{pointer} {value}");
    }
    let twice = signed_checkout().to_string().replacen('{', r#"{"id":"chk_0","#, 1);
    assert_eq!(judge(&twice), Err(Code::DuplicateJsonKey));
    let unsigned = ucp::unsigned(&cart_claims(1999), &merchant_key().key_id()).unwrap();
    let forged = unsigned.clone().finish(key("merchant", 9).sign(unsigned.signing_input()).unwrap()).unwrap();
    assert_eq!(judge(&Value::Object(forged).to_string()), Err(Code::SignatureInvalid));
    let unknown = ucp::verify(signed_checkout().to_string().as_bytes(), &keys(&agent()));
    assert_eq!(unknown.unwrap_err().code, Code::MerchantKeyUnknown);
    let extension = Object::from_iter([("ap2".to_owned(), json!([]))]);
    assert_eq!(ucp::unsigned(&extension, &merchant_key().key_id()).unwrap_err().code, Code::Schema);
}
