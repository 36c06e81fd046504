//! One payment, presented again and again.

use http::Method;

use super::*;

#[tokio::test]
async fn a_payment_for_one_request_buys_no_other() {
    let shop = Shop::new(Goods::Text, Fate::Settles);
    let mut payment = payment("/goods", 1);
    payment.resource = None; // it is not signed, so an attacker leaves it out
    let header = header(&payment);
    shop.get("/goods", &header).await.assert_bought();
    let others = [
        (Method::GET, "/gold", ""),
        (Method::GET, "/goods?all=1", ""),
        (Method::POST, "/goods", ""),
        (Method::GET, "/goods", "another body"),
        (Method::HEAD, "/goods", ""),
    ];
    for (method, path, body) in others {
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(PAYMENT_SIGNATURE, &header)
            .body(Body::from(body))
            .unwrap();
        let answer = shop.send(request).await;
        answer.assert_withheld();
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        if method != Method::HEAD {
            assert_eq!(answer.code(), "payment_used_for_other_resource", "{method} {path} {body:?}");
        }
        assert!(answer.receipt().is_none());
    }
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_requests_with_one_signature_run_the_handler_once() {
    let shop = Arc::new(Shop::new(Goods::Slow(Duration::from_millis(100)), Fate::Settles));
    let header = header(&payment("/goods", 1));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (shop, header) = (shop.clone(), header.clone());
            tokio::spawn(async move { shop.get("/goods", &header).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().assert_bought();
    }
    assert_eq!((shop.runs(), shop.drawer.won(), shop.drawer.settled.load(Ordering::SeqCst)), (1, 1, 1));
}

#[tokio::test]
async fn every_encoding_is_the_same_claim() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    let shop = Shop::new(Goods::Text, Fate::Settles);
    let payment = payment("/goods", 1);
    let json = serde_json::to_string(&payment).unwrap();
    let pretty = serde_json::to_string_pretty(&payment).unwrap();
    let value = serde_json::to_value(&payment).unwrap();
    let reordered = format!(
        r#"{{"payload":{},"later":1,"accepted":{},"resource":null,"x402Version":2}}"#,
        value["payload"], value["accepted"]
    );
    let lower = json.replace(&drawer::buyer().address().to_string(), &format!("{:#x}", drawer::buyer().address()));
    assert_ne!(lower, json);
    let signature = payment.payload["signature"].as_str().unwrap();
    let (rest, v) = signature.split_at(signature.len() - 2);
    let old_v = json.replace(signature, &format!("{rest}{}", if v == "1b" { "00" } else { "01" }));
    for header in [
        STANDARD.encode(&json),
        STANDARD.encode(&json).trim_end_matches('=').to_owned(),
        URL_SAFE.encode(&json),
        URL_SAFE_NO_PAD.encode(&pretty),
        STANDARD.encode(&pretty),
        STANDARD.encode(&reordered),
        STANDARD.encode(&lower),
        STANDARD.encode(&old_v),
        format!("  {}  ", STANDARD.encode(&json)),
    ] {
        shop.get("/goods", &header).await.assert_bought();
    }
    assert_eq!((shop.runs(), shop.drawer.won()), (1, 1));
}

#[tokio::test]
async fn two_payments_are_two_purchases() {
    let shop = Shop::new(Goods::Text, Fate::Settles);
    shop.get("/goods", &header(&payment("/goods", 1))).await.assert_bought();
    shop.get("/goods", &header(&payment("/goods", 2))).await.assert_bought();
    assert_eq!((shop.runs(), shop.drawer.won()), (2, 2));
}

#[tokio::test]
async fn who_waits_too_long_is_told_to_come_back() {
    let shop = Arc::new(Shop::new(Goods::Slow(Duration::from_millis(1500)), Fate::Settles));
    let header = header(&payment("/goods", 1));
    let first = tokio::spawn({
        let (shop, header) = (shop.clone(), header.clone());
        async move { shop.get("/goods", &header).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = shop.get("/goods", &header).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "payment_in_flight"));
    assert_eq!(answer.json()["retryable"], true);
    assert_eq!(answer.headers["retry-after"], "2");
    first.await.unwrap().assert_bought();
    shop.get("/goods", &header).await.assert_bought();
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_finds_its_answer_later() {
    let shop = Shop::new(Goods::Slow(Duration::from_millis(150)), Fate::Settles);
    let header = header(&payment("/goods", 1));
    let gone = tokio::time::timeout(Duration::from_millis(50), shop.get("/goods", &header)).await;
    assert!(gone.is_err(), "the client gave up in the middle");
    shop.get("/goods", &header).await.assert_bought();
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn a_claim_whose_process_died_is_unknown_and_runs_nothing() {
    let shop = Arc::new(Shop::new(Goods::Slow(Duration::from_secs(3)), Fate::Settles));
    let header = header(&payment("/goods", 1));
    let first = tokio::spawn({
        let (shop, header) = (shop.clone(), header.clone());
        async move { shop.get("/goods", &header).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    shop.drawer.crash();
    let answer = shop.get("/goods", &header).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "outcome_unknown"));
    assert_eq!(shop.runs(), 1);
    first.abort();
}

#[tokio::test]
async fn a_long_answer_is_given_once_and_its_receipt_for_ever() {
    let shop = Shop::new(Goods::Bytes(limit::STORED_BODY_BYTES_MAX + 1), Fate::Settles);
    let header = header(&payment("/goods", 1));
    let first = shop.get("/goods", &header).await;
    assert_eq!((first.status.as_u16(), first.body.len()), (200, limit::STORED_BODY_BYTES_MAX + 1));
    let second = shop.get("/goods", &header).await;
    assert_eq!((second.status.as_u16(), second.code().as_str()), (410, "answer_not_kept"));
    assert!(second.receipt().is_some_and(|receipt| receipt.success));
    assert_eq!(shop.runs(), 1);

    let drawer = Drawer::with(Fate::Settles);
    let price = price(Repeat::Idempotent).with_limits(short());
    let shop = Shop::with(Goods::Bytes(limit::STORED_BODY_BYTES_MAX + 1), drawer, price);
    for _ in 0..2 {
        let answer = shop.get("/goods", &header).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, limit::STORED_BODY_BYTES_MAX + 1));
        assert!(answer.receipt().is_some_and(|receipt| receipt.success));
    }
    assert_eq!((shop.runs(), shop.drawer.settled.load(Ordering::SeqCst)), (2, 1), "read twice, charged once");
}

#[test]
fn a_stored_answer_reads_back_or_is_refused() {
    for bytes in
        [b"".as_slice(), b"{}", b"null", b"{\"status\":200,\"headers\":[],\"body\":{\"whole\":\"!\"}}", &[0xff]]
    {
        assert_eq!(StoredAnswer::from_bytes(bytes).unwrap_err().code(), "stored_answer_unreadable");
    }
    let (parts, ()) = Response::builder()
        .header("content-type", "text/plain")
        .header("set-cookie", "session=1")
        .header("x-request-id", "7")
        .body(())
        .unwrap()
        .into_parts();
    let kept = StoredAnswer::of(&parts, &bytes::Bytes::from_static(&[0, 159, 255]));
    assert_eq!(kept.headers, [("content-type".to_owned(), "text/plain".to_owned())], "a cookie is not given again");
    assert_eq!(StoredAnswer::from_bytes(&kept.to_bytes().unwrap()).unwrap(), kept);
    let long = StoredAnswer::of(&parts, &bytes::Bytes::from(vec![0; limit::STORED_BODY_BYTES_MAX + 1]));
    assert!(matches!(long.body, StoredBody::TooLarge { bytes, .. } if bytes == 65_537));
}
