//! The port to the chain over JSON-RPC: a real node over HTTP, or the devnet in process. The same bytes pass.
//!
//! Everything a node says is checked against the question: a log must come from the asked contract with the asked
//! topics, a receipt must be of the asked transaction and agree with the log that led to it, a block must have the
//! asked number or hash. What does not fit is [`ChainError::Unavailable`]: the node told us nothing.

mod approval;
pub(crate) mod batch;
mod channels;
mod client;
mod escrow;
mod evidence;
mod findings;
mod logs;
mod permit2;
mod reading;
mod transport;
mod wallet;

use std::sync::Arc;
use std::time::Duration;

use alloy::consensus::Transaction as _;
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, U64, U256, keccak256};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use x402::auth_capture::{EscrowCall, EscrowState, Held};
use x402::batch_settlement::{ChannelCall, ChannelState, ReceiverState};
use x402::chain::{
    At, AuthorizationUse, AuthorizedCall, Block, Chain, ChainError, ConsumedNonce, Findings, PermitCall, Pool, Receipt,
    TokenFacts, TokenTransfer, TransferCall, WalletAnswer, WalletCall,
};
use x402::exact::WalletSignature;
use x402::permit2::approval::Approval;
use x402::settlement::{ClaimKey, NonceSpace};

use crate::devnet::Devnet;
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::token::{Token, transfer_input};
use client::Client;
use evidence::receipt_of;
use transport::Transport;

pub use transport::RpcUrlError;

#[derive(Clone, Copy, Debug)]
pub struct RpcConfig {
    /// For one call, from the first byte sent to the last byte read.
    pub timeout: Duration,
    /// Blocks that one log query may span; what providers allow differs, 10,000 is common.
    pub log_blocks_max: u64,
    /// Gas that a settlement may burn. Circle's token takes about 75,000, a contract wallet some 200,000.
    pub settlement_gas_max: u64,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), log_blocks_max: 10_000, settlement_gas_max: 500_000 }
    }
}

/// The chain as a node tells it. Clones share the connection.
#[derive(Clone, Debug)]
pub struct RpcChain {
    client: Arc<Client>,
    config: RpcConfig,
}

/// The fields of a block that the port speaks of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockHead {
    number: U64,
    hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U256>,
}

impl RpcChain {
    /// A node at an HTTP URL. Connects to nothing yet.
    pub fn http(url: &str, config: RpcConfig) -> Result<Self, RpcUrlError> {
        Ok(Self::over(vec![Transport::http(url, config.timeout)?], config))
    }

    /// Several nodes of one chain: the next is asked where one gives no answer. An empty list answers nothing.
    pub fn http_any(urls: &[String], config: RpcConfig) -> Result<Self, RpcUrlError> {
        let transports = urls.iter().map(|url| Transport::http(url, config.timeout));
        Ok(Self::over(transports.collect::<Result<_, _>>()?, config))
    }

    /// The devnet without a socket.
    pub fn in_process(devnet: Devnet, config: RpcConfig) -> Self {
        Self::over(vec![Transport::InProcess(devnet)], config)
    }

    fn over(transports: Vec<Transport>, config: RpcConfig) -> Self {
        Self { client: Arc::new(Client::new(transports, config.timeout)), config }
    }

    /// Wei a unit of gas in the newest block; zero where the chain knows none.
    pub(crate) async fn base_fee(&self) -> Result<U256, ChainError> {
        Ok(self.head(json!("latest")).await?.base_fee_per_gas.unwrap_or_default())
    }

    /// Wei a unit of gas, base fee and tip together, as the node suggests it. Every node answers this one.
    pub(crate) async fn gas_price(&self) -> Result<U256, ChainError> {
        self.client.call("eth_gasPrice", json!([])).await
    }

    /// Gas that the settlement would need if it ran now, sent by `caller`; at most `cap`.
    pub(crate) async fn estimate(
        &self,
        to: Address,
        input: &Bytes,
        caller: Address,
        cap: u64,
    ) -> Result<u64, ChainError> {
        let gas = U64::from(cap);
        let request = json!([{ "from": caller, "to": to, "data": input, "gas": gas }]);
        let gas: U64 = self.client.call("eth_estimateGas", request).await?;
        Ok(gas.to::<u64>())
    }

    pub(crate) fn settlement_gas_max(&self) -> u64 {
        self.config.settlement_gas_max
    }

    fn settlement(&self, call: &TransferCall, caller: Address) -> Value {
        json!({
            "from": caller,
            "to": call.asset,
            "data": transfer_input(call),
            "gas": U64::from(self.config.settlement_gas_max),
        })
    }
}

#[async_trait]
impl Chain for RpcChain {
    async fn chain_id(&self) -> Result<u64, ChainError> {
        let id: U64 = self.client.call("eth_chainId", json!([])).await?;
        Ok(id.to::<u64>())
    }

    async fn block(&self, at: At) -> Result<Block, ChainError> {
        let block = block_of(&self.head(tag(at)).await?);
        match at {
            At::Number(number) if number != block.number => {
                Err(ChainError::Unavailable(format!("asked for block {number}, answered block {}", block.number)))
            }
            _ => Ok(block),
        }
    }

    async fn code(&self, address: Address) -> Result<Bytes, ChainError> {
        self.client.call("eth_getCode", json!([address, "latest"])).await
    }

    async fn token(&self, asset: Address) -> Result<TokenFacts, ChainError> {
        let (name, version, decimals, domain_separator) = tokio::try_join!(
            self.read_text(asset, Token::nameCall {}),
            self.read_text(asset, Token::versionCall {}),
            self.read(asset, Token::decimalsCall {}, At::Latest),
            self.read(asset, Token::DOMAIN_SEPARATORCall {}, At::Latest),
        )?;
        Ok(TokenFacts { name, version, decimals, domain_separator })
    }

    async fn balance_of(&self, asset: Address, owner: Address, at: At) -> Result<U256, ChainError> {
        self.read(asset, Token::balanceOfCall { owner }, at).await
    }

    async fn native_balance(&self, owner: Address) -> Result<U256, ChainError> {
        self.client.call("eth_getBalance", json!([owner, "latest"])).await
    }

    async fn authorization_consumed(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        at: At,
    ) -> Result<bool, ChainError> {
        self.read(asset, Token::authorizationStateCall { authorizer: payer, nonce }, at).await
    }

    async fn find_authorization(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError> {
        self.only_use(asset, payer, nonce, from).await
    }

    async fn used_nonces(&self, asset: Address, payer: Address, from: u64) -> Result<Vec<B256>, ChainError> {
        let logs = self.consuming_logs(asset, payer, None, from).await?;
        Ok(logs.iter().map(logs::used_nonce).collect())
    }

    async fn token_transfers(
        &self,
        asset: Address,
        owner: Address,
        from: u64,
        to: u64,
    ) -> Result<Vec<TokenTransfer>, ChainError> {
        self.transfer_logs(asset, owner, from..=to).await
    }

    async fn consumed_nonces(
        &self,
        asset: Address,
        payer: Address,
        from: u64,
    ) -> Result<Vec<ConsumedNonce>, ChainError> {
        let mut consumed = Vec::new();
        for log in self.consuming_logs(asset, payer, None, from).await? {
            let (nonce, (by, transfer)) = (logs::used_nonce(&log), self.use_with_transfer(&log, payer).await?);
            consumed.push(ConsumedNonce { space: NonceSpace::Eip3009, nonce, by, transfer });
        }
        consumed.extend(self.consumed_permits(asset, payer, from).await?);
        consumed.sort_by_key(|consumed| consumed.by.block.number);
        Ok(consumed)
    }

    async fn findings(&self, call: AuthorizedCall<'_>, caller: Address) -> Result<Findings, ChainError> {
        self.find(call, caller).await
    }

    async fn findings_of(&self, calls: &[TransferCall]) -> Result<Vec<Findings>, ChainError> {
        self.find_of(calls).await
    }

    async fn simulate(&self, call: &TransferCall, caller: Address) -> Result<(), ChainError> {
        self.simulated(self.settlement(call, caller)).await
    }

    async fn wallet_answer(
        &self,
        wallet: Address,
        digest: B256,
        signature: &WalletSignature,
    ) -> Result<WalletAnswer, ChainError> {
        self.ask_wallet(wallet, digest, signature).await
    }

    async fn simulate_wallet(&self, call: &WalletCall, caller: Address) -> Result<(), ChainError> {
        self.try_wallet(call, caller).await
    }

    async fn permit_consumed(&self, payer: Address, nonce: B256, at: At) -> Result<bool, ChainError> {
        self.is_permit_consumed(payer, nonce, at).await
    }

    async fn find_permit(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError> {
        self.permit_use(asset, payer, nonce, from).await
    }

    async fn allowance(&self, asset: Address, owner: Address, spender: Address) -> Result<U256, ChainError> {
        self.read(asset, Token::allowanceCall { owner, spender }, At::Latest).await
    }

    async fn permit_nonce(&self, asset: Address, owner: Address) -> Result<U256, ChainError> {
        self.read(asset, Token::noncesCall { owner }, At::Latest).await
    }

    async fn simulate_permit(&self, call: &PermitCall, caller: Address) -> Result<(), ChainError> {
        self.simulated(self.permit_request(call, caller)).await
    }

    async fn simulate_approval(&self, approval: &Approval) -> Result<(), ChainError> {
        self.try_approval(approval).await
    }

    async fn simulate_approved(
        &self,
        approval: &Approval,
        call: &PermitCall,
        caller: Address,
    ) -> Result<(), ChainError> {
        self.try_approved(approval, call, caller).await
    }

    async fn simulate_channel(&self, call: &ChannelCall, caller: Address) -> Result<(), ChainError> {
        self.simulated(self.channel_request(call, caller)).await
    }

    async fn simulate_escrow(&self, call: &EscrowCall, caller: Address) -> Result<(), ChainError> {
        self.simulated(self.escrow_request(call, caller)).await
    }

    async fn escrowed(&self, payment: B256, at: At) -> Result<EscrowState, ChainError> {
        self.escrow_state(payment, at).await
    }

    async fn held(&self, key: ClaimKey, used: &AuthorizationUse) -> Result<Option<Held>, ChainError> {
        self.held_payment(key, used).await
    }

    async fn channel(&self, channel: B256, at: At) -> Result<ChannelState, ChainError> {
        self.channel_state(channel, at).await
    }

    async fn channels(&self, channels: &[B256]) -> Result<Vec<ChannelState>, ChainError> {
        self.channel_states(channels).await
    }

    async fn receiver(&self, receiver: Address, token: Address, at: At) -> Result<ReceiverState, ChainError> {
        self.receiver_state(receiver, token, at).await
    }

    async fn receipt(&self, transaction: B256) -> Result<Option<Receipt>, ChainError> {
        let found = self.receipt_with_block(transaction).await?;
        Ok(found.map(|(receipt, block)| receipt_of(&receipt, block)))
    }

    async fn knows(&self, transaction: B256) -> Result<bool, ChainError> {
        #[derive(Deserialize)]
        struct Known {
            hash: B256,
        }
        let found: Option<Known> = self.client.call("eth_getTransactionByHash", json!([transaction])).await?;
        Ok(found.is_some_and(|known| known.hash == transaction))
    }

    async fn account_nonce(&self, account: Address, pool: Pool) -> Result<u64, ChainError> {
        let tag = match pool {
            Pool::Final => "finalized",
            Pool::Mined => "latest",
            Pool::Pending => "pending",
        };
        let nonce: U64 = self.client.call("eth_getTransactionCount", json!([account, tag])).await?;
        Ok(nonce.to::<u64>())
    }

    async fn fees(&self) -> Result<(U256, U256), ChainError> {
        self.fees_of_now().await
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<(), ChainError> {
        let hash = checked_hash(raw)?;
        let (code, message) = match self.client.call::<B256>("eth_sendRawTransaction", json!([raw])).await {
            Ok(answered) if answered == hash => return Ok(()),
            Ok(answered) => {
                let message = format!("sent transaction {hash}, the node answered {answered}");
                return Err(ChainError::Unavailable(message));
            }
            Err(ChainError::Refused { code, message }) => (code, message),
            Err(other) => return Err(other),
        };
        // geth says "already known", others "AlreadyKnown" or "already imported", and once it is mined "nonce too
        // low". Words differ, so the node is asked: a transaction that it knows was not refused.
        let words = message.to_ascii_lowercase().replace(' ', "");
        if words.contains("alreadyknown") || words.contains("alreadyimported") || self.knows(hash).await? {
            return Ok(());
        }
        Err(ChainError::Refused { code, message })
    }
}

/// The hash that these bytes have as a transaction; refuses what a node could not read either.
fn checked_hash(raw: &Bytes) -> Result<B256, ChainError> {
    let refused = |message: String| ChainError::Refused { code: crate::devnet::INVALID_PARAMS, message };
    if raw.len() > TRANSACTION_BYTES_MAX {
        return Err(refused(format!("a transaction of {} bytes, at most {TRANSACTION_BYTES_MAX}", raw.len())));
    }
    let envelope = alloy::consensus::TxEnvelope::decode_2718_exact(raw)
        .map_err(|error| refused(format!("not a signed transaction: {error}")))?;
    if envelope.chain_id().is_none() {
        return Err(refused("the transaction names no chain, so it could be replayed on another".to_owned()));
    }
    Ok(keccak256(raw))
}

fn tag(at: At) -> Value {
    match at {
        At::Latest => json!("latest"),
        At::Finalized => json!("finalized"),
        At::Number(number) => json!(U64::from(number)),
    }
}

fn block_of(head: &BlockHead) -> Block {
    Block { number: head.number.to::<u64>(), hash: head.hash, timestamp: head.timestamp.to::<u64>() }
}
