//! Every posting pattern, as a table: which account is debited and which credited, on which layer, for what reason. Each
//! row is one transfer and so balances in its asset by itself; `verify` holds every transfer of a journal against it.
//!
//! Not here, because nothing posts it yet: payment processors (fee, payout), exchange between assets, corrections.

use crate::account::Account;
use crate::transfer::{Layer, Transfer, TransferCode};

/// An account with whatever is particular to one tenant left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Wallet,
    Channel,
    Receivable,
    Payable,
    Issued,
    Suspense,
    Sales,
    Spend,
    Refunds,
    Returns,
    Gas,
    Funding,
}

impl Account {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Wallet(_) => Kind::Wallet,
            Self::Channel(_) => Kind::Channel,
            Self::Receivable => Kind::Receivable,
            Self::Payable(_) => Kind::Payable,
            Self::Issued => Kind::Issued,
            Self::Suspense => Kind::Suspense,
            Self::Sales => Kind::Sales,
            Self::Spend(_) => Kind::Spend,
            Self::Refunds => Kind::Refunds,
            Self::Returns => Kind::Returns,
            Self::Gas => Kind::Gas,
            Self::Funding => Kind::Funding,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub code: TransferCode,
    pub debit: Kind,
    pub credit: Kind,
    pub layer: Layer,
    pub when: &'static str,
}

const fn row(code: TransferCode, debit: Kind, credit: Kind, layer: Layer, when: &'static str) -> Pattern {
    Pattern { code, debit, credit, layer, when }
}

pub const PATTERNS: [Pattern; 34] = {
    use Kind::{Channel, Funding, Gas, Issued, Payable, Receivable, Refunds, Returns, Sales, Spend, Suspense, Wallet};
    use Layer::{Pending, Posted, Void};
    use TransferCode as Code;
    [
        row(Code::Hold, Spend, Payable, Pending, "a payment is reserved"),
        row(Code::Release, Spend, Payable, Void, "a hold is voided or lapses: nothing was signed"),
        row(Code::Issue, Spend, Payable, Posted, "just before the signature: the purchase is decided"),
        row(Code::IssueCheque, Payable, Issued, Posted, "just before the signature: an uncleared cheque"),
        row(Code::Doubt, Issued, Suspense, Posted, "nobody can say what became of it"),
        row(Code::Doubt, Suspense, Issued, Posted, "somebody names its transaction again"),
        row(Code::Settle, Issued, Wallet, Posted, "the chain shows the transfer"),
        row(Code::Settle, Suspense, Wallet, Posted, "the chain shows it after all"),
        row(Code::Unsettle, Wallet, Issued, Posted, "the chain took the block back that showed it: held again"),
        row(Code::Unissue, Issued, Payable, Posted, "proved that it can never happen"),
        row(Code::Unissue, Suspense, Payable, Posted, "the same, of one that was in doubt"),
        row(Code::Release, Payable, Spend, Posted, "the purchase is taken back with it"),
        row(Code::Misspend, Issued, Suspense, Posted, "the nonce was consumed and the payee was not paid"),
        row(
            Code::Misspend,
            Spend,
            Suspense,
            Posted,
            "its verifier says that it was paid, and had said that it was not",
        ),
        row(Code::Refund, Wallet, Refunds, Posted, "the payee sent something back"),
        row(Code::Refund, Wallet, Refunds, Pending, "the payee says that it gives something back: announced, not come"),
        row(Code::Release, Wallet, Refunds, Void, "it says that it does not, or another amount"),
        row(Code::Recover, Suspense, Wallet, Posted, "a restored book finds a payment that no record accounts for"),
        row(Code::Sale, Receivable, Sales, Pending, "a payment is presented to us and verified"),
        row(Code::Sale, Receivable, Sales, Posted, "the chain shows that we were paid, or it is given before that"),
        row(Code::Receive, Wallet, Receivable, Posted, "the chain shows that we were paid: the money is in the wallet"),
        row(Code::Unreceive, Receivable, Wallet, Posted, "the chain took the block back: sold, and owed again"),
        row(Code::Refund, Returns, Wallet, Posted, "the chain shows that we sent something back to whoever paid us"),
        row(Code::Release, Sales, Receivable, Posted, "what is owed for that sale is given up"),
        row(Code::Release, Receivable, Sales, Void, "the sale came to nothing"),
        row(Code::Gas, Gas, Wallet, Posted, "what carrying a payment to the chain took"),
        row(Code::Deposit, Channel, Wallet, Pending, "just before the signature: money for a channel"),
        row(Code::Deposit, Channel, Wallet, Posted, "a final block shows it in the escrow"),
        row(Code::Release, Channel, Wallet, Void, "proved that it never comes there"),
        row(
            Code::Settle,
            Issued,
            Channel,
            Posted,
            "the payee says what it charges; what its voucher is good for stays spent",
        ),
        row(Code::Settle, Suspense, Channel, Posted, "the same, of one that was in doubt"),
        row(Code::Uncharge, Channel, Spend, Posted, "it charged less, and no voucher lets it claim more any longer"),
        row(Code::Withdraw, Wallet, Channel, Posted, "a final block shows that the escrow gave it back"),
        row(Code::Fund, Wallet, Funding, Posted, "money brought into the book"),
    ]
};

impl Pattern {
    fn fits(&self, transfer: &Transfer) -> bool {
        (self.code, self.layer) == (transfer.code, transfer.layer)
            && (self.debit, self.credit) == (transfer.debit.kind(), transfer.credit.kind())
    }
}

/// The row that a transfer is an instance of.
pub fn pattern(transfer: &Transfer) -> Option<&'static Pattern> {
    PATTERNS.iter().find(|pattern| pattern.fits(transfer))
}
