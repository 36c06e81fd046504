//! What a payer signs, by whichever way the token moves.

use alloy_primitives::{Address, B256, U256};

use super::{Authorization, Terms, Transfer};
use crate::auth_capture::Escrowed;
use crate::batch_settlement::{self, Deposit};
use crate::permit2::Permit;
use crate::settlement::{ClaimKey, NonceSpace};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Eip3009(Authorization),
    Permit2(Permit),
    /// Into a channel (scheme `batch-settlement`).
    Deposit(Deposit),
    /// Held in the escrow (scheme `auth-capture`).
    Escrowed(Escrowed),
}

impl Signed {
    pub const fn payer(&self) -> Address {
        match self {
            Self::Eip3009(authorization) => authorization.from,
            Self::Permit2(permit) => permit.from,
            Self::Deposit(deposit) => deposit.authorization.from,
            Self::Escrowed(escrowed) => escrowed.authorization.from,
        }
    }

    pub const fn to(&self) -> Address {
        match self {
            Self::Eip3009(authorization) => authorization.to,
            Self::Permit2(permit) => permit.witness.to(),
            Self::Deposit(deposit) => deposit.authorization.to,
            Self::Escrowed(escrowed) => escrowed.authorization.to,
        }
    }

    /// With `upto` the most that may move.
    pub const fn value(&self) -> U256 {
        match self {
            Self::Eip3009(authorization) => authorization.value,
            Self::Permit2(permit) => permit.amount,
            Self::Deposit(deposit) => deposit.authorization.value,
            Self::Escrowed(escrowed) => escrowed.authorization.value,
        }
    }

    /// Unix seconds, the first at which it moves nothing. EIP-3009 wants the block's time below `validBefore`; Permit2
    /// takes its deadline itself, so the first is one later.
    pub fn valid_before(&self) -> U256 {
        match self {
            Self::Eip3009(authorization) => authorization.valid_before,
            Self::Permit2(permit) => permit.deadline.saturating_add(U256::from(1)),
            Self::Deposit(deposit) => deposit.authorization.valid_before,
            Self::Escrowed(escrowed) => escrowed.authorization.valid_before,
        }
    }

    /// What the key signs (EIP-712).
    pub fn digest(&self, terms: &Terms) -> B256 {
        match self {
            Self::Eip3009(authorization) => authorization.digest(&terms.domain),
            Self::Permit2(permit) => permit.digest(terms.network),
            // The same words to the collector of each.
            Self::Deposit(Deposit { authorization, .. }) | Self::Escrowed(Escrowed { authorization, .. }) => {
                batch_settlement::deposit_digest(&terms.domain, authorization)
            }
        }
    }

    /// What must be unique.
    pub fn claim_key(&self, terms: &Terms) -> ClaimKey {
        let (space, nonce) = match self {
            Self::Eip3009(authorization) => (NonceSpace::Eip3009, authorization.nonce),
            Self::Permit2(permit) => (NonceSpace::Permit2, B256::from(permit.nonce)),
            Self::Deposit(deposit) => (NonceSpace::Eip3009, deposit.authorization.nonce),
            Self::Escrowed(escrowed) => (NonceSpace::Eip3009, escrowed.authorization.nonce),
        };
        ClaimKey { space, network: terms.network, token: terms.token, payer: self.payer(), nonce }
    }

    /// What payer and payee call it: of what goes into the escrow of `auth-capture` the escrow says what became of it, while
    /// whoever carries it is through when it is there.
    pub fn payee_key(&self, terms: &Terms) -> ClaimKey {
        let key = self.claim_key(terms);
        match terms.transfer {
            Transfer::Escrow(escrow) => ClaimKey { space: escrow.flow.nonce_space(), ..key },
            Transfer::Eip3009 | Transfer::Permit2 | Transfer::Upto { .. } | Transfer::Channel { .. } => key,
        }
    }
}
