//! Promises 1, 2 and 6 where an agent hands part of its mandate on: nothing becomes wider, the tree holds the sum, and what
//! stops the parent stops the child.

use ledger::id::{BudgetId, CallerKind};
use ledger::store::Store;
use mandates::limits::DELEGATIONS_MAX;
use purser::client::ClientError;
use purser::config::AgentConfig;
use purser::world::{AGENT, BYSTANDER, HOME, NEIGHBOUR, SHOP, USER};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;
use crate::harness::world::World;

/// A mandate of every dimension that can be narrowed.
fn wide(shop: &Shop) -> Value {
    let mut request = intent();
    request["payees"] = json!([
        { "id": SHOP, "name": "Demo Shop", "website": shop.service.url() },
        { "id": "another", "name": "Another" },
    ]);
    (request["total"], request["per_payment"], request["payments"]) = ("1.00".into(), "0.50".into(), 50.into());
    request
}

async fn delegate(shop: &Shop, token: &str, mandate: &str, key: &str, body: Value) -> Result<Value, ClientError> {
    let path = format!("/v1/mandates/{mandate}/delegate");
    shop.client.call(Method::POST, &path, token, Some(key), Some(body)).await
}

fn part(differing: Value) -> Value {
    let mut body = json!({ "to": BYSTANDER, "total": "0.60", "payments": 10 });
    differing.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

fn bystander(shop: &Shop) -> String {
    shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap()
}

/// A mandate of the agent's, and part of it in another agent's hands.
async fn handed(shop: &Shop) -> (String, String) {
    let mandate = shop.mandate(wide(shop)).await;
    let child = delegate(shop, &shop.agent, &mandate, &new_key(), part(json!({}))).await.expect("part of it");
    (mandate, text(&child, "id").to_owned())
}

async fn held(shop: &Shop, node: BudgetId) -> u128 {
    shop.service.store().budget(&HOME.parse().unwrap(), node).await.unwrap().expect("the node").held.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wider_anywhere_is_not_handed_on() {
    let shop = Shop::open().await;
    let mut request = wide(&shop);
    (request["cart"], request["expires_in_seconds"]) = ("required".into(), 600.into());
    let mandate = shop.mandate(request).await;
    for (differing, expected) in [
        (json!({ "total": "1.01" }), "child_widens_budget"),
        (json!({ "total": "1000000.00" }), "child_widens_budget"),
        (json!({ "per_payment": "0.51" }), "child_widens_amount_range"),
        (json!({ "payments": 51 }), "child_widens_recurrence"),
        (json!({ "payees": [{ "id": "beyond", "name": "Beyond" }] }), "child_widens_payees"),
        // the same shop at any website is not that shop
        (json!({ "payees": [{ "id": SHOP, "name": "Demo Shop" }] }), "child_widens_payees"),
        (json!({ "payees": [{ "id": "another", "name": "another" }] }), "child_widens_payees"),
        (json!({ "expires_in_seconds": 3_600 }), "child_widens_expiry"),
        (json!({ "cart": "optional" }), "child_widens_cart"),
        (json!({ "refunds": "restore" }), "child_widens_refunds"),
    ] {
        let (status, code, detail) =
            refused(delegate(&shop, &shop.agent, &mandate, &new_key(), part(differing.clone())).await);
        assert_eq!((status, code.as_str()), (422, expected), "{differing}: {detail}");
        let page = shop.call(Method::GET, &format!("/errors/{code}"), &shop.agent, None).await.expect("a page");
        assert_eq!(page["code"], code.as_str());
    }
    // Under a cent no credential can say it; the book does.
    let fine = part(json!({ "per_payment": "0.5000001" }));
    assert_eq!(code(delegate(&shop, &shop.agent, &mandate, &new_key(), fine).await), "child_widens_amount_range");
    let all = json!({ "to": BYSTANDER, "total": "1.00", "per_payment": "0.50", "payments": 50 });
    let child = delegate(&shop, &shop.agent, &mandate, &new_key(), all).await.expect("as wide as the parent");
    assert_eq!((text(&child, "cart"), &child["cap"]["amount"]), ("required", &json!("1.00")));
    let events = shop.call(Method::GET, "/v1/events?limit=500", &shop.user, None).await.unwrap();
    let opened = events["events"].as_array().unwrap().iter().filter(|event| event["type"] == "mandate.opened").count();
    assert_eq!(opened, 2, "the parent and one child: {events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_meant_is_refused() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(wide(&shop)).await;
    for differing in [
        json!({ "total": "-1" }),
        json!({ "total": "0.60 USD" }),
        json!({ "total": 1 }),
        json!({ "payments": 0 }),
        json!({ "payments": -1 }),
        json!({ "payees": [] }),
        json!({ "per_payment": "0.61" }),
        json!({ "expires_in_seconds": 0 }),
        json!({ "limits": [{ "period": "day", "amount": "1" }] }),
        json!({ "hours": { "zone": "UTC", "from": "9:00", "to": "17:00" } }),
        json!({ "to": "a b" }),
        json!({ "user": USER }),
        json!({ "currency": "EUR" }),
        json!({ "approved": true }),
    ] {
        let (status, _, detail) =
            refused(delegate(&shop, &shop.agent, &mandate, &new_key(), part(differing.clone())).await);
        assert_eq!(status, 400, "{differing}: {detail}");
    }
    let path = format!("/v1/mandates/{mandate}/delegate");
    let keyless = shop.call(Method::POST, &path, &shop.agent, Some(part(json!({})))).await;
    assert_eq!(refused(keyless).0, 400, "a key is not optional");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_hands_on_and_only_to_an_agent_outside_of_the_chain() {
    let shop = Shop::open().await;
    let (mandate, child) = handed(&shop).await;
    let second = bystander(&shop);
    let elsewhere = shop.service.token(SHOP, AGENT, CallerKind::Agent).unwrap();
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let neighbour = shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    for (token, under, status, expected) in [
        (&second, &mandate, 404, "not_found"),
        (&elsewhere, &mandate, 404, "not_found"),
        (&shop.user, &mandate, 403, "forbidden"),
        (&operator, &mandate, 403, "forbidden"),
        (&neighbour, &mandate, 403, "forbidden"),
        (&shop.merchant, &mandate, 403, "forbidden"),
        // whoever handed it on sees it, and has it no more
        (&shop.agent, &child, 403, "forbidden"),
    ] {
        let (found, code, detail) = refused(delegate(&shop, token, under, &new_key(), part(json!({}))).await);
        assert_eq!((found, code.as_str()), (status, expected), "{detail}");
    }
    for (token, under, to, expected) in [
        (&shop.agent, &mandate, "nobody", "not_found"),
        (&shop.agent, &mandate, USER, "not_found"),
        (&shop.agent, &mandate, AGENT, "delegation_cycle"),
        (&second, &child, BYSTANDER, "delegation_cycle"),
        (&second, &child, AGENT, "delegation_cycle"),
    ] {
        let refused = delegate(&shop, token, under, &new_key(), part(json!({ "to": to, "total": "0.01" }))).await;
        assert_eq!(code(refused), expected, "to {to}");
    }
    let unknown = delegate(&shop, &shop.agent, &"ab".repeat(32), &new_key(), part(json!({}))).await;
    assert_eq!(code(unknown), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_stand_is_not_handed_on() {
    let shop = Shop::open().await;
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let change = async |mandate: &str, to: &str| {
        shop.call(Method::POST, &format!("/v1/mandates/{mandate}/{to}"), &shop.user, None).await.expect(to);
    };
    let on = async |mandate: &str| code(delegate(&shop, &shop.agent, mandate, &new_key(), part(json!({}))).await);
    let mandate = shop.mandate(wide(&shop)).await;
    change(&mandate, "suspend").await;
    assert_eq!(on(&mandate).await, "mandate_suspended");
    change(&mandate, "resume").await;
    for scope in ["everything", "person/user", "agent/shopper", "agent/bystander", &format!("mandate/{mandate}")] {
        let body = json!({ "scope": scope });
        let stop = shop.call(Method::POST, "/v1/kill", &operator, Some(body)).await.unwrap();
        assert_eq!(on(&mandate).await, "stopped", "{scope}");
        shop.call(Method::DELETE, &format!("/v1/kill/{}", text(&stop, "id")), &operator, None).await.unwrap();
    }
    delegate(&shop, &shop.agent, &mandate, &new_key(), part(json!({}))).await.expect("it stands again");
    change(&mandate, "revoke").await;
    assert_eq!(on(&mandate).await, "mandate_revoked");
    let mut brief = wide(&shop);
    brief["expires_in_seconds"] = 1.into();
    let brief = shop.mandate(brief).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(on(&brief).await, "mandate_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_under_a_child_debits_everything_above_and_is_proved_by_the_whole_chain() {
    let shop = Shop::open().await;
    let (mandate, child) = handed(&shop).await;
    let second = bystander(&shop);
    let required = shop.met("/paid/report").await;
    let payment = shop.pay_as(&second, &child, &required, "sub", json!({})).await.expect("the sub-agent pays");
    let again = shop.pay_as(&second, &child, &required, "sub", json!({})).await.expect("the same key");
    assert_eq!(payment, again, "the same authorization");
    assert_eq!(text(&payment, "mandate"), child);
    let (asset, tenant) = ("iso4217:USD".parse().unwrap(), HOME.parse().unwrap());
    let (root, person) =
        (BudgetId::of_tenant(&tenant, &asset), BudgetId::of_person(&tenant, &USER.parse().unwrap(), &asset));
    for node in [child.parse().unwrap(), mandate.parse().unwrap(), person, root] {
        assert_eq!(held(&shop, node).await, 1_000_000, "one cent at {node}");
    }
    assert_eq!(shop.fetch("/paid/report", Some(text(&payment, "payment_signature"))).await.status.as_u16(), 200);
    let outcome = format!("/v1/payments/{}/outcome", text(&payment, "id"));
    shop.call(Method::POST, &outcome, &second, Some(json!({}))).await.unwrap();
    let path = format!("/v1/payments/{}/evidence", text(&payment, "id"));
    let file = shop.call(Method::GET, &path, &second, None).await.unwrap();
    let file: engine::evidence::EvidenceFile = serde_json::from_value(file).unwrap();
    let check = |file: &engine::evidence::EvidenceFile| {
        engine::evidence::check(file, shop.service.roots(), &shop.service.engine().assets)
    };
    let findings = check(&file);
    assert!(findings.iter().all(|finding| finding.holds), "{findings:#?}");
    let chain = findings.iter().find(|finding| finding.check == "mandate_chain").unwrap();
    assert!(chain.detail.starts_with("3 links"), "root, hop and leaf: {chain}");
    let decision = findings.iter().find(|finding| finding.check == "decision").unwrap();
    assert!(decision.detail.ends_with("for shopper, who handed it on to bystander"), "{decision}");
    // A bundle without its line is another bundle.
    let mut forged = file.clone();
    let mut bundle: Value = serde_json::from_str(&file.bundle).unwrap();
    bundle.as_object_mut().unwrap().remove("line");
    forged.bundle = bundle.to_string();
    let wrong: Vec<&str> =
        check(&forged).iter().filter(|finding| !finding.holds).map(|finding| finding.check).collect();
    assert_eq!(wrong, ["spend", "decision", "mandate_chain"]);
    for (token, under) in [(&shop.agent, &child), (&second, &mandate)] {
        let other = shop.pay_as(token, under, &required, &new_key(), json!({})).await;
        assert!(matches!(refused(other).0, 403 | 404), "each pays under their own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_together_stay_under_their_parent() {
    let shop = Shop::open().await;
    let (mandate, one) = handed(&shop).await;
    let two = delegate(&shop, &shop.agent, &mandate, &new_key(), part(json!({}))).await.expect("0.60 + 0.60 of 1.00");
    let two = text(&two, "id").to_owned();
    let second = bystander(&shop);
    let pay = async |under: &str, cents: u128| {
        let offer = shop.offer(&format!("/{}", new_key()), cents * 10_000);
        shop.pay_as(&second, under, &offer, &new_key(), json!({})).await
    };
    pay(&one, 50).await.expect("50 of 60");
    let (status, code, detail) = refused(pay(&one, 11).await);
    assert_eq!((status, code.as_str()), (422, "amount_exceeds_budget"), "{detail}");
    assert!(detail.contains(&one), "the child's own cap: {detail}");
    let (status, code, detail) = refused(pay(&two, 50).await.and(pay(&two, 1).await));
    assert_eq!((status, code.as_str()), (422, "amount_exceeds_budget"), "{detail}");
    assert!(detail.contains(&mandate), "the parent is full, not the child: {detail}");
    let offer = shop.offer("/own", 10_000);
    assert_eq!(self::code(shop.pay(&mandate, &offer, &new_key()).await), "amount_exceeds_budget");
    assert_eq!(held(&shop, mandate.parse().unwrap()).await, 100_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_the_parent_stops_the_child() {
    let shop = Shop::open().await;
    let operator = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let (mandate, child) = handed(&shop).await;
    let second = bystander(&shop);
    let pay = async || {
        let offer = shop.offer(&format!("/{}", new_key()), 10_000);
        shop.pay_as(&second, &child, &offer, &new_key(), json!({})).await
    };
    let change = async |id: &str, token: &str, to: &str| {
        shop.call(Method::POST, &format!("/v1/mandates/{id}/{to}"), token, None).await
    };
    pay().await.expect("it stands");
    for scope in ["person/user", "agent/shopper", "agent/bystander", &format!("mandate/{mandate}")] {
        let stop = shop.call(Method::POST, "/v1/kill", &operator, Some(json!({ "scope": scope }))).await.unwrap();
        assert_eq!(code(pay().await), "stopped", "{scope}");
        assert_eq!(shop.figures(&child).await["payment"], Value::Null, "nothing is signed under a stop: {scope}");
        shop.call(Method::DELETE, &format!("/v1/kill/{}", text(&stop, "id")), &operator, None).await.unwrap();
    }
    change(&mandate, &shop.user, "suspend").await.expect("suspended");
    let (_, suspended, detail) = refused(pay().await);
    assert_eq!(suspended, "mandate_suspended");
    assert!(detail.contains(&mandate), "the parent is what stands still: {detail}");
    let shown = shop.figures(&child).await;
    assert_eq!((&shown["state"], &shown["payment"]), (&json!("active"), &Value::Null), "and nothing is signed for it");
    change(&mandate, &shop.user, "resume").await.expect("resumed");
    pay().await.expect("it stands again");
    // Whoever handed it on takes it back, and cannot give it again; the sub-agent has no say over the parent.
    assert_eq!(refused(change(&mandate, &second, "suspend").await).0, 404);
    change(&child, &shop.agent, "suspend").await.expect("taken back");
    assert_eq!(code(pay().await), "mandate_suspended");
    assert_eq!(code(change(&child, &shop.agent, "resume").await), "forbidden");
    change(&child, &shop.user, "resume").await.expect("the person's to give");
    change(&mandate, &shop.user, "revoke").await.expect("revoked");
    assert_eq!(code(pay().await), "mandate_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_hands_on_once() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(wide(&shop)).await;
    let on = async |key: &str, body: Value| delegate(&shop, &shop.agent, &mandate, key, body).await;
    let first = on("once", part(json!({}))).await.expect("handed on");
    assert_eq!((text(&first, "agent"), text(&first, "user"), text(&first, "parent")), (BYSTANDER, USER, &*mandate));
    assert_eq!(first["line"], json!([{ "mandate": mandate, "agent": AGENT }]));
    let again = on("once", part(json!({}))).await.expect("the same");
    assert_eq!(first["id"], again["id"]);
    assert_ne!(first["id"], on("twice", part(json!({}))).await.expect("another key, another one")["id"]);
    for differing in [json!({ "total": "0.59" }), json!({ "payments": 11 }), json!({ "to": "nobody" })] {
        assert_eq!(code(on("once", part(differing)).await), "idempotency_key_reused");
    }
    // The chain as it is verifies for anyone, and says that nothing may be paid on it.
    let body = json!({ "presented": text(&first, "payment") });
    let verdict = shop.call(Method::POST, "/v1/mandates/verify", &shop.user, Some(body)).await.unwrap();
    assert_eq!((&verdict["valid"], text(&verdict, "strength")), (&json!(true), "on_its_own"), "{verdict}");
    let open = verdict["facts"]["open"].as_array().unwrap();
    assert_eq!(open.len(), 2);
    // Revoked since: the answer is the same mandate, as it is now.
    shop.call(Method::POST, &format!("/v1/mandates/{mandate}/revoke"), &shop.user, None).await.expect("revoked");
    let late = on("once", part(json!({}))).await.expect("the same mandate");
    assert_eq!((&late["id"], &late["payment"]), (&first["id"], &Value::Null));
}

/// As far as it goes and no farther, on a service that is restarted in between; and by the command.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_agents_ends_and_outlives_a_restart() {
    let mut world = World::start().await;
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).expect("the tenant");
    let names: Vec<String> = (0..=DELEGATIONS_MAX).map(|number| format!("hand-{number}")).collect();
    for id in &names {
        home.agents.push(AgentConfig {
            id: id.clone(),
            sponsor: USER.into(),
            jwk: None,
            issuer: None,
            build: None,
            cost_centre: None,
            review_by: None,
            dormant_after_days: None,
        });
    }
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    let token = |name: &str| purser::service::mint(&minter, HOME, name, CallerKind::Agent, 3_600).unwrap();
    let root = world.mandate().await;
    let (mut mandate, mut holder) = (root.clone(), world.agent.clone());
    for (number, name) in names.iter().enumerate() {
        let body = json!({ "to": name, "total": "0.50", "payments": 5 });
        let path = format!("/v1/mandates/{mandate}/delegate");
        let handed = world.client.call(Method::POST, &path, &holder, Some("down"), Some(body)).await;
        if number == DELEGATIONS_MAX {
            let (status, code, detail) = refused(handed);
            assert_eq!((status, code.as_str()), (422, "delegation_too_deep"), "{detail}");
            break;
        }
        (mandate, holder) = (text(&handed.expect(name), "id").to_owned(), token(name));
        world.restart();
    }
    let met = world.fetch(None).await.unwrap();
    let body = json!({ "mandate": mandate, "payment_required_header": met.header("payment-required").unwrap() });
    let payment = world.client.call(Method::POST, "/v1/payments", &holder, Some("deep"), Some(body)).await.unwrap();
    let signature = text(&payment, "payment_signature");
    assert_eq!(world.fetch(Some(signature)).await.unwrap().status.as_u16(), 200);
    let path = format!("/v1/payments/{}/outcome", text(&payment, "id"));
    world.call(Method::POST, &path, &holder, Some(json!({}))).await.unwrap();
    let evidence = format!("/v1/payments/{}/evidence", text(&payment, "id"));
    let evidence = world.call(Method::GET, &evidence, &holder, None).await.unwrap();
    let (file, trust) = (world.folder.path().join("evidence.json"), world.folder.path().join("trust.json"));
    std::fs::write(&trust, evidence["issuer_keys"].to_string()).unwrap();
    std::fs::write(&file, evidence.to_string()).unwrap();
    let (file, trust) = (file.display().to_string(), trust.display().to_string());
    let verified = run(&["verify", "--evidence", &file, "--trust", &trust], &[]);
    assert!(verified.status.success() && stdout(&verified).contains("6 links"), "{}", stdout(&verified));

    let service = world.folder.path().join("service.json");
    std::fs::write(&service, json!({ "url": world.config.public_url(), "token": world.agent }).to_string()).unwrap();
    let service = service.display().to_string();
    let command = |total: &str| {
        let args = ["delegate", &root, "--to", &names[0], "--total", total, "--idempotency-key", "by-hand"];
        run(&[&args[..], &["--service", &service]].concat(), &[])
    };
    let (first, again) = (command("1.00"), command("1.00"));
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!((stdout(&first).trim().len(), stdout(&first)), (64, stdout(&again)));
    let other = command("1.01");
    assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("idempotency_key_reused"));

    // One in the middle is taken out: what came through their hands pays nothing, though others signed after them.
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).expect("the tenant");
    home.agents.retain(|agent| agent.id != names[1]);
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let body = json!({ "mandate": mandate, "payment_required_header": met.header("payment-required").unwrap() });
    let refused = world.client.call(Method::POST, "/v1/payments", &holder, Some("orphan"), Some(body)).await;
    let refused = refused.expect_err("nobody pays through somebody who is not there");
    assert_eq!(refused.code(), Some("not_found"), "{refused}");
    world.check_books(1).await;
}

/// What an agent hands on is in the book for ever, so it is counted.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_hands_on_so_much_and_no_more() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(wide(&shop)).await;
    let mut handed = 0;
    let (status, code, detail) = loop {
        match delegate(&shop, &shop.agent, &mandate, &new_key(), part(json!({}))).await {
            Ok(_) => handed += 1,
            refused => break self::refused(refused),
        }
        assert!(handed < 150, "nobody counts");
    };
    assert_eq!((status, code.as_str()), (429, "quota_exceeded"), "{detail}");
    assert!((100..105).contains(&handed), "100 at once, and one a minute: {handed}");
}
