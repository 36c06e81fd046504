//! Payments that somebody is to look at, on their pages: who sees and answers them, what a form cannot be made to do, and what
//! a payment's page says of the policy that judged it.

use purser::config::{Config, PolicyConfig, RoleConfig, TenantConfig};
use purser::world::{HOME, NEIGHBOUR, USER};
use serde_json::{Value, json};

use super::visitors::{Session, get, send, session, signed_in};
use crate::approvals_cannot_be_faked::stage::{Stage, quiet};
use crate::harness::shop::{intent, new_key};
use crate::harness::text;

const RULES: &str = "purser_policy = 1\nversion = \"edition-7\"\n[[rules]]\nname = \"looked_at\"\nverb = \"allow\"\n\
    sample = \"1\"\noverdue = \"suspend\"\nwhen.rails = [\"x402\"]\n[[rules]]\nname = \"also\"\nverb = \"allow\"\n";

fn home(config: &mut Config) -> &mut TenantConfig {
    config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_answered_on_their_page_and_by_nobody_else() {
    let mut stage = Stage::open().await;
    let neighbours = signed_in(&stage, NEIGHBOUR).await;
    stage.register().await;
    let own = session(&stage).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, RULES).unwrap();
    stage.shop.service.change(|config| home(config).policy = Some(PolicyConfig { file })).unwrap();
    let mandate = stage.shop.mandate(intent()).await;
    let pay = async |path: &str| {
        let paid = stage.shop.pay(&mandate, &stage.shop.offer(path, 10_000), &new_key()).await.expect("it goes");
        text(&paid, "id").to_owned()
    };
    let (first, second) = (pay("/a").await, pay("/b").await);
    traced(&stage, &own, &first).await;
    let page = get(&stage, Some(&own), "/reviews").await;
    assert_eq!((page.status, page.body.matches("<textarea").count()), (200, 2), "{}", page.body);
    assert!(page.body.contains("rule looked_at") && page.body.contains("its mandate is suspended"));
    let ids: Vec<String> =
        page.body.split("name=\"review\" value=\"").skip(1).map(|rest| rest[..64].to_owned()).collect();
    let [newer, older] = ids.as_slice() else { panic!("{ids:?}") };
    forged(&stage, &own, &neighbours, newer).await;
    let answer = async |who: &Session, review: &str, verdict: &str, because: &str| {
        let fields = [("csrf", who.csrf.as_str()), ("review", review), ("verdict", verdict), ("because", because)];
        send(&stage, who, Some(stage.raw.base.as_str()), "/reviews", &fields).await
    };
    let fine = answer(&own, newer, "fine", "Two lines\r\nof <b>mine</b>").await;
    assert_eq!(fine, (303, "/console/reviews?state=confirmed".into()));
    let page = get(&stage, Some(&own), "/reviews?state=confirmed").await.body;
    assert!(page.contains("of &lt;b&gt;mine&lt;/b&gt;") && !page.contains("<b>mine"), "{page}");
    assert!(page.contains(&second) && !page.contains("<textarea"), "what is answered is not asked again");
    assert_eq!(answer(&own, newer, "dispute", "no").await.1, "decision_state");
    let disputed = answer(&own, older, "dispute", "I did not ask for this.").await;
    assert_eq!(disputed, (303, "/console/reviews?state=disputed".into()));
    let page = get(&stage, Some(&own), "/reviews?state=disputed").await.body;
    assert!(page.contains("Its rail takes nothing back") && page.contains(&first), "{page}");
    assert!(
        get(&stage, Some(&own), &format!("/spends/{first}")).await.body.contains("/console/reviews?state=disputed")
    );
    for query in ["state=pending", "state=x", "before=-1", "page=2"] {
        assert_eq!(get(&stage, Some(&own), &format!("/reviews?{query}")).await.status, 400, "{query}");
    }
    pay("/c").await;
    audited(&mut stage, &own).await;
    let browser = &stage.browser;
    browser.go(&super::visitors::console(&stage, "/reviews")).await;
    quiet(browser, "reviews").await;
    browser.speak("de").await;
    browser.go(&super::visitors::console(&stage, "/reviews")).await;
    assert_eq!(browser.text("h1").await, "Prüfungen");
    quiet(browser, "reviews-german").await;
}

/// Version, digest, the rules that fired and the one that decided; where no policy judged, it says so.
async fn traced(stage: &Stage, own: &Session, payment: &str) {
    let page = get(stage, Some(own), &format!("/spends/{payment}")).await.body;
    let path = format!("/v1/payments/{payment}/evidence");
    let file = stage.shop.call(reqwest::Method::GET, &path, &stage.shop.user, None).await.unwrap();
    let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
    let trace = page.split("data-policy").nth(1).expect("the trace of the policy");
    for said in ["allow sample", "looked_at", "also", "edition-7", text(&bundle["policy"], "digest")] {
        assert!(trace.contains(said), "{said}: {trace}");
    }
    assert_eq!(bundle["policy"]["fired"], json!(["looked_at", "also"]));
    assert!(page.contains("/console/reviews?state=in_review"));
}

/// Whoever it is not put to, a page of somebody else's, a form without its session's token.
async fn forged(stage: &Stage, own: &Session, neighbours: &Session, review: &str) {
    let base = stage.raw.base.as_str();
    let page = get(stage, Some(neighbours), "/reviews").await;
    assert!(page.status == 200 && !page.body.contains(review), "what is another's is not there");
    let fields = |csrf: &'static str| [("csrf", csrf), ("review", ""), ("verdict", "fine"), ("because", "a")];
    assert_eq!(send(stage, own, None, "/reviews", &fields("")).await.1, "page_origin_wrong");
    assert_eq!(send(stage, own, Some("https://evil.example"), "/reviews", &fields("")).await.1, "page_origin_wrong");
    assert_eq!(send(stage, own, Some(base), "/reviews", &fields("forged")).await.1, "csrf_token_wrong");
    for (who, review, verdict, because, code) in [
        (neighbours, review, "fine", "a", "not_found"),
        (neighbours, review, "dispute", "a", "not_found"),
        (own, "x", "fine", "a", "not_found"),
        (own, review, "approve", "a", "invalid_request"),
        (own, review, "fine", "", "invalid_request"),
        (own, review, "fine", " \r\n ", "invalid_request"),
    ] {
        let fields = [("csrf", who.csrf.as_str()), ("review", review), ("verdict", verdict), ("because", because)];
        assert_eq!(send(stage, who, Some(base), "/reviews", &fields).await.1, code, "{verdict} {because}");
    }
}

async fn audited(stage: &mut Stage, own: &Session) {
    let role = |role| {
        move |config: &mut Config| home(config).people.iter_mut().find(|person| person.id == USER).unwrap().role = role
    };
    let page = get(stage, Some(own), "/reviews").await.body;
    let review = &page.split("name=\"review\" value=\"").nth(1).expect("one that waits")[..64];
    stage.shop.service.change(role(RoleConfig::Auditor)).unwrap();
    let page = get(stage, Some(own), "/reviews").await;
    assert!(page.status == 200 && !page.body.contains("<form method=\"post\" action=\"/console/reviews\""));
    assert!(page.body.contains("0.01 USD"), "an auditor reads");
    let fields = [("csrf", own.csrf.as_str()), ("review", review), ("verdict", "fine"), ("because", "a")];
    let (status, code) = send(stage, own, Some(stage.raw.base.as_str()), "/reviews", &fields).await;
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    stage.shop.service.change(role(RoleConfig::Approver)).unwrap();
}
