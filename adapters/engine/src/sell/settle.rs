//! A sale whose answer is held back: stored, carried, seen on the chain, posted.

use std::num::NonZeroU64;
use std::time::Duration;

use ledger::command::Command;
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::settlement::{Goods, Settlement, SettlementState};
use x402::auth_capture;
use x402::chain::At;
use x402::reason::Reason;
use x402::settlement::{ClaimKey, Outcome, observe};
use x402::upto;
use x402::wire::SettleResponse;

use super::{SELLER, SaleSettled, failed, goods, sale_key, settled};
use crate::book::{self, service};
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::{Engine, Identity};

impl Engine {
    /// The handler delivered: store what it said, have the payment carried, see the transfer, post the sale. `charged` is
    /// what it takes of a price by usage.
    pub async fn sale_settle(
        &self,
        tenant: &TenantId,
        key: &ClaimKey,
        answer: Vec<u8>,
        charged: Option<Amount>,
    ) -> Result<SaleSettled, EngineError> {
        let seller = self.seller(tenant)?;
        let identity = service(tenant, SELLER)?;
        let key = sale_key(key)?;
        let hand = self.desk.resume(tenant, &key);
        let (hand, mut goods) = hand.ok_or_else(|| EngineError::Broken("this sale is in nobody's hands".into()))?;
        if goods.step.is_some() {
            let settled = self.channel_settle(&identity, (key, &goods), &answer, charged).await;
            drop(hand);
            return settled;
        }
        if key.authorization.is_held() {
            let settled = self.held_settle(&identity, &key, &goods, (&answer, charged)).await;
            drop(hand);
            return settled;
        }
        let carrier = seller.carriers.name_for(&goods.requirements).await;
        let document = goods::answer(answer);
        let (settlement, digest) = (key.clone(), document.digest());
        let command = match charged {
            Some(charged) if [upto::SCHEME, auth_capture::SCHEME].contains(&goods.requirements.scheme.as_str()) => {
                Command::Charge { settlement, document: digest, charged, instead_of: None }
            }
            _ => Command::Dispatch { settlement, document: digest, transaction: None, account_nonce: None },
        };
        let stored = self.run(&identity, command, vec![document]).await?.settlement;
        let sale = stored.ok_or_else(|| EngineError::Broken("a dispatch without a settlement".into()))?;
        // Another process may have done the work before: what that charged is what is carried.
        if goods.requirements.scheme == upto::SCHEME {
            goods.requirements.amount = sale.money.amount.to_string();
        }
        // Somebody else had it carried while the handler ran, and another process saw it; or nothing was charged.
        let is_over = sale.state == SettlementState::Settled && self.is_deep(&sale, goods.confirmations).await?;
        if is_over && sale.money.amount != Amount::ZERO {
            self.hand_over(&identity, &sale).await?;
            return Ok(SaleSettled::Settled(settled(&sale)));
        }
        if key.authorization.is_escrowed() {
            // Nobody is asked to charge nothing: what was signed for it runs out unused.
            if is_over {
                return Ok(SaleSettled::Settled(settled(&sale)));
            }
            goods.payload.payload = self.charge_of(&seller, &goods, sale.money.amount)?;
        }
        let relayed = seller.carriers.settle(&carrier, &goods.payload, &goods.requirements).await;
        let settled = match &relayed {
            // Whoever carries was told that the permit is used up.
            Relayed::Silence(why) if is_over => {
                tracing::warn!(payer = sale.key.authorization.payer, "a charge of nothing was not heard: {why}");
                Ok(SaleSettled::Settled(settled(&sale)))
            }
            Relayed::Answer(_) if is_over => Ok(SaleSettled::Settled(settled(&sale))),
            _ => self.sale_outcome(&identity, &sale, relayed, goods.confirmations, Goods::Given).await,
        };
        drop(hand);
        settled
    }

    /// Written down before what is paid goes out of the store: from here on it is owed, whatever the chain takes back.
    /// Nothing takes back what is final.
    pub(crate) async fn hand_over(&self, identity: &Identity, sale: &Settlement) -> Result<(), EngineError> {
        let Some(document) = sale.document.filter(|_| sale.is_kept() && sale.young.is_some()) else { return Ok(()) };
        let command = Command::Deliver { settlement: sale.key.clone(), document, instead_of: Some(document) };
        self.run(identity, command, Vec::new()).await.map(|_| ())
    }

    /// The handler did not deliver. Nothing was submitted. The receipt of a deposit that came with it, and stays.
    pub async fn sale_abandon(&self, tenant: &TenantId, key: &ClaimKey) -> Result<Option<SettleResponse>, EngineError> {
        let identity = service(tenant, SELLER)?;
        let key = sale_key(key)?;
        let hand = self.desk.resume(tenant, &key);
        // What is held is never just let go: the sweep sees to what is in nobody's hands.
        if key.authorization.is_held() {
            return match &hand {
                Some((_, goods)) => self.held_abandon(&identity, &key, goods).await,
                None => Ok(None),
            };
        }
        let step = hand.as_ref().and_then(|(_, goods)| goods.step.clone()).filter(|step| step.deposited.is_some());
        let abandoned = self.run(&identity, Command::Abandon { settlement: key.clone() }, Vec::new()).await;
        let is_wrong = matches!(&abandoned, Err(EngineError::Book(Rejection::SettlementStateWrong { .. })));
        let now = if is_wrong { self.store.settlement(tenant, &key).await? } else { None };
        // Somebody else had it carried meanwhile: it is paid, and the payer has got nothing.
        if now.is_some_and(|sale| sale.state == SettlementState::Settled && sale.document.is_none()) {
            self.undelivered(&identity, key, "the handler ended when it had been paid").await?;
        } else {
            abandoned?;
        }
        drop(hand);
        Ok(step.map(|step| self.channel_receipt(&step, Amount::ZERO)))
    }

    /// Whether as many blocks show it as whoever sells wants, beyond those that the books ask for.
    pub(crate) async fn is_deep(&self, sale: &Settlement, confirmations: NonZeroU64) -> Result<bool, EngineError> {
        let Some(block) = sale.young.filter(|_| confirmations > self.confirmations) else { return Ok(true) };
        let head = self.chain.block(At::Latest).await?.number;
        Ok(head.saturating_sub(block.number).saturating_add(1) >= confirmations.get())
    }

    /// The facilitator's word decides how long we look, and nothing else.
    pub(super) async fn sale_outcome(
        &self,
        identity: &Identity,
        sale: &Settlement,
        relayed: Relayed<SettleResponse>,
        confirmations: NonZeroU64,
        goods: Goods,
    ) -> Result<SaleSettled, EngineError> {
        let wait = Duration::from_millis(self.tenant(&identity.tenant)?.limits.settle_wait_millis);
        let patience = match &relayed {
            Relayed::Answer(response) if response.success || is_pending(response) => wait,
            Relayed::Answer(_) => Duration::ZERO,
            Relayed::Silence(_) => wait,
        };
        let state = self.await_sale(identity, sale, patience, confirmations, goods).await?;
        let now = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or_else(|| sale.clone());
        match (state, relayed) {
            (SettlementState::Settled, _) if self.is_deep(&now, confirmations).await? => {
                if goods == Goods::Given {
                    self.hand_over(identity, &now).await?;
                }
                Ok(SaleSettled::Settled(settled(&now)))
            }
            (SettlementState::Settled, _) => Ok(SaleSettled::Pending { transaction: settled(&now).transaction }),
            (SettlementState::Failed | SettlementState::Unpaid, _) => {
                Ok(SaleSettled::Failed(failed(&now, Reason::TransactionFailed)))
            }
            (_, Relayed::Answer(response)) if is_pending(&response) => {
                Ok(SaleSettled::Pending { transaction: response.transaction })
            }
            (_, Relayed::Answer(response)) if response.success => {
                let message = format!("the facilitator names {}, our node does not show it", response.transaction);
                Ok(SaleSettled::Unknown { message })
            }
            // Somebody else took it to the chain, and not enough blocks show it yet: paid is paid, whatever we are told.
            (_, Relayed::Answer(response)) if self.may_be_paid(sale).await? => {
                Ok(SaleSettled::Pending { transaction: response.transaction })
            }
            (_, Relayed::Answer(response)) => {
                // The chain does not show it. The claim is given back, so that the same payment can be
                // presented again: if it is settled all the same, it buys what it was signed for.
                let command = Command::Abandon { settlement: sale.key.clone() };
                self.run(identity, command, Vec::new()).await?;
                Ok(SaleSettled::Failed(response))
            }
            (_, Relayed::Silence(message)) => Ok(SaleSettled::Unknown { message }),
        }
    }

    async fn may_be_paid(&self, sale: &Settlement) -> Result<bool, EngineError> {
        let expected = book::expected(&sale.key.authorization, &sale.pay_to, sale.money.amount, sale.valid_before)?;
        let outcome = observe(self.chain.as_ref(), &expected, None, sale.since_block).await?;
        Ok(matches!(outcome, Outcome::Settled { .. } | Outcome::Unknown))
    }

    pub(super) async fn await_sale(
        &self,
        identity: &Identity,
        sale: &Settlement,
        patience: Duration,
        confirmations: NonZeroU64,
        goods: Goods,
    ) -> Result<SettlementState, EngineError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(5);
        loop {
            let looked = self.look_deep(identity, sale, confirmations, goods).await;
            let out_of_time = tokio::time::Instant::now() + pause >= deadline;
            match looked {
                Ok((state, is_over)) if is_over || out_of_time => return Ok(state),
                Err(error) if out_of_time => {
                    tracing::warn!(code = error.code(), "a sale cannot be looked for: {error}");
                    return Err(EngineError::OutcomeUnknown(error.to_string()));
                }
                Ok(_) | Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// How it stands, and whether there is nothing more to wait for.
    async fn look_deep(
        &self,
        identity: &Identity,
        sale: &Settlement,
        confirmations: NonZeroU64,
        goods: Goods,
    ) -> Result<(SettlementState, bool), EngineError> {
        let now = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or_else(|| sale.clone());
        if !now.state.is_open() {
            return Ok((now.state, self.is_deep(&now, confirmations).await?));
        }
        let waits = confirmations > self.confirmations;
        let command = match self.seen_of_sale(&now).await? {
            Some(Command::Receive { settlement, seen, finalized, .. }) if goods == Goods::Given && !waits => {
                Command::HandOver { settlement, seen, finalized }
            }
            Some(command) => command,
            None => return Ok((now.state, false)),
        };
        let state = self.settlement_after(identity, &now, command).await?;
        // Where it has just been seen, the next look says how deep it lies.
        Ok((state, !state.is_open() && !waits))
    }
}

pub(super) fn is_pending(response: &SettleResponse) -> bool {
    response.error_reason.as_deref().and_then(|text| text.parse().ok()) == Some(Reason::SettlementPending)
}
