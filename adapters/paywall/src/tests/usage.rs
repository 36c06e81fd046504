//! Prices by usage: what the handler says is charged, and never more than was permitted.

use x402::upto::charge;
use x402::value::Amount;

use super::drawer::{assets, payment_of, upto};
use super::*;

/// A shop whose answers carry these headers.
fn shop(headers: &[(&'static str, &'static str)]) -> Shop {
    let accepts = vec![offer(), upto()];
    let resource = x402::wire::ResourceInfo::new("https://shop.example");
    let price = Price::new("shop", accepts, resource, Address::Under, Repeat::Never).unwrap();
    let (drawer, runs) = (Drawer::with(Fate::Settles), Arc::new(AtomicUsize::new(0)));
    let (counted, headers) = (runs.clone(), headers.to_vec());
    let handler = any(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let mut answer = Response::builder().header("content-type", "text/plain");
        for (name, value) in headers {
            answer = answer.header(name, value);
        }
        async move { answer.body(Body::from("the goods")).unwrap() }
    });
    let paywall = PaywallLayer::new(drawer.clone(), price.with_limits(short()).with_assets(assets()));
    Shop { router: Router::new().route("/goods", handler).route_layer(paywall), drawer, runs }
}

fn charged(shop: &Shop) -> Vec<Option<u128>> {
    shop.drawer.charged.lock().unwrap().iter().map(|charged| charged.map(Amount::get)).collect()
}

#[tokio::test]
async fn a_charge_that_cannot_be_read_charges_nothing() {
    for headers in [
        [("purser-charge", "much"), ("x-none", "")],
        [("purser-charge", ""), ("x-none", "")],
        [("purser-charge", "-1"), ("x-none", "")],
        [("purser-charge", "0x10"), ("x-none", "")],
        [("purser-charge", "1"), ("purser-charge", "2")],
        [("purser-charge", "1"), ("settlement-overrides", r#"{"amount":"2"}"#)],
        [("settlement-overrides", "37"), ("x-none", "")],
        [("settlement-overrides", r#"{"amount":["37"]}"#), ("x-none", "")],
        [("settlement-overrides", r#"{"amount":-37}"#), ("x-none", "")],
        [("settlement-overrides", r#"{"amount":1.5}"#), ("x-none", "")],
    ] {
        let shop = shop(&headers);
        let answer = shop.get("/goods", &header(&payment_of(upto(), "/goods", 1))).await;
        answer.assert_withheld();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "charge_unreadable"), "{headers:?}");
        assert_eq!(*shop.drawer.abandoned.lock().unwrap(), [Abandoned::ChargeUnreadable]);
        assert!(charged(&shop).is_empty(), "nothing was settled");
    }
}

#[tokio::test]
async fn what_is_charged_is_what_the_handler_says_within_what_was_permitted() {
    for (headers, expected) in [
        (vec![], None),
        (vec![("purser-charge", "37")], Some(37)),
        (vec![("purser-charge", "0")], Some(0)),
        (vec![("purser-charge", "10001")], Some(10_000)),
        (vec![("purser-charge", "12.5%")], Some(1_250)),
        (vec![("purser-charge", "$0.000037")], Some(37)),
        (vec![("settlement-overrides", r#"{"amount":"37"}"#)], Some(37)),
        (vec![("settlement-overrides", r#"{"amount":37}"#)], Some(37)),
        (vec![("settlement-overrides", r#"{"other":1}"#)], None),
        (vec![("purser-charge", "37"), ("settlement-overrides", r#"{"amount":"37"}"#)], Some(37)),
    ] {
        let shop = shop(&headers);
        let answer = shop.get("/goods", &header(&payment_of(upto(), "/goods", 1))).await;
        answer.assert_bought();
        assert_eq!(charged(&shop), [expected], "{headers:?}");
        assert!(answer.headers.get("purser-charge").is_none(), "it is between handler and paywall");
        shop.get("/goods", &header(&payment_of(upto(), "/goods", 1))).await.assert_bought();
        assert_eq!((shop.runs(), charged(&shop).len()), (1, 1), "bought once");
    }
}

/// Whatever the handler says, a fixed price is the price.
#[tokio::test]
async fn a_fixed_price_is_not_changed_by_a_handler() {
    for said in ["0", "37", "much", "200%"] {
        let shop = shop(&[("purser-charge", said)]);
        shop.get("/goods", &header(&payment("/goods", 1))).await.assert_bought();
        assert_eq!(charged(&shop), [None], "{said}");
    }
    assert!(charge("much", Amount::new(1), None).is_err());
}
