//! Mandates as W3C Verifiable Credentials: what is issued verifies; what another issuer, type, time or shape brings does
//! not.

use mandates::clock::Clock;
use mandates::keys::LocalKey;
use mandates::mandate::Mandate;
use mandates::party::Instant;
use mandates::rejection::Code;
use mandates::v0_1::cart::CartContents;
use mandates::v0_1::intent::IntentMandate;
use mandates::v0_1::payment::PaymentMandateContents;
use mandates::vc::{self, Audience, Content, Context, Credential, Issuer, Kind, Terms};
use serde_json::{Value, json};

use crate::cast::*;

const SHOP: &str = "https://shop.example";

fn instant(text: &str) -> Instant {
    Instant::parse("validFrom", text).unwrap()
}

fn terms() -> Terms {
    Terms {
        id: "urn:uuid:5f1c1f2e-0000-4000-8000-000000000001".to_owned(),
        issuer: SHOP.to_owned(),
        subject: Some("did:example:ada".to_owned()),
        valid_from: instant("2027-01-15T07:59:00Z"),
        valid_until: instant("2027-01-15T08:10:00Z"),
    }
}

fn contents() -> [Content; 4] {
    let intent = json!({"natural_language_description": "shoes", "intent_expiry": "2027-01-16T00:00:00Z"});
    let total = json!({"label": "Total", "amount": {"currency": "USD", "value": 19.99}});
    let cart = json!({"id": "c", "user_cart_confirmation_required": true, "merchant_name": "The shop",
        "cart_expiry": "2027-01-16T00:00:00Z", "payment_request": {"method_data": [{"supported_methods": "CARD"}],
        "details": {"id": "o", "display_items": [], "total": total}}});
    let payment = json!({"payment_mandate_id": "p", "payment_details_id": "o", "payment_details_total": total,
        "payment_response": {"request_id": "o", "method_name": "CARD"}, "merchant_agent": "The shop"});
    [
        Content::Intent(IntentMandate::parse(intent.to_string().as_bytes()).unwrap()),
        Content::Cart(CartContents::parse(cart.to_string().as_bytes()).unwrap()),
        Content::Payment(PaymentMandateContents::parse(payment.to_string().as_bytes()).unwrap()),
        Content::Versioned(open_payment(&agent(), vec![up_to(2000), payees(&[shop()])])),
    ]
}

fn issued(content: Content) -> String {
    let credential = Credential { terms: terms(), content };
    signed(vc::unsigned(&credential, &merchant_key().key_id()).unwrap(), &merchant_key())
}

fn judge(token: &str, kind: Kind) -> Result<Credential, Code> {
    let (keys, others) = (keys(&merchant_key()), keys(&provider()));
    let issuers = [Issuer { id: SHOP, keys: &keys }, Issuer { id: "https://other.example", keys: &others }];
    let clock = Clock { now_seconds: NOW, skew_seconds: 0 };
    let context = Context { clock, issuers: &issuers, kind, audience: Audience::Among(AUDIENCE) };
    vc::verify(token, &context).map_err(|refused| refused.code)
}

fn jwt(header: &Value, claims: &Value, signer: &LocalKey) -> String {
    let part = |value: &Value| mandates::base64url::encode(value.to_string().as_bytes());
    let input = format!("{}.{}", part(header), part(claims));
    format!("{input}.{}", mandates::base64url::encode(&signer.sign(input.as_bytes()).unwrap()))
}

fn parts() -> (Value, Value) {
    let [_, cart, ..] = contents();
    let token = issued(cart);
    let part = |at| mandates::base64url::decode(token.split('.').nth(at).unwrap()).unwrap();
    (serde_json::from_slice(&part(0)).unwrap(), serde_json::from_slice(&part(1)).unwrap())
}

fn set(mut object: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    object
}

#[test]
fn each_mandate_goes_out_and_comes_back() {
    for content in contents() {
        let kind = content.kind();
        let verified = judge(&issued(content.clone()), kind).unwrap();
        assert_eq!(verified, Credential { terms: terms(), content });
        for other in [Kind::Intent, Kind::Cart, Kind::Payment, Kind::Versioned] {
            if other != kind {
                assert_eq!(judge(&issued(verified.content.clone()), other).err(), Some(Code::CredentialTypeWrong));
            }
        }
    }
    let Content::Versioned(Mandate::Open(open)) = &contents()[3] else { panic!("an open mandate") };
    assert_eq!(open.holder, *agent().public());
}

#[test]
fn a_credential_of_another_shape_is_refused() {
    let (header, claims) = parts();
    for (pointer, value, code) in [
        ("/@context", None, Code::VcMalformed),
        ("/@context", Some(json!("https://www.w3.org/ns/credentials/v2")), Code::VcMalformed),
        ("/@context", Some(json!(["https://www.w3.org/2018/credentials/v1"])), Code::VcMalformed),
        ("/type", Some(json!("VerifiableCredential")), Code::CredentialTypeWrong),
        ("/type", Some(json!(["VerifiableCredential"])), Code::CredentialTypeWrong),
        ("/type", Some(json!(["CartMandate"])), Code::CredentialTypeWrong),
        ("/type", Some(json!(["VerifiableCredential", "CartMandate", "IntentMandate"])), Code::CredentialTypeWrong),
        ("/id", None, Code::VcMalformed),
        ("/id", Some(json!("no url")), Code::VcMalformed),
        ("/issuer", None, Code::VcMalformed),
        ("/issuer", Some(json!({"name": "shop"})), Code::VcMalformed),
        ("/issuer", Some(json!("https://nobody.example")), Code::IssuerUnknown),
        ("/issuer", Some(json!("https://other.example")), Code::UnknownKid),
        ("/iss", Some(json!("https://other.example")), Code::VcMalformed),
        ("/jti", Some(json!("urn:uuid:2")), Code::VcMalformed),
        ("/sub", Some(json!("did:example:bob")), Code::VcMalformed),
        ("/aud", Some(json!("another")), Code::AudMismatch),
        ("/aud", Some(json!(["another", 1])), Code::AudMismatch),
        ("/aud", Some(json!({})), Code::AudMismatch),
        ("/vc", Some(json!({})), Code::VcMalformed),
        ("/vp", Some(json!({})), Code::VcMalformed),
        ("/validFrom", None, Code::VcMalformed),
        ("/validUntil", None, Code::VcMalformed),
        ("/validUntil", Some(json!("2027-01-15T08:00:00")), Code::VcMalformed),
        ("/validUntil", Some(json!("2027-01-15T08:00:00Z")), Code::Expired),
        ("/validFrom", Some(json!("2027-01-15T08:00:01Z")), Code::NotYetValid),
        ("/exp", Some(json!(NOW)), Code::Expired),
        ("/nbf", Some(json!(NOW + 1)), Code::NotYetValid),
        ("/iat", Some(json!(NOW + 1)), Code::IssuedInFuture),
        ("/credentialStatus", Some(json!({"type": "BitstringStatusListEntry"})), Code::VcStatusNotBuilt),
        ("/status", Some(json!({"status_list": {"idx": 0, "uri": "https://i.example/1"}})), Code::VcStatusNotBuilt),
        ("/credentialSubject", Some(json!([])), Code::VcMalformed),
        ("/credentialSubject/id", Some(json!(1)), Code::VcMalformed),
        ("/credentialSubject/mandate", None, Code::Schema),
        ("/credentialSubject/mandate/cart_expiry", None, Code::Schema),
    ] {
        let token = jwt(&header, &set(claims.clone(), pointer, value.clone()), &merchant_key());
        assert_eq!(judge(&token, Kind::Cart).err(), Some(code), "{pointer} {value:?}");
    }
    for (pointer, value, code) in [
        ("/alg", Some(json!("none")), Code::AlgNotAllowed),
        ("/alg", Some(json!("ES384")), Code::AlgNotAllowed),
        ("/typ", None, Code::TypWrong),
        ("/typ", Some(json!("JWT")), Code::TypWrong),
        ("/typ", Some(json!("vp+jwt")), Code::TypWrong),
        ("/cty", Some(json!("vp")), Code::TypWrong),
        ("/kid", None, Code::UnknownKid),
        ("/kid", Some(json!("provider")), Code::UnknownKid),
        ("/crit", Some(json!(["exp"])), Code::HeaderNotAllowed),
    ] {
        let token = jwt(&set(header.clone(), pointer, value.clone()), &claims, &merchant_key());
        assert_eq!(judge(&token, Kind::Cart).err(), Some(code), "{pointer} {value:?}");
    }
    assert_eq!(judge(&jwt(&header, &claims, &key("merchant", 9)), Kind::Cart).err(), Some(Code::SignatureInvalid));
}

#[test]
fn what_others_may_spell_differently_is_taken() {
    let (header, claims) = parts();
    for (pointer, value) in [
        ("/issuer", Some(json!({"id": SHOP, "name": "The shop"}))),
        ("/iss", None),
        ("/jti", Some(json!(terms().id))),
        ("/sub", Some(json!("did:example:ada"))),
        ("/aud", Some(json!(["another", AUDIENCE]))),
        ("/type", Some(json!(["VerifiableCredential", "CartMandate", "SomethingElse"]))),
    ] {
        let token = jwt(&header, &set(claims.clone(), pointer, value.clone()), &merchant_key());
        assert_eq!(judge(&token, Kind::Cart).map(|_| ()), Ok(()), "{pointer} {value:?}");
    }
    let spelled = set(header, "/typ", Some(json!("application/vc+JWT")));
    assert_eq!(judge(&jwt(&spelled, &claims, &merchant_key()), Kind::Cart).map(|_| ()), Ok(()));
}

#[test]
fn what_could_not_be_verified_is_not_issued() {
    let [intent, ..] = contents();
    let code = |terms: Terms| {
        let credential = Credential { terms, content: intent.clone() };
        vc::unsigned(&credential, &merchant_key().key_id()).map_err(|refused| refused.code)
    };
    assert_eq!(code(Terms { valid_until: terms().valid_from, ..terms() }), Err(Code::VcMalformed));
    assert_eq!(code(Terms { id: "1".to_owned(), ..terms() }), Err(Code::VcMalformed));
    assert_eq!(code(Terms { issuer: "shop".to_owned(), ..terms() }), Err(Code::VcMalformed));
    assert_eq!(code(Terms { subject: Some("ada lovelace:x y".to_owned()), ..terms() }), Err(Code::VcMalformed));
}

#[test]
fn no_changed_byte_makes_another_valid_credential() {
    let [_, cart, ..] = contents();
    let token = issued(cart);
    assert!(judge(&token, Kind::Cart).is_ok());
    for at in 0..token.len() {
        for replacement in ["A", "b", "7", "-", ".", "=", ""] {
            let changed = format!("{}{replacement}{}", &token[..at], &token[at + 1..]);
            assert!(changed == token || judge(&changed, Kind::Cart).is_err(), "{replacement:?} at {at}");
        }
    }
}
