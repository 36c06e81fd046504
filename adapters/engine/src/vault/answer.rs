//! What a processor answered, kept with the payment receipt (AP2 v0.2) that this service signs over it.

use commerce::acp::Refusal;
use ledger::command::Attempt;
use ledger::id::{Digest, SpendId};
use mandates::chain::reference_hashes;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::receipt::{Answer, Failure, Receipt};
use serde::{Deserialize, Serialize};

use super::{Found, ProcessorAnswer, VaultError};
use crate::Engine;
use crate::error::EngineError;

pub(crate) const ANSWER_TYPE: &str = "purser.processor-answer/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    pub r#type: String,
    /// The redemption that it answers, by digest.
    pub attempt: Digest,
    pub processor: ProcessorAnswer,
    /// Who took it at its word in the processor's place, and why, where it did not come from the processor itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The payment receipt, a JWT.
    pub receipt: String,
    /// What it verifies with: a JWK set.
    pub keys: Object,
}

impl Engine {
    pub(super) async fn keep_answer(
        &self,
        found: &Found,
        attempt: Attempt,
        answer: ProcessorAnswer,
        because: Option<String>,
    ) -> Result<KeptAnswer, EngineError> {
        let payment_id = found.spend.id.to_string();
        let said = match &answer {
            ProcessorAnswer::Done { id, network_id, .. } => Answer::Paid {
                payment_id,
                psp_confirmation_id: id.clone(),
                network_confirmation_id: network_id.clone(),
            },
            ProcessorAnswer::Declined { code, message } => {
                let failure = Failure { error: code.clone(), error_description: message.clone() };
                Answer::NotPaid { payment_id, failure }
            }
        };
        let receipt = Receipt {
            issuer: found.tenant.issuer.clone(),
            issued_at_seconds: self.clock.now().seconds(),
            reference: reference_hashes(&found.bundle.chain)?.sd_hash,
            answer: said,
        };
        let signer = &found.tenant.receipts;
        let keys = KeySet::new([signer.public().clone()])?.to_jwks();
        let receipt = signer.sign(receipt.unsigned(&signer.public().key_id())).await?;
        Ok(KeptAnswer {
            r#type: ANSWER_TYPE.into(),
            attempt: attempt.document,
            processor: answer,
            because,
            receipt,
            keys,
        })
    }
}

impl From<VaultError> for EngineError {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        Self::Vault(refusal.into())
    }
}

/// What a processor calls an order: of this payment and this attempt, and of nothing that anyone could guess.
pub(super) fn order_key(found: &Found, attempt: &Digest) -> String {
    let SpendId(payment) = found.spend.id;
    let parts = [payment, attempt.0].concat();
    found.tenant.secret.seal("purser/capture-key/1", &parts).to_string()
}
