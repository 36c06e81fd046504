//! The book: every money rule, as a pure function of what was read, the time and the command.
//!
//! A unit of work is: load what [`wants`] names until it names nothing, [`apply`], write what came out. Refusals
//! come in a fixed order (the one the rules are written in), so that two stores give the same answer.

mod accepting;
mod attesting;
mod charging;
mod claiming;
mod crediting;
mod deciding;
mod delegating;
mod drawing;
mod following;
mod gating;
mod mending;
pub mod naming;
mod presenting;
mod redeeming;
mod reviewing;
mod settling;
mod spending;
#[cfg(test)]
mod tests;
mod visiting;

use crate::budget::BudgetState;
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::{Command, Hold, OpenBudget, Request};
use crate::effects::{Effects, Operation};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, DecisionId, Digest, Micros, SpendId};
use crate::rejection::{Fault, Refusal, Rejection, RejectionCode};
use crate::settlement::Goods;
use crate::view::{Keys, PurchaseKey, View};

/// What became of a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened now.
    New(Box<Effects>),
    /// It had happened before, or is true already; nothing changed.
    Known,
}

/// What must be read before `apply` can judge at this instant. Ask again after loading: reading a spend names its
/// budgets.
pub fn wants(view: &View, at: Micros, request: &Request) -> Result<Keys, Fault> {
    let at = rising(view, at);
    let mut keys = Keys::default();
    if is_barred_by_origin(&request.command) {
        keys.gates(view, gating::gates_of_caller(&request.caller));
    }
    match &request.command {
        Command::Propose(propose) => keys.decision(view, propose.decision),
        Command::Decide { decision, .. } => decide_wants(view, *decision, &mut keys),
        Command::Review { review, spend, .. } | Command::Overdue { review, spend, .. } => {
            keys.decision(view, *review);
            keys.spend(view, *spend);
        }
        Command::OpenBudget(open) => open_wants(view, open, &mut keys),
        Command::Delegate(delegate) => delegating::wants(view, request, delegate, &mut keys),
        Command::ChangeBudget { budget, .. } | Command::ChangeCaps { budget, .. } => keys.budget(view, *budget),
        Command::Hold(hold) => hold_wants(view, at, request, hold, &mut keys)?,
        Command::Gate { scope, .. } => keys.gate(view, scope.clone()),
        Command::Commit { spend } | Command::Present { spend, .. } => signed_wants(view, request, *spend, &mut keys),
        Command::Attest { spend, .. } => attesting::wants(view, *spend, &mut keys),
        Command::SignIn { spend, under, .. } => visiting::wants(view, &request.caller, *spend, *under, &mut keys),
        Command::Redeem { spend, cart, .. } => redeeming::wants(view, request, *spend, *cart, &mut keys),
        Command::Void { spend }
        | Command::Expire { spend }
        | Command::Lapse { spend }
        | Command::Resolve { spend, .. } => {
            keys.spend(view, *spend);
            keys.gate(view, Scope::Fence);
        }
        Command::Submit { spend, .. }
        | Command::Acknowledge { spend, .. }
        | Command::Capture { spend, .. }
        | Command::Decline { spend, .. }
        | Command::Doubt { spend }
        | Command::Settle { spend, .. }
        | Command::Unsettle { spend, .. }
        | Command::Finalise { spend, .. }
        | Command::Release { spend, .. }
        | Command::Announce { spend, .. }
        | Command::Answer { spend, .. }
        | Command::Misspend { spend, .. } => keys.spend(view, *spend),
        Command::Cover { spend, by } => drawing::wants_cover(view, *spend, by, &mut keys),
        Command::Withdraw { step, refund, .. } => drawing::wants_withdraw(view, *step, refund, &mut keys),
        Command::Accept(accept) => accepting::wants(view, accept, &mut keys),
        Command::Claim(claim) => crediting::wants_claim(view, claim, &request.caller.principal, &mut keys),
        Command::Abandon { settlement }
        | Command::Dispatch { settlement, .. }
        | Command::Serve { settlement, .. }
        | Command::Deliver { settlement, .. }
        | Command::Undeliver { settlement, .. }
        | Command::WriteOff { settlement, .. }
        | Command::Charge { settlement, .. }
        | Command::Receive { settlement, .. }
        | Command::HandOver { settlement, .. }
        | Command::Unreceive { settlement, .. }
        | Command::Conclude { settlement, .. }
        | Command::Fail { settlement, .. } => keys.settlement(view, settlement),
        Command::Revisit { settlement, nonce } => crediting::wants_revisit(view, settlement, nonce, &mut keys),
        Command::Refund { spend, refund } => {
            keys.spend(view, *spend);
            keys.claim(view, &ClaimKey::Refund(refund.place.clone()));
        }
        Command::GiveBack { settlement, refund, .. } => {
            keys.settlement(view, settlement);
            keys.claim(view, &ClaimKey::GivenBack(refund.place.clone()));
        }
        Command::Recover(recover) => mending::wants(view, at, recover, &mut keys)?,
        Command::Fund { .. } => {}
    }
    Ok(keys)
}

fn signed_wants(view: &View, request: &Request, spend: SpendId, keys: &mut Keys) {
    keys.spend(view, spend);
    if let Ok(Some(found)) = view.spends.find(&spend) {
        keys.gates(view, gating::gates_of_spend(view, &request.caller, found));
    }
}

fn decide_wants(view: &View, decision: DecisionId, keys: &mut Keys) {
    keys.decision(view, decision);
    if let Ok(Some(found)) = view.decisions.find(&decision) {
        keys.gates(view, gating::gates_of_question(found));
    }
}

fn open_wants(view: &View, open: &OpenBudget, keys: &mut Keys) {
    keys.budget(view, open.id);
    if let Some(parent) = open.parent {
        keys.budget(view, parent);
    }
    if let Some(decision) = open.decision {
        keys.decision(view, decision);
    }
}

/// What somebody decides or lets go on: barred where they come by an issuer that is stopped. Holds and signatures name
/// their gates themselves.
const fn is_barred_by_origin(command: &Command) -> bool {
    match command {
        Command::Decide { .. } | Command::Review { .. } | Command::OpenBudget(_) | Command::Delegate(_) => true,
        Command::ChangeBudget { to, .. } => matches!(to, BudgetState::Active),
        Command::Gate { to, .. } => matches!(to, GateState::Open),
        _ => false,
    }
}

fn hold_wants(view: &View, at: Micros, request: &Request, hold: &Hold, keys: &mut Keys) -> Result<(), Fault> {
    keys.claim(view, &claiming::idempotency(request, hold));
    keys.claim(view, &ClaimKey::Authorization(hold.authorization.clone()));
    keys.claim(view, &claiming::leaf(hold));
    drawing::wants_step_before(view, &hold.authorization, keys);
    if let Some(pin) = &hold.pin {
        keys.claim(view, &claiming::payee(pin));
    }
    if let Some(cart) = hold.cart {
        claiming::wants_cart(view, cart, keys);
    }
    if let Some(named) = hold.again_after {
        keys.claim(view, &ClaimKey::Follows(named));
        keys.spend(view, named);
    }
    keys.gates(view, gating::gates_of_hold(view, &request.caller, hold));
    keys.spend(view, hold.spend);
    if let Some(review) = &hold.review {
        keys.decision(view, review.decision);
    }
    keys.budget(view, hold.budget);
    for counted in spending::windows(view, hold, at)? {
        keys.windows(view, counted.read.into_iter());
    }
    keys.purchase(view, PurchaseKey { budget: hold.budget, purchase: hold.purchase });
    Ok(())
}

/// Judges a command and takes its effects into the view. On `Err` the view is as it was.
///
/// `at` is what the clock says after the tenant's lock was taken; the record gets a later instant where the last one
/// is not before it, because time in a book only rises.
pub fn apply(view: &mut View, at: Micros, request: &Request) -> Result<Outcome, Refusal> {
    let at = rising(view, at);
    let outcome = judge(&Draft { view, at, request })?;
    if let Outcome::New(effects) = &outcome {
        view.absorb(effects, None)?;
    }
    Ok(outcome)
}

/// The record of a refusal that its key shall answer with for ever; `None` where the refusal is not kept.
pub fn keep_rejection(
    view: &mut View,
    at: Micros,
    request: &Request,
    rejection: &Rejection,
    text: &[u8],
) -> Result<Option<Effects>, Fault> {
    let Command::Hold(hold) = &request.command else { return Ok(None) };
    let key = claiming::idempotency(request, hold);
    if !is_kept(rejection.code()) || view.claims.find(&key.digest())?.is_some() {
        return Ok(None);
    }
    let mut effects = Effects::new(next_seq(view), rising(view, at), request.caller.clone(), Operation::Reject);
    effects.claims.push(Claim {
        key: key.digest(),
        request: hold.request,
        outcome: ClaimOutcome::Rejected { code: rejection.code(), text: Digest::of(text) },
    });
    view.absorb(&effects, Some(rejection))?;
    Ok(Some(effects))
}

/// Refusals that depend on the state of the book are kept: the same key gets the same answer. Those that say that the
/// request itself is wrong, is not the caller's, or that something is still under way, burn nothing.
pub const fn is_kept(code: RejectionCode) -> bool {
    matches!(
        code,
        RejectionCode::AmountExceedsBudget
            | RejectionCode::AmountExceedsPaymentLimit
            | RejectionCode::OccurrencesExhausted
            | RejectionCode::AmountExceedsPeriod
            | RejectionCode::PaymentsExceedPeriod
            | RejectionCode::OutsideHours
            | RejectionCode::RecurrenceTooSoon
            | RejectionCode::MandateExpired
            | RejectionCode::MandateRevoked
            | RejectionCode::MandateSuspended
            | RejectionCode::Stopped
            | RejectionCode::MandateConsumed
            | RejectionCode::AuthorizationClaimed
    )
}

fn judge(draft: &Draft<'_>) -> Result<Outcome, Refusal> {
    match &draft.request.command {
        Command::Propose(propose) => draft.propose(propose),
        Command::Decide { decision: id, subject, answer, evidence } => draft.decide(*id, *subject, *answer, *evidence),
        Command::Review { review, subject, spend, finding, because } => {
            draft.review(*review, *subject, *spend, *finding, *because)
        }
        Command::Overdue { review, spend, suspend } => draft.overdue(*review, *spend, *suspend),
        Command::OpenBudget(open) => draft.open_budget(open),
        Command::Delegate(delegate) => draft.delegate(delegate),
        Command::ChangeBudget { budget, to } => draft.change_budget(*budget, *to),
        Command::ChangeCaps { budget, caps } => draft.change_caps(*budget, caps),
        Command::Gate { scope, to } => draft.gate(scope, *to),
        Command::Hold(hold) => draft.hold(hold),
        Command::Void { spend } => draft.void(*spend),
        Command::Expire { spend } => draft.expire(*spend),
        Command::Commit { spend } => draft.commit(*spend),
        Command::Submit { spend, transaction } => draft.submit(*spend, transaction),
        Command::Present { spend, document } => draft.present(*spend, *document),
        Command::Acknowledge { spend, receipt } => draft.acknowledge(*spend, receipt),
        Command::Resolve { spend, resolution } => draft.resolve(*spend, resolution),
        Command::Redeem { spend, attempt, cart } => draft.redeem(*spend, *attempt, *cart),
        Command::Capture { spend, attempt, transaction, document } => {
            draft.capture(*spend, *attempt, transaction, *document)
        }
        Command::Decline { spend, attempt, document } => draft.decline(*spend, *attempt, *document),
        Command::Lapse { spend } => draft.lapse(*spend),
        Command::Doubt { spend } => draft.doubt(*spend),
        Command::Settle { spend, seen, finalized } => draft.settle(*spend, seen, *finalized),
        Command::Unsettle { spend, proof } => draft.unsettle(*spend, proof),
        Command::Finalise { spend, seen, finalized } => draft.finalise(*spend, seen, *finalized),
        Command::Release { spend, proof } => draft.release(*spend, proof),
        Command::Answer { spend, charged, document } => draft.answer(*spend, *charged, *document),
        Command::Cover { spend, by } => draft.cover(*spend, by),
        Command::Withdraw { step, refund, finalized } => draft.withdraw(*step, refund, *finalized),
        Command::Misspend { spend, transaction } => draft.misspend(*spend, transaction),
        Command::Accept(accept) => draft.accept(accept),
        Command::Claim(claim) => draft.claim(claim),
        Command::Abandon { settlement } => draft.abandon(settlement),
        Command::Dispatch { settlement, document, transaction, account_nonce } => {
            draft.dispatch(settlement, *document, transaction.as_ref(), *account_nonce)
        }
        Command::Serve { settlement, document, charged } => draft.serve(settlement, *document, *charged),
        Command::Deliver { settlement, document, instead_of } => {
            draft.deliver(settlement, *document, *instead_of, Goods::Given)
        }
        Command::Revisit { settlement, nonce } => draft.revisit(settlement, nonce),
        Command::Undeliver { settlement, document } => draft.undeliver(settlement, *document),
        Command::WriteOff { settlement, document } => draft.write_off(settlement, *document),
        Command::Charge { settlement, document, charged, instead_of } => {
            draft.charge(settlement, *document, *charged, *instead_of)
        }
        Command::Receive { settlement, seen, finalized, gas } => {
            draft.receive(settlement, seen, *finalized, gas.as_ref())
        }
        Command::HandOver { settlement, seen, finalized } => draft.hand_over(settlement, seen, *finalized),
        Command::Unreceive { settlement, proof } => draft.unreceive(settlement, proof),
        Command::Conclude { settlement, seen, finalized, gas } => {
            draft.conclude(settlement, seen, *finalized, gas.as_ref())
        }
        Command::Fail { settlement, proof, gas } => draft.fail(settlement, proof, gas.as_ref()),
        Command::Announce { spend, refunds, document } => draft.announce(*spend, *refunds, *document),
        Command::Attest { spend, document } => draft.attest(*spend, *document),
        Command::SignIn { spend, under, document } => draft.sign_in(*spend, *under, *document),
        Command::Refund { spend, refund } => draft.refund(*spend, refund),
        Command::GiveBack { settlement, refund, finalized } => draft.refund_sale(settlement, refund, *finalized),
        Command::Recover(recover) => draft.recover(recover),
        Command::Fund { wallet, money, reference } => draft.fund(wallet, money, *reference),
    }
}

fn next_seq(view: &View) -> u64 {
    view.head.frontier.size()
}

fn rising(view: &View, at: Micros) -> Micros {
    match view.head.last_at {
        Some(last) => at.max(last.plus_micros(1)),
        None => at,
    }
}

/// A command being judged.
struct Draft<'a> {
    view: &'a View,
    at: Micros,
    request: &'a Request,
}

impl Draft<'_> {
    fn effects(&self, operation: Operation) -> Effects {
        Effects::new(next_seq(self.view), self.at, self.request.caller.clone(), operation)
    }
}

fn done(effects: Effects) -> Result<Outcome, Refusal> {
    Ok(Outcome::New(Box::new(effects)))
}

/// A spend id printed for the sentence of a claim that has no spend.
fn claimant(outcome: &ClaimOutcome) -> String {
    match outcome {
        ClaimOutcome::Spend(spend) => spend.to_string(),
        ClaimOutcome::Rejected { code, .. } => code.to_string(),
        ClaimOutcome::Seen(transaction) => format!("transaction {transaction}"),
        ClaimOutcome::Opened(budget) => format!("budget {budget}"),
        ClaimOutcome::Accepted(document) => format!("receipt {document}"),
    }
}

fn unknown_budget(budget: BudgetId) -> Rejection {
    Rejection::MandateUnknown { budget }
}

fn unknown_spend(spend: SpendId) -> Rejection {
    Rejection::SpendUnknown { spend }
}
