//! What a shop tells of an order is taken where the shop signed it just now, kept as its word, and moves nothing.

use reqwest::Method;
use serde_json::{Value, json};

use super::orders::{Platform, Stage, hmac, refund};
use crate::harness::process::{run, stdout};
use crate::harness::shop::{new_key, refused};
use crate::harness::text;

const OWN: &str = "/agentic_checkout/webhooks/order_events/home/shop";

impl Stage {
    async fn tell(&self, path: &str, signature: &str, body: &str) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}{path}", self.world.config.public_url());
        let mut call = client.post(url).header("request-id", "r-1").body(body.to_owned());
        if !signature.is_empty() {
            call = call.header("merchant-signature", signature);
        }
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    fn sign(&self, age_seconds: i64, body: &str) -> String {
        let at = jiff::Timestamp::now().as_second() - age_seconds;
        format!("t={at},v1={}", hmac(self.secret.as_bytes(), format!("{at}.{body}").as_bytes()))
    }

    async fn told_of(&self, payment: &str) -> Value {
        let path = format!("/v1/payments/{payment}/order");
        self.world.call(Method::GET, &path, &self.world.agent, None).await.unwrap()
    }

    fn purser(&self, args: &[&str]) -> (bool, String) {
        let file = self.world.config_file().display().to_string();
        let output = run(&[args, &["--config", &file]].concat(), &self.world.env());
        (output.status.success(), stdout(&output))
    }

    /// Whether no refund is announced that has not come, and the list.
    fn announced(&self) -> (bool, String) {
        self.purser(&["spends", "--announced", "--json"])
    }

    /// As an export has them, once they were verified.
    fn books(&self) -> String {
        let (is_sound, told) = self.purser(&["ledger", "verify"]);
        assert!(is_sound && told.contains("records verified"), "{told}");
        let (is_written, books) = self.purser(&["ledger", "export", "--format", "hledger", "--tenant", "home"]);
        assert!(is_written, "{books}");
        books
    }

    /// What is held and posted of the mandate, and what of the payment came back.
    async fn money(&self, mandate: &str, payment: &str) -> (Value, Value, Value) {
        let call = async |path: String| self.world.call(Method::GET, &path, &self.world.agent, None).await.unwrap();
        let view = call(format!("/v1/mandates/{mandate}")).await;
        let spend = call(format!("/v1/payments/{payment}")).await;
        (view["held"].clone(), view["posted"].clone(), spend["refunded"].clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shop_tells_is_kept_as_its_word_and_moves_nothing() {
    let (platform, other) = (Platform::default(), Platform::default());
    let mut stage = Stage::open(&platform, &other).await;
    let file = stage.world.folder.path().join("orders.secret");
    std::fs::write(&file, &stage.secret).unwrap();
    let payees = stage.world.config.tenants.iter_mut().flat_map(|tenant| tenant.payees.iter_mut());
    for acp in payees.filter(|payee| payee.id == "shop").filter_map(|payee| payee.acp.as_mut()) {
        acp.orders_secret_file = Some(file.clone());
    }
    std::fs::write(stage.world.config_file(), toml::to_string(&stage.world.config).unwrap()).unwrap();
    stage.world.restart();
    let mandate = stage.world.mandate_with(json!({ "total": "50.00", "per_payment": "5.00", "payments": 10 })).await;
    let (order, payment) = stage.bought(&mandate).await;
    let silent =
        stage.world.call(Method::GET, &format!("/v1/payments/{payment}/order"), &stage.world.agent, None).await;
    assert_eq!(refused(silent).0, 404);
    let made = platform.until(1).await.remove(0);

    unsigned(&stage, &made.body).await;
    // As it was told: once, and again.
    for _ in 0..2 {
        let (status, said) = stage.tell(OWN, &made.signature, &made.body).await;
        assert_eq!((status, said), (200, json!({ "received": true, "request_id": "r-1" })));
    }
    let told = stage.told_of(&payment).await;
    assert_eq!(
        (text(&told, "status"), told["told_times"].as_u64(), text(&told, "order")),
        ("confirmed", Some(1), &*order)
    );
    assert_eq!((told["said_refunded"].as_u64(), told["refund_in_book"].as_bool()), (Some(0), Some(true)));
    assert_eq!(told["refund_outstanding"], Value::Null);
    assert!(stage.announced().0, "nothing is announced");

    // It says that it gave everything back, and it did not.
    let before = stage.money(&mandate, &payment).await;
    let mut lie: Value = serde_json::from_str(&made.body).unwrap();
    lie["type"] = "order_update".into();
    lie["data"]["status"] = "canceled".into();
    lie["data"]["adjustments"] = json!([
        { "id": "a", "type": "refund", "status": "completed", "amount": 200, "occurred_at": "2026-11-30T10:00:00Z" },
        { "id": "b", "type": "dispute", "status": "completed", "amount": 200, "occurred_at": "2026-11-30T10:00:00Z" },
    ]);
    let lie = lie.to_string();
    assert_eq!(stage.tell(OWN, &stage.sign(0, &lie), &lie).await.0, 200);
    let told = stage.told_of(&payment).await;
    assert_eq!((told["said_refunded"].as_u64(), told["refund_in_book"].as_bool()), (Some(200), Some(false)), "{told}");
    assert_eq!(stage.money(&mandate, &payment).await, before, "nobody's word gives a budget back");
    // A promise in the books: shown, listed, balanced, in no export; of a cancelled order all that was captured.
    let stands = (Some("200000000"), Some(false));
    let outstanding = |told: &Value| {
        let found = &told["refund_outstanding"];
        (found["amount"].as_str().map(str::to_owned), found["overdue"].as_bool())
    };
    assert_eq!(outstanding(&told), (stands.0.map(str::to_owned), stands.1), "{told}");
    let path = format!("/v1/payments/{payment}");
    let spend = stage.world.call(Method::GET, &path, &stage.world.agent, None).await.unwrap();
    assert_eq!(spend["refund_announced"]["amount"].as_str(), stands.0, "{spend}");
    let (is_clear, listed) = stage.announced();
    assert!(!is_clear && listed.contains(&payment), "{listed}");
    let exported = stage.books();

    // What the processor gave back is in the book, and the shop says the same of it.
    stage.say(&stage.merchant, &order, Some(&new_key()), refund(40)).await.unwrap();
    let changed = platform.until(2).await.remove(1);
    assert_eq!(stage.tell(OWN, &changed.signature, &changed.body).await.0, 200);
    let told = stage.told_of(&payment).await;
    assert_eq!((told["said_refunded"].as_u64(), told["refund_in_book"].as_bool()), (Some(40), Some(true)), "{told}");
    assert_eq!((&told["told_times"], &told["refund_outstanding"]), (&json!(3), &Value::Null));
    assert!(stage.announced().0, "what was announced came");
    assert!(stage.books().len() > exported.len(), "the refund is money, the promise of it was not");
    // What it said before says nothing now, told again.
    assert_eq!(stage.tell(OWN, &stage.sign(0, &lie), &lie).await.0, 200);
    let told = stage.told_of(&payment).await;
    assert_eq!((&told["told_times"], &told["refund_outstanding"]), (&json!(3), &Value::Null), "{told}");
    // Of somebody else's payments nobody is shown anything.
    let path = format!("/v1/payments/{payment}/order");
    assert!(stage.world.call(Method::GET, &path, &stage.merchant, None).await.is_err());
}

async fn unsigned(stage: &Stage, body: &str) {
    let good = stage.sign(0, body);
    let (at, hex) = good.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let other = hmac(b"whsec_another-secret", format!("{at}.{body}").as_bytes());
    for signature in [
        "",
        "t=1,v1=00",
        &format!("v1={hex}"),
        &format!("t={at}"),
        &format!("t={at},v1={other}"),
        &format!("t={at},v1={}", &hex[..62]),
        &format!("t={at}0,v1={hex}"),
        &stage.sign(400, body),
        &stage.sign(-400, body),
        &stage.sign(0, &body.replace("confirmed", "shipped")),
    ] {
        let (status, said) = stage.tell(OWN, signature, body).await;
        assert_eq!((status, text(&said, "code")), (401, "invalid_signature"), "{signature}: {said}");
    }
    for path in ["home/acme", "home/nobody", "shop/shop", "nobody/shop", "home/shop2"] {
        let (status, said) = stage.tell(&OWN.replace("home/shop", path), &good, body).await;
        assert_eq!(status, 404, "{path}: {said}");
    }
    let session = serde_json::from_str::<Value>(body).unwrap()["data"]["checkout_session_id"].clone();
    let foreign = body.replace(session.as_str().unwrap(), "checkout_session_other");
    for (body, status, code) in [
        (foreign.as_str(), 404, "order_event_unknown"),
        ("{}", 400, "order_event_unreadable"),
        ("[]", 400, "order_event_unreadable"),
        ("", 400, "order_event_unreadable"),
        ("{\"type\":\"order_update\",\"data\":{\"id\":\"o\"}}", 400, "order_event_unreadable"),
    ] {
        let (found, said) = stage.tell(OWN, &stage.sign(0, body), body).await;
        assert_eq!((found, text(&said, "code")), (status, code), "{body}: {said}");
    }
}
