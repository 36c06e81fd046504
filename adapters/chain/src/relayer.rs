//! The account that carries authorizations to the chain, and pays the gas for it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use alloy::consensus::transaction::SignerRecoverable as _;
use alloy::consensus::{SignableTransaction, Transaction as _, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use async_trait::async_trait;
use tokio::sync::OnceCell;
use x402::auth_capture::{self, EscrowCall};
use x402::batch_settlement::{ChannelCall, ESCROW};
use x402::chain::{
    Batch, CancelCall, Chain, ChainError, GasGrant, PermitCall, Prepared, Relayer, TransferCall, WalletCall,
};
use x402::exact::WalletKey;

use crate::channels;
use crate::escrow;
use crate::limits::NO_MULTICALL_FOR;
use crate::multicall;
use crate::permit2::settle_input;
use crate::rpc::RpcChain;
use crate::rpc::batch::{Failure, together};
use crate::token::{cancel_input, transfer_input};

/// What a settlement may cost at most. Gas is bounded by [`crate::rpc::RpcConfig::settlement_gas_max`].
#[derive(Clone, Copy, Debug)]
pub struct FeeCaps {
    /// Wei a unit of gas, base fee and tip together.
    pub max_fee_per_gas: u128,
    /// Wei a unit of gas, on top of the base fee.
    pub max_priority_fee_per_gas: u128,
}

/// Gas of a transaction that calls nothing (EIP-2028 leaves it as it was in the Yellow Paper: 21,000).
const PLAIN_GAS: u64 = 21_000;

/// How often a fee is doubled at most where the chain leaves a settlement lying.
const REPLACEMENTS_MAX: usize = 2;

impl FeeCaps {
    /// Of what gas costs now, the part on top of the base fee that is given.
    fn tip(&self, base: U256, price: U256) -> U256 {
        let most = self.max_priority_fee_per_gas.min(self.max_fee_per_gas);
        price.saturating_sub(base).min(U256::from(most))
    }

    /// What a transaction of now gives for a unit of gas; `None` where gas costs more than that may be.
    fn fees(&self, base: U256, tip: U256) -> Option<(u128, u128)> {
        let cap = U256::from(self.max_fee_per_gas);
        let fee = base.saturating_mul(U256::from(2)).saturating_add(tip).min(cap);
        (base.saturating_add(tip) <= cap).then(|| (fee.saturating_to(), tip.saturating_to()))
    }

    /// Twice as much, within the caps. `None` where that is less than a tenth more of each, which nodes do not take for a
    /// replacement.
    fn above(&self, fee: u128, tip: u128) -> Option<(u128, u128)> {
        let doubled = |old: u128, cap: u128| {
            let new = old.saturating_mul(2).min(cap);
            (new >= old.saturating_add(old / 10)).then_some(new)
        };
        let fee = doubled(fee, self.max_fee_per_gas).filter(|new| *new > fee)?;
        Some((fee, doubled(tip, self.max_priority_fee_per_gas.min(fee))?))
    }
}

impl Default for FeeCaps {
    /// 500 and 50 gwei: with 500,000 gas a quarter of an ether at the very worst.
    fn default() -> Self {
        Self { max_fee_per_gas: 500_000_000_000, max_priority_fee_per_gas: 50_000_000_000 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayerError {
    #[error("the relayer's key is not a private key: expected 32 bytes, not zero and below the curve's order")]
    KeyInvalid,
}

impl RelayerError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyInvalid => "relayer_key_invalid",
        }
    }

    pub fn retryable(&self) -> bool {
        match self {
            Self::KeyInvalid => false,
        }
    }
}

/// What a call costs now.
pub(crate) struct Quote {
    gas_limit: u64,
    /// Wei a unit of gas, and of it on top of the base fee.
    fees: (u128, u128),
    /// What higher fees keep to.
    caps: FeeCaps,
}

/// Signs with a key in memory. Knows no nonce of its own: the engine counts, so that a restart forgets nothing.
pub struct LocalRelayer {
    chain: RpcChain,
    key: WalletKey,
    caps: FeeCaps,
    chain_id: OnceCell<u64>,
    /// Whether the chain has it, and since when that is known.
    multicall: Mutex<Option<(bool, Instant)>>,
}

impl LocalRelayer {
    pub fn new(chain: RpcChain, private_key: &B256, caps: FeeCaps) -> Result<Self, RelayerError> {
        let key = WalletKey::from_bytes(private_key).map_err(|_| RelayerError::KeyInvalid)?;
        Ok(Self { chain, key, caps, chain_id: OnceCell::new(), multicall: Mutex::default() })
    }

    /// Twice the base fee leaves room for six full blocks in a row (each raises it by an eighth, EIP-1559).
    async fn fees(&self) -> Result<(u128, u128), ChainError> {
        let (base, price) = tokio::try_join!(self.chain.base_fee(), self.chain.gas_price())?;
        self.fees_at(base, price)
    }

    fn fees_at(&self, base: U256, price: U256) -> Result<(u128, u128), ChainError> {
        let tip = self.caps.tip(base, price);
        self.caps.fees(base, tip).ok_or_else(|| {
            let cap = self.caps.max_fee_per_gas;
            too_dear(format!("gas costs {base} + {tip} wei, at most {cap} are allowed"))
        })
    }

    /// A quarter more than the estimate: other settlements may change which slots are fresh in the meantime.
    async fn gas_limit(&self, to: Address, input: &Bytes, cap: u64) -> Result<u64, ChainError> {
        let estimate = self.chain.estimate(to, input, self.address(), cap).await?;
        if estimate > cap {
            return Err(too_dear(format!("the settlement takes {estimate} gas, at most {cap} are allowed")));
        }
        Ok(estimate.saturating_add(estimate / 4).min(cap))
    }

    /// What a call costs now, where all of it may cost so many wei at most, and no more than the account has: also at the
    /// highest fee.
    pub(crate) async fn quote(
        &self,
        (to, input, gas_max): &(Address, Bytes, u64),
        wei_max: U256,
    ) -> Result<Quote, ChainError> {
        let account = self.address();
        let (gas_limit, base, price, found) = tokio::try_join!(
            self.gas_limit(*to, input, *gas_max),
            self.chain.base_fee(),
            self.chain.gas_price(),
            self.chain.native_balance(account),
        )?;
        let gas = U256::from(gas_limit);
        let tip = self.caps.tip(base, price);
        let needed = gas.saturating_mul(base.saturating_add(tip));
        if needed > wei_max {
            return Err(too_dear(format!("the transaction costs {needed} wei, at most {wei_max} are allowed")));
        }
        let most = wei_max.min(found).checked_div(gas).unwrap_or_default();
        let caps = FeeCaps { max_fee_per_gas: self.caps.max_fee_per_gas.min(most.saturating_to()), ..self.caps };
        let fees = caps.fees(base, tip).ok_or(ChainError::Gas { account, needed, found })?;
        Ok(Quote { gas_limit, fees, caps })
    }

    /// Signed at that price, and not sent.
    pub(crate) async fn bounded(
        &self,
        (to, input, _): (Address, Bytes, u64),
        nonce: u64,
        quote: &Quote,
    ) -> Result<Prepared, ChainError> {
        let chain_id = *self.chain_id.get_or_try_init(|| self.chain.chain_id()).await?;
        let (max_fee_per_gas, max_priority_fee_per_gas) = quote.fees;
        let (gas_limit, to) = (quote.gas_limit, TxKind::Call(to));
        self.ladder_within(
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                input,
                ..TxEip1559::default()
            },
            &quote.caps,
        )
    }

    pub(crate) const fn chain(&self) -> &RpcChain {
        &self.chain
    }

    /// Priced and signed, and not sent.
    async fn call(&self, to: Address, input: Bytes, account_nonce: u64) -> Result<Prepared, ChainError> {
        let (gas_limit, fees) =
            tokio::try_join!(self.gas_limit(to, &input, self.chain.settlement_gas_max()), self.fees())?;
        self.priced(to, input, account_nonce, gas_limit, fees).await
    }

    async fn priced(
        &self,
        to: Address,
        input: Bytes,
        account_nonce: u64,
        gas_limit: u64,
        (max_fee_per_gas, max_priority_fee_per_gas): (u128, u128),
    ) -> Result<Prepared, ChainError> {
        let chain_id = *self.chain_id.get_or_try_init(|| self.chain.chain_id()).await?;
        self.ladder(TxEip1559 {
            chain_id,
            nonce: account_nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: TxKind::Call(to),
            input,
            ..TxEip1559::default()
        })
    }

    /// Signed, with the same at higher fees behind it.
    fn ladder(&self, transaction: TxEip1559) -> Result<Prepared, ChainError> {
        self.ladder_within(transaction, &self.caps)
    }

    fn ladder_within(&self, mut transaction: TxEip1559, caps: &FeeCaps) -> Result<Prepared, ChainError> {
        let account_nonce = transaction.nonce;
        let (hash, raw) = self.signed(&transaction)?;
        let mut replacements = Vec::new();
        while replacements.len() < REPLACEMENTS_MAX
            && let Some((fee, tip)) = caps.above(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas)
        {
            (transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas) = (fee, tip);
            replacements.push(self.signed(&transaction)?.1);
        }
        Ok(Prepared { transaction: hash, raw, account_nonce, replacements })
    }

    fn signed(&self, transaction: &TxEip1559) -> Result<(B256, Bytes), ChainError> {
        let signature = self.key.sign(transaction.signature_hash()).ok();
        let signature = signature.and_then(|signature| Signature::from_raw_array(&signature.to_bytes()).ok());
        let unsigned = || ChainError::Unavailable("the relayer's key could not sign".to_owned());
        let signature = signature.ok_or_else(unsigned)?;
        let envelope = TxEnvelope::from(transaction.clone().into_signed(signature));
        Ok((*envelope.tx_hash(), Bytes::from(envelope.encoded_2718())))
    }
}

#[async_trait]
impl Relayer for LocalRelayer {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn nonce_in(&self, raw: &Bytes) -> Option<u64> {
        let envelope = TxEnvelope::decode_2718_exact(raw).ok()?;
        (envelope.recover_signer().ok()? == self.address()).then(|| envelope.nonce())
    }

    /// To itself and without a value, at the dearest fee that the caps allow: whatever stood there before must give way.
    async fn fill(&self, account_nonce: u64) -> Result<Prepared, ChainError> {
        let chain_id = *self.chain_id.get_or_try_init(|| self.chain.chain_id()).await?;
        let (mut fee, mut tip) = self.fees().await?;
        for _ in 0..REPLACEMENTS_MAX {
            (fee, tip) = self.caps.above(fee, tip).unwrap_or((fee, tip));
        }
        let transaction = TxEip1559 {
            chain_id,
            nonce: account_nonce,
            gas_limit: PLAIN_GAS,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(self.address()),
            ..TxEip1559::default()
        };
        let (hash, raw) = self.signed(&transaction)?;
        Ok(Prepared { transaction: hash, raw, account_nonce, replacements: Vec::new() })
    }

    async fn prepare(&self, call: &TransferCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.call(call.asset, transfer_input(call), account_nonce).await
    }

    async fn batches(&self) -> bool {
        {
            let found = self.multicall.lock().unwrap_or_else(PoisonError::into_inner);
            match *found {
                Some((is_there, since)) if is_there || since.elapsed() < NO_MULTICALL_FOR => return is_there,
                _ => {}
            }
        }
        let Ok(code) = self.chain.code(multicall::ADDRESS).await else { return false };
        *self.multicall.lock().unwrap_or_else(PoisonError::into_inner) = Some((!code.is_empty(), Instant::now()));
        !code.is_empty()
    }

    async fn prepare_batch(&self, calls: &[TransferCall], account_nonce: u64) -> Result<Batch, ChainError> {
        let measured = self.chain.measure(calls, self.address()).await?;
        let Ok(estimate) = measured.gas else {
            return Ok(Batch::Failing(self.chain.failing(calls, self.address()).await?));
        };
        let cap = self.chain.batch_gas_max(calls.len());
        let gas_limit = estimate.saturating_add(estimate / 4).min(cap);
        let fees = self.fees_at(measured.base_fee, measured.gas_price)?;
        let (to, input) = together(calls, Failure::OfOne);
        self.priced(to, input, account_nonce, gas_limit, fees).await.map(Batch::Prepared)
    }

    async fn prepare_wallet(&self, call: &WalletCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let (to, input) = crate::wallet::settle_input(call);
        self.call(to, input, account_nonce).await
    }

    async fn prepare_channel(&self, call: &ChannelCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let (input, cap) = (channels::input(call), self.chain.channel_gas_max(call));
        let (gas_limit, fees) = tokio::try_join!(self.gas_limit(ESCROW, &input, cap), self.fees())?;
        self.priced(ESCROW, input, account_nonce, gas_limit, fees).await
    }

    async fn prepare_escrow(&self, call: &EscrowCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.call(auth_capture::ESCROW, escrow::input(call), account_nonce).await
    }

    async fn prepare_gas(&self, grant: &GasGrant, account_nonce: u64) -> Result<Prepared, ChainError> {
        let chain_id = *self.chain_id.get_or_try_init(|| self.chain.chain_id()).await?;
        let (max_fee_per_gas, max_priority_fee_per_gas) = self.fees().await?;
        self.ladder(TxEip1559 {
            chain_id,
            nonce: account_nonce,
            gas_limit: PLAIN_GAS,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: TxKind::Call(grant.to),
            value: grant.value,
            ..TxEip1559::default()
        })
    }

    async fn prepare_cancel(&self, call: &CancelCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.call(call.asset, cancel_input(call), account_nonce).await
    }

    async fn prepare_permit(&self, call: &PermitCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.call(call.permit.spender, settle_input(call), account_nonce).await
    }
}

impl fmt::Debug for LocalRelayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRelayer").field("address", &self.key.address()).finish_non_exhaustive()
    }
}

/// Nothing was sent, so this is a plain refusal.
fn too_dear(message: String) -> ChainError {
    ChainError::Refused { code: crate::devnet::SERVER_ERROR, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_is_doubled_within_its_caps_or_not_at_all() {
        let caps = FeeCaps { max_fee_per_gas: 100, max_priority_fee_per_gas: 20 };
        for (fee, tip) in [(100, 1), (92, 1), (0, 0), (10, 20), (10, 19 + 100), (u128::MAX, 1), (101, 1)] {
            assert_eq!(caps.above(fee, tip), None, "{fee} and {tip}");
        }
        assert_eq!(caps.above(10, 2), Some((20, 4)));
        assert_eq!(caps.above(60, 15), Some((100, 20)));
        assert_eq!(caps.above(10, 0), Some((20, 0)));
    }
}
