//! The port to a chain. Everything Purser knows of a settlement comes through here.
//!
//! Implementations: JSON-RPC over HTTP in the `chain` crate (a real node, or the embedded devnet).
//! A node may lie, stall or forget; so the port says what was *observed*, and the engine decides.
//! Money is lost if an implementation turns "I could not find out" into "it did not happen":
//! whatever is not known is [`ChainError::Unavailable`].

mod batch;
mod call;
mod findings;
mod relay;

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;

use crate::auth_capture::{EscrowCall, EscrowLog, EscrowState, Held};
use crate::batch_settlement::{ChannelCall, ChannelLog, ChannelState, ReceiverState};
use crate::exact::WalletSignature;
use crate::permit2::approval::Approval;
use crate::settlement::{ClaimKey, NonceSpace};

pub use batch::Batch;
pub use call::{CancelCall, Deployment, GasGrant, PermitCall, SettlementCall, TransferCall, WalletAnswer, WalletCall};
pub use findings::{AuthorizedCall, Findings, find_each};
pub use relay::Relayer;

/// A block as seen by the node, identified by number and hash (a number alone survives no reorg).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub number: u64,
    pub hash: B256,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Which state a read is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Latest,
    /// The newest block that the chain will not take back. Only this proves an absence.
    Finalized,
    /// A block by number, so that several reads agree with each other.
    Number(u64),
}

/// An ERC-20 `Transfer(from, to, value)` log of one contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLog {
    pub asset: Address,
    pub from: Address,
    pub to: Address,
    pub value: U256,
}

/// A `Transfer` log, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTransfer {
    pub transaction: B256,
    pub block_number: u64,
    pub log: TransferLog,
}

/// What became of one EIP-3009 nonce, read from the logs of the transaction that consumed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationUse {
    pub transaction: B256,
    pub block: Block,
    /// `AuthorizationCanceled` instead of `AuthorizationUsed`: consumed, and nobody was paid.
    pub canceled: bool,
    /// The `Transfer` logs of the asset in that transaction, in log order; where it used several authorizations, those that
    /// follow this one's log and come before the next.
    pub transfers: Vec<TransferLog>,
}

/// The same, found without knowing the nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedNonce {
    pub space: NonceSpace,
    pub nonce: B256,
    pub by: AuthorizationUse,
    /// The first transfer of the payer's after the log that consumed the nonce: EIP-3009 marks, then moves.
    pub transfer: Option<TransferLog>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub transaction: B256,
    pub block: Block,
    /// Whose gas it took, as the node says.
    pub sender: Address,
    pub success: bool,
    pub gas_used: u64,
    /// Wei a unit of gas, as charged.
    pub effective_gas_price: u128,
    /// Every ERC-20 `Transfer` log of the transaction, in log order, of whichever contract.
    pub transfers: Vec<TransferLog>,
    /// Every EIP-3009 authorization that it used, in log order.
    pub used: Vec<UsedNonce>,
    /// What the escrow of `batch-settlement` says that happened in it, in log order.
    pub channels: Vec<ChannelLog>,
    /// The same of the escrow of `auth-capture`.
    pub escrow: Vec<EscrowLog>,
}

/// An `AuthorizationUsed` log, and what its token moved for it: one transaction may carry the payments of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedNonce {
    pub asset: Address,
    pub payer: Address,
    pub nonce: B256,
    pub transfers: Vec<TransferLog>,
}

/// What a token contract says of itself. A hint to check against the trusted table, never a source of scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    pub name: String,
    pub version: String,
    pub decimals: u8,
    pub domain_separator: B256,
}

/// A signed settlement transaction that has not been sent. Persist it, then broadcast it: the same bytes, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub transaction: B256,
    pub raw: Bytes,
    /// The relayer account's transaction nonce that it occupies.
    pub account_nonce: u64,
    /// The same at higher fees, in rising order, within the relayer's caps: for a chain that leaves the first one lying. They
    /// occupy the same nonce, so at most one of all is ever mined.
    pub replacements: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The node could not be reached, timed out, or answered nonsense. Nothing is known; try again.
    #[error("the chain could not be asked: {0}")]
    Unavailable(String),
    /// The node executed the call and the EVM reverted.
    #[error("the call reverted: {reason}")]
    Reverted { reason: String, data: Bytes },
    /// The node answered, and refused this very request (for example `nonce too low`).
    #[error("the node refused ({code}): {message}")]
    Refused { code: i64, message: String },
    /// Nothing was signed: the account could not pay for the gas of it.
    #[error("{needed} wei for gas were expected at {account}, {found} are there")]
    Gas { account: Address, needed: U256, found: U256 },
}

#[async_trait]
pub trait Chain: Send + Sync {
    async fn chain_id(&self) -> Result<u64, ChainError>;
    async fn block(&self, at: At) -> Result<Block, ChainError>;
    /// Empty for an account without code.
    async fn code(&self, address: Address) -> Result<Bytes, ChainError>;
    async fn token(&self, asset: Address) -> Result<TokenFacts, ChainError>;
    async fn balance_of(&self, asset: Address, owner: Address, at: At) -> Result<U256, ChainError>;
    /// Wei.
    async fn native_balance(&self, owner: Address) -> Result<U256, ChainError>;
    /// `authorizationState(payer, nonce)`: consumed or not. Consumed is not "paid": a cancellation sets it too.
    async fn authorization_consumed(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        at: At,
    ) -> Result<bool, ChainError>;
    /// Finds the transaction that consumed a nonce, looking from block `from` (inclusive) to the head.
    async fn find_authorization(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError>;
    /// The nonces of a payer that a log of the asset says were consumed, from block `from` (inclusive) to the head. One
    /// that is not among them may be consumed all the same, in a block that this node has not seen.
    async fn used_nonces(&self, asset: Address, payer: Address, from: u64) -> Result<Vec<B256>, ChainError> {
        Err(ChainError::Unavailable(format!("what {payer} used on {asset} from block {from} is not listed here")))
    }
    /// Every nonce of a payer, of the asset's and of Permit2's where this asset was moved, that was consumed from block `from` (inclusive) to the head, in the order of the logs. What
    /// a wallet that lost its books asks; a chain that cannot say so is unavailable.
    async fn consumed_nonces(
        &self,
        asset: Address,
        payer: Address,
        from: u64,
    ) -> Result<Vec<ConsumedNonce>, ChainError> {
        Err(ChainError::Unavailable(format!("the nonces of {payer} on {asset} from block {from} are not listed here")))
    }
    /// The payer's bit for this nonce in Permit2's `nonceBitmap`: consumed or not. Consumed is not "paid".
    async fn permit_consumed(&self, payer: Address, nonce: B256, at: At) -> Result<bool, ChainError> {
        Err(ChainError::Unavailable(format!("nonce {nonce} of {payer} in Permit2 at {at:?} cannot be read here")))
    }
    /// Finds the transaction that consumed a nonce of Permit2, from block `from` (inclusive) to the head. Permit2 logs no
    /// use, so one that cannot be told for certain is unavailable.
    async fn find_permit(
        &self,
        asset: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError> {
        Err(ChainError::Unavailable(format!(
            "nonce {nonce} of {payer} for {asset} from block {from} is not sought here"
        )))
    }
    /// How much of an owner's tokens a spender may take (EIP-20).
    async fn allowance(&self, asset: Address, owner: Address, spender: Address) -> Result<U256, ChainError> {
        Err(ChainError::Unavailable(format!("what {spender} may take of {owner} on {asset} cannot be read here")))
    }
    /// How many permits of an owner's a token took (EIP-2612, `nonces`): a token without them reverts.
    async fn permit_nonce(&self, asset: Address, owner: Address) -> Result<U256, ChainError> {
        Err(ChainError::Unavailable(format!("how many permits of {owner} {asset} took cannot be read here")))
    }
    /// Every `Transfer` of a token from or to an owner, in the blocks from `from` to `to` (both inclusive).
    async fn token_transfers(
        &self,
        asset: Address,
        owner: Address,
        from: u64,
        to: u64,
    ) -> Result<Vec<TokenTransfer>, ChainError> {
        Err(ChainError::Unavailable(format!(
            "the transfers of {owner} on {asset} in {from}..={to} are not listed here"
        )))
    }
    /// Everything that a transfer is checked against, in one exchange where the node can do that.
    async fn findings(&self, call: AuthorizedCall<'_>, caller: Address) -> Result<Findings, ChainError> {
        find_each(self, call, caller).await
    }
    /// What each of several transfers by a key is checked against before all of them are simulated together: without a
    /// simulation of its own. In one exchange, or not at all.
    async fn findings_of(&self, calls: &[TransferCall]) -> Result<Vec<Findings>, ChainError> {
        Err(ChainError::Unavailable(format!("{} transfers are not looked at together here", calls.len())))
    }
    /// `eth_call` of the transfer as `caller`; `Ok` means that it would not revert now.
    async fn simulate(&self, call: &TransferCall, caller: Address) -> Result<(), ChainError>;
    /// What a contract wallet says of a signature over `digest`, with the gas of a settlement at most. Where it is not there
    /// yet, after its factory made it.
    async fn wallet_answer(
        &self,
        wallet: Address,
        digest: B256,
        signature: &WalletSignature,
    ) -> Result<WalletAnswer, ChainError> {
        let bytes = signature.inner.len();
        Err(ChainError::Unavailable(format!("{wallet} cannot be asked of {digest} and {bytes} bytes here")))
    }
    /// The same of a transfer from a contract wallet.
    async fn simulate_wallet(&self, call: &WalletCall, caller: Address) -> Result<(), ChainError> {
        let payer = call.authorization.from;
        Err(ChainError::Unavailable(format!("a transfer of {payer} as {caller} cannot be simulated here")))
    }
    /// The same of a call that moves by Permit2.
    async fn simulate_permit(&self, call: &PermitCall, caller: Address) -> Result<(), ChainError> {
        let spender = call.permit.spender;
        Err(ChainError::Unavailable(format!("a call of {spender} as {caller} cannot be simulated here")))
    }
    /// The same of an approval of Permit2, as its owner, whatever gas the owner has.
    async fn simulate_approval(&self, approval: &Approval) -> Result<(), ChainError> {
        Err(ChainError::Unavailable(format!("an approval of {} cannot be simulated here", approval.owner)))
    }
    /// The same of a call that moves by Permit2, after an approval. A node that cannot run two calls after each other says
    /// that it would not revert: the call is simulated once more when the approval stands.
    async fn simulate_approved(
        &self,
        approval: &Approval,
        call: &PermitCall,
        caller: Address,
    ) -> Result<(), ChainError> {
        let (owner, spender) = (approval.owner, call.permit.spender);
        let message = format!("{owner}'s approval and a call of {spender} as {caller} cannot be simulated here");
        Err(ChainError::Unavailable(message))
    }
    /// The same of a call of the escrow.
    async fn simulate_channel(&self, call: &ChannelCall, caller: Address) -> Result<(), ChainError> {
        let claims = call.claims().len();
        Err(ChainError::Unavailable(format!("a call of the escrow with {claims} claims as {caller} is not tried here")))
    }
    /// The same of a call of the escrow of `auth-capture`, which takes its operator, or its payer, for the caller alone.
    async fn simulate_escrow(&self, call: &EscrowCall, caller: Address) -> Result<(), ChainError> {
        let sender = call.sender();
        Err(ChainError::Unavailable(format!("a call of the escrow by {sender} as {caller} is not tried here")))
    }
    /// What the escrow of `auth-capture` has of a payment.
    async fn escrowed(&self, payment: B256, at: At) -> Result<EscrowState, ChainError> {
        Err(ChainError::Unavailable(format!("what is held of payment {payment} at {at:?} cannot be read here")))
    }
    /// What it logged of the payment whose authorization was used up in `used`, to the head; `None` where it logged nothing
    /// of such a payment there.
    async fn held(&self, key: ClaimKey, used: &AuthorizationUse) -> Result<Option<Held>, ChainError> {
        let transaction = used.transaction;
        Err(ChainError::Unavailable(format!("what became of {key}, held in {transaction}, cannot be read here")))
    }
    /// What the escrow has of a channel, all of it in one block.
    async fn channel(&self, channel: B256, at: At) -> Result<ChannelState, ChainError> {
        Err(ChainError::Unavailable(format!("channel {channel} at {at:?} cannot be read here")))
    }
    /// Balances and claims of several, in their order.
    async fn channels(&self, channels: &[B256]) -> Result<Vec<ChannelState>, ChainError> {
        let mut found = Vec::with_capacity(channels.len());
        for channel in channels {
            found.push(self.channel(*channel, At::Latest).await?);
        }
        Ok(found)
    }
    /// What a receiver's channels in a token came to.
    async fn receiver(&self, receiver: Address, token: Address, at: At) -> Result<ReceiverState, ChainError> {
        Err(ChainError::Unavailable(format!(
            "what {receiver} has in channels of {token} at {at:?} cannot be read here"
        )))
    }
    /// `None` while the transaction is not mined (or unknown to the node: that is not a proof of anything).
    async fn receipt(&self, transaction: B256) -> Result<Option<Receipt>, ChainError>;
    /// Whether the node has the transaction, mined or waiting.
    async fn knows(&self, transaction: B256) -> Result<bool, ChainError> {
        Err(ChainError::Unavailable(format!("whether {transaction} waits cannot be told here")))
    }
    /// Transactions sent by an account, those waiting in the pool included when `pending`.
    async fn account_nonce(&self, account: Address, pool: Pool) -> Result<u64, ChainError>;
    /// Wei a unit of gas that a transaction of now should give at most, and of it on top of the base fee.
    async fn fees(&self) -> Result<(U256, U256), ChainError> {
        Err(ChainError::Unavailable("what gas costs cannot be read here".to_owned()))
    }
    /// Sends signed bytes. A node that already knows them has them: that is `Ok`.
    async fn broadcast(&self, raw: &Bytes) -> Result<(), ChainError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// In blocks that no reorganisation takes back.
    Final,
    Mined,
    Pending,
}
