//! Whom money may come from and go to, beyond every rule of a book: asked before a payment is signed, before one is called
//! valid, and before one is claimed. What cannot be asked is not allowed.

use alloy_primitives::Address;
use async_trait::async_trait;
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::settlement::{Role, SettlementKey, SettlementState};
use x402::batch_settlement::Channel;
use x402::exact::VerifiedPayment;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::select::Offer;

use crate::Engine;
use crate::book;
use crate::error::EngineError;
use crate::tenant::Tenant;

/// One transfer that is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// CAIP-2.
    pub network: String,
    /// CAIP-19.
    pub asset: String,
    /// Lower-case addresses.
    pub payer: String,
    pub payee: String,
    /// Atomic units.
    pub amount: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    #[error("{0}")]
    Denied(String),
    /// The list cannot be read, or whoever is asked does not answer.
    #[error("{0}")]
    Unavailable(String),
}

#[async_trait]
pub trait Screening: Send + Sync {
    async fn screen(&self, movement: &Movement) -> Result<(), Barred>;
}

impl Engine {
    /// `Ok` where nothing screens.
    pub async fn screen(&self, movement: &Movement) -> Result<(), EngineError> {
        let Some(screening) = self.screening.get() else { return Ok(()) };
        screening.screen(movement).await.map_err(|barred| match barred {
            Barred::Denied(why) => EngineError::ScreeningDenied(why),
            Barred::Unavailable(why) => EngineError::ScreeningUnavailable(why),
        })
    }

    /// Before anything is held for it.
    pub(crate) async fn screen_offer(&self, tenant: &Tenant, offer: &Offer) -> Result<(), EngineError> {
        let Some(wallet) = &tenant.wallet else { return Ok(()) };
        let movement = Movement {
            network: offer.network().to_string(),
            asset: offer.asset().to_string(),
            payer: wallet.address(),
            payee: book::text(offer.pay_to()),
            amount: offer.amount().to_string(),
        };
        self.screen(&movement).await
    }

    pub(crate) async fn screen_payment(&self, payment: &VerifiedPayment) -> Result<(), EngineError> {
        let (terms, expected) = (payment.terms(), payment.expected());
        let amount = if expected.value.is_zero() { terms.value() } else { expected.value };
        let movement = Movement {
            network: terms.network.to_string(),
            asset: book::asset_id(terms.network, terms.token)?.to_string(),
            payer: book::text(payment.payer()),
            payee: book::text(terms.pay_to),
            amount: amount.to_string(),
        };
        self.screen(&movement).await
    }

    /// A carrier's no, as its protocol says it. Of what is begun already nobody is asked again.
    pub(crate) async fn screen_carriage(
        &self,
        tenant: &TenantId,
        payment: &VerifiedPayment,
    ) -> Result<Result<(), Refusal>, EngineError> {
        if self.screening.get().is_none() {
            return Ok(Ok(()));
        }
        let key = SettlementKey { role: Role::Facilitator, authorization: book::authorization(&payment.claim_key())? };
        let begun = self.store.settlement(tenant, &key).await?;
        if begun.is_some_and(|begun| begun.state != SettlementState::Abandoned) {
            return Ok(Ok(()));
        }
        said(self.screen_payment(payment).await)
    }

    /// The same of what moves through a channel.
    pub(crate) async fn screen_channel(
        &self,
        channel: &Channel,
        amount: Amount,
    ) -> Result<Result<(), Refusal>, EngineError> {
        self.screen_between(channel.payer, channel.receiver, channel.token, amount).await
    }

    pub(crate) async fn screen_between(
        &self,
        payer: Address,
        payee: Address,
        token: Address,
        amount: Amount,
    ) -> Result<Result<(), Refusal>, EngineError> {
        let movement = Movement {
            network: self.network.to_string(),
            asset: book::asset_id(self.network, token)?.to_string(),
            payer: book::text(payer),
            payee: book::text(payee),
            amount: amount.to_string(),
        };
        said(self.screen(&movement).await)
    }
}

fn said(answer: Result<(), EngineError>) -> Result<Result<(), Refusal>, EngineError> {
    match answer {
        Ok(()) => Ok(Ok(())),
        Err(EngineError::ScreeningDenied(why)) => {
            let expected = "payer and payee that are not on a deny list";
            Ok(Err(Refusal::new(Reason::InvalidPaymentRequirements, "payTo", expected, why)))
        }
        Err(error) => Err(error),
    }
}
