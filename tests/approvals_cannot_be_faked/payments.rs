//! The page of one payment that the policy asks for.

use purser::world::AGENT;
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{Stage, outcome, quiet, shown};
use crate::harness::shop::{code, new_key};
use crate::harness::text;

/// What the page shows is what is paid, after a passkey signed it, and only once.
pub async fn one_payment(stage: &mut Stage) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let rules = "purser_policy = 1\nversion = \"2026-11\"\n[[rules]]\nname = \"careful\"\nverb = \"step_up\"\nttl_seconds = 600\n";
    std::fs::write(&file, rules).unwrap();
    let mandate = stage.shop.mandate(super::intent()).await;
    let policy = purser::config::PolicyConfig { file };
    let home = |config: &mut purser::config::Config, policy| {
        config.tenants.iter_mut().find(|tenant| tenant.id == super::HOME).unwrap().policy = policy;
    };
    stage.shop.service.change(|config| home(config, Some(policy))).unwrap();
    let (offer, key) = (stage.shop.offer("/one-payment", 1_230_000), new_key());
    assert_eq!(code(stage.shop.pay(&mandate, &offer, &key).await), "pending_approval");
    let waiting = stage.shop.call(Method::GET, "/v1/approvals", &stage.shop.user, None).await.unwrap();
    let is_payment = |one: &&Value| one["document"]["type"] == "purser.payment-question/1";
    let approval = waiting["approvals"].as_array().unwrap().iter().find(is_payment).expect("it waits").clone();
    stage.browser.go(&format!("{}/approve", stage.raw.base)).await;
    stage.browser.follow(&format!("a[href='/approve/{}']", text(&approval, "id"))).await;
    let browser = &stage.browser;
    assert_eq!(browser.text("h1").await, format!("{AGENT} asks to pay 1.23 USD to Demo Shop"));
    let page = browser.text("main").await;
    for fact in ["1.23 USD", "nobody can take it back", "rule careful of policy 2026-11", "1 of 1: user"] {
        assert!(page.contains(fact), "{fact}: {page}");
    }
    assert!(browser.text("blockquote").await.ends_with("/one-payment"), "the seller's words stand apart");
    shown(browser, "payment").await;
    browser.speak("de-DE,de;q=0.9").await;
    browser.go(&stage.page(&approval)).await;
    assert_eq!(browser.text("h1").await, format!("{AGENT} möchte 1.23 USD an Demo Shop zahlen"));
    shown(browser, "payment-german").await;
    browser.speak("en").await;
    browser.go(&stage.page(&approval)).await;
    // What the page sends is another document than it showed.
    let script = "document.querySelector('[data-passkey=approve] [name=digest]').value = '0'.repeat(64)";
    browser.run(script, json!([])).await;
    browser.click("[data-passkey=approve] .answer").await;
    browser.until("[data-state=failed]").await;
    browser.console().await;
    assert_eq!(code(stage.shop.pay(&mandate, &offer, &key).await), "pending_approval");
    browser.go(&stage.page(&approval)).await;
    browser.click("[data-passkey=approve] .answer").await;
    browser.until(&outcome("approved")).await;
    assert!(browser.text(&outcome("approved")).await.contains("exactly this payment, once"));
    shown(browser, "payment-approved").await;
    quiet(browser, "a payment that was allowed").await;
    assert!(browser.find(".answers").await.is_none(), "it is answered once");
    stage.shop.pay(&mandate, &offer, &key).await.expect("what was allowed is paid");
    stage.shop.service.change(|config| home(config, None)).unwrap();
}
