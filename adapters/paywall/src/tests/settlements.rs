//! What handlers and settlements do wrong.

use super::*;

#[tokio::test]
async fn a_handler_that_refuses_charges_nothing() {
    for status in [400, 404, 429, 500, 503] {
        let shop = Shop::new(Goods::Refuses(status), Fate::Settles);
        let answer = shop.get("/goods", &header(&payment("/goods", 1))).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, "no goods"));
        assert!(answer.receipt().is_none());
        assert_eq!(shop.drawer.settled.load(Ordering::SeqCst), 0);
        assert_eq!(*shop.drawer.abandoned.lock().unwrap(), [Abandoned::HandlerAnswered { status }]);
    }
}

#[tokio::test]
async fn a_handler_that_breaks_charges_nothing() {
    let narrow = Limits { answer_bytes_max: 10, handler_time_max: Duration::from_millis(100), ..short() };
    for (goods, status, code, why) in [
        (Goods::Panics, 500, "handler_panicked", Abandoned::HandlerPanicked),
        (Goods::Slow(Duration::from_secs(60)), 504, "handler_timed_out", Abandoned::HandlerTimedOut),
        (Goods::Bytes(11), 500, "answer_too_large", Abandoned::AnswerTooLarge),
    ] {
        let shop = Shop::with(goods, Drawer::with(Fate::Settles), price(Repeat::Never).with_limits(narrow));
        let answer = shop.get("/goods", &header(&payment("/goods", 1))).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
        assert_eq!(answer.json()["retryable"], true);
        assert_eq!(shop.drawer.settled.load(Ordering::SeqCst), 0);
        assert_eq!(*shop.drawer.abandoned.lock().unwrap(), [why]);
    }
}

#[tokio::test]
async fn the_same_payment_may_be_presented_again_after_a_failure() {
    let shop = Shop::new(Goods::FailsOnce, Fate::Settles);
    let header = header(&payment("/goods", 1));
    assert_eq!(shop.get("/goods", &header).await.status.as_u16(), 500);
    shop.get("/goods", &header).await.assert_bought();
    shop.get("/goods", &header).await.assert_bought();
    assert_eq!((shop.runs(), shop.drawer.settled.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn a_failed_settlement_withholds_the_goods_now_and_later() {
    let shop = Shop::new(Goods::Text, Fate::Fails);
    let header = header(&payment("/goods", 1));
    for _ in 0..2 {
        let answer = shop.get("/goods", &header).await;
        answer.assert_withheld();
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(answer.code(), "invalid_exact_evm_transaction_failed");
        assert!(answer.receipt().is_some_and(|receipt| !receipt.success && receipt.transaction == "0x02"));
        assert!(answer.headers.get("payment-required").is_none(), "it is no invitation to pay again");
    }
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn an_unknown_settlement_is_never_called_failed() {
    let shop = Shop::new(Goods::Text, Fate::Unknown);
    let header = header(&payment("/goods", 1));
    for status in [502, 503] {
        let answer = shop.get("/goods", &header).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, "outcome_unknown"));
        assert_eq!(answer.json()["retryable"], true);
        assert!(answer.receipt().is_none());
        assert!(!answer.body.contains("fail"), "{}", answer.body);
    }
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn a_pending_settlement_is_waited_for_and_never_served_twice() {
    let shop = Shop::new(Goods::Text, Fate::Pending { looks: 2 });
    shop.get("/goods", &header(&payment("/goods", 1))).await.assert_bought();
    assert_eq!(shop.runs(), 1);

    let shop = Shop::new(Goods::Text, Fate::Pending { looks: 12 });
    let header = header(&payment("/goods", 1));
    let answer = shop.get("/goods", &header).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "settlement_pending"));
    assert_eq!(answer.json()["retryable"], true);
    let answer = shop.get("/goods", &header).await;
    answer.assert_withheld();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "payment_in_flight"));
    while shop.get("/goods", &header).await.status != StatusCode::OK {}
    shop.get("/goods", &header).await.assert_bought();
    assert_eq!((shop.runs(), shop.drawer.settled.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_handler_does_not_speak_for_the_paywall() {
    let shop = Shop::new(Goods::Lies, Fate::Settles);
    let header = header(&payment("/goods", 1));
    let first = shop.get("/goods", &header).await;
    assert_eq!(first.body, "the goods");
    assert_eq!(first.headers.get_all("payment-response").iter().count(), 1);
    let receipt = first.receipt().unwrap();
    assert!(receipt.success);
    assert!(receipt.unknown.is_empty(), "what the facilitator tells the seller is not for buyers");
    assert!(first.headers.get("payment-required").is_none());
    assert_eq!(first.headers["set-cookie"], "a=b");
    let second = shop.get("/goods", &header).await;
    assert_eq!(second.body, "the goods");
    assert!(second.headers.get("set-cookie").is_none());
}
