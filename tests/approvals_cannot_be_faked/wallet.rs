//! The button of the page for wallets, in a browser whose wallet the test plays: nobody's wallet answers a machine.

use purser::config::UserCredentialsConfig;
use purser::world::HOME;
use reqwest::Method;
use serde_json::json;

use super::stage::{Stage, outcome, plain, quiet, shown, state};
use crate::harness::text;
use crate::wallets_approve_mandates::stage::{Answer, TYPE, trusted};

const PLAYED: &str = "
    const real = navigator.credentials.get.bind(navigator.credentials), answer = arguments[0];
    navigator.credentials.get = async (options) => (options.digital ? answer : real(options));
    document.querySelector('[data-passkey=wallet]').hidden = false;";

pub async fn signed(stage: &mut Stage) {
    let before = stage.shop.ask(plain("1.30")).await;
    stage.browser.go(&stage.page(&before)).await;
    assert!(stage.browser.find("[data-passkey=wallet]").await.is_none(), "nobody's credentials are taken");
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("trust.toml");
    std::fs::write(&trust, trusted()).unwrap();
    take(
        stage,
        Some((trust, UserCredentialsConfig { id: "dpc".into(), vct_values: vec![TYPE.into()], claims: Vec::new() })),
    );
    let (one, other) = (stage.shop.ask(plain("1.31")).await, stage.shop.ask(plain("1.32")).await);
    let path = format!("/v1/approvals/{}/delegation", text(&one, "id"));
    let asked = stage.shop.call(Method::GET, &path, &stage.shop.user, None).await.unwrap();
    let answer = Answer::to(&asked).signed();
    let browser = &stage.browser;
    // What it answered for one question, on the page of another.
    browser.go(&stage.page(&other)).await;
    let hidden = "return document.querySelector('[data-passkey=wallet]').hidden === !window.DigitalCredential";
    assert_eq!(browser.run(hidden, json!([])).await, json!(true), "where the browser can ask wallets");
    browser.run(PLAYED, json!([answer])).await;
    browser.click("[data-passkey=wallet] .answer").await;
    browser.until("[data-told][data-state=failed]").await;
    assert_eq!(state(&stage.shop, &other).await, "pending");
    // A browser notes the refusal.
    browser.console().await;
    browser.go(&stage.page(&one)).await;
    browser.run(PLAYED, json!([answer])).await;
    shown(browser, "question-wallet").await;
    browser.click("[data-passkey=wallet] .answer").await;
    browser.until(&outcome("approved")).await;
    quiet(browser, "a wallet").await;
    let path = format!("/v1/approvals/{}", text(&one, "id"));
    let found = stage.shop.call(Method::GET, &path, &stage.shop.user, None).await.unwrap();
    let mandate = stage.shop.figures(text(&found, "mandate")).await;
    assert_eq!(text(&mandate, "payment").matches("~~").count(), 1, "rooted in the credential: {mandate}");
    take(stage, None);
}

fn take(stage: &mut Stage, taken: Option<(std::path::PathBuf, UserCredentialsConfig)>) {
    let (trust, asked) = taken.unzip();
    let change = |config: &mut purser::config::Config| {
        let home = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
        (home.trust, home.user_credentials) = (trust, asked);
    };
    stage.shop.service.change(change).unwrap();
}
