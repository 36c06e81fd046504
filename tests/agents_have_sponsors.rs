//! Promise 6, for those whom nobody watches: an agent without a person who answers for it does not go on spending.

use ledger::gate::Scope;
use ledger::id::CallerKind;
use purser::config::Config;
use purser::world::{AGENT, BYSTANDER, HOME, NEIGHBOUR};
use reqwest::Method;
use serde_json::Value;

use crate::harness::process::run;
use crate::harness::shop::{Shop, code, intent};
use crate::harness::text;
use crate::harness::world::World;

fn sponsored_by(config: &mut Config, sponsor: &str) {
    let home = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).expect("the tenant");
    home.agents.iter_mut().filter(|agent| agent.id == BYSTANDER).for_each(|agent| agent.sponsor = sponsor.into());
}

/// Stopped by the service, under its own name; an operator lifts it, a person does not, and it holds only with a sponsor.
#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_stopped_until_somebody_answers_for_it() {
    let mut shop = Shop::open().await;
    let [operator, neighbour] = [("admin", CallerKind::Operator), (NEIGHBOUR, CallerKind::User)]
        .map(|(name, kind)| shop.service.token(HOME, name, kind).unwrap());
    let orphan = shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let home = HOME.parse().unwrap();
    assert_eq!(shop.service.engine().sweep_agents(&home).await.unwrap(), 0, "everybody has a sponsor");
    shop.service.change(|config| sponsored_by(config, "somebody-who-left")).unwrap();
    assert_eq!(shop.service.engine().sweep_agents(&home).await.unwrap(), 1);
    assert_eq!(shop.service.engine().sweep_agents(&home).await.unwrap(), 0, "once");
    let stops = shop.call(Method::GET, "/v1/kill", &operator, None).await.unwrap();
    let stop = stops["stops"][0].clone();
    assert_eq!((text(&stop, "scope"), text(&stop, "by")), (&*format!("agent/{BYSTANDER}"), "lifecycle"), "{stops}");
    let asks = shop.call(Method::POST, "/v1/mandates/intents", &orphan, Some(intent())).await;
    assert_eq!(code(asks), "stopped", "its tokens are worth nothing");
    let path = format!("/v1/kill/{}", Scope::Agent(BYSTANDER.parse().unwrap()).id());
    let by_person = code(shop.call(Method::DELETE, &path, &neighbour, None).await);
    assert!(["forbidden", "not_yours_to_lift"].contains(&by_person.as_str()), "{by_person}");
    shop.call(Method::DELETE, &path, &operator, None).await.expect("an operator lifts it");
    assert_eq!(shop.service.engine().sweep_agents(&home).await.unwrap(), 1, "nobody answers for it yet");
    shop.service.change(|config| sponsored_by(config, NEIGHBOUR)).unwrap();
    shop.call(Method::DELETE, &path, &operator, None).await.expect("lifted");
    assert_eq!(shop.service.engine().sweep_agents(&home).await.unwrap(), 0);
    // A stop of the service ends nothing that was signed.
    shop.mandate(intent()).await;
    shop.service.stop().await;
}

/// The command says the same, and whether anything is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn the_report_says_who_answers_for_whom() {
    let mut world = World::start().await;
    let file = world.config_file().display().to_string();
    let report = |world: &World| {
        let out = run(&["principal", "report", "--config", &file, "--tenant", HOME, "--json"], &world.env());
        let lines = String::from_utf8(out.stdout).unwrap();
        let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (out.status.code(), rows)
    };
    let (status, rows) = report(&world);
    assert_eq!(status, Some(0), "{rows:?}");
    assert!(rows.iter().all(|row| row["findings"] == serde_json::json!([]) && row["last_use"].is_null()), "{rows:?}");
    let mandate = world.mandate().await;
    world.pay(&mandate, "used").await.expect("signed");
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).expect("the tenant");
    for agent in home.agents.iter_mut().filter(|agent| agent.id == AGENT) {
        agent.review_by = Some("2020-02-29".into());
    }
    sponsored_by(&mut world.config, "somebody-who-left");
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    let (status, rows) = report(&world);
    let row = |name: &str| rows.iter().find(|row| row["agent"] == name).expect("a row");
    assert_eq!(status, Some(1));
    assert_eq!(row(AGENT)["findings"], serde_json::json!(["review_due"]));
    assert!(row(AGENT)["last_use"].is_i64() && row(AGENT)["review_by"] == 1_582_934_400, "{}", row(AGENT));
    assert_eq!(row(BYSTANDER)["findings"], serde_json::json!(["orphaned"]));
    for wrong in ["", "2027", "2027-02-30", "2027-01-31T00:00:00", "31.01.2027", "2027-1-31"] {
        let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).expect("the tenant");
        home.agents.iter_mut().for_each(|agent| agent.review_by = Some(wrong.into()));
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        let (status, rows) = report(&world);
        assert!(status != Some(0) && rows.is_empty(), "{wrong:?}: {rows:?}");
    }
}
