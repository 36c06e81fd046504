use serde_json::{Value, json};

use super::*;
use mandates::currency::Currency;

fn session() -> Value {
    json!({
        "id": "checkout_session_1", "status": "ready_for_payment", "currency": "usd",
        "line_items": [{ "id": "l", "item": { "id": "gift_card" }, "quantity": 2 }],
        "totals": [{ "type": "subtotal", "amount": 150 }, { "type": "total", "amount": 200 }],
        "capabilities": { "payment": { "handlers": [
            { "id": "other", "name": "dev.acp.other" },
            { "id": "card", "name": "dev.acp.tokenized.card", "psp": "https://vault.example",
              "config": { "merchant_id": "shop", "psp": "https://vault.example" } },
        ] } },
        "expires_at": "2026-11-30T10:00:00Z", "messages": [], "fulfillment_options": [],
    })
}

fn read(value: &Value) -> Result<Shown, Unmet> {
    Shown::read(value.to_string().as_bytes())
}

/// With one member other than it was; a pointer of RFC 6901.
fn with(pointer: &str, other: Value) -> Value {
    let mut value = session();
    match value.pointer_mut(pointer) {
        Some(place) => *place = other,
        None => value[pointer.trim_start_matches('/')] = other,
    }
    value
}

fn consent() -> Consent {
    Consent {
        merchant_id: "shop".into(),
        currency: Currency::new("USD").unwrap(),
        total_max: 200,
        items: [("gift_card".to_owned(), 2)].into(),
        vault: "https://vault.example/".into(),
    }
}

const HANDLER: &str = "/capabilities/payment/handlers/1";

#[test]
fn what_cannot_be_acted_on_is_refused() {
    for body in ["", "[]", "{", "null", "{\"id\":\"a\",\"id\":\"b\"}"] {
        assert_eq!(Shown::read(body.as_bytes()).unwrap_err().code, UnmetCode::AnswerUnreadable, "{body}");
    }
    let two = json!([{ "type": "total", "amount": 1 }, { "type": "total", "amount": 200 }]);
    let handler = session()["capabilities"]["payment"]["handlers"][1].clone();
    for (pointer, other) in [
        ("/id", json!("")),
        ("/id", json!("../complete")),
        ("/id", json!("..")),
        ("/id", json!("a/b?c")),
        ("/id", json!("a\nb")),
        ("/id", json!("x".repeat(257))),
        ("/id", json!(1)),
        ("/status", json!(null)),
        ("/currency", json!(7)),
        ("/totals", json!([])),
        ("/totals", json!({})),
        ("/totals", two),
        ("/totals/1/amount", json!(-1)),
        ("/totals/1/amount", json!(1.5)),
        ("/totals/1/amount", json!("200")),
        ("/totals/1/amount", json!(9_007_199_254_740_992_u64)),
        ("/line_items", json!([{ "quantity": 1 }])),
        ("/line_items", json!([{ "item": { "id": "gift_card" } }])),
        ("/line_items/0/quantity", json!(-2)),
        ("/capabilities/payment/handlers", json!([handler, handler])),
        (&format!("{HANDLER}/config"), json!("shop")),
        (&format!("{HANDLER}/config/merchant_id"), json!("")),
        (&format!("{HANDLER}/psp"), json!(null)),
        ("/expires_at", json!("tomorrow")),
        ("/order", json!({ "id": "o" })),
    ] {
        let refused = read(&with(pointer, other.clone())).expect_err(&format!("{pointer} {other}"));
        assert_eq!(refused.code, UnmetCode::AnswerUnreadable, "{pointer} {other}");
    }
}

#[test]
fn what_was_not_agreed_on_is_not_paid() {
    for (pointer, other, code) in [
        ("/totals/1/amount", json!(201), UnmetCode::TotalBeyondConsent),
        ("/currency", json!("eur"), UnmetCode::CurrencyMismatch),
        ("/currency", json!("US"), UnmetCode::CurrencyMismatch),
        ("/line_items/0/quantity", json!(1), UnmetCode::ItemsMismatch),
        ("/line_items/0/quantity", json!(3), UnmetCode::ItemsMismatch),
        ("/line_items/0/item/id", json!("wallpaper"), UnmetCode::ItemsMismatch),
        ("/line_items", json!([]), UnmetCode::ItemsMismatch),
        ("/capabilities", json!({}), UnmetCode::HandlerMissing),
        ("/capabilities/payment/handlers", json!("all"), UnmetCode::HandlerMissing),
        (&format!("{HANDLER}/name"), json!("dev.acp.tokenized.cards"), UnmetCode::HandlerMissing),
        (&format!("{HANDLER}/config/merchant_id"), json!("Shop"), UnmetCode::MerchantMismatch),
        (&format!("{HANDLER}/psp"), json!("https://vault.example.evil.example"), UnmetCode::VaultMismatch),
        (&format!("{HANDLER}/psp"), json!("http://vault.example"), UnmetCode::VaultMismatch),
        (&format!("{HANDLER}/psp"), json!("https://vault.example:8443"), UnmetCode::VaultMismatch),
        (&format!("{HANDLER}/psp"), json!("https://vault.example@evil.example"), UnmetCode::VaultMismatch),
    ] {
        let shown = read(&with(pointer, other.clone())).unwrap();
        assert_eq!(consent().allows(&shown).unwrap_err().code, code, "{pointer} {other}");
    }
    let shown = read(&session()).unwrap();
    assert_eq!(consent().allows(&shown).map(|seller| seller.handler.as_str()), Ok("card"));
    // For less, as two lines, and in capitals.
    let line = |quantity: u64| json!({ "item": { "id": "gift_card" }, "quantity": quantity });
    for (pointer, other) in [
        ("/totals/1/amount", json!(1)),
        ("/line_items", json!([line(1), line(1)])),
        ("/currency", json!("USD")),
        (&format!("{HANDLER}/psp"), json!("HTTPS://vault.example:443/base")),
    ] {
        let shown = read(&with(pointer, other.clone())).unwrap();
        assert!(consent().allows(&shown).is_ok(), "{pointer} {other}");
    }
}

#[test]
fn a_session_is_paid_when_it_is_ready_and_not_held_for_ever() {
    let now = 1_796_032_800 - 60;
    let at = |status: &str| consent().payable(&read(&with("/status", json!(status))).unwrap(), now);
    for (status, code) in [
        ("incomplete", UnmetCode::NotReady),
        ("not_ready_for_payment", UnmetCode::NotReady),
        ("requires_escalation", UnmetCode::NotReady),
        ("authentication_required", UnmetCode::NotReady),
        ("pending_approval", UnmetCode::NotReady),
        ("paid_in_full", UnmetCode::NotReady),
        ("canceled", UnmetCode::SessionOver),
        ("expired", UnmetCode::SessionOver),
    ] {
        assert_eq!(at(status).unwrap_err().code, code, "{status}");
    }
    for status in ["ready_for_payment", "complete_in_progress", "completed"] {
        assert_eq!(at(status), Ok(()), "{status}");
    }
    for far in ["2026-12-02T10:00:00Z", "9999-12-31T23:59:59Z"] {
        let shown = read(&with("/expires_at", json!(far))).unwrap();
        assert_eq!(consent().payable(&shown, now).unwrap_err().code, UnmetCode::SessionTooLong, "{far}");
    }
}

#[test]
fn an_answer_is_believed_about_the_session_that_was_looked_at() {
    let before = read(&session()).unwrap();
    let done = |pointer: &str, other: Value| {
        let mut value = with(pointer, other);
        if pointer != "/status" {
            value["status"] = "completed".into();
        }
        if pointer != "/order" {
            value["order"] = json!({ "id": "order_1", "checkout_session_id": "checkout_session_1" });
        }
        ended(&before, &read(&value).unwrap())
    };
    for (pointer, other, code) in [
        ("/id", json!("checkout_session_2"), UnmetCode::SessionMismatch),
        ("/totals/1/amount", json!(201), UnmetCode::SessionChanged),
        ("/totals/1/amount", json!(199), UnmetCode::SessionChanged),
        ("/currency", json!("eur"), UnmetCode::SessionChanged),
        ("/line_items/0/quantity", json!(1), UnmetCode::SessionChanged),
        (&format!("{HANDLER}/config/merchant_id"), json!("other"), UnmetCode::SessionChanged),
        ("/order", json!(null), UnmetCode::OrderUnproved),
        ("/order", json!({ "id": "o", "checkout_session_id": "checkout_session_2" }), UnmetCode::OrderUnproved),
    ] {
        assert_eq!(done(pointer, other.clone()).unwrap_err().code, code, "{pointer} {other}");
    }
    assert_eq!(done("/messages", json!([])), Ok(Deed::Ordered("order_1".into())));
    assert_eq!(done("/capabilities", json!({})), Ok(Deed::Ordered("order_1".into())), "what is bought is paid");
    assert_eq!(done("/status", json!("complete_in_progress")), Ok(Deed::UnderWay));
    let declined = json!([{ "code": "payment_declined", "content": "no\u{1b}[2J" }]);
    let mut open = with("/messages", declined);
    open["status"] = "ready_for_payment".into();
    let said = ended(&before, &read(&open).unwrap());
    assert_eq!(said, Ok(Deed::Declined("payment_declined: no\u{fffd}[2J".into())));
}

#[test]
fn a_shop_speaks_for_its_own_origin() {
    let document = |name: &str, versions: Value, base: &str| {
        json!({ "protocol": { "name": name, "version": "2026-04-17", "supported_versions": versions },
            "api_base_url": base })
        .to_string()
    };
    let good = json!(["2025-09-29", "2026-04-17"]);
    let asked = "https://shop.example/anything?x";
    for (body, code) in [
        (String::new(), UnmetCode::NoShop),
        ("[]".into(), UnmetCode::NoShop),
        (document("ucp", good.clone(), "https://shop.example"), UnmetCode::NoShop),
        (document("acp", json!(["2026-01-30"]), "https://shop.example"), UnmetCode::VersionUnsupported),
        (document("acp", json!("2026-04-17"), "https://shop.example"), UnmetCode::VersionUnsupported),
        (document("acp", good.clone(), "https://api.shop.example"), UnmetCode::ShopElsewhere),
        (document("acp", good.clone(), "http://shop.example"), UnmetCode::ShopElsewhere),
        (document("acp", good.clone(), "https://shop.example@evil.example"), UnmetCode::ShopElsewhere),
        (document("acp", good.clone(), "https://shop.example:444"), UnmetCode::ShopElsewhere),
        (document("acp", good.clone(), "/"), UnmetCode::ShopElsewhere),
        (document("acp", good.clone(), ""), UnmetCode::ShopElsewhere),
    ] {
        assert_eq!(api_base(asked, body.as_bytes()).unwrap_err().code, code, "{body}");
    }
    let base = api_base(asked, document("acp", good, "https://SHOP.example:443/acp/").as_bytes());
    assert_eq!(base.unwrap(), "https://SHOP.example:443/acp");
    for (one, other) in [("http://[::1]", "http://[::1]:80/"), ("http://127.0.0.1:4020", "http://127.0.0.1:4020/x")] {
        assert!(is_same_origin(one, other), "{one} {other}");
    }
    for (one, other) in [("ftp://a", "ftp://a"), ("https://", "https://"), ("http://a:b", "http://a:b"), ("a", "a")] {
        assert!(!is_same_origin(one, other), "{one} {other}");
    }
}

#[test]
fn what_was_agreed_on_is_counted_exactly() {
    let of = |currency: &str, text: &str| minor(&Currency::new(currency).unwrap(), text);
    for (currency, text) in [
        ("USD", ""),
        ("USD", "1,50"),
        ("USD", "0.001"),
        ("USD", "-1"),
        ("USD", "1e3"),
        ("USD", "90071992547409.92"),
        ("USD", "79228162514264337593543950335"),
        ("JPY", "1.5"),
        ("XXX", "1"),
    ] {
        assert_eq!(of(currency, text).unwrap_err().code, UnmetCode::ConsentInvalid, "{currency} {text}");
    }
    for (currency, text, units) in
        [("USD", "12.50", 1_250), ("USD", "12.500", 1_250), ("JPY", "12", 12), ("KWD", "1.999", 1_999), ("USD", "0", 0)]
    {
        assert_eq!(of(currency, text), Ok(units), "{currency} {text}");
    }
}

#[test]
fn one_purchase_has_its_own_keys_for_ever() {
    assert_eq!(step_key("k", "open"), step_key("k", "open"));
    let other = [step_key("k", "pay"), step_key("l", "open"), step_key("ko", "pen"), step_key("", "kopen")];
    assert!(other.iter().all(|key| *key != step_key("k", "open") && key.len() == 64), "{other:?}");
}
