//! Promise 1 for mandates of others: one whose issuer publishes a status is taken only while that status is known and good.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::http::{StatusCode, header};
use mandates::issue::{self, Addressed, RootTerms};
use mandates::keys::{KeyId, LocalKey};
use mandates::mandate::{Mandate, Open, Vct};
use mandates::status::{List, Place, Status, Terms, unsigned};
use serde_json::{Value, json};

use crate::harness::process::{Service, run};
use crate::harness::text;

fn key(name: &str, seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new(name))
}

fn now() -> i64 {
    store::wall_clock()().seconds()
}

/// An open payment mandate, to be looked at on its own.
fn open(key: &LocalKey, place: &Place) -> String {
    let mandate = Mandate::Open(Open {
        vct: Vct::OpenPayment,
        constraints: Vec::new(),
        holder: LocalKey::from_random(&[9; 32]).unwrap().public().clone(),
        presets: mandates::json::Object::new(),
        not_before_seconds: None,
        issued_at_seconds: Some(now() - 5),
        expires_at_seconds: Some(now() + 600),
    });
    let key_id = key.key_id();
    let terms = RootTerms {
        key_id: &key_id,
        issuer: "https://bank.example",
        issued_at_seconds: now() - 5,
        addressed: Addressed::ToNobody,
        status: Some(place),
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

fn list(key: &LocalKey, uri: &str, index: usize, status: Status, life: i64) -> String {
    let mut list = List::of_valid(16);
    list.set(index, status);
    let terms = Terms {
        key_id: &key.key_id(),
        issuer: "https://bank.example",
        uri,
        issued_at_seconds: now() - 5,
        expires_at_seconds: now() + life,
        ttl_seconds: 0,
    };
    let unsigned = unsigned(&list, &terms);
    let signature = key.sign(unsigned.signing_input()).unwrap();
    unsigned.finish(signature)
}

/// What the publisher answers, and how often it was asked.
type Said = Arc<Mutex<(Option<String>, usize)>>;

async fn publisher() -> (String, Said) {
    let said = Said::default();
    let served = said.clone();
    let answer = move || {
        let mut said = served.lock().unwrap();
        said.1 += 1;
        let found = said.0.clone();
        async move {
            let found = found.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
            Ok::<_, StatusCode>(([(header::CONTENT_TYPE, "application/statuslist+jwt")], found))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/status/1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, axum::Router::new().route("/status/1", axum::routing::get(answer))).await.unwrap();
    });
    (url, said)
}

/// A service on the devnet that trusts the bank, open to verifiers.
fn service(folder: &Path, bank: &LocalKey) -> Service {
    let dir = folder.display().to_string();
    let listen = crate::harness::free_address().to_string();
    let output = run(&["init", "--dir", &dir, "--rpc-url", "http://127.0.0.1:1", "--listen", &listen], &[]);
    assert!(output.status.success(), "{output:?}");
    let trust = folder.join("trust.json");
    let jwks = json!({ "keys": [bank.public().to_jwk()] });
    let roots = json!({ "roots": [{ "name": "bank", "for": ["payment"], "jwks": jwks }] });
    std::fs::write(&trust, roots.to_string()).unwrap();
    let config = folder.join("purser.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replacen("listen =", "open_verifier = \"main\"\nlisten =", 1);
    let named = format!("id = \"main\"\ntrust = \"{}\"\n", trust.display());
    std::fs::write(&config, text.replacen("id = \"main\"\n", &named, 1)).unwrap();
    let file = config.display().to_string();
    assert!(run(&["migrate", "--config", &file], &[]).status.success());
    Service::start(&["serve", "--config", &file], &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_stands_while_its_issuer_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (bank, thief) = (key("bank", 1), key("bank", 2));
    let (uri, said) = publisher().await;
    let serve = service(folder.path(), &bank);
    let token = open(&bank, &Place { index: 3, uri: uri.clone() });
    let http = reqwest::Client::new();
    let ask = async |body: Value| -> Value {
        let call = http.post(format!("{}/v1/mandates/verify", serve.url())).json(&body);
        call.send().await.unwrap().json().await.unwrap()
    };
    let hits = || said.lock().unwrap().1;
    // Nobody is sent anywhere by what no trusted root signed, nor under keys that came with the call.
    let forged = ask(json!({ "presented": open(&thief, &Place { index: 3, uri: uri.clone() }) })).await;
    assert_eq!(forged["code"], "signature_invalid");
    let brought = json!({ "presented": token, "trust": { "keys": [bank.public().to_jwk()] } });
    assert_eq!(ask(brought).await["code"], "status_unavailable");
    assert_eq!(hits(), 0);
    let silent = ask(json!({ "presented": token })).await;
    assert_eq!((silent["code"].clone(), silent["retryable"].clone()), (json!("status_unavailable"), json!(true)));
    assert_eq!(hits(), 1);
    // A publisher who was silent is left alone for five seconds.
    assert_eq!(ask(json!({ "presented": token })).await["code"], "status_unavailable");
    assert_eq!(hits(), 1);
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;
    for (list, code) in [
        ("no token".to_owned(), "status_list_invalid"),
        (list(&thief, &uri, 3, Status::Valid, 60), "status_list_invalid"),
        (list(&bank, "http://127.0.0.1/status/1", 3, Status::Valid, 60), "status_list_invalid"),
        (list(&bank, &uri, 3, Status::Valid, -100), "status_list_invalid"),
        (list(&bank, &uri, 3, Status::Invalid, 60), "credential_revoked"),
        (list(&bank, &uri, 3, Status::Suspended, 60), "credential_suspended"),
        (list(&bank, &uri, 4, Status::Invalid, 60), "valid"),
        (list(&bank, &uri, 3, Status::Invalid, 60), "credential_revoked"),
    ] {
        said.lock().unwrap().0 = Some(list);
        let verdict = ask(json!({ "presented": token })).await;
        let came = if verdict["valid"] == true { "valid" } else { text(&verdict, "code") };
        assert_eq!(came, code, "{verdict}");
        let check = verdict["checks"].as_array().unwrap().iter().find(|check| check["name"] == "status").unwrap();
        assert_eq!(check["outcome"], if code == "valid" { "passed" } else { "failed" });
    }
}

#[test]
fn the_command_reads_a_list_from_a_file_or_says_that_it_did_not() {
    let folder = tempfile::tempdir().unwrap();
    let (bank, thief) = (key("bank", 1), key("bank", 2));
    let uri = "https://bank.example/status/1";
    let token = open(&bank, &Place { index: 3, uri: uri.to_owned() });
    let trust = folder.path().join("jwks.json");
    std::fs::write(&trust, json!({ "keys": [bank.public().to_jwk()] }).to_string()).unwrap();
    let trust = trust.display().to_string();
    let judge = |more: &[&str]| run(&[&["verify", &token, "--trust", &trust], more].concat(), &[]);
    let file = folder.path().join("list.jwt");
    let name = file.display().to_string();
    let with = |content: &str| {
        std::fs::write(&file, content).unwrap();
        let output = judge(&["--json", "--status", &name]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said["code"].as_str().unwrap_or_default().to_owned())
    };
    for (content, exit, code) in [
        ("no token".to_owned(), 2, ""),
        (list(&bank, "https://bank.example/status/2", 3, Status::Valid, 60), 1, "status_unavailable"),
        (list(&thief, uri, 3, Status::Valid, 60), 1, "status_list_invalid"),
        (list(&bank, uri, 3, Status::Valid, -100), 1, "status_list_invalid"),
        (list(&bank, uri, 3, Status::Invalid, 60), 1, "credential_revoked"),
        (list(&bank, uri, 3, Status::Suspended, 60), 1, "credential_suspended"),
        (list(&bank, uri, 3, Status::Valid, 60), 0, ""),
    ] {
        assert_eq!(with(&content), (Some(exit), code.to_owned()), "{content}");
    }
    let output = judge(&[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("the status was not looked up"), "{said}");
    let said: Value = serde_json::from_slice(&judge(&["--json"]).stdout).unwrap();
    let check = said["checks"].as_array().unwrap().iter().find(|check| check["name"] == "status").unwrap();
    assert_eq!(check["outcome"], "not_asked");
}
