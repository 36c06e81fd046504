//! What is sold here is found by the official catalogue client (x402 `bazaar`), as it is described and as it is priced, and
//! what is unlisted is not.

use purser::config::{CatalogueConfig, RouteConfig};
use serde_json::{Value, json};
use x402::wire::{PaymentRequired, read_header};

use crate::foreign_clients::node_script;
use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

fn route(path: &str, method: &str, catalogue: Option<CatalogueConfig>) -> RouteConfig {
    RouteConfig {
        path: path.into(),
        amount: "10000".into(),
        description: format!("weather at {path}"),
        body: Some("goods".into()),
        methods: vec![method.into()],
        catalogue,
        ..RouteConfig::default()
    }
}

fn example(value: Value) -> Option<serde_json::Map<String, Value>> {
    value.as_object().cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_finds_what_is_sold() {
    let mut world = World::start().await;
    let file = world.config_file();
    let forecast = CatalogueConfig {
        service_name: Some("Example Weather".into()),
        tags: vec!["forecast".into()],
        query: example(json!({ "city": "Berlin" })),
        output: Some(json!({ "temperature": 20 })),
        ..CatalogueConfig::default()
    };
    let search = CatalogueConfig { body: example(json!({ "city": "Berlin" })), ..CatalogueConfig::default() };
    // What no catalogue takes is said when the service starts.
    for (wrong, said) in [
        (CatalogueConfig { tags: vec!["a".into(), "A".into()], ..forecast.clone() }, "none twice"),
        (CatalogueConfig { service_name: Some("Wetter für alle".into()), ..forecast.clone() }, "printable ASCII"),
        (search.clone(), "POST, PUT or PATCH was expected first"),
    ] {
        let mut config = world.config.clone();
        config.listen = crate::harness::free_address();
        let sell = config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).unwrap();
        sell.routes.push(route("/wrong", "GET", Some(wrong)));
        let other = world.folder.path().join("wrong.toml");
        std::fs::write(&other, toml::to_string(&config).unwrap()).unwrap();
        let served = run(&["serve", "--config", &other.display().to_string()], &world.env());
        let why = String::from_utf8_lossy(&served.stderr).into_owned();
        assert!(!served.status.success() && why.contains(said), "{said}: {why}");
    }
    let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
    sell.routes.push(route("/sold/forecast", "GET", Some(forecast)));
    sell.routes.push(route("/sold/search", "POST", Some(search)));
    sell.routes.push(RouteConfig { unlisted: true, ..route("/sold/secret", "GET", None) });
    std::fs::write(&file, toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();

    let (base, query) = (world.config.public_url(), "weather FORECAST");
    let asked = base.clone();
    let output = tokio::task::spawn_blocking(move || node_script("find.mjs").args([&asked, query]).output().unwrap());
    let output = output.await.unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    let (listed, found, next) = (&said["listed"], &said["found"], &said["next"]);
    assert_eq!(listed["pagination"], json!({ "limit": 1, "offset": 0, "total": 2 }), "{listed}");
    assert_eq!(said["valid"], json!([true]), "its own schema takes what it says");
    let first = &found["resources"][0];
    assert_eq!(text(first, "resource"), format!("{base}/sold/forecast"), "both words stand in it");
    assert_eq!((&first["serviceName"], &first["tags"]), (&json!("Example Weather"), &json!(["forecast"])));
    assert_eq!(text(&next["resources"][0], "resource"), format!("{base}/sold/search"));
    // What the catalogue says is what the 402 says.
    let met = world.client.fetch("GET", &format!("{base}/sold/forecast"), None).await.unwrap();
    let demand: PaymentRequired = read_header(met.header("payment-required").unwrap().as_bytes()).unwrap();
    assert_eq!(first["accepts"], serde_json::to_value(&demand.accepts).unwrap());
    assert_eq!(first["extensions"], serde_json::to_value(&demand.extensions).unwrap());
    assert_eq!(demand.resource.unknown["serviceName"], "Example Weather");
    for path in ["/.well-known/x402", "/discovery/resources?limit=100", "/discovery/search?query=weather"] {
        let all = reqwest::get(format!("{base}{path}")).await.unwrap().text().await.unwrap();
        assert!(all.contains("/sold/search") && !all.contains("secret"), "{path}: {all}");
    }
    for path in ["/discovery/resources?limit=0", "/discovery/search", "/discovery/search?query=a&cursor=x"] {
        assert_eq!(reqwest::get(format!("{base}{path}")).await.unwrap().status().as_u16(), 400, "{path}");
    }
}
