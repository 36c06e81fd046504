//! Looking for the logs that consume a nonce, over many blocks and in bounded questions.

use alloy::primitives::{Address, B256, U64};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent as _;
use serde_json::json;
use x402::chain::{At, AuthorizationUse, Chain as _, ChainError};

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
        let step = self.config.log_blocks_max.max(1);
        let queries = (head - from) / step + 1;
        if queries > LOG_QUERIES_MAX {
            let message = format!("blocks {from} to {head} take {queries} log queries, at most {LOG_QUERIES_MAX}");
            return Err(ChainError::Unavailable(message));
        }
        let events = [Token::AuthorizationUsed::SIGNATURE_HASH, Token::AuthorizationCanceled::SIGNATURE_HASH];
        let mut found = Vec::new();
        for query in 0..queries {
            let first = from.saturating_add(query.saturating_mul(step));
            let last = first.saturating_add(step - 1).min(head);
            let filter = json!([{
                "address": asset,
                "fromBlock": U64::from(first),
                "toBlock": U64::from(last),
                "topics": [events, payer.into_word(), nonce],
            }]);
            let logs: Vec<Log> = self.client.call("eth_getLogs", filter).await?;
            for log in logs {
                found.push(consuming_log(log, asset, payer, nonce, first..=last)?);
            }
        }
        Ok(found)
    }

    /// With the receipt that holds it.
    pub(super) async fn use_of(&self, log: &Log) -> Result<AuthorizationUse, ChainError> {
        let transaction = log.transaction_hash.unwrap_or_default();
        let Some((receipt, block)) = self.receipt_with_block(transaction).await? else {
            return Err(ChainError::Unavailable(format!("the node has a log of {transaction} and no receipt")));
        };
        authorization_use(log, &receipt, block)
    }
}
