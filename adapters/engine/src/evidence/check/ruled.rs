//! Whether the policy is the one that is named, and whether those whom it asks allowed this very payment.

use std::collections::BTreeSet;

use ledger::decision::DecisionState;
use ledger::effects::{Effects, Fact, Operation};
use ledger::id::{CallerKind, Digest};
use ledger::spend::Spend;

use super::{open, same};
use crate::consent::signed::SignedApproval;
use crate::evidence::{Allowed, Bundle, EvidenceFile};
use crate::rate::authority_to_major;
use crate::ruling::question::PaymentQuestion;
use crate::ruling::{Approved, Ruled};

/// Between the look at the answers and the hold.
const HELD_LATER_SECONDS: i64 = 60;

pub(super) fn check(
    file: &EvidenceFile,
    bundle: &Bundle,
    ruled: &Ruled,
    records: &[Effects],
) -> Result<String, String> {
    let text = file.policy.as_ref().ok_or("the policy that judged it is not in the file")?;
    same("digest of the policy", ruled.digest, Digest::of(text.as_bytes()))?;
    let rule = ruled.rule.as_deref().unwrap_or("no rule");
    let by = format!("{} by {rule} of policy {} ({})", ruled.verb, ruled.version, ruled.digest);
    let asks = matches!(ruled.verb.as_str(), "step_up" | "require_approval");
    if asks == ruled.approvals.is_empty() {
        let expected = if asks { "approvals" } else { "no approval" };
        return Err(format!("{by}: {expected} of the payment was expected, {} are there", ruled.approvals.len()));
    }
    let held = records.first().ok_or("no record")?;
    let spend = held.spend.as_ref().ok_or("the first record holds nothing")?;
    let mut people = BTreeSet::new();
    for approved in &ruled.approvals {
        let allowed = file.allowed.iter().find(|one| Digest::of(one.question.as_bytes()) == approved.question);
        let allowed = allowed.ok_or_else(|| format!("the question of digest {} is not there", approved.question))?;
        let question: PaymentQuestion = serde_json::from_str(&allowed.question).map_err(|error| error.to_string())?;
        check_question(&question, bundle, ruled, spend)?;
        check_answer(&question, approved, allowed, held)?;
        people.insert(&approved.approver);
        if usize::from(question.payment.needed) > ruled.approvals.len() {
            let (expected, found) = (question.payment.needed, ruled.approvals.len());
            return Err(format!("{expected} approvals were expected, {found} are there"));
        }
    }
    same("distinct approvers", ruled.approvals.len(), people.len())?;
    let names: Vec<&str> = people.into_iter().map(|name| name.as_str()).collect();
    Ok(if names.is_empty() { by } else { format!("{by}; allowed by {}", names.join(", ")) })
}

/// It asked for this payment and no other.
fn check_question(question: &PaymentQuestion, bundle: &Bundle, ruled: &Ruled, spend: &Spend) -> Result<(), String> {
    let terms = &question.payment;
    let amount = authority_to_major(bundle.authority, &bundle.currency).map_err(|error| error.to_string())?;
    same("payment of the question", spend.id, terms.payment)?;
    same("request of the question", bundle.request, terms.request)?;
    same("agent of the question", &bundle.agent, &terms.agent)?;
    same("mandate of the question", bundle.mandate, terms.mandate)?;
    same("amount of the question", &amount, &terms.amount)?;
    same("currency of the question", &bundle.currency, &terms.currency)?;
    same("amount that moves", spend.money.amount, terms.moves.amount)?;
    same("asset that moves", &spend.money.asset, &terms.moves.asset)?;
    same("payee of the question", spend.payee.as_str(), terms.payee_id.as_str())?;
    same("address of the question", &spend.pay_to, &terms.pay_to)?;
    same("purchase of the question", spend.purchase, terms.purchase)?;
    same("policy of the question", ruled.digest, terms.policy.digest)
}

/// And this person allowed it, in time, before it was held.
fn check_answer(
    question: &PaymentQuestion,
    approved: &Approved,
    allowed: &Allowed,
    held: &Effects,
) -> Result<(), String> {
    let answer = open(&allowed.answered)?;
    same("operation", Operation::Decide.as_str(), answer.operation.as_str())?;
    same("kind of who answered", CallerKind::User, answer.caller.kind)?;
    same("who answered", &approved.approver, &answer.caller.principal)?;
    same("who was asked", &approved.approver, &question.user)?;
    let decision = answer.decision.as_ref().ok_or("the record of the answer has no decision")?;
    same("decision", approved.decision, decision.id)?;
    same("decision of the question", approved.decision, question.decision)?;
    same("subject of the record", approved.question, decision.subject)?;
    same("answer", DecisionState::Approved.as_str(), decision.state.as_str())?;
    if answer.seq >= held.seq || answer.at.seconds() >= question.answer_by {
        let (seq, by) = (held.seq, question.answer_by);
        let found = format!("record {} at {}", answer.seq, answer.at.seconds());
        return Err(format!("an answer before record {seq} and before {by} was expected, {found} has it"));
    }
    // Looked at before the hold, so it may be held a moment later.
    if held.at.seconds() >= question.use_by.saturating_add(HELD_LATER_SECONDS) {
        return Err(format!("a hold before {} was expected, it is at {}", question.use_by, held.at.seconds()));
    }
    let Some(text) = &allowed.signed else {
        let demanded = question.payment.passkey;
        return if demanded { Err("a passkey was demanded, none signed".into()) } else { Ok(()) };
    };
    let signed: SignedApproval = serde_json::from_str(text).map_err(|error| error.to_string())?;
    same("decision that was signed", approved.decision, signed.decision)?;
    signed.verify(approved.question, &question.tenant, &question.user)?;
    match answer.fact {
        Some(Fact::Reference(found)) => same("signature of the record", Digest::of(text.as_bytes()), found),
        _ => Err("the record of the answer names no signature".into()),
    }
}
