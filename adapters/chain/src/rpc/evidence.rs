//! Reading logs and receipts, and refusing those that do not prove what was asked.

use std::ops::RangeInclusive;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Log, TransactionReceipt};
use alloy::sol_types::SolEvent;
use x402::chain::{AuthorizationUse, Block, ChainError, Receipt, TransferLog, UsedNonce};

use crate::channels;
use crate::escrow;
use crate::token::Token;

/// The log must be what the filter asked for: nodes and the proxies before them have been seen to ignore filters.
pub(super) fn consuming_log(
    log: Log,
    asset: Address,
    payer: Address,
    nonce: Option<B256>,
    blocks: RangeInclusive<u64>,
) -> Result<Log, ChainError> {
    let events = [Token::AuthorizationUsed::SIGNATURE_HASH, Token::AuthorizationCanceled::SIGNATURE_HASH];
    let fits = log.address() == asset
        && matches!(log.topics(), [event, who, what]
            if events.contains(event) && *who == payer.into_word() && nonce.is_none_or(|nonce| *what == nonce))
        && !log.removed
        && log.block_number.is_some_and(|number| blocks.contains(&number))
        && log.block_hash.is_some()
        && log.transaction_hash.is_some();
    if !fits {
        let message = format!("asked for logs of {asset} about {payer} and {nonce:?}, answered another log");
        return Err(ChainError::Unavailable(message));
    }
    Ok(log)
}

pub(super) fn authorization_use(
    log: &Log,
    receipt: &TransactionReceipt,
    block: Block,
) -> Result<AuthorizationUse, ChainError> {
    let same_log = |other: &Log| other.inner == log.inner && other.log_index == log.log_index;
    let agrees = log.block_hash == Some(block.hash) && receipt.status() && receipt.logs().iter().any(same_log);
    if !agrees {
        let message = format!("the receipt of {} does not hold the log that led to it", receipt.transaction_hash);
        return Err(ChainError::Unavailable(message));
    }
    let asset = log.address();
    let own = Token::AuthorizationUsed::decode_log_validate(&log.inner).ok();
    let used = used_in(receipt).into_iter().find(|used| {
        own.as_ref().is_some_and(|own| (own.authorizer, own.nonce) == (used.payer, used.nonce) && used.asset == asset)
    });
    let in_all = || transfers(receipt).filter(|transfer| transfer.asset == asset).collect();
    Ok(AuthorizationUse {
        transaction: receipt.transaction_hash,
        block,
        canceled: log.topics().first() == Some(&Token::AuthorizationCanceled::SIGNATURE_HASH),
        transfers: used.map_or_else(in_all, |used| used.transfers),
    })
}

pub(super) fn receipt_of(receipt: &TransactionReceipt, block: Block) -> Receipt {
    Receipt {
        sender: receipt.from,
        transaction: receipt.transaction_hash,
        block,
        success: receipt.status(),
        gas_used: receipt.gas_used,
        effective_gas_price: receipt.effective_gas_price,
        transfers: transfers(receipt).collect(),
        used: used_in(receipt),
        channels: receipt.logs().iter().filter_map(channels::log_of).collect(),
        escrow: receipt.logs().iter().filter_map(escrow::log_of).collect(),
    }
}

/// EIP-3009 marks, then moves; so a transfer is that of the authorization whose log stands before it. Of a token that used
/// one alone all transfers are, in whatever order they come.
fn used_in(receipt: &TransactionReceipt) -> Vec<UsedNonce> {
    let mut used: Vec<UsedNonce> = Vec::new();
    for log in receipt.logs() {
        if let Ok(own) = Token::AuthorizationUsed::decode_log_validate(&log.inner) {
            let (asset, payer, nonce) = (own.address, own.authorizer, own.nonce);
            used.push(UsedNonce { asset, payer, nonce, transfers: Vec::new() });
        } else if let Some(transfer) = transfer_in(log)
            && let Some(last) = used.iter_mut().rfind(|used| used.asset == transfer.asset)
        {
            last.transfers.push(transfer);
        }
    }
    let assets: Vec<Address> = used.iter().map(|used| used.asset).collect();
    for alone in &mut used {
        if assets.iter().filter(|asset| **asset == alone.asset).count() == 1 {
            alone.transfers = transfers(receipt).filter(|transfer| transfer.asset == alone.asset).collect();
        }
    }
    used
}

/// ERC-20 transfers only: ERC-721 uses the same event with the value as a fourth topic.
fn transfers(receipt: &TransactionReceipt) -> impl Iterator<Item = TransferLog> {
    receipt.logs().iter().filter_map(transfer_in)
}

fn transfer_in(log: &Log) -> Option<TransferLog> {
    let transfer = Token::Transfer::decode_log_validate(&log.inner).ok()?;
    Some(TransferLog { asset: transfer.address, from: transfer.from, to: transfer.to, value: transfer.value })
}
