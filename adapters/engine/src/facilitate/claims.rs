//! What a facilitator's own book says of a permit or a payer, where the chain says nothing yet or never will.

use ledger::command::Command;
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::settlement::{PayerKey, Role, Settlement, SettlementKey};
use ledger::store::Document;
use x402::chain::At;
use x402::exact::{ClaimedElsewhere, VerifiedPayment};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::settlement::is_consumed;
use x402::wire::SettleResponse;

use super::carriage::Carriage;
use crate::Engine;
use crate::book;
use crate::error::EngineError;

/// With scheme `upto` a charge of nothing is settled without a transaction. The chain never hears of it, so the permit
/// stays usable there until its deadline; that it is spent is written here alone. It is over at once: the permit names our
/// account as the only one that may use it, and under this claim it never does, so there is nothing to look for on the
/// chain. (Former releases left it `submitted` until the deadline.)
pub(super) fn charged_nothing(settlement: &Settlement) -> bool {
    settlement.key.role == Role::Facilitator && settlement.document.is_some() && settlement.transaction.is_none()
}

pub(super) fn spent() -> Refusal {
    let (field, expected) = ("payload.permit2Authorization.nonce", "a permit that was not charged before");
    Refusal::new(Reason::Permit2NonceUsed, field, expected, "one that was charged nothing, and is spent")
}

impl Engine {
    pub(super) async fn is_spent(&self, tenant: &TenantId, payment: &VerifiedPayment) -> Result<bool, EngineError> {
        let authorization = book::authorization(&payment.claim_key())?;
        let key = SettlementKey { role: Role::Facilitator, authorization };
        Ok(self.store.settlement(tenant, &key).await?.is_some_and(|settlement| charged_nothing(&settlement)))
    }

    /// Claimed by us: writes down that it is spent. Nothing is sent.
    pub(super) async fn charge_nothing(&self, carriage: &Carriage<'_>) -> Result<SettleResponse, EngineError> {
        let claim = carriage.payment.claim_key();
        match is_consumed(self.chain.as_ref(), claim, At::Latest).await {
            Ok(false) => {}
            Ok(true) => {
                self.abandon(carriage).await?;
                let (field, nonce) = ("payload.permit2Authorization.nonce", claim.nonce);
                let expected = "a nonce not used before";
                return Ok(carriage.refused(&Refusal::new(Reason::Permit2NonceUsed, field, expected, nonce)));
            }
            Err(error) => {
                self.abandon(carriage).await?;
                return Err(error.into());
            }
        }
        let bytes = format!("purser/charged-nothing/1 {claim}").into_bytes();
        let document = Document { kind: "settlement-of-nothing".into(), bytes };
        let (settlement, charged) = (carriage.key.clone(), Amount::ZERO);
        let command = Command::Charge { settlement, document: document.digest(), charged, instead_of: None };
        self.run(&carriage.identity, command, vec![document]).await?;
        Ok(carriage.settled_nothing())
    }

    /// What else this payer has signed here that is claimed and not settled: each alone may be covered, all not. Who
    /// counts the nonces does not matter, the tokens are the same.
    pub(super) async fn claimed_elsewhere(
        &self,
        tenant: &TenantId,
        payment: &VerifiedPayment,
    ) -> Result<ClaimedElsewhere, EngineError> {
        let own = book::authorization(&payment.claim_key())?;
        let own = SettlementKey { role: Role::Facilitator, authorization: own };
        let mut others = self.store.settlements_of(tenant, &PayerKey::of(&own)).await?;
        others.retain(|other| {
            other.key != own
                && other.state.is_open()
                && !charged_nothing(other)
                && !other.key.authorization.is_cancellation()
        });
        others.iter().try_fold(ClaimedElsewhere::default(), book::claimed_too)
    }
}
