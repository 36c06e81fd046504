//! What a payee takes of a payment at once, and whether its authorizer signed for that.

use alloy_primitives::{Address, B256};
use serde_json::Value;

use super::check::{is_completed, of};
use super::{Escrowed, FRAME, Flow, SCHEME, Taken, charge_digest, read_payment, terms};
use crate::chain::{Chain, WalletAnswer};
use crate::exact::{EvmSignature, OnChainError, WalletSignature};
use crate::limit::SIGNATURE_BYTES_MAX;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme::check_frame;
use crate::value;
use crate::wire::{PaymentPayload, PaymentRequirements};

/// What a payee added to a payment. The payment itself is checked as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeRequest {
    pub taken: Taken,
    authorizer: Address,
    digest: B256,
    signature: String,
}

impl ChargeRequest {
    /// `None` where nothing is charged, but held.
    pub fn read(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<Option<Self>, Refusal> {
        check_frame(payload, requirements, SCHEME, FRAME)?;
        let terms = terms(requirements)?;
        let escrow = of(&terms)?;
        if escrow.flow == Flow::Escrow {
            return Ok(None);
        }
        let malformed = |field, expected: &dyn std::fmt::Display, found: &str| {
            Refusal::new(Reason::CapturePayloadFormat, field, expected, found)
        };
        let Escrowed { info, taken, .. } = read_payment(payload, &terms)?;
        let (Some(taken), true) = (taken, is_completed(&payload.payload)) else {
            let expected = "amount, feeBps, feeReceiver and authorizerSignature, which the payee adds";
            return Err(malformed("payload", &expected, "none"));
        };
        let text = |name: &str| payload.payload.get(name).and_then(Value::as_str);
        let signature = text("authorizerSignature").ok_or_else(|| {
            let (reason, field) = (Reason::CaptureUnsignedRequest, "payload.authorizerSignature");
            Refusal::new(reason, field, "the signature of the receiver's authorizer, who is nobody here", "none")
        })?;
        let payers = text("signature").unwrap_or_default();
        let bytes = value::bytes(payers, SIGNATURE_BYTES_MAX)
            .map_err(|error| malformed("payload.signature", &error, payers))?;
        let payment = info.hash(terms.network, escrow.deployment.escrow());
        let digest = charge_digest(terms.network, info.operator, &taken, payment, &bytes);
        Ok(Some(Self { taken, authorizer: escrow.receiver_authorizer, digest, signature: signature.to_owned() }))
    }

    /// What was signed for it.
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    pub async fn prove(&self, chain: &dyn Chain) -> Result<(), OnChainError> {
        proved(chain, self.authorizer, &self.signature, self.digest, Reason::CaptureAuthorizerSignature).await
    }
}

/// Whether the authorizer signed: by its key where it has no code, else by ERC-1271.
pub(super) async fn proved(
    chain: &dyn Chain,
    authorizer: Address,
    text: &str,
    digest: B256,
    reason: Reason,
) -> Result<(), OnChainError> {
    let refused = |found: &str| {
        let expected = format!("a signature of {authorizer}");
        OnChainError::Refused(Refusal::new(reason, "payload.authorizerSignature", expected, found))
    };
    if chain.code(authorizer).await?.is_empty() {
        return match EvmSignature::read(text).and_then(|signature| signature.recover(digest)) {
            Ok(found) if found == authorizer => Ok(()),
            Ok(found) => Err(refused(&found.to_string())),
            Err(error) => Err(refused(&error.to_string())),
        };
    }
    let signature = WalletSignature::read(text)?;
    match chain.wallet_answer(authorizer, digest, &signature).await? {
        WalletAnswer::Signed => Ok(()),
        WalletAnswer::Refused | WalletAnswer::NotMade => Err(refused("one that the contract does not call its own")),
    }
}
