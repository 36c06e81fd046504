//! A payer's own name for a payment (x402 `payment-identifier`), as the book has it: which authorization stands for it.

use ledger::book::naming::{NAMED_MAX, place};
use ledger::claim::{Claim, ClaimOutcome};
use ledger::codec::{decode, encode};
use ledger::id::{Digest, TenantId};
use ledger::rejection::Rejection;
use ledger::settlement::{Named, Settlement, SettlementKey, SettlementState};
use ledger::store::Document;
use x402::identifier;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::upto;
use x402::wire::{PaymentPayload, PaymentRequirements};

use crate::Engine;
use crate::error::EngineError;

/// Where an authorization stands under a name.
pub(crate) enum Place {
    /// It is the one, or may become it: to be claimed with this.
    Own { named: Box<Named>, document: Document },
    /// Another one is, and came to something or may yet.
    Other(Box<Settlement>),
}

/// The terms that a name stands for, beside what is bought.
pub(crate) fn content(subject: &[u8], terms: &PaymentRequirements) -> Digest {
    let lower = |text: &str| text.to_ascii_lowercase().into_bytes();
    let (scheme, network, amount) = (terms.scheme.as_bytes(), terms.network.as_bytes(), terms.amount.as_bytes());
    let parts: [&[u8]; 6] = [subject, scheme, network, &lower(&terms.asset), amount, &lower(&terms.pay_to)];
    Digest::of_parts("purser/payment-identifier/1", &parts)
}

pub(crate) fn conflict(found: &str) -> Refusal {
    let (field, expected) = ("extensions.payment-identifier.info.id", "a name for one payment of its payer");
    Refusal::new(Reason::PaymentIdentifierConflict, field, expected, found)
}

impl Engine {
    pub(crate) async fn place(
        &self,
        tenant: &TenantId,
        own: &SettlementKey,
        name: &str,
        content: Digest,
    ) -> Result<Place, EngineError> {
        let document = Document { kind: "payment-name".into(), bytes: encode(own) };
        let here = |number, follows| {
            let (name, digest) = (name.to_owned(), document.digest());
            let named = Box::new(Named { name, number, follows, content, document: digest });
            Place::Own { named, document: document.clone() }
        };
        let mut newest: Option<(u8, Claim)> = None;
        for number in 0..NAMED_MAX {
            let key = place(own.role, &own.authorization.payer, name, number);
            let Some(claim) = self.store.claim(tenant, &key).await? else { break };
            if claim.request != content {
                let rejection = Rejection::IdempotencyKeyReused { first: claim.request, found: content };
                return Err(EngineError::Book(rejection));
            }
            newest = Some((number, claim));
        }
        let Some((number, claim)) = newest else { return Ok(here(0, None)) };
        let holder = self.holder(tenant, &claim).await?;
        if holder == *own {
            return Ok(here(number, None));
        }
        let former = self.store.settlement(tenant, &holder).await?;
        let former = former.ok_or_else(|| EngineError::Broken("a name stands for a claim that is gone".into()))?;
        if matches!(former.state, SettlementState::Failed | SettlementState::Abandoned) {
            return Ok(here(number.saturating_add(1), Some(holder)));
        }
        Ok(Place::Other(Box::new(former)))
    }

    /// The place of a carriage under the name that its payer gave it. Another payment of the same terms is another payment:
    /// whoever sells would take the first one's success for its own.
    pub(crate) async fn place_of_carriage(
        &self,
        tenant: &TenantId,
        own: &SettlementKey,
        payload: &PaymentPayload,
        terms: &PaymentRequirements,
    ) -> Result<Result<Option<(Named, Document)>, Refusal>, EngineError> {
        let name = match identifier::read(payload.extensions.as_ref()) {
            Ok(Some(name)) => name,
            Ok(None) => return Ok(Ok(None)),
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Under a price by usage the name stands for what is permitted: what is charged is not the payer's to say.
        let most = upto::with_accepted_amount(payload, terms);
        match self.place(tenant, own, name.as_str(), content(&[], most.as_ref().unwrap_or(terms))).await {
            Ok(Place::Own { named, document }) => Ok(Ok(Some((*named, document)))),
            Ok(Place::Other(_)) => Ok(Err(conflict("another payment of the same terms"))),
            Err(EngineError::Book(Rejection::IdempotencyKeyReused { .. })) => Ok(Err(conflict("other terms"))),
            Err(error) => Err(error),
        }
    }

    async fn holder(&self, tenant: &TenantId, claim: &Claim) -> Result<SettlementKey, EngineError> {
        let broken = || EngineError::Broken("a name stands for nothing that can be read".into());
        let ClaimOutcome::Accepted(digest) = claim.outcome else { return Err(broken()) };
        let document = self.store.document(tenant, digest).await?.ok_or_else(broken)?;
        decode(&document.bytes).map_err(|_| broken())
    }
}
