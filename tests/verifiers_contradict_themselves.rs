//! Promises 2, 3 and 5 where whoever a mandate was closed for says both that it was paid and that it was not, and where one
//! cart is bought twice.

use std::time::Duration;

use mandates::keys::LocalKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::closing::{answered, asked, cart, close, figures, flip, receipt};
use crate::harness::process::{run, stdout};
use crate::harness::shop::{Shop, code, intent, new_key, refused};
use crate::harness::text;

async fn state(shop: &Shop, closed: &Value) -> String {
    let path = format!("/v1/payments/{}", text(closed, "id"));
    text(&shop.call(Method::GET, &path, &shop.user, None).await.expect("the payment"), "state").to_owned()
}

/// Its evidence, verified offline.
async fn checked(shop: &Shop, closed: &Value, edit: impl Fn(&mut Value)) -> (Option<i32>, String) {
    let path = format!("/v1/payments/{}/evidence", text(closed, "id"));
    let mut file = shop.call(Method::GET, &path, &shop.user, None).await.expect("evidence");
    edit(&mut file);
    let folder = tempfile::tempdir().unwrap();
    let (path, trust) = (folder.path().join("evidence.json"), folder.path().join("trust.json"));
    std::fs::write(&path, file.to_string()).unwrap();
    std::fs::write(&trust, file["issuer_keys"].to_string()).unwrap();
    let (path, trust) = (path.display().to_string(), trust.display().to_string());
    let output = run(&["verify", "--evidence", &path, "--trust", &trust], &[]);
    (output.status.code(), stdout(&output))
}

/// Closed over a cart that ends soon, and when.
async fn short(shop: &Shop, mandate: &str, cents: u64) -> (Value, i64) {
    let ends = shop.service.engine().clock.now().seconds() + 13;
    let jwt = cart(shop, cents, json!({ "exp": ends })).await;
    (close(shop, &new_key(), asked(mandate, &jwt, json!({}))).await.expect("closed"), ends)
}

async fn freed(shop: &Shop, key: &LocalKey, closed: &Value, ends: i64) {
    let not_paid = receipt(shop, key, closed, false);
    assert_eq!(code(answered(shop, closed, &not_paid).await), "not_expired");
    while let Err(error) = answered(shop, closed, &not_paid).await {
        assert!(shop.service.engine().clock.now().seconds() < ends + 10, "{error}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(state(shop, closed).await, "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_statements_are_kept_and_nothing_is_given_back() {
    let shop = Shop::open().await;
    let key = shop.service.merchant_key().unwrap();
    let mandate = shop.mandate(intent()).await;
    let (late, ends) = short(&shop, &mandate, 100).await;
    let jwt = cart(&shop, 250, json!({})).await;
    let closed = close(&shop, &new_key(), asked(&mandate, &jwt, json!({}))).await.expect("closed");
    // Paid, and then not.
    answered(&shop, &closed, &receipt(&shop, &key, &closed, true)).await.expect("paid");
    let (status, contradicts, detail) = refused(answered(&shop, &closed, &receipt(&shop, &key, &closed, false)).await);
    assert_eq!((status, contradicts.as_str()), (409, "receipt_contradicts"), "{detail}");
    assert!(detail.contains("that it was paid") && detail.contains("that it was not"), "{detail}");
    assert_eq!(state(&shop, &closed).await, "spent_otherwise");
    assert_eq!(figures(&shop, &mandate).await, ("3.50".into(), "0.00".into()));
    for paid in [true, false] {
        assert_eq!(code(answered(&shop, &closed, &receipt(&shop, &key, &closed, paid)).await), "receipt_contradicts");
    }
    let page = shop.call(Method::GET, "/errors/receipt_contradicts", &shop.agent, None).await.expect("a page");
    assert_eq!(page["code"], "receipt_contradicts");
    // Not paid, its budget spent again, and paid after all: no cap is passed, and it is no secret.
    freed(&shop, &key, &late, ends).await;
    assert_eq!(figures(&shop, &mandate).await, ("2.50".into(), "0.00".into()));
    let more = cart(&shop, 200, json!({})).await;
    close(&shop, &new_key(), asked(&mandate, &more, json!({}))).await.expect("the rest but half a dollar");
    let after_all = answered(&shop, &late, &receipt(&shop, &key, &late, true)).await;
    assert_eq!(code(after_all), "receipt_contradicts");
    assert_eq!(state(&shop, &late).await, "spent_otherwise");
    assert_eq!(figures(&shop, &mandate).await, ("4.50".into(), "0.50".into()), "as far as there is room");
    // Both are in the evidence.
    for closed in [&closed, &late] {
        let (status, said) = checked(&shop, closed, |_| {}).await;
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("incident"), "{said}");
        type Edit = fn(&mut Value);
        let edits: [Edit; 4] = [
            |file| file["contradiction"] = Value::Null,
            |file| file["receipt"] = Value::Null,
            |file| file["contradiction"] = file["receipt"].clone(),
            |file| file["state"] = "settled".into(),
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            assert_eq!(checked(&shop, closed, edit).await.0, Some(1), "edit {number}");
        }
    }
}

/// `s` and `n - s` verify alike, so whoever hands a mandate on chooses which of the two its verifier hashes.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_names_either_spelling_of_the_mandate() {
    let shop = Shop::open().await;
    let key = shop.service.merchant_key().unwrap();
    let mandate = shop.mandate(intent()).await;
    let one = close(&shop, &new_key(), asked(&mandate, &cart(&shop, 10, json!({})).await, json!({}))).await.unwrap();
    let other = close(&shop, &new_key(), asked(&mandate, &cart(&shop, 20, json!({})).await, json!({}))).await.unwrap();
    let spelled = |closed: &Value| {
        let mut spelled = closed.clone();
        spelled["payment_mandate"] = flip(text(closed, "payment_mandate")).into();
        spelled
    };
    let of_the_other = receipt(&shop, &key, &spelled(&other), true);
    assert_eq!(code(answered(&shop, &one, &of_the_other).await), "receipt_reference_unknown");
    let settled = answered(&shop, &one, &receipt(&shop, &key, &spelled(&one), true)).await.expect("theirs");
    assert_eq!(text(&settled, "state"), "settled");
    let (status, said) = checked(&shop, &one, |_| {}).await;
    assert_eq!(status, Some(0), "{said}");
}

/// The cart's signature spelled otherwise is the same cart.
fn twisted(jwt: &str) -> String {
    let wrapped = flip(&format!("x~~{jwt}~"));
    wrapped["x~~".len()..wrapped.len() - 1].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cart_is_paid_once_on_whichever_rail() {
    let shop = Shop::open().await;
    let key = shop.service.merchant_key().unwrap();
    let (mandate, another) = (shop.mandate(intent()).await, shop.mandate(intent()).await);
    let (first, second) = (cart(&shop, 25, json!({})).await, cart(&shop, 25, json!({})).await);
    let offer = shop.offer("/paid/cart", 250_000);
    let x402 = async |mandate: &str, jwt: &str, more: Value| {
        let mut body = json!({ "cart": jwt });
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        shop.pay_as(&shop.agent, mandate, &offer, &new_key(), body).await
    };
    // Open here, bought there; then paid, and bought again, under any mandate and in any spelling.
    let closed = close(&shop, &new_key(), asked(&mandate, &first, json!({}))).await.expect("closed");
    assert_eq!(code(x402(&mandate, &first, json!({})).await), "purchase_unresolved");
    answered(&shop, &closed, &receipt(&shop, &key, &closed, true)).await.expect("paid");
    for mandate in [&mandate, &another] {
        for jwt in [&first, &twisted(&first)] {
            assert_eq!(code(x402(mandate, jwt, json!({})).await), "purchase_unresolved");
            let again = close(&shop, &new_key(), asked(mandate, jwt, json!({}))).await;
            assert_eq!(code(again), "purchase_unresolved");
        }
    }
    assert_eq!(figures(&shop, &mandate).await, ("0.00".into(), "0.25".into()));
    assert_eq!(figures(&shop, &another).await, ("0.00".into(), "0.00".into()));
    // The other way round.
    let paid = x402(&mandate, &second, json!({})).await.expect("signed");
    let same = close(&shop, &new_key(), asked(&mandate, &second, json!({}))).await;
    assert_eq!(code(same), "purchase_unresolved");
    let meant = json!({ "again_after": text(&closed, "id") });
    assert_eq!(code(close(&shop, &new_key(), asked(&mandate, &second, meant)).await), "again_after_elsewhere");
    let meant = json!({ "again_after": text(&paid, "id") });
    close(&shop, &new_key(), asked(&mandate, &second, meant)).await.expect("a second one that is meant");
}
