//! Promises 1 to 3 where our own wallet pays by Permit2: nothing is signed that cannot move or that is not understood, and
//! what is signed is one purchase.

use alloy_primitives::{Address, B256, U256, keccak256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use purser::world::shop_address;
use reqwest::Method;
use serde_json::{Value, json};
use x402::permit2::{EXACT_PROXY, PERMIT2};
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequired};

use crate::harness::shop::{Shop, code, intent, new_key};
use crate::harness::text;

fn by_permit2(shop: &Shop, amount: u128) -> PaymentRequired {
    let mut required = shop.offer("/paid/any", amount);
    required.accepts[0].extra.as_mut().unwrap().insert("assetTransferMethod".to_owned(), json!("permit2"));
    required
}

/// Lets Permit2 take so much of the wallet's tokens: the wallet's key is the service's own, so the chain is told directly.
fn allow(shop: &Shop, units: u64) {
    let inside = |key: Address, slot: B256| keccak256([key.into_word().0, slot.0].concat());
    // `mapping(address => mapping(address => uint256)) allowance`, the fifth variable of the test dollar.
    let slot = inside(PERMIT2, inside(shop.service.wallet(), B256::from(U256::from(4))));
    shop.rpc("anvil_setStorageAt", json!([chain::token::ADDRESS, slot, B256::from(U256::from(units))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_move_is_not_signed() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let offer = by_permit2(&shop, 10_000);
    let refused = async |required: &PaymentRequired| code(shop.pay(&mandate, required, &new_key()).await);
    assert_eq!(refused(&offer).await, "permit2_allowance_required");
    allow(&shop, 9_999);
    assert_eq!(refused(&offer).await, "permit2_allowance_required", "one unit less");
    allow(&shop, 1_000_000_000);
    let with = |name: &str, value: Value| {
        let mut offer = offer.clone();
        offer.accepts[0].extra.as_mut().unwrap().insert(name.to_owned(), value);
        offer
    };
    for (name, value) in [
        ("assetTransferMethod", json!("erc7710")),
        ("assetTransferMethod", json!(["permit2"])),
        ("assetTransferMethod", json!("Permit2")),
        ("name", json!("USDC")),
        ("version", json!("1")),
        ("paymentFlow", json!("upfront")),
    ] {
        assert_eq!(refused(&with(name, value.clone())).await, "no_payable_offer", "{name} = {value}");
    }
    for nobody in [json!(null), json!("0x00"), json!(Address::ZERO.to_string())] {
        let mut upto = with("facilitatorAddress", nobody.clone());
        upto.accepts[0].scheme = "upto".to_owned();
        assert_eq!(refused(&upto).await, "no_payable_offer", "{nobody} may charge");
    }
    let shown = shop.figures(&mandate).await;
    assert_eq!((text(&shown["held"], "units"), shown["payments"]["used"].as_u64()), ("0", Some(0)), "nothing is held");
    assert!(shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address())).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_one_purchase_and_seen_on_the_chain() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    allow(&shop, 20_000);
    let (offer, key) = (by_permit2(&shop, 10_000), new_key());
    let payment = shop.pay(&mandate, &offer, &key).await.expect("a payment");
    let again = shop.pay(&mandate, &offer, &key).await.expect("the same");
    assert_eq!(payment["payment_signature"], again["payment_signature"], "the same key gives the same bytes");
    let bytes = STANDARD.decode(text(&payment, "payment_signature")).unwrap();
    let payload: PaymentPayload = serde_json::from_slice(&bytes).unwrap();
    let permit = &payload.payload["permit2Authorization"];
    assert_eq!(permit["spender"], json!(EXACT_PROXY.to_string()));
    assert_eq!(permit["permitted"]["amount"], "10000", "exactly the amount, never more");

    let request = FacilitatorRequest::new(payload, offer.accepts[0].clone());
    let settle = reqwest::Client::new().post(shop.url("/settle")).json(&request);
    let settled: Value = settle.send().await.unwrap().json().await.unwrap();
    assert_eq!(settled["success"], true, "{settled}");
    let id = text(&payment, "id");
    let path = format!("/v1/payments/{id}/outcome");
    let outcome = shop.call(Method::POST, &path, &shop.agent, Some(json!({}))).await.expect("an outcome");
    assert_eq!(outcome["state"], "settled", "{outcome}");
    assert_eq!((&outcome["transaction"], &outcome["network"]), (&settled["transaction"], &json!("eip155:31337")));
    let moved = shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address()));
    assert_eq!(moved.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [10_000]);
    let after = shop.pay(&mandate, &offer, &key).await.expect("what it came to");
    assert_eq!(after["payment_signature"], payment["payment_signature"]);
}

fn payload(payment: &Value) -> PaymentPayload {
    serde_json::from_slice(&STANDARD.decode(text(payment, "payment_signature")).unwrap()).unwrap()
}

fn declaring(mut required: PaymentRequired, extensions: &[&str]) -> PaymentRequired {
    let declared =
        extensions.iter().map(|name| ((*name).to_owned(), json!({ "info": { "version": "1", "text": "t" } })));
    required.extensions = Some(declared.collect());
    required
}

async fn settle(shop: &Shop, payment: &Value, required: &PaymentRequired) -> Value {
    let request = FacilitatorRequest::new(payload(payment), required.accepts[0].clone());
    let answer = reqwest::Client::new().post(shop.url("/settle")).json(&request).send().await.unwrap();
    answer.json().await.unwrap()
}

fn moved(shop: &Shop) -> Vec<u128> {
    let found = shop.transfers(&shop.wallet(), &format!("{:#x}", shop_address()));
    found.into_iter().map(|(_, value)| value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_can_be_paid_is_taken() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(intent()).await;
    let mut both = by_permit2(&shop, 10_000);
    both.accepts.extend(shop.offer("/paid/any", 10_000).accepts);
    let key = new_key();
    let payment = shop.pay(&mandate, &both, &key).await.expect("a payment");
    assert!(payload(&payment).payload.contains_key("authorization"), "the second one: the first cannot move");
    // Now the first one could; what was bought under the key stays what it is.
    allow(&shop, 10_000);
    let again = shop.pay(&mandate, &both, &key).await.expect("the same");
    assert_eq!(again["payment_signature"], payment["payment_signature"]);
    let mut other = both.clone();
    other.resource.url = shop.url("/paid/other");
    let next = shop.pay(&mandate, &other, &new_key()).await.expect("a payment");
    assert!(payload(&next).payload.contains_key("permit2Authorization"), "in the seller's order");
    // What takes an allowance along is taken last.
    allow(&shop, 0);
    other.resource.url = shop.url("/paid/third");
    let declared = declaring(other.clone(), &["eip2612GasSponsoring", "erc20ApprovalGasSponsoring"]);
    let last = shop.pay(&mandate, &declared, &new_key()).await.expect("a payment");
    assert!(payload(&last).payload.contains_key("authorization") && payload(&last).extensions.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_comes_along_for_exactly_the_amount() {
    for extension in ["eip2612GasSponsoring", "erc20ApprovalGasSponsoring"] {
        let shop = Shop::open().await;
        let mandate = shop.mandate(intent()).await;
        let refused = code(shop.pay(&mandate, &declaring(by_permit2(&shop, 10_000), &["other"]), &new_key()).await);
        assert_eq!(refused, "permit2_allowance_required", "nobody takes it along");
        for odd in [json!(null), json!("yes"), json!([])] {
            let mut required = by_permit2(&shop, 10_000);
            required.extensions = json!({ extension: odd }).as_object().cloned();
            assert_eq!(code(shop.pay(&mandate, &required, &new_key()).await), "permit2_allowance_required");
        }
        allow(&shop, 9_999);
        let (required, key) = (declaring(by_permit2(&shop, 10_000), &[extension]), new_key());
        let payment = shop.pay(&mandate, &required, &key).await.expect("a payment");
        let again = shop.pay(&mandate, &required, &key).await.expect("the same");
        assert_eq!(payment["payment_signature"], again["payment_signature"], "the same key gives the same bytes");
        let info = &payload(&payment).extensions.unwrap()[extension]["info"];
        assert_eq!((text(info, "amount"), text(info, "text")), ("10000", "t"), "{info}");
        assert_eq!(text(info, "spender"), PERMIT2.to_string());
        let settled = settle(&shop, &payment, &required).await;
        assert_eq!((&settled["success"], moved(&shop)), (&json!(true), vec![10_000]), "{settled}");
        let after = shop.pay(&mandate, &required, &key).await.expect("what it came to");
        assert_eq!(after["payment_signature"], payment["payment_signature"]);
        let calls = format!("0xdd62ed3e{:0>64}{:0>64}", &shop.wallet()[2..], &PERMIT2.to_string()[2..]);
        let left = shop.rpc("eth_call", json!([{ "to": chain::token::ADDRESS, "data": calls }, "latest"]));
        assert_eq!(left, json!(B256::ZERO), "nothing is left of the allowance");
        let evidence = format!("/v1/payments/{}/evidence", text(&payment, "id"));
        let evidence = shop.call(Method::GET, &evidence, &shop.user, None).await.expect("evidence").to_string();
        assert!(evidence.contains("pledge"), "what was signed beside it is on record");
    }
}
