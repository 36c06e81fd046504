//! How checkouts end though nobody asks: by what the book says of one that a process left, and by being taken out. And nobody
//! fills the shop.

use commerce::store::{Counts, SessionWrite, Sessions as _, Written};
use ledger::id::TenantId;
use purser::dev::DevOptions;
use purser::world::{HOME, SHOP};
use reqwest::Method;
use serde_json::{Value, json};

use super::cards::{complete, session, token};
use crate::harness::checkout::{Answer, Platform, ucp_items, ucp_mandates};
use crate::harness::closing::figures;
use crate::harness::shop::{intent, new_key};
use crate::harness::text;
use crate::harness::vault::post;

fn shop() -> TenantId {
    SHOP.parse().unwrap()
}

/// Nobody sweeps there but the test, which counts.
async fn unswept(shop_sessions_max: Option<u64>) -> Platform {
    let options = DevOptions { shop_sessions_max, sweep_millis: Some(3_600_000), ..DevOptions::default() };
    Platform::open_with(options).await
}

/// The document of a session as it lies, changed by hand: what a process that died would have left.
async fn rewrite(platform: &Platform, id: &str, change: impl Fn(&mut Value)) {
    let store = platform.shop.service.store();
    let kept = store.session(&shop(), id).await.unwrap().expect("a session");
    let mut document: Value = serde_json::from_slice(&kept.document).unwrap();
    change(&mut document);
    let document = document.to_string().into_bytes();
    let (id, from, counts) = (id.to_owned(), kept.revision, Counts::AsBefore);
    let write = SessionWrite { id, from, document, due: 0, counts, order: None };
    assert_eq!(store.write(&shop(), Some(write), None).await.unwrap(), Written::Done);
}

/// Claimed an hour ago, and nobody went on.
fn left(document: &mut Value, now: i64) {
    document["session"]["status"] = "complete_in_progress".into();
    document["session"]["updated_at"] = (now - 3_600).into();
    if document["session"]["order"].is_null() {
        document["session"]["order"] = json!({ "id": "order_left", "url": "https://shop.example/orders/order_left" });
    }
    if document["claim"].is_null() {
        document["claim"] = "somebody's".into();
    }
    document["receipts"] = Value::Null;
}

async fn sweep(platform: &Platform) -> u32 {
    platform.shop.service.engine().sweep_checkouts(&shop()).await.unwrap()
}

async fn shown(platform: &Platform, session: &Value) -> Answer {
    platform.acp(Method::GET, &format!("/{}", text(session, "id")), None).await
}

/// The merchant redeems by itself, under a key of its own.
async fn capture(platform: &Platform, token: &str, session: &Value, cents: u64) {
    let url = platform.shop.url("/v1/vault/capture");
    let body = json!({ "token": token, "amount": cents, "currency": "usd", "checkout_session_id": session["id"] });
    let key = new_key();
    let answer = post(&url, &platform.shop.merchant, &[("Idempotency-Key", &key)], body.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_under_another_key_is_the_truth_of_a_session() {
    let platform = unswept(None).await;
    let mandate = platform.shop.mandate(intent()).await;
    let (whole, part, other) = (session(&platform, 1).await, session(&platform, 2).await, session(&platform, 1).await);
    let (first, second) = (
        token(&platform, &mandate, &whole, 100, json!({})).await,
        token(&platform, &mandate, &whole, 100, json!({})).await,
    );
    let scant = token(&platform, &mandate, &part, 200, json!({})).await;
    capture(&platform, &first, &whole, 100).await;
    capture(&platform, &scant, &part, 150).await;

    // Half of a price is none, and what paid for one session pays for no other.
    for (bought, token) in [(&part, &scant), (&other, &first), (&other, &scant)] {
        let answer = complete(&platform, bought, token, &new_key()).await;
        assert_eq!(answer.code(), "payment_declined", "{}", answer.body);
        assert_eq!(text(&answer.body, "status"), "ready_for_payment");
    }
    // A second token finds that it is not needed.
    let done = complete(&platform, &whole, &second, &new_key()).await;
    assert_eq!((done.status, text(&done.body, "status")), (200, "completed"), "{}", done.body);
    assert_eq!(figures(&platform.shop, &mandate).await, ("1.00".into(), "2.50".into()), "nothing more was taken");

    // What was given back pays for nothing.
    let returned = session(&platform, 1).await;
    let again = token(&platform, &mandate, &returned, 100, json!({})).await;
    capture(&platform, &again, &returned, 100).await;
    let (url, body) = (platform.shop.url("/v1/vault/refund"), json!({ "token": again, "amount": 1 }));
    let key = new_key();
    let back = post(&url, &platform.shop.merchant, &[("Idempotency-Key", &key)], body.to_string().into_bytes()).await;
    assert_eq!(back.status, 200, "{back:?}");
    let answer = complete(&platform, &returned, &again, &new_key()).await;
    assert_eq!(answer.code(), "payment_declined", "{}", answer.body);
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_fence_nobody_says_that_a_session_is_not_paid_for() {
    // The vault's book, then the shop's: neither knows what was paid since its backup.
    for fenced in [HOME, SHOP] {
        let platform = unswept(None).await;
        let (unpaid, now) = (session(&platform, 1).await, platform.now());
        platform.shop.service.engine().fence(&fenced.parse().unwrap()).await.unwrap();
        rewrite(&platform, text(&unpaid, "id"), |document| left(document, now)).await;
        assert_eq!(sweep(&platform).await, 0, "{fenced}");
        assert_eq!(text(&shown(&platform, &unpaid).await.body, "status"), "complete_in_progress", "{fenced}");
        platform.shop.service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_finished_ends_by_what_the_book_says() {
    let platform = unswept(None).await;
    let mandate = platform.shop.mandate(intent()).await;
    let (paid, unpaid, young) = (session(&platform, 1).await, session(&platform, 1).await, session(&platform, 1).await);
    let taken = token(&platform, &mandate, &paid, 100, json!({})).await;
    capture(&platform, &taken, &paid, 100).await;
    let now = platform.now();
    for one in [&paid, &unpaid] {
        rewrite(&platform, text(one, "id"), |document| left(document, now)).await;
    }
    rewrite(&platform, text(&young, "id"), |document| {
        left(document, now);
        document["session"]["updated_at"] = now.into();
    })
    .await;
    let busy = complete(&platform, &unpaid, "vt_another", &new_key()).await;
    assert_eq!(busy.said(), (409, "complete_in_progress"), "nobody else completes it meanwhile");
    assert_eq!(sweep(&platform).await, 2);
    assert_eq!(text(&shown(&platform, &paid).await.body, "status"), "completed");
    let open = shown(&platform, &unpaid).await.body;
    assert_eq!((text(&open, "status"), text(&open["messages"][0], "code")), ("ready_for_payment", "payment_declined"));
    assert!(open.get("order").is_none(), "{open}");
    assert_eq!(text(&shown(&platform, &young).await.body, "status"), "complete_in_progress", "its process may live");
    assert_eq!(sweep(&platform).await, 0);
    let good = token(&platform, &mandate, &unpaid, 100, json!({})).await;
    let done = complete(&platform, &unpaid, &good, &new_key()).await;
    assert_eq!(text(&done.body, "status"), "completed", "{}", done.body);

    by_mandate(&platform, now).await;
    platform.shop.service.stop().await;
}

/// Paid by mandates: both acceptances are in the book, one is, none is.
async fn by_mandate(platform: &Platform, now: i64) {
    let mandate = platform.shop.mandate(intent()).await;
    let bought = platform.open_ucp().await;
    let closed = platform.chained(&mandate, &bought).await;
    let (checkout, payment) = (text(&closed, "checkout_mandate"), text(&closed, "payment_mandate"));
    let done = platform.complete(&bought, checkout, payment).await;
    assert_eq!(text(&done.body, "status"), "completed", "{}", done.body);
    let id = text(&bought, "id");
    let find = async || platform.ucp(Method::GET, &format!("/{id}"), None).await.body;
    rewrite(platform, id, |document| left(document, now)).await;
    assert_eq!(text(&find().await, "status"), "complete_in_progress");
    assert_eq!(sweep(platform).await, 1);
    let found = find().await;
    assert_eq!(text(&found, "status"), "completed");
    for receipt in ["checkout_receipt", "payment_receipt"] {
        assert_eq!(found["ap2"][receipt], done.body["ap2"][receipt], "{receipt}: the one that was given");
    }
    // Of others' acceptances, and of none, nothing is made.
    for claim in [Some(("00".repeat(32), "11".repeat(32))), None] {
        let other = platform.open_ucp().await;
        let id = text(&other, "id");
        rewrite(platform, id, |document| {
            left(document, now);
            document["claim"] = match &claim {
                Some((checkout, payment)) => format!("digest {checkout} {payment}").into(),
                None => "digest".into(),
            };
        })
        .await;
        assert_eq!(sweep(platform).await, u32::from(claim.is_some()), "without names whoever has the same goes on");
        let status = if claim.is_some() { "ready_for_complete" } else { "complete_in_progress" };
        let shown = platform.ucp(Method::GET, &format!("/{id}"), None).await.body;
        assert_eq!(text(&shown, "status"), status, "{shown}");
        if claim.is_some() {
            let (checkout, payment) =
                (platform.single(&shown, &Default::default()), platform.single_payment(&shown, "c"));
            let body = Some(ucp_mandates(&checkout, &payment));
            let done = platform.ucp(Method::POST, &format!("/{id}/complete"), body).await;
            assert_eq!(text(&done.body, "status"), "completed", "{}", done.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_fills_the_shop_and_what_is_over_is_taken_out() {
    let platform = unswept(Some(3)).await;
    let items = || Some(ucp_items("gift_card", 1));
    let mut ours = Vec::new();
    for _ in 0..3 {
        ours.push(platform.open_ucp().await);
    }
    // Another profile at the same address is no other caller, and cancelling makes no room.
    platform.ucp(Method::POST, &format!("/{}/cancel", text(&ours[0], "id")), None).await;
    for profile in [&platform.locked, &platform.plain] {
        let answer = platform.ucp_as(profile, Method::POST, "", &new_key(), items().as_ref()).await;
        assert_eq!(answer.said(), (429, "too_many_checkouts"), "{}", answer.body);
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    }
    // A caller that proved who it is has places of its own.
    let mandate = platform.shop.mandate(intent()).await;
    let (key, body) =
        (new_key(), json!({ "line_items": [{ "id": "gift_card" }], "currency": "usd", "capabilities": {} }));
    let first = platform.acp_as(&platform.shop.agent, Method::POST, "", &key, Some(&body)).await;
    for _ in 0..2 {
        session(&platform, 1).await;
    }
    assert_eq!(platform.acp(Method::POST, "", Some(body.clone())).await.said(), (429, "too_many_checkouts"));
    // What is bought counts no longer.
    let good = token(&platform, &mandate, &first.body, 100, json!({})).await;
    assert_eq!(text(&complete(&platform, &first.body, &good, &new_key()).await.body, "status"), "completed");
    session(&platform, 1).await;

    // A day after it was over it is gone; what was bought is kept for a month; what is open stays.
    let day = 24 * 3_600;
    let aged = |seconds: i64| {
        move |document: &mut Value| {
            for moment in ["created_at", "updated_at", "expires_at"] {
                let at = document["session"][moment].as_i64().unwrap() - seconds;
                document["session"][moment] = at.into();
            }
        }
    };
    rewrite(&platform, text(&ours[0], "id"), aged(day)).await;
    rewrite(&platform, text(&ours[1], "id"), aged(day)).await;
    rewrite(&platform, text(&first.body, "id"), aged(29 * day)).await;
    assert_eq!(sweep(&platform).await, 1, "the cancelled one; the other was open for an hour");
    rewrite(&platform, text(&ours[1], "id"), aged(3_600)).await;
    assert_eq!(sweep(&platform).await, 1);
    for (one, status) in [(&ours[0], 404), (&ours[1], 404), (&ours[2], 200)] {
        let answer = platform.ucp(Method::GET, &format!("/{}", text(one, "id")), None).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let again = platform.acp_as(&platform.shop.agent, Method::POST, "", &key, Some(&body)).await;
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, Some("true")));
    assert_eq!(shown(&platform, &first.body).await.status, 200);
    rewrite(&platform, text(&first.body, "id"), aged(day)).await;
    assert_eq!((sweep(&platform).await, shown(&platform, &first.body).await.status), (1, 404));
    assert_eq!(platform.ucp(Method::POST, "", items()).await.status, 201, "there is room again");

    // One session is not written for ever.
    let path = format!("/{}", text(&ours[2], "id"));
    let mut written = 0;
    let refused = loop {
        let answer = platform.ucp(Method::PUT, &path, Some(ucp_items("gift_card", 2 - written % 2))).await;
        if answer.status != 200 {
            break answer;
        }
        written += 1;
        assert!(written < 200);
    };
    assert_eq!((refused.said(), written), ((400, "maximum_exceeded"), 99), "{}", refused.body);
    platform.shop.service.stop().await;
}
