//! Browser, service and attacker's client, and what each test does with them.

use mandates::base64url;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::shop::{Shop, intent};
use crate::harness::text;

pub const COOKIE: &str = "purser-session";

/// The pages, as an attacker speaks to them: without a browser's manners.
pub struct Raw {
    pub client: reqwest::Client,
    pub base: String,
}

/// What a request carries. Each is a browser's own unless a test says otherwise.
#[derive(Clone)]
pub struct With {
    pub origin: Option<String>,
    pub cookie: Option<String>,
    pub csrf: String,
}

impl Raw {
    pub async fn send(&self, path: &str, with: &With, body: Value) -> (u16, String) {
        let mut request = self.client.post(format!("{}{path}", self.base)).header("accept", "application/json");
        if let Some(origin) = &with.origin {
            request = request.header("origin", origin);
        }
        if let Some(cookie) = &with.cookie {
            request = request.header("cookie", format!("{COOKIE}={cookie}"));
        }
        let form = body.get("assertion").is_none() && path.ends_with("/deny");
        let answer = if form {
            let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let text = format!("csrf={}&digest={}", field("csrf"), field("digest"));
            request.header("content-type", "application/x-www-form-urlencoded").body(text).send().await.unwrap()
        } else {
            request.json(&body).send().await.unwrap()
        };
        let status = answer.status().as_u16();
        let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        (status, said["code"].as_str().unwrap_or_default().to_owned())
    }

    pub async fn approve(&self, approval: &Value, with: &With, digest: &Value, assertion: &Value) -> (u16, String) {
        let body = json!({ "csrf": with.csrf, "digest": digest, "assertion": assertion });
        self.send(&format!("/approve/{}/approve", text(approval, "id")), with, body).await
    }

    pub async fn deny(&self, approval: &Value, with: &With) -> (u16, String) {
        let body = json!({ "csrf": with.csrf, "digest": approval["digest"] });
        self.send(&format!("/approve/{}/deny", text(approval, "id")), with, body).await
    }
}

/// The passkey's answer to any challenge, as a page of the service's own origin could get it.
pub async fn assertion(browser: &Browser, challenge: &str) -> Value {
    let script = "const [hex, done] = arguments;
        const bytes = (hex) => Uint8Array.from(hex.match(/../g), (two) => parseInt(two, 16));
        const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
            .replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
        navigator.credentials.get({ publicKey: { challenge: bytes(hex), userVerification: 'required' } })
            .then(({ rawId, response }) => done({ credential: text(rawId), client_data: text(response.clientDataJSON),
                authenticator_data: text(response.authenticatorData), signature: text(response.signature) }),
                (error) => done({ error: String(error) }));";
    let given = browser.run_async(script, json!([challenge])).await;
    assert!(given["error"].is_null(), "{given}");
    given
}

/// No serious violation of WCAG that a machine can find.
pub async fn accessible(browser: &Browser, page: &str) {
    let axe = crate::harness::node_folder().join("node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(&axe).unwrap_or_else(|_| panic!("{}: tests/run installs it", axe.display()));
    browser.run(&format!("{axe}; window.axe = axe;"), json!([])).await;
    let script = "const done = arguments[0]; window.axe.run().then((found) => done(found.violations
        .filter((one) => ['serious', 'critical'].includes(one.impact))
        .map((one) => one.id + ': ' + one.nodes.map((node) => node.html).join(' | '))), (error) => done([String(error)]));";
    let found = browser.run_async(script, json!([])).await;
    assert_eq!(found, json!([]), "{page}");
}

/// Each page wide and narrow, light and dark: kept for people to look at, and looked over by axe.
pub async fn shown(browser: &Browser, name: &str) {
    for (width, size) in [(1280, "wide"), (390, "narrow")] {
        for scheme in ["light", "dark"] {
            browser.look(width, scheme).await;
            browser.picture(&format!("{name}-{size}-{scheme}")).await;
            let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(over, json!([])).await, json!(0), "{name} is wider than {width}");
            // The colours of both, and the layout of both.
            if (width == 1280) == (scheme == "light") {
                accessible(browser, name).await;
            }
        }
    }
    browser.look(1280, "light").await;
}

pub async fn quiet(browser: &Browser, when: &str) {
    let lines = browser.console().await;
    assert!(lines.is_empty(), "{when}: {lines:#?}");
}

pub fn outcome(kind: &str) -> String {
    format!("[data-outcome={kind}]")
}

pub async fn state(shop: &Shop, approval: &Value) -> String {
    let path = format!("/v1/approvals/{}", text(approval, "id"));
    text(&shop.call(Method::GET, &path, &shop.user, None).await.unwrap(), "state").to_owned()
}

pub fn plain(total: &str) -> Value {
    let mut plain = intent();
    plain["total"] = total.into();
    plain["per_payment"] = total.into();
    plain["description"] = format!("a purchase of {total}").into();
    plain
}

pub struct Stage {
    pub shop: Shop,
    pub browser: Browser,
    pub raw: Raw,
}

impl Stage {
    pub async fn open() -> Self {
        let (shop, browser) = tokio::join!(Shop::open(), Browser::start());
        browser.add_authenticator().await;
        let base = shop.service.url().replace("127.0.0.1", "localhost");
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { shop, browser, raw: Raw { client, base } }
    }

    pub fn page(&self, approval: &Value) -> String {
        format!("{}/approve/{}", self.raw.base, text(approval, "id"))
    }

    /// Of the page that is open.
    pub async fn with(&self) -> With {
        let csrf = self.browser.run("return document.querySelector('[name=csrf]').value", json!([])).await;
        let cookie = self.browser.cookie(COOKIE).await.expect("a session");
        With {
            origin: Some(self.raw.base.clone()),
            cookie: Some(text(&cookie, "value").to_owned()),
            csrf: csrf.as_str().unwrap().to_owned(),
        }
    }

    pub async fn register(&self) {
        let url = self.shop.service.invite("user").await.unwrap();
        self.browser.go(&url).await;
        shown(&self.browser, "register").await;
        assert!(!self.browser.address().await.contains('#'), "the code leaves the address");
        self.browser.click(".answer").await;
        self.browser.until("form.who").await;
        assert_eq!(self.browser.text("h1").await, "Waiting for your answer");
        shown(&self.browser, "nothing-waits").await;
        quiet(&self.browser, "registered").await;
        let cookie = self.browser.cookie(COOKIE).await.unwrap();
        assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&json!(true), &json!("Strict")));
        // Good once.
        self.browser.go("about:blank").await;
        self.browser.go(&url).await;
        self.browser.click(".answer").await;
        self.browser.until("[data-state=failed]").await;
        assert!(self.browser.text("[data-told]").await.starts_with("The code is not good any more"));
        self.browser.console().await;
    }
}

/// How an authenticator names the user of `dev`.
pub fn browser_handle() -> String {
    let person = "user".parse().unwrap();
    base64url::encode(&engine::consent::signed::user_handle(purser::world::HOME, &person).0)
}
