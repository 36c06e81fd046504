//! Promises 1 to 6 where our own wallet pays out of a channel (scheme `batch-settlement`): a voucher a request, never more than
//! was held for it, whatever its payee says; one at a time, on whichever replica; and the rest comes back.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use purser::world::shop_address;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use x402::batch_settlement::{ESCROW, Message, voucher_digest};
use x402::exact::EvmSignature;
use x402::value::Amount;
use x402::wire::PaymentPayload;

use crate::harness::channel::{PRICE, Seller, key_of, network};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::text;
use crate::harness::wallet::{
    address, balance_of, booked, bought, channels, fetch, own_channels, units, with_channels,
};
use crate::harness::world::World;

/// Authority has eight digits of a dollar, the token six.
const AUTHORITY: u128 = 100;
const DEPOSIT: u128 = 10 * PRICE;
const FUNDS: u128 = 1_000_000_000;

async fn seller_of(mut world: World) -> Seller {
    with_channels(&mut world, channels(20 * PRICE));
    Seller::of(world, &[]).await
}

async fn open() -> Seller {
    seller_of(World::start_with(60).await).await
}

fn payload(header: &str) -> PaymentPayload {
    serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap()
}

/// What the wallet put into the escrow, wherever its seller has moved it since.
async fn put_in(seller: &Seller) -> u128 {
    FUNDS - seller.balance(address(&seller.world)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_are_paid_out_of_one_channel_and_its_rest_comes_back() {
    let mut seller = open().await;
    let mandate = seller.world.mandate().await;
    let at = |path: &str| format!("{}{path}", seller.origin());
    let posted = async |expected: u128, what: &str| {
        let path = format!("/v1/mandates/{mandate}");
        let shown = seller.world.call(Method::GET, &path, &seller.world.user, None).await.unwrap();
        assert_eq!((units(&shown, "posted"), units(&shown, "held")), (expected * AUTHORITY, 0), "{what}: {shown}");
    };
    let (got, paid) = bought(&seller.world, &at("/channel/whole"), &mandate, "first").await;
    assert_eq!((got.status.as_u16(), text(&paid, "state")), (200, "settled"), "{paid}");
    assert_eq!((text(&paid, "amount"), text(&paid, "transaction")), ("1000", "channel:0:1000:1000"));
    assert_eq!(put_in(&seller).await, DEPOSIT, "ten prices");
    posted(1_000, "the whole").await;
    // Less was charged: what its voucher is good for stays spent until the next one takes its place.
    let (_, paid) = bought(&seller.world, &at("/channel/37"), &mandate, "part").await;
    assert_eq!(text(&paid, "transaction"), "channel:1000:37:2000");
    posted(2_000, "what can still be claimed").await;
    let (_, paid) = bought(&seller.world, &at("/channel/0"), &mandate, "nothing").await;
    assert_eq!(text(&paid, "transaction"), "channel:1037:0:2037");
    posted(2_037, "the rest of the one before came back").await;
    for number in 0..9 {
        let (_, paid) = bought(&seller.world, &at("/channel/whole"), &mandate, &format!("more-{number}")).await;
        let before = 1_037 + number * PRICE;
        let expected = format!("channel:{before}:1000:{}", before + PRICE);
        assert_eq!((text(&paid, "state"), text(&paid, "transaction")), ("settled", expected.as_str()));
    }
    posted(10_037, "to the unit").await;
    assert_eq!(seller.work.runs(), 12);
    let put_in = put_in(&seller).await;
    assert!(put_in > DEPOSIT, "it was topped up");

    let (_, listed, _) = own_channels(&seller.world, &["list"]);
    assert_eq!((listed.len(), text(&listed[0], "charged")), (1, "10037"), "{listed:?}");
    let (is_empty, after, said) = own_channels(&seller.world, &["refund", text(&listed[0], "id")]);
    assert!(is_empty, "{after:?} {said}");
    assert_eq!(seller.balance(address(&seller.world)).await, FUNDS - 10_037);
    seller.world.serve = None;
    let accounts = booked(&seller.world);
    for (account, expected) in [("wallet/", FUNDS - 10_037), ("channel/", 0), ("spend/", 10_037), ("issued", 0)] {
        assert_eq!(balance_of(&accounts, account), expected.to_string(), "{account}: {accounts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_configuration_says_nothing_no_money_is_put_into_a_channel() {
    let seller = Seller::open().await;
    let mandate = seller.world.mandate().await;
    let url = format!("{}/channel/whole", seller.origin());
    let refused = fetch(&seller.world, &url, &mandate, "key").await.unwrap_err();
    assert_eq!(refused.code(), Some("no_payable_offer"), "{refused}");
    assert_eq!((seller.work.runs(), seller.balance(ESCROW).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_stops_bite_before_a_voucher_is_signed() {
    let mut world = World::start_with(60).await;
    // Less than the ten prices that the seller asks for at least.
    with_channels(&mut world, channels(9 * PRICE));
    let mut seller = Seller::of(world, &[]).await;
    let url = format!("{}/channel/whole", seller.origin());
    let mandate = seller.world.mandate_with(json!({ "total": "0.01", "per_payment": "0.01" })).await;
    let code = async |seller: &Seller, key: &str| {
        let refused = fetch(&seller.world, &url, &mandate, key).await.unwrap_err();
        refused.code().unwrap_or_default().to_owned()
    };
    assert_eq!(code(&seller, "too-much-bound").await, "channel_limit_exceeded");
    with_channels(&mut seller.world, channels(10 * PRICE));
    seller.world.restart();
    let stop = json!({ "scope": format!("mandate/{mandate}") });
    let stopped = seller.world.call(Method::POST, "/v1/kill", &seller.world.user, Some(stop)).await.unwrap();
    assert_eq!(code(&seller, "stopped").await, "stopped");
    assert_eq!((seller.work.runs(), seller.balance(ESCROW).await), (0, 0), "nothing was signed");
    let lift = format!("/v1/kill/{}", text(&stopped, "id"));
    seller.world.call(Method::DELETE, &lift, &seller.world.user, None).await.unwrap();
    for number in 0..10 {
        bought(&seller.world, &url, &mandate, &format!("key-{number}")).await;
    }
    assert_eq!(code(&seller, "one-more").await, "amount_exceeds_budget");
    assert_eq!(seller.work.runs(), 10);
    assert_eq!(put_in(&seller).await, DEPOSIT);
}

/// The service is killed while its seller works; the same key presents the same voucher, and is charged once.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_signature_and_answer_costs_nothing_twice() {
    let mut seller = open().await;
    let mandate = seller.world.mandate().await;
    let url = format!("{}/short/slow", seller.origin());
    let offer = seller.world.client.fetch("GET", &url, None).await.unwrap();
    let body = json!({
        "mandate": mandate, "url": url, "payment_required_header": offer.header("payment-required").unwrap(),
    });
    let pay = async |seller: &Seller| {
        let world = &seller.world;
        let body = Some(body.clone());
        world.client.call(Method::POST, "/v1/payments", &world.agent, Some("once"), body).await
    };
    let payment = pay(&seller).await.unwrap();
    let first = payload(text(&payment, "payment_signature"));
    assert!(matches!(Message::read(&first.payload).unwrap(), Message::Deposit { .. }));
    let again = pay(&seller).await.unwrap();
    assert_eq!(payment["payment_signature"], again["payment_signature"], "the same bytes, deposit and all");
    let presented = {
        let (client, url) = (seller.world.client.clone(), url.clone());
        let header = text(&payment, "payment_signature").to_owned();
        tokio::spawn(async move { client.fetch("GET", &url, Some(&header)).await })
    };
    crate::harness::channel::until("its seller works", async || seller.work.runs() == 1).await;
    seller.world.kill();
    assert!(presented.await.unwrap().is_err());
    seller.world.restart();
    seller.work.lets_go.store(true, std::sync::atomic::Ordering::SeqCst);
    // A second one waits for the first.
    let other = format!("{}/short/whole", seller.origin());
    let busy = fetch(&seller.world, &other, &mandate, "another").await.unwrap_err();
    assert_eq!(busy.code(), Some("channel_busy"), "{busy}");
    // Until what the dead process had begun is over.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (got, paid) = bought(&seller.world, &url, &mandate, "once").await;
    assert_eq!((got.status.as_u16(), text(&paid, "transaction")), (200, "channel:0:1000:1000"), "{paid}");
    assert_eq!(put_in(&seller).await, DEPOSIT, "once");
    let (_, next) = bought(&seller.world, &other, &mandate, "another").await;
    assert_eq!(text(&next, "transaction"), "channel:1000:1000:2000");
    seller.world.serve = None;
    assert_eq!(balance_of(&booked(&seller.world), "spend/"), "2000");
}

/// Two processes on one book, and a channel: every request is paid once, and none of them twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_go_on_in_one_channel() {
    let mut seller = seller_of(World::on(60, Cluster::start(QUICK)).await).await;
    let mandate = seller.world.mandate().await;
    let (replica, client) = seller.world.replica(1);
    let url = format!("{}/channel/whole", seller.origin());
    let one_by_one = async |client: &purser::client::Client, name: &str| {
        let mut paid = 0;
        for number in 0..8 {
            let purchase = purser::pay::Purchase {
                url: url.clone(),
                method: "GET".into(),
                mandate: mandate.clone(),
                key: format!("{name}-{number}"),
                cart: None,
            };
            let credential = purser::credential::Credential::bearer(&seller.world.agent);
            match purser::pay::buy(client, &credential, &purchase, &|_| {}).await {
                Ok(bought) => {
                    assert_eq!(bought.payment.as_ref().map(|paid| text(paid, "state")), Some("settled"), "{bought:?}");
                    paid += 1;
                }
                Err(error) => assert!(matches!(error.code(), Some("channel_busy" | "purchase_unresolved")), "{error}"),
            }
        }
        paid
    };
    let (one, two) = tokio::join!(one_by_one(&seller.world.client, "one"), one_by_one(&client, "two"));
    let charged = (one + two) * PRICE;
    assert!(one + two >= 8, "{one} and {two}");
    assert_eq!(u128::from(seller.work.runs()) * PRICE, charged);
    let (_, listed, _) = own_channels(&seller.world, &["list"]);
    assert_eq!(text(&listed[0], "charged"), charged.to_string());
    drop(replica);
    seller.world.serve = None;
    assert_eq!(balance_of(&booked(&seller.world), "spend/"), charged.to_string());
}

/// A seller that says whatever it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    AboveTheMost,
    TooManyBefore,
    AnotherChannel,
    NoSum,
    Backwards,
    Silence,
    Garbage,
    ForeignSignature,
    CountWithoutProof,
}

const LIES: [Lie; 9] = [
    Lie::AboveTheMost,
    Lie::TooManyBefore,
    Lie::AnotherChannel,
    Lie::NoSum,
    Lie::Backwards,
    Lie::Silence,
    Lie::Garbage,
    Lie::ForeignSignature,
    Lie::CountWithoutProof,
];

#[derive(Clone)]
struct Liar {
    lie: Lie,
    url: String,
}

impl Liar {
    fn demand(&self, more: Value) -> Value {
        let mut extra = json!({
            "name": chain::token::NAME, "version": chain::token::VERSION, "withdrawDelay": 900,
            "receiverAuthorizer": key_of(&[9; 32]).address().to_string(),
        });
        more.as_object().unwrap().iter().for_each(|(name, value)| extra[name] = value.clone());
        let pay_to = key_of(&[100 + self.lie as u8; 32]).address().to_string();
        json!({ "x402Version": 2, "error": "payment required", "resource": { "url": self.url }, "accepts": [{
            "scheme": "batch-settlement", "network": "eip155:31337", "amount": PRICE.to_string(),
            "asset": chain::token::ADDRESS.to_string(), "payTo": pay_to, "maxTimeoutSeconds": 60, "extra": extra,
        }] })
    }

    fn answer(&self, payload: &PaymentPayload) -> (StatusCode, Option<(&'static str, Value)>) {
        let Message::Deposit { voucher, .. } = Message::read(&payload.payload).unwrap() else { panic!("a deposit") };
        let id = voucher.channel_id;
        let said = |id: String, charged: &str, so_far: &str| {
            let state = json!({ "channelId": id, "chargedCumulativeAmount": so_far, "balance": "10000" });
            let extra = json!({ "chargedAmount": charged, "channelState": state });
            let response = json!({ "success": true, "transaction": "", "network": "eip155:31337", "extra": extra });
            (StatusCode::OK, Some(("payment-response", response)))
        };
        let counted = |more: Value| {
            let state = json!({ "channelId": id.to_string(), "chargedCumulativeAmount": "1000", "balance": "10000" });
            let mut shown = json!({ "channelState": state });
            more.as_object().unwrap().iter().for_each(|(name, value)| shown[name] = value.clone());
            (StatusCode::PAYMENT_REQUIRED, Some(("payment-required", self.demand(shown))))
        };
        match self.lie {
            Lie::AboveTheMost => said(id.to_string(), "1001", "1001"),
            Lie::TooManyBefore => said(id.to_string(), "1000", "2000"),
            Lie::AnotherChannel => said(alloy_primitives::B256::repeat_byte(7).to_string(), "1000", "1000"),
            Lie::NoSum => said(id.to_string(), "999", "1000"),
            Lie::Backwards => said(id.to_string(), "-1", "0"),
            Lie::Silence => (StatusCode::OK, None),
            Lie::Garbage => (StatusCode::OK, Some(("payment-response", json!("nothing")))),
            Lie::ForeignSignature => {
                let forged = key_of(&[9; 32]).sign(voucher_digest(network(), id, Amount::new(1_000))).unwrap();
                counted(json!({ "voucherState": { "signedMaxClaimable": "1000", "signature": forged.to_text() } }))
            }
            Lie::CountWithoutProof => counted(json!({})),
        }
    }
}

async fn lies(State(liar): State<Liar>, headers: HeaderMap) -> Response {
    let encoded = |value: &Value| STANDARD.encode(value.to_string());
    let Some(payment) = headers.get("payment-signature") else {
        return (StatusCode::PAYMENT_REQUIRED, [("payment-required", encoded(&liar.demand(json!({}))))])
            .into_response();
    };
    match liar.answer(&payload(payment.to_str().unwrap())) {
        (status, Some((name, value))) => (status, [(name, encoded(&value))], "here it is").into_response(),
        (status, None) => (status, "here it is").into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_payee_says_no_more_is_spent_than_was_signed_and_no_more_is_signed() {
    let mut world = World::start_with(60).await;
    with_channels(&mut world, channels(100 * PRICE));
    world.restart();
    let mandate = world.mandate().await;
    for (number, lie) in (1..).zip(LIES) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/lie", listener.local_addr().unwrap());
        let router = Router::new().route("/lie", get(lies)).with_state(Liar { lie, url: url.clone() });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let (_, paid) = bought(&world, &url, &mandate, &format!("{lie:?}")).await;
        assert_eq!(text(&paid, "state"), "unknown", "{lie:?}: {paid}");
        let shown = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
        let held = number * PRICE * AUTHORITY;
        assert_eq!((units(&shown, "held"), units(&shown, "posted")), (held, 0), "{lie:?}: {shown}");
        // The same again signs the same voucher, and asks its payee again.
        let (_, again) = bought(&world, &url, &mandate, &format!("{lie:?}")).await;
        assert_eq!((again["id"].clone(), text(&again, "state")), (paid["id"].clone(), "unknown"), "{lie:?}");
        if lie == Lie::AboveTheMost {
            let refused = fetch(&world, &url, &mandate, "another").await.unwrap_err();
            assert_eq!(refused.code(), Some("channel_busy"), "{refused}");
        }
    }
    world.serve = None;
    let accounts = booked(&world);
    assert_eq!(balance_of(&accounts, "suspense"), (LIES.len() as u128 * PRICE).to_string());
    assert_eq!(balance_of(&accounts, "wallet/"), FUNDS.to_string(), "nothing was carried");
}

/// What is signed is over what was charged and what is held, in a channel of the offer's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_is_over_exactly_what_was_held() {
    let seller = open().await;
    let mandate = seller.world.mandate().await;
    let url = format!("{}/channel/37", seller.origin());
    bought(&seller.world, &url, &mandate, "first").await;
    let second = fetch(&seller.world, &url, &mandate, "second").await.unwrap();
    let signed = payload(second.payment_signature.as_deref().unwrap());
    let Message::Voucher(voucher) = Message::read(&signed.payload).unwrap() else { panic!("{signed:?}") };
    assert_eq!(voucher.max_claimable.get(), 37 + PRICE);
    let digest = voucher_digest(network(), voucher.channel_id, voucher.max_claimable);
    let wallet = address(&seller.world);
    assert_eq!(EvmSignature::read(&voucher.signature).unwrap().recover(digest).unwrap(), wallet);
    let channel = voucher.channel;
    assert_eq!((channel.payer, channel.payer_authorizer, channel.receiver), (wallet, wallet, shop_address()));
    assert_eq!((channel.id(network()), channel.token), (voucher.channel_id, chain::token::ADDRESS));
    let id = text(second.payment.as_ref().unwrap(), "id").to_owned();
    let path = format!("/v1/payments/{id}/evidence");
    let file = seller.world.call(Method::GET, &path, &seller.world.user, None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("evidence.json");
    std::fs::write(&name, file.to_string()).unwrap();
    let trust = folder.path().join("trust.json");
    std::fs::write(&trust, file["issuer_keys"].to_string()).unwrap();
    let [name, trust] = [name, trust].map(|path| path.display().to_string());
    let verified = crate::harness::process::run(&["verify", "--evidence", &name, "--trust", &trust], &[]);
    let said = crate::harness::process::stdout(&verified);
    assert!(verified.status.success() && said.ends_with("valid\n"), "{said}");
    assert!(said.contains("a voucher of"), "{said}");
    assert!(said.contains("the payee answered that it charged 37"), "{said}");
}
