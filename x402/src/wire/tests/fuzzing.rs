//! What a stranger sends never panics, and never becomes another payment than the one that was signed.
//!
//! Inputs are bytes that say how to damage something valid. In the suite the engine is bolero's random one; `cargo bolero
//! test --engine libfuzzer` with a test's name is guided by coverage. `PURSER_FUZZ_RUNS` is how many inputs each target takes.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::super::{
    FacilitatorRequest, PaymentPayload, PaymentRequired, SettleResponse, SupportedResponse, VerifyResponse,
    read_header, read_message, v1, write_header,
};
use crate::exact::{self, Terms};
use crate::fixture;
use crate::network::{AssetTable, NetworkNames};
use crate::scheme;
use crate::sign_in::{Challenge, Proof};

fn runs(unless_said: usize) -> usize {
    std::env::var("PURSER_FUZZ_RUNS").map_or(unless_said, |text| text.parse().unwrap())
}

/// Pieces that have broken parsers before.
const PIECES: [&str; 26] = [
    "null",
    "true",
    "-0",
    "-1",
    "+1",
    "1e999",
    "0.1",
    "{}",
    "[]",
    "\"\"",
    "\0",
    "é",
    "\u{feff}",
    "\n",
    "=",
    "==",
    "0x",
    "0X",
    "0x0",
    " 1",
    "１",
    "1_0",
    "18446744073709551616",
    "\"\\ud800\"",
    "{\"a\":1,\"a\":2}",
    "115792089237316195423570985008687907853269984665640564039457584007913129639936",
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

fn damage(text: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..=choices.below(4) {
        let at = choices.below(bytes.len() + 1);
        let end = (at + choices.below(24)).min(bytes.len());
        match choices.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << choices.below(8),
            1 if at < bytes.len() => bytes[at] = choices.byte(),
            2 => drop(bytes.splice(at..at, choices.of(&PIECES).bytes())),
            3 => drop(bytes.splice(at..end, choices.of(&PIECES).bytes())),
            4 => drop(bytes.drain(at..end)),
            _ => {
                let copied = bytes[at..end].to_vec();
                let to = choices.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copied));
            }
        }
    }
    bytes
}

/// Somewhere in a value something else.
fn damage_value(value: &mut Value, choices: &mut Choices<'_>) {
    let inside = match value {
        Value::Object(members) if !members.is_empty() && choices.below(8) > 0 => {
            let at = choices.below(members.len());
            members.values_mut().nth(at)
        }
        Value::Array(entries) if !entries.is_empty() && choices.below(8) > 0 => {
            let at = choices.below(entries.len());
            entries.get_mut(at)
        }
        _ => None,
    };
    if let Some(inside) = inside {
        return damage_value(inside, choices);
    }
    match choices.below(8) {
        0 => *value = Value::Null,
        1 => *value = json!([value.clone(), value.clone()]),
        2 => *value = json!(u64::MAX),
        3 => *value = json!(-1),
        4 => *value = Value::String("9".repeat(choices.below(2_000))),
        5 => (0..choices.below(200)).for_each(|_| *value = json!([value.take()])),
        6 => {
            let text = damage(value.as_str().unwrap_or("x").as_bytes(), choices);
            *value = Value::String(String::from_utf8_lossy(&text).into_owned());
        }
        _ => match value {
            Value::Object(members) => {
                let name = members.keys().nth(choices.below(members.len())).cloned();
                name.and_then(|name| members.remove(&name));
            }
            other => *other = Value::String((*choices.of(&PIECES)).to_owned()),
        },
    }
}

static PAYMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let (exact, permits) = (fixture::exact(), fixture::permits());
    let mut found = vec![exact["paymentPayload"].clone()];
    collect(&permits, &mut found);
    collect(&fixture::others(), &mut found);
    found
});

/// Every payment and every offer in a file.
fn collect(value: &Value, found: &mut Vec<Value>) {
    if value.get("payload").is_some() || value.get("payTo").is_some() {
        found.push(value.clone());
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| collect(member, found)),
        Value::Array(entries) => entries.iter().for_each(|entry| collect(entry, found)),
        _ => {}
    }
}

/// Every reader that a stranger's bytes reach.
fn read_all(bytes: &[u8]) {
    let _ = read_header::<PaymentPayload>(bytes);
    let _ = read_header::<PaymentRequired>(bytes);
    let _ = read_header::<SettleResponse>(bytes);
    let _ = read_header::<v1::PaymentPayload>(bytes);
    let _ = read_message::<FacilitatorRequest>(bytes);
    let _ = read_message::<v1::PaymentRequired>(bytes).map(|demand| demand.upgraded(&NetworkNames::trusted()));
    let _ = read_message::<VerifyResponse>(bytes);
    let _ = read_message::<SupportedResponse>(bytes);
    let _ = v1::read_request(bytes, &NetworkNames::trusted());
    let _ = Proof::read(bytes).map(|proof| proof.is_by_key());
}

/// Headers: damaged outside, within, and in the spelling of their base64.
#[test]
fn a_damaged_header_is_read_or_refused() {
    bolero::check!().with_iterations(runs(60_000)).with_max_len(64).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let inner = damage(choices.of(&PAYMENTS).to_string().as_bytes(), &mut choices);
        let header = match choices.below(3) {
            0 => STANDARD.encode(&inner).into_bytes(),
            1 => URL_SAFE_NO_PAD.encode(&inner).into_bytes(),
            _ => damage(STANDARD.encode(&inner).as_bytes(), &mut choices),
        };
        read_all(&header);
        read_all(&inner);
        // What is read as a payment is written and read back as the same.
        if let Ok(read) = read_header::<PaymentPayload>(&header)
            && let Ok(written) = write_header(&read)
        {
            assert_eq!(read_header::<PaymentPayload>(written.as_bytes()).as_ref(), Ok(&read), "{written}");
        }
    });
}

/// What an account answers to a text, and what is read of it.
static SIGNED_IN: LazyLock<(Value, Proof)> = LazyLock::new(|| {
    let key = exact::WalletKey::from_bytes(&[7; 32]).unwrap();
    let (domain, uri) = ("api.example.com".to_owned(), "https://api.example.com/paid".to_owned());
    let challenge = Challenge { domain, uri, nonce: "0a".repeat(16), issued_at: 1_795_490_600 };
    let mut said = challenge.declaration(["eip155:8453"].into_iter()).unwrap()["info"].clone();
    said["address"] = key.address().to_string().into();
    said["chainId"] = "eip155:8453".into();
    said["type"] = "eip191".into();
    said["signature"] = "0x".into();
    let read = |said: &Value| Proof::read(STANDARD.encode(said.to_string()).as_bytes()).unwrap();
    said["signature"] = key.sign(read(&said).digest().unwrap()).unwrap().to_text().into();
    let proof = read(&said);
    assert_eq!(proof.is_by_key(), Ok(true));
    (said, proof)
});

/// What somebody signed to come back is read as that, or not at all.
#[test]
fn a_damaged_sign_in_is_read_or_refused() {
    bolero::check!().with_iterations(runs(20_000)).with_max_len(64).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let (mut said, signed) = SIGNED_IN.clone();
        for _ in 0..=choices.below(3) {
            damage_value(&mut said, &mut choices);
        }
        if let Ok(read) = Proof::read(STANDARD.encode(said.to_string()).as_bytes())
            && read.is_by_key() == Ok(true)
        {
            let of = |proof: &Proof| (proof.challenge.clone(), proof.network, proof.address);
            assert_eq!(of(&read), of(&signed), "{said}");
        }
    });
}

static WHOLE: LazyLock<(exact::VerifiedPayment, AssetTable)> = LazyLock::new(|| {
    let (payload, requirements) = (fixture::payload(), fixture::requirements());
    let table = fixture::assets(&requirements);
    (exact::verify(&payload, &requirements, &table, fixture::NOW).unwrap(), table)
});

/// A payment that verifies after it was damaged is the payment that was signed.
#[test]
fn a_damaged_payment_is_read_or_refused() {
    bolero::check!().with_iterations(runs(20_000)).with_max_len(64).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let mut payload = fixture_payload();
        for _ in 0..=choices.below(3) {
            damage_value(&mut payload, &mut choices);
        }
        let Ok(payload) = serde_json::from_value::<PaymentPayload>(payload) else { return };
        let requirements = fixture_requirements();
        if let Ok(verified) = exact::verify(&payload, requirements, &WHOLE.1, fixture::NOW) {
            assert_eq!(verified.claim_key(), WHOLE.0.claim_key());
            assert_eq!(verified.expected(), WHOLE.0.expected());
        }
    });
}

/// Whatever offer and payment: judged by every scheme, and never a panic.
#[test]
fn nonsense_for_nonsense_is_refused() {
    bolero::check!().with_iterations(runs(20_000)).with_max_len(96).for_each(|input: &[u8]| {
        let mut choices = Choices(input.iter());
        let mut request = json!({
            "x402Version": 2, "paymentPayload": fixture_payload(),
            "paymentRequirements": fixture_requirements(),
        });
        for _ in 0..=choices.below(4) {
            damage_value(&mut request, &mut choices);
        }
        let bytes = request.to_string().into_bytes();
        read_all(&bytes);
        let Ok(request) = read_message::<FacilitatorRequest>(&bytes) else { return };
        let _ = Terms::read(&request.payment_requirements);
        let _ = exact::claim_key(&request.payment_payload, &request.payment_requirements);
        let (payload, requirements) = (&request.payment_payload, &request.payment_requirements);
        let _ = scheme::check_charge(payload, requirements, &WHOLE.1, fixture::NOW);
        let _ = exact::check_accepted(&payload.accepted, requirements);
    });
}

fn fixture_payload() -> Value {
    PAYMENTS[0].clone()
}

fn fixture_requirements() -> &'static super::super::PaymentRequirements {
    static REQUIREMENTS: LazyLock<super::super::PaymentRequirements> = LazyLock::new(fixture::requirements);
    &REQUIREMENTS
}
