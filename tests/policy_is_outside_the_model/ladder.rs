//! Graduated autonomy: an agent rises by payments that nobody complained about and a person's passkey, and falls by itself.

use std::time::{Duration, Instant};

use purser::client::ClientError;
use purser::config::Config;
use purser::world::{AGENT, HOME};
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{CENT, Stage};
use crate::harness::passkey::SoftPasskey;
use crate::harness::shop::{code, new_key};
use crate::harness::text;

const LADDER: &str = "[autonomy]\non_drift = \"step_up\"\n\
    [[autonomy.levels]]\nname = \"trial\"\nverb = \"require_approval\"\nttl_seconds = 600\n\
    [[autonomy.levels]]\nname = \"small\"\nverb = \"allow\"\nsample = \"1\"\nafter = 1\n\
    amounts = [{ currency = \"USD\", up_to = \"0.50\" }]\n\
    [[rules]]\nname = \"not_the_bank\"\nverb = \"deny\"\nwhen.payees = [\"bank\"]\n";

impl Stage {
    /// Asked for, allowed, paid, and seen on the chain.
    async fn settled(&self) -> String {
        let (met, key) = (self.shop.met("/paid/report").await, new_key());
        let paid = match self.pay_with(&met, &key, &[]).await {
            Ok(paid) => paid,
            Err(refused) => {
                let approval = self.question(&refused.ids()[0]).await;
                self.answer_as(&self.shop.user, &approval, "approve").await.expect("the person allows it");
                self.pay_with(&met, &key, &[]).await.expect("what was allowed")
            }
        };
        let fetched = self.shop.fetch("/paid/report", Some(text(&paid, "payment_signature"))).await;
        assert_eq!(fetched.status.as_u16(), 200);
        let (path, started) = (format!("/v1/payments/{}", text(&paid, "id")), Instant::now());
        loop {
            let spend = self.shop.call(Method::GET, &path, &self.shop.user, None).await.unwrap();
            if spend["state"] == "settled" {
                return text(&paid, "id").to_owned();
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{spend}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Steps that wait for the person.
    async fn steps(&self) -> Vec<Value> {
        let found = self.shop.call(Method::GET, "/v1/approvals", &self.shop.user, None).await.unwrap();
        let all = found["approvals"].as_array().unwrap().iter();
        all.filter(|one| one["document"]["type"] == "purser.promotion/1").cloned().collect()
    }

    /// One payment that was asked for, so that the next call finds it paid and proposes the step; which a passkey allows.
    async fn raised(&self, passkey: &mut SoftPasskey) -> Value {
        self.settled().await;
        self.asked("/next", CENT, &new_key()).await;
        let step = self.steps().await.pop().expect("it is proposed");
        passkey.approve(&self.shop, &step).await.expect("the person allows it");
        step
    }

    async fn is_asked(&self, path: &str) -> Value {
        self.asked(path, CENT, &new_key()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_proposed_by_what_was_paid_and_allowed_by_a_passkey_alone() {
    let stage = Stage::open(LADDER).await;
    let mut passkey = SoftPasskey::register(&stage.shop, "user").await;
    let first = stage.is_asked("/first").await;
    assert_eq!(first["document"]["payment"]["policy"]["rule"], "autonomy/trial");
    // What was only held is no payment yet, however often the agent comes.
    let key = new_key();
    let approval = stage.asked("/held", CENT, &key).await;
    stage.answer_as(&stage.shop.user, &approval, "approve").await.unwrap();
    stage.pay("/held", CENT, &key).await.expect("allowed once");
    stage.is_asked("/again").await;
    assert!(stage.steps().await.is_empty(), "nothing was paid");
    let paid = stage.settled().await;
    assert_eq!(stage.ruled(&paid).await["stood"]["level"], "trial");
    for _ in 0..2 {
        stage.is_asked("/next").await;
    }
    let steps = stage.steps().await;
    let [step] = steps.as_slice() else { panic!("one step, once: {steps:?}") };
    let promotion = &step["document"]["promotion"];
    assert_eq!((text(promotion, "from"), text(promotion, "to"), &promotion["level"]), ("trial", "small", &json!(1)));
    assert_eq!((text(promotion, "agent"), text(promotion, "payee_id")), (AGENT, "shop"));
    assert_eq!((text(step, "requested_by"), text(step, "approver")), ("autonomy", "user"), "no agent asks for it");
    // An agent does not raise itself, and a token is not enough for anybody.
    for token in [&stage.shop.agent, &stage.shop.merchant] {
        let refused = code(stage.answer_as(token, step, "approve").await);
        assert!(["only_a_user_decides", "forbidden", "not_found"].contains(&refused.as_str()), "{refused}");
    }
    assert_eq!(code(stage.answer_as(&stage.shop.user, step, "approve").await), "passkey_required");
    stage.is_asked("/still").await;
    passkey.approve(&stage.shop, step).await.expect("the person allows it");
    let ruled = text(&stage.pay("/small", CENT, &new_key()).await.expect("on its level"), "id").to_owned();
    let ruled = stage.ruled(&ruled).await;
    assert_eq!((&ruled["fired"], &ruled["stood"]["level"]), (&json!(["autonomy/small"]), &json!("small")));
    let beyond = stage.asked("/large", 60 * CENT, &new_key()).await;
    assert_eq!(beyond["document"]["payment"]["policy"]["rule"], "autonomy/beyond");
    assert_eq!(
        passkey.approve(&stage.shop, step).await.unwrap_err().code(),
        "decision_state",
        "a step is allowed once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_takes_it_back_to_where_it_began() {
    let stage = Stage::open(LADDER).await;
    let mut passkey = SoftPasskey::register(&stage.shop, "user").await;
    let step = stage.raised(&mut passkey).await;
    stage.pay("/a", CENT, &new_key()).await.expect("on its level");
    // A question that is refused.
    let beyond = stage.asked("/large", 60 * CENT, &new_key()).await;
    stage.answer_as(&stage.shop.user, &beyond, "deny").await.unwrap();
    let asked = stage.is_asked("/b").await;
    assert_eq!(asked["document"]["payment"]["policy"]["rule"], "autonomy/trial");
    assert!(stage.steps().await.is_empty(), "what was paid before a complaint counts no more");
    // It may rise again, by another step than the one that counts no more.
    let again = stage.raised(&mut passkey).await;
    assert_ne!(again["id"], step["id"]);
    assert_eq!(again["document"]["promotion"]["complaints"], 1);
    let paid = stage.pay("/c", CENT, &new_key()).await.expect("on its level again");
    // A payment that is disputed.
    let reviews = stage.shop.call(Method::GET, "/v1/reviews", &stage.shop.user, None).await.unwrap();
    let mut reviews = reviews["reviews"].as_array().unwrap().iter();
    let review = reviews.find(|review| review["payment"] == paid["id"]).expect("it was drawn");
    let (path, body) =
        (format!("/v1/reviews/{}", text(review, "id")), json!({ "verdict": "dispute", "because": "No." }));
    let told = stage.shop.call(Method::POST, &path, &stage.shop.agent, Some(body.clone())).await;
    assert_eq!(code(told), "forbidden");
    stage.pay("/d", CENT, &new_key()).await.expect("nothing was complained about");
    stage.shop.call(Method::POST, &path, &stage.shop.user, Some(body)).await.expect("the person disputes it");
    stage.is_asked("/e").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_build_begins_at_the_first_level() {
    let mut stage = Stage::open(LADDER).await;
    let mut passkey = SoftPasskey::register(&stage.shop, "user").await;
    let step = stage.raised(&mut passkey).await;
    stage.pay("/a", CENT, &new_key()).await.expect("on its level");
    let built = |build: Option<String>| {
        move |config: &mut Config| {
            let tenant = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
            let agent = tenant.agents.iter_mut().find(|agent| agent.id == AGENT).unwrap();
            agent.build = build.map(|text| text.parse().unwrap());
        }
    };
    stage.shop.service.change(built(Some(format!("sha256:{}", "7".repeat(64))))).unwrap();
    let asked = stage.is_asked("/b").await;
    let policy = &asked["document"]["payment"]["policy"];
    assert_eq!(policy["fired"], json!(["autonomy/trial", "autonomy/drift"]));
    assert_eq!(code(stage.answer_as(&stage.shop.user, &asked, "approve").await), "passkey_required");
    stage.govern(&LADDER.replace("step_up", "deny")).unwrap();
    assert_eq!(stage.pay("/c", CENT, &new_key()).await.unwrap_err().code(), "policy_denied");
    stage.govern(&LADDER.replace("step_up", "notify")).unwrap();
    let asked = stage.is_asked("/d").await;
    assert_eq!(asked["document"]["payment"]["policy"]["fired"], json!(["autonomy/trial"]));
    // The build that was trusted is trusted still, as long as the ladder is the one that it climbed.
    stage.govern(LADDER).unwrap();
    stage.shop.service.change(built(None)).unwrap();
    stage.pay("/e", CENT, &new_key()).await.expect("on its level");
    stage.govern(&LADDER.replace("0.50", "0.40")).unwrap();
    stage.is_asked("/f").await;
    let refused = passkey.approve(&stage.shop, &step).await.unwrap_err();
    assert_eq!(refused.code(), "decision_state");
}

/// What an agent says of itself is no fact: the members are refused, and a ladder names none.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_it_was_promoted_is_where_it_was() {
    let stage = Stage::open(LADDER).await;
    let refused = async |more: Value| -> Result<Value, ClientError> {
        let offer = stage.shop.offer("/said", CENT);
        stage.shop.pay_as(&stage.shop.agent, &stage.mandate, &offer, &new_key(), more).await
    };
    for (name, value) in [
        ("level", json!(1)),
        ("stood", json!({ "level": "small" })),
        ("autonomy", json!("small")),
        ("promotion", json!("0".repeat(64))),
        ("build", json!(format!("sha256:{}", "7".repeat(64)))),
    ] {
        let mut more = json!({});
        more[name] = value;
        assert_eq!(code(refused(more).await), "invalid_request", "{name}");
    }
    stage.is_asked("/said").await;
    stage.is_untouched().await;
}
