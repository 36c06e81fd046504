//! Whether the person's passkey signed this very decision, and whether the journal has the same.

use ledger::decision::DecisionState;
use ledger::effects::{Fact, Operation};
use ledger::id::{CallerKind, Digest};

use super::{open, same};
use crate::consent::IntentDocument;
use crate::consent::signed::SignedApproval;
use crate::evidence::EvidenceFile;

pub(super) fn check(file: &EvidenceFile, text: &str) -> Result<String, String> {
    let subject = Digest::of(file.decision.as_bytes());
    let document: IntentDocument = serde_json::from_str(&file.decision).map_err(|error| error.to_string())?;
    let signed: SignedApproval = serde_json::from_str(text).map_err(|error| error.to_string())?;
    same("decision", document.decision, signed.decision)?;
    signed.verify(subject, &document.tenant, &document.user)?;
    let by = format!("{}'s passkey signed {subject} at {}", document.user, signed.origin);
    let Some(record) = &file.answered else {
        return Ok(format!("{by}; the record of the answer is not shown"));
    };
    let answer = open(record)?;
    same("operation", Operation::Decide.as_str(), answer.operation.as_str())?;
    same("kind of who answered", CallerKind::User, answer.caller.kind)?;
    same("who answered", &document.user, &answer.caller.principal)?;
    let decision = answer.decision.as_ref().ok_or("the record of the answer has no decision")?;
    same("decision of the record", document.decision, decision.id)?;
    same("subject of the record", subject, decision.subject)?;
    same("answer", DecisionState::Approved.as_str(), decision.state.as_str())?;
    match answer.fact {
        Some(Fact::Reference(found)) => same("signature of the record", Digest::of(text.as_bytes()), found)?,
        _ => return Err("the record of the answer names no signature".into()),
    }
    Ok(format!("{by}; record {} has it", record.seq))
}
