//! Promise 4: the books balance and never change; they agree with the chain to the unit.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use ledger::id::CallerKind;
use ledger::store::{Store, Verification};
use purser::ledger::TrialBalance;
use purser::world::{CARRIER, HOME, SHOP, shop_address};
use reqwest::Method;
use serde_json::{Value, json};
use x402::chain::{At, Chain};

use crate::harness::shop::{Shop, code, intent, new_key};
use crate::harness::text;
use crate::harness::world::World;

/// Settled, held, refused and free things, so that every table has rows.
async fn mixed_run(shop: &Shop) {
    let mandate = shop.mandate(intent()).await;
    for path in ["/paid/report", "/paid/note", "/paid/dataset"] {
        let payment = shop.pay(&mandate, &shop.met(path).await, &new_key()).await.expect("a payment");
        assert_eq!(shop.fetch(path, Some(text(&payment, "payment_signature"))).await.status.as_u16(), 200);
        let outcome = format!("/v1/payments/{}/outcome", text(&payment, "id"));
        let spend = shop.call(reqwest::Method::POST, &outcome, &shop.agent, Some(json!({}))).await.unwrap();
        assert_eq!(spend["state"], "settled");
    }
    shop.pay(&mandate, &shop.offer("/held", 10_000), &new_key()).await.expect("one that stays open");
    let refused = shop.pay(&mandate, &shop.offer("/dear", 2_990_000_000), &new_key()).await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn books_and_chain_agree_to_the_unit() {
    let shop = Shop::open().await;
    mixed_run(&shop).await;
    for (name, owner) in [(HOME, shop.service.wallet()), (SHOP, shop_address())] {
        let tenant = shop.service.tenant(name).unwrap();
        let trial = TrialBalance::read(shop.service.store(), &tenant).await.unwrap();
        assert!(trial.is_balanced(), "{:?}", trial.totals);
        let wallet = format!("wallet/eip155:31337:{owner:#x}");
        let booked =
            trial.accounts.iter().find(|entry| entry.account.to_string() == wallet).expect("the wallet's account");
        let booked = booked.balance.net(booked.account.class()).to_string();
        let chain = shop.service.rpc().balance_of(chain::token::ADDRESS, owner, At::Latest).await.unwrap();
        assert_eq!(booked, chain.to_string(), "{name}");
    }
    for name in [HOME, SHOP, CARRIER] {
        let verification = shop.service.store().verify(&shop.service.tenant(name).unwrap()).await.unwrap();
        assert!(matches!(verification, Verification::Sound { entries, .. } if entries > 0), "{name}: {verification:?}");
    }
}

/// A second program at the file, with its own defaults.
fn sqlite3(file: &Path, sql: &str) -> (bool, String) {
    let output =
        Command::new("sqlite3").arg(file).arg(sql).output().expect("the sqlite3 shell (tests/run installs it)");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_to_change_what_was_written() {
    let shop = Shop::open().await;
    mixed_run(&shop).await;
    let file = shop.service.database().file().unwrap();
    let (readable, rows) = sqlite3(file, "SELECT count(*) FROM journal");
    assert!(readable && rows.trim().parse::<u32>().unwrap() > 10, "{rows}");
    for sql in [
        "UPDATE journal SET bytes = x'00' WHERE seq = 3",
        "DELETE FROM journal WHERE seq = 3",
        "DELETE FROM journal",
        "INSERT OR REPLACE INTO journal SELECT * FROM journal WHERE seq = 3",
        "UPDATE transfer SET amount = x'00000000000000000000000000000000'",
        "DELETE FROM transfer",
        "DELETE FROM claim",
        "DELETE FROM document",
    ] {
        let (went_through, said) = sqlite3(file, sql);
        assert!(!went_through, "{sql} went through: {said}");
    }
    let verification = shop.service.store().verify(&shop.service.tenant(HOME).unwrap()).await.unwrap();
    assert!(matches!(verification, Verification::Sound { .. }), "{verification:?}");
}

/// A byte flipped in a copy of the file, in the middle of a record that stands in it, is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_found() {
    let shop = Shop::open().await;
    mixed_run(&shop).await;
    let file = shop.service.database().file().unwrap();
    let (checkpointed, said) = sqlite3(file, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert!(checkpointed, "{said}");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    let (copied, said) = sqlite3(file, &format!("VACUUM INTO '{}'", copy.display()));
    assert!(copied, "{said}");
    let (_, record) = sqlite3(&copy, "SELECT hex(bytes) FROM journal WHERE tenant = 'home' AND seq = 6");
    let record = hex::decode(record.trim()).expect("a record");
    let mut bytes = Vec::new();
    std::fs::File::open(&copy).unwrap().read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(record.len()).position(|window| window == record).expect("the record stands in the file");
    let middle = u64::try_from(at + record.len() / 2).unwrap();
    let mut handle = std::fs::OpenOptions::new().write(true).open(&copy).unwrap();
    handle.seek(SeekFrom::Start(middle)).unwrap();
    handle.write_all(&[bytes[usize::try_from(middle).unwrap()] ^ 1]).unwrap();
    drop(handle);
    let salts = shop.service.salts().expect("the salts");
    let opened =
        store::SqlStore::open(copy.as_path(), salts, store::Options::new(store::Schema::Refuse)).await.unwrap();
    match opened.verify(&shop.service.tenant(HOME).unwrap()).await {
        Ok(Verification::Broken { seq, reason }) => assert_eq!(seq, 6, "it says where: {reason}"),
        other => panic!("a flipped byte was not found: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reads_the_books_and_an_agent_does_not() {
    let shop = Shop::open().await;
    mixed_run(&shop).await;
    let admin = shop.service.token(HOME, "admin", ledger::id::CallerKind::Operator).unwrap();
    let get = reqwest::Method::GET;
    let trial = shop.call(get.clone(), "/v1/ledger/trial-balance", &admin, None).await.unwrap();
    assert_eq!(trial["balanced"], true);
    let transfers = shop.call(get.clone(), "/v1/ledger/transfers", &admin, None).await.unwrap();
    assert!(transfers["transfers"].as_array().is_some_and(|all| all.len() > 5), "{transfers}");
    for path in ["/v1/ledger/accounts", "/v1/ledger/journal", "/v1/ledger/transfers", "/v1/ledger/trial-balance"] {
        let refused = crate::harness::shop::refused(shop.call(get.clone(), path, &shop.agent, None).await);
        assert_eq!(refused.0, 403, "{path}");
    }
    let limits: [&str; 4] = ["limit=0", "limit=100000", "from=x", "cursor=7"];
    for query in limits {
        let path = format!("/v1/ledger/journal?{query}");
        assert_eq!(crate::harness::shop::refused(shop.call(get.clone(), &path, &admin, None).await).0, 400, "{query}");
    }
    let _: Value = trial;
}

/// What happened is told in the order in which it happened, once for whoever keeps their place, to those who may know.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_events_hears_all_of_them() {
    let shop = Shop::open().await;
    let user = shop.user.clone();
    let events = async |query: String| shop.call(Method::GET, &format!("/v1/events{query}"), &user, None).await;
    let begun = text(&events(String::new()).await.unwrap(), "cursor").to_owned();
    mixed_run(&shop).await;
    let (mut heard, mut cursor) = (Vec::<Value>::new(), begun.clone());
    loop {
        let page = events(format!("?cursor={cursor}&limit=3")).await.unwrap();
        cursor = text(&page, "cursor").to_owned();
        match page["events"].as_array().unwrap() {
            page if page.is_empty() => break,
            page => heard.extend(page.iter().cloned()),
        }
    }
    let types: Vec<&str> = heard.iter().map(|event| text(event, "type")).collect();
    let opening = ["approval.requested", "approval.decided", "mandate.opened", "payment.held", "payment.committed"];
    assert_eq!(types[..5], opening, "{types:?}");
    assert_eq!(types.iter().filter(|kind| **kind == "payment.settled").count(), 3, "{types:?}");
    assert_eq!(types[types.len() - 2..], ["payment.held", "payment.committed"], "what stays open: {types:?}");
    let all = events(format!("?cursor={begun}")).await.unwrap();
    assert_eq!(all["events"].as_array(), Some(&heard), "told again to whoever asks again");
    for event in &heard {
        assert_eq!((text(event, "specversion"), event["time"].is_string()), ("1.0", true), "{event}");
    }
    let settled = heard.iter().find(|event| event["type"] == "payment.settled").unwrap();
    let spend = format!("/v1/payments/{}", text(settled, "subject"));
    let spend = shop.call(Method::GET, &spend, &shop.user, None).await.unwrap();
    assert_eq!((&spend["state"], &spend["mandate"]), (&json!("settled"), &settled["data"]["mandate"]));

    for cursor in ["x", "1-0", "e1", "e-1-0", "e1-", "e+1-0", "e01-0", "e1-65536", "e99999999999999999999-0", "%00"] {
        let refused = events(format!("?cursor={cursor}")).await;
        assert_eq!(code(refused), "invalid_request", "{cursor}");
    }
    for query in ["?limit=0", "?limit=501", "?limit=-1", "?limit=x", "?since=1", "?cursor=e1-0&cursor=e2-0"] {
        assert_eq!(code(events(query.to_owned()).await), "invalid_request", "{query}");
    }
    let agent = shop.call(Method::GET, "/v1/events", &shop.agent, None).await;
    assert_eq!(code(agent), "forbidden");
    let elsewhere = shop.call(Method::GET, "/v1/events", &shop.merchant, None).await;
    assert_eq!(code(elsewhere), "forbidden", "another tenant's events least of all");
}

/// Every list, page by page, is the whole of it: nothing twice, nothing missed, in an order that stays.
#[tokio::test(flavor = "multi_thread")]
async fn pages_join_to_the_whole() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let begun = store::wall_clock()().seconds();
    for number in 0..7 {
        shop.pay(&mandate, &shop.offer(&format!("/paged/{number}"), 10_000), &new_key()).await.expect("a payment");
        let mut asked = intent();
        asked["description"] = format!("question {number}").into();
        shop.ask(asked).await;
    }
    let get = async |path: &str, query: String| {
        shop.call(Method::GET, &format!("{path}?{query}"), &shop.user, None).await.map_err(|error| error.to_string())
    };
    let lists = [
        (format!("/v1/mandates/{mandate}/spend"), "spends"),
        ("/v1/approvals".to_owned(), "approvals"),
        ("/v1/ledger/journal".to_owned(), "records"),
        ("/v1/ledger/transfers".to_owned(), "transfers"),
        ("/v1/ledger/accounts".to_owned(), "accounts"),
    ];
    for (path, name) in &lists {
        let whole = get(path, "limit=500".into()).await.unwrap()[name].as_array().unwrap().clone();
        assert!(whole.len() >= 4, "{path}: {whole:?}");
        let (mut joined, mut query, mut pages) = (Vec::new(), "limit=3".to_owned(), 0);
        loop {
            let page = get(path, query.clone()).await.unwrap();
            joined.extend(page[name].as_array().unwrap().iter().cloned());
            pages += 1;
            if pages == 1 && *name == "spends" {
                // What is written between two pages is for the next reader.
                shop.pay(&mandate, &shop.offer("/late", 10_000), &new_key()).await.expect("a payment");
            }
            match page["next"].as_str() {
                Some(next) => query = format!("limit=3&cursor={next}"),
                None => break,
            }
        }
        assert!(pages > 1 && joined == whole, "{path} in {pages} pages");
    }
    let (from, later) = (format!("from={begun}"), format!("from={}", begun + 3_600));
    for (path, name) in &lists[..4] {
        let count = async |query: String| get(path, query).await.unwrap()[name].as_array().unwrap().len();
        assert!(count(from.clone()).await >= 7, "{path}");
        assert_eq!(count(later.clone()).await, 0, "{path}");
        assert_eq!(count(format!("to={}", begun - 3_600)).await, 0, "{path}");
        assert_eq!(count(format!("from={begun}&to={begun}")).await, 0, "{path}: an instant is no time");
        assert!(get(path, "from=2&to=1".into()).await.unwrap_err().contains("invalid_request"), "{path}");
    }
    let spends = get(&lists[0].0, "limit=1".into()).await.unwrap();
    let cursor = text(&spends, "next");
    assert!(get("/v1/ledger/journal", format!("cursor={cursor}")).await.unwrap_err().contains("invalid_request"));
    let denied = get("/v1/approvals", "state=approved".into()).await.unwrap();
    assert_eq!(denied["approvals"].as_array().map(Vec::len), Some(1));
    assert!(get("/v1/approvals", "state=maybe".into()).await.is_err());
}

/// What an account was is what its records before an instant come to; the figures of now do not depend on how one asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_balance_is_known_for_every_instant() {
    let shop = Shop::open().await;
    let admin = shop.service.token(HOME, "admin", CallerKind::Operator).unwrap();
    let get = async |path: &str, token: &str| shop.call(Method::GET, path, token, None).await;
    let wallet = async || {
        let listed = get("/v1/ledger/accounts", &admin).await.unwrap();
        let accounts = listed["accounts"].as_array().unwrap().clone();
        accounts.into_iter().find(|entry| text(entry, "account").starts_with("wallet/")).expect("the wallet's account")
    };
    let before = wallet().await;
    let path = format!("/v1/ledger/accounts/{}/balance", text(&before, "id"));
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let between = store::wall_clock()().seconds();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    mixed_run(&shop).await;
    let now = wallet().await;
    assert_ne!(now["balance"], before["balance"]);
    for (query, expected) in [
        (String::new(), &now["balance"]),
        (format!("?at={}", between + 3_600), &now["balance"]),
        (format!("?at={between}"), &before["balance"]),
        ("?at=0".to_owned(), &json!("0")),
        ("?at=-5".to_owned(), &json!("0")),
    ] {
        let found = get(&format!("{path}{query}"), &admin).await.unwrap();
        assert_eq!(&found["balance"], expected, "{query}: {found}");
    }
    let then = get(&format!("/v1/ledger/trial-balance?at={between}"), &admin).await.unwrap();
    assert_eq!(then["balanced"], true);
    assert!(then["accounts"].as_array().unwrap().len() < 4, "no payment had been made: {then}");
    for (path, expected) in [
        (format!("{path}?at=soon"), "invalid_request"),
        (format!("{path}?at=1&at=2"), "invalid_request"),
        (format!("{path}?from=1"), "invalid_request"),
        ("/v1/ledger/accounts/none/balance".to_owned(), "not_found"),
        ("/v1/ledger/accounts/%00/balance?at=1".to_owned(), "not_found"),
    ] {
        assert_eq!(code(get(&path, &admin).await), expected, "{path}");
    }
    assert_eq!(code(get(&path, &shop.agent).await), "forbidden");
}

/// An operator finds what is open and what nobody can account for, and the exit code says whether there is any.
#[tokio::test(flavor = "multi_thread")]
async fn payments_are_found_by_their_state() {
    let world = World::start().await;
    let file = world.config_file().display().to_string();
    let spends = |more: &[&str]| {
        let args: Vec<&str> = ["spends", "--config", &file].iter().chain(more).copied().collect();
        let output = crate::harness::process::run(&args, &world.env());
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), told)
    };
    assert_eq!(spends(&[]), (Some(0), String::new()));
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, "open").await.unwrap();
    let id = text(&payment, "id");
    let (code, told) = spends(&[]);
    assert!(code == Some(1) && told.contains(id) && told.contains("committed"), "{told}");
    let (code, told) = spends(&["--json", "--state", "committed"]);
    let line: Value = serde_json::from_str(told.trim()).unwrap();
    assert!(code == Some(1) && line["id"] == id && line["amount"] == "10000", "{told}");
    assert_eq!(spends(&["--state", "unknown"]).0, Some(0));
    assert_eq!(spends(&["--older-than", "3600"]).0, Some(0));
    let (code, told) = spends(&["--state", "lost"]);
    assert!(code == Some(1) && told.contains("`lost` is no state"), "{told}");
    assert_eq!(world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap().status.as_u16(), 200);
    world.until(id, "settled").await;
    assert_eq!(spends(&[]).0, Some(0));
    assert!(spends(&["--state", "settled"]).1.contains(id));
}
