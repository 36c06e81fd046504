//! The chart of accounts, and what a balance is.

use std::fmt;
use std::str::FromStr;

use crate::codec::{Canon, DecodeError, Reader};
use crate::id::{BudgetId, PayeeId};
use crate::money::Amount;
use crate::spend::Authorization;
use crate::transfer::{Layer, Transfer};

/// Which side makes an account grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Asset,
    Liability,
    Income,
    Expense,
    Equity,
}

/// An account of a tenant's book. With an asset it names a balance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A wallet of the tenant, by CAIP-10 (`eip155:8453:0x…`).
    Wallet(String),
    /// Money of a wallet that lies in an escrow for one payee: CAIP-10 of the payer, a slash and how the channel's name begins.
    Channel(String),
    /// Sold, not yet received.
    Receivable,
    /// What the tenant owes a payee for a purchase that is decided.
    Payable(PayeeId),
    /// Signed and not final: uncleared cheques.
    Issued,
    /// Signed, and nobody knows yet what became of it.
    Suspense,
    Sales,
    /// What was bought under one mandate.
    Spend(BudgetId),
    /// What payees gave back: it stands against `Spend`, so that neither changes what the other says.
    Refunds,
    /// What we gave back of what we sold: it stands against `Sales`, so that neither changes what the other says.
    Returns,
    Gas,
    /// Where money in the book came from when it was brought in.
    Funding,
}

impl Account {
    /// Of the channel that a voucher, or a deposit's subject, is of.
    pub fn channel(drawn: &Authorization) -> Self {
        let name = drawn.nonce.first_chunk::<16>().map(hex::encode).unwrap_or_default();
        Self::Channel(format!("{}:{}/0x{name}", drawn.chain(), drawn.payer))
    }

    pub const fn class(&self) -> Class {
        match self {
            Self::Wallet(_) | Self::Channel(_) | Self::Receivable => Class::Asset,
            Self::Payable(_) | Self::Issued | Self::Suspense => Class::Liability,
            Self::Sales | Self::Returns => Class::Income,
            Self::Spend(_) | Self::Refunds | Self::Gas => Class::Expense,
            Self::Funding => Class::Equity,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wallet(address) => write!(f, "wallet/{address}"),
            Self::Channel(name) => write!(f, "channel/{name}"),
            Self::Receivable => f.write_str("receivable"),
            Self::Payable(payee) => write!(f, "payable/{payee}"),
            Self::Issued => f.write_str("issued"),
            Self::Suspense => f.write_str("suspense"),
            Self::Sales => f.write_str("sales"),
            Self::Spend(mandate) => write!(f, "spend/{mandate}"),
            Self::Refunds => f.write_str("refunds"),
            Self::Returns => f.write_str("returns"),
            Self::Gas => f.write_str("gas"),
            Self::Funding => f.write_str("funding"),
        }
    }
}

impl FromStr for Account {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || DecodeError::Value { what: "an account", found: text.to_owned() };
        match text.split_once('/') {
            Some(("wallet", address)) => Ok(Self::Wallet(address.to_owned())),
            Some(("channel", name)) => Ok(Self::Channel(name.to_owned())),
            Some(("payable", payee)) => payee.parse().map(Self::Payable).map_err(|_| unknown()),
            Some(("spend", mandate)) => mandate.parse().map(Self::Spend).map_err(|_| unknown()),
            Some(_) => Err(unknown()),
            None => match text {
                "receivable" => Ok(Self::Receivable),
                "issued" => Ok(Self::Issued),
                "suspense" => Ok(Self::Suspense),
                "sales" => Ok(Self::Sales),
                "refunds" => Ok(Self::Refunds),
                "returns" => Ok(Self::Returns),
                "gas" => Ok(Self::Gas),
                "funding" => Ok(Self::Funding),
                _ => Err(unknown()),
            },
        }
    }
}

impl Canon for Account {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_string().write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::read(input)?.parse()
    }
}

/// Running totals of one account in one asset. Sums only rise; a balance is their difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub debit_posted: Amount,
    pub credit_posted: Amount,
    pub debit_pending: Amount,
    pub credit_pending: Amount,
}

/// A side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Debit,
    Credit,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account total would leave 0 to 2^128 - 1 when {amount} is posted")]
pub struct BalanceOverflow {
    pub amount: Amount,
}

impl Balance {
    /// Adds one side of a transfer.
    pub fn post(&mut self, side: Side, transfer: &Transfer) -> Result<(), BalanceOverflow> {
        let resolved = transfer.resolves.as_ref().map(|resolves| resolves.amount);
        self.add(side, transfer.layer, transfer.amount, resolved)
    }

    /// The same from the figures alone, with the amount of the pending transfer that this one ends.
    pub fn add(
        &mut self,
        side: Side,
        layer: Layer,
        amount: Amount,
        resolved: Option<Amount>,
    ) -> Result<(), BalanceOverflow> {
        let overflow = || BalanceOverflow { amount };
        let (posted, pending) = match side {
            Side::Debit => (&mut self.debit_posted, &mut self.debit_pending),
            Side::Credit => (&mut self.credit_posted, &mut self.credit_pending),
        };
        if let Some(resolved) = resolved {
            *pending = pending.checked_sub(resolved).ok_or_else(overflow)?;
        }
        match layer {
            Layer::Pending => *pending = pending.checked_add(amount).ok_or_else(overflow)?,
            Layer::Posted => *posted = posted.checked_add(amount).ok_or_else(overflow)?,
            Layer::Void => {}
        }
        Ok(())
    }

    /// The posted balance on the side that makes the class grow, or the deficit on the other side.
    pub fn net(&self, class: Class) -> Net {
        let (plus, minus) = match class {
            Class::Asset | Class::Expense => (self.debit_posted, self.credit_posted),
            Class::Liability | Class::Income | Class::Equity => (self.credit_posted, self.debit_posted),
        };
        match plus.checked_sub(minus) {
            Some(amount) => Net::Positive(amount),
            None => Net::Negative(minus.checked_sub(plus).unwrap_or(Amount::ZERO)),
        }
    }
}

/// A signed difference of two sums, kept apart so that no sum is ever signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    Positive(Amount),
    Negative(Amount),
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positive(amount) => amount.fmt(f),
            Self::Negative(amount) => write!(f, "-{amount}"),
        }
    }
}
