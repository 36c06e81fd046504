//! What whoever a payment mandate was closed for answered: a payment receipt, signed with a key that is on record for them.

use ledger::command::{Acknowledgement, Answered, Command};
use ledger::id::{CallerKind, SpendId};
use ledger::rejection::Rejection;
use ledger::spend::{Rail as PaidOver, Spend, SpendState};
use ledger::store::Document;
use mandates::chain::reference_spellings;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::receipt::{self, ReceiptKind, References};
use serde::{Deserialize, Serialize};

use super::terms;
use crate::consent::{forbidden, to_document};
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
        let known = reference_spellings(&papers.payment)?;
        let clock = self.mandate_clock(SKEW_SECONDS);
        let verified =
            |keys: &KeySet| receipt::verify(receipt, ReceiptKind::Payment, keys, &clock, References::Known(&known));
        let (read, keys) = match now {
            Some(Ok(now)) if verified(&now).is_ok() => (verified(&now)?, now),
            _ => (verified(&then)?, then),
        };
        let answer = if read.is_success() { Answered::Paid } else { Answered::NotPaid };
        let kept = KeptReceipt { r#type: RECEIPT_TYPE.into(), receipt: receipt.to_owned(), keys: keys.to_jwks() };
        let before = spend.state;
        let (receipt, document) = acknowledgement("receipt", &kept, answer)?;
        let after = self.run(identity, Command::Acknowledge { spend: id, receipt }, vec![document]).await?;
        let after = after.spend.ok_or_else(|| EngineError::Broken("an answer without a spend".into()))?;
        if after.state != SpendState::SpentOtherwise {
            return Ok(after);
        }
        let expected = match before {
            SpendState::Settled => "that it was paid",
            SpendState::Released => "that it was not paid",
            _ => "both that it was paid and that it was not",
        };
        let found = if answer == Answered::Paid { "that it was" } else { "that it was not" };
        tracing::error!(spend = %id, "its verifier says both that it was paid and that it was not");
        Err(EngineError::ReceiptContradicts { spend: id, expected, found })
    }

    /// An operator says what became of a payment, because whoever it was closed for does not. What they say is kept like a
    /// receipt, with who they are in the record; it posts or frees as one, from the same moment on.
    pub async fn resolve(
        &self,
        identity: &Identity,
        id: SpendId,
        answer: Answered,
        because: &str,
    ) -> Result<Spend, EngineError> {
        if identity.caller.kind != CallerKind::Operator {
            return Err(forbidden("an operator", identity));
        }
        if because.trim().is_empty() || because.len() > BECAUSE_BYTES_MAX || because.chars().any(char::is_control) {
            let expected = format!("1 to {BECAUSE_BYTES_MAX} bytes without control characters");
            return Err(EngineError::invalid("because", expected, because));
        }
        let known = self.store.spend(&identity.tenant, id).await?;
        if known.is_some_and(|spend| spend.authorization.rail() == PaidOver::Vault) {
            return self.resolve_capture(identity, id, answer, because).await;
        }
        let resolution =
            Resolution { r#type: RESOLUTION_TYPE.into(), answer: said(answer).into(), because: because.into() };
        let (resolution, document) = acknowledgement("resolution", &resolution, answer)?;
        let after = self.run(identity, Command::Resolve { spend: id, resolution }, vec![document]).await?;
        after.spend.ok_or_else(|| EngineError::Broken("a resolution without a spend".into()))
    }
}

/// What an operator said in a verifier's place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolution {
    pub r#type: String,
    /// `settled` or `not_paid`.
    pub answer: String,
    pub because: String,
}

pub(crate) const RESOLUTION_TYPE: &str = "purser.resolution/1";
/// Longest reason that an operator gives.
const BECAUSE_BYTES_MAX: usize = 512;

pub(crate) const fn said(answer: Answered) -> &'static str {
    match answer {
        Answered::Paid => "settled",
        Answered::NotPaid => "not_paid",
    }
}

/// A document that says what became of a payment, and what the book is told of it.
fn acknowledgement<T: Serialize>(
    kind: &str,
    said: &T,
    answer: Answered,
) -> Result<(Acknowledgement, Document), EngineError> {
    let document = to_document(kind, said)?;
    let transaction = document.digest().to_string();
    let transaction = transaction.parse().map_err(|_| EngineError::Broken("a digest is no reference".into()))?;
    Ok((Acknowledgement { document: document.digest(), transaction, answer }, document))
}
