//! Settlements in blocks that the chain can still take back. Each is looked at again until its block is final; where it is
//! gone, the book holds the amount again, and the payment goes its way from there.
//!
//! What has to be looked at is in the rows themselves ([`ledger::spend::Spend::young`]), so a restart forgets none of it,
//! however long it took: a block that went while nobody looked is found to be another one afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use alloy_primitives::{Address, B256};
use ledger::command::{Command, Gas};
use ledger::id::{RailReference, SpendId};
use ledger::settlement::{Role, Settlement};
use ledger::spend::{BlockRef, Observation, Rail, Spend, TakenBack};
use x402::chain::{At, Block, ChainError};
use x402::settlement::{Expected, NonceSpace, Outcome, observe};

use crate::book;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// Payments of one payer in one token that are signed and not in a block, as far as this process knows.
struct Outstanding {
    /// Where the search for the oldest begins.
    from: u64,
    by_nonce: BTreeMap<B256, SpendId>,
}

/// What a second look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It may still be taken back.
    Young,
    Final,
    TakenBack,
}

/// The blocks of one sweep, each asked for once, however many payments are in it.
#[derive(Default)]
pub(crate) struct Blocks {
    finalized: Option<u64>,
    by_number: BTreeMap<u64, Block>,
}

/// How a settlement that was booked stands on the chain.
enum Standing {
    Young,
    Final { seen: Observation, finalized: u64 },
    TakenBack(TakenBack),
}

/// A settlement as it was booked.
struct Booked<'a> {
    expected: Expected,
    transaction: &'a RailReference,
    block: BlockRef,
    since_block: u64,
}

impl Engine {
    /// The last final block. Read before what it is compared with: what is read afterwards, and lies at or before it, stays.
    pub(crate) async fn finalized(&self) -> Result<u64, EngineError> {
        let number = self.chain.block(At::Finalized).await?.number;
        self.desk.is_final(number);
        Ok(number)
    }

    /// The last final block as this process knows it. A search that begins there begins early enough.
    pub(crate) async fn finalized_lately(&self) -> Result<u64, EngineError> {
        match self.desk.finalized_lately() {
            Some(number) => Ok(number),
            None => self.finalized().await,
        }
    }

    /// Whether as many blocks as the configuration asks for show it, its own counted.
    pub(crate) async fn is_confirmed(&self, block: &Block) -> Result<bool, EngineError> {
        let confirmations = self.confirmations.get();
        if confirmations == 1 {
            return Ok(true);
        }
        let head = self.chain.block(At::Latest).await?.number;
        Ok(head.saturating_sub(block.number).saturating_add(1) >= confirmations)
    }

    /// Settlements that this process found to be taken back since it began.
    pub fn taken_back(&self) -> u64 {
        self.taken_back.load(Ordering::Relaxed)
    }

    /// Those that nothing can be said of: no log names their nonce, and until their last moment, by our clock and by the last
    /// final block, nothing else changes them. One question for each payer and token, however many payments wait. Where it
    /// is not answered each is asked about by itself.
    pub(crate) async fn untouched(&self, spends: &[Spend]) -> BTreeSet<SpendId> {
        let is_signed = |spend: &&Spend| {
            spend.state.is_signed() && spend.young.is_none() && spend.authorization.rail() == Rail::Chain
        };
        let signed: Vec<&Spend> = spends.iter().filter(is_signed).collect();
        if signed.is_empty() {
            return BTreeSet::new();
        }
        let Ok(finalized) = self.chain.block(At::Finalized).await else { return BTreeSet::new() };
        let now = self.clock.now().seconds().max(i64::try_from(finalized.timestamp).unwrap_or(i64::MAX));
        let mut outstanding: BTreeMap<(Address, Address), Outstanding> = BTreeMap::new();
        for spend in signed.into_iter().filter(|spend| now < spend.valid_before) {
            // What cannot be read is looked at by itself, and said.
            let Ok(Expected { key, .. }) = book::expected_of_spend(spend) else { continue };
            if key.space == NonceSpace::Eip3009 {
                let fresh = || Outstanding { from: spend.since_block, by_nonce: BTreeMap::new() };
                let group = outstanding.entry((key.token, key.payer)).or_insert_with(fresh);
                group.from = group.from.min(spend.since_block);
                group.by_nonce.insert(key.nonce, spend.id);
            }
        }
        let mut untouched = BTreeSet::new();
        for ((token, payer), mut group) in outstanding {
            match self.chain.used_nonces(token, payer, group.from).await {
                Ok(used) => {
                    for nonce in used {
                        group.by_nonce.remove(&nonce);
                    }
                    untouched.extend(group.by_nonce.into_values());
                }
                Err(error) => tracing::debug!(%token, %payer, "what a payer used is not told: {error}"),
            }
        }
        untouched
    }

    pub(crate) async fn follow_spend(
        &self,
        identity: &Identity,
        spend: &Spend,
        blocks: &mut Blocks,
    ) -> Result<Followed, EngineError> {
        let Some((block, transaction)) = spend.young.zip(spend.transaction.as_ref()) else {
            return Ok(Followed::Final);
        };
        let (expected, since_block) = (book::expected_of_spend(spend)?, spend.since_block);
        let (command, followed) =
            match self.stand(&Booked { expected, transaction, block, since_block }, blocks).await? {
                Standing::Young => return Ok(Followed::Young),
                Standing::Final { seen, finalized } => {
                    (Command::Finalise { spend: spend.id, seen, finalized }, Followed::Final)
                }
                Standing::TakenBack(proof) => {
                    tracing::error!(spend = %spend.id, %block, %transaction, "the chain took a settled payment back");
                    (Command::Unsettle { spend: spend.id, proof }, Followed::TakenBack)
                }
            };
        self.run(identity, command, Vec::new()).await?;
        self.count(followed);
        Ok(followed)
    }

    /// The same for what we sold or carried.
    pub(crate) async fn follow_settlement(
        &self,
        identity: &Identity,
        settlement: &Settlement,
        blocks: &mut Blocks,
    ) -> Result<Followed, EngineError> {
        let (young, transaction) = (settlement.young, settlement.transaction.as_ref());
        let Some((block, transaction)) = young.zip(transaction) else { return Ok(Followed::Final) };
        let key = settlement.key.clone();
        let (amount, valid_before) = (settlement.money.amount, settlement.valid_before);
        let expected = book::expected(&key.authorization, &settlement.pay_to, amount, valid_before)?;
        let booked = Booked { expected, transaction, block, since_block: settlement.since_block };
        let (command, followed) = match self.stand(&booked, blocks).await? {
            Standing::Young => return Ok(Followed::Young),
            Standing::Final { seen, finalized } => {
                let gas = self.gas_in(identity, settlement, &seen).await?;
                (Command::Conclude { settlement: key, seen, finalized, gas }, Followed::Final)
            }
            Standing::TakenBack(proof) => {
                let role = key.role;
                tracing::error!(%role, %block, %transaction, "the chain took a settlement back that was served or carried");
                (Command::Unreceive { settlement: key, proof }, Followed::TakenBack)
            }
        };
        self.run(identity, command, Vec::new()).await?;
        self.count(followed);
        Ok(followed)
    }

    /// What carrying it took, from the receipt in the final block.
    async fn gas_in(
        &self,
        identity: &Identity,
        settlement: &Settlement,
        seen: &Observation,
    ) -> Result<Option<Gas>, EngineError> {
        if settlement.key.role != Role::Facilitator {
            return Ok(None);
        }
        let receipt = self.chain.receipt(hash_of(&seen.transaction)?).await?;
        match receipt.filter(|receipt| receipt.block.hash.0 == seen.block_hash) {
            Some(receipt) => {
                let (amount, valid_before) = (settlement.money.amount, settlement.valid_before);
                let authorization = &settlement.key.authorization;
                let expected = book::expected(authorization, &settlement.pay_to, amount, valid_before)?;
                self.gas(identity, &expected, &receipt)
            }
            None => {
                let missing = format!("no receipt of {} in block {}", seen.transaction, seen.block());
                Err(ChainError::Unavailable(missing).into())
            }
        }
    }

    async fn stand(&self, booked: &Booked<'_>, blocks: &mut Blocks) -> Result<Standing, EngineError> {
        let finalized = match blocks.finalized {
            Some(number) => number,
            None => *blocks.finalized.insert(self.finalized().await?),
        };
        let number = booked.block.number;
        let there = match blocks.by_number.get(&number) {
            Some(block) => *block,
            None => self.chain.block(At::Number(number)).await?,
        };
        blocks.by_number.insert(number, there);
        let own = hash_of(booked.transaction)?;
        let place = |block: &Block| match block.number <= finalized {
            true => book::observation(&booked.expected, own, block).map(|seen| Standing::Final { seen, finalized }),
            false => Ok(Standing::Young),
        };
        if there.hash.0 == booked.block.hash {
            return place(&there);
        }
        // Another block stands there. The same transaction may have come into a later one.
        match observe(self.chain.as_ref(), &booked.expected, None, booked.since_block).await? {
            Outcome::Settled { transaction, block, .. } if transaction == own => place(&block),
            // Consumed, and not shown by what: no word that it is gone.
            Outcome::Unknown => Ok(Standing::Young),
            Outcome::Settled { .. }
            | Outcome::Pending
            | Outcome::ProvedUnused { .. }
            | Outcome::Canceled { .. }
            | Outcome::SpentOtherwise { .. } => {
                let (transaction, block) = (booked.transaction.clone(), booked.block);
                Ok(Standing::TakenBack(TakenBack { transaction, block, instead: there.hash.0 }))
            }
        }
    }

    fn count(&self, followed: Followed) {
        if followed == Followed::TakenBack {
            self.taken_back.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn hash_of(transaction: &RailReference) -> Result<B256, EngineError> {
    let hash = book::transaction(transaction);
    hash.ok_or_else(|| EngineError::Broken(format!("`{transaction}` was settled and is no transaction's hash")))
}
