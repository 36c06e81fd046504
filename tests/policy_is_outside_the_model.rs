//! The policy: what a tenant does with payments that a mandate allows is decided outside of every model. Each of the five
//! patterns of having a human in the loop is a test of its name; then what tries to get round it.

mod attacks;
mod ladder;
mod reviews;
mod stage;
mod standing;

use ledger::id::{CallerKind, Digest};
use ledger::store::Store;
use purser::world::{HOME, NEIGHBOUR};
use serde_json::{Value, json};

use self::stage::{CENT, Stage};
use crate::harness::passkey::SoftPasskey;
use crate::harness::process::{run, stdout};
use crate::harness::shop::{code, new_key};
use crate::harness::text;
use crate::harness::world::World;

const ASK: &str = "[[rules]]\nname = \"ask\"\nverb = \"require_approval\"\nttl_seconds = 600\n";

#[tokio::test(flavor = "multi_thread")]
async fn pre_execution_approval() {
    let stage = Stage::open(ASK).await;
    let key = new_key();
    let approval = stage.asked("/thing", CENT, &key).await;
    stage.is_untouched().await;
    let (document, terms) = (&approval["document"], &approval["document"]["payment"]);
    assert_eq!((text(terms, "amount"), text(terms, "currency"), text(terms, "rail")), ("0.01", "USD", "x402"));
    assert_eq!(terms["policy"]["rule"], "ask");
    assert_eq!((text(&approval, "approver"), text(document, "decision")), ("user", text(&approval, "id")));
    // It is one question, however often it is asked for, under whichever key.
    for again in [key.clone(), new_key()] {
        assert_eq!(stage.asked("/thing", CENT, &again).await["id"], approval["id"]);
    }
    // A change of anything is another.
    let dearer = stage.asked("/thing", CENT + 1, &key).await;
    let other = stage.asked("/other", CENT, &key).await;
    assert!(dearer["id"] != approval["id"] && other["id"] != approval["id"] && other["id"] != dearer["id"]);
    for token in [&stage.shop.agent, &stage.shop.merchant] {
        let refused = stage.answer_as(token, &approval, "approve").await;
        assert!(
            ["only_a_user_decides", "forbidden", "not_found", "decision_unknown"].contains(&code(refused).as_str())
        );
    }
    let neighbour = stage.shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    assert_eq!(code(stage.answer_as(&neighbour, &approval, "approve").await), "not_your_decision");
    let mut forged = approval.clone();
    forged["digest"] = dearer["digest"].clone();
    assert_eq!(code(stage.answer_as(&stage.shop.user, &forged, "approve").await), "decision_subject");
    stage.answer_as(&stage.shop.user, &approval, "approve").await.expect("the person allows it");
    // What was allowed is that payment under that key; the one that is like it is asked for anew.
    assert_ne!(stage.asked("/thing", CENT, &new_key()).await["id"], approval["id"]);
    let paid = stage.pay("/thing", CENT, &key).await.expect("what was allowed is paid");
    let same = stage.pay("/thing", CENT, &key).await.expect("the same payment again");
    assert_eq!((&paid["id"], &paid["payment_signature"]), (&same["id"], &same["payment_signature"]));
    let ruled = stage.ruled(text(&paid, "id")).await;
    let [approved] = ruled["approvals"].as_array().unwrap().as_slice() else { panic!("{ruled}") };
    assert_eq!((&approved["decision"], &approved["question"]), (&approval["id"], &approval["digest"]));
    assert_eq!(ruled["digest"], terms["policy"]["digest"], "the digest is in the evidence");
    // Denied is denied, also when it is asked for again under its key.
    stage.answer_as(&stage.shop.user, &other, "deny").await.unwrap();
    assert_eq!(stage.pay("/other", CENT, &key).await.unwrap_err().code(), "idempotency_key_reused");
    let refused = new_key();
    let asked = stage.asked("/third", CENT, &refused).await;
    stage.answer_as(&stage.shop.user, &asked, "deny").await.unwrap();
    assert_eq!(stage.pay("/third", CENT, &refused).await.unwrap_err().code(), "approval_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn exception_escalation() {
    let rules = "[[rules]]\nname = \"usual\"\nverb = \"allow\"\n[[rules]]\nname = \"unusual\"\nverb = \"step_up\"\n\
        ttl_seconds = 600\nwhen.amounts = [{ currency = \"USD\", above = \"0.01\" }]\n";
    let stage = Stage::open(rules).await;
    let mut passkey = SoftPasskey::register(&stage.shop, "user").await;
    let usual = stage.pay("/usual", CENT, &new_key()).await.expect("what is usual is paid");
    let ruled = stage.ruled(text(&usual, "id")).await;
    assert_eq!((text(&ruled, "verb"), &ruled["fired"]), ("allow", &json!(["usual"])));
    let key = new_key();
    let approval = stage.asked("/unusual", CENT + 1, &key).await;
    assert_eq!(code(stage.answer_as(&stage.shop.user, &approval, "approve").await), "passkey_required");
    let other = stage.asked("/unusual", CENT + 2, &new_key()).await;
    let refused = passkey.approve_over(&stage.shop, &approval, text(&other, "digest")).await.unwrap_err();
    assert_eq!(refused.code(), "passkey_challenge_mismatch", "it signs this question or none");
    assert_eq!(stage.pay("/unusual", CENT + 1, &key).await.unwrap_err().code(), "pending_approval");
    passkey.approve(&stage.shop, &approval).await.expect("the passkey allows it");
    let again = passkey.approve(&stage.shop, &approval).await.unwrap_err();
    assert_eq!(again.code(), "decision_state", "it is answered once");
    let paid = stage.pay("/unusual", CENT + 1, &key).await.expect("what was allowed is paid");
    let ruled = stage.ruled(text(&paid, "id")).await;
    assert_eq!((text(&ruled, "verb"), &ruled["fired"]), ("step_up", &json!(["usual", "unusual"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn graduated_autonomy() {
    let build = format!("sha256:{}", "7".repeat(64));
    let rules = format!(
        "[[rules]]\nname = \"trusted_build\"\nverb = \"allow\"\n[rules.when]\nbuilds = [\"{build}\"]\n\
         first_payment = false\namounts = [{{ currency = \"USD\", up_to = \"0.01\" }}]\n"
    );
    let mut stage = Stage::open(&rules).await;
    let first = new_key();
    let approval = stage.asked("/a", CENT, &first).await;
    assert_eq!(approval["document"]["payment"]["policy"].get("rule"), None, "no rule is about it");
    assert_eq!(approval["document"]["payment"]["first_payment"], true);
    stage.answer_as(&stage.shop.user, &approval, "approve").await.unwrap();
    stage.pay("/a", CENT, &first).await.expect("the first one, asked for");
    stage.asked("/b", CENT, &new_key()).await;
    let agent = |config: &mut purser::config::Config, build: Option<String>| {
        let tenant = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
        let agent = tenant.agents.iter_mut().find(|agent| agent.id == purser::world::AGENT).unwrap();
        agent.build = build.map(|text| text.parse().unwrap());
    };
    stage.shop.service.change(|config| agent(config, Some(build))).unwrap();
    stage.pay("/c", CENT, &new_key()).await.expect("a payee and a build that are known, a small amount");
    stage.asked("/d", CENT + 1, &new_key()).await;
    stage.shop.service.change(|config| agent(config, Some(format!("sha256:{}", "8".repeat(64))))).unwrap();
    stage.asked("/e", CENT, &new_key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sampled_audit() {
    let rule = |rate: &str| format!("[[rules]]\nname = \"some\"\nverb = \"allow\"\nsample = \"{rate}\"\n");
    let mut stage = Stage::open(&rule("1")).await;
    let paid = stage.pay("/a", CENT, &new_key()).await.expect("it goes");
    let ruled = stage.ruled(text(&paid, "id")).await;
    assert_eq!((text(&ruled, "verb"), &ruled["sampled"]), ("allow_sample", &json!(true)));
    stage.govern(&rule("0.000001")).unwrap();
    let paid = stage.pay("/b", CENT, &new_key()).await.expect("it goes");
    assert_eq!(stage.ruled(text(&paid, "id")).await["sampled"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn post_execution_review() {
    let rules = "[[rules]]\nname = \"cards\"\nverb = \"allow\"\nreview_seconds = 3600\nwhen.reversible = true\n";
    let mut stage = Stage::open(rules).await;
    let given = stage.token(100).await;
    let payment = text(&given.body["metadata"], "payment").to_owned();
    given.token();
    let ruled = stage.ruled(&payment).await;
    let until = ruled["review_until"].as_i64().unwrap_or_else(|| panic!("{ruled}"));
    let in_an_hour = jiff::Timestamp::now().as_second() + 3_600;
    assert!((in_an_hour - 60..=in_an_hour).contains(&until), "{ruled}");
    // What nobody takes back is not paid on the hope that somebody looks at it later.
    stage.asked("/thing", CENT, &new_key()).await;
    let everywhere = rules.replace("when.reversible = true\n", "");
    let refused = stage.govern(&everywhere).expect_err("it makes no sense");
    assert!(refused.contains("line 4: review_cannot_reverse"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_overrides_everything() {
    let rules = "[[rules]]\nname = \"all\"\nverb = \"allow\"\n[[rules]]\nname = \"not_the_shop\"\nverb = \"deny\"\n\
        when.payees = [\"shop\"]\nwhen.first_payment = true\n";
    let mut stage = Stage::open(rules).await;
    let key = new_key();
    let refused = stage.pay("/thing", CENT, &key).await.unwrap_err();
    assert_eq!((refused.0.status, refused.code()), (422, "policy_denied"));
    assert!(text(&refused.0.body, "detail").contains("rule not_the_shop of policy test"), "{refused:?}");
    let refused = stage.token(100).await;
    assert_eq!((refused.status, refused.code()), (422, "policy_denied"), "{refused:?}");
    let cart = crate::harness::closing::cart(&stage.shop, 100, json!({})).await;
    let body = crate::harness::closing::asked(&stage.mandate, &cart, json!({}));
    assert_eq!(code(crate::harness::closing::close(&stage.shop, &new_key(), body).await), "policy_denied");
    stage.is_untouched().await;
    // An approval of before does not lift it.
    stage.govern(ASK).unwrap();
    let approval = stage.asked("/thing", CENT, &key).await;
    stage.answer_as(&stage.shop.user, &approval, "approve").await.unwrap();
    stage.govern(rules).unwrap();
    assert_eq!(stage.pay("/thing", CENT, &key).await.unwrap_err().code(), "policy_denied");
    // Without a policy the mandate alone says what is paid.
    stage.ungoverned();
    let paid = stage.pay("/thing", CENT, &key).await.expect("as before there were policies");
    assert_eq!(stage.ruled(text(&paid, "id")).await, json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_changed_asks_again() {
    let mut stage = Stage::open(ASK).await;
    let key = new_key();
    let approval = stage.asked("/thing", CENT, &key).await;
    stage.govern(&ASK.replace("600", "601")).unwrap();
    assert_eq!(code(stage.answer_as(&stage.shop.user, &approval, "approve").await), "question_changed");
    let other = stage.asked("/thing", CENT, &key).await;
    assert_ne!(other["id"], approval["id"]);
    let broken = stage.govern("[[rules]]\nname = \"a\"\nverb = \"allow\"\nuser_confirmed = true\n").unwrap_err();
    assert!(broken.contains("line 6"), "{broken}");
    let stranger = ASK.replace("ttl", "approvers = [\"nobody\"]\nk = 1\nttl");
    let stranger = stage.govern(&stranger).unwrap_err();
    assert!(stranger.contains("nobody"), "{stranger}");
    assert_eq!(stage.asked("/thing", CENT, &key).await["id"], other["id"], "the last good one stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn k_of_n_are_distinct_persons_with_keys_of_their_own() {
    let quorum = |ttl: u32| {
        format!(
            "[[rules]]\nname = \"two\"\nverb = \"require_approval\"\napprovers = [\"user\", \"neighbour\"]\nk = 2\n\
             ttl_seconds = {ttl}\n"
        )
    };
    let mut stage = Stage::open(&quorum(600)).await;
    let neighbour = stage.shop.service.token(HOME, NEIGHBOUR, CallerKind::User).unwrap();
    let mut passkeys = Vec::new();
    for person in ["neighbour", "user"] {
        passkeys.push((person, SoftPasskey::register(&stage.shop, person).await));
    }
    let key = new_key();
    let refused = stage.pay("/thing", CENT, &key).await.unwrap_err();
    let ids = refused.ids();
    assert_eq!((ids.len(), &refused.0.body["needed"], &refused.0.body["given"]), (2, &json!(2), &json!(0)));
    let questions = [stage.question(&ids[0]).await, stage.question(&ids[1]).await];
    let of = |person: &str| questions.iter().find(|one| one["approver"] == person).unwrap().clone();
    // Tokens do not count, and nobody answers for the other.
    assert_eq!(code(stage.answer_as(&neighbour, &of("neighbour"), "approve").await), "passkey_required");
    let (_, theirs) = &mut passkeys[0];
    theirs.approve(&stage.shop, &of("neighbour")).await.expect("one of two");
    let twice = theirs.approve(&stage.shop, &of("neighbour")).await.unwrap_err();
    assert_eq!(twice.code(), "decision_state");
    let for_another = theirs.approve(&stage.shop, &of("user")).await.unwrap_err();
    assert_eq!(for_another.code(), "not_found", "the same person counts once");
    let refused = stage.pay("/thing", CENT, &key).await.unwrap_err();
    assert_eq!((refused.ids(), &refused.0.body["given"]), (vec![text(&of("user"), "id").to_owned()], &json!(1)));
    stage.is_untouched().await;
    passkeys[1].1.approve(&stage.shop, &of("user")).await.expect("two of two");
    let paid = stage.pay("/thing", CENT, &key).await.expect("both allowed it");
    assert_eq!(stage.ruled(text(&paid, "id")).await["approvals"].as_array().unwrap().len(), 2);
    forged(&stage, text(&paid, "id")).await;
    // One who says no is enough where all are needed.
    let key = new_key();
    let ids = stage.pay("/other", CENT, &key).await.unwrap_err().ids();
    let question = stage.question(&ids[0]).await;
    let token = if question["approver"] == "user" { &stage.shop.user } else { &neighbour };
    stage.answer_as(token, &question, "deny").await.expect("to refuse takes no passkey");
    assert_eq!(stage.pay("/other", CENT, &key).await.unwrap_err().code(), "approval_denied");
    // Time that is over is no approval, whoever allowed it before.
    stage.govern(&quorum(1)).unwrap();
    let key = new_key();
    let ids = stage.pay("/late", CENT, &key).await.unwrap_err().ids();
    let question = stage.question(&ids[0]).await;
    let until = question["expires_at"].as_i64().unwrap();
    while jiff::Timestamp::now().as_second() <= until {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (_, passkey) = passkeys.iter_mut().find(|(person, _)| *person == text(&question, "approver")).unwrap();
    assert_eq!(passkey.approve(&stage.shop, &question).await.unwrap_err().code(), "decision_expired");
    assert_eq!(stage.pay("/late", CENT, &key).await.unwrap_err().code(), "approval_expired");
}

/// Evidence in which anything of the approvals is another does not hold.
async fn forged(stage: &Stage, payment: &str) {
    let file = stage.evidence(payment).await;
    let question = text(&file["allowed"][0], "question").to_owned();
    for (what, forge) in [
        ("the policy", &(|file: &mut Value| file["policy"] = "{}".into()) as &dyn Fn(&mut Value)),
        ("no policy", &|file: &mut Value| file["policy"] = Value::Null),
        ("a question of more", &|file| file["allowed"][0]["question"] = question.replace("0.01", "9.01").into()),
        ("one approval", &|file| _ = file["allowed"].as_array_mut().unwrap().pop()),
        ("the same twice", &|file| file["allowed"][1] = file["allowed"][0].clone()),
        ("no signature", &|file| file["allowed"][0]["signed"] = Value::Null),
        ("another's signature", &|file| file["allowed"][0]["signed"] = file["allowed"][1]["signed"].clone()),
        ("another's answer", &|file| file["allowed"][0]["answered"] = file["allowed"][1]["answered"].clone()),
        ("another record", &|file| file["allowed"][0]["answered"] = file["records"][0].clone()),
    ] {
        let mut forged = file.clone();
        forge(&mut forged);
        let found = stage.finding(&forged);
        assert!(!found.holds, "{what}: {found}");
    }
}

/// As an operator does it: checked, simulated against the books, put into the file of a running service.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_held_against_the_books_before_it_serves() {
    let mut world = World::start().await;
    let file = world.folder.path().join("policy.toml").display().to_string();
    let write = |rules: &str| {
        std::fs::write(&file, format!("purser_policy = 1\nversion = \"draft\"\n{rules}")).unwrap();
    };
    write("[[rules]]\nname = \"a\"\nverb = \"allow\"\nreview_seconds = 60\n");
    let checked = run(&["policy", "check", &file], &[]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(stdout(&checked).contains("line 4: review_cannot_reverse"), "{}", stdout(&checked));
    write(
        "[[rules]]\nname = \"known\"\nverb = \"allow\"\nwhen.first_payment = false\n[[rules]]\nname = \"first\"\nverb = \"deny\"\nwhen.first_payment = true\n",
    );
    let checked = run(&["policy", "check", &file, "--json"], &[]);
    let checked: Value = serde_json::from_str(&stdout(&checked)).unwrap();
    assert_eq!((&checked["ok"], &checked["rules"]), (&json!(true), &json!(2)));
    let mandate = world.mandate().await;
    let first = world.pay(&mandate, "one").await.unwrap();
    let offer = world.offer("two").await;
    let body = json!({ "mandate": mandate, "payment_required": offer });
    world.client.call(reqwest::Method::POST, "/v1/payments", &world.agent, Some("two"), Some(body)).await.unwrap();
    let config = world.config_file().display().to_string();
    let before = head(&world).await;
    let simulate = ["policy", "simulate", "--draft", &file, "--config", &config, "--tenant", HOME];
    let told = run(&simulate, &world.env());
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(stdout(&told).contains("allow -> deny"), "{}", stdout(&told));
    let replayed = run(&[&simulate[..], &["--json"]].concat(), &world.env());
    let replayed: Value = serde_json::from_str(&stdout(&replayed)).unwrap();
    assert_eq!((&replayed["payments"], &replayed["unchanged"]), (&json!(2), &json!(1)), "{replayed}");
    let [changed] = replayed["changed"].as_array().unwrap().as_slice() else { panic!("{replayed}") };
    assert_eq!(
        (&changed["payment"], &changed["then"], &changed["draft"]),
        (&first["id"], &json!("allow"), &json!("deny"))
    );
    assert_eq!((&changed["fired"], &changed["amount"]), (&json!(["first"]), &json!("0.01")));
    assert_eq!(replayed["digest"], checked["digest"]);
    assert_eq!(head(&world).await, before, "nothing was written");
    // Into the running service, by its file alone.
    write("[[rules]]\nname = \"nothing\"\nverb = \"deny\"\n");
    let tenant = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
    tenant.policy = Some(purser::config::PolicyConfig { file: file.clone().into() });
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    until_refused(&world, &mandate, "policy_denied").await;
    write(ASK);
    until_refused(&world, &mandate, "pending_approval").await;
}

async fn head(world: &World) -> (u64, Digest) {
    let store = purser::assembly::open_store(&world.config, &world.ring, store::Schema::Refuse).await.unwrap();
    let head = store.head(&HOME.parse().unwrap()).await.unwrap();
    store.close().await.unwrap();
    head
}

/// Under keys of its own until the service has taken up what was written.
async fn until_refused(world: &World, mandate: &str, wanted: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    loop {
        let mut offer = world.offer(&new_key()).await;
        offer["accepts"][0]["amount"] = "1".into();
        let body = json!({ "mandate": mandate, "payment_required": offer });
        let key = new_key();
        let paid = world.client.call(reqwest::Method::POST, "/v1/payments", &world.agent, Some(&key), Some(body)).await;
        if paid.as_ref().err().and_then(|error| error.code()) == Some(wanted) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{wanted} was waited for, {paid:?} came");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
