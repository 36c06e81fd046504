//! The seller: one winner a payment before any work is done, the answer stored before anything is submitted, the
//! sale posted when the transfer is seen.

mod channel;
mod claiming;
mod early;
mod escrow;
mod goods;
mod held;
mod manner;
mod settle;
mod sign_in;

use alloy_primitives::U256;
use ledger::command::{ClaimSettlement, Cover, Order};
use ledger::id::{Digest, IdempotencyKey, TenantId};
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::settlement::{PayerKey, Role, Settlement, SettlementKey, SettlementState};
use ledger::store::Freshness;
use ledger::transfer::Money;
use serde_json::{Map, Value};
use x402::auth_capture;
use x402::batch_settlement;
use x402::chain::At;
use x402::exact::{self, Transfer, VerifiedPayment};
use x402::permit2::PERMIT2;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::release::{History, Manner, Release};
use x402::settlement::{ClaimKey, Outcome, observe};
use x402::wire::{PaymentPayload, PaymentRequirements, SettleResponse};

use crate::book::{self, service};
use crate::desk::{Goods, InHand};
use crate::error::EngineError;
use crate::named::{Place, content};
use crate::tenant::Seller;
use crate::wallets::Presentation;
use crate::{Engine, Identity, order};
pub use early::SaleServed;
pub(crate) use goods::Content;
pub use sign_in::{Returned, SignIn};

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
    pub release: Release,
    /// The order that it pays, where what is sold is sold once.
    pub order: Option<IdempotencyKey>,
}

/// What a claim came to.
#[derive(Debug)]
pub enum SaleClaim {
    /// Run the handler, and then, or before, what the manner says.
    Won(Manner),
    InFlight,
    Answered {
        answer: Vec<u8>,
        /// `None` where it was given before it was paid, and is not paid yet.
        response: Option<SettleResponse>,
    },
    OutcomeUnknown,
    /// Proved: this payment moved nothing and never will.
    Failed(SettleResponse),
    /// A voucher that goes on from another place of its channel than where that stands, and what its payer needs to see it.
    OutOfStep {
        refusal: Refusal,
        shown: Map<String, Value>,
    },
    /// No payment: what was left in a channel went back.
    Refunded {
        channel: String,
        response: SettleResponse,
    },
}

/// What a settlement came to.
#[derive(Debug)]
pub enum SaleSettled {
    Settled(SettleResponse),
    Failed(SettleResponse),
    Pending { transaction: String },
    Unknown { message: String },
}

/// Who sells, in the journal.
pub(crate) const SELLER: &str = "seller";
/// How far back the transfer of a payment is looked for that somebody else submitted.
const LOOK_BACK_BLOCKS: u64 = 7_200;

/// What a payment that is not paid yet comes out of, and from which block its transfer is to be looked for.
struct Payable {
    since_block: u64,
    /// `None` where somebody has settled it already.
    cover: Option<Cover>,
}

impl Engine {
    pub async fn sale_claim(&self, tenant: &TenantId, presented: Presented) -> Result<SaleClaim, EngineError> {
        match presented.requirements.scheme.as_str() {
            batch_settlement::SCHEME => self.channel_claim(tenant, presented).await,
            auth_capture::SCHEME => self.payment_claim(tenant, presented).await.map_err(held::respelled),
            _ => self.payment_claim(tenant, presented).await,
        }
    }

    async fn payment_claim(&self, tenant: &TenantId, presented: Presented) -> Result<SaleClaim, EngineError> {
        let (seller, identity) = (self.seller(tenant)?, service(tenant, SELLER)?);
        let (payload, requirements) = (&presented.payload, &presented.requirements);
        let payment = match self.known_or_in_time(tenant, Role::Seller, payload, requirements).await? {
            Presentation::Good(payment) => *payment,
            Presentation::Refused(refusal) => return Err(refusal.into()),
            Presentation::Denied { known, .. } => return denied(&presented, &known),
        };
        let key = sale_key(&payment.expected_by_payee().key)?;
        let place = match &presented.named {
            Some(name) => {
                let content = content(&presented.purpose.0, requirements);
                Some(self.place(tenant, &key, name, content).await?)
            }
            None => None,
        };
        let (named, document) = match place {
            None => (None, None),
            Some(Place::Own { named, document }) => (Some(*named), Some(document)),
            // Bought already, or being bought: the other payment's answer, and this one is not used up.
            Some(Place::Other(sale)) => {
                return self.bought_by_another(&identity, &presented, *sale).await;
            }
        };
        let found = self.store.settlement(tenant, &key).await?;
        if let Some(sale) = found.filter(|sale| sale.state != SettlementState::Abandoned) {
            return self.claimed_before(&identity, presented, sale).await;
        }
        self.screen_payment(&payment).await?;
        self.check_thrift(&payment)?;
        seller.carriers.check(requirements).await?;
        let payable = self.check_payable(tenant, &payment).await?;
        let expected = payment.expected_by_payee();
        let paid_by = order::document(&key);
        let documents = document.into_iter().chain(presented.order.iter().map(|_| paid_by.clone())).collect();
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
            since_block: payable.since_block,
            cover: payable.cover,
            credit: None,
            named,
            order: presented.order.clone().map(|key| Order { key, document: paid_by.digest() }),
        };
        // Only who has it in hand may claim it: otherwise the winner in the book could be another than the one here.
        let Some(hand) = self.desk.take(tenant, &key) else { return Ok(SaleClaim::InFlight) };
        let claimed = self.claim_sale(&identity, claim, documents, &presented).await;
        let (manner, answer) = match claimed {
            // Somebody took the name's place meanwhile.
            Err(EngineError::Book(Rejection::AuthorizationClaimed { .. })) => return Ok(SaleClaim::InFlight),
            other => other?,
        };
        let sale = answer.settlement.ok_or_else(|| EngineError::Broken("a claim without a settlement".into()))?;
        match answer.freshness {
            Freshness::New if key.authorization.is_held() => self.hold_money(&identity, hand, presented, sale).await,
            Freshness::New => Ok(won(hand, presented, manner)),
            Freshness::Known => {
                drop(hand);
                self.claimed_before(&identity, presented, sale).await
            }
        }
    }

    /// The answer of the payment that stands for the same name. Nothing is run for this one, and it is not used up.
    async fn bought_by_another(
        &self,
        identity: &Identity,
        presented: &Presented,
        sale: Settlement,
    ) -> Result<SaleClaim, EngineError> {
        if sale.subject != presented.purpose {
            let (first, found) = (sale.subject, presented.purpose);
            return Err(EngineError::Book(Rejection::PaymentUsedForOtherResource { first, found }));
        }
        if self.desk.has(&identity.tenant, &sale.key) && sale.state.is_open() {
            return Ok(SaleClaim::InFlight);
        }
        if sale.state == SettlementState::Submitted {
            self.look_for_sale(identity, &sale).await?;
        }
        let now = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or(sale);
        match now.state {
            SettlementState::Failed | SettlementState::Unpaid => {
                Ok(SaleClaim::Failed(failed(&now, Reason::TransactionFailed)))
            }
            SettlementState::Settled => self.in_other_hands(identity, &now, presented.release.confirmations).await,
            _ if now.is_sold_unpaid() => self.in_other_hands(identity, &now, presented.release.confirmations).await,
            _ => Ok(SaleClaim::OutcomeUnknown),
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
            return if now.state == SettlementState::Settled || now.is_sold_unpaid() {
                self.in_other_hands(identity, &now, presented.release.confirmations).await
            } else {
                Ok(SaleClaim::InFlight)
            };
        };
        let sale = self.store.settlement(&identity.tenant, &sale.key).await?.unwrap_or(sale);
        match sale.state {
            SettlementState::Settled => self.bought(identity, hand, presented, &sale).await,
            SettlementState::Failed | SettlementState::Unpaid => {
                Ok(SaleClaim::Failed(failed(&sale, Reason::TransactionFailed)))
            }
            SettlementState::Abandoned => Ok(SaleClaim::InFlight),
            // Nothing was sent for it, and no work begun.
            SettlementState::Claimed if sale.key.authorization.is_held() && sale.document.is_none() => {
                self.hold_money(identity, hand, presented, sale).await
            }
            // The payment still buys it.
            SettlementState::Undelivered => Ok(won(hand, presented, Manner::PaidFirst)),
            SettlementState::Claimed | SettlementState::Promised if sale.document.is_none() => {
                if presented.rerun == Rerun::Never {
                    return Ok(SaleClaim::OutcomeUnknown);
                }
                let manner = match sale.state {
                    SettlementState::Promised => presented.release.manner(sale.money.amount, History::Paid),
                    _ => Manner::HeldBack,
                };
                Ok(won(hand, presented, manner))
            }
            SettlementState::Claimed | SettlementState::Promised | SettlementState::Submitted => {
                self.under_way(identity, hand, presented, sale).await
            }
        }
    }

    /// Ours to serve when it would settle now, or when it has been settled to us already by somebody else.
    /// Gives the block from which its transfer is to be looked for.
    async fn check_payable(&self, tenant: &TenantId, payment: &VerifiedPayment) -> Result<Payable, EngineError> {
        // From here on nothing is taken back: whatever becomes of the payment lies behind this block.
        let head = self.finalized_lately().await?;
        let claimed = payment.expected_by_payee().key;
        let own = SettlementKey { role: Role::Seller, authorization: book::authorization(&claimed)? };
        // Before the balance: what is settled in between has left it, and counts all the same.
        let mut beside = self.store.settlements_of(tenant, &PayerKey::of(&own)).await?;
        beside.retain(|other| other.key != own && other.state.is_open());
        let sum = beside.iter().try_fold(exact::ClaimedElsewhere::default(), book::claimed_too)?;
        let terms = payment.terms();
        // The proxy of `upto` takes nobody else.
        let caller = match terms.transfer {
            Transfer::Upto { facilitator } => facilitator,
            Transfer::Eip3009 | Transfer::Permit2 | Transfer::Channel { .. } => terms.pay_to,
            Transfer::Escrow(escrow) => escrow.capture_authorizer,
        };
        match exact::verify_on_chain(self.chain.as_ref(), payment, caller, sum).await {
            Ok(()) => {
                let balance = self.chain.balance_of(terms.token, claimed.payer, At::Latest).await?;
                let allowance = if payment.takes_of_an_allowance() {
                    let there = self.chain.allowance(terms.token, claimed.payer, PERMIT2).await?;
                    Some(payment.approval().map_or(there, |approval| there.max(approval.value)))
                } else {
                    None
                };
                let (balance, allowance) = (at_most(balance), allowance.map(at_most));
                Ok(Payable { since_block: head, cover: Some(Cover { balance, allowance, beside }) })
            }
            Err(exact::OnChainError::Chain(error)) => Err(error.into()),
            Err(exact::OnChainError::Refused(refusal)) if refusal.reason.is_nonce_used() => {
                let since_block = head.saturating_sub(LOOK_BACK_BLOCKS);
                let is_held = own.authorization.is_held();
                match observe(self.chain.as_ref(), &payment.expected_by_payee(), None, since_block).await? {
                    Outcome::Settled { .. } => Ok(Payable { since_block, cover: None }),
                    // It lies in the escrow already, whoever had it carried there.
                    Outcome::Pending if is_held => Ok(Payable { since_block, cover: None }),
                    _ => Err(refusal.into()),
                }
            }
            Err(exact::OnChainError::Refused(refusal)) => Err(refusal.into()),
        }
    }

    fn seller(&self, tenant: &TenantId) -> Result<Seller, EngineError> {
        self.tenant(tenant)?.seller.clone().ok_or(EngineError::NotConfigured("seller"))
    }
}

/// Paid, or about to be, whatever its wallet says now: not a word that somebody could take for leave to pay again. And no
/// goods, because nobody knows that this is the payer.
fn denied(presented: &Presented, known: &Settlement) -> Result<SaleClaim, EngineError> {
    if known.subject == presented.purpose {
        return Ok(SaleClaim::OutcomeUnknown);
    }
    let (first, found) = (known.subject, presented.purpose);
    Err(EngineError::Book(Rejection::PaymentUsedForOtherResource { first, found }))
}

/// The hand stays on it until the handler has ended. What was bought, and whatever else the payer wrote beside the payment,
/// is no facilitator's to know and not signed.
fn won(hand: InHand<'_>, presented: Presented, manner: Manner) -> SaleClaim {
    won_again(hand, presented, manner, None)
}

/// Whoever was asked to carry it before is asked again.
fn won_again(hand: InHand<'_>, presented: Presented, manner: Manner, carrier: Option<String>) -> SaleClaim {
    let Presented { payload, requirements, release, .. } = presented;
    let payload = PaymentPayload { resource: None, accepted: requirements.clone(), unknown: Map::new(), ..payload };
    let confirmations = release.confirmations;
    hand.keep(Goods { payload, requirements, manner, confirmations, carrier, step: None, held: None });
    SaleClaim::Won(manner)
}

/// More than an amount can say is enough for any.
fn at_most(value: U256) -> Amount {
    u128::try_from(value).map_or(Amount::MAX, Amount::new)
}

pub fn sale_key(key: &ClaimKey) -> Result<SettlementKey, EngineError> {
    Ok(SettlementKey { role: Role::Seller, authorization: book::authorization(key)? })
}

pub(crate) fn settled(sale: &Settlement) -> SettleResponse {
    let transaction = sale.transaction.as_ref().map_or("", |reference| reference.as_str());
    let authorization = &sale.key.authorization;
    let mut response = SettleResponse::settled(book::payer(authorization), transaction, authorization.chain());
    response.amount = Some(sale.money.amount.to_string());
    response
}

pub(crate) fn failed(sale: &Settlement, reason: Reason) -> SettleResponse {
    let authorization = &sale.key.authorization;
    if authorization.is_held() {
        return held::went_back(sale);
    }
    let message = "this authorization moved nothing and never will";
    SettleResponse::failed(reason, message, Some(book::payer(authorization)), "", authorization.chain())
}
