//! The port of those who pay the gas.

use alloy_primitives::{Address, Bytes};
use async_trait::async_trait;

use super::{Batch, CancelCall, ChainError, GasGrant, PermitCall, Prepared, SettlementCall, TransferCall, WalletCall};
use crate::auth_capture::EscrowCall;
use crate::batch_settlement::ChannelCall;

/// An account that pays gas to carry authorizations of others to the chain.
#[async_trait]
pub trait Relayer: Send + Sync {
    fn address(&self) -> Address;
    /// The account nonce of a signed transaction; `None` where it is another account's, or no transaction.
    fn nonce_in(&self, raw: &Bytes) -> Option<u64>;
    /// A transaction that does nothing but take up a nonce, so that what stands behind it can be mined. Sends nothing.
    async fn fill(&self, account_nonce: u64) -> Result<Prepared, ChainError> {
        Err(ChainError::Unavailable(format!("nonce {account_nonce} cannot be filled here")))
    }
    /// Prices and signs the settlement as a transaction with `account_nonce`, and sends nothing.
    async fn prepare(&self, call: &TransferCall, account_nonce: u64) -> Result<Prepared, ChainError>;
    /// Whether the account could pay for a call now, and the chain would take it. Signs nothing.
    async fn affords(&self, _call: &SettlementCall) -> Result<(), ChainError> {
        Ok(())
    }
    /// Whether several transfers can go in one transaction on this chain.
    async fn batches(&self) -> bool {
        false
    }
    /// The same of several transfers in one transaction, each of which succeeds or fails for itself. Simulated together
    /// before: those that would fail there are named, and then nothing is signed.
    async fn prepare_batch(&self, calls: &[TransferCall], account_nonce: u64) -> Result<Batch, ChainError> {
        let count = calls.len();
        Err(ChainError::Unavailable(format!("{count} transfers with nonce {account_nonce} cannot go together here")))
    }
    /// The same of a transfer from a contract wallet, which is made first where it is not there.
    async fn prepare_wallet(&self, call: &WalletCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let payer = call.authorization.from;
        Err(ChainError::Unavailable(format!("a transfer of {payer} with nonce {account_nonce} cannot be made here")))
    }
    /// The same of a call that moves by Permit2.
    async fn prepare_permit(&self, call: &PermitCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let spender = call.permit.spender;
        Err(ChainError::Unavailable(format!("a call of {spender} with nonce {account_nonce} cannot be made here")))
    }
    /// The same of a call of the escrow.
    async fn prepare_channel(&self, call: &ChannelCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let claims = call.claims().len();
        let message =
            format!("a call of the escrow with {claims} claims and nonce {account_nonce} cannot be made here");
        Err(ChainError::Unavailable(message))
    }
    /// The same of a call of the escrow of `auth-capture`.
    async fn prepare_escrow(&self, call: &EscrowCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let sender = call.sender();
        let message = format!("a call of the escrow by {sender} with nonce {account_nonce} cannot be made here");
        Err(ChainError::Unavailable(message))
    }
    /// The same of ether for a payer, which no code of the payer's may run on.
    async fn prepare_gas(&self, grant: &GasGrant, account_nonce: u64) -> Result<Prepared, ChainError> {
        let (to, value) = (grant.to, grant.value);
        Err(ChainError::Unavailable(format!("{value} wei for {to} with nonce {account_nonce} cannot be sent here")))
    }
    /// The same of a call that cancels an authorization.
    async fn prepare_cancel(&self, call: &CancelCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let payer = call.authorizer;
        Err(ChainError::Unavailable(format!("{payer}'s cancellation with nonce {account_nonce} cannot be made here")))
    }
}
