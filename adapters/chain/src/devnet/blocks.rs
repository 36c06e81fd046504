//! The mined blocks that are still kept, by number, by hash and by transaction.

use std::collections::{HashMap, VecDeque};

use alloy::consensus::transaction::{Recovered, TransactionInfo};
use alloy::consensus::{
    Header, ReceiptEnvelope, ReceiptWithBloom, Sealable, Sealed, Transaction as _, TxEnvelope, proofs,
};
use alloy::primitives::{Address, B256, Bloom, Log};
use alloy::rpc::types::{
    Block, BlockTransactions, Header as RpcHeader, Log as RpcLog, Transaction, TransactionReceipt,
};

use crate::limits::BLOCK_GAS_MAX;

#[derive(Debug)]
pub(super) struct MinedTransaction {
    pub(super) transaction: Recovered<TxEnvelope>,
    pub(super) receipt: ReceiptEnvelope<Log>,
    pub(super) gas_used: u64,
    pub(super) contract: Option<Address>,
    /// Logs of the same block that come before this transaction's first.
    pub(super) logs_before: u64,
}

#[derive(Debug)]
pub(super) struct MinedBlock {
    pub(super) header: Sealed<Header>,
    pub(super) transactions: Vec<MinedTransaction>,
}

impl MinedBlock {
    pub(super) fn seal(
        parent: B256,
        number: u64,
        timestamp: u64,
        base_fee: u64,
        transactions: Vec<MinedTransaction>,
    ) -> Self {
        let envelopes: Vec<_> = transactions.iter().map(|mined| mined.transaction.inner()).collect();
        let receipts: Vec<_> = transactions.iter().map(|mined| &mined.receipt).collect();
        let header = Header {
            parent_hash: parent,
            number,
            timestamp,
            gas_limit: BLOCK_GAS_MAX,
            gas_used: transactions.iter().map(|mined| mined.gas_used).sum(),
            base_fee_per_gas: Some(base_fee),
            transactions_root: proofs::calculate_transaction_root(&envelopes),
            receipts_root: proofs::calculate_receipt_root(&receipts),
            logs_bloom: receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom()),
            // The state root stays that of an empty trie: the state is kept flat, and no client here proves against it.
            ..Header::default()
        };
        Self { header: header.seal_slow(), transactions }
    }

    pub(super) fn to_rpc(&self, detail: Detail) -> Block {
        let transactions = match detail {
            Detail::Hashes => {
                BlockTransactions::Hashes(self.transactions.iter().map(|mined| *mined.transaction.tx_hash()).collect())
            }
            Detail::Full => BlockTransactions::Full(
                (0..self.transactions.len()).filter_map(|index| self.transaction_to_rpc(index)).collect(),
            ),
        };
        Block {
            header: RpcHeader::from_sealed(self.header.clone()),
            uncles: Vec::new(),
            transactions,
            withdrawals: None,
        }
    }

    pub(super) fn transaction_to_rpc(&self, index: usize) -> Option<Transaction> {
        let mined = self.transactions.get(index)?;
        let info = TransactionInfo {
            hash: Some(*mined.transaction.tx_hash()),
            index: Some(index as u64),
            block_hash: Some(self.header.seal()),
            block_number: Some(self.header.number),
            base_fee: self.header.base_fee_per_gas,
            block_timestamp: Some(self.header.timestamp),
        };
        Some(Transaction::from_transaction(mined.transaction.clone(), info))
    }

    pub(super) fn receipt_to_rpc(&self, index: usize) -> Option<TransactionReceipt> {
        let mined = self.transactions.get(index)?;
        let mut logs = self.logs_of(index).into_iter();
        let receipt = mined
            .receipt
            .as_receipt()?
            .clone()
            .map_logs(|log| logs.next().unwrap_or_else(|| RpcLog { inner: log, ..RpcLog::default() }));
        let receipt = ReceiptWithBloom { receipt, logs_bloom: *mined.receipt.logs_bloom() };
        let transaction = &mined.transaction;
        Some(TransactionReceipt {
            inner: ReceiptEnvelope::from_typed(mined.receipt.tx_type(), receipt),
            transaction_hash: *transaction.tx_hash(),
            transaction_index: Some(index as u64),
            block_hash: Some(self.header.seal()),
            block_number: Some(self.header.number),
            gas_used: mined.gas_used,
            effective_gas_price: transaction.effective_gas_price(self.header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: None,
            from: transaction.signer(),
            to: transaction.to(),
            contract_address: mined.contract,
        })
    }

    pub(super) fn logs_of(&self, index: usize) -> Vec<RpcLog> {
        let Some(mined) = self.transactions.get(index) else { return Vec::new() };
        let place = |(offset, log): (usize, &Log)| RpcLog {
            inner: log.clone(),
            block_hash: Some(self.header.seal()),
            block_number: Some(self.header.number),
            block_timestamp: Some(self.header.timestamp),
            transaction_hash: Some(*mined.transaction.tx_hash()),
            transaction_index: Some(index as u64),
            log_index: Some(mined.logs_before + offset as u64),
            removed: false,
        };
        mined.receipt.logs().iter().enumerate().map(place).collect()
    }
}

/// How much of its transactions a block answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Hashes,
    Full,
}

/// Never empty: it begins with a genesis block, and the head is never dropped.
#[derive(Debug)]
pub(super) struct Blocks {
    kept: VecDeque<MinedBlock>,
    head: MinedHead,
    by_hash: HashMap<B256, u64>,
    by_transaction: HashMap<B256, (u64, usize)>,
}

/// The newest block in short.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinedHead {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) timestamp: u64,
}

impl MinedHead {
    fn of(block: &MinedBlock) -> Self {
        Self { number: block.header.number, hash: block.header.seal(), timestamp: block.header.timestamp }
    }
}

impl Blocks {
    pub(super) fn new(genesis: MinedBlock) -> Self {
        let head = MinedHead::of(&genesis);
        let by_hash = HashMap::from([(head.hash, head.number)]);
        Self { kept: VecDeque::from([genesis]), head, by_hash, by_transaction: HashMap::new() }
    }

    pub(super) fn head(&self) -> MinedHead {
        self.head
    }

    pub(super) fn oldest(&self) -> u64 {
        self.kept.front().map_or(self.head.number, |block| block.header.number)
    }

    pub(super) fn by_number(&self, number: u64) -> Option<&MinedBlock> {
        self.kept.get(usize::try_from(number.checked_sub(self.oldest())?).ok()?)
    }

    pub(super) fn by_hash(&self, hash: B256) -> Option<&MinedBlock> {
        self.by_number(*self.by_hash.get(&hash)?)
    }

    pub(super) fn find_transaction(&self, hash: B256) -> Option<(&MinedBlock, usize)> {
        let (number, index) = *self.by_transaction.get(&hash)?;
        Some((self.by_number(number)?, index))
    }

    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &MinedBlock> {
        (from..=to).filter_map(|number| self.by_number(number))
    }

    pub(super) fn push(&mut self, block: MinedBlock, kept_max: usize) {
        self.head = MinedHead::of(&block);
        self.by_hash.insert(self.head.hash, self.head.number);
        for (index, mined) in block.transactions.iter().enumerate() {
            self.by_transaction.insert(*mined.transaction.tx_hash(), (self.head.number, index));
        }
        self.kept.push_back(block);
        while self.kept.len() > kept_max.max(1) {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.unlink(&oldest);
        }
    }

    /// Takes back the newest block, unless it is the last one kept.
    pub(super) fn pop(&mut self) -> Option<MinedBlock> {
        if self.kept.len() < 2 {
            return None;
        }
        let block = self.kept.pop_back()?;
        self.unlink(&block);
        self.head = MinedHead::of(self.kept.back()?);
        Some(block)
    }

    fn unlink(&mut self, block: &MinedBlock) {
        self.by_hash.remove(&block.header.seal());
        for mined in &block.transactions {
            self.by_transaction.remove(mined.transaction.tx_hash());
        }
    }
}
