//! What a person is asked, as it is kept: about a mandate, about one payment under it, or whether an agent may do more.

use ledger::id::{Digest, PrincipalId, TenantId};
use serde::Serialize;
use serde_json::Value;

use super::{INTENT_TYPE, IntentDocument, record};
use crate::Engine;
use crate::autonomy::{self, PROMOTION_TYPE, PromotionQuestion};
use crate::error::EngineError;
use crate::ruling::question::{self, PaymentQuestion, QUESTION_TYPE};
use crate::tenant::Tenant;

/// As JSON it is the document itself, whose `type` says which it is.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Question {
    Intent(Box<IntentDocument>),
    Payment(Box<PaymentQuestion>),
    Promotion(Box<PromotionQuestion>),
}

impl Question {
    /// Who is asked.
    pub fn user(&self) -> &PrincipalId {
        match self {
            Self::Intent(document) => &document.user,
            Self::Payment(question) => &question.user,
            Self::Promotion(question) => &question.user,
        }
    }

    /// Whether the person asked it themselves.
    pub fn is_their_own(&self) -> bool {
        matches!(self, Self::Intent(document) if document.standing.is_some())
    }

    pub fn issued_at(&self) -> i64 {
        match self {
            Self::Intent(document) => document.issued_at,
            Self::Payment(question) => question.issued_at,
            Self::Promotion(question) => question.issued_at,
        }
    }

    /// Whether a token is not enough, whatever the tenant takes otherwise.
    pub fn demands_passkey(&self) -> bool {
        match self {
            Self::Intent(document) => document.standing.is_some(),
            Self::Payment(question) => question.payment.passkey,
            Self::Promotion(_) => true,
        }
    }

    pub(super) fn check_unchanged(&self, tenant: &Tenant) -> Result<(), EngineError> {
        match self {
            Self::Intent(document) => record::check_unchanged(tenant, document),
            Self::Payment(question) => question::check_unchanged(tenant, question),
            Self::Promotion(question) => autonomy::check_unchanged(tenant, question),
        }
    }

    /// Whether an approval of it opens a mandate; of the others it is all that there is.
    pub const fn opens(&self) -> bool {
        matches!(self, Self::Intent(_))
    }
}

impl Engine {
    pub(crate) async fn question(&self, tenant: &TenantId, subject: Digest) -> Result<Question, EngineError> {
        let found = self.store.document(tenant, subject).await?;
        let bytes = found.ok_or(EngineError::Erased { what: "the question", digest: subject })?.bytes;
        // What is shown is what was asked, or nothing is.
        if Digest::of(&bytes) != subject {
            return Err(EngineError::Broken(format!("the question of digest {subject} has another")));
        }
        let unreadable = |error: serde_json::Error| EngineError::Broken(format!("a question cannot be read: {error}"));
        let value: Value = serde_json::from_slice(&bytes).map_err(unreadable)?;
        match value.get("type").and_then(Value::as_str) {
            Some(INTENT_TYPE) => Ok(Question::Intent(Box::new(serde_json::from_slice(&bytes).map_err(unreadable)?))),
            Some(QUESTION_TYPE) => Ok(Question::Payment(Box::new(serde_json::from_slice(&bytes).map_err(unreadable)?))),
            Some(PROMOTION_TYPE) => {
                Ok(Question::Promotion(Box::new(serde_json::from_slice(&bytes).map_err(unreadable)?)))
            }
            _ => Err(EngineError::Broken(format!("the question of digest {subject} is of no type that is known"))),
        }
    }
}
