//! Which offer of a 402 is taken: one that can be paid. A permit of Permit2 moves nothing where Permit2 may not take the wallet's
//! tokens; where the seller says that it takes an allowance along, the wallet signs one, of exactly the amount, beside it.

use alloy_primitives::{Address, U256};
use ledger::spend::Spend;
use serde_json::{Map, Value};
use x402::chain::{ChainError, Pool};
use x402::exact::Transfer;
use x402::permit2::pledge::{Pledge, echo, is_declared};
use x402::permit2::{PERMIT2, approval, sponsor};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::select::{Offer, SelectError, screen};

use super::channel::is_channel;
use super::{Extensions, PaymentRequest};
use crate::book;
use crate::error::EngineError;
use crate::evidence::{Offered, Rail};
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// Wei a unit of gas that a wallet gives an approval at most, whatever a node says that gas costs.
const APPROVAL_FEE_MAX: u64 = 100_000_000_000;

/// What is taken of a 402, and what is signed beside it.
pub(super) type Taken = (Offer, Option<Pledge>);

fn by_permit2(offer: &Offer) -> bool {
    match offer.transfer() {
        Transfer::Permit2 | Transfer::Upto { .. } => true,
        Transfer::Eip3009 | Transfer::Channel { .. } | Transfer::Escrow(_) => false,
    }
}

impl Engine {
    /// The entries of `accepts[]` that this wallet can sign for, frozen: what is judged is what is signed. In the seller's
    /// order, channels last, or first where the configuration prefers them. Never empty.
    pub(super) fn freeze(&self, tenant: &Tenant, request: &PaymentRequest) -> Result<Vec<Offer>, EngineError> {
        let screened = screen(&request.required, &request.method, self.screening_of(tenant))?;
        let is_preferred = tenant.limits.channels.as_ref().is_some_and(|channels| channels.preferred);
        let mut payable = screened.offers;
        payable.retain(|offer| offer.network() == self.network);
        payable.sort_by_key(|offer| is_channel(offer) != is_preferred);
        if payable.is_empty() {
            return Err(SelectError::NoneFits(screened.passed_over).into());
        }
        Ok(payable)
    }

    /// The first that moves as things are; else the first that moves with what the seller takes along.
    pub(super) async fn payable(
        &self,
        tenant: &Tenant,
        offers: Vec<Offer>,
        declared: Option<&Extensions>,
    ) -> Result<Taken, EngineError> {
        let (mut later, mut refusal) = (None, None);
        for offer in offers {
            if !by_permit2(&offer) {
                return Ok((offer, None));
            }
            let (payer, needed) = (payer_of(tenant)?, U256::from(offer.amount().get()));
            let allowance = self.chain.allowance(offer.token(), payer, PERMIT2).await?;
            if allowance >= needed {
                return Ok((offer, None));
            }
            if refusal.is_none() {
                let expected = format!("an allowance of {needed} for Permit2 ({PERMIT2})");
                refusal = Some(Refusal::new(Reason::Permit2AllowanceRequired, "asset", expected, allowance));
            }
            if later.is_none()
                && let Some(pledge) = self.pledge_for(&offer, payer, declared).await?
            {
                later = Some((offer, Some(pledge)));
            }
        }
        let missing = || refusal.map_or_else(|| SelectError::NoneFits(Vec::new()).into(), EngineError::from);
        later.ok_or_else(missing)
    }

    /// Whatever a node answers here, it gains nothing: with another counter the allowance is not given, and it is never for
    /// more than the payment or for longer.
    async fn pledge_for(
        &self,
        offer: &Offer,
        payer: Address,
        declared: Option<&Extensions>,
    ) -> Result<Option<Pledge>, EngineError> {
        if is_declared(declared, sponsor::EXTENSION) {
            match self.chain.permit_nonce(offer.token(), payer).await {
                Ok(nonce) => return Ok(Some(Pledge::Permit { nonce })),
                Err(ChainError::Reverted { reason, .. } | ChainError::Unavailable(reason)) => {
                    tracing::info!(token = %offer.token(), "takes no permits of its own: {reason}");
                }
                Err(error @ (ChainError::Refused { .. } | ChainError::Gas { .. })) => return Err(error.into()),
            }
        }
        if !is_declared(declared, approval::EXTENSION) {
            return Ok(None);
        }
        let nonce = self.chain.account_nonce(payer, Pool::Mined).await?;
        let (fee, tip) = self.chain.fees().await?;
        let max_fee_per_gas = fee.saturating_to::<u64>().min(APPROVAL_FEE_MAX);
        let max_priority_fee_per_gas = tip.saturating_to::<u64>().min(max_fee_per_gas);
        Ok(Some(Pledge::Approval { nonce, max_fee_per_gas, max_priority_fee_per_gas }))
    }

    /// What was written down to be signed beside a payment, signed.
    pub(super) async fn pledged(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        (spend, offer): (&Spend, &Offer),
        declared: Option<&Extensions>,
    ) -> Result<Map<String, Value>, EngineError> {
        if !by_permit2(offer) {
            return Ok(Map::new());
        }
        let Rail::X402(Offered { pledge: Some(pledge), .. }) = self.bundle(identity, spend).await?.rail else {
            return Ok(Map::new());
        };
        let wallet = tenant.wallet.as_ref().ok_or(EngineError::NotConfigured("wallet"))?;
        let expected = book::expected_of_spend(spend)?;
        let unsigned = offer.authorize(expected.key.payer, expected.key.nonce, 0, expected.valid_before)?;
        let entry = wallet.pledge(spend, &unsigned, &pledge).await?;
        let name = pledge.extension();
        Ok(Map::from_iter([(name.to_owned(), echo(declared, name, entry))]))
    }
}

/// Whose tokens pay.
pub(super) fn payer_of(tenant: &Tenant) -> Result<Address, EngineError> {
    let payer = tenant.wallet.as_ref().ok_or(EngineError::NotConfigured("wallet"))?.address();
    payer.parse().map_err(|_| EngineError::Broken(format!("{payer} is no address")))
}
