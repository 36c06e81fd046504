//! Who allowed one payment that the policy had asked for, as anybody can check it.

use ledger::effects::Operation;
use ledger::id::DecisionId;
use ledger::store::JournalEntry;
use serde::{Deserialize, Serialize};

use super::{Record, opened};
use crate::error::EngineError;
use crate::ruling::Ruled;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

const PAGE: u32 = 500;

/// The question as it was shown, and the record of the answer; where a passkey signed it, the stored text of that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Allowed {
    pub question: String,
    pub answered: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

impl Engine {
    /// Of every approval that a payment rests upon; `held` is the record that reserved it.
    pub(super) async fn allowed(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        ruled: &Ruled,
        held: u64,
    ) -> Result<Vec<Allowed>, EngineError> {
        let mut allowed = Vec::with_capacity(ruled.approvals.len());
        for approved in &ruled.approvals {
            let (entry, signed) = self.answer_to(identity, approved.decision, held).await?;
            let signed = match signed {
                Some(digest) => Some(self.document_text(identity, digest).await?),
                None => None,
            };
            let question = self.document_text(identity, approved.question).await?;
            allowed.push(Allowed { question, answered: opened(tenant, entry), signed });
        }
        Ok(allowed)
    }

    /// The record of an answer lies between its question and the hold that it let through. A question is named by no
    /// index of the journal, so the records in between are read.
    async fn answer_to(
        &self,
        identity: &Identity,
        id: DecisionId,
        held: u64,
    ) -> Result<(JournalEntry, Option<ledger::id::Digest>), EngineError> {
        let missing = || EngineError::Broken(format!("the answer to question {id} is not before what it let through"));
        let decision = self.store.decision(&identity.tenant, id).await?.ok_or_else(missing)?;
        let mut from = decision.asked;
        while from < held {
            let page = self.store.records(&identity.tenant, from, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            from = last.seq.saturating_add(1);
            let answer = page.into_iter().find(|(_, record)| {
                record.operation == Operation::Decide && record.decision.as_ref().is_some_and(|found| found.id == id)
            });
            if let Some((entry, record)) = answer {
                let signed = record.fact.and_then(|fact| match fact {
                    ledger::effects::Fact::Reference(digest) => Some(digest),
                    _ => None,
                });
                return Ok((entry, signed));
            }
        }
        Err(missing())
    }
}
