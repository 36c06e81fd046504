//! Payments that are looked at after they went: by whom, what a dispute takes back, and what it means that nobody looks.

use ledger::id::CallerKind;
use purser::config::RoleConfig;
use purser::world::{AGENT, HOME, NEIGHBOUR, USER};
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{CENT, Stage};
use crate::harness::shop::{code, new_key};
use crate::harness::text;
use crate::harness::vault::{Answer, post};

const ALL: &str = "[[rules]]\nname = \"some\"\nverb = \"allow\"\nsample = \"1\"\n";
const CARDS: &str = "[[rules]]\nname = \"cards\"\nverb = \"allow\"\nreview_seconds = 3600\nwhen.reversible = true\n";

impl Stage {
    async fn reviews(&self, token: &str, query: &str) -> Result<Vec<Value>, purser::client::ClientError> {
        let found = self.shop.call(Method::GET, &format!("/v1/reviews{query}"), token, None).await?;
        Ok(found["reviews"].as_array().unwrap().clone())
    }

    /// The only one in this state.
    async fn review(&self, state: &str) -> Value {
        let found = self.reviews(&self.shop.user, &format!("?state={state}")).await.unwrap();
        let [review] = found.as_slice() else { panic!("{state}: {found:?}") };
        review.clone()
    }

    async fn found(&self, token: &str, review: &Value, verdict: &str) -> Result<Value, purser::client::ClientError> {
        let body = json!({ "verdict": verdict, "because": "I looked at it." });
        self.shop.call(Method::POST, &format!("/v1/reviews/{}", text(review, "id")), token, Some(body)).await
    }

    fn operator(&self) -> String {
        self.shop.service.token(HOME, "admin", CallerKind::Operator).unwrap()
    }

    /// A token for so many cents, for a session of this name.
    async fn token_for(&self, session: &str, cents: u64) -> String {
        self.token_with(cents, json!({ "allowance": { "checkout_session_id": session } })).await.token()
    }

    async fn capture(&self, token: &str, session: &str, cents: u64) -> Answer {
        let body = json!({ "token": token, "amount": cents, "currency": "usd", "checkout_session_id": session });
        let (key, url) = (new_key(), self.shop.url("/v1/vault/capture"));
        post(&url, &self.shop.merchant, &[("Idempotency-Key", &key)], body.to_string().into_bytes()).await
    }

    async fn kinds(&self) -> Vec<String> {
        let found = self.shop.call(Method::GET, "/v1/events?limit=500", &self.operator(), None).await.unwrap();
        found["events"].as_array().unwrap().iter().map(|event| text(event, "type").to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drawn_is_looked_at_and_no_agent_says_what_was_found() {
    let stage = Stage::open(ALL).await;
    let paid = stage.pay("/a", CENT, &new_key()).await.expect("it goes");
    let review = stage.review("in_review").await;
    assert_eq!((&review["payment"], &review["payment_state"]), (&paid["id"], &paid["state"]));
    assert_eq!((text(&review, "reviewer"), text(&review, "agent")), (USER, AGENT));
    assert_eq!((text(&review, "amount"), text(&review, "currency"), text(&review, "rail")), ("0.01", "USD", "x402"));
    assert_eq!((&review["policy"]["rule"], &review["overdue"]), (&json!("some"), &json!("notify")));
    let in_a_week = jiff::Timestamp::now().as_second() + 7 * 86_400;
    assert!((in_a_week - 60..=in_a_week).contains(&review["due_at"].as_i64().unwrap()), "{review}");
    // Nobody but its person and operators: not the one that paid, not a merchant, not another person.
    let neighbour = stage.shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    for (token, read, answered) in [
        (&stage.shop.agent, "forbidden", "forbidden"),
        (&stage.shop.merchant, "forbidden", "forbidden"),
        (&neighbour, "", "not_found"),
    ] {
        match stage.reviews(token, "").await {
            Ok(found) => assert!(found.is_empty() && read.is_empty(), "{found:?}"),
            Err(error) => assert_eq!(error.code(), Some(read)),
        }
        for verdict in ["fine", "dispute"] {
            assert_eq!(code(stage.found(token, &review, verdict).await), answered);
        }
    }
    // It is no question: nothing is approved by it, and it is not among those that are asked.
    let path = format!("/v1/approvals/{}", text(&review, "id"));
    assert_eq!(code(stage.shop.call(Method::GET, &path, &stage.shop.user, None).await), "not_found");
    let asked = stage.shop.call(Method::GET, "/v1/approvals?state=in_review", &stage.shop.user, None).await;
    assert_eq!(code(asked), "invalid_request");
    let forged = json!({ "id": review["id"], "digest": "0".repeat(64) });
    let decided = code(stage.answer_as(&stage.shop.user, &forged, "approve").await);
    assert!(["decision_subject", "decision_state", "not_found"].contains(&decided.as_str()), "{decided}");
    refused(&stage, &review).await;
    let fine = stage.found(&stage.shop.user, &review, "fine").await.expect("the person looks");
    assert_eq!((text(&fine, "state"), text(&fine["answer"], "because")), ("confirmed", "I looked at it."));
    assert_eq!((&fine["answer"]["by"], &fine["reversal"]), (&json!(USER), &Value::Null));
    let again = stage.found(&stage.shop.user, &review, "fine").await.expect("the same again is the same");
    assert_eq!(again["answer"], fine["answer"]);
    assert_eq!(code(stage.found(&stage.shop.user, &review, "dispute").await), "decision_state");
    assert_eq!(stage.reviews(&stage.shop.user, "").await.unwrap(), Vec::<Value>::new());
    let told = stage.kinds().await;
    assert!(told.contains(&"review.opened".into()) && told.contains(&"review.confirmed".into()), "{told:?}");
}

/// What is no answer.
async fn refused(stage: &Stage, review: &Value) {
    let path = format!("/v1/reviews/{}", text(review, "id"));
    for (body, field) in [
        (json!({ "verdict": "fine", "because": "" }), "because"),
        (json!({ "verdict": "fine", "because": " \n" }), "because"),
        (json!({ "verdict": "fine", "because": "a\u{0}b" }), "because"),
        (json!({ "verdict": "fine", "because": "a".repeat(2_001) }), "because"),
        (json!({ "verdict": "Fine", "because": "a" }), "verdict"),
        (json!({ "verdict": "approve", "because": "a" }), "verdict"),
        (json!({ "verdict": "fine", "because": "a", "user_confirmed": true }), "body"),
        (json!({ "verdict": "fine" }), "body"),
        (json!({ "because": "a" }), "body"),
    ] {
        let found = stage.shop.call(Method::POST, &path, &stage.shop.user, Some(body.clone())).await;
        assert_eq!(code(found), "invalid_request", "{field}: {body}");
    }
    for query in ["?state=pending", "?state=", "?state=fine", "?cursor=q7", "?before=1"] {
        assert_eq!(
            stage.reviews(&stage.shop.user, query).await.unwrap_err().code(),
            Some("invalid_request"),
            "{query}"
        );
    }
    let unknown = json!({ "id": "ab".repeat(32) });
    assert_eq!(code(stage.found(&stage.shop.user, &unknown, "fine").await), "not_found");
    assert_eq!(text(&stage.review("in_review").await, "state"), "in_review", "none of these was an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_takes_nothing_back_and_the_dispute_stays() {
    let stage = Stage::open(ALL).await;
    stage.pay("/a", CENT, &new_key()).await.expect("it goes");
    let review = stage.review("in_review").await;
    let disputed = stage.found(&stage.operator(), &review, "dispute").await.expect("an operator in their place");
    assert_eq!((text(&disputed, "state"), text(&disputed, "reversal")), ("disputed", "not_reversible"));
    assert_eq!(code(stage.found(&stage.shop.user, &review, "fine").await), "decision_state");
    assert_eq!(text(&stage.review("disputed").await, "payment"), text(&review, "payment"));
    assert!(stage.kinds().await.contains(&"review.disputed".into()));
    // What is not drawn is in nobody's queue.
    let mut stage = Stage::open(&ALL.replace("\"1\"", "\"0.000001\"")).await;
    stage.pay("/b", CENT, &new_key()).await.expect("it goes");
    assert!(stage.reviews(&stage.shop.user, "").await.unwrap().is_empty());
    stage.ungoverned();
    stage.pay("/c", CENT, &new_key()).await.expect("it goes");
    assert!(stage.reviews(&stage.shop.user, "").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vault_token_holds_or_took_comes_back_when_it_is_disputed() {
    let stage = Stage::open(CARDS).await;
    let (held, taken) = (stage.token_for("one", 100).await, stage.token_for("two", 200).await);
    let captured = stage.capture(&taken, "two", 150).await;
    assert_eq!(captured.status, 200, "{captured:?}");
    let before = stage.shop.figures(&stage.mandate).await;
    let waiting = stage.reviews(&stage.shop.user, "").await.unwrap();
    assert_eq!(waiting.len(), 2);
    for review in &waiting {
        let is_held = text(review, "payment_state") == "held";
        let disputed = stage.found(&stage.shop.user, review, "dispute").await.expect("the person disputes it");
        let expected = if is_held { ("voided", "voided") } else { ("refunded", "settled") };
        assert_eq!((text(&disputed, "reversal"), text(&disputed, "payment_state")), expected, "{disputed}");
        assert_eq!(disputed["reversal_refused"], Value::Null);
        // Once more changes nothing more.
        let again = stage.found(&stage.shop.user, review, "dispute").await.expect("the same");
        assert_eq!(again["reversal"], disputed["reversal"]);
        if !is_held {
            let path = format!("/v1/payments/{}", text(review, "payment"));
            let spend = stage.shop.call(Method::GET, &path, &stage.shop.user, None).await.unwrap();
            assert_eq!(spend["refunded"], spend["amount"], "all of it, once: {spend}");
        }
    }
    let after = stage.shop.figures(&stage.mandate).await;
    assert_ne!(before["held"], after["held"]);
    assert_eq!(text(&after["held"], "units"), "0");
    let refused = stage.capture(&held, "one", 100).await;
    assert!(refused.status >= 400, "what was given up is captured no more: {refused:?}");
    let told = stage.kinds().await;
    for kind in ["review.disputed", "payment.voided", "payment.refunded"] {
        assert!(told.contains(&kind.into()), "{kind}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_looked_at_in_time_is_told_and_its_mandate_waits() {
    for (overdue, state) in [("notify", "active"), ("suspend", "suspended")] {
        let stage = Stage::open(&format!("{ALL}sample_seconds = 1\noverdue = \"{overdue}\"\n")).await;
        stage.pay("/a", CENT, &new_key()).await.expect("it goes");
        let mut told = Vec::new();
        for _ in 0..200 {
            told = stage.kinds().await;
            if told.contains(&"review.overdue".into()) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(told.contains(&"review.overdue".into()), "{told:?}");
        assert_eq!(told.contains(&"mandate.suspended".into()), overdue == "suspend", "{told:?}");
        assert_eq!(text(&stage.shop.figures(&stage.mandate).await, "state"), state);
        let next = stage.pay("/b", CENT, &new_key()).await;
        assert_eq!(next.is_ok(), overdue == "notify", "{next:?}");
        let review = stage.reviews(&stage.shop.user, "?state=overdue").await.unwrap().pop().expect("it is listed");
        let late = stage.found(&stage.shop.user, &review, "fine").await.expect("late is better than never");
        assert_eq!(text(&late, "state"), "confirmed");
        // What waits for a person a person lets go on, and not by having looked.
        assert_eq!(text(&stage.shop.figures(&stage.mandate).await, "state"), state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_every_review_and_answers_none() {
    let mut stage = Stage::open(ALL).await;
    stage.pay("/a", CENT, &new_key()).await.expect("it goes");
    let neighbour = stage.shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    for (role, answered) in [(RoleConfig::Auditor, "forbidden"), (RoleConfig::Operator, "")] {
        let changed = stage.shop.service.change(|config| {
            let tenant = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
            tenant.people.iter_mut().find(|person| person.id == NEIGHBOUR).unwrap().role = role;
        });
        changed.unwrap();
        let found = stage.reviews(&neighbour, "").await.expect("they read");
        assert_eq!(found.len(), 1);
        match stage.found(&neighbour, &found[0], "fine").await {
            Ok(fine) => assert_eq!((answered, text(&fine["answer"], "by")), ("", NEIGHBOUR)),
            Err(error) => assert_eq!(error.code(), Some(answered)),
        }
    }
}
