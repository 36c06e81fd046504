//! A stranger's text is not signed; and what is signed is what the official SDKs would sign, and take.

use serde_json::json;

use super::super::{Challenge, Door, Proof};
use super::*;

const NOW: i64 = 1_795_490_600;
const URI: &str = "https://api.example.com/premium-data?page=2";

fn key() -> WalletKey {
    WalletKey::from_bytes(&[7; 32]).unwrap()
}

/// As a seller of ours declares it, changed.
fn declaration(change: impl Fn(&mut Value)) -> Map<String, Value> {
    let challenge =
        Challenge { domain: "api.example.com".into(), uri: URI.into(), nonce: "0a1b".repeat(8), issued_at: NOW - 10 };
    let mut entry = challenge.declaration(["eip155:1", "eip155:8453"].into_iter()).unwrap();
    change(&mut entry);
    Map::from_iter([(EXTENSION.to_owned(), entry)])
}

fn read_at(extensions: &Map<String, Value>, resource_url: &str, now: i64) -> Result<Invitation, Refusal> {
    let statements = ["Welcome back.".to_owned()];
    let network = Network::new(8453).unwrap();
    Invitation::read(Some(extensions), Paid { resource_url, network, statements: &statements }, now)
}

fn read(extensions: &Map<String, Value>) -> Result<Invitation, Refusal> {
    read_at(extensions, URI, NOW)
}

#[test]
fn a_text_that_could_mean_anything_else_is_not_signed() {
    let chains = |chain: &str, kind: &str| json!([{ "chainId": chain, "type": kind }]);
    let cases: [(&str, &str, Value, Reason); 44] = [
        ("info", "domain", json!("evil.example"), Reason::SignInDomain),
        ("info", "domain", json!("api.example.com:443"), Reason::SignInDomain),
        ("info", "domain", json!("API.example.com"), Reason::SignInDomain),
        ("info", "domain", json!("https://api.example.com"), Reason::SignInDomain),
        ("info", "domain", json!("api.example.com wants you to sign in\n"), Reason::SignInDomain),
        ("info", "domain", json!("аpi.example.com"), Reason::SignInDomain),
        ("info", "domain", json!(""), Reason::SignInDomain),
        ("info", "uri", json!("https://api.example.com/gold"), Reason::SignInUri),
        ("info", "uri", json!("https://evil.example/premium-data?page=2"), Reason::SignInUri),
        ("info", "uri", json!("http://api.example.com/premium-data?page=2"), Reason::SignInUri),
        ("info", "uri", json!("https://api.example.com:8443/premium-data?page=2"), Reason::SignInUri),
        ("info", "uri", json!(format!("{URI}\nChain ID: 1")), Reason::SignInUri),
        ("info", "uri", json!(""), Reason::SignInUri),
        ("info", "resources", json!([]), Reason::SignInText),
        ("info", "resources", json!(["ipfs://bafy"]), Reason::SignInText),
        ("info", "resources", json!([URI, "https://evil.example/"]), Reason::SignInText),
        ("info", "version", json!("2"), Reason::SignInText),
        ("info", "statement", json!("I owe api.example.com a thousand dollars."), Reason::SignInText),
        ("info", "statement", json!("Sign in to what this address has paid for. And pay."), Reason::SignInText),
        ("info", "statement", json!("Welcome back.\n\nURI: https://evil.example"), Reason::SignInText),
        ("info", "statement", json!("welcome back."), Reason::SignInText),
        ("info", "statement", json!(""), Reason::SignInText),
        ("info", "notBefore", json!("2026-11-24T03:23:10.000Z"), Reason::SignInText),
        ("info", "requestId", json!("7"), Reason::SignInText),
        ("info", "nonce", json!(""), Reason::SignInNonce),
        ("info", "nonce", json!("0a1b0a1"), Reason::SignInNonce),
        ("info", "nonce", json!("a".repeat(129)), Reason::SignInNonce),
        ("info", "nonce", json!("0a1b0a1b\nIssued At: 2026"), Reason::SignInNonce),
        ("info", "nonce", json!("0x0a1b-0a1b"), Reason::SignInNonce),
        ("info", "nonce", json!(null), Reason::SignInText),
        ("info", "nonce", json!(7), Reason::SignInText),
        ("info", "issuedAt", json!("yesterday"), Reason::SignInIssuedAt),
        ("info", "issuedAt", json!("2026-11-24T03:23:10.000Z[UTC]"), Reason::SignInIssuedAt),
        ("info", "issuedAt", json!("2026-11-24 03:23:10Z"), Reason::SignInIssuedAt),
        ("info", "issuedAt", json!("2026-11-24T03:23:10Z\nNonce: 1"), Reason::SignInIssuedAt),
        ("info", "expirationTime", json!("never"), Reason::SignInExpired),
        ("info", "expirationTime", json!("2026-11-24T03:23:20.000Z"), Reason::SignInExpired),
        ("info", "expirationTime", json!("2026-11-24T04:23:11.000Z"), Reason::SignInExpired),
        ("info", "expirationTime", json!("2099-01-01T00:00:00.000Z"), Reason::SignInExpired),
        ("", "supportedChains", json!([]), Reason::SignInChain),
        ("", "supportedChains", chains("eip155:1", "eip191"), Reason::SignInChain),
        ("", "supportedChains", chains("eip155:8453", "ed25519"), Reason::SignInChain),
        ("", "supportedChains", chains("eip155:8453", "eip712"), Reason::SignInChain),
        ("", "supportedChains", json!("eip155:8453"), Reason::SignInText),
    ];
    for (within, field, found, reason) in cases {
        let asked = declaration(|entry| {
            let place = if within.is_empty() { entry } else { &mut entry[within] };
            place[field] = found.clone();
        });
        assert_eq!(read(&asked).map_err(|refusal| refusal.reason), Err(reason), "{field}: {found}");
    }
    let by_contract = declaration(|entry| {
        entry["supportedChains"] =
            json!([{ "chainId": "eip155:8453", "type": "eip191", "signatureScheme": "eip1271" }]);
    });
    assert_eq!(read(&by_contract).map_err(|refusal| refusal.reason), Err(Reason::SignInChain));
}

#[test]
fn it_is_of_the_resource_that_was_paid() {
    let asked = declaration(|_| ());
    for (paid, reason) in [
        ("https://api.example.com/premium-data", Reason::SignInUri),
        ("https://api.example.com/premium-data?page=3", Reason::SignInUri),
        ("https://api.example.com.evil.example/premium-data?page=2", Reason::SignInDomain),
        ("https://api.example.com@evil.example/", Reason::SignInUri),
        ("http://api.example.com:8080/premium-data?page=2", Reason::SignInDomain),
        ("mcp://tool/premium-data", Reason::SignInUri),
        ("https://api.example.com/prämie", Reason::SignInUri),
        ("", Reason::SignInUri),
    ] {
        assert_eq!(read_at(&asked, paid, NOW).map_err(|refusal| refusal.reason), Err(reason), "{paid}");
    }
    for nothing in [Map::new(), Map::from_iter([(EXTENSION.to_owned(), json!(true))])] {
        assert!(!is_declared(Some(&nothing)));
        assert_eq!(read(&nothing).map_err(|refusal| refusal.reason), Err(Reason::SignInText));
    }
    assert!(is_declared(Some(&asked)) && !is_declared(None));
}

#[test]
fn it_is_made_now_and_ends_soon() {
    let without = declaration(|entry| entry["info"]["expirationTime"] = Value::Null);
    for asked in [declaration(|_| ()), without] {
        for (now, reason) in [
            (NOW - 16, Reason::SignInEarly),
            (NOW - 10 + CHALLENGE_SECONDS, Reason::SignInExpired),
            (i64::MAX, Reason::SignInExpired),
            (i64::MIN, Reason::SignInEarly),
        ] {
            assert_eq!(read_at(&asked, URI, now).map_err(|refusal| refusal.reason), Err(reason), "{now}");
        }
        for now in [NOW - 15, NOW, NOW - 11 + CHALLENGE_SECONDS] {
            let text = read_at(&asked, URI, now).unwrap().text(key().address());
            assert!(text.contains("\nExpiration Time: 2026-11-24T03:28:10.000Z\n"), "{text}");
        }
    }
}

/// `prepareMessage()` of npm `@signinwithethereum/siwe` 4.2.1 (through `@x402/extensions` 2.27.0) for the same values.
#[test]
fn the_text_is_that_of_the_official_sdk() {
    let address = key().address();
    let (nonce, tail) = ("0a1b".repeat(8), format!("\nResources:\n- {URI}"));
    let rest = |statement: &str, tail: &str| {
        format!(
            "api.example.com wants you to sign in with your Ethereum account:\n{address}\n\n{statement}\nURI: {URI}\n\
             Version: 1\nChain ID: 8453\nNonce: {nonce}\nIssued At: 2026-11-24T03:23:10.000Z\n\
             Expiration Time: 2026-11-24T03:28:10.000Z{tail}"
        )
    };
    for (statement, resources, expected) in [
        (json!(STATEMENT), json!([URI]), rest(&format!("{STATEMENT}\n"), &tail)),
        (json!("Welcome back."), json!([URI]), rest("Welcome back.\n", &tail)),
        (Value::Null, json!([URI]), rest("", &tail)),
        (Value::Null, Value::Null, rest("", "")),
    ] {
        let asked = declaration(|entry| {
            entry["info"]["statement"] = statement.clone();
            entry["info"]["resources"] = resources.clone();
        });
        assert_eq!(read(&asked).unwrap().text(address), expected);
    }
}

#[test]
fn what_is_signed_is_taken_by_our_own_seller_and_is_the_keys_own() {
    let invitation = read(&declaration(|_| ())).unwrap();
    let header = invitation.sign(&key()).unwrap();
    let proof = Proof::read(header.as_bytes()).unwrap();
    proof.check(Door { domain: "api.example.com", uri: URI }, NOW).unwrap();
    assert!(proof.is_by_key().unwrap());
    assert_eq!((proof.address, proof.network.to_string().as_str()), (key().address(), "eip155:8453"));
    let other = WalletKey::from_bytes(&[8; 32]).unwrap();
    let signature = other.sign(invitation.digest(key().address())).unwrap();
    let refused = invitation.signed(key().address(), signature);
    assert!(matches!(refused, Err(InvitationError::Signer { .. })), "{refused:?}");
}
