//! Payers that are contracts: asked before anything is claimed for them, and remembered where they waste gas. A contract may
//! take its word back; what is on its way by then stays so.

use ledger::id::TenantId;
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use x402::exact::{Checked, OnChainError, Signed, VerifiedPayment, prove};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::wire::{PaymentPayload, PaymentRequirements};

use crate::error::EngineError;
use crate::{Engine, book};

/// How a payment that is presented stands.
pub(crate) enum Presentation {
    Good(Box<VerifiedPayment>),
    Refused(Refusal),
    /// The payer's contract does not call it its own, or not any more, and the book has it: it may be paid all the same.
    Denied {
        known: Box<Settlement>,
        refusal: Refusal,
    },
}

impl Engine {
    /// A payment whose signature is the payer's: seen, or asked of the payer's contract.
    pub(crate) async fn proved(
        &self,
        checked: Result<Checked, Refusal>,
    ) -> Result<Result<VerifiedPayment, Refusal>, EngineError> {
        let unproved = match checked {
            Ok(Checked::ByWallet(unproved)) => unproved,
            Ok(Checked::ByKey(payment)) => return Ok(Ok(payment)),
            Err(refusal) => return Ok(Err(refusal)),
        };
        match prove(self.chain.as_ref(), unproved, &self.wallet_factories).await {
            Ok(payment) => Ok(Ok(payment)),
            Err(OnChainError::Refused(refusal)) => Ok(Err(refusal)),
            Err(OnChainError::Chain(error)) => Err(error.into()),
        }
    }

    /// A payment that the book knows already is judged without the clock: it was in time when it was claimed.
    pub(crate) async fn known_or_in_time(
        &self,
        tenant: &TenantId,
        role: Role,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Presentation, EngineError> {
        // Whoever sells wants the whole permitted; what a facilitator carries may be a part of it.
        let judge = match role {
            Role::Facilitator => scheme::check_charge,
            Role::Seller | Role::Wallet => scheme::check,
        };
        let in_time = judge(payload, requirements, &self.assets, self.now_seconds());
        let (checked, late) = match in_time {
            Err(refusal) if is_late(&refusal) => {
                let Some(then) = last_moment(payload, requirements) else { return Ok(Presentation::Refused(refusal)) };
                (judge(payload, requirements, &self.assets, then), Some(refusal))
            }
            checked => (checked, None),
        };
        let asks_wallet = matches!(checked, Ok(Checked::ByWallet(_)));
        let refusal = match (self.proved(checked).await?, late) {
            (Ok(payment), None) => return Ok(Presentation::Good(Box::new(payment))),
            (Ok(payment), Some(late)) => {
                let known = self.settlement_of(tenant, role, payload, requirements).await?;
                let is_known = known.is_some_and(|known| known.state != SettlementState::Abandoned);
                return Ok(if is_known { Presentation::Good(Box::new(payment)) } else { Presentation::Refused(late) });
            }
            (Err(refusal), late) => late.unwrap_or(refusal),
        };
        if !asks_wallet {
            return Ok(Presentation::Refused(refusal));
        }
        let may_be_paid = |known: &Settlement| {
            known.state.is_open() || matches!(known.state, SettlementState::Settled | SettlementState::Undelivered)
        };
        let Some(known) = self.settlement_of(tenant, role, payload, requirements).await?.filter(may_be_paid) else {
            return Ok(Presentation::Refused(refusal));
        };
        // Of an account with a key alone it is no word of the payer's.
        let Some(payer) = scheme::claimed_payer(payload, requirements) else {
            return Ok(Presentation::Refused(refusal));
        };
        Ok(match self.chain.code(payer).await?.is_empty() {
            true => Presentation::Refused(refusal),
            false => Presentation::Denied { known: Box::new(known), refusal },
        })
    }

    pub(crate) async fn settlement_of(
        &self,
        tenant: &TenantId,
        role: Role,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Option<Settlement>, EngineError> {
        let claimed = match role {
            Role::Facilitator => scheme::claimed(payload, requirements).map(|(_, claim)| claim),
            Role::Seller | Role::Wallet => scheme::claim_key(payload, requirements),
        };
        let Ok(claim) = claimed else { return Ok(None) };
        let key = SettlementKey { role, authorization: book::authorization(&claim)? };
        Ok(self.store.settlement(tenant, &key).await?)
    }

    /// Contracts that made a transaction of ours revert are not carried for again at once. Never asked of a payment that is
    /// known: what is on its way is followed, whoever signed it.
    pub(crate) fn check_thrift(&self, payment: &VerifiedPayment) -> Result<(), Refusal> {
        let payer = payment.payer();
        if !payment.is_by_wallet() || !self.desk.is_wasteful(payer) {
            return Ok(());
        }
        let (field, expected) = ("payload.authorization.from", "a wallet that lets happen what it signed");
        let found = format!("{payer}, whose last settlement it made revert");
        Err(Refusal::new(Reason::TransactionFailed, field, expected, found))
    }
}

fn is_late(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        Reason::ValidBefore
            | Reason::Permit2DeadlineExpired
            | Reason::Eip2612Deadline
            | Reason::CaptureAuthorizationExpired
            | Reason::CaptureDeadlineExpired
            | Reason::CaptureDeadlineOrdering
    )
}

/// The last second in which it was in time; one more, for a deadline that is itself still in time.
fn last_moment(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Option<u64> {
    let (signed, _) = scheme::claimed(payload, requirements).ok()?;
    let valid_before = u64::try_from(signed.valid_before()).ok()?;
    // What is held has to end before another deadline, as seen from when it was signed.
    let before = match signed {
        Signed::Escrowed(_) => requirements.max_timeout_seconds,
        Signed::Eip3009(_) | Signed::Permit2(_) | Signed::Deposit(_) => {
            x402::limit::SETTLEMENT_MARGIN_SECONDS.saturating_add(1)
        }
    };
    Some(valid_before.saturating_sub(before))
}
