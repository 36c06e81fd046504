//! Sales that are given before they are paid, and sales that are paid before anything is done for them.
//!
//! What was given before it was paid is a sale on credit: posted and owed, and carried to the chain behind the answer, by
//! whichever process is there. What was paid first and came to nothing is still bought: the same payment has the handler run
//! again, and until then the payer is owed something.

use ledger::command::Command;
use ledger::id::{Digest, TenantId};
use ledger::rejection::Rejection;
use ledger::settlement::{Goods as Give, Role, Settlement, SettlementKey, SettlementState};
use ledger::store::{Document, Freshness, Place};
use x402::reason::Reason;
use x402::release::Manner;
use x402::settlement::ClaimKey;
use x402::wire::SettleResponse;

use super::goods::{self, Content, Payment};
use super::settle::is_pending;
use super::{Presented, Rerun, SELLER, SaleClaim, SaleSettled, failed, sale_key, settled, won, won_again};
use crate::book::service;
use crate::desk::{Goods, InHand};
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::{Engine, Identity};

/// Sales listed that one side owes the other for good.
const OWED_MAX: u32 = 10_000;
/// Why a payment buys nothing any more.
const GIVEN_BACK: &str = "paid, and given back";

/// What became of an answer that is given before it is paid.
#[derive(Debug)]
pub enum SaleServed {
    /// Give it; it has been paid meanwhile.
    Paid(SettleResponse),
    /// Give it; it is owed.
    Owed,
    /// Do not give it: nothing was sent, and nothing is owed.
    Failed(SettleResponse),
    /// Do not give it: it may be paid.
    Unknown { message: String },
}

impl Engine {
    /// The handler delivered, and its answer is given before it is paid. Owed from here on, and to be collected.
    pub async fn sale_serve(
        &self,
        tenant: &TenantId,
        key: &ClaimKey,
        answer: &[u8],
    ) -> Result<SaleServed, EngineError> {
        let seller = self.seller(tenant)?;
        let identity = service(tenant, SELLER)?;
        let key = sale_key(key)?;
        let hand = self.desk.resume(tenant, &key);
        let (hand, mut goods) = hand.ok_or_else(|| EngineError::Broken("this sale is in nobody's hands".into()))?;
        let carrier = seller.carriers.name_for(&goods.requirements).await;
        goods.carrier = Some(carrier.clone());
        let document = goods::served(&goods, answer)?;
        if goods.manner == Manner::Verified {
            let served = self.post_served(&identity, &key, document).await?;
            if matches!(served, SaleServed::Owed) {
                hand.keep(goods);
            }
            return Ok(served);
        }
        let (settlement, digest) = (key.clone(), document.digest());
        let command = Command::Dispatch { settlement, document: digest, transaction: None, account_nonce: None };
        let stored = self.run(&identity, command, vec![document.clone()]).await?.settlement;
        let sale = stored.ok_or_else(|| EngineError::Broken("a dispatch without a settlement".into()))?;
        if sale.state == SettlementState::Settled {
            self.hand_over(&identity, &sale).await?;
            return Ok(SaleServed::Paid(settled(&sale)));
        }
        let relayed = seller.carriers.submit(&carrier, &goods.payload, &goods.requirements).await;
        match &relayed {
            Relayed::Answer(response) if response.success || is_pending(response) => {
                return self.post_served(&identity, &key, document).await;
            }
            Relayed::Answer(_) | Relayed::Silence(_) => {}
        }
        match self.sale_outcome(&identity, &sale, relayed, self.confirmations, Give::Given).await? {
            SaleSettled::Settled(response) => Ok(SaleServed::Paid(response)),
            SaleSettled::Failed(response) => Ok(SaleServed::Failed(response)),
            // Somebody else had it broadcast.
            SaleSettled::Pending { .. } => self.post_served(&identity, &key, document).await,
            SaleSettled::Unknown { message } => Ok(SaleServed::Unknown { message }),
        }
    }

    async fn post_served(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        document: Document,
    ) -> Result<SaleServed, EngineError> {
        let command = Command::Serve { settlement: key.clone(), document: document.digest(), charged: None };
        let posted = self.run(identity, command, vec![document]).await?.settlement;
        let sale = posted.ok_or_else(|| EngineError::Broken("a sale without a settlement".into()))?;
        Ok(if sale.state == SettlementState::Settled { SaleServed::Paid(settled(&sale)) } else { SaleServed::Owed })
    }

    /// Has a sale on credit carried to the chain, and waits a while for it. Whatever is said, only the chain ends it.
    pub async fn sale_collect(&self, tenant: &TenantId, key: &SettlementKey) -> Result<SettlementState, EngineError> {
        let seller = self.seller(tenant)?;
        let identity = service(tenant, SELLER)?;
        let (_hand, payment) = match self.desk.resume(tenant, key) {
            Some((hand, Goods { payload, requirements, carrier, .. })) => {
                (hand, Payment { payload, requirements, carrier })
            }
            None => {
                let found = self.store.settlement(tenant, key).await?;
                let Some(hand) = self.desk.take(tenant, key) else {
                    return Ok(found.map_or(SettlementState::Abandoned, |sale| sale.state));
                };
                match found.as_ref().map(|sale| self.content(tenant, sale)) {
                    Some(content) => match content.await? {
                        Some(Content::Served { payment, .. }) => (hand, *payment),
                        _ => return Ok(SettlementState::Submitted),
                    },
                    None => return Ok(SettlementState::Abandoned),
                }
            }
        };
        let sale = self.store.settlement(tenant, key).await?;
        let sale = sale.ok_or_else(|| EngineError::Broken("a sale is gone".into()))?;
        if !sale.state.is_open() {
            return Ok(sale.state);
        }
        if self.clock.now().seconds() < sale.valid_before {
            let Payment { payload, requirements, carrier } = payment;
            let carrier = carrier.unwrap_or_else(|| seller.carriers.former());
            let relayed = seller.carriers.settle(&carrier, &payload, &requirements).await;
            if let Relayed::Silence(why) = relayed {
                tracing::warn!(
                    payer = sale.key.authorization.payer,
                    "a sale on credit is not known to be carried: {why}"
                );
            }
        }
        let wait = std::time::Duration::from_millis(self.tenant(tenant)?.limits.settle_wait_millis);
        self.await_sale(&identity, &sale, wait, self.confirmations, Give::Kept).await
    }

    /// Sales that nobody in this process is having carried, and that were given or are about to be; at most `most`, in turn:
    /// those that stand after a place come first, so that none that cannot move keeps others from being carried.
    pub async fn uncollected(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        most: usize,
    ) -> Result<Vec<(Place, SettlementKey)>, EngineError> {
        let is_due = |sale: &Settlement| {
            let is_given = sale.is_sold_unpaid() || sale.state == SettlementState::Promised;
            let authorization = &sale.key.authorization;
            // What an escrow has is seen to by itself.
            !(authorization.is_voucher() || authorization.is_held())
                && sale.key.role == Role::Seller
                && sale.document.is_some()
                && is_given
                && !self.desk.has(tenant, &sale.key)
        };
        let mut due = self.open_settlements_that(tenant, after, most, is_due).await?;
        if after.is_some() && due.len() < most {
            let before = self.open_settlements_that(tenant, None, most.saturating_sub(due.len()), is_due).await?;
            due.extend(before.into_iter().take_while(|(place, _)| Some(*place) <= after));
        }
        Ok(due.into_iter().map(|(place, sale)| (place, sale.key)).collect())
    }

    /// Settles before the handler runs. What is paid already is not settled again.
    pub async fn sale_prepay(&self, tenant: &TenantId, key: &ClaimKey) -> Result<SaleSettled, EngineError> {
        let seller = self.seller(tenant)?;
        let identity = service(tenant, SELLER)?;
        let key = sale_key(key)?;
        let hand = self.desk.resume(tenant, &key);
        let (hand, mut goods) = hand.ok_or_else(|| EngineError::Broken("this sale is in nobody's hands".into()))?;
        let found = self.store.settlement(tenant, &key).await?;
        let found = found.ok_or_else(|| EngineError::Broken("a claimed sale is gone".into()))?;
        let (outcome, before) = if found.state.is_open() {
            let carrier = match goods.carrier.clone() {
                Some(carrier) => carrier,
                None => seller.carriers.name_for(&goods.requirements).await,
            };
            goods.carrier = Some(carrier.clone());
            let document = goods::prepaid(&goods)?;
            let (settlement, digest) = (key.clone(), document.digest());
            let command = Command::Dispatch { settlement, document: digest, transaction: None, account_nonce: None };
            let stored = self.run(&identity, command, vec![document]).await?.settlement;
            let sale = stored.ok_or_else(|| EngineError::Broken("a dispatch without a settlement".into()))?;
            let relayed = seller.carriers.settle(&carrier, &goods.payload, &goods.requirements).await;
            let outcome = self.sale_outcome(&identity, &sale, relayed, goods.confirmations, Give::Kept).await?;
            // As it was when it was taken up, not as it is by now: another process may have begun.
            (outcome, found.document.or(Some(digest)))
        } else {
            (SaleSettled::Settled(settled(&found)), found.document)
        };
        if matches!(outcome, SaleSettled::Settled(_)) {
            // From here on nobody knows whether it was delivered, until the handler has ended.
            if !self.begin(&identity, &key, before).await? {
                let message = "another process has begun the work that this payment buys".to_owned();
                return Ok(SaleSettled::Unknown { message });
            }
            hand.keep(goods);
        }
        Ok(outcome)
    }

    /// The handler delivered what was paid before it ran.
    pub async fn sale_deliver(
        &self,
        tenant: &TenantId,
        key: &ClaimKey,
        answer: Vec<u8>,
    ) -> Result<SettleResponse, EngineError> {
        let identity = service(tenant, SELLER)?;
        let key = sale_key(key)?;
        let _hand = self.desk.resume(tenant, &key);
        self.put(&identity, &key, goods::answer(answer)).await
    }

    /// Whether the work is this process's to do: of all that hold the same payment, one begins.
    async fn begin(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        before: Option<Digest>,
    ) -> Result<bool, EngineError> {
        let begun = goods::begun(key);
        // Begun before, and doing it twice does no harm.
        if before == Some(begun.digest()) {
            return Ok(true);
        }
        let (settlement, document) = (key.clone(), begun.digest());
        let command = Command::Deliver { settlement, document, instead_of: before };
        match self.run(identity, command, vec![begun]).await {
            Ok(answer) => Ok(answer.freshness == Freshness::New),
            Err(EngineError::Book(Rejection::SettlementStateWrong { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        document: Document,
    ) -> Result<SettleResponse, EngineError> {
        let (settlement, digest) = (key.clone(), document.digest());
        let command = Command::Deliver { settlement, document: digest, instead_of: None };
        let stored = self.run(identity, command, vec![document]).await?.settlement;
        let sale = stored.ok_or_else(|| EngineError::Broken("a sale without a settlement".into()))?;
        Ok(settled(&sale))
    }

    /// It did not. The payer is owed what they paid for, and the same payment has it tried again.
    pub async fn sale_undelivered(&self, tenant: &TenantId, key: &ClaimKey, why: &str) -> Result<(), EngineError> {
        let identity = service(tenant, SELLER)?;
        let key = sale_key(key)?;
        let _hand = self.desk.resume(tenant, &key);
        self.undelivered(&identity, key, why).await
    }

    pub(super) async fn undelivered(
        &self,
        identity: &Identity,
        key: SettlementKey,
        why: &str,
    ) -> Result<(), EngineError> {
        let document = goods::undelivered(&key, why);
        let command = Command::Undeliver { settlement: key, document: document.digest() };
        self.run(identity, command, vec![document]).await.map(|_| ())
    }

    /// What is owed: by payers for what was given, to payers for what was not.
    pub async fn owed(&self, tenant: &TenantId) -> Result<Vec<Settlement>, EngineError> {
        // The open ones first: one that becomes owed for good between the two is met twice then, never missed.
        let mut open = self.open_settlements_that(tenant, None, usize::MAX, Settlement::is_sold_unpaid).await?;
        let mut owed = self.store.owed_settlements(tenant, OWED_MAX).await?;
        open.retain(|(_, sale)| owed.iter().all(|later| later.key != sale.key));
        owed.extend(open.into_iter().map(|(_, sale)| sale));
        Ok(owed)
    }

    /// An operator gives up what a payer owes, or says that what a payer is owed was made good elsewhere.
    pub async fn write_off(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        because: &str,
    ) -> Result<Settlement, EngineError> {
        if because.trim().is_empty() {
            return Err(EngineError::invalid("because", "why it is written off", because));
        }
        let document = Document { kind: "sale-written-off".into(), bytes: because.as_bytes().to_vec() };
        let command = Command::WriteOff { settlement: key.clone(), document: document.digest() };
        let written = self.run(identity, command, vec![document]).await?.settlement;
        written.ok_or_else(|| EngineError::Broken("a sale without a settlement".into()))
    }

    pub(crate) async fn content(&self, tenant: &TenantId, sale: &Settlement) -> Result<Option<Content>, EngineError> {
        let Some(digest) = sale.document else { return Ok(None) };
        let document = self.store.document(tenant, digest).await?;
        document.ok_or_else(|| EngineError::Broken("a stored answer is gone".into())).and_then(goods::read).map(Some)
    }

    /// Paid: what it bought, or the right to have it made.
    pub(super) async fn bought(
        &self,
        identity: &Identity,
        hand: InHand<'_>,
        presented: Presented,
        sale: &Settlement,
    ) -> Result<SaleClaim, EngineError> {
        if !self.is_deep(sale, presented.release.confirmations).await? {
            return Ok(SaleClaim::InFlight);
        }
        if sale.is_given_back() {
            return Ok(made_good(sale, GIVEN_BACK));
        }
        match self.content(&identity.tenant, sale).await? {
            Some(Content::Answer(answer) | Content::Served { answer, .. }) => {
                self.hand_over(identity, sale).await?;
                Ok(SaleClaim::Answered { answer, response: Some(settled(sale)) })
            }
            Some(Content::Prepaid { .. }) => Ok(won(hand, presented, Manner::PaidFirst)),
            None | Some(Content::Begun) if presented.rerun == Rerun::Harmless => {
                Ok(won(hand, presented, Manner::PaidFirst))
            }
            None | Some(Content::Begun | Content::Held) => Ok(SaleClaim::OutcomeUnknown),
            Some(Content::Undelivered) => Ok(made_good(sale, "paid, not delivered, and made good elsewhere")),
        }
    }

    /// Whoever has it in hand has ended, or is about to.
    pub(super) async fn in_other_hands(
        &self,
        identity: &Identity,
        sale: &Settlement,
        confirmations: std::num::NonZeroU64,
    ) -> Result<SaleClaim, EngineError> {
        let is_paid = sale.state == SettlementState::Settled;
        if is_paid && !self.is_deep(sale, confirmations).await? {
            return Ok(SaleClaim::InFlight);
        }
        if sale.is_given_back() {
            return Ok(made_good(sale, GIVEN_BACK));
        }
        let response = is_paid.then(|| settled(sale));
        let answer = match self.content(&identity.tenant, sale).await? {
            Some(Content::Answer(answer)) if is_paid => answer,
            Some(Content::Served { answer, .. }) => answer,
            _ => return Ok(SaleClaim::InFlight),
        };
        self.hand_over(identity, sale).await?;
        Ok(SaleClaim::Answered { answer, response })
    }

    /// Stored and perhaps on its way, and nobody in this process waits for it.
    pub(super) async fn under_way(
        &self,
        identity: &Identity,
        hand: InHand<'_>,
        presented: Presented,
        sale: Settlement,
    ) -> Result<SaleClaim, EngineError> {
        let state = self.look_for_sale(identity, &sale).await?;
        let sale = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or(sale);
        match state {
            SettlementState::Settled => return self.bought(identity, hand, presented, &sale).await,
            SettlementState::Failed | SettlementState::Unpaid => {
                return Ok(SaleClaim::Failed(failed(&sale, Reason::TransactionFailed)));
            }
            _ => {}
        }
        if sale.key.authorization.is_held() {
            return self.held_before(identity, hand, presented, sale).await;
        }
        match self.content(&identity.tenant, &sale).await? {
            Some(Content::Served { answer, .. }) if sale.is_sold_unpaid() => {
                Ok(SaleClaim::Answered { answer, response: None })
            }
            // The handler has not run: whoever carries it is asked again, about the same payment.
            Some(Content::Prepaid { carrier }) => {
                let former = self.seller(&identity.tenant)?.carriers.former();
                Ok(won_again(hand, presented, Manner::PaidFirst, Some(carrier.unwrap_or(former))))
            }
            _ => Ok(SaleClaim::OutcomeUnknown),
        }
    }
}

/// Of a payment that buys nothing any more.
fn made_good(sale: &Settlement, why: &str) -> SaleClaim {
    let failed = failed(sale, Reason::UnexpectedSettleError);
    SaleClaim::Failed(SettleResponse { error_message: Some(why.to_owned()), ..failed })
}
