//! The fear: a page, an agent or a copy of a key that gets an approval past the person.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use serde_json::{Value, json};

use super::*;
use crate::base64url;

const HANDLE: &[u8] = b"handle of one person";
const UP_UV: u8 = 0x05;

enum Signer {
    P256(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// An authenticator that does as it is told.
struct Authenticator(Signer);

fn party() -> RelyingParty {
    RelyingParty { id: "pay.example".into(), origin: "https://pay.example".into() }
}

fn client_data(kind: &str, challenge: &[u8; 32]) -> Value {
    json!({ "type": kind, "challenge": base64url::encode(challenge), "origin": party().origin, "crossOrigin": false })
}

fn data(flags: u8, count: u32) -> Vec<u8> {
    [sha256(&[b"pay.example"]).as_slice(), &[flags], &count.to_be_bytes()].concat()
}

/// Definite lengths below 65536 of CBOR's major types.
fn head(major: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap();
    let [high, low] = length.to_be_bytes();
    match length {
        0..24 => vec![(major << 5) | low],
        24..256 => vec![(major << 5) | 24, low],
        _ => vec![(major << 5) | 25, high, low],
    }
}

fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, value.len()), value.to_vec()].concat()
}

fn text(value: &str) -> Vec<u8> {
    [head(3, value.len()), value.as_bytes().to_vec()].concat()
}

fn map(members: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let body = members.iter().flat_map(|(name, value)| [name.clone(), value.clone()].concat());
    [head(5, members.len()), body.collect()].concat()
}

fn int(value: i64) -> Vec<u8> {
    match u16::try_from(value) {
        Ok(value) => head(0, value.into()),
        Err(_) => head(1, usize::try_from(-1 - value).unwrap()),
    }
}

fn attested(flags: u8, credential: &[u8], key: &[u8]) -> Vec<u8> {
    let length = u16::try_from(credential.len()).unwrap().to_be_bytes();
    [data(flags, 7).as_slice(), &[0; 16], &length, credential, key].concat()
}

fn attestation(format: &str, data: &[u8]) -> Vec<u8> {
    map(&[(text("fmt"), text(format)), (text("attStmt"), map(&[])), (text("authData"), bytes(data))])
}

impl Authenticator {
    fn p256() -> Self {
        Self(Signer::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()))
    }

    fn all() -> [Self; 3] {
        let ed = Ed25519KeyPair::generate().unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        [Self::p256(), Self(Signer::Ed(ed)), Self(Signer::Rsa(Box::new(rsa)))]
    }

    fn members(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        match &self.0 {
            Signer::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (bytes(&point[1..33]), bytes(&point[33..]));
                vec![(int(1), int(2)), (int(3), int(-7)), (int(-1), int(1)), (int(-2), x), (int(-3), y)]
            }
            Signer::Ed(pair) => {
                let x = bytes(pair.public_key().as_ref());
                vec![(int(1), int(1)), (int(3), int(-8)), (int(-1), int(6)), (int(-2), x)]
            }
            Signer::Rsa(pair) => {
                // RSAPublicKey of RFC 8017 in DER: two integers, the first of 2048 bits after a zero.
                let der = pair.public_key().as_ref();
                let (n, e) = (bytes(&der[9..265]), bytes(&der[267..]));
                vec![(int(1), int(3)), (int(3), int(-257)), (int(-1), n), (int(-2), e)]
            }
        }
    }

    fn cose(&self) -> Vec<u8> {
        map(&self.members())
    }

    fn key(&self) -> PasskeyKey {
        PasskeyKey::from_cose(&self.cose()).unwrap()
    }

    fn sign(&self, client_data: Vec<u8>, authenticator_data: Vec<u8>) -> Assertion {
        let signed = [authenticator_data.as_slice(), &sha256(&[&client_data])].concat();
        let random = SystemRandom::new();
        let signature = match &self.0 {
            Signer::P256(pair) => pair.sign(&random, &signed).unwrap().as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(&signed).as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, &signed, &mut signature).unwrap();
                signature
            }
        };
        Assertion { credential: vec![1], client_data, authenticator_data, signature, user_handle: Some(HANDLE.into()) }
    }

    fn good(&self) -> Assertion {
        self.sign(client_data("webauthn.get", &[9; 32]).to_string().into_bytes(), data(UP_UV, 8))
    }
}

fn judge(key: &PasskeyKey, given: &Assertion) -> Result<Asserted, PasskeyCode> {
    judge_after(key, given, 7)
}

fn judge_after(key: &PasskeyKey, given: &Assertion, sign_count: u32) -> Result<Asserted, PasskeyCode> {
    let party = party();
    let expected = Expected { party: &party, challenge: [9; 32], key, sign_count, user_handle: HANDLE };
    assertion(&expected, given).map_err(|refused| refused.code)
}

/// Each is signed by the right key, and is about something else.
#[test]
fn what_was_signed_for_anything_else_is_refused() {
    let one = Authenticator::p256();
    let key = one.key();
    let said = |name: &str, value: Value| {
        let mut said = client_data("webauthn.get", &[9; 32]);
        said[name] = value;
        said.to_string().into_bytes()
    };
    use PasskeyCode as Code;
    for (client_data, expected) in [
        (said("type", json!("webauthn.create")), Code::TypeWrong),
        (said("type", json!("payment.get")), Code::TypeWrong),
        (said("type", json!(null)), Code::Malformed),
        (said("challenge", json!(base64url::encode(&[8; 32]))), Code::ChallengeMismatch),
        (said("challenge", json!(format!("{}=", base64url::encode(&[9; 32])))), Code::ChallengeMismatch),
        (said("challenge", json!("")), Code::ChallengeMismatch),
        (said("challenge", json!([9])), Code::Malformed),
        (said("origin", json!("http://pay.example")), Code::OriginMismatch),
        (said("origin", json!("https://pay.example:8443")), Code::OriginMismatch),
        (said("origin", json!("https://pay.example.evil.example")), Code::OriginMismatch),
        (said("origin", json!("https://sub.pay.example")), Code::OriginMismatch),
        (said("crossOrigin", json!(true)), Code::CrossOrigin),
        (said("crossOrigin", json!("false")), Code::CrossOrigin),
        (said("topOrigin", json!("https://evil.example")), Code::CrossOrigin),
        (b"[]".to_vec(), Code::Malformed),
        (b"".to_vec(), Code::Malformed),
        (b"{".to_vec(), Code::Malformed),
        (br#"{"type":"webauthn.get","type":"webauthn.get"}"#.to_vec(), Code::Malformed),
        (said("padding", json!("x".repeat(CLIENT_DATA_BYTES_MAX))), Code::Malformed),
    ] {
        let shown = String::from_utf8_lossy(&client_data).into_owned();
        assert_eq!(judge(&key, &one.sign(client_data, data(UP_UV, 8))), Err(expected), "{shown}");
    }
    let good = || client_data("webauthn.get", &[9; 32]).to_string().into_bytes();
    let elsewhere = [sha256(&[b"evil.example"]).as_slice(), &[UP_UV], &[0, 0, 0, 8]].concat();
    for (authenticator_data, expected) in [
        (elsewhere, Code::RpIdMismatch),
        (data(0x04, 8), Code::UserAbsent),
        (data(0x01, 8), Code::UserUnverified),
        (data(0x00, 8), Code::UserAbsent),
        (data(0x15, 8), Code::BackupFlagsWrong),
        (data(UP_UV, 7), Code::CountStale),
        (data(UP_UV, 0), Code::CountStale),
        (data(UP_UV, 6), Code::CountStale),
        (data(UP_UV, 8)[..36].to_vec(), Code::Malformed),
        ([data(UP_UV, 8), vec![0]].concat(), Code::Malformed),
        (data(UP_UV | 0x80, 8), Code::Malformed),
        (data(UP_UV | 0x40, 8), Code::Malformed),
        (attested(UP_UV | 0x40, &[1], &one.cose()), Code::Malformed),
        (vec![], Code::Malformed),
        (vec![0; AUTHENTICATOR_BYTES_MAX + 1], Code::Malformed),
    ] {
        let shown = hex(&authenticator_data[..authenticator_data.len().min(80)]);
        assert_eq!(judge(&key, &one.sign(good(), authenticator_data)), Err(expected), "{shown}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn another_key_another_person_and_a_copy_are_refused() {
    let one = Authenticator::p256();
    let (key, good) = (one.key(), one.good());
    for other in Authenticator::all() {
        assert_eq!(judge(&other.key(), &good), Err(PasskeyCode::SignatureInvalid));
    }
    let other = Assertion { user_handle: Some(b"somebody else".to_vec()), ..good.clone() };
    assert_eq!(judge(&key, &other), Err(PasskeyCode::UserMismatch));
    assert_eq!(judge_after(&key, &good, 8), Err(PasskeyCode::CountStale), "shown again");
    assert_eq!(judge_after(&key, &good, u32::MAX), Err(PasskeyCode::CountStale));
    let long = Assertion { signature: vec![0; SIGNATURE_BYTES_MAX + 1], ..good.clone() };
    assert_eq!(judge(&key, &long), Err(PasskeyCode::Malformed));
    let none = Assertion { signature: Vec::new(), ..good };
    assert_eq!(judge(&key, &none), Err(PasskeyCode::SignatureInvalid));
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let one = Authenticator::p256();
    let (key, good) = (one.key(), one.good());
    let parts: [fn(&mut Assertion) -> &mut Vec<u8>; 3] =
        [|given| &mut given.client_data, |given| &mut given.authenticator_data, |given| &mut given.signature];
    for part in parts {
        for at in 0..part(&mut good.clone()).len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                part(&mut changed)[at] ^= 1 << bit;
                assert!(judge(&key, &changed).is_err(), "byte {at}, bit {bit}");
            }
            let mut cut = good.clone();
            part(&mut cut).truncate(at);
            assert!(judge(&key, &cut).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn an_assertion_over_exactly_this_is_taken() {
    for one in Authenticator::all() {
        let asserted = judge(&one.key(), &one.good()).unwrap();
        assert_eq!((asserted.challenge(), asserted.sign_count()), (&[9; 32], 8));
        let unnamed = Assertion { user_handle: None, ..one.good() };
        assert!(judge(&one.key(), &unnamed).is_ok());
    }
    // Keys that are synchronised count nothing.
    let one = Authenticator::p256();
    let said = client_data("webauthn.get", &[9; 32]).to_string().into_bytes();
    assert_eq!(judge_after(&one.key(), &one.sign(said.clone(), data(UP_UV, 0)), 0).unwrap().sign_count(), 0);
    // Extensions and members that nobody here knows change nothing.
    let mut more = client_data("webauthn.get", &[9; 32]);
    more["other_keys_can_be_added_here"] = json!("do not compare clientDataJSON against a template");
    let extended = [data(UP_UV | 0x98, 9), map(&[(text("a"), map(&[(int(1), bytes(b"x"))]))])].concat();
    assert!(judge(&one.key(), &one.sign(more.to_string().into_bytes(), extended)).is_ok());
}

fn register(client_data: &[u8], attestation: &[u8]) -> Result<Registered, PasskeyCode> {
    registration(&party(), &[9; 32], client_data, attestation).map_err(|refused| refused.code)
}

#[test]
fn a_registration_that_is_none_is_refused() {
    let one = Authenticator::p256();
    let said = client_data("webauthn.create", &[9; 32]).to_string().into_bytes();
    let made = attested(UP_UV | 0x40, &[5; 16], &one.cose());
    let without = |label: i64| {
        let left = one.members().into_iter().filter(|(name, _)| *name != int(label));
        attestation("none", &attested(UP_UV | 0x40, &[5; 16], &map(&left.collect::<Vec<_>>())))
    };
    let with = |label: i64, value: Vec<u8>| {
        let mut members = one.members();
        members.iter_mut().filter(|(name, _)| *name == int(label)).for_each(|member| member.1 = value.clone());
        attestation("none", &attested(UP_UV | 0x40, &[5; 16], &map(&members)))
    };
    let twice = [one.members(), vec![(int(3), int(-7))]].concat();
    use PasskeyCode as Code;
    for (attestation, expected) in [
        (attestation("none", &data(UP_UV, 0)), Code::Malformed),
        (attestation("none", &attested(0x41, &[5; 16], &one.cose())), Code::UserUnverified),
        (attestation("none", &attested(UP_UV | 0x40, &[], &one.cose())), Code::Malformed),
        (attestation("none", &attested(UP_UV | 0x40, &[5; 1024], &one.cose())), Code::Malformed),
        (attestation("none", &[made.clone(), vec![0]].concat()), Code::Malformed),
        (attestation("none", &attested(UP_UV | 0x40, &[5; 16], &map(&twice))), Code::Malformed),
        (attestation("none", &attested(UP_UV | 0x40, &[5; 16], &bytes(b"no map"))), Code::Malformed),
        (without(1), Code::KeyUnsupported),
        (without(3), Code::KeyUnsupported),
        (without(-1), Code::KeyUnsupported),
        (without(-2), Code::KeyUnsupported),
        (without(-3), Code::KeyUnsupported),
        (with(3, int(-35)), Code::KeyUnsupported),
        (with(-1, int(2)), Code::KeyUnsupported),
        (with(-2, bytes(&[1; 32])), Code::KeyUnsupported),
        (with(-2, bytes(&[1; 31])), Code::KeyUnsupported),
        (with(-3, vec![0xf5]), Code::Malformed),
        (map(&[(text("fmt"), text("none"))]), Code::Malformed),
        ([attestation("none", &made), vec![0]].concat(), Code::Malformed),
        (map(&[(text("authData"), bytes(&made)), (text("authData"), bytes(&made))]), Code::Malformed),
        // Lengths that nothing has.
        (vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Code::Malformed),
        (vec![0xa1, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Code::Malformed),
        (vec![0xbf, 0xff], Code::Malformed),
        ([vec![0xa1, 0x61, b'x'], vec![0x81; 8_000]].concat(), Code::Malformed),
        (vec![], Code::Malformed),
    ] {
        let shown = hex(&attestation[..attestation.len().min(60)]);
        assert_eq!(register(&said, &attestation).map(|made| made.key), Err(expected), "{shown}");
    }
    let wrong = client_data("webauthn.get", &[9; 32]).to_string();
    assert_eq!(register(wrong.as_bytes(), &attestation("none", &made)).map(drop), Err(Code::TypeWrong));
    let other = client_data("webauthn.create", &[8; 32]).to_string();
    assert_eq!(register(other.as_bytes(), &attestation("none", &made)).map(drop), Err(Code::ChallengeMismatch));
}

impl PartialEq for PasskeyKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_cose() == other.as_cose()
    }
}

#[test]
fn a_registration_with_any_attestation_is_taken_for_the_same() {
    for one in Authenticator::all() {
        let said = client_data("webauthn.create", &[9; 32]).to_string().into_bytes();
        for format in ["none", "packed", "tpm"] {
            let made = attestation(format, &attested(UP_UV | 0x40, &[5; 16], &one.cose()));
            let registered = register(&said, &made).unwrap();
            assert_eq!((registered.credential, registered.sign_count), (vec![5; 16], 7));
            assert_eq!(judge(&registered.key, &one.good()).unwrap().sign_count(), 8);
        }
    }
}

#[test]
fn damaged_registrations_and_junk_never_panic() {
    let one = Authenticator::p256();
    let said = client_data("webauthn.create", &[9; 32]).to_string().into_bytes();
    let good = attestation("none", &attested(UP_UV | 0x40, &[5; 16], &one.cose()));
    for at in 0..good.len() {
        assert!(register(&said, &good[..at]).is_err(), "cut at {at}");
        for value in [0x00, 0x1f, 0x5f, 0x7f, 0x9f, 0xbf, 0xdf, 0xff, good[at] ^ 1] {
            let mut changed = good.clone();
            changed[at] = value;
            // A credential's id and the vendor's number are anybody's to choose; nothing else is.
            let _ = register(&said, &changed);
        }
    }
    bolero::check!().with_iterations(20_000).for_each(|junk: &[u8]| {
        let _ = register(&said, junk);
        let _ = PasskeyKey::from_cose(junk);
        let _ = AuthenticatorData::read(junk);
        let _ = register(junk, &good);
    });
}
