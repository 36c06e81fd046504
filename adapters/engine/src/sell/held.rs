//! Sales that are paid out of what an escrow holds (scheme `auth-capture`): held before any work is done for it, captured as
//! far as the handler charges, and the rest back.
//!
//! What is to become of the money is decided once, in the book: the document of the sale says how far it is, and each one
//! stands in place of the one before. So of capturing it and giving it back one happens, whatever processes ask, and what was
//! decided is sent, the same bytes, until the chain shows it. What a process left undecided goes back.

mod hold;
mod sweep;

use std::time::Duration;

use alloy_primitives::Bytes;
use ledger::command::Command;
use ledger::id::{Digest, TenantId};
use ledger::money::Amount;
use ledger::settlement::{Goods as Give, Settlement, SettlementKey, SettlementState};
use ledger::store::Freshness;
use serde_json::{Map, Value};
use x402::auth_capture::{self, Taken};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::release::Manner;
use x402::wire::{PaymentPayload, SettleResponse};

use super::channel::carried;
use super::goods::{self, HeldSale, Payment, Stage};
use super::settle::is_pending;
use super::{Presented, Rerun, SaleClaim, SaleSettled, settled};
use crate::desk::{Goods, InHand};
use crate::error::EngineError;
use crate::ports::{HoldSigner, Relayed};
use crate::tenant::Seller;
use crate::{Engine, Identity, book};
use hold::{Hold, Seen};

impl Engine {
    /// Has it held, and waits until the escrow has it; whoever carries it is believed for nothing. Then the work is this
    /// process's to do.
    pub(super) async fn hold_money(
        &self,
        identity: &Identity,
        hand: InHand<'_>,
        presented: Presented,
        sale: Settlement,
    ) -> Result<SaleClaim, EngineError> {
        let seller = self.seller(&identity.tenant)?;
        let (payment, holding) = match self.held_sale(&identity.tenant, &sale).await? {
            Some((held, document)) => (held.payment, document),
            None => self.begin_holding(identity, &seller, &presented, &sale).await?,
        };
        let hold = Hold::of(&payment)?;
        let confirmations = presented.release.confirmations;
        let relayed = match self.held_state(&hold, confirmations).await? {
            Seen::NotYet => Some(self.ask_operator(&seller, &payment, payment.payload.payload.clone()).await),
            Seen::Held | Seen::Gone => None,
        };
        match self.await_hold(identity, &hold, confirmations, relayed.as_ref()).await? {
            Seen::Held => self.begin_work(identity, hand, &presented, (payment, holding), sale).await,
            Seen::Gone => Ok(SaleClaim::OutcomeUnknown),
            Seen::NotYet => match relayed {
                Some(Relayed::Answer(response)) if is_refused(&response) && !self.is_used(&sale).await? => {
                    let abandon = Command::Abandon { settlement: sale.key };
                    self.run(identity, abandon, Vec::new()).await?;
                    Ok(SaleClaim::Failed(response))
                }
                // The same payment goes on from here.
                _ => Ok(SaleClaim::InFlight),
            },
        }
    }

    /// Durably, before anything is sent: with the payment at hand it can be given back after a crash.
    async fn begin_holding(
        &self,
        identity: &Identity,
        seller: &Seller,
        presented: &Presented,
        sale: &Settlement,
    ) -> Result<(Payment, Digest), EngineError> {
        let requirements = presented.requirements.clone();
        let carrier = Some(seller.carriers.name_for(&requirements).await);
        let payload = carried(presented.payload.clone(), &requirements);
        let payment = Payment { payload, requirements, carrier };
        let document = HeldSale::new(Stage::Holding, payment.clone()).document()?;
        let (settlement, digest) = (sale.key.clone(), document.digest());
        let command = Command::Dispatch { settlement, document: digest, transaction: None, account_nonce: None };
        self.run(identity, command, vec![document]).await?;
        Ok((payment, digest))
    }

    /// Of all who find it held, one works for it.
    async fn begin_work(
        &self,
        identity: &Identity,
        hand: InHand<'_>,
        presented: &Presented,
        (payment, holding): (Payment, Digest),
        sale: Settlement,
    ) -> Result<SaleClaim, EngineError> {
        let working = HeldSale::new(Stage::Working, payment.clone());
        let document = working.document()?;
        let digest = document.digest();
        let command = Command::Charge {
            settlement: sale.key,
            document: digest,
            charged: sale.money.amount,
            instead_of: Some(holding),
        };
        match self.run(identity, command, vec![document]).await?.freshness {
            Freshness::New => Ok(keep_working(hand, presented, payment, digest)),
            Freshness::Known => Ok(SaleClaim::InFlight),
        }
    }

    /// Presented again, and nobody in this process works for it.
    pub(super) async fn held_before(
        &self,
        identity: &Identity,
        hand: InHand<'_>,
        presented: Presented,
        sale: Settlement,
    ) -> Result<SaleClaim, EngineError> {
        let is_in_time = self.clock.now().seconds() < sale.valid_before;
        let Some((held, document)) = self.held_sale(&identity.tenant, &sale).await? else {
            return Ok(SaleClaim::OutcomeUnknown);
        };
        match held.stage {
            Stage::Holding if is_in_time => self.hold_money(identity, hand, presented, sale).await,
            Stage::Working if is_in_time && presented.rerun == Rerun::Harmless => {
                Ok(keep_working(hand, &presented, held.payment, document))
            }
            // Nothing is taken for it, so there is nothing to wait for.
            Stage::Capturing if sale.money.amount.is_zero() => match held.answer()? {
                Some(answer) => Ok(SaleClaim::Answered { answer, response: Some(settled(&sale)) }),
                None => Ok(SaleClaim::OutcomeUnknown),
            },
            Stage::Holding | Stage::Working | Stage::Capturing => Ok(SaleClaim::OutcomeUnknown),
            Stage::Voiding => Ok(SaleClaim::Failed(went_back(&sale))),
        }
    }

    /// The handler delivered: what it charges is captured, the rest goes back, and its answer is given when the escrow says so.
    pub(super) async fn held_settle(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        goods: &Goods,
        (answer, charged): (&[u8], Option<Amount>),
    ) -> Result<SaleSettled, EngineError> {
        let tenant = &identity.tenant;
        let seller = self.seller(tenant)?;
        let payment = goods::payment(goods);
        let hold = Hold::of(&payment)?;
        let charged = charged.unwrap_or(hold.amount);
        let request = hold.request(signer(&seller)?, charged)?;
        let capturing = HeldSale::new(Stage::Capturing, payment).asking(request).answering(answer);
        let sale = self.decide_held(identity, key, &capturing, charged, goods.held).await?;
        // What was decided first stands: another process may have done the work, or given it all back for being late.
        let Some((HeldSale { stage: Stage::Capturing, payment, request: Some(request), .. }, _)) =
            self.held_sale(tenant, &sale).await?
        else {
            return Ok(SaleSettled::Failed(went_back(&sale)));
        };
        let relayed = self.ask_operator(&seller, &payment, request).await;
        if sale.money.amount.is_zero() {
            let transaction = match relayed {
                Relayed::Answer(response) => response.transaction,
                Relayed::Silence(_) => String::new(),
            };
            return Ok(SaleSettled::Settled(SettleResponse { transaction, ..settled(&sale) }));
        }
        let patience = match &relayed {
            Relayed::Answer(response) if is_refused(response) => Duration::ZERO,
            Relayed::Answer(_) | Relayed::Silence(_) => self.settle_wait(tenant)?,
        };
        let state = self.await_sale(identity, &sale, patience, goods.confirmations, Give::Given).await?;
        let now = self.store.settlement(tenant, key).await?.unwrap_or(sale);
        match (state, relayed) {
            (SettlementState::Settled, _) if self.is_deep(&now, goods.confirmations).await? => {
                self.hand_over(identity, &now).await?;
                Ok(SaleSettled::Settled(settled(&now)))
            }
            (SettlementState::Settled, _) => Ok(SaleSettled::Pending { transaction: settled(&now).transaction }),
            (SettlementState::Failed | SettlementState::Unpaid, _) => Ok(SaleSettled::Failed(went_back(&now))),
            (_, Relayed::Answer(response)) if is_refused(&response) => {
                Ok(SaleSettled::Unknown { message: response.error_message.unwrap_or_default() })
            }
            (_, Relayed::Answer(response)) => Ok(SaleSettled::Pending { transaction: response.transaction }),
            (_, Relayed::Silence(message)) => Ok(SaleSettled::Unknown { message }),
        }
    }

    /// The handler did not deliver: all of it goes back. The receipt of that, where it is carried at once.
    pub(super) async fn held_abandon(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        goods: &Goods,
    ) -> Result<Option<SettleResponse>, EngineError> {
        let seller = self.seller(&identity.tenant)?;
        let payment = goods::payment(goods);
        let Some(request) = self.decide_void(identity, key, &payment, goods.held).await? else { return Ok(None) };
        match self.ask_operator(&seller, &payment, request).await {
            Relayed::Answer(response) if response.success => Ok(Some(response)),
            Relayed::Answer(response) => {
                let why = response.error_message.or(response.error_reason).unwrap_or_default();
                tracing::warn!(payer = key.authorization.payer, "what is held does not go back yet: {why}");
                Ok(None)
            }
            Relayed::Silence(why) => {
                tracing::warn!(payer = key.authorization.payer, "what is held is not known to go back: {why}");
                Ok(None)
            }
        }
    }

    /// What is signed of it, where nothing else was decided.
    async fn decide_void(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        payment: &Payment,
        instead_of: Option<Digest>,
    ) -> Result<Option<Map<String, Value>>, EngineError> {
        let seller = self.seller(&identity.tenant)?;
        let hold = Hold::of(payment)?;
        let request = hold.void(signer(&seller)?)?;
        let voiding = HeldSale::new(Stage::Voiding, payment.clone()).asking(request.clone());
        let sale = self.decide_held(identity, key, &voiding, hold.amount, instead_of).await?;
        Ok((sale.document == Some(voiding.document()?.digest())).then_some(request))
    }

    async fn decide_held(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        held: &HeldSale,
        charged: Amount,
        instead_of: Option<Digest>,
    ) -> Result<Settlement, EngineError> {
        let instead_of = instead_of.ok_or_else(|| EngineError::Broken("a held sale that nobody works for".into()))?;
        let document = held.document()?;
        let command = Command::Charge {
            settlement: key.clone(),
            document: document.digest(),
            charged,
            instead_of: Some(instead_of),
        };
        let stored = self.run(identity, command, vec![document]).await?.settlement;
        stored.ok_or_else(|| EngineError::Broken("a decision without a settlement".into()))
    }

    /// A payment that is charged as it comes in, with what is taken of it.
    pub(super) fn charge_of(
        &self,
        seller: &Seller,
        goods: &Goods,
        charged: Amount,
    ) -> Result<Map<String, Value>, EngineError> {
        let payment = goods::payment(goods);
        let hold = Hold::of(&payment)?;
        let (fee_bps, fee_receiver) = (hold.info.min_fee_bps, hold.info.fee_receiver);
        let taken = Taken { amount: charged, fee_bps, fee_receiver };
        let payers = payment.payload.payload.get("signature").and_then(Value::as_str).unwrap_or_default();
        let payers = hex::decode(payers.trim_start_matches("0x"));
        let payers = payers.map_err(|_| EngineError::Broken("a payer's signature cannot be read".into()))?;
        let signature: Bytes =
            signer(seller)?.sign_charge(hold.authorizer, hold.network, &hold.info, &taken, &payers)?;
        Ok(auth_capture::charge_payload(&payment.payload.payload, &taken, &signature))
    }

    async fn ask_operator(
        &self,
        seller: &Seller,
        payment: &Payment,
        payload: Map<String, Value>,
    ) -> Relayed<SettleResponse> {
        let carrier = payment.carrier.clone().unwrap_or_else(|| seller.carriers.former());
        let payload = PaymentPayload { payload, extensions: None, ..payment.payload.clone() };
        seller.carriers.settle(&carrier, &payload, &payment.requirements).await
    }

    async fn held_sale(&self, tenant: &TenantId, sale: &Settlement) -> Result<Option<(HeldSale, Digest)>, EngineError> {
        let Some(digest) = sale.document else { return Ok(None) };
        let document = self.store.document(tenant, digest).await?;
        let document = document.ok_or_else(|| EngineError::Broken("what lies with a sale is gone".into()))?;
        HeldSale::read(&document).map(|held| Some((held, digest)))
    }

    fn settle_wait(&self, tenant: &TenantId) -> Result<Duration, EngineError> {
        Ok(Duration::from_millis(self.tenant(tenant)?.limits.settle_wait_millis))
    }
}

fn signer(seller: &Seller) -> Result<&dyn HoldSigner, EngineError> {
    seller.holds.as_deref().ok_or(EngineError::NotConfigured("holds"))
}

fn keep_working(hand: InHand<'_>, presented: &Presented, payment: Payment, working: Digest) -> SaleClaim {
    let Payment { payload, requirements, carrier } = payment;
    let (manner, confirmations) = (Manner::HeldBack, presented.release.confirmations);
    hand.keep(Goods { payload, requirements, manner, confirmations, carrier, step: None, held: Some(working) });
    SaleClaim::Won(manner)
}

/// A no, and not that it is on its way.
fn is_refused(response: &SettleResponse) -> bool {
    !response.success && !is_pending(response)
}

/// In the words of the scheme.
pub(super) fn respelled(error: EngineError) -> EngineError {
    match error {
        EngineError::Payment(refusal) => {
            EngineError::Payment(Refusal { reason: auth_capture::spelled(refusal.reason), ..refusal })
        }
        other => other,
    }
}

pub(super) fn went_back(sale: &Settlement) -> SettleResponse {
    let authorization = &sale.key.authorization;
    let message = "what was held went back, or is about to: nothing is charged, and another payment is to be signed";
    let payer = Some(book::payer(authorization));
    SettleResponse::failed(Reason::CaptureZeroAuthorization, message, payer, "", authorization.chain())
}
