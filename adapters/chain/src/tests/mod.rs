//! The port and the devnet, each tried through the other. Files are named after what they try to break.

mod channels;
mod escrow;
mod findings;
mod json_rpc;
mod lying_nodes;
mod mining;
mod other_doors;
mod permit2;
mod restart;
mod settlement;
mod together;
mod transactions;
mod wallets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::sol_types::{SolStruct, eip712_domain};
use serde_json::{Value, json};
use x402::chain::{Chain, Prepared, Relayer, TransferCall};

use crate::accounts::{ACCOUNTS, TestAccount};
use crate::devnet::{Devnet, DevnetConfig};
use crate::relayer::{FeeCaps, LocalRelayer};
use crate::rpc::{RpcChain, RpcConfig};
use crate::token;

const START: u64 = 1_800_000_000;
const RELAYER: TestAccount = ACCOUNTS[0];
const PAYER: TestAccount = ACCOUNTS[1];
const PAYEE: TestAccount = ACCOUNTS[2];

alloy::sol! {
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }
    struct CancelAuthorization {
        address authorizer;
        bytes32 nonce;
    }
}

/// A devnet under a clock of its own, with a payer who has 1,000,000 units, and a relayer.
struct Stage {
    devnet: Devnet,
    chain: RpcChain,
    relayer: LocalRelayer,
    clock: Arc<AtomicU64>,
}

impl Stage {
    fn new() -> Self {
        Self::with(DevnetConfig::default())
    }

    fn with(config: DevnetConfig) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let told = Arc::clone(&clock);
        let config = DevnetConfig { clock: Arc::new(move || told.load(Ordering::SeqCst)), ..config };
        let devnet = Devnet::new(config).unwrap();
        devnet.mint(PAYER.address, U256::from(1_000_000)).unwrap();
        devnet.mine(1);
        let chain = RpcChain::in_process(devnet.clone(), RpcConfig::default());
        let relayer = LocalRelayer::new(chain.clone(), &RELAYER.private_key, FeeCaps::default()).unwrap();
        Self { devnet, chain, relayer, clock }
    }

    fn wait(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    fn rpc(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        serde_json::from_slice(&self.devnet.dispatch(request.to_string().as_bytes()).unwrap()).unwrap()
    }

    fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.rpc(method, params);
        answer.get("result").unwrap_or_else(|| panic!("{method}: {answer}")).clone()
    }

    fn error(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.rpc(method, params);
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} was not refused: {answer}"));
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    async fn balance(&self, owner: Address) -> u64 {
        let at = x402::chain::At::Latest;
        self.chain.balance_of(token::ADDRESS, owner, at).await.unwrap().to::<u64>()
    }

    async fn prepare(&self, call: &TransferCall) -> Prepared {
        let nonce = self.chain.account_nonce(RELAYER.address, x402::chain::Pool::Pending).await.unwrap();
        self.relayer.prepare(call, nonce).await.unwrap()
    }

    async fn settle(&self, call: &TransferCall) -> Prepared {
        let prepared = self.prepare(call).await;
        self.chain.broadcast(&prepared.raw).await.unwrap();
        prepared
    }
}

/// 250 units from payer to payee, valid for a minute from now, signed.
fn payment(nonce: u8) -> TransferCall {
    signed(PAYER, unsigned(nonce))
}

fn unsigned(nonce: u8) -> TransferCall {
    TransferCall {
        asset: token::ADDRESS,
        from: PAYER.address,
        to: PAYEE.address,
        value: U256::from(250),
        valid_after: U256::ZERO,
        valid_before: U256::from(START + 60),
        nonce: B256::repeat_byte(nonce),
        signature: [0; 65],
    }
}

fn signed(signer: TestAccount, call: TransferCall) -> TransferCall {
    let content = TransferWithAuthorization {
        from: call.from,
        to: call.to,
        value: call.value,
        validAfter: call.valid_after,
        validBefore: call.valid_before,
        nonce: call.nonce,
    };
    TransferCall { signature: sign(signer, &content), ..call }
}

fn sign(signer: TestAccount, content: &impl SolStruct) -> [u8; 65] {
    let domain = eip712_domain! {
        name: token::NAME,
        version: token::VERSION,
        chain_id: 31_337,
        verifying_contract: token::ADDRESS,
    };
    signer.signer().unwrap().sign_hash_sync(&content.eip712_signing_hash(&domain)).unwrap().as_bytes()
}

/// A transaction of `sender` to the token that a test may bend before it is signed.
fn raw_transaction(sender: TestAccount, nonce: u64, input: Bytes, bend: impl FnOnce(&mut TxEip1559)) -> Bytes {
    let mut transaction = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(token::ADDRESS),
        input,
        ..TxEip1559::default()
    };
    bend(&mut transaction);
    let signature = sender.signer().unwrap().sign_transaction_sync(&mut transaction).unwrap();
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
}
