//! Chromium over WebDriver (W3C), with its extension for virtual authenticators (Web Authentication Level 3, section 11).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// One window, 1280 wide.
    pub async fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().expect("chromedriver is there: tests/run installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("chromedriver says its port").unwrap();
            if let Some(port) = line.split("successfully on port ").nth(1) {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Read to the end, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            // It may run as root, and sees pages of this test only.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "webauthn:virtualAuthenticators": true,
        } } });
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let url = format!("http://127.0.0.1:{port}/session");
        let made: Value = client.post(&url).json(&capabilities).send().await.unwrap().json().await.unwrap();
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}"));
        let session = format!("{url}/{id}");
        let browser = Self { driver, client, session, _profile: profile };
        browser.look(1280, "light").await;
        browser
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(&body);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        match answer["value"]["error"].is_string() {
            true => Err(answer["value"].clone()),
            false => Ok(answer["value"].clone()),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let done = self.command(Method::POST, path, body).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The protocol of Chromium's own tools.
    pub async fn cdp(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// An authenticator in the machine that knows its person, and says yes.
    pub async fn add_authenticator(&self) {
        let authenticator = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserConsenting": true, "isUserVerified": true,
        });
        self.post("/webauthn/authenticator", authenticator).await;
    }

    pub async fn look(&self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    pub async fn speak(&self, language: &str) {
        self.cdp("Network.enable", json!({})).await;
        self.cdp("Network.setExtraHTTPHeaders", json!({ "headers": { "Accept-Language": language } })).await;
    }

    pub async fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub async fn address(&self) -> String {
        self.command(Method::GET, "/url", Value::Null).await.unwrap().as_str().unwrap().to_owned()
    }

    pub async fn find(&self, css: &str) -> Option<String> {
        let found = self.command(Method::POST, "/element", json!({ "using": "css selector", "value": css })).await;
        Some(found.ok()?[ELEMENT].as_str()?.to_owned())
    }

    pub async fn click(&self, css: &str) {
        self.of(css, Method::POST, "click").await;
    }

    /// Something of one element, once it is there: sought again where a page that renews itself has replaced it.
    async fn of(&self, css: &str, method: Method, what: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let element = self.until(css).await;
            let body = if method == Method::POST { json!({}) } else { Value::Null };
            match self.command(method.clone(), &format!("/element/{element}/{what}"), body).await {
                Ok(value) => return value,
                Err(error) if error["error"] == "stale element reference" && Instant::now() < deadline => {}
                Err(error) => panic!("{what} of {css}: {error}"),
            }
        }
    }

    /// A click that leaves the page, until the next one is there: both may have what a test then looks for.
    pub async fn follow(&self, css: &str) {
        self.until(css).await;
        self.run("window.left = true", json!([])).await;
        self.click(css).await;
        let deadline = Instant::now() + Duration::from_secs(10);
        let arrived = "return window.left !== true && document.readyState === 'complete'";
        while self.run(arrived, json!([])).await != true {
            assert!(Instant::now() < deadline, "{css} leads nowhere from {}", self.address().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What one element says, once it is there.
    pub async fn text(&self, css: &str) -> String {
        self.of(css, Method::GET, "text").await.as_str().unwrap().to_owned()
    }

    /// The element, within five seconds.
    pub async fn until(&self, css: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(element) = self.find(css).await {
                return element;
            }
            if Instant::now() > deadline {
                let page = self.run("return document.body.innerText", json!([])).await;
                panic!("no {css} at {}: {page}", self.address().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn enter_frame(&self, css: &str) {
        let element = self.until(css).await;
        self.post("/frame", json!({ "id": { ELEMENT: element } })).await;
    }

    pub async fn leave_frame(&self) {
        self.post("/frame", json!({ "id": null })).await;
    }

    /// A script as the page's own tools run it: no policy of the page bars it.
    pub async fn run(&self, script: &str, args: Value) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": args })).await
    }

    /// The same, for one that hands its result to its last argument.
    pub async fn run_async(&self, script: &str, args: Value) -> Value {
        self.post("/execute/async", json!({ "script": script, "args": args })).await
    }

    pub async fn cookie(&self, name: &str) -> Option<Value> {
        self.command(Method::GET, &format!("/cookie/{name}"), Value::Null).await.ok()
    }

    pub async fn forget_cookies(&self) {
        self.command(Method::DELETE, "/cookie", Value::Null).await.unwrap();
    }

    /// What the console was told since the last time.
    pub async fn console(&self) -> Vec<String> {
        let lines = self.post("/se/log", json!({ "type": "browser" })).await;
        lines.as_array().unwrap().iter().map(|line| format!("{}: {}", line["level"], line["message"])).collect()
    }

    /// The whole page, as PNG below the target folder.
    pub async fn picture(&self, name: &str) {
        let size = self.cdp("Page.getLayoutMetrics", json!({})).await["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let png = self.cdp("Page.captureScreenshot", params).await;
        let folder = pictures();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), STANDARD.decode(png["data"].as_str().unwrap()).unwrap())
            .unwrap();
    }
}

/// Where the pictures of pages are kept.
pub fn pictures() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST").join("pictures")
}

impl Drop for Browser {
    fn drop(&mut self) {
        let (url, client) = (self.session.clone(), self.client.clone());
        // It ends Chromium; the driver alone would leave it behind.
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(async { client.delete(url).send().await });
        });
        let _ = ended.join();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
