//! A payment of somebody else's, claimed before work or carriage.

use crate::id::{BudgetId, Digest, IdempotencyKey, PayeeId};
use crate::money::Amount;
use crate::settlement::{Named, Settlement, SettlementKey};
use crate::transfer::Money;

#[derive(Clone, Debug)]
pub struct ClaimSettlement {
    pub key: SettlementKey,
    pub money: Money,
    pub payee: PayeeId,
    pub pay_to: String,
    pub subject: Digest,
    pub valid_before: i64,
    pub since_block: u64,
    /// What it comes out of; not asked of a claim whose claimant looks afterwards.
    pub cover: Option<Cover>,
    /// How much may be owed, where it is given before it is paid.
    pub credit: Option<Credit>,
    /// The payer's own name for it, where there is one.
    pub named: Option<Named>,
    /// What a seller sells once, whoever pays for it.
    pub order: Option<Order>,
}

/// What a payer had on the rail when it was looked at.
#[derive(Clone, Debug)]
pub struct Cover {
    pub balance: Amount,
    /// What whoever counts the nonces of permits may take of it.
    pub allowance: Option<Amount>,
    /// What of the payer's was not over, read before the balance: some of it may have been paid out of it since.
    pub beside: Vec<Settlement>,
}

/// The most that may be given and not be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// By one payer, in one asset.
    pub payer_max: Amount,
    /// By all of them together.
    pub total_max: Option<Amount>,
}

/// An order takes one payment: the first that is claimed for it, and no other for ever, whatever becomes of that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The seller's name for it.
    pub key: IdempotencyKey,
    /// Says which payment it is, stored with the claim.
    pub document: Digest,
}

#[derive(Clone, Debug)]
pub struct Accept {
    /// The open mandate that it was closed under; itself where there is none.
    pub mandate: BudgetId,
    /// The nonce that it was closed for.
    pub nonce: String,
    /// Digest of what it is accepted as.
    pub request: Digest,
    /// The receipt, stored with it.
    pub document: Digest,
}
