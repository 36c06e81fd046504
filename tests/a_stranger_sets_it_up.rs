//! The README's quick start, step by step, in a fresh folder: no `dev`, real callers, HTTP only.

use purser::client::Client;
use purser::credential::Credential;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{Service, run, stdout};
use crate::harness::text;

struct Folder {
    folder: tempfile::TempDir,
    chain: Service,
}

impl Folder {
    fn config(&self) -> String {
        self.folder.path().join("purser.toml").display().to_string()
    }

    /// A command of ours on this folder, which must succeed.
    fn purser(&self, args: &[&str]) -> String {
        let output = run(args, &[]);
        let said = format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {said}");
        stdout(&output)
    }

    async fn rpc(&self, method: &str, params: Value) {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = text(&self.chain.line, "rpc_url");
        let answer: Value = reqwest::Client::new().post(url).json(&call).send().await.unwrap().json().await.unwrap();
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// Money for the wallet and gas for the relayer, as somebody would send it.
    async fn send_money(&self) {
        let listed = self.purser(&["keys", "list", "--config", &self.config()]);
        let address = |purpose: &str| {
            let line = listed.lines().find(|line| line.contains(purpose)).expect("a key");
            line.rsplit(' ').next().unwrap().to_owned()
        };
        self.rpc("devnet_mint", json!([address(" wallet "), "0xf4240"])).await;
        self.rpc("anvil_setBalance", json!([address(" relayer "), "0x8ac7230489e80000"])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sets_it_up_and_buys() {
    let chain = Service::start(&["chain", "--port", "0"], &[]);
    let here = Folder { folder: tempfile::tempdir().unwrap(), chain };
    let dir = here.folder.path().display().to_string();
    let listen = crate::harness::free_address().to_string();
    here.purser(&["init", "--dir", &dir, "--rpc-url", text(&here.chain.line, "rpc_url"), "--listen", &listen]);
    assert!(!run(&["init", "--dir", &dir], &[]).status.success(), "what is there is not overwritten");
    let config = here.config();
    assert!(!run(&["serve", "--config", &config], &[]).status.success(), "serve refuses a database that is not there");
    here.purser(&["migrate", "--config", &config]);
    let doctor = run(&["doctor", "--config", &config], &[]);
    assert_eq!(doctor.status.code(), Some(1));
    let said = stdout(&doctor);
    for mend in ["FAIL wallet of main", "rate_missing", "FAIL relayer of main"] {
        assert!(said.contains(mend), "{mend} is missing in {said}");
    }
    let key = here.folder.path().join("agent.jwk").display().to_string();
    here.purser(&["principal", "new-key", &key]);
    let add = ["principal", "add", "shopper", "--config", &config, "--kind", "agent", "--jwk", &key];
    assert!(!run(&add, &[]).status.success(), "an agent has somebody who answers for it");
    here.purser(&[&add[..], &["--sponsor", "user"]].concat());
    here.send_money().await;
    let mut serve = Service::start(&["serve", "--config", &config], &[]);

    // The agent asks; an operator answers for the person.
    let jwk: Value = serde_json::from_slice(&std::fs::read(&key).unwrap()).unwrap();
    let agent = Credential::key("main:shopper", jwk.as_object().unwrap()).unwrap();
    let client = Client::new(serve.url()).unwrap();
    let service = here.folder.path().join("service.json");
    let file = json!({ "url": serve.url(), "client_id": "main:shopper", "key": jwk });
    std::fs::write(&service, file.to_string()).unwrap();
    let service = service.display().to_string();
    let ask = ["ask", "--description", "hello", "--total", "1.00", "--payments", "10", "--service", &service];
    let asked = here.purser(&ask);
    let approved = here.purser(&["approve", asked.trim(), "--config", &config]);
    let mandate = approved.lines().last().unwrap().split(' ').nth(1).unwrap().to_owned();

    // A no is a no, and no answer is none.
    let denied = here.purser(&ask);
    here.purser(&["approve", denied.trim(), "--deny", "--config", &config]);
    let late = run(&[&ask[..], &["--wait", "1"]].concat(), &[]);
    assert_eq!((late.status.code(), stdout(&late).lines().count()), (Some(1), 1), "nobody answered");
    let dear = run(&["ask", "--description", "x", "--total", "1e9", "--service", &service], &[]);
    assert!(String::from_utf8_lossy(&dear.stderr).contains("amount_malformed"));

    // The first 402: no rate is stated, and the refusal has the line to add.
    let url = format!("{}/paid/hello", serve.url());
    let pay = ["pay", &url, "--mandate", &mandate, "--idempotency-key", "first", "--service", &service];
    let missing = run(&pay, &[]);
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("rate_missing") && said.contains("[[pegs]]"), "{said}");
    let text_before = std::fs::read_to_string(&config).unwrap();
    let with_rate =
        text_before.replace("# [[tenants.pegs]]", "[[tenants.pegs]]").replace("# base = \"eip155", "base = \"eip155");
    let with_rate = with_rate.replace("# quote = ", "quote = ").replace("# rate = ", "rate = ");
    assert!(with_rate.contains("# This tenant pays"), "the comments are still there");
    std::fs::write(&config, with_rate).unwrap();
    assert!(serve.stop().is_some(), "gone within five seconds of SIGTERM");
    let mut serve = Service::start(&["serve", "--config", &config], &[]);
    let bought = here.purser(&pay);
    assert!(bought.contains("hello, and thank you"), "{bought}");
    assert_eq!(here.purser(&pay), bought, "the same key is the same purchase");

    let spend =
        client.call_as(&agent, Method::GET, &format!("/v1/mandates/{mandate}/spend"), None, None).await.unwrap();
    assert_eq!((spend["spends"].as_array().map(Vec::len), text(&spend["posted"], "amount")), (Some(1), "0.01"));
    assert_eq!(text(&spend["spends"][0], "state"), "settled");
    let doctor = here.purser(&["doctor", "--config", &config]);
    assert!(!doctor.contains("FAIL"), "{doctor}");
    assert!(serve.stop().is_some());
    assert!(here.purser(&["ledger", "verify", "--config", &config]).contains("records verified"));
    let balances = here.purser(&["ledger", "balances", "--config", &config]);
    assert!(!balances.contains(" -"), "no wallet is below nothing, the relayer's least of all: {balances}");
    assert!(
        balances.contains(" 990000 ") && balances.contains("balanced"),
        "the opening balance less the price: {balances}"
    );
}

#[test]
fn an_unsafe_or_impossible_configuration_is_refused_with_the_mend() {
    let chain = Service::start(&["chain", "--port", "0"], &[]);
    let here = Folder { folder: tempfile::tempdir().unwrap(), chain };
    let dir = here.folder.path().display().to_string();
    here.purser(&["init", "--dir", &dir, "--rpc-url", text(&here.chain.line, "rpc_url")]);
    let config = here.config();
    here.purser(&["migrate", "--config", &config]);
    let good = std::fs::read_to_string(&config).unwrap();
    let with = |from: &str, to: &str, env: &[(&str, &str)]| {
        let changed = good.replace(from, to);
        assert_ne!(changed, good, "{from} stands in the file");
        std::fs::write(&config, changed).unwrap();
        let output = run(&["serve", "--config", &config], env);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = with("chain_id = 31337", "chain_id = 84532", &[]);
    assert!(said.contains("chain_id_mismatch") && said.contains("31337") && said.contains("84532"), "{said}");
    let said = with("chain_id = 31337", "chain_id = 8453", &[]);
    assert!(said.contains("allow_mainnet"), "{said}");
    let known = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let file = here.folder.path().join("known.key").display().to_string();
    std::fs::write(&file, known).unwrap();
    let rotate = ["keys", "rotate", "--config", &config, "--purpose", "wallet", "--file", &file];
    std::fs::write(&config, good.replace("chain_id = 31337", "chain_id = 84532")).unwrap();
    let said = String::from_utf8_lossy(&run(&rotate, &[]).stderr).into_owned();
    assert!(said.contains("key_known_to_all") && !said.contains(&known[2..]), "{said}");
    std::fs::write(&config, &good).unwrap();
    here.purser(&rotate);
    let said = with("chain_id = 31337", "chain_id = 84532", &[]);
    assert!(said.contains("key_known_to_all") && said.contains("84532") && !said.contains(&known[2..]), "{said}");
    for (from, to) in [
        ("listen = ", "listten = "),
        ("currency = \"USD\"", "currency = \"usd\""),
        ("cap = \"1000\"", "cap = \"1e3\""),
        ("[tenants.wallet]", "[tenants.wallet]\nkey = \"0x00\""),
    ] {
        let said = with(from, to, &[]);
        assert!(!said.is_empty(), "{to} was taken");
    }
}

/// The first node gives no answer, the second does; a node of another chain is refused at the door.
#[test]
fn a_second_node_answers_where_the_first_does_not() {
    let chain = Service::start(&["chain", "--port", "0"], &[]);
    let here = Folder { folder: tempfile::tempdir().unwrap(), chain };
    let dir = here.folder.path().display().to_string();
    here.purser(&["init", "--dir", &dir, "--rpc-url", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"]);
    let config = here.config();
    let text_before = std::fs::read_to_string(&config).unwrap();
    let fallback = format!("fallback_rpc_urls = [\"{}\"] #", text(&here.chain.line, "rpc_url"));
    std::fs::write(&config, text_before.replace("# fallback_rpc_urls =", &fallback)).unwrap();
    here.purser(&["migrate", "--config", &config]);
    let said = stdout(&run(&["doctor", "--config", &config], &[]));
    assert!(said.contains("FAIL node 1: chain_unavailable") && said.contains("PASS node 2"), "{said}");
    assert!(said.contains("PASS clock") && said.contains("PASS asset"), "the second node is asked: {said}");
}
