//! A transfer is one row: a debit, a credit, an amount. It balances because it cannot be written otherwise.

use crate::account::Account;
use crate::codec::{canon_names, canon_struct};
use crate::money::{Amount, AssetId};

/// The journal record that made a transfer, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    pub seq: u64,
    pub leg: u16,
}
canon_struct!(TransferId { seq, leg });

canon_names!(
    /// Pending is promised, posted is done, void took a promise back.
    Layer { Pending = 1 "pending", Posted = 2 "posted", Void = 3 "void" }
);

canon_names!(
    /// Why money was written: one name a posting pattern.
    TransferCode {
        Hold = 1 "hold",
        Issue = 2 "issue",
        IssueCheque = 3 "issue_cheque",
        Release = 4 "release",
        Settle = 5 "settle",
        Doubt = 6 "doubt",
        Sale = 7 "sale",
        Receive = 8 "receive",
        Gas = 9 "gas",
        Fund = 10 "fund",
        Unissue = 11 "unissue",
        Misspend = 12 "misspend",
        Refund = 13 "refund",
        Recover = 14 "recover",
        Unsettle = 15 "unsettle",
        Unreceive = 16 "unreceive",
        Deposit = 17 "deposit",
        Uncharge = 18 "uncharge",
        Withdraw = 19 "withdraw",
    }
);

/// The pending transfer that this one ends, and the whole amount of it. At most one transfer ends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolves {
    pub transfer: TransferId,
    pub amount: Amount,
}
canon_struct!(Resolves { transfer, amount });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub code: TransferCode,
    pub debit: Account,
    pub credit: Account,
    pub asset: AssetId,
    pub amount: Amount,
    pub layer: Layer,
    pub resolves: Option<Resolves>,
}
canon_struct!(Transfer { code, debit, credit, asset, amount, layer, resolves });

/// An amount of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    pub asset: AssetId,
    pub amount: Amount,
}
canon_struct!(Money { asset, amount });

/// Keeps the readers of `Transfer` honest: a transfer from an account to itself moves nothing and is a defect.
impl Transfer {
    pub fn moves_nothing(&self) -> bool {
        self.debit == self.credit || self.amount.is_zero()
    }
}
