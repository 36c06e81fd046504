//! Transactions that were sent and are not mined.

use std::collections::{BTreeMap, HashMap};

use alloy::consensus::transaction::{Recovered, SignerRecoverable};
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256};

use super::refusal::RpcRefusal;
use crate::limits::{POOL_TRANSACTIONS_MAX, TRANSACTION_BYTES_MAX};

#[derive(Debug)]
struct Waiting {
    transaction: Recovered<TxEnvelope>,
    arrival: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    waiting: BTreeMap<(Address, u64), Waiting>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

impl Pool {
    pub(super) fn find(&self, hash: B256) -> Option<&Recovered<TxEnvelope>> {
        self.waiting.get(self.by_hash.get(&hash)?).map(|waiting| &waiting.transaction)
    }

    /// Takes a transaction in, in place of one with the same sender and nonce when it pays a tenth more, like geth.
    pub(super) fn insert(&mut self, transaction: Recovered<TxEnvelope>) -> Result<(), RpcRefusal> {
        let (key, hash) = ((transaction.signer(), transaction.nonce()), *transaction.tx_hash());
        if self.by_hash.contains_key(&hash) {
            return Err(RpcRefusal::server("already known"));
        }
        if let Some(old) = self.waiting.get(&key) {
            let raised = |old: u128| old.saturating_add(old / 10);
            let old = &old.transaction;
            let tip = |tx: &Recovered<TxEnvelope>| tx.max_priority_fee_per_gas().unwrap_or(tx.max_fee_per_gas());
            if transaction.max_fee_per_gas() < raised(old.max_fee_per_gas()) || tip(&transaction) < raised(tip(old)) {
                return Err(RpcRefusal::server("replacement transaction underpriced"));
            }
            self.by_hash.remove(old.tx_hash());
        } else if self.waiting.len() >= POOL_TRANSACTIONS_MAX {
            return Err(RpcRefusal::server(format!("txpool is full: {POOL_TRANSACTIONS_MAX} transactions wait")));
        }
        self.arrivals += 1;
        self.by_hash.insert(hash, key);
        self.waiting.insert(key, Waiting { transaction, arrival: self.arrivals });
        Ok(())
    }

    pub(super) fn remove(&mut self, hash: B256) -> Option<Recovered<TxEnvelope>> {
        let key = self.by_hash.remove(&hash)?;
        self.waiting.remove(&key).map(|waiting| waiting.transaction)
    }

    /// The nonce after the last of an unbroken row that begins at `mined`.
    pub(super) fn next_nonce(&self, sender: Address, mined: u64) -> u64 {
        let mut next = mined;
        while self.waiting.contains_key(&(sender, next)) {
            next += 1;
        }
        next
    }

    /// The transaction that arrived first among those whose nonce is their sender's next one.
    pub(super) fn first_ready(&self, nonce_of: impl Fn(Address) -> u64) -> Option<Recovered<TxEnvelope>> {
        let ready = self.waiting.iter().filter(|((sender, nonce), _)| nonce_of(*sender) == *nonce);
        ready.min_by_key(|(_, waiting)| waiting.arrival).map(|(_, waiting)| waiting.transaction.clone())
    }

    /// Drops what can never be mined any more, because another transaction took its nonce.
    pub(super) fn drop_outdated(&mut self, sender: Address, mined: u64) {
        let outdated: Vec<_> = self.waiting.range((sender, 0)..(sender, mined)).map(|(key, _)| *key).collect();
        for key in outdated {
            if let Some(waiting) = self.waiting.remove(&key) {
                self.by_hash.remove(waiting.transaction.tx_hash());
            }
        }
    }
}

pub(super) fn decode(raw: &[u8]) -> Result<Recovered<TxEnvelope>, RpcRefusal> {
    if raw.len() > TRANSACTION_BYTES_MAX {
        let message = format!("oversized data: transaction size {}, limit {TRANSACTION_BYTES_MAX}", raw.len());
        return Err(RpcRefusal::server(message));
    }
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest)
        .map_err(|error| RpcRefusal::server(format!("failed to decode signed transaction: {error}")))?;
    if !rest.is_empty() {
        let message = format!("failed to decode signed transaction: {} bytes follow it", rest.len());
        return Err(RpcRefusal::server(message));
    }
    // Refuses a high `s` too (EIP-2), so that nobody else can give the same transaction a second hash.
    envelope.try_into_recovered().map_err(|_| RpcRefusal::server("invalid sender: the signature recovers no account"))
}

#[cfg(test)]
mod tests {
    use alloy::consensus::{SignableTransaction, TxEip1559};
    use alloy::primitives::Signature;

    use super::*;

    const WHO: Address = Address::repeat_byte(1);

    /// The pool checks no signatures, so these have none.
    fn transaction(nonce: u64) -> Recovered<TxEnvelope> {
        let signature = Signature::test_signature();
        let transaction = TxEip1559 { nonce, ..TxEip1559::default() }.into_signed(signature);
        Recovered::new_unchecked(transaction.into(), WHO)
    }

    #[test]
    fn the_pool_has_an_end() {
        let mut pool = Pool::default();
        for nonce in 1..=POOL_TRANSACTIONS_MAX as u64 {
            pool.insert(transaction(nonce)).unwrap();
        }
        let refusal = pool.insert(transaction(0)).unwrap_err();
        assert!(refusal.message.starts_with("txpool is full"), "{refusal}");
        pool.remove(*transaction(7).tx_hash()).unwrap();
        pool.insert(transaction(0)).unwrap();
    }

    #[test]
    fn only_an_unbroken_row_counts_and_only_its_head_is_ready() {
        let mut pool = Pool::default();
        for nonce in [5, 6, 8, 7, 10] {
            pool.insert(transaction(nonce)).unwrap();
        }
        assert_eq!((pool.next_nonce(WHO, 5), pool.next_nonce(WHO, 4), pool.next_nonce(WHO, 10)), (9, 4, 11));
        assert_eq!(pool.first_ready(|_| 6).unwrap().nonce(), 6);
        assert!(pool.first_ready(|_| 9).is_none());
        pool.drop_outdated(WHO, 8);
        assert!(pool.find(*transaction(7).tx_hash()).is_none());
        assert!(pool.find(*transaction(8).tx_hash()).is_some());
    }
}
