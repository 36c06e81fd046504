//! Looking for the logs that consume a nonce, over many blocks and in bounded questions.

use std::ops::RangeInclusive;

use alloy::primitives::{Address, B256, U64};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent as _;
use serde_json::{Value, json};
use x402::chain::{At, AuthorizationUse, Chain as _, ChainError, TokenTransfer, TransferLog};

use super::RpcChain;
use super::evidence::{authorization_use, consuming_log};
use crate::limits::LOG_QUERIES_MAX;
use crate::token::Token;

impl RpcChain {
    /// Of one nonce or of every nonce of the payer, from block `from` to the head.
    pub(super) async fn consuming_logs(
        &self,
        asset: Address,
        payer: Address,
        nonce: Option<B256>,
        from: u64,
    ) -> Result<Vec<Log>, ChainError> {
        let head = self.block(At::Latest).await?.number;
        if head < from {
            let message = format!("asked to look from block {from}, the node has only {head}");
            return Err(ChainError::Unavailable(message));
        }
        let events = [Token::AuthorizationUsed::SIGNATURE_HASH, Token::AuthorizationCanceled::SIGNATURE_HASH];
        let topics = json!([events, payer.into_word(), nonce]);
        let mut found = Vec::new();
        for (blocks, logs) in self.logs(asset, &topics, from..=head).await? {
            for log in logs {
                found.push(consuming_log(log, asset, payer, nonce, blocks.clone())?);
            }
        }
        Ok(found)
    }

    /// The one transaction that consumed a nonce.
    pub(super) async fn only_use(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError> {
        let mut logs = self.consuming_logs(asset, payer, Some(nonce), from).await?;
        let found = logs.pop();
        if let Some(earlier) = logs.pop() {
            let message = format!("two logs consume one nonce, the first in {:?}", earlier.transaction_hash);
            return Err(ChainError::Unavailable(message));
        }
        match found {
            Some(log) => Ok(Some(self.use_with_transfer(&log, payer).await?.0)),
            None => Ok(None),
        }
    }

    /// To and from an owner, once each.
    pub(super) async fn transfer_logs(
        &self,
        asset: Address,
        owner: Address,
        blocks: RangeInclusive<u64>,
    ) -> Result<Vec<TokenTransfer>, ChainError> {
        let (event, word) = (Token::Transfer::SIGNATURE_HASH, owner.into_word());
        let mut found = Vec::new();
        for topics in [json!([event, word]), json!([event, Value::Null, word])] {
            for (blocks, logs) in self.logs(asset, &topics, blocks.clone()).await? {
                for log in logs {
                    found.push(transfer_of(&log, asset, owner, &blocks)?);
                }
            }
        }
        // One to oneself is found twice.
        found.sort_by_key(|(place, _)| *place);
        found.dedup_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, transfer)| transfer).collect())
    }

    /// In bounded questions, each with the blocks that it was about.
    pub(super) async fn logs(
        &self,
        asset: Address,
        topics: &Value,
        blocks: RangeInclusive<u64>,
    ) -> Result<Vec<(RangeInclusive<u64>, Vec<Log>)>, ChainError> {
        let (from, to) = (*blocks.start(), *blocks.end());
        let step = self.config.log_blocks_max.max(1);
        let queries = to.saturating_sub(from) / step + 1;
        if queries > LOG_QUERIES_MAX {
            let message = format!("blocks {from} to {to} take {queries} log queries, at most {LOG_QUERIES_MAX}");
            return Err(ChainError::Unavailable(message));
        }
        let mut found = Vec::new();
        for query in 0..queries {
            let first = from.saturating_add(query.saturating_mul(step));
            let last = first.saturating_add(step - 1).min(to);
            let filter = json!([{
                "address": asset, "fromBlock": U64::from(first), "toBlock": U64::from(last), "topics": topics,
            }]);
            found.push((first..=last, self.client.call("eth_getLogs", filter).await?));
        }
        Ok(found)
    }

    /// With the receipt that holds it, and what the payer's tokens did next, where one transaction carries several payments.
    pub(super) async fn use_with_transfer(
        &self,
        log: &Log,
        payer: Address,
    ) -> Result<(AuthorizationUse, Option<TransferLog>), ChainError> {
        let transaction = log.transaction_hash.unwrap_or_default();
        let Some((receipt, block)) = self.receipt_with_block(transaction).await? else {
            return Err(ChainError::Unavailable(format!("the node has a log of {transaction} and no receipt")));
        };
        let after =
            receipt.logs().iter().filter(|other| other.log_index > log.log_index && other.address() == log.address());
        let transfer = after.filter_map(|log| Token::Transfer::decode_log_validate(&log.inner).ok());
        let mut transfers = transfer.map(|found| TransferLog {
            asset: found.address,
            from: found.from,
            to: found.to,
            value: found.value,
        });
        let transfer = transfers.find(|transfer| transfer.from == payer);
        Ok((authorization_use(log, &receipt, block)?, transfer))
    }
}

/// Of a log that [`RpcChain::consuming_logs`] let through.
pub(super) fn used_nonce(log: &Log) -> B256 {
    log.topics().get(2).copied().unwrap_or_default()
}

/// Block and place in it.
type Place = (u64, u64);

/// What was asked for, and nothing else.
fn transfer_of(
    log: &Log,
    asset: Address,
    owner: Address,
    blocks: &RangeInclusive<u64>,
) -> Result<(Place, TokenTransfer), ChainError> {
    let transfer = Token::Transfer::decode_log_validate(&log.inner).ok();
    let place = log.block_number.zip(log.log_index).filter(|(block, _)| blocks.contains(block) && !log.removed);
    match (transfer, place, log.transaction_hash) {
        (Some(transfer), Some(place), Some(transaction))
            if transfer.address == asset && (transfer.from == owner || transfer.to == owner) =>
        {
            let log = TransferLog { asset, from: transfer.from, to: transfer.to, value: transfer.value };
            Ok((place, TokenTransfer { transaction, block_number: place.0, log }))
        }
        _ => Err(ChainError::Unavailable(format!("asked for transfers of {owner} on {asset}, answered another log"))),
    }
}
