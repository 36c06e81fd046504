//! Cards that are left in a vault, and merchants who redeem tokens for them, as ACP and the vault's own API have it.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ledger::id::CallerKind;
use purser::dev::DevOptions;
use purser::world::{HOME, SHOP};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::shop::{Shop, intent, new_key};
use super::{foreign, root, text};

pub const PAN: &str = "4242424242424242";
pub const VERSION: &str = "2026-04-17";
pub const DELEGATE: &str = "/agentic_commerce/delegate_payment";

/// A whole HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The honest code, wherever it is said.
    pub fn code(&self) -> &str {
        self.header("purser-code").or_else(|| self.body["code"].as_str()).unwrap_or_default()
    }

    #[track_caller]
    pub fn token(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        text(&self.body, "id").to_owned()
    }
}

pub async fn post(url: &str, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut call = client.post(url).bearer_auth(token).header("Content-Type", "application/json").body(body);
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let response = call.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.expect("a whole answer");
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    Answer { status, headers, body }
}

/// RFC 3339, so many seconds from now.
pub fn in_seconds(seconds: i64) -> String {
    let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    at.to_string()
}

/// A request within its schema, with what differs taken over member by member.
pub fn request(mandate: &str, cents: u64, differing: Value) -> Value {
    let mut body = json!({
        "payment_method": {
            "type": "card", "card_number_type": "fpan", "number": PAN, "exp_month": "11", "exp_year": "2030",
            "name": "Jane Doe", "cvc": "223", "checks_performed": ["avs", "cvv"], "iin": "424242",
            "display_card_funding_type": "credit", "display_brand": "visa", "display_last4": "4242", "metadata": {},
        },
        "allowance": {
            "reason": "one_time", "max_amount": cents, "currency": "usd", "checkout_session_id": new_key(),
            "merchant_id": SHOP, "expires_at": in_seconds(3_600),
        },
        "risk_signals": [{ "type": "card_testing", "score": 10, "action": "manual_review" }],
        "metadata": { "mandate": mandate, "source": "test" },
    });
    merge(&mut body, &differing);
    body
}

/// With another card.
pub fn with_card(number: &str) -> Value {
    json!({ "payment_method": { "number": number, "display_last4": number[12..], "iin": number[..6] } })
}

/// Objects member by member, everything else whole; `"-"` takes a member out.
pub fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        if value == "-" {
            into.as_object_mut().unwrap().remove(name);
        } else if value.is_object() && into[name].is_object() && !value.as_object().unwrap().is_empty() {
            merge(&mut into[name], value);
        } else {
            into[name] = value.clone();
        }
    }
}

/// A dev service with its vault.
pub struct Vault {
    pub shop: Shop,
    pub other_merchant: String,
    /// Every answer of ACP's route, for the schema.
    answers: Mutex<Vec<Value>>,
}

impl Vault {
    pub async fn open() -> Self {
        Self::open_with(DevOptions::default()).await
    }

    pub async fn open_with(options: DevOptions) -> Self {
        let shop = Shop::open_with(options).await;
        let other_merchant = shop.service.token(SHOP, "acme", CallerKind::Merchant).unwrap();
        Self { shop, other_merchant, answers: Mutex::default() }
    }

    pub async fn mandate(&self, total: &str) -> String {
        let mut asked = intent();
        asked["total"] = total.into();
        asked["per_payment"] = Value::Null;
        self.shop.mandate(asked).await
    }

    pub async fn delegate_with(&self, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let answer = post(&self.shop.url(DELEGATE), token, headers, body).await;
        self.answers.lock().unwrap().push(json!({ "status": answer.status, "body": answer.body }));
        answer
    }

    pub async fn delegate_as(&self, token: &str, key: &str, body: &Value) -> Answer {
        let headers = [("API-Version", VERSION), ("Idempotency-Key", key)];
        self.delegate_with(token, &headers, body.to_string().into_bytes()).await
    }

    pub async fn delegate(&self, key: &str, body: &Value) -> Answer {
        self.delegate_as(&self.shop.agent, key, body).await
    }

    /// A token for so many cents under this mandate, and the session that it is for.
    pub async fn token_of(&self, mandate: &str, cents: u64, differing: Value) -> Given {
        let body = request(mandate, cents, differing);
        let token = self.delegate(&new_key(), &body).await.token();
        Given { token, session: text(&body["allowance"], "checkout_session_id").to_owned() }
    }

    pub async fn vault(&self, verb: &str, token: &str, key: Option<&str>, body: Value) -> Answer {
        let headers: Vec<_> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
        let url = self.shop.url(&format!("/v1/vault/{verb}"));
        post(&url, token, &headers, body.to_string().into_bytes()).await
    }

    pub async fn capture_as(&self, merchant: &str, given: &Given, key: &str, cents: u64) -> Answer {
        self.vault("capture", merchant, Some(key), given.asks(cents)).await
    }

    pub async fn capture(&self, given: &Given, key: &str, cents: u64) -> Answer {
        self.capture_as(&self.shop.merchant, given, key, cents).await
    }

    pub async fn view(&self, given: &Given) -> Value {
        let answer = self.vault("verify", &self.shop.merchant, None, json!({ "token": given.token })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub async fn until(&self, given: &Given, state: &str) -> Value {
        let started = Instant::now();
        loop {
            let view = self.view(given).await;
            if view["state"] == state {
                return view;
            }
            assert!(started.elapsed() < Duration::from_secs(15), "not {state}: {view}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Held and posted, in major units.
    pub async fn figures(&self, mandate: &str) -> (String, String) {
        let figures = self.shop.figures(mandate).await;
        (text(&figures["held"], "amount").to_owned(), text(&figures["posted"], "amount").to_owned())
    }

    pub async fn sound(&self) {
        use ledger::store::{Store as _, Verification};
        let verified = self.shop.service.store().verify(&HOME.parse().unwrap()).await.unwrap();
        assert!(matches!(verified, Verification::Sound { .. }), "{verified:?}");
    }

    /// Holds every answer so far to the specification's schema, by a foreign validator.
    pub fn validate(&self) {
        let answers = Value::Array(self.answers.lock().unwrap().clone());
        assert!(answers.as_array().is_some_and(|answers| !answers.is_empty()));
        let script = r##"
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
bad = []
for answer in json.load(sys.stdin):
    name = "DelegatePaymentResponse" if answer["status"] == 201 else "Error"
    whole = {**schema, "$ref": "#/$defs/" + name}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    errors = list(jsonschema.Draft202012Validator(whole, format_checker=checker).iter_errors(answer["body"]))
    bad += [f"{answer}: {error.message}" for error in errors]
print("\n".join(bad))
sys.exit(1 if bad else 0)
"##;
        let mut child = Command::new(foreign("python"))
            .args(["-c", script])
            .arg(root().join("fixtures/acp/schema.delegate_payment.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), answers.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A token as its merchant has it.
#[derive(Clone, Debug)]
pub struct Given {
    pub token: String,
    pub session: String,
}

impl Given {
    pub fn asks(&self, cents: u64) -> Value {
        json!({ "token": self.token, "amount": cents, "currency": "usd", "checkout_session_id": self.session })
    }
}

/// Of a service in a process of its own, by what its line says.
pub async fn until_settled(acp: &Value, token: &str) -> Value {
    let started = Instant::now();
    loop {
        let body = json!({ "token": token }).to_string().into_bytes();
        let view = post(text(acp, "verify_url"), text(acp, "merchant_token"), &[], body).await.body;
        if view["state"] == "settled" {
            return view;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{view}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
