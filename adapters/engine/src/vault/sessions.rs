//! What the book says of a merchant's checkout session, whichever token pays it and under whichever key.

use commerce::checkout::Session;
use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::gate::Scope;
use ledger::id::{CallerKind, Digest, PayeeId, SpendId, TenantId};
use ledger::money::Amount;
use ledger::spend::SpendState;

use super::{ProcessorAnswer, Redeemed};
use crate::book::service;
use crate::error::EngineError;
use crate::rate::authority_from_minor;
use crate::tenant::Payee;
use crate::{Engine, Identity};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    /// A processor was asked, and what became of it is not known.
    UnderWay,
    Captured(Captured),
}

/// What a merchant has of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    /// Less what was given back, in units of the book.
    units: Amount,
    /// ISO 4217, in capitals.
    currency: String,
}

impl Captured {
    pub fn covers(&self, session: &Session) -> Result<bool, EngineError> {
        let total = authority_from_minor(Amount::new(session.totals.total.into()))?;
        Ok(self.currency == session.currency && self.units >= total)
    }
}

/// A merchant's checkout session, in the book.
pub(super) fn cart(payee: &PayeeId, session: &str) -> Digest {
    Digest::of_parts("purser/acp-session/1", &[payee.as_str().as_bytes(), session.as_bytes()])
}

fn redeems(payee: &Payee, merchant: &Identity) -> bool {
    let redeemer = payee.acp.redeemer.as_ref();
    merchant.caller.kind == CallerKind::Merchant
        && redeemer.is_some_and(|(tenant, id)| *tenant == merchant.tenant && *id == merchant.caller.principal)
}

impl Engine {
    /// What was taken for a session of this merchant's, in whichever vault its tokens are.
    pub(crate) async fn taken_for(&self, merchant: &Identity, session: &str) -> Result<Taken, EngineError> {
        let mut found = Taken::Nothing;
        for tenant in self.tenants().into_iter().filter(|tenant| tenant.vault.is_some()) {
            let payees: Vec<&Payee> = tenant.payees.all().filter(|payee| redeems(payee, merchant)).collect();
            if payees.is_empty() {
                continue;
            }
            // A book that came back may not know what was captured: that it knows nothing says nothing.
            let gates = self.store.closed_gates(&tenant.id).await?;
            if gates.iter().any(|gate| gate.scope == Scope::Fence) {
                return Ok(Taken::UnderWay);
            }
            for payee in payees {
                for spend in self.attempts(&tenant.id, payee, session).await? {
                    match self.taken_by(&tenant.id, spend).await? {
                        Taken::Nothing => {}
                        // One stands at a time; where one is under way nobody knows what the rest comes to.
                        Taken::UnderWay => return Ok(Taken::UnderWay),
                        captured @ Taken::Captured(_) => found = captured,
                    }
                }
            }
        }
        Ok(found)
    }

    /// Gives back a part of what was taken for a session of this merchant's. Nothing where nothing was.
    pub(crate) async fn refund_session(
        &self,
        merchant: &Identity,
        session: &str,
        amount: Amount,
        key: &str,
    ) -> Result<Option<Redeemed>, EngineError> {
        for tenant in self.tenants().into_iter().filter(|tenant| tenant.vault.is_some()) {
            for payee in tenant.payees.all().filter(|payee| redeems(payee, merchant)) {
                for spend in self.attempts(&tenant.id, payee, session).await? {
                    let found = self.found(merchant, tenant.clone(), spend).await?;
                    if found.spend.state == SpendState::Settled {
                        return self.refund_found(found, amount, key).await.map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Every spend that was meant to pay a session.
    pub(super) async fn attempts(
        &self,
        tenant: &TenantId,
        payee: &Payee,
        session: &str,
    ) -> Result<Vec<SpendId>, EngineError> {
        let (cart, mut spends) = (cart(&payee.id, session), Vec::new());
        for number in 0..=u8::MAX {
            let Some(claim) = self.store.claim(tenant, &ClaimKey::Cart { cart, number }).await? else { break };
            if let ClaimOutcome::Spend(spend) = claim.outcome {
                spends.push(spend);
            }
        }
        Ok(spends)
    }

    async fn taken_by(&self, tenant: &TenantId, spend: SpendId) -> Result<Taken, EngineError> {
        let found = self.found_by(&service(tenant, "shop")?, spend).await?;
        match found.spend.state {
            SpendState::Settled => {}
            state if state.is_signed() => return Ok(Taken::UnderWay),
            _ => return Ok(Taken::Nothing),
        }
        let answer = self.last_answer(&found).await?.map(|kept| kept.processor);
        let Some(ProcessorAnswer::Done { amount, currency, .. }) = answer else {
            return Err(EngineError::Broken(format!("spend {spend} is settled without an answer")));
        };
        let units = authority_from_minor(amount)?.checked_sub(found.spend.refunded).unwrap_or(Amount::ZERO);
        Ok(Taken::Captured(Captured { units, currency }))
    }
}
