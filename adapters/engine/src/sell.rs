//! The seller: one winner a payment before any work is done, the answer stored before anything is submitted, the
//! sale posted when the transfer is seen.

use std::time::Duration;

use ledger::command::{ClaimSettlement, Command};
use ledger::id::{Digest, TenantId};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use ledger::store::{Document, Freshness};
use ledger::transfer::Money;
use x402::chain::At;
use x402::exact::{self, Transfer, VerifiedPayment};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::settlement::{ClaimKey, Outcome, observe};
use x402::upto;
use x402::wire::{PaymentPayload, PaymentRequirements, SettleResponse};

use crate::book::{self, service};
use crate::desk::Goods;
use crate::error::EngineError;
use crate::named::{Place, content};
use crate::ports::Relayed;
use crate::tenant::Seller;
use crate::{Engine, Identity};

/// Whether a handler whose process died may run once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rerun {
    Never,
    Harmless,
}

/// A payment presented for something.
#[derive(Clone, Debug)]
pub struct Presented {
    pub payload: PaymentPayload,
    /// The seller's own terms, not the copy in the payload.
    pub requirements: PaymentRequirements,
    /// Digest of route, method, target and body.
    pub purpose: Digest,
    /// The payer's own name for it.
    pub named: Option<String>,
    pub rerun: Rerun,
}

/// What a claim came to.
#[derive(Debug)]
pub enum SaleClaim {
    /// Run the handler, then settle or abandon.
    Won,
    InFlight,
    Answered {
        answer: Vec<u8>,
        response: SettleResponse,
    },
    OutcomeUnknown,
    /// Proved: this payment moved nothing and never will.
    Failed(SettleResponse),
}

/// What a settlement came to.
#[derive(Debug)]
pub enum SaleSettled {
    Settled(SettleResponse),
    Failed(SettleResponse),
    Pending { transaction: String },
    Unknown { message: String },
}

/// How far back the transfer of a payment is looked for that somebody else submitted.
const LOOK_BACK_BLOCKS: u64 = 7_200;
const OPEN_MAX: u32 = 10_000;

impl Engine {
    pub async fn sale_claim(&self, tenant: &TenantId, presented: Presented) -> Result<SaleClaim, EngineError> {
        let seller = self.seller(tenant)?;
        let identity = service(tenant, "seller")?;
        let (payload, requirements) = (&presented.payload, &presented.requirements);
        let payment = self.known_or_in_time(tenant, Role::Seller, payload, requirements).await??;
        let key = sale_key(&payment.claim_key())?;
        let place = match &presented.named {
            Some(name) => {
                let content = content(&presented.purpose.0, requirements);
                Some(self.place(tenant, &key, name, content).await?)
            }
            None => None,
        };
        let (named, document) = match place {
            None => (None, None),
            Some(Place::Own { named, document }) => (Some(named), Some(document)),
            // Bought already, or being bought: the other payment's answer, and this one is not used up.
            Some(Place::Other(sale)) => {
                let presented = Presented { rerun: Rerun::Never, ..presented };
                return self.claimed_before(&identity, presented, *sale).await;
            }
        };
        let found = self.store.settlement(tenant, &key).await?;
        if let Some(sale) = found.filter(|sale| sale.state != SettlementState::Abandoned) {
            return self.claimed_before(&identity, presented, sale).await;
        }
        let since_block = self.check_payable(tenant, &payment).await?;
        let expected = payment.expected();
        let claim = ClaimSettlement {
            key: key.clone(),
            money: Money {
                asset: book::asset_id(payment.terms().network, payment.terms().token)?,
                amount: book::amount(expected.value)?,
            },
            payee: seller.payee.clone(),
            pay_to: book::text(expected.to),
            subject: presented.purpose,
            valid_before: i64::try_from(expected.valid_before).unwrap_or(i64::MAX),
            since_block,
            named,
        };
        // Only who has it in hand may claim it: otherwise the winner in the book could be another than the one here.
        let Some(hand) = self.desk.take(tenant, &key) else { return Ok(SaleClaim::InFlight) };
        let claimed = self.run(&identity, Command::Claim(Box::new(claim)), document.into_iter().collect()).await;
        let answer = match claimed {
            // Somebody took the name's place meanwhile.
            Err(EngineError::Book(Rejection::AuthorizationClaimed { .. })) => return Ok(SaleClaim::InFlight),
            other => other?,
        };
        let sale = answer.settlement.ok_or_else(|| EngineError::Broken("a claim without a settlement".into()))?;
        match answer.freshness {
            Freshness::New => {
                hand.keep(Goods { payload: presented.payload, requirements: presented.requirements });
                Ok(SaleClaim::Won)
            }
            Freshness::Known => {
                drop(hand);
                self.claimed_before(&identity, presented, sale).await
            }
        }
    }

    async fn claimed_before(
        &self,
        identity: &Identity,
        presented: Presented,
        sale: Settlement,
    ) -> Result<SaleClaim, EngineError> {
        if sale.subject != presented.purpose {
            let (first, found) = (sale.subject, presented.purpose);
            return Err(EngineError::Book(Rejection::PaymentUsedForOtherResource { first, found }));
        }
        let Some(hand) = self.desk.take(&identity.tenant, &sale.key) else {
            // Whoever has it in hand may have ended since this row was read.
            let now = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or(sale);
            return if now.state == SettlementState::Settled {
                self.answered(identity, &now).await
            } else {
                Ok(SaleClaim::InFlight)
            };
        };
        let sale = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or(sale);
        match sale.state {
            SettlementState::Settled => self.answered(identity, &sale).await,
            SettlementState::Failed => Ok(SaleClaim::Failed(failed(&sale, Reason::TransactionFailed))),
            SettlementState::Abandoned => Ok(SaleClaim::InFlight),
            SettlementState::Claimed if presented.rerun == Rerun::Harmless => {
                hand.keep(Goods { payload: presented.payload, requirements: presented.requirements });
                Ok(SaleClaim::Won)
            }
            SettlementState::Claimed => Ok(SaleClaim::OutcomeUnknown),
            SettlementState::Submitted => match self.look_for_sale(identity, &sale).await? {
                SettlementState::Settled => {
                    let now = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or(sale);
                    self.answered(identity, &now).await
                }
                SettlementState::Failed => Ok(SaleClaim::Failed(failed(&sale, Reason::TransactionFailed))),
                _ => Ok(SaleClaim::OutcomeUnknown),
            },
        }
    }

    async fn answered(&self, identity: &Identity, sale: &Settlement) -> Result<SaleClaim, EngineError> {
        let Some(digest) = sale.document else { return Ok(SaleClaim::OutcomeUnknown) };
        let document = self.store.document(&identity.tenant, digest).await?;
        let document = document.ok_or_else(|| EngineError::Broken("a stored answer is gone".into()))?;
        Ok(SaleClaim::Answered { answer: document.bytes, response: settled(sale) })
    }

    /// Ours to serve when it would settle now, or when it has been settled to us already by somebody else.
    /// Gives the block from which its transfer is to be looked for.
    async fn check_payable(&self, tenant: &TenantId, payment: &VerifiedPayment) -> Result<u64, EngineError> {
        // From here on nothing is taken back: whatever becomes of the payment lies behind this block.
        let head = self.chain.block(At::Finalized).await?.number;
        let own = book::authorization(&payment.claim_key())?;
        let mut claimed = exact::ClaimedElsewhere::default();
        for other in self.store.open_settlements(tenant, OPEN_MAX).await? {
            let theirs = &other.key.authorization;
            if other.key.role == Role::Seller
                && theirs.payer == own.payer
                && theirs.asset == own.asset
                && *theirs != own
            {
                claimed = book::claimed_too(claimed, &other)?;
            }
        }
        // The proxy of `upto` takes nobody else.
        let caller = match payment.terms().transfer {
            Transfer::Upto { facilitator } => facilitator,
            Transfer::Eip3009 | Transfer::Permit2 => payment.terms().pay_to,
        };
        match exact::verify_on_chain(self.chain.as_ref(), payment, caller, claimed).await {
            Ok(()) => Ok(head),
            Err(exact::OnChainError::Chain(error)) => Err(error.into()),
            Err(exact::OnChainError::Refused(refusal)) if refusal.reason.is_nonce_used() => {
                let since = head.saturating_sub(LOOK_BACK_BLOCKS);
                match observe(self.chain.as_ref(), &payment.expected(), None, since).await? {
                    Outcome::Settled { .. } => Ok(since),
                    _ => Err(refusal.into()),
                }
            }
            Err(exact::OnChainError::Refused(refusal)) => Err(refusal.into()),
        }
    }

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
        let identity = service(tenant, "seller")?;
        let key = sale_key(key)?;
        let hand = self.desk.resume(tenant, &key);
        let (hand, mut goods) = hand.ok_or_else(|| EngineError::Broken("this sale is in nobody's hands".into()))?;
        let document = Document { kind: "sale-answer".into(), bytes: answer };
        let (settlement, digest) = (key.clone(), document.digest());
        let command = match charged {
            Some(charged) if goods.requirements.scheme == upto::SCHEME => {
                goods.requirements.amount = charged.to_string();
                Command::Charge { settlement, document: digest, charged }
            }
            _ => Command::Dispatch { settlement, document: digest, transaction: None, account_nonce: None },
        };
        let stored = self.run(&identity, command, vec![document]).await?.settlement;
        let sale = stored.ok_or_else(|| EngineError::Broken("a dispatch without a settlement".into()))?;
        let relayed = seller.facilitator.settle(&goods.payload, &goods.requirements).await;
        // Nothing was charged: it is settled already. Whoever carries was told that the permit is used up.
        let settled = if sale.state == SettlementState::Settled {
            if let Relayed::Silence(why) = &relayed {
                tracing::warn!(
                    nonce = hex::encode(sale.key.authorization.nonce),
                    "a charge of nothing was not heard: {why}"
                );
            }
            Ok(SaleSettled::Settled(settled(&sale)))
        } else {
            self.sale_outcome(&identity, &sale, relayed).await
        };
        drop(hand);
        settled
    }

    /// The facilitator's word decides how long we look, and nothing else.
    async fn sale_outcome(
        &self,
        identity: &Identity,
        sale: &Settlement,
        relayed: Relayed<SettleResponse>,
    ) -> Result<SaleSettled, EngineError> {
        let wait = Duration::from_millis(self.tenant(&identity.tenant)?.limits.settle_wait_millis);
        let pending = |response: &SettleResponse| {
            response.error_reason.as_deref().and_then(|text| text.parse().ok()) == Some(Reason::SettlementPending)
        };
        let patience = match &relayed {
            Relayed::Answer(response) if response.success || pending(response) => wait,
            Relayed::Answer(_) => Duration::ZERO,
            Relayed::Silence(_) => wait,
        };
        let state = self.await_sale(identity, sale, patience).await?;
        let now = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or_else(|| sale.clone());
        match (state, relayed) {
            (SettlementState::Settled, _) => Ok(SaleSettled::Settled(settled(&now))),
            (SettlementState::Failed, _) => Ok(SaleSettled::Failed(failed(&now, Reason::TransactionFailed))),
            (_, Relayed::Answer(response)) if pending(&response) => {
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

    async fn await_sale(
        &self,
        identity: &Identity,
        sale: &Settlement,
        patience: Duration,
    ) -> Result<SettlementState, EngineError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(5);
        loop {
            let looked = self.look_for_sale(identity, sale).await;
            let out_of_time = tokio::time::Instant::now() + pause >= deadline;
            match looked {
                Ok(state) if !state.is_open() || out_of_time => return Ok(state),
                Err(error) if out_of_time => {
                    tracing::warn!(code = error.code(), "a sale cannot be looked for: {error}");
                    return Err(EngineError::OutcomeUnknown(error.to_string()));
                }
                Ok(_) | Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// The handler did not deliver. Nothing was submitted.
    pub async fn sale_abandon(&self, tenant: &TenantId, key: &ClaimKey) -> Result<(), EngineError> {
        let identity = service(tenant, "seller")?;
        let key = sale_key(key)?;
        let hand = self.desk.resume(tenant, &key);
        self.run(&identity, Command::Abandon { settlement: key }, Vec::new()).await?;
        drop(hand);
        Ok(())
    }

    /// A payment that the book knows already is judged without the clock: it was in time when it was claimed.
    pub(crate) async fn known_or_in_time(
        &self,
        tenant: &TenantId,
        role: Role,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Result<VerifiedPayment, Refusal>, EngineError> {
        // Whoever sells wants the whole permitted; what a facilitator carries may be a part of it.
        let judge = match role {
            Role::Facilitator => scheme::verify_charge,
            Role::Seller | Role::Wallet => scheme::verify,
        };
        let verdict = judge(payload, requirements, &self.assets, self.now_seconds());
        let Err(refusal) = verdict else { return Ok(verdict) };
        if !matches!(refusal.reason, Reason::ValidBefore | Reason::Permit2DeadlineExpired | Reason::Eip2612Deadline) {
            return Ok(Err(refusal));
        }
        let Ok((signed, _)) = scheme::claimed(payload, requirements) else { return Ok(Err(refusal)) };
        let Ok(valid_before) = u64::try_from(signed.valid_before()) else { return Ok(Err(refusal)) };
        // One second more, for a deadline that is itself still in time.
        let then = valid_before.saturating_sub(x402::limit::SETTLEMENT_MARGIN_SECONDS.saturating_add(1));
        let Ok(payment) = judge(payload, requirements, &self.assets, then) else { return Ok(Err(refusal)) };
        let key = SettlementKey { role, authorization: book::authorization(&payment.claim_key())? };
        let known = self.store.settlement(tenant, &key).await?;
        let known = known.is_some_and(|settlement| settlement.state != SettlementState::Abandoned);
        Ok(if known { Ok(payment) } else { Err(refusal) })
    }

    fn seller(&self, tenant: &TenantId) -> Result<Seller, EngineError> {
        self.tenant(tenant)?.seller.clone().ok_or(EngineError::NotConfigured("seller"))
    }
}

fn sale_key(key: &ClaimKey) -> Result<SettlementKey, EngineError> {
    Ok(SettlementKey { role: Role::Seller, authorization: book::authorization(key)? })
}

fn settled(sale: &Settlement) -> SettleResponse {
    let transaction = sale.transaction.as_ref().map_or("", |reference| reference.as_str());
    let authorization = &sale.key.authorization;
    let mut response = SettleResponse::settled(&authorization.payer, transaction, authorization.chain());
    response.amount = Some(sale.money.amount.to_string());
    response
}

fn failed(sale: &Settlement, reason: Reason) -> SettleResponse {
    let authorization = &sale.key.authorization;
    let message = "this authorization moved nothing and never will";
    SettleResponse::failed(reason, message, Some(authorization.payer.clone()), "", authorization.chain())
}
