//! A merchant gives back what it captured, or a part of it; or all of it is asked back, because somebody disputes it.
//!
//! The processor is asked first and the book posts what it says: money that comes back is no promise to anybody, and the
//! processor does a refund once for a key. Whether it can be spent again is the mandate's and the caps' to say.

use ledger::claim::LogPlace;
use ledger::command::{Command, Refund};
use ledger::id::{CallerKind, Digest, PrincipalId, SpendId, TenantId};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::spend::{Observation, Spend, SpendState, VAULT_NETWORK};

use super::answer::order_key;
use super::redeem::view;
use super::{Found, ProcessorAnswer, Redeemed, RefundOrder, VaultError};
use crate::consent::forbidden;
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::rate::{authority_from_minor, authority_to_minor_up};
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
        let key = refund_key(asked.key);
        let (of, session) = order_of(&found)?;
        let _in_hand = self.busy.take(found.spend.id, Some(key))?;
        let back = self.give_back(found, &key, asked.amount).await?;
        if let Some(of) = of {
            self.order_given_back(&of, &session, asked.amount, &key).await?;
        }
        Ok(back)
    }

    /// For an order that says itself what came back.
    pub(super) async fn refund_found(&self, found: Found, amount: Amount, key: &str) -> Result<Redeemed, EngineError> {
        let key = refund_key(key);
        let _in_hand = self.busy.take(found.spend.id, Some(key))?;
        self.give_back(found, &key, amount).await
    }

    /// Takes back what a token took, all that is left of it, or lets it take nothing any more. Somebody who answers for the
    /// payment disputes it; what a processor is being asked about waits for its answer.
    pub(crate) async fn reverse_token(&self, identity: &Identity, payment: SpendId) -> Result<(), EngineError> {
        let _in_hand = self.busy.take(payment, None)?;
        let found = self.found_by(identity, payment).await?;
        match found.spend.state {
            SpendState::Held => self.run(identity, Command::Void { spend: payment }, Vec::new()).await.map(drop),
            SpendState::Settled => {
                let Spend { money, refunded, .. } = &found.spend;
                let left = money.amount.checked_sub(*refunded).unwrap_or(Amount::ZERO);
                if left.is_zero() {
                    return Ok(());
                }
                // One for what was given back before, so that a lost answer is asked for again and nothing is given twice.
                let key = Digest::of_parts("purser/dispute-key/1", &[&refunded.to_be_bytes()]);
                let amount = authority_to_minor_up(left, &found.bundle.currency)?;
                let (of, session) = order_of(&found)?;
                self.give_back(found, &key, amount).await?;
                match of {
                    Some(of) => self.order_given_back(&of, &session, amount, &key).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// With the token in hand. The key names the order to the processor.
    async fn give_back(&self, found: Found, key: &Digest, amount: Amount) -> Result<Redeemed, EngineError> {
        let spend = found.spend.id;
        let captured = self.last_answer(&found).await?.map(|answer| answer.processor);
        let Some(ProcessorAnswer::Done { id, currency, .. }) =
            captured.filter(|_| found.spend.state == SpendState::Settled)
        else {
            return Err(VaultError::TokenState { expected: "settled", found: found.spend.state.to_string() }.into());
        };
        let requested = authority_from_minor(amount)?;
        if requested.is_zero() {
            return Err(EngineError::Book(Rejection::AmountZero { found: requested }));
        }
        let key = order_key(&found, key);
        let order = RefundOrder { key: &key, capture: &id, amount, currency: &currency };
        match found.vault()?.processor.refund(&order).await {
            Relayed::Answer(ProcessorAnswer::Done { id, amount: back, .. }) if back == amount => {
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

fn refund_key(key: &str) -> Digest {
    Digest::of_parts("purser/refund-key/1", &[key.as_bytes()])
}

/// Whose shop a token was for, as far as that is known here, and its session.
fn order_of(found: &Found) -> Result<(Option<(TenantId, PrincipalId)>, String), EngineError> {
    let allowance = &found.allowed()?.allowance;
    let payee = found.tenant.payees.acp(&allowance.merchant_id);
    Ok((payee.and_then(|payee| payee.acp.redeemer.clone()), allowance.checkout_session_id.clone()))
}
