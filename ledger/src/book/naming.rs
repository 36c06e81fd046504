//! A payer's own name for what is bought or carried (x402 `payment-identifier`): one name is one content, and at most one
//! authorization under it that may still come to something.
//!
//! The name is claimed beside the authorization, under the payer whose signature was verified: nobody uses up another's
//! name. Where the authorization that has it failed or was given up, the next one takes the next place under the name.

use super::{Draft, claimant};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::ClaimSettlement;
use crate::rejection::{Refusal, Rejection};
use crate::settlement::{Named, Role, SettlementState};
use crate::view::{Keys, View};

/// Authorizations under one name, those that came to nothing among them.
pub const NAMED_MAX: u8 = 32;

/// The claim of a place under a name.
pub fn place(role: Role, payer: &str, name: &str, number: u8) -> ClaimKey {
    ClaimKey::Named { role, payer: payer.to_owned(), name: name.to_owned(), number }
}

fn own(claim: &ClaimSettlement, named: &Named, number: u8) -> ClaimKey {
    place(claim.key.role, &claim.key.authorization.payer, &named.name, number)
}

pub(super) fn wants(view: &View, claim: &ClaimSettlement, keys: &mut Keys) {
    let Some(named) = &claim.named else { return };
    let numbers = [named.number.checked_sub(1), Some(named.number), named.number.checked_add(1)];
    numbers.into_iter().flatten().for_each(|number| keys.claim(view, &own(claim, named, number)));
    if let Some(follows) = &named.follows {
        keys.settlement(view, follows);
    }
}

impl Draft<'_> {
    /// The claim of the name's place, where it is not this authorization's already.
    pub(super) fn check_name(&self, claim: &ClaimSettlement) -> Result<Option<Claim>, Refusal> {
        let Some(named) = &claim.named else { return Ok(None) };
        let taken = |outcome: &ClaimOutcome| Rejection::AuthorizationClaimed { spend: claimant(outcome) };
        let find = |number: u8| self.view.claims.find(&own(claim, named, number).digest());
        // Whoever looked before somebody else took a place looks again.
        if let Some(next) = named.number.checked_add(1).map(find).transpose()?.flatten() {
            return Err(taken(&next.claim.outcome).into());
        }
        let outcome = ClaimOutcome::Accepted(named.document);
        if let Some(found) = find(named.number)? {
            return match (found.claim.request == named.content, found.claim.outcome == outcome) {
                (true, true) => Ok(None),
                (true, false) => Err(taken(&found.claim.outcome).into()),
                (false, _) => Err(reused(&found.claim, named).into()),
            };
        }
        if let Some(before) = named.number.checked_sub(1) {
            let before = find(before)?.ok_or_else(|| taken(&outcome))?;
            if before.claim.request != named.content {
                return Err(reused(&before.claim, named).into());
            }
            let follows = named.follows.as_ref().map(|key| self.view.settlements.find(key)).transpose()?.flatten();
            let is_over = follows
                .is_some_and(|former| matches!(former.state, SettlementState::Failed | SettlementState::Abandoned));
            if !is_over {
                return Err(taken(&before.claim.outcome).into());
            }
        }
        if named.number >= NAMED_MAX {
            return Err(taken(&outcome).into());
        }
        let key = own(claim, named, named.number).digest();
        Ok(Some(Claim { key, request: named.content, outcome }))
    }
}

fn reused(found: &Claim, named: &Named) -> Rejection {
    Rejection::IdempotencyKeyReused { first: found.request, found: named.content }
}
