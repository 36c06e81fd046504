//! What a node is asked, and whether it answered that.

use alloy::primitives::{Address, B256, Bytes};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use x402::chain::{At, Block, ChainError};

use super::client::printable;
use super::{BlockHead, RpcChain, block_of, tag};
use crate::limits::TOKEN_TEXT_CHARS_MAX;

impl RpcChain {
    pub(super) async fn head(&self, id: Value) -> Result<BlockHead, ChainError> {
        let found: Option<BlockHead> = self.client.call("eth_getBlockByNumber", json!([id, false])).await?;
        found.ok_or_else(|| ChainError::Unavailable(format!("the node has no block {id}")))
    }

    pub(super) async fn block_by_hash(&self, hash: B256, number: u64) -> Result<Block, ChainError> {
        let found: Option<BlockHead> = self.client.call("eth_getBlockByHash", json!([hash, false])).await?;
        let head = found.ok_or_else(|| {
            ChainError::Unavailable(format!("the node names block {hash} and does not have it: taken back meanwhile?"))
        })?;
        let block = block_of(&head);
        if block.hash != hash || block.number != number {
            let message = format!("asked for block {number} {hash}, answered {} {}", block.number, block.hash);
            return Err(ChainError::Unavailable(message));
        }
        Ok(block)
    }

    pub(super) async fn read<C: SolCall>(&self, asset: Address, call: C, at: At) -> Result<C::Return, ChainError> {
        let request = json!([{ "to": asset, "data": Bytes::from(call.abi_encode()) }, tag(at)]);
        let output: Bytes = self.client.call("eth_call", request).await?;
        C::abi_decode_returns_validate(&output).map_err(|error| {
            let error = printable(&error.to_string());
            ChainError::Unavailable(format!("{asset} does not answer {} as a token would: {error}", C::SIGNATURE))
        })
    }

    pub(super) async fn simulated(&self, request: Value) -> Result<(), ChainError> {
        let _output: Bytes = self.client.call("eth_call", json!([request, "latest"])).await?;
        Ok(())
    }

    pub(super) async fn read_text<C: SolCall<Return = String>>(
        &self,
        asset: Address,
        call: C,
    ) -> Result<String, ChainError> {
        let text = self.read(asset, call, At::Latest).await?;
        let chars = text.chars().count();
        if chars > TOKEN_TEXT_CHARS_MAX {
            let message = format!("{} of {asset} has {chars} characters, at most {TOKEN_TEXT_CHARS_MAX}", C::SIGNATURE);
            return Err(ChainError::Unavailable(message));
        }
        Ok(text)
    }

    pub(super) async fn receipt_with_block(
        &self,
        transaction: B256,
    ) -> Result<Option<(TransactionReceipt, Block)>, ChainError> {
        let asked = json!([transaction]);
        let Some(receipt): Option<TransactionReceipt> = self.client.call("eth_getTransactionReceipt", asked).await?
        else {
            return Ok(None);
        };
        if receipt.transaction_hash != transaction {
            let message =
                format!("asked for the receipt of {transaction}, answered that of {}", receipt.transaction_hash);
            return Err(ChainError::Unavailable(message));
        }
        // Some nodes answer with a receipt without a block while the transaction waits.
        let (Some(hash), Some(number)) = (receipt.block_hash, receipt.block_number) else { return Ok(None) };
        let block = self.block_by_hash(hash, number).await?;
        Ok(Some((receipt, block)))
    }
}
