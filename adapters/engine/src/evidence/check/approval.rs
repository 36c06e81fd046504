//! Whether the person's passkey, or the wallet with their credential, signed for this very decision, and whether the journal
//! has the same.

use ledger::decision::DecisionState;
use ledger::effects::{Fact, Operation};
use ledger::id::{CallerKind, Digest};
use mandates::openid4vp;

use super::{open, same};
use crate::consent::IntentDocument;
use crate::consent::signed::SignedApproval;
use crate::consent::wallet::nonce;
use crate::evidence::EvidenceFile;

/// Whether a user's credential is the root of this chain.
pub(super) fn is_of_wallet(chain: &str) -> bool {
    openid4vp::consent(chain).is_ok_and(|consent| consent.is_some())
}

/// That its holder signed, `mandate_chain` says; for which question, its nonce.
pub(super) fn check_wallet(file: &EvidenceFile, chain: &str) -> Result<String, String> {
    let consent = openid4vp::consent(chain).map_err(|error| error.to_string())?;
    let consent = consent.ok_or("no wallet signed")?;
    let document: IntentDocument = serde_json::from_str(&file.decision).map_err(|error| error.to_string())?;
    let subject = Digest::of(file.decision.as_bytes());
    same("nonce that the wallet signed", nonce(&document.tenant, subject), consent.nonce)?;
    Ok(format!("the holder of the credential signed for {subject}, to {}", consent.audience))
}

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
