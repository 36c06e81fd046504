//! Promise 1 at its root: a chain is worth what its root is trusted for, and nobody is trusted by accident.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mandates::issue::{self, Addressed, RootTerms};
use mandates::keys::{KeyId, LocalKey};
use mandates::mandate::{Mandate, Open, Vct};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::harness::process::{Service, run};
use crate::harness::text;

fn key(name: &str, seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new(name))
}

/// An open mandate, to be looked at on its own.
fn open(vct: Vct, key: &LocalKey) -> String {
    let now = store::wall_clock()().seconds();
    let mandate = Mandate::Open(Open {
        vct,
        constraints: Vec::new(),
        holder: LocalKey::from_random(&[9; 32]).unwrap().public().clone(),
        presets: mandates::json::Object::new(),
        not_before_seconds: None,
        issued_at_seconds: Some(now - 5),
        expires_at_seconds: Some(now + 600),
    });
    let key_id = key.key_id();
    let terms = RootTerms {
        key_id: &key_id,
        issuer: "https://bank.example",
        issued_at_seconds: now - 5,
        addressed: Addressed::ToNobody,
        status: None,
    };
    let mut count = 0_u8;
    let mut salts = move || {
        count += 1;
        [count; 16]
    };
    let unsigned = issue::root(&terms, &[mandate], &mut salts).unwrap();
    let signature = key.sign(unsigned.signing_input()).unwrap();
    unsigned.finish(signature)
}

/// The same with another header.
fn under(header: &Value, token: &str, key: &LocalKey) -> String {
    let (jwt, disclosures) = token.split_once('~').unwrap();
    let payload = jwt.split('.').nth(1).unwrap();
    let input = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap());
    format!("{input}.{signature}~{disclosures}")
}

/// What `purser verify` says: its exit and, where it refuses, the code.
fn verify(token: &str, trust: &Path, more: &[&str]) -> (Option<i32>, String) {
    let trust = trust.display().to_string();
    let output = run(&[&["verify", token, "--trust", &trust, "--json"], more].concat(), &[]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), said["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(code: &str) -> (Option<i32>, String) {
    (Some(1), code.to_owned())
}

fn valid() -> (Option<i32>, String) {
    (Some(0), String::new())
}

#[test]
fn a_root_that_is_trusted_for_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (bank, other) = (key("bank", 1), key("bank", 2));
    let jwks = json!({ "keys": [bank.public().to_jwk()] });
    let plain = write("jwks.json", &jwks.to_string());
    let root = |members: &str| format!("[[roots]]\nname = \"bank\"\njwks_file = \"jwks.json\"\n{members}\n");
    let (payment, checkout) = (open(Vct::OpenPayment, &bank), open(Vct::OpenCheckout, &bank));
    for (members, token, expected) in [
        ("for = [\"checkout\"]", &payment, refused("root_out_of_scope")),
        ("for = [\"payment.closed\", \"checkout\"]", &payment, refused("root_out_of_scope")),
        ("for = [\"payment\"]", &checkout, refused("root_out_of_scope")),
        ("for = [\"payment\"]\niss = [\"https://shop.example\"]", &payment, refused("root_issuer_mismatch")),
        ("for = [\"payment\"]\niss = [\"https://bank.example/\"]", &payment, refused("root_issuer_mismatch")),
        ("for = [\"payment\"]", &open(Vct::OpenPayment, &other), refused("signature_invalid")),
        ("for = [\"payment\"]", &open(Vct::OpenPayment, &key("else", 1)), refused("unknown_kid")),
        ("for = [\"everything\"]", &payment, (Some(2), String::new())),
        ("for = [\"payment\"]\nsurprise = 1", &payment, (Some(2), String::new())),
        ("for = [\"payment\"]\niss = [\"https://x.example\", \"https://bank.example\"]", &payment, valid()),
        ("for = [\"payment.open\"]", &payment, valid()),
    ] {
        assert_eq!(verify(token, &write("trust.toml", &root(members)), &[]), expected, "{members}");
    }
    // Two entries of one key: what either says.
    let both =
        format!("{}{}", root("for = [\"checkout\"]"), root("for = [\"payment\"]").replace("\"bank\"", "\"again\""));
    let both = write("trust.toml", &both);
    assert_eq!((verify(&payment, &both, &[]), verify(&checkout, &both, &[])), (valid(), valid()));
    let as_json = json!({ "roots": [{ "name": "bank", "for": ["payment"], "jwks": jwks }] });
    assert_eq!(verify(&payment, &write("trust.json", &as_json.to_string()), &[]), valid());
    assert_eq!(verify(&checkout, &plain, &[]), valid(), "a JWK set is trusted for everything");
    assert_eq!(verify(&payment, &write("none.toml", "roots = []"), &[]), refused("unknown_kid"));
}

#[test]
fn a_root_is_named_by_certificate_or_did() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut top = named("Root");
    top.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (top_key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let leaf = named("Issuer").signed_by(&leaf_key, &Issuer::from_params(&top, &top_key)).unwrap();
    let pem = top.self_signed(&top_key).unwrap().pem();
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    let signer = LocalKey::from_pkcs8(&leaf_key.serialize_der()).unwrap();
    let jwk =
        json!({ "crv": "P-256", "kty": "EC", "x": signer.public().to_jwk()["x"], "y": signer.public().to_jwk()["y"] });
    let did = format!("did:jwk:{}", URL_SAFE_NO_PAD.encode(jwk.to_string()));
    let trust = |name: &str, members: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("[[roots]]\nname = \"a\"\nfor = [\"payment\"]\n{members}\n")).unwrap();
        path
    };
    let (by_certificate, by_did) =
        (trust("ca.toml", "anchors_file = \"ca.pem\""), trust("did.toml", &format!("did = \"{did}\"")));
    let token = open(Vct::OpenPayment, &signer);
    let x5c = under(&json!({ "alg": "ES256", "x5c": [STANDARD.encode(leaf.der())] }), &token, &signer);
    let kid = |kid: &str| under(&json!({ "alg": "ES256", "kid": kid }), &token, &signer);
    let checkout = open(Vct::OpenCheckout, &signer);
    let checkout = under(&json!({ "alg": "ES256", "x5c": [STANDARD.encode(leaf.der())] }), &checkout, &signer);
    for (token, trust, expected) in [
        (&x5c, &by_did, refused("x5c_no_trust_anchor")),
        (&kid(&format!("{did}#0")), &by_certificate, refused("unknown_kid")),
        (&kid(&format!("{did}#1")), &by_did, refused("unknown_kid")),
        (&checkout, &by_certificate, refused("root_out_of_scope")),
        (
            &under(&json!({ "alg": "ES256", "x5c": [STANDARD.encode(leaf.der())] }), &token, &key("x", 3)),
            &by_certificate,
            refused("signature_invalid"),
        ),
        (&x5c, &by_certificate, valid()),
        (&kid(&format!("{did}#0")), &by_did, valid()),
        (&kid(&did), &by_did, valid()),
    ] {
        assert_eq!(verify(token, trust, &[]), expected);
    }
}

/// Somebody who publishes keys, and counts who asks.
async fn publisher(document: Value) -> (String, Arc<Mutex<(Value, u32)>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let state = Arc::new(Mutex::new((document, 0)));
    let served = state.clone();
    let answer = axum::routing::get(move || {
        let mut state = served.lock().unwrap();
        state.1 += 1;
        let document = axum::Json(state.0.clone());
        async move { document }
    });
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/jwks", answer)).await.unwrap() });
    (url, state)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_trusts_whom_its_trust_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let listen = crate::harness::free_address().to_string();
    let config = folder.path().join("purser.toml");
    let file = config.display().to_string();
    let output = run(&["init", "--dir", &dir, "--rpc-url", "http://127.0.0.1:1", "--listen", &listen], &[]);
    assert!(output.status.success(), "{output:?}");
    let bank = key("bank", 1);
    let (url, state) = publisher(json!({ "keys": [bank.public().to_jwk()] })).await;
    let trust = folder.path().join("trust.toml");
    let roots = format!("[[roots]]\nname = \"bank\"\nfor = [\"payment\"]\njwks_url = \"{url}\"\n");
    std::fs::write(&trust, format!("{roots}[[callers]]\nissuer = \"https://idp.example\"\nkinds = [\"agent\"]\n"))
        .unwrap();
    let text_of = std::fs::read_to_string(&config).unwrap();
    let with_trust = text_of.replacen("listen =", "open_verifier = \"main\"\nlisten =", 1).replacen(
        "id = \"main\"\n",
        &format!("id = \"main\"\ntrust = \"{}\"\n", trust.display()),
        1,
    );
    assert_ne!(text_of, with_trust);
    std::fs::write(&config, &with_trust).unwrap();
    assert!(run(&["migrate", "--config", &file], &[]).status.success());
    // Whoever comes by an issuer that vouches for nobody of their kind is not registered at all.
    let add = ["principal", "add", "--config", &file, "--sponsor", "user", "--kind", "agent", "--issuer"];
    assert!(run(&[&add[..], &["https://evil.example", "out"]].concat(), &[]).status.success());
    let refused = run(&["serve", "--config", &file], &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("https://evil.example"), "{said}");
    std::fs::write(&config, &with_trust).unwrap();
    let serve = Service::start(&["serve", "--config", &file], &[]);
    let http = reqwest::Client::new();
    let judge = async |token: &str| -> String {
        let call = http.post(format!("{}/v1/mandates/verify", serve.url())).json(&json!({ "presented": token }));
        let verdict: Value = call.send().await.unwrap().json().await.unwrap();
        if verdict["valid"] == true { "valid".to_owned() } else { text(&verdict, "code").to_owned() }
    };
    assert_eq!(judge(&open(Vct::OpenCheckout, &bank)).await, "root_out_of_scope");
    assert_eq!(judge(&open(Vct::OpenPayment, &key("bank", 2))).await, "signature_invalid");
    for seed in 3..30 {
        assert_eq!(judge(&open(Vct::OpenPayment, &key(&format!("invented-{seed}"), seed))).await, "unknown_kid");
    }
    assert_eq!(judge(&open(Vct::OpenPayment, &bank)).await, "valid");
    assert_eq!(state.lock().unwrap().1, 1, "thirty callers, one fetch");
    // A file that changed is taken up, one that cannot be read is not.
    std::fs::write(&trust, "[[roots]]\nname = ").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(judge(&open(Vct::OpenPayment, &bank)).await, "valid");
    // Somebody whom nobody vouches for is left out, and does not keep the rest from being taken up.
    assert!(run(&[&add[..], &["https://evil.example", "out"]].concat(), &[]).status.success());
    std::fs::write(&trust, roots.replace("\"payment\"", "\"checkout\"")).unwrap();
    for _ in 0..100 {
        if judge(&open(Vct::OpenPayment, &bank)).await == "root_out_of_scope" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(judge(&open(Vct::OpenPayment, &bank)).await, "root_out_of_scope");
    assert_eq!(judge(&open(Vct::OpenCheckout, &bank)).await, "valid");
    // Without a file the service is trusted alone, as before.
    std::fs::write(&config, text_of.replacen("listen =", "open_verifier = \"main\"\nlisten =", 1)).unwrap();
    drop(serve);
    let serve = Service::start(&["serve", "--config", &file], &[]);
    let call = http.post(format!("{}/v1/mandates/verify", serve.url()));
    let call = call.json(&json!({ "presented": open(Vct::OpenPayment, &bank) }));
    let verdict: Value = call.send().await.unwrap().json().await.unwrap();
    assert_eq!(verdict["code"], "unknown_kid");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_fetches_what_its_trust_file_names_and_this_machine_in_development_only() {
    let folder = tempfile::tempdir().unwrap();
    let bank = key("bank", 1);
    let (url, state) = publisher(json!({ "keys": [bank.public().to_jwk()] })).await;
    let trust = folder.path().join("trust.toml");
    std::fs::write(&trust, format!("[[roots]]\nname = \"bank\"\nfor = [\"payment\"]\njwks_url = \"{url}\"\n")).unwrap();
    let token = open(Vct::OpenPayment, &bank);
    let judge = async |more: &'static [&'static str]| {
        let (token, trust) = (token.clone(), trust.clone());
        tokio::task::spawn_blocking(move || verify(&token, &trust, more)).await.unwrap()
    };
    assert_eq!(judge(&[]).await.0, Some(2), "an address on this machine is a usage fault");
    assert_eq!(state.lock().unwrap().1, 0);
    assert_eq!(judge(&["--loopback"]).await, valid());
    state.lock().unwrap().0 = json!({ "keys": "none" });
    assert_eq!(judge(&["--loopback"]).await, refused("root_keys_unavailable"));
}
