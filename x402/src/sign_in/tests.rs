//! What is not the text that was asked for is refused; and the text is that of the official SDKs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::exact::WalletKey;

const NOW: i64 = 1_795_490_600;
const URI: &str = "https://api.example.com/premium-data?page=2";
const DOOR: Door<'_> = Door { domain: "api.example.com", uri: URI };

fn key() -> WalletKey {
    WalletKey::from_bytes(&[7; 32]).unwrap()
}

fn challenge() -> Challenge {
    Challenge { domain: DOOR.domain.into(), uri: URI.into(), nonce: "0a1b".repeat(8), issued_at: NOW - 10 }
}

/// What a client sends: the declared `info`, and who signs; the signature is over the text as it stands then.
fn answer(change: impl Fn(&mut Value)) -> Value {
    let mut said = challenge().declaration(["eip155:8453"].into_iter()).unwrap()["info"].clone();
    said["address"] = format!("{}", key().address()).into();
    said["chainId"] = "eip155:8453".into();
    said["type"] = "eip191".into();
    said["signature"] = "0x00".into();
    change(&mut said);
    if said["signature"] == "0x00"
        && let Ok(proof) = Proof::read(&header(&said))
    {
        said["signature"] = key().sign(proof.digest().unwrap()).unwrap().to_text().into();
    }
    said
}

fn header(said: &Value) -> Vec<u8> {
    STANDARD.encode(said.to_string()).into_bytes()
}

fn judged(said: &Value, now: i64) -> Result<(), Reason> {
    let proof = Proof::read(&header(said)).map_err(|refusal| refusal.reason)?;
    proof.check(DOOR, now).map_err(|refusal| refusal.reason)?;
    match proof.is_by_key() {
        Ok(true) => Ok(()),
        Ok(false) => Err(proof.not_signed().reason),
        Err(refusal) => Err(refusal.reason),
    }
}

#[test]
fn what_is_no_header_is_refused_with_a_code() {
    let long = STANDARD.encode(json!({ "domain": "x".repeat(64 * 1024) }).to_string());
    let twice = STANDARD.encode(r#"{"domain":"a","domain":"b"}"#);
    let junk: [&[u8]; 9] =
        [b"", b"=", b"%%%", b"bm8=", b"e30=", b"W10=", b"\xff\xfe", long.as_bytes(), twice.as_bytes()];
    for header in junk {
        assert_eq!(Proof::read(header).map_err(|refusal| refusal.reason), Err(Reason::SignInHeader), "{header:?}");
    }
    for field in ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"] {
        for wrong in [json!(null), json!(7), json!([]), json!({})] {
            let said = answer(|said| said[field] = wrong.clone());
            assert_eq!(judged(&said, NOW), Err(Reason::SignInHeader), "{field}: {wrong}");
        }
    }
}

#[test]
fn another_text_than_the_one_that_was_asked_for_is_refused() {
    let cases: [(&str, Value, Reason); 24] = [
        ("domain", json!("evil.example"), Reason::SignInDomain),
        ("domain", json!("api.example.com:443"), Reason::SignInDomain),
        ("domain", json!("API.example.com"), Reason::SignInDomain),
        ("domain", json!("api.example.com\nURI: https://evil.example"), Reason::SignInDomain),
        ("uri", json!("https://api.example.com/gold"), Reason::SignInText),
        ("version", json!("2"), Reason::SignInText),
        ("statement", json!("Transfer everything."), Reason::SignInText),
        ("statement", json!(null), Reason::SignInText),
        ("notBefore", json!("2026-11-24T00:00:00.000Z"), Reason::SignInText),
        ("requestId", json!("7"), Reason::SignInText),
        ("resources", json!([]), Reason::SignInText),
        ("resources", json!([URI, "https://evil.example"]), Reason::SignInText),
        ("type", json!("ed25519"), Reason::SignInChain),
        ("chainId", json!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), Reason::SignInChain),
        ("chainId", json!("eip155:"), Reason::SignInChain),
        ("chainId", json!("eip155:8453 "), Reason::SignInChain),
        ("nonce", json!("0a1b"), Reason::SignInNonce),
        ("nonce", json!("zz1b".repeat(8)), Reason::SignInNonce),
        ("issuedAt", json!("yesterday"), Reason::SignInIssuedAt),
        ("issuedAt", json!("2026-11-24T03:23:10Z"), Reason::SignInIssuedAt),
        ("issuedAt", json!("9999999-11-24T03:23:10.000Z"), Reason::SignInIssuedAt),
        ("expirationTime", json!("2099-01-01T00:00:00.000Z"), Reason::SignInExpired),
        ("expirationTime", json!(null), Reason::SignInExpired),
        ("address", json!("0x12"), Reason::SignInHeader),
    ];
    for (field, found, reason) in cases {
        let said = answer(|said| said[field] = found.clone());
        assert_eq!(judged(&said, NOW), Err(reason), "{field}: {found}");
    }
    let elsewhere = answer(|said| {
        said["uri"] = "https://api.example.com/gold".into();
        said["resources"] = json!(["https://api.example.com/gold"]);
    });
    assert_eq!(judged(&elsewhere, NOW), Err(Reason::SignInUri));
}

#[test]
fn a_text_has_its_time() {
    let said = answer(|_| ());
    for (now, expected) in [
        (NOW - 16, Err(Reason::SignInEarly)),
        (NOW - 10 + CHALLENGE_SECONDS, Err(Reason::SignInExpired)),
        (i64::MAX, Err(Reason::SignInExpired)),
        (i64::MIN, Err(Reason::SignInEarly)),
        (NOW - 15, Ok(())),
        (NOW - 11 + CHALLENGE_SECONDS, Ok(())),
    ] {
        assert_eq!(judged(&said, now), expected, "{now}");
    }
}

#[test]
fn a_signature_is_the_addresses_own() {
    let good = answer(|_| ());
    assert_eq!(judged(&good, NOW), Ok(()));
    let text = good["signature"].as_str().unwrap().to_owned();
    let byte = |place: usize| {
        let flipped = if &text[place..=place] == "0" { "1" } else { "0" };
        format!("{}{flipped}{}", &text[..place], &text[place + 1..])
    };
    let other = format!("0x{}1b", "11".repeat(64));
    for signature in [byte(2), byte(40), byte(100), byte(131), other, "0x".into(), format!("{text}00")] {
        let said = answer(|said| said["signature"] = signature.clone().into());
        assert_eq!(judged(&said, NOW), Err(Reason::SignInSignature), "{signature}");
    }
    for (field, found) in [
        ("address", json!("0x00000000000000000000000000000000000000aa")),
        ("chainId", json!("eip155:1")),
        ("nonce", json!("0a1c".repeat(8))),
        // The same address in another spelling is another text.
        ("address", json!(format!("{:#x}", key().address()))),
    ] {
        let said = answer(|said| {
            said["signature"] = text.clone().into();
            said[field] = found.clone();
        });
        assert_eq!(judged(&said, NOW), Err(Reason::SignInSignature), "{field}: {found}");
    }
}

/// `prepareMessage()` of npm `@signinwithethereum/siwe` (through `@x402/extensions` 2.27.0) for the same values.
#[test]
fn the_text_is_that_of_the_official_sdk() {
    let proof = Proof::read(&header(&answer(|_| ()))).unwrap();
    let expected = format!(
        "api.example.com wants you to sign in with your Ethereum account:\n{}\n\n{STATEMENT}\n\nURI: {URI}\nVersion: 1\n\
         Chain ID: 8453\nNonce: {}\nIssued At: 2026-11-24T03:23:10.000Z\nExpiration Time: 2026-11-24T03:28:10.000Z\n\
         Resources:\n- {URI}",
        key().address(),
        "0a1b".repeat(8)
    );
    assert_eq!(proof.text().unwrap(), expected);
}

#[test]
fn a_domain_is_what_a_browser_calls_the_host() {
    for (url, expected) in [
        ("ftp://a.example/", None),
        ("https://", None),
        ("https:///x", None),
        ("https://user@a.example/x", None),
        ("https://a.example:x/", None),
        ("https://a.example", Some("a.example")),
        ("https://a.example:443/x", Some("a.example")),
        ("http://a.example:443/x", Some("a.example:443")),
        ("http://127.0.0.1:4021/paid?x=1", Some("127.0.0.1:4021")),
        ("http://[::1]:80/paid", Some("[::1]")),
        ("https://a.example?x", Some("a.example")),
    ] {
        assert_eq!(domain(url), expected, "{url}");
    }
}
