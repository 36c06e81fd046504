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
        let payer = unproved.payer();
        if self.desk.is_wasteful(payer) {
            let (field, expected) = ("payload.authorization.from", "a wallet that lets happen what it signed");
            let found = format!("{payer}, whose last settlement it made revert");
            return Ok(Err(Refusal::new(Reason::TransactionFailed, field, expected, found)));
        }
        match prove(self.chain.as_ref(), unproved, &self.wallet_factories).await {
            Ok(payment) => Ok(Ok(payment)),
            Err(OnChainError::Refused(refusal)) => Ok(Err(refusal)),
            Err(OnChainError::Chain(error)) => Err(error.into()),
        }
    }
}
