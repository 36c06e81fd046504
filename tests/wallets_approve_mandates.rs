//! Promise 1 where a person's wallet signs the mandate itself: what it signed is what the person was shown, once, under a
//! credential of an issuer that is trusted for it, then and at every payment.

pub mod stage;

use std::io::Write;
use std::process::{Command, Stdio};

use axum::http::{StatusCode, header};
use engine::evidence::{EvidenceFile, Finding, check, not_proved};
use ledger::id::CallerKind;
use mandates::keys::{KeySet, LocalKey};
use mandates::status::{List, Status, Terms, unsigned};
use purser::client::ClientError;
use purser::config::{ApprovalConfig, TenantConfig};
use purser::world::{BYSTANDER, HOME, NEIGHBOUR, SHOP, USER};
use reqwest::Method;
use serde_json::{Value, json};

use self::stage::{Answer, BANK, PROTOCOL, Stage, TYPE, bank, credential, key, now, request, trust_of, trusted};
use crate::harness::closing::{asked, cart, close};
use crate::harness::passkey::SoftPasskey;
use crate::harness::process::run;
use crate::harness::shop::{code, new_key, refused};
use crate::harness::{foreign, root, text};

const CENT: u128 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_taken_at_what_it_signed_for_this_question() {
    let mut stage = Stage::open().await;
    let mut another = request();
    another["total"] = "0.90".into();
    let (one, other) = (stage.shop.ask(request()).await, stage.shop.ask(another).await);
    assert_ne!(one["id"], other["id"], "the same question is put once");
    let (asked, elsewhere) = (stage.asked(&one).await.unwrap(), stage.asked(&other).await.unwrap());
    assert_ne!(asked["nonce"], elsewhere["nonce"], "one for each question");
    assert_eq!(asked, stage.asked(&one).await.unwrap(), "and the same whenever it is asked");
    let good = || Answer::to(&asked);
    let changed = |name: &'static str, value: Value| good().but(|one| drop(one.mandates[1].insert(name.into(), value)));
    let with = |differing: Value| good().with(&credential(&bank(), differing));
    let higher = good().but(|one| one.mandates[1]["constraints"][0]["max"] = 51.into());
    let undisclosed = credential(&bank(), json!({})).split_once('~').unwrap().0.to_owned() + "~";
    for (name, answer, expected) in [
        (
            "the nonce of another question",
            good().but(|one| one.nonce = text(&elsewhere, "nonce").into()),
            "nonce_mismatch",
        ),
        ("no nonce of ours", good().but(|one| one.nonce = "mine".into()), "nonce_mismatch"),
        ("another site", good().but(|one| one.audience = "origin:https://evil.example".into()), "aud_mismatch"),
        ("the site without its scheme", good().but(|one| one.audience = text(&asked, "origin").into()), "aud_mismatch"),
        ("a longer life", changed("exp", (now() + 1_000_000).into()), "delegation_changed"),
        ("another holder", changed("cnf", json!({ "jwk": key("x", 9).public().to_jwk() })), "delegation_changed"),
        ("no limits", changed("constraints", json!([])), "delegation_changed"),
        ("a higher limit", higher, "delegation_changed"),
        ("one of two", good().but(|one| drop(one.mandates.pop())), "delegate_payload_count"),
        ("one twice", good().but(|one| one.mandates[1] = one.mandates[0].clone()), "delegate_payload_count"),
        ("three", good().but(|one| one.mandates.push(one.mandates[0].clone())), "delegate_payload_count"),
        ("a stranger's credential", good().with(&credential(&key("stranger", 3), json!({}))), "unknown_kid"),
        ("of the bank's name alone", good().with(&credential(&key("bank", 3), json!({}))), "signature_invalid"),
        ("of another issuer under its key", with(json!({ "iss": "https://other.example" })), "root_issuer_mismatch"),
        ("an expired credential", with(json!({ "exp": now() - 60 })), "expired"),
        ("one that is not valid yet", with(json!({ "nbf": now() + 600 })), "not_yet_valid"),
        ("of another type", with(json!({ "vct": "membership" })), "credential_mismatch"),
        ("that shows nothing", good().with(&undisclosed), "credential_mismatch"),
        ("by another key", good().but(|one| one.holder = key("wallet", 3)), "signature_invalid"),
        ("an old answer", good().but(|one| one.issued_at -= 310), "key_binding_stale"),
        ("one of the future", good().but(|one| one.issued_at += 60), "issued_in_future"),
        ("another protocol", good().but(|one| one.protocol = "org-iso-mdoc".into()), "schema"),
    ] {
        assert_eq!(code(stage.present(&one, &answer.signed()).await), expected, "{name}");
    }
    for (name, presentation, expected) in [
        ("nothing", json!({}), "schema"),
        ("no token", json!({ "protocol": PROTOCOL, "data": {} }), "schema"),
        ("no credential of that name", json!({ "data": { "vp_token": { "other": ["a"] } } }), "schema"),
        ("two", json!({ "data": { "vp_token": { "dpc": ["a", "b"] } } }), "schema"),
        ("the credential alone", good().carried(&credential(&bank(), json!({}))), "malformed_jwt"),
        ("no chain", good().carried("a~b~"), "malformed_jwt"),
    ] {
        assert_eq!(code(stage.present(&one, &presentation).await), expected, "{name}");
    }
    let long = good().but(|one| one.protocol = "x".repeat(2 * 1_024 * 1_024));
    assert_eq!(code(stage.present(&one, &long.signed()).await), "body_too_large");
    assert_eq!(code(stage.present(&one, &"a text".into()).await), "invalid_request");
    callers(&stage, &one, &good().signed()).await;
    stage.trust(&trust_of(&bank(), "for = [\"payment\"]"));
    assert_eq!(code(stage.present(&one, &good().signed()).await), "root_out_of_scope", "not for the checkout");
    stage.trust("roots = []");
    assert_eq!(code(stage.present(&one, &good().signed()).await), "unknown_kid");
    stage.trust(&trusted());
    assert_eq!((stage.state(&one).await, stage.state(&other).await), ("pending".into(), "pending".into()));
    let answer = good().signed();
    stage.present(&one, &answer).await.expect("exactly this");
    assert_eq!(code(stage.present(&one, &answer).await), "decision_state", "it is answered once");
    assert_eq!(code(stage.asked(&one).await), "decision_state");
    assert_eq!(code(stage.present(&other, &answer).await), "nonce_mismatch", "and answers nothing else");
    assert_eq!(stage.state(&other).await, "pending");
}

/// Whoever may not decide without a wallet may not with one.
async fn callers(stage: &Stage, approval: &Value, answer: &Value) {
    let shop = &stage.shop;
    let neighbour = shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    let admin = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    for (token, asking, answering) in [
        (&shop.agent, "forbidden", "only_a_user_decides"),
        (&admin, "forbidden", "only_a_user_decides"),
        (&neighbour, "not_found", "not_found"),
    ] {
        assert_eq!(code(stage.asked_as(token, approval).await), asking);
        assert_eq!(code(stage.present_as(token, approval, "approve", answer).await), answering);
    }
    assert_eq!(code(stage.present_as(&shop.user, approval, "deny", answer).await), "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_adds_to_what_an_approval_takes() {
    let mut stage = Stage::open().await;
    let approval = stage.shop.ask(request()).await;
    let answer = Answer::to(&stage.asked(&approval).await.unwrap()).signed();
    stage.takes(false);
    for refused_so in [stage.asked(&approval).await, stage.present(&approval, &answer).await] {
        let (status, code, _) = refused(refused_so);
        assert_eq!((status, code.as_str()), (404, "not_configured"));
    }
    stage.takes(true);
    stage.configure(|tenant| tenant.approval = ApprovalConfig::Passkey).unwrap();
    assert_eq!(code(stage.present(&approval, &answer).await), "passkey_required");
    assert_eq!(stage.state(&approval).await, "pending");
    let mut passkey = SoftPasskey::register(&stage.shop, USER).await;
    // A passkey that is good does not make a bad wallet good.
    let foreign = Answer::to(&stage.asked(&approval).await.unwrap()).but(|one| one.nonce = "mine".into()).signed();
    let refused = passkey.approve_with(&stage.shop, &approval, &foreign).await.unwrap_err();
    assert_eq!((refused.code(), stage.state(&approval).await.as_str()), ("nonce_mismatch", "pending"));
    passkey.approve_with(&stage.shop, &approval, &answer).await.expect("both");
    let path = format!("/v1/approvals/{}", text(&approval, "id"));
    let mandate = stage.shop.call(Method::GET, &path, &stage.shop.user, None).await.unwrap();
    let paid = stage.shop.pay(text(&mandate, "mandate"), &stage.shop.offer("/thing", CENT), &new_key()).await;
    let findings = judged(&stage, &stage.evidence(&paid.expect("it pays")).await);
    for name in ["approval", "wallet", "mandate_chain"] {
        assert!(findings.iter().any(|one| one.check == name && one.holds), "{name}: {findings:#?}");
    }
    // What cannot be meant is not taken up.
    for change in [
        |tenant: &mut TenantConfig| tenant.trust = None,
        |tenant: &mut TenantConfig| tenant.user_credentials.as_mut().unwrap().id = "a b".into(),
        |tenant: &mut TenantConfig| tenant.user_credentials.as_mut().unwrap().vct_values.clear(),
        |tenant: &mut TenantConfig| {
            tenant.user_credentials.as_mut().unwrap().claims.push(Vec::new());
        },
    ] {
        let refused = stage.configure(change).unwrap_err();
        assert!(refused.contains("user_credentials"), "{refused}");
    }
}

fn judged(stage: &Stage, file: &Value) -> Vec<Finding> {
    let file: EvidenceFile = serde_json::from_value(file.clone()).unwrap();
    let own = stage.shop.service.roots().iter().cloned();
    let keys = KeySet::new(own.chain([bank().public().clone()])).unwrap();
    check(&file, &keys, &stage.shop.service.engine().assets)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallets_mandate_pays_like_any_other_while_its_issuer_is_trusted() {
    let mut stage = Stage::open().await;
    let mut wide = request();
    wide["payees"] = json!([{ "id": SHOP, "name": "Demo Shop", "website": stage.shop.service.url() }]);
    wide["limits"] = json!([{ "period": "day", "zone": "UTC", "payments": 5 }]);
    let mandate = stage.mandate(wide, &credential(&bank(), json!({}))).await;
    let shown = stage.shop.figures(&mandate).await;
    for token in [text(&shown, "payment"), text(&shown, "checkout")] {
        assert_eq!(token.matches("~~").count(), 1, "a credential and what its holder signed: {shown}");
    }
    let offer = stage.shop.met("/paid/report").await;
    let paid = stage.shop.pay(&mandate, &offer, "first").await.expect("it pays");
    assert_eq!(stage.shop.fetch("/paid/report", Some(text(&paid, "payment_signature"))).await.status.as_u16(), 200);
    let outcome = format!("/v1/payments/{}/outcome", text(&paid, "id"));
    stage.shop.call(Method::POST, &outcome, &stage.shop.agent, Some(json!({}))).await.unwrap();
    proved(&stage, &stage.evidence(&paid).await);
    // Closed for somebody else, and handed on.
    let jwt = cart(&stage.shop, 25, json!({})).await;
    close(&stage.shop, &new_key(), asked(&mandate, &jwt, json!({}))).await.expect("closed for the bank");
    let second = stage.shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let part = json!({ "to": BYSTANDER, "total": "0.30", "payments": 3 });
    let path = format!("/v1/mandates/{mandate}/delegate");
    let hand_on = async |key: &str| {
        stage.shop.client.call(Method::POST, &path, &stage.shop.agent, Some(key), Some(part.clone())).await
    };
    let child = hand_on("hand-on").await.expect("part of it");
    let child = text(&child, "id").to_owned();
    let under = stage.shop.pay_as(&second, &child, &offer, &new_key(), json!({})).await.expect("it pays too");
    let findings = judged(&stage, &{
        let path = format!("/v1/payments/{}/evidence", text(&under, "id"));
        stage.shop.call(Method::GET, &path, &second, None).await.unwrap()
    });
    assert!(findings.iter().all(|one| one.holds), "{findings:#?}");
    // Whoever is not trusted any more pays for nothing more, and is known by the same word everywhere.
    for (trust, takes, expected) in [
        ("roots = []".to_owned(), true, "unknown_kid"),
        (trust_of(&key("bank", 7), "for = [\"payment\", \"checkout\"]"), true, "signature_invalid"),
        (trust_of(&bank(), "for = [\"checkout\"]"), true, "root_out_of_scope"),
        (trusted(), false, "unknown_kid"),
    ] {
        stage.trust(&trust);
        stage.takes(takes);
        let shop = &stage.shop;
        assert_eq!(code(shop.pay(&mandate, &shop.offer("/thing", CENT), &new_key()).await), expected, "{trust}");
        let below = shop.pay_as(&second, &child, &shop.offer("/thing", CENT), &new_key(), json!({})).await;
        assert_eq!(code(below), expected, "what came of it: {trust}");
        let jwt = cart(shop, 25, json!({})).await;
        assert_eq!(code(close(shop, &new_key(), asked(&mandate, &jwt, json!({}))).await), expected, "{trust}");
        let path = format!("/v1/mandates/{mandate}/delegate");
        let part = json!({ "to": BYSTANDER, "total": "0.10" });
        let handed = shop.client.call(Method::POST, &path, &shop.agent, Some(&new_key()), Some(part)).await;
        assert_eq!(code(handed), expected, "{trust}");
    }
    stage.takes(true);
    let shop = &stage.shop;
    shop.pay(&mandate, &shop.offer("/thing", CENT), &new_key()).await.expect("it is trusted again");
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/thing", CENT * 60), &new_key()).await), "amount_above_max");
    shop.pay(&mandate, &shop.offer("/other", CENT), &new_key()).await.expect("the fifth of the day");
    let sixth = shop.pay(&mandate, &shop.offer("/more", CENT), &new_key()).await;
    assert_eq!(code(sixth), "payments_exceed_period", "what no credential says binds all the same");
    let revoke = format!("/v1/mandates/{mandate}/revoke");
    shop.call(Method::POST, &revoke, &shop.user, None).await.unwrap();
    assert_eq!(code(shop.pay(&mandate, &shop.offer("/last", CENT), &new_key()).await), "mandate_revoked");
}

/// The evidence of a payment, as a stranger reads it, and what it does not say.
fn proved(stage: &Stage, file: &Value) {
    let findings = judged(stage, file);
    assert!(findings.iter().all(|one| one.holds), "{findings:#?}");
    let wallet = findings.iter().find(|one| one.check == "wallet").expect("the wallet is checked");
    assert!(wallet.detail.contains("origin:"), "{wallet}");
    let mut forged = file.clone();
    forged["decision"] = text(file, "decision").replace("\"total\":\"1.00\"", "\"total\":\"9.00\"").into();
    let findings = judged(stage, &forged);
    assert!(findings.iter().any(|one| one.check == "wallet" && !one.holds), "of another question: {findings:#?}");
    let read: EvidenceFile = serde_json::from_value(file.clone()).unwrap();
    let left = not_proved(&read).join("\n");
    assert!(left.contains("that the credential is the person's"), "{left}");
    let path = stage.folder.path().join("evidence.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let (path, trust) = (path.display().to_string(), stage.folder.path().join("trust.toml").display().to_string());
    let none = stage.folder.path().join("none.toml").display().to_string();
    std::fs::write(&none, "roots = []").unwrap();
    for (more, holds) in [(&[][..], true), (&["--trust", &trust], true), (&["--trust", &none], false)] {
        let output = run(&[&["verify", "--json", "--evidence", &path], more].concat(), &[]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["valid"], holds, "{more:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_over_pays_for_nothing_more() {
    let mut stage = Stage::open().await;
    let brief = stage.mandate(request(), &credential(&bank(), json!({ "exp": now() + 2 }))).await;
    let shop = &stage.shop;
    shop.pay(&brief, &shop.offer("/thing", CENT), &new_key()).await.expect("it is good yet");
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    assert_eq!(code(shop.pay(&brief, &shop.offer("/thing", CENT), &new_key()).await), "expired");
    // One whose issuer publishes a status is good while that is known and good.
    let published = std::sync::Arc::new(std::sync::Mutex::new(None::<String>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/list", listener.local_addr().unwrap());
    let served = published.clone();
    let answer = axum::routing::get(move || {
        let token = served.lock().unwrap().clone();
        async move {
            let status = if token.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, [(header::CONTENT_TYPE, "application/statuslist+jwt")], token.unwrap_or_default())
        }
    });
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/list", answer)).await.unwrap() });
    let list = |status: Status| {
        let mut list = List::of_valid(16);
        list.set(3, status);
        let key_id = bank().key_id();
        let terms = Terms {
            key_id: &key_id,
            issuer: BANK,
            uri: &uri,
            issued_at_seconds: now() - 5,
            expires_at_seconds: now() + 600,
            ttl_seconds: 1,
        };
        let unsigned = unsigned(&list, &terms);
        let signature = bank().sign(unsigned.signing_input()).unwrap();
        unsigned.finish(signature)
    };
    let listed = credential(&bank(), json!({ "status": { "status_list": { "idx": 3, "uri": uri } } }));
    let approval = stage.shop.ask(request()).await;
    let answer = Answer::to(&stage.asked(&approval).await.unwrap()).with(&listed).signed();
    assert_eq!(code(stage.present(&approval, &answer).await), "status_unavailable");
    *published.lock().unwrap() = Some(list(Status::Invalid));
    assert_eq!(code(until(&stage, &approval, &answer, "status_unavailable").await), "credential_revoked");
    assert_eq!(stage.state(&approval).await, "pending");
    *published.lock().unwrap() = Some(list(Status::Valid));
    let answered = until(&stage, &approval, &answer, "credential_revoked").await.expect("it stands");
    let mandate = text(&answered, "mandate").to_owned();
    stage.shop.pay(&mandate, &stage.shop.offer("/thing", CENT), &new_key()).await.expect("it pays");
    *published.lock().unwrap() = Some(list(Status::Suspended));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let next = stage.shop.pay(&mandate, &stage.shop.offer("/other", CENT), &new_key()).await;
    assert_eq!(code(next), "credential_suspended");
    stage.takes(false);
}

/// A list is read again when its time is over: what the answer becomes once it is not this any more.
async fn until(stage: &Stage, approval: &Value, answer: &Value, former: &str) -> Result<Value, ClientError> {
    for _ in 0..40 {
        match stage.present(approval, answer).await {
            Err(ClientError::Refused { code, .. }) if code.as_deref() == Some(former) => {}
            other => return other,
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    stage.present(approval, answer).await
}

/// The reference implementation of SD-JWT issues the credential and another program signs as the wallet, from the request
/// alone. It is installed by `tests/run`; where it is missing that is a failure.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_signs_as_the_wallet() {
    let stage = Stage::open().await;
    let approval = stage.shop.ask(request()).await;
    let asked = stage.asked(&approval).await.unwrap();
    let secret = |key: &LocalKey| {
        let mut jwk = key.public().to_jwk();
        let scalar = mandates::base64url::encode(&key.expose_scalar().unwrap());
        jwk.insert("d".into(), scalar.into());
        jwk
    };
    let input = json!({
        "request": asked["request"], "origin": asked["origin"], "issuer": secret(&bank()),
        "holder": secret(&stage::holder()), "kid": "bank",
        "claims": { "iss": BANK, "vct": TYPE, "exp": now() + 3_600, "card_last_four": "4444" },
    });
    let mut command = Command::new(foreign("python"));
    command.arg(root().join("tests/foreign/sign_as_wallet.py"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the peer ends well");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answered = stage.present(&approval, &answer).await.expect("what it signed is taken");
    let mandate = text(&answered, "mandate");
    let paid = stage.shop.pay(mandate, &stage.shop.offer("/thing", CENT), &new_key()).await.expect("it pays");
    let findings = judged(&stage, &stage.evidence(&paid).await);
    assert!(findings.iter().all(|one| one.holds), "{findings:#?}");
}
