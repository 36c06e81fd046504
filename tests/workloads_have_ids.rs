//! Agents that come with a JWT-SVID of their trust domain (SPIFFE): they read with it, and exchange it for a token that is
//! bound to a key where money is at stake. Whoever is not registered, or comes by another domain, is nobody.

use identity::dpop::{Request, With, prove};
use identity::token::sign;
use mandates::keys::{KeyId, LocalKey};
use purser::credential::Credential;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{Service, run};
use crate::harness::shop::new_key;
use crate::harness::text;

const DOMAIN: &str = "spiffe://bank.example";
const ID: &str = "spiffe://bank.example/agents/shopper";

fn now() -> i64 {
    store::wall_clock()().seconds()
}

fn authority(seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new(format!("k{seed}")))
}

fn bundle(keys: &[&LocalKey]) -> Value {
    let jwk = |key: &&LocalKey| {
        let mut jwk = Value::Object(key.public().to_jwk());
        jwk["use"] = "jwt-svid".into();
        jwk
    };
    // What a bundle has beside the keys that are read.
    let x509 = json!({ "use": "x509-svid", "kty": "RSA", "n": "AQAB", "e": "AQAB", "x5c": ["MII"] });
    let keys: Vec<Value> = keys.iter().map(jwk).chain([x509]).collect();
    json!({ "keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300 })
}

fn svid(key: &LocalKey, id: &str, audience: &str) -> String {
    let header = json!({ "alg": "ES256", "kid": key.key_id().as_str(), "typ": "JWT" });
    sign(key, &header, &json!({ "sub": id, "aud": [audience], "exp": now() + 300, "iat": now() })).unwrap()
}

struct Answer {
    status: u16,
    body: Value,
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    Answer { status, body: response.json().await.unwrap_or_default() }
}

/// Asks the token endpoint with an assertion, and a proof by this key.
async fn exchange(url: &str, kind: &str, assertion: &str, key: &LocalKey) -> Answer {
    let address = format!("{url}/oauth/token");
    let request = Request { method: "POST", address: &address, now: now() };
    let proof = prove(key, request, With::NoToken, &new_key()).expect("a proof");
    let kind = format!("urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3A{kind}");
    let body = format!("grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}");
    let request = reqwest::Client::new().post(address).header("dpop", proof).body(body);
    send(request.header("content-type", "application/x-www-form-urlencoded")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_reads_with_its_svid_and_acts_with_what_it_exchanges_it_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let config = folder.path().join("purser.toml");
    let file = config.display().to_string();
    let chain = Service::start(&["chain", "--port", "0"], &[]);
    let listen = crate::harness::free_address().to_string();
    let set_up = |args: &[&str]| {
        let output = run(args, &[]);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    set_up(&["init", "--dir", &dir, "--rpc-url", text(&chain.line, "rpc_url"), "--listen", &listen]);
    set_up(&["migrate", "--config", &file]);
    let (first, second, stranger) = (authority(1), authority(2), authority(3));
    let write = |bundle: &Value| std::fs::write(folder.path().join("bundle.json"), bundle.to_string()).unwrap();
    let trust = folder.path().join("trust.toml");
    let callers = format!("[[callers]]\nissuer = \"{DOMAIN}\"\nkinds = [\"agent\"]\n");
    write(&bundle(&[&first]));
    std::fs::write(&trust, format!("{callers}bundle_file = \"bundle.json\"\n")).unwrap();
    let tenant = format!("id = \"main\"\ntrust = \"{}\"\n", trust.display());
    let text_of = std::fs::read_to_string(&config).unwrap().replacen("id = \"main\"\n", &tenant, 1);
    std::fs::write(&config, text_of).unwrap();
    let plain = std::fs::read_to_string(&config).unwrap();
    let add = |kind: &str, name: &str, id: &str| {
        let sponsor: &[&str] = if kind == "agent" { &["--sponsor", "user"] } else { &[] };
        let add = ["principal", "add", name, "--config", &file, "--kind", kind, "--issuer", DOMAIN, "--subject", id];
        set_up(&[&add, sponsor].concat());
    };

    // What a service does not start with: a kind that the domain may not vouch for, an id of another domain, no bundle.
    let refuses = |what: &str| {
        let output = run(&["serve", "--config", &file], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(what), "{what}: {said}");
        std::fs::write(&config, &plain).unwrap();
    };
    add("merchant", "till", "spiffe://bank.example/till");
    refuses("names for no merchant");
    add("agent", "shopper", "spiffe://evil.example/agents/shopper");
    refuses("an id of spiffe://bank.example was expected");
    add("agent", "shopper", ID);
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&trust, &callers).unwrap();
    refuses("one of bundle, bundle_file and bundle_url was expected");
    std::fs::write(&trust, format!("{callers}bundle_file = \"bundle.json\"\n")).unwrap();
    std::fs::write(&config, good).unwrap();

    let serve = Service::start(&["serve", "--config", &file], &[]);
    let url = serve.url();
    let http = reqwest::Client::new();
    // A 404 is for whoever is known, of something that is not there.
    let nothing = format!("{url}/v1/mandates/{}", "00".repeat(32));
    let read = async |token: &str| send(http.get(&nothing).bearer_auth(token)).await;
    let known = svid(&first, ID, url);
    for _ in 0..100 {
        if read(&known).await.status != 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for (token, what) in [
        (svid(&stranger, ID, url), "another key"),
        (svid(&first, "spiffe://bank.example/agents/other", url), "nobody"),
        (svid(&first, "spiffe://evil.example/agents/shopper", url), "another domain"),
        (svid(&first, ID, "https://elsewhere.example"), "for somebody else"),
    ] {
        assert_eq!(read(&token).await.status, 401, "{what}");
        let key = LocalKey::from_random(&[9; 32]).unwrap();
        let refused = exchange(url, "jwt-spiffe", &token, &key).await;
        assert_eq!((refused.status, text(&refused.body, "error")), (401, "invalid_client"), "{what}");
    }
    assert_eq!(read(&known).await.status, 404);
    let intent =
        json!({ "user": "user", "description": "x", "currency": "USD", "total": "1", "expires_in_seconds": 60 });
    let asked = send(http.post(format!("{url}/v1/mandates/intents")).bearer_auth(&known).json(&intent)).await;
    assert_eq!((asked.status, text(&asked.body, "code")), (401, "sender_constraint_required"));

    // Exchanged, under either name that clients use for it, it is bound to the key of the proof.
    for kind in ["jwt-spiffe", "jwt-bearer"] {
        let key = || LocalKey::from_random(&[9; 32]).unwrap();
        let granted = exchange(url, kind, &svid(&first, ID, url), &key()).await;
        assert_eq!((granted.status, text(&granted.body, "token_type")), (200, "DPoP"), "{}", granted.body);
        let token = text(&granted.body, "access_token").to_owned();
        let client = purser::client::Client::new(url).unwrap();
        let ask = async |key: LocalKey| {
            let credential = Credential::bound(token.clone(), key);
            client.call_as(&credential, Method::POST, "/v1/mandates/intents", None, Some(intent.clone())).await
        };
        assert_eq!(text(&ask(key()).await.expect("a question")["approval"], "requested_by"), "shopper");
        assert!(ask(LocalKey::from_random(&[8; 32]).unwrap()).await.is_err(), "bound is bound");
    }

    // The domain changes its key; then it is taken back, with all that came of it.
    write(&bundle(&[&second]));
    let until = async |token: &dyn Fn() -> String, status: u16| {
        for _ in 0..200 {
            if read(&token()).await.status == status {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{} was waited for", status);
    };
    // The trust file names it, so its change is what is looked at.
    std::fs::write(&trust, format!("# again\n{callers}bundle_file = \"bundle.json\"\n")).unwrap();
    until(&|| svid(&first, ID, url), 401).await;
    until(&|| svid(&second, ID, url), 404).await;
    write(&bundle(&[]));
    std::fs::write(&trust, format!("# gone\n{callers}bundle_file = \"bundle.json\"\n")).unwrap();
    until(&|| svid(&second, ID, url), 401).await;
}
