//! What a payee says of a payment, signed. It is kept beside what the rail shows and moves nothing: whether it is true is for
//! whoever looks at both.

use super::presenting::off_rail;
use super::{Draft, Outcome, done};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::effects::{Fact, Operation};
use crate::id::{Digest, SpendId};
use crate::rejection::Refusal;
use crate::spend::{Rail, SpendState};
use crate::view::{Keys, View};

pub(super) fn wants(view: &View, spend: SpendId, keys: &mut Keys) {
    keys.spend(view, spend);
    keys.claim(view, &ClaimKey::Attested(spend));
}

impl Draft<'_> {
    /// The first one stands: whoever says something else later has said it.
    pub(super) fn attest(&self, spend: SpendId, document: Digest) -> Result<Outcome, Refusal> {
        use SpendState::{Committed, Settled, SpentOtherwise, Submitted, Unknown};
        let signed = [Committed, Submitted, Unknown, Settled, SpentOtherwise];
        let Some(found) = self.spend_in(spend, &signed, &[])? else { return Ok(Outcome::Known) };
        // There the answers themselves are signed receipts.
        off_rail(found, Rail::Mandate)?;
        off_rail(found, Rail::Vault)?;
        let key = ClaimKey::Attested(spend).digest();
        if self.view.claims.find(&key)?.is_some() {
            return Ok(Outcome::Known);
        }
        let mut effects = self.effects(Operation::Attest);
        effects.claims = vec![Claim { key, request: document, outcome: ClaimOutcome::Accepted(document) }];
        effects.spend = Some(found.clone());
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }
}
