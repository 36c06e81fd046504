//! What became of an attempt that nobody answered: the processor is asked again under the same key, or says it by itself,
//! or an operator takes its settlement file at its word. It is never guessed.

use ledger::command::{Answered, Attempt};
use ledger::effects::Operation;
use ledger::id::{CallerKind, SpendId, TenantId};
use ledger::money::Amount;
use ledger::spend::{Rail as PaidOver, Spend, SpendState};
use serde::Deserialize;

use super::answer::order_key;
use super::{Found, ProcessorAnswer, VaultError, vault};
use crate::book::service;
use crate::consent::forbidden;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// What a processor tells by itself, maybe late and more than once. Whether it is the processor's was checked before.
#[derive(Clone, Debug, Deserialize)]
pub struct Notice {
    /// The payment, as it was told to the processor.
    pub payment: SpendId,
    /// The key of the order.
    pub key: String,
    #[serde(flatten)]
    pub answer: ProcessorAnswer,
}

impl Engine {
    /// Looks again at an attempt that is under way. One that is in hand in this process is left to whoever has it.
    pub(crate) async fn reconcile_capture(
        &self,
        identity: &Identity,
        spend: &Spend,
    ) -> Result<SpendState, EngineError> {
        let Ok(_in_hand) = self.busy.take(spend.id, None) else { return Ok(spend.state) };
        if !self.busy.is_due(spend.id) {
            return Ok(spend.state);
        }
        let found = self.found_by(identity, spend.id).await?;
        if !found.spend.state.is_signed() {
            return Ok(found.spend.state);
        }
        let Some((attempt, kept)) = self.last_attempt(&found).await? else {
            return Err(EngineError::Broken(format!("spend {} is redeemed without an attempt", spend.id)));
        };
        let after = self.ask_again(found, attempt, &kept).await?.view.spend.state;
        if after != spend.state {
            tracing::info!(spend = %spend.id, from = %spend.state, to = %after, "spend reconciled");
        }
        Ok(after)
    }

    /// Takes a processor's own notice. Told again it changes nothing.
    pub async fn notice(&self, tenant: &TenantId, signature: &str, body: &[u8]) -> Result<Spend, EngineError> {
        let processor = &vault(self.tenant(tenant)?.as_ref())?.processor.clone();
        let notice = processor.read_notice(signature, body, self.clock.now().seconds());
        let notice = notice.ok_or(VaultError::NoticeUnsigned)?;
        let identity = service(tenant, "processor")?;
        let _in_hand = self.busy.take(notice.payment, None)?;
        let found = self.found_by(&identity, notice.payment).await?;
        let Some((attempt, kept)) = self.last_attempt(&found).await? else {
            return Err(contradicts(&found, "no attempt"));
        };
        if order_key(&found, &attempt.document) != notice.key {
            return Err(contradicts(&found, "another attempt since"));
        }
        if let ProcessorAnswer::Done { amount, currency, .. } = &notice.answer
            && (*amount, currency.as_str()) != (kept.amount, kept.currency.as_str())
        {
            return Err(contradicts(&found, &format!("an attempt over {} {}", kept.amount, kept.currency)));
        }
        match (found.spend.state, &notice.answer) {
            (SpendState::Committed | SpendState::Unknown, _) => Ok(self
                .take_answer(found, attempt, notice.answer, Some("the processor's notice".into()))
                .await?
                .view
                .spend),
            (SpendState::Settled, ProcessorAnswer::Done { .. })
            | (SpendState::Held, ProcessorAnswer::Declined { .. }) => Ok(found.spend),
            (state, _) => {
                tracing::error!(spend = %found.spend.id, %state, "the processor contradicts what it said before");
                Err(contradicts(&found, &state.to_string()))
            }
        }
    }

    /// An operator takes the processor's settlement file at its word.
    pub(crate) async fn resolve_capture(
        &self,
        identity: &Identity,
        id: SpendId,
        answer: Answered,
        because: &str,
    ) -> Result<Spend, EngineError> {
        if identity.caller.kind != CallerKind::Operator {
            return Err(forbidden("an operator", identity));
        }
        let found = self.found_by(identity, id).await?;
        let Some((attempt, kept)) = self.last_attempt(&found).await? else {
            return Err(contradicts(&found, "no attempt"));
        };
        let answer = match answer {
            Answered::Paid => ProcessorAnswer::Done {
                id: format!("resolved-{id}"),
                network_id: "-".into(),
                amount: kept.amount,
                currency: kept.currency.clone(),
            },
            Answered::NotPaid => ProcessorAnswer::Declined { code: "not_paid".into(), message: because.to_owned() },
        };
        Ok(self.take_answer(found, attempt, answer, Some(because.to_owned())).await?.view.spend)
    }

    /// What an attempt would take: of a payment that somebody was asked to capture, and nothing of any other.
    pub(crate) async fn attempted(&self, identity: &Identity, spend: &Spend) -> Result<Option<Amount>, EngineError> {
        let begun = self.reference(identity, spend.id, &[Operation::Redeem]).await?;
        if begun.is_none() || spend.authorization.rail() != PaidOver::Vault {
            return Ok(None);
        }
        let found = self.found_by(identity, spend.id).await?;
        Ok(self.last_attempt(&found).await?.map(|(Attempt { amount, .. }, _)| amount))
    }

    /// A payment by its id, for parts of the service and operators.
    pub(super) async fn found_by(&self, identity: &Identity, id: SpendId) -> Result<Found, EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let missing = || EngineError::NotFound { what: "payment", id: id.to_string() };
        let spend = self.store.spend(&identity.tenant, id).await?.ok_or_else(missing)?;
        if spend.authorization.rail() != PaidOver::Vault {
            return Err(missing());
        }
        let bundle = self.bundle(identity, &spend).await?;
        Ok(Found { identity: identity.clone(), tenant, spend, bundle })
    }
}

fn contradicts(found: &Found, is: &str) -> EngineError {
    VaultError::NoticeContradicts { payment: found.spend.id, found: is.to_owned() }.into()
}
