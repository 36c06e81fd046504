//! Sellers that let whoever paid come back, and sellers that only say so.

use x402::sign_in::{EXTENSION, SIGN_IN_WITH_X};

use super::*;

/// Every path under `/back` declares it.
pub(super) fn behave(request: &Request) -> Option<Response> {
    let path = request.uri().path();
    let headers = request.headers();
    if !path.starts_with("/back") {
        assert!(!headers.contains_key(SIGN_IN_WITH_X), "somebody signed in where nobody was asked to");
        return None;
    }
    let answer = |status: u16| Response::builder().status(status);
    let declared = serde_json::Map::from_iter([(EXTENSION.to_owned(), json!({ "info": {}, "supportedChains": [] }))]);
    let need =
        |status| answer(status).header(PAYMENT_REQUIRED, offer_with(Some(declared))).body(Body::empty()).unwrap();
    let (pays, signs) = (headers.contains_key(PAYMENT_SIGNATURE), headers.get_all(SIGN_IN_WITH_X).iter().count());
    assert!(signs < 2 && !(pays && signs > 0), "one or the other");
    Some(match (path, pays, signs) {
        ("/back/lost", false, 1) => answer(200).header("content-length", "100").body("short".into()).unwrap(),
        ("/back/failed", false, 1) => answer(500).body("oh".into()).unwrap(),
        ("/back/away", false, 1) => answer(302).header("location", "/stolen").body(Body::empty()).unwrap(),
        ("/back/allowance", false, 1) => need(412),
        ("/back/never" | "/back/allowance", true, 0) => answer(200).body("sold".into()).unwrap(),
        ("/back", false, 1) => answer(200).body("again".into()).unwrap(),
        (_, true, _) => panic!("paid for {path}"),
        _ => need(402),
    })
}

fn signed(stage: &Stage) -> usize {
    stage.wallet.signed_in.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_wallet_that_did_not_pay_is_asked_and_then_it_pays() {
    let stage = stage(Counting::default()).await;
    let bought = stage.fetch("/back/never").await.unwrap();
    assert_eq!((bought.fetched.body.as_slice(), stage.paid(), signed(&stage)), (&b"sold"[..], 1, 1));
    assert_eq!(stage.visits.load(Ordering::SeqCst), 2, "nothing was shown to the seller in between");
    // Where nothing is declared nobody is asked.
    stage.fetch("/sold").await.unwrap();
    assert_eq!((stage.paid(), signed(&stage)), (2, 1));
}

#[tokio::test]
async fn a_seller_that_asks_all_the_same_is_paid_once() {
    for path in ["/back/never", "/back/allowance"] {
        let stage = stage(Counting { known: Some("who"), ..Counting::default() }).await;
        let bought = stage.fetch(path).await.unwrap();
        assert_eq!((bought.fetched.body.as_slice(), stage.paid(), signed(&stage)), (&b"sold"[..], 1, 1), "{path}");
        assert_eq!(stage.visits.load(Ordering::SeqCst), 3, "{path}");
    }
}

#[tokio::test]
async fn what_else_it_answers_is_the_answer_and_nothing_is_paid() {
    let stage = stage(Counting { known: Some("who"), ..Counting::default() }).await;
    for (path, status) in [("/back/failed", 500), ("/back/away", 302), ("/back", 200)] {
        let bought = stage.fetch(path).await.unwrap();
        assert_eq!((bought.fetched.status.as_u16(), bought.paid.is_none()), (status, true), "{path}");
    }
    assert_eq!(stage.fetch("/back/lost").await.unwrap_err().code(), "seller_unreachable");
    assert_eq!((stage.paid(), signed(&stage), stage.visits.load(Ordering::SeqCst)), (0, 4, 8));
    assert!(stage.wallet.looked.lock().unwrap().is_empty(), "there is no payment to look at");
}

/// What a program says of itself is not said beside what the wallet says.
#[tokio::test]
async fn there_is_one_header() {
    let stage = stage(Counting { known: Some("who"), ..Counting::default() }).await;
    let headers = HeaderMap::from_iter([(SIGN_IN_WITH_X.parse().unwrap(), "own".parse().unwrap())]);
    let (method, url) = ("GET".to_owned(), format!("{}/back", stage.base));
    let purchase = Purchase { method, url, headers, key: "key".into(), ..Purchase::default() };
    let demand = Demand::of(&demanded()).unwrap();
    let answer = stage.payer.come_back(&purchase, &demand).await.unwrap().expect("an answer");
    assert_eq!(answer.text().await.unwrap(), "again");
}

fn demanded() -> serde_json::Map<String, Value> {
    let declared = serde_json::Map::from_iter([(EXTENSION.to_owned(), json!({}))]);
    serde_json::from_slice(&STANDARD.decode(offer_with(Some(declared))).unwrap()).unwrap()
}
