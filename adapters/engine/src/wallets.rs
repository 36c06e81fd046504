//! Payers that are contracts: asked before anything is claimed for them, and remembered where they waste gas.

use x402::exact::{Checked, OnChainError, VerifiedPayment, prove};
use x402::reason::Reason;
use x402::refusal::Refusal;

use crate::Engine;
use crate::error::EngineError;

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
