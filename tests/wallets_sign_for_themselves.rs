//! Promises 1 and 3 for payers that are contracts: what they call their own is carried once, and what they pretend costs at
//! most one transaction.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::accounts::{ACCOUNTS, TestAccount};
use purser::dev::DevOptions;
use purser::world::shop_address;
use serde_json::{Value, json};
use x402::exact::{Authorization, Terms, WalletKey};
use x402::permit2::{EXACT_PROXY, PERMIT2, Permit, PermitWire, Witness};
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequirements};

use crate::harness::shop::Shop;
use crate::harness::text;

const PRICE: u64 = 10_000;
const OWNER: TestAccount = ACCOUNTS[8];
const FACTORY: Address = Address::repeat_byte(0xfa);
const STRANGE_FACTORY: Address = Address::repeat_byte(0xfb);

sol! {
    function create(address owner, uint8 manner, bytes32 salt) external returns (address);
    function find(address owner, uint8 manner, bytes32 salt) external view returns (address);
}

// As `fixtures/contracts/TestWallets.sol` counts them.
const HONEST: u8 = 0;
const TWO_FACED: u8 = 2;
const DISHONEST: [(&str, u8); 5] = [("burns", 1), ("reverts", 3), ("wrong", 4), ("endless", 5), ("short", 6)];

struct Street {
    shop: Shop,
    relayer: Value,
}

impl Street {
    async fn open() -> Self {
        let wallet_factories = vec![FACTORY.to_string()];
        let shop = Shop::open_with(DevOptions { wallet_factories, ..DevOptions::default() }).await;
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        let street = Self { shop, relayer: supported["signers"]["eip155:*"][0].clone() };
        for factory in [FACTORY, STRANGE_FACTORY] {
            street.place("TestWalletFactory", &[], factory);
        }
        street
    }

    /// What the contract's creation leaves, put at an address.
    fn place(&self, name: &str, arguments: &[u8], at: Address) {
        let artifact: Value = serde_json::from_str(include_str!("../fixtures/contracts/TestWallets.json")).unwrap();
        let mut contracts = artifact["contracts"].as_array().unwrap().iter();
        let contract = contracts.find(|contract| contract["contract"] == name).unwrap();
        let creation: Bytes = text(contract, "bytecode").parse().unwrap();
        let creation = Bytes::from([creation.as_ref(), arguments].concat());
        let code = self.shop.rpc("eth_call", json!([{ "data": creation }, "latest"]));
        self.shop.rpc("anvil_setCode", json!([at, code]));
    }

    fn wallet(&self, manner: u8, at: u8) -> Address {
        let wallet = Address::repeat_byte(at);
        self.place("TestWallet", &(OWNER.address, U256::from(manner)).abi_encode_params(), wallet);
        self.mint(wallet)
    }

    fn mint(&self, owner: Address) -> Address {
        self.shop.service.devnet().mint(owner, U256::from(10 * PRICE)).unwrap();
        owner
    }

    fn requirements(&self) -> PaymentRequirements {
        self.shop.offer("/paid/report", PRICE.into()).accepts.remove(0)
    }

    fn signed(&self, from: Address, nonce: u8, bend: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PaymentPayload {
        let requirements = self.requirements();
        let terms = Terms::read(&requirements).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let authorization = Authorization {
            from,
            to: terms.pay_to,
            value: terms.value(),
            valid_after: U256::ZERO,
            valid_before: U256::from(now + 50),
            nonce: B256::repeat_byte(nonce),
        };
        let key = WalletKey::from_bytes(&OWNER.private_key.0).unwrap();
        let signature = bend(key.sign(authorization.digest(&terms.domain)).unwrap().to_bytes().to_vec());
        let payload = json!({
            "signature": Bytes::from(signature).to_string(),
            "authorization": {
                "from": from.to_string(), "to": authorization.to.to_string(), "value": PRICE.to_string(),
                "validAfter": "0", "validBefore": authorization.valid_before.to_string(),
                "nonce": authorization.nonce.to_string(),
            },
        });
        PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: requirements,
            payload: payload.as_object().unwrap().clone(),
            extensions: None,
            unknown: serde_json::Map::new(),
        }
    }

    fn pay(&self, from: Address, nonce: u8) -> PaymentPayload {
        self.signed(from, nonce, |signature| signature)
    }

    /// From a wallet that is not there yet, and its address.
    fn pay_before_it_is_there(&self, factory: Address, salt: u8) -> (Address, impl Fn(Vec<u8>) -> Vec<u8> + use<>) {
        let salt = B256::repeat_byte(salt);
        let find = findCall { owner: OWNER.address, manner: HONEST, salt }.abi_encode();
        let found = self.shop.rpc("eth_call", json!([{ "to": factory, "data": Bytes::from(find) }, "latest"]));
        let wallet = self.mint(Address::from_word(found.as_str().unwrap().parse().unwrap()));
        let calldata = Bytes::from(createCall { owner: OWNER.address, manner: HONEST, salt }.abi_encode());
        let wrap = move |inner: Vec<u8>| {
            let content = (factory, calldata.clone(), Bytes::from(inner)).abi_encode_params();
            [content, [0x64, 0x92].repeat(16)].concat()
        };
        (wallet, wrap)
    }

    async fn ask(&self, path: &str, payload: &PaymentPayload) -> Value {
        let request = FacilitatorRequest::new(payload.clone(), payload.accepted.clone());
        let answer = reqwest::Client::new().post(self.shop.url(path)).json(&request).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Both say no, for the same reason.
    async fn refused(&self, payload: &PaymentPayload) -> String {
        let (verified, settled) = (self.ask("/verify", payload).await, self.ask("/settle", payload).await);
        assert!(verified["isValid"] == false && settled["success"] == false, "{verified} {settled}");
        assert_eq!(verified["invalidReason"], settled["errorReason"]);
        text(&verified, "invalidReason").to_owned()
    }

    async fn carried(&self, payload: &PaymentPayload) {
        let verified = self.ask("/verify", payload).await;
        assert_eq!(verified["isValid"], true, "{verified}");
        let settled = self.ask("/settle", payload).await;
        assert_eq!(settled["success"], true, "{settled}");
        let reason = self.refused(payload).await;
        assert_eq!(reason, "invalid_exact_evm_nonce_already_used", "the same again");
    }

    fn moved(&self, from: Address) -> usize {
        self.shop.transfers(&format!("{from:#x}"), &format!("{:#x}", shop_address())).len()
    }

    fn transactions(&self) -> Value {
        self.shop.rpc("eth_getTransactionCount", json!([self.relayer, "latest"]))
    }

    async fn buy(&self, payload: &PaymentPayload) -> (u16, String) {
        let header = STANDARD.encode(serde_json::to_vec(payload).unwrap());
        let fetched = self.shop.fetch("/paid/report", Some(&header)).await;
        (fetched.status.as_u16(), String::from_utf8_lossy(&fetched.body).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_wallet_signed_is_not_carried() {
    let street = Street::open().await;
    let before = street.transactions();
    for (number, (name, manner)) in (1..).zip(DISHONEST) {
        let payment = street.pay(street.wallet(manner, 0x70 + number), number);
        assert_eq!(street.refused(&payment).await, "invalid_exact_evm_signature", "{name}");
        assert_eq!(street.buy(&payment).await.0, 402, "{name}");
    }
    let (unmade, wrap) = street.pay_before_it_is_there(STRANGE_FACTORY, 1);
    let strange = street.signed(unmade, 11, &wrap);
    assert_eq!(street.refused(&strange).await, "eip6492_factory_not_allowed");
    assert_eq!(street.buy(&strange).await.0, 402);
    let (unmade, wrap) = street.pay_before_it_is_there(FACTORY, 2);
    let nested = street.signed(unmade, 12, |inner| wrap(wrap(inner)));
    assert_eq!(street.refused(&nested).await, "invalid_exact_evm_failed_to_parse_signature");
    let oversized = street.signed(unmade, 13, |_| wrap(vec![1; 8 * 1024]));
    assert_eq!(street.refused(&oversized).await, "invalid_exact_evm_failed_to_parse_signature");
    let forged = street.signed(unmade, 14, |_| wrap(vec![1; 65]));
    assert_eq!(street.refused(&forged).await, "invalid_exact_evm_signature");
    let other = street.signed(street.mint(Address::repeat_byte(0x60)), 15, &wrap);
    assert_eq!(street.refused(&other).await, "smart_wallet_deployment_failed", "the factory makes another wallet");
    // Its own key signed, and there is code that is no delegation: a contract answers for itself.
    street.place("TestWallet", &(Address::repeat_byte(1), U256::ZERO).abi_encode_params(), OWNER.address);
    let by_key = street.pay(street.mint(OWNER.address), 16);
    assert_eq!(street.refused(&by_key).await, "unsupported_payload_type");
    let mut redeemed = by_key.clone();
    let redemption = json!({ "delegationManager": FACTORY, "permissionContext": "0x", "delegator": OWNER.address });
    redeemed.payload = redemption.as_object().unwrap().clone();
    assert_eq!(street.refused(&redeemed).await, "unsupported_payload_type", "EIP-7710");
    assert_eq!(street.transactions(), before, "no gas was spent on any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_two_faces_wastes_one_transaction() {
    let street = Street::open().await;
    let wallet = street.wallet(TWO_FACED, 0x71);
    let payment = street.pay(wallet, 1);
    assert_eq!(street.ask("/verify", &payment).await["isValid"], true, "nothing tells it from an honest one");
    let settled = street.ask("/settle", &payment).await;
    assert_eq!(settled["errorReason"], "invalid_exact_evm_transaction_failed", "{settled}");
    let spent = street.transactions();
    for nonce in 1..=3 {
        assert_eq!(street.refused(&street.pay(wallet, nonce)).await, "invalid_exact_evm_transaction_failed");
    }
    assert_eq!((street.transactions(), street.moved(wallet)), (spent, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_wallet_pays_once_and_nobody_burns_its_nonce() {
    let street = Street::open().await;
    let wallet = street.wallet(HONEST, 0x72);
    for forged in [vec![1; 65], Vec::new(), vec![9; 300]] {
        let forged = street.signed(wallet, 1, |_| forged);
        assert_eq!(street.refused(&forged).await, "invalid_exact_evm_signature");
    }
    street.carried(&street.pay(wallet, 1)).await;
    let sold = street.pay(wallet, 2);
    let (status, bought) = street.buy(&sold).await;
    assert_eq!(status, 200, "{bought}");
    assert_eq!(street.buy(&sold).await, (200, bought), "the same payment has the same answer");
    assert_eq!(street.moved(wallet), 2);

    let (unmade, wrap) = street.pay_before_it_is_there(FACTORY, 3);
    street.carried(&street.signed(unmade, 3, &wrap)).await;
    assert_ne!(street.shop.rpc("eth_getCode", json!([unmade, "latest"])), "0x", "it is there now");
    assert_eq!(street.buy(&street.signed(unmade, 4, &wrap)).await.0, 200, "still in its wrapper");
    assert_eq!(street.moved(unmade), 2);

    // EIP-7702: by the account's own key, which is what its delegate asks for as well.
    let delegate = Address::repeat_byte(0x73);
    street.place("TestWallet", &(Address::ZERO, U256::ZERO).abi_encode_params(), delegate);
    let designation = Bytes::from([&[0xef, 0x01, 0x00], delegate.as_slice()].concat());
    street.shop.rpc("anvil_setCode", json!([OWNER.address, designation]));
    street.carried(&street.pay(street.mint(OWNER.address), 5)).await;
    assert_eq!(street.moved(OWNER.address), 1);
}

/// What a wallet called its own is on its way, also where the wallet takes its word back: nobody is told to pay again, and
/// whoever shows it meanwhile gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_takes_its_word_back_is_no_word_on_what_is_on_its_way() {
    let street = Street::open().await;
    let (sold_to, carried_for) = (street.wallet(HONEST, 0x76), street.wallet(HONEST, 0x77));
    let (sold, carried) = (street.pay(sold_to, 1), street.pay(carried_for, 2));
    street.shop.rpc("evm_setAutomine", json!([false]));
    let (status, said) = street.buy(&sold).await;
    assert!([502, 503].contains(&status), "not in a block yet: {status} {said}");
    let settled = street.ask("/settle", &carried).await;
    assert_eq!(settled["errorReason"], "settlement_pending", "{settled}");
    let owner_of = |wallet: Address, owner: Address| {
        street.place("TestWallet", &(owner, U256::from(HONEST)).abi_encode_params(), wallet);
    };
    owner_of(sold_to, Address::repeat_byte(1));
    owner_of(carried_for, Address::repeat_byte(1));
    let (status, said) = street.buy(&sold).await;
    assert_eq!((status, said.contains("outcome_unknown")), (503, true), "{said}");
    let again = street.ask("/settle", &carried).await;
    assert_eq!((&again["errorReason"], &again["success"]), (&json!("settlement_pending"), &json!(false)), "{again}");
    assert_eq!(again["transaction"], settled["transaction"]);
    // What nobody has seen is refused as ever, and so is what an account with a key did not sign.
    assert_eq!(street.refused(&street.pay(carried_for, 3)).await, "invalid_exact_evm_signature");
    owner_of(sold_to, OWNER.address);
    owner_of(carried_for, OWNER.address);
    street.shop.rpc("evm_setAutomine", json!([true]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while street.buy(&sold).await.0 != 200 || street.moved(carried_for) == 0 {
        assert!(std::time::Instant::now() < deadline, "what was on its way is paid and served");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    owner_of(sold_to, Address::repeat_byte(1));
    owner_of(carried_for, Address::repeat_byte(1));
    assert_eq!(street.buy(&sold).await.0, 503, "paid, and given to nobody whom the wallet does not know");
    // As soon as the book has it, too; until then it is on its way.
    loop {
        let after = street.ask("/settle", &carried).await;
        assert_eq!(after["success"], false, "{after}");
        match after["errorReason"].as_str() {
            Some("settlement_pending") => assert!(std::time::Instant::now() < deadline, "{after}"),
            reason => break assert_eq!(reason, Some("invalid_exact_evm_nonce_already_used"), "{after}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!((street.moved(sold_to), street.moved(carried_for)), (1, 1));
}

/// Permit2 asks a payer with code as the token does.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_pays_by_permit2_where_it_is_there() {
    let street = Street::open().await;
    let (wallet, reverts) = (street.wallet(HONEST, 0x74), street.wallet(3, 0x75));
    let pay = |from: Address, nonce: u64, bend: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        // Where the token keeps what Permit2 may take: a wallet of the test cannot call it.
        let row = keccak256((from, U256::from(4)).abi_encode());
        let slot = keccak256((PERMIT2, row).abi_encode());
        let whole = B256::from(U256::from(10 * PRICE));
        street.shop.rpc("anvil_setStorageAt", json!([chain::token::ADDRESS, slot, whole]));
        let mut payment = street.pay(from, 1);
        payment.accepted.extra.as_mut().unwrap().insert("assetTransferMethod".to_owned(), json!("permit2"));
        let terms = Terms::read(&payment.accepted).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let permit = Permit {
            from,
            token: terms.token,
            amount: terms.value(),
            spender: EXACT_PROXY,
            nonce: U256::from(nonce),
            deadline: U256::from(now + 50),
            witness: Witness::Exact { to: terms.pay_to, valid_after: U256::ZERO },
        };
        let key = WalletKey::from_bytes(&OWNER.private_key.0).unwrap();
        let signature = bend(key.sign(permit.digest(terms.network)).unwrap().to_bytes().to_vec());
        let wire = serde_json::to_value(PermitWire::new(&permit, Bytes::from(signature).to_string())).unwrap();
        payment.payload = wire.as_object().unwrap().clone();
        payment
    };
    let plain = |signature: Vec<u8>| signature;
    assert_eq!(street.refused(&pay(reverts, 1, &plain)).await, "invalid_permit2_signature");
    assert_eq!(street.refused(&pay(wallet, 2, &|_| vec![1; 65])).await, "invalid_permit2_signature");
    let (unmade, wrap) = street.pay_before_it_is_there(FACTORY, 9);
    let wrapped = pay(unmade, 3, &wrap);
    assert_eq!(street.refused(&wrapped).await, "invalid_exact_evm_payload_undeployed_smart_wallet");
    assert_eq!(street.refused(&pay(unmade, 4, &plain)).await, "invalid_permit2_signature", "no contract there");
    let payment = pay(wallet, 5, &plain);
    assert_eq!(street.ask("/verify", &payment).await["isValid"], true);
    let settled = street.ask("/settle", &payment).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(street.refused(&payment).await, "permit2_invalid_nonce", "the same again");
    assert_eq!((street.moved(wallet), street.moved(unmade), street.moved(reverts)), (1, 0, 0));
}
