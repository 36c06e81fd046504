//! Whether the policy is the one that is named, and whether those whom it asks allowed this very payment.

use std::collections::BTreeSet;

use ledger::decision::DecisionState;
use ledger::effects::{Effects, Fact, Operation};
use ledger::id::{CallerKind, Digest};
use ledger::origin::Build;
use ledger::spend::Spend;

use super::{open, same};
use crate::consent::IntentDocument;
use crate::consent::signed::SignedApproval;
use crate::evidence::{Allowed, Bundle, EvidenceFile};
use crate::rate::{authority_from_major, authority_to_major};
use crate::ruling::question::PaymentQuestion;
use crate::ruling::standing::Stood;
use crate::ruling::{Approved, Ruled, rail_of};

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
    if let Some(stood) = &ruled.standing {
        return standing(file, bundle, ruled, stood, records).map(|detail| format!("{by}; {detail}"));
    }
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

/// It passed by what a passkey had signed beforehand: the decision that opened its mandate ([`super::approval`] has the
/// signature), and the payment is of the kind that stands there.
fn standing(
    file: &EvidenceFile,
    bundle: &Bundle,
    ruled: &Ruled,
    stood: &Stood,
    records: &[Effects],
) -> Result<String, String> {
    let held = records.first().ok_or("no record")?;
    let spend = held.spend.as_ref().ok_or("the first record holds nothing")?;
    let document: IntentDocument = serde_json::from_str(&file.decision).map_err(|error| error.to_string())?;
    let terms = document.standing.as_ref().ok_or("the decision is no standing approval")?;
    if file.approval.is_none() {
        return Err("a passkey's signature of the standing approval was expected, none is there".into());
    }
    same("verb", "require_approval", ruled.verb.as_str())?;
    same("approvals of the payment alone", 0, ruled.approvals.len())?;
    same("hands that the mandate came through", 0, bundle.line.len())?;
    same("mandate", stood.mandate, spend.budget)?;
    same("decision of the standing approval", stood.decision, document.decision)?;
    same("who allowed it", &stood.approver, &document.user)?;
    same("agent", &document.agent, &bundle.agent)?;
    let build = |build: Option<Build>| build.map_or_else(|| "none".to_owned(), |build| build.to_string());
    same("build of the agent", build(document.agent_build), build(spend.build))?;
    same("rail", terms.rail.as_str(), rail_of(&bundle.rail).as_str())?;
    same("asset that moves", &terms.asset, &spend.money.asset)?;
    same("payee", terms.payee_id.as_str(), spend.payee.as_str())?;
    same("address", &terms.pay_to, &spend.pay_to)?;
    same("currency", &document.currency, &bundle.currency)?;
    same("policy", terms.policy.digest, ruled.digest)?;
    if let Some(other) = ruled.fired.iter().find(|rule| !terms.policy.fired.contains(rule)) {
        return Err(format!("a rule that fired when it was signed was expected, {other} fired"));
    }
    let most = document.per_payment.as_ref().unwrap_or(&document.total);
    let most = authority_from_major(most, &document.currency).map_err(|error| error.to_string())?;
    if bundle.authority > most || held.at.seconds() >= document.expires_at {
        let (paid, at) = (bundle.authority, held.at.seconds());
        return Err(format!("at most {most} before {} was expected, {paid} at {at} is there", document.expires_at));
    }
    Ok(format!("allowed beforehand by {} until {}", document.user, document.expires_at))
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
