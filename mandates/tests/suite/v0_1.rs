//! AP2 v0.1: what is issued verifies; what is missing, mistyped, late, replayed, for somebody else or changed does not.

use std::sync::LazyLock;

use mandates::clock::Clock;
use mandates::json::{self, Object};
use mandates::key_binding::Presentation;
use mandates::keys::{KeySet, LocalKey};
use mandates::rejection::Code;
use mandates::v0_1::cart::{self, Audience, AuthorizationTerms, CartContents, CartMandate, Jtis};
use mandates::v0_1::intent::{self, IntentMandate, UserSigned};
use mandates::v0_1::payment::{self, CredentialTypes, PaymentMandate, PaymentMandateContents};
use mandates::verify::Expected;
use serde_json::{Value, json};

use crate::cast::{AUDIENCE, NONCE, NOW, agent, key, keys, merchant_key, provider, signed};

const PSP: &str = "payment-processor";

fn clock() -> Clock {
    Clock { now_seconds: NOW, skew_seconds: 0 }
}

fn contents() -> Value {
    json!({
        "id": "cart-1", "user_cart_confirmation_required": true, "merchant_name": "The shop",
        "cart_expiry": "2027-01-15T09:00:00Z",
        "payment_request": {
            "method_data": [{"supported_methods": "CARD", "data": {}}, {"supported_methods": "x402"}],
            "details": {
                "id": "order-1",
                "display_items": [{"label": "Shoe", "amount": {"currency": "USD", "value": 21.5}, "pending": null},
                                  {"label": "Voucher", "amount": {"currency": "USD", "value": -1.51}}],
                "modifiers": [{"supported_methods": "x402",
                               "total": {"label": "Total", "amount": {"currency": "USD", "value": 18}}}],
                "total": {"label": "Total", "amount": {"currency": "USD", "value": 19.99}, "refund_period": 14}
            },
            "options": {"request_shipping": false}
        }
    })
}

fn payment_contents() -> Value {
    json!({
        "payment_mandate_id": "pm-1", "payment_details_id": "order-1", "merchant_agent": "The shop",
        "payment_details_total": {"label": "Total", "amount": {"currency": "USD", "value": 19.99}},
        "payment_response": {"request_id": "order-1", "method_name": "CARD", "details": {"token": "t"}},
        "timestamp": "2027-01-15T07:59:50Z"
    })
}

/// A copy with the value at `pointer` set, or taken out where `value` is none.
fn with(mut object: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    object
}

fn terms() -> AuthorizationTermsOwned {
    AuthorizationTermsOwned { issued_at: NOW - 10, expires_at: NOW + 600 }
}

#[derive(Clone, Copy)]
struct AuthorizationTermsOwned {
    issued_at: i64,
    expires_at: i64,
}

fn cart_of(contents: &Value, terms: AuthorizationTermsOwned, signer: &LocalKey) -> CartMandate {
    let contents = CartContents::parse(contents.to_string().as_bytes()).unwrap();
    let key_id = signer.key_id();
    let terms = AuthorizationTerms {
        key_id: &key_id,
        issuer: "https://shop.example",
        subject: "https://shop.example",
        audience: PSP,
        jti: "jti-1",
        issued_at_seconds: terms.issued_at,
        expires_at_seconds: terms.expires_at,
    };
    let jwt = signed(contents.unsigned(&terms).unwrap(), signer);
    contents.authorized(jwt).unwrap()
}

/// Signed once: ECDSA signs differently each time, and hashes stand for signatures here.
fn cart() -> CartMandate {
    static CART: LazyLock<CartMandate> = LazyLock::new(|| cart_of(&contents(), terms(), &merchant_key()));
    CART.clone()
}

fn cart_context<'a>(keys: &'a KeySet, audience: Audience<'a>) -> cart::Context<'a> {
    let jtis = Jtis::LeftToState;
    cart::Context { clock: clock(), merchant_keys: keys, audience, authorization_seconds_max: 900, jtis }
}

fn judge_cart(text: &str) -> Result<(), Code> {
    let keys = keys(&merchant_key());
    let context = cart_context(&keys, Audience::Exactly(PSP));
    let verified = CartMandate::parse(text.as_bytes()).and_then(|cart| cart.verify(&context));
    verified.map(|_| ()).map_err(|refused| refused.code)
}

fn credential() -> String {
    static CREDENTIAL: LazyLock<String> = LazyLock::new(|| {
        jwt(&json!({"alg": "ES256", "typ": "dc+sd-jwt", "kid": "provider"}), &credential_claims(), &provider()) + "~"
    });
    CREDENTIAL.clone()
}

fn credential_claims() -> Value {
    let cnf = json!({"jwk": {"kty": "EC", "crv": "P-256", "x": agent().public().to_jwk()["x"],
        "y": agent().public().to_jwk()["y"]}});
    json!({"iss": "https://bank.example", "vct": "com.example.card", "iat": NOW - 1000, "exp": NOW + 1000, "cnf": cnf})
}

fn jwt(header: &Value, claims: &Value, signer: &LocalKey) -> String {
    let part = |value: &Value| mandates::base64url::encode(value.to_string().as_bytes());
    let input = format!("{}.{}", part(header), part(claims));
    format!("{input}.{}", mandates::base64url::encode(&signer.sign(input.as_bytes()).unwrap()))
}

fn payment_of(contents: &Value, cart: &CartMandate) -> PaymentMandate {
    let contents = PaymentMandateContents::parse(contents.to_string().as_bytes()).unwrap();
    let terms = Presentation { audience: AUDIENCE, nonce: NONCE, issued_at_seconds: NOW - 5 };
    let unsigned = contents.unsigned(&credential(), cart, &terms).unwrap();
    contents.authorized(signed(unsigned, &agent()))
}

/// The same, with a KB-JWT of these claims.
fn payment_bound_by(contents: &Value, claims: &Value, signer: &LocalKey) -> PaymentMandate {
    let credential = credential();
    let contents = PaymentMandateContents::parse(contents.to_string().as_bytes()).unwrap();
    contents.authorized(credential + &jwt(&json!({"alg": "ES256", "typ": "kb+jwt"}), claims, signer))
}

/// What a KB-JWT of the standard payment says.
fn binding_claims(contents: &Value) -> Value {
    let credential = credential();
    let hash = |text: &str| mandates::digest::HashAlgorithm::Sha256.digest_text(text);
    let payment = PaymentMandateContents::parse(contents.to_string().as_bytes()).unwrap();
    json!({"aud": AUDIENCE, "nonce": NONCE, "iat": NOW - 5, "sd_hash": hash(&credential),
        "transaction_data": [cart().hash, payment.hash]})
}

fn judge_payment(payment: &PaymentMandate, cart: &CartMandate) -> Result<(), Code> {
    judge_payment_text(&Value::Object(payment.claims()).to_string(), cart)
}

fn judge_payment_text(text: &str, cart: &CartMandate) -> Result<(), Code> {
    let (issuers, merchant) = (keys(&provider()), keys(&merchant_key()));
    let context = payment::Context {
        clock: clock(),
        credential_issuers: &issuers,
        credential_types: CredentialTypes::Among(&["com.example.card"]),
        expected: Expected::Exactly { audience: AUDIENCE, nonce: NONCE },
        key_binding_seconds_max: 60,
        cart,
        merchant: cart_context(&merchant, Audience::NotAsked),
    };
    let verified = PaymentMandate::parse(text.as_bytes()).and_then(|payment| payment.verify(&context));
    verified.map(|_| ()).map_err(|refused| refused.code)
}

fn intent(text: &str, user_signed: UserSigned) -> Result<(), Code> {
    let context = intent::Context { clock: clock(), user_signed };
    IntentMandate::parse(text.as_bytes()).and_then(|intent| intent.verify(&context)).map_err(|refused| refused.code)
}

fn intent_claims() -> Value {
    json!({"natural_language_description": "shoes", "intent_expiry": "2027-01-15T08:00:01Z", "merchants": ["The shop"],
        "skus": null, "user_cart_confirmation_required": false, "requires_refundability": true})
}

#[test]
fn a_broken_intent_is_refused() {
    let set = |pointer: &str, value: Value| with(intent_claims(), pointer, Some(value));
    for (broken, code) in [
        (with(intent_claims(), "/natural_language_description", None), Code::Schema),
        (with(intent_claims(), "/intent_expiry", None), Code::Schema),
        (set("/intent_expiry", Value::Null), Code::Schema),
        (set("/intent_expiry", json!(1_800_000_001)), Code::Schema),
        (set("/intent_expiry", json!("2027-01-15T08:00:01")), Code::Schema),
        (set("/intent_expiry", json!("2027-01-15T08:00:00Z")), Code::IntentExpired),
        (set("/intent_expiry", json!("2027-01-15T09:00:00+01:00")), Code::IntentExpired),
        (set("/natural_language_description", json!("")), Code::Schema),
        (set("/natural_language_description", json!(["shoes"])), Code::Schema),
        (set("/user_cart_confirmation_required", json!("false")), Code::Schema),
        (set("/user_cart_confirmation_required", json!(0)), Code::Schema),
        (set("/requires_refundability", json!("yes")), Code::Schema),
        (set("/merchants", json!("The shop")), Code::Schema),
        (set("/merchants", json!([1])), Code::Schema),
        (set("/skus", json!({})), Code::Schema),
    ] {
        assert_eq!(intent(&broken.to_string(), UserSigned::Yes), Err(code), "{broken}");
    }
    let twice = intent_claims().to_string().replacen('{', r#"{"intent_expiry":"2099-01-01T00:00:00Z","#, 1);
    assert_eq!(intent(&twice, UserSigned::Yes), Err(Code::DuplicateJsonKey));
    assert_eq!(intent("[]", UserSigned::Yes), Err(Code::MalformedJson));
    assert_eq!(intent(&intent_claims().to_string(), UserSigned::No), Err(Code::CartConfirmationRequired));
}

#[test]
fn an_intent_holds_until_it_expires() {
    assert_eq!(intent(&intent_claims().to_string(), UserSigned::Yes), Ok(()));
    assert_eq!(intent(&intent_claims().to_string(), UserSigned::NotSaid), Ok(()));
    let silent = with(intent_claims(), "/user_cart_confirmation_required", None);
    assert_eq!(intent(&silent.to_string(), UserSigned::No), Ok(()), "true where nothing is said");
    let read = IntentMandate::parse(silent.to_string().as_bytes()).unwrap();
    assert_eq!((read.skus.clone(), read.requires_refundability), (None, true));
    let written = Value::Object(read.claims()).to_string();
    assert_eq!(IntentMandate::parse(written.as_bytes()).unwrap(), read);
}

#[test]
fn broken_cart_contents_are_refused() {
    let total = "/payment_request/details/total";
    let set = |pointer: &str, value: Value| with(contents(), pointer, Some(value));
    let raw = |pointer: &str, value: &str| set(pointer, serde_json::from_str(value).unwrap());
    let amount = format!("{total}/amount/value");
    for broken in [
        with(contents(), "/id", None),
        with(contents(), "/user_cart_confirmation_required", None),
        with(contents(), "/payment_request", None),
        with(contents(), "/cart_expiry", None),
        with(contents(), "/merchant_name", None),
        with(contents(), "/payment_request/method_data", None),
        with(contents(), "/payment_request/details/id", None),
        with(contents(), "/payment_request/details/display_items", None),
        with(contents(), total, None),
        set("/user_cart_confirmation_required", json!("true")),
        set("/payment_request/method_data", json!([])),
        set("/payment_request/method_data", json!([{"data": {}}])),
        set("/payment_request/method_data", json!([{"supported_methods": ["CARD"]}])),
        set("/payment_request/options", json!({"request_shipping": 1})),
        set("/payment_request/shipping_address", json!({"address_line": [1]})),
        set("/payment_request/details/shipping_options", json!([{"id": "a"}])),
        set("/cart_expiry", json!("tomorrow")),
        set(&amount, json!("19.99")),
        set(&amount, json!(true)),
        set(&amount, Value::Null),
        raw(&amount, "-0.01"),
        raw(&amount, "1e40"),
        set(&format!("{total}/amount/currency"), json!("usd")),
        set(&format!("{total}/refund_period"), json!(1.5)),
        set(&format!("{total}/label"), json!(7)),
    ] {
        let refused = CartContents::parse(broken.to_string().as_bytes()).map_err(|refused| refused.code);
        assert_eq!(refused.map(|_| ()), Err(Code::Schema), "{broken}");
    }
    let precise = raw(&amount, "19.990000000000000001").to_string();
    assert_eq!(CartContents::parse(precise.as_bytes()).unwrap_err().code, Code::NumberNotCanonical);
}

/// The standard cart with another authorization.
fn cart_signed(header: &Value, claims: &Value, signer: &LocalKey) -> String {
    let authorization = jwt(header, claims, signer);
    json!({"contents": contents(), "merchant_authorization": authorization}).to_string()
}

fn authorization_claims() -> Value {
    json!({"iss": "https://shop.example", "sub": "https://shop.example", "aud": PSP, "iat": NOW - 10, "exp": NOW + 600,
        "jti": "jti-1", "cart_hash": cart().contents.hash})
}

#[test]
fn a_broken_merchant_authorization_is_refused() {
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "merchant"});
    let set = |name: &str, value: Value| with(authorization_claims(), &format!("/{name}"), Some(value));
    for name in ["iss", "sub", "aud", "iat", "exp", "jti", "cart_hash"] {
        let without = with(authorization_claims(), &format!("/{name}"), None);
        assert_eq!(judge_cart(&cart_signed(&header, &without, &merchant_key())), Err(Code::ClaimMissing), "{name}");
    }
    for (claims, code) in [
        (set("aud", json!("another")), Code::AudMismatch),
        (set("aud", json!([])), Code::ClaimMissing),
        (set("aud", json!(["another"])), Code::AudMismatch),
        (set("aud", json!([PSP, 1])), Code::Schema),
        (set("jti", json!(1)), Code::ClaimMissing),
        (set("jti", json!("")), Code::ClaimMissing),
        (set("exp", json!(NOW)), Code::Expired),
        (set("exp", json!(NOW + 891)), Code::MerchantAuthorizationTooLong),
        (set("exp", json!("later")), Code::TimeClaimType),
        (set("iat", json!(NOW + 1)), Code::IssuedInFuture),
        (set("iat", json!(NOW + 601)), Code::IssuedInFuture),
        (set("nbf", json!(NOW + 1)), Code::NotYetValid),
        (set("cart_hash", json!("UXsOQLykEjSwz68sR4djkDqeFsonqovlNtmcHyax_bQ")), Code::CartHashMismatch),
    ] {
        assert_eq!(judge_cart(&cart_signed(&header, &claims, &merchant_key())), Err(code), "{claims}");
    }
    for (header, code) in [
        (json!({"alg": "none", "kid": "merchant"}), Code::AlgNotAllowed),
        (json!({"alg": "HS256", "kid": "merchant"}), Code::AlgNotAllowed),
        (json!({"alg": "ES256"}), Code::UnknownKid),
        (json!({"alg": "ES256", "kid": "other"}), Code::UnknownKid),
        (json!({"alg": "ES256", "kid": 1}), Code::UnknownKid),
        (json!({"alg": "ES256", "kid": "merchant", "typ": "at+jwt"}), Code::TypWrong),
        (json!({"alg": "ES256", "kid": "merchant", "crit": ["b64"], "b64": false}), Code::HeaderNotAllowed),
    ] {
        assert_eq!(judge_cart(&cart_signed(&header, &authorization_claims(), &merchant_key())), Err(code), "{header}");
    }
    let forged = cart_signed(&header, &authorization_claims(), &key("merchant", 9));
    assert_eq!(judge_cart(&forged), Err(Code::SignatureInvalid));
    assert_eq!(judge_cart(&json!({"contents": contents()}).to_string()), Err(Code::MerchantAuthorizationMissing));
    let empty = json!({"contents": contents(), "merchant_authorization": ""}).to_string();
    assert_eq!(judge_cart(&empty), Err(Code::MerchantAuthorizationMissing));
    let many = cart_signed(&header, &set("aud", json!(["another", PSP])), &merchant_key());
    assert_eq!(judge_cart(&many), Ok(()));
}

#[test]
fn a_cart_that_was_changed_or_is_late_or_taken_is_refused() {
    let valid = Value::Object(cart().claims());
    assert_eq!(judge_cart(&valid.to_string()), Ok(()));
    for (pointer, value) in [
        ("/contents/payment_request/details/total/amount/value", json!(19.98)),
        ("/contents/merchant_name", json!("The other shop")),
        ("/contents/user_cart_confirmation_required", json!(false)),
        ("/contents/added", json!(1)),
        ("/contents/payment_request/details/id", json!("order-2")),
    ] {
        let changed = with(valid.clone(), pointer, Some(value));
        assert_eq!(judge_cart(&changed.to_string()), Err(Code::CartHashMismatch), "{pointer}");
    }
    let beside = with(valid.clone(), "/discount", Some(json!(1)));
    assert_eq!(judge_cart(&beside.to_string()), Err(Code::UnsignedMember));
    let twice = valid.to_string().replacen(r#""id":"cart-1""#, r#""id":"cart-2","id":"cart-1""#, 1);
    assert_eq!(judge_cart(&twice), Err(Code::DuplicateJsonKey));
    let late =
        cart_of(&with(contents(), "/cart_expiry", Some(json!("2027-01-15T08:00:00Z"))), terms(), &merchant_key());
    assert_eq!(judge_cart(&Value::Object(late.claims()).to_string()), Err(Code::CartExpired));
    let keys = keys(&merchant_key());
    let seen = ["jti-1".to_owned()];
    let taken = cart::Context { jtis: Jtis::Seen(&seen), ..cart_context(&keys, Audience::Exactly(PSP)) };
    assert_eq!(cart().verify(&taken).unwrap_err().code, Code::Replayed);
    let with_nulls = with(valid, "/contents/payment_request/shipping_address", Some(Value::Null));
    assert_eq!(judge_cart(&with_nulls.to_string()), Ok(()), "a null member is an absent one");
}

#[test]
fn a_broken_user_authorization_is_refused() {
    let standard = payment_contents();
    let set = |name: &str, value: Value| with(binding_claims(&payment_contents()), &format!("/{name}"), Some(value));
    let hashes = binding_claims(&standard)["transaction_data"].clone();
    let (cart_hash, payment_hash) = (hashes[0].clone(), hashes[1].clone());
    for (claims, code) in [
        (set("aud", json!("merchant")), Code::AudMismatch),
        (set("aud", Value::Null), Code::AudMissing),
        (set("nonce", json!("other")), Code::NonceMismatch),
        (set("nonce", json!("")), Code::NonceMissing),
        (set("iat", Value::Null), Code::TimeClaimType),
        (with(set("iat", json!(1)), "/iat", None), Code::IatMissing),
        (set("iat", json!(NOW + 1)), Code::IssuedInFuture),
        (set("iat", json!(NOW - 61)), Code::KeyBindingStale),
        (set("exp", json!(NOW)), Code::Expired),
        (set("sd_hash", payment_hash.clone()), Code::SdHashMismatch),
        (with(set("sd_hash", json!(1)), "/sd_hash", None), Code::SdHashMismatch),
        (set("transaction_data", json!([payment_hash, cart_hash])), Code::TransactionDataMismatch),
        (set("transaction_data", json!([cart_hash])), Code::TransactionDataMismatch),
        (set("transaction_data", json!([cart_hash, payment_hash, cart_hash])), Code::TransactionDataMismatch),
        (set("transaction_data", json!(format!("{cart_hash}{payment_hash}"))), Code::TransactionDataMismatch),
        (set("transaction_data_hashes_alg", json!("sha-512")), Code::TransactionDataMismatch),
    ] {
        assert_eq!(judge_payment(&payment_bound_by(&standard, &claims, &agent()), &cart()), Err(code), "{claims}");
    }
    let by_another = payment_bound_by(&standard, &binding_claims(&standard), &provider());
    assert_eq!(judge_payment(&by_another, &cart()), Err(Code::SignatureInvalid));
    let mut unbound = payment_of(&standard, &cart());
    unbound.user_authorization = Some(credential());
    assert_eq!(judge_payment(&unbound, &cart()), Err(Code::KeyBindingMissing));
    unbound.user_authorization = None;
    assert_eq!(judge_payment(&unbound, &cart()), Err(Code::UserAuthorizationMissing));
    assert_eq!(judge_payment(&payment_bound_by(&standard, &binding_claims(&standard), &agent()), &cart()), Ok(()));
}

#[test]
fn a_broken_credential_is_refused() {
    let set = |name: &str, value: Option<Value>| with(credential_claims(), &format!("/{name}"), value);
    let header = json!({"alg": "ES256", "typ": "dc+sd-jwt", "kid": "provider"});
    let named = |name: &str, value: Value| with(header.clone(), &format!("/{name}"), Some(value));
    for (header, claims, code) in [
        (header.clone(), set("exp", Some(json!(NOW))), Code::Expired),
        (header.clone(), set("nbf", Some(json!(NOW + 1))), Code::NotYetValid),
        (header.clone(), set("vct", None), Code::Schema),
        (header.clone(), set("vct", Some(json!("com.example.library"))), Code::CredentialTypeWrong),
        (named("typ", json!("kb+jwt")), credential_claims(), Code::TypWrong),
        (named("alg", json!("none")), credential_claims(), Code::AlgNotAllowed),
        (named("kid", json!("other")), credential_claims(), Code::UnknownKid),
        (header.clone(), with(set("cnf", None), "/iss", None), Code::CnfMissing),
    ] {
        let text = jwt(&header, &claims, &provider()) + "~";
        let hash = mandates::digest::HashAlgorithm::Sha256.digest_text(&text);
        let claims = with(binding_claims(&payment_contents()), "/sd_hash", Some(json!(hash)));
        let mut payment = payment_of(&payment_contents(), &cart());
        let binding = jwt(&json!({"alg": "ES256", "typ": "kb+jwt"}), &claims, &agent());
        payment.user_authorization = Some(text + &binding);
        assert_eq!(judge_payment(&payment, &cart()), Err(code), "{header}");
    }
}

#[test]
fn a_payment_says_what_its_cart_says() {
    let set = |pointer: &str, value: Value| with(payment_contents(), pointer, Some(value));
    let value = "/payment_details_total/amount/value";
    for (contents, code) in [
        (set(value, json!(500)), Code::PaymentNotCart),
        (set(value, json!(18)), Code::PaymentNotCart),
        (set("/payment_details_total/amount/currency", json!("EUR")), Code::PaymentNotCart),
        (set("/payment_details_id", json!("order-2")), Code::PaymentNotCart),
        (set("/payment_response/request_id", json!("order-2")), Code::PaymentNotCart),
        (set("/payment_response/method_name", json!("CASH")), Code::PaymentNotCart),
        (set("/merchant_agent", json!("The other shop")), Code::PaymentNotCart),
        (set("/timestamp", json!("2027-01-15T08:00:01Z")), Code::IssuedInFuture),
    ] {
        let payment = payment_bound_by(&contents, &binding_claims(&contents), &agent());
        assert_eq!(judge_payment(&payment, &cart()), Err(code), "{contents}");
    }
    let by_x402 = with(set("/payment_response/method_name", json!("x402")), value, Some(json!(18.0)));
    assert_eq!(judge_payment(&payment_of(&by_x402, &cart()), &cart()), Ok(()), "a modifier's total is due");
    let late = cart_of(&contents(), AuthorizationTermsOwned { issued_at: NOW - 600, expires_at: NOW }, &merchant_key());
    assert_eq!(judge_payment(&payment_of(&payment_contents(), &late), &late), Err(Code::Expired));
    let another = cart_of(&contents(), terms(), &key("merchant", 9));
    assert_eq!(judge_payment(&payment_of(&payment_contents(), &another), &another), Err(Code::SignatureInvalid));
    let resigned = cart_of(&contents(), AuthorizationTermsOwned { issued_at: NOW - 9, ..terms() }, &merchant_key());
    let swapped = judge_payment(&payment_of(&payment_contents(), &cart()), &resigned);
    assert_eq!(swapped, Err(Code::TransactionDataMismatch), "the hash covers the authorization");
}

fn object(text: &str) -> Object {
    json::parse_object(text.as_bytes()).unwrap()
}

/// Every byte of a valid text, changed in several ways: what is still accepted says the very same.
fn assert_tamper_proof(text: &str, judge: &dyn Fn(&str) -> Result<(), Code>) {
    let canonical = |text: &str| mandates::canonical::canonical_object(&object(text)).unwrap();
    let original = canonical(text);
    assert_eq!(judge(text), Ok(()));
    for at in 0..text.len() {
        for replacement in ["A", "b", "0", "7", ".", "~", "\"", ",", " ", "", "e"] {
            let changed = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            if changed != text && judge(&changed).is_ok() {
                assert_eq!(canonical(&changed), original, "{replacement:?} at {at} was accepted");
            }
        }
    }
}

#[test]
fn no_changed_byte_makes_another_valid_cart() {
    assert_tamper_proof(&Value::Object(cart().claims()).to_string(), &|text| judge_cart(text));
}

#[test]
fn no_changed_byte_makes_another_valid_payment() {
    let cart = cart();
    let payment = payment_of(&payment_contents(), &cart);
    assert_tamper_proof(&Value::Object(payment.claims()).to_string(), &|text| judge_payment_text(text, &cart));
}
