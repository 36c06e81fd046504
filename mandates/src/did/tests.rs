//! Origins: did:key, "Test Vectors", P-256 (w3c-ccg/did-method-key, `nist-curves.json`); did:jwk, "Examples", P-256
//! (quartzjer/did-jwk, `spec.md`); did:web, "Read (Resolve)" (w3c-ccg/did-method-web).

use serde_json::json;

use super::*;

const KEYS: [(&str, &str, &str); 2] = [
    (
        "zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
        "fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI",
        "hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU",
    ),
    (
        "zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv",
        "igrFmi0whuihKnj9R3Om1SoMph72wUGeFaBbzG2vzns",
        "efsX5b10x8yjyrj4ny3pGfLcY7Xby1KzgqOdqnsrJIM",
    ),
];

const JWK: &str = "did:jwk:eyJjcnYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6ImFjYklRaXVNczNpOF91c3pFakoydHBUdFJNNEVVM3l6OTFQSDZDZEgyVjAiLCJ5IjoiX0tjeUxqOXZXTXB0bm1LdG00NkdxRHo4d2Y3NEk1TEtncmwyR3pIM25TRSJ9";

fn code(text: &str) -> Option<Code> {
    Did::parse(text).err().map(|refused| refused.code)
}

fn coordinates(key: &PublicKey) -> (String, String) {
    let (x, y) = key.coordinates();
    (base64url::encode(&x), base64url::encode(&y))
}

#[test]
fn a_did_that_is_none_of_ours_is_refused() {
    let multibase = |bytes: &[u8]| format!("did:key:z{}", bs58::encode(bytes).into_string());
    let point = [&P256_PUB[..], &[2], &[1; 32]].concat();
    let off_curve = [&P256_PUB[..], &[2], &[0xff; 32]].concat();
    let long = format!("did:key:z{}", "1".repeat(5_000));
    for (text, expected) in [
        ("", Code::DidInvalid),
        ("did:", Code::DidInvalid),
        ("did:key", Code::DidInvalid),
        ("did:key:", Code::DidInvalid),
        ("did:KEY:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", Code::DidInvalid),
        ("did:pkh:eip155:1:0xb9c5714089478a327f09197987f16f9e5d936e8a", Code::DidInvalid),
        ("did:key:Dnaer", Code::DidInvalid),
        ("did:key:z0OIl", Code::DidInvalid),
        ("did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169#x", Code::DidInvalid),
        // Ed25519, secp256k1 and P-384 of the same list of vectors.
        ("did:key:z6MkoQjzqWih7kG3VSQy95reUwLeAT2FHLUqKsR2aXzZdB3g", Code::KeyNotP256),
        ("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", Code::KeyNotP256),
        ("did:key:z82Lm1MpAkeJcix9K8TMiLd5NMAhnwkjjCBeWHXyu3U4oT2MVJJKXkcVBgjGhnLBn2Kaau9", Code::KeyNotP256),
        (&multibase(&off_curve), Code::KeyInvalid),
        (&multibase(&point[..34]), Code::KeyInvalid),
        (&multibase(&[&point[..], &[0]].concat()), Code::KeyInvalid),
        (&multibase(&[&P256_PUB[..], &[4], &[1; 64]].concat()), Code::KeyInvalid),
        (&long, Code::DidInvalid),
        ("did:jwk:", Code::DidInvalid),
        ("did:jwk:e30=", Code::DidInvalid),
        ("did:jwk:bm8", Code::DidInvalid),
        ("did:jwk:e30", Code::KeyNotP256),
        (&format!("{JWK}#0"), Code::DidInvalid),
    ] {
        assert_eq!(code(text), Some(expected), "{text}");
    }
    let jwk = |jwk: serde_json::Value| format!("did:jwk:{}", base64url::encode(jwk.to_string().as_bytes()));
    let (_, x, y) = KEYS[0];
    for (member, value, expected) in [
        ("d", json!(x), Code::KeyPrivate),
        ("use", json!("enc"), Code::KeyInvalid),
        ("alg", json!("ES384"), Code::KeyInvalid),
        ("crv", json!("secp256k1"), Code::KeyNotP256),
        ("x", json!(y), Code::KeyInvalid),
    ] {
        let mut body = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        body[member] = value;
        assert_eq!(code(&jwk(body)), Some(expected), "{member}");
    }
}

#[test]
fn a_did_that_carries_its_key_names_it() {
    for (id, x, y) in KEYS {
        let did = Did::parse(&format!("did:key:{id}")).unwrap();
        let keys = did.own_keys().unwrap().unwrap();
        let key = keys.find(&format!("did:key:{id}#{id}")).expect("by its DID URL");
        assert_eq!(coordinates(key), (x.to_owned(), y.to_owned()));
        assert_eq!(keys.find(&format!("did:key:{id}")), Some(key), "it has but one");
        assert!(keys.find(id).is_none() && keys.find(&format!("did:key:{id}#0")).is_none() && did.address().is_none());
    }
    let keys = Did::parse(JWK).unwrap().own_keys().unwrap().unwrap();
    let key = keys.find(&format!("{JWK}#0")).unwrap();
    assert_eq!(coordinates(key).0, "acbIQiuMs3i8_uszEjJ2tpTtRM4EU3yz91PH6CdH2V0");
    assert_eq!(coordinates(key).1, "_KcyLj9vWMptnmKtm46GqDz8wf74I5LKgrl2GzH3nSE");
}

#[test]
fn did_web_leads_to_its_host_and_nowhere_else() {
    for wrong in [
        "",
        ":",
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "%5B%3A%3A1%5D",
        "[::1]",
        "example.com/evil",
        "example.com%2Fevil",
        "example.com@evil.example",
        "example.com%40evil.example",
        "user%3Apassword%40example.com",
        "example.com?x",
        "example.com#x",
        "example.com%3A",
        "example.com%3Aport",
        "example.com%3A0",
        "example.com%3A65536",
        "example.com%3A+80",
        "example.com:",
        "example.com:a:",
        "example.com::a",
        "example.com:..",
        "example.com:.:a",
        "example.com:a%2F..%2Fb",
        "example.com:a b",
        ".example.com",
        "example..com",
        "example.com.",
        "-example.com",
        "ex\u{e4}mple.com",
    ] {
        assert_eq!(code(&format!("did:web:{wrong}")), Some(Code::DidInvalid), "{wrong}");
    }
    for (id, address) in [
        ("w3c-ccg.github.io", "https://w3c-ccg.github.io/.well-known/did.json"),
        ("w3c-ccg.github.io:user:alice", "https://w3c-ccg.github.io/user/alice/did.json"),
        ("example.com%3A3000:user:alice", "https://example.com:3000/user/alice/did.json"),
        ("localhost%3a8443", "https://localhost:8443/.well-known/did.json"),
    ] {
        let did = Did::parse(&format!("did:web:{id}")).unwrap();
        assert_eq!(did.address(), Some(address));
        assert!(did.own_keys().unwrap().is_none());
    }
}

#[test]
fn a_document_gives_the_keys_that_make_its_assertions() {
    let did = Did::parse("did:web:shop.example").unwrap();
    let (multibase, x, y) = KEYS[0];
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
    let method = |id: &str, controller: &str| json!({ "id": id, "type": "JsonWebKey2020", "controller": controller, "publicKeyJwk": jwk });
    let read = |document: serde_json::Value| did.keys_of(document.as_object().unwrap());
    let good = method("did:web:shop.example#a", "did:web:shop.example");
    let document = |methods: serde_json::Value, assertions: serde_json::Value| json!({ "id": "did:web:shop.example", "verificationMethod": methods, "assertionMethod": assertions });
    for wrong in [
        json!({}),
        json!({ "id": "did:web:evil.example", "verificationMethod": [good], "assertionMethod": ["#a"] }),
        document(json!([good]), json!(["#b"])),
        document(json!([good]), json!(["did:web:evil.example#a"])),
        document(json!([good]), json!([7])),
        document(json!([good]), json!("#a")),
        document(json!(good), json!(["#a"])),
        document(json!([]), json!([method("did:web:evil.example#a", "did:web:shop.example")])),
        document(json!([]), json!([method("did:web:shop.example.evil#a", "did:web:shop.example")])),
        document(json!([]), json!([method("#", "did:web:shop.example")])),
        document(json!([good]), json!(["#a", "#a"])),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
    let mut both = good.clone();
    both["publicKeyMultibase"] = json!(multibase);
    let mut private = good.clone();
    private["publicKeyJwk"]["d"] = json!(x);
    for wrong in [both, private] {
        assert!(read(document(json!([wrong]), json!(["#a"]))).is_err(), "{wrong}");
    }
    // Nothing to assert with: a key that only logs in, another's, another curve's.
    let other_curve = json!({ "id": "#e", "type": "Multikey", "controller": "did:web:shop.example", "publicKeyMultibase": "z6MkoQjzqWih7kG3VSQy95reUwLeAT2FHLUqKsR2aXzZdB3g" });
    for none in [
        json!({ "id": "did:web:shop.example", "verificationMethod": [good], "authentication": ["#a"] }),
        document(json!([method("#a", "did:web:evil.example")]), json!(["#a"])),
        document(json!([other_curve]), json!(["#e"])),
    ] {
        assert!(read(none.clone()).unwrap().is_empty(), "{none}");
    }
    let multikey = json!({ "id": "#m", "type": "Multikey", "controller": "did:web:shop.example", "publicKeyMultibase": multibase });
    let keys = read(document(json!([good, multikey]), json!(["#a", "did:web:shop.example#m"]))).unwrap();
    assert_eq!(keys.find("did:web:shop.example#a"), keys.find("did:web:shop.example#m"));
    assert!(keys.len() == 2 && keys.find("did:web:shop.example").is_none(), "two keys have no common name");
    let embedded = read(document(json!([]), json!([good]))).unwrap();
    assert!(embedded.find("did:web:shop.example#a").is_some() && embedded.find("did:web:shop.example").is_some());
}
