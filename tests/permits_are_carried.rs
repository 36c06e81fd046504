//! Promise 3 for permits of Permit2: the facilitator carries each once, never more than was signed, and says by name why
//! it does not.

use alloy_primitives::{Address, U256};
use chain::accounts::{ACCOUNTS, TestAccount};
use ledger::store::Store as _;
use purser::world::shop_address;
use serde_json::{Value, json};
use x402::exact::{Terms, Transfer, WalletKey};
use x402::permit2::sponsor::{Allowance, EXTENSION};
use x402::permit2::{EXACT_PROXY, Permit, PermitWire, UPTO_PROXY, Witness};
use x402::scheme;
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequirements};

use crate::harness::shop::{FALSE, NO_PERMIT, Shop};
use crate::harness::text;

const PRICE: u64 = 10_000;

/// Somebody without an allowance for Permit2, who has ten prices.
struct Buyer<'a> {
    shop: &'a Shop,
    account: TestAccount,
    key: WalletKey,
    facilitator: String,
}

impl<'a> Buyer<'a> {
    async fn of(shop: &'a Shop) -> Self {
        let account = ACCOUNTS[8];
        shop.service.devnet().mint(account.address, U256::from(10 * PRICE)).unwrap();
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        let kinds = supported["kinds"].as_array().unwrap();
        let upto = kinds.iter().find(|kind| kind["scheme"] == "upto").expect("upto is supported");
        assert!(supported["extensions"].as_array().unwrap().contains(&json!(EXTENSION)));
        let facilitator = text(&upto["extra"], "facilitatorAddress").to_owned();
        assert_eq!(supported["signers"]["eip155:*"], json!([facilitator]));
        let key = WalletKey::from_bytes(&account.private_key.0).unwrap();
        Self { shop, account, key, facilitator }
    }

    fn requirements(&self, scheme: &str) -> PaymentRequirements {
        let mut requirements = self.shop.offer("/paid/any", PRICE.into()).accepts.remove(0);
        requirements.scheme = scheme.to_owned();
        let extra = requirements.extra.as_mut().unwrap();
        extra.insert("assetTransferMethod".to_owned(), json!("permit2"));
        if scheme == "upto" {
            extra.insert("facilitatorAddress".to_owned(), json!(self.facilitator));
        }
        requirements
    }

    fn now(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    }

    fn permit(&self, terms: &Terms, nonce: u64) -> Permit {
        let (to, valid_after) = (terms.pay_to, U256::ZERO);
        let (spender, witness) = match terms.transfer {
            Transfer::Upto { facilitator } => (UPTO_PROXY, Witness::Upto { to, facilitator, valid_after }),
            _ => (EXACT_PROXY, Witness::Exact { to, valid_after }),
        };
        Permit {
            from: self.account.address,
            token: terms.token,
            amount: terms.value(),
            spender,
            nonce: U256::from(nonce),
            deadline: U256::from(self.now() + 50),
            witness,
        }
    }

    /// A signed payment; with `allowed`, a permit of the token comes along, the payer's so-and-so-many-th.
    fn pay(&self, requirements: &PaymentRequirements, nonce: u64, allowed: Option<u64>) -> PaymentPayload {
        let terms = scheme::terms(requirements).unwrap();
        let permit = self.permit(&terms, nonce);
        let signature = self.key.sign(permit.digest(terms.network)).unwrap();
        let wire = serde_json::to_value(PermitWire::new(&permit, signature.to_text())).unwrap();
        let extensions = allowed.map(|nonce| {
            let (owner, value, deadline) = (permit.from, permit.amount, permit.deadline);
            let allowance = Allowance { owner, value, nonce: U256::from(nonce), deadline };
            let signature = self.key.sign(allowance.digest(&terms.domain)).unwrap();
            serde_json::Map::from_iter([(EXTENSION.to_owned(), allowance.extension(terms.token, signature))])
        });
        PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: requirements.clone(),
            payload: wire.as_object().unwrap().clone(),
            extensions,
            unknown: serde_json::Map::new(),
        }
    }

    async fn ask(&self, path: &str, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Value {
        let request = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let answer = reqwest::Client::new().post(self.shop.url(path)).json(&request).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn reason(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> (Value, Value) {
        let verified = self.ask("/verify", payload, requirements).await;
        let settled = self.ask("/settle", payload, requirements).await;
        assert!(verified["isValid"] == false && settled["success"] == false, "{verified} {settled}");
        (verified["invalidReason"].clone(), settled["errorReason"].clone())
    }

    fn moved(&self) -> Vec<u128> {
        let (from, to) = (format!("{:#x}", self.account.address), format!("{:#x}", shop_address()));
        self.shop.transfers(&from, &to).into_iter().map(|(_, value)| value).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_carried_is_refused_by_name() {
    let shop = Shop::open().await;
    let buyer = Buyer::of(&shop).await;
    let (exact, upto) = (buyer.requirements("exact"), buyer.requirements("upto"));
    let both = |code: &str| (json!(code), json!(code));
    let good = buyer.pay(&exact, 1, None);
    assert_eq!(buyer.reason(&good, &exact).await, both("permit2_allowance_required"));
    assert_eq!(buyer.reason(&buyer.pay(&upto, 2, None), &upto).await, both("permit2_allowance_required"));
    let stale = buyer.pay(&exact, 3, Some(7));
    assert_eq!(buyer.reason(&stale, &exact).await, both("permit2_allowance_required"), "a permit of another counter");

    let dear = PaymentRequirements { amount: (11 * PRICE).to_string(), ..exact.clone() };
    assert_eq!(buyer.reason(&buyer.pay(&dear, 4, Some(0)), &dear).await, both("permit2_insufficient_balance"));
    let mut other = upto.clone();
    other.extra.as_mut().unwrap().insert("facilitatorAddress".into(), json!(Address::repeat_byte(9).to_string()));
    assert_eq!(buyer.reason(&buyer.pay(&other, 5, Some(0)), &other).await, both("upto_facilitator_mismatch"));
    let mut forged = buyer.pay(&exact, 6, Some(0));
    forged.payload["permit2Authorization"]["nonce"] = json!("7");
    assert_eq!(buyer.reason(&forged, &exact).await, both("invalid_permit2_signature"));
    let mut elsewhere = buyer.pay(&exact, 8, Some(0));
    elsewhere.payload["permit2Authorization"]["spender"] = json!(UPTO_PROXY.to_string());
    assert_eq!(buyer.reason(&elsewhere, &exact).await, both("invalid_permit2_spender"));
    let mut wide = buyer.pay(&exact, 9, Some(0));
    wide.extensions.as_mut().unwrap()[EXTENSION]["info"]["amount"] = json!(U256::MAX.to_string());
    assert_eq!(buyer.reason(&wide, &exact).await, both("permit2_2612_amount_mismatch"));
    let signed = buyer.pay(&upto, 10, Some(0));
    let more = PaymentRequirements { amount: (PRICE + 1).to_string(), ..upto.clone() };
    let above = buyer.ask("/settle", &signed, &more).await;
    assert_eq!(above["errorReason"], "invalid_upto_evm_payload_settlement_exceeds_amount");
    assert!(buyer.moved().is_empty(), "nothing moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_carried_once() {
    let shop = Shop::open().await;
    let buyer = Buyer::of(&shop).await;
    let exact = buyer.requirements("exact");
    let payment = buyer.pay(&exact, 1, Some(0));
    assert_eq!(buyer.ask("/verify", &payment, &exact).await["isValid"], true);
    let settled = buyer.ask("/settle", &payment, &exact).await;
    assert_eq!((&settled["success"], &settled["network"]), (&json!(true), &json!("eip155:31337")), "{settled}");
    assert_eq!(buyer.moved(), [u128::from(PRICE)]);

    let both = (json!("permit2_invalid_nonce"), json!("permit2_invalid_nonce"));
    assert_eq!(buyer.reason(&payment, &exact).await, both, "the same again");
    assert_eq!(buyer.reason(&buyer.pay(&exact, 1, Some(1)), &exact).await, both, "the nonce in another permit");
    assert_eq!(buyer.moved(), [u128::from(PRICE)]);
    let next = buyer.ask("/settle", &buyer.pay(&exact, 2, Some(1)), &exact).await;
    assert_eq!(next["success"], true, "{next}");
    assert_ne!(next["transaction"], settled["transaction"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_what_was_permitted_moves_once() {
    let shop = Shop::open().await;
    let buyer = Buyer::of(&shop).await;
    let upto = buyer.requirements("upto");
    let charge = |amount: u64| PaymentRequirements { amount: amount.to_string(), ..buyer.requirements("upto") };
    let payment = buyer.pay(&upto, 1, Some(0));
    assert_eq!(buyer.ask("/verify", &payment, &upto).await["isValid"], true);
    let settled = buyer.ask("/settle", &payment, &charge(37)).await;
    assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("37")), "{settled}");
    assert_eq!(buyer.moved(), [37]);
    for again in [37, 1, PRICE, 0] {
        let said = buyer.ask("/settle", &payment, &charge(again)).await;
        assert_ne!(said["success"], true, "charged {again} again: {said}");
    }

    // A charge of nothing: the chain hears nothing of it, and the permit is spent all the same.
    let free = buyer.pay(&upto, 2, Some(1));
    let settled = buyer.ask("/settle", &free, &charge(0)).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!((&settled["transaction"], &settled["amount"]), (&json!(""), &json!("0")));
    let carrier = shop.service.tenant(purser::world::CARRIER).unwrap();
    let open = shop.service.store().open_settlements(&carrier, None, 10).await.unwrap();
    assert!(open.is_empty(), "nothing can come of it, so nothing waits for it: {open:?}");
    let verified = buyer.ask("/verify", &free, &upto).await;
    assert_eq!(verified["invalidReason"], "permit2_invalid_nonce", "{verified}");
    // Nor does it wait for years.
    let years = |requirements: PaymentRequirements| PaymentRequirements { max_timeout_seconds: 3_601, ..requirements };
    let late = buyer.pay(&years(upto.clone()), 3, Some(1));
    for (path, requirements) in [("/verify", years(upto.clone())), ("/settle", years(charge(0)))] {
        let said = buyer.ask(path, &late, &requirements).await;
        let reason = [&said["invalidReason"], &said["errorReason"]].into_iter().find(|reason| !reason.is_null());
        assert_eq!(reason, Some(&json!("invalid_payment_requirements")), "{said}");
        assert!(said.to_string().contains("at most 3600 seconds"), "both values are named: {said}");
    }
    for again in [0, 1, PRICE] {
        let said = buyer.ask("/settle", &free, &charge(again)).await;
        assert_ne!(said["success"], true, "charged {again} after nothing: {said}");
    }
    assert_eq!(buyer.moved(), [37]);
}

/// A token without EIP-2612, and one that says `false` where it moves nothing: what comes along for the first is refused before
/// anything is sent, and of the second no settlement is a success, by whichever scheme.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_permits_and_one_that_moves_nothing_settle_nothing() {
    let shop = Shop::open().await;
    let buyer = Buyer::of(&shop).await;
    let (exact, upto) = (buyer.requirements("exact"), buyer.requirements("upto"));
    let sent = || shop.rpc("eth_getTransactionCount", json!([buyer.facilitator, "latest"]));
    let before = sent();
    shop.token_turns(NO_PERMIT);
    for (number, requirements) in [(1, &exact), (2, &upto)] {
        let payment = buyer.pay(requirements, number, Some(0));
        let (verified, settled) = buyer.reason(&payment, requirements).await;
        assert_eq!(verified, settled);
        assert!(text(&json!({ "code": settled }), "code").starts_with("permit2_"), "{settled}");
    }
    assert_eq!((sent(), buyer.moved().len()), (before.clone(), 0), "nothing was sent");
    // Its permit is taken where there are permits, and the allowance stands from then on.
    shop.token_mends();
    let paid = buyer.pay(&exact, 3, Some(0));
    assert_eq!(buyer.ask("/settle", &paid, &exact).await["success"], true);
    let raw = buyer.pay(&upto, 4, Some(1));
    shop.token_turns(FALSE);
    let after = sent();
    for (payment, requirements) in [(&raw, &upto), (&buyer.pay(&exact, 5, Some(1)), &exact)] {
        let settled = buyer.ask("/settle", payment, requirements).await;
        assert_ne!(settled["success"], true, "{settled}");
    }
    assert_eq!(
        (sent(), buyer.moved().len()),
        (after, 1),
        "Permit2 does not take a `false`, and says so in the simulation"
    );
}
