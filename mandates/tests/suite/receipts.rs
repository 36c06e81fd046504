//! Receipts: signed by the right party, about a known mandate, with the fields of their status and no others.

use mandates::base64url;
use mandates::clock::Clock;
use mandates::json::{self, Object};
use mandates::keys::LocalKey;
use mandates::receipt::{self, Answer, Failure, Receipt, ReceiptKind, References};
use mandates::rejection::Code;

use crate::cast::*;

const CLOCK: Clock = Clock { now_seconds: NOW, skew_seconds: 60 };

fn paid_receipt() -> Receipt {
    Receipt {
        issuer: "https://psp.example".to_owned(),
        issued_at_seconds: NOW,
        reference: "ref".to_owned(),
        answer: Answer::Paid {
            payment_id: "p".to_owned(),
            psp_confirmation_id: "psp".to_owned(),
            network_confirmation_id: "net".to_owned(),
        },
    }
}

fn judge(token: &str, kind: ReceiptKind) -> Result<Receipt, Code> {
    let known = ["ref".to_owned()];
    let references = References::Known(&known);
    receipt::verify(token, kind, &keys(&merchant_key()), &CLOCK, references).map_err(|refused| refused.code)
}

#[test]
fn every_kind_makes_the_round_trip() {
    let failure = || Failure { error: "invalid_mandate".to_owned(), error_description: "over".to_owned() };
    let answers = [
        paid_receipt().answer,
        Answer::NotPaid { payment_id: "p".to_owned(), failure: failure() },
        Answer::Ordered { order_id: "o".to_owned() },
        Answer::NotOrdered { failure: failure() },
    ];
    for answer in answers {
        let receipt = Receipt { answer, ..paid_receipt() };
        let token = signed(receipt.unsigned(&merchant_key().key_id()), &merchant_key());
        assert_eq!(judge(&token, receipt.kind()), Ok(receipt));
    }
}

fn token(header: &str, claims: &str, key: &LocalKey) -> String {
    let input = format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(claims.as_bytes()));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url::encode(&signature))
}

#[test]
fn a_receipt_is_signed_by_its_issuer_and_nothing_else() {
    let fine = r#"{"status":"Success","iss":"i","iat":1800000000,"reference":"ref","order_id":"o"}"#;
    let headers = [
        (r#"{"alg":"none","typ":"JWT","kid":"merchant"}"#, Code::AlgNotAllowed),
        (r#"{"alg":"HS256","typ":"JWT","kid":"merchant"}"#, Code::AlgNotAllowed),
        (r#"{"typ":"JWT","kid":"merchant"}"#, Code::AlgNotAllowed),
        (r#"{"alg":"ES256","kid":"merchant"}"#, Code::TypWrong),
        (r#"{"alg":"ES256","typ":"kb+sd-jwt","kid":"merchant"}"#, Code::TypWrong),
        (r#"{"alg":"ES256","typ":"JWT"}"#, Code::UnknownKid),
        (r#"{"alg":"ES256","typ":"JWT","kid":"other"}"#, Code::UnknownKid),
        (r#"{"alg":"ES256","typ":"JWT","kid":"merchant","crit":["b64"]}"#, Code::HeaderNotAllowed),
        (r#"{"alg":"ES256","typ":"JWT","kid":"merchant","b64":true}"#, Code::HeaderNotAllowed),
    ];
    for (header, code) in headers {
        assert_eq!(judge(&token(header, fine, &merchant_key()), ReceiptKind::Checkout), Err(code), "{header}");
    }
    let header = r#"{"alg":"ES256","typ":"JWT","kid":"merchant"}"#;
    assert!(judge(&token(header, fine, &merchant_key()), ReceiptKind::Checkout).is_ok());
    assert_eq!(judge(&token(header, fine, &agent()), ReceiptKind::Checkout), Err(Code::SignatureInvalid));
}

#[test]
fn the_fields_fit_the_status() {
    let base = r#"{"status":"Success","iss":"i","iat":1800000000,"reference":"ref","order_id":"o"}"#;
    let header = r#"{"alg":"ES256","typ":"JWT","kid":"merchant"}"#;
    let with = |change: &dyn Fn(&mut Object)| {
        let mut claims = json::parse_object(base.as_bytes()).unwrap();
        change(&mut claims);
        judge(&token(header, &serde_json::Value::Object(claims).to_string(), &merchant_key()), ReceiptKind::Checkout)
    };
    for name in ["status", "iss", "iat", "reference", "order_id"] {
        assert_eq!(with(&|claims| drop(claims.remove(name))), Err(Code::ReceiptFieldMissing), "{name}");
    }
    let set = |name: &'static str, value: serde_json::Value| {
        with(&move |claims| drop(claims.insert(name.to_owned(), value.clone())))
    };
    assert_eq!(set("status", "success".into()), Err(Code::Schema));
    assert_eq!(set("status", true.into()), Err(Code::Schema));
    assert_eq!(set("error", "invalid_mandate".into()), Err(Code::ReceiptFieldForbidden));
    assert_eq!(set("status", "Error".into()), Err(Code::ReceiptFieldMissing));
    let failed = |missing: &str| {
        with(&|claims| {
            claims.remove("order_id");
            claims.insert("status".to_owned(), "Error".into());
            claims.insert("error".to_owned(), "invalid_mandate".into());
            claims.insert("error_description".to_owned(), "over".into());
            claims.remove(missing);
        })
    };
    assert_eq!(failed("error"), Err(Code::ReceiptFieldMissing));
    assert_eq!(failed("error_description"), Err(Code::ReceiptFieldMissing), "the schema requires both");
    assert!(failed("nothing").is_ok());
    assert_eq!(set("reference", "other".into()), Err(Code::ReceiptReferenceUnknown));
    assert_eq!(set("iat", (NOW + 61).into()), Err(Code::IssuedInFuture));
    assert_eq!(set("iat", "1800000000".into()), Err(Code::TimeClaimType));
    assert!(set("iat", (NOW + 60).into()).is_ok());
    let payment = judge(&token(header, base, &merchant_key()), ReceiptKind::Payment);
    assert_eq!(payment, Err(Code::ReceiptFieldMissing), "a checkout receipt is no payment receipt");
}
