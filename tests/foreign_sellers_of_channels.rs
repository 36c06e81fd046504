//! Our wallet pays unmodified sellers of others out of channels (scheme `batch-settlement`), through their facilitators and ours:
//! what is charged is what both count, and what was not charged comes back, to the unit.

use purser::world::shop_address;
use x402::batch_settlement::ESCROW;

use crate::foreign_channels::{Carrier, listening, started};
use crate::foreign_clients::{node_script, python_script};
use crate::harness::channel::Seller;
use crate::harness::text;
use crate::harness::wallet::{address, balance_of, booked, bought, channels, own_channels, with_channels};
use crate::harness::world::World;

const PRICE: u128 = 20_000;
const PART: u128 = 37;
const FUNDS: u128 = 1_000_000_000;
/// A public test key: it authorizes claims and refunds.
const AUTHORIZER: &str = "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";

async fn paid_to(script: &str, carrier: Carrier) {
    let mut world = World::start_with(60).await;
    with_channels(&mut world, channels(100 * PRICE));
    let mut seller = Seller::of(world, &[]).await;
    let named = format!("{script} through {carrier:?}");
    let (_carrier, facilitator) = started(carrier, &seller.world);
    let port = crate::harness::free_address().port();
    // Not the demo shop's account: its origin is another one.
    let pay_to = crate::harness::channel::key_of(&[77; 32]).address();
    let [asset, name, version] =
        [chain::token::ADDRESS.to_string(), chain::token::NAME.to_owned(), chain::token::VERSION.to_owned()];
    let (port_text, price, part) = (port.to_string(), PRICE.to_string(), PART.to_string());
    let marker = "foreign-content".to_owned();
    let arguments =
        [port_text, facilitator, pay_to.to_string(), asset, name, version, price, marker, part, AUTHORIZER.to_owned()];
    let command = if script.ends_with("py") { python_script(script) } else { node_script(script) };
    let _seller = listening(command, &arguments, port);

    let mandate = seller.world.mandate().await;
    let mut before = 0;
    for (number, (path, charged)) in
        (0..).zip([("sold", PRICE), ("part", PART), ("sold", PRICE), ("sold", PRICE), ("part", PART), ("sold", PRICE)])
    {
        let url = format!("http://127.0.0.1:{port}/{path}");
        let (got, paid) = bought(&seller.world, &url, &mandate, &format!("key-{number}")).await;
        let body = String::from_utf8_lossy(&got.body).into_owned();
        assert_eq!(got.status.as_u16(), 200, "{named}, {number}: {body} {paid}");
        assert!(body.contains("foreign-content"), "{named}, {number}: {body}");
        assert_eq!(text(&paid, "state"), "settled", "{named}, {number}: {paid}");
        let stands = format!("channel:{before}:{charged}:");
        assert!(text(&paid, "transaction").starts_with(&stands), "{named}, {number}: {stands} {paid}");
        before += charged;
    }
    assert_eq!(seller.balance(ESCROW).await, 10 * PRICE, "{named}");
    let (_, listed, _) = own_channels(&seller.world, &["list"]);
    assert_eq!(text(&listed[0], "charged"), before.to_string(), "{named}");
    let (is_empty, after, said) = own_channels(&seller.world, &["refund", text(&listed[0], "id")]);
    assert!(is_empty, "{named}: {after:?} {said}");
    assert_eq!(seller.balance(address(&seller.world)).await, FUNDS - before, "{named}");
    assert_eq!(seller.balance(shop_address()).await, 0, "{named}");
    seller.world.serve = None;
    let accounts = booked(&seller.world);
    for (account, expected) in [("wallet/", FUNDS - before), ("channel/", 0), ("spend/", before)] {
        assert_eq!(balance_of(&accounts, account), expected.to_string(), "{named}, {account}: {accounts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_wallet_keeps_a_channel_with_the_typescript_seller_through_us() {
    paid_to("sell_channels.mjs", Carrier::Ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_wallet_keeps_a_channel_with_the_python_seller_through_us() {
    paid_to("sell_channels.py", Carrier::Ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_wallet_keeps_a_channel_with_the_typescript_seller_and_facilitator() {
    paid_to("sell_channels.mjs", Carrier::TypeScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_wallet_keeps_a_channel_with_the_python_seller_and_facilitator() {
    paid_to("sell_channels.py", Carrier::Python).await;
}
