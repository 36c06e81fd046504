//! Promises 2 and 3 where the token does not do what its transactions say: a payment is made where the token logged exactly
//! the transfer that was signed for, and nowhere else, whatever it answered and however well its transaction went.

use std::time::Duration;

use ledger::account::Account;
use ledger::store::{Store as _, Verification};
use purser::world::{CARRIER, HOME, MARKER, SHOP, shop_address};
use serde_json::{Value, json};
use x402::wire::{FacilitatorRequest, PaymentPayload, read_header};

use crate::harness::shop::{FALSE, HOLLOW, Shop, intent};
use crate::harness::text;

async fn settle(shop: &Shop, payload: &PaymentPayload) -> Value {
    let request = FacilitatorRequest::new(payload.clone(), payload.accepted.clone());
    let answer = reqwest::Client::new().post(shop.url("/settle")).json(&request).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn relayed(shop: &Shop) -> u64 {
    let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
    let count = shop.rpc("eth_getTransactionCount", json!([supported["signers"]["eip155:*"][0], "latest"]));
    u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn moved(shop: &Shop) -> usize {
    shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).len()
}

async fn state(shop: &Shop, payment: &Value) -> String {
    let path = format!("/v1/payments/{}", text(payment, "id"));
    text(&shop.call(reqwest::Method::GET, &path, &shop.user, None).await.unwrap(), "state").to_owned()
}

/// What stands in an account of the token, on its debit and on its credit side.
async fn booked(shop: &Shop, tenant: &str, account: &Account) -> (u128, u128) {
    let found = shop.service.store().balances(&tenant.parse().unwrap()).await.unwrap();
    let of_token = |asset: &str| asset.contains("/erc20:");
    let found = found.into_iter().find(|entry| entry.account == *account && of_token(entry.asset.as_str()));
    found.map_or((0, 0), |entry| (entry.balance.debit_posted.get(), entry.balance.credit_posted.get()))
}

async fn sound(shop: &Shop) {
    for tenant in [HOME, SHOP, CARRIER] {
        let verified = shop.service.store().verify(&tenant.parse().unwrap()).await.unwrap();
        assert!(matches!(verified, Verification::Sound { .. }), "{tenant}: {verified:?}");
    }
}

/// The transaction goes well, and nobody was paid: nothing is sold, nothing is booked as sold or as paid, and no gas is spent on
/// it twice.
async fn pays_for_nothing(oddity: u8, ends: &str) {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let payment = shop.pay(&mandate, &shop.met("/paid/report").await, "odd").await.expect("signed");
    let signature = text(&payment, "payment_signature").to_owned();
    let payload: PaymentPayload = read_header(signature.as_bytes()).unwrap();
    shop.token_turns(oddity);
    let before = relayed(&shop).await;
    let bought = shop.fetch("/paid/report", Some(&signature)).await;
    let said = String::from_utf8_lossy(&bought.body).into_owned();
    assert!(bought.status.as_u16() != 200 && !said.contains(MARKER), "{oddity}: {} {said}", bought.status);
    for _ in 0..2 {
        let settled = settle(&shop, &payload).await;
        assert_ne!(settled["success"], true, "{oddity}: {settled}");
        let again = shop.fetch("/paid/report", Some(&signature)).await;
        assert_ne!(again.status.as_u16(), 200, "{oddity}");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(relayed(&shop).await, before + 1, "{oddity}: the gas of one transaction");
    assert_eq!((moved(&shop), state(&shop, &payment).await.as_str()), (0, ends), "{oddity}");
    assert_eq!(booked(&shop, SHOP, &Account::Sales).await, (0, 0), "{oddity}");
    let wallet = Account::Wallet(format!("eip155:31337:{}", shop.wallet()));
    assert_eq!(booked(&shop, HOME, &wallet).await.1, 0, "{oddity}: nothing left the wallet");
    let held = shop.figures(&mandate).await["held"]["units"].clone();
    assert_ne!(held, "0", "{oddity}: nothing is given back on the word of such a token");
    // An honest token is paid in as ever.
    shop.token_mends();
    let next = shop.pay(&mandate, &shop.met("/paid/note").await, "next").await.expect("signed");
    assert_eq!(shop.fetch("/paid/note", Some(text(&next, "payment_signature"))).await.status.as_u16(), 200);
    assert_eq!(moved(&shop), 1, "{oddity}");
    sound(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_no_without_a_revert_pays_for_nothing() {
    pays_for_nothing(FALSE, "committed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_uses_an_authorization_up_and_moves_nothing_pays_for_nothing() {
    pays_for_nothing(HOLLOW, "spent_otherwise").await;
}
