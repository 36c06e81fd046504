//! "Allow payments like this for a while", from the page of one payment: offered, shown, signed, seen and ended.

use purser::world::{AGENT, HOME};
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{Stage, assertion, outcome, quiet, shown};
use crate::harness::shop::{code, new_key};
use crate::harness::text;

const RULES: &str = "purser_policy = 1\nversion = \"2026-11\"\n[[rules]]\nname = \"careful\"\nverb = \"require_approval\"\nttl_seconds = 600\n";

pub async fn for_a_while(stage: &mut Stage) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, RULES).unwrap();
    let mandate = stage.shop.mandate(super::intent()).await;
    let home = |config: &mut purser::config::Config, policy| {
        config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap().policy = policy;
    };
    let policy = purser::config::PolicyConfig { file };
    stage.shop.service.change(|config| home(config, Some(policy))).unwrap();
    let (offer, key) = (stage.shop.offer("/daily", 120_000), new_key());
    assert_eq!(code(stage.shop.pay(&mandate, &offer, &key).await), "pending_approval");
    let waiting = stage.shop.call(Method::GET, "/v1/approvals", &stage.shop.user, None).await.unwrap();
    let is_payment = |one: &&Value| one["document"]["payment"]["amount"] == "0.12";
    let approval = waiting["approvals"].as_array().unwrap().iter().find(is_payment).expect("it waits").clone();
    let browser = &stage.browser;
    browser.go(&stage.page(&approval)).await;
    let field = async |name: &str| {
        let script = format!("return document.querySelector('[name={name}]').value");
        browser.run(&script, json!([])).await.as_str().unwrap().to_owned()
    };
    let offered = (field("per_payment").await, field("total").await, field("days").await);
    assert_eq!(offered, ("0.12".into(), "1.20".into(), "1".into()), "from the payment and its mandate");
    let is_open = "return document.querySelector('details[data-standing]').open";
    assert_eq!(browser.run(is_open, json!([])).await, false, "nothing is offered first");
    browser.click("details[data-standing] summary").await;
    shown(browser, "standing-offer").await;
    // More than the mandate gives, and what is no number: said, and nothing asked.
    for (name, value) in [("total", "5000.00"), ("per_payment", "0,12"), ("days", "0"), ("days", "many")] {
        browser.go(&stage.page(&approval)).await;
        browser.click("details[data-standing] summary").await;
        let script = format!("document.querySelector('[name={name}]').value = '{value}'");
        browser.run(&script, json!([])).await;
        browser.follow("details[data-standing] button").await;
        assert!(browser.text("[role=alert]").await.contains("go back and correct it"), "{name} {value}");
        browser.console().await;
    }
    forged(stage, &approval).await;
    browser.go(&stage.page(&approval)).await;
    browser.click("details[data-standing] summary").await;
    browser.follow("details[data-standing] button").await;
    browser.until(".answers").await;
    assert_eq!(browser.text("h1").await, format!("May {AGENT} pay Demo Shop up to 1.20 USD without asking again?"));
    let page = browser.text("main").await;
    for fact in ["1.20 USD", "0.12 USD", "Demo Shop", "what rule careful of policy 2026-11 would ask", &mandate] {
        assert!(page.contains(fact), "{fact}: {page}");
    }
    assert!(browser.find("blockquote").await.is_none(), "nobody's words but the service's");
    shown(browser, "standing-question").await;
    let question = browser.address().await;
    browser.speak("de").await;
    browser.go(&question).await;
    assert!(browser.text("h1").await.ends_with("zahlen, ohne noch einmal zu fragen?"));
    shown(browser, "standing-question-german").await;
    browser.speak("en").await;
    browser.go(&question).await;
    assert_eq!(code(stage.shop.pay(&mandate, &offer, &key).await), "pending_approval", "nothing is signed yet");
    browser.click("[data-passkey=approve] .answer").await;
    browser.until(&outcome("approved")).await;
    shown(browser, "standing-approved").await;
    stage.shop.pay(&mandate, &offer, &key).await.expect("the payment that was asked about");
    let next = stage.shop.pay(&mandate, &stage.shop.offer("/next-day", 120_000), &new_key()).await;
    let next = next.expect("one like it, without a question");
    ended(stage, &mandate, text(&next, "id")).await;
    stage.shop.service.change(|config| home(config, None)).unwrap();
}

/// Seen in the console, and ended there by one button.
async fn ended(stage: &Stage, mandate: &str, payment: &str) {
    let browser = &stage.browser;
    browser.follow(".outcome a").await;
    browser.until("section[data-standing=passes]").await;
    shown(browser, "standing-mandate").await;
    let standing = browser.address().await;
    browser.go(&format!("{}/console/spends/{payment}", stage.raw.base)).await;
    assert!(browser.text("[data-policy]").await.contains("Allowed beforehand by"));
    shown(browser, "standing-payment").await;
    browser.go(&format!("{}/console/mandates/{mandate}", stage.raw.base)).await;
    assert!(browser.text(".tree ul").await.contains("standing approval"), "in the tree under its mandate");
    shown(browser, "standing-tree").await;
    browser.go(&standing).await;
    browser.follow("section[data-standing] button.danger").await;
    browser.until("section[data-standing=over]").await;
    quiet(browser, "ended").await;
    let asked = stage.shop.pay(mandate, &stage.shop.offer("/third-day", 120_000), &new_key()).await;
    assert_eq!(code(asked), "pending_approval");
}

/// The form is sent from a page of this session, over the question that it showed; and it allows nothing by itself.
async fn forged(stage: &Stage, approval: &Value) {
    let (raw, browser) = (&stage.raw, &stage.browser);
    browser.go(&stage.page(approval)).await;
    let good = stage.with().await;
    let path = format!("{}/approve/{}/standing", raw.base, text(approval, "id"));
    let digest = text(approval, "digest");
    let zeros = "0".repeat(64);
    for (origin, csrf, digest, expected) in [
        (None, good.csrf.as_str(), digest, "page_origin_wrong"),
        (Some("http://evil.example"), &good.csrf, digest, "page_origin_wrong"),
        (good.origin.as_deref(), &zeros, digest, "csrf_token_wrong"),
        (good.origin.as_deref(), &good.csrf, &zeros, "decision_subject"),
        (good.origin.as_deref(), &good.csrf, "1", "invalid_request"),
    ] {
        let body = format!("csrf={csrf}&digest={digest}&per_payment=0.12&total=1.00&days=1");
        let mut request = raw.client.post(&path).header("accept", "application/json");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let cookie = format!("{}={}", super::stage::COOKIE, good.cookie.as_deref().unwrap());
        let request = request.header("cookie", cookie).header("content-type", "application/x-www-form-urlencoded");
        let said: Value = request.body(body).send().await.unwrap().json().await.unwrap();
        assert_eq!(said["code"], expected, "{said}");
    }
    // A signature over the one payment is none over the standing approval.
    browser.click("details[data-standing] summary").await;
    browser.follow("details[data-standing] button").await;
    browser.until(".answers").await;
    let id = browser.address().await.rsplit('/').next().unwrap().to_owned();
    let beside = stage.shop.call(Method::GET, &format!("/v1/approvals/{id}"), &stage.shop.user, None).await.unwrap();
    let given = assertion(browser, digest).await;
    let with = stage.with().await;
    let (status, code) = raw.approve(&beside, &with, &beside["digest"], &given).await;
    assert_eq!((status, code.as_str()), (403, "passkey_challenge_mismatch"));
    let fresh = assertion(browser, text(&beside, "digest")).await;
    let (status, code) = raw.approve(approval, &with, &approval["digest"], &fresh).await;
    assert_eq!((status, code.as_str()), (403, "passkey_challenge_mismatch"));
}
