//! A closed mandate that was presented to us, and that we answer for: once, whoever presents it, however often.

use super::{Draft, Outcome, claimant, done};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::Accept;
use crate::effects::{Fact, Operation};
use crate::gate::Scope;
use crate::id::CallerKind;
use crate::rejection::{Fault, Refusal, Rejection};
use crate::view::{Keys, View};

impl Accept {
    pub fn claim_key(&self) -> ClaimKey {
        ClaimKey::Leaf { mandate: self.mandate, nonce: self.nonce.clone() }
    }
}

pub(super) fn wants(view: &View, accept: &Accept, keys: &mut Keys) {
    keys.claim(view, &accept.claim_key());
    keys.gates(view, [Scope::Fence, Scope::Everything]);
}

impl Draft<'_> {
    /// The same acceptance gets the same receipt; another one of the same mandate is its second use.
    pub(super) fn accept(&self, accept: &Accept) -> Result<Outcome, Refusal> {
        let key = accept.claim_key().digest();
        if let Some(found) = self.view.claims.find(&key)? {
            return match (&found.claim.outcome, found.claim.request == accept.request) {
                (ClaimOutcome::Accepted(_), true) => Ok(Outcome::Known),
                (ClaimOutcome::Accepted(_) | ClaimOutcome::Spend(_), _) => {
                    Err(Rejection::MandateConsumed { mandate: accept.mandate }.into())
                }
                (other, _) => Err(Fault::Broken(format!("a closed mandate was used by {}", claimant(other))).into()),
            };
        }
        let caller = &self.request.caller;
        if !matches!(caller.kind, CallerKind::Merchant | CallerKind::Operator | CallerKind::Service) {
            let (expected, found) = (CallerKind::Merchant.to_string(), caller.kind.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        [Scope::Fence, Scope::Everything].iter().try_for_each(|scope| self.check_gate(scope))?;
        let mut effects = self.effects(Operation::Accept);
        effects.claims = vec![Claim { key, request: accept.request, outcome: ClaimOutcome::Accepted(accept.document) }];
        effects.fact = Some(Fact::Reference(accept.document));
        done(effects)
    }
}
