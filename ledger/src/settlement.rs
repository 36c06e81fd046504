//! What a seller or a facilitator knows of an authorization that somebody else signed.

use crate::codec::{canon_names, canon_struct};
use crate::id::{Digest, PayeeId, RailReference};
use crate::money::{Amount, AssetId};
use crate::spend::{Authorization, BlockRef};
use crate::transfer::{Money, TransferId};

canon_names!(
    /// The wallet's own claim stands with the spend; these two are for those who are paid or who carry.
    Role { Seller = 1 "seller", Facilitator = 2 "facilitator", Wallet = 3 "wallet" }
);

canon_names!(
    SettlementState {
        /// Ours to work on, and no one else's. A seller's handler may be running.
        Claimed = 1 "claimed",
        /// Given up before anything left this process: the same authorization may be claimed again.
        Abandoned = 2 "abandoned",
        /// The bytes are stored and may be on their way.
        Submitted = 3 "submitted",
        /// The transfer was seen on the chain.
        Settled = 4 "settled",
        /// Proved not to happen: reverted for good, or the authorization ran out unused.
        Failed = 5 "failed",
        /// Claimed by a seller who gives before it is paid: it counts against what its payer may owe.
        Promised = 6 "promised",
        /// Given, and proved that this authorization never pays for it: owed until it is written off.
        Unpaid = 7 "unpaid",
        /// Paid before anything was done for it, and nothing was delivered: the same payment still buys it.
        Undelivered = 8 "undelivered",
    }
);

/// Whether what was sold is the buyer's from here on. What may be theirs counts as given: unknown is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goods {
    Kept,
    Given,
}

impl SettlementState {
    pub const fn is_open(self) -> bool {
        match self {
            Self::Claimed | Self::Promised | Self::Submitted => true,
            Self::Abandoned | Self::Settled | Self::Failed | Self::Unpaid | Self::Undelivered => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettlementKey {
    pub role: Role,
    pub authorization: Authorization,
}
canon_struct!(SettlementKey { role, authorization });

/// A payer's own name for what an authorization pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// Its place among the authorizations that were presented under the name.
    pub number: u8,
    /// The one before it, which came to nothing.
    pub follows: Option<SettlementKey>,
    /// Digest of what the name stands for; other content under it is a conflict.
    pub content: Digest,
    /// The document that says whose place it is.
    pub document: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    pub key: SettlementKey,
    pub state: SettlementState,
    /// The block that it was settled in, while the chain may still take that back.
    pub young: Option<BlockRef>,
    /// What was given back of it so far, of `money`; `None` before anything was.
    pub refunded: Option<Amount>,
    /// The block that it was settled in and that the chain took back, the last one: whoever asked was told of it.
    pub taken_back: Option<BlockRef>,
    pub money: Money,
    pub payee: PayeeId,
    pub pay_to: String,
    /// What it pays for: route, method, body and terms. The same authorization with another subject is refused.
    pub subject: Digest,
    pub valid_before: i64,
    /// The chain's last final block when it was claimed.
    pub since_block: u64,
    /// The pending sale, for a seller. It stays named when it is posted, for as long as nothing was given for it; none says
    /// that what was sold is given, or may be: that sale stands, whatever the chain takes back.
    pub pending: Option<TransferId>,
    pub transaction: Option<RailReference>,
    /// The relayer account's nonce, for a facilitator.
    pub account_nonce: Option<u64>,
    /// The document that answers a repeat: the signed transaction of a facilitator, the stored answer of a seller.
    pub document: Option<Digest>,
}
canon_struct!(Settlement {
    key;
    state with young and refunded;
    taken_back,
    money,
    payee,
    pay_to,
    subject,
    valid_before,
    since_block,
    pending,
    transaction,
    account_nonce,
    document,
});

impl Settlement {
    /// It may still come to something, what it came to may still be taken back, or one side owes the other.
    pub const fn is_unfinished(&self) -> bool {
        self.state.is_open() || self.young.is_some() || self.is_owed()
    }

    /// It ended, and somebody has not got what is theirs: the seller its price, or the payer what they paid for.
    pub const fn is_owed(&self) -> bool {
        matches!(self.state, SettlementState::Unpaid | SettlementState::Undelivered)
    }

    /// Given, and not paid, or paid and then taken back by the chain: what is left is a claim on whoever bought. What was given
    /// for nothing is none.
    pub fn is_sold_unpaid(&self) -> bool {
        let is_free = self.money.amount.is_zero();
        self.key.role == Role::Seller && self.state.is_open() && self.pending.is_none() && !is_free
    }

    /// Paid for, and not given to anybody yet.
    pub const fn is_kept(&self) -> bool {
        matches!(self.state, SettlementState::Settled) && self.pending.is_some()
    }

    /// All that was paid for it went back: it buys nothing any more.
    pub fn is_given_back(&self) -> bool {
        self.refunded.is_some_and(|refunded| refunded >= self.money.amount)
    }

    /// What its payer owes for it, or is about to owe.
    pub fn is_on_credit(&self) -> bool {
        self.is_sold_unpaid() || matches!(self.state, SettlementState::Promised | SettlementState::Unpaid)
    }
}

/// Whose settlements are read together: one payer's in one asset, whoever counts the nonces, or everybody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayerKey {
    pub role: Role,
    pub asset: AssetId,
    pub payer: Option<String>,
}

impl PayerKey {
    pub fn of(key: &SettlementKey) -> Self {
        let authorization = &key.authorization;
        Self { role: key.role, asset: authorization.asset.clone(), payer: Some(authorization.payer.clone()) }
    }

    pub fn everybody(self) -> Self {
        Self { payer: None, ..self }
    }

    pub fn has(&self, key: &SettlementKey) -> bool {
        let authorization = &key.authorization;
        self.role == key.role
            && self.asset == authorization.asset
            && self.payer.as_ref().is_none_or(|payer| *payer == authorization.payer)
    }
}
