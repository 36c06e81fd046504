//! What a stranger sends never panics, and never becomes another mandate than the one that was signed.
//!
//! The fear: a parser, or a library under it, that aborts on one token takes every agent's payments down with it; one
//! that reads two things in one token takes their money.
//!
//! Inputs are bytes that say how to damage something valid, so that an engine that is guided by coverage has something to
//! hold on to. In the suite the engine is bolero's random one, which is not guided; `cargo bolero test --engine libfuzzer
//! fuzzing::NAME` is. `PURSER_FUZZ_RUNS` is how many inputs each target takes.

use std::sync::LazyLock;

use mandates::base64url;
use mandates::cart::{self, Cart};
use mandates::clock::Clock;
use mandates::conformance;
use mandates::digest::HashAlgorithm;
use mandates::json::{self, Object};
use mandates::keys::{KeySet, LocalKey, PublicKey};
use mandates::receipt::{self, ReceiptKind, References};
use mandates::verify::{Context, Expected, ExpectedFamily, Facts, Purchase, verify};
use serde_json::{Value, json};

use crate::cast::*;

fn runs(unless_said: usize) -> usize {
    std::env::var("PURSER_FUZZ_RUNS").map_or(unless_said, |text| text.parse().expect("a number of inputs"))
}

static CASES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/ap2/v0.2.json");
    serde_json::from_slice(&std::fs::read(path).expect("the conformance file")).expect("a JSON array")
});

/// Every object with a `vct` that the tokens of the file disclose.
static MANDATES: LazyLock<Vec<Object>> = LazyLock::new(|| {
    let tokens = CASES.iter().filter_map(|case| case["token"].as_str());
    let disclosed = tokens.flat_map(|token| token.split('~')).filter_map(|part| {
        let array: Vec<Value> = serde_json::from_slice(&base64url::decode(part)?).ok()?;
        let object = array.into_iter().next_back()?.as_object()?.clone();
        object.contains_key("vct").then_some(object)
    });
    disclosed.collect()
});

static TRUSTED: LazyLock<KeySet> = LazyLock::new(|| keys(&provider()));

/// Pieces that have broken parsers before.
const PIECES: [&str; 24] = [
    "~",
    "~~",
    ".",
    "..",
    "=",
    "\n",
    "\0",
    "é",
    "\u{feff}",
    "null",
    "true",
    "-0",
    "-1",
    "1e999",
    "0.1",
    "{}",
    "[]",
    "\"\"",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "\"\\ud800\"",
    "{\"a\":1,\"a\":2}",
    "{\"...\":\"x\"}",
    "{\"_sd\":[\"x\"],\"_sd_alg\":\"md5\"}",
];

/// Reads decisions from the engine's bytes; when they are used up every further one is 0.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// Below `most`, which is not 0.
    fn below(&mut self, most: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % most.max(1)
    }

    fn of<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        &things[self.below(things.len())]
    }
}

/// A few changes to a text; some of them inside of what a part encodes.
fn damage(text: &str, choices: &mut Choices<'_>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=choices.below(4) {
        let at = choices.below(bytes.len() + 1);
        let end = (at + choices.below(24)).min(bytes.len());
        match choices.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << choices.below(8),
            1 if at < bytes.len() => bytes[at] = choices.byte(),
            2 => drop(bytes.splice(at..at, choices.of(&PIECES).bytes())),
            3 => drop(bytes.splice(at..end, choices.of(&PIECES).bytes())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copied = bytes[at..end].to_vec();
                let to = choices.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copied));
            }
            6 => {
                let other = choices.of(&CASES)["token"].as_str().unwrap_or_default().as_bytes();
                let from = choices.below(other.len() + 1);
                let until = (from + choices.below(400)).min(other.len());
                drop(bytes.splice(at..end, other[from..until].iter().copied()));
            }
            _ => bytes = damage_inside(&String::from_utf8_lossy(&bytes), choices).into_bytes(),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One encoded part: decoded, changed, encoded again.
fn damage_inside(text: &str, choices: &mut Choices<'_>) -> String {
    let parts: Vec<&str> = text.split(['~', '.']).collect();
    let part = *choices.of(&parts);
    let Some(mut inner) = base64url::decode(part).filter(|inner| !inner.is_empty()) else { return text.to_owned() };
    let at = choices.below(inner.len());
    let end = (at + choices.below(12)).min(inner.len());
    match choices.below(3) {
        0 => inner[at] = choices.byte(),
        1 => drop(inner.splice(at..end, choices.of(&PIECES).bytes())),
        _ => drop(inner.splice(at..at, choices.of(&PIECES).bytes())),
    }
    text.replacen(part, &base64url::encode(&inner), 1)
}

/// Somewhere in a value something else.
fn damage_value(value: &mut Value, choices: &mut Choices<'_>) {
    let inside = match value {
        Value::Object(members) if !members.is_empty() && choices.below(5) > 0 => {
            let at = choices.below(members.len());
            members.values_mut().nth(at)
        }
        Value::Array(entries) if !entries.is_empty() && choices.below(5) > 0 => {
            let at = choices.below(entries.len());
            entries.get_mut(at)
        }
        _ => None,
    };
    if let Some(inside) = inside {
        return damage_value(inside, choices);
    }
    match choices.below(10) {
        0 => *value = Value::Null,
        1 => *value = Value::Array(vec![value.clone(), value.clone()]),
        2 => *value = json!({ "...": "x" }),
        3 => *value = json!(u64::MAX),
        4 => {
            *value = serde_json::from_str(choices.of::<&str>(&["-1", "1.5", "1e400", "99999999999999999999999999999"]))
                .expect("a number")
        }
        5 => *value = Value::String(damage(value.as_str().unwrap_or("x"), choices)),
        6 => *value = Value::String("9".repeat(choices.below(2_000))),
        7 => (0..choices.below(200)).for_each(|_| *value = json!([value.take()])),
        8 => *value = choices.of(&MANDATES).values().nth(choices.below(8)).cloned().unwrap_or_default(),
        _ => match value {
            Value::Object(members) => {
                let name = members.keys().nth(choices.below(members.len())).cloned();
                name.and_then(|name| members.remove(&name));
            }
            Value::Array(entries) => drop(entries.pop()),
            other => *other = json!(0),
        },
    }
}

#[test]
fn no_damaged_token_panics() {
    bolero::check!().with_iterations(runs(100_000)).with_max_len(64).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let mut case = choices.of(&CASES).clone();
        let token = damage(case["token"].as_str().expect("a token"), &mut choices);
        let _ = parsed(&token);
        case["token"] = token.into();
        conformance::run(&case).expect("only the token was changed");
    });
}

/// Beside the verifier: each parser that a caller may hand such a text to.
fn parsed(token: &str) -> Option<()> {
    let clock = Clock { now_seconds: NOW, skew_seconds: 0 };
    let keys = keys(&provider());
    let _ = receipt::verify(token, ReceiptKind::Payment, &keys, &clock, References::Known(&[]));
    let _ = cart::verify(token, &keys, &clock);
    let _ = Cart::parse(token);
    let object = json::parse_object(token.as_bytes()).ok()?;
    let _ = PublicKey::from_jwk(&object);
    let _ = KeySet::from_jwks(&object);
    Some(())
}

#[test]
fn no_damaged_json_panics() {
    let whole = serde_json::to_string(&CASES[0]).expect("a case");
    let jwks = json!({ "keys": [provider().public().to_jwk(), agent().public().to_jwk()] }).to_string();
    let checkout = Value::Object(cart_claims(1999)).to_string();
    let texts = [whole.as_str(), jwks.as_str(), checkout.as_str(), "[[[[[[[[[[[[[[[[[[[[[[]]]]"];
    bolero::check!().with_iterations(runs(50_000)).with_max_len(64).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let text = damage(choices.of::<&str>(&texts), &mut choices);
        let ours = json::parse(text.as_bytes());
        // Stricter than serde_json, never laxer.
        assert!(ours.is_err() || serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        let _ = parsed(&text);
        // As a bare case of a conformance file as well.
        let _ = ours.map(|case| conformance::run(&case).map(drop));
    });
}

/// A third party may spell a signature in another way (ES256 has two), and nothing else.
#[test]
fn a_damaged_payment_is_no_other_payment() {
    // What the closure needs is owned elsewhere: keys of aws-lc may not cross a caught panic.
    static PAYMENT: LazyLock<(String, String)> = LazyLock::new(|| {
        let cart = cart_jwt(1999);
        (paid(vec![up_to(2000), payees(&[shop()])], &cart, 1999), cart)
    });
    static WHOLE: LazyLock<Facts> =
        LazyLock::new(|| judge(&PAYMENT.0, &PAYMENT.1).outcome.expect("the payment is valid"));
    bolero::check!().with_iterations(runs(50_000)).with_max_len(64).for_each(|input: &[u8]| {
        let (token, cart) = &*PAYMENT;
        let damaged = damage(token, &mut Choices(input.iter()));
        if let Ok(accepted) = judge(&damaged, cart).outcome {
            assert_eq!(accepted, *WHOLE, "{damaged}");
        }
    });
}

/// A token of `open` and `closed` as they are, whatever they are: the signatures are right.
fn signed_chain(open: &Value, closed: &Value) -> String {
    let compact = |key: &LocalKey, typ: &str, payload: Value| {
        let header = json!({ "alg": "ES256", "typ": typ, "kid": key.key_id().as_str() });
        let [header, payload] = [header, payload].map(|value| base64url::encode(value.to_string().as_bytes()));
        let signature = key.sign(format!("{header}.{payload}").as_bytes()).expect("a signature");
        format!("{header}.{payload}.{}", base64url::encode(&signature))
    };
    let root = json!({ "iss": "https://p.example", "iat": NOW - 60, "delegate_payload": [open] });
    let root = compact(&provider(), "dc+sd-jwt", root);
    let sd_hash = HashAlgorithm::Sha256.digest_text(&format!("{root}~"));
    let leaf =
        json!({ "iat": NOW - 5, "aud": AUDIENCE, "nonce": NONCE, "sd_hash": sd_hash, "delegate_payload": [closed] });
    format!("{root}~~{}~", compact(&agent(), "kb+sd-jwt", leaf))
}

/// Behind right signatures: schemas, presets and every constraint.
#[test]
fn no_signed_nonsense_panics() {
    let jwk = Value::Object(agent().public().to_jwk());
    let reached = std::sync::atomic::AtomicU64::new(0);
    bolero::check!().with_iterations(runs(4_000)).with_max_len(96).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let mut open = Value::Object(choices.of(&MANDATES).clone());
        let mut closed = Value::Object(choices.of(&MANDATES).clone());
        open["cnf"] = json!({ "jwk": jwk });
        open["exp"] = json!(NOW + 60);
        closed["exp"] = json!(NOW + 60);
        for _ in 0..choices.below(4) {
            damage_value(if choices.below(2) == 0 { &mut open } else { &mut closed }, &mut choices);
        }
        let context = Context {
            family: ExpectedFamily::Either,
            expected: Expected::Exactly { audience: AUDIENCE, nonce: NONCE },
            ..context(&TRUSTED, Purchase::OnItsOwn)
        };
        let verdict = verify(&signed_chain(&open, &closed), &context);
        if verdict.checks.iter().any(|check| check.name == "mandate_schema") {
            reached.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(MANDATES.len() > 50, "the file discloses {} mandates", MANDATES.len());
    assert!(reached.into_inner() > 0, "no input came as far as the mandates");
}
