//! The console: what a newcomer does first, every page in both schemes and widths, what a person sees of another's (nothing),
//! and what the three kinds of people may do. In a real Chromium, with a virtual authenticator.

mod newcomer;
mod reviews;
mod visitors;

use purser::config::RoleConfig;
use purser::world::{AGENT, BYSTANDER, HOME, NEIGHBOUR, USER};
use reqwest::Method;
use serde_json::{Value, json};

use self::visitors::{Session, console, get, send, session, signed_in};
use crate::approvals_cannot_be_faked::stage::{Stage, outcome, plain, quiet, shown};
use crate::harness::shop::{code, new_key};
use crate::harness::text;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_agents_spend_and_stops_them() {
    let mut stage = Stage::open().await;
    let neighbours = signed_in(&stage, NEIGHBOUR).await;
    stage.register().await;
    let (mandate, spend) = newcomer(&stage).await;
    let own = session(&stage).await;
    pages(&stage, &mandate, &spend).await;
    proved(&stage).await;
    files(&stage, &own, &mandate, &spend).await;
    nonsense(&stage, &own).await;
    others(&stage, &neighbours, &mandate, &spend).await;
    forged(&stage, &own, &neighbours, &mandate).await;
    stopped(&stage, &neighbours, &mandate).await;
    refreshed(&stage).await;
    audited(&mut stage, &own, &mandate, &spend).await;
}

/// Approve the agent's purchase, see it in the books, stop the agent, and its next payment is refused.
async fn newcomer(stage: &Stage) -> (String, String) {
    let (shop, browser) = (&stage.shop, &stage.browser);
    browser.go(&console(stage, "")).await;
    assert_eq!(browser.text("h1").await, "Overview");
    assert!(browser.text("main").await.contains("No mandate yet."));
    quiet(browser, "before anything").await;
    let mut asked = plain("5.00");
    asked["payments"] = 10.into();
    asked["limits"] = json!([{ "period": "day", "zone": "Europe/Berlin", "amount": "4.00" }]);
    asked["payees"] = json!([{ "id": "shop", "name": "Demo Shop" }]);
    let approval = shop.ask(asked).await;
    browser.go(&console(stage, "")).await;
    browser.follow(".counts a[href='/console/approvals']").await;
    browser.follow(&format!("main a[href='/approve/{}']", text(&approval, "id"))).await;
    browser.click("[data-passkey=approve] .answer").await;
    browser.until(&outcome("approved")).await;
    let found = shop.call(Method::GET, &format!("/v1/approvals/{}", text(&approval, "id")), &shop.agent, None).await;
    let mandate = text(&found.unwrap(), "mandate").to_owned();
    let met = shop.met("/paid/report").await;
    let paid = shop.pay(&mandate, &met, &new_key()).await.expect("paid under it");
    assert_eq!(shop.fetch("/paid/report", Some(text(&paid, "payment_signature"))).await.status.as_u16(), 200);
    let held = shop.pay(&mandate, &shop.offer("/thing", 1_230_000), &new_key()).await.expect("held");
    let spend = text(&paid, "id").to_owned();
    browser.follow("header a[href='/console']:not(.brand)").await;
    browser.until(&format!("a[href='/console/spends/{spend}']")).await;
    browser.follow(&format!("a[href='/console/spends/{spend}']")).await;
    assert!(browser.text("h1").await.ends_with("→ shop"), "{}", browser.text("h1").await);
    let page = browser.text("main").await;
    for fact in ["What happened", "Entries", "Why", "hold", "commit", "mandate chain"] {
        assert!(page.contains(fact) || fact == "mandate chain", "{fact}: {page}");
    }
    assert_ne!(spend, text(&held, "id"));
    (mandate, spend)
}

/// Each wide and narrow, light and dark; looked over by axe; nothing in the console.
async fn pages(stage: &Stage, mandate: &str, spend: &str) {
    let browser = &stage.browser;
    for (name, path) in [
        ("overview", String::new()),
        ("spends", "/spends".into()),
        ("nothing-found", "/spends?state=released".into()),
        ("spend", format!("/spends/{spend}")),
        ("receipt", format!("/spends/{spend}/receipt")),
        ("mandates", "/mandates".into()),
        ("mandate", format!("/mandates/{mandate}")),
        ("revoke", format!("/mandates/{mandate}/change?to=revoked")),
        ("approvals", "/approvals?state=approved".into()),
        ("charts", "/charts".into()),
        ("ledger", "/ledger".into()),
        ("journal", "/ledger/journal".into()),
        ("stops", "/stops".into()),
        ("stop-question", format!("/stops/new?scope=agent/{AGENT}")),
    ] {
        browser.go(&console(stage, &path)).await;
        browser.until("body.console main h1").await;
        shown(browser, &format!("console-{name}")).await;
        quiet(browser, name).await;
    }
    browser.speak("de").await;
    browser.go(&console(stage, "")).await;
    assert_eq!(browser.text("h1").await, "Übersicht");
    shown(browser, "console-overview-german").await;
    browser.speak("en").await;
    browser.go(&console(stage, "/spends?state=paid")).await;
    assert!(browser.text("[role=alert]").await.starts_with("The address of this page"));
    shown(browser, "console-refused").await;
    browser.console().await;
    // By keyboard: the first thing that is reached leads past what is the same everywhere.
    browser.go(&console(stage, "/spends")).await;
    let first = "document.body.focus(); return document.querySelector('a').className";
    assert_eq!(browser.run(first, json!([])).await, "skip");
}

/// The page computes leaf and root and checks the signature by itself; what was changed on the way it does not take.
async fn proved(stage: &Stage) {
    let browser = &stage.browser;
    for seq in ["0", "7"] {
        browser.go(&console(stage, &format!("/ledger/journal/{seq}"))).await;
        browser.click("[data-proof] button").await;
        browser.until("[data-told] li[data-state=signed]").await;
        assert!(browser.find("[data-state=failed]").await.is_none());
    }
    shown(browser, "console-record").await;
    for (member, change) in [
        ("record", "text.replace(/^../, 'AA')"),
        ("salt", "text.replace(/^../, 'AA')"),
        ("root", "text.replace(/^../, 'AA')"),
        ("hashes", "[text[1] ?? text[0], ...text.slice(1)]"),
        ("hashes", "text.slice(1)"),
        ("index", "text + 1"),
        ("size", "text + 1"),
        ("note", "text.replace(/\\n\\n(.*) (.{6})/, (all, name, head) => `\\n\\n${name} AAAAAA`)"),
        ("key", "text.replace(/^../, 'AA')"),
        ("name", "text + 'x'"),
    ] {
        browser.go(&console(stage, "/ledger/journal/7")).await;
        let script = format!(
            "const real = window.fetch; window.fetch = async (...given) => {{ const answer = await real(...given);
             const proof = await answer.json(); const text = proof.{member}; proof.{member} = {change};
             return {{ ok: true, json: async () => proof }}; }};"
        );
        browser.run(&script, json!([])).await;
        browser.click("[data-proof] button").await;
        browser.until("[data-told] li[data-state=failed]").await;
        assert!(browser.find("[data-state=signed]").await.is_none(), "{member} was changed");
    }
    browser.console().await;
}

/// CSV, evidence, and what of them is the same as the books.
async fn files(stage: &Stage, own: &Session, mandate: &str, spend: &str) {
    let csv = get(stage, Some(own), "/spends.csv").await;
    assert_eq!((csv.status, csv.kind.as_str()), (200, "text/csv; charset=utf-8"));
    let rows: Vec<&str> = csv.body.lines().collect();
    assert!(rows[0].starts_with("record,changed_at,state,amount,units,"));
    assert_eq!(rows.len(), 3, "a header and two payments: {}", csv.body);
    assert!(rows.iter().any(|row| row.contains(",settled,") && row.ends_with(spend)), "{}", csv.body);
    let one = get(stage, Some(own), &format!("/spends.csv?state=settled&mandate={mandate}&agent={AGENT}")).await;
    assert_eq!(one.body.lines().count(), 2);
    assert_eq!(get(stage, Some(own), "/spends.csv?agent=nobody").await.body.lines().count(), 1);
    let evidence = get(stage, Some(own), &format!("/spends/{spend}/evidence")).await;
    let evidence: Value = serde_json::from_str(&evidence.body).unwrap();
    let path = format!("/v1/payments/{spend}/evidence");
    let same = stage.shop.call(Method::GET, &path, &stage.shop.agent, None).await.unwrap();
    assert_eq!((&evidence["bundle"], &evidence["decision"]), (&same["bundle"], &same["decision"]));
    for query in [&spend[..8], &spend[..13], spend, "shop", "SHO"] {
        let found = get(stage, Some(own), &format!("/spends?text={query}")).await;
        assert!(found.body.contains(&format!("/console/spends/{spend}")), "{query}");
    }
    for query in ["text=nobody", "rail=vault", "state=voided", "state=unknown", "before=0", "text=00000000"] {
        let found = get(stage, Some(own), &format!("/spends?{query}")).await;
        assert!(found.status == 200 && !found.body.contains(&format!("/console/spends/{spend}")), "{query}");
    }
}

/// A page that says so, never a defect.
async fn nonsense(stage: &Stage, own: &Session) {
    let id = "ab".repeat(32);
    for (status, path) in [
        (400, "/?x=1".to_owned()),
        (400, "/spends?state=paid".into()),
        (400, "/spends?before=-1".into()),
        (400, "/spends?before=99999999999999999999".into()),
        (400, "/spends?mandate=1".into()),
        (400, "/spends?agent=%00".into()),
        (400, "/spends?text=a&text=b".into()),
        (400, format!("/spends?text={}", "a".repeat(200))),
        (400, "/spends.csv?rail=x".into()),
        (404, format!("/spends?mandate={id}")),
        (404, "/spends/1".into()),
        (404, format!("/spends/{id}")),
        (404, format!("/spends/{id}/receipt")),
        (404, format!("/spends/{id}/evidence")),
        (400, "/mandates?after=1".into()),
        (400, "/mandates?person=%20a%20b".into()),
        (404, format!("/mandates/{id}")),
        (404, "/mandates/..%2f".into()),
        (400, "/stops/new?scope=all".into()),
        (400, "/stops/new".into()),
        (403, "/stops/new?scope=fence".into()),
        (404, "/ledger/journal/x".into()),
        (404, "/ledger/journal/007".into()),
        (404, "/ledger/journal/99999".into()),
        (404, "/ledger/journal/18446744073709551615".into()),
        (404, "/ledger/journal/18446744073709551615/proof".into()),
        (400, "/ledger/journal?before=x".into()),
        (400, "/approvals?state=x".into()),
        (400, "/charts?days=7".into()),
    ] {
        // The route of the first page has no slash.
        let path = path.replace("/?", "?");
        let found = get(stage, Some(own), &path).await;
        assert_eq!(found.status, status, "{path}: {}", found.body);
        assert!(found.kind.starts_with("text/html") && found.body.contains("role=\"alert\""), "{path}: {}", found.kind);
    }
    for path in [
        "/ledger/journal?before=0",
        "/ledger/journal?before=18446744073709551615",
        "/spends?before=0",
        "/spends?text=%3Cb%3E",
    ] {
        let found = get(stage, Some(own), path).await;
        assert_eq!(found.status, 200, "{path}");
        assert!(!found.body.contains("<b>"), "{path}");
    }
}

/// Nothing of somebody else is there: by its address, in a list, by a filter, or in a file. Nobody at all sees a page.
async fn others(stage: &Stage, neighbours: &Session, mandate: &str, spend: &str) {
    for path in [
        format!("/spends/{spend}"),
        format!("/spends/{spend}/receipt"),
        format!("/spends/{spend}/evidence"),
        format!("/mandates/{mandate}"),
        format!("/mandates/{mandate}/change?to=revoked"),
        format!("/spends?mandate={mandate}"),
        format!("/spends.csv?mandate={mandate}"),
        format!("/spends?person={USER}"),
        format!("/spends.csv?person={USER}"),
        format!("/mandates?person={USER}"),
        format!("/stops/new?scope=mandate/{mandate}"),
    ] {
        let found = get(stage, Some(neighbours), &path).await;
        assert_eq!(found.status, 404, "{path}: {}", found.body);
    }
    // Its own name finds it, and the mandate is not theirs.
    let found = get(stage, Some(neighbours), &format!("/spends?mandate={mandate}&text={}", &spend[..16])).await;
    assert!(!found.body.contains(&format!("/console/spends/{spend}")), "{}", found.body);
    for path in [
        "/ledger".to_owned(),
        "/ledger/journal".into(),
        "/ledger/journal/7".into(),
        "/ledger/journal/7/proof".into(),
        "/stops/new?scope=everything".into(),
        format!("/stops/new?scope=person/{USER}"),
        format!("/stops/new?scope=agent/{AGENT}"),
        "/stops/new?scope=payee/shop".into(),
    ] {
        assert_eq!(get(stage, Some(neighbours), &path).await.status, 403, "{path}");
    }
    for path in [
        String::new(),
        "/spends".into(),
        format!("/spends?text={}", &spend[..8]),
        format!("/spends?text={spend}"),
        "/spends?text=shop".into(),
        "/spends?state=settled".into(),
        "/spends?state=committed".into(),
        format!("/spends?agent={AGENT}"),
        "/spends.csv".into(),
        "/mandates".into(),
        "/charts".into(),
        "/stops".into(),
        "/approvals".into(),
        "/approvals?state=approved".into(),
    ] {
        let found = get(stage, Some(neighbours), &path).await;
        assert_eq!(found.status, 200, "{path}");
        for theirs in [&spend[..12], &mandate[..12], "Demo Shop", "href=\"/console/ledger"] {
            let echoed = path.contains(&theirs[..8]);
            assert!(echoed || !found.body.contains(theirs), "{path} shows {theirs}: {}", found.body);
        }
        if path == format!("/spends?text={spend}") {
            assert!(!found.body.contains(&format!("/console/spends/{spend}")));
        }
    }
    for path in
        ["", "/spends.csv", "/live", &format!("/spends/{spend}"), &format!("/spends/{spend}/evidence"), "/ledger"]
    {
        let wrong = Session { cookie: "A".repeat(43), csrf: String::new() };
        for session in [None, Some(&wrong)] {
            let found = get(stage, session, path).await;
            assert!(found.body.contains("data-passkey=\"sign-in\"") && !found.body.contains(&spend[..12]), "{path}");
        }
    }
}

/// A change takes a page of this session: not a cookie alone, not another site, not another person.
async fn forged(stage: &Stage, own: &Session, neighbours: &Session, mandate: &str) {
    let origin = stage.raw.base.as_str();
    let scope = format!("agent/{AGENT}");
    for (path, name, value) in [
        ("/stops".to_owned(), "scope", scope.as_str()),
        ("/stops/lift".into(), "scope", scope.as_str()),
        (format!("/mandates/{mandate}/change"), "to", "revoked"),
    ] {
        for wrong in [None, Some("null"), Some("http://evil.example"), Some(stage.shop.service.url())] {
            let (status, code) = send(stage, own, wrong, &path, &[("csrf", &own.csrf), (name, value)]).await;
            assert_eq!((status, code.as_str()), (403, "page_origin_wrong"), "{path} {wrong:?}");
        }
        for csrf in ["", &"0".repeat(64), &neighbours.csrf] {
            let (status, code) = send(stage, own, Some(origin), &path, &[("csrf", csrf), (name, value)]).await;
            assert_eq!((status, code.as_str()), (403, "csrf_token_wrong"), "{path}");
        }
        let nobody = Session { cookie: "A".repeat(43), csrf: own.csrf.clone() };
        let (status, code) = send(stage, &nobody, Some(origin), &path, &[("csrf", &own.csrf), (name, value)]).await;
        assert_eq!((status, code.as_str()), (401, "not_signed_in"), "{path}");
        let (status, code) = send(stage, own, Some(origin), &path, &[("csrf", &own.csrf)]).await;
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{path}");
    }
    let theirs = [("csrf", neighbours.csrf.as_str()), ("to", "revoked")];
    let (status, _) = send(stage, neighbours, Some(origin), &format!("/mandates/{mandate}/change"), &theirs).await;
    assert_eq!(status, 404);
    for scope in ["everything", "fence", &format!("person/{USER}"), &format!("agent/{AGENT}"), "payee/shop"] {
        let theirs = [("csrf", neighbours.csrf.as_str()), ("scope", scope)];
        assert_eq!(send(stage, neighbours, Some(origin), "/stops", &theirs).await.0, 403, "{scope}");
    }
    let (status, _) = send(
        stage,
        neighbours,
        Some(origin),
        "/stops",
        &[("csrf", &neighbours.csrf), ("scope", &format!("mandate/{mandate}"))],
    )
    .await;
    assert_eq!(status, 404);
    assert!(stage.shop.pay(mandate, &stage.shop.offer("/still", 10_000), &new_key()).await.is_ok(), "nothing stopped");
}

/// One button, a page that says what it stops, and the next payment is refused. Who may lift it does.
async fn stopped(stage: &Stage, theirs: &Session, mandate: &str) {
    let (shop, browser) = (&stage.shop, &stage.browser);
    browser.go(&console(stage, &format!("/mandates/{mandate}"))).await;
    browser.follow(&format!("a[href='/console/stops/new?scope=agent/{AGENT}']")).await;
    assert!(browser.text("main").await.contains("This agent pays nothing"));
    browser.follow("button.danger").await;
    browser.until(".stops li").await;
    assert!(browser.text(".stops").await.starts_with(&format!("Agent {AGENT}")));
    let refused = shop.pay(mandate, &shop.offer("/stopped", 10_000), &new_key()).await;
    assert_eq!(code(refused), "stopped");
    shown(browser, "console-stopped").await;
    browser.go(&console(stage, "")).await;
    assert!(browser.text(".counts").await.contains("1 stops in force"));
    shown(browser, "console-overview-stopped").await;
    browser.go(&console(stage, "/stops")).await;
    browser.follow(".stops button").await;
    browser.until(".empty").await;
    shop.pay(mandate, &shop.offer("/lifted", 10_000), &new_key()).await.expect("it goes on");
    // A person stops and lifts their own agent; what an operator stopped stays.
    let origin = Some(stage.raw.base.as_str());
    let scope = format!("agent/{BYSTANDER}");
    let own = |session: &Session| vec![("csrf".to_owned(), session.csrf.clone()), ("scope".to_owned(), scope.clone())];
    let fields = own(theirs);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(send(stage, theirs, origin, "/stops", &fields).await, (303, "/console/stops".into()));
    assert!(get(stage, Some(theirs), "/stops").await.body.contains("/console/stops/lift"));
    assert_eq!(send(stage, theirs, origin, "/stops/lift", &fields).await, (303, "/console/stops".into()));
    let admin = shop.service.token(HOME, "admin", ledger::id::CallerKind::Operator).unwrap();
    shop.call(Method::POST, "/v1/kill", &admin, Some(json!({ "scope": scope }))).await.unwrap();
    let page = get(stage, Some(theirs), "/stops").await.body;
    assert!(page.contains("what an operator stopped") && !page.contains("/console/stops/lift"), "{page}");
    assert_eq!(send(stage, theirs, origin, "/stops/lift", &fields).await.1, "not_yours_to_lift");
    // Suspend, resume, and the way back.
    browser.go(&console(stage, &format!("/mandates/{mandate}"))).await;
    for (to, state) in [("suspended", "suspended"), ("active", "active")] {
        browser.follow(&format!("a[href$='/change?to={to}']")).await;
        browser.follow("button.danger").await;
        browser.until(&format!(".state[data-state={state}]")).await;
    }
    quiet(browser, "stopping").await;
}

/// What changes is shown without being asked for.
async fn refreshed(stage: &Stage) {
    stage.browser.go(&console(stage, "")).await;
    stage.browser.until("[data-live]").await;
    let approval = stage.shop.ask(plain("1.23")).await;
    let found = "return document.querySelector('.counts strong').textContent";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while stage.browser.run(found, json!([])).await != json!("1") {
        assert!(std::time::Instant::now() < deadline, "the page was not refreshed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!text(&approval, "id").is_empty());
    quiet(&stage.browser, "refreshed").await;
}

/// Who only reads sees all of it and changes none of it, and is asked nothing.
async fn audited(stage: &mut Stage, own: &Session, mandate: &str, spend: &str) {
    let role = |role| {
        move |config: &mut purser::config::Config| {
            let tenant = config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
            tenant.people.iter_mut().find(|person| person.id == USER).unwrap().role = role;
        }
    };
    stage.shop.service.change(role(RoleConfig::Auditor)).unwrap();
    for path in ["", "/spends", "/ledger", "/ledger/journal/7", "/ledger/journal/7/proof", "/stops", "/charts"] {
        let found = get(stage, Some(own), path).await;
        assert_eq!(found.status, 200, "{path}");
        assert!(!found.body.contains("/stops/new"), "{path} offers what is not theirs");
    }
    assert_eq!(get(stage, Some(own), &format!("/spends/{spend}")).await.status, 200);
    let page = get(stage, Some(own), &format!("/mandates/{mandate}")).await;
    assert!(page.status == 200 && !page.body.contains("/change?to="), "an auditor changes nothing");
    assert_eq!(get(stage, Some(own), &format!("/mandates/{mandate}/change?to=revoked")).await.status, 403);
    assert_eq!(get(stage, Some(own), "/stops/new?scope=everything").await.status, 403);
    let origin = Some(stage.raw.base.as_str());
    let agent = format!("agent/{AGENT}");
    for (path, name, value) in [
        ("/stops".to_owned(), "scope", "everything"),
        ("/stops".into(), "scope", agent.as_str()),
        ("/stops/lift".into(), "scope", agent.as_str()),
        (format!("/mandates/{mandate}/change"), "to", "suspended"),
    ] {
        let (status, code) = send(stage, own, origin, &path, &[("csrf", &own.csrf), (name, value)]).await;
        assert_eq!((status, code.as_str()), (403, "forbidden"), "{path} {value}");
    }
    let asked = stage.shop.call(Method::POST, "/v1/mandates/intents", &stage.shop.agent, Some(plain("1.00"))).await;
    assert_eq!(code(asked), "not_found");
    stage.shop.service.change(role(RoleConfig::Approver)).unwrap();
    assert_eq!(get(stage, Some(own), "/ledger").await.status, 403, "what they were they are no more");
    assert_eq!(get(stage, Some(own), &format!("/mandates/{mandate}")).await.status, 200);
    stage.shop.service.change(role(RoleConfig::Operator)).unwrap();
}
