//! Google's AP2 SDK as a peer, recorded: what it was shown of ours, what it issued itself, and what it said
//! (`fixtures/ap2-sdk`). The tokens that it judged must still be, byte for byte, what this crate issues from the same inputs.

use mandates::base64url;
use mandates::chain::Position;
use mandates::conformance::{self, CaseResult};
use mandates::issue::{self, Addressed, HopTerms, RootTerms, Salt};
use mandates::json::Object;
use mandates::jws::Unsigned;
use mandates::keys::{LocalKey, Signature};
use mandates::mandate::{Mandate, Vct};
use mandates::receipt::{Answer, Failure, Receipt};
use mandates::status::Place;
use mandates::{cart, json};
use serde_json::Value;

use crate::cast::{key, salts};

fn file(name: &str) -> Object {
    let path = format!("{}/../fixtures/ap2-sdk/{name}", env!("CARGO_MANIFEST_DIR"));
    json::parse_object(&std::fs::read(path).expect("the file lies in fixtures")).expect("it is a JSON object")
}

fn cases(file: &Object) -> &[Value] {
    file["cases"].as_array().expect("cases is an array")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is a text: {value}"))
}

fn seconds(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or_else(|| panic!("{name} is a number: {value}"))
}

/// The private key is 32 times the byte `key`.
fn key_of(value: &Value) -> LocalKey {
    let name = value["kid"].as_str().unwrap_or("unnamed");
    key(name, u8::try_from(seconds(value, "key")).unwrap())
}

/// Issues again what a case describes; `sign` says what the signature of each step is.
struct Again<'a> {
    sign: &'a mut dyn FnMut(&Unsigned, &LocalKey) -> Signature,
}

impl Again<'_> {
    fn token(&mut self, inputs: &Value) -> String {
        if let Value::Object(_) = inputs["receipt"] {
            return self.receipt(&inputs["receipt"]);
        }
        inputs["segments"]
            .as_array()
            .unwrap()
            .iter()
            .fold(String::new(), |before, segment| self.segment(&before, segment))
    }

    fn segment(&mut self, before: &str, segment: &Value) -> String {
        let mandates = segment["mandates"].as_array().unwrap().iter();
        let mandates: Vec<Mandate> =
            mandates.map(|claims| Mandate::parse(claims.as_object().unwrap()).unwrap()).collect();
        let (key, mut salts) = (key_of(segment), salts());
        let salts: &mut dyn FnMut() -> Salt = &mut salts;
        let unsigned = if before.is_empty() {
            let place = segment
                .get("status")
                .map(|place| Place { index: place["idx"].as_u64().unwrap(), uri: text(place, "uri").to_owned() });
            let terms = RootTerms {
                key_id: &key.key_id(),
                issuer: text(segment, "issuer"),
                issued_at_seconds: seconds(segment, "issued_at"),
                addressed: match segment.get("audience") {
                    Some(_) => Addressed::To { audience: text(segment, "audience"), nonce: text(segment, "nonce") },
                    None => Addressed::ToNobody,
                },
                status: place.as_ref(),
            };
            issue::root(&terms, &mandates, salts)
        } else {
            let terms = HopTerms {
                position: if text(segment, "position") == "leaf" { Position::Leaf } else { Position::Middle },
                audience: text(segment, "audience"),
                nonce: text(segment, "nonce"),
                issued_at_seconds: seconds(segment, "issued_at"),
            };
            issue::hop(before, &terms, &mandates, salts)
        };
        let unsigned = unsigned.unwrap();
        let signature = (self.sign)(&unsigned, &key);
        let token = unsigned.finish(signature);
        match segment["show"].as_str() {
            None => token,
            Some(name) => {
                let vct = Vct::ALL.into_iter().find(|vct| vct.as_str() == name).unwrap();
                issue::present_only(&token, vct).unwrap()
            }
        }
    }

    fn receipt(&mut self, inputs: &Value) -> String {
        let (kind, said) = inputs["answer"].as_object().unwrap().iter().next().unwrap();
        let of = |name: &str| text(said, name).to_owned();
        let failure = || Failure { error: of("error"), error_description: of("error_description") };
        let answer = match kind.as_str() {
            "paid" => Answer::Paid {
                payment_id: of("payment_id"),
                psp_confirmation_id: of("psp_confirmation_id"),
                network_confirmation_id: of("network_confirmation_id"),
            },
            "not_paid" => Answer::NotPaid { payment_id: of("payment_id"), failure: failure() },
            "ordered" => Answer::Ordered { order_id: of("order_id") },
            _ => Answer::NotOrdered { failure: failure() },
        };
        let receipt = Receipt {
            issuer: text(inputs, "issuer").to_owned(),
            issued_at_seconds: seconds(inputs, "issued_at"),
            reference: text(inputs, "reference").to_owned(),
            answer,
        };
        let key = key_of(inputs);
        let unsigned = receipt.unsigned(&key.key_id());
        let signature = (self.sign)(&unsigned, &key);
        unsigned.finish(signature)
    }
}

/// The signature of the recorded token whose signed bytes these are; none where no recorded segment has them.
fn recorded(token: &str, unsigned: &Unsigned) -> Option<Signature> {
    let input = std::str::from_utf8(unsigned.signing_input()).unwrap();
    let rest = token.split("~~").find_map(|segment| segment.strip_prefix(input)?.strip_prefix('.'))?;
    let signature = base64url::decode(rest.split('~').next()?)?;
    Signature::try_from(signature.as_slice()).ok()
}

/// The token that the inputs give with the recorded signatures; `None` where other bytes would be signed.
fn again(inputs: &Value, token: &str) -> Option<String> {
    let mut is_known = true;
    let mut sign = |unsigned: &Unsigned, key: &LocalKey| {
        let Some(signature) = recorded(token, unsigned) else {
            is_known = false;
            return [0; 64];
        };
        key.public().verify(unsigned.signing_input(), &signature).expect("the recorded signature is this key's");
        signature
    };
    let token = Again { sign: &mut sign }.token(inputs);
    is_known.then_some(token)
}

/// What the SDK accepts and we refuse, of tokens that we issued.
const LET_THROUGH: [&str; 17] = [
    "x-payee-other-site",
    "x-instrument-type",
    "x-used",
    "x-recurrence-too-soon",
    "x-execution-offset",
    "x-execution-absent",
    "x-preset-pisp",
    "x-preset-risk-data",
    "x-expired-at-its-second",
    "x-stale",
    "x-items-missing",
    "x-checkout-forged",
    "x-checkout-hash-inner",
    "x-3-widening",
    "x-3-dropped",
    "x-direct-nonce",
    "x-receipt-future",
];
/// The same of tokens that it issued itself.
const ITS_OWN_LET_THROUGH: [&str; 6] =
    ["x-used", "x-payee", "x-preset", "x-issuer-jwt-hash", "x-items-missing", "x-3-widening"];

/// Verdicts other than the recorded ones, and what the SDK accepts against us.
fn verdicts(file: &Object) -> (Vec<String>, Vec<&str>) {
    let (mut wrong, mut let_through) = (Vec::new(), Vec::new());
    for case in cases(file) {
        let result: CaseResult = conformance::run(case).expect("a case is in the format");
        if !result.has_passed() || result.code != case["expect_code"].as_str() {
            wrong.push(format!("{}: {}", result.line(), result.message.unwrap_or_default()));
        }
        match (text(case, "expect"), text(&case["sdk_says"], "outcome")) {
            ("valid", "accept") | ("invalid", "reject") => {}
            ("invalid", "accept") => let_through.push(text(case, "id")),
            (ours, its) => wrong.push(format!("{}: {ours} for us, {its} by the SDK", text(case, "id"))),
        }
    }
    (wrong, let_through)
}

#[test]
fn what_the_sdk_judged_is_what_we_issue() {
    let file = file("ours.json");
    let (wrong, let_through) = verdicts(&file);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(let_through, LET_THROUGH);
    assert_eq!(cases(&file).len(), 77, "the file is whole");
    for case in cases(&file) {
        let (id, token) = (text(case, "id"), text(case, "token"));
        assert_eq!(again(&case["inputs"], token).as_deref(), Some(token), "{id}");
    }
    for (name, entry) in file["carts"].as_object().unwrap() {
        let (key, token) = (key_of(entry), text(entry, "token"));
        let unsigned = cart::unsigned(entry["claims"].as_object().unwrap(), &key.key_id()).unwrap();
        let signature = recorded(token, &unsigned).unwrap_or_else(|| panic!("{name} has the same bytes"));
        key.public().verify(unsigned.signing_input(), &signature).unwrap();
        assert_eq!(unsigned.finish(signature), token, "{name}");
    }
}

#[test]
fn other_inputs_are_other_bytes() {
    let file = file("ours.json");
    let case = cases(&file).iter().find(|case| case["id"] == "payment-3").unwrap();
    let token = text(case, "token");
    for (pointer, value) in [
        ("/segments/0/issuer", "https://q.example".into()),
        ("/segments/0/issued_at", 1.into()),
        ("/segments/0/kid", "another".into()),
        ("/segments/0/mandates/0/exp", 1_800_003_601.into()),
        ("/segments/0/mandates/0/constraints/0/max", 2001.into()),
        ("/segments/0/mandates/0/constraints/1/allowed/0/id", "shop2".into()),
        ("/segments/1/audience", "another".into()),
        ("/segments/1/nonce", "another".into()),
        ("/segments/1/mandates/0/constraints/0/max", 1998.into()),
        ("/segments/1/mandates/0/cnf/jwk", case["root_jwk"].clone()),
        ("/segments/2/nonce", "another".into()),
        ("/segments/2/issued_at", 1.into()),
        ("/segments/2/mandates/0/transaction_id", "another".into()),
        ("/segments/2/mandates/0/payment_amount/amount", 1998.into()),
    ] {
        let mut inputs: Value = case["inputs"].clone();
        *inputs.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is there")) = value;
        // A hop behind other bytes cannot be issued with the recorded signature, so the first difference ends it.
        assert_eq!(again(&inputs, token), None, "{pointer}");
    }
}

#[test]
fn what_the_sdk_issues_is_judged_as_recorded() {
    let file = file("theirs.json");
    let (wrong, let_through) = verdicts(&file);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(let_through, ITS_OWN_LET_THROUGH);
    assert_eq!(cases(&file).len(), 36, "the file is whole");
    assert_eq!(file["cannot"].as_array().unwrap().len(), 2);
}

/// Every part of an SDK's token matters: one changed character in each of its JWTs and disclosures, each left out.
#[test]
fn a_token_of_the_sdk_that_was_changed_is_refused() {
    let file = file("theirs.json");
    let mut tried = 0;
    for case in cases(&file).iter().filter(|case| case["expect"] == "valid") {
        let token = text(case, "token");
        for (start, part) in token.match_indices(|c| c != '~' && c != '.').filter(|(at, _)| at % 41 == 7) {
            let other = if part == "A" { "B" } else { "A" };
            let mut changed = case.clone();
            changed["token"] = format!("{}{other}{}", &token[..start], &token[start + 1..]).into();
            let result = conformance::run(&changed).unwrap();
            assert!(result.code.is_some(), "{} with {other} at {start}", text(case, "id"));
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried} changes");
}
