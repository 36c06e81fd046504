//! Attacks of one person's agents on another person's mandate, and of sub-agents on their parent's.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::id::{BudgetId, CallerKind};
use ledger::store::Store;
use mandates::limits::DELEGATIONS_MAX;
use purser::config::AgentConfig;
use purser::world::{AGENT, BYSTANDER, HOME, NEIGHBOUR, USER};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{figures, pay, used, verify_books};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;
use crate::harness::world::World;

/// The neighbour's mandate, asked for by the neighbour's agent.
async fn neighbours(shop: &Shop) -> (String, String, String) {
    let agent = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let user = shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    let mut request = intent();
    request["user"] = NEIGHBOUR.into();
    let asked = shop.call(Method::POST, "/v1/mandates/intents", &agent, Some(request)).await.unwrap();
    let path = format!("/v1/approvals/{}/decision", text(&asked["approval"], "id"));
    let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
    let decided = shop.call(Method::POST, &path, &user, Some(decision)).await.unwrap();
    (agent, user, text(&decided, "mandate").to_owned())
}

/// Two people's agents pay for the same things at the same moment, under the same keys. Each payment is bound to its own
/// mandate, agent and person in one unit of work; nothing is "the latest".
#[tokio::test(flavor = "multi_thread")]
async fn a_mandate_is_bound_to_its_own_users_payment() {
    let shop = Arc::new(Shop::open().await);
    let ours = (shop.agent.clone(), shop.user.clone(), shop.mandate(intent()).await);
    let theirs = neighbours(&shop).await;
    let mut racing = JoinSet::new();
    for number in 0..40_usize {
        let shop = shop.clone();
        let side = if number % 2 == 0 { &ours } else { &theirs };
        let (agent, _, mandate) = side.clone();
        let offer = shop.offer(&format!("/interleaved/{}", number / 2), 10_000);
        let key = format!("interleaved-{}", number / 2);
        racing.spawn(async move {
            let paid = shop.pay_as(&agent, &mandate, &offer, &key, json!({})).await.expect("each its own");
            (number % 2, paid)
        });
    }
    let paid = racing.join_all().await;
    let nonces: BTreeSet<&str> = paid.iter().map(|(_, payment)| text(payment, "nonce")).collect();
    assert_eq!(nonces.len(), 40, "no authorization belongs to two");
    for (side, payment) in &paid {
        let ((agent, _, mandate), name, person) = match side {
            0 => (&ours, AGENT, USER),
            _ => (&theirs, BYSTANDER, NEIGHBOUR),
        };
        let path = format!("/v1/payments/{}/evidence", text(payment, "id"));
        let file = shop.call(Method::GET, &path, agent, None).await.unwrap();
        let file: engine::evidence::EvidenceFile = serde_json::from_value(file).unwrap();
        let findings = engine::evidence::check(&file, shop.service.roots(), &shop.service.engine().assets);
        assert!(findings.iter().all(|finding| finding.holds), "{findings:#?}");
        let bundle: Value = serde_json::from_str(&file.bundle).unwrap();
        assert_eq!((text(&bundle, "mandate"), text(&bundle, "agent")), (mandate.as_str(), name));
        assert!(file.decision.contains(person), "decided by {person}: {}", file.decision);
        // Somebody else's payment is not there for the other side, in no way.
        let stranger = if *side == 0 { &theirs.0 } else { &ours.0 };
        let id = text(payment, "id");
        for (method, path) in [
            (Method::GET, format!("/v1/payments/{id}")),
            (Method::GET, format!("/v1/payments/{id}/evidence")),
            (Method::POST, format!("/v1/payments/{id}/void")),
            (Method::POST, format!("/v1/payments/{id}/outcome")),
        ] {
            let body = (method == Method::POST).then(|| json!({}));
            assert_eq!(refused(shop.call(method, &path, stranger, body).await).0, 404, "{path}");
        }
    }
    // Nor can the other's mandate be named, nor the other's payment be followed.
    let offer = shop.offer("/interleaved/0", 10_000);
    for (agent, mandate) in [(&ours.0, &theirs.2), (&theirs.0, &ours.2)] {
        assert_eq!(code(shop.pay_as(agent, mandate, &offer, &new_key(), json!({})).await), "not_found");
    }
    let (_, other) = paid.iter().find(|(side, _)| *side == 1).unwrap();
    let follows = json!({ "again_after": other["id"] });
    let (status, _, detail) =
        refused(shop.pay_as(&ours.0, &ours.2, &shop.offer("/alone", 10_000), &new_key(), follows).await);
    assert!((400..500).contains(&status), "{detail}");
    // The books: twenty cents under each mandate and each person, forty under the tenant.
    let (tenant, asset) = (HOME.parse().unwrap(), "iso4217:USD".parse().unwrap());
    let person = |name: &str| BudgetId::of_person(&tenant, &name.parse().unwrap(), &asset);
    for (node, cents) in [
        (ours.2.parse().unwrap(), 20),
        (theirs.2.parse().unwrap(), 20),
        (person(USER), 20),
        (person(NEIGHBOUR), 20),
        (BudgetId::of_tenant(&tenant, &asset), 40),
    ] {
        let node = shop.service.store().budget(&tenant, node).await.unwrap().unwrap();
        assert_eq!((node.held.get(), node.posted.get()), (cents * 1_000_000, 0), "{}", node.id);
    }
}

/// Four children of one parent, each within its own cap, at two processes; a child that wants more; a chain without an end;
/// a circle.
#[tokio::test(flavor = "multi_thread")]
async fn siblings_widening_depth_and_cycles_pass_no_parent() {
    let mut world = World::patient(Some(Cluster::start(QUICK))).await;
    let names: Vec<String> = (0..=DELEGATIONS_MAX).map(|number| format!("hand-{number}")).collect();
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
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
    let (replica, client) = world.replica(1);
    let clients = [world.client.clone(), client];
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    let token = |name: &str| purser::service::mint(&minter, HOME, name, CallerKind::Agent, 3_600).unwrap();
    let delegate = async |holder: &str, mandate: &str, body: Value| {
        let path = format!("/v1/mandates/{mandate}/delegate");
        world.client.call(Method::POST, &path, holder, Some(&new_key()), Some(body)).await
    };
    let parent = world.mandate_with(json!({ "total": "0.10", "per_payment": "0.02", "payments": 100 })).await;

    for (wider, expected) in [
        (json!({ "to": names[0], "total": "0.11" }), "child_widens_budget"),
        (json!({ "to": names[0], "total": "0.10", "per_payment": "0.03" }), "child_widens_amount_range"),
        (json!({ "to": names[0], "total": "0.10", "payments": 101 }), "child_widens_recurrence"),
        (json!({ "to": names[0], "total": "0.10", "expires_in_seconds": 360_000 }), "child_widens_expiry"),
        (json!({ "to": AGENT, "total": "0.10" }), "delegation_cycle"),
    ] {
        assert_eq!(code(delegate(&world.agent, &parent, wider.clone()).await), expected, "{wider}");
    }
    let (mut down, mut holder) = (parent.clone(), world.agent.clone());
    for (number, name) in names.iter().enumerate() {
        let handed = delegate(&holder, &down, json!({ "to": name, "total": "0.01" })).await;
        if number == DELEGATIONS_MAX {
            assert_eq!(code(handed), "delegation_too_deep");
            break;
        }
        let circle = delegate(&holder, &down, json!({ "to": AGENT, "total": "0.01" })).await;
        assert_eq!(code(circle), "delegation_cycle");
        (down, holder) = (text(&handed.expect(name), "id").to_owned(), token(name));
    }
    // A chain that nobody could have signed: refused for its length, whatever its hops say.
    let presented = format!("e30.e30.AAAA~{}", "~e30.e30.AAAA~".repeat(5_000));
    let body = json!({ "presented": presented });
    let verdict = world.call(Method::POST, "/v1/mandates/verify", &world.user, Some(body)).await.unwrap();
    assert_eq!((&verdict["valid"], text(&verdict, "code")), (&json!(false), "too_many_segments"), "{verdict}");

    let mut siblings = Vec::new();
    for name in &names[..4] {
        let child = json!({ "to": name, "total": "0.06", "per_payment": "0.01", "payments": 50 });
        let child = delegate(&world.agent, &parent, child).await.expect("0.06 of 0.10, four times");
        siblings.push((text(&child, "id").to_owned(), token(name)));
    }
    let mut racing = JoinSet::new();
    for number in 0..32_usize {
        let client = clients[number % 2].clone();
        let (child, holder) = siblings[number % 4].clone();
        let offer = world.offer(&format!("sibling-{number}")).await;
        racing.spawn(async move { pay(&client, &holder, &child, &offer, &format!("sibling-{number}")).await });
    }
    let (paid, refused): (Vec<_>, Vec<_>) = racing.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(paid.len(), 10, "together they take what their parent has");
    refused.into_iter().for_each(|answer| assert_eq!(code(answer), "amount_exceeds_budget"));
    assert_eq!(used(&figures(&world, &parent).await), ("10000000", "0", 10));
    let mut held = 0;
    for (child, _) in &siblings {
        held += used(&figures(&world, child).await).0.parse::<u64>().unwrap();
    }
    assert_eq!(held, 10_000_000, "the children hold what the parent holds");
    drop(replica);
    verify_books(&world);
}
