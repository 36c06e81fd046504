//! What became of an authorization. Decided from what the chain shows, never from what a counterparty says.
//!
//! Two mistakes cost money here: to call a payment settled that moved nothing, and to call it dead while it can
//! still move. So success needs the one matching `Transfer`, release needs the proof of [`Outcome::ProvedUnused`],
//! and whatever is neither stays open.

mod spelling;

use alloy_primitives::{Address, B256, U256};

use crate::auth_capture::{self, Capture, EscrowLog};
use crate::batch_settlement::{CallKind, ChannelLog};
use crate::chain::{At, AuthorizationUse, Block, Chain, ChainError, Receipt, TransferLog, UsedNonce};
use crate::network::Network;
pub use spelling::ParseClaimKeyError;

/// Who counts a nonce. The same 32 bytes in two spaces are two nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NonceSpace {
    /// The token: unique by token and payer.
    Eip3009,
    /// Permit2: unique by payer, whatever the token.
    Permit2,
    /// Nobody but whoever sends it: a call of an escrow (`batch-settlement`, `auth-capture`), by the name that the sender gave it.
    /// The payer is the escrow, and it is over when a transaction of the sender's own is in a block, never by time.
    Escrow(CallKind),
    /// The payee: vouchers of a channel, by what was charged there before them ([`voucher_key`](crate::batch_settlement::voucher_key)).
    /// No chain counts them; what they came to is in the escrow's own figures.
    Voucher,
    /// Nobody but whoever sends it: gas for a payer, by the name that the sender gave it. The asset is the chain's own, and
    /// it is over when a transaction of the sender's is in a block, never by time.
    Gas,
    /// The token, as [`NonceSpace::Eip3009`]: the right to use the nonce up without a payment (`cancelAuthorization`).
    Cancel,
    /// The token: what goes into the escrow of `auth-capture` and is captured or given back there. Used up it is not over:
    /// what became of it the escrow's own logs say.
    Held,
    /// The same where it is captured as it comes in (flow `authorization`), so that it lies in the escrow never.
    Charged,
}

/// The identity of one authorization. Encodings, key order, the spelling of addresses and the signature's bytes do not
/// enter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    pub space: NonceSpace,
    pub network: Network,
    pub token: Address,
    pub payer: Address,
    pub nonce: B256,
}

impl ClaimKey {
    /// Chain id (8 bytes, big-endian), token, payer, nonce, space: fixed widths, so nothing can be shifted.
    pub fn to_bytes(self) -> [u8; 81] {
        let mut bytes = [0; 81];
        bytes[..8].copy_from_slice(&self.network.chain_id().to_be_bytes());
        bytes[8..28].copy_from_slice(self.token.as_slice());
        bytes[28..48].copy_from_slice(self.payer.as_slice());
        bytes[48..80].copy_from_slice(self.nonce.as_slice());
        bytes[80] = match self.space {
            NonceSpace::Eip3009 => 0,
            NonceSpace::Permit2 => 1,
            NonceSpace::Escrow(CallKind::Claim) => 2,
            NonceSpace::Escrow(CallKind::Settle) => 3,
            NonceSpace::Escrow(CallKind::Refund) => 4,
            NonceSpace::Cancel => 5,
            NonceSpace::Escrow(CallKind::Capture) => 6,
            NonceSpace::Escrow(CallKind::Void) => 7,
            NonceSpace::Voucher => 8,
            NonceSpace::Held => 9,
            NonceSpace::Charged => 10,
            NonceSpace::Gas => 11,
            NonceSpace::Escrow(CallKind::Withdraw) => 12,
            NonceSpace::Escrow(CallKind::Finalize) => 13,
            NonceSpace::Escrow(CallKind::Reclaim) => 14,
        };
        bytes
    }
}

impl ClaimKey {
    /// The log that says that this transaction used it, in the token's space.
    pub fn used_in(self, receipt: &Receipt) -> Option<&UsedNonce> {
        let own = |used: &&UsedNonce| (used.asset, used.payer, used.nonce) == (self.token, self.payer, self.nonce);
        receipt.used.iter().find(own).filter(|_| self.space == NonceSpace::Eip3009)
    }
}

/// What a settlement of the authorization must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub key: ClaimKey,
    pub to: Address,
    pub value: U256,
    pub charge: Charge,
    /// Unix seconds, the first at which it can move nothing any more. A permit still moves at its deadline itself.
    pub valid_before: u64,
}

/// How much of [`Expected::value`] moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    Whole,
    /// What the payee took of it, as the chain shows (scheme `upto`).
    AtMost,
}

impl Expected {
    fn matches(&self, log: &TransferLog) -> bool {
        let fits = match self.charge {
            Charge::Whole => log.value == self.value,
            Charge::AtMost => !log.value.is_zero() && log.value <= self.value,
        };
        log.asset == self.key.token && log.from == self.key.payer && log.to == self.to && fits
    }

    /// What moved, by exactly one transfer. Two would leave open which of them is ours.
    fn moved_once(&self, logs: &[TransferLog]) -> Option<U256> {
        let mut fitting = logs.iter().filter(|log| self.matches(log));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first.value)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The payee got `value`, which is what was expected, in this block. How many blocks must follow is the caller's policy.
    Settled { transaction: B256, block: Block, value: U256 },
    /// Not consumed, and still usable: it may settle yet.
    Pending,
    /// Not consumed at a finalized block at or past `validBefore`: it can never move money. The only release.
    ProvedUnused { finalized: Block },
    /// Consumed, and our payee did not get exactly the amount: an incident for humans.
    SpentOtherwise { transaction: B256, block: Block, transfers: Vec<TransferLog> },
    /// Consumed by a cancellation: nobody was paid, and nobody will be.
    Canceled { transaction: B256, block: Block },
    /// The chain shows too little. Stays open.
    Unknown,
}

impl Outcome {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Settled { .. } => "settled",
            Self::Pending => "settlement_pending",
            Self::ProvedUnused { .. } => "proved_unused",
            Self::SpentOtherwise { .. } => "spent_otherwise",
            Self::Canceled { .. } => "authorization_canceled",
            Self::Unknown => "outcome_unknown",
        }
    }
}

/// What was seen of the nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A mined receipt of a transaction of ours that carries this authorization.
    Mined(Receipt),
    /// The logs of the transaction that consumed the nonce, whoever sent it.
    Used(AuthorizationUse),
    /// The nonce was not consumed in the state of this block.
    UnusedAt { block: Block, finality: Finality },
    /// The nonce was consumed and the transaction was not found.
    UsedSomewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    Finalized,
    /// Any younger block: it can be taken back, so it proves no absence.
    Young,
}

/// Decides, from one piece of evidence.
pub fn judge(expected: &Expected, evidence: &Evidence) -> Outcome {
    match evidence {
        Evidence::Mined(receipt) => judge_receipt(expected, receipt),
        Evidence::Used(used) => judge_use(expected, used),
        Evidence::UnusedAt { block, finality: Finality::Finalized } if block.timestamp >= expected.valid_before => {
            Outcome::ProvedUnused { finalized: *block }
        }
        Evidence::UnusedAt { .. } => Outcome::Pending,
        Evidence::UsedSomewhere => Outcome::Unknown,
    }
}

/// A reverted transaction, and one that succeeded without the transfer, prove nothing: somebody else may have
/// submitted the same authorization first, and then the payee was paid by another transaction. Of a transaction that carries
/// several payments only what followed this authorization's own log counts.
fn judge_receipt(expected: &Expected, receipt: &Receipt) -> Outcome {
    let transfers = match expected.key.space {
        NonceSpace::Eip3009 => expected.key.used_in(receipt).map_or(&[][..], |used| &used.transfers),
        // Never more than one in a transaction of ours.
        NonceSpace::Permit2 => &receipt.transfers,
        NonceSpace::Escrow(kind) => return judge_call(kind, expected, receipt),
        // It leaves no log: it is a transaction of ours that does nothing else.
        NonceSpace::Gas if receipt.success => {
            let (transaction, block) = (receipt.transaction, receipt.block);
            return Outcome::Settled { transaction, block, value: expected.value };
        }
        // The nonce's own logs say it, whoever sent it; of a voucher no transaction does.
        NonceSpace::Cancel | NonceSpace::Voucher | NonceSpace::Gas | NonceSpace::Held | NonceSpace::Charged => {
            return Outcome::Unknown;
        }
    };
    match expected.moved_once(transfers) {
        Some(value) if receipt.success => {
            Outcome::Settled { transaction: receipt.transaction, block: receipt.block, value }
        }
        _ => Outcome::Unknown,
    }
}

/// A call of the escrow did what it is for where the escrow says so, and the token too where something moves. How much that
/// was the logs say: others may have claimed or swept meanwhile.
fn judge_call(kind: CallKind, expected: &Expected, receipt: &Receipt) -> Outcome {
    if matches!(kind, CallKind::Capture | CallKind::Void | CallKind::Reclaim) {
        return judge_escrow(kind, expected, receipt);
    }
    let moved = |amount: U256| {
        let (asset, from, to, value) = (expected.key.token, expected.key.payer, expected.to, amount);
        receipt.transfers.contains(&TransferLog { asset, from, to, value })
    };
    let done = receipt.channels.iter().find_map(|log| match (kind, *log) {
        (CallKind::Claim, ChannelLog::Claimed { .. }) => Some(expected.value),
        (CallKind::Settle, ChannelLog::Settled { receiver, token, amount })
            if (receiver, token) == (expected.to, expected.key.token) && moved(amount) =>
        {
            Some(amount)
        }
        (CallKind::Refund, ChannelLog::Refunded { amount, .. }) if moved(amount) => Some(amount),
        (CallKind::Withdraw, ChannelLog::Withdrawing { amount, .. }) => Some(amount),
        // All of it may have been claimed meanwhile.
        (CallKind::Finalize, ChannelLog::Withdrawn { amount, .. }) if amount.is_zero() || moved(amount) => Some(amount),
        _ => None,
    });
    match done.filter(|_| receipt.success) {
        Some(value) => Outcome::Settled { transaction: receipt.transaction, block: receipt.block, value },
        None => Outcome::Unknown,
    }
}

/// The same of a capture, whose receiver gets it without the fee, of a void, and of what its payer takes back. All come out of
/// the operator's own store.
fn judge_escrow(kind: CallKind, expected: &Expected, receipt: &Receipt) -> Outcome {
    let moved = |value: U256| {
        let fits = |log: &TransferLog| (log.asset, log.to, log.value) == (expected.key.token, expected.to, value);
        value.is_zero() || receipt.transfers.iter().any(fits)
    };
    let done = receipt.escrow.iter().find_map(|log| match (kind, *log) {
        (CallKind::Capture, EscrowLog::Captured { amount, fee_bps, .. })
            if amount == expected.value && moved(Capture::without_fee(amount, fee_bps)) =>
        {
            Some(amount)
        }
        (CallKind::Void, EscrowLog::Voided { amount, .. })
        | (CallKind::Reclaim, EscrowLog::Reclaimed { amount, .. })
            if !amount.is_zero() && moved(amount) =>
        {
            Some(amount)
        }
        _ => None,
    });
    match done.filter(|_| receipt.success) {
        Some(value) => Outcome::Settled { transaction: receipt.transaction, block: receipt.block, value },
        None => Outcome::Unknown,
    }
}

fn judge_use(expected: &Expected, used: &AuthorizationUse) -> Outcome {
    let (transaction, block) = (used.transaction, used.block);
    if expected.key.space == NonceSpace::Cancel {
        return match used.canceled {
            true => Outcome::Settled { transaction, block, value: expected.value },
            false => Outcome::SpentOtherwise { transaction, block, transfers: used.transfers.clone() },
        };
    }
    if used.canceled {
        Outcome::Canceled { transaction, block }
    } else if let Some(value) = expected.moved_once(&used.transfers) {
        Outcome::Settled { transaction, block, value }
    } else {
        Outcome::SpentOtherwise { transaction, block, transfers: used.transfers.clone() }
    }
}

/// Asks the chain what became of an authorization: the receipt of our transaction where there is one, then the
/// nonce's own logs from block `from` on, then the nonce's state at the finalized block.
///
/// `transaction` is one that we prepared ourselves for this very authorization. Never pass a hash heard from a seller
/// or a facilitator: it may be the settlement of another payment of the same amount to the same payee.
pub async fn observe(
    chain: &dyn Chain,
    expected: &Expected,
    transaction: Option<B256>,
    from: u64,
) -> Result<Outcome, ChainError> {
    let mined = match transaction {
        Some(transaction) => chain.receipt(transaction).await?,
        None => None,
    };
    observe_after(chain, expected, mined, from).await
}

/// The same where the receipt of our transaction was asked for already.
pub async fn observe_after(
    chain: &dyn Chain,
    expected: &Expected,
    mined: Option<Receipt>,
    from: u64,
) -> Result<Outcome, ChainError> {
    if let Some(receipt) = mined {
        let outcome = judge(expected, &Evidence::Mined(receipt));
        if outcome != Outcome::Unknown {
            return Ok(outcome);
        }
    }
    if expected.key.space == NonceSpace::Voucher {
        return Ok(Outcome::Unknown);
    }
    if let Some(used) = find_use(chain, expected.key, from).await? {
        if matches!(expected.key.space, NonceSpace::Held | NonceSpace::Charged) && !used.canceled {
            return auth_capture::observe_held(chain, expected, &used).await;
        }
        return Ok(judge(expected, &Evidence::Used(used)));
    }
    if is_consumed(chain, expected.key, At::Latest).await? {
        return Ok(judge(expected, &Evidence::UsedSomewhere));
    }
    let block = chain.block(At::Finalized).await?;
    if is_consumed(chain, expected.key, At::Number(block.number)).await? {
        return Ok(judge(expected, &Evidence::UsedSomewhere));
    }
    Ok(judge(expected, &Evidence::UnusedAt { block, finality: Finality::Finalized }))
}

/// Whether whoever counts this nonce says that it is used up. That is not "paid".
pub async fn is_consumed(chain: &dyn Chain, key: ClaimKey, at: At) -> Result<bool, ChainError> {
    match key.space {
        NonceSpace::Eip3009 | NonceSpace::Cancel | NonceSpace::Held | NonceSpace::Charged => {
            chain.authorization_consumed(key.token, key.payer, key.nonce, at).await
        }
        NonceSpace::Permit2 => chain.permit_consumed(key.payer, key.nonce, at).await,
        NonceSpace::Escrow(_) | NonceSpace::Voucher | NonceSpace::Gas => Ok(false),
    }
}

async fn find_use(chain: &dyn Chain, key: ClaimKey, from: u64) -> Result<Option<AuthorizationUse>, ChainError> {
    match key.space {
        NonceSpace::Eip3009 | NonceSpace::Cancel | NonceSpace::Held | NonceSpace::Charged => {
            chain.find_authorization(key.token, key.payer, key.nonce, from).await
        }
        NonceSpace::Permit2 => chain.find_permit(key.token, key.payer, key.nonce, from).await,
        NonceSpace::Escrow(_) | NonceSpace::Voucher | NonceSpace::Gas => Ok(None),
    }
}

#[cfg(test)]
mod tests;
