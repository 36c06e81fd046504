//! Payers that are contracts: the honest ones pay, and the dishonest ones are found out.

use alloy::primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy::sol_types::{SolCall, SolValue};
use x402::chain::{At, Chain, ChainError, Deployment, Pool, Relayer, WalletAnswer, WalletCall};
use x402::exact::{Authorization, TokenDomain, WalletSignature};

use super::*;

const MAKER: TestAccount = ACCOUNTS[7];

alloy::sol! {
    function create(address owner, uint8 manner, bytes32 salt) external returns (address);
    function find(address owner, uint8 manner, bytes32 salt) external view returns (address);
}

/// As the contract counts them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest = 0,
    Burns = 1,
    TwoFaced = 2,
    Reverts = 3,
    Wrong = 4,
    Endless = 5,
    Short = 6,
}

/// The creation code of one of the test contracts.
fn code(name: &str) -> Vec<u8> {
    let artifact = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contracts/TestWallets.json"));
    let artifact: Value = serde_json::from_str(artifact).unwrap();
    let mut contracts = artifact["contracts"].as_array().unwrap().iter();
    let contract = contracts.find(|contract| contract["contract"] == name).unwrap();
    hex::decode(contract["bytecode"].as_str().unwrap()).unwrap()
}

fn deploy(stage: &Stage, name: &str, arguments: &[u8]) -> Address {
    let nonce: u64 = stage.nonce(MAKER.address);
    let raw = raw_transaction(MAKER, nonce, [code(name), arguments.to_vec()].concat().into(), |transaction| {
        transaction.to = TxKind::Create;
        transaction.gas_limit = 3_000_000;
    });
    stage.result("eth_sendRawTransaction", json!([raw]));
    let made = MAKER.address.create(nonce);
    assert_ne!(stage.result("eth_getCode", json!([made, "latest"])), "0x", "{name} is there");
    made
}

impl Stage {
    fn nonce(&self, account: Address) -> u64 {
        let nonce: alloy::primitives::U64 =
            serde_json::from_value(self.result("eth_getTransactionCount", json!([account, "latest"]))).unwrap();
        nonce.to()
    }

    /// A wallet of the payer's key, with money.
    fn wallet(&self, manner: Manner) -> Address {
        let wallet = deploy(self, "TestWallet", &(PAYER.address, U256::from(manner as u8)).abi_encode_params());
        self.devnet.mint(wallet, U256::from(1_000)).unwrap();
        wallet
    }
}

fn authorization(from: Address) -> Authorization {
    Authorization {
        from,
        to: PAYEE.address,
        value: U256::from(250),
        valid_after: U256::ZERO,
        valid_before: U256::from(START + 60),
        nonce: B256::repeat_byte(1),
    }
}

fn digest(authorization: &Authorization, asset: Address) -> B256 {
    let domain = TokenDomain {
        name: token::NAME.into(),
        version: token::VERSION.into(),
        chain_id: 31_337,
        verifying_contract: asset,
    };
    authorization.digest(&domain)
}

fn signed_by(signer: TestAccount, from: Address, asset: Address) -> WalletCall {
    let authorization = authorization(from);
    let signature = signer.signer().unwrap().sign_hash_sync(&digest(&authorization, asset)).unwrap();
    let inner = Bytes::from(signature.as_bytes());
    WalletCall { asset, authorization, signature: WalletSignature { inner, deployment: None } }
}

fn call(from: Address) -> WalletCall {
    signed_by(PAYER, from, token::ADDRESS)
}

async fn answer(stage: &Stage, call: &WalletCall) -> WalletAnswer {
    let digest = digest(&call.authorization, call.asset);
    stage.chain.wallet_answer(call.authorization.from, digest, &call.signature).await.unwrap()
}

async fn settle(stage: &Stage, call: &WalletCall) -> x402::chain::Receipt {
    let nonce = stage.chain.account_nonce(RELAYER.address, Pool::Pending).await.unwrap();
    let prepared = stage.relayer.prepare_wallet(call, nonce).await.unwrap();
    stage.chain.broadcast(&prepared.raw).await.unwrap();
    stage.chain.receipt(prepared.transaction).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_wallet_that_does_not_plainly_say_yes_says_no() {
    let stage = Stage::new();
    for manner in [Manner::Burns, Manner::Reverts, Manner::Wrong, Manner::Endless, Manner::Short] {
        let call = call(stage.wallet(manner));
        assert_eq!(answer(&stage, &call).await, WalletAnswer::Refused, "{manner:?}");
        let simulated = stage.chain.simulate_wallet(&call, RELAYER.address).await;
        assert!(matches!(simulated, Err(ChainError::Reverted { .. })), "{manner:?}: {simulated:?}");
    }
    let honest = stage.wallet(Manner::Honest);
    assert_eq!(answer(&stage, &signed_by(PAYEE, honest, token::ADDRESS)).await, WalletAnswer::Refused, "a stranger");
    let mut bent = call(honest);
    bent.authorization.value = U256::from(251);
    assert_eq!(answer(&stage, &bent).await, WalletAnswer::Refused, "another amount");
    let nobody = Address::repeat_byte(0x99);
    assert_eq!(answer(&stage, &call(nobody)).await, WalletAnswer::Refused, "no contract there");
    assert_eq!(stage.balance(PAYEE.address).await, 0);
}

#[tokio::test]
async fn an_honest_wallet_pays_once() {
    let stage = Stage::new();
    let call = call(stage.wallet(Manner::Honest));
    assert_eq!(answer(&stage, &call).await, WalletAnswer::Signed);
    assert_eq!(stage.chain.simulate_wallet(&call, RELAYER.address).await, Ok(()));
    let receipt = settle(&stage, &call).await;
    assert!(receipt.success);
    assert_eq!(receipt.transfers.len(), 1);
    let again = stage.chain.simulate_wallet(&call, RELAYER.address).await;
    assert!(matches!(again, Err(ChainError::Reverted { .. })), "{again:?}");
    let (asset, payer, nonce) = (call.asset, call.authorization.from, call.authorization.nonce);
    assert!(stage.chain.authorization_consumed(asset, payer, nonce, At::Latest).await.unwrap());
    assert_eq!(stage.balance(PAYEE.address).await, 250);
}

/// It can waste the gas of one transaction. It cannot look as if it had paid.
#[tokio::test]
async fn a_wallet_with_two_faces_moves_nothing() {
    let stage = Stage::new();
    let call = call(stage.wallet(Manner::TwoFaced));
    assert_eq!(answer(&stage, &call).await, WalletAnswer::Signed);
    assert_eq!(stage.chain.simulate_wallet(&call, RELAYER.address).await, Ok(()));
    let receipt = settle(&stage, &call).await;
    assert!(!receipt.success);
    assert_eq!(receipt.transfers, []);
    assert_eq!(stage.balance(PAYEE.address).await, 0);
}

#[tokio::test]
async fn what_a_wallet_costs_is_bounded() {
    let stage = Stage::new();
    let asked = std::time::Instant::now();
    assert_eq!(answer(&stage, &call(stage.wallet(Manner::Burns))).await, WalletAnswer::Refused);
    assert!(asked.elapsed() < std::time::Duration::from_secs(2), "half a million gas is run in no time");
    let burns = call(stage.wallet(Manner::Burns));
    let nonce = stage.nonce(RELAYER.address);
    assert!(stage.relayer.prepare_wallet(&burns, nonce).await.is_err(), "nothing is signed for it");
}

#[tokio::test]
async fn a_token_that_does_not_take_bytes_is_told_by_its_silence() {
    let stage = Stage::new();
    let odd = |oddity: u8| {
        let arguments = (token::ADDRESS, U256::from(oddity), token::NAME.to_owned()).abi_encode_params();
        deploy(&stage, "OddDollar", &arguments)
    };
    let (without, quiet) = (odd(0), odd(1));
    let wallet = stage.wallet(Manner::Honest);
    let call = signed_by(PAYER, wallet, without);
    assert_eq!(answer(&stage, &call).await, WalletAnswer::Signed);
    let simulated = stage.chain.simulate_wallet(&call, RELAYER.address).await;
    assert!(matches!(&simulated, Err(ChainError::Reverted { data, .. }) if data.is_empty()), "{simulated:?}");
    // It answers what it refuses with an event: the simulation says nothing, the missing transfer does.
    let broke = signed_by(PAYER, wallet, quiet);
    assert_eq!(stage.chain.simulate_wallet(&broke, RELAYER.address).await, Ok(()));
    let receipt = settle(&stage, &broke).await;
    assert_eq!((receipt.success, receipt.transfers.len()), (true, 0));
}

#[tokio::test]
async fn a_wallet_is_made_and_pays_in_one_transaction() {
    let stage = Stage::new();
    let factory = deploy(&stage, "TestWalletFactory", &[]);
    let at = |manner: Manner, salt: u8| {
        let salt = B256::repeat_byte(salt);
        let input = findCall { owner: PAYER.address, manner: manner as u8, salt }.abi_encode();
        let found = stage.result("eth_call", json!([{ "to": factory, "data": Bytes::from(input) }, "latest"]));
        let wallet = Address::from_word(serde_json::from_value(found).unwrap());
        stage.devnet.mint(wallet, U256::from(1_000)).unwrap();
        let calldata = createCall { owner: PAYER.address, manner: manner as u8, salt }.abi_encode().into();
        let mut call = call(wallet);
        call.signature.deployment = Some(Deployment { factory, calldata });
        call
    };
    let (honest, wrong) = (at(Manner::Honest, 1), at(Manner::Wrong, 2));
    assert_eq!(answer(&stage, &wrong).await, WalletAnswer::Refused, "made, and it says no");
    let mut elsewhere = honest.clone();
    elsewhere.authorization.from = Address::repeat_byte(0x98);
    assert_eq!(answer(&stage, &elsewhere).await, WalletAnswer::NotMade, "the factory makes another one");
    let mut idle = honest.clone();
    idle.signature.deployment = Some(Deployment { factory: Address::repeat_byte(0x97), calldata: Bytes::new() });
    assert_eq!(answer(&stage, &idle).await, WalletAnswer::NotMade, "no factory there");

    assert_eq!(answer(&stage, &honest).await, WalletAnswer::Signed);
    assert_eq!(stage.chain.simulate_wallet(&honest, RELAYER.address).await, Ok(()));
    let receipt = settle(&stage, &honest).await;
    assert!(receipt.success);
    assert_eq!((receipt.transfers.len(), stage.balance(PAYEE.address).await), (1, 250));
    let (asset, payer, nonce) = (honest.asset, honest.authorization.from, honest.authorization.nonce);
    let used = stage.chain.find_authorization(asset, payer, nonce, 0).await.unwrap().unwrap();
    assert_eq!(used.transaction, receipt.transaction);
    // Whoever made it first has not taken the payment from us.
    let early = at(Manner::Honest, 3);
    let raw = raw_transaction(
        MAKER,
        stage.nonce(MAKER.address),
        early.signature.deployment.clone().unwrap().calldata,
        |transaction| {
            transaction.to = TxKind::Call(factory);
            transaction.gas_limit = 1_000_000;
        },
    );
    stage.result("eth_sendRawTransaction", json!([raw]));
    assert!(settle(&stage, &early).await.success);
    assert_eq!(stage.balance(PAYEE.address).await, 500);
}

/// EIP-7702: the account keeps its key, and the delegate answers for it where the token asks.
#[tokio::test]
async fn a_delegated_account_pays_by_its_key_and_by_its_delegate() {
    let stage = Stage::new();
    let delegate = deploy(&stage, "TestWallet", &(Address::ZERO, U256::ZERO).abi_encode_params());
    let designation = Bytes::from([hex!("ef0100").as_slice(), delegate.as_slice()].concat());
    stage.result("anvil_setCode", json!([PAYER.address, designation]));
    assert_eq!(stage.chain.code(PAYER.address).await.unwrap(), designation);
    let by_key = payment(9);
    assert_eq!(stage.chain.simulate(&by_key, RELAYER.address).await, Ok(()));
    let prepared = stage.settle(&by_key).await;
    assert!(stage.chain.receipt(prepared.transaction).await.unwrap().unwrap().success);
    let by_delegate = call(PAYER.address);
    assert_eq!(answer(&stage, &by_delegate).await, WalletAnswer::Signed);
    assert_eq!(answer(&stage, &signed_by(PAYEE, PAYER.address, token::ADDRESS)).await, WalletAnswer::Refused);
    assert!(settle(&stage, &by_delegate).await.success);
    assert_eq!(stage.balance(PAYEE.address).await, 500);
}

#[test]
fn multicall_is_the_one_that_stands_on_public_chains() {
    let contract = crate::multicall::contract().unwrap();
    assert_eq!(contract.address, crate::multicall::ADDRESS);
    let hash = hex!("d5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891");
    assert_eq!(keccak256(&contract.deployed), hash);
}
