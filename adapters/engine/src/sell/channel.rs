//! Sales that are paid out of a channel (scheme `batch-settlement`): a voucher a request, claimed on the chain later and many
//! at once.
//!
//! A step of a channel is what was charged in it before. It is claimed in the book as any authorization is, so one request goes
//! on in a channel at a time, on whichever replica, and what is sold for a step is sold once, whatever else its payer signs for
//! it. What was charged so far stands nowhere else: it is the end of the steps that are sold, counted from what the escrow
//! says was claimed. What was sold is owed by the escrow from then on, with the voucher beside it.

use ledger::command::{ClaimSettlement, Command, Credit};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::settlement::{PayerKey, Role, Settlement, SettlementKey, SettlementState};
use ledger::store::Freshness;
use ledger::transfer::Money;
use serde_json::{Map, Value, json};
use x402::batch_settlement::{
    Bound, Channel, ChannelState, Message, VoucherKind, charged_before, check_voucher, read_voucher, spelled, step_key,
};
use x402::chain::At;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::release::Manner;
use x402::wire::{PaymentPayload, SettleResponse};

use super::goods::{self, Content};
use super::{Presented, SELLER, SaleClaim, SaleSettled, sale_key};
use crate::book::{self, service};
use crate::desk::{Goods, InHand, Step};
use crate::error::EngineError;
use crate::{Engine, Identity};

/// How long a step is kept for a handler at least and at most, in seconds; its own time-out where that lies between.
const PENDING_SECONDS: (u64, u64) = (5, 600);

/// A voucher whose payer signed it, and the step that it is for.
pub(super) struct Asked<'a> {
    pub identity: &'a Identity,
    pub presented: &'a Presented,
    pub bound: Bound,
    pub key: SettlementKey,
    pub state: ChannelState,
    pub charged: Amount,
}

impl Asked<'_> {
    pub(super) fn channel(&self) -> &Channel {
        &self.bound.voucher.channel
    }

    /// What was charged before, as the payer has it; `None` where the voucher is for less than the price.
    fn before(&self) -> Option<Amount> {
        let max = self.bound.voucher.max_claimable;
        match self.bound.kind {
            VoucherKind::Refund => Some(max),
            VoucherKind::Paying | VoucherKind::Opening => max.checked_sub(self.bound.terms.amount),
        }
    }
}

impl Engine {
    pub(super) async fn channel_claim(
        &self,
        tenant: &TenantId,
        presented: Presented,
    ) -> Result<SaleClaim, EngineError> {
        let seller = self.seller(tenant)?;
        let identity = service(tenant, SELLER)?;
        let bound = check_voucher(&presented.payload, &presented.requirements, &self.assets).map_err(respelled)?;
        if bound.terms.network != self.network {
            let found = bound.terms.network;
            return Err(Refusal::new(Reason::BatchNetworkMismatch, "network", self.network, found).into());
        }
        // A wallet that answers for its own signatures could take its word back before they are claimed.
        if bound.voucher.channel.payer_authorizer.is_zero() {
            let (field, expected) = ("payload.channelConfig.payerAuthorizer", "the account whose key signs vouchers");
            return Err(Refusal::new(Reason::BatchVoucherSignature, field, expected, "none").into());
        }
        self.screen_channel(&bound.voucher.channel, bound.terms.amount).await??;
        seller.carriers.check(&presented.requirements).await?;
        let key = sale_key(&x402::batch_settlement::voucher_key(&bound.terms, &bound.voucher, bound.kind))?;
        let Some(hand) = self.desk.take(tenant, &key) else { return Ok(SaleClaim::InFlight) };
        let state = self.channel_at(&bound, presented.release.confirmations).await?;
        let charged = self.charged(tenant, &bound.voucher.channel, state.total_claimed).await?;
        let asked = Asked { identity: &identity, presented: &presented, bound, key, state, charged };
        match self.store.settlement(tenant, &asked.key).await? {
            Some(found) if !matches!(found.state, SettlementState::Abandoned) => {
                if let Some(answer) = self.step_before(&asked, found).await? {
                    return Ok(answer);
                }
            }
            _ => {}
        }
        if asked.before() != Some(asked.charged) {
            return self.out_of_step(&asked).await;
        }
        if asked.bound.kind == VoucherKind::Refund {
            return self.channel_refund(&asked).await;
        }
        self.claim_step(asked, hand).await
    }

    /// What stands for this step already; nothing where it was begun and its time is over.
    async fn step_before(&self, asked: &Asked<'_>, found: Settlement) -> Result<Option<SaleClaim>, EngineError> {
        let is_begun = matches!(found.state, SettlementState::Claimed | SettlementState::Promised);
        if is_begun && self.clock.now().seconds() < found.valid_before {
            return Ok(Some(SaleClaim::InFlight));
        }
        if is_begun {
            let command = Command::Abandon { settlement: found.key.clone() };
            return match self.run(asked.identity, command, Vec::new()).await {
                // Whoever had it has ended since.
                Err(EngineError::Book(Rejection::SettlementStateWrong { .. })) => Ok(Some(SaleClaim::InFlight)),
                other => other.map(|_| None),
            };
        }
        // The last one may be asked for again, by whoever did not hear. Whoever asks for an older one has lost count.
        let is_last = asked.before().and_then(|before| before.checked_add(found.money.amount)) == Some(asked.charged);
        if asked.bound.kind == VoucherKind::Refund || !is_last || found.subject != asked.presented.purpose {
            return self.out_of_step(asked).await.map(Some);
        }
        match self.content(&asked.identity.tenant, &found).await? {
            Some(Content::Served { answer, .. }) => {
                let step = Step {
                    channel: *asked.channel(),
                    before: found_before(asked),
                    state: asked.state,
                    deposited: None,
                };
                let response = Some(self.channel_receipt(&step, found.money.amount));
                Ok(Some(SaleClaim::Answered { answer, response }))
            }
            _ => Ok(Some(SaleClaim::OutcomeUnknown)),
        }
    }

    async fn claim_step(&self, mut asked: Asked<'_>, hand: InHand<'_>) -> Result<SaleClaim, EngineError> {
        let tenant = &asked.identity.tenant;
        if asked.state.withdraw_requested_at != 0 {
            let (field, found) = ("payload.voucher.channelId", asked.state.withdraw_requested_at);
            let expected = "a channel whose money its payer has not asked back";
            return Err(Refusal::new(Reason::BatchExceedsBalance, field, expected, format!("asked at {found}")).into());
        }
        let mut deposited = None;
        if asked.bound.kind == VoucherKind::Opening {
            match self.take_deposit(&asked).await? {
                Ok((state, transaction)) => (asked.state, deposited) = (state, transaction),
                Err(answer) => return Ok(answer),
            }
        }
        let max = asked.bound.voucher.max_claimable;
        asked.state.check(VoucherKind::Paying, max, Amount::ZERO)?;
        let claim = self.step_claim(&asked).await?;
        let answer = match self.run(asked.identity, Command::Claim(Box::new(claim)), Vec::new()).await {
            // Begun meanwhile for something else.
            Err(EngineError::Book(Rejection::PaymentUsedForOtherResource { .. })) => return Ok(SaleClaim::InFlight),
            other => other?,
        };
        if answer.freshness == Freshness::Known {
            return Ok(SaleClaim::InFlight);
        }
        // Written down first and looked at afterwards, by both: of a payment and a refund at most one goes on.
        if self.is_giving_back(&asked).await? {
            self.run(asked.identity, Command::Abandon { settlement: asked.key.clone() }, Vec::new()).await?;
            return Err(busy("no refund under way", "one").into());
        }
        let step = Step { channel: *asked.channel(), before: asked.charged, state: asked.state, deposited };
        tracing::debug!(%tenant, channel = %asked.bound.channel_id(), "a step of a channel is begun");
        let Presented { payload, requirements, release, .. } = asked.presented.clone();
        let payload = carried(payload, &requirements);
        let (manner, carrier, step) = (Manner::HeldBack, None, Some(Box::new(step)));
        let confirmations = release.confirmations;
        hand.keep(Goods { payload, requirements, manner, confirmations, carrier, step, held: None });
        Ok(SaleClaim::Won(Manner::HeldBack))
    }

    async fn step_claim(&self, asked: &Asked<'_>) -> Result<ClaimSettlement, EngineError> {
        let (terms, seller) = (&asked.bound.terms, self.seller(&asked.identity.tenant)?);
        let (least, most) = PENDING_SECONDS;
        let pending = i64::try_from(terms.max_timeout_seconds.clamp(least, most)).unwrap_or_default();
        Ok(ClaimSettlement {
            key: asked.key.clone(),
            money: Money { asset: book::asset_id(terms.network, terms.token)?, amount: terms.amount },
            payee: seller.payee,
            pay_to: book::text(terms.pay_to),
            subject: asked.presented.purpose,
            valid_before: self.clock.now().seconds().saturating_add(pending),
            since_block: self.finalized_lately().await?,
            cover: None,
            // Given before the chain moves anything; the money lies in the escrow, so there is no limit to it.
            credit: Some(Credit { payer_max: Amount::MAX, total_max: None }),
            named: None,
            order: None,
        })
    }

    /// The handler delivered: from here on the escrow owes what is charged, and the voucher is kept with the answer. A charge
    /// of nothing is no sale, and the same voucher is good for another request.
    pub(super) async fn channel_settle(
        &self,
        identity: &Identity,
        (key, goods): (SettlementKey, &Goods),
        answer: &[u8],
        charged: Option<Amount>,
    ) -> Result<SaleSettled, EngineError> {
        let step = goods.step.as_ref().ok_or_else(|| EngineError::Broken("a voucher without its channel".into()))?;
        let most = x402::scheme::terms(&goods.requirements)?.amount;
        let amount = charged.unwrap_or(most);
        let (command, documents) = if amount.is_zero() {
            (Command::Abandon { settlement: key }, Vec::new())
        } else {
            let document = goods::served(goods, answer)?;
            let command = Command::Serve { settlement: key, document: document.digest(), charged: Some(amount) };
            (command, vec![document])
        };
        match self.run(identity, command, documents).await {
            Ok(_) => {}
            // It took longer than the step was kept for it, and was given up: nothing is charged, and nothing given.
            Err(EngineError::Book(Rejection::SettlementStateWrong { .. })) => {
                let refusal = busy("an answer in time", "one that took longer than the channel is kept for it");
                let payer = Some(step.channel.payer.to_string());
                let network = self.network.to_string();
                return Ok(SaleSettled::Failed(SettleResponse::failed(
                    refusal.reason,
                    refusal.to_string(),
                    payer,
                    "",
                    network,
                )));
            }
            Err(error) => return Err(error),
        }
        let after = step.before.checked_add(amount).unwrap_or(Amount::MAX);
        self.desk.charged(&identity.tenant, step.channel.id(self.network), after);
        Ok(SaleSettled::Settled(self.channel_receipt(step, amount)))
    }

    /// What was charged in a channel, all in all.
    pub(super) async fn charged(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        claimed: Amount,
    ) -> Result<Amount, EngineError> {
        let id = channel.id(self.network);
        let mut charged = self.desk.charged_so_far(tenant, id).unwrap_or(claimed).max(claimed);
        loop {
            let key = sale_key(&step_key(self.network, channel, charged))?;
            match self.store.settlement(tenant, &key).await? {
                Some(sold) if is_sold(&sold) => {
                    let next = charged.checked_add(sold.money.amount).filter(|next| *next > charged);
                    charged = next.ok_or_else(|| EngineError::Broken("a step of nothing".into()))?;
                }
                _ => break,
            }
        }
        self.desk.charged(tenant, id, charged);
        Ok(charged)
    }

    /// As the escrow has it, as many blocks deep as whoever sells wants what pays it.
    pub(super) async fn channel_at(
        &self,
        bound: &Bound,
        confirmations: std::num::NonZeroU64,
    ) -> Result<ChannelState, EngineError> {
        let depth = confirmations.max(self.confirmations).get().saturating_sub(1);
        let latest = self.chain.channel(bound.channel_id(), At::Latest).await?;
        if depth == 0 {
            return Ok(latest);
        }
        let head = self.chain.block(At::Latest).await?.number;
        let deep = self.chain.channel(bound.channel_id(), At::Number(head.saturating_sub(depth))).await?;
        // What came is counted when it is deep; what goes, at once.
        Ok(ChannelState { balance: latest.balance.min(deep.balance), ..latest })
    }

    /// What the payer needs to get into step again: what was charged, and its own newest signature.
    async fn out_of_step(&self, asked: &Asked<'_>) -> Result<SaleClaim, EngineError> {
        let (field, found) = ("payload.voucher.maxClaimableAmount", asked.bound.voucher.max_claimable);
        let price = match asked.bound.kind {
            VoucherKind::Refund => Amount::ZERO,
            VoucherKind::Paying | VoucherKind::Opening => asked.bound.terms.amount,
        };
        let expected = format!("the {} charged so far and the price of {price}", asked.charged);
        let refusal = Refusal::new(Reason::BatchCumulativeMismatch, field, expected, found);
        let mut shown = Map::new();
        shown
            .insert("channelState".to_owned(), Value::Object(self.shown(asked.channel(), &asked.state, asked.charged)));
        if let Some((max, signature)) = self.newest_voucher(asked).await? {
            let voucher = json!({ "signedMaxClaimable": max.to_string(), "signature": signature });
            shown.insert("voucherState".to_owned(), voucher);
        }
        Ok(SaleClaim::OutOfStep { refusal, shown })
    }

    /// Kept with the last sale, while that is not cash.
    async fn newest_voucher(&self, asked: &Asked<'_>) -> Result<Option<(Amount, String)>, EngineError> {
        let tenant = &asked.identity.tenant;
        let of_payer = self.store.settlements_of(tenant, &PayerKey::of(&asked.key)).await?;
        let ends = |sale: &Settlement| {
            let before = charged_before(self.network, asked.channel(), &sale.key.authorization.nonce)?;
            before.checked_add(sale.money.amount)
        };
        let is_own = |sale: &&Settlement| sale.key.authorization.is_voucher() && is_sold(sale);
        let last = of_payer.iter().filter(is_own).find(|sale| ends(sale) == Some(asked.charged));
        let Some(last) = last else { return Ok(None) };
        let Some(Content::Served { payment, .. }) = self.content(tenant, last).await? else { return Ok(None) };
        let (voucher, _) = read_voucher(&payment.payload)?;
        Ok(Some((voucher.max_claimable, voucher.signature)))
    }

    pub(super) fn shown(&self, channel: &Channel, state: &ChannelState, charged: Amount) -> Map<String, Value> {
        let mut shown = state.shown(channel.id(self.network));
        shown.insert("chargedCumulativeAmount".to_owned(), json!(charged.to_string()));
        shown
    }

    pub(super) fn channel_receipt(&self, step: &Step, amount: Amount) -> SettleResponse {
        let (transaction, moved) = match &step.deposited {
            Some((transaction, moved)) => (transaction.as_str(), moved.to_string()),
            None => ("", String::new()),
        };
        let payer = step.channel.payer.to_string();
        let mut response = SettleResponse::settled(payer, transaction, self.network.to_string());
        response.amount = Some(moved);
        let charged = step.before.checked_add(amount).unwrap_or(Amount::MAX);
        response.extra = Some(Map::from_iter([
            ("channelState".to_owned(), Value::Object(self.shown(&step.channel, &step.state, charged))),
            ("chargedAmount".to_owned(), json!(amount.to_string())),
        ]));
        response
    }
}

/// Given, whatever became of its price since.
pub(super) fn is_sold(sale: &Settlement) -> bool {
    let is_given = sale.is_sold_unpaid()
        || matches!(sale.state, SettlementState::Settled | SettlementState::Unpaid | SettlementState::Failed);
    sale.key.role == Role::Seller && sale.document.is_some() && is_given
}

fn found_before(asked: &Asked<'_>) -> Amount {
    asked.before().unwrap_or(Amount::ZERO)
}

/// What was bought, and whatever else the payer wrote beside the payment, is no facilitator's to know.
pub(super) fn carried(payload: PaymentPayload, requirements: &x402::wire::PaymentRequirements) -> PaymentPayload {
    PaymentPayload { resource: None, accepted: requirements.clone(), unknown: Map::new(), ..payload }
}

pub(super) fn respelled(refusal: Refusal) -> Refusal {
    Refusal { reason: spelled(refusal.reason), ..refusal }
}

pub(super) fn busy(expected: &str, found: &str) -> Refusal {
    Refusal::new(Reason::BatchChannelBusy, "payload.voucher.channelId", format!("a channel with {expected}"), found)
}

/// How much a payer asks back; all that is left where it does not say.
pub(super) fn asked_back(payload: &PaymentPayload) -> Result<Option<Amount>, Refusal> {
    match Message::read(&payload.payload)? {
        Message::Refund { amount, .. } => Ok(amount),
        _ => Ok(None),
    }
}
