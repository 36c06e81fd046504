//! "Allow payments like this for a while": what the passkey signed passes without another question, and nothing else does.

use engine::ruling::standing::Stood;
use ledger::id::CallerKind;
use purser::config::Config;
use purser::world::{AGENT, BYSTANDER, HOME};
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{CENT, Stage};
use crate::harness::passkey::SoftPasskey;
use crate::harness::shop::{code, new_key};
use crate::harness::text;

/// Asks up to three cents, wants a passkey above, and denies five.
const RULES: &str = "[[rules]]\nname = \"ask\"\nverb = \"require_approval\"\nttl_seconds = 600\n\
    [[rules]]\nname = \"much\"\nverb = \"step_up\"\nttl_seconds = 600\n\
    when.amounts = [{ currency = \"USD\", above = \"0.03\" }]\n\
    [[rules]]\nname = \"too_much\"\nverb = \"deny\"\nwhen.amounts = [{ currency = \"USD\", above = \"0.05\" }]\n";

impl Stage {
    /// The question beside the one about a payment, as the person sees it.
    async fn beside(&self, passkey: &SoftPasskey, approval: &Value, wish: (&str, &str, u16)) -> Value {
        let id = passkey.ask_beside(&self.shop, approval, wish).await.expect("it can be asked");
        self.shop.call(Method::GET, &format!("/v1/approvals/{id}"), &self.shop.user, None).await.unwrap()
    }

    /// One cent is asked for, and up to so much is allowed beforehand. Its mandate.
    async fn allowed_beforehand(&self, passkey: &mut SoftPasskey, wish: (&str, &str, u16)) -> String {
        let approval = self.asked("/first", CENT, &new_key()).await;
        let question = self.beside(passkey, &approval, wish).await;
        passkey.approve(&self.shop, &question).await.expect("the person allows it");
        let path = format!("/v1/approvals/{}", text(&question, "id"));
        text(&self.shop.call(Method::GET, &path, &self.shop.user, None).await.unwrap(), "mandate").to_owned()
    }

    async fn passes(&self, why: &str) -> Value {
        self.pay(&format!("/{}", new_key()), CENT, &new_key())
            .await
            .unwrap_or_else(|refused| panic!("{why}: {refused:?}"))
    }

    async fn asks(&self, why: &str) {
        let refused = self.pay(&format!("/{}", new_key()), CENT, &new_key()).await.expect_err(why);
        assert_eq!(refused.code(), "pending_approval", "{why}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_person_who_is_asked_alone_says_it_and_only_within_their_mandate() {
    let stage = Stage::open(RULES).await;
    let (user, neighbour) =
        (SoftPasskey::register(&stage.shop, "user").await, SoftPasskey::register(&stage.shop, "neighbour").await);
    let approval = stage.asked("/thing", CENT, &new_key()).await;
    for (wish, expected) in [
        (("0.009", "1.00", 30), "invalid_request"),
        (("0.00", "1.00", 30), "amount_malformed"),
        (("3.01", "4.00", 30), "invalid_request"),
        (("0.01", "5.01", 30), "invalid_request"),
        (("0.02", "0.01", 30), "invalid_request"),
        (("0.01", "1.00", 0), "invalid_request"),
        (("0.01", "1.00", 367), "invalid_request"),
        (("0,01", "1.00", 30), "amount_malformed"),
        (("0.01", "-1", 30), "amount_malformed"),
        (("0.01", "1e3", 30), "amount_malformed"),
        (("", "1.00", 30), "amount_malformed"),
    ] {
        let refused = user.ask_beside(&stage.shop, &approval, wish).await.expect_err("it is no wish");
        assert_eq!(refused.code(), expected, "{wish:?}: {refused}");
    }
    let good = ("0.02", "1.00", 30);
    let theirs = neighbour.ask_beside(&stage.shop, &approval, good).await.unwrap_err();
    assert_eq!(theirs.code(), "not_found", "a question to somebody else");
    let mut other = approval.clone();
    other["digest"] = stage.asked("/other", CENT, &new_key()).await["digest"].clone();
    assert_eq!(user.ask_beside(&stage.shop, &other, good).await.unwrap_err().code(), "decision_subject");
    let much = stage.asked("/much", 4 * CENT, &new_key()).await;
    let refused = user.ask_beside(&stage.shop, &much, ("0.04", "1.00", 30)).await.unwrap_err();
    assert_eq!(refused.code(), "invalid_request", "a step up is for one payment: {refused}");
    let intent = stage.shop.ask(crate::harness::shop::intent()).await;
    assert_eq!(user.ask_beside(&stage.shop, &intent, good).await.unwrap_err().code(), "invalid_request");
    // Asked twice, the last one stands; answered, none can be asked any more.
    let first = stage.beside(&user, &approval, good).await;
    let second = stage.beside(&user, &approval, good).await;
    let state = async |one: &Value| {
        let path = format!("/v1/approvals/{}", text(one, "id"));
        text(&stage.shop.call(Method::GET, &path, &stage.shop.user, None).await.unwrap(), "state").to_owned()
    };
    assert_eq!((state(&first).await, state(&second).await), ("denied".into(), "pending".into()));
    stage.answer_as(&stage.shop.user, &approval, "deny").await.unwrap();
    assert_eq!(user.ask_beside(&stage.shop, &approval, good).await.unwrap_err().code(), "decision_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_two_have_to_allow_it_one_does_not_allow_it_beforehand() {
    let rules = "[[rules]]\nname = \"two\"\nverb = \"require_approval\"\napprovers = [\"user\", \"neighbour\"]\nk = 2\n\
        ttl_seconds = 600\n";
    let mut stage = Stage::open(RULES).await;
    let mut user = SoftPasskey::register(&stage.shop, "user").await;
    stage.allowed_beforehand(&mut user, ("0.02", "1.00", 1)).await;
    stage.passes("one person is enough").await;
    stage.govern(rules).unwrap();
    let refused = stage.pay("/thing", CENT, &new_key()).await.expect_err("two are asked");
    assert_eq!(refused.ids().len(), 2);
    for id in refused.ids() {
        let question = stage.question(&id).await;
        if question["approver"] == "user" {
            let refused = user.ask_beside(&stage.shop, &question, ("0.02", "1.00", 1)).await.unwrap_err();
            assert_eq!(refused.code(), "invalid_request", "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_like_one_pass_within_what_was_signed() {
    let stage = Stage::open(RULES).await;
    let mut user = SoftPasskey::register(&stage.shop, "user").await;
    let key = new_key();
    let approval = stage.asked("/thing", CENT, &key).await;
    let question = stage.beside(&user, &approval, ("0.02", "0.05", 30)).await;
    let (document, terms) = (&question["document"], &question["document"]["standing"]);
    assert_eq!((text(terms, "under"), text(terms, "question")), (stage.mandate.as_str(), text(&approval, "id")));
    assert_eq!((text(terms, "question_digest"), text(terms, "rail")), (text(&approval, "digest"), "x402"));
    assert_eq!(
        (text(document, "total"), text(document, "per_payment"), text(document, "agent")),
        ("0.05", "0.02", AGENT)
    );
    assert_eq!(document["payees"].as_array().unwrap().len(), 1);
    let ends = stage.shop.figures(&stage.mandate).await["expires_at"].clone();
    assert_eq!(document["expires_at"], ends, "no longer than the mandate");
    // Neither a token nor a signature of something else allows it.
    assert_eq!(code(stage.answer_as(&stage.shop.user, &question, "approve").await), "passkey_required");
    let elsewhere = user.approve_over(&stage.shop, &question, text(&approval, "digest")).await.unwrap_err();
    assert_eq!(elsewhere.code(), "passkey_challenge_mismatch");
    stage.asks("nothing is allowed yet").await;
    user.approve(&stage.shop, &question).await.expect("the person allows it");
    assert_eq!(user.approve(&stage.shop, &question).await.unwrap_err().code(), "decision_state", "answered once");
    // The payment that was asked about, and others like it; each counts.
    let first = stage.pay("/thing", CENT, &key).await.expect("the one that was asked about");
    let again = stage.pay("/thing", CENT, &key).await.expect("the same payment again");
    assert_eq!((&first["id"], &first["payment_signature"]), (&again["id"], &again["payment_signature"]));
    let second = stage.pay("/other", 2 * CENT, &new_key()).await.expect("up to what was signed");
    let ruled = stage.ruled(text(&second, "id")).await;
    let stood: Stood = serde_json::from_value(ruled["standing"].clone()).unwrap();
    assert_eq!((stood.decision.to_string().as_str(), stood.approver.as_str()), (text(&question, "id"), "user"));
    assert_eq!((text(&ruled, "verb"), text(&ruled, "rule")), ("require_approval", "ask"));
    unproved(&stage, text(&second, "id")).await;
    let mandate = stood.mandate.to_string();
    beyond(&stage, &mandate).await;
    let third = stage.pay("/third", 2 * CENT, &new_key()).await.expect("all of it");
    assert_eq!(stage.ruled(text(&third, "id")).await["standing"]["mandate"], json!(mandate));
    stage.asks("it is used up").await;
    for (id, used) in [(&mandate, "0.05"), (&stage.mandate, "0.05")] {
        assert_eq!(text(&stage.shop.figures(id).await["held"], "amount"), used, "one budget under the other");
    }
    let named = stage.shop.pay(&mandate, &stage.shop.offer("/named", CENT), &new_key()).await;
    assert_eq!(code(named), "amount_exceeds_budget");
}

/// More, another payee, another agent: asked, or refused.
async fn beyond(stage: &Stage, mandate: &str) {
    let more = stage.asked("/more", 2 * CENT + 1, &new_key()).await;
    assert_eq!(more["document"]["payment"]["policy"]["rule"], "ask");
    let much = stage.asked("/much", 4 * CENT, &new_key()).await;
    assert_eq!(much["document"]["payment"]["passkey"], true, "a step up is for one payment");
    assert_eq!(stage.pay("/too-much", 6 * CENT, &new_key()).await.unwrap_err().code(), "policy_denied");
    let mut elsewhere = stage.shop.offer("/thing", CENT);
    elsewhere.resource.url = "http://elsewhere.example/thing".into();
    elsewhere.accepts[0].pay_to = format!("0x{}", "5".repeat(40));
    let refused = stage.pay_with(&elsewhere, &new_key(), &[]).await.unwrap_err();
    assert_eq!(refused.code(), "pending_approval", "another payee");
    let named = stage.shop.pay(mandate, &elsewhere, &new_key()).await;
    assert_eq!(code(named), "payee_not_allowed", "under its own name as well");
    let named = stage.shop.pay(mandate, &stage.shop.offer("/more", 2 * CENT + 1), &new_key()).await;
    assert_eq!(code(named), "amount_above_max");
    let bystander = stage.shop.service.token(HOME, BYSTANDER, CallerKind::Agent).unwrap();
    let theirs = stage.shop.pay_as(&bystander, mandate, &stage.shop.offer("/x", CENT), &new_key(), json!({})).await;
    assert_eq!(code(theirs), "not_found", "another agent");
}

/// Without the signature, or of another kind, the evidence does not hold.
async fn unproved(stage: &Stage, payment: &str) {
    let file = stage.evidence(payment).await;
    assert!(stage.finding(&file).holds);
    let mut unsigned = file.clone();
    unsigned["approval"] = json!(null);
    assert!(!stage.finding(&unsigned).holds);
    for (found, other) in [
        ("\"per_payment\":\"0.02\"", "\"per_payment\":\"0.01\""),
        ("\"rail\":\"x402\"", "\"rail\":\"acp\""),
        ("\"payee_id\":\"shop\"", "\"payee_id\":\"shoq\""),
        ("\"fired\":[\"ask\"]", "\"fired\":[]"),
    ] {
        let mut forged = file.clone();
        assert!(text(&file, "decision").contains(found), "{found}: {}", text(&file, "decision"));
        forged["decision"] = text(&file, "decision").replace(found, other).into();
        let finding = stage.finding(&forged);
        assert!(!finding.holds, "{other}: {finding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_approval_ends_with_what_it_rests_upon() {
    let mut stage = Stage::open(RULES).await;
    let mut user = SoftPasskey::register(&stage.shop, "user").await;
    let mandate = stage.allowed_beforehand(&mut user, ("0.02", "1.00", 1)).await;
    stage.passes("as signed").await;
    let built = |build: Option<String>| {
        move |config: &mut Config| {
            let tenant = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
            let agent = tenant.agents.iter_mut().find(|agent| agent.id == AGENT).unwrap();
            agent.build = build.map(|text| text.parse().unwrap());
        }
    };
    stage.shop.service.change(built(Some(format!("sha256:{}", "7".repeat(64))))).unwrap();
    stage.asks("another build").await;
    stage.shop.service.change(built(None)).unwrap();
    stage.passes("the build that was signed").await;
    stage.govern(&RULES.replace("600", "601")).unwrap();
    stage.asks("another edition of the policy").await;
    stage.govern(RULES).unwrap();
    stage.passes("the edition that was signed").await;
    // Suspended it passes nothing; resumed it does; revoked it never does again.
    let change = async |to: &str| {
        let path = format!("/v1/mandates/{mandate}/{to}");
        stage.shop.call(Method::POST, &path, &stage.shop.user, None).await.unwrap();
    };
    change("suspend").await;
    stage.asks("suspended").await;
    change("resume").await;
    stage.passes("resumed").await;
    change("revoke").await;
    stage.asks("revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_standing_approvals_for_good() {
    for scope in ["everything", "person/user", "agent/shopper", "payee/shop", "mandate"] {
        let stage = Stage::open(RULES).await;
        let mut user = SoftPasskey::register(&stage.shop, "user").await;
        stage.allowed_beforehand(&mut user, ("0.02", "1.00", 1)).await;
        stage.passes("as signed").await;
        let waits = stage.asked("/waits", 3 * CENT, &new_key()).await;
        let waits = stage.beside(&user, &waits, ("0.03", "1.00", 1)).await;
        let operator = stage.shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
        let scope = if scope == "mandate" { format!("mandate/{}", stage.mandate) } else { scope.to_owned() };
        let body = Some(json!({ "scope": scope }));
        let stop = stage.shop.call(Method::POST, "/v1/kill", &operator, body).await.unwrap();
        let refused = stage.pay("/stopped", CENT, &new_key()).await.unwrap_err();
        assert_eq!(refused.code(), "stopped", "{scope}");
        let path = format!("/v1/kill/{}", text(&stop, "id"));
        stage.shop.call(Method::DELETE, &path, &operator, None).await.unwrap();
        stage.asks(&scope).await;
        let late = user.approve(&stage.shop, &waits).await.unwrap_err();
        assert_eq!(late.code(), "decision_state", "{scope}: what waited was ended");
        // In another second it can be allowed anew.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        stage.allowed_beforehand(&mut user, ("0.02", "1.00", 1)).await;
        stage.passes("allowed anew").await;
    }
}
