//! Promise 6, by what an agent runs and by whom it comes: as an operator registers both and a running `serve` takes them
//! up. What is stopped between a hold and its signature is the book's own test (`ledger/src/book/tests/origins.rs`).

use std::time::{Duration, Instant};

use ledger::id::CallerKind;
use mandates::keys::LocalKey;
use purser::client::ClientError;
use purser::credential::Credential;
use purser::world::{ADMIN, AGENT, HOME, USER};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::issuer::Issuer;
use crate::harness::process::{run, stdout};
use crate::harness::shop::{code, new_key};
use crate::harness::text;
use crate::harness::world::World;

fn digest(pair: &str) -> String {
    format!("sha256:{}", pair.repeat(32))
}

fn add(world: &World, args: &[&str]) -> (bool, String) {
    let file = world.config_file().display().to_string();
    let output = run(&[&["principal", "add", "--config", &file, "--tenant", HOME][..], args].concat(), &[]);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn registered(world: &World, args: &[&str]) {
    let (done, told) = add(world, args);
    assert!(done, "{args:?}: {told}");
}

fn operator(world: &World) -> String {
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    purser::service::mint(&minter, HOME, ADMIN, CallerKind::Operator, 3_600).unwrap()
}

async fn kill(world: &World, token: &str, scope: &str) -> Result<Value, ClientError> {
    world.call(Method::POST, "/v1/kill", token, Some(json!({ "scope": scope }))).await
}

async fn lift(world: &World, token: &str, stop: &Value) -> Result<Value, ClientError> {
    world.call(Method::DELETE, &format!("/v1/kill/{}", text(stop, "id")), token, None).await
}

/// Something else under each key.
async fn pay(world: &World, mandate: &str, key: &str) -> Result<Value, ClientError> {
    let body = json!({ "mandate": mandate, "payment_required": world.offer(key).await });
    world.client.call(Method::POST, "/v1/payments", &world.agent, Some(key), Some(body)).await
}

/// Pays under new keys until it is stopped, or the spend says this build: a running `serve` takes it up in its time.
async fn becomes(world: &World, mandate: &str, expected: &str) -> Value {
    let started = Instant::now();
    loop {
        let told = pay(world, mandate, &new_key()).await;
        let answer = told.as_ref().map_or_else(|error| error.code(), |paid| paid["build"].as_str());
        if answer == Some(expected) {
            return told.unwrap_or_default();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{expected} was waited for: {told:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_stopped_and_another_one_goes_on() {
    let world = World::start_with(3_600).await;
    let operator = operator(&world);
    let agent = [AGENT, "--kind", "agent"];
    for wrong in ["", "sha256:", "ab", &"ab".repeat(32), &digest("AB"), &digest("ab")[1..], &digest("ab")[..70]] {
        let (done, told) = add(&world, &[&agent[..], &["--build", wrong]].concat());
        assert!(!done && told.contains("64 lower-case"), "{wrong}: {told}");
        let scope = format!("build/{wrong}");
        assert_eq!(code(kill(&world, &operator, &scope).await), "invalid_request", "{scope}");
    }
    for (args, why) in [
        ([USER, "--kind", "user", "--build", &digest("aa")], "--build is for an agent"),
        (["stranger", "--kind", "agent", "--build", &digest("aa")], "there is no agent stranger"),
    ] {
        let (done, told) = add(&world, &args);
        assert!(!done && told.contains(why), "{told}");
    }

    let mandate = world.mandate().await;
    let [one, two] = ["aa", "bb"].map(digest);
    let [first, second] = [&one, &two].map(|build| format!("build/{build}"));
    let stop = kill(&world, &operator, &first).await.unwrap();
    assert_eq!(pay(&world, &mandate, "unstated").await.unwrap()["build"], Value::Null, "it is in no build's scope");
    registered(&world, &[&agent[..], &["--build", &two]].concat());
    let paid = becomes(&world, &mandate, &two).await;
    // A build that is stopped already is stopped from when it is registered.
    registered(&world, &[&agent[..], &["--build", &one]].concat());
    becomes(&world, &mandate, "stopped").await;
    assert_eq!(code(kill(&world, &world.user, &second).await), "forbidden");
    assert_eq!(code(lift(&world, &world.user, &stop).await), "forbidden");
    assert_eq!(code(lift(&world, &world.agent, &stop).await), "stopped", "it does not come so far");
    // Another build is out of the stop, and what each paid says so for ever.
    registered(&world, &[&agent[..], &["--build", &two]].concat());
    becomes(&world, &mandate, &two).await;
    let evidence = format!("/v1/payments/{}/evidence", text(&paid, "id"));
    let evidence = world.call(Method::GET, &evidence, &world.agent, None).await.unwrap();
    let file = world.folder.path().join("evidence.json");
    std::fs::write(&file, evidence.to_string()).unwrap();
    let told = stdout(&run(&["verify", "--evidence", &file.display().to_string()], &[]));
    assert!(told.contains(&format!("{AGENT} came with build {two}, a token of ours")), "{told}");
    // A process that starts anew has the build from the file, and the stop from the book.
    let mut world = world;
    world.restart();
    let again = kill(&world, &operator, &second).await.unwrap();
    assert_eq!(code(pay(&world, &mandate, "barred").await), "stopped");
    lift(&world, &operator, &stop).await.unwrap();
    assert_eq!(code(pay(&world, &mandate, "still").await), "stopped", "the other one was lifted");
    lift(&world, &operator, &again).await.unwrap();
    pay(&world, &mandate, "lifted").await.expect("lifted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_is_stopped_and_nobody_who_comes_by_it_pays_or_decides() {
    let world = World::start_with(3_600).await;
    let operator = operator(&world);
    let issuer = Issuer::start(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()).await;
    let by = |path: &str| format!("issuer/{}{path}", issuer.url);
    let scope = by("");
    for wrong in [
        by("/"),
        by("?x=1"),
        by("#x"),
        scope.replace("//", "//ann@"),
        scope.replace("//", "//ann:secret@"),
        scope.to_uppercase().replace("ISSUER/", "issuer/"),
        "issuer/https://Idp.example".into(),
        "issuer/https://idp.example:443".into(),
        "issuer/idp.example".into(),
        "issuer/".into(),
    ] {
        let refused = kill(&world, &operator, &wrong).await;
        assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("slash at its end")), "{refused:?}");
        assert_eq!(code(refused), "invalid_request", "{wrong}");
    }
    let key = || LocalKey::from_random(&[9; 32]).unwrap();
    let come =
        |subject: &str| Credential::bound(issuer.token(&world.config.public_url(), subject, Some(&key())), key());
    // With a slash at its end where the tokens have none: the principal is nobody, the stop would be the same.
    let with = |name: &'static str, kind: &'static str| vec![name, "--kind", kind, "--issuer", &issuer.url];
    registered(&world, &[&with("outside", "agent")[..], &["--sponsor", USER]].concat());
    registered(&world, &with(USER, "user"));
    registered(&world, &with("keeper", "operator"));
    let call = async |subject: &str, method, path: &str, key: Option<&str>, body| {
        world.client.call_as(&come(subject), method, path, key, Some(body)).await
    };
    let intent = || json!({ "user": USER, "description": "x", "currency": "USD", "total": "1.00", "payments": 10, "expires_in_seconds": 600 });
    let started = Instant::now();
    let asked = loop {
        match call("outside", Method::POST, "/v1/mandates/intents", None, intent()).await {
            Ok(asked) => break asked,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let decide = async |asked: &Value| {
        let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
        let body = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
        call(USER, Method::POST, &path, None, body).await
    };
    let mandate = text(&decide(&asked).await.unwrap(), "mandate").to_owned();
    let offer = world.offer("outside").await;
    let pay = async |key: &str| {
        let mut offer = offer.clone();
        offer["resource"]["url"] = format!("{}/{key}", text(&offer["resource"], "url")).into();
        let body = json!({ "mandate": mandate, "payment_required": offer });
        call("outside", Method::POST, "/v1/payments", Some(key), body).await
    };
    assert_eq!(pay("before").await.unwrap()["issuer"], json!(issuer.url));
    let late = call("outside", Method::POST, "/v1/mandates/intents", None, intent()).await.unwrap();

    assert_eq!(code(kill(&world, &world.user, &scope).await), "forbidden");
    for elsewhere in [by("/a"), scope.replace("127.0.0.1", "localhost"), scope.replace("http:", "https:")] {
        kill(&world, &operator, &elsewhere).await.unwrap();
    }
    pay("beside").await.expect("other issuers were stopped");
    // Whoever comes by it may stop it, and not lift it.
    let stop = call("keeper", Method::POST, "/v1/kill", None, json!({ "scope": scope })).await.unwrap();
    assert_eq!((text(&stop, "scope"), text(&stop, "by")), (scope.as_str(), "keeper"));
    assert_eq!(code(pay("after").await), "stopped");
    assert_eq!(code(decide(&late).await), "stopped");
    let path = format!("/v1/kill/{}", text(&stop, "id"));
    assert_eq!(code(world.client.call_as(&come("keeper"), Method::DELETE, &path, None, None).await), "stopped");
    // What was signed is not given to whoever is stopped once more. Others are not concerned.
    assert_eq!(code(pay("before").await), "stopped");
    let own = world.mandate().await;
    let paid = world.pay(&own, "own").await.expect("a token of ours");
    assert_eq!((&paid["issuer"], &paid["build"]), (&Value::Null, &Value::Null));
    lift(&world, &operator, &stop).await.unwrap();
    assert_eq!(code(decide(&late).await), "decision_state", "the question ended with the stop");
    // A token of the second of the lift, or of before it, is one that the stop ended; the next one is not.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    pay("lifted").await.expect("lifted");
}
