//! Promise 3 for payers without gas (x402, `erc20ApprovalGasSponsoring`): the facilitator sends their approval of Permit2 before
//! the payment, gives them the gas for it once, and no more than its owner set, whatever they do with it.

use alloy_primitives::{Address, U256};
use ledger::store::Store as _;
use purser::config::FacilitateConfig;
use purser::dev::DevOptions;
use purser::world::{CARRIER, shop_address};
use serde_json::{Value, json};
use x402::exact::{Transfer, WalletKey};
use x402::permit2::approval::{APPROVAL_GAS, Approval, EXTENSION, UnsignedApproval};
use x402::permit2::{EXACT_PROXY, Permit, PermitWire, UPTO_PROXY, Witness};
use x402::scheme;
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequirements};

use crate::harness::shop::{Shop, TWO_FACED};
use crate::harness::text;

const PRICE: u64 = 10_000;
/// 70,000 gas at 3 gwei.
const COST: u128 = 210_000_000_000_000;
const GWEI: u128 = 1_000_000_000;
const EMPTY_HANDED: &str = "erc20_approval_insufficient_eth_for_gas";

/// Somebody with ten prices in the token, no gas, and no allowance for Permit2.
struct Buyer {
    key: WalletKey,
    facilitator: Address,
}

/// A payment with an approval; what of it differs from a good one is changed before it is signed.
struct Asked {
    scheme: &'static str,
    nonce: u64,
    approval: UnsignedApproval,
}

impl Buyer {
    async fn of(shop: &Shop, seed: u8) -> Self {
        let key = WalletKey::from_bytes(&[seed; 32]).unwrap();
        shop.service.devnet().mint(key.address(), U256::from(10 * PRICE)).unwrap();
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        assert!(supported["extensions"].as_array().unwrap().contains(&json!(EXTENSION)));
        let signers = supported["signers"]["eip155:*"].as_array().unwrap();
        Self { key, facilitator: signers[0].as_str().unwrap().parse().unwrap() }
    }

    fn requirements(&self, shop: &Shop, scheme: &str) -> PaymentRequirements {
        let mut requirements = shop.offer("/paid/any", PRICE.into()).accepts.remove(0);
        requirements.scheme = scheme.to_owned();
        let extra = requirements.extra.as_mut().unwrap();
        extra.insert("assetTransferMethod".to_owned(), json!("permit2"));
        if scheme == "upto" {
            extra.insert("facilitatorAddress".to_owned(), json!(self.facilitator.to_string()));
        }
        requirements
    }

    fn request(&self, shop: &Shop, nonce: u64, change: impl FnOnce(&mut Asked)) -> FacilitatorRequest {
        let approval = UnsignedApproval {
            network: x402::network::Network::new(31_337).unwrap(),
            owner: self.key.address(),
            token: chain::token::ADDRESS,
            value: U256::MAX,
            nonce: 0,
            gas_limit: APPROVAL_GAS,
            max_fee_per_gas: 3 * GWEI,
            max_priority_fee_per_gas: GWEI,
        };
        let mut asked = Asked { scheme: "exact", nonce, approval };
        change(&mut asked);
        let requirements = self.requirements(shop, asked.scheme);
        let terms = scheme::terms(&requirements).unwrap();
        let (to, valid_after) = (terms.pay_to, U256::ZERO);
        let (spender, witness) = match terms.transfer {
            Transfer::Upto { facilitator } => (UPTO_PROXY, Witness::Upto { to, facilitator, valid_after }),
            _ => (EXACT_PROXY, Witness::Exact { to, valid_after }),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let permit = Permit {
            from: self.key.address(),
            token: terms.token,
            amount: terms.value(),
            spender,
            nonce: U256::from(asked.nonce),
            deadline: U256::from(now + 50),
            witness,
        };
        let signature = self.key.sign(permit.digest(terms.network)).unwrap();
        let wire = serde_json::to_value(PermitWire::new(&permit, signature.to_text())).unwrap();
        let extensions = json!({ EXTENSION: self.sign(&asked.approval).extension() });
        let payload = PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: requirements.clone(),
            payload: wire.as_object().unwrap().clone(),
            extensions: extensions.as_object().cloned(),
            unknown: serde_json::Map::new(),
        };
        FacilitatorRequest::new(payload, requirements)
    }

    fn sign(&self, unsigned: &UnsignedApproval) -> Approval {
        unsigned.signed(self.key.sign(unsigned.digest()).unwrap())
    }

    fn wei(&self, shop: &Shop) -> u128 {
        wei(shop, &self.key.address().to_string())
    }

    fn sent(&self, shop: &Shop) -> Value {
        shop.rpc("eth_getTransactionCount", json!([self.key.address(), "latest"]))
    }

    fn moved(&self, shop: &Shop) -> usize {
        let (from, to) = (format!("{:#x}", self.key.address()), format!("{:#x}", shop_address()));
        shop.transfers(&from, &to).len()
    }
}

fn wei(shop: &Shop, address: &str) -> u128 {
    let held = shop.rpc("eth_getBalance", json!([address, "latest"]));
    u128::from_str_radix(held.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn ask(shop: &Shop, path: &str, request: &FacilitatorRequest) -> Value {
    let answer = reqwest::Client::new().post(shop.url(path)).json(request).send().await.unwrap();
    answer.json().await.unwrap()
}

/// By verify and by settle, which agree.
async fn refused(shop: &Shop, request: &FacilitatorRequest) -> String {
    let (verified, settled) = (ask(shop, "/verify", request).await, ask(shop, "/settle", request).await);
    assert!(verified["isValid"] == false && settled["success"] == false, "{verified} {settled}");
    assert_eq!(verified["invalidReason"], settled["errorReason"], "{verified} {settled}");
    text(&settled, "errorReason").to_owned()
}

/// What a settle comes to that goes on behind its answer.
async fn ended(shop: &Shop, request: &FacilitatorRequest) -> String {
    for _ in 0..20 {
        let said = ask(shop, "/settle", request).await;
        let reason = said["errorReason"].as_str().unwrap_or("settled").to_owned();
        if !["settlement_pending", "unexpected_settle_error"].contains(&reason.as_str()) {
            return reason;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    panic!("it does not end");
}

async fn open(payer: u32, day: u32) -> Shop {
    let facilitate =
        FacilitateConfig { anyone: true, gas_grants_payer: payer, gas_grants_day: day, ..FacilitateConfig::default() };
    Shop::open_with(DevOptions { facilitate: Some(facilitate), ..DevOptions::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_would_not_take_costs_nothing() {
    let shop = open(2, 100).await;
    let buyer = Buyer::of(&shop, 0x41).await;
    let before = wei(&shop, &buyer.facilitator.to_string());
    type Case = (&'static str, fn(&mut Asked));
    let cases: [Case; 6] = [
        ("erc20_approval_tx_failed", |asked| asked.approval.nonce = 1),
        ("erc20_approval_tx_failed", |asked| asked.approval.nonce = u64::MAX),
        // Below the base fee.
        ("erc20_approval_tx_failed", |asked| {
            (asked.approval.max_fee_per_gas, asked.approval.max_priority_fee_per_gas) = (GWEI - 1, 0);
        }),
        (EMPTY_HANDED, |asked| asked.approval.max_fee_per_gas = 4 * GWEI),
        (EMPTY_HANDED, |asked| asked.approval.max_fee_per_gas = u128::MAX),
        (EMPTY_HANDED, |asked| asked.approval.gas_limit = 150_001),
    ];
    for (place, (code, change)) in (1..).zip(cases) {
        assert_eq!(refused(&shop, &buyer.request(&shop, place, change)).await, code, "case {place}");
    }
    // The settlement after it would revert: the payer has nothing to pay with.
    let poor = Buyer { key: WalletKey::from_bytes(&[0x42; 32]).unwrap(), facilitator: buyer.facilitator };
    let request = poor.request(&shop, 1, |_| ());
    assert_eq!(refused(&shop, &request).await, "permit2_insufficient_balance");
    // An approval that is not enough for its gas.
    let scarce = buyer.request(&shop, 9, |asked| asked.approval.gas_limit = 22_000);
    assert_eq!(refused(&shop, &scarce).await, "erc20_approval_tx_failed");
    assert_eq!((wei(&shop, &buyer.facilitator.to_string()), buyer.wei(&shop)), (before, 0), "nothing was sent");
    assert_eq!((buyer.sent(&shop), buyer.moved(&shop)), (json!("0x0"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_without_gas_pays_once() {
    let shop = open(2, 100).await;
    for (seed, scheme) in [(0x43, "exact"), (0x44, "upto")] {
        let buyer = Buyer::of(&shop, seed).await;
        let request = buyer.request(&shop, 1, |asked| asked.scheme = scheme);
        let verified = ask(&shop, "/verify", &request).await;
        assert_eq!(verified["isValid"], true, "{verified}");
        assert_eq!(buyer.wei(&shop), 0, "to verify moves nothing");
        let settled = ask(&shop, "/settle", &request).await;
        assert_eq!(settled["success"], true, "{settled}");
        assert_eq!((buyer.sent(&shop), buyer.moved(&shop)), (json!("0x1"), 1));
        let left = buyer.wei(&shop);
        assert!(left < COST, "{left} of {COST} are left");
        assert_eq!(refused(&shop, &request).await, "permit2_invalid_nonce");
        // The allowance is there: the next approval is not sent, and nothing is given for it.
        let next = buyer.request(&shop, 2, |asked| (asked.scheme, asked.approval.nonce) = (scheme, 7));
        let settled = ask(&shop, "/settle", &next).await;
        assert_eq!(settled["success"], true, "{settled}");
        assert_eq!((buyer.sent(&shop), buyer.moved(&shop), buyer.wei(&shop)), (json!("0x1"), 2, left));
    }
    // Gas that is given is part of what carrying took: the books have every wei that left the account.
    let carrier = shop.service.tenant(CARRIER).unwrap();
    let open = shop.service.store().open_settlements(&carrier, None, 100).await.unwrap();
    assert!(open.is_empty(), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_payments_with_one_approval_are_given_gas_once() {
    let shop = open(5, 100).await;
    let buyer = Buyer::of(&shop, 0x45).await;
    let (one, two) = (buyer.request(&shop, 1, |_| ()), buyer.request(&shop, 2, |_| ()));
    let answers = tokio::join!(
        ask(&shop, "/settle", &one),
        ask(&shop, "/settle", &two),
        ask(&shop, "/settle", &one),
        ask(&shop, "/settle", &two)
    );
    let paid = [&answers.0, &answers.1, &answers.2, &answers.3].iter().filter(|said| said["success"] == true).count();
    assert!(paid >= 2, "{answers:?}");
    assert_eq!((buyer.sent(&shop), buyer.moved(&shop)), (json!("0x1"), 2));
    assert!(buyer.wei(&shop) < COST, "once");
    // Two payments and one grant.
    let sent = shop.rpc("eth_getTransactionCount", json!([buyer.facilitator, "latest"]));
    assert_eq!(sent, "0x3", "{answers:?}");
}

/// Whoever uses the gas for something else gets it so often, and not once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_payer_who_never_pays_drains_no_more_than_the_cap() {
    let shop = open(2, 100).await;
    let buyer = Buyer::of(&shop, 0x46).await;
    let mut given = 0;
    for turn in 0..2 {
        // Another approval each time: at another fee.
        let tip = |asked: &mut Asked| asked.approval.max_priority_fee_per_gas = GWEI - turn;
        let request = buyer.request(&shop, 1 + u64::try_from(turn).unwrap(), tip);
        shop.rpc("evm_setAutomine", json!([false]));
        let pending = ask(&shop, "/settle", &request).await;
        assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
        assert!(text(&pending, "transaction").starts_with("0x"), "{pending}");
        let grant = shop.rpc("eth_getTransactionByHash", json!([pending["transaction"]]));
        given += u128::from_str_radix(text(&grant, "value").trim_start_matches("0x"), 16).unwrap();
        // It is gone before the approval is sent.
        shop.rpc("evm_mine", json!([]));
        shop.rpc("anvil_setBalance", json!([buyer.key.address(), "0x0"]));
        shop.rpc("evm_setAutomine", json!([true]));
        for _ in 0..2 {
            assert_eq!(ended(&shop, &request).await, EMPTY_HANDED);
        }
        assert_eq!(ask(&shop, "/verify", &request).await["invalidReason"], EMPTY_HANDED);
    }
    assert_eq!(given, 2 * COST);
    let third = buyer.request(&shop, 3, |asked| asked.approval.max_priority_fee_per_gas = GWEI / 2);
    assert_eq!(refused(&shop, &third).await, EMPTY_HANDED);
    assert_eq!((buyer.wei(&shop), buyer.moved(&shop)), (0, 0));
    // With gas of its own it pays all the same.
    shop.rpc("anvil_setBalance", json!([buyer.key.address(), "0x8ac7230489e80000"]));
    let settled = ask(&shop, "/settle", &third).await;
    assert_eq!((&settled["success"], buyer.moved(&shop)), (&json!(true), 1), "{settled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_payers_together_drain_no_more_than_the_cap_of_a_day() {
    let shop = open(2, 1).await;
    let (first, second) = (Buyer::of(&shop, 0x47).await, Buyer::of(&shop, 0x48).await);
    let settled = ask(&shop, "/settle", &first.request(&shop, 1, |_| ())).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(refused(&shop, &second.request(&shop, 1, |_| ())).await, EMPTY_HANDED);
    assert_eq!((second.wei(&shop), second.moved(&shop)), (0, 0));
    let none = open(2, 0).await;
    let buyer = Buyer::of(&none, 0x47).await;
    assert_eq!(refused(&none, &buyer.request(&none, 1, |_| ())).await, EMPTY_HANDED);
}

/// The gas is sent, and the process ends: the next one finds it, gives nothing again, and goes on when it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_gives_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let options = || {
        let facilitate = FacilitateConfig { anyone: true, ..FacilitateConfig::default() };
        DevOptions { facilitate: Some(facilitate), data: Some(folder.path().to_owned()), ..DevOptions::default() }
    };
    let shop = Shop::open_with(options()).await;
    let buyer = Buyer::of(&shop, 0x49).await;
    let request = buyer.request(&shop, 1, |_| ());
    shop.rpc("evm_setAutomine", json!([false]));
    let pending = ask(&shop, "/settle", &request).await;
    assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    shop.service.stop().await;

    let shop = Shop::open_with(options()).await;
    let settled = ask(&shop, "/settle", &request).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!((buyer.sent(&shop), buyer.moved(&shop)), (json!("0x1"), 1));
    let sent = shop.rpc("eth_getTransactionCount", json!([buyer.facilitator, "latest"]));
    assert_eq!(sent, "0x2", "gas once, and the payment");
    assert_eq!(refused(&shop, &request).await, "permit2_invalid_nonce");
}

/// Blocks come late, and whoever asked does not ask again: it is gone on with behind the answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_gone_on_with() {
    let shop = open(2, 100).await;
    let buyer = Buyer::of(&shop, 0x4a).await;
    let request = buyer.request(&shop, 1, |_| ());
    shop.rpc("evm_setAutomine", json!([false]));
    let pending = ask(&shop, "/settle", &request).await;
    assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    shop.rpc("evm_setAutomine", json!([true]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while buyer.moved(&shop) == 0 {
        assert!(std::time::Instant::now() < deadline, "nobody goes on");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let told = ended(&shop, &request).await;
    assert_eq!((told.as_str(), buyer.moved(&shop)), ("settled", 1), "the first to ask is told");
    assert_eq!(buyer.sent(&shop), json!("0x1"));
}

/// The token takes the approval in the simulation and not on the chain, and then none at all. The payer keeps its money, the
/// payment is over by name and can be made anew, and the facilitator is out of the gas that it gave, once an approval.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_fails_on_the_chain_loses_nothing() {
    let shop = open(2, 100).await;
    let buyer = Buyer::of(&shop, 0x4b).await;
    shop.token_turns(TWO_FACED);
    let request = buyer.request(&shop, 1, |_| ());
    let verified = ask(&shop, "/verify", &request).await;
    assert_eq!(verified["isValid"], true, "nobody can tell beforehand: {verified}");
    assert_eq!(ended(&shop, &request).await, "erc20_approval_tx_failed");
    assert_eq!((buyer.sent(&shop), buyer.moved(&shop)), (json!("0x1"), 0), "it was sent, and reverted");
    let given = shop.rpc("eth_getTransactionCount", json!([buyer.facilitator, "latest"]));
    for _ in 0..3 {
        assert_ne!(ask(&shop, "/settle", &request).await["success"], true);
    }
    let again = shop.rpc("eth_getTransactionCount", json!([buyer.facilitator, "latest"]));
    assert_eq!((again, buyer.moved(&shop)), (given, 0), "nothing is given for the same approval again");
    let carrier = shop.service.tenant(CARRIER).unwrap();
    let open = shop.service.store().open_settlements(&carrier, None, 100).await.unwrap();
    assert!(open.is_empty(), "nothing can come of it: {open:?}");
    // The same payment, with another approval, of a token that keeps its word.
    shop.token_mends();
    let next = buyer.request(&shop, 1, |asked| asked.approval.nonce = 1);
    let settled = ask(&shop, "/settle", &next).await;
    assert_eq!((&settled["success"], buyer.moved(&shop)), (&json!(true), 1), "{settled}");
}
