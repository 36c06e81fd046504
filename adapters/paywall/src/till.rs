//! The port to the seller's books. An engine implements it; the paywall only asks.
//!
//! Where money or goods are lost if an implementation is careless:
//! - [`Till::claim`] must have verified the payment and made its claim durable, for every replica, before it answers
//!   [`Claim::Won`]; a claim that lives in memory serves twice after a restart.
//! - A claim is won once. It can be won again only after [`Till::abandon`], or, on an idempotent route, after the
//!   process that won it is known to be gone.
//! - [`Till::settle`] must store the answer before it submits anything: what was paid for can then be fetched.
//! - What is not known is [`Claim::OutcomeUnknown`] or [`SettleRefusal::Unknown`], never a failure.

use std::num::NonZeroU64;

use async_trait::async_trait;
use http::request;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use x402::identifier::PaymentIdentifier;
use x402::reason::Reason;
use x402::release::{Manner, Release};
use x402::settlement::ClaimKey;
use x402::sign_in::{Challenge, Proof};
use x402::value::Amount;
use x402::wire::{PaymentPayload, PaymentRequirements, SettleResponse};

use crate::layer::Paid;
use crate::price::{Price, Repeat, target};
use crate::sign_in::unsupported;
use crate::stored::StoredAnswer;

#[async_trait]
pub trait Till: Send + Sync {
    /// Verifies the payment against `requirements`, then claims its authorization durably, before the handler runs.
    ///
    /// A claim found under the same key is compared with the purpose: another purpose is
    /// [`Refusal::UsedForOtherResource`]. Cheap to repeat: waiting requests ask again with the same request.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Refusal>;

    /// The handler answered below 400. Stores the answer, settles, posts the sale, in this order.
    ///
    /// `charged` is what the handler takes of a price by usage, at most what was permitted; nothing too, and then the
    /// payment is used up all the same. `None` is the whole price.
    async fn settle(
        &self,
        ticket: Ticket,
        answer: StoredAnswer,
        charged: Option<Amount>,
    ) -> Result<Settled, SettleRefusal>;

    /// What every 402 with these offers says beside the price, by name of the extension: what depends on who settles.
    async fn declared(&self, _offers: &[PaymentRequirements]) -> Map<String, Value> {
        Map::new()
    }

    /// Our signature under an offer, as a compact JWS (extension `offer-receipt`); `None` where this till signs nothing.
    async fn sign_offer(&self, _resource_url: &str, _offer: &PaymentRequirements) -> Option<String> {
        None
    }

    /// The same under what was paid.
    async fn sign_receipt(&self, _resource_url: &str, _settled: &SettleResponse) -> Option<String> {
        None
    }

    /// The handler answered below 400, and the ticket says that its answer is given before it is settled. Makes durable that it
    /// is given and owed, and sees to it that it is settled.
    async fn serve(&self, ticket: Ticket, _: StoredAnswer) -> Result<Served, SettleRefusal> {
        Err(SettleRefusal::Unknown {
            message: format!("nothing is given on credit here; {} is {:?}", ticket.id, ticket.manner),
        })
    }

    /// The ticket says that it is paid before the handler runs. Settles; paid already, it says so again.
    async fn prepay(&self, ticket: &Ticket) -> Result<Settled, SettleRefusal> {
        Err(SettleRefusal::Unknown {
            message: format!("nothing is paid first here; {} is {:?}", ticket.id, ticket.manner),
        })
    }

    /// What was paid first was delivered: its answer is stored.
    async fn deliver(&self, ticket: Ticket, _: StoredAnswer) {
        tracing::error!(claim = %ticket.key, "what was paid first is not kept here");
    }

    /// It was not. The payer is owed what they paid for, and the same payment may be presented again.
    async fn undelivered(&self, ticket: Ticket, why: Abandoned) {
        tracing::error!(claim = %ticket.key, why = why.code(), "what was paid first was not delivered");
    }

    /// A text for somebody who paid for this resource before to sign; nowhere where a till cannot tell.
    async fn challenge(&self, _domain: &str, _resource_url: &str) -> Option<Challenge> {
        None
    }

    /// The payment that whoever signed comes back for: of exactly this purpose, settled, given, and not too long ago. Must
    /// have made the answered text useless, durably and for every replica, before it says so.
    async fn sign_in(&self, _asked: SignInRequest) -> Result<Paid, Refusal> {
        Err(unsupported())
    }

    /// The handler did not deliver: nothing is charged, and the same payment may be presented again. The receipt of what came
    /// in with it all the same: a deposit stays in its channel.
    async fn abandon(&self, ticket: Ticket, why: Abandoned) -> Option<SettleResponse>;
}

/// A payment presented for a purpose.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Read from the payload, unverified. Ignores every encoding.
    pub key: ClaimKey,
    pub payload: PaymentPayload,
    /// The entry of the price that the payer accepted: ours, not the payload's copy.
    pub requirements: PaymentRequirements,
    pub purpose: Purpose,
    /// The payer's own name for this purchase. Under the payer's verified address it stands for one purchase: another
    /// payment of the same under it buys nothing and gets the first one's answer.
    pub identifier: Option<PaymentIdentifier>,
    pub repeat: Repeat,
    pub release: Release,
}

/// Somebody who says that they paid for this purpose before.
#[derive(Clone, Debug)]
pub struct SignInRequest {
    /// Read, and not verified.
    pub proof: Proof,
    /// The host of `purpose.resource_url`.
    pub domain: String,
    pub purpose: Purpose,
    /// What it can be paid with.
    pub offers: Vec<PaymentRequirements>,
    /// For how long after the end of the payment's own life.
    pub seconds: NonZeroU64,
    pub release: Release,
}

/// What a payment was presented for. `payload.resource` has no part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The name of the priced route.
    pub route: String,
    pub method: String,
    /// The address of the resource, as we advertise it.
    pub resource_url: String,
    /// Path and query, as requested.
    pub target: String,
    pub body_sha256: [u8; 32],
}

impl Purpose {
    pub(crate) fn of(price: &Price, parts: &request::Parts, resource_url: &str, body: &[u8]) -> Self {
        Self {
            route: price.route.clone(),
            method: parts.method.as_str().to_owned(),
            resource_url: resource_url.to_owned(),
            target: target(parts).to_owned(),
            body_sha256: Sha256::digest(body).into(),
        }
    }

    /// SHA-256 over a tag and each field with its length in front: what a claim keeps of its purpose.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for field in [
            b"purser/paywall-purpose/1".as_slice(),
            self.route.as_bytes(),
            self.method.as_bytes(),
            self.resource_url.as_bytes(),
            self.target.as_bytes(),
            &self.body_sha256,
        ] {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        hash.finalize().into()
    }
}

#[derive(Debug)]
pub enum Claim {
    /// This request runs the handler; no other does.
    Won(Ticket),
    /// Another request runs the handler, or its settlement is under way.
    InFlight,
    /// Bought, or given before it was paid.
    Answered(Answered),
    /// The process that held it died, or the settlement's outcome is not known. Nobody may run the handler.
    OutcomeUnknown,
}

/// The right to run the handler once, and the duty to settle or abandon. Not `Clone`.
#[derive(Debug)]
pub struct Ticket {
    pub key: ClaimKey,
    /// The till's own name for it.
    pub id: String,
    /// What the till says of this payment; it may be another than the route's.
    pub manner: Manner,
}

#[derive(Clone, Debug)]
pub struct Answered {
    pub answer: StoredAnswer,
    /// `None` where it was given before it was paid, and is not paid yet.
    pub response: Option<SettleResponse>,
}

#[derive(Clone, Debug)]
pub struct Settled {
    /// With `success: true`.
    pub response: SettleResponse,
}

/// What was given before it was settled.
#[derive(Clone, Debug)]
pub enum Served {
    /// It is settled after all, by somebody else.
    Settled(Box<SettleResponse>),
    Owed,
}

/// Why a payment buys nothing here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{message}")]
    Payment { reason: Reason, message: String },
    #[error("this payment was used for another resource, method or body")]
    UsedForOtherResource,
    #[error("this payment identifier stands for another purchase of yours")]
    IdentifierConflict,
    /// A voucher that goes on from another place of its channel than where that stands (scheme `batch-settlement`).
    #[error("{message}")]
    OutOfStep {
        reason: Reason,
        message: String,
        /// What its payer needs to go on, for `extra` of the offer.
        shown: Map<String, Value>,
    },
    /// The seller's own rule (a payer blocked, an exposure cap reached).
    #[error("{message}")]
    Policy { code: &'static str, message: String },
    /// An earlier settlement of this payment failed, proved.
    #[error("the settlement of this payment failed")]
    SettlementFailed(Box<SettleResponse>),
    /// The books or the chain cannot be asked. Nothing is served.
    #[error("{message}")]
    Unavailable { message: String },
}

impl Refusal {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Payment { reason, .. } | Self::OutOfStep { reason, .. } => reason.as_str(),
            Self::UsedForOtherResource => "payment_used_for_other_resource",
            Self::IdentifierConflict => Reason::PaymentIdentifierConflict.as_str(),
            Self::Policy { code, .. } => code,
            Self::SettlementFailed(_) => "settlement_failed",
            Self::Unavailable { .. } => "till_unavailable",
        }
    }

    pub const fn retryable(&self) -> bool {
        match self {
            Self::Payment { reason, .. } | Self::OutOfStep { reason, .. } => reason.retryable(),
            Self::Unavailable { .. } => true,
            Self::UsedForOtherResource | Self::IdentifierConflict | Self::Policy { .. } | Self::SettlementFailed(_) => {
                false
            }
        }
    }
}

impl From<x402::refusal::Refusal> for Refusal {
    fn from(refusal: x402::refusal::Refusal) -> Self {
        Self::Payment { reason: refusal.reason, message: refusal.to_string() }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum SettleRefusal {
    /// Proved: this authorization moved nothing. `success` is false.
    #[error("the settlement failed")]
    Failed(Box<SettleResponse>),
    /// Sent, and not in a block yet.
    #[error("the settlement {transaction} is not in a block yet")]
    Pending { transaction: String },
    /// It may have settled.
    #[error("the outcome of the settlement is not known: {message}")]
    Unknown { message: String },
}

/// Why nothing was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    HandlerAnswered {
        status: u16,
    },
    HandlerPanicked,
    HandlerTimedOut,
    /// The answer's body broke off.
    AnswerBroken,
    /// The answer is longer than what can be held back.
    AnswerTooLarge,
    /// What it says that it charges cannot be read.
    ChargeUnreadable,
}

impl Abandoned {
    pub const fn code(self) -> &'static str {
        match self {
            Self::HandlerAnswered { .. } => "handler_refused",
            Self::HandlerPanicked => "handler_panicked",
            Self::HandlerTimedOut => "handler_timed_out",
            Self::AnswerBroken => "answer_broken",
            Self::AnswerTooLarge => "answer_too_large",
            Self::ChargeUnreadable => "charge_unreadable",
        }
    }
}
