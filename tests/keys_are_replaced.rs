//! Keys come, go and are sealed again while money is under way: nothing that was signed is lost or signed twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use purser::client::Client;
use purser::credential::Credential;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{Service, run, stdout};
use crate::harness::text;

/// A service of a stranger: `init`, `migrate`, an agent, money, and a 402 that nobody settles yet.
struct World {
    folder: tempfile::TempDir,
    chain: Service,
    serve: Option<Service>,
    jwk: Value,
}

impl World {
    async fn start() -> Self {
        let chain = Service::start(&["chain", "--port", "0"], &[]);
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let listen = crate::harness::free_address().to_string();
        let mut world = Self { folder, chain, serve: None, jwk: Value::Null };
        world.purser(&["init", "--dir", &dir, "--rpc-url", text(&world.chain.line, "rpc_url"), "--listen", &listen]);
        let toml = std::fs::read_to_string(world.file("purser.toml")).unwrap();
        let with_rate = ["[[tenants.pegs]]", "base = \"eip155", "quote = ", "rate = "];
        let toml = with_rate.iter().fold(toml, |toml, line| toml.replace(&format!("# {line}"), line));
        std::fs::write(world.file("purser.toml"), toml).unwrap();
        world.on_config(&["migrate"]);
        world.purser(&["principal", "new-key", &world.file("agent.jwk")]);
        let jwk = world.file("agent.jwk");
        world.on_config(&["principal", "add", "shopper", "--kind", "agent", "--sponsor", "user", "--jwk", &jwk]);
        world.jwk = serde_json::from_slice(&std::fs::read(&jwk).unwrap()).unwrap();
        world.on_config(&["migrate"]);
        world.pay_in().await;
        world.restart();
        world
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn purser(&self, args: &[&str]) -> String {
        let output = run(args, &[]);
        let said = format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {said}");
        stdout(&output)
    }

    fn on_config(&self, args: &[&str]) -> String {
        self.purser(&[args, &["--config", &self.file("purser.toml")]].concat())
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = run(&[args, &["--config", &self.file("purser.toml")]].concat(), &[]);
        assert!(!output.status.success(), "{args:?} succeeded: {}", stdout(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn stop(&mut self) {
        if let Some(mut serve) = self.serve.take() {
            assert!(serve.stop().is_some());
        }
    }

    fn restart(&mut self) {
        self.stop();
        self.serve = Some(Service::start(&["serve", "--config", &self.file("purser.toml")], &[]));
    }

    fn url(&self) -> &str {
        self.serve.as_ref().unwrap().url()
    }

    fn keys(&self, purpose: &str) -> Vec<Value> {
        let listed = self.on_config(&["keys", "list", "--json"]);
        let keys = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        keys.filter(|key| key["purpose"] == purpose).collect()
    }

    fn address(&self, purpose: &str) -> String {
        let keys = self.keys(purpose);
        text(keys.iter().find(|key| key["state"] == "active").unwrap(), "address").to_owned()
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = text(&self.chain.line, "rpc_url");
        let answer: Value = reqwest::Client::new().post(url).json(&call).send().await.unwrap().json().await.unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }

    async fn pay_in(&self) {
        self.rpc("devnet_mint", json!([self.address("wallet"), "0xf4240"])).await;
        self.rpc("anvil_setBalance", json!([self.address("relayer"), "0x8ac7230489e80000"])).await;
    }

    fn agent(&self) -> Credential {
        Credential::key("main:shopper", self.jwk.as_object().unwrap()).unwrap()
    }

    async fn call(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> Result<Value, String> {
        let client = Client::new(self.url()).unwrap();
        client.call_as(&self.agent(), method, path, key, body).await.map_err(|error| error.to_string())
    }

    async fn ask(&self) -> Value {
        let request = json!({
            "user": "user", "description": "keys", "currency": "USD", "total": "0.50", "payments": 20,
            "expires_in_seconds": 3_600,
        });
        self.call(Method::POST, "/v1/mandates/intents", None, Some(request)).await.unwrap()["approval"].clone()
    }

    fn approve(&self, approval: &Value) -> String {
        let said = self.on_config(&["approve", text(approval, "id")]);
        said.lines().last().unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    /// Authorizes the paid resource and presents it to nobody.
    async fn authorize(&self, mandate: &str, key: &str) -> Result<Value, String> {
        self.authorize_at(mandate, key, "/paid/hello").await
    }

    /// The same price for another thing.
    async fn authorize_at(&self, mandate: &str, key: &str, path: &str) -> Result<Value, String> {
        let challenge = reqwest::get(format!("{}/paid/hello", self.url())).await.unwrap();
        let required = STANDARD.decode(challenge.headers()["payment-required"].as_bytes()).unwrap();
        let mut required: Value = serde_json::from_slice(&required).unwrap();
        required["resource"]["url"] = format!("{}{path}", self.url()).into();
        let body = json!({
            "mandate": mandate, "payment_required": required, "method": "GET", "url": format!("{}{path}", self.url()),
        });
        self.call(Method::POST, "/v1/payments", Some(key), Some(body)).await
    }

    async fn present(&self, payment: &Value) -> reqwest::Response {
        let request = reqwest::Client::new().get(format!("{}/paid/hello", self.url()));
        request.header("payment-signature", text(payment, "payment_signature")).send().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_rotated_with_authorizations_outstanding() {
    let mut world = World::start().await;
    let mandate = world.approve(&world.ask().await);
    let first = world.authorize(&mandate, "first").await.unwrap();
    let old = world.address("wallet");
    world.authorize_at(&mandate, "left", "/paid/other").await.expect("one that nobody presents");
    assert_eq!(text(&first, "payer"), old.to_ascii_lowercase());

    world.on_config(&["keys", "rotate", "--purpose", "wallet"]);
    let new = world.address("wallet");
    assert_ne!(new, old);
    world.restart();

    // The retry is the same payment, to the byte; the chain takes it; the books end where the chain is.
    let again = world.authorize(&mandate, "first").await.unwrap();
    assert_eq!(again["payment_signature"], first["payment_signature"], "the same key is the same authorization");
    assert_eq!(again["id"], first["id"]);
    assert!(world.present(&again).await.status().is_success());
    let outcome = format!("/v1/payments/{}/outcome", text(&first, "id"));
    let outcome = world.call(Method::POST, &outcome, None, Some(json!({}))).await.unwrap();
    assert_eq!((text(&outcome, "state"), text(&outcome, "payer")), ("settled", &*old.to_ascii_lowercase()));

    // What is new is paid by the new wallet, once it has money and its opening balance stands in the book.
    world.pay_in().await;
    world.restart();
    let second = world.authorize(&mandate, "second").await.unwrap();
    assert_eq!(text(&second, "payer"), new.to_ascii_lowercase());
    assert!(world.present(&second).await.status().is_success());

    // Evidence of what the old key signed is still complete; once it is revoked the key signs nothing again.
    let evidence = format!("/v1/payments/{}/evidence", text(&first, "id"));
    assert!(world.call(Method::GET, &evidence, None, None).await.is_ok());
    let retired = world.keys("wallet").into_iter().find(|key| key["state"] == "retired").unwrap();
    world.on_config(&["keys", "revoke", "--purpose", "wallet", "--kid", text(&retired, "kid")]);
    world.restart();
    let refused = world.authorize_at(&mandate, "left", "/paid/other").await.unwrap_err();
    assert!(refused.contains("signer_unavailable"), "{refused}");
    assert!(world.call(Method::GET, &evidence, None, None).await.is_ok(), "what was paid can still be proved");
    world.stop();
    assert!(world.on_config(&["ledger", "verify"]).contains("records verified"));
    assert!(world.on_config(&["ledger", "balances"]).contains("balanced"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mandates_outlive_the_keys_that_made_them() {
    let mut world = World::start().await;
    let mandate = world.approve(&world.ask().await);
    let asked = world.ask().await;
    for purpose in ["provider", "receipts", "agent/shopper", "relayer"] {
        world.on_config(&["keys", "rotate", "--purpose", purpose]);
    }
    world.pay_in().await;
    world.restart();
    // A mandate of the old keys, and a question that was put with them.
    let late = world.approve(&asked);
    for (mandate, key) in [(&mandate, "a"), (&late, "b")] {
        let payment = world.authorize(mandate, key).await.unwrap();
        assert!(world.present(&payment).await.status().is_success());
    }
    // The keys that others verify with are published while they count.
    let jwks: Value =
        reqwest::get(format!("{}/.well-known/jwks.json", world.url())).await.unwrap().json().await.unwrap();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(4), "{jwks}");
    let provider = world.keys("provider").into_iter().find(|key| key["state"] == "retired").unwrap();
    world.on_config(&["keys", "revoke", "--purpose", "provider", "--kid", text(&provider, "kid")]);
    world.restart();
    let refused = world.authorize(&mandate, "c").await.unwrap_err();
    assert!(refused.contains("untrusted") || refused.contains("key"), "a revoked root carries nothing: {refused}");
    assert!(world.authorize(&late, "d").await.is_ok(), "the new root carries what it signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_replaced() {
    let mut world = World::start().await;
    let mandate = world.approve(&world.ask().await);
    let first = world.authorize(&mandate, "first").await.unwrap();
    let (old, new) = (world.file("master.key"), world.file("new.key"));
    let said = world.on_config(&["keys", "rewrap", "--new-master-key-file", &new]);
    let secrets = [std::fs::read_to_string(&old).unwrap(), std::fs::read_to_string(&new).unwrap()];
    assert!(secrets.iter().all(|secret| !said.contains(secret.trim())), "nothing secret is printed");
    world.stop();
    let said = world.refused(&["serve"]);
    assert!(said.contains("master_key_mismatch"), "{said}");
    std::fs::rename(&new, &old).unwrap();
    world.restart();
    let again = world.authorize(&mandate, "first").await.unwrap();
    assert_eq!(again["payment_signature"], first["payment_signature"]);
    world.stop();
    assert!(world.on_config(&["ledger", "verify"]).contains("records verified"), "the journal's salts are the same");
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, config) = (folder.path().display().to_string(), folder.path().join("purser.toml").display().to_string());
    assert!(run(&["init", "--dir", &dir], &[]).status.success());
    let file = folder.path().join("key");
    let tries = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let output =
            run(&[&["keys"], args, &["--config", &config, "--file", &file.display().to_string()]].concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.len() < 40 || !said.contains(&text[..40]), "what was in the file is not repeated: {said}");
        (output.status.success(), said)
    };
    let good = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
    let wallet = ["import", "--purpose", "wallet"];
    for (text, args, code) in [
        ("", &wallet, "key_malformed"),
        ("0x", &wallet, "key_malformed"),
        (&good[..64], &wallet, "key_malformed"),
        (&format!("{good}00"), &wallet, "key_malformed"),
        (&"0".repeat(64), &wallet, "key_unmade"),
        (&"f".repeat(64), &wallet, "key_unmade"),
        (good, &["import", "--purpose", "provider"], "key_malformed"),
        ("{\"kty\":\"EC\"}", &["import", "--purpose", "provider"], "key_malformed"),
        (good, &["import", "--purpose", "journal-salt"], "key_not_rotatable"),
        (good, &["import", "--purpose", "agent/nobody"], "key_unknown"),
        (good, &["import", "--purpose", "purse"], "a purpose is"),
        (good, &["rotate", "--purpose", "wallet"], "key_missing"),
    ] {
        let (done, said) = tries(text, args);
        assert!(!done && said.contains(code), "{text:.8} {args:?}: {said}");
    }
    // One's own key before the first `migrate`, which then draws the others.
    let (done, said) = tries(&format!("{good}\n"), &wallet);
    assert!(done, "{said}");
    assert!(tries(good, &wallet).1.contains("key_exists"));
    assert!(tries(good, &["rotate", "--purpose", "wallet"]).1.contains("key_exists"), "by itself");
    assert!(run(&["migrate", "--config", &config], &[]).status.success());
    let listed = stdout(&run(&["keys", "list", "--config", &config], &[]));
    assert!(listed.contains("0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"), "the address of that key: {listed}");
    assert!(!listed.contains(&good[2..]) && listed.contains("main journal-salt active"), "{listed}");
}
