//! Promise 1 begins at the door: a credential that was stolen, forged, replayed or made for something else spends
//! nothing. The service here takes bearer tokens for reading only, as `serve` does.

mod ended;

use identity::dpop::{Request, With, prove};
use identity::token::sign;
use ledger::id::{AuthMethod, CallerKind};
use mandates::keys::LocalKey;
use purser::config::BearerConfig;
use purser::credential::Credential;
use purser::dev::{DevOptions, private_jwk};
use purser::world::{AGENT, HOME, USER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::issuer::Issuer;
use crate::harness::process::Service;
use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;

async fn strict() -> Shop {
    Shop::open_with(DevOptions { bearer: Some(BearerConfig::Reading), ..DevOptions::default() }).await
}

fn now() -> i64 {
    store::wall_clock()().seconds()
}

fn credential(shop: &Shop, principal: &str) -> Credential {
    let key = private_jwk(&shop.service.client_key(principal).unwrap()).unwrap();
    Credential::key(&format!("{HOME}:{principal}"), key.as_object().unwrap()).unwrap()
}

struct Answer {
    status: StatusCode,
    body: Value,
    challenge: Option<String>,
}

impl Answer {
    fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let challenge = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = response.status();
    Answer { status, body: response.json().await.expect("JSON"), challenge }
}

/// `POST /oauth/token` with these parts.
async fn grant(shop: &Shop, assertion: &str, proof: Option<String>) -> Answer {
    let form = format!(
        "grant_type=client_credentials&client_assertion={assertion}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    let mut request = reqwest::Client::new().post(shop.url("/oauth/token")).body(form);
    request = request.header("content-type", "application/x-www-form-urlencoded");
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    send(request).await
}

fn assertion(shop: &Shop, client: &str, key: &LocalKey) -> String {
    let claims =
        json!({ "iss": client, "sub": client, "aud": shop.url("/oauth/token"), "exp": now() + 60, "jti": new_key() });
    sign(key, &json!({ "alg": "ES256", "typ": "JWT" }), &claims).unwrap()
}

fn proof_for_token(shop: &Shop, key: &LocalKey) -> String {
    let address = shop.url("/oauth/token");
    prove(key, Request { method: "POST", address: &address, now: now() }, With::NoToken, &new_key()).unwrap()
}

/// A token of the agent's, bound to its key.
async fn token(shop: &Shop) -> (String, LocalKey) {
    let key = shop.service.client_key(AGENT).unwrap();
    let answer = grant(shop, &assertion(shop, "home:shopper", &key), Some(proof_for_token(shop, &key))).await;
    assert_eq!((answer.status.as_u16(), text(&answer.body, "token_type")), (200, "DPoP"), "{}", answer.body);
    (text(&answer.body, "access_token").to_owned(), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proved_key_asks_decides_and_pays() {
    let shop = strict().await;
    let (agent, user) = (credential(&shop, AGENT), credential(&shop, USER));
    let call = async |who: &Credential, path: &str, body: Value| {
        shop.client.call_as(who, Method::POST, path, Some("dpop-1"), Some(body)).await
    };
    let asked = call(&agent, "/v1/mandates/intents", intent()).await.expect("the question is put");
    let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
    let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
    let by_agent = call(&agent, &path, decision.clone()).await;
    assert_eq!(by_agent.unwrap_err().code(), Some("only_a_user_decides"), "a proof does not make an agent a user");
    let decided = call(&user, &path, decision).await.expect("the user approves");
    let payment = json!({ "mandate": decided["mandate"], "payment_required": shop.met("/paid/report").await });
    let payment = call(&agent, "/v1/payments", payment).await.expect("a payment");
    assert_eq!(shop.fetch("/paid/report", Some(text(&payment, "payment_signature"))).await.status.as_u16(), 200);
    let tenant = shop.service.tenant(HOME).unwrap();
    let records = purser::ledger::journal(shop.service.store(), &tenant).await.unwrap();
    let hold = records.iter().map(|(_, effects)| effects).find(|effects| effects.operation.as_str() == "hold");
    assert_eq!(hold.expect("a hold").caller.method, AuthMethod::Dpop, "the journal says how the caller was known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_reads_and_does_nothing_else() {
    let shop = strict().await;
    let http = reqwest::Client::new();
    let reads = send(http.get(shop.url("/v1/approvals")).bearer_auth(&shop.user)).await;
    assert_eq!(reads.status.as_u16(), 200);
    let zeros = "00".repeat(32);
    for path in [
        "/v1/mandates/intents".to_owned(),
        "/v1/mandates/carts".into(),
        "/v1/payments".into(),
        format!("/v1/approvals/{zeros}/decision"),
        format!("/v1/mandates/{zeros}/revoke"),
        format!("/v1/mandates/{zeros}/suspend"),
        format!("/v1/mandates/{zeros}/resume"),
        format!("/v1/payments/{zeros}/outcome"),
        format!("/v1/payments/{zeros}/void"),
    ] {
        for token in [&shop.agent, &shop.user, &shop.merchant] {
            let answer = send(http.post(shop.url(&path)).bearer_auth(token).json(&json!({}))).await;
            assert_eq!(answer.code(), (401, "sender_constraint_required"), "{path}");
            assert!(answer.challenge.is_some_and(|challenge| challenge.starts_with("DPoP")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_worth_nothing_without_its_key() {
    let shop = strict().await;
    let (token, key) = token(&shop).await;
    let thief = LocalKey::from_random(&[9; 32]).unwrap();
    let path = shop.url("/v1/mandates/intents");
    let http = reqwest::Client::new();
    let with = async |scheme: &str, proofs: &[String]| {
        let mut request = http.post(&path).header("authorization", format!("{scheme} {token}")).json(&intent());
        for proof in proofs {
            request = request.header("dpop", proof);
        }
        send(request).await
    };
    let here = Request { method: "POST", address: &path, now: now() };
    let by = |key: &LocalKey, request: Request<'_>| prove(key, request, With::Token(&token), &new_key()).unwrap();
    assert_eq!(with("Bearer", &[]).await.code(), (401, "token_bound"));
    assert_eq!(with("Bearer", &[by(&key, here)]).await.code(), (401, "token_bound"));
    assert_eq!(with("DPoP", &[]).await.code(), (401, "dpop_proof_missing"));
    assert_eq!(with("DPoP", &[by(&thief, here)]).await.code(), (401, "dpop_proof_key"));
    assert_eq!(with("DPoP", &["x".into()]).await.code(), (401, "dpop_proof_malformed"));
    let get = Request { method: "GET", ..here };
    assert_eq!(with("DPoP", &[by(&key, get)]).await.code(), (401, "dpop_proof_method"));
    let elsewhere = shop.url("/v1/payments");
    let elsewhere = Request { address: &elsewhere, ..here };
    assert_eq!(with("DPoP", &[by(&key, elsewhere)]).await.code(), (401, "dpop_proof_address"));
    for shift in [-120, 60] {
        let then = Request { now: now() + shift, ..here };
        assert_eq!(with("DPoP", &[by(&key, then)]).await.code(), (401, "dpop_proof_time"));
    }
    let for_another = prove(&key, here, With::Token("another"), &new_key()).unwrap();
    assert_eq!(with("DPoP", &[for_another]).await.code(), (401, "dpop_proof_token"));
    assert_eq!(with("DPoP", &[by(&key, here), by(&key, here)]).await.code(), (401, "dpop_proof_malformed"));
    let good = by(&key, here);
    assert_eq!(with("DPoP", std::slice::from_ref(&good)).await.status.as_u16(), 202, "the owner's own proof");
    assert_eq!(with("DPoP", &[good]).await.code(), (401, "dpop_proof_replayed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_services_or_tenants_token_opens_no_door() {
    let (shop, other) = (strict().await, strict().await);
    let (foreign, key) = token(&other).await;
    let path = shop.url("/v1/mandates/intents");
    let proof =
        prove(&key, Request { method: "POST", address: &path, now: now() }, With::Token(&foreign), &new_key()).unwrap();
    let request =
        reqwest::Client::new().post(&path).header("authorization", format!("DPoP {foreign}")).header("dpop", proof);
    assert_eq!(send(request.json(&intent())).await.code(), (401, "token_invalid"));
    // A tenant's own token sees nothing of another tenant.
    let mandate = "ab".repeat(32);
    let elsewhere = shop.service.token("shop", AGENT, CallerKind::Agent).unwrap();
    let answer =
        send(reqwest::Client::new().get(shop.url(&format!("/v1/mandates/{mandate}"))).bearer_auth(elsewhere)).await;
    assert_eq!(answer.status.as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_who_it_says_gets_no_token() {
    let shop = strict().await;
    let key = shop.service.client_key(AGENT).unwrap();
    let thief = LocalKey::from_random(&[9; 32]).unwrap();
    let granted = async |assertion: &str, proof: Option<String>| {
        let answer = grant(&shop, assertion, proof).await;
        (answer.status.as_u16(), answer.body["error"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |status: u16, error: &str| (status, error.to_owned());
    let proof = || Some(proof_for_token(&shop, &key));
    for (assertion, what) in [
        (assertion(&shop, "home:shopper", &thief), "another key"),
        (assertion(&shop, "home:user", &key), "another client's name"),
        (assertion(&shop, "home:nobody", &key), "a client that is not there"),
        (assertion(&shop, "shop:shopper", &key), "another tenant's name"),
        ("a.b.c".to_owned(), "nonsense"),
    ] {
        assert_eq!(granted(&assertion, proof()).await, refused(401, "invalid_client"), "{what}");
    }
    assert_eq!(granted(&assertion(&shop, "home:shopper", &key), None).await, refused(400, "invalid_dpop_proof"));
    let wrong =
        prove(&key, Request { method: "GET", address: &shop.url("/oauth/token"), now: now() }, With::NoToken, "1");
    assert_eq!(granted(&assertion(&shop, "home:shopper", &key), wrong).await, refused(400, "invalid_dpop_proof"));
    let once = assertion(&shop, "home:shopper", &key);
    assert_eq!(granted(&once, proof()).await.0, 200);
    assert_eq!(granted(&once, proof()).await, refused(401, "invalid_client"), "an assertion is used once");
    let http = reqwest::Client::new();
    for (form, error) in [
        ("", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&client_assertion=x", "invalid_request"),
    ] {
        let request = http.post(shop.url("/oauth/token")).header("dpop", proof().unwrap()).body(form);
        let answer = send(request.header("content-type", "application/x-www-form-urlencoded")).await;
        assert_eq!((answer.status.as_u16(), text(&answer.body, "error")), (400, error), "{form}");
    }
}

/// `serve` takes bearer tokens for everything on the devnet only.
#[tokio::test]
async fn serve_refuses_to_take_bearer_tokens_for_everything_off_the_devnet() {
    let folder = tempfile::tempdir().unwrap();
    let master = purser::keys::MasterKey::random().unwrap();
    let options = purser::world::WorldOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: folder.path().join("purser.sqlite").into(),
        rpc_url: "http://127.0.0.1:1".into(),
        facilitator: purser::world::local_facilitator(),
        chain_id: 31_337,
    };
    let key = master.to_hex();
    let ring = purser::world::ring(&options.database, master).await.unwrap();
    let mut config = purser::world::config(&options, &ring).unwrap();
    config.chain.chain_id = 8453;
    let file = folder.path().join("purser.toml");
    std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    let output = crate::harness::process::run(
        &["serve", "--config", &file.display().to_string()],
        &[("PURSER_MASTER_KEY", &key)],
    );
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("everything") && said.contains("8453"), "{said}");
    assert!(!said.contains(&key), "nothing secret in an error");
}

/// The key of the dev line is a client's key: what it proves with is what `purser pay` pays with.
#[test]
fn the_dev_line_has_a_key_to_prove_with() {
    let dev = Service::dev();
    let agent = &dev.line["agent"];
    let key = agent["key"].as_object().expect("a JWK");
    assert!(LocalKey::from_jwk(key).is_ok(), "a private P-256 JWK");
    assert_eq!(text(agent, "client_id"), "home:shopper");
}

/// Asks until the answer is this one.
async fn becomes(mut ask: impl AsyncFnMut() -> Result<Value, String>, expected: Result<(), &str>) {
    let started = std::time::Instant::now();
    loop {
        let answer = ask().await;
        match (&answer, expected) {
            (Ok(_), Ok(())) => return,
            (Err(said), Err(code)) if said.contains(code) => return,
            _ if started.elapsed() > std::time::Duration::from_secs(20) => panic!("{answer:?} is not {expected:?}"),
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// `serve` takes up who is registered while it runs: with a key of their own or by an outside issuer; and lets them go.
#[tokio::test(flavor = "multi_thread")]
async fn principals_come_and_go_while_the_service_runs() {
    use crate::harness::process::run;
    let chain = Service::start(&["chain", "--port", "0"], &[]);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let config = folder.path().join("purser.toml");
    let listen = crate::harness::free_address().to_string();
    let purser = |args: &[&str]| {
        let output = run(args, &[]);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    purser(&["init", "--dir", &dir, "--rpc-url", text(&chain.line, "rpc_url"), "--listen", &listen]);
    let file = config.display().to_string();
    purser(&["migrate", "--config", &file]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer_url = format!("http://{}", listener.local_addr().unwrap());
    let before = std::fs::read_to_string(&config).unwrap();
    let person = format!("id = \"user\"\nissuer = {{ url = \"{issuer_url}\", subject = \"person\" }}");
    std::fs::write(&config, before.replacen("id = \"user\"", &person, 1)).unwrap();
    let serve = Service::start(&["serve", "--config", &file], &[]);
    let (own, key) = (folder.path().join("own.jwk").display().to_string(), LocalKey::from_random(&[9; 32]).unwrap());
    purser(&["principal", "new-key", &own]);
    let add = ["principal", "add", "--config", &file, "--kind", "agent", "--sponsor", "user"];
    purser(&[&add[..], &["own", "--jwk", &own]].concat());
    purser(&[&add[..], &["outside", "--issuer", &issuer_url, "--subject", "abc"]].concat());
    assert!(!run(&[&add[..], &["plain", "--issuer", "http://idp.example"]].concat(), &[]).status.success());

    let client = purser::client::Client::new(serve.url()).unwrap();
    let ask = async |credential: &Credential| {
        let intent =
            json!({ "user": "user", "description": "x", "currency": "USD", "total": "1", "expires_in_seconds": 60 });
        let asked = client.call_as(credential, Method::POST, "/v1/mandates/intents", None, Some(intent)).await;
        asked.map_err(|error| error.to_string())
    };
    let jwk: Value = serde_json::from_slice(&std::fs::read(&own).unwrap()).unwrap();
    let registered = Credential::key("main:own", jwk.as_object().unwrap()).unwrap();
    becomes(async || ask(&registered).await, Ok(())).await;

    // The issuer is down, then up; a key that it rotates is found.
    let mut issuer = Issuer {
        url: issuer_url.clone(),
        keys: Default::default(),
        key: LocalKey::from_random(&[1; 32]).unwrap().named(mandates::keys::KeyId::new("k1")),
    };
    let by = |token: String| Credential::bound(token, LocalKey::from_random(&[9; 32]).unwrap());
    let bound = |issuer: &Issuer| issuer.token(serve.url(), "abc", Some(&key));
    drop(listener);
    becomes(async || ask(&by(bound(&issuer))).await, Err("issuer_unavailable")).await;
    let address = issuer_url.trim_start_matches("http://");
    issuer = Issuer::start(tokio::net::TcpListener::bind(address).await.unwrap()).await;
    becomes(async || ask(&by(bound(&issuer))).await, Ok(())).await;
    for (token, code) in [
        (issuer.token(serve.url(), "abc", None), "dpop_proof_key"),
        (issuer.token(serve.url(), "stranger", Some(&key)), "principal_unknown"),
        (issuer.token("http://them", "abc", Some(&key)), "token_invalid"),
        (issuer.token(serve.url(), "abc", Some(&issuer.key)), "dpop_proof_key"),
    ] {
        let refused = ask(&by(token)).await.unwrap_err();
        assert!(refused.contains(code), "{code}: {refused}");
    }
    // Whoever acts for somebody (`act`) is an agent that acts for its sponsor, or nobody.
    let acting = |subject: &str, act: Value| issuer.delegated(serve.url(), subject, act, Some(&key));
    assert!(ask(&by(acting("person", json!({ "sub": "abc", "act": { "sub": "before" } })))).await.is_ok());
    for (subject, act, code) in [
        ("abc", json!({ "sub": "person" }), "delegation_refused"),
        ("person", json!({ "sub": "person" }), "delegation_refused"),
        ("person", json!({ "sub": "stranger" }), "principal_unknown"),
        ("person", json!("abc"), "token_invalid"),
    ] {
        let refused = ask(&by(acting(subject, act))).await.unwrap_err();
        assert!(refused.contains(code), "{code}: {refused}");
    }
    let decide = json!({ "decision": "approve", "digest": format!("sha256:{}", "0".repeat(64)) });
    let by_person = by(acting("person", json!({ "sub": "abc" })));
    let path = format!("/v1/approvals/{}/decision", "0".repeat(64));
    let decided = client.call_as(&by_person, Method::POST, &path, None, Some(decide)).await;
    assert!(decided.is_err(), "a person's agent decides nothing");
    let bare = reqwest::Client::new().get(format!("{}/v1/approvals", serve.url()));
    let bare = send(bare.bearer_auth(issuer.token(serve.url(), "abc", Some(&key)))).await;
    assert_eq!(bare.code(), (401, "token_bound"), "a bound token is no bearer token");
    issuer.rotate(2);
    becomes(async || ask(&by(bound(&issuer))).await, Ok(())).await;

    // A file that cannot be read changes nothing; one without them lets them go, tokens and all.
    let token = bound(&issuer);
    std::fs::write(&config, "listen = ").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert!(ask(&registered).await.is_ok() && ask(&by(token.clone())).await.is_ok());
    std::fs::write(&config, &before).unwrap();
    becomes(async || ask(&by(token.clone())).await, Err("token_invalid")).await;
    becomes(async || ask(&registered).await, Err("principal_unknown")).await;
}

/// Who calls too often waits, and nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn each_has_a_bucket_of_their_own() {
    use purser::config::{LimitsConfig, RateConfig};
    let slow = |burst| RateConfig { per_second: 1, burst };
    let limits =
        LimitsConfig { principal: slow(5), anonymous: slow(3), trusted_proxies: vec!["127.0.0.1".parse().unwrap()] };
    let shop = Shop::open_with(DevOptions { limits: Some(limits), ..DevOptions::default() }).await;
    let http = reqwest::Client::new();
    let call = async |token: Option<&str>, address: &str| {
        let request = http.get(shop.url("/v1/approvals")).header("x-forwarded-for", address);
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let response = request.send().await.unwrap();
        let wait = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        (response.status().as_u16(), wait)
    };
    let limited =
        |(status, wait): (u16, Option<u64>)| status == 429 && wait.is_some_and(|seconds| (1..=6).contains(&seconds));
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    for _ in 0..5 {
        assert_eq!(call(Some(&operator), "192.0.2.1").await.0, 403);
    }
    assert!(limited(call(Some(&operator), "192.0.2.2").await), "a principal is one, wherever it calls from");
    assert_eq!(call(Some(&shop.user), "192.0.2.1").await.0, 200, "another's bucket is full");
    for number in 0..3 {
        assert_eq!(call(None, "192.0.2.3").await.0, 401, "{number}");
    }
    assert!(limited(call(None, "192.0.2.3").await));
    assert!(limited(call(Some("junk"), "192.0.2.3").await), "a guess at a token is a call without one");
    assert!(limited(call(None, "192.0.2.3").await));
    assert_eq!(call(Some("junk"), "192.0.2.4").await.0, 401, "another address");
    assert_eq!(call(None, "192.0.2.9, 192.0.2.4").await.0, 401, "whatever it says of others");
    assert_eq!(call(Some(&shop.user), "192.0.2.3").await.0, 200, "a good token is not held to its address");
    let body: Value = http
        .get(shop.url("/v1/approvals"))
        .header("x-forwarded-for", "192.0.2.3")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((text(&body, "code"), body["retryable"].as_bool()), ("rate_limited", Some(true)));
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(call(None, "192.0.2.3").await.0, 401, "a second later there is one more");
}

/// The figures are for operators, and say nothing of anybody.
#[tokio::test(flavor = "multi_thread")]
async fn operators_read_the_metrics() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    shop.pay(&mandate, &shop.met("/paid/report").await, &new_key()).await.expect("a payment");
    let http = reqwest::Client::new();
    let read = async |token: Option<&str>| {
        let request = http.get(shop.url("/metrics"));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(read(None).await.0, 401);
    assert_eq!(read(Some(&shop.agent)).await.0, 403);
    assert_eq!(read(Some(&shop.user)).await.0, 403);
    let odd = Method::from_bytes(b"INVENTED").unwrap();
    http.request(odd, shop.url("/nobody/knows/this")).send().await.unwrap();
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let (status, said) = read(Some(&operator)).await;
    assert_eq!(status, 200);
    for line in [
        "purser_http_requests_total{route=\"/v1/payments\",method=\"POST\",status=\"201\"} 1",
        "purser_http_requests_total{route=\"unmatched\",method=\"other\",status=\"404\"} 1",
        "purser_journal_records{tenant=\"home\"}",
        "purser_build_info{version=",
        "purser_payments{tenant=\"home\",state=\"unknown\"} 0",
        "purser_oldest_payment_seconds{tenant=\"home\",state=\"spent_otherwise\"} 0",
        "purser_fenced{tenant=\"home\"} 0",
        "purser_relayer_gwei{tenant=\"carrier\"}",
        "purser_chain_up 1",
        "purser_block_age_seconds{block=\"finalized\"}",
        "# EOF",
    ] {
        assert!(said.contains(line), "{line} is missing in {said}");
    }
    check_alerts(&said);
    assert!(!said.contains(&mandate) && !said.contains("INVENTED") && !said.contains("nobody/knows"), "{said}");
}

/// Every alert asks for figures that exist and has its page in the runbook.
fn check_alerts(metrics: &str) {
    let read = |name: &str| std::fs::read_to_string(crate::harness::root().join("adapters/server").join(name)).unwrap();
    let (alerts, runbook) = (read("alerts.yml"), read("RUNBOOK.md"));
    let mut names = 0;
    for line in alerts.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            names += 1;
            assert!(runbook.contains(&format!("## {name}\n")), "{name} has no page");
        }
        if let Some(rule) = line.strip_prefix("expr: ") {
            let words = rule.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            for metric in words.filter(|word| word.starts_with("purser_")) {
                assert!(metrics.contains(&format!("\n{metric}")), "{metric} of `{rule}` is no figure");
            }
        }
    }
    assert!(names >= 10, "{names} alerts were read");
}
