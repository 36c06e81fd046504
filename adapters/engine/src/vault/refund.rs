//! A merchant gives back what it captured, or a part of it.
//!
//! The processor is asked first and the book posts what it says: money that comes back is no promise to anybody, and the
//! processor does a refund once for a key. Whether it can be spent again is the mandate's and the caps' to say.

use ledger::claim::LogPlace;
use ledger::command::{Command, Refund};
use ledger::id::{CallerKind, Digest};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::spend::{Observation, SpendState, VAULT_NETWORK};

use super::answer::order_key;
use super::redeem::view;
use super::{Found, ProcessorAnswer, Redeemed, RefundOrder, VaultError};
use crate::consent::forbidden;
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::rate::authority_from_minor;
use crate::{Engine, Identity};

/// What a merchant gives back.
#[derive(Clone, Debug)]
pub struct Refunding<'a> {
    pub token: &'a str,
    /// Minor units.
    pub amount: Amount,
    /// `Idempotency-Key`, as it came.
    pub key: &'a str,
}

impl Engine {
    pub async fn refund_capture(&self, identity: &Identity, asked: &Refunding<'_>) -> Result<Redeemed, EngineError> {
        let found = self.find_token(identity, asked.token).await?;
        if identity.caller.kind != CallerKind::Merchant {
            return Err(forbidden("the merchant of the token", identity));
        }
        self.refund_found(found, asked.amount, asked.key).await
    }

    pub(super) async fn refund_found(&self, found: Found, asked: Amount, key: &str) -> Result<Redeemed, EngineError> {
        let spend = found.spend.id;
        let _in_hand = self.busy.take(spend).ok_or(VaultError::InFlight)?;
        let captured = self.last_answer(&found).await?.map(|answer| answer.processor);
        let Some(ProcessorAnswer::Done { id, currency, .. }) =
            captured.filter(|_| found.spend.state == SpendState::Settled)
        else {
            return Err(VaultError::TokenState { expected: "settled", found: found.spend.state.to_string() }.into());
        };
        let requested = authority_from_minor(asked)?;
        if requested.is_zero() {
            return Err(EngineError::Book(Rejection::AmountZero { found: requested }));
        }
        let key = order_key(&found, &Digest::of_parts("purser/refund-key/1", &[key.as_bytes()]));
        let order = RefundOrder { key: &key, capture: &id, amount: asked, currency: &currency };
        match found.vault()?.processor.refund(&order).await {
            Relayed::Answer(ProcessorAnswer::Done { id, amount, .. }) if amount == asked => {
                let broken = || EngineError::Broken("a processor's reference that is none".into());
                let transaction: ledger::id::RailReference = id.parse().map_err(|_| broken())?;
                let place = LogPlace { network: VAULT_NETWORK.into(), transaction: transaction.clone(), number: 0 };
                let pay_to = found.spend.authorization.payer.clone();
                // Of no chain, so in no block.
                let seen = Observation { transaction, block_number: 0, block_hash: [0; 32], pay_to, amount: requested };
                let refund = Command::Refund { spend, refund: Refund { place, seen } };
                let after = self.run(&found.identity, refund, Vec::new()).await?.spend;
                let found = found.after(after)?;
                Ok(Redeemed { view: view(&found)?, answer: self.last_answer(&found).await?, is_replay: false })
            }
            Relayed::Answer(ProcessorAnswer::Declined { code, .. }) => Err(VaultError::RefundDeclined { code }.into()),
            Relayed::Answer(_) => Err(EngineError::Broken("a processor gave back something else".into())),
            Relayed::Silence(why) => Err(EngineError::OutcomeUnknown(format!(
                "the processor did not answer ({why}); the same request under the same key asks it again"
            ))),
        }
    }
}
