//! What whoever a payment mandate was closed for answered: a payment receipt, signed with a key that is on record for them.

use ledger::command::{Acknowledgement, Answered, Command};
use ledger::id::SpendId;
use ledger::rejection::Rejection;
use ledger::spend::{Rail as PaidOver, Spend};
use mandates::chain::reference_hashes;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::receipt::{self, ReceiptKind, References};
use serde::{Deserialize, Serialize};

use super::terms;
use crate::consent::to_document;
use crate::error::EngineError;
use crate::evidence::Rail;
use crate::verify::SKEW_SECONDS;
use crate::{Engine, Identity};

/// A receipt as it is kept, with the keys that it was checked with: those of then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptReceipt {
    pub r#type: String,
    pub receipt: String,
    /// A JWK set.
    pub keys: Object,
}

const RECEIPT_TYPE: &str = "purser.receipt/1";

impl Engine {
    /// Posts what was paid, frees what was not. Anybody may bring a receipt; who signed it is what counts.
    pub async fn acknowledge(&self, identity: &Identity, id: SpendId, receipt: &str) -> Result<Spend, EngineError> {
        let spend = self.own_spend(identity, id).await?;
        let found = spend.authorization.rail();
        if found != PaidOver::Mandate {
            let expected = PaidOver::Mandate.to_string();
            let found = found.to_string();
            return Err(EngineError::Book(Rejection::RailMismatch { spend: id, expected, found }));
        }
        let Some((_, papers)) = self.papers(identity, &spend).await? else {
            let (expected, found) = ("submitted or unknown".to_owned(), spend.state.to_string());
            return Err(EngineError::Book(Rejection::SpendStateWrong { spend: id, expected, found }));
        };
        let tenant = self.tenant(&identity.tenant)?;
        let bundle = self.bundle(identity, &spend).await?;
        let Rail::Mandate(presented) = &bundle.rail else {
            return Err(EngineError::Broken(format!("spend {id} is of another rail than its evidence")));
        };
        let merchant = mandates::party::Merchant::parse(&bundle.payee)?;
        // Those of now; and those of then, where whoever it was closed for is not on record any more or has other ones.
        let now = tenant.payees.merchant(&merchant.id);
        let now = now.map(|payee| terms::receipt_keys(&tenant, payee, &presented.verifier.audience));
        let then = KeySet::from_jwks(&presented.keys)?;
        let hashes = reference_hashes(&papers.payment)?;
        let known = [hashes.sd_hash, hashes.issuer_jwt_hash];
        let clock = self.mandate_clock(SKEW_SECONDS);
        let verified =
            |keys: &KeySet| receipt::verify(receipt, ReceiptKind::Payment, keys, &clock, References::Known(&known));
        let (read, keys) = match now {
            Some(Ok(now)) if verified(&now).is_ok() => (verified(&now)?, now),
            _ => (verified(&then)?, then),
        };
        let answer = if read.is_success() { Answered::Paid } else { Answered::NotPaid };
        let kept = KeptReceipt { r#type: RECEIPT_TYPE.into(), receipt: receipt.to_owned(), keys: keys.to_jwks() };
        let document = to_document("receipt", &kept)?;
        let transaction = document.digest().to_string();
        let transaction = transaction.parse().map_err(|_| EngineError::Broken("a digest is no reference".into()))?;
        let receipt = Acknowledgement { document: document.digest(), transaction, answer };
        let answer = self.run(identity, Command::Acknowledge { spend: id, receipt }, vec![document]).await?;
        answer.spend.ok_or_else(|| EngineError::Broken("an answer without a spend".into()))
    }
}
