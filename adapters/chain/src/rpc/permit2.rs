//! What became of a nonce of Permit2. Permit2 logs no use, so the use is found from the payer's own transfers.

use alloy::primitives::{Address, B256, Bytes, U64};
use alloy::sol_types::SolEvent as _;
use serde::Deserialize;
use serde_json::{Value, json};
use x402::chain::{At, AuthorizationUse, Chain as _, ChainError, ConsumedNonce, PermitCall};
use x402::permit2::{EXACT_PROXY, PERMIT2, UPTO_PROXY};
use x402::settlement::NonceSpace;

use super::RpcChain;
use super::evidence::receipt_of;
use crate::permit2::{Permit2, place, settled_by};

/// The fields of a transaction that say what it called.
#[derive(Deserialize)]
struct Called {
    hash: B256,
    to: Option<Address>,
    input: Bytes,
}

impl RpcChain {
    pub(super) async fn is_permit_consumed(&self, payer: Address, nonce: B256, at: At) -> Result<bool, ChainError> {
        let (word, bit) = place(nonce);
        let bitmap = self.read(PERMIT2, Permit2::nonceBitmapCall { owner: payer, wordPos: word }, at).await?;
        Ok(bitmap.bit(bit))
    }

    /// A proxy's call that uses up this nonce and did not revert is the use, whoever sent it: nonces are used once. Where
    /// no transaction calls a proxy itself (a contract did), the state says in which block it happened.
    pub(super) async fn permit_use(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError> {
        let head = self.block(At::Latest).await?.number;
        if head < from {
            let message = format!("asked to look from block {from}, the node has only {head}");
            return Err(ChainError::Unavailable(message));
        }
        let mut seen = Vec::new();
        for moved in self.transfer_logs(asset, payer, from..=head).await? {
            if moved.log.from != payer || seen.contains(&moved.transaction) {
                continue;
            }
            seen.push(moved.transaction);
            if self.settles(moved.transaction, payer, nonce).await? {
                return self.used_in(moved.transaction, asset).await.map(Some);
            }
        }
        if !self.is_permit_consumed(payer, nonce, At::Number(head)).await? {
            return Ok(None);
        }
        let block = self.consuming_block(payer, nonce, from, head).await?;
        let Some(block) = block else { return Ok(None) };
        self.use_in_block(asset, payer, nonce, block).await.map(Some)
    }

    /// Every permit of the payer that a proxy was called with, in the order of the logs. One that a contract carried is not
    /// among them: whoever compares balances finds it.
    pub(super) async fn consumed_permits(
        &self,
        asset: Address,
        payer: Address,
        from: u64,
    ) -> Result<Vec<ConsumedNonce>, ChainError> {
        let head = self.block(At::Latest).await?.number;
        let mut consumed: Vec<ConsumedNonce> = Vec::new();
        for moved in self.transfer_logs(asset, payer, from..=head).await? {
            let known = consumed.iter().any(|consumed| consumed.by.transaction == moved.transaction);
            if moved.log.from != payer || known {
                continue;
            }
            let Some((owner, nonce)) = self.settled_in(moved.transaction).await? else { continue };
            if owner == payer {
                let by = self.used_in(moved.transaction, asset).await?;
                consumed.push(ConsumedNonce { space: NonceSpace::Permit2, nonce, by, transfer: Some(moved.log) });
            }
        }
        Ok(consumed)
    }

    async fn settles(&self, transaction: B256, payer: Address, nonce: B256) -> Result<bool, ChainError> {
        Ok(self.settled_in(transaction).await? == Some((payer, nonce)))
    }

    /// Whose nonce this transaction uses up, where it calls a proxy itself.
    async fn settled_in(&self, transaction: B256) -> Result<Option<(Address, B256)>, ChainError> {
        let found: Option<Called> = self.client.call("eth_getTransactionByHash", json!([transaction])).await?;
        let missing =
            || ChainError::Unavailable(format!("the node has a log of {transaction} and not the transaction"));
        let called = found.filter(|called| called.hash == transaction).ok_or_else(missing)?;
        let is_proxy = called.to.is_some_and(|to| [EXACT_PROXY, UPTO_PROXY].contains(&to));
        Ok(settled_by(&called.input).filter(|_| is_proxy))
    }

    async fn used_in(&self, transaction: B256, asset: Address) -> Result<AuthorizationUse, ChainError> {
        let found = self.receipt_with_block(transaction).await?;
        let receipt = found.map(|(receipt, block)| receipt_of(&receipt, block)).filter(|receipt| receipt.success);
        let missing =
            || ChainError::Unavailable(format!("the node has a log of {transaction} and no receipt of success"));
        let receipt = receipt.ok_or_else(missing)?;
        let transfers = receipt.transfers.into_iter().filter(|transfer| transfer.asset == asset).collect();
        Ok(AuthorizationUse { transaction, block: receipt.block, canceled: false, transfers })
    }

    /// The first block of those from `from` to `head` after which the nonce is used up; `None` where it was before.
    async fn consuming_block(
        &self,
        payer: Address,
        nonce: B256,
        from: u64,
        head: u64,
    ) -> Result<Option<u64>, ChainError> {
        let before = from.saturating_sub(1);
        if self.is_permit_consumed(payer, nonce, At::Number(before)).await? {
            return Ok(None);
        }
        let (mut unused, mut used) = (before, head);
        while used.saturating_sub(unused) > 1 {
            let middle = unused + (used - unused) / 2;
            if self.is_permit_consumed(payer, nonce, At::Number(middle)).await? {
                used = middle;
            } else {
                unused = middle;
            }
        }
        Ok(Some(used))
    }

    /// In this block and by no transaction that calls a proxy itself: the one transaction that it can have been, or none
    /// that can be told.
    async fn use_in_block(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        block: u64,
    ) -> Result<AuthorizationUse, ChainError> {
        let (word, bit) = place(nonce);
        let topics = json!([Permit2::UnorderedNonceInvalidation::SIGNATURE_HASH, payer.into_word()]);
        let mut cancelled = None;
        for (_, logs) in self.logs(PERMIT2, &topics, block..=block).await? {
            for log in logs {
                let decoded = Permit2::UnorderedNonceInvalidation::decode_log_validate(&log.inner).ok();
                let ours =
                    decoded.filter(|event| event.address == PERMIT2 && event.owner == payer && event.word == word);
                if ours.is_some_and(|event| event.mask.bit(bit)) && log.block_number == Some(block) {
                    cancelled = log.transaction_hash;
                }
            }
        }
        let mut moving: Vec<B256> = Vec::new();
        for moved in self.transfer_logs(asset, payer, block..=block).await? {
            if moved.log.from == payer
                && !moving.contains(&moved.transaction)
                && self.by_proxy(moved.transaction).await?
            {
                moving.push(moved.transaction);
            }
        }
        match (cancelled, moving.as_slice()) {
            (Some(transaction), []) => {
                let used = self.used_in(transaction, asset).await?;
                Ok(AuthorizationUse { canceled: true, transfers: Vec::new(), ..used })
            }
            (None, [transaction]) => self.used_in(*transaction, asset).await,
            _ => {
                let message =
                    format!("nonce {nonce} of {payer} was used up in block {block}, by which transaction is unclear");
                Err(ChainError::Unavailable(message))
            }
        }
    }

    /// Whether a proxy left a log in it: both say `Settled()` or `SettledWithPermit()`.
    async fn by_proxy(&self, transaction: B256) -> Result<bool, ChainError> {
        let found = self.receipt_with_block(transaction).await?;
        Ok(found.is_some_and(|(receipt, _)| {
            receipt.logs().iter().any(|log| [EXACT_PROXY, UPTO_PROXY].contains(&log.address()))
        }))
    }

    pub(super) fn permit_request(&self, call: &PermitCall, caller: Address) -> Value {
        json!({
            "from": caller,
            "to": call.permit.spender,
            "data": crate::permit2::settle_input(call),
            "gas": U64::from(self.config.settlement_gas_max),
        })
    }
}
